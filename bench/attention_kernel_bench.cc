// How fast the CPU attention kernels are, beside what this machine can do at best: prefill against
// multiply-adds in registers, decode against reading memory.
//
//   attention_kernel_bench [--threads N] [--json]

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attention/kernels.h"
#include "bench/cpu_yardsticks.h"
#include "comm/cpu/cpu_device.h"
#include "comm/str.h"

namespace longspan::bench {
namespace {

constexpr std::int64_t kPageTokens = 16;

struct Options {
  int threads = 1;
  bool json = false;
};

struct Line {
  std::string kernel;  // "prefill causal"
  std::string shape;
  std::string unit;
  double figure;
  double yardstick;
  double spread;  // of the middle half of the repetitions, over the median
};

std::vector<float> random_values(std::int64_t count) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(count);
  std::ranges::generate(values, [&] { return uniform(random); });
  return values;
}

/// Keys in pages whose slots are in random order, as in a pool that has been in use for a while,
/// and in a device's memory, as a pool is.
struct Cache {
  Cache(Device& device, const HeadShape& shape, std::int64_t tokens)
      : table((tokens + kPageTokens - 1) / kPageTokens) {
    const auto random = random_values(std::ssize(table) * kPageTokens * shape.kv_values());
    memory = device.allocate(std::as_bytes(std::span(random)).size());
    const std::span<float> values = memory.as<float>();
    std::ranges::copy(random, values.begin());
    std::iota(table.begin(), table.end(), 0);
    std::ranges::shuffle(table, std::mt19937(2));
    const std::int64_t head_stride = kPageTokens * shape.head_dim;
    segment.view = {.k = values.data(),
                    .v = values.data() + shape.kv_heads * head_stride,
                    .head_stride = head_stride,
                    .page_stride = 2 * shape.kv_heads * head_stride,
                    .table = table.data(),
                    .page_tokens = kPageTokens};
    segment.len = tokens;
    segment.positions = {.first = 0, .block = 1, .stride = 1, .count = tokens};
  }

  Buffer memory;
  std::vector<std::int32_t> table;
  KvSegment segment;
};

struct Timing {
  double seconds;  // median
  double spread;
};

Timing time(Stream& stream, const std::function<void()>& enqueue) {
  std::vector<double> seconds;
  double total = 0;
  for (int repeat = 0; repeat < 3 || (total < 2.0 && repeat < 21); ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    enqueue();
    stream.synchronize();
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    total += seconds.back();
    if (repeat == 0) seconds.clear();  // the first warms caches and allocates workspaces
  }
  std::ranges::sort(seconds);
  const std::size_t count = seconds.size();
  const double median = seconds[count / 2];
  return {median, (seconds[count * 3 / 4] - seconds[count / 4]) / median};
}

class Bench {
 public:
  explicit Bench(const Options& options)
      : device_(options.threads), stream_(device_.new_stream()) {}

  /// `rows` new tokens at the end of `keys`.
  Line prefill(const HeadShape& shape, std::int64_t rows, std::int64_t keys, bool causal) {
    const auto kernels = new_kernels(shape);
    const double flops = multiply_add_rate(width(kernels->isa()), device_.threads());
    const Cache cache(device_, shape, keys);
    KvSegment segment = cache.segment;
    segment.mask = causal ? Mask::causal() : Mask::full();
    const std::int64_t items = rows * shape.query_heads;
    const auto q = random_values(items * shape.head_dim);
    std::vector<std::int64_t> positions(rows);
    std::iota(positions.begin(), positions.end(), keys - rows);
    std::vector<float> acc(items * shape.head_dim), m(items), l(items);
    const RunningState state{acc.data(), m.data(), l.data()};
    const Timing timing = time(*stream_, [&] {
      kernels->reset(*stream_, state, rows);
      kernels->attend(*stream_, {q.data(), positions}, {segment}, state);
    });
    double pairs = 0;
    for (std::int64_t position : positions) {
      pairs += static_cast<double>(segment.seen(position).end);
    }
    const double flop = 4.0 * shape.head_dim * shape.query_heads * pairs;
    return {causal ? "prefill causal" : "prefill full",
            str("{}/{} x {}, {} rows x {} keys", shape.query_heads, shape.kv_heads, shape.head_dim,
                rows, keys),
            "GFLOP/s",
            flop / timing.seconds * 1e-9,
            flops * 1e-9,
            timing.spread};
  }

