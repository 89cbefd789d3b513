"""Model files that are missing, damaged, hostile or of another kind are refused in one line."""

import os
import pathlib
import struct
import tempfile
import unittest

import longspan_command
from refusal import RefusalTest
from tiny_model import FLOAT32, TinyModel, float32, padded, string, uint32

BAD_DATA, NO_INPUT = 65, 66
Q6_K = 14
NO_TYPE = 200


def wrong(change):
    """The bytes of a tiny model that `change` has altered."""
    model = TinyModel()
    change(model)
    return model.bytes()


def set_key(key, value):
    return lambda model: model.keys.__setitem__(key, value)


def set_tensor(name, **values):
    return lambda model: model.tensor(name).__dict__.update(values)


def truncations():
    """(what is cut, bytes that remain, what the line says)"""
    model = TinyModel()
    preamble = len(model.preamble())
    table = preamble + len(model.metadata())
    data = len(padded(model.preamble() + model.metadata() + model.tensor_table()))
    end = len(model.bytes())
    return [
        ("nothing left", 0, "the file is empty"),
        ("the magic", 3, "not a GGUF file"),
        ("the counts", preamble - 4, "download it again"),
        ("the first key", preamble + 5, "download it again"),
        ("the vocabulary", (preamble + table) // 2, "download it again"),
        ("the tensor table", (table + data) // 2, "download it again"),
        ("all tensors", data, "download it again"),
        ("half the tensors", (data + end) // 2, "download it again"),
        ("the last byte", end - 1, "download it again"),
    ]


# what is wrong, how, what the line says
WRONG = [
    ("another magic", lambda m: setattr(m, "magic", b"GGML"), "GGUF"),
    ("a web page", lambda m: setattr(m, "magic", b"<!DO"), "GGUF"),
    ("an old version", lambda m: setattr(m, "version", 1), "version 1"),
    ("a future version", lambda m: setattr(m, "version", 99), "version 99"),
    ("the other byte order", lambda m: setattr(m, "version", 3 << 24), "(byte order|endian)"),
    ("more tensors than bytes", lambda m: setattr(m, "tensor_count", 1 << 60), str(1 << 60)),
    ("more keys than bytes", lambda m: setattr(m, "key_count", 1 << 63), str(1 << 63)),
    ("a key without an end", lambda m: m.keys.__setitem__("x", struct.pack("<IQ", 8, 1 << 62)), ""),
    ("an array without an end",
     set_key("tokenizer.ggml.scores", struct.pack("<IIQ", 9, FLOAT32, 1 << 61)), ""),
    ("a value of no type", set_key("general.x", struct.pack("<II", 99, 0)), "99"),
    ("another architecture", set_key("general.architecture", string("mamba")),
     "architecture 'mamba'.*llama"),
    ("an architecture with control characters",
     set_key("general.architecture", string(b"\x1b[2Jll\nama")), r"architecture '.*\[2Jll"),
    ("no architecture", lambda m: m.keys.pop("general.architecture"), "general.architecture"),
    ("other mathematics", set_key("llama.attn_logit_softcapping", float32(30)), "softcapping"),
    ("no layers", set_key("llama.block_count", uint32(0)), "llama.block_count is 0"),
    ("a context of nothing", set_key("llama.context_length", uint32(0)), "context_length is 0"),
    ("heads that do not divide", set_key("llama.attention.head_count_kv", uint32(3)), "is 3"),
    ("a number that is text", set_key("llama.block_count", string("two")), "llama.block_count"),
    ("another tokenizer", set_key("tokenizer.ggml.model", string("bert")), "'bert'"),
    ("an unsupported tensor type", set_tensor("blk.0.ffn_up.weight", type=Q6_K),
     r"blk\.0\.ffn_up\.weight.*Q6_K"),
    ("a tensor type that nobody has", set_tensor("blk.0.ffn_up.weight", type=NO_TYPE),
     r"blk\.0\.ffn_up\.weight.*200"),
    ("a tensor of the wrong shape", set_tensor("blk.1.attn_k.weight", shape=(32, 64)),
     r"blk\.1\.attn_k\.weight"),
    ("a tensor without elements", set_tensor("blk.1.attn_k.weight", shape=(64, 0)),
     r"blk\.1\.attn_k\.weight"),
    ("a size that overflows", set_tensor("blk.1.attn_k.weight", shape=(1 << 32, 1 << 32)),
     r"blk\.1\.attn_k\.weight"),
    ("five dimensions", set_tensor("blk.1.attn_k.weight", shape=(64, 32, 1, 1, 1)),
     r"blk\.1\.attn_k\.weight"),
    ("a tensor beyond the file", set_tensor("output_norm.weight", offset=1 << 40),
     r"output_norm\.weight"),
    ("an offset that wraps", set_tensor("output_norm.weight", offset=(1 << 64) - 32),
     r"output_norm\.weight"),
    ("an offset that is not aligned", set_tensor("output_norm.weight", offset=4),
     r"output_norm\.weight"),
    ("a missing tensor", lambda m: m.tensors.remove(m.tensor("blk.0.attn_q.weight")),
     r"blk\.0\.attn_q\.weight.*missing"),
    ("a tensor twice", lambda m: m.tensors.append(m.tensor("blk.0.attn_q.weight")),
     r"blk\.0\.attn_q\.weight"),
    ("an unknown key of the mathematics", set_key("llama.novelty", uint32(1)), r"llama\.novelty"),
]


class BadModelTest(RefusalTest):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self, data):
        path = self.folder / "model.gguf"
        path.write_bytes(data)
        return str(path)

    def refuses_model(self, what, model, code, line):
        self.refuses(what, ["generate", model, "--prompt", "x"], code, line)

    def test_the_tiny_model_itself_is_right(self):
        """Without this, a mistake of the writer would look like a refusal of the reader."""
        model = self.file(TinyModel().bytes())
        done = longspan_command.run(["generate", model, "--prompt", "x", "--max-tokens", "2"])
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_missing_file(self):
        self.refuses_model("missing", str(self.folder / "none.gguf"), NO_INPUT,
                           r"none\.gguf.*No such file")

    def test_a_folder(self):
        self.refuses_model("folder", str(self.folder), NO_INPUT, "neither model.safetensors")

    def test_a_pipe_does_not_hang(self):
        os.mkfifo(self.folder / "pipe")
        self.refuses_model("pipe", str(self.folder / "pipe"), BAD_DATA, "regular file")

    def test_truncated_files(self):
        whole = TinyModel().bytes()
        for what, remain, line in truncations():
            self.refuses_model(f"without {what}", self.file(whole[:remain]), BAD_DATA,
                               r"model\.gguf: .*" + line)

    def test_the_real_model_truncated(self):
        with open(longspan_command.MODEL, "rb") as file:
            start = file.read(10 << 20)
        self.refuses_model("10 MiB of it", self.file(start), BAD_DATA, "download it again")

    def test_wrong_and_hostile_files(self):
        for what, change, line in WRONG:
            self.refuses_model(what, self.file(wrong(change)), BAD_DATA, r"model\.gguf: .*" + line)

    def test_inspect_refuses_alike(self):
        self.refuses("inspect", ["inspect", self.file(b"GGUF")], BAD_DATA, "download it again")


if __name__ == "__main__":
    unittest.main()
