#include "runtime/engine/page_names.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <span>

namespace longspan {
namespace {

std::vector<TokenId> counted(std::int64_t count) {
  std::vector<TokenId> tokens(count);
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

TEST(PageNamesTest, OnlyFullPagesHaveNames) {
  for (std::int64_t page : {1, 4, 16}) {
    const PageNames names(page);
    for (std::int64_t count : {std::int64_t{0}, page - 1, page, page + 1, 3 * page - 1, 3 * page}) {
      EXPECT_EQ(std::ssize(names.of(counted(count), "")), count / page) << page << ' ' << count;
    }
  }
}

TEST(PageNamesTest, ATextThatGrowsHasTheNamesOfTheWhole) {
  const std::vector<TokenId> tokens = counted(50);
  for (std::int64_t unit : {1, 3}) {
    const PageNames names(4, unit);
    for (std::size_t prompt : {0, 1, 11, 12, 13, 50}) {
      PageNames::Chain chain = names.begin("salt");
      auto list = names.go_on(chain, std::span(tokens).first(prompt));
      for (const TokenId& token : std::span(tokens).subspan(prompt)) {
        const auto more = names.go_on(chain, {&token, 1});
        list.insert(list.end(), more.begin(), more.end());
      }
      EXPECT_EQ(list, names.of(tokens, "salt")) << prompt << " and then one by one";
    }
  }
}

TEST(PageNamesTest, PagesAreNamedByTheWholeUnitsTheyAreIn) {
  const PageNames names(4, 3);
  const std::vector<TokenId> tokens = counted(40);
  const auto first = names.of(tokens, "");
  EXPECT_EQ(std::set(first.begin(), first.end()).size(), 9u) << "three units of twelve";
  EXPECT_EQ(names.of(counted(11), "").size(), 0u);
  for (std::size_t changed = 0; changed < tokens.size(); ++changed) {
    std::vector<TokenId> others = tokens;
    others[changed] += 1000;
    const auto second = names.of(others, "");
    for (std::size_t page = 0; page < 9; ++page) {
      EXPECT_EQ(second[page] == first[page], page / 3 < changed / 12) << changed << ' ' << page;
    }
  }
}

TEST(PageNamesTest, PromptsThatBeginAlikeHaveTheSameNamesUpToWhereTheyDiffer) {
  const PageNames names(4);
  const std::vector<TokenId> tokens = counted(20);
  const auto first = names.of(tokens, "");
  EXPECT_EQ(names.of(tokens, ""), first);
  EXPECT_EQ(std::set(first.begin(), first.end()).size(), 5u);
  for (std::size_t changed = 0; changed < tokens.size(); ++changed) {
    std::vector<TokenId> others = tokens;
    others[changed] += 1000;
    const auto second = names.of(others, "");
    for (std::size_t page = 0; page < 5; ++page) {
      EXPECT_EQ(second[page] == first[page], page < changed / 4) << changed << ' ' << page;
    }
  }
}

// The same tokens behind others are another page.
TEST(PageNamesTest, EqualPagesInOtherPlacesHaveOtherNames) {
  const PageNames names(2);
  const auto repeated = names.of(std::vector<TokenId>{5, 6, 5, 6, 5, 6}, "");
  EXPECT_EQ(std::set(repeated.begin(), repeated.end()).size(), 3u);
}

TEST(PageNamesTest, SaltsAndProcessesShareNoName) {
  const PageNames names(4), of_another_process(4);
  const std::vector<TokenId> tokens = counted(8);
  std::set<PageHash> all;
  for (const char* salt : {"", "a", "ab", "length 8"}) {
    for (const PageHash& name : names.of(tokens, salt)) all.insert(name);
  }
  for (const PageHash& name : of_another_process.of(tokens, "")) all.insert(name);
  EXPECT_EQ(all.size(), 10u);
}

}  // namespace
}  // namespace longspan
