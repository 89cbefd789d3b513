"""Flags and numbers that mean nothing are refused in one line that says what is legal."""

import math
import struct
import subprocess
import unittest

import longspan_command
from refusal import RefusalTest
from tiny_model import TinyModel, written_for

USAGE, NO_INPUT, OUT_OF_MEMORY = 2, 66, 71

# flag, values that it refuses, what the line says beside flag and value
BAD_NUMBERS = [
    ("--degree", ["0", "-1", "two", "1.5"], "1 to 65536"),
    ("--tp", ["0", "-2", "two", "1.5"], "1 to 65536"),
    ("--max-tokens", ["0", "-1", "many", "1.5"], "at least 1"),
    ("--max-tokens", ["9" * 20, "9999999T"], "1 to 9223372036854775807"),
    ("--prefill-chunk", ["0", "-17", "all"], "at least 1"),
    ("--page-tokens", ["0", "-16", "3", "2048", "1e3"], "power of two from 1 to 1024"),
    ("--threads", ["0", "-1", "x"], "1 to 4096"),
    ("--logprobs", ["-1", "21", "x"], "0 to 20"),
    ("--max-num-seqs", ["0", "x"], "at least 1|1 to"),
    ("--hang-timeout", ["0", "-1", "nan", "inf", "soon"], "seconds"),
    ("--memory-limit", ["0", "-1", "much", "1X"], "at least 1"),
    ("--kv-disk-bytes", ["0", "-1", "much", "1X"], "at least 1"),
    ("--kv-host-bytes", ["-1", "much", "1X"], "at least 0"),
    ("--compare-degrees", ["0,1", "1,x", "1,,2", "2"], "numbers"),
    ("--layout", ["zigzagg"], "block-cyclic, striped, zigzag, contiguous or folded"),
    ("--keep", ["few", "SPREAD"], "spread or fewest"),
    ("--policy", ["random", "elastic"], "random_elastic, static_sp, replicas or chunked_prefill"),
    ("--prefix-cache", ["1", "auto"], "on or off"),
    ("--cuda-graphs", ["1", "auto"], "on or off"),
    ("--calibrate", ["fast", "on"], "off, quick or full"),
    ("--throttle-link", ["0", "fast", "25M,", "25M,1"], "25M or 1.25G,200us"),
    ("--kv-dtype", ["float8", "half"], "auto, float32, float16, bfloat16 or int8"),
    ("--backend", ["gpu", "CUDA"], "auto, cpu or cuda"),
    ("--dtype", ["float16", "float"], "auto, float32 or bfloat16"),
    ("--temperature", ["2.1"], "a number from 0 to 2"),
    ("--top-k", ["999999"], "vocabulary"),
    ("--stop-ids", ["288"], "vocabulary ends at"),
    ("--min-tokens", ["129"], "0 to the 128 tokens"),
    ("--log-level", ["loud"], "(error|warning|info|debug), .* or (error|debug)"),
]


