// How a config.json says that positions turn queries and keys, in either dialect:
//
//   transformers 4   rope_theta, rope_scaling {rope_type or type, factor, ...},
//                    rope_local_base_freq for sliding layers
//   transformers 5   rope_parameters {rope_type, rope_theta, factor, ...}, or one such object per
//                    layer type
#pragma once

#include <cstdint>

#include "runtime/model/folder_keys.h"
#include "runtime/model/rope_spec.h"

namespace longspan {

struct FolderRopes {
  RopeSpec full;           // of layers that attend to everything before
  RopeSpec sliding;        // of layers under a window
  std::int64_t reach = 0;  // the longest sequence: the model's context, or as far as it stretches
};

/// `context`: of the model, max_position_embeddings. Throws DataError naming the key; also for a
/// rule that is not built.
FolderRopes read_folder_ropes(FolderKeys& keys, int head_dim, std::int64_t context);

}  // namespace longspan
