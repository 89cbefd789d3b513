#include "attention/kernels.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "attention/cuda/cuda_kernels.h"
#include "comm/cpu/cpu_device.h"
#include "comm/cuda/cuda_device.h"
#include "comm/error.h"
#include "tests/attention/cuda/first_gpu.h"
#include "tests/attention/kernels_conformance.h"

namespace longspan::test {
namespace {

KernelsBackend cuda() {
  return {"Cuda",
          []() -> std::unique_ptr<Device> {
            if (cuda_device_count() == 0) return nullptr;
            return std::make_unique<CudaDevice>(0);
          },
          [](Device& device, const HeadShape& shape, float scale) {
            return new_cuda_attention_kernels(device, shape, scale);
          }};
}

/// The Hopper kernel where shapes and segments allow it, and what it falls back to: of pages in
/// bfloat16, or of float32 ones that calls round.
KernelsBackend cuda_sm90(bool rounds) {
  return {rounds ? "CudaSm90Rounding" : "CudaSm90", [] { return first_gpu(device_runs_sm90); },
          [rounds](Device& device, const HeadShape& shape, float scale) {
            return std::make_unique<CudaAttentionKernels>(
                device, shape, scale,
                KernelChoice{.prefill = PrefillKernel::kSm90, .rounds_keys = rounds});
          },
          true, !rounds};
}

/// The kernel for any matrix units, likewise.
KernelsBackend cuda_mma_prefill() {
  return {"CudaMmaPrefill", [] { return first_gpu(device_runs_mma); },
          [](Device& device, const HeadShape& shape, float scale) {
            return std::make_unique<CudaAttentionKernels>(
                device, shape, scale, KernelChoice{.prefill = PrefillKernel::kMma});
          },
          true, true};
}

/// The decode kernel on matrix units where rows and shapes allow it.
KernelsBackend cuda_mma_decode() {
  return {"CudaMmaDecode", [] { return first_gpu(device_runs_mma); },
          [](Device& device, const HeadShape& shape, float scale) {
            return std::make_unique<CudaAttentionKernels>(device, shape, scale,
                                                          KernelChoice{.mma_decode = true});
          },
          true, true};
}

class CudaKernelsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!on_.has_device()) GTEST_SKIP() << "no Cuda device";
  }

  KernelsOnDevice on_{cuda()};
};

// Runs everywhere.
TEST(CudaKernelsAbsenceTest, AnotherDeviceIsTheCallersMistake) {
  CpuDevice device(1);
  EXPECT_THROW(new_cuda_attention_kernels(device, {1, 1, 16}, 1.0f), std::logic_error);
}

std::size_t free_memory() {
  std::size_t free = 0, total = 0;
  EXPECT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  return free;
}

/// The first round waits behind slow work as a whole: no later one can have more calls in flight.
/// The second may still take memory, once: 2 MiB on an H100, whatever follows.
TEST_F(CudaKernelsTest, OnceWarmCallsAllocateNothing) {
  const HeadShape shape{.query_heads = 4, .kv_heads = 2, .head_dim = 64};
  const auto problem = random_problem(shape, 3, 3000, 1);
  const DeviceKv kv(on_, problem, iota(3000), 16);
  const Array q = on_.upload(problem.q);
  const DeviceState state = on_.blank_state(12, 64);
  const DevicePartial out = on_.blank_partial(12, 64);
  AttentionKernels& kernels = on_.kernels(shape, problem.scale);
  const auto slow = random_problem(shape, 4096, 1, 2);
  const Array slow_q = on_.upload(slow.q);
  const DeviceState slow_state = on_.blank_state(4096 * 4, 64);
  kernels.reset(on_.stream(), slow_state.view(), 4096);
  const std::vector slow_segments(40, kv.full_segment());
  kernels.attend(on_.stream(), {slow_q.values, iota(4096)}, slow_segments, slow_state.view());
  const auto round = [&] {
    for (int call = 0; call < 50; ++call) {
      kernels.reset(on_.stream(), state.view(), 3);
      kernels.attend(on_.stream(), {q.values, iota(3)}, {kv.full_segment()}, state.view());
      kernels.finish(on_.stream(), state.view(), out.view(), 3);
      kernels.decode(on_.stream(), {{q.values, {kv.full_segment()}, out.view()}});
    }
    on_.stream().synchronize();
  };
  round();
  round();
  const std::size_t before = free_memory();
  for (int repeat = 0; repeat < 100; ++repeat) round();
  EXPECT_EQ(free_memory(), before);
}

/// Pages that begin 2^31 values apart and more: 32 bits hold neither their offsets nor their bytes.
TEST_F(CudaKernelsTest, OffsetsHaveSixtyFourBits) {
  const HeadShape shape{.query_heads = 2, .kv_heads = 1, .head_dim = 16};
  const auto problem = random_problem(shape, 4, 40, 2);
  constexpr std::int64_t kStride = (std::int64_t{1} << 31) + 64;
  const std::vector<std::int32_t> table{2, 0, 1};  // pages of 16
  Buffer pool;
  try {
    pool = on_.device().allocate((2 * kStride + 1024) * sizeof(float));
  } catch (const OutOfMemory&) {
    GTEST_SKIP() << "this GPU has less memory than the test needs";
  }
  const PagedKv host(problem, iota(40), 16);
  KvView view{.k = pool.as<float>().data(),
              .v = pool.as<float>().data() + 512,
              .head_stride = 16 * 16,
              .page_stride = kStride,
              .table = table.data(),
              .page_tokens = 16};
  for (std::int64_t column = 0; column < 40; ++column) {
    const std::int64_t to = view.offset(column, 0, 16);
    const std::int64_t from = host.view().offset(column, 0, 16);
    for (const auto& [target, source] : {std::pair{view.keys() + to, host.view().keys() + from},
                                         {view.values() + to, host.view().values() + from}}) {
      on_.device().copy(on_.stream(), std::as_writable_bytes(std::span(target, 16)),
                        std::as_bytes(std::span(source, 16)));
    }
  }
  on_.stream().synchronize();
  const KvSegment segment{.view = view, .len = 40, .positions = {}};
  const DeviceKv near(on_, problem, iota(40), 16);
  const Prefill work{problem, iota(4), {{segment}}};
  EXPECT_EQ(on_.prefill(work), on_.prefill({problem, iota(4), {{near.full_segment()}}}));
  EXPECT_EQ(on_.decode(problem, std::vector(4, std::vector{segment})),
            on_.decode(problem, std::vector(4, std::vector{near.full_segment()})));

  auto blank = problem;
  std::ranges::fill(blank.k, -1.0f), std::ranges::fill(blank.v, -1.0f);
  DeviceKv copied(on_, blank, iota(40), 0);
  AttentionKernels& kernels = on_.kernels(shape, problem.scale);
  kernels.copy_kv(on_.stream(), {{near.view(), 0, view, {8, 1, 1, 32}}});
  kernels.copy_kv(on_.stream(), {{view, 8, copied.view(), {0, 1, 1, 32}}});
  const KvView& found = copied.fetch();
  EXPECT_TRUE(std::equal(found.keys(), found.keys() + 32 * 16, problem.k.begin()));
  EXPECT_TRUE(std::equal(found.values(), found.values() + 32 * 16, problem.v.begin()));
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Cuda, KernelsConformance,
                         testing::Values(cuda(), cuda_sm90(false), cuda_sm90(true),
                                         cuda_mma_prefill(), cuda_mma_decode()),
                         backend_name);
INSTANTIATE_TEST_SUITE_P(Cuda, MergeConformance, testing::Values(cuda()), backend_name);

}  // namespace longspan::test
