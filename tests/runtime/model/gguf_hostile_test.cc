// Files made to hurt: whatever the bytes, opening a model gives a model or an Error.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "comm/error.h"
#include "runtime/model/gguf.h"
#include "runtime/model/model_config.h"
#include "runtime/model/tokenizer.h"
#include "tests/runtime/model/gguf_writer.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"

namespace longspan {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint32_t kUint8 = 0, kInt32 = 5, kBool = 7, kString = 8, kArray = 9;

/// A small model, quick to open thousands of times.
test::GgufWriter small_model() {
  return test::TinyLlama{.layers = 1, .hidden = 32, .heads = 2, .kv_heads = 1, .ffn = 32}.writer();
}

class GgufHostileTest : public ::testing::Test {
 protected:
  /// All a model file is read for at start-up.
  void open_all() {
    const GgufFile file(path_);
    read_model_config(file);
    Tokenizer tokenizer(file);
    tokenizer.decode(tokenizer.encode("Hello 12 the <|endoftext|>!"));
  }
  /// The message of the Error; "accepted" without one. Any other exception fails the test.
  std::string outcome() {
    try {
      open_all();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData) << error.what();
      EXPECT_THAT(error.what(), AllOf(HasSubstr("model.gguf"), Not(HasSubstr("\n"))));
      return error.what();
    }
    return "accepted";
  }
  std::string outcome(std::string_view bytes) {
    test::write_file(path_, bytes);
    return outcome();
  }
  std::string outcome(const test::GgufWriter& writer) { return outcome(writer.bytes()); }

  test::TemporaryDirectory directory_;
  const std::filesystem::path path_ = directory_ / "model.gguf";
};

TEST_F(GgufHostileTest, TheUntouchedFileIsAccepted) {
  EXPECT_EQ(outcome(small_model()), "accepted");
}

TEST_F(GgufHostileTest, AFileCutAnywhereInItsHeaderIsRefused) {
  const test::GgufWriter writer = small_model();
  writer.write(path_);
  std::filesystem::resize_file(path_, writer.header().size());
  for (std::size_t bytes = writer.header().size() + 1; bytes-- > 0;) {
    std::filesystem::resize_file(path_, bytes);
    ASSERT_NE(outcome(), "accepted") << "cut to " << bytes;
  }
}

TEST_F(GgufHostileTest, AFileCutInItsDataIsRefused) {
  const test::GgufWriter writer = small_model();
  writer.write(path_);
  const std::vector<TensorInfo> tensors = GgufFile(path_).tensors();
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 1);
  EXPECT_THAT(outcome(), AllOf(HasSubstr("truncated"), HasSubstr("download it again")));
  for (auto tensor = tensors.rbegin(); tensor != tensors.rend(); ++tensor) {
    for (const std::uint64_t bytes : {tensor->offset + tensor->bytes - 1, tensor->offset}) {
      std::filesystem::resize_file(path_, bytes);
      ASSERT_THAT(outcome(), HasSubstr("truncated")) << "cut to " << bytes;
    }
  }
}

TEST_F(GgufHostileTest, AnyByteOfTheHeaderMayBeWrong) {
  const test::GgufWriter writer = small_model();
  const std::string header = writer.header();
  writer.write(path_);
  std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
  const auto put = [&](std::size_t at, char byte) {
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte).flush();
  };
  for (std::size_t at = 0; at < header.size(); ++at) {
    for (const int flip : {0xff, 0x80, 0x01}) {
      put(at, static_cast<char>(header[at] ^ flip));
      ASSERT_NO_FATAL_FAILURE(outcome()) << "byte " << at << " flipped by " << flip;
    }
    put(at, header[at]);
  }
  EXPECT_EQ(outcome(), "accepted");
}

