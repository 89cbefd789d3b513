// The engine that commands use, on ranks as threads: requests that come and go at any moment, from
// any thread, each of which has the tokens it has alone.
#include "runtime/engine/engine.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <future>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/engine/session_messages.h"
#include "runtime/session/session_folder.h"
#include "tests/runtime/engine/engine_fixture.h"
#include "tests/runtime/model/tiny_llama.h"

namespace longspan {
namespace {

using test::Heard;
using test::prompts;
using test::random_tokens;
using test::request_of;
using test::run_out;
using test::Tokens;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

class EngineTest : public test::EngineFixture {
 protected:
  /// Room for one request of 80 tokens, and for little beside it: the others are of 8.
  static EngineSetup tight(const JobOptions& options) {
    EngineSetup setup{.shapes = std::vector<RequestShape>(options.max_running, {.room = 8})};
    setup.shapes.front().room = 80;
    return setup;
  }
};

TEST_F(EngineTest, ManyAtOnceHaveTheTokensOfEachAlone) {
  const auto list = prompts(1, 12);
  const auto oracle = alone(list);
  for (int degree : {1, 3}) {
    std::vector<Heard> heard(list.size());
    EngineStats stats;
    open({.degree = degree, .page_tokens = 4, .chunk_tokens = 16, .max_running = 4},
         [&](Engine& engine) {
           EXPECT_EQ(engine.room(), 80);
           EXPECT_FALSE(engine.step()) << "nobody has submitted anything";
           for (std::size_t i = 0; i < list.size(); ++i) {
             engine.submit(request_of(list[i], heard[i]));
           }
           EXPECT_EQ(engine.stats().waiting, 12);
           EXPECT_TRUE(engine.step());
           EXPECT_EQ(engine.stats().waiting + engine.stats().running, 12);
           EXPECT_EQ(engine.stats().running, 4);
           EXPECT_GT(engine.stats().kv_promised, 0);
           EXPECT_GT(engine.stats().kv_in_use, 0);
           run_out(engine);
           stats = engine.stats();
         });
    std::int64_t read = 0;
    for (std::size_t i = 0; i < list.size(); ++i) {
      EXPECT_EQ(heard[i].tokens, oracle[i]) << i << " on " << degree;
      ASSERT_EQ(heard[i].finished.size(), 1u) << i;
      EXPECT_EQ(heard[i].finished[0].ending, Ending::kLength);
      EXPECT_EQ(heard[i].finished[0].tokens, 6);
      read += heard[i].read;
    }
    EXPECT_EQ(stats.waiting + stats.running + stats.held, 0);
    EXPECT_EQ(stats.kv_promised + stats.kv_in_use, 0);
    EXPECT_EQ(stats.prompt_tokens, read);
    EXPECT_EQ(stats.tokens, 6 * 12);
  }
}

TEST_F(EngineTest, AStopTokenAndWhatWasReadBeforeAreTold) {
  const auto list = prompts(3, 1);
  const auto oracle = alone(list);
  Heard first, second;
  open({.page_tokens = 4}, [&](Engine& engine) {
    EngineRequest request = request_of(list[0], first);
    request.sampling.stops = {oracle[0][2]};
    engine.submit(request);
    run_out(engine);
    engine.submit(request_of(list[0], second));
    run_out(engine);
    const std::int64_t hit = (std::ssize(list[0]) - 1) / 4 * 4;
    EXPECT_EQ(engine.stats().hit_tokens, hit);
    EXPECT_EQ(engine.stats().prompt_tokens, 2 * std::ssize(list[0]) - hit);
  });
  ASSERT_EQ(first.finished.size(), 1u);
  EXPECT_EQ(first.finished[0].ending, Ending::kStopped);
  EXPECT_EQ(first.finished[0].tokens, std::ssize(first.tokens));
  EXPECT_EQ(second.tokens, oracle[0]);
}

/// When a request is aborted.
enum class Moment { kBeforeAnyStep, kWaiting, kReading, kDecoding, kInItsOwnCallback };

TEST_F(EngineTest, AnAbortInAnyStateTakesEffectAtOnceAndDisturbsNobody) {
  std::mt19937 random(6);
  const std::vector<Tokens> list{random_tokens(random, 30), random_tokens(random, 60),
                                 random_tokens(random, 9)};
  const auto oracle = alone(list, 12);
  for (int degree : {1, 2}) {
    for (Moment moment : {Moment::kBeforeAnyStep, Moment::kWaiting, Moment::kReading,
                          Moment::kDecoding, Moment::kInItsOwnCallback}) {
      SCOPED_TRACE(str("{} ranks, moment {}", degree, static_cast<int>(moment)));
      std::vector<Heard> heard(3);
      const int running = moment == Moment::kWaiting ? 1 : 3;
      open({.degree = degree, .page_tokens = 4, .chunk_tokens = 20, .max_running = running},
           [&](Engine& engine) {
             engine.submit(request_of(list[0], heard[0], 12));
             RequestId victim = 0;
             EngineRequest request = request_of(list[1], heard[1], 12);
             if (moment == Moment::kInItsOwnCallback) {
               request.on_token = [&](const Scored& token) {
                 heard[1].tokens.push_back(token.chosen.id);
                 if (heard[1].tokens.size() == 2) engine.abort(victim);
               };
             }
             victim = engine.submit(request);
             engine.submit(request_of(list[2], heard[2], 12));
             if (moment != Moment::kBeforeAnyStep) (void)engine.step();
             if (moment == Moment::kReading) {
               while (heard[1].read == 0) EXPECT_TRUE(engine.step());
             }
             if (moment == Moment::kDecoding) {
               while (heard[1].tokens.size() < 3) EXPECT_TRUE(engine.step());
             }
             const Heard before = heard[1];
             if (moment != Moment::kInItsOwnCallback) {
               engine.abort(victim);
               (void)engine.step();
               EXPECT_EQ(heard[1].tokens, before.tokens);
               EXPECT_EQ(heard[1].read, before.read);
               EXPECT_EQ(heard[1].finished.size(), 1u);
             }
             run_out(engine);
             EXPECT_EQ(engine.stats().kv_in_use, 0);
           });
      ASSERT_EQ(heard[1].finished.size(), 1u);
      EXPECT_EQ(heard[1].finished[0].ending, Ending::kAborted);
      EXPECT_EQ(heard[1].finished[0].tokens, std::ssize(heard[1].tokens));
      EXPECT_LT(heard[1].tokens.size(), 12u);
      EXPECT_TRUE(
          std::ranges::equal(heard[1].tokens, std::span(oracle[1]).first(heard[1].tokens.size())));
      EXPECT_EQ(heard[0].tokens, oracle[0]);
      EXPECT_EQ(heard[2].tokens, oracle[2]);
    }
  }
}

TEST_F(EngineTest, WhoIsNotThereCannotBeAbortedAndNobodyElseIsDisturbed) {
  const auto list = prompts(2, 1);
  Heard heard;
  open({}, [&](Engine& engine) {
    EXPECT_THAT([&] { engine.abort(0); }, ThrowsMessage<UsageError>(HasSubstr("no request 0")));
    const RequestId id = engine.submit(request_of(list[0], heard));
    EXPECT_THAT([&] { engine.abort(id + 1); }, ThrowsMessage<UsageError>(HasSubstr("never was")));
    run_out(engine);
    EXPECT_THAT([&] { engine.abort(id); }, ThrowsMessage<UsageError>(HasSubstr("finished")));
    EXPECT_THAT([&] { engine.forget(id); }, ThrowsMessage<UsageError>(HasSubstr("finished")));
  });
  EXPECT_EQ(heard.tokens, alone(list)[0]);
}

TEST_F(EngineTest, WhatCouldNotEvenRunAloneIsRefusedAtTheDoor) {
  const auto list = prompts(2, 1);
  Heard refused, heard;
  open({.max_running = 1}, [&](Engine& engine) {
    const std::int64_t most = engine.room();
    EXPECT_THAT([&] { engine.submit(request_of(Tokens(most), refused, 2)); },
                ThrowsMessage<UsageError>(AllOf(
                    HasSubstr("needs 6 pages"),
                    HasSubstr("there are 5; one of 81 tokens would fit"), HasSubstr("shorten"))));
    engine.submit(request_of(list[0], heard));
    run_out(engine);
  });
  EXPECT_TRUE(refused.finished.empty());
  EXPECT_EQ(heard.tokens, alone(list)[0]);
}

double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// A thread runs steps; others submit, wait and abort. Between requests it sleeps.
TEST_F(EngineTest, AnEngineThatRunsServesOtherThreadsAndSleepsBetweenRequests) {
  const auto list = prompts(7, 6);
  const auto oracle = alone(list);
  std::vector<Heard> heard(list.size());
  open({.page_tokens = 4, .max_running = 2}, [&](Engine& engine) {
    std::jthread client([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      std::vector<std::promise<void>> done(list.size());
      for (std::size_t i = 0; i < list.size(); ++i) {
        EngineRequest request = request_of(list[i], heard[i]);
        request.on_finished = [&, i](const Finish&) { done[i].set_value(); };
        const RequestId id = engine.submit(request);
        if (i == 3) engine.abort(id);
      }
      for (auto& one : done) one.get_future().wait();
      EXPECT_EQ(engine.stats().waiting, 0);
      engine.stop();
    });
    const double before = cpu_seconds();
    engine.run();
    const double work = cpu_seconds() - before;
    EXPECT_LT(work, 0.25) << "it did not sleep";
  });
  for (std::size_t i = 0; i < list.size(); ++i) {
    EXPECT_EQ(heard[i].tokens, i == 3 ? Tokens() : oracle[i]) << i;
  }
}

TEST_F(EngineTest, AConversationGoesOnTurnAfterTurnAndIsForgotten) {
  std::mt19937 random(8);
  const Tokens message = random_tokens(random, 17);
  for (int degree : {1, 2}) {
    std::vector<Heard> heard(3);
    Tokens second;
    open({.degree = degree, .page_tokens = 4, .max_running = 1}, [&](Engine& engine) {
      EngineRequest request = request_of(message, heard[0]);
      request.room = engine.room();
      const RequestId id = engine.submit(request);
      EXPECT_THAT([&] { engine.extend(id, request); },
                  ThrowsMessage<UsageError>(HasSubstr("middle of a turn")));
      run_out(engine);
      EXPECT_EQ(engine.stats().held, 1);
      EXPECT_THAT([&] { engine.abort(id); }, ThrowsMessage<UsageError>(HasSubstr("end of a turn")));
      second = message;
      second.insert(second.end(), heard[0].tokens.begin(), heard[0].tokens.end());
      second.push_back(7);
      engine.extend(id, request_of(second, heard[1]));
      run_out(engine);
      EXPECT_EQ(heard[1].read, 2) << "the last token of the answer, and the new one";
      EXPECT_THAT([&] { engine.extend(id, request_of(Tokens(80), heard[1])); },
                  ThrowsMessage<UsageError>(HasSubstr("room of 80")));
      // It keeps the only place: who comes waits until it is forgotten.
      engine.submit(request_of(message, heard[2]));
      EXPECT_FALSE(engine.step());
      engine.forget(id);
      run_out(engine);
      EXPECT_EQ(engine.stats().held, 0);
    });
    EXPECT_EQ(heard[0].tokens, alone({message})[0]);
    EXPECT_EQ(heard[1].tokens, alone({second})[0]);
    EXPECT_EQ(heard[2].tokens, heard[0].tokens);
    EXPECT_EQ(heard[1].finished.size(), 1u);
  }
}

TEST_F(EngineTest, AConversationIsForgottenInTheStepThatEndsItsTurn) {
  Heard heard, next;
  open({.page_tokens = 4, .max_running = 1}, [&](Engine& engine) {
    EngineRequest request = request_of({1, 2, 3}, heard);
    request.room = engine.room();
    RequestId id = 0;
    request.on_token = [&](const Scored& token) {
      heard.tokens.push_back(token.chosen.id);
      if (heard.tokens.size() == 6) engine.forget(id);
    };
    id = engine.submit(std::move(request));
    run_out(engine);
    EXPECT_EQ(heard.finished.size(), 1u);
    EXPECT_FALSE(engine.holds(id));
    EXPECT_EQ(engine.stats().held, 0);
    engine.submit(request_of({1, 2, 3}, next));
    run_out(engine);
  });
  EXPECT_EQ(next.tokens, heard.tokens);
}

TEST_F(EngineTest, ARetryGoesOnWhereAnAbortedPromptHadGot) {
  std::mt19937 random(10);
  const Tokens prompt = random_tokens(random, 50);
  for (int degree : {1, 2}) {
    Heard aborted, again;
    open({.degree = degree, .page_tokens = 4, .chunk_tokens = 18, .max_running = 1},
         [&](Engine& engine) {
           const RequestId id = engine.submit(request_of(prompt, aborted));
           (void)engine.step();
           engine.abort(id);
           run_out(engine);
           EXPECT_EQ(engine.stats().kv_cached, 4);
           engine.submit(request_of(prompt, again));
           run_out(engine);
           EXPECT_EQ(engine.stats().hit_tokens, 16);
         });
    EXPECT_EQ(aborted.read, 18);
    EXPECT_EQ(again.read, 34);
    EXPECT_EQ(again.tokens, alone({prompt})[0]);
  }
}

// As long as they are different: of equal salts, and of none, the second reads little.
TEST_F(EngineTest, PromptsOfTwoSaltsDoNotMeet) {
  std::mt19937 random(12);
  const Tokens prompt = random_tokens(random, 41);
  for (const auto& [first, second] : {std::pair{"a", "a"}, {"", ""}, {"a", "b"}, {"", "a"}}) {
    std::vector<Heard> heard(2);
    open({.page_tokens = 4, .max_running = 2}, [&](Engine& engine) {
      EngineRequest request = request_of(prompt, heard[0]);
      request.cache_salt = first;
      engine.submit(request);
      run_out(engine);
      request = request_of(prompt, heard[1]);
      request.cache_salt = second;
      engine.submit(request);
      run_out(engine);
    });
    EXPECT_EQ(heard[1].read, std::string(first) == second ? 1 : 41) << first << ' ' << second;
    EXPECT_EQ(heard[1].tokens, heard[0].tokens);
  }
}

/// A request of some kind: of as many tokens as there is room for, or up to 40; likeliest or drawn,
/// with penalties that look back.
EngineRequest varied_request(const Tokens& prompt, Heard& heard, int kind, bool open_ended) {
  EngineRequest request =
      request_of(prompt, heard, std::min<std::int64_t>(40, 80 - std::ssize(prompt)));
  if (open_ended) request.max_new.reset();
  if (kind % 2 == 1) {
    request.sampling = {.temperature = 1, .presence_penalty = 0.5, .frequency_penalty = 0.3};
    request.sampling.seed = 77 + kind;
  }
  return request;
}

// Memory holds one long answer, and what others have begun gives way again and again.
TEST_F(EngineTest, WhoGoesBackToWaitingHasTheTokensThatItHasAlone) {
  const auto list = prompts(21, 9);
  struct Case {
    int degree;
    KvType kv;
    MemoryMode memory;
    bool prefix_cache;
  };
  for (const Case& one : {Case{1, KvType::kFloat32, MemoryMode::kUtilize, true},
                          Case{3, KvType::kFloat32, MemoryMode::kUtilize, true},
                          Case{2, KvType::kFloat32, MemoryMode::kNoEvict, false},
                          Case{2, KvType::kBFloat16, MemoryMode::kUtilize, true},
                          Case{3, KvType::kInt8, MemoryMode::kUtilize, true}}) {
    SCOPED_TRACE(
        str("{} ranks, {}, mode {}", one.degree, name(one.kv), static_cast<int>(one.memory)));
    JobOptions options{.degree = one.degree,
                       .page_tokens = 4,
                       .chunk_tokens = 16,
                       .kv_type = one.kv,
                       .max_running = 6,
                       .memory = one.memory,
                       .answer_part = 4,
                       .open_answer_part = 8,
                       .prefix_cache = one.prefix_cache};
    const auto is_open = [&](std::size_t i) {
      return one.memory == MemoryMode::kNoEvict || i % 3 == 0;
    };
    std::vector<Heard> alone(list.size()), heard(list.size());
    JobOptions by_itself = options;
    by_itself.degree = 1;
    by_itself.max_running = 1;
    by_itself.memory = MemoryMode::kNoEvict;
    by_itself.prefix_cache = false;
    open(by_itself, [&](Engine& engine) {
      for (std::size_t i = 0; i < list.size(); ++i) {
        engine.submit(varied_request(list[i], alone[i], static_cast<int>(i), is_open(i)));
        run_out(engine);
      }
    });
    EngineStats stats;
    open(options, tight(options), [&](Engine& engine) {
      for (std::size_t i = 0; i < list.size(); ++i) {
        engine.submit(varied_request(list[i], heard[i], static_cast<int>(i), is_open(i)));
      }
      run_out(engine);
      stats = engine.stats();
    });
    std::int64_t tokens = 0;
    for (std::size_t i = 0; i < list.size(); ++i) {
      EXPECT_EQ(heard[i].tokens, alone[i].tokens) << i;
      EXPECT_EQ(std::ssize(heard[i].tokens),
                is_open(i) ? 80 - std::ssize(list[i])
                           : std::min<std::int64_t>(40, 80 - std::ssize(list[i])));
      ASSERT_EQ(heard[i].finished.size(), 1u) << i;
      EXPECT_EQ(heard[i].finished[0].tokens, std::ssize(heard[i].tokens));
      EXPECT_LE(heard[i].read, std::ssize(list[i])) << "told once";
      tokens += std::ssize(heard[i].tokens);
    }
    EXPECT_EQ(stats.tokens, tokens);
    EXPECT_GT(stats.preempted, 0);
    EXPECT_GT(stats.read_again, 0);
    EXPECT_EQ(stats.waiting + stats.waiting_tokens + stats.running + stats.kv_promised, 0);
  }
}

// Three answers to each prompt, whose pages they share as long as they go on together.
TEST_F(EngineTest, AnswersToOnePromptMayGoBackOneByOne) {
  const auto list = prompts(23, 4);
  const auto answer = [&](std::size_t prompt, std::uint32_t choice, Heard& heard) {
    EngineRequest request = request_of(list[prompt], heard, 20);
    request.sampling = {.temperature = 1, .repetition_penalty = 1.2};
    request.sampling.seed = 5;
    request.sampling.choice = choice;
    return request;
  };
  std::vector<Heard> alone(12), heard(12);
  open({.max_running = 1, .prefix_cache = false}, [&](Engine& engine) {
    for (std::size_t i = 0; i < alone.size(); ++i) {
      engine.submit(answer(i / 3, i % 3, alone[i]));
      run_out(engine);
    }
  });
  const JobOptions options{.degree = 2,
                           .page_tokens = 4,
                           .max_running = 7,
                           .memory = MemoryMode::kUtilize,
                           .answer_part = 4};
  open(options, tight(options), [&](Engine& engine) {
    std::vector<RequestId> ids;
    for (std::size_t i = 0; i < heard.size(); ++i) {
      EngineRequest request = answer(i / 3, i % 3, heard[i]);
      if (i % 3 > 0) request.like = ids[i - i % 3];
      ids.push_back(engine.submit(std::move(request)));
    }
    run_out(engine);
    EXPECT_GT(engine.stats().preempted, 0);
  });
  for (std::size_t i = 0; i < heard.size(); ++i) EXPECT_EQ(heard[i].tokens, alone[i].tokens) << i;
}

TEST_F(EngineTest, WhoIsAbortedWhileItWaitsAgainIsForgotten) {
  const auto list = prompts(22, 6);
  const JobOptions options{.degree = 2,
                           .page_tokens = 4,
                           .max_running = 6,
                           .memory = MemoryMode::kUtilize,
                           .answer_part = 4};
  std::vector<Heard> heard(list.size());
  open(options, tight(options), [&](Engine& engine) {
    for (std::size_t i = 0; i < list.size(); ++i) {
      engine.submit(varied_request(list[i], heard[i], 0, false));
    }
    while (engine.stats().preempted == 0) ASSERT_TRUE(engine.step());
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (heard[i].finished.empty() && i != 2) engine.abort(static_cast<RequestId>(i));
    }
    run_out(engine);
    EXPECT_EQ(engine.stats().kv_in_use, 0);
  });
  for (const Heard& one : heard) EXPECT_EQ(one.finished.size(), 1u);
  EXPECT_EQ(heard[2].tokens, alone({list[2]}, std::ssize(heard[2].tokens))[0]);
}

TEST_F(EngineTest, TheQueueIsBoundedInRequestsAndInTokensAndARefusalSaysHowLongItIs) {
  const JobOptions options{.page_tokens = 4, .max_running = 1};
  std::vector<Heard> heard(8);
  const auto refused = [](Engine& engine, EngineRequest request) {
    const auto outcome = engine.try_submit(request);
    return std::holds_alternative<Refusal>(outcome) ? std::optional(std::get<Refusal>(outcome))
                                                    : std::nullopt;
  };
  EngineSetup setup{.shapes = {{.room = 80}}, .queue = {.requests = 2}};
  open(options, setup, [&](Engine& engine) {
    EXPECT_FALSE(refused(engine, request_of(Tokens(5), heard[0])));
    (void)engine.step();
    EXPECT_FALSE(refused(engine, request_of(Tokens(6), heard[1])));
    EXPECT_FALSE(refused(engine, request_of(Tokens(7), heard[2])));
    EngineRequest asked = request_of(Tokens(8), heard[3]);
    const auto outcome = engine.try_submit(asked);
    ASSERT_TRUE(std::holds_alternative<Refusal>(outcome));
    const Refusal& refusal = std::get<Refusal>(outcome);
    EXPECT_EQ(refusal.reason, Refusal::Reason::kManyRequests);
    EXPECT_EQ(refusal.waiting, 2);
    EXPECT_EQ(refusal.waiting_tokens, 13);
    EXPECT_THAT(refusal.message, HasSubstr("2 requests wait"));
    EXPECT_EQ(asked.prompt.size(), 8u) << "it can be asked again";
    EXPECT_THAT([&] { engine.submit(asked); }, ThrowsMessage<UsageError>(HasSubstr("come again")));
    run_out(engine);
    EXPECT_FALSE(refused(engine, asked));
    run_out(engine);
    EXPECT_EQ(heard[3].tokens.size(), 6u);
  });
  setup.queue = {.tokens = 30};
  open(options, setup, [&](Engine& engine) {
    EXPECT_FALSE(refused(engine, request_of(Tokens(40), heard[4]))) << "nobody else waits";
    EXPECT_EQ(refused(engine, request_of(Tokens(1), heard[5]))->reason,
              Refusal::Reason::kManyTokens);
    (void)engine.step();
    EXPECT_FALSE(refused(engine, request_of(Tokens(20), heard[5])));
    EXPECT_FALSE(refused(engine, request_of(Tokens(10), heard[6])));
    const auto refusal = refused(engine, request_of(Tokens(1), heard[7]));
    ASSERT_TRUE(refusal);
    EXPECT_THAT(refusal->message, HasSubstr("2 requests with 30 tokens"));
  });
  setup.queue = {};
  open(options, setup, [&](Engine& engine) {  // 8 times 80
    for (int i = 0; i < 9; ++i) {
      EXPECT_EQ(refused(engine, request_of(Tokens(72), heard[7])).has_value(), i == 8) << i;
    }
  });
}

TEST_F(EngineTest, WhoHasADeadlineOrIsOfAnotherTenantGoesBeforeAFlood) {
  std::vector<int> order;
  const EngineSetup setup{.shapes = {{.room = 80}}, .queue = QueueBounds::none()};
  open({.max_running = 1}, setup, [&](Engine& engine) {
    const auto submit = [&](int i, const std::string& tenant, auto deadline) {
      engine.submit({.prompt = Tokens(60, 1),
                     .tenant = tenant,
                     .deadline = deadline,
                     .on_finished = [&order, i](const Finish&) { order.push_back(i); }});
    };
    for (int i = 0; i < 30; ++i) submit(i, "flood", std::nullopt);
    submit(100, "one", std::nullopt);
    submit(200, "flood", std::optional(std::chrono::steady_clock::now()));
    run_out(engine);
  });
  EXPECT_EQ(std::ranges::find(order, 200) - order.begin(), 0);
  EXPECT_LT(std::ranges::find(order, 100) - order.begin(), 20) << "1024 tokens of 61 each";
}

TEST_F(EngineTest, ATurnThatIsAbortedStaysAConversation) {
  std::mt19937 random(9);
  const Tokens message = random_tokens(random, 50);
  Heard heard, again;
  open({.page_tokens = 4, .chunk_tokens = 16, .max_running = 1}, [&](Engine& engine) {
    EngineRequest request = request_of(message, heard);
    request.room = engine.room();
    const RequestId id = engine.submit(request);
    (void)engine.step();
    engine.abort(id);
    run_out(engine);
    EXPECT_EQ(heard.read, 16);
    EXPECT_EQ(engine.stats().held, 1);
    engine.extend(id, request_of(message, again));
    run_out(engine);
  });
  EXPECT_EQ(again.read, 34);
  EXPECT_EQ(again.tokens, alone({message})[0]);
}

TEST_F(EngineTest, WhatNobodyWaitsForComesBehindWhatSomebodyDoes) {
  std::vector<int> order;
  open({.tbt_target = std::chrono::milliseconds(100), .max_running = 1}, [&](Engine& engine) {
    const std::vector urgencies{Urgency::kBatch, Urgency::kBatch, Urgency::kInteractive};
    for (int i = 0; i < 3; ++i) {
      engine.submit({.prompt = {1, 2, 3},
                     .urgency = urgencies[i],
                     .on_finished = [&order, i](const Finish&) { order.push_back(i); }});
    }
    run_out(engine);
  });
  EXPECT_EQ(order, (std::vector{2, 0, 1}));
}

TEST_F(EngineTest, AConversationLeavesForFilesAndGoesOnInAnotherEngine) {
  const std::string file = (folder_ / "talk.session").string();
  std::mt19937 random(11);
  Tokens whole = random_tokens(random, 17);
  Heard first, other, second;
  open({.degree = 2, .page_tokens = 4, .max_running = 1}, [&](Engine& engine) {
    EngineRequest request = request_of(whole, first);
    request.room = engine.room();
    const RequestId id = engine.submit(std::move(request));
    EXPECT_FALSE(engine.holds(id)) << "it is under way";
    run_out(engine);
    EXPECT_TRUE(engine.holds(id));
    const HeldConversation held = engine.held(id);
    whole.insert(whole.end(), first.tokens.begin(), first.tokens.end());
    EXPECT_EQ(held.tokens, whole);
    EXPECT_EQ(held.computed, 22) << "all but the last token";
    SessionIndex index{.generation = new_generation(),
                       .page_tokens = 4,
                       .tokens = held.tokens,
                       .computed = held.computed};
    index.terms = {.layers = test::TinyLlama{}.layers, .kv_heads = 2, .head_dim = 16};
    index.parts = engine.save_pages({id, file, index.generation, index.computed, 2});
    commit_session(file, index);
    engine.forget(id);
    EXPECT_FALSE(engine.holds(id));
  });
  whole.push_back(7);
  open({.degree = 3, .page_tokens = 8, .max_running = 1}, [&](Engine& engine) {
    EngineRequest request = request_of({1, 2, 3}, other);
    request.room = engine.room();
    const RequestId before = engine.submit(std::move(request));
    run_out(engine);
    const SessionIndex index = read_index(file);
    EXPECT_FALSE(engine.restore(file, index, 80)) << "there is one place, and it is taken";
    engine.forget(before);
    const auto id = engine.restore(file, index, 80);
    ASSERT_TRUE(id) << "what was forgotten gives way at once";
    EXPECT_NE(*id, before);
    EXPECT_TRUE(engine.holds(*id));
    EXPECT_EQ(engine.stats().held, 1);
    engine.extend(*id, request_of(whole, second));
    run_out(engine);
  });
  EXPECT_EQ(second.read, 2);
  EXPECT_EQ(second.tokens, alone({whole})[0]);
}

}  // namespace
}  // namespace longspan
