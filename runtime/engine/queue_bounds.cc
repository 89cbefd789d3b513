#include "runtime/engine/queue_bounds.h"

#include "comm/str.h"

namespace longspan {

std::optional<Refusal> refusal_by(const QueueBounds& bounds, std::int64_t memory_tokens,
                                  std::int64_t waiting, std::int64_t waiting_tokens,
                                  std::int64_t prompt_tokens) {
  constexpr std::int64_t kTimesMemory = 8;
  if (waiting == 0) return std::nullopt;
  Refusal refusal{.waiting = waiting, .waiting_tokens = waiting_tokens};
  if (waiting >= bounds.requests) {
    refusal.reason = Refusal::Reason::kManyRequests;
    refusal.message = str("{} requests wait, and no more may; come again later", waiting);
    return refusal;
  }
  const std::int64_t most = bounds.tokens.value_or(kTimesMemory * memory_tokens);
  if (prompt_tokens <= most - waiting_tokens) return std::nullopt;
  refusal.reason = Refusal::Reason::kManyTokens;
  refusal.message = str(
      "{} requests with {} tokens to be read wait, and with the {} of this one that would be more "
      "than the {} that may; come again later",
      waiting, waiting_tokens, prompt_tokens, most);
  return refusal;
}

}  // namespace longspan
