// Several answers to one prompt, on ranks as threads: it is read once, its pages are shared, and
// each answer has the tokens of a request of its own.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "comm/str.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/load_model.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

using Tokens = std::vector<TokenId>;

constexpr std::int64_t kMaxNew = 9;

Tokens random_tokens(std::mt19937& random, std::int64_t count) {
  Tokens tokens(count);
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % 256);
  return tokens;
}

struct Choice {
  Tokens tokens;
  std::int64_t read = 0;
  std::int64_t found = 0;  // of the prompt, when it began
  bool aborted = false;
};

/// Between steps.
using Between = std::function<void(Engine&, const std::vector<RequestId>&)>;

class ForksTest : public testing::Test {
 protected:
  ForksTest() {
    test::TinyLlama model;
    model.heads = 6;
    model.kv_heads = 2;
    model.seed = 5;
    model.write(folder_ / "model.gguf");
  }

  static Sampling sampling(int choice) {
    Sampling sampling{.temperature = 1.0, .presence_penalty = 0.5};
    sampling.seed = 11;
    sampling.choice = static_cast<std::uint32_t>(choice);
    return sampling;
  }

  /// `n` answers to each prompt, as forks or one by one. There is memory for one request of 80
  /// tokens, and for `beside` tokens of each other that may run.
  std::vector<Choice> run(const JobOptions& options, const std::vector<Tokens>& prompts, int n,
                          bool forks, const Between& between = nullptr,
                          std::int64_t beside = 80) const {
    std::vector<Choice> answers(prompts.size() * n);
    EngineSetup setup{
        .shapes = std::vector<RequestShape>(options.max_running, RequestShape{.room = beside})};
    setup.shapes[0].room = 80;
    const auto serve = [&](Engine& engine) {
      std::vector<RequestId> ids;
      for (std::size_t i = 0; i < answers.size(); ++i) {
        Choice& answer = answers[i];
        const int choice = static_cast<int>(i) % n;
        EngineRequest request{
            .prompt = prompts[i / n],
            .sampling = sampling(choice),
            .max_new = kMaxNew,
            .on_prefill =
                [&](const Progress& chunk) {
                  if (answer.read == 0) answer.found = chunk.prompt_done;
                  answer.read += chunk.prompt_chunk;
                },
            .on_token = [&](const Scored& token) { answer.tokens.push_back(token.chosen.id); },
            .on_finished =
                [&](const Finish& finish) { answer.aborted = finish.ending == Ending::kAborted; }};
        if (forks && choice > 0) request.like = ids[i - choice];
        ids.push_back(engine.submit(request));
      }
      do {
        if (between) between(engine, ids);
      } while (engine.step());
      EXPECT_EQ(engine.stats().kv_in_use + engine.stats().kv_promised, 0);
    };
    test::run_machines(options.degree, [&](Machine& machine) {
      LoadedModel model =
          load_model(machine, open_model(machine, (folder_ / "model.gguf").string()), {});
      Engine::open(machine, model, options, machine.rank() == 0 ? &setup : nullptr, serve);
    });
    return answers;
  }

  /// Each a request of its own that nobody shares anything with, on one rank.
  std::vector<Choice> alone(const JobOptions& like, const std::vector<Tokens>& prompts,
                            int n) const {
    return run({.page_tokens = like.page_tokens,
                .chunk_tokens = like.chunk_tokens,
                .kv_type = like.kv_type,
                .max_running = 1,
                .prefix_cache = false},
               prompts, n, false);
  }

  test::TemporaryDirectory folder_;
};

void expect_same(const std::vector<Choice>& answers, const std::vector<Choice>& oracle,
                 const std::string& what) {
  for (std::size_t i = 0; i < oracle.size(); ++i) {
    EXPECT_EQ(answers[i].tokens, oracle[i].tokens) << what << ", answer " << i;
  }
}

// Prompts that end anywhere in a page, and pages of every type.
TEST_F(ForksTest, AnswersToOnePromptAreThoseOfRequestsOfTheirOwnAndItIsReadOnce) {
  std::mt19937 random(1);
  for (KvType type : {KvType::kFloat32, KvType::kBFloat16, KvType::kInt8}) {
    for (std::int64_t length : {1, 4, 7, 8, 33}) {
      const std::vector<Tokens> prompts{random_tokens(random, length)};
      JobOptions options{.page_tokens = 4, .chunk_tokens = 12, .kv_type = type, .max_running = 5};
      const auto oracle = alone(options, prompts, 4);
      EXPECT_NE(oracle[0].tokens, oracle[1].tokens);
      for (int degree : {1, 2, 3}) {
        options.degree = degree;
        options.keep = degree == 2 ? Retention::kFewest : Retention::kSpread;
        const auto answers = run(options, prompts, 4, true);
        expect_same(answers, oracle, str("{} tokens, {}, {} ranks", length, name(type), degree));
        EXPECT_EQ(answers[0].read, length);
        for (int choice = 1; choice < 4; ++choice) {
          EXPECT_EQ(answers[choice].read, 0);
          EXPECT_EQ(answers[choice].found, length);
        }
      }
    }
  }
}

