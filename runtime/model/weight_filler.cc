#include "runtime/model/weight_filler.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "attention/shard_layout.h"
#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/cpu/vector_kernels.h"
#include "runtime/model/model_part.h"

namespace longspan {
namespace {

/// A tensor of which some rows, and of each some inputs, go into a matrix: in file order or out of
/// interleaved order.
struct Source {
  const TensorInfo* tensor;
  int interleaved_head;  // head_dim of interleaved rows; 0: rows are in order
  Slice rows_used;
  Slice inputs;

  static Source all_of(const TensorInfo* tensor, int interleaved_head = 0) {
    const Slice rows{0, static_cast<int>(tensor->shape.front())};
    return {tensor, interleaved_head, rows, {0, static_cast<int>(tensor->shape.back())}};
  }
  Source with_rows(const Slice& rows) const { return {tensor, interleaved_head, rows, inputs}; }
  Source with_inputs(const Slice& some) const {
    return {tensor, interleaved_head, rows_used, some};
  }

  std::int64_t rows() const { return rows_used.count; }
  std::uint64_t row_bytes() const { return tensor->bytes / tensor->shape.front(); }
  std::int64_t file_row(std::int64_t row) const {
    return interleaved_head ? interleaved_row(row, interleaved_head) : row;
  }
  /// The rows of the file that `rows` lie in: whole heads when they are interleaved.
  Interval file_rows(Interval rows) const {
    if (!interleaved_head) return rows;
    const std::int64_t head = interleaved_head;
    return {rows.begin / head * head, (rows.end + head - 1) / head * head};
  }
};

/// A matrix of the block: its sources' rows, one below the other.
struct Matrix {
  std::vector<Source> sources;
  const MatrixLayout* layout = nullptr;  // null: not packed, only kept
  std::size_t packed = 0;                // where
  std::optional<std::size_t> kept = {};  // where the file's bytes of the only source stay
};

/// What a thread works on at once: rows [first, first + count) of a matrix.
struct Panel {
  const Matrix* matrix;
  std::int64_t first;
  std::int64_t count;
};

std::vector<Matrix> matrices(const GgufFile& file, const ModelConfig& whole, const ModelPart& part,
                             const WeightPlan& plan) {
  const int head = whole.heads.head_dim;
  const PartSlices own = slices_of(whole, part);
  const auto of_heads = [&](const Slice& heads) {
    return Slice{heads.first * head, heads.count * head};
  };
  const Slice q = of_heads(own.query_heads), kv = of_heads(own.kv_heads);
  std::vector<Matrix> all;
  const Source embedding = Source::all_of(file.find("token_embd.weight"));
  if (whole.tied_output && part.ranks == 1) {  // read once
    all.push_back({{embedding}, &plan.output_layout(), plan.output(), plan.embedding()});
  } else {
    const Source output =
        whole.tied_output ? embedding : Source::all_of(file.find("output.weight"));
    all.push_back({{embedding}, nullptr, 0, plan.embedding()});
    all.push_back({{output.with_rows(own.vocabulary)}, &plan.output_layout(), plan.output()});
  }
  for (int i = 0; i < whole.layers; ++i) {
    const auto& at = plan.layer(i);
    const auto source = [&](std::string_view name, int interleaved_head = 0) {
      return Source::all_of(file.find(str("blk.{}.{}.weight", i, name)), interleaved_head);
    };
    all.push_back({{source("attn_q", head).with_rows(q), source("attn_k", head).with_rows(kv),
                    source("attn_v").with_rows(kv)},
                   &plan.qkv_layout(),
                   at.qkv});
    all.push_back({{source("attn_output").with_inputs(q)},
                   &plan.attention_output_layout(),
                   at.attention_output});
    all.push_back({{source("ffn_gate").with_rows(own.ffn), source("ffn_up").with_rows(own.ffn)},
                   &plan.gate_up_layout(),
                   at.gate_up});
    all.push_back({{source("ffn_down").with_inputs(own.ffn)}, &plan.down_layout(), at.down});
  }
  return all;
}

std::uint64_t file_bytes(const std::vector<Matrix>& matrices) {
  std::uint64_t bytes = 0;
  for (const Matrix& matrix : matrices) {
    for (const Source& source : matrix.sources) bytes += source.rows() * source.row_bytes();
  }
  return bytes;
}

std::uint64_t norm_bytes(const GgufFile& file) {
  std::uint64_t bytes = 0;
  for (const TensorInfo& tensor : file.tensors()) {
    if (tensor.shape.size() == 1) bytes += tensor.bytes;
  }
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

void check_finite(const GgufFile& file, const TensorInfo& tensor, const float* values,
                  std::int64_t count) {
  if (all_finite(values, count)) return;
  throw DataError(
      str("{}: tensor {} holds a NaN or an infinity: the file is damaged, download it again",
          file.path().string(), tensor.name));
}

/// Runs `work` on `threads` threads at once; the first failure is rethrown when all are done.
void on_threads(int threads, const std::function<void()>& work) {
  std::mutex mutex;
  std::exception_ptr failure;
  {
    std::vector<std::jthread> team;
    for (int i = 0; i < threads; ++i) {
      team.emplace_back([&] {
        try {
          work();
        } catch (...) {
          const std::lock_guard lock(mutex);
          if (!failure) failure = std::current_exception();
        }
      });
    }
  }
  if (failure) std::rethrow_exception(failure);
}

class Filler {
 public:
  /// `total`: bytes of the file that will be read.
  Filler(const GgufFile& file, Bytes block, std::uint64_t total, const LoadProgress& progress)
      : file_(file), block_(block), total_(total), progress_(progress) {}

  void fill_norm(std::string_view tensor_name, std::size_t offset) {
    const TensorInfo& tensor = *file_.find(tensor_name);
    std::vector<std::byte> raw(tensor.bytes);
    file_.read(tensor, raw);
    const std::span<float> values{reinterpret_cast<float*>(block_.data() + offset),
                                  static_cast<std::size_t>(tensor.shape.front())};
    dequantize(tensor.type, raw, values);
    check_finite(file_, tensor, values.data(), std::ssize(values));
    advance(tensor.bytes);
  }

  /// Takes panels until none is left or another thread failed.
  void fill_panels(const std::vector<Panel>& panels) {
    Scratch scratch;
    while (!failed_) {
      const std::size_t index = next_++;
      if (index >= panels.size()) return;
      try {
        fill(panels[index], scratch);
      } catch (...) {
        failed_ = true;
        throw;
      }
    }
  }

 private:
  struct Scratch {
    std::vector<std::byte> raw;
    std::vector<float> values;
    std::vector<float> blocks;  // of one row
  };

  void fill(const Panel& panel, Scratch& scratch) {
    const Matrix& matrix = *panel.matrix;
    const std::int64_t inputs = matrix.sources.front().inputs.count;
    scratch.values.resize(panel.count * inputs);
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
    if (matrix.layout == nullptr) return;
    matrix.layout->pack(scratch.values.data(), static_cast<int>(panel.first),
                        static_cast<int>(panel.count),
                        block_.subspan(matrix.packed, matrix.layout->bytes()));
  }

  /// `rows`: of those that the matrix has of the source.
  void read_rows(const Matrix& matrix, const Source& source, Interval rows, Scratch& scratch,
                 float* values) {
    rows = {rows.begin + source.rows_used.first, rows.end + source.rows_used.first};
    const Interval in_file = source.file_rows(rows);
    const TensorInfo part = slice(*source.tensor, in_file);
    scratch.raw.resize(part.bytes);
    Bytes raw = scratch.raw;
    if (matrix.kept) {
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

  const GgufFile& file_;
  Bytes block_;
  const std::uint64_t total_;
  const LoadProgress& progress_;

  std::atomic<std::size_t> next_ = 0;
  std::atomic<bool> failed_ = false;
  std::mutex mutex_;  // guards done_, and calls to progress_
  std::uint64_t done_ = 0;
};

}  // namespace

std::int64_t interleaved_row(std::int64_t row, int head_dim) {
  const std::int64_t half = head_dim / 2;
  const std::int64_t in_head = row % head_dim;
  return row - in_head + 2 * (in_head % half) + in_head / half;
}

std::uint64_t fill_weights(const GgufFile& file, const ModelConfig& whole, const ModelPart& part,
                           const WeightPlan& plan, Bytes block, int threads,
                           const LoadProgress& progress) {
  expects(block.size() >= plan.bytes() && threads > 0, "a block of the planned size");
  const std::vector<Matrix> all = matrices(file, whole, part, plan);
  const std::uint64_t total = file_bytes(all) + norm_bytes(file);
  Filler filler(file, block, total, progress);
  filler.fill_norm("output_norm.weight", plan.output_norm());
  for (int i = 0; i < whole.layers; ++i) {
    filler.fill_norm(str("blk.{}.attn_norm.weight", i), plan.layer(i).attention_norm);
    filler.fill_norm(str("blk.{}.ffn_norm.weight", i), plan.layer(i).ffn_norm);
  }
  const std::vector<Panel> work = panels(all);
  on_threads(threads, [&] { filler.fill_panels(work); });
  return total;
}

}  // namespace longspan
