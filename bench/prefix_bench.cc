// How much sooner the first token comes of a prompt whose beginning has been read before, and what
// it takes to go on from one prompt with several answers.
//
//   prefix_bench --model FILE [--ranks 2] [--threads 1] [--prompt 8192] [--hit-percent 90]
//                [--forks 8] [--repeat 3] [--json]
//
// In each round a random prompt is read, then one that has its beginning and another end: the two
// waits for a first token, and the positions that were computed for the second. Then the second one
// is asked for again, with one answer and with several in turn: what the step that samples them
// all takes beyond the other is what forks cost, sampling included, and what pages are in use more
// when all have appended a token is what they copied.

#include <fmt/core.h>

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "bench/engine_bench.h"
#include "comm/error.h"

namespace longspan::bench {
namespace {

constexpr double kHitBar = 5;      // times sooner
constexpr double kForkBar = 5e-3;  // seconds, each
constexpr double kPagesBar = 1;    // each

class Prefixes {
 public:
  explicit Prefixes(const EngineBench& bench) : bench_(bench) {}

  SessionInput session() {
    const RequestShape shape{.prompt_tokens = number("--prompt"), .max_new = kAnswer};
    return {.shapes = std::vector<RequestShape>(number("--forks") + 2, shape),
            .listener = {.prefill = [this](const Progress& chunk) { read_ += chunk.prompt_chunk; },
                         .layer = nullptr,
                         .token = [this](RequestId, const Scored&) { ++sampled_; },
                         .nll = [](RequestId, double) {}},
            .drive = [this](Coordinator& coordinator) {
              round(coordinator, false);  // warms up
              for (std::int64_t i = 0; i < number("--repeat"); ++i) round(coordinator, true);
            }};
  }

  std::vector<double> cold, hit;                    // waits, seconds
  std::vector<double> one_answer, several_answers;  // the step that samples the first tokens
  std::vector<double> pages_per_fork;               // more in use
  std::int64_t hit_read = 0;                        // positions, the most of any round

 private:
  static constexpr std::int64_t kAnswer = 4;
  static constexpr int kPairs = 7;  // a round: such steps are short, and scatter

  std::int64_t number(const std::string& name) const { return bench_.numbers.at(name); }

  void round(Coordinator& coordinator, bool counts) {
    std::vector<TokenId> prompt = random_prompt(random_, number("--prompt"));
    const double wait_cold = wait_for_answers(coordinator, prompt, 1).first_token;
    const std::int64_t shared = std::ssize(prompt) * number("--hit-percent") / 100;
    const auto end = random_prompt(random_, std::ssize(prompt) - shared);
    std::ranges::copy(end, prompt.begin() + shared);
    read_ = 0;
    const double wait_hit = wait_for_answers(coordinator, prompt, 1).first_token;
    const std::int64_t computed = read_;
    if (!counts) return;
    cold.push_back(wait_cold);
    hit.push_back(wait_hit);
    hit_read = std::max(hit_read, computed);
    const auto forks = static_cast<double>(number("--forks"));
    for (int pair = 0; pair < kPairs; ++pair) {
      const Waited one = wait_for_answers(coordinator, prompt, 1);
      const Waited several = wait_for_answers(coordinator, prompt, 1 + number("--forks"));
      one_answer.push_back(one.last_step);
      several_answers.push_back(several.last_step);
      pages_per_fork.push_back(static_cast<double>(several.pages - one.pages) / forks);
    }
  }

  struct Waited {
    double first_token = 0;  // seconds, of all answers
    double last_step = 0;    // of them, in the step that sampled
    std::int64_t pages = 0;  // in use when each answer has appended a token
  };

  /// Runs until all is over.
  Waited wait_for_answers(Coordinator& coordinator, const std::vector<TokenId>& prompt,
                          std::int64_t answers) {
    const RequestId first = next_id_;
    for (std::int64_t i = 0; i < answers; ++i) {
      Coordinator::Sharing sharing;
      if (i > 0) sharing.like = first;
      expects(
          coordinator.submit({.request = next_id_++, .prompt = prompt}, kAnswer, false, 0, sharing),
          "there is memory for all");
    }
    Waited waited;
    sampled_ = 0;
    const double begun = seconds_now();
    while (sampled_ == 0) {
      const double step = seconds_now();
      (void)coordinator.step();
      waited.last_step = seconds_now() - step;
    }
    expects(sampled_ == answers, "all answers begin in one step");
    waited.first_token = seconds_now() - begun;
    (void)coordinator.step();
    waited.pages = pages_in_use(coordinator);
    while (coordinator.step()) {
    }
    return waited;
  }

  std::int64_t pages_in_use(const Coordinator& coordinator) const {
    std::int64_t pages = 0;
    for (int rank = 0; rank < bench_.ranks; ++rank) {
      pages += coordinator.schedule().planner(0).ledger().counts(rank).at(PageState::kLive);
    }
    return pages;
  }

  const EngineBench& bench_;
  std::mt19937 random_{1};
  RequestId next_id_ = 0;
  std::int64_t read_ = 0, sampled_ = 0;
};

void print(const EngineBench& bench, Prefixes& all) {
  const auto at = [&](const char* name) { return bench.numbers.at(name); };
  const double cold = percentile(all.cold, 0.5), hit = percentile(all.hit, 0.5);
  const double fork = (percentile(all.several_answers, 0.5) - percentile(all.one_answer, 0.5)) /
                      static_cast<double>(at("--forks"));
  const double pages = percentile(all.pages_per_fork, 1);
  if (bench.json) {
    std::cout << nlohmann::ordered_json{{"prompt", at("--prompt")},
                                        {"hit_percent", at("--hit-percent")},
                                        {"cold_s", all.cold},
                                        {"hit_s", all.hit},
                                        {"ratio", cold / hit},
                                        {"ratio_bar", kHitBar},
                                        {"hit_positions_computed", all.hit_read},
                                        {"one_answer_s", all.one_answer},
                                        {"several_answers_s", all.several_answers},
                                        {"fork_s", fork},
                                        {"fork_bar_s", kForkBar},
                                        {"pages_per_fork", pages},
                                        {"pages_bar", kPagesBar}}
                     .dump(2)
              << '\n';
    return;
  }
  fmt::print(
      "a prompt of {} tokens, {} % of it read before; {} ranks x {} threads, float32; median of "
      "{}\n",
      at("--prompt"), at("--hit-percent"), bench.ranks, bench.threads, all.cold.size());
  fmt::print(
      "first token    {:.3f} s, behind a hit {:.3f} s: {:.2f} times sooner (bar {:.0f}); "
      "{} positions computed\n",
      cold, hit, cold / hit, kHitBar, all.hit_read);
  fmt::print("a fork         {:.2f} ms (bar {:.0f}), {:.2f} pages at most (bar {:.0f})\n",
             1e3 * fork, 1e3 * kForkBar, pages, kPagesBar);
}

}  // namespace
}  // namespace longspan::bench

int main(int count, char** words) {
  using namespace longspan::bench;
  try {
    const EngineBench bench = parse_engine_bench(
        count, words, {{"--prompt", 8192}, {"--hit-percent", 90}, {"--forks", 8}, {"--repeat", 3}});
    Prefixes prefixes(bench);
    run_engine(bench, {.degree = bench.ranks}, prefixes.session());
    print(bench, prefixes);
  } catch (const std::exception& error) {
    std::cerr << "prefix_bench: " << error.what() << '\n';
    return 1;
  }
}
