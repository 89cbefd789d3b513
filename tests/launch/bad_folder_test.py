"""Hugging Face folders that are incomplete, mixed up or hostile are refused in one line, which names
file, tensor or key, number and what to do."""

import json
import pathlib
import struct
import tempfile
import unittest

import longspan_command
from refusal import RefusalTest
from tiny_folder import INDEX, SHARDS, TinyFolder

BAD_DATA, NO_INPUT = 65, 66
SECOND = r"model-00002-of-00002\.safetensors: "
GATE = r"tensor model\.layers\.1\.mlp\.gate_proj\.weight"
DOWNLOAD = ".*download"


def entry(name, **members):
    """Changes an entry of the second shard's header."""
    return lambda m: m.headers[1][name].update(members)


def rename(model, old, new):
    for names in (*model.headers, model.weight_map):
        if old in names:
            names[new] = names.pop(old)


def twice(model):
    """The second shard's first tensor, again, of no bytes of its own."""
    name, first = next(iter(model.headers[1].items()))
    text = json.dumps(model.headers[1])[:-1] + f', "{name}": {json.dumps(first)}}}'
    model.shard = lambda shard: (
        struct.pack("<Q", len(text)) + text.encode() + model.data[1] if shard else
        TinyFolder.shard(model, shard))


ROWS = "model.layers.1.mlp.gate_proj.weight"  # in the second shard

# what is wrong with weights, how, what the line says
WRONG = [
    ("overlapping tensors", lambda m: m.headers[1][ROWS].update(
        data_offsets=[offset - 4 for offset in m.headers[1][ROWS]["data_offsets"]]),
     SECOND + GATE + r": begins at byte \d+, .*ends at \d+ \(overlap\)" + DOWNLOAD),
    ("a tensor beyond the file", lambda m: m.headers[1][ROWS].update(
        data_offsets=[1 << 40, (1 << 40) + 96 * 64 * 4]),
     SECOND + GATE + rf": ends at byte {(1 << 40) + 96 * 64 * 4} .*has only \d+" + DOWNLOAD),
    ("a tensor without values", entry(ROWS, shape=[0, 64]),
     SECOND + GATE + ": has a dimension of 0" + DOWNLOAD),
    ("a tensor longer than its data", entry(ROWS, shape=[97, 64]),
     SECOND + GATE + r": has 24576 bytes of data, .*need 24832" + DOWNLOAD),
    ("a count that overflows", entry(ROWS, shape=[1 << 33, 1 << 33]),
     SECOND + GATE + f": has a dimension of {1 << 33}" + DOWNLOAD),
    ("a tensor twice", twice, SECOND + "tensor [a-z0-9_.]+: occurs twice" + DOWNLOAD),
    ("a misnamed tensor", lambda m: rename(m, ROWS, ROWS.replace("gate", "gait")),
     "tensor model.layers.1.mlp.gait_proj.weight is unexpected"),
    ("a tensor that is missing", lambda m: rename(m, ROWS, "model.rotary_emb.inv_freq"),
     GATE + r" of shape \(96, 64\) is missing" + DOWNLOAD),
    ("an index with a name too many", lambda m: m.weight_map.update(ghost=SHARDS[1]),
     SECOND + "lacks tensor ghost" + DOWNLOAD),
    ("an index with a name too few", lambda m: m.weight_map.pop(ROWS),
     SECOND + "holds " + GATE + DOWNLOAD),
]


def swapped(folder):
    first, second = (folder / name for name in SHARDS)
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)


def lengthened(folder):
    (folder / SHARDS[1]).write_bytes((folder / SHARDS[1]).read_bytes() + b"\0")


def cut(name, by):
    def change(folder):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:-by])
    return change


# what is wrong with files, how, code, what the line says
FILES = [
    ("a missing shard", lambda f: (f / SHARDS[1]).unlink(), NO_INPUT,
     r"shard model-00002-of-00002\.safetensors is missing, which .*index\.json lists: download"),
    ("swapped shards", swapped, BAD_DATA,
     r"model-00001-of-00002\.safetensors: holds tensor .*places elsewhere" + DOWNLOAD),
    ("a shard that is cut", cut(SHARDS[1], 1), BAD_DATA,
     SECOND + r"tensor .*ends at byte \d+ .*has only \d+: the file is truncated" + DOWNLOAD),
    ("a shard that is longer", lengthened, BAD_DATA,
     SECOND + r"the tensors end at byte \d+, but the file at \d+" + DOWNLOAD),
    ("an empty shard", lambda f: (f / SHARDS[1]).write_bytes(b""), BAD_DATA,
     SECOND + "the file is empty" + DOWNLOAD),
    ("an index that is cut", cut(INDEX, 1), BAD_DATA, r"index\.json: is not JSON from byte \d+"),
]

# what is wrong with the tokenizer, how, what the line says
TOKENIZERS = [
    ("an id twice", lambda t: t["model"]["vocab"].update(ab=97),
     r"key model\.vocab gives the id 97 to 'a' and to 'ab'" + DOWNLOAD),
    ("a token twice", lambda t: t["added_tokens"].append(t["added_tokens"][0] | {"id": 255}),
     r"key added_tokens\[1\].*'<\|endoftext\|>' a second time" + DOWNLOAD),
    ("a merge of no token", lambda t: t["model"]["merges"].append("a zz"),
     r"key model\.merges\[0\] names '(zz|azz)', no token" + DOWNLOAD),
    ("an id outside the embedding", lambda t: t["model"]["vocab"].update(ab=257),
     r"key model\.vocab gives 'ab' the id 257, outside"),
]


class BadFolderTest(RefusalTest):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def refuses_folder(self, what, code, line):
        self.refuses(what, ["generate", str(self.folder), "--prompt", "x"], code, line)

    def test_the_tiny_folder_itself_is_right(self):
        TinyFolder().write(self.folder)
        done = longspan_command.run(["generate", str(self.folder), "--prompt", "x", "--max-tokens",
                                     "2"])
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_wrong_and_hostile_weights(self):
        self.ranks = (0,)  # the files below are refused under mpirun too
        for what, change, line in WRONG:
            model = TinyFolder()
            change(model)
            model.write(self.folder)
            self.refuses_folder(what, BAD_DATA, line)

    def test_files_that_are_missing_cut_or_mixed_up(self):
        for what, change, code, line in FILES:
            TinyFolder().write(self.folder)
            change(self.folder)
            self.refuses_folder(what, code, line)

    def test_tokenizers_that_contradict_themselves(self):
        self.ranks = (0,)
        for what, change, line in TOKENIZERS:
            model = TinyFolder()
            change(model.tokenizer)
            model.write(self.folder)
            self.refuses_folder(what, BAD_DATA, r"tokenizer\.json: " + line)

    def test_a_token_twice_in_one_object(self):
        model = TinyFolder()
        model.write(self.folder)
        text = json.dumps(model.tokenizer).replace('"vocab": {', '"vocab": {"a": 97, ')
        (self.folder / "tokenizer.json").write_text(text)
        self.refuses_folder("a key twice", BAD_DATA, r"tokenizer\.json: has key 'a' twice")


if __name__ == "__main__":
    unittest.main()
