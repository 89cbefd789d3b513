"""Approximate attention on the real model: it says so, every degree writes the same, and patterns that
show everything change nothing."""

import json
import unittest

import longspan_command

MAX_DNLL = 1e-4
PATTERNS = {"sinks": ["--sink-tokens", "4", "--window-tokens", "64"],
            "star": ["--block-tokens", "200"]}


class ApproximateTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(longspan_command.GOLDENS) as file:
            cases = {case["name"]: case for case in json.load(file)["cases"]}
        cls.golden = cases["gpl-1k"]

    def answer(self, *arguments, ranks=0):
        return json.loads(longspan_command.generate(
            "--json", "--prompt", self.golden["text"], "--max-tokens", "8", "--ignore-eos",
            "--prompt-nll", *arguments, ranks=ranks))

    def test_degrees_agree_and_the_answer_says_what_it_is(self):
        for kind, sizes in PATTERNS.items():
            asked = ["--attention", kind, *sizes]
            alone = self.answer(*asked)
            self.assertEqual(alone["attention"], kind)
            self.assertIs(alone["approximate"], True)
            self.assertGreater(abs(alone["prompt_nll"] - self.golden["prompt_nll"]), MAX_DNLL)
            for ranks, chunk, layout in [(2, "300", "contiguous"), (3, "1M", "block-cyclic")]:
                split = self.answer(*asked, "--prefill-chunk", chunk, "--layout", layout, ranks=ranks)
                self.assertEqual(split["ids"], alone["ids"], f"{kind} on {ranks} ranks")
                self.assertLessEqual(abs(split["prompt_nll"] - alone["prompt_nll"]), MAX_DNLL)

    def test_without_being_asked_attention_is_exact(self):
        answer = self.answer()
        self.assertEqual(answer["attention"], "exact")
        self.assertIs(answer["approximate"], False)

    def test_a_pattern_that_shows_everything_is_exact(self):
        answer = self.answer("--attention", "star", "--block-tokens", "2K")
        self.assertEqual(answer["ids"], self.golden["ids"][:8])
        self.assertLessEqual(abs(answer["prompt_nll"] - self.golden["prompt_nll"]), MAX_DNLL)
        self.assertIs(answer["approximate"], True)  # it was asked for

    def test_the_summary_for_a_person_says_it_too(self):
        for asked, said in [(["--attention", "sinks"], True), ([], False)]:
            done = longspan_command.run(["generate", longspan_command.MODEL, "--threads", "1",
                                         "--prompt", "x", "--max-tokens", "1", *asked])
            self.assertEqual(b"approximate (sinks attention)" in done.stderr, said, done.stderr)


if __name__ == "__main__":
    unittest.main()
