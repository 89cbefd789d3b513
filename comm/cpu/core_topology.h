// The cores of a host, as the kernel describes them in /sys.
#pragma once

#include <sched.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace longspan {

/// A physical core: what it computes with is shared by its hardware threads.
struct PhysicalCore {
  int node = 0;           // of memory (NUMA)
  std::vector<int> cpus;  // its hardware threads by the kernel's numbers, which rise

  bool operator==(const PhysicalCore&) const = default;
};

/// Those with a hardware thread in `allowed`, with these threads only: node by node, by their first
/// thread. Empty where the kernel does not say what is a core; without nodes all are on node 0.
/// `root`: where /sys is looked for.
std::vector<PhysicalCore> physical_cores(const cpu_set_t& allowed,
                                         const std::filesystem::path& root = "/");

/// "0-3,8" as numbers, as the kernel writes lists; nothing for another text.
std::vector<int> parse_cpu_list(std::string_view text);

/// The other way round.
std::string cpu_list(const cpu_set_t& cpus);

}  // namespace longspan
