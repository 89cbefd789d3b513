#include "scheduler/work_price.h"

namespace longspan {

WorkPrice::WorkPrice(const CostModel& costs, int degree, std::int64_t chunk_tokens)
    : costs_(Costs{costs.prefill(degree), costs.decode(degree), degree, chunk_tokens}) {}

std::int64_t WorkPrice::of(const WorkLeft& left) const {
  if (!costs_) return left.prompt + left.answer;
  double seconds = 0;
  if (left.prompt > 0) {
    seconds +=
        costs_->prefill.seconds_in_chunks({left.computed, left.prompt}, costs_->chunk_tokens);
  }
  if (left.answer > 0) {
    const std::int64_t keys = left.computed + left.prompt + left.answer / 2;  // half way
    const DecodeShape row{.rows = 1, .keys = keys / costs_->degree + 1};
    seconds += static_cast<double>(left.answer) * costs_->decode.seconds(row);
  }
  return to_nanoseconds(seconds);
}

}  // namespace longspan
