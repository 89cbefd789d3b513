"""run-batch end to end: answers in OpenAI's shape and in the input's order, the same as generate gives;
lines that cannot be answered; runs that are killed, interrupted, run out of disk, and go on."""

import contextlib
import json
import os
import pathlib
import resource
import signal
import subprocess
import tempfile
import time
import unittest

import longspan_command
from interrupt_test import ranks_of
from tiny_model import CONTEXT, VOCABULARY, TinyModel, string

USAGE, BAD_DATA, NO_INPUT, IO, TEMPORARY, INTERRUPTED = 2, 65, 66, 74, 75, 130
FAR_TOO_LONG = 60  # seconds
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


def line(custom_id, url=TEXT, **body):
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body})


def greedy(custom_id, prompt="abc", max_tokens=8, **body):
    return line(custom_id, prompt=prompt, max_tokens=max_tokens, temperature=0, **body)


def without_time(text):
    """The answers, less what two runs need not have in common: when, and what was read before."""
    answers = [json.loads(one) for one in text.splitlines()]
    for answer in answers:
        body = answer["response"]["body"]
        body.pop("created", None)
        body.get("usage", {}).pop("prompt_tokens_details", None)
    return answers


class RunBatchTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.input, self.output = self.folder / "in.jsonl", self.folder / "out.jsonl"
        self.model = self.folder / "tiny.gguf"
        model = TinyModel()
        model.keys["tokenizer.chat_template"] = string(TEMPLATE)
        self.model.write_bytes(model.bytes())

    def words(self, *arguments, output=None, model=None):
        return ["run-batch", str(model or self.model), "-i", str(self.input), "-o",
                str(output or self.output), "--threads", "1", *arguments]

    def write(self, *lines):
        self.input.write_text("\n".join(lines) + "\n")

    def run_batch(self, *arguments, ranks=0, code=0, **where):
        done = longspan_command.run(self.words(*arguments, **where), ranks, timeout=FAR_TOO_LONG)
        self.assertEqual(done.returncode, code, done.stderr.decode())
        self.assertEqual(done.stdout, b"")
        return done.stderr.decode()

    def answers(self, *lines, arguments=(), **more):
        self.write(*lines)
        self.run_batch(*arguments, **more)
        return [json.loads(one) for one in self.output.read_text().splitlines()]

    @contextlib.contextmanager
    def started(self, *arguments, **more):
        with subprocess.Popen([longspan_command.BINARY, *self.words(*arguments)],
                              stderr=subprocess.PIPE, env=longspan_command.environment(),
                              **more) as process:
            try:
                yield process
            finally:
                process.kill()

    def wait_for_answers(self, count, output=None):
        output = output or self.output
        deadline = time.monotonic() + FAR_TOO_LONG
        while time.monotonic() < deadline:
            if output.exists() and output.read_bytes().count(b"\n") >= count:
                return
            time.sleep(0.01)
        self.fail(f"there were never {count} answers")

    def write_many(self, count=40):
        """Enough work to be stopped in the middle of, some of it drawn from seeds nobody names."""
        self.write(*(line(f"r{i}", prompt="x" * (1 + i % 7), max_tokens=20 + 37 * i % 200,
                          temperature=i % 2, ignore_eos=True) for i in range(count)))

    def expected_of_many(self):
        self.run_batch("--seed", "7", output=self.folder / "whole.jsonl")
        return without_time((self.folder / "whole.jsonl").read_text())


