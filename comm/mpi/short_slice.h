// Asks Linux to run the calling thread often and briefly rather than seldom and long.
#pragma once

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace longspan {

/// For a thread that works for microseconds and should not wait for a thread that computes to use
/// up its milliseconds. A request, which kernels before 6.12 ignore; only time depends on it.
inline void ask_for_short_slices() {
  // The kernel's struct sched_attr, first version: glibc has none before 2.41, and the kernel's
  // own header cannot stand beside <sched.h>.
  struct Attributes {
    std::uint32_t size = sizeof(Attributes);
    std::uint32_t policy = 0;  // SCHED_NORMAL
    std::uint64_t flags = 0;
    std::int32_t nice = getpriority(PRIO_PROCESS, 0);  // of this thread, on Linux
    std::uint32_t priority = 0;
    std::uint64_t slice_ns = 100'000;  // the least that Linux grants
    std::uint64_t deadline = 0;
    std::uint64_t period = 0;
  } attributes;
  static_assert(sizeof(attributes) == 48);
  syscall(SYS_sched_setattr, 0, &attributes, 0);
}

}  // namespace longspan
