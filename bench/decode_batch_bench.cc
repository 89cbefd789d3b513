// How many more tokens a second several sequences get than one, decoded together on the same ranks.
//
//   decode_batch_bench --model FILE [--ranks 2] [--threads 1] [--sequences 16] [--context 512]
//                      [--tokens 48] [--repeat 3] [--json]
//
// Decode of one row reads all weights; that of 16 reads them once. Queries are shipped, and weights
// and keys are float32. Time counts while all sequences decode; the two take turns, and the median
// of each counts.

#include <fmt/core.h>

#include <iostream>
#include <nlohmann/json.hpp>
#include <set>

#include "bench/engine_bench.h"
#include "comm/error.h"

namespace longspan::bench {
namespace {

constexpr double kBar = 8;  // times the rate of one

class DecodeRates {
 public:
  explicit DecodeRates(const EngineBench& bench) : bench_(bench) {}

  SessionInput session() {
    const RequestShape shape{.prompt_tokens = number("--context"), .max_new = number("--tokens")};
    return {.shapes = std::vector<RequestShape>(number("--sequences"), shape),
            .listener = {.prefill = [](const Progress&) {},
                         .layer = nullptr,
                         .token = [this](RequestId id, const Scored&) { note_token(id); },
                         .nll = [](RequestId, double) {}},
            .drive = [this](Coordinator& coordinator) {
              const std::int64_t many = number("--sequences");
              (void)rate_of(coordinator, many);  // warms up
              for (std::int64_t i = 0; i < number("--repeat"); ++i) {
                one.push_back(rate_of(coordinator, 1));
                all.push_back(rate_of(coordinator, many));
              }
            }};
  }

  std::vector<double> one, all;  // tokens/s

 private:
  std::int64_t number(const std::string& name) const { return bench_.numbers.at(name); }

  double rate_of(Coordinator& coordinator, std::int64_t sequences) {
    const std::int64_t tokens = number("--tokens");
    for (std::int64_t i = 0; i < sequences; ++i) {
      Admission admission{.request = next_id_++,
                          .prompt = random_prompt(random_, number("--context"))};
      expects(coordinator.submit(std::move(admission), tokens, false), "there is memory for all");
    }
    begun_.clear();
    double seconds = 0;
    std::int64_t counted = 0;
    for (;;) {
      const bool all_decode = std::ssize(begun_) == sequences;
      sampled_ = 0;
      const double start = seconds_now();
      if (!coordinator.step()) return static_cast<double>(counted) / seconds;
      if (!all_decode || sampled_ != sequences) continue;
      seconds += seconds_now() - start;
      counted += sampled_;
    }
  }

  void note_token(RequestId id) {
    begun_.insert(id);
    ++sampled_;
  }

  const EngineBench& bench_;
  std::mt19937 random_{1};
  RequestId next_id_ = 0;
  std::set<RequestId> begun_;  // have a token
  std::int64_t sampled_ = 0;   // by the last step
};

void print(const EngineBench& bench, DecodeRates& rates) {
  const auto at = [&](const char* name) { return bench.numbers.at(name); };
  const double one = percentile(rates.one, 0.5), all = percentile(rates.all, 0.5);
  if (bench.json) {
    std::cout << nlohmann::ordered_json{{"sequences", at("--sequences")},
                                        {"context", at("--context")},
                                        {"one_tokens_per_s", rates.one},
                                        {"all_tokens_per_s", rates.all},
                                        {"ratio", all / one},
                                        {"bar", kBar}}
                     .dump(2)
              << '\n';
    return;
  }
  fmt::print("decode behind {} tokens, {} ranks x {} threads, shipped, float32; median of {}\n",
             at("--context"), bench.ranks, bench.threads, rates.one.size());
  fmt::print("{:<14} {:>14} {:>14} {:>8} {:>6}\n", "", "together", "one", "times", "bar");
  fmt::print("{:<14} {:>8.1f} tok/s {:>8.1f} tok/s {:>8.2f} {:>6.0f}\n",
             fmt::format("{} sequences", at("--sequences")), all, one, all / one, kBar);
}

}  // namespace
}  // namespace longspan::bench

int main(int count, char** words) {
  using namespace longspan::bench;
  try {
    const EngineBench bench = parse_engine_bench(
        count, words, {{"--sequences", 16}, {"--context", 512}, {"--tokens", 48}, {"--repeat", 3}});
    DecodeRates rates(bench);
    run_engine(bench, {.degree = bench.ranks, .prefix_cache = false}, rates.session());
    print(bench, rates);
  } catch (const std::exception& error) {
    std::cerr << "decode_batch_bench: " << error.what() << '\n';
    return 1;
  }
}
