#include "runtime/model/weight_filler.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "attention/shard_layout.h"
#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/cpu/vector_kernels.h"
#include "runtime/model/gguf.h"
#include "runtime/model/head_order.h"
#include "runtime/model/model_part.h"
#include "runtime/model/model_tensors.h"
#include "runtime/model/shared_work.h"

namespace longspan {
namespace {

/// Some rows of a tensor, and of each some inputs, that go into a matrix: in file order or in that
/// of heads.
struct Source {
  const TensorInfo* tensor;
  Slice rows_used;
  Slice inputs;
  HeadOrder order = {};  // default: rows stay in file order

  Source with_rows(const Slice& some) const {
    return {tensor, {rows_used.first + some.first, some.count}, inputs, order};
  }
  Source with_inputs(const Slice& some) const { return {tensor, rows_used, some, order}; }
  Source in_order(const HeadOrder& heads) const {
    return {tensor, rows_used, inputs, heads.keeps_order() ? HeadOrder{} : heads};
  }

  std::int64_t rows() const { return rows_used.count; }
  std::uint64_t row_bytes() const { return tensor->bytes / tensor->shape.front(); }
  std::int64_t file_row(std::int64_t row) const {
    return order.head_dim > 0 ? order.row(row) : row;
  }
  /// The rows of the file that `rows` lie in: whole heads when they are reordered.
  Interval file_rows(Interval rows) const {
    if (order.head_dim == 0) return rows;
    const std::int64_t head = order.head_dim;
    return {rows.begin / head * head, (rows.end + head - 1) / head * head};
  }
};

/// Values that are used as they are: a norm's weights, or a bias.
struct Vector {
  const TensorInfo* tensor;
  Slice used;
  std::size_t offset;    // of the first value, in the block
  HeadOrder order = {};  // default: values stay in file order
  float added = 0;
  float scale = 1;  // of the sum

  std::int64_t file_index(std::int64_t i) const {
    return order.head_dim > 0 ? order.row(used.first + i) : used.first + i;
  }
};

/// A matrix of the block: its sources' rows, one below the other.
struct Matrix {
  std::vector<Source> sources;
  const MatrixLayout* layout = nullptr;     // null: not packed, only kept
  std::size_t packed = 0;                   // where
  std::optional<std::size_t> kept = {};     // where rows of the only source stay unpacked
  TensorType kept_type = TensorType::kF32;  // the file's, or one that they are converted to

  bool keeps_file_bytes() const { return kept && kept_type == sources.front().tensor->type; }
};

/// What a thread works on at once: rows [first, first + count) of a matrix.
struct Panel {
  const Matrix* matrix;
  std::int64_t first;
  std::int64_t count;
};

/// What of the file goes where, for a part of the model.
class Recipe {
 public:
  Recipe(const TensorFile& file, const ModelConfig& whole, const ModelPart& part,
         const WeightPlan& plan)
      : file_(file),
        whole_(whole),
        plan_(plan),
        alone_(part.ranks == 1),
        order_(head_order(whole)),
        own_(slices_of(whole, part)),
        q_(of_heads(own_.query_heads)),
        kv_(of_heads(own_.kv_heads)) {}

  std::vector<Matrix> matrices() const {
    std::vector<Matrix> all;
    add_ends(all);
    for (int i = 0; i < whole_.layers; ++i) add_layer(all, i);
    return all;
  }

  std::vector<Vector> vectors() const {
    std::vector<Vector> all{norm(TensorRole::kOutputNorm, 0, plan_.output_norm())};
    for (int i = 0; i < whole_.layers; ++i) {
      const WeightPlan::Layer& at = plan_.layer(i);
      all.push_back(norm(TensorRole::kAttentionNorm, i, at.attention_norm));
      all.push_back(norm(TensorRole::kFfnNorm, i, at.ffn_norm));
      if (at.attention_post_norm) {
        all.push_back(norm(TensorRole::kAttentionPostNorm, i, *at.attention_post_norm));
        all.push_back(norm(TensorRole::kFfnPostNorm, i, *at.ffn_post_norm));
      }
      if (at.query_norm) add_head_norms(all, i);
      if (at.qkv_bias) add_bias(all, i);
    }
    return all;
  }

