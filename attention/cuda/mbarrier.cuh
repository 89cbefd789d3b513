// Barriers in shared memory that count arrivals and, for copies, bytes; and the named barriers of a
// block.
//
// An mbarrier's phases alternate between even and odd. Whoever waits says which one must be over:
// of a ring of stages, the reader begins with phase 0, and the writer, who must not wait at first,
// with "the phase before", 1.
#pragma once

#include <cstdint>

namespace longspan {

__device__ inline std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

/// A barrier by its shared address, for who computes that faster than a compiler does.
struct MbarrierAt {
  std::uint32_t address;

  __device__ void arrive() const {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address) : "memory");
  }
  /// Until the phase of this parity is over. What was written before its arrivals is then visible.
  __device__ void wait(std::uint32_t parity) const {
    asm volatile(
        "{\n.reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@done bra over;\n"
        "bra again;\n"
        "over:\n}\n" ::"r"(address),
        "r"(parity)
        : "memory");
  }
  /// Whether it is over now; as good as having waited.
  __device__ bool is_over(std::uint32_t parity) const {
    std::uint32_t over;
    asm volatile(
        "{\n.reg .pred done;\n"
        "mbarrier.test_wait.parity.shared::cta.b64 done, [%1], %2;\n"
        "selp.u32 %0, 1, 0, done;\n}\n"
        : "=r"(over)
        : "r"(address), "r"(parity)
        : "memory");
    return over != 0;
  }
};

struct Mbarrier {
  std::uint64_t word;

  /// By one thread, before fence_mbarrier_init() and a barrier of all who use it.
  __device__ void init(int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(this)),
                 "r"(arrivals)
                 : "memory");
  }
  __device__ void arrive() { MbarrierAt{shared_address(this)}.arrive(); }
  /// One arrival; the phase also waits for so many bytes of copies.
  __device__ void arrive_expecting(std::uint32_t bytes) {
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(this)),
        "r"(bytes)
        : "memory");
  }
  /// See MbarrierAt.
  __device__ void wait(std::uint32_t parity) const {
    MbarrierAt{shared_address(this)}.wait(parity);
  }
};

/// Makes inits visible to copies.
__device__ inline void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
/// Ordinary writes to shared memory before it are seen by copies and matrix units after it, once a
/// barrier has followed.
__device__ inline void fence_shared_for_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// Named barriers of 256 threads: those that sync wait for those that arrive. The number is a
/// constant, or the compiler reserves all sixteen.
template <int kBarrier>
__device__ inline void named_sync() {
  asm volatile("bar.sync %0, 256;" ::"n"(kBarrier) : "memory");
}
template <int kBarrier>
__device__ inline void named_arrive() {
  asm volatile("bar.arrive %0, 256;" ::"n"(kBarrier) : "memory");
}

/// A place in a ring of kStages, and the parity of the round.
template <int kStages>
struct RingPlace {
  int stage = 0;
  std::uint32_t parity = 0;

  __device__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

}  // namespace longspan
