#include "launch/help_text.h"

#include <algorithm>

#include "comm/str.h"

namespace longspan {
namespace {

constexpr std::size_t kHelpColumn = 26;
constexpr std::size_t kLineWidth = 96;

constexpr std::string_view kExitCodes = R"(
Exit codes:
  0  done                             70  internal error: please report it
  1  a comparison found a difference  71  not enough memory, said before any is taken
  2  usage: a flag, a number, degree  74  reading or writing failed
     over ranks, prompt over context  75  a rank was lost or hung: try again
 65  malformed model or prompt        77  not permitted
 66  a named file is missing          78  configuration, as srun without --mpi=pmix
 69  MPI or the device is not there  130  Ctrl-C; the text so far is kept
A rank that was killed ends mpirun with 137.
)";

/// `text` after `used` columns of a line that has already begun, wrapped into the help column.
std::string wrapped(std::string_view text, std::size_t used) {
  const std::string indent(kHelpColumn, ' ');
  std::string lines = used + 2 > kHelpColumn ? "\n" + indent : std::string(kHelpColumn - used, ' ');
  std::size_t column = kHelpColumn;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(word.size() + 1, text.size()));
    if (column > kHelpColumn && column + 1 + word.size() > kLineWidth) {
      lines += "\n" + indent;
      column = kHelpColumn;
    }
    if (column > kHelpColumn) lines += ' ';
    lines += word;
    column += word.size() + 1;
  }
  return lines + "\n";
}

std::string line_of(const OptionText& option) {
  std::string flag =
      option.short_flag ? str("  -{}, {}", option.short_flag, option.flag()) : "  " + option.flag();
  if (!option.is_switch()) flag += str(" {}", option.value);
  return flag + wrapped(option.help, flag.size());
}

}  // namespace

std::string described(std::span<const OptionText> options) {
  std::string text;
  std::string_view group;
  for (const OptionText& option : options) {
    if (option.group != group) text += str("\n{}:\n", option.group);
    group = option.group;
    text += line_of(option);
  }
  return text;
}

std::string environment_note(const OptionText& example) {
  return str(
      "\nEach option can also be set in the environment, as {} for {};\nthe command line wins. "
      "Switches take 1 or 0 there.\n",
      example.environment_name(), example.flag());
}

std::string_view exit_codes() { return kExitCodes; }

}  // namespace longspan
