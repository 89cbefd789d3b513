#include "tests/attention/pattern.h"

#include "comm/str.h"

namespace longspan::test {

Pattern::Pattern(const Mask& bounds)
    : mask(bounds),
      sees([bounds](std::int64_t query, std::int64_t key) {
        return bounds.is_full() ||
               (key <= query && (!bounds.is_windowed() || query - key < bounds.keys()));
      }),
      name(bounds.is_windowed() ? str("window {}", bounds.keys())
           : bounds.is_full()   ? "full"
                                : "causal") {}

Pattern sinks(std::int64_t anchor, std::int64_t window) {
  return {Mask::sinks(anchor, window),
          [=](std::int64_t query, std::int64_t key) {
            return key <= query && (key < anchor || key > query - window);
          },
          str("{} sinks and a window of {}", anchor, window)};
}

Pattern blocks(const BlockMask& blocks) {
  return {Mask::blocks(blocks),
          [blocks](std::int64_t query, std::int64_t key) {
            if (key > query) return false;
            return query >= blocks.exact_from || key < blocks.anchor ||
                   key / blocks.block == query / blocks.block;
          },
          str("an anchor of {} and blocks of {}, exact from {}", blocks.anchor, blocks.block,
              blocks.exact_from)};
}

}  // namespace longspan::test
