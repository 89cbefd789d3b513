// What a session file says: the tokens of a conversation, what of them is computed, under which
// terms that may be used again, and which pages of keys and values lie in which file beside it.
//
//   talk.session                              the index: this, in one file, with a CRC of all of it
//   talk.session.9f2c81d07a64be13.0.kv        a part: the pages that rank 0 wrote, one after
//   another talk.session.9f2c81d07a64be13.1.kv        rank 1's
//                |
//                the generation, drawn anew by each save: no save writes into the files of another
//
// A page holds, layer by layer, K of each of the part's heads and V of each: as many columns as the
// page has positions, the last one fewer. Of int8, full pages have their scales behind them, and a
// page that is not full is bfloat16, as it is in memory.
//
//   part   | magic, version, rank, generation: 24 bytes | page | page | ...
//
// Nothing that a file says is believed before it is checked: an index that was read is sound.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "attention/even_slice.h"
#include "attention/kv_type.h"
#include "runtime/chat/chat_template.h"
#include "runtime/memory/kv_page_pool.h"
#include "runtime/model/sha256.h"
#include "runtime/model/tokenizer.h"

namespace longspan {

/// What keys and values depend on besides the tokens.
struct SessionTerms {
  Sha256 model_digest{};
  KvType kv_type = KvType::kFloat32;
  std::string rope;              // the rules that turn keys, for people and to compare
  std::int64_t rope_length = 0;  // for which they were turned; 0: they do not depend on one
  std::string attention;         // "exact", or which keys a token saw
  std::string salt;              // an id of whose they are; empty on the command line
  int layers = 1;
  int kv_heads = 1;  // of the whole model
  int head_dim = 1;

  friend bool operator==(const SessionTerms&, const SessionTerms&) = default;
};

struct SessionPage {
  std::int64_t number = 0;  // of the sequence
  std::uint32_t crc = 0;
};

/// The pages that one rank wrote, with the heads that it holds, in the order of their numbers.
struct SessionPart {
  int rank = 0;
  Slice heads;
  std::vector<SessionPage> pages;
};

struct SessionIndex {
  std::uint64_t generation = 0;
  std::int64_t saved_at = 0;  // seconds since 1970
  std::string model;          // its name, for people
  SessionTerms terms;
  std::int64_t page_tokens = 1;
  std::vector<TokenId> tokens;
  std::int64_t computed = 0;          // of them, the first ones: their keys and values are there
  std::vector<ChatMessage> messages;  // of a conversation that has any
  std::vector<SessionPart> parts;

  std::int64_t pages() const { return (computed + page_tokens - 1) / page_tokens; }
  /// Positions of page `number`.
  std::int64_t columns(std::int64_t number) const;
  /// How page `number` lies in a part of so many heads.
  KvPageShape page_shape(std::int64_t number, int heads) const;
  /// Of all parts together.
  std::uint64_t part_bytes() const;
};

inline constexpr std::uint64_t kPartHeaderBytes = 24;

/// What a part begins with.
std::vector<std::byte> part_header(const SessionIndex& index, int rank);

/// The index as its file holds it.
std::vector<std::byte> encoded(const SessionIndex& index);
/// The reverse. Throws DataError that names `path`, and says what is wrong: another kind of file, a
/// version that is not known, bytes that are not those that were written, pages that do not add up.
SessionIndex decoded(std::span<const std::byte> file, const std::filesystem::path& path);

/// The index at `path`. Throws as SessionFile and decoded() do.
SessionIndex read_index(const std::filesystem::path& path);

/// Whether the file begins as an index does. False for one that cannot be read.
bool looks_like_index(const std::filesystem::path& path);

}  // namespace longspan
