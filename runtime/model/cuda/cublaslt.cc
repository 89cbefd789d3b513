#include "runtime/model/cuda/cublaslt.h"

#include <cuda_runtime_api.h>

#include <type_traits>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {

CublasLt::CublasLt()
    : library_({str("libcublasLt.so.{}", CUBLAS_VER_MAJOR),
                str("{}/libcublasLt.so.{}", LONGSPAN_CUDA_LIBRARIES, CUBLAS_VER_MAJOR)},
               str("install CUDA's cuBLAS (package libcublas-{}-{}), or add its folder to "
                   "LD_LIBRARY_PATH",
                   CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10)) {
  const auto find = [this](auto& function, const char* symbol) {
    function = library_.function<std::remove_reference_t<decltype(function)>>(symbol);
  };
  find(create, "cublasLtCreate");
  find(destroy, "cublasLtDestroy");
  find(matmul, "cublasLtMatmul");
  find(get_heuristic, "cublasLtMatmulAlgoGetHeuristic");
  find(new_product, "cublasLtMatmulDescCreate");
  find(delete_product, "cublasLtMatmulDescDestroy");
  find(set_product, "cublasLtMatmulDescSetAttribute");
  find(new_matrix, "cublasLtMatrixLayoutCreate");
  find(delete_matrix, "cublasLtMatrixLayoutDestroy");
  find(new_preference, "cublasLtMatmulPreferenceCreate");
  find(delete_preference, "cublasLtMatmulPreferenceDestroy");
  find(set_preference, "cublasLtMatmulPreferenceSetAttribute");
  find(get_version_, "cublasLtGetVersion");
  find(status_string_, "cublasLtGetStatusString");
}

const CublasLt& CublasLt::get() {
  static const CublasLt library;
  return library;
}

std::string CublasLt::version() const {
  const std::size_t version = get_version_();
  return str("cuBLASLt {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

void CublasLt::check(cublasStatus_t status, std::string_view attempt) const {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw DeviceError(str("{}: {}", attempt, status_string_(status)));
}

}  // namespace longspan
