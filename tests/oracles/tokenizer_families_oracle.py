#!/usr/bin/env python3
"""Compares our tokenizers with Hugging Face's `tokenizers` and with SentencePiece, family by family.

    tokenizer_families_oracle.py TOKENIZE_LINES [--strings N] [--seed S] [--only NAME]

Makes a small tokenizer of each family's shape (families.py), reads it with both, and compares ids of
fuzzed strings, the text of those ids, and the text of random ids and of torn characters in bytes, which
we make token by token. The byte-level families are written as GGUF files besides, and a SentencePiece model is. Ends with 1 at the
first difference of a family, printing it.
Needs: pip install of requirements.txt
"""

import argparse
import io
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import unicodedata

import gguf
import sentencepiece
from tokenizers import Tokenizer, normalizers

from families import FAMILIES, FLAGGED, MARK, corpus
from tokenizer_oracle import CONTROL, NORMAL, USER_DEFINED, alphabets, fuzzed

UNKNOWN, BYTE = 2, 6
DEFINED = ["<turn>", "\n\n"]
REPLACEMENT = "\ufffd"
BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")


def ask(program, path, values):
    lines = "".join(json.dumps(value) + "\n" for value in values)
    done = subprocess.run([program, path], input=lines, capture_output=True, encoding="utf-8")
    if done.returncode != 0:
        raise SystemExit(f"{program} {path} failed: {done.stderr}")
    answers = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert len(answers) == len(values)
    return answers


def newer_marks():
    """Marks that the reference's NFC does not know: its tables are of Unicode 9, ours newer."""
    normalize = normalizers.NFC().normalize_str
    marks = (chr(point) for point in range(0x110000) if unicodedata.combining(chr(point)))
    return {mark for mark in marks
            if any(normalize(text) != unicodedata.normalize("NFC", text)
                   for text in [f"a\u0301{mark}", f"a{mark}\u0327", f"a{mark}\u0334"])}


def letters_of_bytes():
    """GPT-2's alphabet: the byte that each letter stands for."""
    printable = [b for b in range(256) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{chr(b): b for b in printable}, **{chr(0x100 + i): b for i, b in enumerate(others)}}


BYTE_OF_LETTER = letters_of_bytes()

# Of a fuzzed string; a long one tells little more than a short one.
PARTS = (0, 1, 2, 3, 5, 10, 40)
NEWER_MARKS = str.maketrans("", "", "".join(newer_marks()))


