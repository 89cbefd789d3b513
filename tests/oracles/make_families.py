#!/usr/bin/env python3
"""Makes tiny random models of each family and with many head sizes, as transformers computes them.

    make_families.py tests/data/families tests/data/head_sizes

Writes NAME.json per model: config.json in the dialect of transformers 5 and of 4, the recipe of the
weights, token ids, the log-probabilities that transformers gives, and how far its own bfloat16 is
from those. The weights themselves are not kept: every value is a hash of its tensor's name and its
place (`values` below), which the test computes again, so a file is a few kilobytes.

Run with torch 2.15.0 and transformers 5.24.0, float32, eager attention. Not part of CI, whose
machines have no room for torch.
"""

import copy
import json
import pathlib
import sys

import numpy
import torch
import transformers

PROMPT, FORCED, VOCABULARY = 41, 9, 61


def values(name, shape, center, scale):
    """center + scale * u, u in [-1, 1): SplitMix64 of the name's FNV-1a hash and the index."""
    mask = (1 << 64) - 1
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & mask
    count = int(numpy.prod(shape))
    with numpy.errstate(over="ignore"):
        z = numpy.uint64(seed) + numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z = z ^ (z >> numpy.uint64(31))
    u = (z >> numpy.uint64(40)).astype(numpy.float64) * 2.0**-23 - 1.0
    return (center + scale * u).astype(numpy.float32).reshape(shape)


def recipe(name, shape, tied, gemma):
    """Center and scale that let every part matter: scores spread, no softmax is flat."""
    if name.endswith("norm.weight"):
        return (0.0, 0.4) if gemma else (1.0, 0.4)
    if name.endswith(".bias"):
        return 0.0, 0.5
    if name.endswith("embed_tokens.weight"):
        return 0.0, 0.3 if tied else 1.0
    return 0.0, 2.5 / shape[-1] ** 0.5


def shape_of_llama(**changes):
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 60,
        "intermediate_size": 52,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        **changes,
    }


def rope(kind, theta=10000.0, **changes):
    return {"rope_type": kind, "rope_theta": theta, **changes}


def longrope(original):
    pairs = 6  # of 16 dimensions, 0.75 turn
    return rope(
        "longrope",
        short_factor=[1.0 + 0.05 * i for i in range(pairs)],
        long_factor=[1.5 + 0.75 * i for i in range(pairs)],
        original_max_position_embeddings=original,
        partial_rotary_factor=0.75,
    )


def phi3(original):
    shape = shape_of_llama(
        hidden_size=64,
        num_attention_heads=4,
        num_key_value_heads=2,
        original_max_position_embeddings=original,
        pad_token_id=0,
        sliding_window=30,
        rope_parameters=longrope(original),
    )
    del shape["head_dim"]
    return shape


YARN = rope("yarn", factor=4.0, original_max_position_embeddings=32)
LLAMA3 = rope(
    "llama3",
    theta=500000.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=32,
)

# Name: class, arguments of its configuration, dtype of the file, shards.
MODELS = {
    "llama": ("Llama", shape_of_llama(), "F32", 1),
    "llama-linear": ("Llama", shape_of_llama(rope_parameters=rope("linear", factor=3.0)), "F32", 1),
    "llama-dynamic": (
        "Llama",
        shape_of_llama(max_position_embeddings=32, rope_parameters=rope("dynamic", factor=2.0)),
        "F32",
        1,
    ),
    "llama-yarn": ("Llama", shape_of_llama(rope_parameters=YARN), "F32", 1),
    "llama-3.1": (
        "Llama",
        shape_of_llama(num_attention_heads=4, num_key_value_heads=2, rope_parameters=LLAMA3),
        "BF16",
        1,
    ),
    "smollm2": (
        "Llama",
        shape_of_llama(
            hidden_size=54,
            num_hidden_layers=3,
            num_attention_heads=9,
            num_key_value_heads=3,
            tie_word_embeddings=True,
        ),
        "F32",
        1,
    ),
    "mistral": (
        "Mistral",
        shape_of_llama(num_attention_heads=4, num_key_value_heads=2, sliding_window=12),
        "BF16",
        2,
    ),
    "qwen2": (
        "Qwen2",
        {**shape_of_llama(num_attention_heads=5, hidden_size=80, tie_word_embeddings=True)},
        "F16",
        1,
    ),
    "qwen2-sliding": (
        "Qwen2",
        shape_of_llama(
            num_attention_heads=4,
            num_key_value_heads=2,
            hidden_size=64,
            num_hidden_layers=3,
            use_sliding_window=True,
            sliding_window=7,
            max_window_layers=1,
        ),
        "F32",
        1,
    ),
    "qwen3": (
        "Qwen3",
        shape_of_llama(num_attention_heads=6, num_key_value_heads=3, head_dim=24),
        "F32",
        3,
    ),
    "gemma3": (
        "Gemma3",
        shape_of_llama(
            num_hidden_layers=4,
            num_attention_heads=3,
            num_key_value_heads=1,
            head_dim=32,
            query_pre_attn_scalar=20,
            sliding_window=10,
            layer_types=["sliding_attention", "sliding_attention", "full_attention"]
            + ["sliding_attention"],
            tie_word_embeddings=True,
            rope_parameters={
                "full_attention": rope("linear", theta=1000000.0, factor=8.0),
                "sliding_attention": rope("default"),
            },
        ),
        "F32",
        1,
    ),
    "phi3": ("Phi3", phi3(64), "F32", 1),
    "phi3-long": ("Phi3", phi3(32), "F32", 1),
}




