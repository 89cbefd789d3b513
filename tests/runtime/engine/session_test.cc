// A conversation that is saved, and goes on in another job: the same tokens as if it had never
// stopped, however many ranks, pages and parts of the model there are then.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/engine/job.h"
#include "runtime/engine/load_model.h"
#include "runtime/engine/session_messages.h"
#include "runtime/session/session_folder.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"
#include "tests/support/run_ranks.h"
#include "tests/support/small_disk.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using Tokens = std::vector<TokenId>;

constexpr std::int64_t kRoom = 200;
constexpr std::int64_t kMaxNew = 6;
constexpr int kHeads = 3;  // of keys and values

struct Turn {
  Tokens tokens;
  std::vector<double> logprobs;
};

struct Talk {
  std::vector<Turn> turns;
  Tokens whole;                // prompts and answers
  std::int64_t kept = 0;       // by the last turn
  std::int64_t prefilled = 0;  // rows of all chunks
};

struct Setting {
  JobOptions options;
  int ranks = 1;
  int tp = 1;

  std::string text() const {
    return str("{} instances of {} on {} ranks, pages of {}, {}", options.degree, tp, ranks,
               options.page_tokens, name(options.kv_type));
  }
};

class SessionTest : public testing::Test {
 protected:
  SessionTest() {
    test::TinyLlama model;
    model.heads = 6;
    model.kv_heads = kHeads;
    model.seed = 5;
    model.write(folder_ / "model.gguf");
  }

  fs::path file() const { return folder_ / "talk.session"; }

  void job(const Setting& setting, Talk& talk,
           const std::function<void(Coordinator&)>& body) const {
    test::run_machines(setting.ranks, [&](Machine& machine) {
      LoadedModel model = load_model(
          machine, open_model(machine, (folder_ / "model.gguf").string()), {.tp = setting.tp});
      SessionInput input{.shapes = {{.room = kRoom}}, .listener = listener(talk), .drive = body};
      run_session(machine, model, setting.options, machine.rank() == 0 ? &input : nullptr);
    });
  }

  static Coordinator::Listener listener(Talk& talk) {
    return {.prefill = [&](const Progress& chunk) { talk.prefilled += chunk.prompt_chunk; },
            .layer = nullptr,
            .token =
                [&](RequestId, const Scored& scored) {
                  talk.turns.back().tokens.push_back(scored.chosen.id);
                  talk.turns.back().logprobs.push_back(scored.chosen.logprob);
                  talk.whole.push_back(scored.chosen.id);
                },
            .nll = [](RequestId, double) {}};
  }

  /// The next turn, whose message has so many tokens.
  static void take_turn(Coordinator& coordinator, Talk& talk, std::int64_t message) {
    std::mt19937 random(static_cast<unsigned>(talk.turns.size()) + 1);
    for (std::int64_t i = 0; i < message; ++i) {
      talk.whole.push_back(static_cast<TokenId>(random() % 256));
    }
    talk.turns.emplace_back();
    Admission admission{.request = 0, .prompt = talk.whole, .top = 1};
    if (coordinator.holds(0)) {
      talk.kept = coordinator.extend(std::move(admission), kMaxNew).value_or(-1);
    } else {
      EXPECT_TRUE(coordinator.submit(std::move(admission), kMaxNew, false, kRoom));
    }
    while (coordinator.step()) continue;
  }

  SessionIndex save(Coordinator& coordinator, const Setting& setting) const {
    const HeldConversation held = coordinator.held(0);
    SessionIndex index{.generation = new_generation(),
                       .page_tokens = setting.options.page_tokens,
                       .tokens = held.tokens,
                       .computed = held.computed};
    index.terms = {.kv_type = setting.options.kv_type,
                   .layers = test::TinyLlama{}.layers,
                   .kv_heads = kHeads,
                   .head_dim = 16};
    index.parts =
        coordinator.save_pages({0, file().string(), index.generation, index.computed, kHeads});
    commit_session(file(), index);
    return index;
  }

  void restore(Coordinator& coordinator) const {
    EXPECT_TRUE(coordinator.restore(0, file().string(), read_index(file()), kRoom));
    EXPECT_TRUE(coordinator.holds(0));
  }

  /// Turns with messages of so many tokens, after `turns` of which the conversation is saved by one
  /// job and taken up by another.
  Talk broken(const Setting& before, const Setting& after,
              const std::vector<std::int64_t>& messages, std::size_t turns) const {
    Talk talk;
    job(before, talk, [&](Coordinator& coordinator) {
      for (std::size_t i = 0; i < turns; ++i) take_turn(coordinator, talk, messages[i]);
      save(coordinator, before);
    });
    talk.prefilled = 0;
    job(after, talk, [&](Coordinator& coordinator) {
      restore(coordinator);
      for (std::size_t i = turns; i < messages.size(); ++i) {
        take_turn(coordinator, talk, messages[i]);
      }
    });
    return talk;
  }

