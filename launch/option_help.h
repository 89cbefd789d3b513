// The text of --help, made from the option tables.
#pragma once

#include <string>
#include <string_view>

namespace longspan {

std::string program_help();
std::string generate_help();
std::string inspect_help();
std::string trace_help();

}  // namespace longspan
