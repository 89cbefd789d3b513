"""Sampling as a person asks for it: the same seed gives the same text however many ranks write it,
and an answer ends where it was told to, never showing a part of the text that ends it.

On a tiny model, whose tokens are bytes.
"""

import json
import pathlib
import tempfile
import unittest

import longspan_command
from tiny_model import TinyModel

DRAWING = ["--temperature", "0.9", "--top-k", "40", "--top-p", "0.95", "--repetition-penalty", "1.2"]
NOTHING_ASKED = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0,
                 "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
                 "logit_bias": {}, "min_tokens": 0, "seed": None}


class SamplingTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.model = str(pathlib.Path(folder.name) / "tiny.gguf")
        pathlib.Path(cls.model).write_bytes(TinyModel().bytes())

    def answer(self, *arguments, ranks=0):
        return json.loads(longspan_command.generate(
            "--prompt", "some text " * 5, "--max-tokens", "30", "--ignore-eos", "--json", *arguments,
            model=self.model, ranks=ranks))

    def test_who_asks_for_nothing_gets_the_likeliest_tokens(self):
        answer = self.answer()
        sampling = answer["sampling"]
        self.assertEqual({key: sampling[key] for key in NOTHING_ASKED}, NOTHING_ASKED)
        self.assertEqual(answer["ids"], self.answer("--temperature", "0", "--top-p", "0.5")["ids"])

    def test_the_same_seed_gives_the_same_text_at_every_degree(self):
        alone = self.answer(*DRAWING, "--seed", "5")
        self.assertEqual(alone["sampling"]["seed"], 5)
        self.assertNotEqual(alone["ids"], self.answer()["ids"])
        self.assertNotEqual(alone["ids"], self.answer(*DRAWING, "--seed", "6")["ids"])
        split = self.answer(*DRAWING, "--seed", "5", "--prefill-chunk", "7", "--page-tokens", "4",
                            "--decode-strategy", "sliced", ranks=3)
        self.assertEqual(split["ids"], alone["ids"])

    def test_several_answers_to_a_prompt_are_drawn_apart_and_it_is_read_once(self):
        alone = self.answer(*DRAWING, "--seed", "5")
        texts = []
        for ranks in (0, 3):
            done = longspan_command.generate(
                "--prompt", "some text " * 5, "--max-tokens", "30", "--ignore-eos", "--json", "--n",
                "3", *DRAWING, "--seed", "5", model=self.model, ranks=ranks)
            answers = [json.loads(line) for line in done.splitlines()]
            self.assertEqual(answers[0]["ids"], alone["ids"])
            self.assertEqual(len({answer["text"] for answer in answers}), 3)
            cached = [answer["timings"]["cached_tokens"] for answer in answers]
            self.assertEqual(cached, [0, 50, 50])
            texts.append([answer["text"] for answer in answers])
        self.assertEqual(texts[0], texts[1])

    def test_the_seed_that_nobody_gave_can_be_given_again(self):
        first = self.answer(*DRAWING)
        again = self.answer(*DRAWING, "--seed", str(first["sampling"]["seed"]))
        self.assertEqual(again["ids"], first["ids"])

    def test_degrees_are_compared(self):
        done = longspan_command.run(
            ["generate", self.model, "--threads", "1", "--prompt", "some text", "--max-tokens", "20",
             *DRAWING, "--compare-degrees", "1,2"], ranks=2)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr.decode(), "gives the same tokens|both are right")

    def test_a_bias_bans_a_token(self):
        best = self.answer()["ids"][0]
        self.assertNotIn(best, self.answer("--logit-bias", f"{best}:-100")["ids"])

    def test_a_text_ends_the_answer_before_it_shows(self):
        whole = self.answer("--seed", "1")
        text = whole["text"]
        stop = text[9:13]
        end = text.index(stop)
        for ranks in (0, 2):
            answer = self.answer("--seed", "1", "--stop", json.dumps(["never said", stop]),
                                 ranks=ranks)
            self.assertEqual(answer["text"], text[:end])
            self.assertEqual(answer["finish_reason"], "stop")
            self.assertEqual(answer["stop_reason"], stop)
            self.assertLess(len(answer["ids"]), len(whole["ids"]))
        self.assertNotEqual(self.answer("--seed", "1", "--stop", stop, "--min-tokens", "30")["text"],
                            text[:end])

    def test_an_id_ends_the_answer(self):
        ids = self.answer("--seed", "1")["ids"]
        answer = self.answer("--seed", "1", "--stop-ids", f"0,{ids[6]}")
        self.assertEqual(answer["ids"], ids[:ids.index(ids[6])])
        self.assertEqual(answer["stop_reason"], ids[6])

    def test_nothing_that_may_be_a_stop_is_streamed(self):
        text = self.answer("--seed", "1")["text"]
        shown = longspan_command.generate(
            "--prompt", "some text " * 5, "--max-tokens", "30", "--ignore-eos", "--seed", "1",
            "--stop", text[9:13], model=self.model)
        self.assertEqual(shown, text[:text.index(text[9:13])] + "\n")


if __name__ == "__main__":
    unittest.main()
