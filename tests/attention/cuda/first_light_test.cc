// The Hopper kernel's instructions, each alone on a GPU, on integers that bfloat16 holds exactly:
// any difference is an address. Run before everything else; what fails first names the culprit.
#include "tests/attention/cuda/first_light.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "attention/cuda/matrix_tile.h"
#include "attention/cuda/prefill_sm90.h"
#include "attention/cuda/tensor_map.h"
#include "attention/kv_type.h"
#include "comm/cuda/cuda_check.h"
#include "comm/cuda/cuda_device.h"
#include "comm/str.h"

namespace longspan::test {
namespace {

constexpr int kRows = 128;

class FirstLight : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << "no Cuda device";
    device_ = std::make_unique<CudaDevice>(0);
    cuda_check(cudaSetDevice(0), "GPU 0");
    if (!device_runs_sm90()) GTEST_SKIP() << "no Cuda device of compute capability 9.0";
  }

  template <typename Value>
  Value* upload(const std::vector<Value>& values) {
    held_.push_back(device_->allocate(values.size() * sizeof(Value)));
    auto* const to = reinterpret_cast<Value*>(held_.back().bytes().data());
    cuda_check(cudaMemcpy(to, values.data(), values.size() * sizeof(Value), cudaMemcpyDefault),
               "uploading");
    return to;
  }
  template <typename Value>
  std::vector<Value> download(const Value* from, std::size_t count) {
    cuda_check(cudaDeviceSynchronize(), "running a first light");
    std::vector<Value> values(count);
    cuda_check(cudaMemcpy(values.data(), from, count * sizeof(Value), cudaMemcpyDefault),
               "downloading");
    return values;
  }

 private:
  std::unique_ptr<CudaDevice> device_;
  std::vector<Buffer> held_;
};

using Tile = std::vector<float>;  // row-major

Tile make_tile(int rows, int columns, const std::function<float(int, int)>& value) {
  Tile tile(rows * columns);
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column) {
      tile[row * columns + column] = value(row, column);
    }
  }
  return tile;
}

std::vector<std::uint16_t> narrowed(const Tile& tile) {
  std::vector<std::uint16_t> out(tile.size());
  narrow(KvType::kBFloat16, tile.data(), std::ssize(tile), out.data());
  return out;
}

/// a (rows, depth) b (depth, columns), with the indices of b as the caller has them.
Tile product(const Tile& a, int rows, int depth, int columns,
             const std::function<float(int, int)>& b) {
  return make_tile(rows, columns, [&](int row, int column) {
    float sum = 0;
    for (int d = 0; d < depth; ++d) sum += a[row * depth + d] * b(d, column);
    return sum;
  });
}

/// How many differ, where the first ones are, and in which rows and columns of the 8 x 8 pattern
/// that swizzles and fragments have.
void expect_equal(const Tile& found, const Tile& exact, int columns, const std::string& what) {
  std::array<int, 8> rows{}, groups{};
  int wrong = 0;
  std::string first;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    if (found[i] == exact[i]) continue;
    const int row = static_cast<int>(i) / columns, column = static_cast<int>(i) % columns;
    ++rows[row % 8], ++groups[column / 8 % 8];
    if (++wrong <= 12) first += str("\n  ({}, {}): {}, not {}", row, column, found[i], exact[i]);
  }
  EXPECT_EQ(wrong, 0) << what << ", of " << exact.size() << first
                      << "\n  by row mod 8: " << testing::PrintToString(rows)
                      << ", by column / 8 mod 8: " << testing::PrintToString(groups);
}

Tile small_integers(int rows, int columns, unsigned seed) {
  std::mt19937 random(seed);
  return make_tile(rows, columns, [&](int, int) { return static_cast<int>(random() % 17) - 8.0f; });
}

