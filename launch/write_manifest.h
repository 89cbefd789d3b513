// `longspan inspect --write-manifest`: says in a file beside a model what its files hold now.
#pragma once

#include <string>

#include "runtime/model/tensor_file.h"

namespace longspan {

/// Reads all files of `model` and writes their manifest, whole or not at all; returns a line that
/// says so. One that says the same is left alone. Throws DataError where there is another one,
/// unless `replaces`; PermissionError or IoError when it cannot be written.
std::string write_manifest(const TensorFile& model, bool replaces);

}  // namespace longspan