 private:
  Slice of_heads(const Slice& heads) const {
    const int dim = whole_.heads.head_dim;
    return {heads.first * dim, heads.count * dim};
  }

  Source source(TensorRole role, int layer = 0) const {
    const TensorRows rows = tensor_rows(whole_, role, layer);
    return {file_.find(rows.tensor),
            {static_cast<int>(rows.first), static_cast<int>(rows.count)},
            {0, static_cast<int>(rows.inputs)}};
  }

  Vector vector(TensorRole role, int layer, const Slice& used, std::size_t offset) const {
    return {file_.find(tensor_rows(whole_, role, layer).tensor), used, offset};
  }

  Vector norm(TensorRole role, int layer, std::size_t offset) const {
    Vector weights = vector(role, layer, {0, whole_.hidden}, offset);
    weights.added = whole_.form.norm_offset;
    return weights;
  }

  void add_ends(std::vector<Matrix>& all) const {
    const Source embedding = source(TensorRole::kEmbedding);
    if (whole_.tied_output && alone_) {  // read once
      all.push_back({{embedding},
                     &plan_.output_layout(),
                     plan_.output(),
                     plan_.embedding(),
                     plan_.embedding_type()});
      return;
    }
    const Source output = whole_.tied_output ? embedding : source(TensorRole::kOutput);
    all.push_back({{embedding}, nullptr, 0, plan_.embedding(), plan_.embedding_type()});
    all.push_back({{output.with_rows(own_.vocabulary)}, &plan_.output_layout(), plan_.output()});
  }

  void add_layer(std::vector<Matrix>& all, int i) const {
    const WeightPlan::Layer& at = plan_.layer(i);
    all.push_back({{source(TensorRole::kQuery, i).in_order(order_).with_rows(q_),
                    source(TensorRole::kKey, i).in_order(order_).with_rows(kv_),
                    source(TensorRole::kValue, i).with_rows(kv_)},
                   &plan_.qkv_layout(),
                   at.qkv});
    all.push_back({{source(TensorRole::kAttentionOutput, i).with_inputs(q_)},
                   &plan_.attention_output_layout(),
                   at.attention_output});
    all.push_back({{source(TensorRole::kGate, i).with_rows(own_.ffn),
                    source(TensorRole::kUp, i).with_rows(own_.ffn)},
                   &plan_.gate_up_layout(),
                   at.gate_up});
    all.push_back(
        {{source(TensorRole::kDown, i).with_inputs(own_.ffn)}, &plan_.down_layout(), at.down});
  }

  /// All heads share a norm.
  void add_head_norms(std::vector<Vector>& all, int i) const {
    const WeightPlan::Layer& at = plan_.layer(i);
    const auto add = [&](TensorRole role, std::size_t offset, float scale) {
      Vector weights = vector(role, i, {0, whole_.heads.head_dim}, offset);
      weights.order = order_;
      weights.added = whole_.form.norm_offset;
      weights.scale = scale;
      all.push_back(weights);
    };
    add(TensorRole::kQueryNorm, *at.query_norm, whole_.form.query_scale);
    add(TensorRole::kKeyNorm, *at.key_norm, 1);
  }

  /// One vector in the order of the QKV outputs.
  void add_bias(std::vector<Vector>& all, int i) const {
    std::size_t offset = *plan_.layer(i).qkv_bias;
    const auto add = [&](TensorRole role, const Slice& used, const HeadOrder& order) {
      all.push_back(vector(role, i, used, offset));
      all.back().order = order;
      offset += used.count * sizeof(float);
    };
    add(TensorRole::kQueryBias, q_, order_);
    add(TensorRole::kKeyBias, kv_, order_);
    add(TensorRole::kValueBias, kv_, {});
  }

