#include "launch/option_help.h"

#include "comm/str.h"
#include "launch/help_text.h"
#include "launch/option_table.h"

namespace longspan {
namespace {

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

  Ask an instruction-tuned model, drawing its words, the same ones each time:
    longspan generate model.gguf --chat --system "Answer in one sentence." \
        --prompt "Why is the sky blue?" --temperature 0.7 --top-p 0.9 --seed 1

  Under Slurm, several prompts, one JSON object a line:
    srun --mpi=pmix -K -n 4 longspan generate model.gguf --prompts questions.jsonl --json

More ranks than cores: mpirun --oversubscribe. As root in a container, Open MPI also wants
OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1.
)";

constexpr std::string_view kChatExamples = R"(
Examples:
  Talk to a model, one rank:
    longspan chat model.gguf

  Over four ranks of this host, about a document, whose keys stay where they are from turn to turn:
    mpirun -np 4 --bind-to none longspan chat model.gguf --system "Answer in one sentence."
    > /file report.txt
    > What is it about?
    > And who wrote it?

  Today, and go on tomorrow where it ended, on as many ranks as there are then:
    longspan chat model.gguf --session talk.session
    mpirun -np 4 --bind-to none longspan chat model.gguf --session talk.session

  Two questions from a pipe, one JSON object an answer:
    printf 'What is MPI?\nWho made it?\n' | longspan chat model.gguf --json
)";

constexpr std::string_view kRunBatchExamples = R"(
Examples:
  Answer a file of requests:
    longspan run-batch model.gguf -i requests.jsonl -o answers.jsonl

  Over four ranks of this host, 16 at once, none longer than 32,768 tokens:
    mpirun -np 4 --bind-to none longspan run-batch model.gguf -i requests.jsonl \
        -o answers.jsonl --max-num-seqs 16 --max-model-len 32K

  Over eight ranks, in four groups of two that answer side by side:
    mpirun -np 8 --bind-to none longspan run-batch model.gguf -i requests.jsonl \
        -o answers.jsonl --degree 2

  The likeliest tokens, 256 at most, where a request does not say:
    longspan run-batch model.gguf -i requests.jsonl -o answers.jsonl --temperature 0 \
        --max-tokens 256

  Once more for lines that failed, after the input was corrected:
    longspan run-batch model.gguf -i requests.jsonl -o answers.jsonl --retry-failed
)";

/// Its own options, and those of its requests.
std::vector<OptionText> run_batch_texts() {
  std::vector<OptionText> options = texts(run_batch_options());
  for (const OptionText& option : texts(batch_request_options())) options.push_back(option);
  return options;
}

}  // namespace

std::string program_help() {
  return str(
      R"(longspan splits one long sequence over the ranks that mpirun or srun starts.

Usage: longspan COMMAND ...

Commands:
  generate MODEL    read a prompt, its tokens split over all ranks, and write a continuation
  chat MODEL        a conversation over all ranks, which reads of each turn only what is new
  run-batch MODEL   answer a file of requests in OpenAI's batch format, many at once
  inspect MODEL     print a model's architecture, shapes, tokenizer and KV bytes per token
  trace merge DIR   make one trace of the ranks' traces that generate --trace DIR wrote
  session list DIR  what session files hold, of generate and chat --session; also show, verify
  bench WHAT        measure attention, decode, messages, loading or a model, beside yardsticks

Options:
  --help            this text; after a command, that command's
  --version         version, commit and libraries

Try:
  longspan generate model.gguf --prompt "The capital of France is" --max-tokens 8
  mpirun -np 4 --bind-to none longspan generate model.gguf --prompt-file report.txt
  longspan chat model.gguf
  longspan run-batch model.gguf -i requests.jsonl -o answers.jsonl
  longspan generate --help
{})",
      exit_codes());
}

std::string generate_help() {
  return str(
      R"(longspan generate: read a prompt, its tokens split over the ranks, and write a continuation.

Usage: longspan generate MODEL PROMPT [options]
  MODEL is a GGUF file or a Hugging Face folder (config.json, tokenizer.json and safetensors). Every
  rank must be able to read it. The likeliest token is taken at each step unless --temperature,
  another option of its group or the model says to draw; either way the same prompt and seed give
  the same text at every degree.
{}{}{}{})",
      described(texts(generate_options())), environment_note(generate_options()[6]),
      kGenerateExamples, exit_codes());
}

