"""What every refusal of `longspan` looks like: one line, a certain exit code, no answer, soon."""

import re
import unittest

import longspan_command

RANKS = (0, 3)  # without mpirun, and under it: said once, not once per rank
# What mpirun leaves the others once a rank has failed, in seconds: here they have nothing to finish.
NO_GRACE = {"OMPI_MCA_odls_base_sigkill_timeout": "0"}
SECONDS = 60  # far above what a refusal takes, far below a hang


class RefusalTest(unittest.TestCase):
    """A base: a test lists rows and calls refuses() for each."""

    maxDiff = None
    ranks = RANKS
    rows_on_ranks = None  # of each test the first so many run under mpirun too; None: all

    def run(self, result=None):
        self.rows = 0
        return super().run(result)

    def refuses(self, what, arguments, code, line, stdin=b"", **environment):
        """`line` is a pattern that the one line must contain."""
        self.rows += 1
        few = self.rows_on_ranks is not None and self.rows > self.rows_on_ranks
        for ranks in self.ranks[:1] if few else self.ranks:
            with self.subTest(what, ranks=ranks):
                done = longspan_command.run(arguments, ranks, stdin, SECONDS, **NO_GRACE, **environment)
                said = done.stderr.decode(errors="backslashreplace")
                self.assertEqual(done.returncode, code, said)
                self.assertEqual(done.stdout, b"")
                lines = [l for l in said.splitlines() if not l.startswith("longspan: loaded ")]
                self.assertEqual(len(lines), 1, said)
                self.assertRegex(lines[0], r"^longspan: .*" + line)
                self.assertIsNone(re.search(r"exception|internal|terminate|\.cc:\d", lines[0]))
