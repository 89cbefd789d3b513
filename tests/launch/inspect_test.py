"""What `longspan inspect` tells of a GGUF file and of a folder, and that its JSON says the same."""

import json
import pathlib
import tempfile
import unittest

import longspan_command
from tiny_folder import TinyFolder, shapes
from tiny_model import CONTEXT, FFN, HEADS, HIDDEN, KV_HEADS, LAYERS, VOCABULARY, TinyModel, string

TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


class InspectTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self):
        model = TinyModel()
        model.keys["tokenizer.chat_template"] = string(TEMPLATE)
        (self.folder / "tiny.gguf").write_bytes(model.bytes())
        return self.folder / "tiny.gguf"

    def directory(self):
        TinyFolder().write(self.folder)
        (self.folder / "chat_template.jinja").write_text(TEMPLATE)
        return self.folder

    def inspect(self, model, *arguments):
        done = longspan_command.run(["inspect", str(model), *arguments])
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return done.stdout.decode()

    def test_text_has_a_row_for_everything(self):
        for model, template in ((self.file(), "tiny.gguf: tokenizer.chat_template"),
                                (self.directory(), "chat_template.jinja")):
            text = self.inspect(model)
            for row in ("architecture +(llama|LlamaForCausalLM)\n", f"layers +{LAYERS}\n",
                        f"heads +{HEADS} query, {KV_HEADS} key/value, {HIDDEN // HEADS} values each",
                        "Ulysses degrees +1, 2, 4\n", "tensor parallel +--tp 1, 2, 4\n",
                        f"context +{CONTEXT} tokens", "tokenizer +.*, 257 tokens",
                        rf"chat template +{len(TEMPLATE)} bytes, .*{template}\n",
                        "F32 tensors +20, ", "KV per token +", "manifest +none; --write-manifest"):
                self.assertRegex(text, row)

    def test_every_tensor_is_listed_when_asked(self):
        text = self.inspect(self.directory(), "--tensors")
        self.assertIn(f"tensors           {len(shapes())} tensors\n", text)
        for name, shape in shapes().items():
            listed = r"\({}\)".format(", ".join(map(str, shape)))
            self.assertRegex(text, rf"\n  {name} +F32 +{listed} ")

    def test_json_says_the_same(self):
        told = json.loads(self.inspect(self.file(), "--json", "--tensors"))
        self.assertEqual(
            {key: told[key] for key in ("layers", "hidden", "ffn", "query_heads", "kv_heads",
                                        "ulysses_degrees", "usable_tp", "vocabulary", "context")},
            {"layers": LAYERS, "hidden": HIDDEN, "ffn": FFN, "query_heads": HEADS,
             "kv_heads": KV_HEADS, "ulysses_degrees": [1, 2, 4], "usable_tp": [1, 2, 4],
             "vocabulary": VOCABULARY, "context": CONTEXT})
        self.assertEqual(len(told["tensors"]), told["types"]["F32"]["tensors"])
        self.assertEqual(sum(tensor["bytes"] for tensor in told["tensors"]),
                         told["types"]["F32"]["bytes"])
        self.assertTrue(told["chat_template"].endswith("tokenizer.chat_template"))
        self.assertNotIn("tensors", json.loads(self.inspect(self.file(), "--json")))

    def test_a_model_without_a_template_says_so(self):
        (self.folder / "plain.gguf").write_bytes(TinyModel().bytes())
        self.assertRegex(self.inspect(self.folder / "plain.gguf"), "chat template +none\n")
        told = json.loads(self.inspect(self.folder / "plain.gguf", "--json"))
        self.assertIsNone(told["chat_template"])


if __name__ == "__main__":
    unittest.main()