class AnswersTest(RunBatchTest):
    def test_groups_give_the_answers_of_one_rank(self):
        self.write_many(24)
        expected = self.expected_of_many()
        for policy, words in [(["--degree", "2"], "2 groups of 2 ranks, .*static_sp"),
                              (["--policy", "replicas"], "4 groups of 1 rank, .*replicas"),
                              (["--policy", "random_elastic"], "1 group of 4 ranks .random_elastic.")]:
            said = self.run_batch("--seed", "7", "--restart", "--max-num-seqs", "8", *policy, ranks=4)
            self.assertRegex(said, words)
            self.assertEqual(without_time(self.output.read_text()), expected, policy)

    def test_answers_have_openais_shape_and_the_inputs_order(self):
        answers = self.answers(greedy("slow", max_tokens=60, ignore_eos=True), "",
                               line("chat", CHAT, messages=[{"role": "user", "content": "Hi"}],
                                    max_tokens=3, temperature=0, ignore_eos=True, model="tiny"),
                               greedy("fast", max_tokens=1))
        self.assertEqual([a["custom_id"] for a in answers], ["slow", "chat", "fast"])
        self.assertEqual(len({a["id"] for a in answers}), 3)
        chat = answers[1]
        self.assertIsNone(chat["error"])
        self.assertEqual(chat["response"]["status_code"], 200)
        body = chat["response"]["body"]
        self.assertEqual(body["object"], "chat.completion")
        self.assertEqual(body["model"], "tiny")
        self.assertLess(abs(body["created"] - time.time()), FAR_TOO_LONG)
        choice, = body["choices"]
        self.assertEqual(choice["message"]["role"], "assistant")
        self.assertEqual(choice["finish_reason"], "length")
        self.assertEqual(body["usage"], {"prompt_tokens": len("<user>Hi"), "completion_tokens": 3,
                                         "total_tokens": len("<user>Hi") + 3,
                                         "prompt_tokens_details": {"cached_tokens": 0}})
        self.assertEqual(answers[0]["response"]["body"]["object"], "text_completion")
        self.assertEqual(answers[0]["response"]["body"]["usage"]["completion_tokens"], 60)

    def test_what_prompts_share_is_read_once(self):
        lines = [greedy("first", "x" * 40), greedy("longer", "x" * 40 + "y"),
                 greedy("other", "y" + "x" * 40), greedy("twice", "z" * 40, n=2)]
        cached, texts = [], []
        for switch in "on", "off":
            answers = self.answers(*lines, arguments=["--prefix-cache", switch, "--restart",
                                                      "--dtype", "float32", "--page-tokens", "8"])
            bodies = {a["custom_id"]: a["response"]["body"] for a in answers}
            cached.append({name: body["usage"]["prompt_tokens_details"]["cached_tokens"]
                           for name, body in bodies.items()})
            texts.append({name: [c["text"] for c in body["choices"]]
                          for name, body in bodies.items()})
        self.assertEqual(cached[0], {"first": 0, "longer": 40, "other": 0, "twice": 0})
        self.assertEqual(cached[1], dict.fromkeys(cached[0], 0))
        self.assertEqual(texts[0], texts[1])

    def test_the_next_turn_finds_the_answer_unless_its_salt_is_another(self):
        only_x = {"logit_bias": {"120": 100}, "ignore_eos": True}
        lines = [greedy("first", "x" * 20, max_tokens=21, **only_x),
                 greedy("next", "x" * 41 + "?"),
                 greedy("salted", "x" * 41 + "?", cache_salt="mine"),
                 greedy("again", "x" * 41 + "?", cache_salt="mine")]
        answers = self.answers(*lines, arguments=["--max-num-seqs", "1", "--dtype", "float32",
                                                  "--page-tokens", "8"])
        cached = [a["response"]["body"]["usage"]["prompt_tokens_details"]["cached_tokens"]
                  for a in answers]
        self.assertEqual(cached, [0, 40, 0, 40])
        texts = {a["response"]["body"]["choices"][0]["text"] for a in answers[1:]}
        self.assertEqual(len(texts), 1)

    def test_prompts_that_come_again_come_back_from_the_disk(self):
        """Memory holds one request, and each is there twice."""
        prompts = [letter * 40 for letter in "abcdef"]
        lines = [greedy(f"{turn}-{i}", prompt, ignore_eos=True)
                 for turn in range(2) for i, prompt in enumerate(prompts)]
        few = ["--max-num-seqs", "1", "--max-model-len", "48", "--page-tokens", "8", "--restart"]
        disk = ["--kv-disk", str(self.folder), "--kv-disk-bytes", "10M"]
        host = ["--kv-host-bytes", "10M"]
        both = ["--kv-host-bytes", "50K", *disk]
        texts = []
        for ranks, more, again in (0, [], 0), (0, disk, 32), (2, disk, 32), (0, host, 32), (2, both, 32):
            self.write(*lines)
            said = self.run_batch(*few, *more, ranks=ranks)
            bodies = [json.loads(one)["response"]["body"] for one in self.output.read_text().splitlines()]
            texts.append([body["choices"][0]["text"] for body in bodies])
            cached = [body["usage"]["prompt_tokens_details"]["cached_tokens"] for body in bodies]
            self.assertEqual(cached[:6], [0] * 6)
            self.assertTrue(all(hit >= again for hit in cached[6:]), cached)
            self.assertEqual("brought back" in said, bool(more), said)
            self.assertEqual("evicted pages, on each rank" in said, bool(more), said)
            self.assertEqual(texts[-1], texts[0])
        self.assertEqual([path.name for path in self.folder.iterdir() if "longspan-kv" in path.name], [])

    def test_every_prompt_has_n_choices(self):
        answers = self.answers(
            line("two", prompt=["abc", [97, 98]], n=2, max_tokens=5, seed=3, ignore_eos=True),
            line("one", prompt=[97, 98], n=1, max_tokens=5, seed=3, ignore_eos=True),
            line("told", prompt="abc", max_tokens=2, temperature=0, logprobs=1, ignore_eos=True))
        choices = answers[0]["response"]["body"]["choices"]
        self.assertEqual([c["index"] for c in choices], [0, 1, 2, 3])
        self.assertEqual(len({c["text"] for c in choices}), 4, "all are drawn apart")
        self.assertEqual(choices[2]["text"], answers[1]["response"]["body"]["choices"][0]["text"])
        self.assertEqual(answers[0]["response"]["body"]["usage"],
                         {"prompt_tokens": 5, "completion_tokens": 20, "total_tokens": 25,
                          "prompt_tokens_details": {"cached_tokens": 0}})
        log = self.run_batch("--restart")
        self.assertIn("read 10 tokens, wrote 27", log, "each prompt once, whatever its n")
        logprobs = answers[2]["response"]["body"]["choices"][0]["logprobs"]
        self.assertEqual(len(logprobs["tokens"]), 2)
        self.assertEqual([len(top) for top in logprobs["top_logprobs"]], [1, 1])

    def test_a_stop_ends_an_answer(self):
        whole, = self.answers(greedy("a", max_tokens=40, ignore_eos=True))
        text = whole["response"]["body"]["choices"][0]["text"]
        stop = text[10:12]
        cut, = self.answers(greedy("a", max_tokens=40, ignore_eos=True, stop=stop),
                            arguments=["--restart"])
        choice = cut["response"]["body"]["choices"][0]
        self.assertEqual(choice["text"], text[:text.index(stop)])
        self.assertEqual((choice["finish_reason"], choice["stop_reason"]), ("stop", stop))

    def test_a_request_that_says_little_gets_what_the_command_line_says(self):
        answers = self.answers(line("a", prompt="abc"),
                               arguments=["--temperature", "0", "--max-tokens", "6", "--ignore-eos"])
        expected, = self.answers(greedy("a", max_tokens=6, ignore_eos=True), arguments=["--restart"])
        self.assertEqual(answers[0]["response"]["body"]["choices"],
                         expected["response"]["body"]["choices"])
        self.assertEqual(expected["response"]["body"]["usage"]["completion_tokens"], 6)

    def test_a_temperature_that_nobody_says_is_openais(self):
        said, unsaid, greedily = self.answers(
            line("a", prompt="abc", max_tokens=20, seed=1, temperature=1, ignore_eos=True),
            line("b", prompt="abc", max_tokens=20, seed=1, ignore_eos=True),
            greedy("c", max_tokens=20, ignore_eos=True))
        choices = [a["response"]["body"]["choices"] for a in (said, unsaid, greedily)]
        self.assertEqual(choices[0], choices[1])
        self.assertNotEqual(choices[1], choices[2])

    def test_without_a_limit_the_context_is_filled(self):
        answers = self.answers(line("a", prompt="abc", temperature=0, ignore_eos=True))
        self.assertEqual(answers[0]["response"]["body"]["usage"]["total_tokens"], CONTEXT)

    def test_a_file_without_requests_has_no_answers(self):
        self.assertEqual(self.answers(""), [])

    def test_lines_that_cannot_be_answered_say_why_and_the_others_are(self):
        bad = [  # the line, status, code, what the message says
            ("{", 400, "invalid_json", "JSON"),
            ("7", 400, "invalid_value", "an object"),
            (greedy("first"), 400, "invalid_value", "used by line 1 already"),
            (line("u", "/v1/embeddings", input="x"), 404, "not_found", "/v1/chat/completions"),
            (line("v", "/v1/rerank"), 404, "not_found", "/v1/chat/completions"),
            (greedy("s", stream=True), 400, "unsupported_parameter", "leave stream out"),
            (greedy("l", lora_request={"name": "x"}), 400, "unsupported_parameter", "merge it"),
            (greedy("m", model="gpt-4o"), 404, "model_not_found", "tiny or tiny.gguf"),
            (line("t", prompt="a", temperature=3), 400, "invalid_value", "from 0 to 2, not 3"),
            (line("i", prompt=[VOCABULARY]), 400, "invalid_value", f"0 to {VOCABULARY - 1}"),
            (greedy("c", prompt="x" * CONTEXT), 400, "context_length_exceeded",
             f"maximum context length is {CONTEXT} tokens. .*{CONTEXT} tokens; shorten it"),
            (greedy("d", prompt="xx", max_tokens=CONTEXT - 1), 400, "context_length_exceeded",
             f"{CONTEXT + 1} tokens .2 in the prompt, {CONTEXT - 1} in the answer.; lower "
             f"max_tokens to {CONTEXT - 2}"),
            (line("n", prompt="a", min_tokens=5, max_tokens=4), 400, "invalid_value", "min_tokens"),
            (line("e", prompt=""), 400, "invalid_value", "empty"),
            (line("r", CHAT, messages=[{"role": "user"}]), 400, "invalid_value", "content"),
        ]
        answers = self.answers(greedy("first"), *(row[0] for row in bad), greedy("last"))
        self.assertEqual(len(answers), len(bad) + 2)
        for number, (row, answer) in enumerate(zip(bad, answers[1:-1]), 2):
            with self.subTest(row[0][:80]):
                error = answer["error"]
                self.assertEqual(answer["response"]["status_code"], row[1])
                self.assertEqual(answer["response"]["body"]["error"], error)
                self.assertEqual(error["code"], row[2])
                self.assertRegex(error["message"], f"^line {number}: .*{row[3]}")
        self.assertIsNone(answers[1]["custom_id"])
        self.assertEqual(answers[4]["custom_id"], "u")
        for good in (answers[0], answers[-1]):
            self.assertIsNone(good["error"])

    def test_a_template_that_refuses_fails_its_line(self):
        model = TinyModel()
        model.keys["tokenizer.chat_template"] = string("{{ raise_exception('be polite') }}")
        self.model.write_bytes(model.bytes())
        refused, answered = self.answers(
            line("a", CHAT, messages=[{"role": "user", "content": "Hi"}]), greedy("b"))
        self.assertRegex(refused["error"]["message"], "^line 1: .*be polite")
        self.assertIsNone(answered["error"])

    def test_a_model_without_a_template_refuses_chats_only(self):
        self.model.write_bytes(TinyModel().bytes())
        refused, answered = self.answers(
            line("a", CHAT, messages=[{"role": "user", "content": "Hi"}]), greedy("b"))
        self.assertRegex(refused["error"]["message"], "^line 1: .*no chat template.*/v1/completions")
        self.assertIsNone(answered["error"])

    def test_memory_bounds_a_request_with_the_numbers(self):
        # Weights and scratch leave room for some two hundred tokens.
        self.write(greedy("long", prompt="x" * 400, max_tokens=100),
                   *(greedy(f"r{i}", prompt="x" * (1 + i), max_tokens=100, ignore_eos=True)
                     for i in range(9)))  # two or three at once, the others wait
        said = self.run_batch("--memory-limit", "650k", "--max-num-seqs", "9", "--prefill-chunk",
                              "16")
        long, *others = [json.loads(one) for one in self.output.read_text().splitlines()]
        self.assertIn("as many as memory holds", said)
        self.assertEqual(long["error"]["code"], "context_length_exceeded")
        self.assertRegex(long["error"]["message"], r"this run's memory holds \d+ of one request")
        self.assertEqual([o["response"]["status_code"] for o in others], [200] * 9)
        self.run_batch("--max-num-seqs", "3", output=self.folder / "plenty.jsonl")
        plenty = without_time((self.folder / "plenty.jsonl").read_text())
        self.assertEqual(without_time(self.output.read_text())[1:], plenty[1:])

    def test_a_queue_of_one_fails_no_line(self):
        self.write(*(greedy(f"r{i}", prompt="ab" * (1 + i), n=1 + i % 3, user=f"u{i % 2}",
                            max_tokens=None if i % 4 == 0 else 20) for i in range(9)))
        self.run_batch("--memory-limit", "650k", "--max-num-seqs", "4", "--prefill-chunk", "16",
                       "--admission", "utilize", "--max-queue-requests", "1",
                       "--max-queue-tokens", "1", "--max-model-len", "128")
        self.run_batch("--max-num-seqs", "1", "--max-model-len", "128",
                       output=self.folder / "plenty.jsonl")
        plenty = without_time((self.folder / "plenty.jsonl").read_text())
        self.assertEqual(without_time(self.output.read_text()), plenty)
        self.assertEqual({a["response"]["status_code"] for a in plenty}, {200})

    def test_a_field_that_nobody_knows_is_said_once(self):
        self.write(greedy("a", zebra=1), greedy("b", zebra=2))
        self.assertEqual(self.run_batch().count("zebra"), 1)


