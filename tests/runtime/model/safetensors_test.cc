// The safetensors reader: what it gives back of sound files, and that each kind of unsound one is
// refused in one line that names file, tensor and number.
#include "runtime/model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/model_folder.h"
#include "tests/runtime/model/folder_writer.h"
#include "tests/runtime/model/temporary_directory.h"

namespace longspan {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

class SafetensorsTest : public testing::Test {
 protected:
  /// What opening a file of this header and data throws.
  std::string refusal(const std::string& header, std::size_t data_bytes) {
    test::write_safetensors(path_, header, std::string(data_bytes, '\1'));
    return refusal();
  }
  std::string refusal() {
    try {
      SafetensorsFile file(path_);
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr(path_.string()), Not(HasSubstr("\n"))));
      return error.what();
    }
    return "accepted";
  }

  static std::string entry(const std::string& name, const std::string& dtype,
                           const std::string& shape, const std::string& offsets) {
    return str(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":{}}})", name, dtype, shape,
               offsets);
  }

  test::TemporaryDirectory directory_;
  const std::filesystem::path path_ = directory_ / "model.safetensors";
};

TEST_F(SafetensorsTest, TensorsComeBackWithShapeTypeAndPlace) {
  const std::string header =
      "{" + entry("b", "BF16", "[2,3]", "[8,20]") + "," + R"("__metadata__":{"format":"pt"},)" +
      entry("a", "F32", "[2]", "[0,8]") + "," + entry("scalar", "F16", "[]", "[20,22]") + "}  ";
  EXPECT_EQ(refusal(header, 22), "accepted");
  const SafetensorsFile file(path_);
  ASSERT_EQ(file.tensors().size(), 3);
  const TensorInfo& b = file.tensors()[1];
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.type, TensorType::kBF16);
  EXPECT_EQ(b.shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(b.bytes, 12);
  EXPECT_EQ(b.offset, 8 + header.size() + 8);
}

TEST_F(SafetensorsTest, AFileWithoutTensorsIsEmpty) { EXPECT_EQ(refusal("{}", 0), "accepted"); }

TEST_F(SafetensorsTest, TensorsThatDoNotFitTheFileAreRefused) {
  EXPECT_THAT(refusal("{" + entry("w", "F32", "[2]", "[0,8]") + "}", 7),
              AllOf(HasSubstr("tensor w"), HasSubstr("ends at byte 8"), HasSubstr("only 7"),
                    HasSubstr("truncated")));
  EXPECT_THAT(refusal("{" + entry("w", "F32", "[2]", "[0,8]") + "}", 9),
              AllOf(HasSubstr("end at byte"), HasSubstr("damaged")));
  EXPECT_THAT(refusal("{" + entry("w", "F32", "[2]", "[0,4]") + "}", 8),
              AllOf(HasSubstr("has 4 bytes"), HasSubstr("need 8")));
  EXPECT_THAT(refusal("{" + entry("w", "F32", "[2]", "[8,0]") + "}", 8), HasSubstr("no interval"));
  EXPECT_THAT(refusal("{" + entry("w", "F32", "[2]", "[0,8,8]") + "}", 8),
              HasSubstr("no interval"));
}

TEST_F(SafetensorsTest, GapsAndOverlapsAreRefused) {
  const std::string a = entry("a", "F32", "[2]", "[0,8]");
  EXPECT_THAT(refusal("{" + a + "," + entry("b", "F32", "[2]", "[4,12]") + "}", 12),
              AllOf(HasSubstr("tensor b"), HasSubstr("overlap")));
  EXPECT_THAT(refusal("{" + a + "," + entry("b", "F32", "[2]", "[0,8]") + "}", 8),
              HasSubstr("overlap"));
  EXPECT_THAT(refusal("{" + a + "," + entry("b", "F32", "[2]", "[9,17]") + "}", 17),
              AllOf(HasSubstr("tensor b"), HasSubstr("gap")));
  EXPECT_THAT(refusal("{" + entry("b", "F32", "[2]", "[1,9]") + "}", 9), HasSubstr("gap"));
}

