#include "runtime/model/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "comm/error.h"
#include "tests/runtime/model/gguf_writer.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"

namespace longspan {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

class GgufTest : public ::testing::Test {
 protected:
  /// What opening a file of these bytes throws.
  std::string refusal(std::string_view bytes) {
    test::write_file(path_, bytes);
    try {
      GgufFile file(path_);
    } catch (const DataError& error) {
      return error.what();
    }
    return "accepted";
  }
  std::string refusal(const test::GgufWriter& writer) { return refusal(writer.bytes()); }

  GgufFile opened(const test::GgufWriter& writer) {
    writer.write(path_);
    return GgufFile(path_);
  }

  test::TemporaryDirectory directory_;
  const std::filesystem::path path_ = directory_ / "model.gguf";
};

TEST_F(GgufTest, KeysComeBackWithTheirValues) {
  test::GgufWriter writer;
  writer.set_uint32("a.count", 4000000000);
  writer.set_uint64("a.large", ~std::uint64_t{0});
  writer.set_float("a.float", 0.5f);
  writer.set_bool("a.truth", true);
  writer.set_string("a.text", "line\nbreak");
  writer.set_strings("a.words", {"x", "", "yz"});
  writer.set_int32s("a.numbers", {-1, 7});
  const GgufFile file = opened(writer);
  EXPECT_EQ(file.require_int("a.count"), 4000000000);
  EXPECT_EQ(file.find_float("a.float"), 0.5);
  EXPECT_EQ(file.find_bool("a.truth"), true);
  EXPECT_EQ(file.require_string("a.text"), "line\nbreak");
  EXPECT_EQ(*file.find_strings("a.words"), (std::vector<std::string>{"x", "", "yz"}));
  EXPECT_EQ(*file.find_ints("a.numbers"), (std::vector<std::int64_t>{-1, 7}));
  EXPECT_EQ(file.find_int("absent"), std::nullopt);
  EXPECT_EQ(file.find_strings("absent"), nullptr);
  EXPECT_THAT([&] { file.find_int("a.large"); },
              ThrowsMessage<DataError>(HasSubstr("a.large is 18446744073709551615")));
}

TEST_F(GgufTest, AKeyOfAnotherTypeOrAMissingOneIsNamed) {
  test::GgufWriter writer;
  writer.set_string("a.text", "x");
  writer.set_int32s("a.numbers", {1});
  const GgufFile file = opened(writer);
  EXPECT_THAT([&] { file.require_int("a.text"); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("model.gguf"), HasSubstr("a.text"),
                                             HasSubstr("is a string; expected an integer"))));
  EXPECT_THAT(
      [&] { file.find_strings("a.numbers"); },
      ThrowsMessage<DataError>(HasSubstr("an array of integers; expected an array of str")));
  EXPECT_THAT([&] { file.require_string("b"); },
              ThrowsMessage<DataError>(HasSubstr("key b is missing")));
}

TEST_F(GgufTest, TensorsLieWhereTheirBytesAre) {
  test::GgufWriter writer;
  writer.alignment = 64;
  writer.set_uint32("general.alignment", 64);
  const std::vector<float> first{1, 2, 3}, second{4, 5, 6, 7, 8, 9};
  writer.add_tensor("first", TensorType::kF32, {3}, first);
  writer.add_tensor("second", TensorType::kF32, {2, 3}, second);
  const GgufFile file = opened(writer);
  const TensorInfo* tensor = file.find("second");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(tensor->offset % 64, 0u);
  std::vector<std::byte> bytes(tensor->bytes);
  file.read(*tensor, bytes);
  std::vector<float> values(6);
  dequantize(tensor->type, bytes, values);
  EXPECT_EQ(values, second);
  EXPECT_EQ(file.find("third"), nullptr);
}

