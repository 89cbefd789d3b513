#include "runtime/model/folder_tokenizer.h"

namespace longspan {

Tokenizer folder_tokenizer(const std::filesystem::path& folder, int vocabulary) {
  return Tokenizer(vocabulary, folder);
}

}  // namespace longspan
