// A session made up for tests, with pages of random bytes.
#pragma once

#include <filesystem>
#include <random>
#include <vector>

#include "runtime/session/session_folder.h"
#include "runtime/session/session_pages.h"

namespace longspan::test {

/// 21 computed tokens of 23, in pages of 8; three heads, which two ranks hold as two and one.
inline SessionIndex some_index(std::uint64_t generation) {
  SessionIndex index{.generation = generation,
                     .saved_at = 1'700'000'000,
                     .model = "a model",
                     .terms = {.rope = "base 10000",
                               .attention = "exact",
                               .layers = 2,
                               .kv_heads = 3,
                               .head_dim = 4},
                     .page_tokens = 8,
                     .computed = 21,
                     .messages = {{"user", "Hi"}, {"assistant", "Ho"}}};
  for (TokenId token = 0; token < 23; ++token) index.tokens.push_back(token * 7);
  return index;
}

inline std::vector<std::byte> some_page(const SessionIndex& index, std::int64_t number, int rank) {
  std::mt19937 random(static_cast<unsigned>(index.generation * 100 + number * 2 + rank));
  std::vector<std::byte> page(index.page_shape(number, rank == 0 ? 2 : 1).page_bytes());
  for (std::byte& byte : page) byte = static_cast<std::byte>(random());
  return page;
}

/// Writes the parts of `index`, as two ranks would, and puts them into it.
inline void write_parts(const std::filesystem::path& session, SessionIndex& index) {
  for (int rank : {0, 1}) {
    SessionPartWriter writer(session, index, rank, rank == 0 ? Slice{0, 2} : Slice{2, 1});
    for (std::int64_t page = 0; page < index.pages(); ++page) {
      writer.add(page, some_page(index, page, rank));
    }
    index.parts.push_back(writer.keep());
  }
}

}  // namespace longspan::test
