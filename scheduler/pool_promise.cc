#include "scheduler/pool_promise.h"

#include <algorithm>

#include "scheduler/placement.h"

namespace longspan {

std::int64_t pages_to_grant(std::int64_t upto, std::int64_t worst_pages, std::int64_t page_tokens) {
  constexpr std::int64_t kTokensAhead = 64;
  const std::int64_t needed = pages_for(upto, page_tokens);
  const std::int64_t ahead = pages_for(upto + kTokensAhead, page_tokens);
  return std::min(worst_pages, std::max(needed + 1, ahead));
}

}  // namespace longspan
