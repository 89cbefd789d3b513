// SHA-256 against the values of FIPS 180-4 and of sha256sum.
#include "runtime/model/sha256.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/runtime/model/temporary_directory.h"

namespace longspan {
namespace {

class Sha256Test : public testing::Test {
 protected:
  std::string digest_of(const std::string& content) {
    std::ofstream(directory_ / "file", std::ios::binary) << content;
    std::uint64_t read = 0;
    const std::string digest =
        hex(sha256_of(ModelFile(directory_ / "file"), [&](std::uint64_t bytes) { read += bytes; }));
    EXPECT_EQ(read, content.size());
    return digest;
  }

  test::TemporaryDirectory directory_;
};

TEST_F(Sha256Test, KnownTextsHaveTheirDigests) {
  EXPECT_EQ(digest_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(digest_of(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/// Files are hashed a MiB at a time: at, before and behind that.
TEST_F(Sha256Test, AFileOfSeveralPiecesIsHashedWhole) {
  const std::string zeros = "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58";
  EXPECT_EQ(digest_of(std::string(1 << 20, '\0')), zeros);
  EXPECT_EQ(digest_of(std::string((1 << 20) - 1, '\0')),
            "ca7ed0c4a8e67cbdc461c4cb0d286d2fabbd9f0c41a7f42b665f72ebaa8aec56");
  EXPECT_EQ(digest_of(std::string((1 << 20) + 1, '\0')),
            "2cb74edba754a81d121c9db6833704a8e7d417e5b13d1a19f4a52f007d644264");
}

TEST_F(Sha256Test, OnlySixtyFourLowerCaseDigitsAreADigest) {
  const std::string digits = hex({1, 0x2f, 0xff});
  EXPECT_EQ(digits.substr(0, 8), "012fff00");
  EXPECT_EQ(parse_sha256(digits), (Sha256{1, 0x2f, 0xff}));
  EXPECT_EQ(shortened({1, 0x2f, 0xff}), "012fff000000");
  for (const std::string& wrong :
       {std::string(), digits + "0", digits.substr(1), "F" + digits.substr(1),
        "g" + digits.substr(1), " " + digits.substr(1)}) {
    EXPECT_EQ(parse_sha256(wrong), std::nullopt) << wrong;
  }
}

}  // namespace
}  // namespace longspan
