#include "launch/bench/share_plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "comm/str.h"

namespace longspan {
namespace {

// Pixels.
constexpr double kLeft = 70, kTop = 70, kWidth = 560, kHeight = 360, kBelow = 60;
constexpr double kLegendLeft = kLeft + kWidth + 30, kLegendWidth = 290, kLegendStep = 20;

constexpr double kHighestShare = 1.1;
constexpr int kMostTicks = 12;

/// Told apart by colour, then by dashes. (The colours are Okabe and Ito's, for all eyes.)
constexpr std::array<std::string_view, 7> kColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                      "#e69f00", "#56b4e9", "#8a8a8a"};
constexpr std::array<std::string_view, 5> kDashes = {"none", "7 3", "2 3", "9 3 2 3", "1 5"};

constexpr std::string_view kStyle = R"(<style>
  svg { background: #ffffff; color: #1c1c1c; font: 13px system-ui, sans-serif; }
  text { fill: currentColor; }
  .title { font-size: 16px; font-weight: 600; }
  .note { font-size: 11px; opacity: 0.75; }
  .frame { fill: none; stroke: currentColor; }
  .grid { stroke: currentColor; opacity: 0.15; }
  .ideal { stroke: currentColor; opacity: 0.6; stroke-dasharray: 4 4; }
  @media (prefers-color-scheme: dark) { svg { background: #16181c; color: #e8e8e8; } }
</style>
)";

std::string escaped(std::string_view text) {
  std::string out;
  for (char letter : text) {
    switch (letter) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += letter;
    }
  }
  return out;
}

/// Where sizes and shares lie in the drawing.
class Axes {
 public:
  explicit Axes(const std::vector<PlotLine>& lines) {
    double least = INFINITY, most = 0;
    for (const PlotLine& line : lines) {
      for (const PlotPoint& point : line.points) {
        least = std::min(least, point.size);
        most = std::max(most, point.size);
      }
    }
    if (most == 0) least = most = 1;
    first_ = std::floor(std::log2(least));
    last_ = std::max(std::ceil(std::log2(most)), first_ + 1);
  }

  double x(double size) const {
    return kLeft + kWidth * (std::log2(size) - first_) / (last_ - first_);
  }
  static double y(double share) {
    return kTop + kHeight * (1 - std::clamp(share, 0.0, kHighestShare) / kHighestShare);
  }
  /// Powers of two, so few that their labels do not meet.
  std::vector<double> ticks() const {
    std::vector<double> sizes;
    const double step = std::ceil((last_ - first_) / kMostTicks);
    for (double power = first_; power <= last_; power += step) sizes.push_back(std::exp2(power));
    return sizes;
  }

 private:
  double first_, last_;  // powers of two
};

std::string grid(const SharePlot& plot, const Axes& axes) {
  const double right = kLeft + kWidth, bottom = kTop + kHeight;
  std::string out;
  for (double size : axes.ticks()) {
    const double x = axes.x(size);
    out +=
        str("<line class=\"grid\" x1=\"{0:.1f}\" y1=\"{1}\" x2=\"{0:.1f}\" y2=\"{2}\"/>\n"
            "<text x=\"{0:.1f}\" y=\"{3}\" text-anchor=\"middle\">{4}</text>\n",
            x, kTop, bottom, bottom + 18, size);
  }
  for (int percent = 0; percent <= 100; percent += 20) {
    const double y = Axes::y(percent / 100.0);
    out +=
        str("<line class=\"{0}\" x1=\"{1}\" y1=\"{2:.1f}\" x2=\"{3}\" y2=\"{2:.1f}\"/>\n"
            "<text x=\"{4}\" y=\"{5:.1f}\" text-anchor=\"end\">{6} %</text>\n",
            percent == 100 ? "ideal" : "grid", kLeft, y, right, kLeft - 8, y + 4, percent);
  }
  out += str("<rect class=\"frame\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>\n", kLeft, kTop,
             kWidth, kHeight);
  out += str("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", kLeft + kWidth / 2,
             bottom + 42, escaped(plot.size_label));
  out +=
      str("<text x=\"18\" y=\"{0}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {0})\">{1}"
          "</text>\n",
          kTop + kHeight / 2, escaped(plot.share_label));
  return out;
}

std::string line_svg(PlotLine line, std::size_t index, const Axes& axes) {
  std::ranges::stable_sort(line.points, {}, &PlotPoint::size);
  const std::string_view colour = kColours[index % kColours.size()];
  const std::string_view dashes = kDashes[index / kColours.size() % kDashes.size()];
  std::string path, dots;
  for (const PlotPoint& point : line.points) {
    const double x = axes.x(point.size), y = Axes::y(point.share);
    path += str("{}{:.1f},{:.1f}", path.empty() ? "" : " ", x, y);
    dots +=
        str("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"><title>{}: {:g}, {:.1f} %</title>"
            "</circle>\n",
            x, y, escaped(line.name), point.size, 100 * point.share);
  }
  const std::string stroke =
      str("stroke=\"{}\" stroke-width=\"2\" stroke-dasharray=\"{}\"", colour, dashes);
  const double y = kTop + 8 + kLegendStep * static_cast<double>(index);
  return str(
      "<polyline points=\"{}\" fill=\"none\" {}/>\n<g fill=\"{}\">\n{}</g>\n"
      "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" {}/>\n<text x=\"{}\" y=\"{}\">{}</text>\n",
      path, stroke, colour, dots, kLegendLeft, y, kLegendLeft + 30, y, stroke, kLegendLeft + 38,
      y + 4, escaped(line.name));
}

}  // namespace

std::string svg_of(const SharePlot& plot) {
  const Axes axes(plot.lines);
  const double legend = kLegendStep * (static_cast<double>(plot.lines.size()) + 1);
  const double width = kLegendLeft + kLegendWidth,
               height = kTop + std::max(kHeight, legend) + kBelow;
  std::string out =
      str("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
          "height=\"{1}\" role=\"img\">\n<title>{2}</title>\n",
          width, height, escaped(plot.title));
  out += kStyle;
  out += str("<text class=\"title\" x=\"{}\" y=\"28\">{}</text>\n", kLeft, escaped(plot.title));
  out += str("<text class=\"note\" x=\"{}\" y=\"48\">{}</text>\n", kLeft, escaped(plot.note));
  out += grid(plot, axes);
  for (std::size_t i = 0; i < plot.lines.size(); ++i) out += line_svg(plot.lines[i], i, axes);
  return out + "</svg>\n";
}

}  // namespace longspan
