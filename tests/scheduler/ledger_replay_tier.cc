// What LedgerReplay does with the tier: pages go there when they are evicted, and come back.
#include <algorithm>

#include "tests/scheduler/ledger_replay.h"

namespace longspan::test {

/// What the ranks do before anything is written to the pages that were evicted.
void LedgerReplay::carry_out_spills() {
  const std::vector<SpilledPage> spilled = ledger_.take_spilled();
  std::vector<PageRef> places;
  for (const SpilledPage& page : spilled) places.push_back(page.to);
  const auto expected = model_.take_spilled(places);
  same(spilled.size(), expected.size(), "how many pages are spilled");
  for (std::size_t i = 0; i < std::min(spilled.size(), expected.size()); ++i) {
    const PageRef from = spilled[i].from, to = spilled[i].to;
    same(from, expected[i].first, "which page is spilled");
    same(to.owner, from.owner, "whose tier it goes to");
    same(to.slot >= 0 && to.slot < script_.tier[to.owner], true, "that there is such a place");
    if (memory(from) != expected[i].second) fail("other tokens are spilled");
    tier_memory_[{to.owner, to.slot}] = memory(from);
  }
}

/// Whether pages of the request are on their way, so that it takes no step.
bool LedgerReplay::fetches(std::int64_t id) const {
  return std::ranges::any_of(fetching_, [&](const Fetching& group) {
    const auto pages = ledger_.pages(id);
    return group.id == id && std::ranges::count(pages, group.pages.front().at) > 0;
  });
}

/// A request that is at a page's end goes on with what the tier keeps of its prompt, or a part.
void LedgerReplay::fetch(const Draws& draws) {
  const auto id = some_request(draws[0]);
  if (!id) return;
  const NaiveRequest& request = model_.requests().at(*id);
  const std::int64_t page = script_.page_tokens, computed = request.computed();
  if (fetches(*id) || request.tail || std::ssize(request.pages) * page != computed) return;
  const auto hashes = hashes_of(request.prompt, computed / page);
  std::vector<PageRef> places = ledger_.tier().chain(hashes);
  std::int64_t kept = 0;
  for (std::int64_t end = computed + page; end <= std::ssize(request.prompt); end += page) {
    const Tokens tokens(request.prompt.begin(), request.prompt.begin() + end);
    const bool known = std::ranges::any_of(model_.kept(), [&](const NaiveKept& place) {
      return !place.lost && place.tokens == tokens;
    });
    if (!known) break;
    ++kept;
  }
  same<std::int64_t>(std::ssize(places), kept, "how much of a prompt the tier keeps");
  const std::int64_t most =
      std::min(request.worst_pages - std::ssize(request.pages), std::min(kept, 1 + draws[1] % 4L));
  if (most <= 0) return;
  places.resize(most);
  for (const PageRef place : places) {
    ledger_.read_tier(place);
    model_.read_tier(place);
  }
  Fetching group{.id = *id};
  bool room = true;
  for (const PageRef place : places) {
    const std::int64_t before = std::ssize(request.pages);
    if (room) grant_to(*id, {place.owner});
    room = std::ssize(request.pages) > before;
    if (!room) {
      ledger_.end_read(place, true);
      model_.end_read(place, true);
      continue;
    }
    const std::int64_t end = std::ssize(request.pages) * page;
    group.pages.push_back({request.pages.back(), place,
                           Tokens(request.prompt.begin(), request.prompt.begin() + end)});
  }
  tell("of " + std::to_string(group.pages.size()));
  if (!group.pages.empty()) fetching_.push_back(std::move(group));
}

/// All that were there up to the first that was damaged are computed.
void LedgerReplay::fetched(const Draws& draws) {
  if (fetching_.empty()) return;
  const auto chosen = fetching_.begin() + draws[0] % std::ssize(fetching_);
  const Fetching group = *chosen;
  fetching_.erase(chosen);
  const std::int64_t damaged =
      draws[1] % 3 == 0 ? draws[2] % std::ssize(group.pages) : std::ssize(group.pages);
  const auto found = model_.requests().find(group.id);
  Tokens more;
  for (std::int64_t i = 0; i < std::ssize(group.pages); ++i) {
    const auto& [at, place, tokens] = group.pages[i];
    if (tier_memory_.at({place.owner, place.slot}) != tokens) fail("a place was given away");
    ledger_.end_read(place, i != damaged);
    model_.end_read(place, i != damaged);
    const std::int64_t size = script_.page_tokens, number = std::ssize(tokens) / size - 1;
    const bool waits = found != model_.requests().end() &&
                       std::ssize(found->second.pages) > number &&
                       found->second.pages[number] == at;
    if (!waits || i >= damaged) continue;
    memory(at) = tokens;
    more.insert(more.end(), tokens.end() - size, tokens.end());
  }
  tell(std::to_string(more.size()) + " positions for " + std::to_string(group.id));
  if (more.empty()) return;
  Tokens after = found->second.tokens;
  after.insert(after.end(), more.begin(), more.end());
  const auto full = hashes_of(after, found->second.computed() / script_.page_tokens);
  same(ledger_.advance(group.id, std::ssize(after), full), true, "that what was fetched is news");
  model_.advance(group.id, more, true);
}

void LedgerReplay::lose(const Draws& draws) {
  const auto& kept = model_.kept();
  if (kept.empty()) return;
  PageRef place = kept[draws[0] % kept.size()].place;
  if (draws[1] % 8 == 7) --place.generation;
  const bool is_there = model_.lose(place);
  same(ledger_.lose(place), is_there, "whether a lost place kept something");
  stale_ += is_there ? 0 : 1;
  tell(in_words(place));
}

}  // namespace longspan::test
