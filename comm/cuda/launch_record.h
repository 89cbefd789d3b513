// What a step launches, and the descriptions that its launches read: taken down while the host goes
// through the step, so that the next one like it can be launched as one (step_graphs.h).
//
//   launches        digest of every kernel and argument, in order: equal digests, equal steps
//   descriptions    | tokens | positions | tables | splits | ...     one piece of memory, one copy
//
// Whatever differs between steps that are to be alike must be in descriptions. Their places are
// rounded up to powers of two, so that a sequence that grows by a page moves none of them; what is
// described twice, as a page table is by every layer, lies there once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "comm/cuda/reusable_event.h"
#include "comm/device.h"

namespace longspan {

class LaunchRecord {
 public:
  /// `host` and `device`: equally large; what is described is written to one and read at the other.
  LaunchRecord(Bytes host, Bytes device) : host_(host), device_(device) {}

  /// `launches`: whether what is noted is launched as well, to be captured.
  void begin(bool launches);
  bool launches() const { return launches_; }

  /// An argument of a launch, all of it but its padding.
  template <typename T>
  void note(T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    if constexpr (!std::is_scalar_v<T>) __builtin_clear_padding(&value);
    std::uint64_t words[(sizeof(T) + 7) / 8] = {};
    std::memcpy(words, &value, sizeof(T));
    for (const std::uint64_t word : words) mix(word);
  }
  /// Copies a description, and returns where kernels will find it. Throws OutOfMemory.
  const void* describe(const void* values, std::size_t bytes);
  /// Memory in which streams take turns: it is this step's as long as the step runs.
  void use(ReusableEvent& turn);
  /// What the host has to do each time the step was launched as one, in order.
  void when_launched(std::function<void()> work) { work_.push_back(std::move(work)); }

  std::uint64_t digest() const { return digest_; }
  std::size_t described_bytes() const { return used_; }
  const std::vector<ReusableEvent*>& turns() const { return turns_; }
  const std::vector<std::function<void()>>& work() const { return work_; }

 private:
  void mix(std::uint64_t word);

  struct Place {
    std::size_t first;
    std::size_t bytes;
  };

  Bytes host_, device_;
  bool launches_ = false;
  std::uint64_t digest_ = 0;
  std::size_t used_ = 0;
  std::unordered_multimap<std::uint64_t, Place> places_;  // by digest of what is there
  std::vector<ReusableEvent*> turns_;
  std::vector<std::function<void()>> work_;
};

}  // namespace longspan
