// Whether a rank's compute threads keep to cores of their own.
#pragma once

namespace longspan {

/// Auto: where several ranks share a host and nobody else has bound them (cpu/core_share.h). None:
/// they run where the launcher lets them.
enum class Binding { kAuto, kNone };

}  // namespace longspan
