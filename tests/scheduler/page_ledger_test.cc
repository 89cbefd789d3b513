#include "scheduler/page_ledger.h"

#include <gmock/gmock.h>

#include <array>
#include <stdexcept>

namespace longspan {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Optional;
using Verdict = StartAnswer::Verdict;

constexpr std::array kAny{0, 1};
constexpr std::array kBackwards{1, 0};

constexpr PageHash hash(std::uint64_t name) { return {0, name}; }

/// Two owners of four pages, pages of four tokens, two of the pages for moves.
class PageLedgerTest : public testing::Test {
 protected:
  ~PageLedgerTest() override { EXPECT_EQ(ledger_.check(), std::nullopt); }

  Verdict start(RequestId id, std::int64_t prompt, std::int64_t worst,
                std::span<const PageHash> hashes = {}) {
    return ledger_.start({id, prompt, worst}, hashes).verdict;
  }
  void grant(RequestId id, int pages, std::span<const int> owners = kAny) {
    for (int i = 0; i < pages; ++i) ASSERT_TRUE(ledger_.try_grant(id, owners));
  }
  /// A request that has computed one full page per hash, on these owners.
  void compute(RequestId id, const std::vector<PageHash>& hashes,
               std::span<const int> owners = kAny) {
    const std::int64_t tokens = 4 * std::ssize(hashes);
    ASSERT_EQ(start(id, tokens, tokens), Verdict::kStarted);
    grant(id, static_cast<int>(hashes.size()), owners);
    ASSERT_TRUE(ledger_.advance(id, tokens, hashes));
  }
  /// The same, ended.
  void compute_and_release(RequestId id, const std::vector<PageHash>& hashes,
                           std::span<const int> owners = kAny) {
    compute(id, hashes, owners);
    ledger_.release(id);
  }
  PageRef page(RequestId id, int number) const { return ledger_.pages(id)[number]; }
  PageState state(PageRef page) const {
    const Page* found = ledger_.find(page);
    return found ? found->state : PageState::kFree;
  }
  /// A prepared move.
  PageInMotion moving(PageRef from, int to) {
    const auto move = ledger_.try_move(from, to, 100);
    EXPECT_TRUE(move);
    EXPECT_TRUE(ledger_.prepared(move->id, move->to));
    return *move;
  }
  std::int64_t used(int owner) const { return ledger_.counts(owner).used(); }

