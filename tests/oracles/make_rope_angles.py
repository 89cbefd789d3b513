#!/usr/bin/env python3
"""Makes tests/data/rope/float32.json: cosines and sines of transformers at long positions.

    make_rope_angles.py tests/data/rope/float32.json

For each rule the keys of a config.json, and what the rotary embedding of the class that reads them
gives at each position: of every pair of dimensions the cosine, then of every pair the sine.

Run with torch 2.15.0 and transformers 5.24.0 on a CPU. Not part of CI, whose machines have no room
for torch.
"""

import json
import pathlib
import sys

import torch
import transformers
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding

POSITIONS = [0, 1, 4097, 100_000, 1_000_003, 9_999_999]
PAIRS = 16


def rope(kind, theta, context=131072, **changes):
    return {
        "head_dim": 2 * PAIRS,
        "max_position_embeddings": context,
        "rope_parameters": {"rope_type": kind, "rope_theta": theta, **changes},
    }


def longrope(original):
    """Llama has no LongRoPE of a part of the head; Phi-3 does."""
    return {
        **rope(
            "longrope",
            10000.0,
            short_factor=[1.0 + 0.05 * i for i in range(PAIRS)],
            long_factor=[1.1 + 2.75 * i for i in range(PAIRS)],
            original_max_position_embeddings=original,
        ),
        "original_max_position_embeddings": original,
    }


RULES = {
    "plain": rope("default", 10000.0),
    "plain, base of Llama 3": rope("default", 500000.0),
    "linear": rope("linear", 10000.0, factor=3.0),
    "dynamic": rope("dynamic", 10000.0, context=4096, factor=2.0),
    "yarn": rope("yarn", 1000000.0, factor=4.0, original_max_position_embeddings=32768),
    "llama3": rope(
        "llama3",
        500000.0,
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=8192,
    ),
    "longrope": longrope(4096),
}


def angles(name, keys):
    phi3 = name == "longrope"
    if phi3:  # which has no head_dim of its own
        keys = {**keys, "hidden_size": 4 * keys["head_dim"], "num_attention_heads": 4}
        keys["pad_token_id"] = 0
        del keys["head_dim"]
    config = (transformers.Phi3Config if phi3 else transformers.LlamaConfig)(**keys)
    table = (Phi3RotaryEmbedding if phi3 else LlamaRotaryEmbedding)(config)
    cosines, sines = table(torch.zeros(1), torch.tensor([POSITIONS]))
    rows = torch.cat((cosines[0, :, :PAIRS], sines[0, :, :PAIRS]), dim=-1)
    return [[round(value, 8) for value in row] for row in rows.tolist()]


def main():
    cases = [
        {"name": name, "keys": keys, "angles": angles(name, keys)} for name, keys in RULES.items()
    ]
    out = pathlib.Path(sys.argv[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    made_with = f"torch {torch.__version__}, transformers {transformers.__version__}"
    text = json.dumps({"made_with": made_with, "positions": POSITIONS, "cases": cases})
    out.write_text(text.replace('{"name"', '\n{"name"').replace("[[", "[\n[").replace("], [", "],\n[") + "\n")


if __name__ == "__main__":
    main()
