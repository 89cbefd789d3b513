#include "launch/bench/load_figures.h"

#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "comm/agreement.h"
#include "comm/collective.h"
#include "launch/bench/load_yardstick.h"
#include "runtime/engine/load_model.h"
#include "runtime/model/shared_block.h"

namespace longspan {
namespace {

using Clock = std::chrono::steady_clock;

/// Seconds that the slowest rank takes for `work`, all beginning together.
template <typename Work>
double slowest(Machine& machine, Work&& work) {
  barrier(machine.control(), Patience::forever());
  const auto start = Clock::now();
  work();
  const std::int64_t taken = (Clock::now() - start) / std::chrono::nanoseconds(1);
  return -1e-9 * static_cast<double>(minimum(machine.control(), -taken));
}

/// In memory as weights get theirs.
Mapping kept(LoadYardstick& yardstick, int threads) {
  Mapping memory = Mapping::anonymous(yardstick.values() * sizeof(float));
  memory.populate_for_writing(threads);
  yardstick.keep({reinterpret_cast<float*>(memory.bytes().data()),
                  static_cast<std::size_t>(yardstick.values())});
  return memory;
}

/// Of all but the first, unless that is the only one.
Timing without_first(std::vector<double> seconds) {
  if (seconds.size() > 1) seconds.erase(seconds.begin());
  return timing_of(std::move(seconds));
}

}  // namespace

LoadFigures measure_load(Machine& machine, const BenchLoadOptions& options,
                         const std::atomic<bool>& interrupted) {
  const std::vector<int>& host = machine.host_ranks();
  const bool leads = machine.rank() == host.front();
  const LoadModelOptions load{.precision = agreed_precision(machine, options.dtype)};
  const auto open = [&] { return open_model(machine, options.model, ManifestUse::kIgnore); };

  LoadFigures figures{.precision = std::string(name(load.precision)),
                      .threads = machine.threads() * static_cast<int>(host.size())};
  const OpenedModel read = open();
  LoadYardstick yardstick(*read.file, figures.threads);
  std::vector<double> loads, yardsticks, in_cache;
  const auto wanted = std::chrono::duration<double>(options.seconds).count();
  // Once more than counts: the first turn fills the page cache. In turn, so that what else the
  // machine does hits all three; what is let go of is let go of outside of what is timed.
  for (double spent = 0; loads.size() < 4 || spent < wanted; spent += loads.back()) {
    OpenedModel opened = open();
    std::optional<LoadedModel> loaded;
    loads.push_back(
        slowest(machine, [&] { loaded.emplace(load_model(machine, std::move(opened), load)); }));
    figures.file_bytes = loaded->weights.report().file_bytes;
    figures.weight_bytes = loaded->host_weight_bytes;
    loaded.reset();
    Mapping memory;
    yardsticks.push_back(slowest(machine, [&] {
      if (leads) memory = kept(yardstick, figures.threads);
    }));
    memory = {};
    in_cache.push_back(slowest(machine, [&] {
      if (leads) yardstick.keep_nothing();
    }));
    if (any_rank(machine.control(), interrupted)) break;
  }
  figures.load = without_first(std::move(loads));
  figures.yardstick = without_first(std::move(yardsticks));
  figures.in_cache = without_first(std::move(in_cache));
  return figures;
}

}  // namespace longspan
