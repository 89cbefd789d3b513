// The operations on a GPU against those on the CPU, and products against sums in double. Every
// array on the GPU has a guard behind it, and results begin as NaN: a write too many or too few
// shows.
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <span>

#include "attention/kv_pages.h"
#include "comm/cpu/cpu_device.h"
#include "comm/cuda/cuda_device.h"
#include "comm/cuda/cuda_stream.h"
#include "comm/str.h"
#include "runtime/model/cpu/vector_kernels.h"
#include "runtime/model/cuda/cuda_matrix_layout.h"
#include "runtime/model/cuda/few_rows.h"
#include "runtime/model/cuda/matrix_kernels.h"
#include "runtime/model/ops.h"
#include "tests/runtime/model/gguf_writer.h"
#include "tests/runtime/model/random_values.h"

namespace longspan {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> unwritten(std::int64_t count) { return std::vector<float>(count, kNan); }

std::vector<float> rounded(std::vector<float> values) {
  round_row(values.data(), std::ssize(values), values.data());
  return values;
}

/// Of `absolute` plus `relative` of the expected value. Says how many differ, which is the first
/// and which the worst.
void expect_near(const std::vector<float>& found, const std::vector<float>& expected,
                 double absolute, double relative, const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  std::int64_t bad = 0, first = -1, worst = -1;
  double most = 0;
  for (std::int64_t i = 0; i < std::ssize(found); ++i) {
    if (std::isnan(found[i]) && std::isnan(expected[i])) continue;
    const double error = std::abs(double{found[i]} - expected[i]);
    if (error <= absolute + relative * std::abs(double{expected[i]})) continue;
    ++bad;
    if (first < 0) first = i;
    if (worst < 0 || error > most) worst = i, most = error;
  }
  if (bad == 0) return;
  ADD_FAILURE() << str(
      "{}: {} of {} values differ; the first is [{}] = {}, not {}; the worst is [{}] = {}, not {}",
      what, bad, found.size(), first, found[first], expected[first], worst, found[worst],
      expected[worst]);
}

class CudaModelOpsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << "no Cuda device";
    device_ = std::make_unique<CudaDevice>(0);
    ops_ = new_cuda_model_ops(*device_, Precision::kFloat32);
    narrow_ops_ = new_cuda_model_ops(*device_, Precision::kBFloat16);
    stream_ = device_->new_stream();
  }

  /// Values on the GPU, and a guard behind them.
  struct Array {
    Buffer memory;
    std::int64_t count = 0;
    float* data() const { return memory.as<float>().data(); }
  };

  Array upload(std::vector<float> values) {
    Array array{{}, std::ssize(values)};
    values.insert(values.end(), kGuards, kGuard);
    array.memory = device_->allocate(values.size() * sizeof(float));
    device_->copy(*stream_, array.memory.bytes(), std::as_bytes(std::span(values)));
    stream_->synchronize();
    return array;
  }
  Buffer upload_bytes(ConstBytes bytes) {
    Buffer buffer = device_->allocate(bytes.size());
    device_->copy(*stream_, buffer.bytes(), bytes);
    stream_->synchronize();
    return buffer;
  }
  std::vector<float> download(const Array& array) {
    std::vector<float> values(array.count + kGuards);
    device_->copy(*stream_, std::as_writable_bytes(std::span(values)), array.memory.bytes());
    stream_->synchronize();
    EXPECT_THAT(std::span(values).last(kGuards), testing::Each(kGuard)) << "written behind the end";
    values.resize(array.count);
    return values;
  }

  ModelOps& ops(Precision precision) {
    return precision == Precision::kBFloat16 ? *narrow_ops_ : *ops_;
  }

  static constexpr int kGuards = 64;
  static constexpr float kGuard = 12345.0f;

  std::unique_ptr<CudaDevice> device_;
  std::unique_ptr<ModelOps> ops_, narrow_ops_;
  std::unique_ptr<ModelOps> cpu_ = new_cpu_model_ops();
  CpuStream cpu_stream_{1};
  std::unique_ptr<Stream> stream_;
};

TEST_F(CudaModelOpsTest, EmbeddingRowsAreThoseOfTheCpu) {
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16}) {
    for (const int hidden : {1, 255, 256, 1000}) {
      constexpr int kVocabulary = 11;
      const auto table = test::quantize(type, test::random_values(kVocabulary * hidden, 1));
      const Buffer there = upload_bytes(table);
      const std::vector<TokenId> tokens{10, 0, 3, 3};
      Embedding embedding{type, table, kVocabulary, hidden, 1.5f};
      auto expected = unwritten(4 * hidden);
      cpu_->embed(cpu_stream_, embedding, tokens, expected.data());
      cpu_stream_.synchronize();
      const Array out = upload(unwritten(4 * hidden));
      embedding.table = there.bytes();
      ops_->embed(*stream_, embedding, tokens, out.data());
      expect_near(download(out), expected, 0, 0, str("{} of {}", name(type), hidden));
    }
  }
}

