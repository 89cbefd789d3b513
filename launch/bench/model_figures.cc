#include "launch/bench/model_figures.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <utility>

#include "attention/split_shape.h"
#include "comm/agreement.h"
#include "launch/bench/matrix_yardstick.h"
#include "launch/bench/memory_yardsticks.h"
#include "launch/bench/rank_clock.h"
#include "runtime/engine/engine.h"

namespace longspan {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

/// Of one rank; more than a cache holds.
std::size_t yardstick_bytes(Backend backend) {
  return std::size_t{backend == Backend::kCuda ? 1024u : 128u} << 20;
}

/// FLOP/s of each of the first `ranks` ranks while they multiply at once: of the slowest.
double product_rate(Machine& machine, ModelOps& ops, int ranks, RankClock clock) {
  const int size = MatrixYardstick::usual_size(machine.backend());
  const bool takes_part = machine.rank() < ranks;
  std::unique_ptr<Stream> stream = machine.device().new_stream();
  const auto product = agree_on(machine.control(), [&] {
    return takes_part ? std::make_unique<MatrixYardstick>(machine.device(), ops, size) : nullptr;
  });
  const Timing timing = clock.time(*stream, [&] {
    if (product) product->enqueue(*stream);
  });
  return MatrixYardstick::flop(size) / timing.seconds;
}

/// Bytes per second that each of the first `ranks` ranks moves of its memory, at once.
double memory_rate(Machine& machine, int ranks, RankClock clock) {
  const std::size_t bytes = yardstick_bytes(machine.backend());
  const auto memory = agree_on(machine.control(), [&] {
    return machine.rank() < ranks ? std::make_unique<MemoryYardstick>(machine, bytes) : nullptr;
  });
  const Timing timing = clock.time([&](int count) {
    if (memory) memory->move(count);
  });
  return MemoryYardstick::bytes_moved(machine, bytes) / timing.seconds;
}

/// Rank 0's side: submits one request after another and looks at the clock.
class Stopwatch {
 public:
  Stopwatch(Engine& engine, const ModelRuns& runs, int vocabulary, const ModelListener& listener,
            const std::atomic<bool>& interrupted)
      : engine_(engine),
        runs_(runs),
        vocabulary_(vocabulary),
        listener_(listener),
        interrupted_(interrupted) {}

  struct Times {
    double read = 0;
    double token = 0;
  };
  /// Of each run that counts; nothing when interrupted.
  std::optional<std::vector<Times>> times(std::int64_t length) {
    std::vector<Times> all;
    for (int run = 0; run < runs_.repeat; ++run) {
      const std::optional<Times> one = once(length, run);
      if (!one) return std::nullopt;
      if (run > 0) all.push_back(*one);
    }
    return all;
  }

 private:
  std::optional<Times> once(std::int64_t length, int run) {
    std::int64_t written = 0;
    Clock::time_point first, last;
    EngineRequest request{.prompt = random_prompt(length), .max_new = runs_.answer};
    request.on_prefill = [&](const Progress& chunk) {
      listener_.progress(length, run, chunk.prompt_done, 0);
    };
    request.on_token = [&](const Scored&) {
      last = Clock::now();
      if (written++ == 0) first = last;
      listener_.progress(length, run, length, written);
    };
    const auto begin = Clock::now();
    engine_.submit(std::move(request));
    while (!interrupted_ && engine_.step()) {
    }
    if (written < runs_.answer) return std::nullopt;
    return Times{.read = seconds_between(begin, first),
                 .token = seconds_between(first, last) / static_cast<double>(written - 1)};
  }

  /// Another one each time.
  std::vector<TokenId> random_prompt(std::int64_t length) {
    std::vector<TokenId> prompt(length);
    for (TokenId& token : prompt) token = static_cast<TokenId>(random_() % vocabulary_);
    return prompt;
  }

