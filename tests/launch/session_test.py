"""`--session FILE`: what is saved goes on as if it had never stopped, on other ranks and pages too; what cannot
be used is refused before anything is computed; and no failure takes away what was there."""

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
from tiny_folder import TinyFolder
from tiny_model import TinyModel, string

USAGE, BAD_DATA, NO_INPUT, IO, TEMPORARY, INTERRUPTED = 2, 65, 66, 74, 75, 130
FAR_TOO_LONG = 120  # seconds
TEMPLATE = "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}{% endfor %}<a>"
PROMPT = list(range(40, 75))


def small_disk():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, resource.RLIM_INFINITY))


class SessionTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.model = self.write_model("tiny.gguf")
        self.file = self.folder / "talk.session"
        (self.folder / "prompt.json").write_text(json.dumps(PROMPT))
        (self.folder / "more.json").write_text("[1, 2, 3]")
        self.prompt = ["--prompt-ids", str(self.folder / "prompt.json")]
        self.more = ["--prompt-ids", str(self.folder / "more.json")]

    def write_model(self, name, **shape):
        model = TinyModel(**shape)
        model.keys["tokenizer.chat_template"] = string(TEMPLATE)
        path = self.folder / name
        path.write_bytes(model.bytes())
        return str(path)

    def run_it(self, command, *arguments, code=0, ranks=0, stdin="", model=None, **how):
        """Both streams, once it ended with that code."""
        words = [command, model or self.model, "--threads", "1", *arguments]
        done = subprocess.run(longspan_command.command(words, ranks), input=stdin.encode(), capture_output=True,
                              timeout=FAR_TOO_LONG, env=longspan_command.environment(), **how)
        said = done.stderr.decode()
        self.assertEqual(done.returncode, code, said)
        return done.stdout.decode(), said

    def generate(self, *arguments, session=True, **how):
        more = ["--session", str(self.file)] if session else []
        out, said = self.run_it("generate", "--ignore-eos", *more, *arguments, **how)
        return out, said

    def answer(self, *arguments, **how):
        return json.loads(self.generate("--json", *arguments, **how)[0])

    def chat(self, messages, *arguments, **how):
        stdin = "".join(f"{line}\n" for line in messages)
        out, said = self.run_it("chat", "--max-tokens", "4", "--ignore-eos", "--json", *arguments,
                                stdin=stdin, **how)
        return [json.loads(line) for line in out.splitlines()], said

    def look(self, *arguments, code=0):
        done = longspan_command.run(["session", *arguments])
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout.decode(), done.stderr.decode()

    def files(self):
        return sorted(path.name for path in self.folder.iterdir() if path.name.startswith("talk"))


class GenerateTest(SessionTest):
    def test_a_text_goes_on_as_if_it_had_never_stopped(self):
        whole = self.answer(*self.prompt, "--max-tokens", "12", session=False)
        for first, then in (((0, []), (3, ["--page-tokens", "8"])),
                            ((3, ["--page-tokens", "4"]), (2, ["--tp", "2"])),
                            ((2, []), (0, ["--page-tokens", "64"]))):
            with self.subTest(first=first, then=then):
                self.file.unlink(missing_ok=True)
                begun = self.answer(*self.prompt, "--max-tokens", "5", *first[1], ranks=first[0])
                ended = self.answer("--max-tokens", "7", *then[1], ranks=then[0])
                self.assertEqual(begun["ids"] + ended["ids"], whole["ids"])
                self.assertEqual(ended["prompt_ids"], PROMPT + begun["ids"])
                self.assertEqual(ended["timings"]["cached_tokens"], len(PROMPT) + 4)
                parts = [name for name in self.files() if name.endswith(".kv")]
                self.assertEqual(len(parts), max(1, then[0]), "those of the save before are gone")

    def test_a_prompt_follows_what_is_there_and_a_stop_is_no_part_of_it(self):
        begun = self.answer(*self.prompt, "--max-tokens", "6")
        stop = begun["ids"][4]
        self.file.unlink()
        cut = self.answer(*self.prompt, "--max-tokens", "6", "--stop-ids", str(stop))
        self.assertEqual(cut["finish_reason"], "stop")
        ended = self.answer(*self.more, "--max-tokens", "3")
        self.assertEqual(ended["prompt_ids"], PROMPT + cut["ids"] + [1, 2, 3])
        _, said = self.generate("--prompt", "and", "--max-tokens", "1")
        self.assertRegex(said, r"kept \d+ tokens, read 4 tokens in")
        self.assertRegex(said, r"saved \d+ tokens to .*talk.session")

    def test_a_message_is_answered_in_the_conversation(self):
        mine = ["--chat", "--max-tokens", "4"]
        first = self.answer("--prompt", "Hi", *mine)
        second = self.answer("--prompt", "Go on", *mine, ranks=2)
        self.assertGreater(second["timings"]["cached_tokens"], 3)
        self.file.unlink()
        turns, _ = self.chat(["Hi", "Go on"])
        self.assertEqual([turn["ids"] for turn in turns], [first["ids"], second["ids"]])
        self.assertEqual(turns[1]["prompt_ids"], second["prompt_ids"])

    def test_recompute_reads_the_tokens_again(self):
        begun = self.answer(*self.prompt, "--max-tokens", "5")
        narrow = ["--kv-dtype", "bfloat16", "--max-tokens", "2"]
        _, said = self.generate(*narrow, code=USAGE)
        self.assertRegex(said, "its keys and values are float32, and those of this run bfloat16; give "
                               "--kv-dtype float32, or let --recompute read its 40 tokens again")
        ended = self.answer(*narrow, "--recompute")
        self.assertEqual(ended["prompt_ids"], PROMPT + begun["ids"])
        self.assertEqual(ended["timings"]["cached_tokens"], 0)
        self.assertEqual(self.answer(*narrow)["timings"]["cached_tokens"], len(PROMPT) + 6)


