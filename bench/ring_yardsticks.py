#!/usr/bin/env python3
"""Causal attention over several GPUs, beside the fastest that PyTorch programs do, in turn.

Ours is `longspan bench attention` under mpirun, once for each --link, and on one GPU alone, whose rate
at the same length is what several should each keep: 0.95 of it from 32,768 tokens on. Theirs are the
two programs of bench/torch_rings.py, whose results are checked before they are timed.

bfloat16, 32 query and 8 KV heads of 128, random data, one chunk without cached tokens, zigzag. Each point
lasts --seconds in every round, and rounds alternate, so that clock and heat are the same for all; but
of a long one longspan takes three batches, and it takes all strategies in the first round only, then
the fastest. Prints TFLOP/s of each GPU last, in one table; --json FILE keeps every round. What is missing,
fails or is wrong is said and left out.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import statistics
import sys

sys.dont_write_bytecode = True
from longspan_runs import ended, last_words, under_mpirun

QUERY_HEADS, KV_HEADS, HEAD = 32, 8, 128
THEIRS = ("gather-fa3", "context-parallel")
ALONE = "longspan alone"
BAR, BAR_FROM = 0.95, 32768  # of one GPU's rate; tokens
SLOW = 400e12  # FLOP/s of a GPU that is slower than those there are
# Rivals of a point: the ideal, three strategies of zigzag, and two of them again.
RIVALS, BATCHES, WARMING = 6, 15, 2
LONG = 30  # seconds of a point of which longspan takes fewer batches
PROGRAMS = pathlib.Path(__file__).resolve().parent / "torch_rings.py"


def flop(tokens, ranks):
    """Of each GPU."""
    return 2 * QUERY_HEADS * HEAD * tokens * tokens / ranks


class Programs:
    """What is measured, by name; `said`: what went wrong, once each."""

    def __init__(self, options):
        self.options = options
        self.said = []
        self.strategies = {}  # of each of ours and length, the fastest of the first round
        self.by_name = {f"longspan {link}": lambda link=link: self.ours(options.ranks, link) for link in options.link}
        self.by_name[ALONE] = lambda: self.ours(1, "")
        if importlib.util.find_spec("torch"):
            self.by_name |= {name: lambda name=name: self.theirs(name) for name in THEIRS}
        else:
            self.say("no PyTorch: longspan alone is measured")

    def say(self, what):
        if what not in self.said:
            self.said.append(what)
            print(what, flush=True)

    def ours(self, ranks, link):
        """{tokens: seconds of the fastest strategy}"""
        name, seconds = f"longspan {link}" if link else ALONE, {}
        for tokens in sorted(self.options.tokens):
            done = ended(under_mpirun(ranks, self.bench_line(name, ranks, tokens, link)), self.options.limit)
            if done.returncode != 0:
                self.say(f"{name}, {tokens} tokens: {last_words(done)}")
                continue
            chunk, = json.loads(done.stdout)["chunks"]
            fastest = min(chunk["strategies"], key=lambda one: one["seconds"])
            # "usp 2 x 2" is asked for as usp.
            self.strategies.setdefault((name, tokens), fastest["strategy"].split()[0])
            seconds[tokens] = fastest["seconds"]
        return seconds

    def bench_line(self, name, ranks, tokens, link):
        expected = flop(tokens, ranks) / SLOW
        long = RIVALS * (BATCHES + WARMING) * expected > LONG
        strategy = self.strategies.get((name, tokens))
        if not strategy and RIVALS * (3 + WARMING) * expected > self.options.limit:  # that of a shorter one
            strategy = next((one for (of, _), one in reversed(self.strategies.items()) if of == name), None)
        return [self.options.binary, "bench", "attention", "--backend", "cuda", "--json", "--heads",
                f"{QUERY_HEADS}/{KV_HEADS}x{HEAD}", "--dtype", "bfloat16", "--calibrate", "off",
                "--seconds", 0.01 if long else self.options.seconds, "--tokens", tokens,
                *(["--layout", "zigzag", "--gpu-link", link, "--strategy", strategy or self.options.strategy]
                  if ranks > 1 else ["--layout", "contiguous"])]

    def theirs(self, name):
        done = ended([sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", self.options.ranks, PROGRAMS,
                      name, "--seconds", self.options.seconds, "--tokens", *sorted(self.options.tokens)],
                     self.options.limit, NCCL_NVLS_ENABLE="0")
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        for line in lines:
            for key, what in (("refused", "left out: "), ("as", "measured: ")):
                if key in line:
                    self.say(f"{name}: {what}{line[key]}")
        if done.returncode != 0:
            self.say(f"{name}: {last_words(done)}")
        return {line["tokens"]: line["seconds"] for line in lines if "tokens" in line}


def cell(value, places=0, width=8):
    return f"{value:{width}.{places}f}" if value else f"{'-':>{width}}"


def print_table(ranks, rates):
    """`rates`: {program: {tokens: TFLOP/s of each GPU, one a round}}"""
    print(f"causal attention over {ranks} GPUs, TFLOP/s of each; ratio: ours over the better of theirs; "
          f"kept: over ours alone, bar {BAR} from {BAR_FROM} tokens")
    print(f"{'tokens':>8}" + "".join(f"{name:>18}" for name in rates) + f"{'ratio':>8}{'kept':>8}")
    for tokens in sorted({tokens for by_tokens in rates.values() for tokens in by_tokens}):
        median = {name: statistics.median(by_tokens.get(tokens) or [0]) for name, by_tokens in rates.items()}
        best = max(rate for name, rate in median.items() if name not in (ALONE, *THEIRS))
        other = max(median.get(name, 0) for name in THEIRS)
        ratio, kept = (best / one if one else 0 for one in (other, median[ALONE]))
        verdict = "" if not kept or tokens < BAR_FROM else "  met" if kept >= BAR else "  missed"
        print(f"{tokens:8}" + "".join(cell(rate, 0, 18) for rate in median.values()) + cell(ratio, 3) + cell(kept, 3)
              + verdict, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--tokens", type=int, nargs="+", default=[16384, 32768, 65536, 131072, 262144],
                        help="of all GPUs together")
    parser.add_argument("--binary", default="build/cuda/launch/longspan")
    parser.add_argument("--link", nargs="+", default=["peer"], choices=["nccl", "peer"])
    parser.add_argument("--strategy", default="all", help="as longspan has them; the fastest counts")
    parser.add_argument("--seconds", type=float, default=2.0, help="that each point lasts in each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--limit", type=int, default=240,
                        help="seconds before a program is given up: longspan of one length, theirs of all")
    parser.add_argument("--json", help="a file for all that was measured")
    options = parser.parse_args()
    if options.ranks < 2:
        parser.error("one GPU has nobody to share with: --ranks 2")
    if not os.access(options.binary, os.X_OK):
        sys.exit(f"ring_yardsticks: there is no {options.binary}")

    programs = Programs(options)
    rates = {name: {tokens: [] for tokens in options.tokens} for name in programs.by_name}
    for _ in range(options.rounds):
        for name, program in programs.by_name.items():
            gpus = 1 if name == ALONE else options.ranks
            for tokens, seconds in program().items():
                rates[name][tokens].append(flop(tokens, gpus) / seconds / 1e12)
            if options.json:
                with open(options.json, "w") as file:
                    json.dump({"ranks": options.ranks, "tflops": rates, "said": programs.said}, file, indent=1)
    print_table(options.ranks, rates)
    return 0


if __name__ == "__main__":
    sys.exit(main())
