#include "runtime/session/session_index.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <tuple>

#include "comm/crc32c.h"
#include "comm/error.h"
#include "comm/str.h"
#include "comm/wire.h"
#include "runtime/session/session_file.h"

namespace longspan {
namespace {

constexpr std::array<char, 8> kIndexMagic{'L', 'S', 'P', 'N', 'S', 'E', 'S', 'S'};
constexpr std::array<char, 8> kPartMagic{'L', 'S', 'P', 'N', 'P', 'A', 'G', 'E'};
constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kMostIndexBytes = std::uint64_t{1} << 32;

/// What an index begins with. The CRC is of all that follows it.
struct Head {
  std::array<char, 8> magic = kIndexMagic;
  std::uint32_t version = kVersion;
  std::uint32_t crc = 0;
  std::uint64_t file_bytes = 0;
};
static_assert(sizeof(Head) == 24);
constexpr std::size_t kChecked = 16;  // from there on

// The order and the types of fields are the file's format: another one has another version.

void fields(auto& wire, MaybeConst<SessionTerms> auto& terms) {
  wire(terms.model_digest, terms.kv_type, terms.rope, terms.rope_length, terms.attention,
       terms.salt, terms.layers, terms.kv_heads, terms.head_dim);
}

void fields(auto& wire, MaybeConst<SessionPart> auto& part) {
  wire(part.rank, part.heads.first, part.heads.count);
  wire.list(part.pages, [&](auto& page) { wire(page.number, page.crc); });
}

void fields(auto& wire, MaybeConst<SessionIndex> auto& index) {
  wire(index.generation, index.saved_at, index.model);
  fields(wire, index.terms);
  wire(index.page_tokens, index.tokens, index.computed);
  wire.list(index.messages, [&](auto& message) { wire(message.role, message.content); });
  wire.list(index.parts, [&](auto& part) { fields(wire, part); });
}

[[noreturn]] void refuse(const std::filesystem::path& path, std::string_view why) {
  throw DataError(str("{}: the session is damaged: {}", path.string(), why));
}

/// Bounds beyond which products of these would overflow, far above any model.
void expect_sane_shape(const SessionIndex& index, const std::filesystem::path& path) {
  constexpr int kMost = 1 << 16;
  const SessionTerms& terms = index.terms;
  for (const int size : {terms.layers, terms.kv_heads, terms.head_dim}) {
    if (size < 1 || size > kMost) refuse(path, str("a size of the model is {}", size));
  }
  if (index.page_tokens < 1 || index.page_tokens > kMost) {
    refuse(path, str("its pages have {} tokens", index.page_tokens));
  }
  if (std::ranges::find(kKvTypes, terms.kv_type) == kKvTypes.end()) {
    refuse(path, str("its KV type is number {}", static_cast<int>(terms.kv_type)));
  }
  if (index.computed < 0 || index.computed > std::ssize(index.tokens)) {
    refuse(path, str("{} of its {} tokens are computed", index.computed, index.tokens.size()));
  }
  if (index.computed > 0 && terms.rope_length < 0) refuse(path, "its length is negative");
  for (const TokenId token : index.tokens) {
    if (token < 0) refuse(path, str("a token is {}", token));
  }
}

/// Every head of every page is there, once.
void expect_all_pages(const SessionIndex& index, const std::filesystem::path& path) {
  struct Piece {
    std::int64_t page;
    int first;
    int count;
  };
  std::vector<Piece> pieces;
  const int all = index.terms.kv_heads;
  for (const SessionPart& part : index.parts) {
    const auto [first, count] = part.heads;
    if (first < 0 || count < 1 || first >= all || count > all - first || part.rank < 0) {
      refuse(path, str("rank {} wrote heads {} to {} of {}", part.rank, first,
                       std::int64_t{first} + count - 1, all));
    }
    for (const SessionPage& page : part.pages) pieces.push_back({page.number, first, count});
  }
  std::ranges::sort(pieces, {}, [](const Piece& p) { return std::tuple(p.page, p.first); });
  std::int64_t page = 0;
  int head = 0;
  for (const Piece& piece : pieces) {
    if (piece.page != page || piece.first != head) break;
    head += piece.count;
    if (head == all) {
      head = 0;
      ++page;
    }
  }
  std::size_t whole = 0;
  for (const Piece& piece : pieces) whole += static_cast<std::size_t>(piece.count);
  if (page == index.pages() && whole == static_cast<std::size_t>(page) * all) return;
  refuse(path, str("page {} of its {} is not there once", page, index.pages()));
}

void expect_ascending(const SessionIndex& index, const std::filesystem::path& path) {
  std::vector<int> ranks;
  for (const SessionPart& part : index.parts) {
    ranks.push_back(part.rank);
    const auto falls =
        std::ranges::adjacent_find(part.pages, std::ranges::greater_equal(), &SessionPage::number);
    if (falls != part.pages.end()) refuse(path, str("pages of rank {} are in disorder", part.rank));
  }
  std::ranges::sort(ranks);
  if (std::ranges::adjacent_find(ranks) != ranks.end()) refuse(path, "a rank has two parts");
}

}  // namespace

std::int64_t SessionIndex::columns(std::int64_t number) const {
  return std::min(page_tokens, computed - number * page_tokens);
}

KvPageShape SessionIndex::page_shape(std::int64_t number, int heads) const {
  const std::int64_t positions = columns(number);
  const bool full = positions == page_tokens;
  return {.heads = {.query_heads = heads, .kv_heads = heads, .head_dim = terms.head_dim},
          .layers = terms.layers,
          .page_tokens = positions,
          .type = full ? terms.kv_type : filling_type(terms.kv_type)};
}

std::uint64_t SessionIndex::part_bytes() const {
  std::uint64_t bytes = 0;
  for (const SessionPart& part : parts) {
    bytes += kPartHeaderBytes;
    for (const SessionPage& page : part.pages) {
      bytes += page_shape(page.number, part.heads.count).page_bytes();
    }
  }
  return bytes;
}

std::vector<std::byte> part_header(const SessionIndex& index, int rank) {
  WireWriter out;
  out(kPartMagic, kVersion, rank, index.generation);
  return out.take();
}

std::vector<std::byte> encoded(const SessionIndex& index) {
  WireWriter out;
  out(Head{});
  fields(out, index);
  std::vector<std::byte> file = out.take();
  Head head{.file_bytes = file.size()};
  std::memcpy(file.data(), &head, sizeof(head));
  head.crc = crc32c(ConstBytes(file).subspan(kChecked));
  std::memcpy(file.data(), &head, sizeof(head));
  return file;
}

SessionIndex decoded(std::span<const std::byte> file, const std::filesystem::path& path) {
  Head head;
  const bool whole = file.size() >= sizeof(head);
  if (whole) std::memcpy(&head, file.data(), sizeof(head));
  if (!whole || head.magic != kIndexMagic) {
    throw DataError(str("{}: is no session of longspan, or only a piece of one", path.string()));
  }
  if (head.version != kVersion) {
    throw DataError(
        str("{}: a session of version {}, but this longspan knows version {}; use the "
            "one that wrote it",
            path.string(), head.version, kVersion));
  }
  if (head.file_bytes != file.size()) {
    refuse(path, str("it has {} bytes of {}", file.size(), head.file_bytes));
  }
  if (head.crc != crc32c(file.subspan(kChecked))) refuse(path, "its checksum is another");

  SessionIndex index;
  WireReader in(file.subspan(sizeof(head)), [&] { refuse(path, "it ends early"); });
  fields(in, index);
  if (!in.at_end()) refuse(path, "more follows where it should end");
  expect_sane_shape(index, path);
  expect_ascending(index, path);
  expect_all_pages(index, path);
  return index;
}

SessionIndex read_index(const std::filesystem::path& path) {
  const SessionFile file(path);
  if (!looks_like_index(path) || file.bytes() > kMostIndexBytes) {
    throw DataError(str("{}: is no session of longspan, or only a piece of one", path.string()));
  }
  std::vector<std::byte> bytes(file.bytes());
  file.read(0, bytes);
  return decoded(bytes, path);
}

bool looks_like_index(const std::filesystem::path& path) {
  std::array<char, 8> magic{};
  try {
    const SessionFile file(path);
    if (file.bytes() < magic.size()) return false;
    file.read(0, std::as_writable_bytes(std::span(magic)));
  } catch (const Error&) {
    return false;
  }
  return magic == kIndexMagic;
}

}  // namespace longspan
