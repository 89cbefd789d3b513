#include "attention/cpu/cpu_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
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

/// All that this machine supports, and the logic of AVX-512 and AMX where only AVX2 is.
std::vector<const CompiledKernels*> tested_kernels() {
  auto kernels = supported_kernels();
  if (has_amx()) kernels.push_back(&kAmxKernels);
  if (is_supported(kAvx2Kernels)) {
    kernels.push_back(&test::kWideLanesKernels);
    kernels.push_back(&test::kEmulatedMatrixKernels);
  }
  return kernels;
}

KernelsBackend backend(const CompiledKernels& compiled, int threads) {
  std::string name = compiled.name;
  std::ranges::replace(name, '-', '_');
  return {name, [threads] { return std::make_unique<CpuDevice>(threads); },
          [&compiled](Device&, const HeadShape& shape, float scale) {
            return std::make_unique<CpuAttentionKernels>(shape, scale, compiled);
          },
          compiled.matrix != nullptr};
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

/// Rounding the factors is all that bfloat16 may cost: at most twice what it costs anyone.
TEST(CpuKernels, InBFloat16ErrAtMostTwiceAsMuchAsTheirFactors) {
  for (const int head_dim : {64, 128, 80}) {
    const HeadShape shape{.query_heads = 4, .kv_heads = 1, .head_dim = head_dim};
    const auto problem = test::random_problem(shape, 40, 900, 41);
    const auto causal = [](auto row, auto key) { return key <= row + 860; };
    const auto exact = dense_attention(problem, causal);
    const auto plain = dense_attention(rounded_to_bfloat16(problem), causal);
    const auto root_mean_square = [&](const auto& values) {
      double sum = 0;
      for (std::size_t i = 0; i < values.size(); ++i) {
        const double difference = values[i] - exact.o[i];
        sum += difference * difference;
      }
      return std::sqrt(sum / static_cast<double>(values.size()));
    };
    for (const CompiledKernels* kernels : tested_kernels()) {
      if (!kernels->matrix) continue;
      test::KernelsOnDevice on(backend(*kernels, 1));
      const DeviceKv kv(on, problem, test::iota(900), 16);
      auto positions = test::iota(40);
      for (auto& position : positions) position += 860;
      const PositionRun run{.first = 0, .block = 1, .stride = 1, .count = 900};
      const auto computed = on.prefill({problem, positions, {{kv.causal_segment(run)}}});
      const double error = root_mean_square(computed.o), least = root_mean_square(plain.o);
      std::printf("%s, heads of %d: error %.3g, of the factors alone %.3g\n", kernels->name,
                  head_dim, error, least);
      EXPECT_LE(error, 2 * least + 1e-5) << kernels->name;
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
  if (!has_amx()) {
    EXPECT_THROW(choose_kernels("amx", Precision::kBFloat16), ConfigError);
  }
}

TEST(CpuKernels, MultiplyInBFloat16WhereTheMachineDoes) {
  const CompiledKernels* widest = supported_kernels().front();
  EXPECT_EQ(&choose_kernels(nullptr, Precision::kBFloat16), has_amx() ? &kAmxKernels : widest);
  EXPECT_EQ(&choose_kernels("scalar", Precision::kBFloat16), &kScalarKernels);
  if (has_amx()) {
    EXPECT_EQ(&choose_kernels("amx", Precision::kBFloat16), &kAmxKernels);
    EXPECT_EQ(&choose_kernels("amx", Precision::kFloat32), widest);
  }
  EXPECT_EQ(fastest_precision(nullptr), has_amx() ? Precision::kBFloat16 : Precision::kFloat32);
  EXPECT_EQ(fastest_precision("avx2"), Precision::kFloat32);
}

TEST(CpuKernels, SayWhichInstructionSetsWentUntested) {
  const auto say = [](const CompiledKernels& kernels, bool tested) {
    std::printf("%s: %s\n", kernels.name, tested ? "tested" : "skipped, this machine lacks it");
  };
  for (const CompiledKernels* kernels : {&kScalarKernels, &kAvx2Kernels, &kAvx512Kernels}) {
    say(*kernels, is_supported(*kernels));
  }
  say(kAmxKernels, has_amx());
}

}  // namespace

namespace test {
INSTANTIATE_TEST_SUITE_P(Cpu, KernelsConformance, testing::ValuesIn(backends()), backend_name);
}  // namespace test
}  // namespace longspan