TEST_F(SafetensorsTest, NumbersThatOverflowAreRefused) {
  EXPECT_THAT(refusal("{" + entry("w", "F32", "[4294967296,4294967296]", "[0,0]") + "}", 0),
              AllOf(HasSubstr("tensor w"), HasSubstr("4294967296")));
  EXPECT_THAT(refusal("{" + entry("w", "F32", "[18446744073709551615]", "[0,4]") + "}", 4),
              HasSubstr("18446744073709551615"));
  EXPECT_THAT(refusal("{" + entry("w", "F32", "[1]", "[18446744073709551612,0]") + "}", 4),
              HasSubstr("no interval"));
  EXPECT_THAT(
      refusal("{" + entry("w", "F32", "[1]", "[9223372036854775804,9223372036854775808]") + "}", 4),
      HasSubstr("truncated"));
  EXPECT_THAT(refusal("{" + entry("w", "F32", "[36893488147419103232]", "[0,4]") + "}", 4),
              HasSubstr("none belongs"));
}

TEST_F(SafetensorsTest, NumbersOfTheWrongKindAreRefused) {
  for (const char* wrong : {"-1", "1.5", "1e3", "true", "null", "\"1\"", "[1]", "{}"}) {
    EXPECT_THAT(refusal("{" + entry("w", "F32", str("[{}]", wrong), "[0,4]") + "}", 4),
                AllOf(HasSubstr("tensor w"), HasSubstr("none belongs")))
        << wrong;
  }
  EXPECT_THAT(refusal("{" + entry("w", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") + "}", 4),
              HasSubstr("more than 8"));
  EXPECT_THAT(refusal("{" + entry("w", "F32", "[0]", "[0,0]") + "}", 0),
              HasSubstr("dimension of 0"));
}

TEST_F(SafetensorsTest, TypesThatAreNotReadAreNamed) {
  for (const char* type : {"F64", "I64", "U8", "BOOL", "F8_E4M3", "float32", ""}) {
    EXPECT_THAT(refusal("{" + entry("w", type, "[1]", "[0,4]") + "}", 4),
                AllOf(HasSubstr(str("of type {};", type)), HasSubstr("F32, F16 and BF16")));
  }
}

TEST_F(SafetensorsTest, NamesAreUniquePrintableAndShort) {
  const std::string w = entry("w", "F32", "[1]", "[0,4]");
  EXPECT_THAT(refusal("{" + w + "," + entry("w", "F32", "[1]", "[4,8]") + "}", 8),
              HasSubstr("occurs twice"));
  EXPECT_THAT(refusal("{" + entry("", "F32", "[1]", "[0,4]") + "}", 4), HasSubstr("0 bytes"));
  EXPECT_THAT(refusal("{" + entry("a\\nb", "F32", "[1]", "[0,4]") + "}", 4),
              HasSubstr("printable"));
  EXPECT_EQ(refusal("{" + entry(std::string(512, 'n'), "F32", "[1]", "[0,4]") + "}", 4),
            "accepted");
  EXPECT_THAT(refusal("{" + entry(std::string(513, 'n'), "F32", "[1]", "[0,4]") + "}", 4),
              HasSubstr("513 bytes"));
}

TEST_F(SafetensorsTest, EntriesHaveExactlyTheThreeMembers) {
  EXPECT_THAT(refusal(R"({"w":{"dtype":"F32","shape":[1]}})", 4), HasSubstr("lacks one"));
  EXPECT_THAT(refusal(R"({"w":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4),
              HasSubstr("dtype twice"));
  EXPECT_THAT(refusal(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4),
              HasSubstr("unknown member 'x'"));
  EXPECT_THAT(refusal(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":{}}})", 4),
              HasSubstr("none belongs"));
  EXPECT_THAT(refusal(R"({"w":3})", 4), HasSubstr("none belongs"));
}

TEST_F(SafetensorsTest, HeadersThatAreNoneAreRefused) {
  EXPECT_THAT(refusal("[1]", 4), HasSubstr("begins with '[1]'"));
  EXPECT_THAT(refusal("{\"w\":", 4), HasSubstr("not JSON"));
  EXPECT_THAT(refusal("{}{}", 4), HasSubstr("not JSON"));
  EXPECT_THAT(refusal("{\"w\":" + std::string(100'000, '[') + "}", 4), HasSubstr("none belongs"));
  std::ofstream(path_, std::ios::binary) << "1234567";
  EXPECT_THAT(refusal(), HasSubstr("has 7 bytes"));
  std::ofstream(path_, std::ios::binary) << std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("18446744073709551615"), HasSubstr("of 2 at most")));
  std::ofstream(path_, std::ios::binary) << "<!doctype html><p>Not found";
  EXPECT_THAT(refusal(), HasSubstr("HTML"));
}

TEST_F(SafetensorsTest, AFileCutAnywhereIsRefused) {
  const std::string header =
      "{" + entry("a", "F32", "[2]", "[0,8]") + "," + entry("b", "BF16", "[2,3]", "[8,20]") + "}";
  test::write_safetensors(path_, header, std::string(20, '\1'));
  EXPECT_EQ(refusal(), "accepted");
  for (std::size_t bytes = 8 + header.size() + 20; bytes-- > 0;) {
    std::filesystem::resize_file(path_, bytes);
    ASSERT_THAT(refusal(), HasSubstr("download it again")) << "cut to " << bytes;
  }
}

TEST_F(SafetensorsTest, AHeaderHasBoundsEvenIfItIsThere) {
  const std::uint64_t length = (100 << 20) + 1;
  std::ofstream(path_, std::ios::binary)
      .write(reinterpret_cast<const char*>(&length), sizeof(length));
  std::filesystem::resize_file(path_, 200 << 20);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("take 104857601 bytes"), HasSubstr("of 104857600 at")));

  std::string header = "{";
  for (int i = 0; i <= 1 << 16; ++i) header += entry(str("t{}", i), "F32", "[1]", "[0,4]") + ",";
  header.back() = '}';
  EXPECT_THAT(refusal(header, 4), AllOf(HasSubstr("tensor t65536"), HasSubstr("more than 65536")));
}

/// Whatever byte of a header is damaged, opening ends in an answer or a DataError.
TEST_F(SafetensorsTest, NoDamagedByteGetsFurther) {
  const std::string header =
      "{" + entry("b", "BF16", "[2,3]", "[8,20]") + "," + entry("a", "F32", "[2]", "[0,8]") + "}";
  std::mt19937 random(1);
  for (int i = 0; i < 500; ++i) {
    std::string damaged = header;
    damaged[random() % damaged.size()] = static_cast<char>(random() % 256);
    if (random() % 4 == 0) damaged.resize(random() % damaged.size());
    const std::string answer = refusal(damaged, 20);
    if (answer != "accepted") continue;
    const SafetensorsFile file(path_);
    for (const TensorInfo& tensor : file.tensors()) {
      EXPECT_LE(tensor.offset + tensor.bytes, std::filesystem::file_size(path_));
    }
  }
}

class ModelFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < 5; ++i) {
      writer_.add(str("t{}", i), TensorType::kF32, {2, 3}, std::vector<float>(6, 1.0f + i));
    }
  }
  auto opening() {
    return [this] { ModelFolder folder(directory_.path()); };
  }

  test::FolderWriter writer_;
  test::TemporaryDirectory directory_;
};

