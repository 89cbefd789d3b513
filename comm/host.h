// What this process may use of the host it runs on.
#pragma once

#include <sched.h>

#include <filesystem>
#include <optional>
#include <span>
#include <string>

namespace longspan {

std::string host_name();

/// The cores this process may run on, as the launcher bound it.
cpu_set_t allowed_cores();

/// The cores' worth of CPU time that control groups grant (both versions), or nothing without a
/// limit. `root`: where /proc and /sys are looked for.
std::optional<double> cpu_quota(const std::filesystem::path& root = "/");

/// The threads that a rank allowed on `mine` should run when `all`, `mine` among them, are the core
/// sets of the ranks on this host: a core counts for one divided by the ranks that share it. So it
/// is right whether a launcher bound the ranks to cores of their own or let them roam.
int fair_threads(const cpu_set_t& mine, std::span<const cpu_set_t> all,
                 std::optional<double> quota);

}  // namespace longspan
