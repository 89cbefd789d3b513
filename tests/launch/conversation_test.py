"""`longspan chat`: turns as a person and a pipe take them. Each gives the tokens that the whole conversation
gives as one prompt, and reads only what is new of it; Ctrl-C ends an answer and not the conversation."""

import json
import os
import pathlib
import pty
import re
import select
import subprocess
import tempfile
import time
import unittest

import longspan_command
from tiny_model import TinyModel, string

USAGE, BAD_DATA, INTERRUPTED = 2, 65, 130
FAR_TOO_LONG = 120  # seconds
MESSAGES = ["Hi", "Count to three.", "Go on.", "Why?", "Name a colour.", "Another one.", "And a bird?",
            "Say it again\\\nin capitals.", " /really?", "Bye"]


def chat(messages, *arguments, model=longspan_command.MODEL, ranks=0):
    done = longspan_command.run(["chat", model, "--threads", "1", *arguments], ranks=ranks,
                                stdin="".join(f"{line}\n" for line in messages).encode())
    return done, done.stderr.decode()


def common(a, b):
    """How many leading elements two lists share."""
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


class TurnsTest(unittest.TestCase):
    def turns(self, *arguments, ranks=0):
        done, said = chat(MESSAGES, "--system", "Be brief.", "--max-tokens", "5", "--max-model-len", "500",
                          "--json", "--logprobs", "1", *arguments, ranks=ranks)
        self.assertEqual(done.returncode, 0, said)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def fresh(self, turns):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            for turn in turns:
                file.write(json.dumps({"prompt_ids": turn["prompt_ids"]}) + "\n")
            file.flush()
            lines = longspan_command.generate("--prompts", file.name, "--max-tokens", "5", "--json",
                                              "--logprobs", "1")
        return [json.loads(line) for line in lines.splitlines()]

    def test_ten_turns_are_one_long_prompt_and_only_what_is_new_is_read(self):
        expected = None
        for ranks, arguments in ((0, []), (3, ["--page-tokens", "8"]), (3, ["--tp", "3"])):
            with self.subTest(ranks=ranks, arguments=arguments):
                turns = self.turns(*arguments, ranks=ranks)
                self.assertEqual(len(turns), 10)
                expected = expected or self.fresh(turns)
                known = []
                for turn, whole in zip(turns, expected):
                    self.assertEqual(turn["prompt_ids"], whole["prompt_ids"])
                    self.assertEqual(turn["ids"], whole["ids"])
                    self.assertEqual(turn["finish_reason"], whole["finish_reason"])
                    for mine, oracle in zip(turn["logprobs"], whole["logprobs"], strict=True):
                        self.assertAlmostEqual(mine["logprob"], oracle["logprob"], delta=1e-3)
                    # The last token of an answer that was cut is not computed; of one that stopped it
                    # is the stop, which is not among its ids.
                    self.assertEqual(turn["kept_tokens"], common(known, turn["prompt_ids"]))
                    self.assertEqual(turn["prefilled_tokens"], turn["prompt_tokens"] - turn["kept_tokens"])
                    cut = turn["finish_reason"] == "length"
                    known = turn["prompt_ids"] + turn["ids"][:-1 if cut else None]
                self.assertLess(sum(turn["prefilled_tokens"] for turn in turns),
                                turns[-1]["prompt_tokens"] + 30)

    def test_a_new_conversation_knows_nothing_of_the_last(self):
        done, said = chat(["Hi", "/reset", "Hi", "/quit", "Hi"], "--json", "--max-tokens", "3", ranks=2)
        first, second = (json.loads(line) for line in done.stdout.splitlines())
        self.assertEqual(done.returncode, 0, said)
        self.assertEqual(second["kept_tokens"], 0)
        self.assertEqual(second["prompt_ids"], first["prompt_ids"])
        self.assertEqual(second["ids"], first["ids"])

    def test_what_does_not_fit_is_refused_with_the_numbers_and_the_rest_goes_on(self):
        done, said = chat(["Hi", "word " * 60, "Hi"], "--json", "--max-tokens", "2", "--max-model-len", "80")
        self.assertEqual(done.returncode, 0, said)
        self.assertRegex(said, r"conversation has \d+ tokens, and there is room for 80 .*/reset")
        first, second = (json.loads(line) for line in done.stdout.splitlines())
        self.assertEqual(second["kept_tokens"], first["prompt_tokens"] + 1)

    def test_text_streams_and_a_line_says_what_was_read(self):
        done, said = chat(["Hi"], "--max-tokens", "3")
        self.assertEqual(done.stdout.decode().count("\n"), 1)
        self.assertRegex(said, r"kept 0 tokens, read \d+ in .* over 1 rank, wrote 3 in .*; cut at --max-tokens")


