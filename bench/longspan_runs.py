"""Starts longspan for what measures it (scripts/gpu-rates, scripts/gpu-scaling, bench/ring_yardsticks.py):
ranks under mpirun, and `longspan generate` on made-up weights and prompts."""

import contextlib
import json
import os
import pathlib
import random
import subprocess
import tempfile

SHAPE = pathlib.Path(__file__).resolve().parent.parent / "tests/data/llama-3-8b-shape"
VOCABULARY = 128256  # of SHAPE
WRITTEN = 32  # tokens of an answer
PATIENCE = 40  # seconds for ending: launchers give their processes half a minute
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def under_mpirun(ranks, command, *options):
    """The line that starts `command` on so many ranks; one starts alone."""
    return command if ranks == 1 else ["mpirun", *options, "--bind-to", "none", "-np", ranks, *command]


def ended(command, limit, **environment):
    """A command's exit code and streams. After `limit` seconds it is asked to end, so that launchers end
    what they started: 124 then, as of timeout(1), with what it wrote before."""
    # Files: a pipe would also wait for what a killed launcher leaves behind.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([*map(str, command)], stdout=out, stderr=errors,
                                   env=os.environ | AS_ROOT | environment)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = 124
            end(process)
            print(f"\nnot done after {limit} s", file=errors)
        for file in (out, errors):
            file.seek(0)
        return subprocess.CompletedProcess(command, code, out.read(), errors.read())


def end(process):
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_words(process):
    """Of one that failed: longspan's own line, if there is one."""
    lines = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
    ours = [line for line in lines if line.startswith("longspan:")]
    return ours[-1] if ours and process.returncode != 124 else lines[-1]


def finished(command, limit, **environment):
    """(What ran, "") of a command that ended well within `limit` seconds; else (None, its last words)."""
    process = ended(command, limit, **environment)
    return (process, "") if process.returncode == 0 else (None, last_words(process))


@contextlib.contextmanager
def generate_words(folder, tokens, vocabulary, *more, prompts=1, written=WRITTEN):
    """What follows `longspan` to answer so many prompts of `tokens` random ids, the same in every run,
    with made-up weights in the shape of `folder`. Holds until the context ends."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        draw = random.Random(1)
        for _ in range(prompts):
            print(json.dumps({"prompt_ids": draw.choices(range(vocabulary), k=tokens)}), file=file)
        file.flush()
        yield ["generate", folder, "--load-format", "dummy", "--prompts", file.name, "--max-tokens", written,
               "--ignore-eos", *more]
