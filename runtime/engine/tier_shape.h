// How many evicted pages a rank keeps in host memory and on its disk, and through how many buffers
// they go from one to the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>

#include "runtime/memory/page_tier.h"

namespace longspan {

/// Where ranks keep pages that were evicted from KV memory, each in a file of its own.
struct KvDisk {
  std::filesystem::path folder;
  std::int64_t bytes = 0;  // of each rank
};

struct TierShape {
  TierBuffers buffers;
  std::int64_t on_disk = 0;  // pages
  std::int64_t page_bytes = 0;

  /// 0: there is no tier.
  std::int64_t places() const { return buffers.kept + on_disk; }
  std::int64_t host_bytes() const { return buffers.all() * page_bytes; }
};

/// `host_bytes`: of pages that stay in host memory. `step_pages`: that one step may evict of a
/// rank. Throws UsageError where what there is of either has no room for a page.
TierShape tier_shape(std::int64_t host_bytes, const std::optional<KvDisk>& disk,
                     std::int64_t page_bytes, std::int64_t step_pages);

}  // namespace longspan
