// The options of `longspan bench model`: its own, and rows of `generate`.
#include <algorithm>
#include <array>
#include <vector>

#include "launch/bench/bench_option_table.h"

namespace longspan {
namespace {

using Row = Option<GenerateOptions>;

constexpr std::string_view kGroupWhat = "What is measured";

// A token's time is that between two.
constexpr Range kTokens{1, std::int64_t{1} << 30};
constexpr Range kAnswer{2, std::int64_t{1} << 30};
constexpr Range kRuns{2, 10'000};

const std::array kBenchModel = std::to_array<Option<BenchModelOptions>>({
    {{kGroupWhat, "tokens", "N,N,...",
      "lengths of prompts (default: 128,512, on GPUs 4096,32768, or what the model's context has "
      "room for)"},
     [](auto& o, auto& given) { o.tokens = size_list(given, kTokens); }},
    {{kGroupWhat, "answer", "N", "tokens written behind each prompt, 2 at least (default: 32)"},
     [](auto& o, auto& given) { o.answer = size(given, kAnswer); }},
    {{kGroupWhat, "repeat", "N",
      "runs of each length, 2 at least; the first does not count (default: 3)"},
     [](auto& o, auto& given) { o.repeat = static_cast<int>(whole_number(given, kRuns)); }},
    {{kGroupWhat, "seconds", "SECONDS", "how long each yardstick is repeated (default: 1)"},
     [](auto& o, auto& given) { o.seconds = seconds(given); }},
});

/// Rows of `generate` that say on what and how a sequence is computed: attention is exact, and
/// there is one sequence at a time.
constexpr auto kTaken = std::to_array<std::string_view>({"degree",        "tp",
                                                         "layout",        "strategy",
                                                         "calibrate",     "ulysses-degree",
                                                         "ring-shape",    "decode-strategy",
                                                         "prefill-chunk", "max-step-tokens",
                                                         "page-tokens",   "threads",
                                                         "bind",          "backend",
                                                         "gpu-link",      "cuda-graphs",
                                                         "dtype",         "kv-dtype",
                                                         "load-format",   "memory-limit",
                                                         "no-verify",     "hang-timeout",
                                                         "throttle-link", "json",
                                                         "log-level"});

/// A row of `generate` in the words of a bench.
Row reworded(Row row) {
  if (row.name == "degree") {
    row.help =
        "ranks that share the sequence, with --tp instances of ranks; the others idle (default: "
        "all ranks)";
  } else if (row.name == "json") {
    row.group = "How it is told";
    row.help = "print one JSON object instead of a table";
  }
  return row;
}

std::vector<Row> make_table() {
  std::vector<Row> table;
  for (const Row& row : generate_options()) {
    if (std::ranges::find(kTaken, row.name) != kTaken.end()) table.push_back(reworded(row));
  }
  return table;
}

}  // namespace

std::span<const Option<BenchModelOptions>> bench_model_options() { return kBenchModel; }

std::span<const Option<GenerateOptions>> bench_model_run_options() {
  static const std::vector<Row> table = make_table();
  return table;
}

}  // namespace longspan
