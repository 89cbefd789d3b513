// Blocks of rows: whatever their size, every row's bits are those of one block, and nothing as wide
// as the feed-forward is larger than a block.
#include "runtime/model/transformer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string_view>

#include "comm/cpu/cpu_device.h"
#include "comm/str.h"
#include "runtime/engine/load_model.h"
#include "tests/runtime/engine/run_job.h"
#include "tests/runtime/model/tiny_llama.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

/// Operations whose products go row by row, which makes a row's bits independent of the others'.
/// (oneDNN's are not: it sums in another order for 19 rows than for 24.) Remembers the largest
/// product with the feed-forward's weights that was asked for.
class RowByRowOps final : public ModelOps {
 public:
  RowByRowOps(std::unique_ptr<ModelOps> ops, std::atomic<std::int64_t>& most_rows)
      : ops_(std::move(ops)), most_rows_(most_rows) {}

  void matmul_slice(Stream& stream, const float* x, std::int64_t rows, const MatrixSlice& w,
                    float* out, Output output) override {
    if (std::string_view(w.matrix.name) == "matmul gate_up" && rows > most_rows_) most_rows_ = rows;
    for (std::int64_t row = 0; row < rows; ++row) {
      ops_->matmul_slice(stream, x + row * w.inputs.count, 1, w, out + row * w.outputs.count,
                         output);
    }
  }

  std::string description() const override { return ops_->description(); }
  std::unique_ptr<MatrixLayout> new_matrix_layout(int outputs, int inputs) const override {
    return ops_->new_matrix_layout(outputs, inputs);
  }
  void embed(Stream& stream, const Embedding& embedding, std::vector<TokenId> tokens,
             float* out) override {
    ops_->embed(stream, embedding, std::move(tokens), out);
  }
  void rms_norm(Stream& stream, const float* x, std::int64_t rows, const NormWeight& norm,
                float* out) override {
    ops_->rms_norm(stream, x, rows, norm, out);
  }
  void add_sum(Stream& stream, std::vector<const float*> parts, std::int64_t values,
               float* out) override {
    ops_->add_sum(stream, std::move(parts), values, out);
  }
  void rope_angles(Stream& stream, const RopeTable& rope, std::vector<std::int64_t> positions,
                   float* angles) override {
    ops_->rope_angles(stream, rope, std::move(positions), angles);
  }
  void rope_and_store(Stream& stream, const QkvRows& rows, float* q_out,
                      std::vector<KvTarget> targets) override {
    ops_->rope_and_store(stream, rows, q_out, std::move(targets));
  }
  void glu(Stream& stream, const float* gate_up, std::int64_t rows, int ffn, Activation activation,
           float* out) override {
    ops_->glu(stream, gate_up, rows, ffn, activation, out);
  }
  void clear(Stream& stream, float* out, std::int64_t values) override {
    ops_->clear(stream, out, values);
  }
  void gather_rows(Stream& stream, const float* x, int width, std::vector<std::int64_t> rows,
                   float* out) override {
    ops_->gather_rows(stream, x, width, std::move(rows), out);
  }

 private:
  std::unique_ptr<ModelOps> ops_;
  std::atomic<std::int64_t>& most_rows_;
};

/// What the model said of prompts and answers, and the largest product on any rank.
struct Outcome {
  std::map<RequestId, std::vector<double>> logprobs;
  std::map<RequestId, double> nll;
  std::atomic<std::int64_t> most_rows{0};
};

class TransformerTest : public testing::Test {
 protected:
  static constexpr int kPrompt = 61;
  static constexpr std::int64_t kRunning = 3;  // requests; sliced, their decode rows are one block

  static void SetUpTestSuite() {
    path_ = std::filesystem::temp_directory_path() /
            str("longspan-transformer-test-{}.gguf", ::getpid());
    test::TinyLlama{.layers = 3, .heads = 6, .seed = 3}.write(path_);
  }
  static void TearDownTestSuite() { std::filesystem::remove(path_); }

  /// A prompt in chunks, and answers to three: steps with a chunk's rows, decode rows and both.
  static std::vector<JobRequest> requests() {
    std::mt19937 random(9);
    std::vector<JobRequest> list;
    for (int length : {3, 1, kPrompt}) {
      JobRequest request{.max_new = 6, .wants_nll = true};
      request.admission.request = std::ssize(list);
      for (int i = 0; i < length; ++i) {
        request.admission.prompt.push_back(static_cast<TokenId>(random() % 256));
      }
      list.push_back(request);
    }
    return list;
  }

