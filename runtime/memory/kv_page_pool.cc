#include "runtime/memory/kv_page_pool.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "comm/error.h"
#include "comm/str.h"

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

void KvLease::claim(int at, PageContents page) {
  expects(pool_ != nullptr && at >= 0 && at <= std::ssize(slots_), "a place in the lease");
  pool_->claim(page);
  slots_.insert(slots_.begin() + at, page.slot);
}

void KvLease::join(PageContents page) {
  expects(pool_ != nullptr, "a lease of a pool");
  pool_->join(page);
  slots_.push_back(page.slot);
}

KvLease KvLease::remove(int at) {
  expects(at >= 0 && at < std::ssize(slots_), "a page of the lease");
  const PageSlot slot = slots_[at];
  slots_.erase(slots_.begin() + at);
  return KvLease(*pool_, {slot});
}

KvLease KvLease::share(int first, int count) const {
  expects(first >= 0 && count >= 0 && first + count <= std::ssize(slots_), "pages of the lease");
  if (pool_ == nullptr) return {};
  const std::vector<PageSlot> some(slots_.begin() + first, slots_.begin() + first + count);
  for (const PageSlot slot : some) pool_->refer(slot);
  return KvLease(*pool_, some);
}

KvPagePool::KvPagePool(Device& device, const KvPageShape& shape, int pages)
    : device_(device),
      shape_(shape),
      memory_(device.allocate(shape.page_bytes() * pages)),
      references_(pages),
      generations_(pages, -1) {}

std::optional<PageContents> KvPagePool::unused() const {
  const auto free = std::ranges::find(references_, 0);
  if (free == references_.end()) return std::nullopt;
  const auto slot = static_cast<PageSlot>(free - references_.begin());
  return PageContents{slot, static_cast<std::uint32_t>(generations_[slot] + 1)};
}

Bytes KvPagePool::piece(PageSlot slot, int layer) const {
  const std::size_t bytes = shape_.piece_bytes();
  return memory_.as<std::byte>().subspan((std::size_t(layer) * pages() + slot) * bytes, bytes);
}

void KvPagePool::save(Stream& stream, PageSlot slot, Bytes page) const {
  const std::size_t bytes = shape_.piece_bytes();
  expects(page.size() == shape_.page_bytes(), "a whole page");
  device_.copy_rows(stream, page.data(), bytes, piece(slot, 0).data(), pages() * bytes, bytes,
                    shape_.layers);
}

void KvPagePool::load(Stream& stream, PageSlot slot, ConstBytes page) {
  const std::size_t bytes = shape_.piece_bytes();
  expects(page.size() == shape_.page_bytes(), "a whole page");
  device_.copy_rows(stream, piece(slot, 0).data(), pages() * bytes, page.data(), bytes, bytes,
                    shape_.layers);
}

void KvPagePool::copy(Stream& stream, PageSlot from, PageSlot to) {
  for (int layer = 0; layer < shape_.layers; ++layer) {
    device_.copy(stream, piece(to, layer), piece(from, layer));
  }
}

KvView KvPagePool::layer(int layer) const {
  const std::size_t before = std::size_t(layer) * pages() * shape_.piece_bytes();
  return pages_at(memory_.as<std::byte>().data() + before, shape_.type, shape_.heads,
                  shape_.page_tokens);
}

void KvPagePool::claim(PageContents page) {
  if (page.slot < 0 || page.slot >= pages()) refuse(page, str("there are {} slots", pages()));
  if (references_[page.slot] > 0) refuse(page, "it is in use");
  std::int64_t& generation = generations_[page.slot];
  if (page.generation <= generation) refuse(page, str("it has had generation {}", generation));
  generation = page.generation;
  refer(page.slot);
}

void KvPagePool::join(PageContents page) {
  if (page.slot < 0 || page.slot >= pages()) refuse(page, str("there are {} slots", pages()));
  const std::int64_t generation = generations_[page.slot];
  if (page.generation != generation) refuse(page, str("it holds generation {}", generation));
  refer(page.slot);
}

void KvPagePool::refer(PageSlot slot) {
  if (++references_[slot] == 1) most_used_ = std::max(most_used_, ++used_);
}

void KvPagePool::drop(PageSlot slot) {
  if (--references_[slot] == 0) --used_;
}

void KvPagePool::refuse(PageContents page, std::string_view why) const {
  throw std::logic_error(
      str("page {}, generation {}, was handed out, but {}", page.slot, page.generation, why));
}

}  // namespace longspan
