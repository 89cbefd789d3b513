// What `longspan --version` says about this build.
#pragma once

#include <span>
#include <string>

namespace longspan {

/// "0.1.0 3f2a91c": the version, and the commit.
std::string build_name();

/// Version, commit, build type and compiler on the first line, then one line per library.
std::string version_text(std::span<const std::string> libraries);

}  // namespace longspan
