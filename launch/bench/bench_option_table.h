// The options of `longspan bench`, as option_table.h has those of the other commands.
#pragma once

#include <span>

#include "launch/option_table.h"

namespace longspan {

std::span<const Option<BenchAttentionOptions>> bench_attention_options();
std::span<const Option<BenchDecodeOptions>> bench_decode_options();
std::span<const Option<BenchCommOptions>> bench_comm_options();
std::span<const Option<BenchLoadOptions>> bench_load_options();
/// Those of `bench model` itself, and those of `generate` that say how its job is set up.
std::span<const Option<BenchModelOptions>> bench_model_options();
std::span<const Option<GenerateOptions>> bench_model_run_options();

}  // namespace longspan
