// Templates as a stranger could write them: real ones, cut, spliced and with bytes changed.
// Whatever they are, rendering ends, with a text or with a DataError. AddressSanitizer sees the
// rest.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "comm/error.h"
#include "runtime/chat/chat_template.h"

namespace longspan {
namespace {

std::vector<std::string> real_templates() {
  std::vector<std::string> list;
  for (const auto& file : std::filesystem::directory_iterator(LONGSPAN_CHAT_TEMPLATES)) {
    std::ifstream in(file.path(), std::ios::binary);
    list.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return list;
}

/// What templates are made of: more of it is parsed than of random bytes.
constexpr const char* kPieces[] = {
    "{%",          "%}",        "{{",         "}}",         "{#",      "#}",         "-",
    "+",           "if ",       "endif ",     "for x in ",  "endfor ", "else ",      "set x = ",
    "macro m(",    "endmacro ", "call ",      "(",          ")",       "[",          "]",
    "{",           "}",         "|",          "~",          ".",       ":",          ",",
    "x",           "loop",      "messages",   "'",          "\"",      "\\",         "**",
    "//",          "is ",       "not ",       "in ",        "and ",    "9999999999", "1",
    "0",           "range(",    "namespace(", "tojson",     "map",     "join",       "sort",
    "batch",       "indent",    "replace",    "recursive ", "::",      "\n",         "\xc3",
    "\xe2\x80\xa8"};

std::string mutated(std::string text, const std::vector<std::string>& all, std::mt19937& random) {
  const auto place = [&] { return text.empty() ? 0 : random() % text.size(); };
  for (unsigned changes = 1 + random() % 6; changes > 0; --changes) {
    switch (random() % 4) {
      case 0:
        text.erase(place(), random() % 20);
        break;
      case 1:
        text.insert(place(), kPieces[random() % std::size(kPieces)]);
        break;
      case 2: {
        const std::string& other = all[random() % all.size()];
        text.insert(place(), other.substr(random() % other.size(), random() % 60));
        break;
      }
      default:
        if (!text.empty()) text[place()] = static_cast<char>(random());
    }
  }
  return text;
}

TEST(ChatTemplateHostileTest, WhateverATemplateIsItEndsInATextOrAnError) {
  const std::vector<std::string> all = real_templates();
  ASSERT_GE(all.size(), 8u);
  TemplateDict variables = chat_variables({{"system", "Be brief."},
                                           {"user", "What's the \xe2\x80\xa8 weather?"},
                                           {"assistant", "Fine."}});
  variables.set("bos_token", "<s>");
  variables.set("eos_token", "</s>");
  std::mt19937 random(7);
  int texts = 0, errors = 0;
  for (int round = 0; round < 8000; ++round) {
    try {
      ChatTemplate(mutated(all[random() % all.size()], all, random), "t").render(variables, 0);
      ++texts;
    } catch (const DataError&) {
      ++errors;
    }
  }
  EXPECT_GT(texts, 100);  // mutations that leave nothing to run would test nothing
  EXPECT_GT(errors, 100);
}

}  // namespace
}  // namespace longspan
