"""The object that `longspan generate --json` prints: every key, with its type and meaning.

On a tiny model, whose tokens are bytes; real_model_test.py asks a real one.
"""

import json
import math
import pathlib
import struct
import tempfile
import unittest

import longspan_command
from tiny_model import END_OF_TEXT, HIDDEN, VOCABULARY, Tensor, TinyModel

KEYS = {"model": str, "prompt_tokens": int, "prompt_ids": list, "prompt_nll": float, "ids": list,
        "text": str, "finish_reason": str, "stop_reason": type(None), "sampling": dict, "logprobs": list, "degree": int, "tp": int, "layout": str,
        "dtype": str, "kv_dtype": str, "rope_float32": bool, "strategy": str, "strategy_reason": str,
        "decode_strategy": str, "attention": str, "approximate": bool,
        "predicted_s": float, "timings": dict, "load": dict, "ranks": list}
TIMINGS = ["load_s", "prefill_s", "decode_s", "ttft_s", "prefill_tokens_per_s",
           "decode_tokens_per_s", "cached_tokens"]
LOAD = {"read_bytes": int, "read_s": float, "read_gb_per_s": float, "manifest": str}
RANK = {"rank": int, "instance": int, "tp_index": int, "host": str, "device": str, "kv_pages_used": int, "kv_pages_total": int,
        "planned_bytes": int, "resident_bytes": int,
        "sent_bytes": int, "received_bytes": int}
UNFINISHED = "\ufffd"


class JsonTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.model = self.file("tiny.gguf", TinyModel().bytes())

    def file(self, name, data):
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)

    def ids_file(self, ids):
        return self.file("ids.json", json.dumps(ids).encode())

    def answer(self, *arguments, model=None, **options):
        lines = longspan_command.generate("--json", *arguments,
                                          model=model or self.model, **options).splitlines()
        self.assertEqual(len(lines), 1)
        return json.loads(lines[0])

    def forced(self, ids, *arguments):
        return self.answer("--prompt", "x", "--force-ids", self.ids_file(ids), "--max-tokens",
                           str(len(ids)), *arguments)

    def test_every_key_has_its_type(self):
        for ranks, degree in [(0, 1), (3, 2)]:
            answer = self.answer("--prompt", "some text", "--prompt-nll", "--max-tokens", "5",
                                 "--ignore-eos", "--degree", str(degree), ranks=ranks)
            self.assertEqual({key: type(value) for key, value in answer.items()}, KEYS)
            self.assertEqual(list(answer["timings"]), TIMINGS)
            for key, value in answer["timings"].items():
                self.assertIsInstance(value, int if key == "cached_tokens" else float)
            load = answer["load"]
            self.assertEqual({key: type(value) for key, value in load.items()}, LOAD)
            self.assertAlmostEqual(load["read_gb_per_s"] * load["read_s"] * 1e9, load["read_bytes"],
                                   delta=1)
            weights = sum(len(tensor.data) for tensor in TinyModel().tensors)
            self.assertEqual((load["read_bytes"], load["manifest"]), (weights, "none"))
            self.assertEqual([rank["rank"] for rank in answer["ranks"]], list(range(max(1, ranks))))
            for rank in answer["ranks"]:
                self.assertEqual({key: type(value) for key, value in rank.items()}, RANK)
            self.assertEqual(answer["degree"], degree)

    def test_ranks_say_which_part_of_which_instance_they_are(self):
        """Twice two ranks that hold the model together write what one rank writes, in less memory."""
        asked = ["--prompt", "abc" * 20, "--max-tokens", "8", "--ignore-eos", "--prompt-nll"]
        alone = self.answer(*asked)
        self.assertEqual((alone["tp"], alone["ranks"][0]["instance"]), (1, 0))
        answer = self.answer(*asked, "--tp", "2", "--page-tokens", "4", ranks=4)
        self.assertEqual((answer["tp"], answer["degree"]), (2, 2))
        self.assertEqual([(rank["instance"], rank["tp_index"]) for rank in answer["ranks"]],
                         [(0, 0), (0, 1), (1, 0), (1, 1)])
        self.assertEqual(answer["ids"], alone["ids"])
        self.assertAlmostEqual(answer["prompt_nll"], alone["prompt_nll"], places=4)
        for rank in answer["ranks"]:
            self.assertLess(rank["planned_bytes"], alone["ranks"][0]["planned_bytes"])
            self.assertGreater(rank["kv_pages_used"], 0)

    def test_what_was_asked_comes_back(self):
        answer = self.answer("--prompt", "some\ntext\r\n", "--layout", "zigzag", "--max-tokens", "5",
                             "--ignore-eos")
        self.assertEqual(answer["model"], "Tiny")
        self.assertEqual(answer["layout"], "zigzag")
        self.assertEqual(answer["dtype"], "float32")
        self.assertEqual(answer["kv_dtype"], "float32")
        self.assertFalse(answer["rope_float32"])
        self.assertEqual(answer["strategy"], "ring")
        self.assertEqual(answer["strategy_reason"], "nothing to choose from")
        self.assertEqual(answer["decode_strategy"], "shipped")
        self.assertEqual(bytes(answer["prompt_ids"]), b"some\ntext\r\n")
        self.assertEqual(answer["prompt_tokens"], 11)
        self.assertEqual(len(answer["ids"]), 5)
        self.assertEqual([token["id"] for token in answer["logprobs"]], answer["ids"])

    def test_float32_angles_are_another_computation(self):
        """On a tiny model the two differ in the last digits, and every rank turns alike."""
        asked = ["--prompt", "abcdefgh" * 25, "--max-tokens", "2", "--prompt-nll"]
        exact = self.answer(*asked)
        alone = self.answer(*asked, "--rope-float32")
        split = self.answer(*asked, "--rope-float32", ranks=3)
        self.assertTrue(alone["rope_float32"] and split["rope_float32"])
        self.assertNotEqual(alone["prompt_nll"], exact["prompt_nll"])
        self.assertAlmostEqual(alone["prompt_nll"], exact["prompt_nll"], delta=1e-3)
        self.assertAlmostEqual(alone["prompt_nll"], split["prompt_nll"], places=5)

    def test_the_strategy_of_every_chunk_is_told(self):
        """A link so slow that keys are worth sending only while there are few of them."""
        answer = self.answer("--prompt", "abcdefgh" * 60, "--max-tokens", "1", "--throttle-link",
                             "1M,1ms", "--prefill-chunk", "128", ranks=2)
        self.assertGreater(answer["predicted_s"], 0)
        self.assertNotEqual(answer["strategy"], "ring")
        self.assertIn("predicted time", answer["strategy_reason"])
        forced = self.answer("--prompt", "abc", "--max-tokens", "1", "--strategy", "usp", ranks=4)
        self.assertEqual(forced["strategy"], "usp 2 x 2")

    def test_rates_follow_from_times(self):
        answer = self.answer("--prompt", "some text", "--max-tokens", "9", "--ignore-eos")
        times = answer["timings"]
        self.assertAlmostEqual(times["prefill_tokens_per_s"] * times["prefill_s"], 9)
        self.assertAlmostEqual(times["decode_tokens_per_s"] * times["decode_s"], 9 - 1)
        self.assertGreaterEqual(times["ttft_s"], times["prefill_s"])
        self.assertGreater(times["load_s"], 0)

    def test_a_run_that_fails_keeps_the_answers_before(self):
        """One weight so large that a logit overflows, upwards only for some prompts."""
        model = TinyModel()
        output = Tensor("output.weight", (HIDDEN, VOCABULARY), 99)
        output.data = struct.pack(f"<{HIDDEN}f", 3e38, *[0.0] * (HIDDEN - 1)) + output.data[4 * HIDDEN:]
        model.tensors.append(output)
        norm = model.tensor("output_norm.weight")
        norm.data = struct.pack("<f", 1e4) + norm.data[4:]
        run = ["generate", self.file("large.gguf", model.bytes()), "--max-tokens", "1",
               "--ignore-eos", "--prefill-chunk", "1"]  # a prompt a step
        codes = {letter: longspan_command.run([*run, "--prompt", letter]).returncode
                 for letter in "abcdefgh"}
        self.assertEqual(set(codes.values()), {0, 70})
        good = next(letter for letter, code in codes.items() if code == 0)
        bad = next(letter for letter, code in codes.items() if code == 70)

        lines = [json.dumps({"prompt": prompt}) + "\n" for prompt in (good, bad, good)]
        run += ["--prompts", self.file("prompts.jsonl", "".join(lines).encode())]
        done = longspan_command.run([*run, "--json"])
        self.assertEqual(done.returncode, 70, done.stderr)
        self.assertIn(b"is inf", done.stderr)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([(bytes(a["prompt_ids"]).decode(), len(a["ids"]), a["finish_reason"])
                          for a in answers], [(good, 1, "length")])
        text = longspan_command.run(run)
        self.assertEqual(text.returncode, 70, text.stderr)
        self.assertIn(answers[0]["text"].encode(), text.stdout)

    def test_one_token_has_no_decode_rate(self):
        times = self.answer("--prompt", "x", "--max-tokens", "1", "--ignore-eos")["timings"]
        self.assertEqual((times["decode_s"], times["decode_tokens_per_s"]), (0, 0))

    def test_the_stop_id_is_in_neither_ids_nor_text(self):
        answer = self.forced([65, END_OF_TEXT, 66])
        self.assertEqual((answer["ids"], answer["text"]), ([65], "A"))
        self.assertEqual(answer["finish_reason"], "stop")
        self.assertEqual(len(answer["logprobs"]), 1)
        answer = self.forced([END_OF_TEXT])
        self.assertEqual((answer["ids"], answer["text"]), ([], ""))

    def test_text_keeps_special_tokens(self):
        answer = self.forced([65, END_OF_TEXT, 66], "--ignore-eos")
        self.assertEqual(answer["ids"], [65, END_OF_TEXT, 66])
        self.assertEqual(answer["text"], "A<|endoftext|>B")
        self.assertEqual(answer["finish_reason"], "length")

    def test_an_unfinished_character_becomes_one_replacement(self):
        for data in [b"a\xc3", b"\xe2\x82", b"\xf0\x9f\x9a", b"\xc3\xa9\xc3"]:
            answer = self.forced(list(data))
            self.assertEqual(answer["ids"], list(data))
            self.assertEqual(answer["text"], data.decode(errors="replace"))
            self.assertTrue(answer["text"].endswith(UNFINISHED))
        self.assertEqual(self.forced(list("é€🚀".encode()))["text"], "é€🚀")

    def test_prompt_nll_is_null_unless_asked_and_zero_for_one_token(self):
        self.assertIsNone(self.answer("--prompt", "xy", "--max-tokens", "1")["prompt_nll"])
        one = self.answer("--prompt", "x", "--max-tokens", "1", "--prompt-nll")
        self.assertEqual(one["prompt_nll"], 0)

    def test_prompt_nll_is_the_mean_over_forced_steps(self):
        """The likelihood of the prompt's later tokens, asked in the other way there is."""
        whole = self.answer("--prompt", "abcd", "--prompt-nll", "--max-tokens", "1")
        steps = self.answer("--prompt", "a", "--force-ids", self.ids_file(list(b"bcd")),
                            "--max-tokens", "3")
        mean = -sum(token["logprob"] for token in steps["logprobs"]) / 3
        self.assertAlmostEqual(whole["prompt_nll"], mean, places=5)

    def test_top_is_the_k_best_in_order(self):
        for k in (0, 1, 20):
            answer = self.answer("--prompt", "xyz", "--max-tokens", "4", "--ignore-eos",
                                 "--logprobs", str(k))
            for token in answer["logprobs"]:
                top = token["top"]
                self.assertEqual(len(top), k)
                self.assertEqual(top, sorted(top, key=lambda t: (-t["logprob"], t["id"])))
                self.assertEqual(len({t["id"] for t in top}), k)
                if top:
                    self.assertEqual(top[0], {"id": token["id"], "logprob": token["logprob"]})

    def test_ties_go_to_the_lower_id(self):
        model = TinyModel()
        model.tensor("token_embd.weight").data = bytes(4 * HIDDEN * VOCABULARY)  # all logits 0
        flat = self.file("flat.gguf", model.bytes())
        answer = self.answer("--prompt", "x", "--max-tokens", "2", "--logprobs", "4", model=flat)
        self.assertEqual(answer["ids"], [0, 0])
        for token in answer["logprobs"]:
            self.assertEqual([t["id"] for t in token["top"]], [0, 1, 2, 3])
            for other in token["top"]:
                self.assertAlmostEqual(other["logprob"], -math.log(VOCABULARY), places=5)

    def test_forced_ids_leave_the_probabilities_to_the_model(self):
        free = self.answer("--prompt", "x", "--max-tokens", "1", "--logprobs", "2")
        other = free["logprobs"][0]["top"][1]
        answer = self.forced([other["id"], 65], "--logprobs", "2")
        self.assertEqual(answer["ids"], [other["id"], 65])
        self.assertEqual(answer["logprobs"][0], {**other, "top": free["logprobs"][0]["top"]})

    def test_several_prompts_give_one_object_a_line_in_order(self):
        prompts = [b'{"prompt": "%s"}' % (b"abc" * n) for n in (7, 1, 5)]
        prompts.insert(1, b'{"prompt_ids": [104, 105]}')
        file = self.file("prompts.jsonl", b"\n".join(prompts))
        for ranks in (0, 2):
            out = longspan_command.generate("--json", "--prompts", file, "--max-tokens", "4",
                                            model=self.model, ranks=ranks)
            answers = [json.loads(line) for line in out.splitlines()]
            self.assertEqual([bytes(answer["prompt_ids"]) for answer in answers],
                             [b"abc" * 7, b"hi", b"abc", b"abc" * 5])

    def test_what_prompts_share_is_counted_and_changes_no_token(self):
        prompts = [b'{"prompt": "%s"}' % text for text in (b"abc" * 9, b"abc" * 9 + b"d", b"x")]
        file = self.file("prompts.jsonl", b"\n".join(prompts))
        said = {}
        for switch in "on", "off":
            out = longspan_command.generate("--json", "--prompts", file, "--max-tokens", "4",
                                            "--prefix-cache", switch, "--page-tokens", "8",
                                            "--dtype", "float32", model=self.model, ranks=2)
            answers = [json.loads(line) for line in out.splitlines()]
            said[switch] = [answer["ids"] for answer in answers]
            self.assertEqual([answer["timings"]["cached_tokens"] for answer in answers],
                             [0, 24 if switch == "on" else 0, 0])
        self.assertEqual(said["on"], said["off"])

    def test_bytes_are_counted_where_they_travel(self):
        alone = self.answer("--prompt", "abc" * 20, "--max-tokens", "8", "--ignore-eos")
        self.assertEqual([(r["sent_bytes"], r["received_bytes"]) for r in alone["ranks"]], [(0, 0)])
        one, two, idle = self.answer("--prompt", "abc" * 20, "--max-tokens", "8", "--ignore-eos",
                                     "--degree", "2", ranks=3)["ranks"]
        self.assertGreater(min(one["sent_bytes"], two["sent_bytes"]), 0)
        self.assertEqual(one["sent_bytes"], two["received_bytes"])
        self.assertEqual(two["sent_bytes"], one["received_bytes"])
        self.assertEqual((idle["sent_bytes"], idle["received_bytes"]), (0, 0))

    def test_pages_lie_where_keep_says(self):
        """60 tokens and 8 more, of which the last leaves no key: 67 in 5 pages of 16."""
        used = {}
        for keep in ("spread", "fewest"):
            ranks = self.answer("--prompt", "abc" * 20, "--max-tokens", "8", "--ignore-eos",
                                "--keep", keep, "--page-tokens", "16", ranks=2)["ranks"]
            used[keep] = sorted(rank["kv_pages_used"] for rank in ranks)
            for rank in ranks:
                self.assertLessEqual(rank["kv_pages_used"], rank["kv_pages_total"])
        self.assertEqual(used["fewest"], [0, 5])
        self.assertEqual(used["spread"], [2, 3])


if __name__ == "__main__":
    unittest.main()