  static void run(const JobOptions& options, bool row_by_row, Outcome& outcome) {
    test::run_machines(options.degree, [&](Machine& machine) {
      LoadedModel model = load_model(machine, open_model(machine, path_.string()), {});
      if (row_by_row) {
        model.ops = std::make_unique<RowByRowOps>(std::move(model.ops), outcome.most_rows);
      }
      JobInput input{
          .requests = requests(),
          .listener = {.prefill = [](const Progress&) {},
                       .layer = nullptr,
                       .token =
                           [&](RequestId id, const Scored& scored) {
                             outcome.logprobs[id].push_back(scored.chosen.logprob);
                           },
                       .nll = [&](RequestId id, double sum) { outcome.nll[id] += sum; }}};
      run_job(machine, model, options, machine.rank() == 0 ? &input : nullptr);
    });
  }

  static std::filesystem::path path_;
};

std::filesystem::path TransformerTest::path_;

TEST_F(TransformerTest, ARowsBitsDoNotDependOnTheSizeOfABlock) {
  for (int degree : {1, 3}) {
    for (DecodeStrategy decode : {DecodeStrategy::kShipped, DecodeStrategy::kSliced}) {
      JobOptions options{.degree = degree,
                         .page_tokens = 8,
                         .layout = DealtBy::kStriped,
                         .chunk_tokens = 40,
                         .decode_strategy = decode};
      Outcome one_block;
      run(options, true, one_block);
      const std::int64_t rows = one_block.most_rows;
      EXPECT_GE(rows, 40 / degree);
      for (std::int64_t block :
           {std::int64_t{1}, std::int64_t{3}, std::int64_t{7}, rows - 1, rows, rows + 1}) {
        options.ffn_block_rows = block;
        Outcome outcome;
        run(options, true, outcome);
        const std::string what = str("{} rows on {} ranks", block, degree);
        EXPECT_EQ(outcome.logprobs, one_block.logprobs) << what;
        EXPECT_EQ(outcome.nll, one_block.nll) << what;
        const bool is_sliced = decode == DecodeStrategy::kSliced && degree > 1;
        EXPECT_LE(outcome.most_rows, is_sliced ? std::max(block, kRunning) : block) << what;
      }
    }
  }
}

TEST_F(TransformerTest, BlocksGiveWhatOneBlockGivesWithTheLibrarysProducts) {
  JobOptions options{.chunk_tokens = kPrompt};
  Outcome one_block;
  run(options, false, one_block);
  for (std::int64_t block : {1, 20, kPrompt - 1}) {
    options.ffn_block_rows = block;
    Outcome outcome;
    run(options, false, outcome);
    for (RequestId id = 0; id < 3; ++id) {
      EXPECT_NEAR(outcome.nll.at(id), one_block.nll.at(id), 1e-4) << block;
    }
  }
}

/// Adds up what is asked of it.
class CountingDevice final : public Device {
 public:
  Buffer allocate(std::size_t bytes) override {
    allocated_ += bytes;
    return device_.allocate(bytes);
  }
  std::unique_ptr<Stream> new_stream() override { return device_.new_stream(); }
  void copy(Stream& stream, Bytes dst, ConstBytes src) override { device_.copy(stream, dst, src); }
  void copy_rows(Stream& stream, std::byte* dst, std::size_t dst_stride, const std::byte* src,
                 std::size_t src_stride, std::size_t width, std::size_t rows) override {
    device_.copy_rows(stream, dst, dst_stride, src, src_stride, width, rows);
  }
  std::string description() const override { return device_.description(); }
  std::size_t allocated() const { return allocated_; }

 private:
  CpuDevice device_{1};
  std::size_t allocated_ = 0;
};

TEST_F(TransformerTest, WhatIsPlannedIsWhatIsAllocated) {
  test::run_machines(1, [&](Machine& machine) {
    LoadedModel model = load_model(machine, open_model(machine, path_.string()), {});
    for (std::int64_t block : {1, 64, 299, 300, 1024}) {
      for (int decode_rows : {5, 80}) {
        Transformer::Limits limits{.rows = 300,
                                   .ffn_block_rows = block,
                                   .prefill = {.rows = 300,
                                               .columns = 500,
                                               .all_rows = 600,
                                               .all_columns = 1000,
                                               .ranks = 2},
                                   .decode_strategies = {DecodeStrategy::kSliced},
                                   .decode_rows = decode_rows};
        CountingDevice device;
        const KvStore kv(device, {.page = {.heads = model.config.heads}});
        const std::size_t before = device.allocated();
        const Transformer transformer(device, model.config, model.weights, *model.ops,
                                      *model.kernels, kv, Group(machine.data(), {0}), limits);
        EXPECT_EQ(device.allocated() - before, Transformer::memory_bytes(model.config, limits))
            << block << " rows, " << decode_rows << " decode rows";
      }
    }
  });
}

}  // namespace
}  // namespace longspan
