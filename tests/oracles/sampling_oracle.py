#!/usr/bin/env python3
"""Compares which tokens may be drawn, and how probably, with Hugging Face transformers.

    sampling_oracle.py DRAW_LINES [--cases N] [--seed S]

Random logits, ties and -inf among them, under random settings and those at the edges. The reference
is `expected` below: the formulas of transformers' logits processors and, for the two penalties that
it does not have, of OpenAI's API and vLLM. Where torch and transformers can be imported (CI has no
room for them), each case is also put to transformers itself, with its own order of processors.

Equally good tokens at the border of top-p may be others: which of them stay is up to the sort in
transformers; here those with lower ids. So of equals only the number is compared.

Ends with 1 if a case differs.
"""

import argparse
import json
import subprocess
import sys

import numpy as np

try:
    import torch
    import transformers
except ImportError:
    transformers = None

TINY = 1e-12  # a part of [0, 1) this short may not be found
NEAR = 1e-5  # float32 logits may fall on either side of a border this near

DEFAULTS = {
    "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0,
    "presence_penalty": 0.0, "frequency_penalty": 0.0, "bias": [], "min_tokens": 0, "stops": [],
    "prompt": [], "written": [],
}
EDGES = [
    {"top_k": 1}, {"top_k": 2}, {"top_k": 10**6}, {"top_k": -1}, {"top_p": 1e-9}, {"top_p": 1e-3},
    {"top_p": 1 - 1e-9}, {"min_p": 1.0}, {"min_p": 1e-9}, {"temperature": 0.0},
    {"temperature": 1e-6}, {"temperature": 2.0}, {"top_k": 1, "top_p": 1e-9, "min_p": 1.0},
    {"temperature": 1e-3, "top_k": 5, "top_p": 0.5, "min_p": 0.5}, {"repetition_penalty": 10.0},
    {"repetition_penalty": 0.1}, {"presence_penalty": 2.0, "frequency_penalty": -2.0},
]


def random_logits(rng):
    """Of a few tokens mostly; of more than are sorted at once sometimes."""
    size = int(rng.choice([1, 2, 3, 8, 24, 150], p=[0.05, 0.1, 0.1, 0.35, 0.37, 0.03]))
    logits = rng.normal(0, rng.choice([0.01, 1, 4, 30]), size)
    kind = rng.integers(5)
    if kind == 0:
        logits = np.round(logits)  # ties
    elif kind == 1:
        logits[:] = logits[0]
    elif kind == 2:
        logits[rng.random(size) < 0.3] = -np.inf
        logits[rng.integers(size)] = 0.5
    return logits.astype(np.float32)


def random_setting(rng, size):
    setting = dict(DEFAULTS)
    if rng.random() < 0.5:
        setting["temperature"] = float(rng.choice([0.1, 0.5, 0.7, 1.3, 2.0]))
    if rng.random() < 0.4:
        setting["top_k"] = int(rng.integers(1, size + 3))
    if rng.random() < 0.5:
        setting["top_p"] = float(rng.choice([0.01, 0.3, 0.5, 0.9, 0.95, 0.999]))
    if rng.random() < 0.4:
        setting["min_p"] = float(rng.choice([0.01, 0.05, 0.3, 0.9]))
    if rng.random() < 0.4:
        setting["repetition_penalty"] = float(rng.choice([0.5, 1.05, 1.3, 3.0]))
    if rng.random() < 0.3:
        setting["presence_penalty"] = float(rng.choice([-2, -0.5, 0.25, 2]))
        setting["frequency_penalty"] = float(rng.choice([0, -0.5, 0.25, 2]))
    if rng.random() < 0.2:
        ids = rng.choice(size, min(size, 3), replace=False)
        setting["bias"] = [[int(i), float(rng.choice([-100, -1, 0.5, 7]))] for i in ids]
    if rng.random() < 0.2 and size > 1:
        setting["min_tokens"], setting["stops"] = 4, [int(rng.integers(size))]
    return setting


