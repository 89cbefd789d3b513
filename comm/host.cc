#include "comm/host.h"

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <fstream>

#include "comm/control_group.h"

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
  std::optional<double> least;
  for (const ControlGroup& group : control_groups("cpu", root)) {
    const auto quota = group.unified ? read_v2(group.folder) : read_v1(group.folder);
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
