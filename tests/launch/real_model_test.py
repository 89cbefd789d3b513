"""SmolLM2 says what the reference said, where goldens.py does not look: at stops and forced ids."""

import json
import tempfile
import unittest

import longspan_command

END_OF_TURN = 2
WOMAN = [10813, 235, 119]  # the emoji; each token is a part of its four bytes
MAX_DLOGPROB = 2e-3
MAX_DNLL = 1e-4


class RealModelTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(longspan_command.GOLDENS) as file:
            cls.cases = {case["name"]: case for case in json.load(file)["cases"]}

    def answer(self, case, *arguments):
        return json.loads(longspan_command.generate("--json", "--prompt", case["text"], *arguments))

    def forced(self, case, ids, *arguments):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(ids, file)
            file.flush()
            return self.answer(case, "--force-ids", file.name, "--max-tokens", str(len(ids)),
                               *arguments)

    def test_the_model_stops_by_itself(self):
        golden = self.cases["short"]
        stop = golden["ids"].index(END_OF_TURN)
        answer = self.answer(golden, "--max-tokens", "64")
        self.assertEqual(answer["ids"], golden["ids"][:stop])
        self.assertEqual(answer["finish_reason"], "stop")
        self.assertTrue(golden["output_text"].startswith(answer["text"] + "<|im_end|>"))

    def test_the_limit_comes_before_a_stop_that_was_not_reached(self):
        golden = self.cases["short"]
        stop = golden["ids"].index(END_OF_TURN)
        answer = self.answer(golden, "--max-tokens", str(stop))
        self.assertEqual(answer["ids"], golden["ids"][:stop])
        self.assertEqual(answer["finish_reason"], "length")

    def test_the_reference_probabilities_along_its_path(self):
        golden = self.cases["unicode"]
        answer = self.forced(golden, golden["ids"], "--logprobs", "5", "--prompt-nll")
        self.assertEqual(answer["ids"], golden["ids"])
        self.assertEqual(answer["text"], golden["output_text"])
        self.assertLessEqual(abs(answer["prompt_nll"] - golden["prompt_nll"]), MAX_DNLL)
        for token, expected, top in zip(answer["logprobs"], golden["logprobs"], golden["top5"],
                                        strict=True):
            self.assertLessEqual(abs(token["logprob"] - expected), MAX_DLOGPROB)
            self.assertEqual([t["id"] for t in token["top"]][0], top[0][0])

    def test_another_path_starts_with_the_same_probabilities(self):
        """The id is forced; what it is chosen from stays the model's."""
        golden = self.cases["short"]
        other = golden["top5"][0][0][1]
        token = self.forced(golden, [other], "--logprobs", "5")["logprobs"][0]
        self.assertEqual(token["id"], other)
        for ours, id, logprob in zip(token["top"], *golden["top5"][0], strict=True):
            self.assertEqual(ours["id"], id)
            self.assertLessEqual(abs(ours["logprob"] - logprob), MAX_DLOGPROB)
        self.assertEqual(token["logprob"], token["top"][1]["logprob"])

    def test_a_token_that_is_a_part_of_a_character(self):
        golden = self.cases["unicode"]
        for parts, text in [(1, "\ufffd"), (2, "\ufffd"), (3, "\U0001f469")]:
            self.assertEqual(self.forced(golden, WOMAN[:parts])["text"], text)


if __name__ == "__main__":
    unittest.main()