def random_case(rng, number):
    logits = random_logits(rng)
    setting = random_setting(rng, len(logits))
    if number % 3 == 0:
        setting.update(EDGES[number // 3 % len(EDGES)])
    for who, most in (("prompt", 9), ("written", 7)):
        setting[who] = [int(i) for i in rng.integers(0, len(logits), rng.integers(1, most))]
    left = np.isfinite(logits)
    if setting["min_tokens"] > len(setting["written"]):
        left[setting["stops"]] = False
    return {**setting, "logits": logits} if left.any() else random_case(rng, number)


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def adjusted(case):
    """Bias, penalties, and no stop before its time; with_presence() is what transformers lacks."""
    scores = case["logits"].astype(np.float64)
    for i, bias in case["bias"]:
        scores[i] += bias
    seen = sorted(set(case["prompt"] + case["written"]))
    penalty = case["repetition_penalty"]
    scores[seen] = np.where(scores[seen] < 0, scores[seen] * penalty, scores[seen] / penalty)
    counts = np.bincount(case["written"], minlength=len(scores))
    scores -= case["frequency_penalty"] * counts + case["presence_penalty"] * (counts > 0)
    if len(case["written"]) < case["min_tokens"]:
        scores[case["stops"]] = -np.inf
    return scores


def expected(case):
    """Probabilities of the whole vocabulary, and how near a filter was to another choice."""
    scores = adjusted(case)
    near = 1.0
    if case["temperature"] == 0:
        best = np.flatnonzero(scores == scores.max())
        others = scores[scores < scores.max()]
        gap = scores.max() - others.max() if len(others) else 1.0
        return np.eye(len(scores))[best[0]], gap
    scores = (scores - scores.max()) / case["temperature"]
    if 0 < case["top_k"] < len(scores):
        kth = np.sort(scores)[-case["top_k"]]
        near = min([near, *(kth - scores[scores < kth])])
        scores[scores < kth] = -np.inf
    if case["top_p"] < 1:
        order = np.lexsort((np.arange(len(scores)), -scores))  # best first, then by id
        held = np.cumsum(softmax(scores)[order])
        better = np.concatenate(([0.0], held[:-1]))
        near = min(near, np.abs(held - case["top_p"]).min())
        scores[order[better >= case["top_p"]]] = -np.inf
    if case["min_p"] > 0:
        p = softmax(scores)
        near = min([near, *np.abs(p / p.max() - case["min_p"])[(p > 0) & (p < p.max())]])
        scores[p < case["min_p"] * p.max()] = -np.inf
    return softmax(scores), near


def of_transformers(case, asker):
    """The same by transformers' processors, in the order in which its generate() applies them."""
    config = transformers.GenerationConfig(
        do_sample=case["temperature"] > 0,
        temperature=case["temperature"] or None,
        top_k=max(case["top_k"], 0) or None,
        top_p=case["top_p"],
        min_p=case["min_p"] or None,
        repetition_penalty=case["repetition_penalty"],
        sequence_bias=[[[i], bias] for i, bias in case["bias"]] or None,
        min_new_tokens=case["min_tokens"] or None,
        eos_token_id=case["stops"] or None,
    )
    config._eos_token_tensor = torch.tensor(case["stops"]) if case["stops"] else None
    processors = asker._get_logits_processor(
        generation_config=config, input_ids_seq_length=len(case["prompt"]), device="cpu"
    )
    ids = torch.tensor([case["prompt"] + case["written"]])
    scores = processors(ids, torch.tensor(case["logits"])[None].double())
    if case["temperature"] == 0:
        return np.eye(scores.shape[1])[int(scores.argmax())]
    return torch.softmax(scores[0], dim=-1).numpy()


def difference(p, q, logits):
    """Of two outcomes, where equals may take each other's place; nothing if there is none."""
    kept, also = p > TINY, q > TINY
    if kept.sum() != also.sum():
        return f"{kept.sum()} tokens stay and {also.sum()}"
    a, b = np.sort(p), np.sort(q)
    if np.abs(a - b).max() > 1e-4:  # logits are float32, and may be divided by 0.1
        return f"probabilities differ by {np.abs(a - b).max():.2e}"
    if not np.array_equal(kept, also) and not np.array_equal(
        np.sort(logits[kept]), np.sort(logits[also])
    ):
        return f"{np.flatnonzero(kept)} stay and {np.flatnonzero(also)}"
    return ""


def answers(program, cases):
    def line(case):
        logits = [float(x) if np.isfinite(x) else None for x in case["logits"]]
        return json.dumps({**case, "logits": logits})

    text = "".join(line(case) + "\n" for case in cases)
    done = subprocess.run([program], input=text, capture_output=True, check=True, text=True)
    for case, answer in zip(cases, done.stdout.splitlines(), strict=True):
        p = np.zeros(len(case["logits"]))
        for i, chance in json.loads(answer):
            p[i] = chance
        yield p


def has_own_penalties(case):
    """Which transformers does not have."""
    return case["presence_penalty"] != 0 or case["frequency_penalty"] != 0


def new_asker():
    """Something with transformers' generate()."""
    config = transformers.LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1,
    )
    return transformers.LlamaForCausalLM(config)


def describe(case):
    return {key: value for key, value in case.items() if key not in DEFAULTS or value != DEFAULTS[key]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the test program draw_lines")
    parser.add_argument("--cases", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    cases = [random_case(rng, number) for number in range(arguments.cases)]
    asker = transformers and new_asker()
    bad = near_ones = 0
    for case, ours in zip(cases, answers(arguments.program, cases)):
        reference, near = expected(case)
        if near < NEAR:
            near_ones += 1
            continue
        problem = difference(ours, reference, case["logits"])
        if not problem and asker and not has_own_penalties(case):
            theirs = of_transformers(case, asker)
            problem = difference(ours, theirs, case["logits"])
            problem = problem and "transformers: " + problem
        if problem and bad < 9:
            print(f"{problem}: {describe(case)}")
        bad += bool(problem)
    by = f"formulas and transformers {transformers.__version__}" if asker else "formulas only"
    print(f"{len(cases)} cases against {by}, {bad} differ; "
          f"{near_ones} left out, since a filter was within {NEAR} of another choice")
    sys.exit(1 if bad or near_ones > len(cases) / 20 else 0)


if __name__ == "__main__":
    main()
