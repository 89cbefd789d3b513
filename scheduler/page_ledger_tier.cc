// The transitions of PageLedger between memory and the tier below it.
#include <algorithm>
#include <tuple>

#include "scheduler/page_ledger.h"

namespace longspan {

/// What a prompt begins with goes last, so that it is the last that the tier gives away: without it
/// what follows is found by nobody. A content that is kept already need not be written again.
void PageLedger::spill(std::vector<PageRef> gone) {
  std::ranges::sort(gone, {},
                    [&](PageRef page) { return std::tuple(-slots_.at(page).number, page); });
  for (const PageRef page : gone) {
    const PageHash hash = slots_.at(page).hash;
    if (index_.contains(hash)) continue;  // a copy is left
    if (tier_.find(hash)) {
      tier_.touch(hash);
    } else if (const auto place = tier_.put(hash, page.owner)) {
      spilled_.push_back({page, *place});
    }
  }
}

void PageLedger::forget_spilled() {
  for (const SpilledPage& page : take_spilled()) (void)tier_.drop(page.to);
}

void PageLedger::end_read(PageRef place, bool good) {
  if (!good) (void)tier_.drop(place);
  tier_.let_go(place);
}

}  // namespace longspan