TEST_F(ModelFolderTest, TensorsOfAnyNumberOfShardsAreRead) {
  for (const int shards : {1, 2, 5}) {
    const test::TemporaryDirectory directory;
    writer_.write(directory.path(), "{}", shards);
    const ModelFolder folder(directory.path());
    EXPECT_EQ(folder.shards(), shards);
    ASSERT_EQ(folder.tensors().size(), 5);
    for (int i = 0; i < 5; ++i) {
      const TensorInfo* tensor = folder.find(str("t{}", i));
      ASSERT_NE(tensor, nullptr);
      std::vector<float> values(6);
      folder.read(*tensor, std::as_writable_bytes(std::span(values)));
      EXPECT_EQ(values, std::vector<float>(6, 1.0f + i));
    }
    EXPECT_EQ(folder.find("t5"), nullptr);
  }
}

TEST_F(ModelFolderTest, AMissingShardIsNamed) {
  writer_.write(directory_.path(), "{}", 3);
  std::filesystem::remove(directory_ / "model-00002-of-00003.safetensors");
  EXPECT_THAT(opening(), ThrowsMessage<MissingInput>(HasSubstr("model-00002-of-00003")));
}

TEST_F(ModelFolderTest, ASwappedShardIsNamed) {
  writer_.write(directory_.path(), "{}", 3);
  std::filesystem::copy_file(directory_ / "model-00001-of-00003.safetensors",
                             directory_ / "model-00003-of-00003.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(opening(), ThrowsMessage<DataError>(
                             AllOf(HasSubstr("model-00003-of-00003"), HasSubstr("tensor t0"))));
}

