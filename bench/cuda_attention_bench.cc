// How fast the CUDA attention kernels are, beside what an H100 can do at best: prefill against its
// nominal fp32 peak, decode against copying memory on the GPU, measured in the same run.
//
//   cuda_attention_bench [--decode] [--json]      --decode: the kernel on matrix units alone
//   cuda_attention_bench --serve        reads lines "TOKENS causal|full RUNG HEAD_DIM", RUNG being
//                                       in_order, turns, overlap or fetching, and answers each with
//                                       a line of JSON: so that bench/prefill_yardsticks.py can
//                                       measure other kernels in turn with the Hopper kernel
//
// Steady state: each line warms up for half a second and then measures for two, many launches
// between synchronisations, since a GPU that has been idle is faster than it stays. What the
// reference kernels were expected to reach is derived: of the 2048 multiply-adds a thread does per
// tile of 64 x 64 at head size 64 about 60 % of the instructions it issues, so 20 TFLOP/s with
// barriers; 30 at head size 128, where loads are shared by more values.
//
// Decode on matrix units is timed as graphs replay it, with everything that describes the rows on
// the GPU already, over keys that follow each other through 2 GB: none are left in L2. Expected
// before the first run (H100, copying 3.02 TB/s, reading 3.1): 97 % of reading and 5 us for the
// start and the merge, so of copying 0.89 at 32K keys, 0.94 at 64K, 0.96 at 128K, 0.99 at 512K, and
// 0.96 for 16 and 32 rows of 8K, whose partials are 1.6 % of their keys.

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attention/cuda/cuda_kernels.h"
#include "attention/cuda/decode_mma.h"
#include "attention/cuda/decode_plan.h"
#include "attention/cuda/round_queries.h"
#include "attention/kernels.h"
#include "bench/read_memory.h"
#include "comm/cuda/cuda_check.h"
#include "comm/cuda/cuda_device.h"
#include "comm/cuda/cuda_stream.h"
#include "comm/error.h"
#include "comm/str.h"

namespace longspan::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kPageTokens = 128;
/// Of an H100 SXM by its data sheet: 132 SMs x 128 multiply-adds x 1.98 GHz.
constexpr double kNominalTflops = 67;
/// 132 SMs x 4096 operations in bfloat16 x 1.83 GHz; a matrix product sustains 690 of them.
constexpr double kNominalMatrixTflops = 989;
/// Of one graph: what the host takes to launch it is then nothing.
constexpr int kGraphLaunches = 16;
/// 2 GB of bfloat16 keys of 8 heads of 128.
constexpr std::int64_t kCacheTokens = std::int64_t{512} << 10;

struct Line {
  std::string kernel;
  std::string shape;
  std::string unit;
  double figure;
  double yardstick;
  double slow, fast;  // figures at the 90th and 10th percentile of time
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// A million random values over and over: a host makes gigabytes of them too slowly.
std::vector<float> random_values(std::int64_t count) {
  constexpr std::int64_t kFresh = 1 << 20;
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(count);
  const std::int64_t fresh = std::min(count, kFresh);
  std::generate_n(values.begin(), fresh, [&] { return uniform(random); });
  for (std::int64_t i = fresh; i < count; ++i) values[i] = values[i - fresh];
  return values;
}

/// Seconds of one launch.
struct Timing {
  double median, p10, p90;
};

constexpr KernelChoice kHopper{.prefill = PrefillKernel::kSm90};

class Bench {
 public:
  Bench() : device_(0), stream_(device_.new_stream()) {}

  /// All `tokens` rows over their own keys, by the reference kernel.
  Line prefill(const HeadShape& shape, std::int64_t tokens, bool causal) {
    const auto kernels = new_kernels(shape);
    PrefillCase one(*this, shape, tokens, causal, KvType::kFloat32);
    const Timing timing = time([&] { one.enqueue(*kernels); });
    return line(one, causal ? "prefill causal" : "prefill full", timing, kNominalTflops);
  }

  /// The same by a kernel on matrix units over bfloat16 pages, from queries to results, less the
  /// time that rounding the queries takes alone.
  Line prefill_tiles(const HeadShape& shape, std::int64_t tokens, bool causal,
                     const KernelChoice& choice) {
    CudaAttentionKernels kernels(device_, shape, scale(shape), choice);
    PrefillCase one(*this, shape, tokens, causal, KvType::kBFloat16);
    const Buffer rounded = room(one.items * shape.head_dim / 2 + 2);
    auto* const zeroed =
        reinterpret_cast<unsigned long long*>(floats(rounded) + one.items * shape.head_dim / 2);
    const Timing around = time([&] {
      launch_round_queries(floats(one.q), one.items * shape.head_dim, floats(rounded), zeroed,
                           as_cuda(*stream_).native());
    });
    Timing timing = time([&] { one.enqueue_whole(kernels); });
    for (double* seconds : {&timing.median, &timing.p10, &timing.p90}) *seconds -= around.median;
    return line(one, causal ? "causal sm90" : "full sm90", timing, kNominalMatrixTflops);
  }

