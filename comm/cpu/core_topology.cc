#include "comm/cpu/core_topology.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "comm/str.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;

std::vector<int> list_in(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return parse_cpu_list(line);
}

/// "3" or "0-3", as its first and last number.
std::optional<std::pair<int, int>> parse_range(std::string_view text) {
  int first = 0, last = 0;
  const char* const end = text.data() + text.size();
  auto at = std::from_chars(text.data(), end, first);
  if (at.ec != std::errc() || first < 0) return std::nullopt;
  if (at.ptr == end) return std::pair(first, first);
  if (*at.ptr != '-') return std::nullopt;
  at = std::from_chars(at.ptr + 1, end, last);
  if (at.ec != std::errc() || at.ptr != end || last < first || last >= CPU_SETSIZE) {
    return std::nullopt;
  }
  return std::pair(first, last);
}

std::map<int, int> nodes_of_cpus(const fs::path& nodes) {
  std::map<int, int> node_of;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(nodes, none)) {
    const std::string name = entry.path().filename();
    int node = 0;
    if (!name.starts_with("node") ||
        std::from_chars(name.data() + 4, name.data() + name.size(), node).ec != std::errc()) {
      continue;
    }
    for (int cpu : list_in(entry.path() / "cpulist")) node_of[cpu] = node;
  }
  return node_of;
}

bool is_set(int cpu, const cpu_set_t& set) {
  return cpu < CPU_SETSIZE && CPU_ISSET(static_cast<std::size_t>(cpu), &set);
}

}  // namespace

std::vector<int> parse_cpu_list(std::string_view text) {
  std::vector<int> cpus;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    const auto range = parse_range(text.substr(0, comma));
    if (!range) return {};
    for (int cpu = range->first; cpu <= range->second; ++cpu) cpus.push_back(cpu);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return cpus;
}

std::string cpu_list(const cpu_set_t& cpus) {
  std::string text;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!is_set(cpu, cpus)) continue;
    int last = cpu;
    while (is_set(last + 1, cpus)) ++last;
    text += str("{}{}", text.empty() ? "" : ",", cpu);
    if (last > cpu) text += str("-{}", last);
    cpu = last;
  }
  return text;
}

std::vector<PhysicalCore> physical_cores(const cpu_set_t& allowed, const fs::path& root) {
  const fs::path system = root / "sys/devices/system";
  const std::map<int, int> node_of = nodes_of_cpus(system / "node");
  std::vector<PhysicalCore> cores;
  std::set<int> known;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!is_set(cpu, allowed) || known.contains(cpu)) continue;
    PhysicalCore core;
    for (int sibling :
         list_in(system / "cpu" / str("cpu{}", cpu) / "topology" / "thread_siblings_list")) {
      if (is_set(sibling, allowed)) core.cpus.push_back(sibling);
    }
    if (std::ranges::find(core.cpus, cpu) == core.cpus.end()) return {};
    known.insert(core.cpus.begin(), core.cpus.end());
    const auto node = node_of.find(cpu);
    core.node = node == node_of.end() ? 0 : node->second;
    cores.push_back(std::move(core));
  }
  std::ranges::stable_sort(cores, {}, &PhysicalCore::node);
  return cores;
}

}  // namespace longspan