TEST_F(ModelFolderTest, ExchangedShardsAreNamed) {
  writer_.write(directory_.path(), "{}", 2);
  std::filesystem::rename(directory_ / "model-00001-of-00002.safetensors", directory_ / "x");
  std::filesystem::rename(directory_ / "model-00002-of-00002.safetensors",
                          directory_ / "model-00001-of-00002.safetensors");
  std::filesystem::rename(directory_ / "x", directory_ / "model-00002-of-00002.safetensors");
  EXPECT_THAT(opening(), ThrowsMessage<DataError>(AllOf(HasSubstr("model-00001-of-00002"),
                                                        HasSubstr("holds tensor t1"))));
}

/// Of two shards with a tensor of the same name the index can mean only one.
TEST_F(ModelFolderTest, ATensorOfTwoShardsIsNamed) {
  writer_.write(directory_.path(), "{}", 2);
  std::filesystem::copy_file(directory_ / "model-00001-of-00002.safetensors",
                             directory_ / "again.safetensors");
  std::ofstream(directory_ / "model.safetensors.index.json")
      << R"({"weight_map":{"t0":"model-00001-of-00002.safetensors","t2":"again.safetensors",)"
      << R"("t4":"model-00001-of-00002.safetensors"}})";
  EXPECT_THAT(opening(), ThrowsMessage<DataError>(
                             AllOf(HasSubstr("again.safetensors"), HasSubstr("holds tensor t0"))));
}

TEST_F(ModelFolderTest, AnIndexStaysInsideItsFolder) {
  for (const char* name : {"../x.safetensors", "/etc/x.safetensors", "x.bin", ".safetensors",
                           "a\\nb.safetensors", ""}) {
    std::ofstream(directory_ / "model.safetensors.index.json")
        << str(R"({{"weight_map":{{"t0":"{}"}}}})", name);
    EXPECT_THAT(opening(), ThrowsMessage<DataError>(HasSubstr("tensor t0"))) << name;
  }
}

TEST_F(ModelFolderTest, AnIndexThatIsNoneIsRefused) {
  for (const char* text : {"", "[]", "{}", R"({"weight_map":{}})", R"({"weight_map":[]})",
                           R"({"weight_map":{"t0":1}})", R"({"weight_map":{"a":"b","a":"b"}})"}) {
    std::ofstream(directory_ / "model.safetensors.index.json") << text;
    EXPECT_THAT(opening(), ThrowsMessage<DataError>(HasSubstr("index.json"))) << text;
  }
}

TEST_F(ModelFolderTest, AFolderWithoutWeightsSaysWhatItNeeds) {
  EXPECT_THAT(opening(), ThrowsMessage<MissingInput>(HasSubstr("model.safetensors")));
}

}  // namespace
}  // namespace longspan
