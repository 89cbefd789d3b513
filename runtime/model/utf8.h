// UTF-8, one sequence at a time, after table 3-7 of the Unicode standard: no overlong forms, no
// surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace longspan {

enum class Utf8Form {
  kWhole,       // a character
  kIllFormed,   // a maximal ill-formed part: bytes that no further byte can mend
  kUnfinished,  // the text ends inside what may still become a character
};

struct Utf8Step {
  std::size_t bytes;
  Utf8Form form;
};

/// What `text` (not empty) begins with.
Utf8Step first_utf8(std::string_view text);

/// Of `character`: one, whole.
std::uint32_t code_point(std::string_view character);

/// Moves what is decided from `pending` to the end of `text`: whole characters as they are, U+FFFD
/// for each maximal ill-formed part. An unfinished character stays.
void move_decided_utf8(std::string& pending, std::string& text);

/// U+FFFD, as UTF-8.
inline constexpr std::string_view kReplacement = "\xef\xbf\xbd";

}  // namespace longspan
