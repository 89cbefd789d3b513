// Formatting, in one word: str("rank {} of {}", r, n). GCC 12 has no <format>, so this is fmt's,
// checked at compile time.
#pragma once

#include <fmt/core.h>

#include <string>
#include <utility>

namespace longspan {

template <typename... Args>
std::string str(fmt::format_string<Args...> format, Args&&... args) {
  return fmt::format(format, std::forward<Args>(args)...);
}

}  // namespace longspan
