// The commands of `longspan`, one function each.
#pragma once

#include "comm/error.h"
#include "launch/options.h"

namespace longspan {

/// Reads a prompt with its sequence split over the ranks and writes a continuation. Throws Error.
ExitCode generate(const GenerateOptions& options);

/// Prints what a model file holds. Throws Error.
ExitCode inspect(const InspectOptions& options);

}  // namespace longspan
