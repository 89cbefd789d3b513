// The `longspan` command: parse, dispatch, and the one place where a failure becomes a line on
// standard error and an exit code.
#include <chrono>
#include <exception>
#include <iostream>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "comm/error.h"
#include "comm/machine.h"
#include "comm/str.h"
#include "launch/brief_waits.h"
#include "launch/commands.h"
#include "launch/options.h"
#include "launch/version.h"
#include "runtime/model/cpu/onednn_matmul.h"

namespace longspan {
namespace {

ExitCode print(const std::string& text) {
  if (announced_rank() == 0) std::cout << text << std::flush;
  return ExitCode::kClean;
}

/// Runs the command; one overload per kind of request.
struct Dispatch {
  ExitCode operator()(const GenerateOptions& options) const { return generate(options); }
  ExitCode operator()(const ConversationOptions& options) const { return chat(options); }
  ExitCode operator()(const RunBatchOptions& options) const { return run_batch(options); }
  ExitCode operator()(const InspectOptions& options) const { return inspect(options); }
  ExitCode operator()(const TraceMergeOptions& options) const { return trace_merge(options); }
  ExitCode operator()(const SessionOptions& options) const { return session(options); }
  ExitCode operator()(const BenchAttentionOptions& options) const {
    return bench_attention(options);
  }
  ExitCode operator()(const BenchDecodeOptions& options) const { return bench_decode(options); }
  ExitCode operator()(const BenchCommOptions& options) const { return bench_comm(options); }
  ExitCode operator()(const BenchLoadOptions& options) const { return bench_load(options); }
  ExitCode operator()(const BenchModelOptions& options) const { return bench_model(options); }
  ExitCode operator()(const HelpRequest& request) const { return print(request.text); }
  ExitCode operator()(const VersionRequest&) const {
    std::vector<std::string> libraries = {mpi_library_version(), onednn_version()};
    if (const auto cuda = cuda_support()) libraries.push_back(*cuda);
    return print(version_text(libraries));
  }
};

/// Every rank reads the same command line and the same files, so these fail everywhere alike and
/// one line is enough. The others may concern one rank only, which then has to speak for itself.
bool fails_on_every_rank(ExitCode code) {
  switch (code) {
    case ExitCode::kClean:
    case ExitCode::kDiffers:
    case ExitCode::kUsage:
    case ExitCode::kBadData:
    case ExitCode::kNoInput:
    case ExitCode::kOutOfMemory:
    case ExitCode::kPermission:
    case ExitCode::kConfig:
    case ExitCode::kInterrupted:
      return true;
    case ExitCode::kUnavailable:
    case ExitCode::kInternal:
    case ExitCode::kIo:
    case ExitCode::kTemporary:
      return false;
  }
  return false;
}

ExitCode report(ExitCode code, const std::string& message, bool everywhere) {
  // One write, so that the lines of several ranks do not mix.
  if (everywhere && announced_rank() != 0) {
    // mpirun ends all ranks when the first one leaves with an error: let that be the one that
    // prints.
    std::this_thread::sleep_for(std::chrono::seconds(1));
  } else {
    std::cerr << str("longspan: {}\n", message) << std::flush;
  }
  return code;
}

ExitCode run(const std::vector<std::string>& arguments) {
  try {
    const ExitCode code =
        std::visit(Dispatch{}, parse_command_line(arguments, process_environment));
    if (!std::cout.flush()) {
      throw IoError("standard output could not be written; is its disk full or its reader gone?");
    }
    return code;
  } catch (const Error& error) {
    return report(error.code(), error.what(),
                  error.everywhere() || fails_on_every_rank(error.code()));
  } catch (const std::exception& error) {
    return report(ExitCode::kInternal,
                  str("internal error on rank {}: {}", announced_rank(), error.what()), false);
  }
}

}  // namespace
}  // namespace longspan

// Leaves without static destructors: when MPI would not start or end in time, its thread is still
// there and may use what they destroy.
int main(int argc, char** argv) {
  longspan::start_again_with_brief_waits(argv);
  longspan::leave_now(longspan::run({argv + 1, argv + argc}));
}
