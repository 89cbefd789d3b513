// Lines for whoever runs the program: time, rank, level, message, on stderr.
//
// Never prompts, output text or keys: ids, lengths and timings only.
#pragma once

#include <string_view>

namespace longspan {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

/// From now on lines below `threshold` are dropped, and the others name `rank` if there are
/// several. Until then: warnings and errors, without a rank.
void start_log(LogLevel threshold, int rank, int size);

void log(LogLevel level, std::string_view message);

}  // namespace longspan