  const TensorFile& file_;
  const ModelConfig& whole_;
  const WeightPlan& plan_;
  const bool alone_;
  const HeadOrder order_;
  const PartSlices own_;
  const Slice q_;   // rows of the queries
  const Slice kv_;  // of the keys, and of the values
};

std::uint64_t file_bytes(const std::vector<Matrix>& matrices) {
  std::uint64_t bytes = 0;
  for (const Matrix& matrix : matrices) {
    for (const Source& source : matrix.sources) bytes += source.rows() * source.row_bytes();
  }
  return bytes;
}

std::uint64_t file_bytes(const std::vector<Vector>& vectors) {
  std::uint64_t bytes = 0;
  for (const Vector& vector : vectors) bytes += vector.tensor->bytes;
  return bytes;
}

std::vector<Panel> panels(const std::vector<Matrix>& matrices) {
  constexpr std::int64_t kUnpackedRows = 1024;
  std::vector<Panel> all;
  for (const Matrix& matrix : matrices) {
    std::int64_t rows = 0;
    for (const Source& source : matrix.sources) rows += source.rows();
    const std::int64_t step = matrix.layout ? matrix.layout->panel_rows() : kUnpackedRows;
    for (std::int64_t first = 0; first < rows; first += step) {
      all.push_back({&matrix, first, std::min(step, rows - first)});
    }
  }
  return all;
}

/// The tensor's rows `rows` as a tensor of their own.
TensorInfo slice(const TensorInfo& tensor, Interval rows) {
  const std::uint64_t row_bytes = tensor.bytes / tensor.shape.front();
  TensorInfo part = tensor;
  part.shape.front() = rows.end - rows.begin;
  part.offset += rows.begin * row_bytes;
  part.bytes = (rows.end - rows.begin) * row_bytes;
  return part;
}

void check_finite(const TensorFile& file, const TensorInfo& tensor, const float* values,
                  std::int64_t count) {
  if (all_finite(values, count)) return;
  throw DataError(
      str("{}: tensor {} holds a NaN or an infinity: the file is damaged, download it again",
          file.path().string(), tensor.name));
}

class Filler {
 public:
  /// `total`: bytes of the file that will be read.
  Filler(const TensorFile& file, Bytes block, std::uint64_t total, const LoadProgress& progress)
      : file_(file), block_(block), total_(total), progress_(progress) {}

  void fill(const Vector& vector) {
    const TensorInfo& tensor = *vector.tensor;
    std::vector<std::byte> raw(tensor.bytes);
    file_.read(tensor, raw);
    std::vector<float> values(tensor.shape.front());
    dequantize(tensor.type, raw, values);
    check_finite(file_, tensor, values.data(), std::ssize(values));
    auto* out = reinterpret_cast<float*>(block_.data() + vector.offset);
    for (std::int64_t i = 0; i < vector.used.count; ++i) {
      out[i] = (values[vector.file_index(i)] + vector.added) * vector.scale;
    }
    advance(tensor.bytes);
  }

  /// For the use of one thread.
  struct Scratch {
    std::vector<std::byte> raw;
    std::vector<float> values;
    std::vector<float> blocks;  // of one row
  };

  /// What shrinks and grows again is cleared again.
  template <typename T>
  static void grow(std::vector<T>& room, std::size_t size) {
    if (room.size() < size) room.resize(size);
  }

  void fill(const Panel& panel, Scratch& scratch) {
    const Matrix& matrix = *panel.matrix;
    const std::int64_t inputs = matrix.sources.front().inputs.count;
    grow(scratch.values, panel.count * inputs);
    std::int64_t start = -panel.first;  // of the source, counted from the panel's first row
    for (const Source& source : matrix.sources) {
      const Interval rows{std::max<std::int64_t>(0, -start),
                          std::min(source.rows(), panel.count - start)};
      if (rows.begin < rows.end) {
        read_rows(matrix, source, rows, scratch,
                  scratch.values.data() + (start + rows.begin) * inputs);
      }
      start += source.rows();
    }
    if (matrix.kept && !matrix.keeps_file_bytes()) keep(matrix, panel, scratch.values);
    if (matrix.layout == nullptr) return;
    matrix.layout->pack(scratch.values.data(), static_cast<int>(panel.first),
                        static_cast<int>(panel.count),
                        block_.subspan(matrix.packed, matrix.layout->bytes()));
  }

