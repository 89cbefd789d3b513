#include "runtime/engine/page_names.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <cstring>

#include "comm/error.h"
#include "comm/wire.h"

namespace longspan {

PageNames::PageNames(std::int64_t page_tokens, std::int64_t unit_pages)
    : page_tokens_(page_tokens), unit_pages_(unit_pages) {
  expects(page_tokens >= 1 && unit_pages >= 1, "a page holds a token at least, a unit a page");
  if (RAND_bytes(key_.data(), static_cast<int>(key_.size())) != 1) {
    throw Error(ExitCode::kUnavailable, "OpenSSL gives no random bytes here");
  }
}

PageNames::Chain PageNames::begin(std::string_view salt) const {
  return {.last = hash('r', std::as_bytes(std::span(salt))), .open = {}};
}

std::vector<PageHash> PageNames::go_on(Chain& chain, std::span<const TokenId> tokens) const {
  std::vector<PageHash> names;
  chain.open.insert(chain.open.end(), tokens.begin(), tokens.end());
  std::span<const TokenId> open = chain.open;
  const std::int64_t unit = page_tokens_ * unit_pages_;
  for (; std::ssize(open) >= unit; open = open.subspan(unit)) {
    WireWriter message;
    message.put(chain.last);
    for (const TokenId token : open.first(unit)) message.put(token);
    chain.last = hash('u', message.take());
    for (std::int64_t page = 0; page < unit_pages_; ++page) {
      names.push_back({chain.last.high, chain.last.low + static_cast<std::uint64_t>(page)});
    }
  }
  chain.open.erase(chain.open.begin(), chain.open.end() - std::ssize(open));
  return names;
}

std::vector<PageHash> PageNames::of(std::span<const TokenId> tokens, std::string_view salt) const {
  Chain chain = begin(salt);
  return go_on(chain, tokens);
}

PageHash PageNames::hash(char kind, std::span<const std::byte> message) const {
  std::vector<unsigned char> bytes(1 + message.size());
  bytes.front() = static_cast<unsigned char>(kind);
  if (!message.empty()) std::memcpy(bytes.data() + 1, message.data(), message.size());
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  const bool done = HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()), bytes.data(),
                         bytes.size(), digest.data(), nullptr) != nullptr;
  if (!done) throw Error(ExitCode::kUnavailable, "OpenSSL does not give SHA-256 here");
  PageHash name;
  std::memcpy(&name.high, digest.data(), sizeof(name.high));
  std::memcpy(&name.low, digest.data() + sizeof(name.high), sizeof(name.low));
  return name;
}

}  // namespace longspan