  Talk unbroken(const Setting& setting, const std::vector<std::int64_t>& messages) const {
    Talk talk;
    job(setting, talk, [&](Coordinator& coordinator) {
      for (const std::int64_t message : messages) take_turn(coordinator, talk, message);
    });
    return talk;
  }

  static void expect_same(const Talk& talk, const Talk& oracle, const std::string& what,
                          double tolerance) {
    ASSERT_EQ(talk.turns.size(), oracle.turns.size()) << what;
    EXPECT_EQ(talk.whole, oracle.whole) << what;
    for (std::size_t i = 0; i < oracle.turns.size(); ++i) {
      ASSERT_EQ(talk.turns[i].tokens, oracle.turns[i].tokens) << what << ", turn " << i;
      for (std::size_t t = 0; t < oracle.turns[i].logprobs.size(); ++t) {
        EXPECT_NEAR(talk.turns[i].logprobs[t], oracle.turns[i].logprobs[t], tolerance)
            << what << ", turn " << i << ", token " << t;
      }
    }
  }

  static Setting setting_of(int degree, std::int64_t page_tokens, int tp = 1, int idle = 0) {
    return {.options = {.degree = degree, .page_tokens = page_tokens},
            .ranks = degree * tp + idle * tp,
            .tp = tp};
  }

  test::TemporaryDirectory folder_;
};

TEST_F(SessionTest, GoesOnAtAnyDegreeAndPageSizeAsIfItHadNeverStopped) {
  const std::vector<std::int64_t> messages{33, 5, 17, 1};
  const Talk oracle = unbroken({}, messages);
  const std::vector<Setting> settings{
      setting_of(1, 16),   setting_of(3, 4),    setting_of(2, 1),      setting_of(4, 32),
      setting_of(1, 4, 3), setting_of(2, 8, 6), setting_of(2, 5, 1, 1)};
  for (std::size_t i = 0; i < settings.size(); ++i) {
    for (const std::size_t step : {0u, 1u, 3u}) {
      const Setting& before = settings[i];
      const Setting& after = settings[(i + step) % settings.size()];
      const std::string what = before.text() + ", then " + after.text();
      const Talk talk = broken(before, after, messages, 2);
      expect_same(talk, oracle, what, 1e-4);
      // Messages, and the last token of each answer, which nobody had computed.
      EXPECT_EQ(talk.prefilled, 17 + 1 + 1 + 1) << what;
    }
  }
}

// A page more, a page less, one token; and nothing at all on some ranks.
TEST_F(SessionTest, AnyLengthIsSavedWhole) {
  for (const std::int64_t first : {1, 2, 3, 4, 10, 11, 12}) {  // computed: five more
    const std::vector<std::int64_t> messages{first, 3};
    const Talk oracle = unbroken({}, messages);
    expect_same(broken(setting_of(3, 8), setting_of(2, 3), messages, 1), oracle,
                str("a first message of {}", first), 1e-4);
  }
}

TEST_F(SessionTest, NarrowPagesAreThoseThatWereSaved) {
  const std::vector<std::int64_t> messages{33, 5, 17};
  for (KvType type : {KvType::kFloat16, KvType::kBFloat16, KvType::kInt8}) {
    Setting one = setting_of(1, 8), three = setting_of(3, 8), apart = setting_of(1, 8, 3);
    for (Setting* setting : {&one, &three, &apart}) setting->options.kv_type = type;
    const Talk oracle = unbroken(one, messages);
    // The same ranks: not one value differs.
    expect_same(broken(one, one, messages, 2), oracle, one.text(), 0);
    expect_same(broken(three, three, messages, 2), unbroken(three, messages), three.text(), 0);
    const double tolerance = type == KvType::kInt8 ? 5e-3 : 1e-3;
    expect_same(broken(three, one, messages, 2), oracle, three.text(), tolerance);
    expect_same(broken(one, apart, messages, 2), oracle, apart.text(), tolerance);
  }
}

