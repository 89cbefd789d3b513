// The model's operations on CPU streams.
#include <algorithm>
#include <array>
#include <cstring>

#include "comm/cpu/cpu_device.h"
#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/cpu/onednn_matmul.h"
#include "runtime/model/cpu/parallel_rows.h"
#include "runtime/model/cpu/vector_kernels.h"
#include "runtime/model/cpu/vectorise.h"
#include "runtime/model/ops.h"

namespace longspan {
namespace {

constexpr int kMostHeadDim = 256;  // of any attention kernel

/// The rotation of one row, and where its parts begin.
struct RowParts {
  RowParts(const QkvRows& rows, std::int64_t row)
      : heads(rows.heads),
        q(rows.qkv + row * (heads.query_heads + 2LL * heads.kv_heads) * heads.head_dim),
        k(q + 1LL * heads.query_heads * heads.head_dim),
        v(k + 1LL * heads.kv_heads * heads.head_dim),
        cosines(rows.angles + row * heads.head_dim),
        bias(rows.bias) {}

  /// Biased, normed if there is such a norm, and turned.
  void rotate(const float* head, const NormWeight& norm, float* out) const {
    const int dim = heads.head_dim, half = dim / 2;
    std::array<float, kMostHeadDim> prepared;
    if (bias) head = add_bias(head, prepared.data());
    if (norm.weight) {
      rms_norm_row(head, norm.weight, dim, norm.epsilon, prepared.data());
      head = prepared.data();
    }
    rotate_head(head, cosines, cosines + half, half, out);
  }

  /// head + its part of the bias, which is written to `out` and returned.
  const float* add_bias(const float* head, float* out) const {
    const float* own = bias + (head - q);
    for (int i = 0; i < heads.head_dim; ++i) out[i] = head[i] + own[i];
    return out;
  }

  HeadShape heads;
  const float* q;
  const float* k;
  const float* v;
  const float* cosines;  // then sines
  const float* bias;     // of q, k and v, or null
};

void rotate_queries(const QkvRows& rows, std::int64_t row, float* q_out) {
  const RowParts parts(rows, row);
  const std::int64_t dim = rows.heads.head_dim;
  float* out = q_out + row * rows.heads.query_heads * dim;
  for (int head = 0; head < rows.heads.query_heads; ++head) {
    parts.rotate(parts.q + head * dim, rows.query_norm, out + head * dim);
  }
}

void store_row(const QkvRows& rows, std::int64_t row, const KvView& to, std::int64_t column) {
  const RowParts parts(rows, row);
  const int dim = rows.heads.head_dim;
  for (int head = 0; head < rows.heads.kv_heads; ++head) {
    const KvView at = to.shifted(to.offset(column, head, dim));
    const float* v = parts.v + 1LL * head * dim;
    std::array<float, kMostHeadDim> biased;
    if (rows.bias) v = parts.add_bias(v, biased.data());
    if (to.type == KvType::kFloat32) {
      parts.rotate(parts.k + 1LL * head * dim, rows.key_norm, at.keys());
      std::copy_n(v, dim, at.values());
    } else {
      std::array<float, kMostHeadDim> rotated;
      parts.rotate(parts.k + 1LL * head * dim, rows.key_norm, rotated.data());
      narrow(to.type, rotated.data(), dim, at.k);
      narrow(to.type, v, dim, at.v);
    }
  }
}

void embed_row(const Embedding& embedding, TokenId token, float* out) {
  const std::size_t row_bytes = byte_size(embedding.type, embedding.hidden);
  dequantize(embedding.type, embedding.table.subspan(token * row_bytes, row_bytes),
             {out, static_cast<std::size_t>(embedding.hidden)});
  if (embedding.scale == 1) return;
  for (int i = 0; i < embedding.hidden; ++i) out[i] *= embedding.scale;
}

TraceLabel of_rows(const char* name, std::int64_t rows) {
  return {.name = name, .args = {{"rows", rows}}};
}

class CpuModelOps final : public ModelOps {
 public:
  explicit CpuModelOps(Precision precision) : precision_(precision) {}

  std::string description() const override {
    return str("{}, {}", onednn_version(), name(vector_isa()));
  }

  std::unique_ptr<MatrixLayout> new_matrix_layout(int outputs, int inputs) const override {
    return new_onednn_layout(outputs, inputs, precision_);
  }

