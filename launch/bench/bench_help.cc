#include "launch/bench/bench_help.h"

#include "comm/str.h"
#include "launch/bench/bench_option_table.h"
#include "launch/help_text.h"

namespace longspan {

std::string bench_help() {
  return str(
      R"(longspan bench: how fast this machine does what longspan does, beside yardsticks of the same run.

Usage: longspan bench WHAT [options], alone or under mpirun or srun

What:
  attention   a chunk's attention over the ranks, by layout and strategy; how good the choice is
  decode      attention of rows of one token each over keys on all ranks, by decode strategy
  comm        messages round the ranks, all at once
  load MODEL  from a model's files to weights in memory
  model MODEL a whole model that reads prompts and writes answers

Each figure is repeated in steady state, all ranks beginning together; the slowest rank counts, and
the median. A ratio of 1.00 is as good as the yardstick. Only load and model need a model: other
data is random. All but load also measure GPUs (--backend); what memory allows is there what copying
moves, bytes read and written together.

Examples:
  mpirun -np 4 --bind-to none longspan bench attention --layout all --plot share.svg
  mpirun -np 4 --bind-to none longspan bench comm
  longspan bench model model.gguf --tokens 512,2048
  longspan bench attention --help
{})",
      exit_codes());
}

std::string bench_attention_help() {
  return str(
      R"(longspan bench attention: a chunk's attention over the ranks, by layout and strategy.

Usage: longspan bench attention [options], alone or under mpirun or srun
  One layer of attention over random queries and keys, for each number of tokens, layout and legal
  strategy. Beside the time of each:
    ideal      the same time, were the work shared evenly and all keys in place: an even share of
               the rows and pairs, on all ranks at once, without messages; share = ideal / time
    predicted  what the cost model expects; * marks the strategy that it chooses
  At the end the regret: how much longer what was chosen took than the fastest. One rank alone also
  prints GFLOP/s beside those of a large matrix product with the same threads.
{}{}
Examples:
  What layouts and strategies cost here, with a drawing:
    mpirun -np 4 --bind-to none longspan bench attention --layout all --plot share.svg

  How good the choice is over a slow link, on 20 random chunks:
    mpirun -np 3 --bind-to none longspan bench attention --random 20 --throttle-link 25M

  The kernels alone, at the heads of Llama 3 8B:
    longspan bench attention --heads 32/8x128 --tokens 1K,4K

  What eight ranks should take, from what two measured, without any rank:
    mpirun -np 2 --bind-to none longspan bench attention --json > two.json
    longspan bench attention --predict two.json --degree 8 --layout all
{})",
      described(texts(bench_attention_options())), environment_note(bench_attention_options()[0]),
      exit_codes());
}

std::string bench_decode_help() {
  return str(
      R"(longspan bench decode: rows of one token each over keys on all ranks, by decode strategy.

Usage: longspan bench decode [options], alone or under mpirun or srun
  The attention of one layer, for each length of context and number of rows. Beside the time:
    GB/s   of keys and values that each rank reads, on average, and its ratio to what the ranks
           read of plain memory, all at once
    alone  the time of the same keys where they are, without messages; share = alone / time
  mirrored and sliced ranks hold the queries already; what that costs other layers is not in here.
{}{}
Examples:
  mpirun -np 4 --bind-to none longspan bench decode --context 8K,64K --rows 1,16
  mpirun -np 2 --bind-to none longspan bench decode --heads 32/8x128 --throttle-link 1.25G,200us
{})",
      described(texts(bench_decode_options())), environment_note(bench_decode_options()[0]),
      exit_codes());
}

std::string bench_comm_help() {
  return str(
      R"(longspan bench comm: messages round the ranks, all at once.

Usage: longspan bench comm [options], alone or under mpirun or srun
  Every rank sends to the next and receives from the one before at the same time. Beside the bytes
  per second in each direction: what every rank copies in memory at once, with the same threads.
  Small messages there and back stand beside handing over between two streams of one rank, twice:
  at once, and after a millisecond of work, when the other rank has been waiting, as in decode.
{}{}
Examples:
  mpirun -np 4 --bind-to none longspan bench comm
  mpirun -np 2 --bind-to none longspan bench comm --bytes 64K,1M --throttle-link 1.25G,200us
{})",
      described(texts(bench_comm_options())), environment_note(bench_comm_options()[0]),
      exit_codes());
}

std::string bench_load_help() {
  return str(
      R"(longspan bench load: how long a model takes from its files to weights that can be used.

Usage: longspan bench load MODEL [options], alone or under mpirun or srun
  One rank of each host reads, dequantises and packs, with the threads of all its ranks; the others
  map what it made. Files come from the page cache. Loading takes turns with the yardstick, as many
  threads that read the same tensors and dequantise them into new memory, and with the same where
  nothing is kept; the best of each counts, since other work of the machine only adds to them. More
  --seconds, more turns.
{}{}
Examples:
  longspan bench load model.gguf --seconds 20
  mpirun -np 4 --bind-to none longspan bench load model-folder --dtype float32
{})",
      described(texts(bench_load_options())), environment_note(bench_load_options()[0]),
      exit_codes());
}

std::string bench_model_help() {
  std::vector<OptionText> options = texts(bench_model_options());
  for (const OptionText& option : texts(bench_model_run_options())) options.push_back(option);
  return str(
      R"(longspan bench model: how fast a whole model reads prompts and writes answers.

Usage: longspan bench model MODEL [options], alone or under mpirun or srun
  MODEL is a GGUF file or a Hugging Face folder; with --load-format dummy a folder with no more than
  a config.json will do. For each length a prompt of random tokens is read and an answer written, as
  generate does and with its options, each time another prompt. The first run of each length does
  not count; of the others the median does. Beside the time of
    read    from the prompt's submission to the first token: what its products and its attention
            take at the rate of one large matrix product, made by all ranks at once
    token   each further token, on average of an answer: what reading all weights, and the keys and
            values before it, takes at the rate of memory; on GPUs that of a copy
  Both rates are measured first, in the same run. ratio = yardstick / figure: 1.00 is as fast. Small
  models, and short contexts, fit into caches, which are faster than memory: ratios may exceed it.
{}{}
Examples:
  longspan bench model model.gguf --tokens 512,2048 --answer 64
  mpirun -np 4 --bind-to none longspan bench model model.gguf --decode-strategy sliced
  mpirun -np 2 longspan bench model folder --load-format dummy --backend cuda --tokens 32K,128K
{})",
      described(options), environment_note(bench_model_options()[0]), exit_codes());
}

}  // namespace longspan
