// How long a step takes in which a group computes one token of each of its requests.
//
//   D = e + h(most rows of a master) + layers (g most keys of an instance + exchange)
//
// Products of few rows read all weights whatever their number, those of many are bound by
// arithmetic: h rises slowly, then straight (DistServe, arXiv 2401.09670, section 3.2), and is kept
// as points with lines between.
#pragma once

#include <cstdint>
#include <vector>

namespace longspan {

/// A step, by what its slowest members have to do.
struct DecodeShape {
  std::int64_t rows = 0;  // of the master that has most
  std::int64_t keys = 0;  // that one instance attends, over all rows
  /// That a master exchanges with holders of its rows' keys, in a layer; nothing where every row's
  /// keys are its master's.
  std::int64_t exchanged_bytes = 0;
};

struct DecodeCost {
  struct Point {
    std::int64_t rows = 0;
    double seconds = 0;
  };

  double fixed = 0;            // e, seconds
  std::vector<Point> of_rows;  // h, by rising rows; beyond the last as between the last two
  double per_key = 0;          // g, seconds a key and layer
  int layers = 1;
  double latency = 0;      // of a message, seconds
  double bytes_per_s = 0;  // of a link; 0: no exchange is priced

  double seconds(const DecodeShape& step) const;
};

}  // namespace longspan
