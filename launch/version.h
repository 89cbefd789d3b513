// What `longspan --version` says about this build.
#pragma once

#include <span>
#include <string>

namespace longspan {

/// Version, commit, build type and compiler on the first line, then one line per library.
std::string version_text(std::span<const std::string> libraries);

}  // namespace longspan
