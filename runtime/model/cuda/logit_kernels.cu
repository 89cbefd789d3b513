#include <cmath>

#include "attention/cuda/warp.cuh"
#include "comm/cuda/cuda_check.h"
#include "comm/error.h"
#include "runtime/model/cuda/logit_kernels.h"

namespace longspan {
namespace {

constexpr int kPieceThreads = 1024;
constexpr int kRowThreads = kListedLogits;

/// Nothing ranks below it: what stands for logits behind the last.
constexpr RankedLogit kNoLogit = 0;

/// Bits that grow with the logit; equal logits differ by id, and the lower one ranks higher. -0 is
/// 0, as for the host; NaN, of which no row with one makes use, is -inf.
__device__ RankedLogit ranked(float logit, std::int64_t id) {
  std::uint32_t bits = __float_as_uint(isnan(logit) ? -INFINITY : logit);
  if (bits << 1 == 0) bits = 0;
  bits = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  return RankedLogit{bits} << 32 | ~static_cast<std::uint32_t>(id);
}
__device__ float logit_of(RankedLogit ranked) {
  const auto bits = static_cast<std::uint32_t>(ranked >> 32);
  return __uint_as_float(bits >> 31 != 0 ? bits & 0x7fffffffu : ~bits);
}
__device__ TokenId id_of(RankedLogit ranked) {
  return static_cast<TokenId>(~static_cast<std::uint32_t>(ranked));
}

struct Sum {
  __device__ double operator()(double a, double b) const { return a + b; }
};
struct Best {
  __device__ RankedLogit operator()(RankedLogit a, RankedLogit b) const { return a > b ? a : b; }
};

/// Over the block, in a fixed order; every thread gets it.
template <int kThreads, typename T, typename Combine>
__device__ T block_total(T value, Combine combine) {
  __shared__ T of_warps[kThreads / kWarp];
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = combine(value, __shfl_xor_sync(0xffffffffu, value, distance));
  }
  __syncthreads();  // of_warps may still be read for the total before
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  T total = of_warps[0];
  for (int warp = 1; warp < kThreads / kWarp; ++warp) total = combine(total, of_warps[warp]);
  return total;
}

/// Bitonic (Batcher 1968), best first. The block calls; `keys` are whole afterwards.
__device__ void sort_piece(RankedLogit* keys) {
  for (int size = 2; size <= kPieceLogits; size *= 2) {
    for (int stride = size / 2; stride > 0; stride /= 2) {
      __syncthreads();
      for (int i = static_cast<int>(threadIdx.x); i < kPieceLogits / 2; i += kPieceThreads) {
        const int low = 2 * i - (i & (stride - 1)), high = low + stride;
        const bool best_first = (low & size) == 0;  // of the last size everywhere
        const RankedLogit a = keys[low], b = keys[high];
        if ((a < b) == best_first) {
          keys[low] = b;
          keys[high] = a;
        }
      }
    }
  }
  __syncthreads();
}

/// A block per piece and wish.
__global__ void __launch_bounds__(kPieceThreads, 1) piece_kernel(const LogitWork work) {
  __shared__ RankedLogit keys[kPieceLogits];
  const int thread = static_cast<int>(threadIdx.x);
  const LogitWish wish = work.wishes[blockIdx.y];
  const std::int64_t first = std::int64_t{blockIdx.x} * kPieceLogits;
  const float* const logits = work.logits + wish.row * work.vocabulary + first;
  const auto count =
      static_cast<int>(min(work.vocabulary - first, static_cast<std::int64_t>(kPieceLogits)));
  RankedLogit own_best = kNoLogit;
  bool unusable = false;
#pragma unroll
  for (int n = 0; n < kPieceLogits / kPieceThreads; ++n) {
    const int i = thread + n * kPieceThreads;
    const float logit = i < count ? logits[i] : -INFINITY;
    unusable = unusable || isnan(logit) || logit == INFINITY;
    keys[i] = i < count ? ranked(logit, first + i) : kNoLogit;
    own_best = Best()(own_best, keys[i]);
  }
  const bool any_unusable = __syncthreads_or(unusable) != 0;
  const RankedLogit best = block_total<kPieceThreads>(own_best, Best());
  const float top = logit_of(best);
  double exp_sum = 0, weight_sum = 0;
  if (!any_unusable && top != -INFINITY) {  // (-inf) - (-inf) must not be evaluated
    for (int i = thread; i < count; i += kPieceThreads) {
      const double below = static_cast<double>(logit_of(keys[i])) - top;
      exp_sum += exp(below);
      if (wish.temperature > 0) weight_sum += exp(below / wish.temperature);
    }
  }
  exp_sum = block_total<kPieceThreads>(exp_sum, Sum());
  weight_sum = block_total<kPieceThreads>(weight_sum, Sum());
  const std::int64_t at = std::int64_t{blockIdx.y} * gridDim.x + blockIdx.x;
  if (thread == 0) work.pieces[at] = {exp_sum, weight_sum, best, any_unusable ? 1 : 0};
  if (!wish.wants_list) return;
  sort_piece(keys);
  if (thread < kListedLogits) work.piece_lists[at * kListedLogits + thread] = keys[thread];
}

/// The best of two lists in order stay in `kept`. Of one list forwards and the other backwards the
/// better ones are the best of both, and first fall, then rise: the last steps of a bitonic sort
/// order them. `other`: this thread's of the other list, backwards. The block calls.
__device__ void keep_best(RankedLogit* kept, RankedLogit other) {
  const int thread = static_cast<int>(threadIdx.x);
  const RankedLogit better = Best()(kept[thread], other);
  __syncthreads();  // all have looked at `kept`
  kept[thread] = better;
  for (int stride = kListedLogits / 2; stride > 0; stride /= 2) {
    __syncthreads();
    if ((thread & stride) != 0) continue;
    const RankedLogit a = kept[thread], b = kept[thread + stride];
    if (a >= b) continue;
    kept[thread] = b;
    kept[thread + stride] = a;
  }
  __syncthreads();
}

/// A block per wish.
__global__ void __launch_bounds__(kRowThreads) row_kernel(const LogitWork work, int pieces) {
  __shared__ RankedLogit kept[kListedLogits], bests[kMostPieces];
  const int thread = static_cast<int>(threadIdx.x);
  const LogitWish wish = work.wishes[blockIdx.x];
  const LogitPiece* const own = work.pieces + std::int64_t{blockIdx.x} * pieces;
  RankedLogit own_best = kNoLogit;
  bool unusable = false;
  for (int i = thread; i < pieces; i += kRowThreads) {
    bests[i] = own[i].best;
    own_best = Best()(own_best, own[i].best);
    unusable = unusable || own[i].is_unusable != 0;
  }
  const bool any_unusable = __syncthreads_or(unusable) != 0;
  const RankedLogit best = block_total<kRowThreads>(own_best, Best());
  const float top = logit_of(best);
  const bool usable = !any_unusable && top != -INFINITY;
  double exp_sum = 0, weight_sum = 0;
  for (int i = thread; usable && i < pieces; i += kRowThreads) {
    const double below = static_cast<double>(logit_of(own[i].best)) - top;
    exp_sum += own[i].exp_sum * exp(below);
    if (wish.temperature > 0) weight_sum += own[i].weight_sum * exp(below / wish.temperature);
  }
  exp_sum = block_total<kRowThreads>(exp_sum, Sum());
  weight_sum = block_total<kRowThreads>(weight_sum, Sum());
  if (thread == 0) {
    const std::int64_t row = wish.row * work.vocabulary;
    work.summaries[blockIdx.x] = {.exp_sum = exp_sum,
                                  .weight_sum = weight_sum,
                                  .best = top,
                                  .best_id = id_of(best),
                                  .named_logit = wish.named < 0 ? 0 : work.logits[row + wish.named],
                                  .is_usable = usable ? 1 : 0};
  }
  if (!wish.wants_list) return;
  const RankedLogit* list = work.piece_lists + std::int64_t{blockIdx.x} * pieces * kListedLogits;
  kept[thread] = list[thread];
  __syncthreads();
  for (int i = 1; i < pieces; ++i) {
    list += kListedLogits;
    // Read by all before any of them can write: that comes after a barrier of keep_best().
    if (bests[i] > kept[kListedLogits - 1]) keep_best(kept, list[kListedLogits - 1 - thread]);
  }
  work.lists[std::int64_t{blockIdx.x} * kListedLogits + thread] = {logit_of(kept[thread]),
                                                                   id_of(kept[thread])};
}

}  // namespace

void launch_summarise_logits(const LogitWork& work, cudaStream_t stream) {
  if (work.count == 0) return;
  const std::int64_t pieces = logit_pieces(work.vocabulary);
  expects(pieces >= 1 && pieces <= kMostPieces && work.count <= 65535,
          "a vocabulary of four million at most, rows in a grid's y");
  const dim3 grid(static_cast<unsigned>(pieces), static_cast<unsigned>(work.count));
  piece_kernel<<<grid, kPieceThreads, 0, stream>>>(work);
  cuda_check(cudaGetLastError(), "summarising pieces of logits");
  row_kernel<<<static_cast<unsigned>(work.count), kRowThreads, 0, stream>>>(
      work, static_cast<int>(pieces));
  cuda_check(cudaGetLastError(), "summarising rows of logits");
}

}  // namespace longspan