class GoingOnTest(RunBatchTest):
    def test_a_killed_run_goes_on_and_loses_nothing(self):
        self.write_many()
        expected = self.expected_of_many()
        with self.started("--seed", "7", "--max-num-seqs", "2") as process:
            self.wait_for_answers(4)
            process.kill()
            process.wait()
        kept = self.output.read_bytes()
        kept = kept[:kept.rindex(b"\n") + 1]
        self.assertLess(kept.count(b"\n"), 40, "it was too fast to be killed in the middle")
        with open(self.output, "ab") as file:
            file.write(b'{"id":"batch_req_40_')  # as a machine that loses power may leave it
        said = self.run_batch("--seed", "7")
        self.assertIn(f"{kept.count(bytes([10]))} before", said)
        text = self.output.read_text()
        for answer in kept.decode().splitlines():
            self.assertIn(answer, text)
        self.assertEqual(without_time(text), expected)
        self.assertIn("nothing is left to do", self.run_batch("--seed", "7"))
        self.assertEqual(self.output.read_text(), text)
        self.assertEqual(sorted(p.name for p in self.folder.glob("out*")),
                         ["out.jsonl", "out.jsonl.run"])

    def test_ctrl_c_finishes_what_has_begun(self):
        self.write_many()
        expected = self.expected_of_many()
        with self.started("--seed", "7", "--max-num-seqs", "2") as process:
            self.wait_for_answers(2)
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=FAR_TOO_LONG)[1].decode()
        self.assertEqual(process.returncode, INTERRUPTED, said)
        self.assertIn("the same command goes on from there", said)
        self.assertLess(self.output.read_bytes().count(b"\n"), 40)
        self.run_batch("--seed", "7")
        self.assertEqual(without_time(self.output.read_text()), expected)

    def test_ranks_that_were_stopped_go_on_as_one(self):
        self.write(*(greedy(f"r{i}", max_tokens=20 + 7 * i, ignore_eos=True) for i in range(20)))
        self.run_batch(output=self.folder / "whole.jsonl")
        expected = without_time((self.folder / "whole.jsonl").read_text())
        for what, code in ((signal.SIGKILL, None), (signal.SIGINT, INTERRUPTED)):
            with self.subTest(what.name):
                output = self.folder / f"{what.name}.jsonl"
                words = longspan_command.command(
                    self.words("--max-num-seqs", "2", output=output), 2)
                with subprocess.Popen(words, stderr=subprocess.PIPE,
                                      env=longspan_command.environment()) as mpirun:
                    rank_0 = ranks_of(mpirun, 2)[0]
                    self.wait_for_answers(2, output)
                    os.kill(rank_0, what)
                    said = mpirun.communicate(timeout=FAR_TOO_LONG)[1].decode()
                if code:
                    self.assertEqual(mpirun.returncode, code, said)
                self.assertNotEqual(mpirun.returncode, 0, said)
                self.assertLess(output.read_bytes().count(b"\n"), 20)
                self.run_batch(output=output)
                self.assertEqual(without_time(output.read_text()), expected)

    def test_a_second_ctrl_c_leaves_at_once(self):
        self.write(greedy("quick"), *(greedy(f"r{i}", max_tokens=CONTEXT - 3, ignore_eos=True,
                                             n=16) for i in range(4)))
        with self.started("--max-num-seqs", "64") as process:
            self.wait_for_answers(1)
            process.send_signal(signal.SIGINT)
            while b"finishing" not in process.stderr.readline():
                self.assertIsNone(process.poll())
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=FAR_TOO_LONG)
        self.assertEqual(process.returncode, INTERRUPTED)
        self.assertEqual(self.output.read_bytes().count(b"\n"), 1)

    def test_a_second_run_is_refused_and_told_who_writes(self):
        self.write_many()
        with self.started("--max-num-seqs", "1") as process:
            self.wait_for_answers(1)
            process.send_signal(signal.SIGSTOP)
            before = time.monotonic()
            said = self.run_batch(code=TEMPORARY)
            self.assertGreaterEqual(time.monotonic() - before, 5)
            self.assertRegex(said, f"is being written by process {process.pid} on ")

    def test_other_options_or_another_model_are_refused(self):
        self.write(greedy("a"))
        self.run_batch()
        first = self.output.read_text()
        said = self.run_batch("--temperature", "0.5", code=USAGE)
        self.assertRegex(said, "1 answers.*options.temperature was 1.*, now 0.5.*--restart")
        other = self.folder / "other.gguf"
        other.write_bytes(TinyModel(ffn=128).bytes())
        self.assertIn("--restart", self.run_batch(model=other, code=USAGE))
        self.assertEqual(self.output.read_text(), first)
        self.run_batch("--temperature", "0.5", "--restart")
        self.run_batch("--temperature", "0.5", "--max-num-seqs", "3", "--page-tokens", "32")

    def test_a_line_that_has_changed_is_answered_again(self):
        before = self.answers(greedy("a"), greedy("b"), greedy("c"))
        after = self.answers(greedy("a"), greedy("b", max_tokens=3))
        self.assertEqual(after[0], before[0])
        self.assertEqual(after[1]["response"]["body"]["usage"]["completion_tokens"], 3)
        self.assertEqual(len(after), 2, "the third is gone with its line")

    def test_a_line_that_a_crash_tore_is_answered_again(self):
        self.write_many(6)
        expected = self.expected_of_many()
        self.run_batch("--seed", "7")
        lines = self.output.read_text().splitlines(keepends=True)
        lines[2] = lines[2][:50]  # and the next one behind it
        self.output.write_text("".join(lines))
        said = self.run_batch("--seed", "7")
        self.assertIn("1 line of ", said)
        self.assertIn("2 answered now, 4 before", said)
        self.assertEqual(without_time(self.output.read_text()), expected)
        self.assertIn("nothing is left to do", self.run_batch("--seed", "7"))

    def test_a_rank_that_hangs_is_named_once_and_answers_are_kept(self):
        self.write_many()
        expected = self.expected_of_many()
        words = longspan_command.command(
            self.words("--seed", "7", "--max-num-seqs", "2", "--hang-timeout", "1"), 2)
        with subprocess.Popen(words, stderr=subprocess.PIPE,
                              env=longspan_command.environment()) as mpirun:
            rank_1 = ranks_of(mpirun, 2)[1]
            self.wait_for_answers(2)
            os.kill(rank_1, signal.SIGSTOP)
            said = mpirun.communicate(timeout=FAR_TOO_LONG)[1].decode()
        self.assertEqual(mpirun.returncode, TEMPORARY, said)
        self.assertRegex(said, r"longspan: rank 0 on \S+: exchange not done after 1.000 s; .*rank 1 .*; "
                               r"answers that were written are kept in .*: the same command goes on")
        self.run_batch("--seed", "7")
        self.assertEqual(without_time(self.output.read_text()), expected)

    def test_failed_lines_are_answered_again_when_asked(self):
        mine = ["--served-model-name", "mine,tiny"]
        self.write(greedy("a", model="yours"), greedy("b", model="mine"))
        said = self.run_batch(*mine)
        self.assertIn("1 failed", said)
        failed, answered = self.output.read_text().splitlines()
        self.assertIn("nothing is left to do", self.run_batch(*mine))
        self.assertIn("1 failed", self.run_batch(*mine, "--retry-failed"))
        self.assertEqual(self.output.read_text().splitlines(), [failed, answered])
        self.assertEqual(json.loads(answered)["response"]["body"]["model"], "mine")

    def test_a_full_disk_loses_nothing(self):
        self.write_many()
        expected = self.expected_of_many()

        def small_disk():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))

        with self.started("--seed", "7", preexec_fn=small_disk) as process:
            said = process.communicate(timeout=FAR_TOO_LONG)[1].decode()
        self.assertEqual(process.returncode, IO, said)
        self.assertRegex(said, r"out.jsonl: .*the \d+ lines that were answered are kept")
        self.assertTrue(self.output.read_bytes().endswith(b"\n"))
        self.run_batch("--seed", "7")
        self.assertEqual(without_time(self.output.read_text()), expected)


