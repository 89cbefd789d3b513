#include "runtime/engine/tier_shape.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/str.h"

namespace longspan {
namespace {

// A disk writes what one step evicts while the next ones compute. What it has read is taken from
// the buffers between steps.
constexpr std::int64_t kBytesToWrite = std::int64_t{32} << 20;
constexpr std::int64_t kBytesToRead = std::int64_t{16} << 20;

int buffers(std::int64_t wanted, std::int64_t places) {
  constexpr std::int64_t kMost = 4096;
  return static_cast<int>(std::clamp<std::int64_t>(wanted, 1, std::min(places, kMost)));
}

/// Pages that go into `bytes`, which the option asks for.
std::int64_t pages_in(std::int64_t bytes, std::int64_t page_bytes, std::string_view option) {
  // All places together have a number of 32 bits.
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max() / 2;
  if (bytes < page_bytes) {
    throw UsageError(
        str("{} {} is no room for one page of KV, which has {} on each rank; give many times that, "
            "or leave it out",
            option, bytes, human_bytes(page_bytes)));
  }
  return std::min(bytes / page_bytes, kMost);
}

}  // namespace

TierShape tier_shape(std::int64_t host_bytes, const std::optional<KvDisk>& disk,
                     std::int64_t page_bytes, std::int64_t step_pages) {
  TierShape shape{.page_bytes = page_bytes};
  if (host_bytes > 0) shape.buffers.kept = pages_in(host_bytes, page_bytes, "--kv-host-bytes");
  if (disk) {
    shape.on_disk = pages_in(disk->bytes, page_bytes, "--kv-disk-bytes");
    shape.buffers.to_write =
        buffers(std::max(kBytesToWrite / page_bytes, step_pages), shape.on_disk);
    shape.buffers.to_read =
        buffers(std::max(kBytesToRead / page_bytes, step_pages / 4), shape.on_disk);
  }
  return shape;
}

}  // namespace longspan
