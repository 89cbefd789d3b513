#include "comm/cpu/core_share.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "comm/str.h"

namespace longspan {
namespace {

using Cores = std::span<const PhysicalCore>;

std::vector<Cores> nodes_of(const std::vector<PhysicalCore>& cores) {
  std::vector<Cores> nodes;
  for (auto first = cores.begin(); first != cores.end();) {
    const auto last = std::find_if(
        first, cores.end(), [&](const PhysicalCore& core) { return core.node != first->node; });
    nodes.emplace_back(first, last);
    first = last;
  }
  return nodes;
}

/// The `index`-th of `parts` parts of so many things that differ by one at most.
std::pair<std::size_t, std::size_t> part_of(std::size_t count, int index, int parts) {
  const auto border = [&](int i) { return count * static_cast<std::size_t>(i) / parts; };
  return {border(index), border(index + 1)};
}

Cores part_of(Cores cores, int index, int parts) {
  const auto [begin, end] = part_of(cores.size(), index, parts);
  return cores.subspan(begin, end - begin);
}

/// Whole nodes for each rank, or a part of one node.
Cores cores_by_node(const std::vector<PhysicalCore>& cores, int index, int ranks) {
  const std::vector<Cores> nodes = nodes_of(cores);
  const int count = static_cast<int>(nodes.size());
  if (ranks <= count) {
    const auto [first, last] = part_of(nodes.size(), index, ranks);
    return {nodes[first].data(), nodes[last - 1].data() + nodes[last - 1].size()};
  }
  const auto node_of = [&](int rank) { return rank * count / ranks; };
  int before = 0, sharing = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    if (node_of(rank) != node_of(index)) continue;
    ++sharing;
    if (rank < index) ++before;
  }
  return part_of(nodes[node_of(index)], before, sharing);
}

int hardware_threads(Cores cores) {
  std::size_t count = 0;
  for (const PhysicalCore& core : cores) count += core.cpus.size();
  return static_cast<int>(count);
}

void insert(int cpu, cpu_set_t& set) { CPU_SET(static_cast<std::size_t>(cpu), &set); }

CoreShare share_on(Cores mine, const std::vector<PhysicalCore>& all, int threads) {
  CoreShare share{};
  const bool whole_cores = threads <= std::ssize(mine);
  for (const PhysicalCore& core : mine) {
    const std::size_t used = whole_cores ? 1 : core.cpus.size();
    for (std::size_t i = 0; i < used; ++i) insert(core.cpus[i], share.compute);
  }
  for (const PhysicalCore& core : all) {
    const bool near =
        std::ranges::any_of(mine, [&](const PhysicalCore& one) { return one.node == core.node; });
    for (int cpu : core.cpus) {
      if (near) insert(cpu, share.nodes);
    }
  }
  return share;
}

Placement left_alone(std::string_view why) {
  return {std::nullopt, str("compute threads are not bound: {}", why)};
}

}  // namespace

std::optional<CoreShare> share_of_cores(const std::vector<PhysicalCore>& cores, int index,
                                        int ranks, int threads) {
  if (std::ssize(cores) < ranks) return std::nullopt;
  // Nodes first; across them if that leaves some rank too little.
  const auto along = [&](int rank) { return part_of(Cores(cores), rank, ranks); };
  const auto by_node = [&](int rank) { return cores_by_node(cores, rank, ranks); };
  // Threads that must share cores do so alike on all ranks, or the free ones would be idle.
  const auto suffices = [&](const auto& division) {
    const auto first = std::ssize(division(0));
    bool share_alike = true, whole_cores = true;
    for (int rank = 0; rank < ranks; ++rank) {
      const Cores part = division(rank);
      share_alike = share_alike && std::ssize(part) == first && hardware_threads(part) >= threads;
      whole_cores = whole_cores && std::ssize(part) >= threads;
    }
    return share_alike || whole_cores;
  };
  if (suffices(by_node)) return share_on(by_node(index), cores, threads);
  if (suffices(along)) return share_on(along(index), cores, threads);
  return std::nullopt;
}

Placement place_rank(Binding wish, std::span<const cpu_set_t> all, int index, int threads,
                     std::optional<double> quota, bool openmp_is_bound,
                     const std::filesystem::path& root) {
  const cpu_set_t& mine = all[index];
  if (wish == Binding::kNone) return left_alone("--bind none");
  if (all.size() == 1) return left_alone("the rank is alone on its host");
  if (openmp_is_bound) return left_alone("OpenMP's variables say where they run");
  const bool roams =
      std::ranges::all_of(all, [&](const cpu_set_t& other) { return CPU_EQUAL(&other, &mine); });
  if (!roams) return left_alone("the launcher has bound the ranks");
  if (quota && *quota < CPU_COUNT(&mine)) {
    return left_alone("control groups grant less time than there are cores");
  }
  const auto share =
      share_of_cores(physical_cores(mine, root), index, static_cast<int>(all.size()), threads);
  if (!share) return left_alone("cores do not divide evenly into so many ranks and threads");
  return {share, str("compute threads, {} a stream, keep to cpus {}, others to {}", threads,
                     cpu_list(share->compute), cpu_list(share->nodes))};
}

bool openmp_is_bound() {
  return std::ranges::any_of(
      std::to_array({"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"}),
      [](const char* name) { return std::getenv(name) != nullptr; });
}

void keep_this_thread_to(const cpu_set_t& cpus) { sched_setaffinity(0, sizeof(cpus), &cpus); }

}  // namespace longspan
