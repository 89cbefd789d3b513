// Engines on ranks as threads for tests, with a tiny random model, and what their requests hear.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <vector>

#include "runtime/engine/engine.h"
#include "runtime/engine/load_model.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"
#include "tests/support/run_ranks.h"

namespace longspan::test {

using Tokens = std::vector<TokenId>;

inline Tokens random_tokens(std::mt19937& random, std::int64_t count) {
  Tokens tokens(count);
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % 256);
  return tokens;
}

/// Prompts of all lengths, some longer than a chunk.
inline std::vector<Tokens> prompts(int seed, int count) {
  std::mt19937 random(seed);
  std::vector<Tokens> list;
  for (int i = 0; i < count; ++i) list.push_back(random_tokens(random, 1 + random() % 60));
  return list;
}

/// What one request has heard.
struct Heard {
  Tokens tokens;
  std::int64_t read = 0;
  std::vector<Finish> finished;
};

inline EngineRequest request_of(const Tokens& prompt, Heard& heard, std::int64_t max_new = 6) {
  return {.prompt = prompt,
          .max_new = max_new,
          .on_prefill = [&](const Progress& chunk) { heard.read += chunk.prompt_chunk; },
          .on_token = [&](const Scored& token) { heard.tokens.push_back(token.chosen.id); },
          .on_finished = [&](const Finish& finish) { heard.finished.push_back(finish); }};
}

inline void run_out(Engine& engine) {
  while (engine.step()) {
  }
}

class EngineFixture : public testing::Test {
 protected:
  EngineFixture() {
    TinyLlama model;
    model.heads = 6;
    model.kv_heads = 2;
    model.seed = 5;
    model.write(folder_ / "model.gguf");
  }

  /// With room for `options.max_running` requests of 80 tokens. `idle`: ranks of no group.
  void open(const JobOptions& options, const std::function<void(Engine&)>& serve,
            const LayerDone& layer = nullptr, int idle = 0) const {
    open(options,
         {.shapes = std::vector<RequestShape>(options.max_running, RequestShape{.room = 80}),
          .layer = layer},
         serve, idle);
  }

  void open(const JobOptions& options, const EngineSetup& setup,
            const std::function<void(Engine&)>& serve, int idle = 0) const {
    const int ranks = options.degree * options.groups + idle;
    run_machines(ranks, [&](Machine& machine) {
      LoadedModel model =
          load_model(machine, open_model(machine, (folder_ / "model.gguf").string()), {});
      const auto summaries =
          Engine::open(machine, model, options, machine.rank() == 0 ? &setup : nullptr, serve);
      EXPECT_EQ(std::ssize(summaries), machine.rank() == 0 ? ranks : 0);
    });
  }

  /// One by one on one rank, sharing nothing.
  std::vector<Tokens> alone(const std::vector<Tokens>& list, std::int64_t max_new = 6) const {
    std::vector<Tokens> answers;
    open({.max_running = 1, .prefix_cache = false}, [&](Engine& engine) {
      for (const Tokens& prompt : list) {
        Heard heard;
        engine.submit(request_of(prompt, heard, max_new));
        run_out(engine);
        answers.push_back(heard.tokens);
      }
    });
    return answers;
  }

  TemporaryDirectory folder_;
};

}  // namespace longspan::test
