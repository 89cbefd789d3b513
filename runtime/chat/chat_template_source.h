// Where a model keeps its chat template: one of four places.
//
//   folder   chat_template.jinja, else `chat_template` of tokenizer_config.json: a string, or a
//   list
//            of named ones, of which `default` is taken
//   GGUF     the key tokenizer.chat_template
#pragma once

#include <optional>
#include <string>

namespace longspan {

class GgufFile;

/// A template as a file has it, and the special tokens that it may name.
struct ChatTemplateSource {
  std::string text;
  std::string where;  // "model.gguf: chat template", for errors
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
};

/// Nothing when the model has none. Throw DataError, naming the file, when what is there makes no
/// sense, and IoError when it cannot be read.
std::optional<ChatTemplateSource> chat_template_of_folder(const std::string& folder);
std::optional<ChatTemplateSource> chat_template_of_gguf(const GgufFile& file);

/// Of a model as a command names it. Throw as these two, the second also DataError when there is
/// none.
std::optional<ChatTemplateSource> find_chat_template(const std::string& model);
ChatTemplateSource chat_template_of(const std::string& model);

}  // namespace longspan
