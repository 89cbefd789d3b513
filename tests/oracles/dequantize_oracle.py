#!/usr/bin/env python3
"""Compares our dequantised values with those of the `gguf` package, bit by bit.

    dequantize_oracle.py DEQUANTIZE_BLOCKS [--blocks N] [--seed S]

Random blocks of every quantised type, and blocks of one byte throughout; scales may be subnormal,
infinite or NaN. Any NaN equals any other. Ends with 1 if a type differs.
"""

import argparse
import subprocess
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

TYPES = ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]


def blocks_of(rng, size, count):
    random = rng.integers(0, 256, (count, size), dtype=np.uint8)
    uniform = np.repeat(np.arange(256, dtype=np.uint8)[:, None], size, axis=1)
    return np.concatenate([random, uniform])


def compare(program, name, blocks):
    done = subprocess.run([program, name], input=blocks.tobytes(), capture_output=True, check=True)
    ours = np.frombuffer(done.stdout, dtype=np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        theirs = quants.dequantize(blocks, GGMLQuantizationType[name]).ravel().astype(np.float32)
    same = (ours.view(np.uint32) == theirs.view(np.uint32)) | (np.isnan(ours) & np.isnan(theirs))
    if ours.shape != theirs.shape or not same.all():
        first = int(np.argmin(same))
        print(f"{name}: value {first} is {ours[first]!r}, expected {theirs[first]!r}")
        return False
    print(f"{name}: {len(ours)} values, equal")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the test program dequantize_blocks")
    parser.add_argument("--blocks", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    good = True
    for name in TYPES:
        _, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
        good &= compare(arguments.program, name, blocks_of(rng, size, arguments.blocks))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
