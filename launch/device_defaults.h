// What suits a device, where nobody asked for anything else, and what it cannot do.
#pragma once

#include "comm/backend.h"
#include "launch/options.h"

namespace longspan {

/// The options with pages and the type of keys filled in. Throws UsageError for what the
/// backend does not do.
GenerateOptions suited_to(Backend backend, GenerateOptions options);

}  // namespace longspan
