#include "comm/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

#include "comm/str.h"

namespace longspan {
namespace {

spdlog::level::level_enum native(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

// The one logger of the process. Its own lock orders lines of several threads.
spdlog::logger& logger() {
  static spdlog::logger the_logger = [] {
    spdlog::logger made("longspan", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made.set_level(spdlog::level::warn);
    made.set_pattern("%H:%M:%S.%e %l: %v");
    return made;
  }();
  return the_logger;
}

}  // namespace

void start_log(LogLevel threshold, int rank, int size) {
  logger().set_level(native(threshold));
  logger().set_pattern(size > 1 ? str("%H:%M:%S.%e rank {} %l: %v", rank) : "%H:%M:%S.%e %l: %v");
}

void log(LogLevel level, std::string_view message) { logger().log(native(level), message); }

}  // namespace longspan