// Byte for byte: over other ranks and pages and back, every page has the checksum that it had.
TEST_F(SessionTest, WhatIsSavedAgainIsWhatWasSaved) {
  for (KvType type : {KvType::kFloat32, KvType::kBFloat16, KvType::kInt8}) {
    const bool whole_pages = has_scales(type);
    std::vector<Setting> path{setting_of(2, 8), setting_of(3, whole_pages ? 8 : 5),
                              setting_of(1, whole_pages ? 8 : 32, 6), setting_of(2, 8)};
    Talk talk;
    std::vector<SessionIndex> saved;
    for (Setting& setting : path) {
      setting.options.kv_type = type;
      job(setting, talk, [&](Coordinator& coordinator) {
        if (saved.empty()) {
          take_turn(coordinator, talk, 41);
        } else {
          restore(coordinator);
        }
        saved.push_back(save(coordinator, setting));
      });
    }
    ASSERT_EQ(saved.size(), 4u);
    EXPECT_EQ(saved[2].parts.size(), 3u) << "of two ranks with one head the first writes it";
    EXPECT_EQ(saved.back().tokens, saved.front().tokens);
    EXPECT_EQ(saved.back().computed, 46);
    ASSERT_EQ(saved.back().parts.size(), saved.front().parts.size());
    for (std::size_t i = 0; i < saved.front().parts.size(); ++i) {
      const std::vector<SessionPage>& before = saved.front().parts[i].pages;
      const std::vector<SessionPage>& after = saved.back().parts[i].pages;
      ASSERT_EQ(after.size(), before.size());
      for (std::size_t page = 0; page < before.size(); ++page) {
        EXPECT_EQ(after[page].number, before[page].number);
        EXPECT_EQ(after[page].crc, before[page].crc) << name(type) << ", page " << page;
      }
    }
  }
}

TEST_F(SessionTest, ADamagedPageIsNamedAndTheJobGoesOnWithoutIt) {
  Talk talk;
  const Setting setting = setting_of(2, 8);
  SessionIndex index;
  job(setting, talk, [&](Coordinator& coordinator) {
    take_turn(coordinator, talk, 30);
    index = save(coordinator, setting);
  });
  const fs::path part = part_path(file(), index.generation, 1);
  std::fstream(part, std::ios::in | std::ios::out).seekp(-1, std::ios::end).put('\x55');
  Talk fresh;
  job(setting, fresh, [&](Coordinator& coordinator) {
    try {
      (void)coordinator.restore(0, file().string(), index, kRoom);
      ADD_FAILURE() << "nobody noticed";
    } catch (const DataError& error) {
      EXPECT_NE(std::string(error.what()).find("of the session (tokens "), std::string::npos)
          << error.what();
    }
    EXPECT_FALSE(coordinator.holds(0));
    Admission other{.request = 1, .prompt = Tokens(talk.whole.begin(), talk.whole.begin() + 30)};
    fresh.turns.emplace_back();
    EXPECT_TRUE(coordinator.submit(std::move(other), kMaxNew, false, kRoom));
    while (coordinator.step()) continue;
  });
  EXPECT_EQ(fresh.turns.back().tokens, talk.turns.back().tokens);
}

TEST_F(SessionTest, ASaveThatFailsDisturbsNeitherTheConversationNorTheFile) {
  const std::vector<std::int64_t> messages{20, 9, 4};
  const Setting setting = setting_of(3, 4);
  Talk talk;
  job(setting, talk, [&](Coordinator& coordinator) {
    take_turn(coordinator, talk, messages[0]);
    const SessionIndex first = save(coordinator, setting);
    take_turn(coordinator, talk, messages[1]);
    {
      const test::SmallDisk full(100);
      EXPECT_THROW(save(coordinator, setting), IoError);
    }
    EXPECT_EQ(read_index(file()).generation, first.generation);
    EXPECT_NO_THROW(verify_session(file(), first));
    take_turn(coordinator, talk, messages[2]);
    save(coordinator, setting);
  });
  expect_same(talk, unbroken({}, messages), "with a full disk in between", 1e-4);
  EXPECT_EQ(read_index(file()).tokens, talk.whole);
  EXPECT_NO_THROW(verify_session(file(), read_index(file())));
}

TEST_F(SessionTest, ARoomThatIsTooSmallIsNoError) {
  Talk talk;
  job({}, talk, [&](Coordinator& coordinator) {
    take_turn(coordinator, talk, 30);
    const SessionIndex index = save(coordinator, {});
    coordinator.forget(0);
    for (std::int64_t room : {std::int64_t{35}, kRoom + 1000}) {
      EXPECT_FALSE(coordinator.restore(1, file().string(), index, room)) << room;
    }
    EXPECT_TRUE(coordinator.restore(1, file().string(), index, 36));
    EXPECT_EQ(coordinator.held(1).computed, 35);
  });
}

}  // namespace
}  // namespace longspan
