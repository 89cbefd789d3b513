#include "attention/kernel_probe.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

#include "attention/kv_pages.h"
#include "attention/lower_quartile.h"
#include "attention/random_values.h"
#include "comm/error.h"

namespace longspan {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kMergeRows = 128;
constexpr int kMergeSources = 4;
constexpr int kLaunches = 20;
constexpr std::int64_t kCopiedPage = 16;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

KernelProbe::KernelProbe(Device& device, AttentionKernels& kernels, std::int64_t most_rows,
                         std::int64_t most_columns, std::chrono::duration<double> slice)
    : device_(device),
      kernels_(kernels),
      most_rows_(std::max(most_rows, kMergeRows)),
      most_columns_(std::max(most_columns, most_rows)),
      slice_(slice),
      key_type_(kernels.new_columns(KvType::kBFloat16)),
      positions_(most_rows_),
      other_(device.new_stream()),
      compute_(device.new_stream()) {
  const HeadShape& shape = kernels.shape();
  const std::int64_t heads = shape.query_heads;
  std::iota(positions_.begin(), positions_.end(), 0);
  const auto filled = [&](std::int64_t values, std::uint32_t seed, KvType type = KvType::kFloat32) {
    return random_values(device, *compute_, values, seed, type);
  };
  q_ = filled(most_rows_ * heads * shape.head_dim, 1);
  keys_ = filled(most_columns_ * shape.kv_values(), 2, key_type_);
  acc_ = filled(most_rows_ * heads * shape.head_dim, 3);
  m_ = filled(most_rows_ * heads, 4);
  l_ = filled(most_rows_ * heads, 5);
  for (Buffer& buffer : partials_) buffer = filled(kMergeRows * heads * (shape.head_dim + 1), 6);
}

double KernelProbe::flop_per_pair() const {
  return 4.0 * kernels_.shape().query_heads * kernels_.shape().head_dim;
}

double KernelProbe::usual_seconds(const std::function<void()>& enqueue) {
  enqueue();  // caches, workspaces, clocks
  compute_->synchronize();
  std::vector<double> seconds;
  for (const auto begin = Clock::now();
       seconds.size() < 3 || seconds_since(begin) < slice_.count();) {
    const auto start = Clock::now();
    enqueue();
    compute_->synchronize();
    seconds.push_back(seconds_since(start));
  }
  return std::max(lower_quartile(std::move(seconds)), 1e-9);
}

QueryRows KernelProbe::queries(std::int64_t rows) const {
  return {.q = q_.as<float>().data(), .positions = std::span(positions_).first(rows)};
}

/// The first columns, in one page.
KvSegment KernelProbe::segment(std::int64_t columns, bool causal) const {
  return {.view = pages_at(keys_.bytes().data(), key_type_, kernels_.shape(), columns),
          .len = columns,
          .mask = causal ? Mask::causal() : Mask::full(),
          .positions = {.first = 0, .block = 1, .stride = 1, .count = columns}};
}

RunningState KernelProbe::state() const {
  return {acc_.as<float>().data(), m_.as<float>().data(), l_.as<float>().data()};
}

void KernelProbe::attend_whole(std::int64_t rows, std::int64_t columns, bool causal) {
  kernels_.attend_whole(*compute_, queries(rows), {{{}, {segment(columns, causal)}}}, state(),
                        false);
}

double KernelProbe::attend_seconds(std::int64_t rows, std::int64_t columns, bool causal) {
  return usual_seconds([&] { attend_whole(rows, columns, causal); });
}

/// Columns are doubled until a run takes a tenth of the slice, so that a slow machine does not take
/// for ever.
double KernelProbe::attention_flops_per_second(std::int64_t rows) {
  expects(rows >= 1 && rows <= most_rows_, "rows there is room for");
  std::int64_t columns = std::min<std::int64_t>(64, most_columns_);
  for (;;) {
    const auto start = Clock::now();
    attend_whole(rows, columns, false);
    compute_->synchronize();
    if (seconds_since(start) > slice_.count() / 10 || columns * 2 > most_columns_) break;
    columns *= 2;
  }
  const double pairs = static_cast<double>(rows * columns);
  return flop_per_pair() * pairs / attend_seconds(rows, columns, false);
}

double KernelProbe::masked_flops_per_second(std::int64_t rows) {
  expects(rows >= 1 && rows <= most_rows_, "rows there is room for");
  // From below, so that a slow machine never sees a long run.
  for (std::int64_t fewer = std::min<std::int64_t>(32, rows); fewer < rows; fewer *= 2) {
    const auto start = Clock::now();
    attend_whole(fewer, fewer, true);
    compute_->synchronize();
    if (seconds_since(start) > slice_.count() / 4) rows = fewer;  // four times as long is too long
  }
  const double pairs = 0.5 * static_cast<double>(rows * (rows + 1));
  return flop_per_pair() * pairs / attend_seconds(rows, rows, true);
}

Partial KernelProbe::partial(Buffer& buffer) const {
  const HeadShape& shape = kernels_.shape();
  float* o = buffer.as<float>().data();
  return {o, o + kMergeRows * shape.query_heads * shape.head_dim};
}

double KernelProbe::merge_bytes_per_second() {
  const std::vector<Partial> sources(kMergeSources, partial(partials_[0]));
  const double seconds =
      usual_seconds([&] { kernels_.merge(*compute_, sources, partial(partials_[1]), kMergeRows); });
  const auto moved = static_cast<double>(partials_[0].bytes().size() * (kMergeSources + 1));
  return moved / seconds;
}

double KernelProbe::copy_bytes_per_second() {
  const HeadShape& shape = kernels_.shape();
  const std::int64_t columns = most_columns_ / 2 / kCopiedPage * kCopiedPage;
  const std::int64_t bytes = columns * shape.kv_values() * value_bytes(key_type_);
  const Bytes memory = keys_.bytes();
  std::vector<std::int32_t> table(columns / kCopiedPage);
  std::iota(table.rbegin(), table.rend(), 0);
  KvCopy copy{.from = pages_at(memory.data(), key_type_, shape, kCopiedPage),
              .from_column = 0,
              .to = pages_at(memory.subspan(bytes).data(), key_type_, shape, columns),
              .to_columns = {.first = 0, .block = 1, .stride = 1, .count = columns}};
  copy.from.table = table.data();
  copy.to.table = nullptr;
  const double seconds = usual_seconds([&] { kernels_.copy_kv(*compute_, {copy}); });
  return static_cast<double>(bytes) / seconds;
}

double KernelProbe::launch_seconds() {
  return usual_seconds([&] {
           for (int i = 0; i < kLaunches; ++i) {
             kernels_.attend(*compute_, queries(1), {segment(1, false)}, state());
             other_->wait(compute_->record());
             compute_->wait(other_->record());
           }
         }) /
         kLaunches;
}

}  // namespace longspan
