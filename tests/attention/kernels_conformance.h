// What every AttentionKernels promises, as two suites: attention over segments, and merging. An
// implementation instantiates them with a way to make its device and its kernels.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/attention/kernels_on_device.h"

namespace longspan::test {

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
