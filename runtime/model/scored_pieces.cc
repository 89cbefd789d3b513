#include "runtime/model/scored_pieces.h"

#include <algorithm>
#include <unordered_map>

#include "comm/error.h"
#include "runtime/model/utf8.h"

namespace longspan {
namespace {

struct Formation {
  TokenId left;
  TokenId right;
  BytePairs::Merged formed;
};

}  // namespace

BytePairs pairs_by_score(std::span<const ScoredPiece> pieces) {
  std::unordered_map<std::string_view, TokenId> ids;
  ids.reserve(pieces.size());
  for (const ScoredPiece& piece : pieces) ids.emplace(piece.written, piece.token);
  std::vector<ScoredPiece> by_score(pieces.begin(), pieces.end());
  std::ranges::stable_sort(by_score, std::ranges::greater{}, &ScoredPiece::score);

  std::vector<Formation> formations;
  std::uint32_t rank = 0;
  for (std::size_t i = 0; i < by_score.size(); ++i) {
    if (i > 0 && by_score[i].score < by_score[i - 1].score) ++rank;
    const std::string_view written = by_score[i].written;
    for (std::size_t cut = first_utf8(written).bytes; cut < written.size();
         cut += first_utf8(written.substr(cut)).bytes) {
      const auto left = ids.find(written.substr(0, cut)), right = ids.find(written.substr(cut));
      if (left == ids.end() || right == ids.end()) continue;
      formations.push_back({left->second, right->second, {rank, by_score[i].token}});
    }
  }
  BytePairs pairs(formations.size());
  for (const auto& [left, right, formed] : formations) {
    expects(pairs.add(left, right, formed), "no two pieces are written alike");
  }
  return pairs;
}

}  // namespace longspan