TEST_F(CudaModelOpsTest, ATokenOutsideTheVocabularyIsTheCallersMistake) {
  const Embedding embedding{TensorType::kF32, {}, 4, 8};
  EXPECT_THROW(ops_->embed(*stream_, embedding, {4}, nullptr), std::logic_error);
  EXPECT_THROW(ops_->embed(*stream_, embedding, {-1}, nullptr), std::logic_error);
}

TEST_F(CudaModelOpsTest, QuantisedTablesAreKeptAsTheProductsAre) {
  EXPECT_EQ(ops_->embedding_type(TensorType::kQ4_1), TensorType::kF32);
  EXPECT_EQ(narrow_ops_->embedding_type(TensorType::kQ6_K), TensorType::kBF16);
  EXPECT_EQ(narrow_ops_->embedding_type(TensorType::kF16), TensorType::kF16);
}

TEST_F(CudaModelOpsTest, NormedRowsAreThoseOfTheCpu) {
  for (const auto& [rows, hidden] :
       {std::pair{1, 1}, {3, 2}, {2, 255}, {5, 256}, {4, 257}, {3, 4096}, {70'001, 3}}) {
    const auto x = test::random_values(rows * hidden, 1, -3, 3);
    const auto weight = test::random_values(hidden, 2);
    auto expected = unwritten(rows * hidden);
    cpu_->rms_norm(cpu_stream_, x.data(), rows, {weight.data(), hidden, 1e-5f}, expected.data());
    cpu_stream_.synchronize();
    const Array from = upload(x), w = upload(weight), out = upload(unwritten(rows * hidden));
    const NormWeight norm{w.data(), hidden, 1e-5f};
    ops_->rms_norm(*stream_, from.data(), rows, norm, out.data());
    expect_near(download(out), expected, 1e-6, 3e-6, str("{} rows of {}", rows, hidden));
    ops_->rms_norm(*stream_, from.data(), rows, norm, from.data());
    expect_near(download(from), expected, 1e-6, 3e-6, str("{} rows of {} in place", rows, hidden));
  }
}

struct ProductCase {
  Precision precision;
  int rows, outputs, inputs;
  Slice output_slice{}, input_slice{};  // empty: all
};

void PrintTo(const ProductCase& c, std::ostream* out) {
  *out << name(c.precision) << ", " << c.rows << " rows, " << c.outputs << " x " << c.inputs;
  if (c.output_slice.count > 0) {
    *out << ", outputs " << c.output_slice.first << "+" << c.output_slice.count << ", inputs "
         << c.input_slice.first << "+" << c.input_slice.count;
  }
}

class CudaProductTest : public CudaModelOpsTest, public testing::WithParamInterface<ProductCase> {
 protected:
  void SetUp() override {
    CudaModelOpsTest::SetUp();
    if (IsSkipped()) return;
    layout_ = ops(GetParam().precision).new_matrix_layout(GetParam().outputs, GetParam().inputs);
    w_ = test::random_values(GetParam().outputs * GetParam().inputs, 2);
    std::vector<std::byte> packed(layout_->bytes(), std::byte{0xff});
    for (int first = 0; first < layout_->outputs(); first += layout_->panel_rows()) {
      const int rows = std::min(layout_->panel_rows(), layout_->outputs() - first);
      layout_->pack(w_.data() + std::int64_t{first} * layout_->inputs(), first, rows, packed);
    }
    packed_ = upload_bytes(packed);
  }

  PackedMatrix matrix() const { return {layout_.get(), packed_.bytes().data()}; }

  /// x (rows, inputs.count) times the slice, from `before`.
  std::vector<float> expected(std::vector<float> x, const Slice& outputs, const Slice& inputs,
                              const std::vector<float>& before) const {
    std::vector<float> w = w_;
    if (GetParam().precision == Precision::kBFloat16) {
      x = rounded(x);
      w = rounded(w);
    }
    std::vector<float> out = before;
    for (int row = 0; row < GetParam().rows; ++row) {
      for (int n = 0; n < outputs.count; ++n) {
        double sum = 0;
        for (int k = 0; k < inputs.count; ++k) {
          sum += double{x[row * inputs.count + k]} *
                 w[(outputs.first + n) * GetParam().inputs + inputs.first + k];
        }
        out[row * outputs.count + n] += static_cast<float>(sum);
      }
    }
    return out;
  }

  /// Tensor cores cut off where float32 rounds.
  double tolerance(int inputs) const {
    const double step = GetParam().precision == Precision::kBFloat16 ? 1e-5 : 2e-6;
    return step * (std::sqrt(inputs) + 1);
  }

  std::unique_ptr<MatrixLayout> layout_;
  std::vector<float> w_;
  Buffer packed_;
};

TEST_P(CudaProductTest, ProductsAreSumsOfTheProductsOfRoundedFactors) {
  const ProductCase& c = GetParam();
  const bool whole = c.output_slice.count == 0;
  const Slice outputs = whole ? Slice{0, c.outputs} : c.output_slice;
  const Slice inputs = whole ? Slice{0, c.inputs} : c.input_slice;
  const auto x = test::random_values(c.rows * inputs.count, 3);
  const std::int64_t count = std::int64_t{c.rows} * outputs.count;
  const Array from = upload(x), out = upload(unwritten(count));
  const auto multiply = [&](Output output) {
    if (whole) {
      ops(c.precision).matmul(*stream_, from.data(), c.rows, matrix(), out.data(), output);
    } else {
      ops(c.precision)
          .matmul_slice(*stream_, from.data(), c.rows, {matrix(), outputs, inputs}, out.data(),
                        output);
    }
  };
  multiply(Output::kOverwrite);
  const auto once = expected(x, outputs, inputs, std::vector<float>(count));
  expect_near(download(out), once, tolerance(inputs.count), 2e-6, "overwritten");
  multiply(Output::kAccumulate);
  expect_near(download(out), expected(x, outputs, inputs, once), 2 * tolerance(inputs.count), 2e-6,
              "added to");
  const auto first = download(out);
  multiply(Output::kOverwrite);
  multiply(Output::kAccumulate);
  EXPECT_EQ(download(out), first) << "the same product has the same bits";
}

TEST_P(CudaProductTest, KernelsOfOurOwnGiveTheSame) {
  const ProductCase& c = GetParam();
  const bool is_narrow = c.precision == Precision::kBFloat16;
  const auto x = test::random_values(c.rows * c.inputs, 3);
  const std::int64_t count = std::int64_t{c.rows} * c.outputs;
  const Array wide = upload(x), out = upload(std::vector<float>(count, 1.0f));
  const cudaStream_t stream = as_cuda(*stream_).native();
  const std::int64_t x_stride = is_narrow ? padded_row(c.inputs, c.precision) : c.inputs;
  const Array narrow = upload(unwritten(c.rows * x_stride));
  if (is_narrow) {
    launch_narrow_rows(wide.data(), c.rows, c.inputs, x_stride,
                       reinterpret_cast<std::uint16_t*>(narrow.data()), stream);
  }
  const MatrixProduct product{.x = is_narrow ? narrow.data() : wide.data(),
                              .w = packed_.bytes().data(),
                              .out = out.data(),
                              .rows = c.rows,
                              .outputs = c.outputs,
                              .inputs = c.inputs,
                              .x_stride = x_stride,
                              .w_stride = padded_row(c.inputs, c.precision),
                              .is_bfloat16 = is_narrow,
                              .accumulates = true};
  launch_plain_product(product, stream);
  const auto once = expected(x, {0, c.outputs}, {0, c.inputs}, std::vector<float>(count, 1.0f));
  expect_near(download(out), once, tolerance(c.inputs), 2e-6, "plain");
  if (is_few_rows(product)) {
    launch_few_rows(product, stream);
    expect_near(download(out), expected(x, {0, c.outputs}, {0, c.inputs}, once),
                2 * tolerance(c.inputs), 2e-6, "few rows");
  }
  download(narrow);  // for its guard
  if (!is_narrow) return;
  MatrixProduct into_narrow = product;
  const Array half = upload(unwritten((count + 1) / 2));
  into_narrow.out = half.data(), into_narrow.accumulates = false, into_narrow.is_out_narrow = true;
  const auto exact = expected(x, {0, c.outputs}, {0, c.inputs}, std::vector<float>(count));
  const auto check = [&](const std::string& what) {
    const auto found = download(half);
    std::vector<float> values(count);
    for (std::int64_t i = 0; i < count; ++i) {
      std::uint32_t bits = 0;
      std::memcpy(reinterpret_cast<std::byte*>(&bits) + 2,
                  reinterpret_cast<const std::byte*>(found.data()) + 2 * i, 2);
      std::memcpy(&values[i], &bits, sizeof(bits));
    }
    expect_near(values, exact, tolerance(c.inputs), 1.0 / 256, what + " into bfloat16");
  };
  launch_plain_product(into_narrow, stream);
  check("plain");
  if (is_few_rows(into_narrow)) {
    launch_few_rows(into_narrow, stream);
    check("few rows");
  }
}

std::vector<ProductCase> product_cases() {
  std::vector<ProductCase> cases;
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
    for (const auto& [rows, outputs, inputs] : {std::tuple{1, 1, 1},
                                                {1, 64, 64},
                                                {2, 3, 7},
                                                {1, 257, 129},
                                                {17, 100, 8},
                                                {3, 64, 9},
                                                {129, 65, 576},
                                                {5, 1536, 576},
                                                {2, 130, 4099},
                                                {3, 1027, 2056},
                                                {4, 67, 14336},
                                                {64, 300, 1000}}) {
      cases.push_back({precision, rows, outputs, inputs});
    }
    for (const auto& [rows, outputs, inputs] : {std::tuple{1, Slice{64, 64}, Slice{0, 192}},
                                                {3, {0, 130}, {64, 64}},
                                                {2, {3, 5}, {5, 17}},
                                                {4, {129, 1}, {191, 1}},
                                                {7, {64, 66}, {8, 120}}}) {
      cases.push_back({precision, rows, 130, 192, outputs, inputs});
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Shapes, CudaProductTest, testing::ValuesIn(product_cases()));

// More than fit the memory for narrowed activations: they go in pieces.
TEST_F(CudaModelOpsTest, ManyRowsAreTheSameAsFew) {
  constexpr int kInputs = 14'336, kOutputs = 5, kPattern = 71, kRows = 101 * kPattern;
  const auto layout = narrow_ops_->new_matrix_layout(kOutputs, kInputs);
  std::vector<std::byte> packed(layout->bytes());
  layout->pack(test::random_values(kOutputs * kInputs, 2).data(), 0, kOutputs, packed);
  const Buffer w = upload_bytes(packed);
  const Array few = upload(test::random_values(kPattern * kInputs, 3));
  const Buffer many = device_->allocate(sizeof(float) * kRows * kInputs);
  const std::size_t part = sizeof(float) * kPattern * kInputs;
  for (std::size_t at = 0; at < many.bytes().size(); at += part) {
    device_->copy(*stream_, many.bytes().subspan(at, part), few.memory.bytes().first(part));
  }
  const Array of_few = upload(unwritten(kPattern * kOutputs));
  const Array of_many = upload(unwritten(kRows * kOutputs));
  const PackedMatrix matrix{layout.get(), w.bytes().data()};
  narrow_ops_->matmul(*stream_, few.data(), kPattern, matrix, of_few.data(), Output::kOverwrite);
  narrow_ops_->matmul(*stream_, many.as<float>().data(), kRows, matrix, of_many.data(),
                      Output::kOverwrite);
  const auto pattern = download(of_few);
  std::vector<float> expected;
  for (int i = 0; i < kRows / kPattern; ++i) {
    expected.insert(expected.end(), pattern.begin(), pattern.end());
  }
  expect_near(download(of_many), expected, 1e-3, 1e-5, "rows repeated");
}

// They share the memory that products take while they run.
TEST_F(CudaModelOpsTest, StreamsThatMultiplyAtOnceDoNotDisturbEachOther) {
  constexpr int kRows = 512, kInputs = 1024, kOutputs = 512;
  const auto layout = narrow_ops_->new_matrix_layout(kOutputs, kInputs);
  std::vector<std::byte> packed(layout->bytes());
  const auto w = test::random_values(kOutputs * kInputs, 2);
  layout->pack(w.data(), 0, kOutputs, packed);
  const Buffer there = upload_bytes(packed);
  const PackedMatrix matrix{layout.get(), there.bytes().data()};
  std::vector<Array> from, alone, together;
  std::vector<std::unique_ptr<Stream>> streams;
  for (int i = 0; i < 3; ++i) {
    from.push_back(upload(test::random_values(kRows * kInputs, 10 + i)));
    alone.push_back(upload(unwritten(kRows * kOutputs)));
    together.push_back(upload(unwritten(kRows * kOutputs)));
    streams.push_back(device_->new_stream());
    narrow_ops_->matmul(*stream_, from[i].data(), kRows, matrix, alone[i].data(),
                        Output::kOverwrite);
    stream_->synchronize();
  }
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 3; ++i) {
      narrow_ops_->matmul(*streams[i], from[i].data(), kRows, matrix, together[i].data(),
                          Output::kOverwrite);
    }
  }
  for (int i = 0; i < 3; ++i) {
    streams[i]->synchronize();
    EXPECT_EQ(download(together[i]), download(alone[i])) << "stream " << i;
  }
}

TEST_F(CudaModelOpsTest, PartsAreAddedInListOrder) {
  for (const int values : {1, 255, 1000}) {
    for (const int count : {0, 1, 3}) {
      std::vector<std::vector<float>> parts;
      std::vector<Array> there;
      std::vector<const float*> of_cpu, of_gpu;
      for (int i = 0; i < count; ++i) {
        parts.push_back(test::random_values(values, i, -1e4, 1e4));
        there.push_back(upload(parts.back()));
        of_gpu.push_back(there.back().data());
      }
      for (const auto& part : parts) of_cpu.push_back(part.data());
      auto expected = test::random_values(values, 9);
      const Array out = upload(expected);
      cpu_->add_sum(cpu_stream_, of_cpu, values, expected.data());
      cpu_stream_.synchronize();
      ops_->add_sum(*stream_, of_gpu, values, out.data());
      expect_near(download(out), expected, 0, 0, str("{} parts of {}", count, values));
    }
  }
}

TEST_F(CudaModelOpsTest, AnglesAreThoseOfTheTable) {
  const std::vector<std::int64_t> positions{0, 1, 2, 8191, 1'000'003, 9'999'999};
  RopeSpec partial{.base = 5e5};
  partial.rotated = 24;
  partial.attention_factor = 1.25;
  for (const RopeTable& rope :
       {RopeTable(1e4, 16), RopeTable(1e5, 128), RopeTable(5e5, 256), RopeTable(partial, 80)}) {
    std::vector<float> expected(positions.size() * rope.head_dim());
    rope.angles(positions, expected);
    const Array out = upload(unwritten(std::ssize(expected)));
    ops_->rope_angles(*stream_, rope, positions, out.data());
    expect_near(download(out), expected, 1e-6, 0, str("head of {}", rope.head_dim()));
  }
}

struct StoreCase {
  HeadShape heads;
  std::vector<std::int64_t> positions;
  bool has_bias = false;
  bool has_norms = false;
  KvType type = KvType::kFloat32;
};

void PrintTo(const StoreCase& c, std::ostream* out) {
  *out << c.heads.query_heads << "/" << c.heads.kv_heads << " heads of " << c.heads.head_dim << ", "
       << c.positions.size() << " rows, " << name(c.type) << (c.has_bias ? ", bias" : "")
       << (c.has_norms ? ", norms" : "");
}

/// Rotated on both devices into pages out of order; all of the pages' memory is compared, so that
/// what is not to be written must be as it was.
class CudaRopeAndStoreTest : public CudaModelOpsTest,
                             public testing::WithParamInterface<StoreCase> {
 protected:
  static constexpr int kPageTokens = 4, kPages = 8;

  struct Target {
    std::int64_t row0, rows, column0;
    int pool;  // in whose pages
  };

  std::int64_t pool_values() const { return kPages * heads_.kv_values() * kPageTokens; }

  KvView view(std::byte* memory) const {
    const std::int64_t head_stride = kPageTokens * heads_.head_dim;
    KvView view{.k = memory,
                .v = memory + heads_.kv_heads * head_stride * value_bytes(GetParam().type),
                .head_stride = head_stride,
                .page_stride = kPageTokens * heads_.kv_values(),
                .table = table_.data(),
                .page_tokens = kPageTokens,
                .type = GetParam().type};
    return view;
  }

  std::vector<float> widened(const std::vector<std::byte>& memory) const {
    std::vector<float> values(memory.size() / value_bytes(GetParam().type));
    widen(GetParam().type, memory.data(), std::ssize(values), values.data());
    return values;
  }

  void compare(const std::vector<Target>& list, int pools) {
    const auto [heads, positions, has_bias, has_norms, type] = GetParam();
    const std::int64_t rows = std::ssize(positions), dim = heads.head_dim;
    const std::int64_t width = (heads.query_heads + 2 * heads.kv_heads) * dim;
    const auto qkv = test::random_values(rows * width, 1), bias = test::random_values(width, 2);
    const auto query_norm = test::random_values(dim, 3), key_norm = test::random_values(dim, 4);
    const RopeTable rope(1e5, static_cast<int>(dim));
    std::vector<float> angles(rows * dim);
    rope.angles(positions, angles);
    auto expected_q = unwritten(rows * heads.query_heads * dim);
    // 0xff: a NaN in every type.
    std::vector<std::vector<std::byte>> expected(
        pools, std::vector<std::byte>(pool_values() * value_bytes(type), std::byte{0xff}));
    std::vector<Buffer> pages;
    for (const auto& pool : expected) pages.push_back(upload_bytes(pool));

    const auto targets = [&](const auto& memory_of) {
      std::vector<KvTarget> out;
      for (const Target& t : list) {
        out.push_back({t.row0, t.rows, view(memory_of(t.pool)), t.column0});
      }
      return out;
    };
    QkvRows own{.qkv = qkv.data(), .angles = angles.data(), .rows = rows, .heads = heads};
    if (has_bias) own.bias = bias.data();
    const int norm_width = static_cast<int>(dim);
    if (has_norms) own.query_norm = {query_norm.data(), norm_width, 1e-5f};
    if (has_norms) own.key_norm = {key_norm.data(), norm_width, 1e-5f};
    cpu_->rope_and_store(cpu_stream_, own, expected_q.data(),
                         targets([&](int pool) { return expected[pool].data(); }));
    cpu_stream_.synchronize();

    const Array x = upload(qkv), turns = upload(angles), b = upload(bias), qn = upload(query_norm),
                kn = upload(key_norm), q = upload(unwritten(std::ssize(expected_q)));
    QkvRows there = own;
    there.qkv = x.data();
    there.angles = turns.data();
    if (has_bias) there.bias = b.data();
    if (has_norms) there.query_norm.weight = qn.data();
    if (has_norms) there.key_norm.weight = kn.data();
    ops_->rope_and_store(*stream_, there, q.data(),
                         targets([&](int pool) { return pages[pool].bytes().data(); }));
    expect_near(download(q), expected_q, 3e-6, 3e-6, "queries");
    const double ulp = type == KvType::kFloat32 ? 3e-6 : type == KvType::kFloat16 ? 1e-3 : 8e-3;
    for (int pool = 0; pool < pools; ++pool) {
      std::vector<std::byte> found(pages[pool].bytes().size());
      device_->copy(*stream_, found, pages[pool].bytes());
      stream_->synchronize();
      expect_near(widened(found), widened(expected[pool]), 3e-6, ulp, str("pages of {}", pool));
    }
  }

  HeadShape heads_ = GetParam().heads;
  std::vector<std::int32_t> table_{5, 2, 7, 0, 6};
};

TEST_P(CudaRopeAndStoreTest, OneTargetTakesAPrefill) {
  const std::int64_t rows = std::ssize(GetParam().positions);
  compare({{0, rows, 3, 0}}, 1);  // begins inside a page
  compare({{0, rows, 7, 0}}, 1);  // and not in the first
}

TEST_P(CudaRopeAndStoreTest, EveryRowMayHaveATargetOfItsOwn) {
  std::vector<Target> list;
  const int rows = static_cast<int>(GetParam().positions.size());
  for (int row = 0; row < rows; ++row) list.push_back({row, 1, 2 * row % 11, row});
  compare(list, rows);
}

TEST_P(CudaRopeAndStoreTest, RowsWithoutATargetAreTurnedOnly) {
  compare({}, 1);
  const std::int64_t rows = std::ssize(GetParam().positions);
  if (rows > 2) compare({{1, rows - 2, 2, 0}, {0, 0, 0, 0}}, 1);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, CudaRopeAndStoreTest,
    testing::Values(StoreCase{{9, 3, 64}, {0, 1, 2, 8191, 1'000'003}},
                    StoreCase{{9, 3, 64}, {0, 1, 2, 3, 4}, true, true},
                    StoreCase{{4, 4, 16}, {9'999'999}}, StoreCase{{6, 1, 24}, {5, 5, 0}, true},
                    StoreCase{{2, 1, 80}, {}}, StoreCase{{3, 1, 256}, {7, 8}, false, true},
                    StoreCase{{32, 8, 128}, {1, 2, 3}, false, false, KvType::kBFloat16},
                    StoreCase{{4, 2, 72}, {1, 2, 3}, true, true, KvType::kFloat16}));

TEST_F(CudaModelOpsTest, ActivatedRowsAreThoseOfTheCpu) {
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
    for (const auto& [rows, ffn] : {std::pair{1, 1}, {3, 10}, {2, 255}, {5, 257}, {70'000, 2}}) {
      const auto x = test::random_values(rows * 2 * ffn, 1, -20, 20);
      auto expected = unwritten(rows * ffn);
      cpu_->glu(cpu_stream_, x.data(), rows, ffn, activation, expected.data());
      cpu_stream_.synchronize();
      const Array from = upload(x), out = upload(unwritten(rows * ffn));
      ops_->glu(*stream_, from.data(), rows, ffn, activation, out.data());
      expect_near(download(out), expected, 1e-6, 1e-5, str("{} rows of {}", rows, ffn));
    }
  }
}

/// A matrix as `ops` want it, in the host's memory.
struct HostMatrix {
  HostMatrix(ModelOps& ops, const std::vector<float>& w, int outputs, int inputs)
      : layout(ops.new_matrix_layout(outputs, inputs)), bytes(layout->bytes() + 64) {
    const auto at = reinterpret_cast<std::uintptr_t>(bytes.data());
    packed = Bytes(bytes).subspan((64 - at % 64) % 64, layout->bytes());
    for (int first = 0; first < outputs; first += layout->panel_rows()) {
      const int rows = std::min(layout->panel_rows(), outputs - first);
      layout->pack(w.data() + std::int64_t{first} * inputs, first, rows, packed);
    }
  }
  std::unique_ptr<MatrixLayout> layout;
  std::vector<std::byte> bytes;
  Bytes packed;
};

// In bfloat16 all that lies between is rounded to it, which is what the CPU is made to do here.
TEST_F(CudaModelOpsTest, AFeedForwardIsItsStepsOneByOne) {
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
    const bool is_narrow = precision == Precision::kBFloat16;
    for (const auto& [rows, hidden, ffn] : {std::tuple{1, 1, 1},
                                            {1, 64, 128},
                                            {3, 40, 24},
                                            {5, 7, 8},
                                            {5, 8, 7},
                                            {5, 64, 172},
                                            {4, 264, 1000},
                                            {130, 256, 72}}) {
      for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
        const auto as_kept = [&](std::vector<float> values) {
          return is_narrow ? rounded(std::move(values)) : values;
        };
        const auto x = test::random_values(rows * hidden, 1, -3, 3);
        const auto weight = test::random_values(hidden, 2);
        const auto up_values = as_kept(test::random_values(2 * ffn * hidden, 3));
        const auto down_values = as_kept(test::random_values(hidden * ffn, 4));
        const auto before = test::random_values(rows * hidden, 5);
        const std::string what = str("{}: {} rows, {} to {}", name(precision), rows, hidden, ffn);

        const HostMatrix up(*cpu_, up_values, 2 * ffn, hidden);
        const HostMatrix down(*cpu_, down_values, hidden, ffn);
        auto normed = unwritten(rows * hidden), projected = unwritten(rows * 2 * ffn);
        cpu_->rms_norm(cpu_stream_, x.data(), rows, {weight.data(), hidden, 1e-5f}, normed.data());
        cpu_stream_.synchronize();
        normed = as_kept(normed);
        cpu_->matmul(cpu_stream_, normed.data(), rows, {up.layout.get(), up.packed.data()},
                     projected.data(), Output::kOverwrite);
        cpu_stream_.synchronize();
        // Parts of odd widths are not rounded before their activations are.
        const auto added_to = [&](std::vector<float> sums, std::vector<Slice> parts) {
          auto gate_up = projected, active = unwritten(rows * ffn);
          for (const Slice& columns : parts) {
            if (!is_narrow || hidden % 8 != 0 || columns.count % 8 != 0) continue;
            for (int row = 0; row < 2 * rows; ++row) {  // a row's gates, then its ups
              float* const first = gate_up.data() + row * ffn + columns.first;
              round_row(first, columns.count, first);
            }
          }
          cpu_->glu(cpu_stream_, gate_up.data(), rows, ffn, activation, active.data());
          cpu_stream_.synchronize();
          active = as_kept(active);
          cpu_->matmul(cpu_stream_, active.data(), rows, {down.layout.get(), down.packed.data()},
                       sums.data(), Output::kAccumulate);
          cpu_stream_.synchronize();
          return sums;
        };

        const HostMatrix up_there(ops(precision), up_values, 2 * ffn, hidden);
        const HostMatrix down_there(ops(precision), down_values, hidden, ffn);
        const Buffer up_memory = upload_bytes(up_there.packed);
        const Buffer down_memory = upload_bytes(down_there.packed);
        const Array from = upload(x), norm = upload(weight), out = upload(before);
        const Array memory[] = {upload(unwritten(rows * hidden)), upload(unwritten(rows * 2 * ffn)),
                                upload(unwritten(rows * ffn))};
        FeedForward layer{{norm.data(), hidden, 1e-5f},
                          {up_there.layout.get(), up_memory.bytes().data()},
                          activation,
                          {down_there.layout.get(), down_memory.bytes().data()},
                          {0, ffn}};
        const auto add_to = [&](const Array& sums) {
          ops(precision).feed_forward(*stream_, from.data(), rows, layer,
                                      {memory[0].data(), memory[1].data(), memory[2].data()},
                                      sums.data(), Output::kAccumulate);
        };
        add_to(out);
        // Activations of both devices are as near as 1e-5. A sum that falls beside a border between
        // two bfloat16 is rounded to the other one.
        const double step = is_narrow ? 1.0 / 256 : 1e-5, terms = is_narrow ? 1 : 4;
        expect_near(download(out), added_to(before, {{0, ffn}}), terms * step * std::sqrt(ffn),
                    2 * step, what);
        for (const Array& one : memory) download(one);  // for their guards

        // In parts, of which the last has what is left.
        const Array by_parts = upload(before);
        const int first = std::min(ffn, 64);
        const std::vector<Slice> parts{{0, first}, {first, ffn - first}};
        for (const Slice& columns : parts) {
          layer.columns = columns;
          if (columns.count > 0) add_to(by_parts);
        }
        expect_near(download(by_parts), added_to(before, parts), terms * step * std::sqrt(ffn),
                    2 * step, what + ", in parts");

        const Array wide = upload(unwritten(rows * 2 * ffn));
        ops(precision).normed_matmul(*stream_, from.data(), rows, layer.norm, whole(layer.gate_up),
                                     memory[0].data(), wide.data());
        expect_near(download(wide), projected, step * std::sqrt(hidden), step, what + ", normed");
      }
    }
  }
}