TEST_F(GgufTest, AHeaderLargerThanAWindowIsReadWhole) {
  test::GgufWriter writer;
  const std::string text(3'000'000, 'x');
  writer.set_string("a.long", text);
  writer.set_strings("a.words", std::vector<std::string>(400'000, "word"));
  writer.set_uint32("a.last", 7);
  const GgufFile file = opened(writer);
  EXPECT_EQ(file.require_string("a.long"), text);
  EXPECT_EQ(file.find_strings("a.words")->back(), "word");
  EXPECT_EQ(file.require_int("a.last"), 7);
}

TEST_F(GgufTest, AMovedFileStaysReadable) {
  GgufFile file = opened(test::TinyLlama{}.writer());
  GgufFile moved(std::move(file));
  file = opened(test::TinyLlama{.layers = 1}.writer());
  moved = std::move(file);
  std::vector<std::byte> bytes(moved.find("output_norm.weight")->bytes);
  moved.read(*moved.find("output_norm.weight"), bytes);
  EXPECT_EQ(moved.find("blk.1.attn_q.weight"), nullptr);
}

TEST_F(GgufTest, AFileThatShrinksInUseIsAnError) {
  const GgufFile file = opened(test::TinyLlama{}.writer());
  const TensorInfo& last = file.tensors().back();
  std::filesystem::resize_file(path_, last.offset + 8);
  std::vector<std::byte> bytes(last.bytes);
  EXPECT_THAT([&] { file.read(last, bytes); },
              ThrowsMessage<DataError>(HasSubstr("has become shorter")));
}

TEST_F(GgufTest, WhatIsNoFileIsRefusedByName) {
  EXPECT_THAT(
      [&] { GgufFile file(directory_ / "absent.gguf"); },
      ThrowsMessage<MissingInput>(HasSubstr("absent.gguf: cannot open the model: No such")));
  EXPECT_THAT([&] { GgufFile file(directory_.path()); },
              ThrowsMessage<DataError>(HasSubstr("a folder; name the .gguf file")));
  ASSERT_EQ(mkfifo((directory_ / "pipe").c_str(), 0600), 0);
  EXPECT_THAT([&] { GgufFile file(directory_ / "pipe"); },
              ThrowsMessage<DataError>(HasSubstr("not a regular file")));
  EXPECT_THAT(refusal(""), HasSubstr("the file is empty"));
}

TEST_F(GgufTest, AFileThatMayNotBeReadIsAPermissionError) {
  test::write_file(path_, "GGUF");
  std::filesystem::permissions(path_, std::filesystem::perms::none);
  const uid_t user = geteuid();
  constexpr uid_t kNobody = 65534;
  ASSERT_EQ(seteuid(user == 0 ? kNobody : user), 0);  // root may read everything
  EXPECT_THAT([&] { GgufFile file(path_); },
              ThrowsMessage<PermissionError>(HasSubstr("cannot open the model: Permission")));
  ASSERT_EQ(seteuid(user), 0);
}

TEST_F(GgufTest, OtherFormatsAreRefusedByTheirName) {
  using namespace std::string_view_literals;
  const std::vector<std::pair<std::string_view, std::string>> cases{
      {"PK\x03\x04 and so on", "a zip archive (a wheel or a PyTorch checkpoint)"},
      {"\x10\x02\0\0\0\0\0\0{\"a\":{}}"sv, "a safetensors file"},
      {"<!DOCTYPE html><html>", "an HTML page"},
      {"\n <HTML lang=en>", "an HTML page"},
      {"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"},
      {"{\"a\": 1}", "a JSON file"},
      {"tjgg\1\0\0\0"sv, "an old GGJT file"},
      {"hello", "something else"},
      {"GGU", "something else"},
  };
  for (const auto& [bytes, format] : cases) {
    EXPECT_THAT(refusal(bytes), AllOf(HasSubstr("model.gguf"), HasSubstr("not a GGUF file"),
                                      HasSubstr(format), Not(HasSubstr("\n"))));
  }
}

TEST_F(GgufTest, OtherVersionsAndByteOrdersAreRefused) {
  test::GgufWriter writer;
  writer.version = 2;
  EXPECT_EQ(refusal(writer), "accepted");
  writer.version = 1;
  EXPECT_THAT(refusal(writer), HasSubstr("GGUF version 1"));
  writer.version = 4;
  EXPECT_THAT(refusal(writer), HasSubstr("GGUF version 4"));
  writer.version = 0x03000000;
  EXPECT_THAT(refusal(writer), HasSubstr("big-endian"));
}

TEST_F(GgufTest, APartOfASplitModelIsRefused) {
  test::GgufWriter writer = test::TinyLlama{}.writer();
  writer.set_uint32("split.count", 1);
  EXPECT_EQ(refusal(writer), "accepted");
  writer.set_uint32("split.count", 3);
  EXPECT_THAT(refusal(writer), HasSubstr("one of 3 parts of a split model"));
}

TEST_F(GgufTest, AnUnknownTensorTypeIsRefusedWithTheKnownOnes) {
  test::GgufWriter writer = test::TinyLlama{}.writer();
  writer.tensor("blk.0.attn_q.weight").type = 11;
  EXPECT_THAT(refusal(writer),
              AllOf(HasSubstr("blk.0.attn_q.weight: is of type Q3_K"),
                    HasSubstr("F32, F16, BF16, Q8_0, Q6_K"), HasSubstr("Q4_K, Q4_1 and Q4_0")));
  writer.tensor("blk.0.attn_q.weight").type = 12345;
  EXPECT_THAT(refusal(writer), HasSubstr("type number 12345"));
}

}  // namespace
}  // namespace longspan
