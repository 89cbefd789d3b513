"""What lies beside the weights of a model folder, as a person meets it: ends of text and defaults of
sampling, files that are missing, and the three places of a chat template.

On a tiny model, whose tokens are bytes.
"""

import json
import pathlib
import tempfile
import unittest

import longspan_command
from tiny_folder import TinyFolder

USAGE, BAD_DATA = 2, 65
SAYS_ROLES = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


class FolderTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_with(self, *arguments):
        return longspan_command.run(["generate", str(self.folder), "--threads", "1", "--json",
                                     "--max-tokens", "12", *arguments])

    def answer(self, *arguments):
        done = self.run_with(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def refused(self, code, line, *arguments):
        done = self.run_with(*arguments)
        said = done.stderr.decode()
        self.assertEqual(done.returncode, code, said)
        self.assertRegex(said, line)
        self.assertEqual(done.stdout, b"")

    def prompt_of(self, *arguments):
        return bytes(self.answer("--chat", "--prompt", "hello", *arguments)["prompt_ids"]).decode()

    def test_any_of_several_ends_ends_an_answer(self):
        """A list in generation_config.json; in config.json where that is missing. --generation-config
        none passes over the defaults of sampling, not over these."""
        TinyFolder().write(self.folder)
        ids = self.answer("--prompt", "some text")["ids"]
        end = ids[-1]
        self.assertEqual(len(ids), 12)
        before = ids[:ids.index(end)]
        ends = {"eos_token_id": [next(i for i in range(256) if i not in ids), end]}
        for files in ({"generation_config": ends}, {"generation_config": None,
                                                    "config": TinyFolder().config | ends}):
            TinyFolder().write(self.folder, **files)
            for asked in ([], ["--generation-config", "none"]):
                answer = self.answer("--prompt", "some text", *asked)
                self.assertEqual(answer["ids"], before)
                self.assertEqual((answer["finish_reason"], answer["stop_reason"]), ("stop", end))
            self.assertEqual(self.answer("--prompt", "some text", "--ignore-eos")["ids"], ids)

    def test_defaults_of_sampling_are_the_models_unless_they_are_passed_over(self):
        TinyFolder().write(self.folder, generation_config={
            "do_sample": True, "temperature": 0.5, "top_k": 9, "top_p": 0.8, "min_p": 0.01,
            "repetition_penalty": 1.1})
        told = self.answer("--prompt", "x", "--top-k", "7")["sampling"]
        self.assertEqual([told[key] for key in ("temperature", "top_k", "top_p", "min_p",
                                                "repetition_penalty")], [0.5, 7, 0.8, 0.01, 1.1])
        plain = self.answer("--prompt", "x", "--generation-config", "none")["sampling"]
        self.assertEqual([plain[key] for key in ("temperature", "top_k", "top_p", "min_p",
                                                 "repetition_penalty")], [0, 0, 1, 0, 1])

    def test_a_default_out_of_range_matters_only_to_who_wants_it(self):
        TinyFolder().write(self.folder, generation_config={"temperature": 3})
        self.refused(BAD_DATA, "generation_config.json: .*temperature must be", "--prompt", "x")
        self.answer("--prompt", "x", "--generation-config", "none")

    def test_a_folder_without_a_tokenizer_takes_ids(self):
        TinyFolder().write(self.folder, tokenizer=None)
        ids = self.folder / "ids.json"
        ids.write_text("[104, 105]")
        answer = self.answer("--prompt-ids", str(ids))
        self.assertEqual(answer["text"], "".join(f"<{id_}>" for id_ in answer["ids"]))
        self.refused(USAGE, "tokenizer.json", "--prompt", "hi")

    def test_a_chat_template_may_be_in_three_places(self):
        TinyFolder().write(self.folder, tokenizer_config={"chat_template": "1" + SAYS_ROLES})
        self.assertEqual(self.prompt_of(), "1<user>hello")
        TinyFolder().write(self.folder, tokenizer_config={"chat_template": [
            {"name": "tool_use", "template": "tools"},
            {"name": "default", "template": "2" + SAYS_ROLES}]})
        self.assertEqual(self.prompt_of("--system", "be"), "2<system>be<user>hello")
        (self.folder / "chat_template.jinja").write_text("3" + SAYS_ROLES)
        self.assertEqual(self.prompt_of(), "3<user>hello")


if __name__ == "__main__":
    unittest.main()