TEST_F(GgufHostileTest, CountsAreCheckedBeforeAnythingIsAllocated) {
  const std::string start = "GGUF" + test::encoded(std::uint32_t{3});
  const std::string padding(4096, '\0');
  for (const std::uint64_t count : {kHuge, std::uint64_t{1} << 40, std::uint64_t{100'000}}) {
    const std::string number = test::encoded(count), zero = test::encoded(std::uint64_t{0});
    EXPECT_THAT(outcome(start + number + zero + padding), HasSubstr("tensors, but"));
    EXPECT_THAT(outcome(start + zero + number + padding), HasSubstr("keys, but"));
  }
}

TEST_F(GgufHostileTest, LengthsAreComparedWithWhatIsLeft) {
  for (const std::uint64_t length : {kHuge, kHuge / 2, std::uint64_t{1} << 33}) {
    test::GgufWriter writer = small_model();
    writer.set_raw("a.text", kString, test::encoded(length));
    EXPECT_THAT(outcome(writer), HasSubstr("key a.text: needs " + std::to_string(length)));
    writer.set_raw("a.text", kArray, test::encoded(kString) + test::encoded(length));
    EXPECT_THAT(outcome(writer), HasSubstr("key a.text: announces " + std::to_string(length)));
    writer.set_raw("a.text", kArray, test::encoded(kInt32) + test::encoded(length));
    EXPECT_THAT(outcome(writer), HasSubstr("key a.text: announces " + std::to_string(length)));
  }
}

/// A file of one key; what its value lacks may follow as a hole.
std::string start_of_one_key(const std::string& value) {
  return "GGUF" + test::encoded(std::uint32_t{3}) + test::encoded(std::uint64_t{0}) +
         test::encoded(std::uint64_t{1}) + test::encoded_string("a.key") + value;
}

TEST_F(GgufHostileTest, AnArrayOfTooManyElementsIsRefusedEvenIfTheyAreThere) {
  test::write_file(path_, start_of_one_key(test::encoded(kArray) + test::encoded(kUint8) +
                                           test::encoded(std::uint64_t{(1 << 24) + 1})));
  std::filesystem::resize_file(path_, 200 << 20);
  EXPECT_THAT(outcome(), HasSubstr("key a.key: announces 16777217 array elements"));
}

TEST_F(GgufHostileTest, AHeaderOfMoreThanAHundredMebibytesIsRefused) {
  test::write_file(
      path_, start_of_one_key(test::encoded(kString) + test::encoded(std::uint64_t{101 << 20})));
  std::filesystem::resize_file(path_, 200 << 20);
  EXPECT_THAT(outcome(), HasSubstr("a header has at most 104857600 bytes"));
}

TEST_F(GgufHostileTest, NestedArraysUnknownTypesAndOddTruthValuesAreRefused) {
  test::GgufWriter writer = small_model();
  std::string nested;
  for (int depth = 0; depth < 1000; ++depth) {
    nested += test::encoded(kArray) + test::encoded(std::uint64_t{1});
  }
  writer.set_raw("a.value", kArray, nested);
  EXPECT_THAT(outcome(writer), HasSubstr("a.value: is an array of arrays"));
  writer.set_raw("a.value", 13, "");
  EXPECT_THAT(outcome(writer), HasSubstr("a.value: has unknown value type 13"));
  writer.set_raw("a.value", kBool, "\x02");
  EXPECT_THAT(outcome(writer), HasSubstr("a.value: is a truth value of 2"));
}

TEST_F(GgufHostileTest, NamesMustBePrintableShortAndUnique) {
  test::GgufWriter writer = small_model();
  writer.set_uint32("a\nb", 1);
  EXPECT_THAT(outcome(writer), HasSubstr("'a\\x0ab'"));
  writer.remove("a\nb");
  writer.set_uint32(std::string(513, 'k'), 1);
  EXPECT_THAT(outcome(writer), HasSubstr("(513 bytes)"));
  writer.remove(std::string(513, 'k'));
  writer.tensor("output.weight").name = "";
  EXPECT_THAT(outcome(writer), HasSubstr("the name of a tensor is ''"));
  writer.tensor("").name = "output_norm.weight";
  EXPECT_THAT(outcome(writer), HasSubstr("tensor output_norm.weight: occurs twice"));
}

TEST_F(GgufHostileTest, ADuplicateKeyIsRefused) {
  const std::string key = test::encoded_string("a.key") + test::encoded(kBool) + "\x01";
  EXPECT_THAT(outcome("GGUF" + test::encoded(std::uint32_t{3}) + test::encoded(std::uint64_t{0}) +
                      test::encoded(std::uint64_t{2}) + key + key),
              HasSubstr("key a.key: occurs twice"));
}

TEST_F(GgufHostileTest, ShapesWhoseProductOverflowsAreRefused) {
  const std::vector<std::vector<std::int64_t>> shapes{
      {std::int64_t{1} << 62, 4},
      {std::int64_t{1} << 32, std::int64_t{1} << 32},
      {std::int64_t{1} << 16, std::int64_t{1} << 16, std::int64_t{1} << 16, std::int64_t{1} << 16},
      {(std::int64_t{1} << 57)},
      {-1, 32},
      {32, 0},
      {0},
  };
  for (const auto& shape : shapes) {
    test::GgufWriter writer = small_model();
    writer.tensor("output.weight").shape = shape;
    EXPECT_THAT(outcome(writer), HasSubstr("tensor output.weight: has a dimension of "));
  }
}

TEST_F(GgufHostileTest, RanksOutsideOneToFourAreRefused) {
  test::GgufWriter writer = small_model();
  writer.tensor("output.weight").shape = {};
  EXPECT_THAT(outcome(writer), HasSubstr("output.weight: has 0 dimensions"));
  writer.tensor("output.weight").shape = {1, 1, 1, 1, 32};
  EXPECT_THAT(outcome(writer), HasSubstr("output.weight: has 5 dimensions"));
}

TEST_F(GgufHostileTest, TensorsOutsideTheFileUnalignedOrOverlappingAreRefused) {
  test::GgufWriter writer = small_model();
  auto& output = writer.tensor("output.weight");
  for (const std::uint64_t offset : {kHuge - 31, std::uint64_t{1} << 63, std::uint64_t{1} << 40}) {
    output.offset = offset;
    EXPECT_THAT(outcome(writer), AllOf(HasSubstr("tensor output.weight: needs "),
                                       HasSubstr("truncated, download it again")));
  }
  output.offset = 33;
  EXPECT_THAT(outcome(writer), HasSubstr("no multiple of the file's alignment 32"));
  output.offset = 32;
  EXPECT_THAT(outcome(writer), HasSubstr("overlaps tensor"));
}

TEST_F(GgufHostileTest, RowsThatAreNoWholeBlocksAreRefused) {
  test::GgufWriter writer;
  const std::vector<float> values(96);
  writer.add_tensor("t", TensorType::kQ8_0, {2, 48}, values);
  EXPECT_THAT(outcome(writer), HasSubstr("tensor t: has rows of 48 values"));
}

TEST_F(GgufHostileTest, OddAlignmentsAreRefused) {
  test::GgufWriter writer = small_model();
  for (const std::uint32_t alignment : {0u, 1u, 4u, 33u, 131072u, 0xffffffffu}) {
    writer.set_uint32("general.alignment", alignment);
    EXPECT_THAT(outcome(writer), HasSubstr("general.alignment is " + std::to_string(alignment)));
  }
  writer.set_string("general.alignment", "32");
  EXPECT_THAT(outcome(writer), HasSubstr("general.alignment is a string"));
}

}  // namespace
}  // namespace longspan