  void embed(Stream& stream, const Embedding& embedding, std::vector<TokenId> tokens,
             float* out) override {
    expects(std::ranges::all_of(tokens,
                                [&](TokenId id) { return id >= 0 && id < embedding.vocabulary; }),
            "tokens lie inside the vocabulary");
    const TraceLabel label = of_rows("embed", std::ssize(tokens));
    as_cpu(stream).enqueue(label, [embedding, tokens = std::move(tokens), out] {
      for_rows(std::ssize(tokens), embedding.hidden, [&](std::int64_t row) {
        embed_row(embedding, tokens[row], out + row * embedding.hidden);
      });
    });
  }

  void rms_norm(Stream& stream, const float* x, std::int64_t rows, const NormWeight& norm,
                float* out) override {
    as_cpu(stream).enqueue(of_rows("rms_norm", rows), [=] {
      for_rows(rows, norm.hidden, [&](std::int64_t row) {
        const std::int64_t start = row * norm.hidden;
        rms_norm_row(x + start, norm.weight, norm.hidden, norm.epsilon, out + start);
      });
    });
  }

  void matmul_slice(Stream& stream, const float* x, std::int64_t rows, const MatrixSlice& w,
                    float* out, Output output) override {
    as_cpu(stream).enqueue(of_rows(w.matrix.name, rows),
                           [=, this] { matmul_.multiply(x, rows, w, out, output); });
  }

  void add_sum(Stream& stream, std::vector<const float*> parts, std::int64_t values,
               float* out) override {
    as_cpu(stream).enqueue(
        {.name = "add_sum", .args = {{"parts", std::ssize(parts)}}},
        [parts = std::move(parts), values, out] { longspan::add_sum(parts, values, out); });
  }

  void rope_angles(Stream& stream, const RopeTable& rope, std::vector<std::int64_t> positions,
                   float* angles) override {
    const TraceLabel label = of_rows("rope_angles", std::ssize(positions));
    as_cpu(stream).enqueue(label, [rope, positions = std::move(positions), angles] {
      const std::int64_t dim = rope.head_dim();
      for_rows(std::ssize(positions), 16 * dim, [&](std::int64_t row) {  // a sine is 16 additions
        rope.angles({&positions[row], 1}, {angles + row * dim, static_cast<std::size_t>(dim)});
      });
    });
  }

  void rope_and_store(Stream& stream, const QkvRows& rows, float* q_out,
                      std::vector<KvTarget> targets) override {
    const TraceLabel label = of_rows("rope", rows.rows);
    as_cpu(stream).enqueue(label, [rows, q_out, targets = std::move(targets)] {
      const std::int64_t dim = rows.heads.head_dim;
      for_rows(rows.rows, rows.heads.query_heads * dim,
               [&](std::int64_t row) { rotate_queries(rows, row, q_out); });
      for (const KvTarget& target : targets) {
        for_rows(target.rows, rows.heads.kv_values(), [&](std::int64_t i) {
          store_row(rows, target.row0 + i, target.to, target.column0 + i);
        });
      }
    });
  }

  void glu(Stream& stream, const float* gate_up, std::int64_t rows, int ffn, Activation activation,
           float* out) override {
    as_cpu(stream).enqueue(of_rows("glu", rows), [=] {
      const auto unit = activation == Activation::kSilu ? swiglu_row : geglu_row;
      for_rows(rows, ffn, [&](std::int64_t row) {
        const float* gate = gate_up + row * 2 * ffn;
        unit(gate, gate + ffn, ffn, out + row * ffn);
      });
    });
  }

  void clear(Stream& stream, float* out, std::int64_t values) override {
    as_cpu(stream).enqueue(of_rows("clear", 1), [=] { std::fill_n(out, values, 0.0f); });
  }

  void gather_rows(Stream& stream, const float* x, int width, std::vector<std::int64_t> rows,
                   float* out) override {
    const TraceLabel label = of_rows("gather_rows", std::ssize(rows));
    as_cpu(stream).enqueue(label, [=, rows = std::move(rows)] {
      for (std::size_t i = 0; i < rows.size(); ++i) {
        std::copy_n(x + rows[i] * width, width, out + i * width);
      }
    });
  }

 private:
  Precision precision_;
  OnednnMatmul matmul_;
};

}  // namespace

std::unique_ptr<ModelOps> new_cpu_model_ops(Precision precision) {
  return std::make_unique<CpuModelOps>(precision);
}

}  // namespace longspan
