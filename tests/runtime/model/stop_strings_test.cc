#include "runtime/model/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

namespace longspan {
namespace {

/// Every way in which `text` can be taken to be cut already: where the first stop ends.
std::string cut(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const std::string& stop : stops) {
      if (text.substr(0, end).ends_with(stop)) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

TEST(StopStringsTest, WithoutStopsTextGoesStraightThrough) {
  StopStrings stops({});
  EXPECT_EQ(stops.push("abc"), "abc");
  EXPECT_EQ(stops.finish(), "");
  EXPECT_FALSE(stops.found());
}

TEST(StopStringsTest, AStopAcrossPiecesNeverShows) {
  StopStrings stops({"STOP"});
  EXPECT_EQ(stops.push("one S"), "one ");
  EXPECT_EQ(stops.push("TO"), "");
  EXPECT_EQ(stops.push("P two"), "");
  EXPECT_EQ(stops.found(), "STOP");
  EXPECT_EQ(stops.push("more"), "");
  EXPECT_EQ(stops.finish(), "");
}

TEST(StopStringsTest, WhatWasNoStopComesFree) {
  StopStrings stops({"STOP"});
  EXPECT_EQ(stops.push("STO"), "");
  EXPECT_EQ(stops.push("RE ST"), "STORE ");
  EXPECT_EQ(stops.finish(), "ST");
}

TEST(StopStringsTest, APieceThatDoesNotCountPassesWhole) {
  StopStrings stops({"STOP"});
  EXPECT_EQ(stops.pass("STOP S"), "STOP S");
  EXPECT_EQ(stops.push("TOP"), "TOP");
  EXPECT_FALSE(stops.found());
}

TEST(StopStringsTest, HoweverTextIsCutTheSameIsShown) {
  std::mt19937 random(4);
  const auto word = [&](int most) {
    std::string text;
    for (int i = 1 + static_cast<int>(random() % most); i > 0; --i) text += "ab"[random() % 2];
    return text;
  };
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::string> list;
    for (int i = static_cast<int>(random() % 4); i > 0; --i) list.push_back(word(5));
    const std::string text = word(20);
    StopStrings stops(list);
    std::string shown;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t count = 1 + random() % 4;
      shown += stops.push(text.substr(at, count));
      EXPECT_TRUE(cut(text, list).starts_with(shown)) << text;  // nothing has to be taken back
      at += count;
    }
    shown += stops.finish();
    ASSERT_EQ(shown, cut(text, list)) << text;
    ASSERT_EQ(stops.found().has_value(), shown != text);
  }
}

}  // namespace
}  // namespace longspan
