// How fast the CUDA attention kernels are, beside what an H100 can do at best: prefill against its
// nominal fp32 peak, decode against copying memory on the GPU, measured in the same run.
//
//   cuda_attention_bench [--json]
//
// Steady state: each line warms up for half a second and then measures for two, many launches
// between synchronisations, since a GPU that has been idle is faster than it stays. What the
// reference kernels were expected to reach is derived: of the 2048 multiply-adds a thread does per
// tile of 64 x 64 at head size 64 about 60 % of the instructions it issues, so 20 TFLOP/s with
// barriers; 30 at head size 128, where loads are shared by more values.

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attention/kernels.h"
#include "comm/cuda/cuda_device.h"
#include "comm/error.h"
#include "comm/str.h"

namespace longspan::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kPageTokens = 128;
/// Of an H100 SXM by its data sheet: 132 SMs x 128 multiply-adds x 1.98 GHz.
constexpr double kNominalTflops = 67;

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

class Bench {
 public:
  Bench() : device_(0), stream_(device_.new_stream()) {}

  /// All `tokens` rows over their own keys.
  Line prefill(const HeadShape& shape, std::int64_t tokens, bool causal) {
    const auto kernels = new_kernels(shape);
    const Cache cache(*this, shape, tokens);
    KvSegment segment = cache.segment;
    segment.mask = causal ? Mask::causal() : Mask::full();
    const std::int64_t items = tokens * shape.query_heads;
    const Buffer q = upload(random_values(items * shape.head_dim));
    const Buffer acc = room(items * shape.head_dim), m = room(items), l = room(items);
    const RunningState state{floats(acc), floats(m), floats(l)};
    std::vector<std::int64_t> positions(tokens);
    std::iota(positions.begin(), positions.end(), 0);
    const Timing timing = time([&] {
      kernels->reset(*stream_, state, tokens);
      kernels->attend(*stream_, {floats(q), positions}, {segment}, state);
    });
    const double pairs = static_cast<double>(tokens) * (causal ? tokens + 1 : 2 * tokens) / 2;
    const double tera = 4.0 * shape.head_dim * shape.query_heads * pairs * 1e-12;
    return {causal ? "prefill causal" : "prefill full",
            str("{}/{} x {}, {} tokens", shape.query_heads, shape.kv_heads, shape.head_dim, tokens),
            "TFLOP/s",
            tera / timing.median,
            kNominalTflops,
            tera / timing.p90,
            tera / timing.p10};
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

  std::string title() {
    return str("attention kernels, fp32, {} | {}", new_kernels({1, 1, 64})->isa(),
               device_.description());
  }

 private:
  /// Keys in pages whose slots are in random order, as in a pool that has been in use for a while.
  struct Cache {
    Cache(Bench& bench, const HeadShape& shape, std::int64_t tokens)
        : table((tokens + kPageTokens - 1) / kPageTokens) {
      const std::int64_t head_stride = kPageTokens * shape.head_dim;
      const std::int64_t page_stride = 2 * shape.kv_heads * head_stride;
      memory = bench.upload(random_values(std::ssize(table) * page_stride));
      std::iota(table.begin(), table.end(), 0);
      std::ranges::shuffle(table, std::mt19937(2));
      segment.view = {.k = floats(memory),
                      .v = floats(memory) + shape.kv_heads * head_stride,
                      .head_stride = head_stride,
                      .page_stride = page_stride,
                      .table = table.data(),
                      .page_tokens = kPageTokens};
      segment.len = tokens;
      segment.positions = {.first = 0, .block = 1, .stride = 1, .count = tokens};
    }

    Buffer memory;
    std::vector<std::int32_t> table;
    KvSegment segment;
  };

  static float* floats(const Buffer& buffer) { return buffer.as<float>().data(); }
  Buffer room(std::int64_t values) { return device_.allocate(values * sizeof(float)); }
  Buffer upload(const std::vector<float>& values) {
    Buffer buffer = room(std::ssize(values));
    device_.copy(*stream_, buffer.bytes(), std::as_bytes(std::span(values)));
    stream_->synchronize();
    return buffer;
  }
  std::unique_ptr<AttentionKernels> new_kernels(const HeadShape& shape) {
    return new_cuda_attention_kernels(device_, shape,
                                      1.0f / std::sqrt(static_cast<float>(shape.head_dim)));
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

  CudaDevice device_;
  std::unique_ptr<Stream> stream_;
};

std::vector<Line> run_all(Bench& bench) {
  const HeadShape large{.query_heads = 32, .kv_heads = 8, .head_dim = 128};
  const HeadShape small{.query_heads = 9, .kv_heads = 3, .head_dim = 64};
  std::vector<Line> lines;
  for (const HeadShape& shape : {large, small}) {
    for (std::int64_t tokens : {4096, 16'384}) lines.push_back(bench.prefill(shape, tokens, true));
    lines.push_back(bench.prefill(shape, 4096, false));
  }
  lines.push_back(bench.decode(large, 1, 131'072));
  lines.push_back(bench.decode(large, 16, 4096));
  lines.push_back(bench.decode(small, 16, 4096));
  return lines;
}

void print_table(const std::string& title, const std::vector<Line>& lines) {
  fmt::print("{}\n", title);
  fmt::print("random data and page order, pages of {}; median of batches over 2 s after 0.5 s\n",
             kPageTokens);
  fmt::print("yardsticks: fp32 peak of an H100 SXM (nominal); copying 1 GiB on this GPU\n");
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

}  // namespace
}  // namespace longspan::bench

int main(int argc, char** argv) {
  using namespace longspan;
  const bool json = argc == 2 && std::string_view(argv[1]) == "--json";
  if (argc > 1 && !json) {
    fmt::print(stderr, "usage: cuda_attention_bench [--json]\n");
    return static_cast<int>(ExitCode::kUsage);
  }
  try {
    bench::Bench bench;
    const auto lines = bench::run_all(bench);
    (json ? bench::print_json : bench::print_table)(bench.title(), lines);
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "cuda_attention_bench: {}\n", error.what());
    return static_cast<int>(error.code());
  }
}
