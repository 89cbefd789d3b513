#!/usr/bin/env python3
"""Reads a prompt of a million tokens, or as many as asked for, over several ranks.

    bench/long_prompt.py --binary build/release/launch/longspan [--tokens 1000000] [--ranks 4]

The model is a random Llama of 2 layers, hidden size 128 and two heads of 64, written for the run: what
is long is the prompt, so attention is nearly all of the work (tokens^2 / 2 pairs, twice: 5e14 FLOP for a
million). Progress is on standard error. Then, for each rank, the memory that was planned beside the
memory by which the process grew; they should agree within 5 %.

Exit codes: 0 read, and every rank within 5 %; 1 not.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests/launch"))
from tiny_model import TinyModel  # noqa: E402

HIDDEN, HEADS, LAYERS = 128, 2, 2
TOLERANCE = 0.05


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("options", nargs="*", help="more for longspan generate, behind --")
    return parser.parse_args()


def read_prompt(options, folder):
    """The answer's JSON object."""
    model, prompt = folder / "long.gguf", folder / "prompt.json"
    model.write_bytes(TinyModel(hidden=HIDDEN, heads=HEADS, kv_heads=HEADS, ffn=4 * HIDDEN,
                                context=options.tokens + 1).bytes())
    ids = random.Random(1)
    prompt.write_text(json.dumps([ids.randrange(256) for _ in range(options.tokens)]))
    words = ["mpirun", "-q", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle",
             "1", "-np", str(options.ranks), options.binary, "generate", str(model), "--prompt-ids",
             str(prompt), "--max-tokens", "1", "--ignore-eos", "--json", *options.options]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True,
                          env=dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1",
                                   OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1"))
    return json.loads(done.stdout)


def main():
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        answer = read_prompt(options, pathlib.Path(folder))
    seconds = answer["timings"]["prefill_s"]
    pairs = options.tokens * (options.tokens + 1) / 2
    flop = pairs * 4 * HIDDEN * LAYERS
    print(f"{answer['prompt_tokens']:,} tokens over {options.ranks} ranks by {answer['strategy']} in "
          f"{seconds:,.1f} s: {answer['prompt_tokens'] / seconds:,.0f} tokens/s, "
          f"{flop / seconds / 1e9:,.0f} GFLOP/s of attention")
    print(f"{'rank':<6}{'planned MB':>12}{'grown MB':>12}{'ratio':>8}")
    good = True
    for rank in answer["ranks"]:
        ratio = rank["resident_bytes"] / rank["planned_bytes"]
        good &= abs(ratio - 1) <= TOLERANCE
        print(f"{rank['rank']:<6}{rank['planned_bytes'] / 1e6:>12,.1f}"
              f"{rank['resident_bytes'] / 1e6:>12,.1f}{ratio:>8.3f}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
