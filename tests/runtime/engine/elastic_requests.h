// Requests of all kinds, to be answered by ranks that change at every border (RandomElastic), and
// each alone by one rank: the tokens must be the same.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "comm/machine.h"

namespace longspan::test {

struct ElasticSize {
  int requests = 0;
  std::int64_t longest_prompt = 0;  // lengths are log-uniform from 1
  std::uint64_t seed = 1;
};

/// Calls its argument once for each of four ranks.
using OnMachines = std::function<void(const std::function<void(Machine&)>&)>;

/// Prompts that begin alike, forks, second turns that keep a part of the first, and aborts at any
/// time, on a tiny model with random weights, which rank 0 writes to `model`. A token may differ
/// where the reference was in doubt: two tokens within 1e-4 nat, and what came before within 2e-3;
/// that is printed, and 3 of 500 requests may. Fails where pages are in use at the end.
void expect_elastic_is_exact(const ElasticSize& size, const std::filesystem::path& model,
                             const OnMachines& run);

}  // namespace longspan::test
