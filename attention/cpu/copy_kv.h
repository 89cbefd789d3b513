// Copying columns between pages.
#pragma once

#include "attention/cpu/compiled_kernels.h"
#include "attention/kernels.h"

namespace longspan {

/// Whether the types allow it: see KvCopy.
bool is_possible(const KvCopy& copy);

/// One head of one copy that is possible: converted, or as it is, K and V, in pieces that cross no
/// page border on either side.
void copy_columns(const CompiledKernels& kernels, const KvCopy& copy, int kv_head, int head_dim);

}  // namespace longspan
