// How much of evicted pages a rank keeps, and through how many buffers they go.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

#include "scheduler/step_plan.h"

namespace longspan {

/// Where ranks keep pages that were evicted from KV memory, each in a file of its own.
struct KvDisk {
  std::filesystem::path folder;
  std::int64_t bytes = 0;  // of each rank
};

struct TierShape {
  std::int64_t places = 0;  // pages; 0: there is no tier
  int to_write = 0;         // buffers
  int to_read = 0;
  std::int64_t page_bytes = 0;

  std::int64_t host_bytes() const { return (std::int64_t{to_write} + to_read) * page_bytes; }
};

/// `step_pages`: that one step may evict of a rank. Throws UsageError where there is no room for a
/// page.
TierShape tier_shape(const KvDisk& disk, std::int64_t page_bytes, std::int64_t step_pages);

}  // namespace longspan
