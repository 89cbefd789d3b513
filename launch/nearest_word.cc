#include "launch/nearest_word.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace longspan {

int edit_distance(std::string_view a, std::string_view b) {
  // Three rows of the usual table: a swap looks two rows back.
  std::vector<int> before_last(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const int substitution = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, substitution});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
    std::swap(before_last, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

std::optional<std::string> nearest_word(std::string_view word, std::span<const std::string> words) {
  std::optional<std::string> nearest;
  int fewest_edits = 0;
  for (const std::string& candidate : words) {
    const int edits = edit_distance(word, candidate);
    const int length = static_cast<int>(candidate.size());
    if (edits > std::max(2, length / 3) || edits >= length) continue;
    if (nearest && edits >= fewest_edits) continue;
    nearest = candidate;
    fewest_edits = edits;
  }
  return nearest;
}

}  // namespace longspan