/// What a step of decode asks for, attention apart: tokens, positions and pages differ from step to
/// step, and now and then the number of rows.
TEST_F(CudaModelOpsTest, StepsAskedForAsOneGiveWhatTheyGiveOneByOne) {
  constexpr int kHidden = 64, kVocabulary = 50, kPages = 8, kPageTokens = 4;
  const HeadShape heads{2, 1, 16};
  const auto table = test::random_values(kVocabulary * kHidden, 1);
  const Array rows_of_tokens = upload(table), weight = upload(test::random_values(kHidden, 2));
  const auto layout = narrow_ops_->new_matrix_layout(kHidden, kHidden);
  std::vector<std::byte> packed(layout->bytes());
  layout->pack(test::random_values(kHidden * kHidden, 3).data(), 0, kHidden, packed);
  const Buffer w = upload_bytes(packed);
  const Embedding embedding{TensorType::kF32, rows_of_tokens.memory.bytes(), kVocabulary, kHidden};
  const RopeTable rope(1e4, heads.head_dim);

  const std::int64_t kept = kPages * kPageTokens * heads.kv_values();
  struct Memory {
    Array x, normed, qkv, angles, q, kv;
  };
  const auto memory = [&] {
    return Memory{upload(unwritten(3 * kHidden)),
                  upload(unwritten(3 * kHidden)),
                  upload(unwritten(3 * kHidden)),
                  upload(unwritten(3 * heads.head_dim)),
                  upload(unwritten(3 * 2 * heads.head_dim)),
                  upload(unwritten(kept))};
  };
  const auto enqueue = [&](Stream& stream, const Memory& at, std::int64_t step) {
    const std::int64_t rows = step == 4 ? 2 : 3;
    std::vector<TokenId> tokens;
    std::vector<std::int64_t> positions;
    std::vector<std::vector<std::int32_t>> pages;
    std::vector<KvTarget> targets;
    for (std::int64_t row = 0; row < rows; ++row) {
      tokens.push_back(static_cast<TokenId>((7 * step + 11 * row) % kVocabulary));
      positions.push_back(step + 100 * row);
      pages.push_back({static_cast<std::int32_t>(2 * row), static_cast<std::int32_t>(7 - row)});
    }
    for (std::int64_t row = 0; row < rows; ++row) {
      KvView view = pages_at(at.kv.data(), KvType::kFloat32, heads, kPageTokens);
      view.table = pages[row].data();
      targets.push_back({row, 1, view, step});
    }
    narrow_ops_->embed(stream, embedding, tokens, at.x.data());
    narrow_ops_->rope_angles(stream, rope, positions, at.angles.data());
    narrow_ops_->normed_matmul(stream, at.x.data(), rows, {weight.data(), kHidden},
                               whole({layout.get(), w.bytes().data()}), at.normed.data(),
                               at.qkv.data());
    narrow_ops_->rope_and_store(
        stream, {.qkv = at.qkv.data(), .angles = at.angles.data(), .rows = rows, .heads = heads},
        at.q.data(), targets);
    narrow_ops_->add_sum(stream, {at.qkv.data(), at.x.data()}, rows * kHidden, at.x.data());
    narrow_ops_->clear(stream, at.qkv.data(), 5);
  };
  CudaDevice graphs(0, true);
  const auto one = graphs.new_stream();
  const Memory plain = memory(), replayed = memory();
  constexpr int kSteps = 8;  // of 3 rows but for one
  for (std::int64_t step = 0; step < kSteps; ++step) {
    enqueue(*stream_, plain, step);
    stream_->synchronize();
    one->as_one([&] { enqueue(*one, replayed, step); });
    one->synchronize();
    for (const auto array : {&Memory::x, &Memory::qkv, &Memory::q, &Memory::kv}) {
      const auto found = download(replayed.*array), expected = download(plain.*array);
      expect_near(found, expected, 0, 0, str("step {}", step));
    }
  }
  EXPECT_EQ(as_cuda(*one).replays(), kSteps - 2) << "all but the first of each number of rows";
}