class RefusedTest(RunBatchTest):
    """All before the model, which is not there, is opened."""

    def refused(self, code, said, *arguments, **where):
        self.assertRegex(self.run_batch(*arguments, code=code, model="none.gguf", **where), said)

    def test_files_that_cannot_be_used(self):
        self.refused(NO_INPUT, "in.jsonl: No such file")
        self.write(greedy("a"))
        self.refused(NO_INPUT, "none.gguf")
        self.refused(NO_INPUT, "make its folder first", output=self.folder / "none/out.jsonl")
        for output in self.folder, "/dev/null", "/dev/stderr":
            self.refused(USAGE, f"{output} is no regular file; .*: name a file with -o", output=output)
        self.assertEqual(list(self.folder.glob("*.lock")) + list(pathlib.Path("/dev").glob("*.lock")), [])
        self.refused(USAGE, "both input and output", output=self.input)
        self.output.write_text("precious\n")
        self.refused(BAD_DATA, "line 1 is none that longspan run-batch wrote")
        self.assertEqual(self.output.read_text(), "precious\n")
        self.input = "/dev/null"
        self.refused(USAGE, "/dev/null: is no regular file")

    def test_a_disk_with_less_room_is_told_of(self):
        self.write(greedy("a"))
        for ranks, each in (0, ""), (2, " for each of 2 ranks"):
            said = self.run_batch("--kv-disk", str(self.folder), "--kv-disk-bytes", "9000T", ranks=ranks,
                                  model="none.gguf", code=NO_INPUT)
            self.assertRegex(said, f"warning: --kv-disk-bytes .*TiB{each}, but {self.folder} has .* free")
            self.assertEqual(said.count("warning"), 1)
        said = self.run_batch("--kv-disk", str(self.folder), "--kv-disk-bytes", "1", model="none.gguf",
                              code=NO_INPUT)
        self.assertNotIn("warning", said)

    def test_a_refusal_under_mpirun_is_one_line(self):
        self.assertEqual(self.run_batch(ranks=2, code=NO_INPUT).count("longspan:"), 1)


