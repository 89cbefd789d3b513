// How long a short request waits for its first token while a long prompt is read, beside what it
// waits where there is nothing else.
//
//   latency_bench --model FILE [--ranks 2] [--threads 1] [--arrivals 100] [--short 81]
//                 [--long 8100] [--tbt-slo-ms 100] [--chunk 1024] [--seed 1] [--json]
//
// The engine as it is, on ranks that are threads: rank 0 submits between steps, as a server does
// with what has come meanwhile. A short request comes at a moment drawn without regard to steps,
// and its wait counts from there, so with what is left of the step that runs. Prompts are random;
// when the long one is read the next one begins. --tbt-slo-ms 0: no target, chunks of --chunk.

#include <fmt/core.h>

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "bench/engine_bench.h"
#include "comm/error.h"

namespace longspan::bench {
namespace {

constexpr double kMedianBar = 3, kTailBar = 5;  // times the median of those alone

class Latency {
 public:
  explicit Latency(const EngineBench& bench)
      : bench_(bench), random_(static_cast<std::mt19937::result_type>(number("--seed"))) {}

  SessionInput session() {
    const RequestShape reads{.prompt_tokens = number("--long"), .max_new = 1};
    return {.shapes = {reads, reads, reads},
            .listener = {.prefill = [this](const Progress& chunk) { note_chunk(chunk); },
                         .layer = nullptr,
                         .token = [this](RequestId id, const Scored&) { note_token(id); },
                         .nll = [](RequestId, double) {}},
            .drive = [this](Coordinator& coordinator) { drive(coordinator); }};
  }

  std::vector<double> alone, loaded;  // waits, seconds
  std::int64_t read = 0, chunks = 0;  // of long prompts, meanwhile
  double seconds = 0;                 // that passed meanwhile

 private:
  std::int64_t number(const std::string& name) const { return bench_.numbers.at(name); }

  void drive(Coordinator& coordinator) {
    constexpr int kWarmUp = 5;
    const std::int64_t arrivals = number("--arrivals");
    for (std::int64_t i = 0; i < arrivals + kWarmUp; ++i) {
      arrive(coordinator, seconds_now());
      while (waiting_ >= 0) (void)coordinator.step();
      if (i >= kWarmUp) alone.push_back(wait_);
    }
    auto sorted = alone;
    const double between = 4 * percentile(sorted, 0.5);  // many steps: any phase of one
    std::uniform_real_distribution<double> phase(0, between);
    const double begun = seconds_now();
    double next = begun + between;
    while (std::ssize(loaded) < arrivals) {
      if (long_ < 0) begin_long(coordinator);
      if (waiting_ < 0 && seconds_now() >= next) arrive(coordinator, next);
      (void)coordinator.step();
      if (waiting_ < 0 && wait_ > 0) {
        loaded.push_back(std::exchange(wait_, 0));
        next = seconds_now() + phase(random_);
      }
    }
    seconds = seconds_now() - begun;
    coordinator.forget(long_);
  }

  void submit(Coordinator& coordinator, RequestId id, std::int64_t tokens) {
    Admission admission{.request = id, .prompt = random_prompt(random_, tokens)};
    expects(coordinator.submit(std::move(admission), 1, false), "there is memory for all");
  }

  void arrive(Coordinator& coordinator, double when) {
    came_ = when;
    wait_ = 0;
    waiting_ = next_id_++;
    submit(coordinator, waiting_, number("--short"));
  }

  void begin_long(Coordinator& coordinator) {
    long_ = next_id_++;
    submit(coordinator, long_, number("--long"));
  }

  void note_chunk(const Progress& chunk) {
    if (chunk.request != long_) return;
    read += chunk.prompt_chunk;
    ++chunks;
  }

  void note_token(RequestId id) {
    if (id == waiting_) {
      wait_ = seconds_now() - came_;
      waiting_ = -1;
    } else {
      long_ = -1;
    }
  }

  const EngineBench& bench_;
  std::mt19937 random_;
  RequestId next_id_ = 0;
  RequestId waiting_ = -1, long_ = -1;  // none
  double came_ = 0, wait_ = 0;
};

void print(const EngineBench& bench, Latency& latency) {
  const auto at = [&](const char* name) { return bench.numbers.at(name); };
  const double median_alone = percentile(latency.alone, 0.5);
  const double median = percentile(latency.loaded, 0.5), tail = percentile(latency.loaded, 0.99);
  const auto read = static_cast<double>(latency.read);
  const double rate = read / latency.seconds;
  const double chunk = read / static_cast<double>(std::max<std::int64_t>(1, latency.chunks));
  if (bench.json) {
    std::cout << nlohmann::ordered_json{{"arrivals", at("--arrivals")},
                                        {"alone_p50_s", median_alone},
                                        {"alone_p99_s", percentile(latency.alone, 0.99)},
                                        {"loaded_p50_s", median},
                                        {"loaded_p99_s", tail},
                                        {"p50_ratio", median / median_alone},
                                        {"p50_bar", kMedianBar},
                                        {"p99_ratio", tail / median_alone},
                                        {"p99_bar", kTailBar},
                                        {"long_tokens_per_s", rate},
                                        {"long_chunk_tokens", chunk}}
                     .dump(2)
              << '\n';
    return;
  }
  fmt::print(
      "{} arrivals of {} tokens while {} are read, {} ranks x {} threads, float32; target {}\n",
      at("--arrivals"), at("--short"), at("--long"), bench.ranks, bench.threads,
      at("--tbt-slo-ms") > 0 ? fmt::format("{} ms", at("--tbt-slo-ms")) : "none");
  fmt::print("{:<14} {:>12} {:>12} {:>8} {:>6}\n", "first token", "loaded", "alone, P50", "times",
             "bar");
  fmt::print("{:<14} {:>9.0f} ms {:>9.0f} ms {:>8.2f} {:>6.0f}\n", "P50", 1e3 * median,
             1e3 * median_alone, median / median_alone, kMedianBar);
  fmt::print("{:<14} {:>9.0f} ms {:>9.0f} ms {:>8.2f} {:>6.0f}\n", "P99", 1e3 * tail,
             1e3 * median_alone, tail / median_alone, kTailBar);
  fmt::print(
      "alone, P99: {:.0f} ms; meanwhile the long prompts went on at {:.1f} tokens/s in chunks of "
      "{:.0f}\n",
      1e3 * percentile(latency.alone, 0.99), rate, chunk);
}

JobOptions job_options(const EngineBench& bench) {
  JobOptions options{.degree = bench.ranks,
                     .chunk_tokens = bench.numbers.at("--chunk"),
                     .max_step_tokens = 2048,
                     .max_running = 3,
                     .prefix_cache = false};
  const std::int64_t target = bench.numbers.at("--tbt-slo-ms");
  if (target > 0) options.tbt_target = std::chrono::milliseconds(target);
  return options;
}

}  // namespace
}  // namespace longspan::bench

int main(int count, char** words) {
  using namespace longspan::bench;
  try {
    const EngineBench bench = parse_engine_bench(count, words,
                                                 {{"--arrivals", 100},
                                                  {"--short", 81},
                                                  {"--long", 8100},
                                                  {"--tbt-slo-ms", 100},
                                                  {"--chunk", 1024},
                                                  {"--seed", 1}});
    Latency latency(bench);
    run_engine(bench, job_options(bench), latency.session());
    print(bench, latency);
  } catch (const std::exception& error) {
    std::cerr << "latency_bench: " << error.what() << '\n';
    return 1;
  }
}
