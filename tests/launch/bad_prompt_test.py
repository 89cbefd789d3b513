"""Prompts and ids that cannot be used are refused in one line that says where they are wrong."""

import json
import pathlib
import tempfile
import unittest

import longspan_command
from refusal import RefusalTest
from tiny_model import CONTEXT, VOCABULARY, TinyModel

USAGE, BAD_DATA, NO_INPUT, IO = 2, 65, 66, 74

# what is wrong with a file of ids, its bytes, the code, what the line says
BAD_IDS = [
    ("none", b"[]", USAGE, "empty"),
    ("an empty file", b"", BAD_DATA, "not JSON at byte"),
    ("half an array", b"[1, 2", BAD_DATA, "not JSON at byte"),
    ("two arrays", b"[1] [2]", BAD_DATA, "not JSON at byte"),
    ("an object", b'{"ids": [1]}', BAD_DATA, "a JSON array of token ids"),
    ("a number", b"7", BAD_DATA, "a JSON array of token ids"),
    ("beyond the vocabulary", b"[1, %d]" % VOCABULARY, BAD_DATA, f"1 is {VOCABULARY}.*256"),
    ("negative", b"[1, -1]", BAD_DATA, "element 1"),
    ("a fraction", b"[1, 2, 1.5]", BAD_DATA, "element 2"),
    ("text", b'["a"]', BAD_DATA, "element 0"),
    ("a truth", b"[true]", BAD_DATA, "element 0"),
    ("nothing", b"[null]", BAD_DATA, "element 0"),
    ("2 to the 31", b"[2147483648]", BAD_DATA, "element 0"),
    ("2 to the 64", b"[18446744073709551616]", BAD_DATA, "element 0"),
    ("more than a double holds", b"[1e400]", BAD_DATA, "ids.json"),
    ("a deep nest", b"[" * 100000, BAD_DATA, "not JSON at byte"),
]

# the same of a file of prompts
BAD_LINES = [
    ("an empty file", b"", USAGE, "no prompt"),
    ("blank lines", b"\n  \n\r\n", USAGE, "no prompt"),
    ("no JSON", b'{"prompt": "a"}\nb\n', BAD_DATA, "prompts.jsonl:2: not JSON at byte"),
    ("a text", b'"a"\n', BAD_DATA, 'prompts.jsonl:1: .*"prompt"'),
    ("neither key", b'{"text": "a"}\n', BAD_DATA, 'prompts.jsonl:1: .*"prompt"'),
    ("a key that is an option", b'{"prompt": "a", "max_tokens": 3}\n', BAD_DATA,
     'prompts.jsonl:1: "max_tokens" is not known'),
    ("both keys", b'{"prompt": "a", "prompt_ids": [1]}\n', BAD_DATA, "prompts.jsonl:1: "),
    ("a prompt that is a number", b'{"prompt": 7}\n', BAD_DATA, "prompts.jsonl:1: "),
    ("a bad id", b'{"prompt": "a"}\n\n{"prompt_ids": [1, -1]}', BAD_DATA, "jsonl:3: .*element 1"),
    ("an id beyond the vocabulary", b'{"prompt": "a"}\n{"prompt_ids": [300]}', BAD_DATA,
     "prompt 2: token 0 is 300"),
    ("an empty prompt", b'{"prompt": "a"}\n{"prompt": ""}', USAGE, "prompt 2 is empty"),
    ("no ids", b'{"prompt": "a"}\n{"prompt_ids": []}', USAGE, "prompt 2 is empty"),
    ("invalid UTF-8", b'{"prompt": "a\xff"}\n', BAD_DATA, "prompts.jsonl:1: "),
    ("half a surrogate pair", b'{"prompt": "\\ud800"}\n', BAD_DATA, "prompts.jsonl:1: "),
    ("a number too large", b'{"prompt_ids": [1e400]}\n', BAD_DATA, "prompts.jsonl:1: "),
]


