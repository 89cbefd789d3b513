"""Ctrl-C while text is written, and a rank that is killed. How long the ends take is measured by
scripts/check-time-bars; here they only have to come."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time
import unittest

import longspan_command

FAR_TOO_LONG = 120  # seconds


@contextlib.contextmanager
def started(*arguments, ranks=0):
    """A running `longspan generate` on the real model, killed if the test leaves it behind."""
    words = longspan_command.command(
        ["generate", longspan_command.MODEL, "--threads", "1", *arguments], ranks)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=longspan_command.environment()) as process:
        try:
            yield process
        finally:
            process.kill()


def ranks_of(mpirun, count):
    """The processes that mpirun has started, once all are there and run longspan."""
    children = pathlib.Path(f"/proc/{mpirun.pid}/task/{mpirun.pid}/children")
    binary = os.path.realpath(longspan_command.BINARY)
    deadline = time.monotonic() + FAR_TOO_LONG
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            found = [int(pid) for pid in children.read_text().split()]
            if [os.readlink(f"/proc/{pid}/exe") for pid in found] == [binary] * count:
                return found
        time.sleep(0.05)
    raise AssertionError(f"mpirun did not start {count} ranks")


class InterruptTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(longspan_command.GOLDENS) as file:
            cls.cases = {case["name"]: case for case in json.load(file)["cases"]}

    def test_ctrl_c_keeps_the_text_so_far(self):
        golden = self.cases["count"]
        for ranks in (0, 3):
            with self.subTest(ranks=ranks), started("--prompt", golden["text"], "--ignore-eos",
                                                    "--max-tokens", "4000", ranks=ranks) as process:
                text = process.stdout.read(5)  # so some text is out
                process.send_signal(signal.SIGINT)
                rest, said = process.communicate(timeout=FAR_TOO_LONG)
                # Of a job that was interrupted, mpirun says 1, whatever its ranks say.
                self.assertEqual(process.returncode, 1 if ranks else 130, said)
                text = (text + rest).decode().rstrip("\n")
                shorter = min(len(text), len(golden["output_text"]))
                self.assertGreaterEqual(shorter, 5)
                self.assertEqual(text[:shorter], golden["output_text"][:shorter])

    def test_a_signal_while_the_prompt_is_awaited(self):
        for which, name, code in (signal.SIGINT, b"Ctrl-C", 130), (signal.SIGTERM, b"SIGTERM", 143):
            with self.subTest(name), started("--prompt-file", "-") as process:
                self.assertIn(b"loaded", process.stderr.readline())
                process.send_signal(which)
                process.wait(FAR_TOO_LONG)  # its standard input is still open
                self.assertEqual(process.returncode, code)
                self.assertEqual(process.stderr.read(), b"longspan: ended by " + name + b"\n")

    def test_a_killed_rank_ends_the_job(self):
        for victim in (0, 2):
            with self.subTest(rank=victim), started("--prompt-file", "-", ranks=3) as process:
                self.assertIn(b"loaded", process.stderr.readline())
                os.kill(ranks_of(process, 3)[victim], signal.SIGKILL)
                process.wait(FAR_TOO_LONG)
                self.assertEqual(process.returncode, 137)

    def test_a_rank_killed_at_work_ends_the_job(self):
        prompt = self.cases["count"]["text"]
        for split in ([], ["--tp", "3"]):
            with self.subTest(split), started("--prompt", prompt, "--ignore-eos", "--max-tokens",
                                              "4000", *split, ranks=3) as process:
                process.stdout.read(5)
                os.kill(ranks_of(process, 3)[1], signal.SIGKILL)
                process.communicate(timeout=FAR_TOO_LONG)
                self.assertEqual(process.returncode, 137)


if __name__ == "__main__":
    unittest.main()
