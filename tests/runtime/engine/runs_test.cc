// Groups that decode by themselves: what a plan holds for, who may break in, and that the tokens
// are those that each request has alone.
#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "comm/str.h"
#include "tests/runtime/engine/engine_fixture.h"

namespace longspan {
namespace {

using test::Heard;
using test::random_tokens;
using test::request_of;
using test::run_out;
using test::Tokens;

class RunsTest : public test::EngineFixture {
 protected:
  /// By reading: each token of an answer is that which a prompt of all before it samples, and no
  /// step follows another.
  Tokens read_one_by_one(Tokens prompt, std::int64_t max_new) const {
    Tokens answer;
    open({.max_running = 1, .prefix_cache = false}, [&](Engine& engine) {
      for (std::int64_t i = 0; i < max_new; ++i) {
        Heard heard;
        engine.submit(request_of(prompt, heard, 1));
        run_out(engine);
        answer.push_back(heard.tokens.at(0));
        prompt.push_back(answer.back());
      }
      EXPECT_EQ(engine.stats().plans, engine.stats().steps);
    });
    return answer;
  }
};

std::vector<Tokens> short_prompts(int seed, int count) {
  std::mt19937 random(seed);
  std::vector<Tokens> list;
  for (int i = 0; i < count; ++i) list.push_back(random_tokens(random, 1 + random() % 9));
  return list;
}

TEST_F(RunsTest, AnAnswerThatNeedsNoPlansIsTheOneThatPromptsGive) {
  const Tokens prompt = short_prompts(1, 1)[0], oracle = read_one_by_one(prompt, 30);
  for (const int degree : {1, 2, 3}) {
    for (const DecodeStrategy strategy : kDecodeStrategies) {
      Heard heard;
      EngineStats stats;
      open({.degree = degree, .page_tokens = 4, .decode_strategy = strategy, .max_running = 2},
           [&](Engine& engine) {
             engine.submit(request_of(prompt, heard, 30));
             run_out(engine);
             stats = engine.stats();
           });
      EXPECT_EQ(heard.tokens, oracle) << degree << ' ' << name(strategy);
      EXPECT_EQ(stats.steps, 30);
      EXPECT_LE(stats.plans, 2 + 30 / 4) << "one to read the prompt, one for each page";
    }
  }
}

// Together they may have a plan for each page of each, and have as many as one of them alone, if
// nobody ends.
TEST_F(RunsTest, ManyHaveNoMorePlansThanPages) {
  const auto list = short_prompts(2, 5);
  const auto oracle = alone(list, 24);
  for (const KvType type : {KvType::kFloat32, KvType::kInt8}) {
    std::vector<Tokens> of_one_rank;
    for (const int degree : {1, 2, 3}) {
      std::vector<Heard> heard(list.size());
      EngineStats stats;
      JobOptions options{.degree = degree, .page_tokens = 4, .max_running = 5};
      options.kv_type = type;
      open(options, [&](Engine& engine) {
        for (std::size_t i = 0; i < list.size(); ++i) {
          engine.submit(request_of(list[i], heard[i], 24));
        }
        run_out(engine);
        stats = engine.stats();
      });
      std::vector<Tokens> answers;
      for (const Heard& one : heard) answers.push_back(one.tokens);
      if (degree == 1) of_one_rank = type == KvType::kFloat32 ? oracle : answers;
      EXPECT_EQ(answers, of_one_rank) << degree;
      EXPECT_EQ(stats.steps, 24) << "their prompts are read in one";
      EXPECT_LE(stats.plans, 1 + 24 / 4);
    }
  }
}

/// One long answer that others join, leave and end beside.
struct Company {
  int degree = 1;
  int groups = 1;
};

TEST_F(RunsTest, WhoComesInTheMiddleOfARunIsReadWithTheNextStepOrTwo) {
  const auto list = short_prompts(3, 2);
  const auto oracle = alone(list, 40);
  for (const Company& one : {Company{1, 1}, {2, 1}, {1, 2}, {2, 2}}) {
    SCOPED_TRACE(str("{} groups of {}", one.groups, one.degree));
    std::vector<Heard> heard(list.size());
    std::int64_t before = 0;  // tokens of the first, when the second was submitted
    std::int64_t with = 0;    // when that had its first one
    open({.degree = one.degree, .groups = one.groups, .page_tokens = 16, .max_running = 4},
         [&](Engine& engine) {
           EngineRequest first = request_of(list[0], heard[0], 40);
           first.on_token = [&](const Scored& token) {
             heard[0].tokens.push_back(token.chosen.id);
             if (heard[0].tokens.size() != 11) return;
             EngineRequest second = request_of(list[1], heard[1], 40);
             second.on_token = [&](const Scored& later) {
               if (heard[1].tokens.empty()) with = std::ssize(heard[0].tokens);
               heard[1].tokens.push_back(later.chosen.id);
             };
             before = 11;
             engine.submit(std::move(second));
           };
           engine.submit(std::move(first));
           run_out(engine);
         });
    for (std::size_t i = 0; i < list.size(); ++i) EXPECT_EQ(heard[i].tokens, oracle[i]) << i;
    if (one.groups == 1) {
      EXPECT_LE(with, before + 2) << "with the next step, which it is told behind";
    }
  }
}

// The victim is of the second group, which rank 0 is not of: its leader hears of the end.
TEST_F(RunsTest, AnAbortInTheMiddleOfARunIsHeardAtOnceAndDisturbsNobody) {
  const auto list = short_prompts(4, 4);
  const auto oracle = alone(list, 40);
  for (const Company& one : {Company{1, 1}, {2, 1}, {3, 1}, {1, 2}, {2, 2}}) {
    for (const RequestId victim : {0, 1}) {
      SCOPED_TRACE(str("{} groups of {}, {}", one.groups, one.degree, victim));
      std::vector<Heard> heard(list.size());
      std::int64_t steps_then = 0, in_use = 0;
      open({.degree = one.degree, .groups = one.groups, .page_tokens = 16, .max_running = 8},
           [&](Engine& engine) {
             for (std::size_t i = 0; i < list.size(); ++i) {
               EngineRequest request = request_of(list[i], heard[i], 40);
               if (static_cast<RequestId>(i) == victim) {
                 request.on_token = [&, i](const Scored& token) {
                   heard[i].tokens.push_back(token.chosen.id);
                   if (heard[i].tokens.size() == 12) engine.abort(victim);
                 };
               }
               engine.submit(std::move(request));
             }
             while (heard[victim].tokens.size() < 12) ASSERT_TRUE(engine.step());
             steps_then = engine.stats().steps;
             while (heard[victim].finished.empty()) ASSERT_TRUE(engine.step());
             if (one.groups == 1) {
               EXPECT_EQ(engine.stats().steps, steps_then + 1) << "the next is without it";
             }
             run_out(engine);
             in_use = engine.stats().kv_in_use;
           });
      ASSERT_EQ(heard[victim].finished.size(), 1u);
      EXPECT_EQ(heard[victim].finished[0].ending, Ending::kAborted);
      EXPECT_EQ(heard[victim].finished[0].tokens, 12);
      EXPECT_EQ(heard[victim].tokens.size(), 12u) << "nothing is told behind it";
      EXPECT_EQ(in_use, 0);
      for (std::size_t i = 0; i < list.size(); ++i) {
        EXPECT_TRUE(std::ranges::equal(heard[i].tokens,
                                       std::span(oracle[i]).first(heard[i].tokens.size())));
        if (static_cast<RequestId>(i) != victim) {
          EXPECT_EQ(heard[i].tokens.size(), 40u);
        }
      }
    }
  }
}

TEST_F(RunsTest, AStopTokenEndsOneInTheMiddleAndTheOthersGoOn) {
  const auto list = short_prompts(5, 4);
  const auto oracle = alone(list, 30);
  for (const Company& one : {Company{1, 1}, {3, 1}, {2, 2}}) {
    std::vector<Heard> heard(list.size());
    EngineStats stats;
    open({.degree = one.degree, .groups = one.groups, .page_tokens = 16, .max_running = 8},
         [&](Engine& engine) {
           for (std::size_t i = 0; i < list.size(); ++i) {
             EngineRequest request = request_of(list[i], heard[i], 30);
             if (i % 2 == 1) request.sampling.stops = {300, oracle[i][3 + i]};
             engine.submit(std::move(request));
           }
           run_out(engine);
           stats = engine.stats();
         });
    for (std::size_t i = 0; i < list.size(); ++i) {
      Tokens expected = oracle[i];
      if (i % 2 == 1) {
        expected.erase(std::ranges::find(expected, oracle[i][3 + i]) + 1, expected.end());
      }
      EXPECT_EQ(heard[i].tokens, expected) << i;
      EXPECT_EQ(heard[i].finished.at(0).ending, i % 2 ? Ending::kStopped : Ending::kLength);
    }
    EXPECT_LE(stats.plans, one.groups * (2 + (30 + 9) / 16 + 1)) << "nobody waits for a place";
    EXPECT_EQ(stats.kv_in_use, 0);
  }
}

// What looks back counts what every rank that may sample next has heard.
TEST_F(RunsTest, ForksWithPenaltiesGoOnTogether) {
  const Tokens prompt = short_prompts(6, 1)[0];
  const auto answer = [&](int choice, Heard& heard) {
    EngineRequest request = request_of(prompt, heard, 40);
    request.sampling = {.temperature = 1, .repetition_penalty = 1.3, .presence_penalty = 0.4};
    request.sampling.seed = 9;
    request.sampling.choice = static_cast<std::uint32_t>(choice);
    return request;
  };
  std::vector<Tokens> of_one_rank;
  for (const int degree : {1, 2, 3}) {
    std::vector<Heard> heard(4);
    open({.degree = degree, .page_tokens = 4, .max_running = 4}, [&](Engine& engine) {
      for (int i = 0; i < 4; ++i) {
        EngineRequest request = answer(i, heard[i]);
        if (i > 0) request.like = 0;
        engine.submit(std::move(request));
      }
      run_out(engine);
      EXPECT_LE(engine.stats().plans, 5 + 40 / 4);
    });
    for (int i = 0; i < 4; ++i) {
      if (degree == 1) of_one_rank.push_back(heard[i].tokens);
      EXPECT_EQ(heard[i].tokens, of_one_rank[i]) << degree;
    }
  }
}

/// Requests that come, stop, are aborted and go on as conversations at any token of others.
class RandomCompany {
 public:
  RandomCompany(int seed, std::vector<Tokens> prompts, std::vector<Tokens> oracle)
      : random_(seed), prompts_(std::move(prompts)), oracle_(std::move(oracle)) {}

