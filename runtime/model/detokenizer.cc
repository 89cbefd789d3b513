// Detokenizer (tokenizer.h).
#include "runtime/model/tokenizer.h"
#include "runtime/model/utf8.h"

namespace longspan {

std::string Detokenizer::push(TokenId id) {
  pending_ += tokenizer_->bytes(id);
  std::string text;
  move_decided_utf8(pending_, text);
  return text;
}

std::string Detokenizer::finish() {
  // An unfinished character is one maximal ill-formed part.
  const bool unfinished = !pending_.empty();
  pending_.clear();
  return std::string(unfinished ? kReplacement : "");
}

}  // namespace longspan
