#include "launch/bench/share_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>
#include <vector>

namespace longspan {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

SharePlot plot_of(std::vector<PlotLine> lines) {
  return {.title = "A < B & C",
          .note = "note",
          .size_label = "tokens per rank",
          .share_label = "share of ideal",
          .lines = std::move(lines)};
}

/// What follows `before` in the text up to `end`, each time.
std::vector<std::string> parts(const std::string& text, const std::string& before, char end) {
  std::vector<std::string> found;
  for (auto at = text.find(before); at != std::string::npos; at = text.find(before, at)) {
    at += before.size();
    found.push_back(text.substr(at, text.find(end, at) - at));
  }
  return found;
}

/// The points of each line, in pixels.
std::vector<std::vector<PlotPoint>> drawn(const std::string& svg) {
  std::vector<std::vector<PlotPoint>> lines;
  for (const std::string& points : parts(svg, "<polyline points=\"", '"')) {
    std::istringstream in(points);
    PlotPoint point;
    char comma = 0;
    lines.emplace_back();
    while (in >> point.size >> comma >> point.share) lines.back().push_back(point);
  }
  return lines;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(SharePlotTest, NamesAxesLinesAndTitle) {
  const std::string svg = svg_of(plot_of({{"ring", {{128, 0.5}}}, {"a \"b\"", {{256, 1}}}}));
  EXPECT_TRUE(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
  EXPECT_THAT(svg, HasSubstr(">tokens per rank<"));
  EXPECT_THAT(svg, HasSubstr(">share of ideal<"));
  EXPECT_THAT(svg, HasSubstr(">ring<"));
  EXPECT_THAT(svg, HasSubstr("A &lt; B &amp; C"));
  EXPECT_THAT(svg, HasSubstr("a &quot;b&quot;"));
  EXPECT_THAT(svg, HasSubstr("prefers-color-scheme: dark"));
  EXPECT_THAT(svg, Not(HasSubstr("<script")));
}

TEST(SharePlotTest, EqualRatiosAreEqualDistances) {
  const auto lines = drawn(svg_of(plot_of({{"l", {{128, 0.2}, {256, 0.4}, {1024, 0.6}}}})));
  ASSERT_EQ(lines.size(), 1u);
  ASSERT_EQ(lines[0].size(), 3u);
  const auto& p = lines[0];
  EXPECT_NEAR(2 * (p[1].size - p[0].size), p[2].size - p[1].size, 0.2);  // 2 and 4 times
  EXPECT_NEAR(p[0].share - p[1].share, p[1].share - p[2].share, 0.2);    // equal steps, upwards
  EXPECT_GT(p[0].share, p[1].share);
}

TEST(SharePlotTest, PointsAreJoinedInOrderOfSize) {
  const auto lines = drawn(svg_of(plot_of({{"l", {{512, 0.1}, {2, 0.2}, {64, 0.3}}}})));
  ASSERT_EQ(lines[0].size(), 3u);
  EXPECT_TRUE(std::ranges::is_sorted(lines[0], {}, &PlotPoint::size));
}

TEST(SharePlotTest, WhateverTheShareItStaysInTheFrame) {
  const auto lines = drawn(svg_of(plot_of({{"l", {{1, -1}, {2, 0}, {3, 1}, {4, 50}}}})));
  const auto& p = lines[0];
  EXPECT_EQ(p[0].share, p[1].share);
  EXPECT_LT(p[2].share, p[1].share);
  EXPECT_LT(p[3].share, p[2].share);
  EXPECT_GE(p[3].share, 0);
}

TEST(SharePlotTest, OneSizeAndNoSizeAreDrawn) {
  const auto one = drawn(svg_of(plot_of({{"l", {{100.0 / 3, 0.5}}}})));
  ASSERT_EQ(one[0].size(), 1u);
  EXPECT_TRUE(std::isfinite(one[0][0].size));
  EXPECT_THAT(svg_of(plot_of({})), Not(HasSubstr("nan")));
  EXPECT_THAT(svg_of(plot_of({})), Not(HasSubstr("inf")));
}

TEST(SharePlotTest, ManyLinesCanBeToldApart) {
  std::vector<PlotLine> lines;
  for (int i = 0; i < 35; ++i) lines.push_back({"line " + std::to_string(i), {{1, 0.5}}});
  const std::string svg = svg_of(plot_of(lines));
  EXPECT_EQ(count(svg, "<polyline"), 35u);
  std::vector<std::string> strokes;
  for (const std::string& line : parts(svg, "<polyline ", '>')) {
    strokes.push_back(line.substr(line.find("stroke=")));
  }
  std::ranges::sort(strokes);
  EXPECT_EQ(std::ranges::adjacent_find(strokes), strokes.end());
}

TEST(SharePlotTest, TicksDoNotCrowd) {
  const std::string svg = svg_of(plot_of({{"l", {{1, 0.5}, {std::exp2(30), 0.5}}}}));
  EXPECT_LE(count(svg, "text-anchor=\"middle\">1"), 14u);
  EXPECT_THAT(svg, HasSubstr(">1</text>"));
}

}  // namespace
}  // namespace longspan
