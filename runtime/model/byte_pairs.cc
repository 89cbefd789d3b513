#include "runtime/model/byte_pairs.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "comm/error.h"

namespace longspan {
namespace {

constexpr std::int32_t kNone = -1;

std::uint64_t pair_key(TokenId left, TokenId right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

std::uint64_t mixed(std::uint64_t key) {
  key *= 0x9e3779b97f4a7c15;  // 2^64 over the golden ratio spreads neighbours
  return key ^ key >> 32;
}

}  // namespace

BytePairs::BytePairs(std::size_t merges) : slots_(std::bit_ceil(2 * merges + 1)) {}

const BytePairs::Slot& BytePairs::slot(std::uint64_t pair) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = mixed(pair) & mask;
  while (slots_[at].pair != pair && slots_[at].pair != kEmpty) at = (at + 1) & mask;
  return slots_[at];
}

bool BytePairs::add(TokenId left, TokenId right, const Merged& merged) {
  expects(2 * merges_ < slots_.size() && merged.rank + 1 >= by_rank_.size(),
          "no more merges than announced, in the order of their ranks");
  const std::uint64_t pair = pair_key(left, right);
  Slot& free = slots_[static_cast<std::size_t>(&slot(pair) - slots_.data())];
  if (free.pair == pair) return false;
  free = {pair, merged};
  by_rank_.resize(merged.rank + 1, merged.token);
  ++merges_;
  return true;
}

/// Either neighbour may have grown since an entry of that rank was pushed. What forms the same
/// token in another way goes at once, as in Hugging Face's `tokenizers` and in SentencePiece.
bool BytePairs::is_stale(const Slot& now, std::uint32_t rank) const {
  if (now.pair == kEmpty) return true;
  return now.merged.rank != rank && now.merged.token != by_rank_[rank];
}

void BytePairs::push_pair(std::int32_t left, Workspace& workspace) const {
  if (left == kNone || workspace.symbols[left].after == kNone) return;
  const TokenId right = workspace.symbols[workspace.symbols[left].after].token;
  const Slot& known = slot(pair_key(workspace.symbols[left].token, right));
  if (known.pair == kEmpty) return;
  workspace.heap.push_back(std::uint64_t{known.merged.rank} << 32 |
                           static_cast<std::uint32_t>(left));
}

void BytePairs::merge_all(Workspace& workspace) const {
  auto& [symbols, heap] = workspace;
  while (!heap.empty()) {
    std::ranges::pop_heap(heap, std::greater{});
    const auto rank = static_cast<std::uint32_t>(heap.back() >> 32);
    const auto left = static_cast<std::int32_t>(heap.back());
    heap.pop_back();
    auto& symbol = symbols[left];
    if (symbol.token < 0 || symbol.after == kNone) continue;
    auto& right = symbols[symbol.after];
    const Slot& known = slot(pair_key(symbol.token, right.token));
    if (is_stale(known, rank)) continue;
    symbol.token = known.merged.token;
    right.token = -1;
    symbol.after = right.after;
    if (symbol.after != kNone) symbols[symbol.after].before = left;
    for (const std::int32_t changed : {symbol.before, left}) {
      const std::size_t entries = heap.size();
      push_pair(changed, workspace);
      if (heap.size() > entries) std::ranges::push_heap(heap, std::greater{});
    }
  }
}

void BytePairs::append_merged(std::span<const TokenId> letters, Workspace& workspace,
                              std::vector<TokenId>& tokens) const {
  auto& [symbols, heap] = workspace;
  symbols.clear();
  for (const TokenId letter : letters) {
    const auto index = static_cast<std::int32_t>(symbols.size());
    symbols.push_back({letter, index - 1, index + 1});
  }
  if (!symbols.empty()) symbols.back().after = kNone;
  heap.clear();
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    push_pair(static_cast<std::int32_t>(i), workspace);
  }
  std::ranges::make_heap(heap, std::greater{});
  merge_all(workspace);
  for (const auto& symbol : symbols) {
    if (symbol.token >= 0) tokens.push_back(symbol.token);
  }
}

}  // namespace longspan
