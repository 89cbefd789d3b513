// What a session's index says comes back as it went, and nothing else is taken for one.
#include "runtime/session/session_index.h"

#include <gmock/gmock.h>

#include <cstring>
#include <functional>
#include <limits>
#include <string>

#include "comm/crc32c.h"
#include "comm/error.h"
#include "tests/runtime/session/some_session.h"

namespace longspan {
namespace {

/// With parts that add up; nothing is on the disk.
SessionIndex whole_index() {
  SessionIndex index = test::some_index(9);
  index.parts = {{.rank = 0, .heads = {0, 2}, .pages = {{0, 1}, {1, 2}, {2, 3}}},
                 {.rank = 1, .heads = {2, 1}, .pages = {{0, 4}, {1, 5}, {2, 6}}}};
  return index;
}

void expect_refused(const SessionIndex& index, const std::string& word) {
  try {
    (void)decoded(encoded(index), "x.session");
    ADD_FAILURE() << "taken: " << word;
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    EXPECT_TRUE(std::string(error.what()).starts_with("x.session: ")) << error.what();
  }
}

TEST(SessionIndexTest, ComesBackAsItWent) {
  const SessionIndex index = whole_index();
  const SessionIndex again = decoded(encoded(index), "x");
  EXPECT_EQ(again.generation, index.generation);
  EXPECT_EQ(again.saved_at, index.saved_at);
  EXPECT_EQ(again.model, index.model);
  EXPECT_EQ(again.terms, index.terms);
  EXPECT_EQ(again.page_tokens, index.page_tokens);
  EXPECT_EQ(again.tokens, index.tokens);
  EXPECT_EQ(again.computed, index.computed);
  ASSERT_EQ(again.messages.size(), 2u);
  EXPECT_EQ(again.messages[1].role, "assistant");
  EXPECT_EQ(again.messages[1].content, "Ho");
  ASSERT_EQ(again.parts.size(), 2u);
  EXPECT_EQ(again.parts[1].heads, (Slice{2, 1}));
  EXPECT_EQ(again.parts[1].pages[2].crc, 6u);
  EXPECT_EQ(again.part_bytes(), index.part_bytes());
}

// Files of people lie on disks: other bytes need another version.
TEST(SessionIndexTest, BytesOfTheVersionStayAsTheyAre) {
  const std::vector<std::byte> file = encoded(whole_index());
  EXPECT_EQ(file.size(), 443u);
  EXPECT_EQ(crc32c(file), 0xe17bac67u);
  EXPECT_EQ(crc32c(part_header(whole_index(), 1)), 0xa824c259u);
}

TEST(SessionIndexTest, OfNothingComputedNeedsNoPages) {
  SessionIndex index = test::some_index(1);
  index.computed = 0;
  EXPECT_EQ(decoded(encoded(index), "x").tokens, index.tokens);
  index.tokens.clear();
  EXPECT_TRUE(decoded(encoded(index), "x").tokens.empty());
}

TEST(SessionIndexTest, CutAnywhereItIsRefused) {
  const std::vector<std::byte> file = encoded(whole_index());
  for (std::size_t bytes = 0; bytes < file.size(); ++bytes) {
    EXPECT_THROW((void)decoded(std::span(file).first(bytes), "x"), DataError) << bytes;
  }
  std::vector<std::byte> longer = file;
  longer.push_back({});
  EXPECT_THROW((void)decoded(longer, "x"), DataError);
}

TEST(SessionIndexTest, AFlippedBitAnywhereIsNoticed) {
  std::vector<std::byte> file = encoded(whole_index());
  for (std::size_t at = 0; at < file.size(); ++at) {
    for (const std::byte bit : {std::byte{1}, std::byte{0x80}}) {
      file[at] ^= bit;
      EXPECT_THROW((void)decoded(file, "x"), DataError) << at;
      file[at] ^= bit;
    }
  }
  EXPECT_NO_THROW((void)decoded(file, "x"));
}

// With a right size and checksum: made by somebody who knows how, as are those below.
TEST(SessionIndexTest, WhatSaysThatMoreFollowsIsRefused) {
  const std::vector<std::byte> whole = encoded(whole_index());
  for (std::uint64_t bytes = 24; bytes < whole.size(); ++bytes) {
    std::vector<std::byte> file(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(bytes));
    std::memcpy(file.data() + 16, &bytes, sizeof(bytes));
    const std::uint32_t crc = crc32c(std::span(file).subspan(16));
    std::memcpy(file.data() + 12, &crc, sizeof(crc));
    EXPECT_THAT([&] { (void)decoded(file, "x"); },
                testing::ThrowsMessage<DataError>(testing::HasSubstr("x: the session is damaged")))
        << bytes;
  }
}

TEST(SessionIndexTest, WhatDoesNotAddUpIsRefused) {
  const auto with = [](const std::function<void(SessionIndex&)>& change) {
    SessionIndex index = whole_index();
    change(index);
    return index;
  };
  constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();
  expect_refused(with([](auto& i) { i.computed = 24; }), "24 of its 23 tokens");
  expect_refused(with([](auto& i) { i.computed = -1; }), "-1 of its 23 tokens");
  expect_refused(with([](auto& i) { i.tokens[3] = -5; }), "a token is -5");
  expect_refused(with([](auto& i) { i.page_tokens = 0; }), "pages have 0 tokens");
  expect_refused(with([](auto& i) { i.page_tokens = kHuge; }), "its pages have");
  expect_refused(with([](auto& i) { i.terms.layers = 0; }), "a size of the model is 0");
  expect_refused(with([](auto& i) { i.terms.head_dim = 1 << 30; }), "a size of the model");
  expect_refused(with([](auto& i) { i.terms.kv_type = static_cast<KvType>(9); }), "number 9");
  expect_refused(with([](auto& i) { i.parts[0].pages.pop_back(); }), "page 2 of its 3");
  expect_refused(with([](auto& i) { i.parts.pop_back(); }), "page 0 of its 3");
  expect_refused(with([](auto& i) { i.parts[1].pages[1].number = 0; }), "in disorder");
  expect_refused(with([](auto& i) { i.parts[1].pages[2].number = kHuge; }), "page 2 of its 3");
  expect_refused(with([](auto& i) { i.parts[1].pages[0].number = -1; }), "page 0 of its 3");
  expect_refused(with([](auto& i) { i.parts[1].heads = {1, 2}; }), "page 0 of its 3");
  expect_refused(with([](auto& i) { i.parts[1].heads = {2, 2}; }), "wrote heads 2 to 3 of 3");
  expect_refused(with([](auto& i) { i.parts[1].heads.count = 1 << 30; }), "wrote heads");
  expect_refused(with([](auto& i) { i.parts[1].rank = 0; }), "a rank has two parts");
  expect_refused(with([](auto& i) { i.parts[1].rank = -1; }), "rank -1 wrote");
  expect_refused(with([](auto& i) { i.parts[0].pages.push_back({3, 0}); }), "is not there once");
}

}  // namespace
}  // namespace longspan
