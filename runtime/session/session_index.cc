#include "runtime/session/session_index.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <string_view>
#include <tuple>
#include <type_traits>

#include "comm/crc32c.h"
#include "comm/error.h"
#include "comm/str.h"
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

/// Plain values as they lie in memory: little-endian, wherever longspan runs.
class Writer {
 public:
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  void put(const T& value) {
    const auto* at = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), at, at + sizeof(T));
  }
  void put(const std::string& text) {
    put(std::uint64_t{text.size()});
    const auto bytes = std::as_bytes(std::span(text));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  template <typename T, typename Each>
  void put(const std::vector<T>& values, Each&& each) {
    put(std::uint64_t{values.size()});
    for (const T& value : values) each(value);
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

/// The reverse. No size is believed that the bytes left could not hold.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string path) : left_(bytes), path_(path) {}

  [[noreturn]] void refuse(std::string_view why) const {
    throw DataError(str("{}: the session is damaged: {}", path_, why));
  }
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  void read(T& value) {
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
  }
  void read(std::string& text) {
    const auto bytes = take(count(1));
    text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  /// Elements that take `least` bytes or more.
  template <typename T, typename Each>
  void read(std::vector<T>& values, std::size_t least, Each&& each) {
    values.resize(count(least));
    for (T& value : values) each(value);
  }
  bool at_end() const { return left_.empty(); }

 private:
  std::size_t count(std::size_t least) {
    std::uint64_t many = 0;
    read(many);
    if (many > left_.size() / least) refuse("a list is longer than the file");
    return many;
  }
  std::span<const std::byte> take(std::size_t bytes) {
    if (bytes > left_.size()) refuse("it ends early");
    const auto taken = left_.first(bytes);
    left_ = left_.subspan(bytes);
    return taken;
  }

  std::span<const std::byte> left_;
  std::string path_;
};

void put(Writer& out, const SessionTerms& terms) {
  out.put(terms.model_digest);
  out.put(terms.kv_type);
  out.put(terms.rope);
  out.put(terms.rope_length);
  out.put(terms.attention);
  out.put(terms.salt);
  out.put(terms.layers);
  out.put(terms.kv_heads);
  out.put(terms.head_dim);
}

void read(Reader& in, SessionTerms& terms) {
  in.read(terms.model_digest);
  in.read(terms.kv_type);
  in.read(terms.rope);
  in.read(terms.rope_length);
  in.read(terms.attention);
  in.read(terms.salt);
  in.read(terms.layers);
  in.read(terms.kv_heads);
  in.read(terms.head_dim);
}

void read(Reader& in, SessionPart& part) {
  in.read(part.rank);
  in.read(part.heads.first);
  in.read(part.heads.count);
  in.read(part.pages, sizeof(std::int64_t) + sizeof(std::uint32_t), [&](SessionPage& page) {
    in.read(page.number);
    in.read(page.crc);
  });
}

/// Bounds beyond which products of these would overflow, far above any model.
void expect_sane_shape(const Reader& in, const SessionIndex& index) {
  constexpr int kMost = 1 << 16;
  const SessionTerms& terms = index.terms;
  for (const int size : {terms.layers, terms.kv_heads, terms.head_dim}) {
    if (size < 1 || size > kMost) in.refuse(str("a size of the model is {}", size));
  }
  if (index.page_tokens < 1 || index.page_tokens > kMost) {
    in.refuse(str("its pages have {} tokens", index.page_tokens));
  }
  if (std::ranges::find(kKvTypes, terms.kv_type) == kKvTypes.end()) {
    in.refuse(str("its KV type is number {}", static_cast<int>(terms.kv_type)));
  }
  if (index.computed < 0 || index.computed > std::ssize(index.tokens)) {
    in.refuse(str("{} of its {} tokens are computed", index.computed, index.tokens.size()));
  }
  if (index.computed > 0 && terms.rope_length < 0) in.refuse("its length is negative");
  for (const TokenId token : index.tokens) {
    if (token < 0) in.refuse(str("a token is {}", token));
  }
}

/// Every head of every page is there, once.
void expect_all_pages(const Reader& in, const SessionIndex& index) {
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
      in.refuse(str("rank {} wrote heads {} to {} of {}", part.rank, first,
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
  in.refuse(str("page {} of its {} is not there once", page, index.pages()));
}

void expect_ascending(const Reader& in, const SessionIndex& index) {
  std::vector<int> ranks;
  for (const SessionPart& part : index.parts) {
    ranks.push_back(part.rank);
    const auto falls =
        std::ranges::adjacent_find(part.pages, std::ranges::greater_equal(), &SessionPage::number);
    if (falls != part.pages.end()) in.refuse(str("pages of rank {} are in disorder", part.rank));
  }
  std::ranges::sort(ranks);
  if (std::ranges::adjacent_find(ranks) != ranks.end()) in.refuse("a rank has two parts");
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
  Writer out;
  out.put(kPartMagic);
  out.put(kVersion);
  out.put(rank);
  out.put(index.generation);
  return out.take();
}

std::vector<std::byte> encoded(const SessionIndex& index) {
  Writer out;
  out.put(Head{});
  out.put(index.generation);
  out.put(index.saved_at);
  out.put(index.model);
  put(out, index.terms);
  out.put(index.page_tokens);
  out.put(index.tokens, [&](TokenId token) { out.put(token); });
  out.put(index.computed);
  out.put(index.messages, [&](const ChatMessage& message) {
    out.put(message.role);
    out.put(message.content);
  });
  out.put(index.parts, [&](const SessionPart& part) {
    out.put(part.rank);
    out.put(part.heads.first);
    out.put(part.heads.count);
    out.put(part.pages, [&](const SessionPage& page) {
      out.put(page.number);
      out.put(page.crc);
    });
  });
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
  Reader in(file.subspan(sizeof(head)), path.string());
  if (head.file_bytes != file.size()) {
    in.refuse(str("it has {} bytes of {}", file.size(), head.file_bytes));
  }
  if (head.crc != crc32c(file.subspan(kChecked))) in.refuse("its checksum is another");

  SessionIndex index;
  in.read(index.generation);
  in.read(index.saved_at);
  in.read(index.model);
  read(in, index.terms);
  in.read(index.page_tokens);
  in.read(index.tokens, sizeof(TokenId), [&](TokenId& token) { in.read(token); });
  in.read(index.computed);
  in.read(index.messages, 2 * sizeof(std::uint64_t), [&](ChatMessage& message) {
    in.read(message.role);
    in.read(message.content);
  });
  constexpr std::size_t kLeastPart = 3 * sizeof(int) + sizeof(std::uint64_t);
  in.read(index.parts, kLeastPart, [&](SessionPart& part) { read(in, part); });
  if (!in.at_end()) in.refuse("more follows where it should end");
  expect_sane_shape(in, index);
  expect_ascending(in, index);
  expect_all_pages(in, index);
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
