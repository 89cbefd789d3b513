// Detokenizer (tokenizer.h).
#include "runtime/model/tokenizer.h"
#include "runtime/model/utf8.h"

namespace longspan {

std::string Detokenizer::push(TokenId id) {
  std::string_view bytes = tokenizer_->bytes(id);
  if (drops_space_ && !bytes.empty()) {
    if (bytes.front() == ' ') bytes.remove_prefix(1);
    drops_space_ = false;
  }
  pending_ += bytes;
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
