#include "attention/cpu/cpu_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "attention/cpu/instruction_set.h"
#include "comm/cpu/cpu_device.h"
#include "comm/error.h"
#include "tests/attention/kernels_conformance.h"
#include "tests/attention/wide_lanes.h"

namespace longspan {
namespace {

using test::DeviceKv;
using test::KernelsBackend;

#ifdef __SANITIZE_THREAD__
constexpr int kManyThreads = 1;  // OpenMP's barriers are invisible to ThreadSanitizer
#else
constexpr int kManyThreads = 2;
#endif

bool is_supported(const CompiledKernels& kernels) {
  const auto supported = supported_kernels();
  return std::ranges::find(supported, &kernels) != supported.end();
}

/// All that this machine supports, and AVX-512's logic where only AVX2 is.
std::vector<const CompiledKernels*> tested_kernels() {
  auto kernels = supported_kernels();
  if (is_supported(kAvx2Kernels)) kernels.push_back(&test::kWideLanesKernels);
  return kernels;
}

KernelsBackend backend(const CompiledKernels& compiled, int threads) {
  std::string name = compiled.name;
  std::ranges::replace(name, '-', '_');
  return {name, [threads] { return std::make_unique<CpuDevice>(threads); },
          [&compiled](Device&, const HeadShape& shape, float scale) {
            return std::make_unique<CpuAttentionKernels>(shape, scale, compiled);
          }};
}

std::vector<KernelsBackend> backends() {
  std::vector<KernelsBackend> all;
  for (const CompiledKernels* kernels : tested_kernels()) all.push_back(backend(*kernels, 1));
  return all;
}

TEST(CpuKernels, ThreadsAndRepetitionsChangeNoBits) {
  const HeadShape shape{.query_heads = 9, .kv_heads = 3, .head_dim = 64};
  const auto problem = test::random_problem(shape, 150, 1300, 37);
  auto positions = test::iota(150);
  for (auto& position : positions) position += 1150;
  auto few = problem;
  few.q.resize(9L * 9 * 64);
  for (const CompiledKernels* kernels : tested_kernels()) {
    std::vector<test::Computed> results;
    for (int threads : {1, kManyThreads}) {
      test::KernelsOnDevice on(backend(*kernels, threads));
      const DeviceKv kv(on, problem, test::iota(1300), 16);
      const PositionRun run{.first = 0, .block = 1, .stride = 1, .count = 1300};
      // Rows of one length, and a row for each of many.
      const std::vector same(9, std::vector{kv.full_segment()});
      std::vector<std::vector<KvSegment>> ragged;
      for (std::int64_t length : {1, 0, 1300, 512, 7, 513, 1024, 64, 65}) {
        ragged.push_back({kv.full_segment()});
        ragged.back().front().len = length;
      }
      for (int repeat = 0; repeat < 10; ++repeat) {
        results.push_back(on.prefill({problem, positions, {{kv.causal_segment(run)}}}));
        results.push_back(on.decode(few, same));
        results.push_back(on.decode(few, ragged));
      }
    }
    for (std::size_t i = 3; i < results.size(); ++i) {
      ASSERT_EQ(results[i], results[i % 3]) << kernels->name;
    }
  }
}

TEST(CpuKernels, RunAtTheInstructionSetThatIsAskedFor) {
  for (const CompiledKernels* kernel : supported_kernels()) {
    EXPECT_EQ(&choose_kernels(kernel->name), kernel);
  }
  EXPECT_EQ(&choose_kernels(nullptr), supported_kernels().front());
  EXPECT_EQ(&choose_kernels(""), supported_kernels().front());
  EXPECT_THROW(choose_kernels("sse9"), ConfigError);
}

TEST(CpuKernels, SayWhichInstructionSetsWentUntested) {
  for (const CompiledKernels* kernels : {&kScalarKernels, &kAvx2Kernels, &kAvx512Kernels}) {
    std::printf("%s: %s\n", kernels->name,
                is_supported(*kernels) ? "tested" : "skipped, this machine lacks it");
  }
}

}  // namespace

namespace test {
INSTANTIATE_TEST_SUITE_P(Cpu, KernelsConformance, testing::ValuesIn(backends()), backend_name);
}  // namespace test
}  // namespace longspan
