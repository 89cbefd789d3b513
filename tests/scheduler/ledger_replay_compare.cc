// What LedgerReplay compares after each event.
#include <algorithm>

#include "tests/scheduler/ledger_replay.h"

namespace longspan::test {
namespace {

using enum PageState;

bool begins_with(const Tokens& memory, const Tokens& tokens, std::int64_t count) {
  return std::ssize(memory) >= count &&
         std::equal(tokens.begin(), tokens.begin() + count, memory.begin());
}

}  // namespace

void LedgerReplay::compare() {
  carry_out_spills();
  compare_pages();
  compare_requests();
  compare_sums();
  compare_tier();
  check_memory();
  if (const auto violation = ledger_.check()) fail("check(): " + *violation);
}

void LedgerReplay::compare_pages() {
  for (int owner = 0; owner < model_.owners(); ++owner) {
    for (int slot = 0; slot < std::ssize(model_.pages()[owner]); ++slot) {
      const NaivePage& model = model_.pages()[owner][slot];
      const PageRef ref{owner, slot, model.generation};
      const Page* page = ledger_.find(ref);
      same(page ? page->state : kFree, model.state, "the state of a page");
      same(ledger_.find({owner, slot, model.generation + 1}) == nullptr, true, "a generation");
      if (!page) continue;
      same(page->refs, model_.refs(ref), "the references of a page");
      same(page->leases, model_.leases(ref), "the leases of a page");
      same(page->indexed, model.indexed, "whether a page is indexed");
      same(page->of_move, model.of_move, "whether the headroom pays for a page");
      same(page->awaits_drain, model.awaits_drain, "whether a page is to be drained");
      same(page->move != 0, model_.is_source(ref), "whether a page moves");
      if (model.state == kReserved) continue;
      const std::int64_t filled = std::ssize(model.tokens) - page->number * script_.page_tokens;
      same<std::int64_t>(page->filled, filled, "how full a page is");
    }
  }
}

void LedgerReplay::compare_requests() {
  for (const auto& [id, request] : model_.requests()) {
    if (!ledger_.runs(id)) return fail("request " + std::to_string(id) + " is not there");
    const auto pages = ledger_.pages(id);
    same(std::vector(pages.begin(), pages.end()), request.pages, "the pages of a request");
    same(ledger_.computed(id), request.computed(), "what a request has computed");
    same(ledger_.shared_tail(id), request.tail, "the shared tail of a request");
    const std::int64_t size = std::ssize(request.pages);
    const bool low = size == model_.open_pages(request) && size < request.worst_pages;
    same(ledger_.runs_low(id), low, "whether a request runs low");
  }
}

void LedgerReplay::compare_sums() {
  same(ledger_.promise().promised, model_.promised(), "what is promised");
  same(ledger_.promise().pinned, model_.pinned(), "what is pinned");
  same(ledger_.promise().left(), model_.left(), "what is left of the promise");
  same(ledger_.stale_messages(), stale_, "the count of stale messages");
  for (int owner = 0; owner < model_.owners(); ++owner) {
    same(ledger_.available(owner), model_.available(owner), "what an owner has available");
  }
}

void LedgerReplay::compare_tier() {
  std::vector<std::int64_t> of_owner(model_.owners());
  for (const NaiveKept& kept : model_.kept()) {
    if (kept.lost) continue;
    ++of_owner[kept.owner];
    same(ledger_.tier().find(hash(kept.tokens)), std::optional(kept.place), "where the tier keeps");
    const PageRef at{kept.place.owner, kept.place.slot};
    if (tier_memory_.at(at) != kept.tokens) fail("the tier would give back other tokens");
  }
  for (int owner = 0; owner < model_.owners(); ++owner) {
    same(ledger_.tier().kept(owner), of_owner[owner], "how much an owner's tier keeps");
  }
}

void LedgerReplay::check_memory() {
  const std::int64_t size = script_.page_tokens;
  for (const auto& [id, request] : model_.requests()) {
    for (std::int64_t number = 0; number * size < request.computed(); ++number) {
      const std::int64_t end = std::min(request.computed(), (number + 1) * size);
      const bool shared = request.tail && end == request.computed();
      const PageRef page = shared ? *request.tail : request.pages[number];
      if (!begins_with(memory(page), request.tokens, end)) {
        return fail("request " + std::to_string(id) + " reads what is not its own in " +
                    in_words(page));
      }
    }
  }
  for (int owner = 0; owner < model_.owners(); ++owner) {
    for (int slot = 0; slot < std::ssize(model_.pages()[owner]); ++slot) {
      const NaivePage& page = model_.pages()[owner][slot];
      if (page.indexed && page.tokens != memory_[owner][slot])
        fail("a hit would read other tokens");
    }
  }
  for (const auto& [lease, tokens] : leased_) {
    const PageRef page = model_.all_leases().at(lease);
    if (!begins_with(memory(page), tokens, std::ssize(tokens))) fail("a lease reads other tokens");
  }
}

}  // namespace longspan::test