class Case:
    """A tokenizer in a file, and the reference for it."""

    def __init__(self, name, path, program, encode, decode, tokens, specials):
        self.name, self.path, self.program = name, path, program
        self.encode, self.decode = encode, decode  # of lists
        self.tokens, self.specials = tokens, specials
        self.hidden = set()  # ids that the reference neither reads nor writes
        self.drops_space = False  # the first, of a text

    def differ(self, what, given, ours, theirs):
        first = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b),
                     min(len(ours), len(theirs)))
        near = slice(max(0, first - 5), first + 20)
        print(f"{self.name}: {what} of {given!r} differ at {first}\n  ours   ...{ours[near]!r}\n"
              f"  theirs ...{theirs[near]!r}")
        return False

    def compare_ids(self, texts):
        theirs = self.encode(texts)
        for text, a, b in zip(texts, ask(self.program, self.path, texts), theirs):
            if a != b:
                return self.differ("ids", text, a, b), theirs
        return True, theirs

    def compare_texts(self, ids):
        streamed = ask(self.program, self.path, ids)  # which fails at a part that is no UTF-8
        for given, a, b in zip(ids, ("".join(parts) for parts in streamed), self.decode(ids)):
            # Of bytes that are no UTF-8 they replace each, we each maximal part, as ByteLevel does.
            if self.byte_tokens() and REPLACEMENT in b:
                if any(self.tokens[number] in self.specials for number in given):
                    continue  # some are written as they are normalised
                b = self.text_of_bytes(given)
            if a != b:
                return self.differ("text", given, a, b)
        return True

    def byte_tokens(self):
        return "<0x41>" in self.tokens

    def text_of_bytes(self, ids):
        """Of a family with tokens for bytes: their bytes in a row, as Python reads them."""
        parts = (self.tokens[number] for number in ids)
        joined = b"".join(bytes([int(part[3:5], 16)]) if BYTE_TOKEN.fullmatch(part)
                          else part.replace(MARK, " ").encode() for part in parts)
        text = joined.decode(errors="replace")
        return text[1:] if self.drops_space and text[:1] == " " else text

    def tokens_of_bytes(self):
        """By byte: the token that stands for it alone."""
        of_byte = {}
        has_byte_tokens = self.byte_tokens()
        for number, token in enumerate(self.tokens):
            if number not in self.hidden:
                if BYTE_TOKEN.fullmatch(token):
                    of_byte[int(token[3:5], 16)] = number
                elif not has_byte_tokens and token in BYTE_OF_LETTER:
                    of_byte[BYTE_OF_LETTER[token]] = number
        return of_byte

    def torn_ids(self, rng, of_byte):
        """Characters byte by byte, where a byte is now and then missing, doubled or another token."""
        characters = rng.choices("aé€漢🙂\u0301\u00a0\U0010ffff", k=rng.randint(1, 6))
        ids = []
        for byte in "".join(characters).encode():
            chance = rng.random()
            ids += [of_byte[byte]] * (2 if chance < 0.1 else 1) if byte in of_byte and chance > 0.05 else []
            if chance > 0.95:
                ids.append(rng.choice(list(of_byte.values())))
        return ids

    def run(self, rng, strings):
        visible = [number for number in range(len(self.tokens)) if number not in self.hidden]
        sources = alphabets([self.tokens[number].replace(MARK, " ") for number in visible])
        sources += [[" ", MARK, MARK + " ", " " + MARK]] * 2
        texts = [fuzzed(rng, sources, self.specials, PARTS) for _ in range(strings)]
        if "qwen2" in self.name:
            texts = [text.translate(NEWER_MARKS) for text in texts]
        same, ids = self.compare_ids(texts)
        random_ids = [[rng.choice(visible) for _ in range(rng.randint(0, 20))]
                      for _ in range(strings // 4)]
        ids = [[number for number in one if number not in self.hidden] for one in ids]
        of_byte = self.tokens_of_bytes()
        torn_ids = [self.torn_ids(rng, of_byte) for _ in range(strings // 4)]
        same = same and all(map(self.compare_texts, (ids, random_ids, torn_ids)))
        if same:
            print(f"{self.name}: {strings} strings, {sum(map(len, ids))} tokens, equal", flush=True)
        return same


def hugging_face(name, path, program, file):
    tokenizer = Tokenizer.from_str(json.dumps(file))
    tokens = [""] * (max(tokenizer.get_vocab().values()) + 1)
    for token, number in tokenizer.get_vocab().items():
        tokens[number] = token

    def encode(texts):
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]

    def decode(ids):
        return tokenizer.decode_batch(ids, skip_special_tokens=False)

    specials = [token["content"] for token in file["added_tokens"]]
    if name.startswith("flags"):
        specials += [f"{a}{t.content}{b}" for t in FLAGGED
                     for a in ["", " ", "\n ", "x", "漢", "_"] for b in ["", " ", "\t", "y", "\u0301"]]
    case = Case(name, path, program, encode, decode, tokens, specials)
    case.drops_space = any(step["type"] == "Strip" for step in file["decoder"].get("decoders", []))
    return case


def write_gguf(path, model, pre, tokens, types, merges=None, scores=None, settings=()):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if merges is not None:
        writer.add_token_merges(merges)
    if scores is not None:
        writer.add_token_scores(scores)
    for method, value in settings:
        getattr(writer, method)(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def as_gguf(folder, name, program, file):
    """The same tokenizer in the other format."""
    case = hugging_face(name, "", program, file)
    added = {token["content"] for token in file["added_tokens"]}
    types = [CONTROL if token in added else NORMAL for token in case.tokens]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in file["model"]["merges"]]
    begin = "<|begin_of_text|>"
    settings = [("add_bos_token_id", case.tokens.index(begin))] if begin in added else []
    case.name, case.path = f"{name} as GGUF", folder / "byte-level.gguf"
    write_gguf(case.path, "gpt2", name, case.tokens, types, merges=merges, settings=settings)
    return case


def piece_type(model, number):
    if model.is_byte(number):
        return BYTE
    if model.is_control(number):
        return CONTROL
    if model.is_unknown(number):
        return UNKNOWN
    return USER_DEFINED if model.id_to_piece(number) in DEFINED else NORMAL


def piece_case(folder, program, model, name, space_first=True, specials=()):
    """A SentencePiece model as a llama-type GGUF file: pieces with scores."""
    numbers = range(model.get_piece_size())
    tokens = [model.id_to_piece(n) for n in numbers]
    path = folder / "scores.gguf"
    write_gguf(path, "llama", "default", tokens, [piece_type(model, n) for n in numbers],
               scores=[model.get_score(n) for n in numbers],
               settings=[("add_bos_token_id", model.bos_id()), ("add_eos_token_id", model.eos_id()),
                         ("add_add_space_prefix", space_first)])

    def encode(texts):
        return [[model.bos_id()] + ids for ids in model.encode(texts)]

    def decode(ids):
        return [model.decode(one) for one in ids]

    case = Case(name, path, program, encode, decode, tokens, [*specials, "\n\n\n"])
    case.drops_space = space_first
    case.hidden = {n for n in numbers if model.is_control(n) or model.is_unknown(n)}
    # A first space that is written as a byte goes here, as with the converted files; there it stays.
    case.hidden.add(tokens.index("<0x20>"))
    return case


def sentence_piece(folder, program, space_first):
    # After such a token we put the first space again, as llama.cpp and converted files do.
    defined = [] if space_first else DEFINED
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_writer=trained, model_type="bpe", vocab_size=1500,
        byte_fallback=True, character_coverage=0.995, normalization_rule_name="identity",
        remove_extra_whitespaces=False, add_dummy_prefix=space_first, split_digits=True,
        user_defined_symbols=defined, minloglevel=2)
    model = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    name = "SentencePiece" + ("" if space_first else " without a first space")
    return piece_case(folder, program, model, name, space_first, defined)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the test program tokenize_lines")
    parser.add_argument("--strings", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="families whose name contains this")
    arguments = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        path = folder / "tokenizer.json"
        for name, make in FAMILIES.items():
            if arguments.only and arguments.only not in name:
                continue
            file = make()
            path.write_text(json.dumps(file, ensure_ascii=False), encoding="utf-8")
            cases = [hugging_face(name, path, arguments.program, file)]
            if name in ("gpt-2", "smollm", "llama-bpe", "qwen2", "tekken"):
                cases.append(as_gguf(folder, name, arguments.program, file))
            for case in cases:
                good &= case.run(random.Random(arguments.seed), arguments.strings)
        for space_first in [True, False]:
            case = sentence_piece(folder, arguments.program, space_first)
            if not arguments.only or arguments.only in case.name:
                good &= case.run(random.Random(arguments.seed), arguments.strings)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