  /// `batch` rows over `keys` keys each.
  Line decode(const HeadShape& shape, int batch, std::int64_t keys) {
    const auto kernels = new_kernels(shape);
    const double readable = read_rate(device_);
    const Cache cache(device_, shape, keys * batch);
    const std::int64_t values = shape.query_heads * shape.head_dim;
    const auto q = random_values(batch * values);
    std::vector<float> o(batch * values), lse(batch * shape.query_heads);
    std::vector<DecodeRow> rows;
    for (int i = 0; i < batch; ++i) {
      KvSegment segment = cache.segment;
      segment.view.table += i * keys / kPageTokens;
      segment.len = keys;
      rows.push_back({q.data() + i * values,
                      {segment},
                      {o.data() + i * values, lse.data() + i * shape.query_heads}});
    }
    const Timing timing = time(*stream_, [&] { kernels->decode(*stream_, rows); });
    const double bytes = 4.0 * static_cast<double>(shape.kv_values() * keys * batch);
    return {"decode",
            str("{}/{} x {}, {} rows x {} keys", shape.query_heads, shape.kv_heads, shape.head_dim,
                batch, keys),
            "GB/s",
            bytes / timing.seconds * 1e-9,
            readable * 1e-9,
            timing.spread};
  }

  std::string title() {
    return str("attention kernels, fp32, {} | {}", new_kernels({1, 1, 64})->isa(),
               device_.description());
  }

 private:
  static std::unique_ptr<AttentionKernels> new_kernels(const HeadShape& shape) {
    return new_cpu_attention_kernels(shape, 1.0f / std::sqrt(static_cast<float>(shape.head_dim)));
  }
  static int width(std::string_view isa) { return isa == "avx512" ? 16 : isa == "avx2" ? 8 : 4; }

  CpuDevice device_;
  std::unique_ptr<Stream> stream_;
};

std::vector<Line> run_all(Bench& bench) {
  const HeadShape small{.query_heads = 9, .kv_heads = 3, .head_dim = 64};
  const HeadShape large{.query_heads = 32, .kv_heads = 8, .head_dim = 128};
  const HeadShape single{.query_heads = 8, .kv_heads = 8, .head_dim = 128};
  std::vector<Line> lines;
  for (bool causal : {true, false}) {
    lines.push_back(bench.prefill(small, 2048, 4096, causal));
    lines.push_back(bench.prefill(small, 256, 4096, causal));
    lines.push_back(bench.prefill(large, 512, 4096, causal));
    lines.push_back(bench.prefill(single, 512, 4096, causal));
  }
  for (const HeadShape& shape : {small, large, single}) {
    lines.push_back(bench.decode(shape, 1, 131'072));
    lines.push_back(bench.decode(shape, 16, 4096));
  }
  return lines;
}

void print_table(const std::string& title, const std::vector<Line>& lines) {
  fmt::print("{}\n", title);
  fmt::print("random data and page order, pages of {}; median of up to 20 after a warm-up\n",
             kPageTokens);
  fmt::print("yardsticks, just before each line: multiply-adds in registers; reading 512 MiB\n");
  fmt::print("{:>14} {:>34} {:>16} {:>16} {:>6} {:>7}\n", "kernel", "heads, size", "figure",
             "yardstick", "ratio", "spread");
  for (const Line& line : lines) {
    fmt::print("{:>14} {:>34} {:>8.1f} {:7} {:>8.1f} {:7} {:>6.2f} {:>5.1f} %\n", line.kernel,
               line.shape, line.figure, line.unit, line.yardstick, line.unit,
               line.figure / line.yardstick, 100 * line.spread);
  }
}

void print_json(const std::string& title, const std::vector<Line>& lines) {
  fmt::print("{{\"title\": \"{}\", \"lines\": [", title);
  for (const Line& line : lines) {
    fmt::print(
        "{}\n  {{\"kernel\": \"{}\", \"shape\": \"{}\", \"unit\": \"{}\", \"figure\": {:.3f}, "
        "\"yardstick\": {:.3f}, \"ratio\": {:.4f}, \"spread\": {:.4f}}}",
        &line == &lines.front() ? "" : ",", line.kernel, line.shape, line.unit, line.figure,
        line.yardstick, line.figure / line.yardstick, line.spread);
  }
  fmt::print("\n]}}\n");
}

/// Nothing when the command line is not understood.
std::optional<Options> parse(const std::vector<std::string_view>& words) {
  Options options;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--json") {
      options.json = true;
    } else if (words[i] == "--threads" && i + 1 < words.size()) {
      const std::string_view number = words[++i];
      std::from_chars(number.begin(), number.end(), options.threads);
      if (options.threads < 1) return std::nullopt;
    } else {
      return std::nullopt;
    }
  }
  return options;
}

}  // namespace
}  // namespace longspan::bench

int main(int argc, char** argv) {
  using namespace longspan::bench;
  const auto options = parse({argv + 1, argv + argc});
  if (!options) {
    fmt::print(stderr, "usage: attention_kernel_bench [--threads N] [--json]\n");
    return 2;
  }
  Bench bench(*options);
  const auto lines = run_all(bench);
  (options->json ? print_json : print_table)(bench.title(), lines);
  return 0;
}
