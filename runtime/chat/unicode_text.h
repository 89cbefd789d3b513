// Text as Python sees it: characters are code points, and white space and letters are Unicode's.
//
// All texts are valid UTF-8. Letters change case one for one, by the C library's table: what
// becomes two letters in Python (the German sharp s) stays as it is.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/model/utf8.h"  // code_point()

namespace longspan {

/// The code points of `text`, each as the bytes it has there.
std::vector<std::string_view> characters(std::string_view text);
std::size_t count_characters(std::string_view text);
std::string utf8(char32_t code_point);

bool is_space(char32_t c);
bool is_printable(char32_t c);
bool is_letter(char32_t c);
bool is_digit(char32_t c);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
/// The first character in upper case, the rest in lower.
std::string capitalized(std::string_view text);
/// Each letter after what is no letter in upper case, the others in lower, as str.title().
std::string titled(std::string_view text);

/// Without what is white space, or in `drop` if it is given, at the ends asked for.
struct Ends {
  bool left = true;
  bool right = true;
};
std::string_view stripped(std::string_view text, Ends ends = {});
std::string_view stripped(std::string_view text, std::string_view drop, Ends ends = {});

/// Where `part` comes first, in bytes, or npos; in time that grows with both, not with their
/// product.
std::size_t find_part(std::string_view text, std::string_view part);

/// As str.splitlines(), without the ends of the lines.
std::vector<std::string> lines_of(std::string_view text);
/// The words between white space, as str.split() without an argument, after `most` splits the rest.
std::vector<std::string> words_of(std::string_view text, std::size_t most = std::string::npos);
/// As str.split(separator, most); `separator` is not empty.
std::vector<std::string> split(std::string_view text, std::string_view separator,
                               std::size_t most = std::string::npos);
/// As str.replace(); an empty `from` stands between all characters.
std::string replaced(std::string_view text, std::string_view from, std::string_view to,
                     std::size_t most = std::string::npos);

}  // namespace longspan
