#include "launch/bench/load_yardstick.h"

#include <algorithm>

#include "comm/error.h"
#include "runtime/model/shared_work.h"

namespace longspan {
namespace {

/// Rows in turn until they have so many bytes: a core's cache holds them and their values.
constexpr std::uint64_t kPieceBytes = 64 << 10;

std::int64_t values_of(const TensorInfo& rows) {
  std::int64_t values = 1;
  for (const std::int64_t extent : rows.shape) values *= extent;
  return values;
}

}  // namespace

LoadYardstick::LoadYardstick(const TensorFile& file, int threads) : file_(file), rooms_(threads) {
  for (const TensorInfo& tensor : file.tensors()) add_pieces(tensor);
  std::size_t bytes = 0;
  std::int64_t values = 0;
  for (const Piece& piece : pieces_) {
    bytes = std::max<std::size_t>(bytes, piece.rows.bytes);
    values = std::max(values, piece.values);
  }
  for (Room& room : rooms_) {
    room.raw.resize(bytes);
    room.values.resize(values);
  }
}

void LoadYardstick::add_pieces(const TensorInfo& tensor) {
  const auto add = [&](TensorInfo rows) {
    const std::int64_t values = values_of(rows);
    pieces_.push_back({std::move(rows), values_, values});
    values_ += values;
  };
  if (tensor.shape.size() < 2) return add(tensor);  // a vector has no rows
  const std::int64_t rows = tensor.shape.front();
  const std::uint64_t row_bytes = tensor.bytes / rows;
  const std::int64_t step = std::max<std::int64_t>(1, kPieceBytes / row_bytes);
  for (std::int64_t first = 0; first < rows; first += step) {
    TensorInfo some = tensor;
    some.shape.front() = std::min(step, rows - first);
    some.offset += first * row_bytes;
    some.bytes = some.shape.front() * row_bytes;
    add(std::move(some));
  }
}

void LoadYardstick::keep(std::span<float> all) {
  expects(std::ssize(all) == values_, "room for every value");
  run(all);
}

void LoadYardstick::keep_nothing() { run({}); }

void LoadYardstick::run(std::span<float> all) {
  share_work(pieces_.size(), static_cast<int>(rooms_.size()), [&](std::size_t i, int thread) {
    const Piece& piece = pieces_[i];
    Room& room = rooms_[thread];
    const auto raw = std::span(room.raw).first(piece.rows.bytes);
    file_.read(piece.rows, raw);
    const auto values = all.empty() ? std::span(room.values).first(piece.values)
                                    : all.subspan(piece.first, piece.values);
    dequantize(piece.rows.type, raw, values);
  });
}

}  // namespace longspan
