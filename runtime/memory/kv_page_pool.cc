#include "runtime/memory/kv_page_pool.h"

#include <algorithm>
#include <utility>

#include "comm/error.h"

namespace longspan {

KvLease::KvLease(KvLease&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), slots_(std::exchange(other.slots_, {})) {}

KvLease& KvLease::operator=(KvLease&& other) noexcept {
  KvLease taken(std::move(other));
  std::swap(pool_, taken.pool_);
  std::swap(slots_, taken.slots_);
  return *this;
}

KvLease::~KvLease() {
  for (PageSlot slot : slots_) pool_->drop(slot);
}

bool KvLease::try_extend(int count) {
  expects(pool_ != nullptr, "a lease of a pool");
  if (count > pool_->free_pages()) return false;
  const std::vector<PageSlot> fresh = pool_->take(count);
  slots_.insert(slots_.end(), fresh.begin(), fresh.end());
  return true;
}

bool KvLease::try_insert(int at) {
  expects(pool_ != nullptr && at >= 0 && at <= std::ssize(slots_), "a place in the lease");
  if (pool_->free_pages() == 0) return false;
  slots_.insert(slots_.begin() + at, pool_->take(1).front());
  return true;
}

KvLease KvLease::remove(int at) {
  expects(at >= 0 && at < std::ssize(slots_), "a page of the lease");
  const PageSlot slot = slots_[at];
  slots_.erase(slots_.begin() + at);
  return KvLease(*pool_, {slot});
}

KvLease KvLease::share(int count) const {
  expects(count >= 0 && count <= std::ssize(slots_), "shared pages are the lease's");
  std::vector<PageSlot> shared(slots_.begin(), slots_.begin() + count);
  for (PageSlot slot : shared) pool_->reference(slot);
  return KvLease(*pool_, std::move(shared));
}

KvPagePool::KvPagePool(Device& device, const KvPageShape& shape, int pages)
    : shape_(shape),
      memory_(device.allocate(shape.page_bytes() * pages)),
      references_(pages),
      generations_(pages) {
  for (PageSlot slot = pages; slot-- > 0;) free_.push_back(slot);
}

std::optional<KvLease> KvPagePool::try_lease(int count) {
  KvLease lease(*this, {});
  if (!lease.try_extend(count)) return std::nullopt;
  return lease;
}

KvView KvPagePool::layer(int layer) const {
  const std::size_t before = std::size_t(layer) * pages() * shape_.piece_bytes();
  return pages_at(memory_.as<std::byte>().data() + before, shape_.type, shape_.heads,
                  shape_.page_tokens);
}

std::vector<PageSlot> KvPagePool::take(int count) {
  std::vector<PageSlot> slots;
  for (int i = 0; i < count; ++i) {
    slots.push_back(free_.back());
    free_.pop_back();
    references_[slots.back()] = 1;
  }
  most_used_ = std::max(most_used_, pages() - free_pages());
  return slots;
}

void KvPagePool::drop(PageSlot slot) {
  if (--references_[slot] > 0) return;
  ++generations_[slot];
  free_.push_back(slot);
}

}  // namespace longspan