  /// `batch` rows over `keys` keys each.
  Line decode(const HeadShape& shape, int batch, std::int64_t keys) {
    const auto kernels = new_kernels(shape);
    const double copied = copy_rate();
    const Cache cache(*this, shape, keys * batch);
    const std::int64_t values = std::int64_t{shape.query_heads} * shape.head_dim;
    const Buffer q = upload(random_values(batch * values));
    const Buffer o = room(batch * values), lse = room(batch * shape.query_heads);
    std::vector<DecodeRow> rows;
    for (int i = 0; i < batch; ++i) {
      KvSegment segment = cache.segment;
      segment.view.table += i * keys / kPageTokens;
      segment.len = keys;
      rows.push_back({floats(q) + i * values,
                      {segment},
                      {floats(o) + i * values, floats(lse) + i * shape.query_heads}});
    }
    const Timing timing = time([&] { kernels->decode(*stream_, rows); });
    const double giga = 4e-9 * static_cast<double>(shape.kv_values() * keys * batch);
    return {"decode",
            str("{}/{} x {}, {} rows x {} keys", shape.query_heads, shape.kv_heads, shape.head_dim,
                batch, keys),
            "GB/s",
            giga / timing.median,
            copied,
            giga / timing.p90,
            giga / timing.p10};
  }

  /// The same by the kernel on matrix units, over bfloat16 keys. With it, how fast memory is read.
  std::vector<Line> decode_mma(const HeadShape& shape) {
    const double copied = copy_rate();
    std::vector<Line> lines{reading(copied)};
    const Cache cache(*this, shape, kCacheTokens, KvType::kBFloat16);
    const Buffer table = place(std::span<const std::int32_t>(cache.table));
    for (std::int64_t keys : {32 << 10, 64 << 10, 128 << 10, 512 << 10}) {
      lines.push_back(decode_mma(shape, cache, table, {1, keys}, copied));
    }
    for (int batch : {16, 32}) {
      lines.push_back(decode_mma(shape, cache, table, {batch, 8 << 10}, copied));
    }
    return lines;
  }

  std::string title() {
    return str("attention kernels, fp32, {} | {}", new_kernels({1, 1, 64})->isa(),
               device_.description());
  }

 private:
  /// Keys in pages whose slots are in random order, as in a pool that has been in use for a while.
  struct Cache {
    Cache(Bench& bench, const HeadShape& shape, std::int64_t tokens, KvType type = KvType::kFloat32)
        : table((tokens + kPageTokens - 1) / kPageTokens) {
      const std::int64_t head_stride = kPageTokens * shape.head_dim;
      const std::int64_t page_stride = 2 * shape.kv_heads * head_stride;
      memory = bench.upload(stored(random_values(std::ssize(table) * page_stride), type));
      std::iota(table.begin(), table.end(), 0);
      std::ranges::shuffle(table, std::mt19937(2));
      segment.view = {.k = floats(memory),
                      .head_stride = head_stride,
                      .page_stride = page_stride,
                      .table = table.data(),
                      .page_tokens = kPageTokens,
                      .type = type};
      segment.view.v = segment.view.shifted(shape.kv_heads * head_stride).k;
      segment.len = tokens;
      segment.positions = {.first = 0, .block = 1, .stride = 1, .count = tokens};
    }

    Buffer memory;
    std::vector<std::int32_t> table;
    KvSegment segment;
  };

  struct DecodeShape {
    int batch;
    std::int64_t keys;  // of each row
  };

