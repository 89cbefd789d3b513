// The trace of one run: a file per rank, from before the model is opened to the end of the run.
#pragma once

#include <optional>
#include <string>

#include "comm/machine.h"
#include "comm/trace_file.h"

namespace longspan {

class TraceRecording {
 public:
  /// Every rank calls it; the failure of one is thrown on all. An earlier run's trace in `folder`
  /// is replaced. From then on what the machine's new streams do is recorded.
  TraceRecording(Machine& machine, const std::string& folder);
  /// An end without finish(), by an exception: the file is completed, and nobody is told.
  ~TraceRecording();
  TraceRecording(const TraceRecording&) = delete;
  TraceRecording& operator=(const TraceRecording&) = delete;

  /// Every rank calls it. `says`: whether rank 0 tells where the trace is; what is missing in it,
  /// it tells in any case.
  void finish(bool says);

 private:
  Machine& machine_;
  std::string folder_;
  std::optional<TraceFile> file_;
};

}  // namespace longspan
