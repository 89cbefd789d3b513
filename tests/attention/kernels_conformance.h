// What every AttentionKernels promises, as two suites: attention over segments, and merging. An
// implementation instantiates them with a way to make its device and its kernels.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "attention/shard_layout.h"
#include "tests/attention/kernels_on_device.h"

namespace longspan::test {

/// Positions first, first + 1, ...: as a run, and as a list.
constexpr PositionRun solid(std::int64_t first, std::int64_t count) {
  return {.first = first, .block = 1, .stride = 1, .count = count};
}
inline std::vector<std::int64_t> from(std::int64_t first, std::int64_t count) {
  auto values = iota(count);
  for (auto& value : values) value += first;
  return values;
}

/// For INSTANTIATE_TEST_SUITE_P.
inline std::string backend_name(const testing::TestParamInfo<KernelsBackend>& info) {
  return info.param.name;
}

class KernelsConformance : public testing::TestWithParam<KernelsBackend> {
 protected:
  /// Prints the worst error of each group of cases.
  static void TearDownTestSuite();
  void SetUp() override {
    if (!on_.has_device()) GTEST_SKIP() << "no " << GetParam().name << " device";
  }

  void expect_near(const Computed& computed, const DenseResult& exact, const std::string& group,
                   const std::string& what);

  /// The problem in values that the backend's pages hold exactly.
  DenseProblem as_held(DenseProblem problem) const {
    return GetParam().bfloat16_pages ? rounded_to_bfloat16(std::move(problem)) : problem;
  }

  KernelsOnDevice on_{GetParam()};

 private:
  static std::map<std::string, double>& worst();
};

class MergeConformance : public testing::TestWithParam<KernelsBackend> {
 protected:
  void SetUp() override {
    if (!on_.has_device()) GTEST_SKIP() << "no " << GetParam().name << " device";
  }

  KernelsOnDevice on_{GetParam()};
};

}  // namespace longspan::test
