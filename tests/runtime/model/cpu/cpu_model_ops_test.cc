#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "comm/cpu/cpu_device.h"
#include "runtime/model/ops.h"
#include "tests/runtime/model/gguf_writer.h"
#include "tests/runtime/model/random_values.h"

namespace longspan {
namespace {

class CpuModelOpsTest : public testing::Test {
 protected:
  std::unique_ptr<ModelOps> ops_ = new_cpu_model_ops();
  CpuStream stream_{1};
};

TEST_F(CpuModelOpsTest, EmbeddingRowsAreThoseOfTheFileInEveryType) {
  constexpr int kVocabulary = 11, kHidden = 256;
  const auto values = test::random_values(kVocabulary * kHidden, 1);
  for (TensorType type :
       {TensorType::kF32, TensorType::kF16, TensorType::kBF16, TensorType::kQ8_0, TensorType::kQ4_0,
        TensorType::kQ4_1, TensorType::kQ5_0, TensorType::kQ5_1, TensorType::kQ4_K,
        TensorType::kQ5_K, TensorType::kQ6_K}) {
    const auto table = test::quantize(type, values);
    std::vector<float> all(values.size());
    dequantize(type, table, all);
    const std::vector<TokenId> tokens{10, 0, 3, 3};
    std::vector<float> out(tokens.size() * kHidden, NAN);
    ops_->embed(stream_, {type, table, kVocabulary, kHidden}, tokens, out.data());
    stream_.synchronize();
    for (std::size_t row = 0; row < tokens.size(); ++row) {
      for (int i = 0; i < kHidden; ++i) {
        EXPECT_EQ(out[row * kHidden + i], all[tokens[row] * kHidden + i]) << name(type);
      }
    }
  }
}

TEST_F(CpuModelOpsTest, ATokenOutsideTheVocabularyIsTheCallersMistake) {
  const std::vector<float> table(4 * 8);
  const Embedding embedding{TensorType::kF32, std::as_bytes(std::span(table)), 4, 8};
  std::vector<float> out(8);
  EXPECT_THROW(ops_->embed(stream_, embedding, {4}, out.data()), std::logic_error);
  EXPECT_THROW(ops_->embed(stream_, embedding, {-1}, out.data()), std::logic_error);
}

/// Keys and values in pages, out of order in memory.
struct PagedKv {
  PagedKv(const HeadShape& heads, int page_tokens)
      : memory(8 * heads.kv_values() * page_tokens, NAN) {
    view.head_stride = page_tokens * heads.head_dim;
    view.page_stride = page_tokens * heads.kv_values();
    view.k = memory.data();
    view.v = memory.data() + heads.kv_heads * view.head_stride;
    view.table = table.data();
    view.page_tokens = page_tokens;
  }

  std::vector<std::int32_t> table{5, 2, 7, 0};
  std::vector<float> memory;
  KvView view;
};

/// One head turned by the angles of `position`, in long double.
std::vector<float> turned(const float* head, int dim, std::int64_t position, double base) {
  const int half = dim / 2;
  std::vector<float> out(dim);
  for (int i = 0; i < half; ++i) {
    const long double angle = position * std::pow(static_cast<long double>(base), -2.0L * i / dim);
    const long double low = head[i], high = head[half + i];
    out[i] = static_cast<float>(low * std::cos(angle) - high * std::sin(angle));
    out[half + i] = static_cast<float>(high * std::cos(angle) + low * std::sin(angle));
  }
  return out;
}

struct RopeCase {
  HeadShape heads;
  std::vector<std::int64_t> positions;
};

void PrintTo(const RopeCase& rope, std::ostream* out) {
  *out << rope.heads.query_heads << "/" << rope.heads.kv_heads << " heads of "
       << rope.heads.head_dim << ", " << rope.positions.size() << " rows";
}

class RopeAndStoreTest : public CpuModelOpsTest, public testing::WithParamInterface<RopeCase> {
 protected:
  static constexpr double kBase = 1e5;

  RopeAndStoreTest()
      : heads_(GetParam().heads),
        positions_(GetParam().positions),
        rows_(std::ssize(positions_)),
        width_((heads_.query_heads + 2 * heads_.kv_heads) * heads_.head_dim),
        qkv_(test::random_values(rows_ * width_, 1)),
        angles_(rows_ * heads_.head_dim, NAN),
        q_(rows_ * heads_.query_heads * heads_.head_dim, NAN) {}

  void run(std::vector<KvTarget> targets) {
    // The table is a temporary on purpose: the call keeps its own.
    ops_->rope_angles(stream_, RopeTable(kBase, heads_.head_dim), positions_, angles_.data());
    ops_->rope_and_store(stream_, {qkv_.data(), angles_.data(), rows_, heads_}, q_.data(),
                         std::move(targets));
    stream_.synchronize();
  }

  const float* part(std::int64_t row, int head) const {
    return qkv_.data() + row * width_ + head * heads_.head_dim;
  }

  void expect_near(const float* found, const std::vector<float>& expected) const {
    for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-6);
  }

  void expect_queries() const {
    for (std::int64_t row = 0; row < rows_; ++row) {
      for (int head = 0; head < heads_.query_heads; ++head) {
        expect_near(&q_[(row * heads_.query_heads + head) * heads_.head_dim],
                    turned(part(row, head), heads_.head_dim, positions_[row], kBase));
      }
    }
  }

