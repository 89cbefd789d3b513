#include "runtime/model/cuda/cuda_matmul.h"

#include <algorithm>
#include <compare>
#include <cstdint>

#include "comm/error.h"
#include "comm/log.h"
#include "comm/str.h"
#include "runtime/model/cuda/few_rows.h"

namespace longspan {
namespace {

constexpr std::size_t kWorkspace = std::size_t{64} << 20;
/// Activations in bfloat16: 7,021 rows of 14,336. More rows take turns, so memory is known
/// beforehand.
constexpr std::size_t kNarrowed = std::size_t{192} << 20;
constexpr std::size_t kMostPlans = 4096;

/// What `address` is a multiple of, up to what cuBLASLt asks for at most.
std::uint32_t alignment(const void* address) {
  const auto bits = reinterpret_cast<std::uintptr_t>(address) | 256;
  return static_cast<std::uint32_t>(bits & -bits);
}

const CudaMatrixLayout& layout_of(const PackedMatrix& w) {
  const auto* layout = dynamic_cast<const CudaMatrixLayout*>(w.layout);
  expects(layout != nullptr, "the matrix was packed for this device");
  return *layout;
}

/// Where the slice begins.
const std::byte* first_of(const MatrixSlice& w) {
  const CudaMatrixLayout& layout = layout_of(w.matrix);
  return w.matrix.data +
         (w.outputs.first * layout.stride() + w.inputs.first) * layout.value_bytes();
}

}  // namespace

struct CudaMatmul::Key {
  explicit Key(const MatrixProduct& product)
      : rows(product.rows),
        outputs(product.outputs),
        inputs(product.inputs),
        x_stride(product.x_stride),
        w_stride(product.w_stride),
        is_bfloat16(product.is_bfloat16),
        is_out_narrow(product.is_out_narrow),
        x_alignment(alignment(product.x)),
        w_alignment(alignment(product.w)),
        out_alignment(alignment(product.out)) {}

  auto operator<=>(const Key&) const = default;

