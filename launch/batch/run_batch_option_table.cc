#include <algorithm>
#include <array>
#include <vector>

#include "comm/error.h"
#include "comm/str.h"
#include "launch/option_table.h"

namespace longspan {
namespace {

using Row = Option<GenerateOptions>;

constexpr std::string_view kGroupBatch = "Requests and answers";
constexpr std::string_view kGroupQueue = "Who waits for whom";
constexpr std::string_view kGroupDefaults = "What a request gets that does not say";

constexpr Range kQueued{1, 1 << 20};

/// Rows of `generate` that a request says itself, or that are about prompts known at the start.
/// Approximate attention is left out with them: an answer in OpenAI's format cannot say that it is.
constexpr auto kLeftOut = std::to_array<std::string_view>({"prompt",
                                                           "prompt-file",
                                                           "prompt-ids",
                                                           "prompts",
                                                           "chat",
                                                           "system",
                                                           "compare-degrees",
                                                           "attention",
                                                           "sink-tokens",
                                                           "window-tokens",
                                                           "block-tokens",
                                                           "query-tokens",
                                                           "anchor-tokens",
                                                           "passing-tokens",
                                                           "observed-tokens",
                                                           "block-mass",
                                                           "balance",
                                                           "logprobs",
                                                           "prompt-nll",
                                                           "force-ids",
                                                           "json",
                                                           "n",
                                                           "session",
                                                           "recompute"});

/// And those that say what a request gets that does not say.
constexpr auto kDefaults = std::to_array<std::string_view>(
    {"max-tokens", "ignore-eos", "temperature", "top-k", "top-p", "min-p", "repetition-penalty",
     "presence-penalty", "frequency-penalty", "logit-bias", "seed", "stop", "stop-ids",
     "min-tokens", "generation-config"});

template <std::size_t kCount>
bool holds(const std::array<std::string_view, kCount>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

std::vector<std::string> names_of(const Given& given) {
  std::vector<std::string> names;
  for (std::size_t begin = 0; begin <= given.value.size();) {
    const std::size_t comma = std::min(given.value.find(',', begin), given.value.size());
    if (comma == begin) {
      throw UsageError(
          str("{} must be names with commas between them, not '{}'", given.name, given.value));
    }
    names.push_back(given.value.substr(begin, comma - begin));
    begin = comma + 1;
  }
  return names;
}

void apply_max_model_len(GenerateOptions& options, const Given& given) {
  constexpr std::int64_t kLeast = 2;  // a prompt and an answer
  options.max_model_len = size(given, {.least = kLeast});
}

const std::array kRunBatch = std::to_array<Option<RunBatchOptions>>({
    {{kGroupBatch, "input", "FILE.jsonl", "the requests, one a line; read as they are answered",
      'i'},
     [](auto& o, auto& given) { o.input = some_text(given); }},
    {{kGroupBatch, "output", "FILE.jsonl",
      "the answers; made if missing, gone on with if the same batch has begun it. FILE.jsonl.run "
      "beside it says what it was begun with",
      'o'},
     [](auto& o, auto& given) { o.output = some_text(given); }},
    {{kGroupBatch, "restart", "", "drop the answers that are there and begin anew"},
     [](auto& o, auto& given) { o.restart = switch_position(given); }},
    {{kGroupBatch, "retry-failed", "", "answer lines again whose answer is an error"},
     [](auto& o, auto& given) { o.retry_failed = switch_position(given); }},
    {{kGroupBatch, "served-model-name", "NAME,NAME,...",
      "what requests may call the model; answers call it by the first (default: the file's or "
      "folder's name, its path as given, and the model's own name)"},
     [](auto& o, auto& given) { o.names = names_of(given); }},
    {{kGroupQueue, "admission", "WORD",
      "no_evict: a request that says max_tokens starts when memory is free for all of them, and "
      "then goes on to its end; utilize: when it is for the prompt and a part of the answer, so "
      "that more run at once, and where memory runs short the youngest waits and is read again "
      "(default: no_evict)"},
     [](auto& o, auto& given) {
       constexpr std::array<std::string_view, 2> kWords = {"no_evict", "utilize"};
       o.admission = static_cast<MemoryMode>(one_of(given, kWords));
     }},
    {{kGroupQueue, "max-queue-requests", "N",
      "answers that wait for memory or a place; no more lines are read meanwhile (default: 256)"},
     [](auto& o, auto& given) { o.queue.requests = whole_number(given, kQueued); }},
    {{kGroupQueue, "max-queue-tokens", "TOKENS",
      "tokens to be read of those that wait; one of any length may (default: 8 times what memory "
      "holds)"},
     [](auto& o, auto& given) { o.queue.tokens = size(given, {.least = 1}); }},
});

/// A row of `generate` in the words of a batch.
Row reworded(Row row) {
  if (holds(kDefaults, row.name)) row.group = kGroupDefaults;
  if (row.name == "max-tokens") {
    row.help = "end an answer after N tokens (default: what the context leaves)";
  } else if (row.name == "temperature") {
    row.help =
        "0 takes the likeliest token at each step; up to 2: draw, likely tokens the more often the "
        "lower it is (default: the model's, see --generation-config; else 1, as in OpenAI's API)";
  } else if (row.name == "seed") {
    row.help =
        "whole number from which the seed of each line follows that draws and names none (default: "
        "another one for each output, and the same when it is gone on with)";
  } else if (row.name == "max-num-seqs") {
    row.help = "answers that are written together, as far as memory holds them (default: 64)";
  }
  return row;
}

std::vector<Row> make_table() {
  std::vector<Row> table;
  for (const Row& row : generate_options()) {
    if (holds(kLeftOut, row.name)) continue;
    table.push_back(reworded(row));
    if (row.name != "max-num-seqs") continue;
    table.push_back(
        {{row.group, "max-model-len", "TOKENS",
          "most tokens of one request, prompt and answer (default: the model's context, "
          "or what memory holds of it)"},
         apply_max_model_len});
  }
  return table;
}

}  // namespace

std::span<const Option<RunBatchOptions>> run_batch_options() { return kRunBatch; }

std::span<const Option<GenerateOptions>> batch_request_options() {
  static const std::vector<Row> table = make_table();
  return table;
}

}  // namespace longspan