class BadOptionsTest(RefusalTest):
    rows_on_ranks = 2  # options are read on all ranks alike

    def setUp(self):
        self.model = written_for(self, TinyModel())

    def refuses_options(self, options, line, code=USAGE, **environment):
        self.refuses(" ".join(options), ["generate", self.model, *options], code, line,
                     **environment)

    def test_unknown_and_misspelt_flags(self):
        for flag, line in [("--promt", "--promt; nearest: --prompt"),
                           ("--max-token", "--max-token; nearest: --max-tokens"),
                           ("--degrees=2", "--degrees; nearest: --degree"),
                           ("--quantize", "--quantize"),
                           ("-x", "-x")]:
            self.refuses_options(["--prompt", "x", flag, "2"], "unknown flag " + line)

    def test_words_in_the_wrong_place(self):
        self.refuses("no command", [], USAGE, "--help")
        self.refuses("a misspelt command", ["generat"], USAGE, "generat; nearest: generate")
        self.refuses("an unknown first flag", ["--verison"], USAGE, "nearest: --version")
        self.refuses("no model", ["generate", "--prompt", "x"], USAGE, "MODEL is missing")
        self.refuses_options(["--prompt", "two", "words"], "'words'")
        self.refuses_options(["--prompt"], "--prompt needs a value")
        self.refuses_options(["--prompt", "x", "--degree"], "--degree needs a value")
        self.refuses_options(["--prompt", "--json"], "--prompt needs TEXT")
        self.refuses_options(["--prompt", "x", "--degree", "1", "--degree", "1"], "2 times")

    def test_prompts_that_exclude_each_other(self):
        self.refuses_options([], "no prompt")
        self.refuses_options(["--prompt", "x", "--prompt-file", "y"], "--prompt and --prompt-file")

    def test_a_strategy_that_cannot_be(self):
        asked = ["--prompt", "x", "--strategy"]
        self.refuses_options(asked + ["rings"], "--strategy must be auto, ring, query-ring, .*'rings'; nearest: ring")
        self.refuses_options(["--prompt", "x", "--decode-strategy", "slice"],
                             "--decode-strategy must be shipped, mirrored, tree or sliced, .*'slice'; nearest: sliced")
        self.refuses_options(asked + ["ring", "--ulysses-degree", "2"], "--ulysses-degree .* --strategy usp")
        self.refuses_options(asked + ["usp", "--ring-shape", "1x1"], "--ring-shape .* --strategy double-ring")
        self.refuses_options(asked + ["double-ring", "--ring-shape", "2"], "--ring-shape .*2x4, not '2'")
        self.refuses_options(asked + ["double-ring", "--ring-shape", "2x0"], "--ring-shape .*1 to 65536")
        self.refuses_options(asked + ["double-ring", "--ring-shape", "2x2"], "is 4 ranks, but [13] .* usable: (1x1|3x1 1x3)$")

    def test_patterns_of_attention_that_cannot_be(self):
        asked = ["--prompt", "x", "--attention"]
        self.refuses_options(asked + ["stars"], "--attention must be exact, .*'stars'; nearest: star")
        self.refuses_options(asked + ["exact", "--block-tokens", "8"], "--block-tokens .* --attention exact")
        self.refuses_options(asked + ["star", "--sink-tokens", "8"], "--sink-tokens .* --attention star")
        self.refuses_options(asked + ["sinks", "--window-tokens", "0"], "--window-tokens .*at least 1")

    def test_contradictions(self):
        self.refuses_options(["--prompt", "x", "--degree", "1", "--compare-degrees", "1,2"],
                             "--degree and --compare-degrees")

    def test_numbers_and_words_that_mean_nothing(self):
        for flag, values, line in BAD_NUMBERS:
            for value in values:
                self.refuses_options(["--prompt", "x", f"{flag}={value}"], f"{flag} .*({line})")
            self.refuses_options(["--prompt", "x", flag, values[0]], f"{flag} .*({line})")
            self.refuses_options(["--prompt", "x", f"{flag}="], f"{flag}= has no value")

    def test_the_environment_is_checked_alike(self):
        self.refuses_options(["--prompt", "x"], "LONGSPAN_DEGREE .*'zero'", LONGSPAN_DEGREE="zero")

    def test_more_ranks_than_there_are(self):
        self.refuses_options(["--prompt", "x", "--degree", "4"], "degree 4.*mpirun -np 4")
        self.refuses_options(["--prompt", "x", "--compare-degrees", "1,5"], "degree 5.*-np 5")

    def test_a_disk_that_keeps_nothing(self):
        asked = ["--prompt", "x", "--kv-disk"]
        self.refuses_options(asked + ["/no/such/folder", "--kv-disk-bytes", "1G"],
                             "/no/such/folder: evicted pages cannot be kept there: No such file .*; name a folder",
                             NO_INPUT)
        self.refuses_options(asked + [self.model, "--kv-disk-bytes", "1G"], "Not a directory", NO_INPUT)
        self.refuses_options(asked + ["/tmp", "--kv-disk-bytes", "100"],
                             "--kv-disk-bytes 100 is no room for one page of KV, which has .*; give")
        self.refuses_options(["--prompt", "x", "--kv-host-bytes", "100"],
                             "--kv-host-bytes 100 is no room for one page of KV, which has .*; give")
        self.refuses_options(["--prompt", "x", "--kv-host-bytes", "1000T"],
                             "evicted pages take .* of host memory on each rank, .*; lower --kv-host-bytes",
                             OUT_OF_MEMORY)

    def test_dummy_weights_of_a_file(self):
        self.refuses_options(["--prompt", "x", "--load-format", "dummy"],
                             "is a file, but dummy weights .* config.json of a model's folder; name that folder")

    def test_instances_that_cannot_be(self):
        """Four query heads and two key/value heads, on one rank or three. The weights are damaged, so
        that a run which gets as far as reading them ends otherwise."""
        model = TinyModel()
        query = model.tensor("blk.0.attn_q.weight")
        query.data = struct.pack("<f", math.nan) + query.data[4:]
        with open(self.model, "wb") as file:
            file.write(model.bytes())
        self.refuses_options(["--prompt", "x", "--tp", "2"],
                             "--tp 2 makes instances of 2 ranks, but the job has [13]; .*-np [24], .*of: 1$")
        self.refuses_options(["--prompt", "x", "--tp", "3"],
                             "--tp 3 must divide the 4 query heads, .* 2 key/value heads .*; usable: 1 2 4$")
        self.refuses_options(["--prompt", "x", "--tp", "2", "--decode-strategy", "sliced"],
                             "--decode-strategy sliced .*--tp .*; use shipped, tree or mirrored, or --tp 1")
        done = longspan_command.run(["generate", self.model, "--prompt", "x", "--tp", "4"], 6)
        self.assertEqual(done.returncode, USAGE)
        self.assertRegex(done.stderr.decode(), r"--tp 4 makes .* the job has 6; .*-np 8, or use --tp with one of: 1 2$")
        done = longspan_command.run(["generate", self.model, "--prompt", "x", "--tp", "4",
                                     "--attention", "block-sparse"], 4)
        self.assertEqual(done.returncode, USAGE)
        self.assertRegex(done.stderr.decode(), r"--attention block-sparse .* --tp 4 .* of the model's 2; "
                                               r"use --tp with one of: 1 2, or --attention exact, sinks or star")
        done = longspan_command.run(["generate", self.model, "--prompt", "x", "--tp", "2", "--degree", "3"], 4)
        self.assertEqual(done.returncode, USAGE)
        self.assertRegex(done.stderr.decode(), r"^longspan: degree 3 needs 6 ranks \(--tp 2\), .* has 4; .*-np 6\n$")

    def test_too_little_memory(self):
        self.refuses_options(["--prompt", "x", "--memory-limit", "100k"], "memory", OUT_OF_MEMORY)
        self.refuses("real", ["generate", longspan_command.MODEL, "--prompt", "x", "--memory-limit",
                              "100M"], OUT_OF_MEMORY, "542 MiB.*100 MiB")
        # Room for the weights, but not for what computing with them takes.
        self.refuses("working memory", ["generate", longspan_command.MODEL, "--prompt", "x",
                                        "--memory-limit", "545M"], OUT_OF_MEMORY, "MiB left; ")

    def test_an_answer_that_cannot_be_written_is_not_success(self):
        for arguments in (["--version"], ["inspect", longspan_command.MODEL],
                          ["generate", longspan_command.MODEL, "--prompt", "x", "--max-tokens", "1", "--json"]):
            with self.subTest(arguments), open("/dev/full", "w") as full:
                done = subprocess.run(longspan_command.command(arguments), stdout=full, stderr=subprocess.PIPE,
                                      text=True, env=longspan_command.environment(), timeout=60)
                self.assertEqual(done.returncode, 74, done.stderr)
                self.assertIn("could not be written", done.stderr)


if __name__ == "__main__":
    unittest.main()
