#include "comm/cuda/launch_record.h"

#include <algorithm>
#include <bit>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr std::size_t kLeastPlace = 64;
constexpr std::uint64_t kSeed = 0x9e3779b97f4a7c15u;

/// Multiplies and folds, so that every bit of a word reaches every bit of the digest.
std::uint64_t mixed(std::uint64_t digest, std::uint64_t word) {
  digest = (digest ^ word) * 0xff51afd7ed558ccdu;
  return digest ^ digest >> 32;
}

std::uint64_t digest_of(const void* values, std::size_t bytes) {
  const auto* from = static_cast<const std::byte*>(values);
  std::uint64_t digest = mixed(kSeed, bytes);
  for (; bytes > 0; from += 8) {
    const std::size_t part = std::min<std::size_t>(bytes, 8);
    std::uint64_t word = 0;
    std::memcpy(&word, from, part);
    digest = mixed(digest, word);
    bytes -= part;
  }
  return digest;
}

}  // namespace

void LaunchRecord::begin(bool launches) {
  launches_ = launches;
  digest_ = kSeed;
  used_ = 0;
  places_.clear();
  turns_.clear();
  work_.clear();
}

void LaunchRecord::mix(std::uint64_t word) { digest_ = mixed(digest_, word); }

const void* LaunchRecord::describe(const void* values, std::size_t bytes) {
  if (bytes == 0) return device_.data();
  const std::uint64_t digest = digest_of(values, bytes);
  const auto [begin, end] = places_.equal_range(digest);
  for (auto at = begin; at != end; ++at) {
    const auto& [first, known_bytes] = at->second;
    if (known_bytes == bytes && std::memcmp(host_.data() + first, values, bytes) == 0) {
      return device_.data() + first;
    }
  }
  const std::size_t room = std::bit_ceil(std::max(bytes, kLeastPlace));
  if (host_.size() - used_ < room) {
    throw OutOfMemory(str("a step's descriptions take more than {} bytes", host_.size()));
  }
  std::memcpy(host_.data() + used_, values, bytes);
  places_.emplace(digest, Place{used_, bytes});
  const void* const there = device_.data() + used_;
  used_ += room;
  return there;
}

void LaunchRecord::use(ReusableEvent& turn) {
  if (std::ranges::count(turns_, &turn) == 0) turns_.push_back(&turn);
}

}  // namespace longspan
