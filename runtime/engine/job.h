// What a job is: how its ranks share sequences and memory, and one that lasts as long as rank 0 has
// requests for it. runtime/engine/engine.h is how commands use it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "attention/approximation.h"
#include "comm/machine.h"
#include "runtime/engine/coordinator.h"
#include "runtime/engine/tier_shape.h"
#include "runtime/engine/worker.h"
#include "scheduler/policies/policy.h"

namespace longspan {

struct JobOptions {
  int degree = 1;  // instances that split each sequence: of a group
  /// Of `degree` instances each, as the policy forms them; instances beyond them idle.
  int groups = 1;
  PolicyKind policy = PolicyKind::kStaticSp;
  std::int64_t page_tokens = 16;
  DealtBy layout = DealtBy::kBlockCyclic;
  /// Absent: 512 per rank of the degree. Without effect where `attention` reads prompts whole.
  std::optional<std::int64_t> chunk_tokens;
  /// Rows of one rank in a step, chunks and rows that decode: buffers are made for so many at most,
  /// and chunks and the number of requests that run give way. Absent: as those two need.
  std::optional<std::int64_t> max_step_tokens;
  /// Of a step's time, for which a prompt's chunk gives way where that changes no token; it decides
  /// with whom it shares a step wherever it is. Absent: any.
  std::optional<std::chrono::milliseconds> tbt_target;
  std::int64_t ffn_block_rows = Transformer::Limits{}.ffn_block_rows;
  Retention keep = Retention::kSpread;
  KvType kv_type = KvType::kFloat32;  // of pages
  /// Legal for the degree, the model and the other options. One: it is used, or ring where there is
  /// no memory for it. Several: of those with memory the cheapest by `rates`, chunk by chunk.
  std::vector<PlannedStrategy> plans{PlannedStrategy{}};
  DecodeStrategy decode_strategy = DecodeStrategy::kShipped;
  Approximation attention;  // exact, unless somebody asked for less
  MachineRates rates = default_rates("avx2", 1);
  std::vector<int> hosts;  // for each instance of the groups a number for its host; empty: one
  int max_running = 64;    // of all groups together, each an equal part
  /// Whether requests that name a limit wait for all memory that they can come to need.
  MemoryMode memory = MemoryMode::kNoEvict;
  /// Tokens of an answer for which memory is promised at a time, where not for all; and of one
  /// without a limit.
  std::int64_t answer_part = PlannerOptions{}.answer_part;
  std::int64_t open_answer_part = PlannerOptions{}.open_answer_part;
  /// A seed: which ranks compute a chunk, whose new pages are and where full ones lie is drawn at
  /// each border. For tests; strategies must then pass keys and be legal for any number of ranks.
  std::optional<std::uint64_t> random_elastic;
  bool prefix_cache = true;  // prompts that begin alike are computed once, where that is exact
  /// Where what the cache has no memory for is kept: so much of the host's memory, of each rank,
  /// then a disk. Of no use where nothing is cached.
  std::int64_t kv_host_bytes = 0;
  std::optional<KvDisk> kv_disk;
  /// Bytes a second of pages that a policy moves, for which steps wait; 0: any. Absent: a tenth of
  /// what the slowest link carries.
  std::optional<std::int64_t> move_bandwidth;
  int spare_pages = 0;  // of each instance, beside those of the requests: only moves take them
  std::optional<std::int64_t> memory_limit;
  std::chrono::milliseconds hang_timeout{120'000};  // for control messages, a step's report too
  /// If any: asked on rank 0 before each step whether to write the scheduler's state to a file.
  std::function<bool()> state_wanted;
};

/// What rank 0 needs.
struct SessionInput {
  /// Of the requests that run at once: memory is planned for them.
  std::vector<RequestShape> shapes;
  /// Whether the room, one for all shapes, gives way to what memory holds of one of them; `drive`
  /// can read there what it has become.
  bool room_gives_way = false;
  Coordinator::Listener listener;
  /// Submits requests and runs steps. The session ends when it returns; other ranks wait for as
  /// long as it takes.
  std::function<void(Coordinator&)> drive;
};

/// Every rank calls this with the same options; rank 0 with the input, the others without. The
/// model says how many ranks form an instance (InstanceRanks). Returns the ranks' summaries on rank
/// 0. A failure to plan or allocate on any rank is thrown on all.
std::vector<RankSummary> run_session(Machine& machine, LoadedModel& model,
                                     const JobOptions& options, SessionInput* input);

}  // namespace longspan
