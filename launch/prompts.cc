#include "launch/prompts.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "comm/error.h"
#include "comm/log.h"
#include "comm/str.h"

namespace longspan {
namespace {

using nlohmann::json;

[[noreturn]] void refuse(const std::string& file, int error) {
  const std::string what = std::strerror(error);
  switch (error) {
    case EACCES:
    case EPERM:
      throw PermissionError(str("{}: permission denied; make the file readable", file));
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
    case ELOOP:
      throw MissingInput(str("{}: {}; check the path", file, what));
    case EISDIR:
      throw DataError(str("{}: a folder; name a file", file));
    default:
      throw IoError(str("{}: {}", file, what));
  }
}

struct CloseFile {
  void operator()(std::FILE* file) const {
    if (file != stdin) std::fclose(file);
  }
};

/// Byte for byte; "-" is standard input. Half a file is an error, never a shorter prompt.
std::string read_file(const std::string& file) {
  const bool standard = file == "-";
  const std::string name = standard ? "standard input" : file;
  const std::unique_ptr<std::FILE, CloseFile> in(standard ? stdin : std::fopen(file.c_str(), "rb"));
  if (!in) refuse(name, errno);
  std::string bytes;
  std::array<char, 1 << 16> block;
  while (const std::size_t count = std::fread(block.data(), 1, block.size(), in.get())) {
    bytes.append(block.data(), count);
  }
  if (std::ferror(in.get())) refuse(name, errno);
  return bytes;
}

json parse(const std::string& text, const std::string& where) {
  try {
    return json::parse(text);
  } catch (const json::parse_error& error) {
    throw DataError(str("{}: not JSON at byte {}", where, error.byte));
  } catch (const json::out_of_range&) {
    throw DataError(str("{}: a number is too large", where));
  }
}

std::vector<TokenId> ids_of(const json& array, const std::string& where) {
  if (!array.is_array()) throw DataError(str("{}: a JSON array of token ids is needed", where));
  std::vector<TokenId> ids;
  for (const json& value : array) {
    if (!value.is_number_integer() || value < 0 || value > 0x7fffffff) {
      throw DataError(str("{}: element {} is not a token id", where, ids.size()));
    }
    ids.push_back(value.get<TokenId>());
  }
  return ids;
}

Prompt prompt_of(const json& object, const std::string& where) {
  const bool text = object.is_object() && object.contains("prompt");
  const bool ids = object.is_object() && object.contains("prompt_ids");
  if (text == ids) {
    throw DataError(str("{}: an object with either \"prompt\" or \"prompt_ids\" is needed", where));
  }
  for (const auto& [key, value] : object.items()) {
    if (key == "prompt" || key == "prompt_ids") continue;
    throw DataError(
        str("{}: {} is not known; there are prompt and prompt_ids, and what all prompts "
            "share is said by options",
            where, json(key).dump()));
  }
  if (ids) return {.text = {}, .ids = ids_of(object["prompt_ids"], where + ": prompt_ids")};
  if (!object["prompt"].is_string()) throw DataError(str("{}: prompt is not a string", where));
  return {.text = object["prompt"].get<std::string>(), .ids = {}};
}

std::vector<Prompt> prompts_of_lines(const std::string& file) {
  std::istringstream lines(read_file(file));
  std::vector<Prompt> prompts;
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = str("{}:{}", file, number);
    prompts.push_back(prompt_of(parse(line, where), where));
  }
  if (prompts.empty()) throw UsageError(str("{}: no prompt in the file", file));
  return prompts;
}

}  // namespace

std::vector<Prompt> read_prompts(const PromptSource& source) {
  switch (source.kind) {
    case PromptKind::kText:
      return {{.text = source.value, .ids = {}}};
    case PromptKind::kTextFile:
      return {{.text = read_file(source.value), .ids = {}}};
    case PromptKind::kIdsFile:
      return {{.text = {}, .ids = read_ids(source.value)}};
    case PromptKind::kLines:
      return prompts_of_lines(source.value);
  }
  return {};
}

std::vector<TokenId> read_ids(const std::string& file) {
  return ids_of(parse(read_file(file), file), file);
}

std::vector<TokenId> tokens_of(const Prompt& prompt, const Tokenizer& tokenizer,
                               const std::string& which) {
  DroppedBytes dropped;
  const std::vector<TokenId> ids =
      prompt.ids ? *prompt.ids : tokenizer.encode(prompt.text, &dropped);
  if (dropped.count > 0) log(LogLevel::kWarning, str("{}: {}", which, dropped.warning()));
  if (ids.empty()) throw UsageError(str("{} is empty; give at least one token", which));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= tokenizer.vocabulary()) {
      throw DataError(str("{}: token {} is {}, but the vocabulary ends at {}", which, i, ids[i],
                          tokenizer.vocabulary() - 1));
    }
  }
  return ids;
}

}  // namespace longspan
