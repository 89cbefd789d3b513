// The transitions of PageLedger that move pages.
#include <stdexcept>

#include "scheduler/page_ledger.h"

namespace longspan {

using enum PageState;

std::optional<PageInMotion> PageLedger::try_move(PageRef from, int to, std::int64_t deadline_ns) {
  if (to < 0 || to >= slots_.owners()) throw std::logic_error("a page moves to an owner");
  const auto may_move = [&] {
    const Page* page = slots_.find(from);
    if (!page || (page->state != kLive && page->state != kCached)) return false;
    if (page->move != 0 || from.owner == to) return false;
    return !(page->indexed && index_.contains(page->hash, to));
  };
  if (!may_move() || slots_.total().of_moves >= headroom_) return std::nullopt;
  // What is evicted for the target may be what the source was found by: then it went too.
  if (!make_room(to) || !may_move()) return std::nullopt;
  const PageRef target = slots_.take(to);
  const PageInMotion& move = moves_.open(from, target, deadline_ns);
  slots_.update(target, [](Page& page) { page.of_move = true; });
  slots_.update(from, [&](Page& page) { page.move = move.id; });
  return move;
}

bool PageLedger::prepared(MoveId move, PageRef to) { return moves_.prepare(move, to) || stale(); }

bool PageLedger::commit_move(MoveId id) {
  const std::optional<PageInMotion> move = ready(id);
  if (!move) return false;
  const Page source = slots_.at(move->from);
  copy_record(*move, source.state, source.refs);
  if (source.refs > 1) {
    --shared_[move->from.owner];
    ++shared_[move->to.owner];
  }
  rename(move->from, move->to);
  if (source.indexed) (void)index_.remove(source.hash, move->from);
  slots_.update(move->from, [](Page& left) {
    left.refs = 0;
    left.state = kRetired;
    left.indexed = false;
    left.of_move = true;
    left.awaits_drain = true;
  });
  if (source.state == kCached) set_idle(move->to);
  trim();
  return true;
}

bool PageLedger::commit_copy(MoveId id) {
  const std::optional<PageInMotion> move = ready(id);
  if (!move) return false;
  if (!slots_.at(move->from).indexed) throw std::logic_error("only an indexed page has copies");
  copy_record(*move, kCached, 0);
  slots_.update(move->to, [&](Page& copy) { copy.last_used = ++uses_; });
  set_idle(move->to);
  trim();
  return true;
}

/// The move, if it can be committed.
std::optional<PageInMotion> PageLedger::ready(MoveId id) {
  const PageInMotion* move = moves_.find(id);
  if (!move || !move->prepared) return std::nullopt;
  const Page& source = slots_.at(move->from);
  if (source.indexed && index_.contains(source.hash, move->to.owner)) {
    cancel_move(id);
    return std::nullopt;
  }
  return *move;
}

/// The target holds what the source holds, and the move is over.
void PageLedger::copy_record(const PageInMotion& move, PageState state, std::int32_t refs) {
  const Page source = slots_.at(move.from);
  slots_.update(move.to, [&](Page& target) {
    const std::uint32_t generation = target.generation;
    target = source;
    target.generation = generation;
    target.state = state;
    target.refs = refs;
    target.leases = 0;
    target.move = 0;
  });
  slots_.update(move.from, [](Page& page) { page.move = 0; });
  if (source.indexed) index_.add_copy(source.hash, move.to);
  moves_.close(move.id);
}

/// A page has the same number in every table, but only requests know whether they have it.
void PageLedger::rename(PageRef from, PageRef to) {
  const std::int32_t number = slots_.at(to).number;
  for (auto& [id, request] : requests_) {
    if (number < std::ssize(request.pages) && request.pages[number] == from) {
      request.pages[number] = to;
    }
    if (request.tail == from) request.tail = to;
  }
}

bool PageLedger::cancel_move(MoveId id) {
  const PageInMotion* found = moves_.find(id);
  if (!found) return false;
  const PageInMotion move = *found;
  moves_.close(id);
  slots_.update(move.from, [](Page& page) { page.move = 0; });
  slots_.update(move.to, [](Page& page) { page.state = kFree; });
  return true;
}

std::vector<MoveId> PageLedger::cancel_late_moves(std::int64_t now_ns) {
  std::vector<MoveId> late = moves_.late(now_ns);
  for (const MoveId move : late) cancel_move(move);
  return late;
}

bool PageLedger::drained(PageRef left) {
  const Page* page = slots_.find(left);
  if (!page || !page->awaits_drain) return stale();
  slots_.update(left, [](Page& read) { read.awaits_drain = false; });
  free_when_unread(left);
  return true;
}

}  // namespace longspan