TEST_F(CudaModelOpsTest, ACopyIsPartOfAStep) {
  CudaDevice graphs(0, true);
  const auto one = graphs.new_stream();
  const Array from = upload({1, 2, 3}), to = upload(unwritten(3));
  for (int i = 0; i < 3; ++i) {
    one->as_one([&] {
      narrow_ops_->add_sum(*one, {from.data()}, 3, from.data());
      device_->copy(*one, to.memory.bytes(), from.memory.bytes());
    });
    one->synchronize();
  }
  EXPECT_EQ(download(to), (std::vector<float>{8, 16, 24}));
  EXPECT_EQ(as_cuda(*one).replays(), 2);
}

/// What the host does is not: such steps go as ever, once.
TEST_F(CudaModelOpsTest, AStepThatCallsTheHostIsNotReplayed) {
  CudaDevice graphs(0, true);
  const auto one = graphs.new_stream();
  const Array values = upload({1, 2, 3});
  int calls = 0;
  for (int i = 0; i < 3; ++i) {
    one->as_one([&] {
      narrow_ops_->add_sum(*one, {values.data()}, 3, values.data());
      one->call([&] { ++calls; });
    });
    one->synchronize();
  }
  EXPECT_EQ(download(values), (std::vector<float>{8, 16, 24}));
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(as_cuda(*one).replays(), 0);
}

