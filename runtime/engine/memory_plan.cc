#include "runtime/engine/memory_plan.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/str.h"
#include "scheduler/step_size.h"

namespace longspan {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Pages of one rank that hold `pages` of a request.
std::int64_t share(const JobShape& job, std::int64_t pages) {
  return job.keep == Retention::kSpread ? divide_up(pages, job.degree) : pages;
}

bool is_elastic(const JobShape& job) {
  return job.least_degree > 0 && job.least_degree < job.degree;
}

/// Pages that one rank may come to have of a request of `pages`.
std::int64_t most_pages(const JobShape& job, std::int64_t pages) {
  return is_elastic(job) ? pages : share(job, pages);
}

/// Pages of one rank that a fork is to find beside its prompt's full pages, which it shares: its
/// others, which may all come to lie on one rank, and a spare one.
std::int64_t fork_pages(const JobShape& job, const RequestShape& request) {
  const std::int64_t all = worst_pages(request, job.page_tokens);
  const std::int64_t own = all - request.prompt_tokens / job.page_tokens;
  return std::min(own, share(job, all)) + 1;
}

/// Enough for the requests that may run at once, the longest ones. Where not all may, answers to
/// one prompt may come after it has gone, as requests of their own.
std::int64_t wanted_pages(const JobShape& job) {
  const bool all_run = std::ssize(job.requests) <= job.max_running;
  std::vector<std::int64_t> pages;
  for (const RequestShape& request : job.requests) {
    pages.push_back(request.like && all_run ? fork_pages(job, request)
                                            : share(job, worst_pages(request, job.page_tokens)));
  }
  std::ranges::sort(pages, std::greater());
  std::int64_t total = 0;
  for (int i = 0; i < std::min<int>(job.max_running, std::ssize(pages)); ++i) total += pages[i];
  return total + job.spare_pages;
}

std::int64_t chunk_rows(const JobShape& job, std::int64_t tokens, int chunks) {
  const int ranks = is_elastic(job) ? job.least_degree : job.degree;
  return most_rank_rows(tokens, chunks, ranks, job.page_tokens);
}

PrefillLimits prefill_limits(const JobShape& job, std::int64_t rows, std::int64_t longest_prompt,
                             std::int64_t longest_pages) {
  const std::int64_t chunk = std::min(job.chunk_tokens, longest_prompt);
  return {.rows = rows,
          .columns = rows + most_pages(job, longest_pages) * job.page_tokens,
          .all_rows = chunk,
          .all_columns = std::min(longest_prompt, longest_pages * job.page_tokens),
          .ranks = job.degree,
          .kv_type = job.kv_type,
          .page_tokens = job.page_tokens};
}

/// A plan, or why there is none.
struct Draft {
  WorkerMemory memory;
  std::int64_t longest_pages = 0;
  std::int64_t scratch = 0;  // bytes
  bool fits = false;
};

[[noreturn]] void refuse(const Draft& draft, const JobShape& job, int tp, std::int64_t per_rank) {
  const auto page_bytes = static_cast<std::int64_t>(draft.memory.kv.page.page_bytes());
  const std::int64_t kv = draft.longest_pages * page_bytes * tp;
  const int ranks = job.degree * tp;
  const std::int64_t room = job.requests.empty() ? 0 : job.requests.front().room;
  throw OutOfMemory(
      str("{} needs {} of KV cache over {} and {} of scratch on each, but a rank has {} left; {}, "
          "lower --prefill-chunk, choose a narrower --kv-dtype, or {}",
          room > 0 ? str("a sequence of {} tokens", room) : "the longest request", human_bytes(kv),
          ranks == 1 ? "1 rank" : str("{} ranks", ranks), human_bytes(draft.scratch),
          human_bytes(per_rank),
          room > 0 ? "lower --max-model-len" : "shorten the prompt or --max-tokens",
          job.groups == 1 ? "use more ranks"
                          : "let more ranks share a sequence (--policy static_sp with a higher "
                            "--degree)"));
}

/// What one set of strategies costs a rank.
struct Cost {
  std::int64_t scratch = 0;  // bytes
  std::int64_t pages = 0;    // that fit beside it, and are wanted
};

/// The strategies of `job.plans` that memory is planned for; `cost_of(StrategySet)` is a Cost.
template <typename CostOf>
StrategySet strategies_that_fit(const JobShape& job, std::int64_t longest_pages,
                                const CostOf& cost_of) {
  const bool asked_for = job.plans.size() == 1;
  std::int64_t pages = divide_up(longest_pages, job.degree);
  if (!asked_for) {
    for (const PlannedStrategy& plan : job.plans) pages = std::max(pages, cost_of({plan}).pages);
  }
  StrategySet fitting;
  for (const PlannedStrategy& plan : job.plans) {
    if (cost_of({plan}).pages >= pages) fitting.insert(plan);
  }
  return fitting.empty() ? StrategySet{PlannedStrategy{}} : fitting;
}

Draft draft_of(const ModelConfig& config, const JobShape& job, std::int64_t per_rank) {
  std::int64_t longest_prompt = 0, longest_pages = 0;
  for (const RequestShape& request : job.requests) {
    longest_prompt = std::max(longest_prompt,
                              job.reads_answers ? worst_tokens(request) : request.longest_prompt());
    longest_pages = std::max(longest_pages, worst_pages(request, job.page_tokens));
  }
  const int running = std::min<int>(job.max_running, std::ssize(job.requests));
  const std::int64_t rows = chunk_rows(job, std::min(job.chunk_tokens, longest_prompt), 1);
  const int chunks = std::max(1, std::min(running, job.max_chunks));
  const std::int64_t step_tokens = std::min(job.chunk_tokens, chunks * longest_prompt);

  const KvPageShape page{.heads = config.heads,
                         .layers = config.layers,
                         .page_tokens = job.page_tokens,
                         .type = job.kv_type};
  const auto store = [&](std::int64_t pages) {
    const auto most = std::min<std::int64_t>(pages, std::numeric_limits<int>::max());
    return store_shape(page, static_cast<int>(most), running,
                       std::min(job.chunk_tokens, longest_prompt));
  };
  WorkerMemory memory;
  // While a prompt is read, the others decode.
  const std::int64_t most = chunk_rows(job, step_tokens, chunks) + std::max(0, running - 1);
  memory.limits = {.rows = std::min(most, job.step_rows),
                   .chunks = chunks,
                   .ffn_block_rows = job.ffn_block_rows,
                   .prefill = prefill_limits(job, rows, longest_prompt, longest_pages),
                   .attention = job.attention,
                   .decode_strategies = job.decode_strategies,
                   .decode_rows = running};

  const auto page_bytes = static_cast<std::int64_t>(page.page_bytes());
  const auto filling = static_cast<std::int64_t>(store(0).bytes());
  const auto cost_of = [&](const StrategySet& strategies) {
    Transformer::Limits limits = memory.limits;
    limits.strategies = strategies;
    const auto scratch =
        filling + static_cast<std::int64_t>(Transformer::memory_bytes(config, limits));
    const std::int64_t room = std::max<std::int64_t>(0, per_rank - scratch) / page_bytes;
    return Cost{scratch, std::min(wanted_pages(job), room)};
  };
  memory.limits.strategies = strategies_that_fit(job, longest_pages, cost_of);
  const auto [scratch, pages] = cost_of(memory.limits.strategies);
  const std::int64_t own = pages - job.spare_pages;
  const bool spread_fits = job.keep != Retention::kSpread || own >= share(job, longest_pages);
  const bool fits = scratch <= per_rank && own * job.degree >= longest_pages && spread_fits;
  memory.kv = store(pages);
  return {memory, longest_pages, scratch, fits};
}

}  // namespace

WorkerMemory plan_memory(const ModelConfig& config, const JobShape& job, std::int64_t per_rank) {
  const Draft draft = draft_of(config, job, per_rank);
  if (!draft.fits) refuse(draft, job, config.part.ranks, per_rank);
  return draft.memory;
}

std::int64_t longest_room(const ModelConfig& config, const JobShape& job, std::int64_t per_rank) {
  constexpr std::int64_t kLeast = 2;  // a prompt and an answer
  expects(!job.requests.empty(), "somebody has a room");
  JobShape tried = job;
  const auto fits = [&](std::int64_t tokens) {
    for (RequestShape& request : tried.requests) request.room = tokens;
    return draft_of(config, tried, per_rank).fits;
  };
  const std::int64_t wanted = job.requests.front().room;
  if (fits(wanted)) return wanted;
  std::int64_t most = kLeast, too_much = wanted;
  while (too_much - most > job.page_tokens) {
    const std::int64_t middle = most + (too_much - most) / 2;
    (fits(middle) ? most : too_much) = middle;
  }
  return most;
}

}  // namespace longspan
