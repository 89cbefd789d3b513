#include "runtime/memory/kv_store.h"

namespace longspan {

KvPageShape KvStoreShape::tail_page() const {
  KvPageShape shape = page;
  shape.type = filling_type(page.type);
  return shape;
}

KvPageShape KvStoreShape::fresh_page() const {
  KvPageShape shape = tail_page();
  shape.layers = 1;
  return shape;
}

std::size_t KvStoreShape::bytes() const {
  return pages * page.page_bytes() + tails * tail_page().page_bytes() +
         fresh * fresh_page().page_bytes();
}

/// A chunk touches most pages when its first token is the last of one.
KvStoreShape store_shape(const KvPageShape& page, int pages, int running,
                         std::int64_t chunk_tokens) {
  KvStoreShape shape{.page = page, .pages = pages};
  if (!has_scales(page.type)) return shape;
  shape.tails = running;
  const std::int64_t behind_the_first = chunk_tokens + page.page_tokens - 2;
  shape.fresh = chunk_tokens == 0 ? 0 : static_cast<int>(1 + behind_the_first / page.page_tokens);
  return shape;
}

KvStore::KvStore(Device& device, const KvStoreShape& shape)
    : pages_(device, shape.page, shape.pages),
      tails_(device, shape.tail_page(), shape.tails),
      fresh_(device, shape.fresh_page(), shape.fresh) {}

KvPages KvStore::layer(int layer) const {
  if (!fill_apart()) return pages_.layer(layer);
  return {pages_.layer(layer), tails_.layer(layer), fresh_.layer(0)};
}

}  // namespace longspan
