// Our side of tests/oracles. Reads JSON values from standard input, one per line, and answers each
// on a line of its own:
//
//   "text"     ids of the text
//   [1, 2]     the text that becomes complete with each id, and what is left at the end
//   {"text": "text"}   how many ids it has, and seconds of processor time that it took: [7, 0.001]
#include <ctime>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/model/gguf.h"
#include "runtime/model/tokenizer.h"
#include "runtime/model/tokenizer_json.h"

namespace longspan {
namespace {

Tokenizer open(const std::string& path) {
  if (path.ends_with(".json")) return load_tokenizer_json(path);
  return Tokenizer(GgufFile(path));
}

/// Part by part: half a character would be no JSON.
std::vector<std::string> stream(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  Detokenizer detokenizer(tokenizer);
  std::vector<std::string> parts;
  for (const TokenId id : ids) parts.push_back(detokenizer.push(id));
  parts.push_back(detokenizer.finish());
  return parts;
}

nlohmann::json timed(const Tokenizer& tokenizer, const std::string& text) {
  const std::clock_t start = std::clock();
  const std::size_t ids = tokenizer.encode(text).size();
  return {ids, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC};
}

nlohmann::json answer(const Tokenizer& tokenizer, const nlohmann::json& line) {
  if (line.is_string()) return tokenizer.encode(line.get<std::string>());
  if (line.is_object()) return timed(tokenizer, line.at("text").get<std::string>());
  return stream(tokenizer, line.get<std::vector<TokenId>>());
}

}  // namespace
}  // namespace longspan

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: tokenize_lines MODEL.gguf|tokenizer.json < lines.jsonl\n";
    return 2;
  }
  try {
    const auto tokenizer = longspan::open(argv[1]);
    for (std::string line; std::getline(std::cin, line);) {
      std::cout << longspan::answer(tokenizer, nlohmann::json::parse(line)).dump() << '\n';
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
