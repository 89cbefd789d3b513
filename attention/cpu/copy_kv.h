// Copying columns between pages.
#pragma once

#include "attention/cpu/compiled_kernels.h"
#include "attention/kernels.h"

namespace longspan {

/// One head of one copy, of which one side at least is float32 or both are alike:
/// converted, or as it is;, K and V, in pieces that cross no page border on either side.
void copy_columns(const CompiledKernels& kernels, const KvCopy& copy, int kv_head, int head_dim);

}  // namespace longspan
