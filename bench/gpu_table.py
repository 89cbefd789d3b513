#!/usr/bin/env python3
"""What scripts/gpu-check measured, in one table: each figure beside its yardstick of the same run.

Usage: python3 bench/gpu_table.py FOLDER PART...

Reads PART.json of each part: prefill, attention, model (and model_yardsticks.json), decode and comm. The ratio
says how many times as good as the yardstick ours is, be it a rate or a time. A part that left nothing
is named, and so is a yardstick that was not there.
"""
import json
import pathlib
import statistics
import sys
import typing

sys.dont_write_bytecode = True


HEAD = ("part", "what", "ours", "yardstick", "unit", "ratio", "yardstick is")


class Row(typing.NamedTuple):
    what: str
    unit: str
    ours: float
    yardstick: typing.Optional[float] = None
    name: str = "none"
    less_is_better: bool = False

    def cells(self, part):
        theirs, ratio = "-", "-"
        if self.yardstick:
            theirs, ratio = f"{self.yardstick:.2f}", f"{(self.ours / self.yardstick) ** (1 - 2 * self.less_is_better):.3f}"
        return part, self.what, f"{self.ours:.2f}", theirs, self.unit, ratio, self.name


def table(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.rjust(width) if name in ("ours", "yardstick", "ratio") else cell.ljust(width)
                               for cell, width, name in zip(row, widths, HEAD)).rstrip() for row in rows)


def best(named, less_is_better=False):
    """(value, name) of the best of {name: value}, or nothing and "none"."""
    choose = min if less_is_better else max
    name = choose(named, key=named.get, default=None)
    return (named[name], name) if name else (None, "none")


def prefill(folder):
    for point in read(folder, "prefill")["points"]:
        rates = {name: statistics.median(one["tflops"] for one in runs)
                 for name, runs in point["results"].items() if runs}
        theirs = {name: rates.pop(name) for name in ("cudnn", "fa3") if name in rates}
        what = f"{point['tokens']} tokens, {'causal' if point['causal'] else 'full'}"
        for rung, rate in rates.items():
            yield Row(what if rung == "fetching" else f"{what}, {rung}", "TFLOP/s", rate, *best(theirs))


def attention(folder):
    found = read(folder, "attention")
    rates = {name: {int(tokens): statistics.median(rounds) for tokens, rounds in by_tokens.items() if rounds}
             for name, by_tokens in found["tflops"].items()}
    alone = rates.pop("longspan alone")
    ours = [by_tokens for name, by_tokens in rates.items() if name.startswith("longspan ")]
    theirs = {name: by_tokens for name, by_tokens in rates.items() if not name.startswith("longspan ")}
    for tokens in sorted({tokens for by_tokens in ours for tokens in by_tokens}):
        rate = max(by_tokens[tokens] for by_tokens in ours if tokens in by_tokens)
        what = f"{tokens} tokens on {found['ranks']} GPUs"
        beside = {name: by_tokens[tokens] for name, by_tokens in theirs.items() if tokens in by_tokens}
        if beside or tokens not in alone:
            yield Row(what, "TFLOP/s each", rate, *best(beside))
        if tokens in alone:
            yield Row(what, "TFLOP/s each", rate, alone[tokens], "ours on one GPU")


def model(folder):
    theirs = read(folder, "model_yardsticks") or []
    for run in read(folder, "model"):
        for key, unit, scale in (("prefill_s", "s of prefill", 1), ("token_s", "ms a token", 1e3)):
            beside = {f"transformers, {one['attention']}": scale * one[key] for one in theirs
                      if one["tokens"] == run["tokens"]}
            yield Row(f"{run['tokens']} tokens, 8B shape", unit, scale * run[key], *best(beside, True), True)


def decode(folder):
    for line in read(folder, "decode")["lines"]:
        yield Row(f"{line['kernel']} {line['shape']}", line["unit"], line["figure"], line["yardstick"], "copying")


def comm(folder):
    found = read(folder, "comm")
    for one in found["messages"]:
        yield Row(f"{one['bytes']} bytes to the next", "GB/s", 1e-9 * one["bytes_per_s"],
                  1e-9 * one["copy_bytes_per_s"], "copying")
    for one in found["round_trips"]:
        after = f", after {1e6 * one['after_work_s']:.0f} us" if one["after_work_s"] else ""
        yield Row(f"{one['bytes']} bytes there and back{after}", "us", 1e6 * one["seconds"],
                  1e6 * one["yardstick_s"], "two hand-overs of streams", True)


PARTS = {part.__name__: part for part in (prefill, attention, model, decode, comm)}


def read(folder, name):
    """What a file has, or nothing: it is not there, or what wrote it failed on the way."""
    try:
        return json.loads((folder / f"{name}.json").read_text())
    except (OSError, ValueError):
        return None


def main(arguments):
    if arguments[:1] == ["--help"]:
        print(__doc__.strip())
        return 0
    if len(arguments) < 2 or any(part not in PARTS for part in arguments[1:]):
        print("gpu_table: see python3 bench/gpu_table.py --help", file=sys.stderr)
        return 2
    folder, rows, missing = pathlib.Path(arguments[0]), [HEAD], []
    for part in arguments[1:]:
        if read(folder, part) is None:
            missing.append(part)
        else:
            rows += [row.cells(part) for row in PARTS[part](folder)]
    if missing:
        print(f"not measured: {', '.join(missing)}")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
