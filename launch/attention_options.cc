#include "launch/attention_options.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

using Kinds = std::vector<AttentionKind>;

/// Sets `to` if a size was given, which `kinds` have.
template <typename To, typename Size>
void take(const AttentionOptions& options, std::string_view flag, const Kinds& kinds,
          const std::optional<Size>& given, To& to) {
  if (!given) return;
  if (std::ranges::find(kinds, options.kind) == kinds.end()) {
    std::vector<std::string_view> words;
    for (AttentionKind kind : kinds) words.push_back(name(kind));
    throw UsageError(str("{} is not a size of --attention {}; it is one of {}", flag,
                         name(options.kind), fmt::join(words, ", ")));
  }
  to = *given;
}

}  // namespace

Approximation approximation(const AttentionOptions& options) {
  using enum AttentionKind;
  const Kinds in_blocks{kStar, kApb, kBlockSparse};
  std::int64_t block = 0;
  take(options, "--block-tokens", in_blocks, options.block_tokens, block);
  Approximation out = usual_sizes(options.kind, options.block_tokens);
  take(options, "--sink-tokens", {kSinks}, options.sink_tokens, out.sink_tokens);
  take(options, "--window-tokens", {kSinks}, options.window_tokens, out.window_tokens);
  take(options, "--query-tokens", {kStar, kApb}, options.query_tokens, out.query_tokens);
  take(options, "--anchor-tokens", {kApb}, options.anchor_tokens, out.anchor_tokens);
  take(options, "--passing-tokens", {kApb}, options.passing_tokens, out.passing_tokens);
  take(options, "--observed-tokens", {kApb}, options.observed_tokens, out.observed_tokens);
  take(options, "--block-mass", {kBlockSparse}, options.block_mass, out.block_mass);
  take(options, "--balance", {kBlockSparse}, options.balances_rows, out.balances_rows);
  return out;
}

}  // namespace longspan
