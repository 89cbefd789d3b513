// Encodes the JSON strings on standard input, one per line, and prints their ids, one line each:
// our side of tests/oracles/tokenizer_oracle.py.
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "runtime/model/gguf.h"
#include "runtime/model/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: tokenize_lines MODEL.gguf < strings.jsonl\n";
    return 2;
  }
  try {
    const longspan::Tokenizer tokenizer{longspan::GgufFile(argv[1])};
    for (std::string line; std::getline(std::cin, line);) {
      const auto text = nlohmann::json::parse(line).get<std::string>();
      std::cout << nlohmann::json(tokenizer.encode(text)).dump() << '\n';
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