  std::int64_t rows;
  int outputs;
  int inputs;
  std::int64_t x_stride;
  std::int64_t w_stride;
  bool is_bfloat16;
  bool is_out_narrow;
  std::uint32_t x_alignment;
  std::uint32_t w_alignment;
  std::uint32_t out_alignment;
};

/// cuBLASLt counts by columns: a matrix of ours, read so, is transposed, and
/// out^T (outputs, rows) = w (outputs, inputs) x^T (inputs, rows).
struct CudaMatmul::Plan {
  explicit Plan(const CublasLt& the_library) : library(the_library) {}
  ~Plan() {
    for (cublasLtMatrixLayout_t matrix : {w, x, out}) {
      if (matrix != nullptr) library.delete_matrix(matrix);
    }
    if (product != nullptr) library.delete_product(product);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  const CublasLt& library;
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, out = nullptr;
  bool found = false;
  cublasLtMatmulAlgo_t algorithm{};
};

CudaMatmul::CudaMatmul(CudaDevice& device) : library_(CublasLt::get()), scratch_(device) {
  library_.check(library_.create(&handle_), "starting cuBLASLt");
  scratch_.reserve(kWorkspace + kNarrowed);
}

CudaMatmul::~CudaMatmul() { library_.destroy(handle_); }

void CudaMatmul::multiply(CudaStream& stream, const float* x, std::int64_t rows,
                          const MatrixSlice& w, float* out, Output output) {
  const CudaMatrixLayout& layout = layout_of(w.matrix);
  if (rows == 0 || w.outputs.count == 0) return;
  expects(w.inputs.count > 0, "a slice has inputs");
  MatrixProduct product{.x = x,
                        .w = first_of(w),
                        .out = out,
                        .rows = rows,
                        .outputs = w.outputs.count,
                        .inputs = w.inputs.count,
                        .x_stride = w.inputs.count,
                        .w_stride = layout.stride(),
                        .is_bfloat16 = layout.precision() == Precision::kBFloat16,
                        .accumulates = output == Output::kAccumulate};
  SharedScratch::Turn turn(scratch_, kWorkspace + kNarrowed, stream);
  auto* const memory = reinterpret_cast<std::byte*>(turn.values());
  const Bytes workspace{memory, kWorkspace};
  if (!product.is_bfloat16) {
    multiply(stream, product, workspace);
  } else {
    auto* const narrowed = reinterpret_cast<std::uint16_t*>(memory + kWorkspace);
    product.x = narrowed;
    product.x_stride = padded_row(w.inputs.count, Precision::kBFloat16);
    const std::int64_t most = kNarrowed / (product.x_stride * sizeof(std::uint16_t));
    expects(most > 0, "a row of activations fits the memory for it");
    const std::int64_t pieces = (rows + most - 1) / most;
    for (std::int64_t i = 0; i < pieces; ++i) {
      const std::int64_t begin = rows * i / pieces;
      product.rows = rows * (i + 1) / pieces - begin;
      product.out = out + begin * product.outputs;
      stream.launch<launch_narrow_rows>(x + begin * product.inputs, product.rows,
                                        std::int64_t{product.inputs}, product.x_stride, narrowed);
      multiply(stream, product, workspace);
    }
  }
  turn.end();
}

void CudaMatmul::multiply(CudaStream& stream, const std::uint16_t* x, std::int64_t rows,
                          const MatrixSlice& w, float* out, Output output) {
  multiply_narrow(stream, x, rows, w, {.out = out, .accumulates = output == Output::kAccumulate});
}

void CudaMatmul::multiply(CudaStream& stream, const std::uint16_t* x, std::int64_t rows,
                          const MatrixSlice& w, std::uint16_t* out) {
  multiply_narrow(stream, x, rows, w, {.out = out, .is_out_narrow = true});
}

void CudaMatmul::multiply_narrow(CudaStream& stream, const std::uint16_t* x, std::int64_t rows,
                                 const MatrixSlice& w, MatrixProduct product) {
  const CudaMatrixLayout& layout = layout_of(w.matrix);
  expects(layout.precision() == Precision::kBFloat16, "both factors are bfloat16");
  if (rows == 0 || w.outputs.count == 0) return;
  expects(w.inputs.count > 0, "a slice has inputs");
  product.x = x;
  product.w = first_of(w);
  product.rows = rows;
  product.outputs = w.outputs.count;
  product.inputs = w.inputs.count;
  product.x_stride = w.inputs.count;
  product.w_stride = layout.stride();
  product.is_bfloat16 = true;
  SharedScratch::Turn turn(scratch_, kWorkspace + kNarrowed, stream);
  multiply(stream, product, {reinterpret_cast<std::byte*>(turn.values()), kWorkspace});
  turn.end();
}

void CudaMatmul::multiply(CudaStream& stream, const MatrixProduct& product, Bytes workspace) {
  if (is_few_rows(product)) return stream.launch<launch_few_rows>(product);
  const Plan* const found = plan(product);
  if (found == nullptr) return stream.launch<launch_plain_product>(product);
  stream.launch<launch_planned>(handle_, found, product, workspace.data());
}

void CudaMatmul::launch_planned(cublasLtHandle_t handle, const Plan* plan,
                                const MatrixProduct& product, std::byte* workspace,
                                cudaStream_t stream) {
  const float one = 1.0f, beta = product.accumulates ? 1.0f : 0.0f;
  const CublasLt& library = plan->library;
  library.check(library.matmul(handle, plan->product, &one, product.w, plan->w, product.x, plan->x,
                               &beta, product.out, plan->out, product.out, plan->out,
                               &plan->algorithm, workspace, kWorkspace, stream),
                str("multiplying {} rows of {} values into {} on the GPU", product.rows,
                    product.inputs, product.outputs));
}

const CudaMatmul::Plan* CudaMatmul::plan(const MatrixProduct& product) {
  const Key key(product);
  auto at = plans_.find(key);
  if (at == plans_.end()) {
    if (plans_.size() >= kMostPlans) plans_.clear();  // of odd numbers of rows, most likely
    at = plans_.emplace(key, new_plan(product)).first;
  }
  return at->second->found ? at->second.get() : nullptr;
}

std::unique_ptr<CudaMatmul::Plan> CudaMatmul::new_plan(const MatrixProduct& product) const {
  const std::string attempt =
      str("describing a product of {} rows, {} inputs and {} outputs to cuBLASLt", product.rows,
          product.inputs, product.outputs);
  const auto check = [&](cublasStatus_t status) { library_.check(status, attempt); };
  const cudaDataType_t type = product.is_bfloat16 ? CUDA_R_16BF : CUDA_R_32F;
  auto plan = std::make_unique<Plan>(library_);
  check(library_.new_product(&plan->product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  const cublasOperation_t transposed = CUBLAS_OP_T;
  check(library_.set_product(plan->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                             sizeof(transposed)));
  check(library_.new_matrix(&plan->w, type, product.inputs, product.outputs, product.w_stride));
  check(library_.new_matrix(&plan->x, type, product.inputs, product.rows, product.x_stride));
  check(library_.new_matrix(&plan->out, product.is_out_narrow ? CUDA_R_16BF : CUDA_R_32F,
                            product.outputs, product.rows, product.outputs));

  cublasLtMatmulPreference_t wish = nullptr;
  check(library_.new_preference(&wish));
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check(library_.set_preference(wish, attribute, &value, sizeof(value)));
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kWorkspace});
  // Not in place, where parts of a sum are added in whatever order they are done.
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE |
                       CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE});
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(product.w));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(product.x));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(product.out));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(product.out));
  cublasLtMatmulHeuristicResult_t best{};
  int count = 0;
  const cublasStatus_t status = library_.get_heuristic(
      handle_, plan->product, plan->w, plan->x, plan->out, plan->out, wish, 1, &best, &count);
  library_.delete_preference(wish);
  plan->found = status == CUBLAS_STATUS_SUCCESS && count > 0 && best.state == CUBLAS_STATUS_SUCCESS;
  plan->algorithm = best.algo;
  if (!plan->found) {
    log(LogLevel::kWarning, str("cuBLASLt has no kernel for {} rows, {} inputs, {} outputs in {}: "
                                "they are multiplied slowly",
                                product.rows, product.inputs, product.outputs,
                                product.is_bfloat16 ? "bfloat16" : "float32"));
  }
  return plan;
}

}  // namespace longspan
