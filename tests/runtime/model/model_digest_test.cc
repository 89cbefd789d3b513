// Which model it is: the same however its file is called, another where weights or shape differ.
#include "runtime/model/model_digest.h"

#include <gtest/gtest.h>

#include <fstream>

#include "runtime/model/gguf.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"

namespace longspan {
namespace {

Sha256 digest_of(const std::filesystem::path& path) {
  const GgufFile file(path);
  return model_digest(read_model_config(file), &file);
}

TEST(ModelDigestTest, IsOfShapeAndWeightsAlone) {
  const test::TemporaryDirectory folder;
  test::TinyLlama model;
  model.write(folder / "a.gguf");
  model.write(folder / "b.gguf");
  EXPECT_EQ(digest_of(folder / "a.gguf"), digest_of(folder / "b.gguf"));
  model.seed = 2;
  model.write(folder / "b.gguf");
  EXPECT_NE(digest_of(folder / "a.gguf"), digest_of(folder / "b.gguf"));
  model.seed = 1;
  model.context = 256;
  model.write(folder / "b.gguf");
  EXPECT_NE(digest_of(folder / "a.gguf"), digest_of(folder / "b.gguf"));
}

TEST(ModelDigestTest, SeesTheMiddleOfEachTensor) {
  const test::TemporaryDirectory folder;
  test::TinyLlama{}.write(folder / "a.gguf");
  const Sha256 before = digest_of(folder / "a.gguf");
  const std::vector<TensorInfo> tensors = GgufFile(folder / "a.gguf").tensors();
  ASSERT_FALSE(tensors.empty());
  for (const TensorInfo& tensor : tensors) {
    const auto at = static_cast<std::streamoff>(tensor.offset + tensor.bytes / 2);
    std::fstream file(folder / "a.gguf", std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(at);
    const char byte = static_cast<char>(file.get());
    file.seekp(at).put(static_cast<char>(byte ^ 1)).flush();
    EXPECT_NE(digest_of(folder / "a.gguf"), before) << tensor.name;
    file.seekp(at).put(byte);
  }
  EXPECT_EQ(digest_of(folder / "a.gguf"), before);
}

TEST(ModelDigestTest, MadeUpWeightsAreAFunctionOfTheShape) {
  ModelConfig config{.layers = 2};
  const Sha256 two = model_digest(config, nullptr);
  EXPECT_EQ(model_digest(config, nullptr), two);
  config.layers = 3;
  EXPECT_NE(model_digest(config, nullptr), two);
}

}  // namespace
}  // namespace longspan
