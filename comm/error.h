// Why an operation could not complete, and the exit code the program ends with if nobody can help.
//
// An Error's message is one line for a person: what was attempted, with which sizes, and what to
// do. Outcomes a caller plans for (not enough pages, cancelled) are values, not Errors; a caller's
// mistake is expects().
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace longspan {

/// Exit codes of the `longspan` command, after sysexits.h where it has a word for it.
enum class ExitCode {
  kClean = 0,
  kDiffers = 1,       // a comparison failed
  kUsage = 2,         // unknown flag, bad number, degree over ranks, prompt over the context
  kBadData = 65,      // malformed model or prompt
  kNoInput = 66,      // a named input file is missing
  kUnavailable = 69,  // device or MPI unavailable
  kInternal = 70,
  kOutOfMemory = 71,  // foreseen, before anything was allocated
  kIo = 74,
  kTemporary = 75,  // a peer was lost or hung: worth another try
  kPermission = 77,
  kConfig = 78,  // configuration, srun without PMI
  kInterrupted = 130,
};

class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

  /// Whether all ranks have thrown this same error, so that one of them is enough to print it.
  bool everywhere() const { return everywhere_; }
  void thrown_everywhere() { everywhere_ = true; }

 private:
  ExitCode code_;
  bool everywhere_ = false;
};

/// One class per code, so that a test or a catch can name what it expects.
template <ExitCode kCode>
class CodedError : public Error {
 public:
  explicit CodedError(const std::string& message) : Error(kCode, message) {}
};

using UsageError = CodedError<ExitCode::kUsage>;
using DataError = CodedError<ExitCode::kBadData>;
using MissingInput = CodedError<ExitCode::kNoInput>;
using DeviceError = CodedError<ExitCode::kUnavailable>;
using OutOfMemory = CodedError<ExitCode::kOutOfMemory>;
using IoError = CodedError<ExitCode::kIo>;
using CommError = CodedError<ExitCode::kTemporary>;
using PermissionError = CodedError<ExitCode::kPermission>;
using ConfigError = CodedError<ExitCode::kConfig>;

/// The caller's duty: throws std::logic_error when it was not met. Never for outside events.
inline void expects(bool condition, std::string_view duty) {
  if (!condition) throw std::logic_error("precondition failed: " + std::string(duty));
}

}  // namespace longspan
