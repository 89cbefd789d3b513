#include "runtime/chat/chat_template_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "comm/error.h"
#include "runtime/model/gguf.h"
#include "tests/runtime/model/gguf_writer.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"

namespace longspan {
namespace {

using testing::HasSubstr;

class ChatTemplateSourceTest : public testing::Test {
 protected:
  void file(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
  }
  std::optional<ChatTemplateSource> of_folder() const {
    return chat_template_of_folder(folder_.path().string());
  }

  test::TemporaryDirectory folder_;
};

TEST_F(ChatTemplateSourceTest, AFolderHasItInOneOfThreePlaces) {
  EXPECT_FALSE(of_folder());
  file("tokenizer_config.json", R"({"bos_token": "<s>"})");
  EXPECT_FALSE(of_folder());
  file("tokenizer_config.json",
       R"({"chat_template": "one", "bos_token": "<s>", "eos_token": {"content": "</s>"}})");
  EXPECT_EQ(of_folder()->text, "one");
  EXPECT_EQ(of_folder()->bos_token, "<s>");
  EXPECT_EQ(of_folder()->eos_token, "</s>");
  file("tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "two"},
                                    {"name": "default", "template": "three"}]})");
  EXPECT_EQ(of_folder()->text, "three");
  EXPECT_FALSE(of_folder()->bos_token);
  file("chat_template.jinja", "four\n");
  EXPECT_EQ(of_folder()->text, "four\n");
  EXPECT_THAT(of_folder()->where, HasSubstr("chat_template.jinja"));
}

TEST_F(ChatTemplateSourceTest, WhatMakesNoSenseIsRefusedByName) {
  for (const char* text : {"[1]", "{", R"({"chat_template": 5})", R"({"chat_template": []})",
                           R"({"chat_template": [{"name": "rag", "template": "x"}]})"}) {
    file("tokenizer_config.json", text);
    try {
      of_folder();
      ADD_FAILURE() << text;
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr("tokenizer_config.json: ")) << text;
    }
  }
}

TEST_F(ChatTemplateSourceTest, AGgufFileHasItUnderAKey) {
  const auto path = folder_ / "model.gguf";
  test::TinyLlama().write(path);
  EXPECT_FALSE(chat_template_of_gguf(GgufFile(path)));
  EXPECT_THROW(chat_template_of(path.string()), DataError);
  test::GgufWriter writer = test::TinyLlama().writer();
  writer.set_string("tokenizer.chat_template", "five");
  writer.write(path);
  const auto source = chat_template_of_gguf(GgufFile(path));
  EXPECT_EQ(source->text, "five");
  EXPECT_EQ(source->eos_token, "<|endoftext|>");
  EXPECT_EQ(chat_template_of(path.string()).text, "five");
}

}  // namespace
}  // namespace longspan
