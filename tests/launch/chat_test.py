"""--chat: the prompt in the words of the model's template, for the real model and for templates that
raise, never end or are missing."""

import json
import pathlib
import tempfile
import unittest

import longspan_command
from tiny_model import TinyModel, string

BAD_DATA = 65


class ChatTest(unittest.TestCase):
    def test_the_real_model_is_asked_in_its_own_words(self):
        asked = ["--max-tokens", "2", "--json"]
        spelled_out = ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi there<|im_end|>\n"
                       "<|im_start|>assistant\n")
        expected = json.loads(longspan_command.generate("--prompt", spelled_out, *asked))
        answer = json.loads(longspan_command.generate("--prompt", "Hi there", "--chat", "--system",
                                                      "Be brief.", *asked, ranks=2))
        self.assertEqual(answer["prompt_ids"], expected["prompt_ids"])
        self.assertEqual(answer["ids"], expected["ids"])

    def run_with(self, template, *arguments, ranks=0):
        with tempfile.TemporaryDirectory() as folder:
            model = TinyModel()
            if template is not None:
                model.keys["tokenizer.chat_template"] = string(template)
            path = pathlib.Path(folder) / "tiny.gguf"
            path.write_bytes(model.bytes())
            return longspan_command.run(["generate", str(path), "--threads", "1", "--prompt", "hello",
                                         "--max-tokens", "1", "--chat", "--json", *arguments],
                                        ranks=ranks)

    def refused(self, template, line, *arguments, ranks=0):
        done = self.run_with(template, *arguments, ranks=ranks)
        said = done.stderr.decode()
        self.assertEqual(done.returncode, BAD_DATA, said)
        self.assertRegex(said, line)
        self.assertEqual(done.stdout, b"")

    def test_every_message_reaches_the_template(self):
        template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        done = self.run_with(template, "--system", "be")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(bytes(json.loads(done.stdout)["prompt_ids"]), b"<system>be<user>hello")

    def test_a_template_that_raises_stops_with_its_own_message(self):
        for ranks in (0, 2):
            self.refused("\n{{ raise_exception('no system message, please') }}",
                         "chat_template, line 2, refuses: no system message, please", ranks=ranks)

    def test_a_template_without_end_stops_at_its_limit(self):
        self.refused("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
                     "takes more than 1000000 steps")

    def test_a_model_without_a_template_says_so(self):
        self.refused(None, "has no chat template")

    def test_a_template_that_is_none_is_refused_with_its_line(self):
        self.refused("a\n{% if %}", "line 2: unexpected")


if __name__ == "__main__":
    unittest.main()