class BadPromptTest(RefusalTest):
    rows_on_ranks = 3  # rank 0 reads the prompts of all

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.model = self.file("tiny.gguf", TinyModel().bytes())

    def file(self, name, data):
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)

    def refuses_prompt(self, what, arguments, code, line, **more):
        self.refuses(what, ["generate", self.model, *arguments], code, line, **more)

    def test_an_empty_prompt(self):
        self.refuses_prompt("flag", ["--prompt", ""], USAGE, "prompt is empty")
        self.refuses_prompt("file", ["--prompt-file", self.file("p", b"")], USAGE, "is empty")
        self.refuses_prompt("stdin", ["--prompt-file", "-"], USAGE, "is empty")

    def test_invalid_utf8(self):
        for what, text, at in [("a byte that begins nothing", b"ab\xff", 2),
                               ("half a character", b"\xe2\x82", 0),
                               ("an overlong form", b"abc\xc0\xaf", 3),
                               ("a surrogate", b"\xed\xa0\x80", 0)]:
            line = f"not UTF-8: byte {at} "
            self.refuses_prompt(what + ", flag", ["--prompt", text], BAD_DATA, line)
            self.refuses_prompt(what + ", file", ["--prompt-file", self.file("p", text)], BAD_DATA,
                                line)
        self.refuses_prompt("stdin", ["--prompt-file", "-"], BAD_DATA, "not UTF-8: byte 1 ",
                            stdin=b"a\x80")

    def test_a_prompt_longer_than_the_context(self):
        whole = "x" * CONTEXT  # a token each
        line = f"has {CONTEXT} tokens.*context is {CONTEXT}"
        self.refuses_prompt("flag", ["--prompt", whole], USAGE, line)
        self.refuses_prompt("stdin", ["--prompt-file", "-"], USAGE, line, stdin=whole.encode())
        self.refuses_prompt("with its answer", ["--prompt", whole[:-2], "--max-tokens", "3"], USAGE,
                            f"{CONTEXT - 2} .*--max-tokens is 3.*to 2")
        two = json.dumps({"prompt": "x"}) + "\n" + json.dumps({"prompt": whole})
        self.refuses_prompt("of several", ["--prompts", self.file("p", two.encode())], USAGE,
                            f"prompt 2 has {CONTEXT} tokens")

    def test_a_prompt_that_just_fits_is_no_mistake(self):
        prompt = "x" * (CONTEXT - 1)
        done = longspan_command.run(["generate", self.model, "--prompt", prompt])
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_files_that_are_not_there(self):
        for flag in ("--prompt-file", "--prompt-ids", "--prompts"):
            self.refuses_prompt(flag, [flag, str(self.folder / "none")], NO_INPUT, "/none: ")
        self.refuses_prompt("--force-ids", ["--prompt", "x", "--force-ids", "none"], NO_INPUT,
                            "none: ")

    def test_prompt_and_tokens_from_one_standard_input(self):
        for flag in ("--prompt-file", "--prompt-ids"):
            self.refuses_prompt(flag, [flag, "-", "--force-ids", "-"], USAGE, "name a file for one")

    def test_a_file_that_cannot_be_read_to_its_end(self):
        self.refuses_prompt("memory", ["--prompt-file", "/proc/self/mem"], IO, "/proc/self/mem: ")

    def test_folders(self):
        for flag in ("--prompt-file", "--prompt-ids", "--prompts"):
            self.refuses_prompt(flag, [flag, str(self.folder)], BAD_DATA, "folder")
        self.refuses_prompt("--force-ids", ["--prompt", "x", "--force-ids", str(self.folder)], BAD_DATA,
                            "folder")

    def test_bad_ids(self):
        for what, data, code, line in BAD_IDS:
            ids = self.file("ids.json", data)
            self.refuses_prompt(what, ["--prompt-ids", ids], code, line)
            self.refuses_prompt(what + ", forced", ["--prompt", "x", "--force-ids", ids], code,
                                line)

    def test_bad_lines(self):
        for what, data, code, line in BAD_LINES:
            self.refuses_prompt(what, ["--prompts", self.file("prompts.jsonl", data)], code, line)


if __name__ == "__main__":
    unittest.main()