TEST_F(CudaModelOpsTest, GatheredRowsComeInTheOrderAskedFor) {
  std::vector<float> x(5 * 3);
  std::iota(x.begin(), x.end(), 0.0f);
  const Array from = upload(x), out = upload(unwritten(3 * 3));
  ops_->gather_rows(*stream_, from.data(), 3, {4, 0, 4}, out.data());
  EXPECT_EQ(download(out), (std::vector<float>{12, 13, 14, 0, 1, 2, 12, 13, 14}));
}

TEST_F(CudaModelOpsTest, ClearedValuesAreZeroAndNoOthers) {
  const Array out = upload(std::vector<float>(10, 1.0f));
  ops_->clear(*stream_, out.data() + 2, 7);
  EXPECT_EQ(download(out), (std::vector<float>{1, 1, 0, 0, 0, 0, 0, 0, 0, 1}));
}

TEST_F(CudaModelOpsTest, NoRowsAreNoWorkAnywhere) {
  const auto layout = ops_->new_matrix_layout(8, 4);
  const RopeTable rope(1e4, 16);
  ops_->embed(*stream_, {TensorType::kF32, {}, 1, 8}, {}, nullptr);
  ops_->rms_norm(*stream_, nullptr, 0, {nullptr, 8, 1e-5f}, nullptr);
  const PackedMatrix w{layout.get(), nullptr};
  ops_->matmul(*stream_, nullptr, 0, w, nullptr, Output::kAccumulate);
  ops_->matmul_slice(*stream_, nullptr, 0, slice_outputs(w, {2, 3}), nullptr, Output::kOverwrite);
  ops_->add_sum(*stream_, {}, 8, nullptr);
  ops_->rope_angles(*stream_, rope, {}, nullptr);
  ops_->rope_and_store(*stream_, {nullptr, nullptr, 0, {1, 1, 16}}, nullptr, {});
  ops_->glu(*stream_, nullptr, 0, 8, Activation::kSilu, nullptr);
  ops_->clear(*stream_, nullptr, 0);
  ops_->gather_rows(*stream_, nullptr, 8, {}, nullptr);
  EXPECT_NO_THROW(stream_->synchronize());
}

}  // namespace
}  // namespace longspan
