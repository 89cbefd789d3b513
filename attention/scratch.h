// One allocation cut into areas, in the order in which they are taken.
//
// An algorithm states what it needs by the same walk: the sum of area_values() of its areas.
#pragma once

#include <cstdint>
#include <span>

#include "comm/device.h"
#include "comm/error.h"

namespace longspan {

/// Values that an area of `values` floats takes up: whole cache lines.
constexpr std::int64_t area_values(std::int64_t values) { return (values + 15) / 16 * 16; }

/// `values` floats as the bytes of a message.
inline Bytes message_bytes(const float* memory, std::int64_t values) {
  return std::as_writable_bytes(
      std::span(const_cast<float*>(memory), static_cast<std::size_t>(values)));
}

class Scratch {
 public:
  explicit Scratch(const Buffer& buffer) : left_(buffer.as<float>()) {}

  float* take(std::int64_t values) {
    const auto area = static_cast<std::size_t>(area_values(values));
    expects(area <= left_.size(), "the areas fit the memory planned for them");
    float* start = left_.data();
    left_ = left_.subspan(area);
    return start;
  }

 private:
  std::span<float> left_;
};

}  // namespace longspan
