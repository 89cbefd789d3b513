#include "comm/host.h"

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <fstream>

namespace longspan {
namespace {

namespace fs = std::filesystem;

// "max 100000" or "200000 100000": quota and period in microseconds.
std::optional<double> read_v2(const fs::path& group) {
  std::ifstream file(group / "cpu.max");
  double quota = 0;
  double period = 0;
  if (file >> quota >> period && quota > 0 && period > 0) return quota / period;
  return std::nullopt;
}

std::optional<double> read_v1(const fs::path& group) {
  std::ifstream quota_file(group / "cpu.cfs_quota_us");
  std::ifstream period_file(group / "cpu.cfs_period_us");
  double quota = 0;
  double period = 0;
  if (quota_file >> quota && period_file >> period && quota > 0 && period > 0) {
    return quota / period;
  }
  return std::nullopt;
}

// A limit of any ancestor holds too. Inside a container the path may be the host's, of which only
// the mounted top exists: the walk up ends there.
template <typename Read>
std::optional<double> tightest(const fs::path& mount, fs::path group, Read read) {
  std::optional<double> least;
  for (;; group = group.parent_path()) {
    if (const auto quota = read(mount / group.relative_path())) {
      least = std::min(least.value_or(*quota), *quota);
    }
    if (!group.has_relative_path()) return least;
  }
}

}  // namespace

std::string host_name() {
  char name[HOST_NAME_MAX + 1] = {};
  if (gethostname(name, sizeof(name) - 1) != 0) return "unknown-host";
  return name;
}

cpu_set_t allowed_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof(cores), &cores) != 0) {
    // More cores than the set has room for. Counting them all is the best that is left.
    const auto online = std::clamp<long>(sysconf(_SC_NPROCESSORS_ONLN), 1, CPU_SETSIZE);
    for (long core = 0; core < online; ++core) CPU_SET(static_cast<std::size_t>(core), &cores);
  }
  return cores;
}

std::optional<double> cpu_quota(const fs::path& root) {
  std::ifstream groups(root / "proc/self/cgroup");
  const fs::path mount = root / "sys/fs/cgroup";
  std::optional<double> least;
  for (std::string line; std::getline(groups, line);) {  // id:controllers:path
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const fs::path group = line.substr(second + 1);
    std::optional<double> quota;
    if (controllers == ",,") quota = tightest(mount, group, read_v2);
    if (controllers.find(",cpu,") != std::string::npos) {
      quota = tightest(mount / "cpu", group, read_v1);
    }
    if (quota) least = std::min(least.value_or(*quota), *quota);
  }
  return least;
}

int fair_threads(const cpu_set_t& mine, std::span<const cpu_set_t> all,
                 std::optional<double> quota) {
  double share = 0;
  for (std::size_t core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &mine)) continue;
    const auto users = std::ranges::count_if(
        all, [core](const cpu_set_t& cores) { return CPU_ISSET(core, &cores); });
    share += 1.0 / static_cast<double>(std::max<std::ptrdiff_t>(users, 1));
  }
  if (quota)
    share = std::min(share, *quota / static_cast<double>(std::max<std::size_t>(all.size(), 1)));
  return std::max(1, static_cast<int>(share + 1e-6));  // thirds must add up to one again
}

}  // namespace longspan
