// Manifests: what is listed, and that every way in which files can differ from it is told in one
// line that names file, numbers and what to do.
#include "runtime/model/model_manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/model_folder.h"
#include "tests/runtime/model/folder_writer.h"
#include "tests/runtime/model/temporary_directory.h"

namespace longspan {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class ModelManifestTest : public testing::Test {
 protected:
  void SetUp() override {
    test::FolderWriter writer;
    for (int i = 0; i < 3; ++i) {
      writer.add(str("t{}", i), TensorType::kF32, {2, 3}, std::vector<float>(6, 1.0f + i));
    }
    writer.write(directory_.path(), "{}", 2);
    write("tokenizer.json", "{}");
    write("README.md", "of no use to longspan");
    write_manifest();
  }

  void write(const std::string& name, const std::string& content) {
    std::ofstream(directory_ / name, std::ios::binary) << content;
  }
  void write_manifest() {
    write("longspan-manifest.json", ModelManifest::made_of(files(), 2, {}).text());
  }
  ModelFiles files() const { return files_of(ModelFolder(directory_.path())); }

  /// Adds `bits` to a byte, counted from the end.
  void change(const std::string& name, int from_end, char bits) {
    std::fstream file(directory_ / name, std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(-from_end, std::ios::end);
    const char changed = static_cast<char>(file.get() ^ bits);
    file.seekp(-from_end, std::ios::end);
    file.put(changed);
  }

  /// What loading the folder says of its manifest.
  std::string refusal() const {
    try {
      const ModelFiles found = files();
      const auto manifest = ModelManifest::find(found);
      if (!manifest) return "none";
      manifest->expect_listed(found);
      manifest->expect_same(ModelManifest::made_of(found, 2, {}), found);
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr(directory_.path().string()), Not(HasSubstr("\n"))));
      return error.what();
    }
    return "accepted";
  }

  static constexpr const char* kShard = "model-00002-of-00002.safetensors";
  test::TemporaryDirectory directory_;
};

TEST_F(ModelManifestTest, WhatLongspanReadsIsListed) {
  EXPECT_THAT(files().names, ElementsAre("config.json", "model-00001-of-00002.safetensors", kShard,
                                         "model.safetensors.index.json", "tokenizer.json"));
  EXPECT_EQ(files().manifest, directory_ / "longspan-manifest.json");
  const ModelManifest manifest = ModelManifest::read(files().manifest);
  EXPECT_EQ(manifest, ModelManifest::made_of(files(), 1, {}));
  EXPECT_EQ(manifest.files(), 5);
  EXPECT_EQ(refusal(), "accepted");
}

TEST_F(ModelManifestTest, ProgressEndsAtAllBytes) {
  std::uint64_t last = 0, all = 0;
  const ModelManifest manifest =
      ModelManifest::made_of(files(), 3, [&](std::uint64_t done, std::uint64_t total) {
        EXPECT_GT(done, last);
        last = done;
        all = total;
      });
  EXPECT_EQ(last, all);
  EXPECT_EQ(all, manifest.bytes());
}

TEST_F(ModelManifestTest, AModelWithoutOneIsNotCompared) {
  std::filesystem::remove(directory_ / "longspan-manifest.json");
  change(kShard, 1, 1);
  EXPECT_EQ(refusal(), "none");
}

TEST_F(ModelManifestTest, AChangedBitIsToldWithBothDigests) {
  const std::string listed = ModelManifest::read(files().manifest).text();
  change(kShard, 1, 1);
  const std::string found = ModelManifest::made_of(files(), 1, {}).text();
  const auto digest = [](const std::string& text) {
    return text.substr(text.find("\"sha256\": \"", text.find(kShard)) + 11, 12);
  };
  EXPECT_NE(digest(listed), digest(found));
  EXPECT_THAT(refusal(), AllOf(HasSubstr(kShard), HasSubstr("SHA-256 is " + digest(found)),
                               HasSubstr("lists " + digest(listed)), HasSubstr("--force"),
                               HasSubstr("--no-verify"), HasSubstr("download it again")));
  change(kShard, 1, 1);
  EXPECT_EQ(refusal(), "accepted");
}

TEST_F(ModelManifestTest, AnotherSizeIsTold) {
  write("tokenizer.json", "{ }");
  EXPECT_THAT(refusal(),
              AllOf(HasSubstr("tokenizer.json"), HasSubstr("has 3 bytes"), HasSubstr("lists 2")));
}

