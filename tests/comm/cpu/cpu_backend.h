// The CPU backend, for suites that any device must pass.
#pragma once

#include <cstring>

#include "comm/cpu/cpu_device.h"
#include "tests/comm/device_conformance.h"

namespace longspan::test {

inline Backend cpu_backend() {
  return {"Cpu", [] { return std::make_unique<CpuDevice>(1); },
          [](Bytes bytes, const std::vector<int>& values) {
            std::memcpy(bytes.data(), values.data(), bytes.size());
          },
          [](ConstBytes bytes) {
            std::vector<int> values(bytes.size() / sizeof(int));
            std::memcpy(values.data(), bytes.data(), bytes.size());
            return values;
          }};
}

}  // namespace longspan::test