class ChatTest(SessionTest):
    MESSAGES = ["Hi there", "Why?", "Go on.", "And then?"]

    def test_a_conversation_goes_on_as_if_it_had_never_stopped(self):
        whole, _ = self.chat(self.MESSAGES, "--system", "Be brief")
        mine = ["--session", str(self.file)]
        begun, said = self.chat(self.MESSAGES[:2], "--system", "Be brief", *mine, ranks=2)
        self.assertRegex(said, r"saved \d+ tokens to .*talk.session \(")
        went_on, said = self.chat(self.MESSAGES[2:], "--page-tokens", "8", *mine, ranks=3)
        self.assertIn("going on with 5 messages,", said)
        for turn, expected in zip(begun + went_on, whole, strict=True):
            self.assertEqual(turn["prompt_ids"], expected["prompt_ids"])
            self.assertEqual(turn["ids"], expected["ids"])
            self.assertEqual(turn["kept_tokens"], expected["kept_tokens"])

    def test_saved_now_and_forked(self):
        _, said = self.chat(["Hi", "/save", "/fork other.session", "/fork other.session", "Why?"],
                            "--session", str(self.file))
        self.assertEqual(said.count("saved "), 3)
        self.assertIn("other.session is there already; give the fork another name", said)
        fork, _ = self.chat(["Why?"], "--session", str(self.folder / "other.session"))
        went_on, _ = self.chat(["Go on"], "--session", str(self.file))
        self.assertGreater(went_on[0]["kept_tokens"], fork[0]["kept_tokens"])
        self.assertGreater(fork[0]["kept_tokens"], 0)

    def test_what_cannot_be_saved_is_said_and_the_conversation_goes_on(self):
        turns, said = self.chat(["/save", "/fork x", "/fork", "Hi"])
        self.assertEqual(len(turns), 1)
        self.assertEqual(said.count("begin with --session FILE"), 2)
        self.assertIn("/fork needs a name", said)
        _, said = self.chat(["/save", "/fork NONE/x", "Hi", "/fork NONE/x"], "--session", str(self.file))
        self.assertEqual(said.count("there is nothing to save yet"), 2)
        self.assertRegex(said, "NONE.*No such file or directory")
        self.assertIn("saved ", said)

    def test_ctrl_c_saves_what_is_done(self):
        words = ["chat", self.model, "--threads", "1", "--max-tokens", "3", "--ignore-eos", "--session",
                 str(self.file)]
        with subprocess.Popen(longspan_command.command(words), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, env=longspan_command.environment()) as process:
            process.stdin.write(b"Hi\n")
            process.stdin.flush()
            while b"kept 0 tokens" not in process.stderr.readline():
                pass
            time.sleep(0.2)  # until the next message is awaited
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(FAR_TOO_LONG), INTERRUPTED)
        turns, _ = self.chat(["Why?"], "--session", str(self.file))
        self.assertGreater(turns[0]["kept_tokens"], 0)