def with_head_size(size):
    """Where a vector, a tile or a power of two is not filled, it shows; a model of one query group."""
    return (
        "Llama",
        shape_of_llama(
            vocab_size=31,
            hidden_size=30,
            intermediate_size=24,
            num_attention_heads=3,
            num_key_value_heads=1,
            head_dim=size,
        ),
        "F32",
        1,
    )


HEAD_SIZES = {
    f"{size:03}": with_head_size(size) for size in [16, 24, 40, 72, 80, 96, 120, 160, 200, 248, 256]
}


def new_model(family, arguments):
    torch.manual_seed(0)
    prefix = "Gemma3Text" if family == "Gemma3" else family
    config = getattr(transformers, prefix + "Config")(**copy.deepcopy(arguments))
    config._attn_implementation = "eager"
    return getattr(transformers, family + "ForCausalLM")(config).float().eval()


def fill(model, dtype):
    """Gives the model its weights; returns the recipe: name, shape, center, scale."""
    stored = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[dtype]
    gemma = "Gemma" in type(model).__name__
    tied = model.config.tie_word_embeddings
    entries = []
    for name, weight in model.named_parameters():
        if tied and name == "lm_head.weight":
            continue
        center, scale = recipe(name, weight.shape, tied, gemma)
        drawn = torch.from_numpy(values(name, tuple(weight.shape), center, scale))
        if dtype == "F16":  # the test writes no subnormal numbers
            drawn[drawn.abs() < 2.0**-14] = 0
        weight.data.copy_(drawn.to(stored).float())
        entries.append(
            {"name": name, "shape": list(weight.shape), "center": center, "scale": scale}
        )
    model.tie_weights()
    return entries


def dialect_4(config):
    """The same configuration as transformers 4 would have written it."""
    old = copy.deepcopy(config)
    old["torch_dtype"] = old.pop("dtype", "float32")
    old["transformers_version"] = "4.46.0"
    rules = old.pop("rope_parameters")
    if "full_attention" in rules:
        old["rope_local_base_freq"] = rules["sliding_attention"]["rope_theta"]
        rules = rules["full_attention"]
    old["rope_theta"] = rules.pop("rope_theta")
    if "partial_rotary_factor" in rules:
        old["partial_rotary_factor"] = rules.pop("partial_rotary_factor")
    old["rope_scaling"] = None if rules["rope_type"] == "default" else rules
    return old


def rows_of(model, ids):
    """Log-probabilities behind each token."""
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), dim=-1)


def own_error(rows, rounded):
    """Of transformers in bfloat16, in the log-probabilities kept here."""
    off = (rounded - rows)[PROMPT - 1 : -1].abs()
    return {"mean": round(off.mean().item(), 5), "max": round(off.max().item(), 5)}


def in_bfloat16(model):
    """As if it were loaded so: RoPE's frequencies, which are no parameters, stay float32."""
    for weight in model.parameters():
        weight.data = weight.data.to(torch.bfloat16)
    return model


def make(out, models):
    out.mkdir(parents=True, exist_ok=True)
    for name, (family, arguments, dtype, shards) in models.items():
        model = new_model(family, arguments)
        weights = fill(model, dtype)
        vocabulary = model.config.vocab_size
        ids = [(17 * i * i + 5 * i + 3) % vocabulary for i in range(PROMPT + FORCED)]
        rows = rows_of(model, ids)
        nll = -sum(rows[i, ids[i + 1]].item() for i in range(PROMPT - 1))
        rounded = rows_of(in_bfloat16(model), ids)
        logprobs = [[round(v, 7) for v in row.tolist()] for row in rows[PROMPT - 1 : -1]]
        config = json.loads(model.config.to_json_string())
        config["architectures"] = [type(model).__name__]
        case = {
            "made_with": f"torch {torch.__version__}, transformers {transformers.__version__}",
            "config": config,
            "config_4": dialect_4(config),
            "dtype": dtype,
            "shards": shards,
            "weights": weights,
            "prompt": ids[:PROMPT],
            "forced": ids[PROMPT:],
            "nll": nll,  # of the prompt's tokens behind the first
            "logprobs": logprobs,  # (forced, vocabulary)
            "bfloat16": own_error(rows, rounded),
        }
        (out / f"{name}.json").write_text(json.dumps(case) + "\n")
        top = max(max(row) for row in logprobs)
        off = case["bfloat16"]["mean"]
        print(f"{name}: nll {nll:.4f}, likeliest {top:.3f}, bfloat16 off by {off:.3f}")


def main():
    families, head_sizes = map(pathlib.Path, sys.argv[1:])
    make(families, MODELS)
    make(head_sizes, HEAD_SIZES)


if __name__ == "__main__":
    main()
