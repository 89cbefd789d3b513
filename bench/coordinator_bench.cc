// What coordinating costs rank 0, beside a bar of 200 us for a report handled and a plan emitted.
//
//   coordinator_bench [--ranks N] [--groups N] [--sequences N] [--context N] [--steps N]
//                     [--run-steps N] [--json]
//
// The coordinator, its planner and the control channel are those of the engine, over ranks that are
// threads; the workers compute nothing. All sequences decode: first alone, then beside the chunks
// of a long prompt. What counts is the processor time of rank 0's thread, so other ranks that share
// its cores do not. It is split where the coordinator hands its own part of a step to its worker:
// before that it plans and sends, or in a run of steps says what the next one is, after that it
// receives reports and notes them. With several
// groups sending and receiving is the business of their lines' threads, and the coordinator's has
// the rest of all groups' steps.

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <ctime>
#include <exception>
#include <functional>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "comm/cpu/thread_communicator.h"
#include "comm/error.h"
#include "comm/str.h"
#include "runtime/engine/coordinator.h"
#include "runtime/engine/first_costs.h"
#include "tests/runtime/engine/null_worker.h"

namespace longspan::bench {
namespace {

using json = nlohmann::ordered_json;

constexpr std::chrono::seconds kPatience{60};
constexpr std::int64_t kPageTokens = 16;
constexpr std::int64_t kChunkTokens = 512;  // of all ranks: what a time between tokens leaves
constexpr double kBarSeconds = 200e-6;
constexpr TokenId kToken = 5;

struct Options {
  int ranks = 16;
  int groups = 1;  // of ranks / groups each
  int sequences = 64;
  std::int64_t context = 2048;  // tokens of each sequence's prompt
  int steps = 1000;
  std::int64_t run_steps = kPageTokens;  // of a plan at most
  bool json = false;
};

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Notes when its part of a step is done.
class TimedWorker final : public test::NullWorker {
 public:
  using NullWorker::NullWorker;

  StepReport execute(const StepOrder& order, const LayerDone& layer_done) override {
    began = thread_seconds();
    StepReport report = NullWorker::execute(order, layer_done);
    granted += std::ssize(order.plan.grants);
    ended = thread_seconds();
    return report;
  }

  double began = 0, ended = 0;  // the last step, in processor time of this thread
  std::int64_t granted = 0;     // pages, of all ranks
};

struct Figures {
  std::string name;
  double plan_seconds = 0;    // to emit one
  double report_seconds = 0;  // to handle one
  double step_seconds = 0;    // all that rank 0 does of a step, but its own part
  double reports = 0;         // of a step
  double plans = 0;           // likewise
  double plans_per_page = 0;

