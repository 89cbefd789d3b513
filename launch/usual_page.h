// How long a KV page is where nobody says.
#pragma once

#include "comm/backend.h"

namespace longspan {

/// Tokens; on GPUs a tile of attention.
constexpr int page_tokens_of(Backend backend) { return backend == Backend::kCuda ? 128 : 16; }

}  // namespace longspan
