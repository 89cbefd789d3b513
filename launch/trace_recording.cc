#include "launch/trace_recording.h"

#include <cstring>
#include <iostream>
#include <span>

#include "comm/agreement.h"
#include "comm/collective.h"
#include "comm/str.h"
#include "comm/trace_clock.h"
#include "launch/progress.h"
#include "launch/rank_trace.h"

namespace longspan {
namespace {

/// The sum over all ranks, on rank 0.
std::uint64_t total(Communicator& control, std::uint64_t value) {
  std::uint64_t sum = 0;
  for (const auto& bytes :
       gather(control, std::as_bytes(std::span(&value, 1)), 0, Patience::forever())) {
    std::uint64_t theirs = 0;
    std::memcpy(&theirs, bytes.data(), sizeof(theirs));
    sum += theirs;
  }
  return sum;
}

}  // namespace

TraceRecording::TraceRecording(Machine& machine, const std::string& folder)
    : machine_(machine), folder_(folder) {
  const TraceClock clock = agree_on_clock(machine.control(), machine.host_ranks());
  // Before any rank makes its own: a run with more ranks may have been here.
  agree_on(machine.control(), [&] {
    if (machine.rank() == machine.host_ranks().front()) remove_rank_traces(folder);
    return true;
  });
  agree_on(machine.control(), [&] {
    file_.emplace(folder, TraceOwner{.rank = machine.rank(),
                                     .ranks = machine.size(),
                                     .host = machine.host(),
                                     .clock = clock});
    return true;
  });
  machine.device().trace_into(&*file_);
}

TraceRecording::~TraceRecording() { machine_.device().trace_into(nullptr); }

void TraceRecording::finish(bool says) {
  agree_on(machine_.control(), [&] {
    file_->finish();
    return true;
  });
  const std::uint64_t dropped = total(machine_.control(), file_->dropped());
  if (machine_.rank() != 0) return;
  if (dropped > 0) {
    std::cerr << str(
        "longspan: the trace lacks {} events that came faster than they could be written; smaller "
        "steps (--prefill-chunk) have fewer\n",
        with_thousands(static_cast<std::int64_t>(dropped)));
  }
  if (says) {
    std::cerr << str("longspan: traced to {}; merge with: longspan trace merge {}\n", folder_,
                     folder_);
  }
}

}  // namespace longspan
