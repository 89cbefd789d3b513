#include "launch/bench/matrix_yardstick.h"

#include <algorithm>
#include <random>
#include <span>
#include <vector>

namespace longspan {
namespace {

/// A square matrix. Some rows are drawn and come again and again: what is multiplied does not
/// matter, but that it is not zeros, of which a GPU is faster.
std::vector<float> random_matrix(int size, unsigned seed) {
  constexpr int kDrawn = 64;
  std::minstd_rand random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(std::size_t{1} * size * size);
  const auto drawn = std::min<std::size_t>(values.size(), std::size_t{kDrawn} * size);
  std::generate_n(values.begin(), drawn, [&] { return uniform(random); });
  for (std::size_t i = drawn; i < values.size(); ++i) values[i] = values[i - drawn];
  return values;
}

}  // namespace

MatrixYardstick::MatrixYardstick(Device& device, ModelOps& ops, int size)
    : ops_(ops), size_(size), layout_(ops.new_matrix_layout(size, size)) {
  const std::vector<float> x = random_matrix(size, 1), w = random_matrix(size, 2);
  x_ = device.allocate(x.size() * sizeof(float));
  out_ = device.allocate(x.size() * sizeof(float));
  w_ = device.allocate(layout_->bytes());
  const Buffer packed = device.allocate_on_host(layout_->bytes());
  const int step = layout_->panel_rows();
  for (int row = 0; row < size; row += step) {
    layout_->pack(w.data() + std::ptrdiff_t{row} * size, row, std::min(step, size - row),
                  packed.bytes());
  }
  const std::unique_ptr<Stream> stream = device.new_stream();
  device.copy(*stream, x_.bytes(), std::as_bytes(std::span(x)));
  device.copy(*stream, w_.bytes(), packed.bytes());
  stream->synchronize();
}

void MatrixYardstick::enqueue(Stream& stream) {
  ops_.matmul(stream, x_.as<float>().data(), size_, {layout_.get(), w_.bytes().data()},
              out_.as<float>().data(), Output::kOverwrite);
}

}  // namespace longspan