  void serve(Engine& engine) {
    engine_ = &engine;
    submit();
    run_out(engine);
    EXPECT_EQ(std::ssize(heard_), std::ssize(prompts_)) << "the last one came";
    EXPECT_EQ(engine.stats().held, 0);
    EXPECT_EQ(engine.stats().kv_in_use + engine.stats().kv_promised, 0);
  }

  void expect_own_tokens() const {
    for (const auto& [i, heard] : heard_) {
      EXPECT_EQ(heard.finished.size(), 1u) << i;
      const Tokens& whole = oracle_[i];
      ASSERT_LE(heard.tokens.size(), whole.size());
      EXPECT_TRUE(std::ranges::equal(heard.tokens, std::span(whole).first(heard.tokens.size())))
          << i;
      const Ending ending = heard.finished.at(0).ending;
      EXPECT_EQ(ending == Ending::kLength, heard.tokens.size() == whole.size()) << i;
    }
  }

 private:
  int below(int bound) { return static_cast<int>(random_() % bound); }

  void submit() {
    const std::size_t i = heard_.size();
    if (i == prompts_.size()) return;
    Heard& heard = heard_[i];
    EngineRequest request = request_of(prompts_[i], heard, std::ssize(oracle_[i]));
    const int comes = below(12), leaves = below(3) == 0 ? below(20) : 1000;
    if (below(3) == 0) request.sampling.stops = {oracle_[i][below(20)]};
    const bool talks = below(3) == 0;
    if (talks) request.room = engine_->room();
    request.on_token = [this, &heard, comes, leaves](const Scored& token) {
      heard.tokens.push_back(token.chosen.id);
      if (std::ssize(heard.tokens) == comes + 1) submit();
      if (std::ssize(heard.tokens) == leaves + 1) engine_->abort(heard_ids_.at(&heard));
    };
    request.on_finished = [this, &heard, talks, comes](const Finish& finish) {
      heard.finished.push_back(finish);
      if (talks) engine_->forget(heard_ids_.at(&heard));
      if (std::ssize(heard.tokens) <= comes) submit();
    };
    heard_ids_[&heard] = engine_->submit(std::move(request));
  }

  std::mt19937 random_;
  const std::vector<Tokens> prompts_, oracle_;
  Engine* engine_ = nullptr;
  std::map<std::size_t, Heard> heard_;
  std::map<const Heard*, RequestId> heard_ids_;
};

TEST_F(RunsTest, RandomCompanyHasTheTokensOfEachAlone) {
  const auto list = short_prompts(7, 24);
  const auto oracle = alone(list, 25);
  for (int seed = 0; seed < 12; ++seed) {
    const Company one = std::vector<Company>{{1, 1}, {2, 1}, {3, 1}, {1, 2}, {2, 2}}[seed % 5];
    SCOPED_TRACE(str("seed {}, {} groups of {}", seed, one.groups, one.degree));
    RandomCompany company(seed, list, oracle);
    JobOptions options{.degree = one.degree, .groups = one.groups};
    options.page_tokens = std::vector{2, 4, 16}[seed % 3];
    options.decode_strategy = kDecodeStrategies[seed % 4];
    options.max_running = one.groups * (1 + seed % 3);
    open(options, [&](Engine& engine) { company.serve(engine); });
    company.expect_own_tokens();
  }
}

}  // namespace
}  // namespace longspan
