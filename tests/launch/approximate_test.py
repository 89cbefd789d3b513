"""Approximate attention on the real model: it says so, every degree writes the same, and patterns
that show everything change nothing."""

import json
import unittest

import longspan_command

MAX_DNLL = 1e-4
# Where keys are chosen, two of almost the same score may change places from degree to degree.
MAX_CHOSEN_DNLL = 2e-2
PATTERNS = {"sinks": (["--sink-tokens", "4", "--window-tokens", "30"], MAX_DNLL),
            "star": (["--block-tokens", "40"], MAX_DNLL),
            "apb": (["--block-tokens", "40", "--observed-tokens", "8"], MAX_CHOSEN_DNLL),
            "block-sparse": (["--block-tokens", "16", "--block-mass", "0.8"], MAX_CHOSEN_DNLL)}


class ApproximateTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(longspan_command.GOLDENS) as file:
            cases = {case["name"]: case for case in json.load(file)["cases"]}
        cls.prompt = cases["gpl-1k"]["text"][:1000]
        cls.exact = cls.answer()

    @classmethod
    def answer(cls, *arguments, ranks=0):
        return json.loads(longspan_command.generate(
            "--json", "--prompt", cls.prompt, "--max-tokens", "4", "--ignore-eos", "--prompt-nll",
            *arguments, ranks=ranks))

    def test_degrees_agree_and_the_answer_says_what_it_is(self):
        for kind, (sizes, limit) in PATTERNS.items():
            alone = self.answer("--attention", kind, *sizes)
            self.assertEqual(alone["attention"], kind)
            self.assertIs(alone["approximate"], True)
            self.assertGreater(abs(alone["prompt_nll"] - self.exact["prompt_nll"]), MAX_DNLL)
            split = self.answer("--attention", kind, *sizes, "--layout", "contiguous", ranks=3)
            self.assertEqual(split["ids"], alone["ids"], kind)
            self.assertLessEqual(abs(split["prompt_nll"] - alone["prompt_nll"]), limit, kind)

    def test_without_being_asked_attention_is_exact(self):
        self.assertEqual(self.exact["attention"], "exact")
        self.assertIs(self.exact["approximate"], False)

    def test_a_pattern_that_shows_everything_is_exact(self):
        answer = self.answer("--attention", "block-sparse", "--block-mass", "1")
        self.assertEqual(answer["ids"], self.exact["ids"])
        self.assertLessEqual(abs(answer["prompt_nll"] - self.exact["prompt_nll"]), MAX_DNLL)
        self.assertIs(answer["approximate"], True)  # it was asked for

    def test_the_summary_for_a_person_says_it_too(self):
        for asked, said in [(["--attention", "sinks"], True), ([], False)]:
            done = longspan_command.run(["generate", longspan_command.MODEL, "--threads", "1",
                                         "--prompt", "x", "--max-tokens", "1", *asked])
            self.assertEqual(b"approximate (sinks attention)" in done.stderr, said, done.stderr)


if __name__ == "__main__":
    unittest.main()
