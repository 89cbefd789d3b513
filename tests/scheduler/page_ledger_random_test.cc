// Random events on a page ledger, compared with the naive one after each: see ledger_replay.h.
//
// LONGSPAN_LEDGER_EVENTS says how many, LONGSPAN_LEDGER_SEED with which script to begin;
// scripts/check-ledger runs ten million.
#include <gmock/gmock.h>

#include <cstdlib>
#include <sstream>

#include "tests/scheduler/ledger_replay.h"
#include "tests/scheduler/ledger_script.h"

namespace longspan::test {
namespace {

using enum LedgerEventKind;

constexpr int kEventsOfAScript = 400;

#ifdef __SANITIZE_ADDRESS__
constexpr std::int64_t kEvents = 100'000;
#else
constexpr std::int64_t kEvents = 1'000'000;
#endif

std::int64_t from_environment(const char* name, std::int64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoll(text, nullptr, 10) : otherwise;
}

std::string in_words(const LedgerScript& script) {
  LedgerReplay replay(script);
  const auto failure = replay.run();
  std::ostringstream words;
  words << "pages of " << script.page_tokens << " tokens, headroom " << script.headroom
        << ", capacity";
  for (const std::int64_t pages : script.capacity) words << ' ' << pages;
  for (std::size_t i = 0; i < replay.told().size(); ++i) {
    words << "\n  " << i + 1 << ". " << replay.told()[i] << "   {";
    for (const int draw : script.events[i].draws) words << ' ' << draw;
    words << " }";
  }
  words << "\n  => " << failure.value_or("nothing goes wrong");
  return words.str();
}

TEST(PageLedgerRandomTest, AnyEventsLeaveItAsTheNaiveOneSays) {
  const std::int64_t events = from_environment("LONGSPAN_LEDGER_EVENTS", kEvents);
  const std::int64_t first = from_environment("LONGSPAN_LEDGER_SEED", 1);
  for (std::int64_t seed = first; (seed - first) * kEventsOfAScript < events; ++seed) {
    const LedgerScript script = random_script(seed, kEventsOfAScript);
    if (!LedgerReplay(script).run()) continue;
    const auto fails = [](const LedgerScript& part) {
      return LedgerReplay(part).run().has_value();
    };
    FAIL() << "script " << seed << ", cut down to what fails:\n" << in_words(shrink(script, fails));
  }
}

/// Scripts whose events mostly find nothing to do would test nothing.
TEST(PageLedgerRandomTest, MostEventsFindSomethingToDo) {
  int idle = 0;
  for (int seed = 1; seed <= 50; ++seed) {
    LedgerReplay replay(random_script(seed, kEventsOfAScript));
    EXPECT_EQ(replay.run(), std::nullopt);
    idle += replay.idle_events();
  }
  EXPECT_LT(idle, 50 * kEventsOfAScript / 4);
}

TEST(LedgerScriptTest, AFailingScriptShrinksToTheEventsThatMatter) {
  const LedgerScript script = random_script(3, 300);
  const auto fails = [](const LedgerScript& part) {
    bool forked = false;
    for (const LedgerEvent& event : part.events) {
      if (forked && event.kind == kEvict && event.draws[1] > 0) return true;
      forked = forked || event.kind == kFork;
    }
    return false;
  };
  ASSERT_TRUE(fails(script));
  const LedgerScript least = shrink(script, fails);
  ASSERT_EQ(least.events.size(), 2u);
  EXPECT_EQ(least.events[0].kind, kFork);
  EXPECT_EQ(least.events[1].kind, kEvict);
  EXPECT_EQ(least.events[1].draws[0], 0);
  EXPECT_GT(least.events[1].draws[1], 0);
}

}  // namespace
}  // namespace longspan::test