  double both() const { return plan_seconds + report_seconds; }
};

GroupSchedule schedule(const Options& options) {
  PlannerOptions planner{.page_tokens = kPageTokens, .chunk_tokens = kChunkTokens};
  const std::int64_t tokens =
      options.sequences * (options.context + 4L * options.steps) + kChunkTokens * options.steps;
  const std::int64_t pages = tokens / kPageTokens / options.ranks + 2L * options.sequences + 64;
  planner.max_running = options.sequences + 1;
  planner.run_steps = options.run_steps;
  planner.target = std::chrono::nanoseconds(std::chrono::milliseconds(100)).count();
  auto policy = make_policy(PolicyKind::kStaticSp, options.ranks / options.groups);
  auto groups = options_of_groups(*policy, planner, options.ranks, pages);
  return {std::move(policy), std::move(groups)};
}

StrategyPickerOptions picker_options(const Options& options) {
  return {.rates = default_rates("avx2", 1),
          .heads = {.query_heads = 9, .kv_heads = 3, .head_dim = 64},
          .layers = 30,
          .hosts = std::vector<int>(options.ranks, 0)};
}

/// Steps from here on, by what rank 0 does before and after its own part.
Figures measure(std::string name, Coordinator& coordinator, TimedWorker& worker,
                const Communicator& control, int steps) {
  Figures figures{.name = std::move(name)};
  const std::int64_t pages = worker.granted, plans = coordinator.plans();
  const std::uint64_t reports = control.traffic().received_messages;
  for (int step = 0; step < steps; ++step) {
    const double begun = thread_seconds();
    expects(coordinator.step(), "there is something to do");
    figures.plan_seconds += worker.began - begun;
    figures.report_seconds += thread_seconds() - worker.ended;
  }
  const auto handled = static_cast<double>(control.traffic().received_messages - reports);
  figures.step_seconds = (figures.plan_seconds + figures.report_seconds) / steps;
  figures.plan_seconds /= steps;
  figures.report_seconds /= std::max(1.0, handled);
  figures.reports = handled / steps;
  figures.plans = static_cast<double>(coordinator.plans() - plans) / steps;
  figures.plans_per_page = static_cast<double>(coordinator.plans() - plans) /
                           static_cast<double>(std::max<std::int64_t>(1, worker.granted - pages));
  return figures;
}

/// The same of several groups, by all that the coordinator's thread does: lines have threads.
Figures measure_groups(std::string name, Coordinator& coordinator, int steps) {
  Figures figures{.name = std::move(name)};
  const std::int64_t before = coordinator.steps(), plans = coordinator.plans();
  const double begun = thread_seconds();
  while (coordinator.steps() < before + steps) {
    expects(coordinator.step(), "there is something to do");
  }
  figures.plan_seconds = (thread_seconds() - begun) / steps;
  figures.step_seconds = figures.plan_seconds;
  figures.plans = static_cast<double>(coordinator.plans() - plans) / steps;
  return figures;
}

std::vector<Figures> coordinate(const Options& options, Communicator& communicator) {
  ControlChannel control(communicator, kPatience);
  TimedWorker worker(0);
  std::map<RequestId, std::int64_t> sampled;
  Coordinator coordinator(control, worker, schedule(options), picker_options(options),
                          {.prefill = [](const Progress&) {},
                           .layer = nullptr,
                           .token = [&](RequestId id, const Scored&) { ++sampled[id]; },
                           .nll = [](RequestId, double) {}});
  coordinator.price_steps({.prefill = {1e-3, 1e-5, 1e-9, 1e-9}, .h = 1e-4, .g = 1e-8},
                          options.ranks / options.groups);
  const auto submit = [&](RequestId id, std::int64_t prompt, std::int64_t max_new) {
    Admission admission{.request = id, .prompt = std::vector<TokenId>(prompt, kToken)};
    expects(coordinator.submit(std::move(admission), max_new, false), "there is memory for all");
  };
  for (RequestId id = 0; id < options.sequences; ++id) {
    submit(id, options.context, 4L * options.steps);
  }
  while (std::ssize(sampled) < options.sequences) (void)coordinator.step();
  const auto measured = [&](std::string name, int steps) {
    if (options.groups > 1) return measure_groups(std::move(name), coordinator, steps);
    return measure(std::move(name), coordinator, worker, communicator, steps);
  };
  (void)measured("", options.steps / 10 + 1);  // warms up
  std::vector<Figures> figures;
  figures.push_back(measured("decode", options.steps));
  const int chunks = options.steps / 10 + 2;
  submit(options.sequences, kChunkTokens * chunks, 1);
  figures.push_back(measured("decode beside chunks", chunks - 1));
  for (RequestId id = 0; id <= options.sequences; ++id) {
    while (!coordinator.is_between_steps(id)) (void)coordinator.step();
    coordinator.forget(id);
  }
  (void)coordinator.stop();
  return figures;
}

/// On rank 0's thread what goes on there; nothing that a rank throws is lost.
std::vector<Figures> run(const Options& options) {
  ThreadWorld world(options.ranks, kPatience);
  std::vector<Figures> figures;
  std::vector<std::exception_ptr> failures(options.ranks);
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < options.ranks; ++rank) {
      threads.emplace_back([&, rank] {
        try {
          if (rank == 0) {
            figures = coordinate(options, world.rank(0));
          } else {
            ControlChannel control(world.rank(rank), kPatience);
            test::NullWorker worker(rank);
            follow_coordinator(control, worker);
          }
        } catch (...) {
          failures[rank] = std::current_exception();
        }
        world.leave(rank);
      });
    }
  }
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
  return figures;
}

