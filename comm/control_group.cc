#include "comm/control_group.h"

#include <fstream>
#include <string>

namespace longspan {
namespace {

namespace fs = std::filesystem;

void add_with_ancestors(std::vector<ControlGroup>& groups, const fs::path& mount, fs::path path,
                        bool unified) {
  for (;; path = path.parent_path()) {
    groups.push_back({mount / path.relative_path(), unified});
    if (!path.has_relative_path()) return;
  }
}

}  // namespace

std::vector<ControlGroup> control_groups(std::string_view controller, const fs::path& root) {
  const fs::path mount = root / "sys/fs/cgroup";
  const std::string wanted = "," + std::string(controller) + ",";
  std::vector<ControlGroup> groups;
  std::ifstream lines(root / "proc/self/cgroup");
  for (std::string line; std::getline(lines, line);) {  // id:controllers:path
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const fs::path path = line.substr(second + 1);
    if (controllers == ",,") add_with_ancestors(groups, mount, path, true);
    if (controllers.find(wanted) != std::string::npos) {
      add_with_ancestors(groups, mount / controller, path, false);
    }
  }
  return groups;
}

}  // namespace longspan