  void expect_stored(const KvView& view, std::int64_t row, std::int64_t column) const {
    for (int head = 0; head < heads_.kv_heads; ++head) {
      const std::int64_t offset = view.offset(column, head, heads_.head_dim);
      const float* v = part(row, heads_.query_heads + heads_.kv_heads + head);
      expect_near(view.keys() + offset, turned(part(row, heads_.query_heads + head),
                                               heads_.head_dim, positions_[row], kBase));
      expect_near(view.values() + offset, {v, v + heads_.head_dim});
    }
  }

  HeadShape heads_;
  std::vector<std::int64_t> positions_;
  std::int64_t rows_;
  int width_;
  std::vector<float> qkv_;
  std::vector<float> angles_;
  std::vector<float> q_;
};

TEST_P(RopeAndStoreTest, OneTargetTakesAPrefill) {
  PagedKv kv(heads_, 4);
  run({{0, rows_, kv.view, 3}});  // begins inside a page
  expect_queries();
  for (std::int64_t row = 0; row < rows_; ++row) expect_stored(kv.view, row, 3 + row);
  EXPECT_TRUE(std::isnan(kv.view.keys()[kv.view.offset(2, 0, heads_.head_dim)]));  // not ours
}

TEST_P(RopeAndStoreTest, EveryRowMayHaveATargetOfItsOwn) {
  std::vector<PagedKv> kv;
  for (std::int64_t row = 0; row < rows_; ++row) kv.emplace_back(heads_, 3);
  std::vector<KvTarget> targets;
  for (std::int64_t row = 0; row < rows_; ++row) {
    kv[row].view.table = kv[row].table.data();
    targets.push_back({row, 1, kv[row].view, 2 * row % 11});
  }
  run(targets);
  expect_queries();
  for (std::int64_t row = 0; row < rows_; ++row) expect_stored(kv[row].view, row, 2 * row % 11);
}

TEST_P(RopeAndStoreTest, WithoutTargetsQueriesAreStillTurned) {
  run({});
  expect_queries();
}

INSTANTIATE_TEST_SUITE_P(Shapes, RopeAndStoreTest,
                         testing::Values(RopeCase{{9, 3, 64}, {0, 1, 2, 8191, 1'000'003}},
                                         RopeCase{{4, 4, 16}, {9'999'999}},
                                         RopeCase{{6, 1, 24}, {5, 5, 0}},
                                         RopeCase{{2, 1, 80}, {}}));

TEST_F(CpuModelOpsTest, SwigluTakesGateAndUpFromOneRow) {
  const auto gate_up = test::random_values(3 * 2 * 10, 1, -4, 4);
  std::vector<float> out(3 * 10, NAN);
  ops_->glu(stream_, gate_up.data(), 3, 10, Activation::kSilu, out.data());
  stream_.synchronize();
  for (int row = 0; row < 3; ++row) {
    for (int i = 0; i < 10; ++i) {
      const double gate = gate_up[row * 20 + i], up = gate_up[row * 20 + 10 + i];
      EXPECT_NEAR(out[row * 10 + i], gate / (1 + std::exp(-gate)) * up, 4e-6);
    }
  }
}

TEST_F(CpuModelOpsTest, GatheredRowsComeInTheOrderAskedFor) {
  std::vector<float> x(5 * 3);
  std::iota(x.begin(), x.end(), 0.0f);
  std::vector<float> out(3 * 3, NAN);
  ops_->gather_rows(stream_, x.data(), 3, {4, 0, 4}, out.data());
  stream_.synchronize();
  EXPECT_EQ(out, (std::vector<float>{12, 13, 14, 0, 1, 2, 12, 13, 14}));
}

TEST_F(CpuModelOpsTest, TwoThreadsGiveWhatOneGives) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer cannot see how OpenMP's own threads wait for one another";
#endif
  constexpr int kRows = 300, kHidden = 512;  // enough for a team
  const auto x = test::random_values(kRows * kHidden, 1);
  const auto weight = test::random_values(kHidden, 2);
  CpuStream two(2);
  std::vector<float> alone(x.size()), together(x.size());
  ops_->rms_norm(stream_, x.data(), kRows, {weight.data(), kHidden, 1e-5f}, alone.data());
  ops_->rms_norm(two, x.data(), kRows, {weight.data(), kHidden, 1e-5f}, together.data());
  stream_.synchronize();
  two.synchronize();
  EXPECT_EQ(alone, together);
}

TEST_F(CpuModelOpsTest, NoRowsAreNoWorkAnywhere) {
  const auto layout = ops_->new_matrix_layout(8, 4);
  const RopeTable rope(1e4, 16);
  ops_->embed(stream_, {TensorType::kF32, {}, 1, 8}, {}, nullptr);
  ops_->rms_norm(stream_, nullptr, 0, {nullptr, 8, 1e-5f}, nullptr);
  const PackedMatrix w{layout.get(), nullptr};
  ops_->matmul(stream_, nullptr, 0, w, nullptr, Output::kAccumulate);
  ops_->matmul_slice(stream_, nullptr, 0, slice_outputs(w, {2, 3}), nullptr, Output::kOverwrite);
  ops_->add_sum(stream_, {}, 8, nullptr);
  ops_->rope_angles(stream_, rope, {}, nullptr);
  ops_->rope_and_store(stream_, {nullptr, nullptr, 0, {1, 1, 16}}, nullptr, {});
  ops_->glu(stream_, nullptr, 0, 8, Activation::kSilu, nullptr);
  ops_->gather_rows(stream_, nullptr, 8, {}, nullptr);
  EXPECT_NO_THROW(stream_.synchronize());
}

}  // namespace
}  // namespace longspan
