"""Compares `longspan generate` at rounded precision with the reference continuations.

    rounded_goldens.py --binary B --model M --goldens G --row DEGREE,LAYOUT,CHUNK,PAGE,STRATEGY [--row ...]
                       [--cases small|short|1k|3k|7k|NAME,NAME] [options of longspan generate, behind --]

The reference's ids are forced, and what the model says of them is compared along that path, case by
case: the mean of |d log-probability| <= 0.05 and the largest <= 0.3, the prompt's mean within 0.05,
and the likeliest id the reference's wherever its lead over the second is above 0.3.
"""

import json
import os
import subprocess
import sys
import tempfile

import goldens

MEAN_DLOGPROB, MAX_DLOGPROB, MAX_DNLL, CLEAR_LEAD = 0.05, 0.3, 0.05, 0.3


def answer_to(case, line):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as ids:
        json.dump(case["ids"], ids)
        ids.flush()
        done = subprocess.run(
            [*line, "--prompt", case["text"], "--force-ids", ids.name], text=True,
            capture_output=True, env=dict(os.environ, OMPI_MCA_pml="ob1", OMPI_ALLOW_RUN_AS_ROOT="1",
                                          OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                                          LONGSPAN_CALIBRATE="off", LONGSPAN_DTYPE="float32",
                                          LONGSPAN_BACKEND="cpu"))
    if done.returncode != 0:
        sys.exit(f"{' '.join(line)}: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def clear_choices_lost(case, answer):
    """Steps where the reference was sure and the answer's likeliest id is another."""
    lost = 0
    for id_, (_, logprobs), token in zip(case["ids"], case["top5"], answer["logprobs"]):
        clear = logprobs[0] - logprobs[1] > CLEAR_LEAD
        lost += clear and token["top"][0]["id"] != id_
    return lost


def compare(case, answer):
    """(what differs or None, mean |d logprob|, largest, |d nll|)"""
    off = [abs(token["logprob"] - golden)
           for token, golden in zip(answer["logprobs"], case["logprobs"], strict=True)]
    mean, largest = sum(off) / len(off), max(off)
    dnll = abs(answer["prompt_nll"] - case["prompt_nll"])
    lost = clear_choices_lost(case, answer)
    wrong = None
    if answer["prompt_ids"] != case["prompt_ids"]:
        wrong = "prompt ids differ"
    elif not (mean <= MEAN_DLOGPROB and largest <= MAX_DLOGPROB):
        wrong = f"log-probabilities are off by {mean:.2g} on average, {largest:.2g} at most"
    elif not dnll <= MAX_DNLL:
        wrong = f"prompt_nll is off by {dnll:.2g}"
    elif lost:
        wrong = f"{lost} clear choices differ"
    return wrong, mean, largest, dnll


def main():
    parser = goldens.new_parser(__doc__)
    parser.add_argument("more", nargs="*", help="options of longspan generate")
    options = parser.parse_args()
    cases = goldens.read_cases(options)
    failed = 0
    for row in options.row:
        line = goldens.command(options, row.split(",")) + options.more
        results = [compare(case, answer_to(case, line)) for case in cases]
        for case, (wrong, *_) in zip(cases, results):
            if wrong:
                failed += 1
                print(f"row {row}, case {case['name']}: {wrong}", flush=True)
        mean, largest, dnll = (max(result[i] for result in results) for i in (1, 2, 3))
        print(f"{options.cases:6} {row} {' '.join(options.more)}: |d logprob| mean {mean:.2g}, "
              f"largest {largest:.2g}, |d nll| {dnll:.2g}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
