"""srun without PMI starts several processes that do not know of each other: each would answer the
whole prompt. They end with one line that says how to start them instead."""

import unittest

import longspan_command
from tiny_model import TinyModel, written_for

CONFIGURATION = 78


class SrunTest(unittest.TestCase):
    def setUp(self):
        self.arguments = ["generate", written_for(self, TinyModel()), "--prompt", "x", "--max-tokens", "2"]

    def test_tasks_without_pmi_are_refused_once(self):
        for task in range(3):
            done = longspan_command.run(
                self.arguments, SLURM_JOB_ID="7", SLURM_STEP_ID="0", SLURM_NTASKS="3",
                SLURM_STEP_NUM_TASKS="3", SLURM_PROCID=str(task), SLURM_LOCALID=str(task))
            self.assertEqual(done.returncode, CONFIGURATION, done.stderr)
            self.assertEqual(done.stdout, b"")
            lines = done.stderr.decode().splitlines()
            if task > 0:
                self.assertEqual(lines, [])
                continue
            self.assertEqual(len(lines), 1)
            self.assertRegex(lines[0], r"^longspan: 3 tasks .*--mpi=pmix")

    def test_one_task_needs_no_pmi(self):
        done = longspan_command.run(self.arguments, SLURM_JOB_ID="7", SLURM_STEP_ID="0",
                                    SLURM_NTASKS="1", SLURM_STEP_NUM_TASKS="1", SLURM_PROCID="0")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_batch_script_may_run_it_without_srun(self):
        """The allocation has tasks, but this process is none of them."""
        done = longspan_command.run(self.arguments, SLURM_JOB_ID="7", SLURM_NTASKS="3")
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