  /// A launch over the cache's columns from `first` on, all that it reads on the GPU.
  struct MmaCall {
    MmaCall(Bench& bench, const HeadShape& shape, const Cache& cache, const Buffer& table,
            const DecodeShape& size, std::int64_t first)
        : q(bench.upload(random_values(size.batch * query_values(shape)))),
          out(bench.room(size.batch * partial_values(shape))) {
      std::vector<DecodeRow> described;
      const Partial all = partial_at(floats(out), size.batch, shape);
      for (int i = 0; i < size.batch; ++i) {
        KvSegment segment = cache.segment;
        segment.view.table = reinterpret_cast<const std::int32_t*>(table.bytes().data()) +
                             (first + i * size.keys) / kPageTokens;
        segment.len = size.keys;
        described.push_back(
            {floats(q) + i * query_values(shape), {segment}, partial_row(all, i, shape)});
      }
      const DecodePlan plan = plan_decode(described);
      counts = bench.place<SplitCounts>(std::vector{plan.counts()});
      rows = bench.place<SplitRow>(plan.rows);
      splits = bench.place<DecodeSplit>(plan.splits);
      keys = bench.place<SplitKeys>(plan.keys);
      parts = bench.room(std::ssize(plan.splits) * partial_values(shape));
      bad = bench.upload({0.0f, 0.0f});
      work = {.shape = shape,
              .scale = scale(shape),
              .counts = counts.as<SplitCounts>().data(),
              .rows = rows.as<SplitRow>().data(),
              .splits = splits.as<DecodeSplit>().data(),
              .keys = keys.as<SplitKeys>().data(),
              .parts = partial_at(floats(parts), std::ssize(plan.splits), shape),
              .bad_total = bad.as<unsigned long long>().data()};
    }

    Buffer q, out, counts, rows, splits, keys, parts, bad;
    MmaDecode work{};
  };

  /// Launches recorded once.
  class Graph {
   public:
    Graph(cudaStream_t stream, const std::function<void()>& enqueue) : stream_(stream) {
      cudaGraph_t recorded = nullptr;
      cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording");
      enqueue();
      cuda_check(cudaStreamEndCapture(stream, &recorded), "recording launches");
      cuda_check(cudaGraphInstantiate(&graph_, recorded, 0), "making a graph");
      cudaGraphDestroy(recorded);
    }
    ~Graph() { cudaGraphExecDestroy(graph_); }
    Graph(const Graph&) = delete;
    Graph& operator=(const Graph&) = delete;
    void replay() const { cuda_check(cudaGraphLaunch(graph_, stream_), "replaying a graph"); }

   private:
    cudaStream_t stream_;
    cudaGraphExec_t graph_ = nullptr;
  };

  Line decode_mma(const HeadShape& shape, const Cache& cache, const Buffer& table,
                  const DecodeShape& size, double copied) {
    const MmaDecodeGrid grid = prepare_mma_decode(shape.head_dim);
    const std::int64_t tokens = size.batch * size.keys;
    std::vector<std::unique_ptr<MmaCall>> calls;
    for (std::int64_t first = 0; first + tokens <= kCacheTokens; first += tokens) {
      calls.push_back(std::make_unique<MmaCall>(*this, shape, cache, table, size, first));
    }
    const cudaStream_t stream = as_cuda(*stream_).native();
    const Graph graph(stream, [&] {
      for (int i = 0; i < kGraphLaunches; ++i) {
        launch_mma_decode(calls[i % calls.size()]->work, size.batch, grid, stream);
      }
    });
    Timing timing = time([&] { graph.replay(); });
    for (double* seconds : {&timing.median, &timing.p10, &timing.p90}) *seconds /= kGraphLaunches;
    const double giga = 2e-9 * static_cast<double>(shape.kv_values() * tokens);
    return {"decode mma",
            str("{}/{} x {}, {} rows x {} keys", shape.query_heads, shape.kv_heads, shape.head_dim,
                size.batch, size.keys),
            "GB/s",
            giga / timing.median,
            copied,
            giga / timing.p90,
            giga / timing.p10};
  }

  /// Rows, their keys, and a state.
  struct PrefillCase {
    PrefillCase(Bench& bench, const HeadShape& heads, std::int64_t rows, bool causal, KvType type)
        : on(bench),
          shape(heads),
          tokens(rows),
          items(rows * heads.query_heads),
          cache(bench, heads, rows, type),
          q(bench.upload(random_values(items * heads.head_dim))),
          acc(bench.room(items * heads.head_dim)),
          m(bench.room(items)),
          l(bench.room(items)),
          state{floats(acc), floats(m), floats(l)},
          positions(rows) {
      cache.segment.mask = causal ? Mask::causal() : Mask::full();
      std::iota(positions.begin(), positions.end(), 0);
      const double pairs = static_cast<double>(rows) * (causal ? rows + 1 : 2 * rows) / 2;
      tera = 4.0 * shape.head_dim * shape.query_heads * pairs * 1e-12;
    }
    void enqueue(AttentionKernels& kernels) {
      kernels.reset(*on.stream_, state, tokens);
      kernels.attend(*on.stream_, {floats(q), positions}, {cache.segment}, state);
    }
    void enqueue_whole(AttentionKernels& kernels) {
      kernels.attend_whole(*on.stream_, {floats(q), positions}, {{{}, {cache.segment}}}, state,
                           false);
    }