 private:
  /// The panel's rows as the type that the matrix is kept as.
  void keep(const Matrix& matrix, const Panel& panel, const std::vector<float>& values) {
    const std::int64_t inputs = matrix.sources.front().inputs.count;
    std::byte* to =
        block_.data() + *matrix.kept + panel.first * byte_size(matrix.kept_type, inputs);
    const std::int64_t count = panel.count * inputs;
    if (matrix.kept_type == TensorType::kF32) {
      std::memcpy(to, values.data(), count * sizeof(float));
    } else {
      expects(matrix.kept_type == TensorType::kBF16, "a table is kept as float32 or bfloat16");
      narrow_row(values.data(), count, reinterpret_cast<std::uint16_t*>(to));
    }
  }

  /// `rows`: of those that the matrix has of the source.
  void read_rows(const Matrix& matrix, const Source& source, Interval rows, Scratch& scratch,
                 float* values) {
    rows = {rows.begin + source.rows_used.first, rows.end + source.rows_used.first};
    const Interval in_file = source.file_rows(rows);
    const TensorInfo part = slice(*source.tensor, in_file);
    grow(scratch.raw, part.bytes);
    Bytes raw = std::span(scratch.raw).first(part.bytes);
    if (matrix.keeps_file_bytes()) {
      raw = block_.subspan(*matrix.kept + part.offset - source.tensor->offset, part.bytes);
    }
    file_.read(part, raw);

    const std::int64_t inputs = source.inputs.count;
    const std::size_t row_bytes = source.row_bytes();
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      const std::size_t offset = (source.file_row(row) - in_file.begin) * row_bytes;
      dequantize_inputs(part.type, raw.subspan(offset, row_bytes), source.inputs, scratch,
                        values + (row - rows.begin) * inputs);
    }
    check_finite(file_, part, values, (rows.end - rows.begin) * inputs);
    advance((rows.end - rows.begin) * row_bytes);
  }

  /// Some values of a row, which may begin and end inside the type's blocks.
  static void dequantize_inputs(TensorType type, ConstBytes row, const Slice& inputs,
                                Scratch& scratch, float* values) {
    const std::int64_t block = block_values(type);
    const std::int64_t begin = inputs.first / block * block;
    const std::int64_t end = (inputs.first + inputs.count + block - 1) / block * block;
    const ConstBytes raw = row.subspan(byte_size(type, begin), byte_size(type, end - begin));
    if (end - begin == inputs.count) {
      dequantize(type, raw, {values, static_cast<std::size_t>(inputs.count)});
      return;
    }
    scratch.blocks.resize(end - begin);
    dequantize(type, raw, scratch.blocks);
    std::copy_n(scratch.blocks.begin() + (inputs.first - begin), inputs.count, values);
  }

  void advance(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    done_ += bytes;
    if (progress_) progress_(done_, total_);
  }

  const TensorFile& file_;
  Bytes block_;
  const std::uint64_t total_;
  const LoadProgress& progress_;

  std::mutex mutex_;  // guards done_, and calls to progress_
  std::uint64_t done_ = 0;
};

}  // namespace

std::uint64_t fill_weights(const TensorFile& file, const ModelConfig& whole, const ModelPart& part,
                           const WeightPlan& plan, Bytes block, int threads,
                           const LoadProgress& progress) {
  expects(block.size() >= plan.bytes() && threads > 0, "a block of the planned size");
  const Recipe recipe(file, whole, part, plan);
  const std::vector<Matrix> matrices = recipe.matrices();
  const std::vector<Vector> vectors = recipe.vectors();
  const std::uint64_t total = file_bytes(matrices) + file_bytes(vectors);
  Filler filler(file, block, total, progress);
  for (const Vector& vector : vectors) filler.fill(vector);
  const std::vector<Panel> work = panels(matrices);
  std::vector<Filler::Scratch> scratch(threads);
  share_work(work.size(), threads,
             [&](std::size_t i, int thread) { filler.fill(work[i], scratch[thread]); });
  return total;
}

}  // namespace longspan
