// The numbers that a request may ask for. One table for the command line, generation_config.json
// and whatever else names them; each breach is refused where the number comes in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "comm/str.h"

namespace longspan {

/// [least, most], or (least, most].
struct RealRange {
  double least = 0;
  double most = 1;
  bool above_least = false;

  /// False for NaN.
  constexpr bool holds(double x) const {
    return (above_least ? x > least : x >= least) && x <= most;
  }
  std::string text() const {
    if (above_least) return str("a number above {} and up to {}", least, most);
    return str("a number from {} to {}", least, most);
  }
};

inline constexpr RealRange kTemperatures{0, 2};
inline constexpr RealRange kTopPs{0, 1, true};
inline constexpr RealRange kMinPs{0, 1};
inline constexpr RealRange kRepetitionPenalties{0, 10, true};
inline constexpr RealRange kPenalties{-2, 2};  // presence and frequency
inline constexpr RealRange kBiases{-100, 100};

inline constexpr std::size_t kMostStopTexts = 16;
inline constexpr std::size_t kMostStopTextBytes = 256;
inline constexpr std::size_t kMostStopIds = 64;
inline constexpr std::size_t kMostBiases = 1024;

}  // namespace longspan