  PageLedger ledger_{LedgerOptions{.capacity = {4, 4}, .page_tokens = 4, .headroom = 2}};
};

// --- Promises and grants

TEST_F(PageLedgerTest, ARequestIsPromisedItsWorstCaseAndRefusedWithNumbers) {
  EXPECT_EQ(start(1, 4, 13), Verdict::kStarted);  // four pages of the six that are not headroom
  const StartAnswer late = ledger_.start({2, 4, 12});
  EXPECT_EQ(late.verdict, Verdict::kNotNow);
  EXPECT_EQ(late.worst_pages, 3);
  EXPECT_EQ(late.pool.left(), 2);
  EXPECT_FALSE(ledger_.runs(2));
  const StartAnswer never = ledger_.start({2, 4, 25});
  EXPECT_EQ(never.verdict, Verdict::kNever);
  EXPECT_EQ(never.worst_pages, 7);
  EXPECT_EQ(never.pool_at_full_strength, 6);
  EXPECT_EQ(start(3, 1, 8), Verdict::kStarted) << "exactly what is left";
  ledger_.release(1);
  EXPECT_EQ(start(2, 4, 16), Verdict::kStarted);
}

TEST_F(PageLedgerTest, APromiseGrowsWhileThereIsMemory) {
  ASSERT_EQ(start(1, 4, 8), Verdict::kStarted);
  ASSERT_EQ(start(2, 4, 8), Verdict::kStarted);
  EXPECT_TRUE(ledger_.try_promise(1, 16));
  EXPECT_EQ(ledger_.promise().left(), 0);
  EXPECT_FALSE(ledger_.try_promise(1, 17));
  EXPECT_TRUE(ledger_.try_promise(1, 4)) << "it has been promised more than that";
  grant(1, 4);
  grant(2, 2);
  ledger_.release(2);
  EXPECT_TRUE(ledger_.try_promise(1, 24));
  grant(1, 2);
}

TEST_F(PageLedgerTest, ACallThatCannotBeMeantThrows) {
  EXPECT_THROW((void)start(1, 0, 4), std::logic_error);
  EXPECT_THROW((void)start(1, 5, 4), std::logic_error);
  EXPECT_THROW((void)ledger_.try_grant(1, kAny), std::logic_error);
  EXPECT_THROW(ledger_.release(1), std::logic_error);
  ASSERT_EQ(start(1, 4, 4), Verdict::kStarted);
  EXPECT_THROW((void)start(1, 4, 4), std::logic_error);
  EXPECT_THROW((void)ledger_.try_grant(1, std::array{2}), std::logic_error) << "no such owner";
  EXPECT_THROW(ledger_.set_capacity(-1, 0), std::logic_error);
  grant(1, 1);
  EXPECT_THROW((void)ledger_.try_grant(1, kAny), std::logic_error) << "its worst case is one page";
}

TEST_F(PageLedgerTest, PagesComeFromTheFirstOwnerWithRoom) {
  ASSERT_EQ(start(1, 4, 24), Verdict::kStarted);
  grant(1, 6, kBackwards);
  std::vector<int> owners;
  for (const PageRef page : ledger_.pages(1)) owners.push_back(page.owner);
  EXPECT_THAT(owners, ElementsAre(1, 1, 1, 1, 0, 0));
  EXPECT_EQ(ledger_.counts(1).at(PageState::kReserved), 4);
}

TEST_F(PageLedgerTest, AnOwnerThatTheCallerDoesNotNameGivesNothing) {
  ASSERT_EQ(start(1, 4, 24), Verdict::kStarted);
  constexpr std::array kFirst{0};
  grant(1, 4, kFirst);
  EXPECT_EQ(ledger_.try_grant(1, kFirst), std::nullopt);
  EXPECT_EQ(ledger_.try_grant(1, {}), std::nullopt);
  EXPECT_EQ(ledger_.pages(1).size(), 4u);
}

TEST_F(PageLedgerTest, ARequestAsksWhenItsLastGrantedPageIsOpened) {
  ASSERT_EQ(start(1, 4, 12), Verdict::kStarted);
  EXPECT_TRUE(ledger_.runs_low(1)) << "it has none";
  EXPECT_EQ(ledger_.pages_missing(1, 4), 3) << "no more than its worst case";
  grant(1, 2);
  ASSERT_TRUE(ledger_.advance(1, 4));
  EXPECT_FALSE(ledger_.runs_low(1));
  ASSERT_TRUE(ledger_.advance(1, 5));
  EXPECT_TRUE(ledger_.runs_low(1));
  EXPECT_EQ(ledger_.pages_missing(1, 5), 1);
  grant(1, 1);
  ASSERT_TRUE(ledger_.advance(1, 9));
  EXPECT_FALSE(ledger_.runs_low(1)) << "it will need no more";
}

TEST_F(PageLedgerTest, ComputedPositionsFillGrantedPages) {
  ASSERT_EQ(start(1, 6, 12), Verdict::kStarted);
  grant(1, 3);
  ASSERT_TRUE(ledger_.advance(1, 6));
  EXPECT_EQ(state(page(1, 0)), PageState::kLive);
  EXPECT_EQ(ledger_.find(page(1, 1))->filled, 2);
  EXPECT_EQ(state(page(1, 2)), PageState::kReserved);
  ASSERT_TRUE(ledger_.advance(1, 7));
  EXPECT_EQ(ledger_.find(page(1, 1))->filled, 3);
  EXPECT_FALSE(ledger_.advance(1, 7)) << "told twice";
  EXPECT_FALSE(ledger_.advance(1, 6)) << "told late";
  EXPECT_EQ(ledger_.computed(1), 7);
  EXPECT_THROW((void)ledger_.advance(1, 13), std::logic_error) << "nobody granted that page";
}

TEST_F(PageLedgerTest, WhatIsNotIndexedIsFreeWhenItsRequestEnds) {
  ASSERT_EQ(start(1, 6, 12), Verdict::kStarted);
  grant(1, 3);
  ASSERT_TRUE(ledger_.advance(1, 6));
  const PageRef first = page(1, 0), granted = page(1, 2);
  ledger_.release(1);
  EXPECT_EQ(ledger_.find(first), nullptr);
  EXPECT_EQ(ledger_.find(granted), nullptr);
  EXPECT_EQ(used(0), 0);
  compute(2, {hash(1)});
  EXPECT_EQ(page(2, 0).slot, first.slot);
  EXPECT_EQ(page(2, 0).generation, first.generation + 1) << "the slot is another page now";
}

TEST_F(PageLedgerTest, GrantsThatWereNotReachedCanBeTakenBack) {
  ASSERT_EQ(start(1, 6, 16), Verdict::kStarted);
  grant(1, 4);
  ASSERT_TRUE(ledger_.advance(1, 6));
  ledger_.take_back_grants(1);
  EXPECT_EQ(ledger_.pages(1).size(), 2u);
  EXPECT_EQ(ledger_.counts(0).in_use(), 2);
  EXPECT_TRUE(ledger_.runs_low(1));
}

// --- Prefixes

TEST_F(PageLedgerTest, AHitTakesTheLongestChainButNeverTheLastPosition) {
  compute_and_release(1, {hash(1), hash(2)});
  EXPECT_EQ(ledger_.counts(0).at(PageState::kCached), 2);
  const std::vector<PageHash> both{hash(1), hash(2)};
  EXPECT_EQ(ledger_.start({2, 8, 8}, both).hit_tokens, 4) << "the last one must be computed";
  EXPECT_EQ(ledger_.start({3, 9, 9}, both).hit_tokens, 8);
  EXPECT_EQ(page(2, 0), page(3, 0));
  EXPECT_EQ(ledger_.find(page(3, 0))->refs, 2);
  EXPECT_EQ(state(page(3, 1)), PageState::kLive);
  ledger_.release(2);
  EXPECT_EQ(ledger_.find(page(3, 0))->refs, 1);
}

TEST_F(PageLedgerTest, AChainEndsWhereAPageIsMissing) {
  compute_and_release(1, {hash(1), hash(2), hash(3)});
  const auto hit = [&](const std::vector<PageHash>& hashes) {
    return ledger_.longest_hit(hashes, 99, {}).size();
  };
  EXPECT_EQ(hit({}), 0u);
  EXPECT_EQ(hit({hash(1), hash(2), hash(3), hash(4)}), 3u);
  EXPECT_EQ(hit({hash(1), hash(9), hash(3)}), 1u);
  EXPECT_EQ(hit({hash(2), hash(3)}), 0u) << "not what follows nothing";
  EXPECT_EQ(hit({hash(1), hash(3)}), 1u) << "not what follows the first";
}

TEST_F(PageLedgerTest, APageIsFoundWhileItsRequestStillRuns) {
  compute(1, {hash(1)});
  EXPECT_EQ(ledger_.start({2, 5, 8}, std::vector{hash(1)}).hit_tokens, 4);
  EXPECT_EQ(page(2, 0), page(1, 0));
}

TEST_F(PageLedgerTest, APageThatIsNotFullIsNotIndexed) {
  ASSERT_EQ(start(1, 6, 8), Verdict::kStarted);
  grant(1, 2);
  EXPECT_THROW((void)ledger_.advance(1, 6, std::vector{hash(1), hash(2)}), std::logic_error);
}

TEST_F(PageLedgerTest, OfTwoThatComputeTheSameTheFirstIsIndexedAndTheOtherPrivate) {
  compute(1, {hash(1)});
  compute(2, {hash(1), hash(2)});
  EXPECT_TRUE(ledger_.find(page(1, 0))->indexed);
  EXPECT_FALSE(ledger_.find(page(2, 0))->indexed);
  EXPECT_FALSE(ledger_.find(page(2, 1))->indexed) << "nor what follows a private page";
  ledger_.release(1);
  ledger_.release(2);
  EXPECT_EQ(ledger_.counts(0).at(PageState::kCached), 1);
}

TEST_F(PageLedgerTest, MemoryThatIsCachedIsGivenToWhoNeedsIt) {
  compute_and_release(1, {hash(1), hash(2), hash(3)});
  compute_and_release(2, {hash(4)});  // owner 0 is full of cached pages
  EXPECT_EQ(ledger_.available(0), 4);
  ASSERT_EQ(start(3, 4, 12), Verdict::kStarted);
  grant(3, 1);
  EXPECT_EQ(ledger_.longest_hit(std::vector{hash(1), hash(2), hash(3)}, 99, {}).size(), 2u)
      << "a leaf goes before its parent, and the one used first before the other";
  grant(3, 2);
  EXPECT_EQ(ledger_.longest_hit(std::vector{hash(4)}, 99, {}).size(), 1u);
  EXPECT_EQ(ledger_.longest_hit(std::vector{hash(1)}, 99, {}).size(), 0u);
}

TEST_F(PageLedgerTest, WhatIsSharedIsNotEvicted) {
  compute(1, {hash(1), hash(2)});
  ASSERT_EQ(ledger_.start({2, 5, 8}, std::vector{hash(1)}).hit_tokens, 4);
  ledger_.release(1);
  EXPECT_TRUE(ledger_.evict(0)) << "the second page";
  EXPECT_FALSE(ledger_.evict(0));
  EXPECT_EQ(state(page(2, 0)), PageState::kLive);
}

TEST_F(PageLedgerTest, WhatCannotBeFoundWithoutAnEvictedPageGoesWithIt) {
  ASSERT_EQ(start(1, 8, 8), Verdict::kStarted);
  grant(1, 1);
  grant(1, 1, kBackwards);
  ASSERT_TRUE(ledger_.advance(1, 8, std::vector{hash(1), hash(2)}));
  ledger_.release(1);
  EXPECT_EQ(used(1), 1);
  EXPECT_TRUE(ledger_.evict(0));
  EXPECT_EQ(used(1), 0);
}

// --- Forks

TEST_F(PageLedgerTest, AForkSharesFullPagesAndCopiesTheLastOne) {
  ASSERT_EQ(start(1, 6, 8), Verdict::kStarted);
  grant(1, 2);
  ASSERT_TRUE(ledger_.advance(1, 6));
  EXPECT_EQ(ledger_.fork(1, 2, 12).worst_pages, 4) << "three, and the one it copies from";
  EXPECT_EQ(ledger_.computed(2), 6);
  EXPECT_EQ(page(2, 0), page(1, 0));
  EXPECT_EQ(ledger_.shared_tail(2), page(1, 1));

  const auto granted = ledger_.try_grant(2, kBackwards);
  ASSERT_TRUE(granted);
  EXPECT_EQ(granted->number, 1);
  EXPECT_EQ(granted->copy_from, page(1, 1));
  EXPECT_EQ(granted->copy_tokens, 2);
  const auto next = ledger_.try_grant(2, kBackwards);
  ASSERT_TRUE(next);
  EXPECT_EQ(next->copy_from, std::nullopt);

  const PageRef tail = page(1, 1);
  ASSERT_TRUE(ledger_.advance(1, 7)) << "who had it first writes on in it";
  ledger_.release(1);
  EXPECT_EQ(state(tail), PageState::kLive) << "until it is copied";
  ASSERT_TRUE(ledger_.advance(2, 7));
  EXPECT_EQ(ledger_.find(tail), nullptr);
  EXPECT_EQ(ledger_.shared_tail(2), std::nullopt);
  EXPECT_EQ(ledger_.promise().promised, 3);
}

TEST_F(PageLedgerTest, AForkAtAPageBorderCopiesNothing) {
  compute(1, {hash(1)});
  ASSERT_EQ(ledger_.fork(1, 2, 8).verdict, Verdict::kStarted);
  EXPECT_EQ(ledger_.shared_tail(2), std::nullopt);
  EXPECT_EQ(ledger_.try_grant(2, kAny)->copy_from, std::nullopt);
}

TEST_F(PageLedgerTest, AForkOfAForkThatHasNotCopiedCopiesFromTheSamePage) {
  ASSERT_EQ(start(1, 1, 4), Verdict::kStarted);
  grant(1, 1);
  ASSERT_TRUE(ledger_.advance(1, 1));
  ASSERT_EQ(ledger_.fork(1, 2, 4).verdict, Verdict::kStarted);
  ASSERT_EQ(ledger_.fork(2, 3, 4).verdict, Verdict::kStarted);
  EXPECT_EQ(ledger_.shared_tail(3), page(1, 0));
  EXPECT_EQ(ledger_.find(page(1, 0))->refs, 3);
  EXPECT_EQ(ledger_.promise().promised, 3) << "the page that all have, and two copies";
  EXPECT_EQ(ledger_.fork(1, 4, 16).verdict, Verdict::kNotNow) << "3 of 6 are promised";
  EXPECT_EQ(ledger_.fork(1, 4, 12).verdict, Verdict::kStarted);
}

// It stays until the last of them ends.
TEST_F(PageLedgerTest, WhatSeveralHaveIsPromisedOnce) {
  compute(1, {hash(1), hash(2)});
  ASSERT_EQ(ledger_.promise().promised, 2);
  const std::vector both{hash(1), hash(2)};
  EXPECT_EQ(ledger_.start({2, 9, 20}, both).verdict, Verdict::kStarted);
  EXPECT_EQ(ledger_.promise().promised, 5);
  EXPECT_EQ(ledger_.shared(0) + ledger_.shared(1), 2);
  EXPECT_EQ(ledger_.start({3, 9, 20}, both).verdict, Verdict::kNotNow) << "3 more, of 1";
  ledger_.release(1);
  EXPECT_EQ(ledger_.promise().promised, 5) << "the other has all of it";
  EXPECT_EQ(ledger_.shared(0) + ledger_.shared(1), 0);
  ledger_.release(2);
  EXPECT_EQ(ledger_.promise().promised, 0);
  EXPECT_EQ(ledger_.check(), std::nullopt);
}

// --- Moves

TEST_F(PageLedgerTest, ACommittedMoveGivesThePageAnotherOwnerInEveryTable) {
  compute(1, {hash(1)});
  ASSERT_EQ(ledger_.start({2, 5, 8}, std::vector{hash(1)}).hit_tokens, 4);
  const PageRef before = page(1, 0);
  const PageInMotion move = moving(before, 1);
  EXPECT_EQ(page(1, 0), before) << "nothing changes until the commit";
  ASSERT_TRUE(ledger_.commit_move(move.id));
  EXPECT_EQ(page(1, 0), move.to);
  EXPECT_EQ(page(2, 0), move.to);
  EXPECT_EQ(ledger_.find(move.to)->refs, 2);
  EXPECT_EQ(state(before), PageState::kRetired);
  EXPECT_THAT(ledger_.longest_hit(std::vector{hash(1)}, 9, {}), ElementsAre(move.to));
  EXPECT_TRUE(ledger_.drained(before));
  EXPECT_EQ(state(before), PageState::kFree);
  EXPECT_FALSE(ledger_.drained(before)) << "told twice";
  EXPECT_EQ(ledger_.stale_messages(), 1);
}

TEST_F(PageLedgerTest, AMoveEndsAtItsDeadlineUnlessItIsPrepared) {
  compute(1, {hash(1), hash(2)});
  const auto late = ledger_.try_move(page(1, 0), 1, 100);
  const PageInMotion ready = moving(page(1, 1), 1);
  EXPECT_FALSE(ledger_.commit_move(late->id)) << "it is not prepared";
  EXPECT_THAT(ledger_.cancel_late_moves(99), IsEmpty());
  EXPECT_THAT(ledger_.cancel_late_moves(100), ElementsAre(late->id));
  EXPECT_EQ(ledger_.find(late->to), nullptr);
  EXPECT_FALSE(ledger_.prepared(late->id, late->to)) << "told late";
  EXPECT_FALSE(ledger_.cancel_move(late->id));
  EXPECT_TRUE(ledger_.commit_move(ready.id));
  EXPECT_FALSE(ledger_.commit_move(ready.id));
  EXPECT_EQ(ledger_.stale_messages(), 1);
}

TEST_F(PageLedgerTest, AcknowledgementsOfAnotherGenerationCount) {
  compute(1, {hash(1)});
  const auto move = ledger_.try_move(page(1, 0), 1, 100);
  PageRef other = move->to;
  ++other.generation;
  EXPECT_FALSE(ledger_.prepared(move->id, other));
  EXPECT_FALSE(ledger_.commit_move(move->id));
  EXPECT_EQ(ledger_.stale_messages(), 1);
}

TEST_F(PageLedgerTest, AMoveIsRefusedWithoutRoomTwiceOrBeyondTheHeadroom) {
  compute(1, {hash(1), hash(2), hash(3)});
  EXPECT_EQ(ledger_.try_move(page(1, 0), 0, 9), std::nullopt) << "it is there";
  EXPECT_THROW((void)ledger_.try_move(page(1, 0), 2, 9), std::logic_error);
  ledger_.set_capacity(1, 0);
  EXPECT_EQ(ledger_.try_move(page(1, 0), 1, 9), std::nullopt);
  ledger_.set_capacity(1, 4);
  ASSERT_TRUE(ledger_.try_move(page(1, 0), 1, 9));
  EXPECT_EQ(ledger_.try_move(page(1, 0), 1, 9), std::nullopt) << "it moves";
  const PageInMotion second = moving(page(1, 1), 1);
  EXPECT_EQ(ledger_.try_move(page(1, 2), 1, 9), std::nullopt) << "two at a time";
  const PageRef left = page(1, 1);
  ASSERT_TRUE(ledger_.commit_move(second.id));
  EXPECT_EQ(ledger_.try_move(page(1, 2), 1, 9), std::nullopt) << "what it left takes memory still";
  ASSERT_TRUE(ledger_.drained(left));
  EXPECT_TRUE(ledger_.try_move(page(1, 2), 1, 9));
}

TEST_F(PageLedgerTest, AMoveEndsWithThePageThatMoves) {
  ASSERT_EQ(start(1, 4, 4), Verdict::kStarted);
  grant(1, 1);
  ASSERT_TRUE(ledger_.advance(1, 4));
  const PageInMotion move = moving(page(1, 0), 1);
  ledger_.release(1);
  EXPECT_EQ(ledger_.find(move.to), nullptr);
  EXPECT_FALSE(ledger_.commit_move(move.id));
}

TEST_F(PageLedgerTest, ACachedPageMovesAndStaysCached) {
  compute_and_release(1, {hash(1)});
  const PageRef before = ledger_.longest_hit(std::vector{hash(1)}, 9, {})[0];
  const PageInMotion move = moving(before, 1);
  ASSERT_TRUE(ledger_.commit_move(move.id));
  EXPECT_EQ(state(move.to), PageState::kCached);
  EXPECT_EQ(state(before), PageState::kRetired);
  EXPECT_FALSE(ledger_.evict(0)) << "a retired page is not the cache's";
  EXPECT_TRUE(ledger_.evict(1));
}

TEST_F(PageLedgerTest, APageThatIsNotFullMovesIfItsRequestStands) {
  ASSERT_EQ(start(1, 6, 8), Verdict::kStarted);
  grant(1, 2);
  ASSERT_TRUE(ledger_.advance(1, 6));
  ASSERT_EQ(ledger_.fork(1, 2, 8).verdict, Verdict::kStarted);
  const PageInMotion move = moving(page(1, 1), 1);
  ASSERT_TRUE(ledger_.commit_move(move.id));
  EXPECT_EQ(ledger_.find(move.to)->filled, 2);
  EXPECT_EQ(ledger_.shared_tail(2), move.to);
  ASSERT_TRUE(ledger_.advance(1, 7));
  PageLedger other(LedgerOptions{.capacity = {2, 2}, .page_tokens = 4, .headroom = 1});
  ASSERT_EQ(other.start({1, 1, 4}).verdict, Verdict::kStarted);
  ASSERT_TRUE(other.try_grant(1, kAny));
  ASSERT_TRUE(other.advance(1, 1));
  ASSERT_TRUE(other.try_move(other.pages(1)[0], 1, 9));
  EXPECT_THROW((void)other.advance(1, 2), std::logic_error);
}

TEST_F(PageLedgerTest, ACopyIsFoundWhereItIsPreferredAndGoesFirst) {
  compute(1, {hash(1)});
  const PageInMotion move = moving(page(1, 0), 1);
  ASSERT_TRUE(ledger_.commit_copy(move.id));
  EXPECT_EQ(page(1, 0), move.from);
  EXPECT_EQ(state(move.to), PageState::kCached);
  EXPECT_THAT(ledger_.longest_hit(std::vector{hash(1)}, 9, kBackwards), ElementsAre(move.to));
  EXPECT_THAT(ledger_.longest_hit(std::vector{hash(1)}, 9, {}), ElementsAre(move.from));
  EXPECT_EQ(ledger_.try_move(page(1, 0), 1, 9), std::nullopt) << "one page an owner";
  EXPECT_TRUE(ledger_.evict(1));
  ledger_.release(1);
  EXPECT_EQ(ledger_.longest_hit(std::vector{hash(1)}, 9, {}).size(), 1u);
}

TEST_F(PageLedgerTest, OnlyIndexedPagesHaveCopies) {
  ASSERT_EQ(start(1, 4, 4), Verdict::kStarted);
  grant(1, 1);
  ASSERT_TRUE(ledger_.advance(1, 4));
  const PageInMotion move = moving(page(1, 0), 1);
  EXPECT_THROW((void)ledger_.commit_copy(move.id), std::logic_error);
}

// --- Leases

TEST_F(PageLedgerTest, ALeasedPageIsNotEvictedAndCountsAgainstThePromise) {
  compute_and_release(1, {hash(1)});
  const PageRef cached = ledger_.longest_hit(std::vector{hash(1)}, 9, {})[0];
  const auto lease = ledger_.try_lease(cached);
  ASSERT_TRUE(lease);
  EXPECT_FALSE(ledger_.evict(0));
  EXPECT_EQ(ledger_.promise().left(), 5);
  EXPECT_TRUE(ledger_.end_lease(*lease));
  EXPECT_FALSE(ledger_.end_lease(*lease));
  EXPECT_EQ(ledger_.promise().left(), 6);
  EXPECT_TRUE(ledger_.evict(0));
  EXPECT_EQ(ledger_.try_lease(cached), std::nullopt) << "it is not there any more";
}

TEST_F(PageLedgerTest, ALeaseThatWouldHoldPromisedMemoryIsRefused) {
  compute_and_release(1, {hash(1)});
  ASSERT_EQ(start(2, 4, 24), Verdict::kStarted);
  const PageRef cached = ledger_.longest_hit(std::vector{hash(1)}, 9, {})[0];
  EXPECT_EQ(ledger_.try_lease(cached), std::nullopt);
  grant(2, 1);
  EXPECT_EQ(ledger_.try_lease(page(2, 0)), std::nullopt) << "there is nothing to read";
  ASSERT_TRUE(ledger_.advance(2, 1));
  EXPECT_TRUE(ledger_.try_lease(page(2, 0))) << "its memory is promised to a request";
}

TEST_F(PageLedgerTest, WhatIsLeasedIsRetiredWhenItIsReleasedOrMoved) {
  ASSERT_EQ(start(1, 4, 8), Verdict::kStarted);
  grant(1, 2);
  ASSERT_TRUE(ledger_.advance(1, 8));
  const PageRef first = page(1, 0), second = page(1, 1);
  const auto of_first = ledger_.try_lease(first), of_second = ledger_.try_lease(second);
  const PageInMotion move = moving(first, 1);
  ASSERT_TRUE(ledger_.commit_move(move.id));
  ledger_.release(1);
  EXPECT_EQ(state(first), PageState::kRetired);
  EXPECT_EQ(state(second), PageState::kRetired);
  EXPECT_EQ(ledger_.promise().pinned, 1) << "what a move left is the headroom's";
  ASSERT_TRUE(ledger_.end_lease(*of_second));
  EXPECT_EQ(ledger_.find(second), nullptr);
  ASSERT_TRUE(ledger_.drained(first));
  EXPECT_EQ(state(first), PageState::kRetired) << "the lease";
  ASSERT_TRUE(ledger_.end_lease(*of_first));
  EXPECT_EQ(ledger_.find(first), nullptr);
}

TEST_F(PageLedgerTest, APageThatWasLeasedWhileItRanIsNotEvictedAfterwards) {
  compute(1, {hash(1)});
  const PageRef page = ledger_.pages(1)[0];
  const auto lease = ledger_.try_lease(page);
  ledger_.release(1);
  EXPECT_EQ(state(page), PageState::kCached);
  EXPECT_FALSE(ledger_.evict(0));
  ASSERT_TRUE(ledger_.end_lease(*lease));
  EXPECT_TRUE(ledger_.evict(0));
}

TEST_F(PageLedgerTest, ALeaseThatEndsBeforeTheDrainFreesNothing) {
  compute(1, {hash(1)});
  const PageInMotion move = moving(page(1, 0), 1);
  const auto lease = ledger_.try_lease(move.from);
  ASSERT_TRUE(ledger_.commit_move(move.id));
  ASSERT_TRUE(ledger_.end_lease(*lease));
  EXPECT_EQ(state(move.from), PageState::kRetired);
  ASSERT_TRUE(ledger_.drained(move.from));
  EXPECT_EQ(ledger_.find(move.from), nullptr);
}

TEST(PageLedgerOfThreeTest, TheSecondOfTwoCopiesOnTheirWayToAnOwnerIsCancelled) {
  PageLedger ledger(LedgerOptions{.capacity = {2, 2, 2}, .page_tokens = 1, .headroom = 3});
  ASSERT_EQ(ledger.start({1, 1, 1}).verdict, Verdict::kStarted);
  ASSERT_TRUE(ledger.try_grant(1, kAny));
  ASSERT_TRUE(ledger.advance(1, 1, std::vector{hash(1)}));
  const auto move_to = [&](PageRef from, int to) {
    const auto move = ledger.try_move(from, to, 9);
    EXPECT_TRUE(ledger.prepared(move->id, move->to));
    return *move;
  };
  const PageInMotion copy = move_to(ledger.pages(1)[0], 1);
  ASSERT_TRUE(ledger.commit_copy(copy.id));
  const PageInMotion one = move_to(copy.from, 2), other = move_to(copy.to, 2);
  EXPECT_TRUE(ledger.commit_copy(one.id));
  EXPECT_FALSE(ledger.commit_copy(other.id));
  EXPECT_EQ(ledger.find(other.to), nullptr);
  EXPECT_EQ(ledger.check(), std::nullopt);
}

TEST_F(PageLedgerTest, ALeasedPageThatCannotBeFoundAnyMoreIsRetired) {
  compute_and_release(1, {hash(1), hash(2)});
  const auto chain = ledger_.longest_hit(std::vector{hash(1), hash(2)}, 9, {});
  const auto lease = ledger_.try_lease(chain[1]);
  ASSERT_TRUE(ledger_.evict(0));
  EXPECT_EQ(state(chain[0]), PageState::kFree);
  EXPECT_EQ(state(chain[1]), PageState::kRetired);
  ASSERT_TRUE(ledger_.end_lease(*lease));
  EXPECT_EQ(state(chain[1]), PageState::kFree);
}

// --- Capacity

TEST_F(PageLedgerTest, ADeadOwnerKeepsNothingAndNothingFollowsItsPages) {
  ASSERT_EQ(start(1, 12, 12), Verdict::kStarted);
  grant(1, 1, kBackwards);
  grant(1, 1);
  grant(1, 1, kBackwards);
  ASSERT_TRUE(ledger_.advance(1, 12, std::vector{hash(1), hash(2), hash(3)}));
  const PageInMotion move = moving(page(1, 0), 0);
  ledger_.set_capacity(0, 0);
  EXPECT_TRUE(ledger_.cancel_move(move.id));
  ledger_.release(1);
  EXPECT_EQ(ledger_.counts(0).in_use(), 0);
  EXPECT_EQ(ledger_.longest_hit(std::vector{hash(1), hash(2), hash(3)}, 99, {}).size(), 1u);
  EXPECT_EQ(used(1), 1);
}

TEST_F(PageLedgerTest, LostCapacityTakesCachedPagesAndLeavesWhatRuns) {
  compute_and_release(1, {hash(1)});
  compute(2, {hash(2), hash(3)});
  ledger_.set_capacity(0, 1);
  EXPECT_EQ(used(0), 2) << "of what runs";
  EXPECT_FALSE(ledger_.longest_hit(std::vector{hash(1)}, 9, {}).size());
  EXPECT_EQ(ledger_.available(0), 0);
  EXPECT_TRUE(ledger_.promise().holds());
  ledger_.set_capacity(1, 2);
  EXPECT_FALSE(ledger_.promise().holds()) << "2 promised of 3 less 2";
  EXPECT_EQ(start(3, 1, 1), Verdict::kNotNow);
  EXPECT_EQ(start(3, 1, 25), Verdict::kNever) << "of all slots there are";
  ledger_.release(2);
  EXPECT_EQ(used(0), 1) << "no more is cached than there is memory";
  EXPECT_TRUE(ledger_.promise().holds());
  EXPECT_THROW(ledger_.set_capacity(0, 5), std::logic_error);
}

}  // namespace
}  // namespace longspan
