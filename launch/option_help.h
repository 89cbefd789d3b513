// The text of --help, made from the option tables.
#pragma once

#include <string>
#include <string_view>

namespace longspan {

std::string program_help();
std::string generate_help();
std::string chat_help();
std::string run_batch_help();
/// What a line of a conversation can be besides a message.
std::string_view chat_commands();
std::string inspect_help();
std::string trace_help();
std::string session_help();

}  // namespace longspan
