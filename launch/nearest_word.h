// The word somebody probably meant.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace longspan {

/// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`, where no
/// letter is edited twice (the restricted Damerau-Levenshtein distance).
int edit_distance(std::string_view a, std::string_view b);

/// The nearest of `words`, the earlier one of two as near; nothing when even that is more than
/// max(2, a third of its length) edits away, or shares no letter.
std::optional<std::string> nearest_word(std::string_view word, std::span<const std::string> words);

}  // namespace longspan
