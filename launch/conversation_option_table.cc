#include <algorithm>
#include <array>
#include <vector>

#include "launch/option_table.h"

namespace longspan {
namespace {

using Row = Option<GenerateOptions>;

/// Rows of `generate` that are about prompts known at the start, several of them, or attention by
/// which the keys of a prompt depend on where it ends: those of a turn would be wrong in the next.
/// A conversation keeps its own keys from turn to turn, whatever others have, and no other answer
/// waits for its prompts.
constexpr auto kLeftOut = std::to_array<std::string_view>({"prompt",
                                                           "prompt-file",
                                                           "prompt-ids",
                                                           "prompts",
                                                           "chat",
                                                           "compare-degrees",
                                                           "block-tokens",
                                                           "query-tokens",
                                                           "anchor-tokens",
                                                           "passing-tokens",
                                                           "observed-tokens",
                                                           "block-mass",
                                                           "balance",
                                                           "n",
                                                           "prompt-nll",
                                                           "force-ids",
                                                           "max-num-seqs",
                                                           "prefix-cache",
                                                           "kv-host-bytes",
                                                           "kv-disk",
                                                           "kv-disk-bytes",
                                                           "tbt-slo-ms"});

void apply_max_model_len(GenerateOptions& options, const Given& given) {
  constexpr std::int64_t kLeast = 2;  // a prompt and an answer
  options.max_model_len = size(given, {.least = kLeast});
}

void apply_attention(GenerateOptions& options, const Given& given) {
  constexpr std::array<std::string_view, 2> kWords = {"exact", "sinks"};
  const bool exact = one_of(given, kWords) == 0;
  options.attention.kind = exact ? AttentionKind::kExact : AttentionKind::kSinks;
}

/// A row of `generate` in the words of a conversation.
Row reworded(Row row) {
  if (row.name == "system") {
    row.help = "the system message that each conversation begins with (default: none)";
  } else if (row.name == "max-tokens") {
    row.help = "end each answer after N tokens (default: 2048, or what the conversation leaves)";
  } else if (row.name == "attention") {
    row.help =
        "which keys a token sees: all before it (exact), or the first ones and the last (sinks) "
        "(default: exact)";
    row.apply = apply_attention;
  } else if (row.name == "logprobs") {
    row.help = "with --json: each token's log-probability and the K best, 0 to 20 (default: 0)";
  } else if (row.name == "session") {
    row.help =
        "go on with the conversation that FILE holds, whose keys and values need not be computed "
        "again, and save it there at the end and at /save; without FILE it begins";
  } else if (row.name == "json") {
    row.help = "print one JSON object an answer instead of text";
  } else if (row.name == "prefill-chunk") {
    row.help =
        "tokens of a message that the ranks together read in one step, or auto (default: auto)";
  } else if (row.name == "degree") {
    row.help =
        "ranks that share the conversation, with --tp instances of ranks; the others idle "
        "(default: "
        "all ranks)";
  } else if (row.name == "policy") {
    row.help =
        "which ranks that are: --degree of them (static_sp), one (replicas), or all "
        "(chunked_prefill) (default: static_sp)";
  } else if (row.name == "keep") {
    row.help =
        "where the conversation's KV stays: spread over all ranks, or on the fewest that hold it, "
        "which then decode alone (default: spread)";
  }
  return row;
}

std::vector<Row> make_table() {
  std::vector<Row> table;
  for (const Row& row : generate_options()) {
    if (std::ranges::find(kLeftOut, row.name) != kLeftOut.end()) continue;
    table.push_back(reworded(row));
    if (row.name != "system") continue;
    table.push_back({{row.group, "max-model-len", "TOKENS",
                      "room for the whole conversation, for which memory is set aside at the start "
                      "(default: the model's context, or what memory holds of it)"},
                     apply_max_model_len});
  }
  return table;
}

}  // namespace

std::span<const Option<GenerateOptions>> conversation_options() {
  static const std::vector<Row> table = make_table();
  return table;
}

}  // namespace longspan
