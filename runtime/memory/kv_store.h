// All KV memory of one rank: the pages, and where pages with scales fill before they are rounded.
//
//   pages   | a slot per page                 | all layers     of the type asked for
//   tails   | a slot per running sequence     | all layers     bfloat16  \  only beside
//   fresh   | the pages that one chunk fills  | one layer      bfloat16  /  pages with scales
//
// A page takes its slot when it is opened, wherever it fills, so that memory that was promised is
// there. attention/kv_pages.h says when columns move from one to the other.
#pragma once

#include "attention/kv_pages.h"
#include "comm/device.h"
#include "runtime/memory/kv_page_pool.h"

namespace longspan {

struct KvStoreShape {
  KvPageShape page;
  int pages = 0;
  int tails = 0;  // 0 where pages fill in place, and so is `fresh`
  int fresh = 0;

  KvPageShape tail_page() const;
  KvPageShape fresh_page() const;
  /// What a KvStore allocates.
  std::size_t bytes() const;
};

/// The shape for `pages` pages, sequences of which `running` run at once, and chunks of at most
/// `chunk_tokens` tokens.
KvStoreShape store_shape(const KvPageShape& page, int pages, int running,
                         std::int64_t chunk_tokens);

class KvStore {
 public:
  /// Throws OutOfMemory.
  KvStore(Device& device, const KvStoreShape& shape);

  KvPagePool& pages() { return pages_; }
  const KvPagePool& pages() const { return pages_; }
  /// Null where pages fill in place.
  KvPagePool* tails() { return fill_apart() ? &tails_ : nullptr; }
  /// Everything at `layer`.
  KvPages layer(int layer) const;

 private:
  bool fill_apart() const { return has_scales(pages_.shape().type); }

  KvPagePool pages_;
  KvPagePool tails_;
  KvPagePool fresh_;
};

}  // namespace longspan
