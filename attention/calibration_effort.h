// How much time measuring the machine may take.
#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace longspan {

/// Off: default_rates(). Quick: 5 seconds at most on a machine that attends at all. Full: more
/// points, each longer, 2 minutes at most.
enum class CalibrationEffort { kOff, kQuick, kFull };

inline constexpr std::array kCalibrationEfforts{CalibrationEffort::kOff, CalibrationEffort::kQuick,
                                                CalibrationEffort::kFull};

/// "off", "quick", "full".
constexpr std::string_view name(CalibrationEffort effort) {
  constexpr std::array<std::string_view, kCalibrationEfforts.size()> kNames{"off", "quick", "full"};
  return kNames[static_cast<std::size_t>(effort)];
}

/// Nothing for another word.
constexpr std::optional<CalibrationEffort> parse_calibration_effort(std::string_view word) {
  for (CalibrationEffort effort : kCalibrationEfforts) {
    if (name(effort) == word) return effort;
  }
  return std::nullopt;
}

}  // namespace longspan
