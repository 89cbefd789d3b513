#!/usr/bin/env python3
"""Times a megabyte each of hard text with a small tokenizer of each family's shape.

    tokenizer_times.py TOKENIZE_LINES [--only NAME] [--tries N] [--seconds S]

Prints a table of processor seconds, the best of N tries, and ends with 1 if one is above S.
"""

import argparse
import json
import pathlib
import sys
import tempfile

from families import FAMILIES
from hard_texts import print_times, slow_ones, time_hard_texts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the test program tokenize_lines")
    parser.add_argument("--only", default="", help="families whose name contains this")
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    times = {}
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "tokenizer.json"
        for name, make in FAMILIES.items():
            if arguments.only not in name:
                continue
            file = make()
            path.write_text(json.dumps(file, ensure_ascii=False), encoding="utf-8")
            tokens = [token["content"] for token in file["added_tokens"]]
            times[name] = time_hard_texts(name, arguments.program, path, tokens, arguments.tries)
    print_times(times)
    slow = slow_ones(times, arguments.seconds)
    print("\n".join(slow))
    sys.exit(1 if slow else 0)


if __name__ == "__main__":
    main()