std::string_view chat_commands() {
  return R"(  line \             a backslash at the end: the message goes on in the next line
  /file PATH        the file's text goes before your next message (several: in their order); an
                    empty line sends it alone
  /reset            begin anew, with an empty conversation
  /save             save the conversation to the --session FILE now, and not only at the end
  /fork NAME        save it as it is now beside that file under another name
  /help             these lines
  /quit             leave, as the end of the input does: exit code 0
  Ctrl-C            during an answer: end it, what is written stays in the conversation; a second
                    time, or when a message is awaited: leave. Under mpirun it ends the job: there,
                    and on any terminal, Enter during an answer ends the answer
)";
}

std::string chat_help() {
  return str(
      R"(longspan chat: a conversation with a model, its keys and values kept from turn to turn.

Usage: longspan chat MODEL [options]
  MODEL is a GGUF file or a Hugging Face folder with a chat template. Each line of standard input is
  a message, and its answer is written as it comes. A turn gives the tokens that the whole
  conversation gives as one prompt, and reads only what is new of it; a line on standard error says
  how much that was.

{}
  A message that begins with a slash needs a space before it. One for which the conversation has no
  room left is refused, and all stays as it was.
{}{}{}{})",
      chat_commands(), described(texts(conversation_options())),
      environment_note(conversation_options()[2]), kChatExamples, exit_codes());
}

std::string run_batch_help() {
  return str(
      R"(longspan run-batch: answer a file of requests, many at once, without a server.

Usage: longspan run-batch MODEL -i FILE.jsonl -o FILE.jsonl [options]
  MODEL is a GGUF file or a Hugging Face folder. Each line of the input is a request in OpenAI's
  batch format, to /v1/chat/completions or /v1/completions:
    {{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
     "body": {{"messages": [{{"role": "user", "content": "Why is the sky blue?"}}]}}}}
  Each is answered by a line of the output, in the order of the input, with the same custom_id. A
  line that cannot be answered has an error in its place, which says what to change.

  While it runs, answers are added as they come; what is answered is never lost. The same command
  goes on where the last one ended, on any number of ranks. Ctrl-C finishes what has begun and
  starts nothing new; a second one leaves at once. Under mpirun the first one leaves.
{}{}{}{})",
      described(run_batch_texts()), environment_note(batch_request_options()[0]), kRunBatchExamples,
      exit_codes());
}

std::string inspect_help() {
  return str(
      R"(longspan inspect: what a model file holds, without loading its weights.

Usage: longspan inspect MODEL [options]
  MODEL is a GGUF file or a Hugging Face folder. Printed are architecture, shapes, the Ulysses
  degrees and --tp that its heads allow, tensor types, tokenizer, chat template, context length and
  the bytes of KV that one token takes.
{}{}
Examples:
  longspan inspect model.gguf
  longspan inspect model.gguf --json
  longspan inspect model.gguf --write-manifest    # generate will tell if the file has changed
{})",
      described(texts(inspect_options())), environment_note(inspect_options()[0]), exit_codes());
}

std::string session_help() {
  return str(
      R"(longspan session: what the files of --session hold. Needs no model and no other ranks.

Usage: longspan session list DIR    [options]
       longspan session show FILE   [options]
       longspan session verify FILE [options]
  list    the sessions of a folder: tokens, bytes, KV type, when they were saved, model
  show    all that a session says of itself, but for what was said
  verify  compares every page with its checksum; exit code 65 and the first bad page where one
          differs
{}{}
Examples:
  longspan generate model.gguf --session report.session --prompt-file report.txt --max-tokens 64
  longspan session show report.session
{})",
      described(texts(session_options())), environment_note(session_options()[0]), exit_codes());
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
      described(texts(trace_merge_options())), environment_note(trace_merge_options()[0]),
      exit_codes());
}

}  // namespace longspan
