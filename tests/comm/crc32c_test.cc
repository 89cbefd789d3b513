// CRC-32C against the values of RFC 3720, appendix B.4, and the instruction against the table.
#include "comm/crc32c.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <string_view>
#include <vector>

namespace longspan {
namespace {

ConstBytes bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(Crc32cTest, IsThatOfTheStandard) {
  std::vector<unsigned char> counted(32);
  std::iota(counted.begin(), counted.end(), 0);
  EXPECT_EQ(crc32c({}), 0u);
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xe3069283u);
  EXPECT_EQ(crc32c(std::vector<std::byte>(32)), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::vector<std::byte>(32, std::byte{0xff})), 0x62a8ab43u);
  EXPECT_EQ(crc32c(std::as_bytes(std::span(counted))), 0x46dd794eu);
}

TEST(Crc32cTest, TheInstructionAndTheTableAgreeWhereverBytesBeginAndEnd) {
  std::mt19937 random(1);
  std::vector<std::byte> bytes(300);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  for (std::size_t first = 0; first < 20; ++first) {
    for (std::size_t count = 0; count < 40; ++count) {
      const ConstBytes some = ConstBytes(bytes).subspan(first, count);
      EXPECT_EQ(crc32c(some), crc32c_by_table(some)) << first << ", " << count;
    }
  }
}

TEST(Crc32cTest, PiecesGiveWhatTheWholeGives) {
  const std::vector<std::byte> bytes(100, std::byte{7});
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    const ConstBytes all = bytes;
    EXPECT_EQ(crc32c(all.subspan(cut), crc32c(all.first(cut))), crc32c(all)) << cut;
  }
}

}  // namespace
}  // namespace longspan
