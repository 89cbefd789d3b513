#include "launch/bench/bench_option_table.h"

#include <algorithm>
#include <array>

namespace longspan {
namespace {

constexpr Range kRanks{1, 65536};
constexpr Range kThreads{1, 4096};
constexpr Range kPageTokens{1, 1024};
constexpr Range kTokens{1, std::int64_t{1} << 30};
constexpr Range kCached{0, std::int64_t{1} << 30};
constexpr Range kRows{1, 4096};
constexpr Range kPairs{1, 10'000};
constexpr Range kBytes{1, std::int64_t{1} << 30};

constexpr std::string_view kGroupWhat = "What is measured";
constexpr std::string_view kGroupHow = "How it is measured and told";

/// Options of every bench, for the table of one. (The argument of `apply` is not a template, so
/// each table has functions of its own.)
template <typename Options>
Option<Options> degree_option() {
  return {{kGroupHow, "degree", "N", "ranks that take part; the others idle (default: all ranks)"},
          [](Options& o, const Given& given) {
            o.degree = static_cast<int>(whole_number(given, kRanks));
          }};
}

template <typename Options>
Option<Options> threads_option() {
  return {{kGroupHow, "threads", "N",
           "threads of each rank (default: allowed cores / ranks on this host)"},
          [](Options& o, const Given& given) {
            o.threads = static_cast<int>(whole_number(given, kThreads));
          }};
}

template <typename Options>
Option<Options> bind_option() {
  return {
      {kGroupHow, "bind", "WORD",
       "auto: where ranks share a host and the launcher has not bound them, compute threads of "
       "each "
       "keep to cores of its own, of one NUMA node if they fit; none: they do not (default: auto)"},
      [](Options& o, const Given& given) { o.bind = bind_word(given); }};
}

template <typename Options>
Option<Options> backend_option() {
  return {{kGroupHow, "backend", "WORD",
           "what is measured: cpu; cuda, with a GPU for each rank; or auto: GPUs, unless no rank "
           "sees one (default: auto)"},
          [](Options& o, const Given& given) { o.backend = backend_word(given); }};
}

template <typename Options>
Option<Options> gpu_link_option() {
  return {
      {kGroupHow, "gpu-link", "WORD",
       "what carries messages between GPUs: nccl; peer: memory that those of one host share; or "
       "auto: peer where it links all ranks (default: auto)"},
      [](Options& o, const Given& given) { o.gpu_link = gpu_link_word(given); }};
}

template <typename Options>
Option<Options> seconds_option() {
  return {{kGroupHow, "seconds", "SECONDS",
           "how long each figure is repeated, three times at least (default: 1)"},
          [](Options& o, const Given& given) { o.seconds = seconds(given); }};
}

template <typename Options>
Option<Options> throttle_option() {
  return {{kGroupHow, "throttle-link", "RATE[,LATENCY]",
           "slow every message between ranks down, as 25M or 1.25G,200us (bytes per second), to "
           "see here what a network does (default: as fast as it is)"},
          [](Options& o, const Given& given) { o.throttle_link = link_throttle_text(given); }};
}

template <typename Options>
Option<Options> json_option() {
  return {{kGroupHow, "json", "", "print one JSON object instead of a table"},
          [](Options& o, const Given& given) { o.json = switch_position(given); }};
}

template <typename Options>
Option<Options> log_level_option() {
  return {{kGroupHow, "log-level", "WORD", "error, warning, info or debug (default: info)"},
          [](Options& o, const Given& given) { o.log_level = log_level_word(given); }};
}

using Attention = BenchAttentionOptions;

const std::array kAttention = std::to_array<Option<Attention>>({
    {{kGroupWhat, "tokens", "N,N,...",
      "new tokens of a chunk, of all ranks together (default: 512,2048,8192)"},
     [](auto& o, auto& given) { o.tokens = size_list(given, kTokens); }},
    {{kGroupWhat, "cached", "N", "tokens before the chunk, whose keys lie in pages (default: 0)"},
     [](auto& o, auto& given) { o.cached = size(given, kCached); }},
    {{kGroupWhat, "random", "N",
      "N random pairs of new and cached tokens instead, the same in every run: up to the most of "
      "--tokens, and to --cached (default: as many), by their logarithm"},
     [](auto& o, auto& given) { o.random = static_cast<int>(whole_number(given, kPairs)); }},
    {{kGroupWhat, "heads", "Q/KVxSIZE",
      "query heads, KV heads, head size: 32/8x128 or 32x8x128 (default: 9/3x64)"},
     [](auto& o, auto& given) { o.heads = head_shape(given); }},
    {{kGroupWhat, "layout", "WORD,...",
      "all, or of block-cyclic, striped, zigzag, contiguous and folded (default: block-cyclic)"},
     [](auto& o, auto& given) { o.layouts = layout_words(given); }},
    {{kGroupWhat, "strategy", "WORD,...",
      "all that are legal, auto: what the cost model chooses of them, or of ring, query-ring, "
      "all-gather, gather-q, ulysses, usp (in every way that it divides the ranks) and double-ring "
      "(default: all)"},
     [](auto& o, auto& given) { o.strategies = strategy_wish(given); }},
    {{kGroupWhat, "page-tokens", "N",
      "tokens of one KV page, a power of two from 1 to 1024 (default: 16, on GPUs 128)"},
     [](auto& o, auto& given) { o.page_tokens = power_of_two(given, kPageTokens); }},

    degree_option<Attention>(),
    threads_option<Attention>(),
    bind_option<Attention>(),
    backend_option<Attention>(),
    gpu_link_option<Attention>(),
    seconds_option<Attention>(),
    {{kGroupHow, "dtype", "WORD",
      "what kernels, and the matrix product beside them, multiply in: float32, bfloat16 or auto: "
      "bfloat16 on GPUs and where all ranks have AMX (default: auto)"},
     [](auto& o, auto& given) { o.dtype = dtype_word(given); }},
    {{kGroupHow, "calibrate", "WORD",
      "how well the cost model's constants are measured at the first start of its kind: quick (5 s "
      "at most), full (2 minutes at most) or off (assume) (default: quick, on GPUs off)"},
     [](auto& o, auto& given) { o.calibrate = calibrate_word(given); }},
    {{kGroupHow, "predict", "FILE.json",
      "measure nothing: print what the cost model expects of --degree ranks of one host, which "
      "need not be there, with the rates that this file of --json has (default: measure)"},
     [](auto& o, auto& given) { o.predict = some_text(given); }},
    throttle_option<Attention>(),
    json_option<Attention>(),
    {{kGroupHow, "plot", "FILE.svg",
      "draw the share of the ideal over tokens per rank, a line for each layout and strategy "
      "(default: no plot)"},
     [](auto& o, auto& given) { o.plot = some_text(given); }},
    log_level_option<Attention>(),
});

using Decode = BenchDecodeOptions;

void apply_kv_dtype(Decode& options, const Given& given) {
  constexpr std::array kTypes{KvType::kFloat32, KvType::kFloat16, KvType::kBFloat16};
  std::array<std::string_view, kTypes.size()> words;
  std::ranges::transform(kTypes, words.begin(), [](KvType type) { return name(type); });
  options.kv_type = kTypes[one_of(given, words)];
}

void apply_row_keys(Decode& options, const Given& given) {
  constexpr std::array kKinds{RowKeys::kOwn, RowKeys::kShared};
  constexpr std::array kWords{name(kKinds[0]), name(kKinds[1])};
  options.row_keys.clear();
  for (const std::size_t i : some_of(given, kWords)) options.row_keys.push_back(kKinds[i]);
}

const std::array kDecode = std::to_array<Option<Decode>>({
    {{kGroupWhat, "context", "N,N,...",
      "keys of each row, spread over the ranks page by page (default: 4K,32K)"},
     [](auto& o, auto& given) { o.contexts = size_list(given, kTokens); }},
    {{kGroupWhat, "rows", "N,N,...", "rows of a step, over all ranks (default: 1,8)"},
     [](auto& o, auto& given) { o.rows = number_list(given, kRows, 1); }},
    {{kGroupWhat, "keys", "WORD,...",
      "own: each row has keys of its own; shared: rows are answers to one prompt, and all but the "
      "last page of their keys is the same memory (default: own)"},
     apply_row_keys},
    {{kGroupWhat, "heads", "Q/KVxSIZE",
      "query heads, KV heads, head size: 32/8x128 or 32x8x128 (default: 9/3x64)"},
     [](auto& o, auto& given) { o.heads = head_shape(given); }},
    {{kGroupWhat, "decode-strategy", "WORD,...",
      "all, or of shipped, mirrored, tree and sliced (default: all)"},
     [](auto& o, auto& given) { o.strategies = decode_strategy_words(given); }},
    {{kGroupWhat, "page-tokens", "N",
      "tokens of one KV page, a power of two from 1 to 1024 (default: 16, on GPUs 128)"},
     [](auto& o, auto& given) { o.page_tokens = power_of_two(given, kPageTokens); }},
    {{kGroupWhat, "kv-dtype", "WORD",
      "how keys and values lie in pages: float32, float16 or bfloat16 (default: float32, on GPUs "
      "bfloat16)"},
     apply_kv_dtype},

    degree_option<Decode>(),
    threads_option<Decode>(),
    bind_option<Decode>(),
    backend_option<Decode>(),
    gpu_link_option<Decode>(),
    seconds_option<Decode>(),
    throttle_option<Decode>(),
    json_option<Decode>(),
    log_level_option<Decode>(),
});

using Comm = BenchCommOptions;

const std::array kComm = std::to_array<Option<Comm>>({
    {{kGroupWhat, "bytes", "N,N,...",
      "sizes of the messages that go round (default: 1K,16K,256K,4M,16M)"},
     [](auto& o, auto& given) { o.bytes = size_list(given, kBytes); }},

    degree_option<Comm>(),
    threads_option<Comm>(),
    bind_option<Comm>(),
    backend_option<Comm>(),
    gpu_link_option<Comm>(),
    seconds_option<Comm>(),
    throttle_option<Comm>(),
    json_option<Comm>(),
    log_level_option<Comm>(),
});

using Load = BenchLoadOptions;

const std::array kLoad = std::to_array<Option<Load>>({
    {{kGroupWhat, "dtype", "WORD",
      "what matrices become in memory: float32, bfloat16 or auto: bfloat16 where all ranks have "
      "AMX (default: auto)"},
     [](auto& o, auto& given) { o.dtype = dtype_word(given); }},

    threads_option<Load>(),
    bind_option<Load>(),
    seconds_option<Load>(),
    json_option<Load>(),
    log_level_option<Load>(),
});

}  // namespace

std::span<const Option<BenchAttentionOptions>> bench_attention_options() { return kAttention; }
std::span<const Option<BenchDecodeOptions>> bench_decode_options() { return kDecode; }
std::span<const Option<BenchCommOptions>> bench_comm_options() { return kComm; }
std::span<const Option<BenchLoadOptions>> bench_load_options() { return kLoad; }

}  // namespace longspan
