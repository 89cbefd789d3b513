#include "runtime/model/sha256.h"

#include <fcntl.h>
#include <openssl/evp.h>

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "comm/error.h"

namespace longspan {
namespace {

// Large enough for a network disk, small enough to stay in a core's cache until it is hashed.
constexpr std::uint64_t kPiece = 1 << 20;

constexpr std::string_view kDigits = "0123456789abcdef";

/// The library fails only where it has no memory, or where its configuration forbids SHA-256.
void expect_done(int result) {
  if (result != 1) throw Error(ExitCode::kUnavailable, "OpenSSL does not give SHA-256 here");
}

}  // namespace

std::string hex(const Sha256& digest) {
  std::string digits;
  for (const std::uint8_t byte : digest) {
    digits += kDigits[byte >> 4];
    digits += kDigits[byte & 15];
  }
  return digits;
}

std::string shortened(const Sha256& digest) { return hex(digest).substr(0, 12); }

std::optional<Sha256> parse_sha256(std::string_view digits) {
  Sha256 digest{};
  if (digits.size() != 2 * digest.size()) return std::nullopt;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const std::size_t value = kDigits.find(digits[i]);
    if (value == std::string_view::npos) return std::nullopt;
    digest[i / 2] = static_cast<std::uint8_t>(digest[i / 2] << 4 | value);
  }
  return digest;
}

Sha256 sha256_of(const ModelFile& file, const std::function<void(std::uint64_t bytes)>& read) {
  // The disk reads on while a piece is hashed.
  posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_SEQUENTIAL);
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free);
  expect_done(context != nullptr && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr));
  std::vector<std::byte> buffer(std::min(kPiece, file.bytes()));
  for (std::uint64_t at = 0; at < file.bytes(); at += buffer.size()) {
    const auto piece = std::span(buffer).first(std::min(kPiece, file.bytes() - at));
    file.read(at, piece);
    expect_done(EVP_DigestUpdate(context.get(), piece.data(), piece.size()));
    read(piece.size());
  }
  Sha256 digest{};
  expect_done(EVP_DigestFinal_ex(context.get(), digest.data(), nullptr));
  return digest;
}

Sha256 sha256_of(std::string_view text) {
  Sha256 digest{};
  expect_done(EVP_Digest(text.data(), text.size(), digest.data(), nullptr, EVP_sha256(), nullptr));
  return digest;
}

}  // namespace longspan