    Bench& on;
    HeadShape shape;
    std::int64_t tokens, items;
    Cache cache;
    Buffer q, acc, m, l;
    RunningState state;
    std::vector<std::int64_t> positions;
    double tera;  // multiplications and additions, in 10^12
  };

  static Line line(const PrefillCase& one, const std::string& kernel, const Timing& timing,
                   double yardstick) {
    return {kernel,
            str("{}/{} x {}, {} tokens", one.shape.query_heads, one.shape.kv_heads,
                one.shape.head_dim, one.tokens),
            "TFLOP/s",
            one.tera / timing.median,
            yardstick,
            one.tera / timing.p90,
            one.tera / timing.p10};
  }

  /// As words of float32, whatever the type.
  static std::vector<float> stored(const std::vector<float>& values, KvType type) {
    if (type == KvType::kFloat32) return values;
    std::vector<float> words(values.size() / 2);
    narrow(type, values.data(), std::ssize(values), words.data());
    return words;
  }

  static float* floats(const Buffer& buffer) { return buffer.as<float>().data(); }
  Buffer room(std::int64_t values) { return device_.allocate(values * sizeof(float)); }
  Buffer upload(const std::vector<float>& values) {
    Buffer buffer = room(std::ssize(values));
    device_.copy(*stream_, buffer.bytes(), std::as_bytes(std::span(values)));
    stream_->synchronize();
    return buffer;
  }
  template <typename T>
  Buffer place(std::span<const T> values) {
    Buffer buffer = device_.allocate(values.size_bytes());
    device_.copy(*stream_, buffer.bytes(), std::as_bytes(values));
    stream_->synchronize();
    return buffer;
  }
  static float scale(const HeadShape& shape) {
    return 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  }
  std::unique_ptr<AttentionKernels> new_kernels(const HeadShape& shape) {
    return std::make_unique<CudaAttentionKernels>(device_, shape, scale(shape));
  }

  double batch_seconds(const std::function<void()>& enqueue, int launches) {
    const auto start = Clock::now();
    for (int i = 0; i < launches; ++i) enqueue();
    stream_->synchronize();
    return seconds_since(start);
  }

  /// Batches of launches that last about 50 ms each, so that a synchronisation costs nothing.
  Timing time(const std::function<void()>& enqueue) {
    const auto warm_up = Clock::now();
    double one = 0;
    do {
      one = batch_seconds(enqueue, 1);
    } while (seconds_since(warm_up) < 0.5);
    const int launches = static_cast<int>(std::clamp(0.05 / one, 1.0, 500.0));
    std::vector<double> seconds;
    const auto start = Clock::now();
    while (std::ssize(seconds) < 10 || seconds_since(start) < 2.0) {
      seconds.push_back(batch_seconds(enqueue, launches) / launches);
    }
    std::ranges::sort(seconds);
    const std::size_t count = seconds.size();
    return {seconds[count / 2], seconds[count / 10], seconds[count * 9 / 10]};
  }

  /// Bytes read and written per second, in GB, by a copy of 1 GiB on the GPU.
  double copy_rate() {
    const Buffer from = upload(random_values(std::int64_t{1} << 28));
    const Buffer to = room(std::int64_t{1} << 28);
    const Timing timing = time([&] { device_.copy(*stream_, to.bytes(), from.bytes()); });
    return 2e-9 * static_cast<double>(from.bytes().size()) / timing.median;
  }

  Line reading(double copied) {
    const Buffer memory = upload(random_values(std::int64_t{1} << 28));
    const std::size_t bytes = memory.bytes().size();
    const Timing timing =
        time([&] { launch_read(memory.bytes().data(), bytes, nullptr, as_cuda(*stream_)); });
    const double giga = 1e-9 * static_cast<double>(bytes);
    return {"reading", "1 GiB",           "GB/s",           giga / timing.median,
            copied,    giga / timing.p90, giga / timing.p10};
  }

