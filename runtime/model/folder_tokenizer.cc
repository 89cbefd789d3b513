#include "runtime/model/folder_tokenizer.h"

#include "comm/str.h"
#include "runtime/model/folder_ends.h"
#include "runtime/model/tokenizer_json.h"
#include "runtime/model/tokenizer_rules.h"

namespace longspan {
namespace {

TokenizerRules ids_only(const std::filesystem::path& folder, int vocabulary) {
  TokenizerRules rules{.kind = "ids only", .ids_only_of = folder};
  for (int id = 0; id < vocabulary; ++id) rules.bytes.push_back(str("<{}>", id));
  rules.ends = folder_ends(folder, vocabulary);
  return rules;
}

}  // namespace

Tokenizer folder_tokenizer(const std::filesystem::path& folder, int vocabulary) {
  const std::filesystem::path file = folder / "tokenizer.json";
  std::error_code ignored;
  if (std::filesystem::exists(file, ignored)) return load_tokenizer_json(file, vocabulary);
  return Tokenizer(ids_only(folder, vocabulary));
}

}  // namespace longspan
