// Exchanges in the trace: bytes and peers of each, on the lane of the stream that makes it.
#pragma once

#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/trace.h"

namespace longspan {

TraceLabel exchange_label(const std::vector<Send>& sends, const std::vector<Receive>& receives);

/// "to" and "from", as JSON members: who takes part, the first few where there are many.
std::string exchange_peers(const std::vector<Send>& sends, const std::vector<Receive>& receives);

/// `done`, which then also ends a span that begins now.
std::function<void(std::exception_ptr)> with_exchange_span(
    TraceLane& lane, const std::vector<Send>& sends, const std::vector<Receive>& receives,
    std::function<void(std::exception_ptr)> done);

}  // namespace longspan
