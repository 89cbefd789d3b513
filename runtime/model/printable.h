// Text from a file, made fit for a one-line error message.
#pragma once

#include <string>
#include <string_view>

namespace longspan {

/// True when `text` is ASCII without control characters.
bool is_printable(std::string_view text);

/// `text` with everything but printable ASCII as \xNN, cut after 64 characters.
std::string printable(std::string_view text);

}  // namespace longspan