class RealModelTest(RunBatchTest):
    """The answers that generate gives to the same prompts, over one rank and two."""

    def generated(self, prompts, *arguments):
        file = self.folder / "prompts.jsonl"
        file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
        said = longspan_command.generate("--prompts", str(file), "--max-tokens", "12", "--json",
                                         *arguments)
        return [json.loads(answer) for answer in said.splitlines()]

    def test_answers_are_those_of_generate(self):
        text, question = "The capital of France is", "Why is the sky blue?"
        in_chat = ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n" + question +
                   "<|im_end|>\n<|im_start|>assistant\n")  # as --chat makes it (chat_test.py)
        sampling = {"temperature": 0.8, "top_p": 0.9, "top_k": 40, "seed": 5,
                    "repetition_penalty": 1.1}
        drawn = [word for name, value in sampling.items()
                 for word in ("--" + name.replace("_", "-"), str(value))]
        greedy_text, greedy_chat = self.generated([text, in_chat])
        drawn_text, drawn_chat = self.generated([text, in_chat], *drawn)
        expected = [greedy_text, drawn_text, greedy_chat, drawn_chat]
        asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}]
        self.write(line("0", prompt=text, temperature=0, max_tokens=12),
                   line("1", prompt=text, max_tokens=12, **sampling),
                   line("2", CHAT, messages=asked, temperature=0, max_completion_tokens=12),
                   line("3", CHAT, messages=asked, max_completion_tokens=12, **sampling))
        for ranks in (1, 2):
            with self.subTest(ranks=ranks):
                output = self.folder / f"{ranks}.jsonl"
                self.run_batch("--max-num-seqs", "4", "--max-model-len", "512", ranks=ranks,
                               model=longspan_command.MODEL, output=output)
                answers = [json.loads(one) for one in output.read_text().splitlines()]
                choices = [a["response"]["body"]["choices"][0] for a in answers]
                self.assertEqual([c.get("text", c.get("message", {}).get("content"))
                                  for c in choices], [e["text"] for e in expected])
                self.assertEqual([c["finish_reason"] for c in choices],
                                 [e["finish_reason"] for e in expected])
                self.assertEqual([a["response"]["body"]["usage"]["prompt_tokens"] for a in answers],
                                 [e["prompt_tokens"] for e in expected])


if __name__ == "__main__":
    unittest.main()
