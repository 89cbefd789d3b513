// Which model this is, without reading all of it.
//
// A digest of the model's shape and of a piece of every tensor, from its middle: training, merging
// or quantising a model anew changes it. A change of single values elsewhere does not; who has to
// know of those compares files with a manifest (model_manifest.h).
#pragma once

#include "runtime/model/model_config.h"
#include "runtime/model/sha256.h"
#include "runtime/model/tensor_file.h"

namespace longspan {

/// `config`: of the whole model. `file`: null for made-up weights, which are a function of the
/// shape. Reads 4 KiB of each tensor at most. Throws as TensorFile::read() does.
Sha256 model_digest(const ModelConfig& config, const TensorFile* file);

}  // namespace longspan
