#include "launch/option_table.h"

#include <array>
#include <limits>

#include "comm/error.h"
#include "comm/str.h"
#include "launch/option_words.h"

namespace longspan {
namespace {

constexpr Range kRanks{1, 65536};
constexpr Range kRows{1, 65536};
constexpr Range kThreads{1, 4096};
constexpr Range kPageTokens{1, 1024};
constexpr Range kTopLogprobs{0, 20};
constexpr Range kAnswers{1, 16};
constexpr Range kTopK{-1, std::numeric_limits<TokenId>::max()};
constexpr Range kTokenIds{0, std::numeric_limits<TokenId>::max()};
constexpr Range kAnyNumber{std::numeric_limits<std::int64_t>::min(),
                           std::numeric_limits<std::int64_t>::max()};

constexpr std::string_view kGroupChat = "Conversation";
constexpr std::string_view kGroupSplit = "How the sequence is split";
constexpr std::string_view kGroupAttention = "Approximate attention (never unless asked for)";
constexpr std::string_view kGroupTokens = "What is generated and reported";
constexpr std::string_view kGroupSession = "Sessions";
constexpr std::string_view kGroupSampling = "How tokens are chosen";
constexpr std::string_view kGroupLimits = "Limits and logging";

void apply_ring_shape(GenerateOptions& options, const Given& given) {
  const std::size_t times = given.value.find('x');
  if (times == std::string::npos) {
    throw UsageError(str("{} must be HOSTSxRANKS, as 2x4, not '{}'", given.name, given.value));
  }
  const auto part = [&](std::string value) {
    return static_cast<int>(whole_number({given.name, std::move(value)}, kRanks));
  };
  options.ring_shape = {part(given.value.substr(0, times)), part(given.value.substr(times + 1))};
}

void apply_policy(GenerateOptions& options, const Given& given) {
  const std::optional<PolicyKind> policy = policy_word(given);
  options.policy = policy.value_or(PolicyKind::kStaticSp);
  options.random_elastic = !policy;
}

void apply_dtype(GenerateOptions& options, const Given& given) {
  options.dtype = dtype_word(given);
}

void apply_kv_dtype(GenerateOptions& options, const Given& given) {
  std::array<std::string_view, 1 + kKvTypes.size()> words{"auto"};
  for (std::size_t i = 0; i < kKvTypes.size(); ++i) words[1 + i] = name(kKvTypes[i]);
  const std::size_t word = one_of(given, words);
  if (word > 0) options.kv_type = kKvTypes[word - 1];
}

template <PromptKind kKind>
void apply_prompt(GenerateOptions& options, const Given& given) {
  if (given.value.empty()) throw UsageError(str("the prompt is empty: {} has no text", given.name));
  options.prompt = {kKind, given.value};
}

std::vector<TokenId> stop_ids(const Given& given) {
  std::vector<TokenId> ids = number_list(given, kTokenIds, 1);
  if (ids.size() <= kMostStopIds) return ids;
  throw UsageError(
      str("{} names {} tokens; {} are the most", given.name, ids.size(), kMostStopIds));
}

void apply_prefill_chunk(GenerateOptions& options, const Given& given) {
  if (given.value == "auto") return;
  options.prefill_chunk = size(given, {});
}

void apply_tbt_slo(GenerateOptions& options, const Given& given) {
  constexpr Range kMilliseconds{1, 3'600'000};
  options.tbt_slo.reset();
  if (given.value == "off") return;
  options.tbt_slo = std::chrono::milliseconds(whole_number(given, kMilliseconds));
}

const std::array kGenerate = std::to_array<Option<GenerateOptions>>({
    {{kPromptGroup, "prompt", "TEXT", "the prompt itself"}, apply_prompt<PromptKind::kText>},
    {{kPromptGroup, "prompt-file", "FILE", "read byte for byte; - is standard input"},
     apply_prompt<PromptKind::kTextFile>},
    {{kPromptGroup, "prompt-ids", "FILE.json", "a JSON array of token ids"},
     apply_prompt<PromptKind::kIdsFile>},
    {{kPromptGroup, "prompts", "FILE.jsonl",
      "several: one {\"prompt\": TEXT} or {\"prompt_ids\": [ids]} a line; answers come in order"},
     apply_prompt<PromptKind::kLines>},

    {{kGroupChat, "chat", "",
      "take each prompt as a user's message, in the words of the model's chat template"},
     [](auto& o, auto& given) { o.chat.wraps = switch_position(given); }},
    {{kGroupChat, "system", "TEXT", "with --chat: the system message before it (default: none)"},
     [](auto& o, auto& given) { o.chat.system = given.value; }},

    {{kGroupSplit, "degree", "N",
      "ranks that share one sequence, with --tp instances of ranks: a group. As many groups as "
      "there are ranks for serve several sequences, each its own; what is left idles (default: all "
      "ranks)"},
     [](auto& o, auto& given) { o.degree = static_cast<int>(whole_number(given, kRanks)); }},
    {{kGroupSplit, "policy", "WORD",
      "which ranks serve which sequences: groups of --degree ranks (static_sp), each rank by "
      "itself "
      "(replicas), or one group of all whose steps read prompts in order, as many tokens as "
      "--prefill-chunk has beside those that are written (chunked_prefill); or, meant for tests, "
      "random_elastic: as static_sp, but which ranks compute, in which order, and which keep new "
      "and old pages is drawn anew before each chunk and token, slowly, and the tokens are the "
      "same "
      "(default: static_sp)"},
     apply_policy},
    {{kGroupSplit, "tp", "N",
      "tensor parallelism: N ranks hold the weights together, each its heads and columns, and are "
      "one instance; the job has N times as many ranks as instances (default: 1)"},
     [](auto& o, auto& given) { o.tp = static_cast<int>(whole_number(given, kRanks)); }},
    {{kGroupSplit, "layout", "WORD",
      "how new tokens are dealt to ranks: block-cyclic, striped, zigzag, contiguous or folded "
      "(default: block-cyclic)"},
     [](auto& o, auto& given) { o.layout = layout_word(given); }},
    {{kGroupSplit, "strategy", "WORD",
      "what travels while the prompt is read: ring, query-ring, all-gather, gather-q, ulysses, "
      "usp, double-ring, or auto: for each chunk the one that should take least time (default: "
      "auto)"},
     [](auto& o, auto& given) { o.strategy = strategy_word(given); }},
    {{kGroupSplit, "calibrate", "WORD",
      "for --strategy auto, measure kernels and links at the first start of its kind: quick (5 s "
      "at "
      "most), full (2 minutes at most) or off (assume) (default: quick)"},
     [](auto& o, auto& given) { o.calibrate = calibrate_word(given); }},
    {{kGroupSplit, "ulysses-degree", "N",
      "with --strategy usp: ranks that trade heads; the rest is a ring of such groups (default: "
      "the most that fit in a host)"},
     [](auto& o, auto& given) {
       o.ulysses_degree = static_cast<int>(whole_number(given, kRanks));
     }},
    {{kGroupSplit, "ring-shape", "MxG",
      "with --strategy double-ring: M hosts of G ranks (default: as the hosts are)"},
     apply_ring_shape},
    {{kGroupSplit, "decode-strategy", "WORD",
      "who computes a new token: the rank that keeps it, asking the others for partial results "
      "(shipped), also in a tree of ranks (tree), every rank alike (mirrored), or each a part of "
      "every weight (sliced) (default: shipped)"},
     [](auto& o, auto& given) { o.decode_strategy = decode_strategy_word(given); }},
    {{kGroupSplit, "prefill-chunk", "TOKENS",
      "prompt tokens that the ranks together read in one step, or auto (default: auto)"},
     apply_prefill_chunk},
    {{kGroupSplit, "tbt-slo-ms", "MS",
      "read less of a prompt in a step, so that answers beside it get a token every MS "
      "milliseconds, where that changes no answer (KV in float32); or off (default: off)"},
     apply_tbt_slo},
    {{kGroupSplit, "max-step-tokens", "TOKENS",
      "prompt tokens and answers that a rank computes in one step at most: memory is set aside for "
      "so many (default: 2048, on GPUs 16384, or what --prefill-chunk takes)"},
     [](auto& o, auto& given) { o.max_step_tokens = size(given, {}); }},
    {{kGroupSplit, "page-tokens", "N",
      "tokens of one KV page, a power of two from 1 to 1024 (default: 16, on GPUs 128)"},
     [](auto& o, auto& given) { o.page_tokens = power_of_two(given, kPageTokens); }},
    {{kGroupSplit, "keep", "WORD",
      "where the prompt's KV stays: spread over all ranks, or on the fewest that hold it, which "
      "then decode alone (default: spread)"},
     [](auto& o, auto& given) {
       constexpr std::array<std::string_view, 2> kWords = {"spread", "fewest"};
       o.keep = static_cast<Retention>(one_of(given, kWords));
     }},
    {{kGroupSplit, "policy-seed", "N", "with --policy random_elastic: what it draws (default: 1)"},
     [](auto& o, auto& given) { o.policy_seed = whole_number(given, kAnyNumber); }},
    {{kGroupSplit, "move-bandwidth", "BYTES",
      "with --policy random_elastic: bytes of pages a second that may move from rank to rank while "
      "steps wait, as 500M or 2G; what is more goes on behind later steps; 0: all at once "
      "(default: a tenth of what links between ranks carry)"},
     [](auto& o, auto& given) { o.move_bandwidth = size(given, {.least = 0}); }},
    {{kGroupSplit, "prefix-cache", "WORD",
      "on: of prompts that begin alike, what is the same is read once, as far as memory keeps it, "
      "where that changes no answer; or off (default: on)"},
     [](auto& o, auto& given) {
       constexpr std::array<std::string_view, 2> kWords = {"on", "off"};
       o.prefix_cache = one_of(given, kWords) == 0;
     }},
    {{kGroupSplit, "kv-host-bytes", "BYTES",
      "keep what the prefix cache has no memory for in so much of the host's memory for each rank, "
      "as 500M or 20G: prompts that come again are brought back from there while others go on, and "
      "not read anew. For GPUs, which copy from it by themselves: it is taken at the start, and "
      "pinned. On CPUs it is of the memory that the cache itself could have (default: 0, none)"},
     [](auto& o, auto& given) { o.kv_host_bytes = size(given, {.least = 0}); }},
    {{kGroupSplit, "kv-disk", "DIR",
      "the same in DIR, a folder on a local disk; with --kv-host-bytes what that has no room for. "
      "Each rank has a file of its own there, without a name, that is gone when it ends (default: "
      "none)"},
     [](auto& o, auto& given) { o.kv_disk = some_text(given); }},
    {{kGroupSplit, "kv-disk-bytes", "BYTES",
      "with --kv-disk: how much of it each rank may take, as 500M or 20G; what was used least "
      "recently goes first (no default)"},
     [](auto& o, auto& given) { o.kv_disk_bytes = size(given, {}); }},
    {{kGroupSplit, "threads", "N",
      "threads of each rank (default: allowed cores / ranks on this host)"},
     [](auto& o, auto& given) { o.threads = static_cast<int>(whole_number(given, kThreads)); }},
    {{kGroupSplit, "bind", "WORD",
      "auto: where ranks share a host and the launcher has not bound them, compute threads of each "
      "keep to cores of its own, of one NUMA node if they fit; none: they do not (default: auto)"},
     [](auto& o, auto& given) { o.bind = bind_word(given); }},
    {{kGroupSplit, "backend", "WORD",
      "what computes: cpu; cuda, with a GPU for each rank; or auto: GPUs, unless no rank sees one "
      "(default: auto)"},
     [](auto& o, auto& given) { o.backend = backend_word(given); }},
    {{kGroupSplit, "gpu-link", "WORD",
      "what carries keys and queries between GPUs: nccl; peer, where all ranks are of one host: "
      "copy engines and stores into memory that GPUs share, in which ranks may also share a GPU; "
      "or auto: peer where it links all ranks and each has a GPU of its own, else nccl (default: "
      "auto)"},
     [](auto& o, auto& given) { o.gpu_link = gpu_link_word(given); }},
    {{kGroupSplit, "cuda-graphs", "WORD",
      "on: one GPU, or several that peer links, decode up to 16 rows at a time by CUDA graphs, all "
      "kernels of a step launched as one: a token takes some percent less; or off (default: on)"},
     [](auto& o, auto& given) {
       constexpr std::array<std::string_view, 2> kWords = {"on", "off"};
       o.cuda_graphs = one_of(given, kWords) == 0;
     }},
    {{kGroupSplit, "dtype", "WORD",
      "what matrices are stored and multiplied in: float32, bfloat16 (half the memory, rounds "
      "weights and activations; sums stay float32) or auto: bfloat16 on GPUs and where all ranks "
      "have AMX (default: auto)"},
     apply_dtype},
    {{kGroupSplit, "kv-dtype", "WORD",
      "how the KV cache is stored: auto, float32, float16, bfloat16 or int8; the narrow ones take "
      "a "
      "half, a half and about a quarter, and round every key and value once (int8: when its page "
      "is "
      "full, by a scale for each head of the page) (default: auto, as it is computed)"},
     apply_kv_dtype},
    {{kGroupSplit, "rope-float32", "",
      "compute RoPE's angles in float32, as Hugging Face transformers does, to compare with it; a "
      "millionth token is then turned up to a tenth of a radian off (default: exact angles)"},
     [](auto& o, auto& given) { o.rope_float32 = switch_position(given); }},
    {{kGroupSplit, "compare-degrees", "N,N,...",
      "run at each degree and compare token by token; exit 1 at the first that differs"},
     [](auto& o, auto& given) { o.compare_degrees = number_list(given, kRanks, 2); }},

    {{kGroupAttention, "attention", "WORD",
      "which keys a token of the prompt sees: all before it (exact); the first ones and the last "
      "(sinks; so does the answer); the first block and its own, but all for the prompt's end "
      "(star); so, and the best tokens of the blocks between (apb); or the blocks that should have "
      "most of its attention (block-sparse). The last two read a prompt in one step (default: "
      "exact)"},
     [](auto& o, auto& given) { o.attention.kind = attention_word(given); }},
    {{kGroupAttention, "sink-tokens", "TOKENS",
      "sinks: first tokens of the sequence that every token sees (default: 4)"},
     [](auto& o, auto& given) { o.attention.sink_tokens = size(given, {.least = 0}); }},
    {{kGroupAttention, "window-tokens", "TOKENS",
      "sinks: tokens before a token, its own included, that it sees (default: 2048)"},
     [](auto& o, auto& given) { o.attention.window_tokens = size(given, {}); }},
    {{kGroupAttention, "block-tokens", "TOKENS",
      "star, apb, block-sparse: tokens of a block, counted from the first of the sequence "
      "(default: "
      "4096, block-sparse 64)"},
     [](auto& o, auto& given) { o.attention.block_tokens = size(given, {}); }},
    {{kGroupAttention, "query-tokens", "TOKENS",
      "star, apb: tokens at the prompt's end that see everything (default: its last block)"},
     [](auto& o, auto& given) { o.attention.query_tokens = size(given, {.least = 0}); }},
    {{kGroupAttention, "anchor-tokens", "TOKENS",
      "apb: first tokens of the sequence that every token sees (default: a quarter of a block)"},
     [](auto& o, auto& given) { o.attention.anchor_tokens = size(given, {.least = 0}); }},
    {{kGroupAttention, "passing-tokens", "TOKENS",
      "apb: tokens of each block that all later ones see, by KV head (default: an eighth of a "
      "block)"},
     [](auto& o, auto& given) { o.attention.passing_tokens = size(given, {.least = 0}); }},
    {{kGroupAttention, "observed-tokens", "TOKENS",
      "apb: tokens at a block's end whose queries say which of its tokens are best (default: 32)"},
     [](auto& o, auto& given) { o.attention.observed_tokens = size(given, {}); }},
    {{kGroupAttention, "block-mass", "SHARE",
      "block-sparse: share of a block's attention that the chosen ones should hold, above 0 and up "
      "to 1 (default: 0.95)"},
     [](auto& o, auto& given) { o.attention.block_mass = share(given); }},
    {{kGroupAttention, "balance", "WORD",
      "block-sparse, where keys travel: whether rows that turn out to be much work are attended by "
      "ranks with less (rows), or stay where they are (none) (default: rows)"},
     [](auto& o, auto& given) {
       constexpr std::array<std::string_view, 2> kWords = {"rows", "none"};
       o.attention.balances_rows = one_of(given, kWords) == 0;
     }},

    {{kGroupTokens, "max-tokens", "N",
      "stop after N tokens (default: 128, or what the context leaves)"},
     [](auto& o, auto& given) { o.max_tokens = size(given, {}); }},
    {{kGroupTokens, "n", "N", "answers to each prompt, which is read once, 1 to 16 (default: 1)"},
     [](auto& o, auto& given) { o.n = static_cast<int>(whole_number(given, kAnswers)); }},
    {{kGroupTokens, "ignore-eos", "", "go on after the model's end of text"},
     [](auto& o, auto& given) { o.ignore_eos = switch_position(given); }},
    {{kGroupTokens, "logprobs", "K",
      "report each token's log-probability and the K best, 0 to 20 (default: 0)"},
     [](auto& o, auto& given) {
       o.logprobs = static_cast<int>(whole_number(given, kTopLogprobs));
     }},
    {{kGroupTokens, "prompt-nll", "", "report the prompt's negative log-likelihood, in nats"},
     [](auto& o, auto& given) { o.prompt_nll = switch_position(given); }},
    {{kGroupTokens, "force-ids", "FILE.json",
      "write these ids (a JSON array) instead of the likeliest; log-probabilities stay the "
      "model's"},
     [](auto& o, auto& given) { o.force_ids = some_text(given); }},
    {{kGroupTokens, "json", "", "print one JSON object a prompt instead of text"},
     [](auto& o, auto& given) { o.json = switch_position(given); }},

    {{kGroupSession, "session", "FILE",
      "go on with what FILE holds, whose keys and values need not be computed again, and save it "
      "there at the end; without FILE it begins; the prompt follows what is there, and may be left "
      "out"},
     [](auto& o, auto& given) { o.session = some_text(given); }},
    {{kGroupSession, "recompute", "",
      "with --session: read its tokens again, where model or KV type are others than it was saved "
      "with"},
     [](auto& o, auto& given) { o.recompute = switch_position(given); }},

    {{kGroupSampling, "temperature", "T",
      "0 takes the likeliest token at each step; up to 2: draw, likely tokens the more often the "
      "lower it is (default: the model's, see --generation-config; else 1 if --top-k, --top-p, "
      "--min-p or --seed is given, or 0)"},
     [](auto& o, auto& given) { o.sampling.temperature = real_number(given, kTemperatures); }},
    {{kGroupSampling, "top-k", "K",
      "draw from the K likeliest tokens; 0 or -1: all (default: all)"},
     [](auto& o, auto& given) { o.sampling.top_k = whole_number(given, kTopK); }},
    {{kGroupSampling, "top-p", "P",
      "draw from the fewest tokens that are this probable together, above 0 and up to 1 (default: "
      "1)"},
     [](auto& o, auto& given) { o.sampling.top_p = real_number(given, kTopPs); }},
    {{kGroupSampling, "min-p", "P",
      "draw from tokens at least P times as probable as the likeliest, 0 to 1 (default: 0)"},
     [](auto& o, auto& given) { o.sampling.min_p = real_number(given, kMinPs); }},
    {{kGroupSampling, "repetition-penalty", "X",
      "divides the logits of tokens of prompt and answer (multiplies negative ones), above 0 and "
      "up "
      "to 10 (default: 1)"},
     [](auto& o, auto& given) {
       o.sampling.repetition_penalty = real_number(given, kRepetitionPenalties);
     }},
    {{kGroupSampling, "presence-penalty", "X",
      "taken from the logits of tokens that the answer has, -2 to 2 (default: 0)"},
     [](auto& o, auto& given) { o.sampling.presence_penalty = real_number(given, kPenalties); }},
    {{kGroupSampling, "frequency-penalty", "X",
      "the same, for each time that it has them, -2 to 2 (default: 0)"},
     [](auto& o, auto& given) { o.sampling.frequency_penalty = real_number(given, kPenalties); }},
    {{kGroupSampling, "logit-bias", "ID:BIAS,...",
      "added to the logits of these tokens, -100 to 100 each (default: none)"},
     [](auto& o, auto& given) { o.sampling.bias = token_biases(given.name, given.value); }},
    {{kGroupSampling, "seed", "N",
      "whole number from which all draws follow: the same text at every degree, chunk and layout "
      "(default: another one each time; --json shows it)"},
     [](auto& o, auto& given) { o.sampling.seed = whole_number(given, kAnyNumber); }},
    {{kGroupSampling, "stop", "TEXT",
      "end the answer before this text, or before any of several: [\"one\", \"two\"], 16 of 256 "
      "bytes at most (default: none)"},
     [](auto& o, auto& given) { o.sampling.stop_texts = stop_texts(given.name, given.value); }},
    {{kGroupSampling, "stop-ids", "ID,ID,...",
      "end the answer at these tokens too, 64 at most (default: the model's end of text alone)"},
     [](auto& o, auto& given) { o.sampling.stop_ids = stop_ids(given); }},
    {{kGroupSampling, "min-tokens", "N",
      "no end of text, --stop-ids or --stop before N tokens (default: 0)"},
     [](auto& o, auto& given) { o.sampling.min_tokens = size(given, {.least = 0}); }},
    {{kGroupSampling, "generation-config", "WORD",
      "where defaults of temperature, top-k, top-p, min-p and repetition-penalty come from: the "
      "model folder's generation_config.json (model), or nowhere (none) (default: model)"},
     [](auto& o, auto& given) {
       constexpr std::array<std::string_view, 2> kWords = {"model", "none"};
       o.sampling.uses_model_defaults = one_of(given, kWords) == 0;
     }},

    {{kGroupLimits, "max-num-seqs", "N", "sequences that run together (default: 64)"},
     [](auto& o, auto& given) { o.max_num_seqs = static_cast<int>(whole_number(given, kRows)); }},
    {{kGroupLimits, "load-format", "WORD",
      "auto: the model's weights; dummy: made-up ones, for a folder with no more than a "
      "config.json, "
      "to measure with (default: auto)"},
     [](auto& o, auto& given) {
       constexpr std::array<std::string_view, 2> kWords = {"auto", "dummy"};
       o.dummy_weights = one_of(given, kWords) == 1;
     }},
    {{kGroupLimits, "memory-limit", "BYTES",
      "plan for at most this much memory on each host, as 500M or 2G (k 1000, K 1024; m, M, g, G "
      "alike) (default: what the host or its cgroup has)"},
     [](auto& o, auto& given) {
       o.memory_limit_bytes = static_cast<std::size_t>(size(given, {}));
     }},
    {{kGroupLimits, "no-verify", "",
      "do not compare the model's files with its manifest, which inspect --write-manifest writes "
      "(default: compare where there is one)"},
     [](auto& o, auto& given) { o.no_verify = switch_position(given); }},
    {{kGroupLimits, "hang-timeout", "SECONDS",
      "give up an exchange between ranks that takes longer, and a step of a group without rank 0, "
      "which only waits for it (default: 120)"},
     [](auto& o, auto& given) { o.hang_timeout = seconds(given); }},
    {{kGroupLimits, "throttle-link", "RATE[,LATENCY]",
      "slow every message between ranks down, as 25M or 1.25G,200us (bytes per second), to see "
      "here "
      "what a network does (default: as fast as it is)"},
     [](auto& o, auto& given) { o.throttle_link = link_throttle_text(given); }},
    {{kGroupLimits, "trace", "DIR",
      "write what each rank did and when to DIR/rank-N.json (DIR is made if missing, an earlier "
      "trace in it replaced), for longspan trace merge, Perfetto or chrome://tracing (default: no "
      "trace)"},
     [](auto& o, auto& given) { o.trace = some_text(given); }},
    {{kGroupLimits, "log-level", "WORD", "error, warning, info or debug (default: info)"},
     [](auto& o, auto& given) { o.log_level = log_level_word(given); }},
});

const std::array kInspect = std::to_array<Option<InspectOptions>>({
    {{"Options", "json", "", "print one JSON object instead of text"},
     [](auto& o, auto& given) { o.json = switch_position(given); }},
    {{"Options", "tensors", "", "list every tensor: name, type, shape (rows first) and bytes"},
     [](auto& o, auto& given) { o.tensors = switch_position(given); }},
    {{"Options", "write-manifest", "",
      "read all files of the model and write their SHA-256 to MODEL.manifest.json, in a folder "
      "longspan-manifest.json; generate then compares them before it loads the model"},
     [](auto& o, auto& given) { o.write_manifest = switch_position(given); }},
    {{"Options", "force", "", "with --write-manifest: replace one that says something else"},
     [](auto& o, auto& given) { o.force = switch_position(given); }},
    {{"Options", "no-verify", "",
      "do not compare the sizes of the model's files with its manifest, to look at one that "
      "differs (default: compare where there is one)"},
     [](auto& o, auto& given) { o.no_verify = switch_position(given); }},
    {{"Options", "log-level", "WORD", "error, warning, info or debug (default: info)"},
     [](auto& o, auto& given) { o.log_level = log_level_word(given); }},
});

const std::array kTraceMerge = std::to_array<Option<TraceMergeOptions>>({
    {{"Options", "output", "FILE", "where the merged trace goes (default: DIR/trace.json)", 'o'},
     [](auto& o, auto& given) { o.output = some_text(given); }},
});

const std::array kSession = std::to_array<Option<SessionOptions>>({
    {{"Options", "json", "", "print one JSON object a session instead of text"},
     [](auto& o, auto& given) { o.json = switch_position(given); }},
});

}  // namespace

std::string OptionText::environment_name() const {
  std::string text = "LONGSPAN_" + std::string(name);
  for (char& letter : text) {
    letter = letter == '-' ? '_' : letter >= 'a' && letter <= 'z' ? letter - 'a' + 'A' : letter;
  }
  return text;
}

std::span<const Option<GenerateOptions>> generate_options() { return kGenerate; }
std::span<const Option<InspectOptions>> inspect_options() { return kInspect; }
std::span<const Option<TraceMergeOptions>> trace_merge_options() { return kTraceMerge; }
std::span<const Option<SessionOptions>> session_options() { return kSession; }

}  // namespace longspan
