"""A megabyte each of what is hard to cut, normalise or merge, and how long a tokenizer takes for it."""

import base64
import json
import pathlib
import random
import subprocess

SIZE = 1 << 20
FAMILY = "\U0001F469\u200d\U0001F469\u200d\U0001F467\u200d\U0001F466"  # one picture, seven characters


def repeated(part):
    return part * (SIZE // len(part.encode()))


def hard_texts(tokens=("<|im_start|>",)):
    """Names and texts; `tokens`: added tokens that some texts nearly contain."""
    rng = random.Random(5)
    prose = (pathlib.Path(__file__).parents[2] / "docs/algorithms.md").read_text(encoding="utf-8")
    longest = max(tokens, key=len)

    def drawn(characters, size):
        return "".join(rng.choices(characters, k=SIZE // size))

    return {
        "one letter": repeated("a"),
        "one capital": repeated("A"),
        "letters, one space": repeated("a")[: SIZE // 2] + " " + repeated("a")[: SIZE // 2],
        "capitals, small": repeated("Ab"),
        "spaces": repeated(" "),
        "spaces, one letter": repeated(" ") + "x",
        "line ends": repeated("\n"),
        "spaces, line ends": repeated("  \n"),
        "spaces then line end": repeated(" ") + "\n",
        "tabs, CR": repeated("\t\r"),
        "punctuation": repeated("!?"),
        "one mark": repeated("="),
        "apostrophes": repeated("'s'"),
        "digits": repeated("1234567890"),
        "digits, letters": repeated("1a"),
        "other digits": repeated("\u0663\u0967"),
        "combining marks": repeated("\u0301\u0323"),
        "letter, marks": "a" + repeated("\u0327\u0301\u0323\u0308"),
        "letters with marks": repeated("e\u0323\u0302"),
        "Hangul parts": repeated("\u1112\u1161\u11ab"),
        "decomposed Hangul": repeated("\ud55c\uae00"),
        "pictures joined": repeated(FAMILY),
        "joiners": repeated("\u200d"),
        "flags": repeated("\U0001F1E9\U0001F1EA"),
        "CJK": "".join(chr(rng.randint(0x4E00, 0x9FFF)) for _ in range(SIZE // 3)),
        "one CJK": repeated("\u6f22"),
        "random ASCII": drawn([chr(c) for c in range(128)], 1),
        "random characters": "".join(
            chr(rng.choice([rng.randint(1, 0xD7FF), rng.randint(0xE000, 0x1FFFF)]))
            for _ in range(SIZE // 3)
        ),
        "private characters": "".join(chr(rng.randint(0xE000, 0xF8FF)) for _ in range(SIZE // 3)),
        "base64": base64.b64encode(rng.randbytes(SIZE * 3 // 4)).decode(),
        "no spaces": drawn("abcdefghijklmnopqrstuvwxyz", 1),
        "two letters": drawn("ab", 1),
        "marks for spaces": repeated("\u2581"),
        "added token": repeated(longest),
        "nearly an added token": repeated(longest[:-1]),
        "its beginnings": repeated(longest[0]),
        "prose": (prose * (SIZE // len(prose) + 1))[:SIZE],
    }


def seconds_of(program, path, texts, tries):
    """Of processor time, the best of `tries`, per text."""
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts for _ in range(tries))
    done = subprocess.run([program, path], input=lines, capture_output=True, encoding="utf-8", check=True)
    times = [json.loads(line)[1] for line in done.stdout.splitlines()]
    return [min(times[i : i + tries]) for i in range(0, len(times), tries)]


def print_times(times):
    """`times`: per tokenizer, per text. A table: a row per text, a column per tokenizer."""
    names = list(times)
    for number, name in enumerate(names):
        print(f"  {chr(ord('a') + number)}  {name}")
    print(f"{'seconds':24}" + "".join(f"{chr(ord('a') + i):>6}" for i in range(len(names))))
    for text in times[names[0]]:
        print(f"{text:24}" + "".join(f"{times[name][text]:6.2f}" for name in names))


def slow_ones(times, seconds):
    return [f"{name}: {text} takes {time:.2f} s" for name, of_text in times.items()
            for text, time in of_text.items() if time > seconds]


def time_hard_texts(name, program, path, tokens, tries):
    texts = hard_texts(tokens)
    times = dict(zip(texts, seconds_of(program, path, texts.values(), tries)))
    slowest = max(times, key=times.get)
    print(f"{name}: slowest megabyte ({slowest}) {times[slowest]:.2f} s", flush=True)
    return times