  Engine& engine_;
  const ModelRuns& runs_;
  const std::uint64_t vocabulary_;
  const ModelListener& listener_;
  const std::atomic<bool>& interrupted_;
  std::mt19937_64 random_{1};
};

ModelFigure figure_of(std::int64_t length, std::int64_t answer,
                      const std::vector<Stopwatch::Times>& times, const ModelWork& work,
                      const ModelSplit& split, const ModelRates& rates) {
  std::vector<double> read, token;
  for (const Stopwatch::Times& one : times) {
    read.push_back(one.read);
    token.push_back(one.token);
  }
  const double weights = work.weight_bytes() * split.weight_share();
  const double keys = work.key_bytes(length + (answer - 1) / 2) / split.ranks();
  return {.tokens = length,
          .read = timing_of(std::move(read)),
          .token = timing_of(std::move(token)),
          .read_yardstick = work.prefill_flop(length) / rates.flop_per_second,
          .token_bytes = weights + keys,
          .token_yardstick =
              weights / rates.weight_bytes_per_second + keys / rates.key_bytes_per_second};
}

}  // namespace

ModelWork::ModelWork(const ModelConfig& whole, Precision precision, KvType kv)
    : masks_(whole.masks), layers_(whole.layers), heads_(whole.heads), kv_(kv) {
  const double hidden = whole.hidden;
  layer_values_ =
      whole.layers * hidden * (2.0 * whole.q_width() + 2.0 * whole.kv_width() + 3.0 * whole.ffn);
  output_values_ = hidden * whole.vocabulary;
  weight_bytes_ = (layer_values_ + output_values_) * (precision == Precision::kBFloat16 ? 2 : 4);
}

double ModelWork::prefill_flop(std::int64_t tokens) const {
  return 2 * (layer_values_ * static_cast<double>(tokens) + output_values_) +
         4.0 * heads_.head_dim * heads_.query_heads * pairs(0, tokens);
}

double ModelWork::key_bytes(std::int64_t position) const {
  return pairs(position, position + 1) * static_cast<double>(heads_.kv_values() * value_bytes(kv_));
}

double ModelWork::pairs(std::int64_t first, std::int64_t end) const {
  const auto run = [](std::int64_t from, std::int64_t to) {
    const std::int64_t count = to - from;
    return PositionRun{.first = from, .block = count, .stride = count, .count = count};
  };
  double total = 0;
  for (int layer = 0; layer < layers_; ++layer) {
    const Mask& mask = masks_.distinct()[masks_.index(layer)];
    total += static_cast<double>(mask.is_full() ? (end - first) * end
                                                : seen_pairs(mask, run(first, end), run(0, end)));
  }
  return total;
}

int ModelSplit::weight_readers() const {
  const bool all = decode == DecodeStrategy::kMirrored || decode == DecodeStrategy::kSliced;
  return all ? ranks() : tp;
}

double ModelSplit::weight_share() const {
  return 1.0 / (decode == DecodeStrategy::kSliced ? ranks() : tp);
}

ModelRates measure_rates(Machine& machine, ModelOps& ops, const ModelSplit& split,
                         std::chrono::duration<double> per_figure) {
  const RankClock clock(machine, per_figure);
  ModelRates rates{.flop_per_second =
                       split.ranks() * product_rate(machine, ops, split.ranks(), clock)};
  rates.key_bytes_per_second = memory_rate(machine, split.ranks(), clock);
  rates.weight_bytes_per_second = split.weight_readers() == split.ranks()
                                      ? rates.key_bytes_per_second
                                      : memory_rate(machine, split.weight_readers(), clock);
  return rates;
}

void measure_model(Machine& machine, LoadedModel& model, const JobOptions& job,
                   const ModelRuns& runs, const ModelWork& work, const ModelSplit& split,
                   const ModelRates& rates, const ModelListener* listener,
                   const std::atomic<bool>& interrupted) {
  if (!listener) {
    Engine::open(machine, model, job, nullptr, nullptr);
    return;
  }
  const std::int64_t longest = *std::ranges::max_element(runs.lengths);
  EngineSetup setup{.queue = QueueBounds::none()};
  setup.shapes = {{.prompt_tokens = longest, .max_new = runs.answer}};
  Engine::open(machine, model, job, &setup, [&](Engine& engine) {
    Stopwatch watch(engine, runs, model.config.vocabulary, *listener, interrupted);
    for (const std::int64_t length : runs.lengths) {
      const auto times = watch.times(length);
      if (!times) return;
      listener->figure(figure_of(length, runs.answer, *times, work, split, rates));
    }
  });
}

}  // namespace longspan
