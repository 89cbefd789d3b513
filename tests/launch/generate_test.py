"""What a person sees of `longspan generate`: text on standard output, from one prompt or several,
over as many ranks as asked for."""

import json
import pathlib
import tempfile
import unittest

import longspan_command
from longspan_command import generate


class GenerateTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(longspan_command.GOLDENS) as file:
            cls.cases = {case["name"]: case for case in json.load(file)["cases"]}

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.prompts = pathlib.Path(folder.name) / "prompts.jsonl"

    def text(self, name):
        return self.cases[name]["text"]

    def prompts_file(self, *names):
        lines = [json.dumps({"prompt": self.text(name)}) for name in names]
        self.prompts.write_text("\n".join(lines))
        return str(self.prompts)

    def test_the_text_is_the_text_of_the_json(self):
        options = ["--prompt", self.text("chat"), "--max-tokens", "12"]
        answer = json.loads(generate(*options, "--json"))
        self.assertEqual(generate(*options), answer["text"] + "\n")

    def test_a_prompt_from_standard_input(self):
        prompt = self.text("unicode")
        expected = generate("--prompt", prompt, "--max-tokens", "12")
        for ranks in (0, 2):
            out = generate("--prompt-file", "-", "--max-tokens", "12", ranks=ranks,
                           stdin=prompt.encode())
            self.assertEqual(out, expected)

    def test_files_are_read_byte_for_byte(self):
        for text in ("a\r\nb\n", "\ufeffa", "a\0b", " \n"):
            ids = json.loads(generate("--prompt-file", "-", "--max-tokens", "1", "--json",
                                      stdin=text.encode()))["prompt_ids"]
            self.prompts.write_text(json.dumps({"prompt": text}))
            again = json.loads(generate("--prompts", str(self.prompts), "--max-tokens", "1",
                                        "--json"))["prompt_ids"]
            self.assertEqual(ids, again)

    def test_nothing_forced_gives_the_reference_and_what_was_measured_is_kept(self):
        case = self.cases["gpl-1k"]
        with tempfile.TemporaryDirectory() as cache:
            kept = []
            for _ in range(2):
                answer = json.loads(generate(
                    "--prompt", case["text"], "--max-tokens", "8", "--json", "--ignore-eos", ranks=3,
                    LONGSPAN_CALIBRATE="quick", XDG_CACHE_HOME=cache))
                self.assertEqual(answer["ids"], case["ids"][:8])
                self.assertGreater(answer["predicted_s"], 0)
                kept.append({file: file.read_bytes() for file in pathlib.Path(cache).rglob("*.json")})
        self.assertEqual(len(kept[0]), 1)
        self.assertEqual(kept[0], kept[1])

    def test_several_prompts_come_in_order_under_headings(self):
        file = self.prompts_file("count", "short", "chat")
        lines = generate("--prompts", file, "--max-tokens", "9", "--json").splitlines()
        texts = [json.loads(line)["text"] for line in lines]
        expected = "\n".join(f"--- answer {n} of 3\n{text}" for n, text in enumerate(texts, 1))
        for ranks in (0, 2):
            out = generate("--prompts", file, "--max-tokens", "9", ranks=ranks)
            self.assertEqual(out, expected + "\n")

    def test_degrees_are_compared(self):
        done = longspan_command.run(
            ["generate", longspan_command.MODEL, "--threads", "1", "--prompts",
             self.prompts_file("short", "count"), "--max-tokens", "8", "--compare-degrees",
             "1,2,3"], ranks=3)
        self.assertEqual(done.returncode, 0, done.stderr)
        for degree in (2, 3):
            self.assertIn(f"degree {degree} gives the same tokens as degree 1", done.stderr.decode())

    def test_degrees_of_instances_are_compared(self):
        done = longspan_command.run(
            ["generate", longspan_command.MODEL, "--threads", "1", "--prompt", self.text("short"),
             "--max-tokens", "8", "--tp", "3", "--compare-degrees", "1,2"], ranks=6)
        said = done.stderr.decode()
        self.assertEqual(done.returncode, 0, said)
        self.assertIn("over 2 instances of 3 ranks, wrote", said)
        self.assertIn("degree 2 gives the same tokens as degree 1", said)

    def test_ranks_beyond_the_degree_idle(self):
        answer = json.loads(generate("--prompt", self.text("short"), "--max-tokens", "4", "--json",
                                     "--degree", "2", "--page-tokens", "1", ranks=4))
        self.assertEqual(answer["ids"], self.cases["short"]["ids"][:4])
        self.assertEqual(answer["degree"], 2)
        self.assertEqual([rank["sent_bytes"] > 0 for rank in answer["ranks"]],
                         [True, True, False, False])

    def test_progress_and_summary_stay_out_of_the_text(self):
        done = longspan_command.run(["generate", longspan_command.MODEL, "--threads", "1",
                                     "--prompt", self.text("short"), "--max-tokens", "2"])
        for line in done.stderr.decode().splitlines():
            self.assertRegex(line, r"^longspan: (loaded|read) ")
        self.assertNotIn(b"longspan", done.stdout)


if __name__ == "__main__":
    unittest.main()
