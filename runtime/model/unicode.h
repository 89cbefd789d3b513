// What tokenizers ask of Unicode's tables: composed text, words, white space.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace longspan {

/// `text` (UTF-8) in Unicode's normalisation form C. O(n log n), whatever marks it piles up.
std::string composed(std::string_view text);

/// \w of a Unicode regular expression: letters, marks, digits, connectors, joiners.
bool is_word_character(std::uint32_t point);

/// \s likewise: the White_Space property.
bool is_white_space(std::uint32_t point);

}  // namespace longspan