void print(const Options& options, const std::vector<Figures>& all) {
  fmt::print(
      "coordinating {} ranks as threads in {} groups, {} sequences of {} tokens and more, pages of "
      "{}; {} steps\n",
      options.ranks, options.groups, options.sequences, options.context, kPageTokens,
      options.steps);
  fmt::print("{:<22} {:>12} {:>12} {:>12} {:>12} {:>10}\n", "rank 0's thread", "a plan", "a report",
             "both", "bar", "ratio");
  for (const Figures& one : all) {
    fmt::print("{:<22} {:>9.1f} us {:>9.1f} us {:>9.1f} us {:>9.1f} us {:>10.2f}\n", one.name,
               1e6 * one.plan_seconds, 1e6 * one.report_seconds, 1e6 * one.both(),
               1e6 * kBarSeconds, one.both() / kBarSeconds);
  }
  for (const Figures& one : all) {
    fmt::print(
        "{}: {:.1f} us of a step, {:.1f} reports and {:.3f} plans in it; {:.3f} plans emitted per "
        "page granted\n",
        one.name, 1e6 * one.step_seconds, one.reports, one.plans, one.plans_per_page);
  }
}

void print_json(const Options& options, const std::vector<Figures>& all) {
  json rows = json::array();
  for (const Figures& one : all) {
    rows.push_back({{"name", one.name},
                    {"plan_s", one.plan_seconds},
                    {"report_s", one.report_seconds},
                    {"bar_s", kBarSeconds},
                    {"ratio", one.both() / kBarSeconds},
                    {"step_s", one.step_seconds},
                    {"reports_per_step", one.reports},
                    {"plans_per_step", one.plans},
                    {"plans_per_page", one.plans_per_page}});
  }
  std::cout << json{{"ranks", options.ranks},         {"groups", options.groups},
                    {"sequences", options.sequences}, {"context", options.context},
                    {"steps", options.steps},         {"figures", rows}}
                   .dump(2)
            << '\n';
}

std::int64_t number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1) {
    throw UsageError(str("'{}' is not a whole number above 0", text));
  }
  return value;
}

Options parse(const std::vector<std::string_view>& words) {
  Options options;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--json") {
      options.json = true;
      continue;
    }
    if (i + 1 == words.size()) throw UsageError(str("{} needs a number", words[i]));
    const std::int64_t value = number(words[i + 1]);
    if (words[i] == "--ranks") {
      options.ranks = static_cast<int>(value);
    } else if (words[i] == "--groups") {
      options.groups = static_cast<int>(value);
    } else if (words[i] == "--sequences") {
      options.sequences = static_cast<int>(value);
    } else if (words[i] == "--context") {
      options.context = value;
    } else if (words[i] == "--run-steps") {
      options.run_steps = value;
    } else if (words[i] == "--steps") {
      options.steps = static_cast<int>(value);
    } else {
      throw UsageError(str("unknown option {}", words[i]));
    }
    ++i;
  }
  if (options.groups > options.ranks) throw UsageError("a group has a rank at least");
  return options;
}

}  // namespace
}  // namespace longspan::bench

int main(int count, char** words) {
  using namespace longspan::bench;
  try {
    const Options options = parse({words + 1, words + count});
    const auto figures = run(options);
    (options.json ? print_json : print)(options, figures);
  } catch (const std::exception& error) {
    std::cerr << "coordinator_bench: " << error.what() << '\n';
    return 1;
  }
}
