#include "launch/bench/matrix_yardstick.h"

#include <algorithm>
#include <random>
#include <vector>

namespace longspan {
namespace {

/// Larger ones are no faster on a few threads (12 MiB in all).
constexpr int kSize = 1024;

std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::minstd_rand random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(count);
  std::ranges::generate(values, [&] { return uniform(random); });
  return values;
}

}  // namespace

MatrixYardstick::MatrixYardstick(Device& device, Precision precision)
    : ops_(new_cpu_model_ops(precision)), layout_(ops_->new_matrix_layout(kSize, kSize)) {
  constexpr std::size_t kCount = std::size_t{kSize} * kSize;
  x_ = device.allocate(kCount * sizeof(float));
  out_ = device.allocate(kCount * sizeof(float));
  w_ = device.allocate(layout_->bytes());
  std::ranges::copy(random_values(kCount, 1), x_.as<float>().begin());
  const std::vector<float> w = random_values(kCount, 2);
  const int step = layout_->panel_rows();
  for (int row = 0; row < kSize; row += step) {
    layout_->pack(w.data() + std::ptrdiff_t{row} * kSize, row, std::min(step, kSize - row),
                  w_.bytes());
  }
}

void MatrixYardstick::enqueue(Stream& stream) {
  ops_->matmul(stream, x_.as<float>().data(), kSize, {layout_.get(), w_.bytes().data()},
               out_.as<float>().data(), Output::kOverwrite);
}

double MatrixYardstick::flop() { return 2.0 * kSize * kSize * kSize; }

}  // namespace longspan
