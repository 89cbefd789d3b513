// What the helps of all commands are made of.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "launch/option_table.h"

namespace longspan {

/// The options under their groups, wrapped to a terminal's width.
std::string described(std::span<const OptionText> options);
/// That each option has a variable in the environment, with an example.
std::string environment_note(const OptionText& example);
/// What each exit code means.
std::string_view exit_codes();

}  // namespace longspan
