// Every option of every command, once: the flags, the environment names, the help and the parsing
// are all made from these tables.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "launch/option_values.h"
#include "launch/options.h"

namespace longspan {

/// What people read and type. `--max-tokens N` is LONGSPAN_MAX_TOKENS in the environment.
struct OptionText {
  std::string_view group;  // a heading of the help
  std::string_view name;   // without dashes
  std::string_view value;  // what the help calls the value; empty for a switch
  std::string_view help;   // with unit and default
  char short_flag = 0;     // the short flag, if it has one

  bool is_switch() const { return value.empty(); }
  std::string flag() const { return "--" + std::string(name); }
  std::string environment_name() const;
};

template <typename Options>
struct Option : OptionText {
  void (*apply)(Options& options, const Given& given);
};

/// The table without its functions.
template <typename Options>
std::vector<OptionText> texts(std::span<const Option<Options>> options) {
  return {options.begin(), options.end()};
}

/// The heading under which exactly one option of `generate` must be given.
inline constexpr std::string_view kPromptGroup = "Prompt (exactly one)";

std::span<const Option<GenerateOptions>> generate_options();
/// Those of `generate` that make sense for the answers of a conversation, and its own.
std::span<const Option<GenerateOptions>> conversation_options();
/// Those of `run-batch` about its files, and those of `generate` that make sense for its requests.
std::span<const Option<RunBatchOptions>> run_batch_options();
std::span<const Option<GenerateOptions>> batch_request_options();
std::span<const Option<InspectOptions>> inspect_options();
std::span<const Option<TraceMergeOptions>> trace_merge_options();
/// Of each `longspan session ...`.
std::span<const Option<SessionOptions>> session_options();

}  // namespace longspan
