// A drawing of shares over a size: lines in one self-contained SVG, which needs no script and
// follows the reader's light or dark scheme.
//
//   100 % |- - - - - - - - - - -   --- ring
//         |        .--o----o       --- all-gather
//         |    o--'
//     0 % +----+----+----+----+
//          128  256  512  1024     (logarithmic)
#pragma once

#include <string>
#include <vector>

namespace longspan {

struct PlotPoint {
  double size = 1;   // above 0
  double share = 0;  // 1 is the top line
};

struct PlotLine {
  std::string name;
  std::vector<PlotPoint> points;  // in any order
};

struct SharePlot {
  std::string title;
  std::string note;  // one line under the title
  std::string size_label;
  std::string share_label;
  std::vector<PlotLine> lines;
};

/// An SVG document. Shares above 1.1 are drawn at the upper edge.
std::string svg_of(const SharePlot& plot);

}  // namespace longspan