class RefusedTest(SessionTest):
    def refused(self, code, pattern, *arguments, ranks=(0,), **how):
        for count in ranks:
            out, said = self.generate(*arguments, code=code, ranks=count, **how)
            self.assertRegex(said, pattern)
            self.assertEqual(out, "", "before anything is computed")

    def damage(self, name, at):
        path = self.folder / name
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)

    def test_what_does_not_suit_is_refused_at_the_door(self):
        self.generate(*self.prompt, "--max-tokens", "2", "--kv-dtype", "int8")
        other = self.write_model("other.gguf", ffn=64)
        self.refused(USAGE, "was saved with another model, Tiny; use that one", model=other, ranks=(0, 2))
        self.refused(USAGE, "rounded in pages of 16 tokens.*give --page-tokens 16", "--page-tokens", "8",
                     "--kv-dtype", "int8")
        self.refused(USAGE, "other attention .exact.; ask for that", "--attention", "sinks", "--kv-dtype",
                     "int8")
        self.refused(USAGE, "turned otherwise", "--rope-float32", "--kv-dtype", "int8")
        self.refused(USAGE, "holds a text and no conversation", "--chat", "--prompt", "Hi")

    def test_damage_is_found_and_recomputed_only_when_asked(self):
        begun = self.answer(*self.prompt, "--max-tokens", "2")
        part = next(name for name in self.files() if name.endswith(".0.kv"))
        self.damage(part, -1)
        self.refused(BAD_DATA, r"page 2 of the session \(tokens 32 to 35\) is damaged", ranks=(0, 2))
        out, said = self.look("verify", str(self.file), code=BAD_DATA)
        self.assertRegex(said, r"page 2 of the session \(tokens 32 to 35\) is damaged")
        self.assertEqual(self.answer("--recompute", "--max-tokens", "1")["prompt_ids"], PROMPT + begun["ids"])
        self.look("verify", str(self.file))
        self.damage("talk.session", 100)
        self.refused(BAD_DATA, "the session is damaged: its checksum is another", "--recompute")

    def test_foreign_files_and_folders_that_are_not_there(self):
        self.file.write_text("notes, and no session")
        self.refused(BAD_DATA, "is no session of longspan", *self.prompt)
        self.assertEqual(self.file.read_text(), "notes, and no session")
        self.file = self.folder / "none" / "talk.session"
        self.refused(NO_INPUT, "none/talk.session.lock: No such file or directory; make its folder", *self.prompt)
        self.file = self.folder / "empty.session"
        self.refused(USAGE, "no prompt: the session does not hold anything yet")

    def test_a_full_disk_loses_nothing(self):
        self.generate(*self.prompt, "--max-tokens", "2")
        before = {name: (self.folder / name).read_bytes() for name in self.files()}
        out, said = self.generate("--max-tokens", "3", "--json", code=IO, preexec_fn=small_disk)
        self.assertRegex(said, "cannot be saved, there is no room left")
        self.assertEqual(len(json.loads(out)["ids"]), 3, "the answer is there all the same")
        self.assertEqual({name: (self.folder / name).read_bytes() for name in self.files()}, before)

    def test_two_at_once(self):
        words = ["chat", self.model, "--threads", "1", "--session", str(self.file)]
        with subprocess.Popen(longspan_command.command(words), stdin=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              env=longspan_command.environment()) as process:
            while b"room for a conversation" not in process.stderr.readline():
                pass
            _, said = self.generate(*self.prompt, code=TEMPORARY)
            self.assertRegex(said, f"talk.session is being written by process {process.pid} on")
            process.communicate()
        self.generate(*self.prompt, "--max-tokens", "1")

    def test_options_that_contradict(self):
        for line, *arguments in (("--recompute is about a session", "--recompute", "--prompt", "a"),
                                 ("--session and --prompt-nll", "--session", "x", "--prompt-nll"),
                                 ("--session and --n", "--session", "x", "--n", "2"),
                                 ("--session and --compare-degrees", "--session", "x", "--compare-degrees", "1,2"),
                                 ("--session and --prompts", "--session", "x", "--prompts", "a.jsonl"),
                                 ("--session and --attention star", "--session", "x", "--attention", "star")):
            _, said = self.generate(*arguments, session=False, code=USAGE)
            self.assertIn(line, said)