// 14 tokens in pages of 4, of four answers: three pages that all have, and a fourth of each.
TEST_F(ForksTest, FullPagesAreSharedAndOfOneThatIsNotEachHasItsOwn) {
  std::mt19937 random(2);
  for (const auto& [length, shared] : {std::pair{14, 3}, {12, 3}, {3, 0}}) {
    const std::vector<Tokens> prompts{random_tokens(random, length)};
    for (int degree : {1, 3}) {
      std::vector<std::int64_t> in_use;
      (void)run({.degree = degree, .page_tokens = 4, .max_running = 4}, prompts, 4, true,
                [&](Engine& engine, const auto&) {
                  if (engine.stats().steps == 2) in_use.push_back(engine.stats().kv_in_use);
                });
      EXPECT_EQ(in_use, std::vector<std::int64_t>{shared + 4}) << length << " on " << degree;
    }
  }
}

// A prompt of 15 full pages of 4, behind which 8 answers have 3 pages each.
TEST_F(ForksTest, ThePromptIsPromisedOnceToAllItsAnswers) {
  std::mt19937 random(6);
  const std::vector<Tokens> prompts{random_tokens(random, 61)};
  const auto oracle = alone({.page_tokens = 4}, prompts, 8);
  for (int degree : {1, 2, 3}) {
    std::int64_t most = 0;
    const auto answers = run(
        {.degree = degree, .page_tokens = 4, .max_running = 8}, prompts, 8, true,
        [&](Engine& engine, const auto&) { most = std::max(most, engine.stats().running); }, 12);
    expect_same(answers, oracle, str("{} ranks", degree));
    EXPECT_EQ(most, 8) << degree << " ranks";
  }
}

// Where not all run at once some come later, as any other request.
TEST_F(ForksTest, WhoHasNoPlaceWhenThePromptIsReadComesLater) {
  std::mt19937 random(3);
  std::vector<Tokens> prompts;
  for (std::int64_t length : {9, 40, 1, 22}) prompts.push_back(random_tokens(random, length));
  const auto oracle = alone({.page_tokens = 4}, prompts, 5);
  for (int degree : {1, 2, 4}) {
    for (int running : {1, 2, 3, 7}) {
      expect_same(run({.degree = degree,
                       .page_tokens = 4,
                       .chunk_tokens = 16,
                       .max_running = running,
                       .prefix_cache = running != 3},
                      prompts, 5, true),
                  oracle, str("{} at once on {} ranks", running, degree));
    }
  }
}

// The first may go before the others begin, and any of them at any moment.
TEST_F(ForksTest, AnswersThatAreAbortedLeaveTheOthersAsTheyAre) {
  std::mt19937 random(4);
  std::vector<Tokens> prompts;
  for (std::int64_t length : {30, 7, 18}) prompts.push_back(random_tokens(random, length));
  const auto oracle = alone({.page_tokens = 4}, prompts, 4);
  int aborted = 0;
  for (int degree : {1, 3}) {
    for (int seed = 0; seed < 8; ++seed) {
      std::mt19937 moments(seed);
      const auto abort_some = [&](Engine& engine, const std::vector<RequestId>& ids) {
        if (moments() % 3 > 0) return;
        try {
          engine.abort(ids[moments() % ids.size()]);
        } catch (const UsageError&) {
          // It has finished.
        }
      };
      const auto answers = run({.degree = degree,
                                .page_tokens = 4,
                                .chunk_tokens = 10,
                                .kv_type = KvType::kFloat32,
                                .max_running = 6},
                               prompts, 4, true, abort_some);
      for (std::size_t i = 0; i < oracle.size(); ++i) {
        const Tokens& got = answers[i].tokens;
        EXPECT_TRUE(std::ranges::equal(got, std::span(oracle[i].tokens).first(got.size())));
        EXPECT_TRUE(answers[i].aborted || got.size() == oracle[i].tokens.size()) << i;
        aborted += answers[i].aborted;
      }
    }
  }
  EXPECT_GT(aborted, 20);
}

}  // namespace
}  // namespace longspan
