#include "scheduler/page_moves.h"

namespace longspan {

const PageInMotion& PageMoves::open(PageRef from, PageRef to, std::int64_t deadline_ns) {
  const MoveId id = ++last_;
  return moves_[id] = {.id = id, .from = from, .to = to, .deadline_ns = deadline_ns};
}

const PageInMotion* PageMoves::find(MoveId id) const {
  const auto found = moves_.find(id);
  return found == moves_.end() ? nullptr : &found->second;
}

bool PageMoves::prepare(MoveId id, PageRef to) {
  const auto found = moves_.find(id);
  if (found == moves_.end() || found->second.to != to) return false;
  found->second.prepared = true;
  return true;
}

std::vector<MoveId> PageMoves::late(std::int64_t now_ns) const {
  std::vector<MoveId> late;
  for (const auto& [id, move] : moves_) {
    if (!move.prepared && move.deadline_ns <= now_ns) late.push_back(id);
  }
  return late;
}

}  // namespace longspan
