// Copying columns between pages.
#pragma once

#include <vector>

#include "attention/kernels.h"

namespace longspan {

/// One head of one copy, K and V, in pieces that cross no page border on either side.
void copy_columns(const KvCopy& copy, int kv_head, int head_dim);

}  // namespace longspan
