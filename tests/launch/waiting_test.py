"""How long OpenMP's threads spin for each other: a short while, unless the environment says otherwise."""

import pathlib
import subprocess
import tempfile
import unittest

import longspan_command
from tiny_model import TinyModel


def environment_at_work(**variables):
    """Of a longspan that has loaded its model and waits for its prompt."""
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / "tiny.gguf"
        model.write_bytes(TinyModel().bytes())
        words = longspan_command.command(["generate", str(model), "--prompt-file", "-"])
        with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=longspan_command.environment(**variables)) as process:
            said = process.stderr.readline()
            entries = pathlib.Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            process.kill()
    assert b"loaded" in said, said
    return dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)


class WaitingTest(unittest.TestCase):
    def test_threads_spin_a_short_while(self):
        self.assertEqual(environment_at_work()[b"GOMP_SPINCOUNT"], b"1000")

    def test_what_the_environment_says_stays(self):
        self.assertEqual(environment_at_work(GOMP_SPINCOUNT="7")[b"GOMP_SPINCOUNT"], b"7")
        self.assertNotIn(b"GOMP_SPINCOUNT", environment_at_work(OMP_WAIT_POLICY="passive"))


if __name__ == "__main__":
    unittest.main()
