// Runs the attention kernels of any device on arrays of the host: what the conformance suites are
// written with. Everything goes to the device and back by Device::copy.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "attention/kernels.h"
#include "tests/attention/dense_attention.h"

namespace longspan::test {

/// A device, and a way to make its kernels.
struct KernelsBackend {
  std::string name;
  std::function<std::unique_ptr<Device>()> open;  // null where the machine has no such device
  std::function<std::unique_ptr<AttentionKernels>(Device&, const HeadShape&, float)> new_kernels;
  bool in_bfloat16 = false;  // prefill multiplies in bfloat16
  bool bfloat16_pages = false;

  /// Absolute for O, relative to max(1, |lse|) for lse.
  double tolerance() const { return in_bfloat16 ? 3.5e-2 : 1e-5; }
};

inline void PrintTo(const KernelsBackend& backend, std::ostream* out) { *out << backend.name; }

/// A partial on the host.
struct Computed {
  std::vector<float> o;
  std::vector<float> lse;
  bool operator==(const Computed&) const = default;
};

/// Query rows at positions, and launches of segment lists.
struct Prefill {
  const DenseProblem& problem;
  std::vector<std::int64_t> positions;
  std::vector<std::vector<KvSegment>> launches;
};

/// Floats of a device.
struct Array {
  Buffer memory;
  float* values = nullptr;
  std::size_t count = 0;
};

struct DeviceState {
  Array acc, m, l;
  RunningState view() const { return {acc.values, m.values, l.values}; }
};

struct DevicePartial {
  Array o, lse;
  Partial view() const { return {o.values, lse.values}; }
};

class KernelsOnDevice {
 public:
  explicit KernelsOnDevice(const KernelsBackend& backend)
      : backend_(backend), device_(backend.open()) {
    if (device_) stream_ = device_->new_stream();
  }

  bool has_device() const { return device_ != nullptr; }
  Device& device() { return *device_; }
  Stream& stream() { return *stream_; }
  /// Made once per shape and scale.
  AttentionKernels& kernels(const HeadShape& shape, float scale);
  /// Arrays made from now on begin so many floats behind an aligned address.
  void shift_arrays(std::size_t floats) { shift_ = floats; }

  Array upload(std::span<const float> values);
  /// As the backend's pages hold them, and back.
  Array upload_kv(std::span<const float> values);
  std::vector<float> download_kv(const Array& array, std::size_t count);
  bool has_bfloat16_pages() const { return backend_.bfloat16_pages; }
  std::vector<float> download(const Array& array);
  DevicePartial upload(const Computed& partial) { return {upload(partial.o), upload(partial.lse)}; }
  Computed download(const DevicePartial& partial) {
    return {download(partial.o), download(partial.lse)};
  }
  /// Nothing but NaN, which kernels must overwrite. An item is a row and a head.
  DeviceState blank_state(std::int64_t items, int head_dim);
  DevicePartial blank_partial(std::int64_t items, int head_dim);

  Computed prefill(const Prefill& work);
  /// The same, but each launch is a source of one call, and `late` memory holds only NaN until the
  /// call has been made for a moment; launch i needs late[i], which may be null. `beside_kernels`:
  /// as attend_whole() takes it.
  Computed prefill_whole(const Prefill& work, const std::vector<class DeviceKv*>& late,
                         bool beside_kernels = true);
  /// The same, with the partial in the memory of acc and m.
  Computed prefill_in_place(const Prefill& work);
  /// Row i of the problem's queries sees all columns of segments[i].
  Computed decode(const DenseProblem& problem, const std::vector<std::vector<KvSegment>>& segments);
  Computed merge(const HeadShape& shape, const std::vector<Computed>& sources);

 private:
  void attend(const Prefill& work, const Array& q, const DeviceState& state);

  KernelsBackend backend_;
  std::unique_ptr<Device> device_;
  std::size_t shift_ = 0;
  std::map<std::tuple<int, int, int, int, int, float>, std::unique_ptr<AttentionKernels>> kernels_;
  std::unique_ptr<Stream> stream_;
};

/// A PagedKv in a device's memory. Its table stays with the host, as a caller's does.
class DeviceKv {
 public:
  DeviceKv(KernelsOnDevice& on, const DenseProblem& problem, const std::vector<std::int64_t>& keys,
           std::int64_t page_tokens, std::uint32_t seed = 1)
      : on_(on), host_(problem, keys, page_tokens, seed), memory_(on.upload_kv(host_.memory())) {}

  KvView view() const;
  KvSegment full_segment() const {
    return {.view = view(), .len = host_.columns(), .positions = {}};
  }
  KvSegment causal_segment(const PositionRun& positions) const {
    return masked_segment(Mask::causal(), positions);
  }
  KvSegment masked_segment(const Mask& mask, const PositionRun& positions) const {
    return {.view = view(), .len = host_.columns(), .mask = mask, .positions = positions};
  }
  /// Memory is NaN from now on, and as it was before once `side` is past the event that it returns,
  /// which is milliseconds from now.
  Event arrive_late(Stream& side);
  /// K and V as they are on the device now, on the host.
  const KvView& fetch();

 private:
  KernelsOnDevice& on_;
  PagedKv host_;
  Array memory_;
  Buffer staged_;  // for as long as they are on their way
};

}  // namespace longspan::test
