// Names of full pages: of two pages with one name the tokens are the same, and so are all before.
//
//   root(salt) --+--> unit 0 --+--> unit 1 --+--> ...       page i of a unit: the unit's name + i
//                |             |             |
//         unit 0's tokens    unit 1's      unit 2's
//
// A unit is as many pages as are shared at once: of prompts that part within one, no page has the
// name of another's, and each leaves its own for those that go on as it does.
//
// A name is a keyed hash of 128 bits (HMAC-SHA-256, cut). The key is drawn anew by each process and
// never leaves it, so nobody can make two contexts with one name, and by chance there are none: who
// finds a name need not compare tokens. Only rank 0 has names.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/model/tokenizer.h"
#include "scheduler/page_ref.h"

namespace longspan {

class PageNames {
 public:
  /// Draws a key. Throws Error where OpenSSL gives none.
  explicit PageNames(std::int64_t page_tokens, std::int64_t unit_pages = 1);

  /// Where the names of a text that grows have got to.
  struct Chain {
    PageHash last;              // of the whole units
    std::vector<TokenId> open;  // behind them
  };

  /// Texts with different salts never share a page: whatever else decides what a page holds, or may
  /// see it, belongs in there.
  Chain begin(std::string_view salt) const;
  /// Of each page of the units that `tokens`, which follow, make whole.
  std::vector<PageHash> go_on(Chain& chain, std::span<const TokenId> tokens) const;
  /// Of each page of the whole units of `tokens`.
  std::vector<PageHash> of(std::span<const TokenId> tokens, std::string_view salt) const;

 private:
  /// Of a message that begins with `kind`, so that a root is never the name of a page.
  PageHash hash(char kind, std::span<const std::byte> message) const;

  std::int64_t page_tokens_;
  std::int64_t unit_pages_;
  std::array<unsigned char, 32> key_{};
};

}  // namespace longspan
