// Ranks as threads, for benches of the engine: one process, so that there is nothing to launch.
#pragma once

#include <functional>

#include "comm/machine.h"

namespace longspan::bench {

/// Runs `body` once per rank, each with a machine of `threads` compute threads, and joins them all.
/// Rethrows what the first rank threw that did; the others then fail where they wait for it.
void run_on_threads(int ranks, int threads, const std::function<void(Machine&)>& body);

}  // namespace longspan::bench
