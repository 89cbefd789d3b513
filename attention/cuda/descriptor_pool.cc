#include "attention/cuda/descriptor_pool.h"

#include <algorithm>
#include <bit>

#include "comm/cuda/pinned_memory.h"
#include "comm/error.h"

namespace longspan {
namespace {

/// The positions of 4096 rows, or 20 segments with the tables of a million columns in pages of 128.
constexpr std::size_t kSmallestSlot = std::size_t{64} << 10;
constexpr int kSlotsAtFirst = 8;
constexpr int kMoreSlots = 4;

}  // namespace

const void* Descriptors::append(const void* values, std::size_t bytes) {
  if (step_ != nullptr) return step_->describe(values, bytes);
  expects(used_ + bytes <= host_.size(), "descriptions fit into the room that was asked for");
  if (bytes > 0) std::memcpy(host_.data() + used_, values, bytes);
  const void* const at = device_.data() + used_;
  used_ += room<std::byte>(static_cast<std::int64_t>(bytes));
  return at;
}

DescriptorPool::DescriptorPool(Device& device) : device_(device) {
  add_slots(kSlotsAtFirst, kSmallestSlot);
}

void DescriptorPool::add_slots(int count, std::size_t bytes) {
  const Bytes host = memory_.emplace_back(allocate_pinned(count * bytes)).bytes();
  const Bytes device = memory_.emplace_back(device_.allocate(count * bytes)).bytes();
  for (int i = 0; i < count; ++i) {
    auto slot = std::make_unique<Descriptors>();
    slot->host_ = host.subspan(i * bytes, bytes);
    slot->device_ = device.subspan(i * bytes, bytes);
    slots_.push_back(std::move(slot));
  }
}

Descriptors& DescriptorPool::take(std::size_t bytes, const CudaStream& stream) {
  if (LaunchRecord* const record = stream.recording()) {
    of_step_.step_ = record;
    return of_step_;
  }
  const std::lock_guard lock(mutex_);
  const auto fits = [&](const Descriptors& slot) {
    return !slot.held_ && slot.host_.size() >= bytes && slot.free_.has_happened();
  };
  std::size_t found = slots_.size();
  for (std::size_t i = 0; i < slots_.size() && found == slots_.size(); ++i) {
    const std::size_t candidate = (next_ + i) % slots_.size();
    if (fits(*slots_[candidate])) found = candidate;
  }
  if (found == slots_.size()) add_slots(kMoreSlots, std::max(kSmallestSlot, std::bit_ceil(bytes)));
  next_ = found + 1;
  Descriptors& slot = *slots_[found];
  slot.held_ = true;
  slot.used_ = 0;
  return slot;
}

void DescriptorPool::send(const Descriptors& descriptors, cudaStream_t stream) {
  if (descriptors.used_ == 0) return;
  cuda_check(cudaMemcpyAsync(descriptors.device_.data(), descriptors.host_.data(),
                             descriptors.used_, cudaMemcpyHostToDevice, stream),
             "sending descriptions to the GPU");
}

void DescriptorPool::give_back(Descriptors& descriptors, cudaStream_t stream) {
  const std::lock_guard lock(mutex_);
  descriptors.free_.record(stream);
  descriptors.held_ = false;
}

}  // namespace longspan
