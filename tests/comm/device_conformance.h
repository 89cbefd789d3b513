// What every Device and its streams promise, as one suite. A backend instantiates it with a way to
// make its device; the suite itself knows only comm/device.h, and works by copies.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "comm/device.h"

namespace longspan::test {

struct Backend {
  std::string name;
  std::function<std::unique_ptr<Device>()> open;  // null where the machine has no such device
  /// How the host fills and reads a buffer of this device.
  std::function<void(Bytes, const std::vector<int>&)> fill;
  std::function<std::vector<int>(ConstBytes)> read;
};

inline void PrintTo(const Backend& backend, std::ostream* out) { *out << backend.name; }

class DeviceConformance : public testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    if (!device_) GTEST_SKIP() << "no " << GetParam().name << " device";
  }

  Buffer buffer_of(const std::vector<int>& values) {
    Buffer buffer = device_->allocate(values.size() * sizeof(int));
    GetParam().fill(buffer.bytes(), values);
    return buffer;
  }
  std::vector<int> read(const Buffer& buffer) { return GetParam().read(buffer.bytes()); }

  std::unique_ptr<Device> device_ = GetParam().open();
};

}  // namespace longspan::test
