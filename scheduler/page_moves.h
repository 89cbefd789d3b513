// The pages on their way from one owner to another: which, where to, and how far they are.
//
//   reserve --> [to pulls, verifies, acknowledges] --> prepared --> commit: the owner changes,
//      \                                                   \         the source is retired
//       \--> deadline, refusal or cancel: dropped,          \--> cancel
//            and nothing has changed
//
// Only records; PageLedger does to the pages what they say.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "scheduler/page_ref.h"

namespace longspan {

struct PageInMotion {
  MoveId id = 0;
  PageRef from;
  PageRef to;
  std::int64_t deadline_ns = 0;  // until it is prepared
  bool prepared = false;         // `to` has it: no deadline ends the move any more
};

class PageMoves {
 public:
  const PageInMotion& open(PageRef from, PageRef to, std::int64_t deadline_ns);
  /// Null for a move that is over.
  const PageInMotion* find(MoveId id) const;
  /// False for a move that is over, or whose target is another page.
  [[nodiscard]] bool prepare(MoveId id, PageRef to);
  void close(MoveId id) { moves_.erase(id); }

  /// Moves that are not prepared although their deadline has come.
  std::vector<MoveId> late(std::int64_t now_ns) const;
  const std::map<MoveId, PageInMotion>& all() const { return moves_; }

 private:
  std::map<MoveId, PageInMotion> moves_;
  MoveId last_ = 0;
};

}  // namespace longspan
