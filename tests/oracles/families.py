"""A small tokenizer of each family's shape, trained on this repository's own pages.

FAMILIES maps a name to a function that makes a tokenizer.json, as a dictionary. The shapes are those of
the real files: normaliser, pre-tokenizer, options of BPE, post-processor and decoder.
"""

import json
import pathlib
import random

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        processors, trainers)

MARK = "\u2581"
VOCABULARY = 1500

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
          r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
          r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

CHAT = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]


def corpus():
    """Lines of this repository's pages, and words of a few scripts."""
    root = pathlib.Path(__file__).parents[2]
    lines = [line for page in ["README.md", "docs/algorithms.md", "docs/README.md", "tests/README.md"]
             for line in (root / page).read_text(encoding="utf-8").splitlines()]
    rng = random.Random(7)
    letters = ["abcdeäöü", "абвгдежз", "一二三四五六七八", "ひらがなカタ", "가나다라마", "ابتثج", "🙂🚀",
               "e\u0301a\u0308", "ABCDÉ"]
    for _ in range(1500):
        script = rng.choice(letters)
        lines.append(" ".join("".join(rng.choices(script, k=rng.randint(1, 5))) for _ in range(4)))
    return lines


def train(tokenizer, alphabet, specials, **options):
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=alphabet, special_tokens=specials, show_progress=False,
        max_token_length=12, **options))


def shape_of_byte_level(model, regex=None, normalizer=None, digits=False):
    tokenizer = Tokenizer(model)
    if normalizer:
        tokenizer.normalizer = normalizer
    steps = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex is None)]
    if regex:
        steps.insert(0, pre_tokenizers.Split(Regex(regex), behavior="isolated"))
    if digits:
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def byte_level(*shape, alphabet=None, whole_words=False, **options):
    tokenizer = shape_of_byte_level(models.BPE(), *shape, **options)
    train(tokenizer, pre_tokenizers.ByteLevel.alphabet() if alphabet is None else alphabet, [])
    if whole_words:
        tokenizer = with_whole_words(tokenizer)
    tokenizer.add_special_tokens(CHAT)
    return tokenizer


def to_json(tokenizer):
    return json.loads(tokenizer.to_str())


def with_whole_words(tokenizer):
    """With tokens that no merge reaches."""
    file = to_json(tokenizer)
    file["model"]["ignore_merges"] = True
    vocabulary = file["model"]["vocab"]
    for word in ["Ġbeginning", "HelloWorld", "ĠWorld", "çŃĶæ¡Ī", "?!?!?!"]:
        vocabulary.setdefault(word, len(vocabulary))
    return Tokenizer.from_str(json.dumps(file))


def with_merges_as_strings(file):
    file["model"]["merges"] = [" ".join(merge) for merge in file["model"]["merges"]]
    return file


def gpt2():
    return to_json(byte_level())


def smollm():
    """Some bytes have no token, as in SmolLM2."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())[5:]
    tokenizer = byte_level(digits=True, alphabet=alphabet)
    return to_json(tokenizer)


def llama3():
    tokenizer = byte_level(LLAMA3, whole_words=True)
    tokenizer.add_special_tokens(["<|begin_of_text|>"])
    begin = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(single="<|begin_of_text|> $A",
                                      special_tokens=[("<|begin_of_text|>", begin)])])
    return with_merges_as_strings(to_json(tokenizer))


def qwen2():
    tokenizer = byte_level(QWEN2, normalizers.NFC())
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return to_json(tokenizer)


def tekken():
    return to_json(byte_level(TEKKEN, whole_words=True))


BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
REPLACE = decoders.Replace(MARK, " ")


def by_characters(specials, **options):
    """A SentencePiece model that was converted: `specials` come first."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", **options))
    tokenizer.normalizer = normalizers.Replace(" ", MARK)
    # While it is trained only: words make small pieces.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="never")
    train(tokenizer, [MARK], specials)
    tokenizer.pre_tokenizer = None
    return tokenizer


def with_begin(tokenizer, written="<s>", after=""):
    names = [written] + ([after] if after else [])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{written} $A {after}".strip(),
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in names])
    return tokenizer


def llama2():
    tokenizer = by_characters(["<unk>", "<s>", "</s>"] + BYTES, byte_fallback=True, fuse_unk=True)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    tokenizer.decoder = decoders.Sequence(
        [REPLACE, decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return without_bytes_added(to_json(with_begin(tokenizer)))


def without_bytes_added(file):
    """The trainer added them; in the real files they are tokens of the model alone."""
    file["added_tokens"] = [t for t in file["added_tokens"] if t["content"] not in BYTES]
    return file


def llama2_with_metaspace(prepend_scheme, split):
    file = llama2()
    file["normalizer"] = None
    file["pre_tokenizer"] = {"type": "Metaspace", "replacement": MARK,
                             "prepend_scheme": prepend_scheme, "split": split}
    return file


def mistral():
    """As llama2, the way newer versions convert it."""
    return llama2_with_metaspace("first", split=False)


def metaspace():
    return llama2_with_metaspace("always", split=True)


def gemma():
    tokenizer = by_characters(["<pad>", "<eos>", "<bos>", "<unk>"] + BYTES, byte_fallback=True,
                              fuse_unk=True)
    tokenizer.normalizer = normalizers.Replace(" ", MARK)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.decoder = decoders.Sequence([REPLACE, decoders.ByteFallback(), decoders.Fuse()])
    for run in [MARK, "\n", "\t"]:
        tokenizer.add_tokens([AddedToken(run * n, normalized=False) for n in range(2, 8)])
    return without_bytes_added(to_json(with_begin(tokenizer, "<bos>")))


def unknown(fused):
    """No bytes to fall back to."""
    tokenizer = by_characters(["<unk>", "<s>", "</s>"], fuse_unk=fused)
    tokenizer.decoder = decoders.Sequence([REPLACE, decoders.Fuse()])
    return to_json(with_begin(tokenizer, after="</s>"))


def some_bytes():
    """Bytes for some characters only."""
    file = llama2()
    for byte in [0x80, 0x9F, 0xE4]:
        del file["model"]["vocab"][f"<0x{byte:02X}>"]
    file["model"]["fuse_unk"] = False
    return file


# None that begins with white space: the reference panics where the one before took that.
FLAGGED = [AddedToken("<left>", lstrip=True), AddedToken("<right>", rstrip=True),
           AddedToken("<both>", lstrip=True, rstrip=True), AddedToken("word", single_word=True),
           AddedToken("<word>", single_word=True, lstrip=True), AddedToken("norm", normalized=True),
           AddedToken("a b", normalized=True), AddedToken("w\u0300", normalized=True, rstrip=True),
           AddedToken("e\u0301e", normalized=False), AddedToken("漢", single_word=True)]


def flags(make):
    """The ways in which an added token can be found, on top of another shape."""
    def made():
        tokenizer = Tokenizer.from_str(json.dumps(make()))
        tokenizer.add_tokens(FLAGGED)
        return to_json(tokenizer)
    return made


FAMILIES = {
    "gpt-2": gpt2,
    "smollm": smollm,
    "llama-bpe": llama3,
    "qwen2": qwen2,
    "tekken": tekken,
    "llama-2": llama2,
    "mistral": mistral,
    "metaspace": metaspace,
    "gemma": gemma,
    "unknown, fused": lambda: unknown(True),
    "unknown": lambda: unknown(False),
    "some bytes": some_bytes,
    "flags on qwen2": flags(qwen2),
    "flags on llama-2": flags(llama2),
    "flags on metaspace": flags(metaspace),
}