  CudaDevice device_;
  std::unique_ptr<Stream> stream_;
};

constexpr HeadShape kLarge{.query_heads = 32, .kv_heads = 8, .head_dim = 128};

std::vector<Line> run_decode(Bench& bench) {
  if (!device_runs_mma()) throw ConfigError("this GPU has no matrix units for bfloat16");
  return bench.decode_mma(kLarge);
}

std::vector<Line> run_all(Bench& bench) {
  const HeadShape& large = kLarge;
  const HeadShape small{.query_heads = 9, .kv_heads = 3, .head_dim = 64};
  std::vector<Line> lines;
  for (const HeadShape& shape : {large, small}) {
    for (std::int64_t tokens : {4096, 16'384}) lines.push_back(bench.prefill(shape, tokens, true));
    lines.push_back(bench.prefill(shape, 4096, false));
  }
  if (device_runs_sm90()) {
    for (std::int64_t tokens : {4096, 16'384, 131'072}) {
      lines.push_back(bench.prefill_tiles(large, tokens, true, kHopper));
    }
    lines.push_back(bench.prefill_tiles(large, 16'384, false, kHopper));
  }
  lines.push_back(bench.decode(large, 1, 131'072));
  lines.push_back(bench.decode(large, 16, 4096));
  lines.push_back(bench.decode(small, 16, 4096));
  if (device_runs_mma()) std::ranges::move(run_decode(bench), std::back_inserter(lines));
  return lines;
}

void print_table(const std::string& title, const std::vector<Line>& lines) {
  fmt::print("{}\n", title);
  fmt::print("random data and page order, pages of {}; median of batches over 2 s after 0.5 s\n",
             kPageTokens);
  fmt::print("yardsticks: fp32 and bfloat16 peaks of an H100 SXM (nominal); copying 1 GiB here\n");
  fmt::print("{:>14} {:>30} {:>16} {:>16} {:>6} {:>17}\n", "kernel", "heads, size", "figure",
             "yardstick", "ratio", "p90 to p10");
  for (const Line& line : lines) {
    fmt::print("{:>14} {:>30} {:>8.1f} {:7} {:>8.1f} {:7} {:>6.2f} {:>8.1f}-{:.1f}\n", line.kernel,
               line.shape, line.figure, line.unit, line.yardstick, line.unit,
               line.figure / line.yardstick, line.slow, line.fast);
  }
}

void print_json(const std::string& title, const std::vector<Line>& lines) {
  fmt::print("{{\"title\": \"{}\", \"lines\": [", title);
  for (const Line& line : lines) {
    fmt::print(
        "{}\n  {{\"kernel\": \"{}\", \"shape\": \"{}\", \"unit\": \"{}\", \"figure\": {:.3f}, "
        "\"yardstick\": {:.3f}, \"ratio\": {:.4f}, \"slow\": {:.3f}, \"fast\": {:.3f}}}",
        &line == &lines.front() ? "" : ",", line.kernel, line.shape, line.unit, line.figure,
        line.yardstick, line.figure / line.yardstick, line.slow, line.fast);
  }
  fmt::print("\n]}}\n");
}

KernelChoice parse_rung(std::string_view word) {
  const auto hopper = [](Sm90Rung rung) {
    return KernelChoice{.prefill = PrefillKernel::kSm90, .rung = rung};
  };
  if (word == "in_order") return hopper(Sm90Rung::kInOrder);
  if (word == "turns") return hopper(Sm90Rung::kTurns);
  if (word == "overlap") return hopper(Sm90Rung::kOverlap);
  if (word == "fetching") return hopper(Sm90Rung::kFetching);
  if (word == "mma") return {.prefill = PrefillKernel::kMma};
  throw ConfigError(str("no rung {}", word));
}

/// An answer for each line of standard input, until it ends.
void serve(Bench& bench) {
  std::int64_t tokens = 0;
  int head_dim = 0;
  std::string mask, rung;
  while (std::cin >> tokens >> mask >> rung >> head_dim) {
    const HeadShape shape{.query_heads = 32, .kv_heads = 8, .head_dim = head_dim};
    const Line line = bench.prefill_tiles(shape, tokens, mask == "causal", parse_rung(rung));
    fmt::print("{{\"tflops\": {:.2f}, \"slow\": {:.2f}, \"fast\": {:.2f}}}\n", line.figure,
               line.slow, line.fast);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace longspan::bench

int main(int argc, char** argv) {
  using namespace longspan;
  bool json = false, serves = false, decode = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    json |= flag == "--json", serves |= flag == "--serve", decode |= flag == "--decode";
    if (flag != "--json" && flag != "--serve" && flag != "--decode") {
      fmt::print(stderr, "usage: cuda_attention_bench [--decode] [--json] | --serve\n");
      return static_cast<int>(ExitCode::kUsage);
    }
  }
  try {
    bench::Bench bench;
    if (serves) {
      bench::serve(bench);
      return 0;
    }
    const auto lines = decode ? bench::run_decode(bench) : bench::run_all(bench);
    (json ? bench::print_json : bench::print_table)(bench.title(), lines);
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "cuda_attention_bench: {}\n", error.what());
    return static_cast<int>(error.code());
  }
}