TEST_F(FirstLight, ScoreTile) {
  for (int columns : {64, 128}) {
    const auto check = [&](const Tile& q, const Tile& k, const std::string& what) {
      float* const s = upload(Tile(kRows * kRows, -1e30f));
      launch_score_tile(upload(narrowed(q)), upload(narrowed(k)), columns, s, nullptr);
      expect_equal(download(s, kRows * kRows),
                   product(q, kRows, columns, kRows,
                           [&](int d, int column) { return k[column * columns + d]; }),
                   kRows, str("{}, head size {}", what, columns));
    };
    const auto one_hot = [&](int row, int column) { return row % columns == column ? 1.0f : 0.0f; };
    const auto row_index = [](int row, int) { return static_cast<float>(row); };
    const auto column_index = [](int, int column) { return static_cast<float>(column); };
    const Tile hot = make_tile(kRows, columns, one_hot);
    check(make_tile(kRows, columns, row_index), hot, "Q = row, K one-hot");
    check(make_tile(kRows, columns, column_index), hot, "Q = column, K one-hot");
    check(hot, make_tile(kRows, columns, row_index), "Q one-hot, K = row");
    check(hot, make_tile(kRows, columns, column_index), "Q one-hot, K = column");
    check(small_integers(kRows, columns, 1), small_integers(kRows, columns, 2), "random");
  }
}

TEST_F(FirstLight, ValueTile) {
  for (int columns : {64, 128}) {
    const auto check = [&](const Tile& p, const Tile& v, const std::string& what) {
      float* const o = upload(Tile(64 * columns, -1e30f));
      launch_value_tile(upload(p), upload(narrowed(v)), columns, o, nullptr);
      expect_equal(download(o, 64 * columns),
                   product(p, 64, kRows, columns,
                           [&](int d, int column) { return v[d * columns + column]; }),
                   columns, str("{}, head size {}", what, columns));
    };
    const Tile hot =
        make_tile(64, kRows, [](int row, int column) { return column == 2 * row ? 1.0f : 0.0f; });
    const Tile odd = make_tile(
        64, kRows, [](int row, int column) { return column == 2 * row + 1 ? 1.0f : 0.0f; });
    const Tile rows = make_tile(kRows, columns, [](int row, int) { return row * 1.0f; });
    const Tile of_columns =
        make_tile(kRows, columns, [](int, int column) { return column * 1.0f; });
    check(hot, rows, "P one-hot at even tokens, V = token");
    check(odd, rows, "P one-hot at odd tokens, V = token");
    check(hot, of_columns, "P one-hot, V = column");
    check(small_integers(64, kRows, 3), small_integers(kRows, columns, 4), "random");
  }
}

/// Boxes of a pool of pages, at the end of one too, where zeros must come.
TEST_F(FirstLight, CopiedTile) {
  constexpr int kSlots = 20, kHeads = 3;
  for (int columns : {64, 128}) {
    for (int page : {8, 16, 64, 128, 100}) {
      const int box = std::min(page == 100 ? 128 : page, kRows);
      const std::int64_t page_stride = 2L * kHeads * page * columns;
      std::vector<std::uint16_t> pool(kSlots * page_stride);
      std::mt19937 random(5);
      for (std::uint16_t& value : pool) value = static_cast<std::uint16_t>(random());
      CopiedTile work{.map = {},
                      .columns = columns,
                      .kv_head = 1,
                      .first = 0,
                      .box_tokens = box,
                      .boxes = kRows / box,
                      .slots = {}};
      for (int i = 0; i < work.boxes; ++i) work.slots[i] = (7 * i + 3) % kSlots;
      const std::uint16_t* const memory = upload(pool);
      work.map = tensor_map(memory, std::array<TensorDimension, 4>{{{columns, 1, kSlabColumns},
                                                                    {page, columns, box},
                                                                    {kHeads, page * columns, 1},
                                                                    {kSlots, page_stride, 1}}});
      const int size = matrix_tile_bytes(kRows, columns);
      std::uint8_t* const bytes = upload(std::vector<std::uint8_t>(size, 0xee));
      launch_copied_tile(work, bytes, nullptr);
      const auto found = download(bytes, size);
      Tile values(kRows * columns), exact(kRows * columns);
      for (int row = 0; row < kRows; ++row) {
        for (int column = 0; column < columns; ++column) {
          std::uint16_t value = 0;
          const std::uint32_t at = swizzled(column / kSlabColumns * slab_bytes(kRows) +
                                            row * kSlabRowBytes + column % kSlabColumns * 2);
          std::memcpy(&value, &found[at], sizeof(value));
          values[row * columns + column] = value;
          const std::int64_t from = work.slots[row / box] * page_stride +
                                    work.kv_head * page * columns + row % box * columns + column;
          exact[row * columns + column] = row % box < page ? pool[from] : 0;
        }
      }
      expect_equal(values, exact, columns, str("pages of {}, head size {}", page, columns));
    }
  }
}

}  // namespace
}  // namespace longspan::test
