#include "comm/host_memory.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <limits>
#include <optional>

#include "comm/str.h"

namespace longspan {
namespace {

constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

/// The number a control file holds; nothing for "max" or when there is no such file.
std::optional<std::int64_t> read_number(const std::string& path) {
  std::ifstream file(path);
  std::int64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

std::int64_t kernel_available() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  std::int64_t kib = 0;
  while (file >> key >> kib) {
    std::getline(file, unit);
    if (key == "MemAvailable:") return kib * 1024;
  }
  return kUnlimited;
}

/// What a group may still take: its limit less what it holds and cannot give back. File pages can
/// be dropped; the kernel counts them as used all the same.
std::int64_t left_in(const std::string& limit, const std::string& used, const std::string& stat) {
  const auto most = read_number(limit);
  const auto now = read_number(used);
  if (!most || !now) return kUnlimited;
  std::int64_t droppable = 0;
  std::ifstream file(stat);
  std::string key;
  std::int64_t value = 0;
  while (file >> key >> value) {
    if (key == "inactive_file" || key == "total_inactive_file") droppable = value;
  }
  return std::max<std::int64_t>(0, *most - *now + droppable);
}

/// The folder of this process's control group, by the line of /proc/self/cgroup that starts so.
std::optional<std::string> group_folder(const std::string& line_start, const std::string& mount) {
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    const auto at = line.find(line_start);
    if (at != std::string::npos) return mount + line.substr(at + line_start.size());
  }
  return std::nullopt;
}

std::int64_t left_in_control_group() {
  std::int64_t left = kUnlimited;
  const auto look = [&](const std::string& folder, bool v2) {
    left = std::min(left, v2 ? left_in(folder + "/memory.max", folder + "/memory.current",
                                       folder + "/memory.stat")
                             : left_in(folder + "/memory.limit_in_bytes",
                                       folder + "/memory.usage_in_bytes", folder + "/memory.stat"));
  };
  if (const auto folder = group_folder("0::", "/sys/fs/cgroup")) look(*folder, true);
  if (const auto folder = group_folder(":memory:", "/sys/fs/cgroup/memory")) look(*folder, false);
  look("/sys/fs/cgroup", true);  // inside a container the group is mounted as the root
  look("/sys/fs/cgroup/memory", false);
  return left;
}

}  // namespace

std::int64_t available_host_memory() {
  return std::min(kernel_available(), left_in_control_group());
}

std::string human_bytes(std::int64_t bytes) {
  constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (std::abs(value) >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  const int digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return str("{:.{}f} {}", value, digits, kUnits[unit]);
}

}  // namespace longspan
