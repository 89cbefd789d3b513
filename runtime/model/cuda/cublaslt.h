// cuBLASLt, loaded when GPUs are used: the library is hundreds of megabytes, which a program that
// computes on CPUs should neither need nor map.
#pragma once

#include <cublasLt.h>

#include <string>
#include <string_view>

#include "comm/shared_library.h"

namespace longspan {

class CublasLt {
 public:
  /// The process's. Throws DeviceError where the library is missing.
  static const CublasLt& get();

  // Of cublasLt.h, under their own names.

  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulAlgoGetHeuristic) get_heuristic;
  decltype(&cublasLtMatmulDescCreate) new_product;
  decltype(&cublasLtMatmulDescDestroy) delete_product;
  decltype(&cublasLtMatmulDescSetAttribute) set_product;
  decltype(&cublasLtMatrixLayoutCreate) new_matrix;
  decltype(&cublasLtMatrixLayoutDestroy) delete_matrix;
  decltype(&cublasLtMatmulPreferenceCreate) new_preference;
  decltype(&cublasLtMatmulPreferenceDestroy) delete_preference;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference;

  /// "cuBLASLt 13.0.2".
  std::string version() const;
  /// Throws DeviceError "attempt: reason" unless `status` is success.
  void check(cublasStatus_t status, std::string_view attempt) const;

 private:
  CublasLt();

  SharedLibrary library_;
  decltype(&cublasLtGetVersion) get_version_;
  decltype(&cublasLtGetStatusString) status_string_;
};

}  // namespace longspan
