#!/usr/bin/env python3
"""Many requests at once beside llama.cpp's, in one run on one machine.

    bench/batch_bench.py --binary build/release/launch/longspan --model MODEL.gguf
        [--requests 48] [--parallel 4 8 16] [--dtype float32|bfloat16] [--threads 2]

Each request is 512 tokens to read, all different, and 128 to write. longspan answers them by
run-batch, its start and loading counted. llama.cpp, on the same weights at the same type, batches
them through llama_decode: as many slots as --parallel says, over one KV cache for all, with flash
attention; whoever ends makes room for the next prompt, which is read beside the others' tokens. Its
loading is not counted, and the best number of slots is the yardstick. Both take the likeliest
token, and pass over the end of text.

Needs the Python packages llama-cpp-python, gguf and numpy, as model_bench.py does.
"""

import argparse
import ctypes
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from model_bench import cpu_name, write_as  # noqa: E402

READ, WRITTEN = 512, 128
VOCABULARY = 49152
BATCH = 2048  # tokens of a llama_decode at most


def prompts(count):
    draw = random.Random(1)
    return [[draw.randrange(100, VOCABULARY) for _ in range(READ)] for _ in range(count)]


def rate(count, seconds):
    return count * (READ + WRITTEN) / seconds


def run_longspan(options, requests, folder):
    """Tokens read and written per second of the whole command."""
    source, target = os.path.join(folder, "in.jsonl"), os.path.join(folder, "out.jsonl")
    with open(source, "w") as file:
        for i, ids in enumerate(requests):
            body = {"prompt": ids, "max_tokens": WRITTEN, "ignore_eos": True, "temperature": 0}
            file.write(json.dumps({"custom_id": str(i), "method": "POST", "url": "/v1/completions",
                                   "body": body}) + "\n")
    begun = time.perf_counter()
    subprocess.run([options.binary, "run-batch", options.model, "-i", source, "-o", target,
                    "--restart", "--threads", str(options.threads), "--dtype", options.dtype],
                   check=True, capture_output=True)
    seconds = time.perf_counter() - begun
    with open(target) as file:
        usage = [json.loads(line)["response"]["body"]["usage"] for line in file]
    if [(one["prompt_tokens"], one["completion_tokens"]) for one in usage] != (
            [(READ, WRITTEN)] * len(requests)):
        sys.exit("longspan read or wrote other numbers of tokens than were asked for")
    return rate(len(requests), seconds)


class Slots:
    """llama.cpp's side of continuous batching: sequences that share one context."""

    def __init__(self, llama, context, requests, parallel):
        self.llama, self.context = llama, context
        self.waiting = list(reversed(requests))
        self.batch = llama.llama_batch_init(BATCH, 0, parallel)
        self.running = {}  # slot: [tokens to compute, position of the first, tokens written]
        self.free = list(range(parallel))

    def add(self, token, position, slot, wants_logits):
        at = self.batch.n_tokens
        self.batch.token[at], self.batch.pos[at] = token, position
        self.batch.n_seq_id[at], self.batch.seq_id[at][0] = 1, slot
        self.batch.logits[at] = wants_logits
        self.batch.n_tokens = at + 1
        return at

    def step(self, numpy):
        self.batch.n_tokens = 0
        while self.free and self.waiting:
            self.running[self.free.pop()] = [self.waiting.pop(), 0, 0]
        rows = {}
        # Those that write first, then as much of prompts as fits.
        for slot, state in sorted(self.running.items(), key=lambda item: len(item[1][0])):
            tokens, first, _ = state
            taken = min(len(tokens), BATCH - self.batch.n_tokens)
            for i in range(taken):
                row = self.add(tokens[i], first + i, slot, i + 1 == len(tokens))
            if taken == len(tokens):
                rows[slot] = row
            state[0], state[1] = tokens[taken:], first + taken
        if self.llama.llama_decode(self.context, self.batch) != 0:
            sys.exit("llama.cpp could not decode")
        for slot, row in rows.items():
            logits = numpy.ctypeslib.as_array(
                self.llama.llama_get_logits_ith(self.context, row), shape=(VOCABULARY,))
            state = self.running[slot]
            state[0], state[2] = [int(logits.argmax())], state[2] + 1
            if state[2] == WRITTEN:
                memory = self.llama.llama_get_memory(self.context)
                self.llama.llama_memory_seq_rm(memory, slot, -1, -1)
                del self.running[slot]
                self.free.append(slot)


def llama_child(path, count, parallel, threads):
    """In a process of its own: prints its rate."""
    import llama_cpp as llama
    import numpy

    llama.llama_backend_init()
    silent = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(silent, ctypes.c_void_p(0))
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    parameters = llama.llama_context_default_params()
    parameters.n_ctx = parallel * (READ + WRITTEN + 64)
    parameters.n_batch, parameters.n_ubatch, parameters.n_seq_max = BATCH, 512, parallel
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.flash_attn_type, parameters.kv_unified = 1, True
    slots = Slots(llama, llama.llama_init_from_model(model, parameters), prompts(count), parallel)
    begun = time.perf_counter()
    while slots.waiting or slots.running:
        slots.step(numpy)
    print(rate(count, time.perf_counter() - begun))


def run_llama(path, count, parallel, threads):
    done = subprocess.run([sys.executable, __file__, "--llama", path, str(count), str(parallel),
                           str(threads)], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main():
    if sys.argv[1:2] == ["--llama"]:
        llama_child(sys.argv[2], *map(int, sys.argv[3:6]))
        return
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True, help="of a vocabulary as SmolLM2's")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--parallel", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        same = os.path.join(folder, "same.gguf")
        write_as(options.dtype, options.model, same)
        ours = run_longspan(options, prompts(options.requests), folder)
        theirs = {parallel: run_llama(same, options.requests, parallel, options.threads)
                  for parallel in options.parallel}
    if options.json:
        print(json.dumps({"longspan": ours, "llama.cpp": theirs, "requests": options.requests}))
        return
    best = max(theirs, key=theirs.get)
    print(f"{cpu_name()}, {options.threads} threads; {options.dtype}, {options.requests} requests "
          f"of {READ} tokens to read and {WRITTEN} to write")
    print(f"{'tokens/s, read and written':44} {'figure':>12} {'yardstick':>12} {'ratio':>8}")
    print(f"{f'run-batch | llama.cpp, {best} at once':44} {ours:12.1f} {theirs[best]:12.1f} "
          f"{ours / theirs[best]:8.2f}")
    print("llama.cpp: " + ", ".join(f"{n} at once {value:.1f}" for n, value in theirs.items()))


if __name__ == "__main__":
    main()
