#include "runtime/engine/tier_shape.h"

#include <algorithm>
#include <limits>

#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/str.h"

namespace longspan {
namespace {

// A disk writes what one step evicts while the next ones compute.
constexpr std::int64_t kBytesToWrite = std::int64_t{32} << 20;
constexpr std::int64_t kBytesToRead = std::int64_t{16} << 20;

int buffers(std::int64_t wanted, std::int64_t places) {
  constexpr std::int64_t kMost = 4096;
  return static_cast<int>(std::clamp<std::int64_t>(wanted, 1, std::min(places, kMost)));
}

}  // namespace

TierShape tier_shape(const KvDisk& disk, std::int64_t page_bytes, std::int64_t step_pages) {
  const std::int64_t places =
      std::min<std::int64_t>(disk.bytes / page_bytes, std::numeric_limits<std::int32_t>::max());
  if (places < 1) {
    throw UsageError(
        str("--kv-disk-bytes {} is no room for one page of KV, which has {} on each rank; give "
            "many times that, or leave out --kv-disk",
            disk.bytes, human_bytes(page_bytes)));
  }
  return {.places = places,
          .to_write = buffers(std::max(kBytesToWrite / page_bytes, step_pages), places),
          .to_read = buffers(kBytesToRead / page_bytes, places),
          .page_bytes = page_bytes};
}

}  // namespace longspan