class RequestsTest(unittest.TestCase):
    """With a model of random weights, whose tokens are bytes."""

    TEMPLATE = "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}{% endfor %}"

    def ask(self, lines, *arguments, template=TEMPLATE, ranks=0):
        with tempfile.TemporaryDirectory() as folder:
            model = TinyModel()
            if template is not None:
                model.keys["tokenizer.chat_template"] = string(template)
            path = pathlib.Path(folder) / "tiny.gguf"
            path.write_bytes(model.bytes())
            (pathlib.Path(folder) / "report.txt").write_text("The report.")
            return chat([line.replace("FOLDER", folder) for line in lines], "--max-tokens", "1", *arguments,
                        model=str(path), ranks=ranks)

    def prompts(self, lines, *arguments):
        done, said = self.ask(lines, "--json", *arguments)
        self.assertEqual(done.returncode, 0, said)
        return [bytes(json.loads(line)["prompt_ids"]) for line in done.stdout.splitlines()], said

    def test_documents_and_lines_are_joined_to_messages(self):
        prompts, said = self.prompts(["/file FOLDER/report.txt", "What\\", "is it?"])
        self.assertEqual(prompts, [b"<u>The report.\n\nWhat\nis it?"])
        self.assertIn("report.txt: 11 bytes go before your next message", said)
        prompts, _ = self.prompts(["", "  ", "/file FOLDER/report.txt", ""])
        self.assertEqual(prompts, [b"<u>The report.\n\n"])

    def test_what_is_no_command_or_no_file_is_said_and_the_conversation_goes_on(self):
        prompts, said = self.prompts(["/fiel x", "/file FOLDER/none", "/file", "/reset now", " /fiel x"])
        self.assertEqual(prompts, [b"<u>/fiel x"])
        for line in ("there is no command /fiel x;", "none: No such file", "/file needs the path",
                     "there is no command /reset now;"):
            self.assertIn(line, said)

    def test_a_message_that_the_template_refuses_is_left_out(self):
        template = "{% if messages|length > 1 %}{{ raise_exception('one is enough') }}{% endif %}x"
        done, said = self.ask(["a", "b"], "--json", template=template)
        self.assertEqual(done.returncode, 0, said)
        self.assertEqual(len(done.stdout.splitlines()), 1)
        self.assertRegex(said, "refuses: one is enough; the message is left out")

    def test_what_can_be_refused_is_refused_before_anybody_types(self):
        for ranks in (0, 2):
            for code, line, arguments, template in (
                    (BAD_DATA, "has no chat template; use longspan generate", [], None),
                    (USAGE, "--max-model-len is 100000, but the model's context is", ["--max-model-len",
                                                                                    "100000"], self.TEMPLATE),
                    (USAGE, "--min-tokens must be from 0 to the 1", ["--min-tokens", "2"], self.TEMPLATE)):
                done, said = self.ask(["a"], *arguments, template=template, ranks=ranks)
                self.assertEqual(done.returncode, code, said)
                self.assertIn(line, said)
                self.assertEqual(done.stdout, b"")


class Terminal:
    """`longspan chat` on a terminal of its own, where Ctrl-C is a byte that is typed."""

    def __init__(self, *arguments, ranks=0):
        mine, its = pty.openpty()
        words = longspan_command.command(["chat", longspan_command.MODEL, "--threads", "1", "--ignore-eos",
                                          "--max-tokens", "2000", *arguments], ranks)
        self.process = subprocess.Popen(words, stdin=its, stdout=its, stderr=its, start_new_session=True,
                                        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
                                        env=longspan_command.environment())
        os.close(its)
        self.descriptor, self.seen = mine, ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.descriptor)

    def type(self, text):
        os.write(self.descriptor, text.encode())

    def expect(self, pattern):
        """Waits until it is on the screen, and takes everything up to it off."""
        deadline = time.monotonic() + FAR_TOO_LONG
        while not (found := re.search(pattern, self.seen)):
            if not select.select([self.descriptor], [], [], deadline - time.monotonic())[0]:
                raise AssertionError(f"no {pattern!r} in {self.seen!r}")
            self.seen += os.read(self.descriptor, 1 << 16).decode(errors="replace")
        self.seen = self.seen[found.end():]
        return found


class TerminalTest(unittest.TestCase):
    def test_ctrl_c_ends_the_answer_and_when_a_message_is_awaited_the_command(self):
        with Terminal() as terminal:
            terminal.expect("> $")
            for message in ("Count to a thousand.", "Go on."):
                terminal.type(f"{message}\n")
                terminal.expect(f"{re.escape(message)}\r\n[^>]{{20}}")  # some text is out
                terminal.type("\x03")
                terminal.expect(r"kept \d+ tokens, read \d+ .*; ended by you")
                terminal.expect("> $")
            terminal.type("\x03")
            self.assertEqual(terminal.process.wait(FAR_TOO_LONG), INTERRUPTED)

    def test_enter_ends_the_answer_under_mpirun_too(self):
        with Terminal(ranks=2) as terminal:
            terminal.expect("> $")
            terminal.type("Count to a thousand.\n")
            terminal.expect("thousand.\r\n[^>]{20}")
            terminal.type("\n")
            terminal.expect("; ended by you")
            terminal.expect("> ")  # mpirun may pass the end of the text on behind it
            terminal.type("/quit\n")
            self.assertEqual(terminal.process.wait(FAR_TOO_LONG), 0)


if __name__ == "__main__":
    unittest.main()
