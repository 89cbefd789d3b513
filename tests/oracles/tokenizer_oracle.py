#!/usr/bin/env python3
"""Compares our encoder with Hugging Face's `tokenizers` on fuzzed text.

    tokenizer_oracle.py MODEL.gguf TOKENIZE_LINES [--strings N] [--seed S]

Builds the tokenizer of the GGUF file out of the PyPI package `tokenizers` (BPE, Digits + ByteLevel,
added tokens), feeds the same strings to both, and ends with 1 at the first that differs, printing
it. Every assigned and unassigned code point outside the surrogates is tried once besides.
Needs: pip install tokenizers gguf
"""

import argparse
import json
import random
import subprocess
import sys
import unicodedata

import gguf
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4


def reference(path):
    fields = gguf.GGUFReader(path).fields

    def value(key):
        return fields["tokenizer.ggml." + key].contents()

    tokens, types = value("tokens"), value("token_type")
    merges = [tuple(merge.split(" ")) for merge in value("merges")]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    steps = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    if value("pre") == "smollm":
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    specials = [t for t, kind in zip(tokens, types) if kind in (CONTROL, USER_DEFINED)]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in specials])
    return tokenizer, tokens, specials


def every_code_point():
    for point in range(0x110000):
        if not 0xD800 <= point < 0xE000:
            yield chr(point)


def alphabets(tokens):
    """Lists to draw from; one string mixes a few of them."""
    by_category = {}
    for char in every_code_point():
        by_category.setdefault(unicodedata.category(char), []).append(char)
    by_category.pop("Cn"), by_category.pop("Co")
    spaces = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u1680", "\u180e", "\u200b",
              "\u2003", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\ufeff", "\x0b", "\x0c",
              "\x1c", "\x1f", "\x85", " \n ", "\t "]
    contractions = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'RE", "'", "''", "’s", "don't",
                    "I'll've", " 's", "'st", "'rex"]
    ascii_text = [chr(c) for c in range(128)]
    words = [t.replace("Ġ", " ") for t in tokens if t.isascii() or t.startswith("Ġ")]
    digits = list("0123456789") + [" 1", "2 ", "٣", "Ⅷ", "½", "²", "𝟘", "一", "10", "3.14", "1,000"]
    cjk = [chr(c) for c in range(0x4E00, 0x4F00)] + ["ひ", "カ", "한", "。", "、"]
    marks = ["e\u0301", "\u0301", "क्षि", "👩‍👩‍👧", "🏳️‍🌈", "é", "ß", "İ", "ﬁ"]
    return list(by_category.values()) + [spaces] * 8 + [contractions] * 4 + [ascii_text] * 6 + [
        words] * 10 + [digits] * 6 + [cjk] * 2 + [marks] * 2


def fuzzed(rng, sources, specials, parts_in=(0, 1, 2, 5, 10, 40, 200)):
    parts = []
    chosen = rng.sample(sources, rng.randint(1, 5))
    for _ in range(rng.choice(parts_in)):
        part = rng.choice(rng.choice(chosen))
        parts.append(part * rng.choice([1, 1, 1, 1, 2, 3, 9]))
    for _ in range(rng.choice([0, 0, 1, 3])):
        special = rng.choice(specials)
        piece = rng.choice([special, special * 2, special[:-1], special[1:], "<|" + special])
        parts.insert(rng.randint(0, len(parts)), piece)
    return "".join(parts)


def code_point_strings():
    """Each code point alone, doubled, and between letters, digits and spaces."""
    for char in every_code_point():
        yield f"{char}{char} {char}a{char}1{char}  {char}!"


def encode_ours(program, model, texts):
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run([program, model], input=lines, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{program} failed: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare(name, texts, tokenizer, program, model):
    ours = encode_ours(program, model, texts)
    theirs = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
    assert len(ours) == len(theirs) == len(texts)
    for text, a, b in zip(texts, ours, theirs):
        if a != b:
            print(f"{name}: differs on {text!r}\n  ours   {a}\n  theirs {b}")
            return False
    print(f"{name}: {len(texts)} strings, {sum(map(len, ours))} tokens, equal")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("program", help="the test program tokenize_lines")
    parser.add_argument("--strings", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    tokenizer, tokens, specials = reference(arguments.model)
    rng = random.Random(arguments.seed)
    sources = alphabets(tokens)
    texts = [fuzzed(rng, sources, specials) for _ in range(arguments.strings)]
    good = compare("fuzzed", texts, tokenizer, arguments.program, arguments.model)
    points = list(code_point_strings())
    good &= compare("code points", points, tokenizer, arguments.program, arguments.model)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
