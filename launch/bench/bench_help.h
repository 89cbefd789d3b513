// The helps of `longspan bench`.
#pragma once

#include <string>

namespace longspan {

std::string bench_help();
std::string bench_attention_help();
std::string bench_decode_help();
std::string bench_comm_help();
std::string bench_load_help();
std::string bench_model_help();

}  // namespace longspan
