// The control groups that hold this process: where a container or a batch system writes its limits.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace longspan {

struct ControlGroup {
  std::filesystem::path folder;  // of its control files; need not exist
  bool unified;                  // version 2, which names its files differently
};

/// The groups in which `controller` ("cpu", "memory") may limit this process, in both versions: its
/// own and every ancestor, whose limits hold too. Inside a container the path may be the host's, of
/// which only the mounted top exists. `root`: where /proc and /sys are looked for.
std::vector<ControlGroup> control_groups(std::string_view controller,
                                         const std::filesystem::path& root);

}  // namespace longspan
