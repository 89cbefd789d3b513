#include "launch/version.h"

#include "comm/str.h"

namespace longspan {

std::string build_name() { return str("{} {}", LONGSPAN_VERSION, LONGSPAN_COMMIT); }

std::string version_text(std::span<const std::string> libraries) {
  std::string text = str("longspan {} (commit {}, {}, compiler {})\n", LONGSPAN_VERSION,
                         LONGSPAN_COMMIT, LONGSPAN_BUILD_TYPE, LONGSPAN_COMPILER);
  for (const std::string& library : libraries) text += library + "\n";
  return text;
}

}  // namespace longspan
