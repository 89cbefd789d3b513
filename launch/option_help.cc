#include "launch/option_help.h"

#include <span>

#include "comm/str.h"
#include "launch/option_table.h"

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

constexpr std::string_view kGenerateExamples = R"(
Examples:
  One rank, without mpirun:
    longspan generate model.gguf --prompt "The capital of France is" --max-tokens 8

  A long document split over four ranks of this host:
    mpirun -np 4 --bind-to none longspan generate model.gguf --prompt-file report.txt

  Prove that every degree writes the same tokens (exit 1 if not):
    mpirun -np 3 --bind-to none longspan generate model.gguf --prompt-file report.txt \
        --compare-degrees 1,2,3

  See what each rank did and when, and how much of the exchanges ran under computation:
    mpirun -np 2 --bind-to none longspan generate model.gguf --prompt-file report.txt --trace t
    longspan trace merge t    # then open t/trace.json in https://ui.perfetto.dev

  Under Slurm, several prompts, one JSON object a line:
    srun --mpi=pmix -K -n 4 longspan generate model.gguf --prompts questions.jsonl --json

More ranks than cores: mpirun --oversubscribe. As root in a container, Open MPI also wants
OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1.
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

std::string described(const OptionText& option) {
  std::string flag =
      option.short_flag ? str("  -{}, {}", option.short_flag, option.flag()) : "  " + option.flag();
  if (!option.is_switch()) flag += str(" {}", option.value);
  return flag + wrapped(option.help, flag.size());
}

template <typename Options>
std::string described(std::span<const Option<Options>> options) {
  std::string text;
  std::string_view group;
  for (const auto& option : options) {
    if (option.group != group) text += str("\n{}:\n", option.group);
    group = option.group;
    text += described(option);
  }
  return text;
}

std::string environment_note(const OptionText& example) {
  return str(
      "\nEach option can also be set in the environment, as {} for {};\nthe command line wins. "
      "Switches take 1 or 0 there.\n",
      example.environment_name(), example.flag());
}

}  // namespace

std::string program_help() {
  return str(
      R"(longspan splits one long sequence over the ranks that mpirun or srun starts.

Usage: longspan COMMAND ...

Commands:
  generate MODEL    read a prompt, its tokens split over all ranks, and write a continuation
  inspect MODEL     print a model's architecture, shapes, tokenizer and KV bytes per token
  trace merge DIR   make one trace of the ranks' traces that generate --trace DIR wrote

Options:
  --help            this text; after a command, that command's
  --version         version, commit and libraries

Try:
  longspan generate model.gguf --prompt "The capital of France is" --max-tokens 8
  mpirun -np 4 --bind-to none longspan generate model.gguf --prompt-file report.txt
  longspan generate --help
{})",
      kExitCodes);
}

std::string generate_help() {
  return str(
      R"(longspan generate: read a prompt, its tokens split over the ranks, and write a continuation.

Usage: longspan generate MODEL PROMPT [options]
  MODEL is a GGUF file. Every rank must be able to read it. The likeliest token is taken at each
  step, so the same prompt gives the same text at every degree.
{}{}{}{})",
      described(generate_options()), environment_note(generate_options()[4]), kGenerateExamples,
      kExitCodes);
}

std::string inspect_help() {
  return str(
      R"(longspan inspect: what a model file holds, without loading its weights.

Usage: longspan inspect MODEL [options]
  MODEL is a GGUF file. Printed are architecture, shapes, tensor types, tokenizer, context length
  and the bytes of KV that one token takes.
{}{}
Examples:
  longspan inspect model.gguf
  longspan inspect model.gguf --json
{})",
      described(inspect_options()), environment_note(inspect_options()[0]), kExitCodes);
}

std::string trace_help() {
  return str(
      R"(longspan trace merge: make one trace of the traces that the ranks of a run wrote.

Usage: longspan trace merge DIR [options]
  DIR holds the rank-N.json files of longspan generate --trace DIR. Their events are put on rank
  0's clock and sorted by time. Printed are ranks, events and seconds, and for each rank how much of
  the time it computed, how long its exchanges took and how much of that ran under computation.

Open the result in https://ui.perfetto.dev or chrome://tracing (drop the file on the page; it stays
on your machine). A process is a rank. Its threads: host (steps), compute (step, layer and kernels)
and transfers (exchanges). wait is a stream that waits for another, exchange includes waiting for a
late peer, a gap is a stream with nothing to do.
{}{}
Examples:
  mpirun -np 2 --bind-to none longspan generate model.gguf --prompt-file report.txt --trace t
  longspan trace merge t
  longspan trace merge t -o report.json
{})",
      described(trace_merge_options()), environment_note(trace_merge_options()[0]), kExitCodes);
}

}  // namespace longspan
