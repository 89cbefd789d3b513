#include "comm/host_memory.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <limits>
#include <optional>

#include "comm/control_group.h"
#include "comm/str.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

/// The number a control file holds; nothing for "max" or when there is no such file.
std::optional<std::int64_t> read_number(const fs::path& path) {
  std::ifstream file(path);
  std::int64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

std::int64_t kernel_available(const fs::path& root) {
  std::ifstream file(root / "proc/meminfo");
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
std::int64_t left_in(const fs::path& group, const char* limit, const char* used) {
  const auto most = read_number(group / limit);
  const auto now = read_number(group / used);
  if (!most || !now) return kUnlimited;
  std::int64_t droppable = 0;
  std::ifstream file(group / "memory.stat");
  std::string key;
  std::int64_t value = 0;
  while (file >> key >> value) {
    if (key == "inactive_file" || key == "total_inactive_file") droppable = value;
  }
  return std::max<std::int64_t>(0, *most - *now + droppable);
}

std::int64_t left_in_control_groups(const fs::path& root) {
  std::int64_t left = kUnlimited;
  for (const ControlGroup& group : control_groups("memory", root)) {
    const char* limit = group.unified ? "memory.max" : "memory.limit_in_bytes";
    const char* used = group.unified ? "memory.current" : "memory.usage_in_bytes";
    left = std::min(left, left_in(group.folder, limit, used));
  }
  return left;
}

}  // namespace

std::int64_t available_host_memory(const fs::path& root) {
  return std::min(kernel_available(root), left_in_control_groups(root));
}

std::int64_t resident_host_memory(const fs::path& root) {
  std::ifstream file(root / "proc/self/statm");
  std::int64_t all = 0, resident = 0;
  if (!(file >> all >> resident)) return 0;
  return resident * sysconf(_SC_PAGESIZE);
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