TEST_F(ModelManifestTest, AMissingFileIsTold) {
  std::filesystem::remove(directory_ / "tokenizer.json");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("tokenizer.json: is missing"), HasSubstr("lists it")));
}

TEST_F(ModelManifestTest, AFileThatIsNotListedIsTold) {
  write("generation_config.json", "{}");
  EXPECT_THAT(refusal(), HasSubstr("generation_config.json: is not listed"));
}

/// A shard that the index no longer names, or names since.
TEST_F(ModelManifestTest, ShardsAreThoseOfTheManifest) {
  test::FolderWriter writer;
  for (int i = 0; i < 3; ++i) {
    writer.add(str("t{}", i), TensorType::kF32, {2, 3}, std::vector<float>(6, 1.0f + i));
  }
  writer.write(directory_.path(), "{}", 3);
  EXPECT_THAT(refusal(), HasSubstr("model-00001-of-00003.safetensors: is not listed"));
  write_manifest();
  EXPECT_EQ(refusal(), "accepted");
  std::filesystem::remove(directory_ / "model.safetensors.index.json");
  std::filesystem::rename(directory_ / "model-00001-of-00003.safetensors",
                          directory_ / "model.safetensors");
  EXPECT_THAT(refusal(), HasSubstr("model.safetensors: is not listed"));
}

TEST_F(ModelManifestTest, AListedFileThatTheModelDoesNotUseIsTold) {
  std::string text = ModelManifest::made_of(files(), 1, {}).text();
  const std::string name = "\"tokenizer.json\"";
  write("README.md", "{}");  // as long
  text.replace(text.find(name), name.size(), "\"README.md\"");
  std::filesystem::remove(directory_ / "tokenizer.json");
  write("longspan-manifest.json", text);
  EXPECT_THAT(refusal(),
              HasSubstr("README.md: is listed in longspan-manifest.json, but the model"));
}

TEST_F(ModelManifestTest, ADamagedManifestIsToldByKey) {
  const auto refused = [this](const std::string& text) {
    write("longspan-manifest.json", text);
    return refusal();
  };
  const auto listing = [](const std::string& name, const std::string& content) {
    return str(R"({{"longspan_manifest": 1, "files": {{"{}": {}}}}})", name, content);
  };
  const std::string digest(64, 'a');
  EXPECT_THAT(refused(""), AllOf(HasSubstr("not JSON"), HasSubstr("only the manifest is damaged"),
                                 HasSubstr("--force"), HasSubstr("--no-verify")));
  EXPECT_THAT(refused("[]"), HasSubstr("is a list"));
  EXPECT_THAT(refused("{}"), HasSubstr("longspan_manifest"));
  EXPECT_THAT(refused(R"({"longspan_manifest": 2, "files": {}})"),
              AllOf(HasSubstr("longspan_manifest"), HasSubstr("is 2"), HasSubstr("reads 1")));
  EXPECT_THAT(refused(R"({"longspan_manifest": 1})"), HasSubstr("files"));
  EXPECT_THAT(refused(R"({"longspan_manifest": 1, "files": []})"), HasSubstr("files"));
  EXPECT_THAT(refused(R"({"longspan_manifest": 1, "files": {}})"), HasSubstr("not listed"));
  EXPECT_THAT(refused(listing("config.json", "1")), HasSubstr("config.json"));
  EXPECT_THAT(refused(listing("config.json", R"({"bytes": 1})")), HasSubstr("sha256"));
  EXPECT_THAT(refused(listing("config.json", R"({"sha256": ")" + digest + "\"}")),
              HasSubstr("bytes"));
  EXPECT_THAT(refused(listing("config.json", R"({"bytes": -1, "sha256": ")" + digest + "\"}")),
              HasSubstr("is -1"));
  EXPECT_THAT(refused(listing("config.json", R"({"bytes": 1e3, "sha256": ")" + digest + "\"}")),
              HasSubstr("bytes"));
  EXPECT_THAT(refused(listing("config.json", R"({"bytes": 1, "sha256": "a"})")),
              HasSubstr("64 hexadecimal digits"));
  for (const char* name : {"../config.json", "/etc/passwd", "", ".", "..", "a\\nb"}) {
    EXPECT_THAT(refused(listing(name, R"({"bytes": 1, "sha256": ")" + digest + "\"}")),
                HasSubstr("no name of a file"))
        << name;
  }
  EXPECT_THAT(refused(R"({"longspan_manifest": 1, "files": {"a": {}, "a": {}}})"),
              HasSubstr("twice"));
}

}  // namespace
}  // namespace longspan
