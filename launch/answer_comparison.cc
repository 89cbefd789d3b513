#include "launch/answer_comparison.h"

#include <algorithm>

namespace longspan {

std::optional<Difference> first_difference(const Answer& a, const Answer& b) {
  const auto same_id = [](const Scored& x, const Scored& y) { return x.chosen.id == y.chosen.id; };
  const auto at = std::ranges::mismatch(a.tokens, b.tokens, same_id);
  const bool a_ends = at.in1 == a.tokens.end(), b_ends = at.in2 == b.tokens.end();
  if (a_ends && b_ends) return std::nullopt;
  // An answer that ends has drawn the token that ended it.
  const double margin_a = a_ends ? a.last_margin : at.in1->margin;
  const double margin_b = b_ends ? b.last_margin : at.in2->margin;
  return Difference{static_cast<std::size_t>(at.in1 - a.tokens.begin()),
                    std::min(margin_a, margin_b)};
}

}  // namespace longspan
