#include "scheduler/chunk_budget.h"

#include <algorithm>

#include "scheduler/step_size.h"

namespace longspan {
namespace {

double seconds_of(Nanoseconds time) { return static_cast<double>(time) * 1e-9; }

/// Of a step in which nobody waits for a token.
Nanoseconds relaxed(Nanoseconds target, Nanoseconds step_price) {
  constexpr Nanoseconds kMost = 500'000'000;
  return std::max(target, std::min(kMost, 3 * step_price));
}

}  // namespace

ChunkRules kept_beside(ChunkRules rules, std::int64_t most_rows) {
  const std::int64_t rows = rules.step_rows - most_rows;
  if (rules.step_rows == std::numeric_limits<std::int64_t>::max()) return rules;
  rules.chunk_tokens =
      std::min(rules.chunk_tokens, most_chunk_tokens(rows, rules.fewest(), rules.page_tokens));
  return rules;
}

ChunkBudget::ChunkBudget(const ChunkRules& rules, std::int64_t rows, const DecodeShape& shape,
                         const CostModel* costs)
    : rules_(rules), tokens_left_(rules.chunk_tokens), rows_left_(rules.step_rows - rows) {
  if (cuts_to_fill()) tokens_left_ -= rows;
  if (!costs || !rules.target) return;
  cost_ = costs->prefill(rules.degree);
  const Nanoseconds price = to_nanoseconds(cost_->a);
  time_left_ = (shape.rows > 0 ? *rules.target : relaxed(*rules.target, price)) - price;
  if (shape.rows == 0) return;
  const DecodeCost decode = costs->decode(rules.degree);
  time_left_ -= to_nanoseconds(decode.seconds(shape) - decode.fixed);
}

std::int64_t ChunkBudget::take(std::int64_t computed, std::int64_t left) {
  const bool first = chunks_ == 0;
  const std::int64_t whole = std::min(left, rules_.chunk_tokens);
  std::int64_t tokens = std::min({in_rows(whole), in_time(computed, whole), in_budget(whole)});
  if (tokens < whole) {
    if (!first && (!cuts_to_fill() || tokens < page_of_each())) return 0;
    tokens = rules_.cuts_are_fixed ? whole : std::min(in_rows(whole), whole_pages(tokens));
  }
  if (!first && (tokens > tokens_left_ || chunks_ == rules_.max_chunks)) return 0;
  ++chunks_;
  tokens_left_ -= tokens;
  rows_left_ -= most_rank_rows(tokens, 1, rules_.fewest(), rules_.page_tokens);
  if (cost_) time_left_ -= to_nanoseconds(cost_->seconds(ChunkSize{computed, tokens}) - cost_->a);
  return tokens;
}

/// As many of `tokens` as rows are left for.
std::int64_t ChunkBudget::in_rows(std::int64_t tokens) const {
  if (most_rank_rows(tokens, 1, rules_.fewest(), rules_.page_tokens) <= rows_left_) return tokens;
  return std::clamp<std::int64_t>(
      most_chunk_tokens(rows_left_, rules_.fewest(), rules_.page_tokens), 0, tokens);
}

/// As many of them as time is left for.
std::int64_t ChunkBudget::in_time(std::int64_t computed, std::int64_t tokens) const {
  if (!cost_) return tokens;
  const double left = seconds_of(std::max<Nanoseconds>(0, time_left_));
  return std::min(tokens, cost_->most_tokens(computed, cost_->a + left));
}

/// As many of them as the budget has left.
std::int64_t ChunkBudget::in_budget(std::int64_t tokens) const {
  return cuts_to_fill() ? std::clamp<std::int64_t>(tokens_left_, 0, tokens) : tokens;
}

/// A page for each rank at least: fewer would leave ranks idle.
std::int64_t ChunkBudget::whole_pages(std::int64_t tokens) const {
  return std::max(page_of_each(), tokens / page_of_each() * page_of_each());
}

}  // namespace longspan
