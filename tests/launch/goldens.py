"""Compares `longspan generate` with the reference continuations, one configuration at a time.

    goldens.py --binary B --model M --goldens G --row DEGREE,LAYOUT,CHUNK,PAGE[,STRATEGY[+DECODE]]
               [--row ...] [--cases small|short|1k|3k|7k|NAME,NAME] [--keep spread|fewest] [--tokens N]
               [--table FILE]

A row is one configuration: the degree (and number of MPI ranks; 2x3: two instances of three ranks),
the layout, the tokens of a prefill chunk (0: whole) and of a page, and the prefill strategy (absent:
ring; usp:2 and double-ring:2x2 say the division; +sliced that decode is sliced, absent: shipped). Of the
64 tokens of a continuation the first N are compared, and its text where that is all of them. With
--table each row that agrees is appended to FILE, and rows that FILE already holds are skipped: a long
run may be stopped and started again.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time

SMALL = ["one-token", "short", "count", "unicode", "code", "chat", "gpl-1k"]
CASE_SETS = {"small": SMALL, "short": SMALL[:-1], "1k": SMALL[-1:], "3k": ["gpl-3k"],
             "7k": ["gpl-7k"]}
FIELDS = ["cases", "degree", "layout", "chunk", "page_tokens", "keep", "strategy", "same_ids",
          "max_dlogprob", "max_dnll", "seconds"]
MAX_DLOGPROB = 2e-3
MAX_DNLL = 1e-4


def command(options, row):
    degree, layout, chunk, page, strategy = row
    degree, _, tp = degree.partition("x")
    strategy, _, decode = strategy.partition("+")
    strategy, _, division = strategy.partition(":")
    line = [options.binary, "generate", options.model, "--json", "--ignore-eos", "--max-tokens",
            str(options.tokens),
            "--logprobs", "5", "--prompt-nll", "--layout", layout, "--page-tokens", page,
            "--keep", options.keep, "--threads", "1"]
    line += ["--strategy", strategy, "--decode-strategy", decode or "shipped"]
    if division:
        line += ["--ring-shape" if strategy == "double-ring" else "--ulysses-degree", division]
    line += ["--prefill-chunk", chunk if chunk != "0" else "1M"]
    if tp:
        line += ["--tp", tp]
    if degree == "0":  # without mpirun
        return line
    return ["mpirun", "-q", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle",
            "1", "-np", str(int(degree) * int(tp or 1))] + line


def run(options, row, cases):
    """The answers to `cases`, in order."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as prompts:
        for case in cases:
            print(json.dumps({"prompt": case["text"]}), file=prompts)
        prompts.flush()
        environment = dict(os.environ, OMPI_MCA_pml="ob1", OMPI_ALLOW_RUN_AS_ROOT="1",
                           OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", LONGSPAN_CALIBRATE="off",
                           LONGSPAN_DTYPE="float32", LONGSPAN_BACKEND="cpu")
        done = subprocess.run(command(options, row) + ["--prompts", prompts.name], text=True,
                              capture_output=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"row {row}: exit code {done.returncode}\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare(case, answer, tokens):
    """(what differs or None, largest |d logprob|, |d nll|)"""
    dlogprob = max(abs(token["logprob"] - golden)
                   for token, golden in zip(answer["logprobs"], case["logprobs"]))
    dnll = abs(answer["prompt_nll"] - case["prompt_nll"])
    wrong = None
    if answer["prompt_ids"] != case["prompt_ids"]:
        wrong = "prompt ids differ"
    elif answer["ids"] != case["ids"][:tokens]:
        at = next(i for i, (a, b) in enumerate(zip(answer["ids"] + [None], case["ids"])) if a != b)
        wrong = f"token {at} differs"
    elif tokens == len(case["ids"]) and answer["text"] != case["output_text"]:
        wrong = "text differs"
    elif not dlogprob <= MAX_DLOGPROB:
        wrong = f"a log-probability is off by {dlogprob:.2g}"
    elif not dnll <= MAX_DNLL:
        wrong = f"prompt_nll is off by {dnll:.2g}"
    return wrong, dlogprob, dnll


def finished_rows(table):
    if not table or not os.path.exists(table):
        return set()
    with open(table, newline="") as file:
        return {tuple(row.get(f, "ring") for f in FIELDS[:7]) for row in csv.DictReader(file)}


def append(table, row):
    new = not os.path.exists(table)
    with open(table, "a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def new_parser(description):
    """The arguments of every comparison with the references."""
    parser = argparse.ArgumentParser(description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--goldens", required=True)
    parser.add_argument("--row", action="append", required=True)
    parser.add_argument("--cases", default="small")
    parser.add_argument("--keep", default="spread")
    parser.add_argument("--tokens", type=int, default=64)
    return parser


def read_cases(options):
    """The cases asked for, in order."""
    for path in (options.binary, options.model, options.goldens):
        if not os.path.isfile(path):
            sys.exit(f"there is no file '{path}'; scripts/test builds, fetches and passes all three")
    with open(options.goldens) as file:
        goldens = {case["name"]: case for case in json.load(file)["cases"]}
    names = CASE_SETS.get(options.cases) or options.cases.split(",")
    return [goldens[name] for name in names]


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--table")
    options = parser.parse_args()
    cases = read_cases(options)
    done = finished_rows(options.table)
    failed = 0
    for text in options.row:
        row = (text if text.count(",") == 4 else text + ",ring").split(",")
        if (options.cases, *row[:4], options.keep, row[4]) in done:
            continue
        start = time.monotonic()
        answers = run(options, row, cases)
        seconds = time.monotonic() - start
        results = [compare(case, answer, options.tokens)
                   for case, answer in zip(cases, answers, strict=True)]
        dlogprob = max(r[1] for r in results)
        dnll = max(r[2] for r in results)
        for case, result in zip(cases, results):
            if result[0]:
                failed += 1
                print(f"row {text}, case {case['name']}: {result[0]}", flush=True)
        same = all(a["ids"] == c["ids"][:options.tokens] for a, c in zip(answers, cases))
        print(f"{options.cases:6} degree {row[0]} {row[1]:12} chunk {row[2]:>4} page {row[3]:>3} "
              f"{options.keep} {row[4]}: same ids {same}, |d logprob| {dlogprob:.2g}, |d nll| {dnll:.2g}, "
              f"{seconds:.1f} s", flush=True)
        if options.table and not any(result[0] for result in results):
            append(options.table, dict(zip(FIELDS, [
                options.cases, *row[:4], options.keep, row[4], int(same), f"{dlogprob:.3g}", f"{dnll:.3g}",
                f"{seconds:.1f}"])))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
