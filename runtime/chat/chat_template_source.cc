#include "runtime/chat/chat_template_source.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/gguf.h"

namespace longspan {
namespace {

using nlohmann::json;

std::string read_text(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw IoError(str("{}: cannot be read; make the file readable", file.string()));
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Null where there is no such file.
json tokenizer_config(const std::filesystem::path& file) {
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return nullptr;
  json config = json::parse(read_text(file), nullptr, false);
  if (!config.is_object()) throw DataError(str("{}: not a JSON object", file.string()));
  return config;
}

/// A token as text, or as an object that holds it.
std::optional<std::string> token_of(const json& config, const char* key) {
  if (!config.is_object() || !config.contains(key)) return std::nullopt;
  const json& token = config[key];
  if (token.is_string()) return token.get<std::string>();
  if (!token.is_object() || !token.contains("content")) return std::nullopt;
  const json& content = token["content"];
  return content.is_string() ? std::optional(content.get<std::string>()) : std::nullopt;
}

std::optional<std::string> template_of(const json& config, const std::string& file) {
  if (!config.is_object() || !config.contains("chat_template")) return std::nullopt;
  const json& held = config["chat_template"];
  if (held.is_null()) return std::nullopt;
  if (held.is_string()) return held.get<std::string>();
  for (const json& one : held.is_array() ? held : json::array()) {
    const bool is_default = one.is_object() && one.value("name", json()) == "default";
    const json text = is_default ? one.value("template", json()) : json();
    if (text.is_string()) return text.get<std::string>();
  }
  throw DataError(str("{}: chat_template must be a text or a list with one named default", file));
}

/// The token that an integer key names.
std::optional<std::string> named_token(const GgufFile& file, const char* key) {
  const auto id = file.find_int(key);
  const std::vector<std::string>* tokens = file.find_strings("tokenizer.ggml.tokens");
  if (!id || !tokens || *id < 0 || *id >= std::ssize(*tokens)) return std::nullopt;
  return (*tokens)[*id];
}

}  // namespace

std::optional<ChatTemplateSource> chat_template_of_folder(const std::string& folder) {
  const std::filesystem::path path(folder);
  const std::filesystem::path config_file = path / "tokenizer_config.json";
  const json config = tokenizer_config(config_file);
  ChatTemplateSource source{.text = {},
                            .where = (path / "chat_template.jinja").string(),
                            .bos_token = token_of(config, "bos_token"),
                            .eos_token = token_of(config, "eos_token")};
  std::error_code ignored;
  if (std::filesystem::exists(source.where, ignored)) {
    source.text = read_text(source.where);
    return source;
  }
  const auto text = template_of(config, config_file.string());
  if (!text) return std::nullopt;
  source.text = *text;
  source.where = str("{}: chat_template", config_file.string());
  return source;
}

std::optional<ChatTemplateSource> chat_template_of_gguf(const GgufFile& file) {
  const auto text = file.find_string("tokenizer.chat_template");
  if (!text) return std::nullopt;
  return ChatTemplateSource{.text = *text,
                            .where = str("{}: tokenizer.chat_template", file.path().string()),
                            .bos_token = named_token(file, "tokenizer.ggml.bos_token_id"),
                            .eos_token = named_token(file, "tokenizer.ggml.eos_token_id")};
}

std::optional<ChatTemplateSource> find_chat_template(const std::string& model) {
  return std::filesystem::is_directory(model) ? chat_template_of_folder(model)
                                              : chat_template_of_gguf(GgufFile(model));
}

ChatTemplateSource chat_template_of(const std::string& model) {
  if (const auto source = find_chat_template(model)) return *source;
  throw DataError(
      str("{}: the model has no chat template; use longspan generate, without --chat, and give the "
          "prompt as the model wants it",
          model));
}

}  // namespace longspan
