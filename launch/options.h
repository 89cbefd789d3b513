// The command line as plain values: what each command was asked to do.
//
// Everything that can be refused without opening a file or asking MPI is refused here, with one
// line that names the flag, the value and what is legal. What needs the model or the number of
// ranks (degree over ranks, prompt over context) is checked by the command.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "attention/calibration_effort.h"
#include "attention/kv_type.h"
#include "attention/shard_layout.h"
#include "attention/strategy.h"
#include "comm/backend.h"
#include "comm/binding.h"
#include "comm/launcher.h"
#include "comm/log.h"
#include "launch/attention_options.h"
#include "launch/bench/bench_options.h"
#include "launch/sampling_options.h"
#include "runtime/engine/queue_bounds.h"
#include "scheduler/memory_mode.h"
#include "scheduler/placement.h"
#include "scheduler/policies/policy.h"

namespace longspan {

enum class PromptKind {
  kText,      // the prompt itself
  kTextFile,  // a file read byte for byte; "-" is standard input
  kIdsFile,   // a JSON array of token ids
  kLines,     // JSON lines, one {"prompt"} or {"prompt_ids"} each
};

struct PromptSource {
  PromptKind kind = PromptKind::kText;
  std::string value;  // the text or the file's name

  /// Which only rank 0 has, and late.
  bool from_standard_input() const { return kind != PromptKind::kText && value == "-"; }
};

/// Whether a prompt is a user's message of a conversation.
struct ChatOptions {
  bool wraps = false;
  std::optional<std::string> system;  // the message before it
};

inline constexpr std::int64_t kDefaultMaxTokens = 128;
inline constexpr std::int64_t kDefaultAnswerTokens = 2048;  // of `longspan chat`

/// MxG: a ring of M hosts, in each a ring of G ranks.
struct RingShape {
  int outer = 1;
  int inner = 1;
};

struct GenerateOptions {
  std::string model;
  bool dummy_weights = false;  // made up, for the model folder's config.json
  PromptSource prompt;         // of no text: go on with the session
  ChatOptions chat;
  std::optional<std::int64_t> max_tokens;  // absent: the command's default, or what is left
  /// Of a whole conversation. Absent: the model's context, or what memory holds of it.
  std::optional<std::int64_t> max_model_len;

  int tp = 1;                        // ranks of an instance, which hold the weights together
  std::optional<int> degree;         // instances that split the sequence; absent: all
  std::optional<PolicyKind> policy;  // of groups of them; absent: static_sp
  Layout layout = Layout::kBlockCyclic;
  std::optional<Strategy> strategy;     // absent: the cheapest for each chunk
  std::optional<int> ulysses_degree;    // of usp; absent: the most promising
  std::optional<RingShape> ring_shape;  // of double-ring; absent: hosts x ranks of a host
  DecodeStrategy decode_strategy = DecodeStrategy::kShipped;
  CalibrationEffort calibrate = CalibrationEffort::kQuick;
  std::optional<std::int64_t> prefill_chunk;  // tokens of one step of the group; absent: automatic
  std::optional<std::int64_t> max_step_tokens;       // rows of a rank in a step; absent: automatic
  std::optional<std::chrono::milliseconds> tbt_slo;  // time between tokens; absent: any
  std::optional<int> page_tokens;                    // absent: what suits the device
  Retention keep = Retention::kSpread;
  bool random_elastic = false;  // who computes and keeps what is drawn on the way
  std::int64_t policy_seed = 1;
  std::optional<std::int64_t> move_bandwidth;  // bytes a second, 0: any; absent: automatic
  bool prefix_cache = true;                    // prompts that begin alike are computed once
  /// What the cache has no memory for: so much of the host's memory for each rank, 0: none; then a
  /// folder, and how much of it for each rank.
  std::int64_t kv_host_bytes = 0;
  std::optional<std::string> kv_disk;
  std::optional<std::int64_t> kv_disk_bytes;
  std::optional<Precision> dtype;   // absent: what is fastest here
  std::optional<KvType> kv_type;    // of KV pages; absent: as is computed
  bool rope_float32 = false;        // angles as transformers computes them
  std::optional<int> threads;       // per rank; absent: allowed cores / local ranks
  Binding bind = Binding::kAuto;    // of compute threads to cores
  std::optional<Backend> backend;   // absent: GPUs where there are any
  std::optional<GpuLink> gpu_link;  // see MachineOptions
  bool cuda_graphs = true;          // a step's kernels launched as one
  std::vector<int> compare_degrees;

  AttentionOptions attention;
  SamplingOptions sampling;

  int n = 1;  // answers to each prompt
  bool ignore_eos = false;
  int logprobs = 0;
  bool prompt_nll = false;
  std::optional<std::string> force_ids;  // a JSON array of token ids
  std::optional<std::string> session;    // a file that keeps the conversation
  bool recompute = false;                // its keys and values, from its tokens
  bool json = false;

  int max_num_seqs = 64;
  bool no_verify = false;  // load whatever the model's manifest says
  std::optional<std::size_t> memory_limit_bytes;
  std::chrono::milliseconds hang_timeout{120'000};
  std::optional<std::string> throttle_link;  // as parse_link_throttle() reads it
  std::optional<std::string> trace;          // a folder for one trace file a rank
  LogLevel log_level = LogLevel::kInfo;
};

/// A conversation, whose answers come about as those of `generate`; `run.chat` says how it begins.
struct ConversationOptions {
  GenerateOptions run;
};

/// A file of requests, answered as `run` says where they do not say themselves.
struct RunBatchOptions {
  GenerateOptions run;
  std::string input;
  std::string output;
  std::vector<std::string> names;  // of the model; empty: its own
  bool restart = false;            // drops answers that are there
  bool retry_failed = false;
  MemoryMode admission = MemoryMode::kNoEvict;
  QueueBounds queue;
};

/// A model that reads random prompts and writes answers, as `run` says.
struct BenchModelOptions {
  GenerateOptions run;
  std::vector<std::int64_t> tokens;         // of prompts; none: what suits device and context
  std::int64_t answer = 32;                 // tokens, 2 at least
  int repeat = 3;                           // of each, the first not counted; 2 at least
  std::chrono::milliseconds seconds{1000};  // of each yardstick
};

struct InspectOptions {
  std::string model;
  bool json = false;
  bool tensors = false;  // lists each
  bool write_manifest = false;
  bool force = false;  // replaces a manifest that says something else
  bool no_verify = false;
  LogLevel log_level = LogLevel::kInfo;
};

struct TraceMergeOptions {
  std::string folder;                 // of the ranks' files
  std::optional<std::string> output;  // absent: trace.json in the folder
};

enum class SessionAction { kList, kShow, kVerify };

/// What is asked of session files, without a model.
struct SessionOptions {
  SessionAction action = SessionAction::kList;
  std::string path;  // of a folder to list, else of a file
  bool json = false;
};

struct VersionRequest {};

struct HelpRequest {
  std::string text;
};

using Command = std::variant<GenerateOptions, ConversationOptions, RunBatchOptions, InspectOptions,
                             TraceMergeOptions, SessionOptions, BenchAttentionOptions,
                             BenchDecodeOptions, BenchCommOptions, BenchLoadOptions,
                             BenchModelOptions, VersionRequest, HelpRequest>;

/// `arguments`: argv without the program's name. Throws UsageError.
Command parse_command_line(const std::vector<std::string>& arguments,
                           const Environment& environment);

}  // namespace longspan