class LengthTest(SessionTest):
    """Of a model whose keys are turned by how long the sequence may become."""

    def setUp(self):
        super().setUp()
        folder = TinyFolder()
        folder.config["rope_scaling"] = {"rope_type": "dynamic", "factor": 2.0}
        self.model = str(self.folder / "model")
        os.mkdir(self.model)
        folder.write(pathlib.Path(self.model))

    def test_a_session_goes_on_within_the_length_that_it_was_begun_for(self):
        self.answer(*self.prompt, "--max-tokens", "9")
        self.assertIn("for a length of 44 tokens", self.look("show", str(self.file))[0])
        _, said = self.generate("--max-tokens", "1", code=USAGE)
        self.assertRegex(said, "turned for a length of 44 tokens, and this run is for 45; go on within that length")
        ended = self.answer("--max-tokens", "1", "--recompute")
        self.assertEqual(ended["timings"]["cached_tokens"], 0)

    def test_a_stop_leaves_room_within_it(self):
        begun = self.answer(*self.prompt, "--max-tokens", "9")
        self.file.unlink()
        cut = self.answer(*self.prompt, "--max-tokens", "9", "--stop-ids", str(begun["ids"][3]))
        ended = self.answer("--max-tokens", str(9 - len(cut["ids"])))
        self.assertEqual(cut["ids"] + ended["ids"], begun["ids"])
        self.assertEqual(ended["timings"]["cached_tokens"], len(PROMPT) + len(cut["ids"]) - 1)


class LookTest(SessionTest):
    def test_what_sessions_say_of_themselves(self):
        self.generate(*self.prompt, "--max-tokens", "2", "--kv-dtype", "bfloat16", ranks=2)
        (self.folder / "broken.session").write_bytes(self.file.read_bytes()[:-1])
        listed, _ = self.look("list", str(self.folder))
        broken, sound = listed.splitlines()
        self.assertRegex(broken, "broken.session .*the session is damaged")
        self.assertRegex(sound, r"talk.session +37 tokens .*bfloat16 +\d{4}-\d\d-\d\d .* Tiny")
        shown, _ = self.look("show", str(self.file))
        for line in ("a text", "tokens      37, 36 of them computed", "digest", "3 pages of 16 tokens, 2 parts",
                     "2 layers, 2 KV heads of 16", "attention   exact"):
            self.assertIn(line, shown)
        told = json.loads(self.look("show", str(self.file), "--json")[0])
        self.assertEqual((told["tokens"], told["computed_tokens"], told["pages"]), (37, 36, 3))
        self.assertEqual(told["kv_bytes"], sum(os.path.getsize(self.folder / name) for name in self.files()
                                               if name.endswith(".kv")))
        self.assertIn("3 pages,", self.look("verify", str(self.file))[0])
        for name in self.files():
            self.assertEqual((self.folder / name).stat().st_mode & 0o777, 0o600, name)

    def test_keys_that_are_gone_are_told_of(self):
        self.generate(*self.prompt, "--max-tokens", "2", ranks=2)
        parts = [name for name in self.files() if name.endswith(".kv")]
        gone = "its keys and values are gone: "
        self.assertNotIn(gone, self.look("list", str(self.folder))[0])
        (self.folder / parts[1]).unlink()
        for action, where in ("list", self.folder), ("show", self.file):
            self.assertIn(f"{gone}{parts[1]} is missing; --recompute", self.look(action, str(where))[0])
            told = json.loads(self.look(action, str(where), "--json")[0])
            self.assertEqual(told["missing"], parts[1:])
        (self.folder / parts[0]).unlink()
        self.assertIn(f"{gone}{parts[0]} and 1 more are missing", self.look("list", str(self.folder))[0])
        for ranks in 0, 2:
            _, said = self.generate("--max-tokens", "1", code=NO_INPUT, ranks=ranks)
            self.assertRegex(said, f"{gone}.*{parts[0]} is missing; put it back, or let --recompute")
            self.assertNotIn("loaded", said)
        self.generate("--max-tokens", "1", "--recompute")
        self.assertNotIn(gone, self.look("list", str(self.folder))[0])

    def test_what_is_no_session(self):
        self.assertIn("No such file", self.look("show", str(self.folder / "none"), code=NO_INPUT)[1])
        self.assertIn("is no session", self.look("verify", self.model, code=BAD_DATA)[1])
        self.assertIn("No such file", self.look("list", str(self.folder / "none"), code=NO_INPUT)[1])
        self.assertIn("legal: longspan session list DIR", self.look("lst", "x", code=USAGE)[1])


if __name__ == "__main__":
    unittest.main()
