// What computes on a rank.
#pragma once

#include <string_view>

namespace longspan {

enum class Backend { kCpu, kCuda };

constexpr std::string_view name(Backend backend) {
  return backend == Backend::kCuda ? "cuda" : "cpu";
}

}  // namespace longspan
