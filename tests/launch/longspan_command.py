"""Runs the `longspan` command as a person does: alone, or over ranks under mpirun.

The program and the real model come from LONGSPAN_BINARY and LONGSPAN_TEST_MODEL. A test without
them fails and says what is missing; nothing is skipped.
"""

import os
import pathlib
import subprocess
import sys

LAUNCHERS = ("LONGSPAN_", "OMPI_", "PMIX_", "PMI_", "PRTE_", "SLURM_")


def existing(path, fix):
    if path and os.path.isfile(path):
        return path
    sys.exit(f"there is no file '{path}': {fix}")


BINARY = existing(os.environ.get("LONGSPAN_BINARY"),
                  "LONGSPAN_BINARY must name the longspan program; ctest sets it")
MODEL = existing(os.environ.get("LONGSPAN_TEST_MODEL"),
                 "LONGSPAN_TEST_MODEL must name SmolLM2-135M-Instruct.Q4_1.gguf; configure with "
                 "-DLONGSPAN_TEST_MODEL=\"$(scripts/fetch-model)\", as scripts/test does")
GOLDENS = existing(str(pathlib.Path(__file__).parent.parent / "data/smollm2/goldens.json"),
                   "the reference continuations belong in tests/data/smollm2")


def environment(**more):
    """Without what the caller's launcher or shell would tell longspan, and without munge: where its
    daemon is down, PMIx asks it for seconds at every start; nor is a network looked for. Nothing is
    measured: tests share cores. And nothing is rounded, unless a test asks for that, wherever it could
    be faster; and CPUs compute."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)}
    return mine | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                   "PMIX_MCA_psec": "native", "OMPI_MCA_pml": "ob1", "LONGSPAN_CALIBRATE": "off",
                   "LONGSPAN_DTYPE": "float32", "LONGSPAN_BACKEND": "cpu"} | more


def command(arguments, ranks=0):
    """The words to run; 0 ranks is one process without mpirun."""
    words = [BINARY, *arguments]
    if ranks == 0:
        return words
    return ["mpirun", "-q", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle",
            "1", "-np", str(ranks), *words]


def run(arguments, ranks=0, stdin=b"", timeout=120, **more_environment):
    """The finished process, its streams as bytes."""
    return subprocess.run(command(arguments, ranks), input=stdin, capture_output=True,
                          timeout=timeout, env=environment(**more_environment))


def generate(*arguments, model=MODEL, **options):
    """What `longspan generate` prints when all goes well, with one thread a rank: tests share their
    cores, and threads that wait for each other there take turns at waiting."""
    done = run(["generate", model, "--threads", "1", *arguments], **options)
    if done.returncode != 0:
        raise AssertionError(f"longspan generate {arguments} ended with {done.returncode}: "
                             f"{done.stderr.decode(errors='replace')}")
    return done.stdout.decode()
