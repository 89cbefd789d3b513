"""`longspan generate --trace` and `longspan trace merge`: what the files hold, and what is refused.

On a tiny model, so what is looked at is the structure, never how long something took.
"""

import collections
import json
import pathlib
import re
import struct
import tempfile
import unittest

import longspan_command
from refusal import RefusalTest
from tiny_model import HIDDEN, LAYERS, VOCABULARY, Tensor, TinyModel

USAGE, BAD_DATA, NO_INPUT, IO = 2, 65, 66, 74
TOKENS = 5
KERNELS = {"embed", "rope_angles", "rms_norm", "matmul qkv", "rope", "attend", "finish",
           "matmul attention_output", "matmul gate_up", "glu", "matmul down", "matmul logits",
           "attend_decode", "merge", "copy_kv"}


def spans(trace, **wanted):
    """The events with a duration that have these values."""
    return [event for event in trace["traceEvents"] if event["ph"] == "X" and
            all(event[key] == value for key, value in wanted.items())]


def end(event):
    return event["ts"] + event["dur"]


class TraceCase(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.model = str(self.folder / "tiny.gguf")
        pathlib.Path(self.model).write_bytes(TinyModel().bytes())
        self.traces = self.folder / "deep" / "traces"

    def record(self, ranks, *arguments, traces=None):
        """The finished process of a run that is traced."""
        done = longspan_command.run(
            ["generate", self.model, "--threads", "1", "--prompt", "abc" * 40, "--max-tokens",
             str(TOKENS), "--ignore-eos", "--trace", str(traces or self.traces), *arguments], ranks)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def read(self, rank):
        return json.loads((self.traces / f"rank-{rank}.json").read_text())

    def merge(self, *arguments):
        done = longspan_command.run(["trace", "merge", str(self.traces), *arguments])
        self.assertEqual(done.returncode, 0, done.stderr)
        return done


class TraceTest(TraceCase):
    def assert_nests(self, events):
        """Of one thread: an event lies inside the one before it, or after it."""
        open_ends = []
        for event in sorted(events, key=lambda e: (e["ts"], -e["dur"])):
            while open_ends and open_ends[-1] <= event["ts"] + 1e-4:
                open_ends.pop()
            if open_ends:
                self.assertLessEqual(end(event), open_ends[-1] + 1e-4, event)
            open_ends.append(end(event))

    def test_a_file_per_rank_with_every_kernel_exchange_and_step(self):
        self.record(2, "--prefill-chunk", "60", "--strategy", "ring")
        files = [self.read(rank) for rank in (0, 1)]
        kernels = set()
        for rank, trace in enumerate(files):
            with self.subTest(rank=rank):
                self.assertEqual({event["pid"] for event in trace["traceEvents"]}, {rank})
                kernels |= {event["name"] for event in spans(trace, cat="compute")}
                threads = {e["tid"]: e["args"]["name"] for e in trace["traceEvents"]
                           if e["name"] == "thread_name"}
                self.assertEqual(sorted(set(threads.values())),
                                 ["compute", "host", "transfer", "transfer 2"])
                for tid, name in threads.items():
                    of_thread = spans(trace, tid=tid)
                    self.assertTrue(of_thread)
                    self.assert_nests(of_thread)
                    kinds = {event["cat"] for event in of_thread}
                    allowed = {"host": {"step", "wait"}, "compute": {"compute", "exchange", "step", "wait"}}
                    self.assertLessEqual(kinds, allowed.get(name, {"exchange", "wait"}))
                about = trace["otherData"]
                self.assertEqual((about["rank"], about["ranks"], about["dropped"]), (rank, 2, 0))
                self.assertEqual(about["clock_offset_ns"], 0)  # one host
        self.assertLessEqual(KERNELS, kernels)
        self.assertEqual(files[0]["otherData"]["run"], files[1]["otherData"]["run"])
        self.assert_exchanges_match(files)
        rows = [self.assert_steps(trace) for trace in files]
        self.assertEqual(sum(rows), 120)  # of the prompt, over both ranks

    def assert_exchanges_match(self, files):
        sent = []
        for rank, trace in enumerate(files):
            exchanges = spans(trace, cat="exchange")
            for exchange in exchanges:
                self.assertEqual(set(exchange["args"]["to"] + exchange["args"]["from"]), {1 - rank})
            sent.append(exchanges)
        self.assertEqual(len(sent[0]), len(sent[1]))
        self.assertGreater(len(sent[0]), LAYERS)
        for mine, theirs in ((0, 1), (1, 0)):
            self.assertEqual(sum(e["args"]["sent_bytes"] for e in sent[mine]),
                             sum(e["args"]["received_bytes"] for e in sent[theirs]))

    def assert_steps(self, trace):
        """Two chunks of prompt, then a step for each token but the first, on host and stream."""
        for thread in ("host", "compute"):
            tid = next(e["tid"] for e in trace["traceEvents"]
                       if e["name"] == "thread_name" and e["args"]["name"] == thread)
            steps = sorted((e for e in spans(trace, cat="step", tid=tid)
                            if e["name"] in ("prefill step", "decode step")),
                           key=lambda e: e["ts"])
            self.assertEqual([step["name"] for step in steps],
                             ["prefill step"] * 2 + ["decode step"] * (TOKENS - 1))
            epochs = [step["args"]["epoch"] for step in steps]
            self.assertEqual(epochs, sorted(set(epochs)))
        layers = spans(trace, name="layer")
        self.assertEqual(collections.Counter(e["args"]["layer"] for e in layers),
                         {layer: 1 + TOKENS for layer in range(LAYERS)})
        rank = trace["otherData"]["rank"]
        ring = spans(trace, name="ring step")
        self.assertEqual(collections.Counter(e["args"]["step"] for e in ring),
                         {0: 2 * LAYERS, 1: 2 * LAYERS})
        for step in ring:  # whose keys are attended
            self.assertEqual(step["args"]["owner"], (rank - step["args"]["step"]) % 2)
        return sum(step["args"]["rows"] for step in steps[:2])

    def test_a_rank_alone_takes_one_ring_step_a_layer(self):
        self.record(1, "--prefill-chunk", "60", "--strategy", "ring")
        trace = self.read(0)
        ring = spans(trace, name="ring step")
        self.assertEqual([step["args"] for step in ring], [{"step": 0, "owner": 0}] * (2 * LAYERS))
        attended = [event for step in ring for event in spans(trace, name="attend", tid=step["tid"])
                    if step["ts"] <= event["ts"] and end(event) <= end(step) + 1e-4]
        self.assertEqual(len(attended), len(ring))

    def test_merging_keeps_every_event_in_order_of_time(self):
        self.record(2)
        done = self.merge()
        trace = json.loads((self.traces / "trace.json").read_text())
        files = [self.read(rank) for rank in (0, 1)]
        first = min(e["ts"] for file in files for e in spans(file))

        def told(events, base):
            return sorted((round(e["ts"] - base, 3), round(e["dur"], 3), e["pid"], e["tid"],
                           e["name"], e["cat"], json.dumps(e["args"])) for e in events)

        expected = told([e for file in files for e in spans(file)], first)
        for mine, theirs in zip(told(spans(trace), 0), expected, strict=True):
            self.assertAlmostEqual(mine[0], theirs[0], places=2)
            self.assertEqual(mine[1:], theirs[1:])
        times = [e["ts"] for e in trace["traceEvents"] if e["ph"] == "X"]
        self.assertEqual(times, sorted(times))
        self.assertEqual(times[0], 0)
        names = [e for e in trace["traceEvents"] if e["ph"] == "M"]
        self.assertEqual(names, [e for file in files for e in file["traceEvents"] if e["ph"] == "M"])

        lines = done.stdout.decode().splitlines()
        self.assertRegex(lines[0], rf"trace\.json: 2 ranks, {len(times):,} events, \d+\.\d\d\d s$")
        for rank, line in enumerate(lines[1:]):
            self.assertRegex(line, rf"^rank {rank}: compute \d+\.\d %, exchange \d+\.\d\d\d s, "
                                   r"\d+\.\d % of it under compute$")
        self.assertEqual(len(lines), 3)
        self.assertEqual(done.stderr, b"")

    def test_clocks_are_put_right_and_overlap_is_counted(self):
        """Files made by hand: rank 1's clock is 50 us late, and 30 of its 40 us are hidden."""
        def event(cat, ts, dur, tid):
            return {"name": cat, "cat": cat, "ph": "X", "ts": ts, "dur": dur, "pid": 1, "tid": tid,
                    "args": {}}
        about = {"ranks": 2, "run": "x", "dropped": 0}
        self.write(0, [event("compute", 1000, 100, 1)], about | {"rank": 0, "clock_offset_ns": 0})
        self.write(1, [event("compute", 960, 40, 1), event("exchange", 970, 40, 2),
                       event("wait", 1000, 20, 1)],
                   about | {"rank": 1, "clock_offset_ns": 50_000})
        done = self.merge("-o", str(self.folder / "out.json"))
        self.assertEqual(done.stdout.decode().splitlines()[1:],
                         ["rank 0: compute 100.0 %, no exchange",
                          "rank 1: compute 40.0 %, exchange 0.000 s, 75.0 % of it under compute"])
        trace = json.loads((self.folder / "out.json").read_text())
        self.assertEqual([(e["ts"], e["cat"]) for e in trace["traceEvents"]],
                         [(0, "compute"), (10, "compute"), (20, "exchange"), (50, "wait")])

    def write(self, rank, events, about):
        self.traces.mkdir(parents=True, exist_ok=True)
        (self.traces / f"rank-{rank}.json").write_text(
            json.dumps({"traceEvents": events, "otherData": about}))

    def test_a_missing_rank_and_dropped_events_are_told(self):
        about = {"ranks": 3, "run": "x", "dropped": 1234, "rank": 1, "clock_offset_ns": 0}
        self.write(1, [], about)
        said = self.merge().stderr.decode()
        self.assertRegex(said, "2 of the run's 3 ranks left no file")
        self.assertRegex(said, "rank 1 dropped 1,234 events")

    def test_the_text_is_the_same_and_the_place_is_told(self):
        done = self.record(0)
        plain = longspan_command.generate("--prompt", "abc" * 40, "--max-tokens", str(TOKENS),
                                          "--ignore-eos", model=self.model)
        self.assertEqual(done.stdout.decode(), plain)
        self.assertIn(f"longspan trace merge {self.traces}", done.stderr.decode())
        self.assertNotIn(b"trace merge", self.record(0, "--json").stderr)

    def test_a_trace_replaces_that_of_a_run_with_more_ranks_and_nothing_else(self):
        self.record(2)
        notes = self.traces / "notes.json"
        notes.write_text("kept")
        self.record(0)
        self.assertEqual(sorted(path.name for path in self.traces.iterdir()), ["notes.json", "rank-0.json"])
        self.assertIn("1 rank,", self.merge().stdout.decode())
        self.assertEqual(notes.read_text(), "kept")

    def test_every_degree_of_a_comparison_is_in_the_trace(self):
        self.record(2, "--compare-degrees", "1,2")
        first, second = self.read(0), self.read(1)
        self.assertEqual(len(spans(first, name="layer")), 2 * len(spans(second, name="layer")))
        # Streams of one degree after the other share their lanes.
        self.assertLessEqual(len({e["tid"] for e in first["traceEvents"]}), 4)

    def test_a_full_disk_is_told_once_after_the_answer(self):
        self.traces.mkdir(parents=True)
        (self.traces / "rank-1.json").symlink_to("/dev/full")
        done = longspan_command.run(["generate", self.model, "--prompt", "x", "--max-tokens", "3",
                                     "--ignore-eos", "--json", "--trace", str(self.traces)], 2)
        self.assertEqual(done.returncode, IO, done.stderr)
        self.assertEqual(len(json.loads(done.stdout)["ids"]), 3)
        self.assertRegex(done.stderr.decode(), r"^longspan: rank 1 on .*rank-1\.json could not be "
                                               r"written: No space left on device\n$")

    def test_a_run_that_fails_leaves_a_whole_file(self):
        """One weight so large that a logit overflows, upwards only for some prompts."""
        model = TinyModel()
        output = Tensor("output.weight", (HIDDEN, VOCABULARY), 99)
        output.data = struct.pack("<f", 3e38) + bytes(4 * (HIDDEN - 1)) + output.data[4 * HIDDEN:]
        model.tensors.append(output)
        norm = model.tensor("output_norm.weight")
        norm.data = struct.pack("<f", 1e4) + norm.data[4:]
        pathlib.Path(self.model).write_bytes(model.bytes())
        codes = [longspan_command.run(["generate", self.model, "--max-tokens", "1", "--prompt",
                                       letter, "--trace", str(self.folder / letter)]).returncode
                 for letter in "abcdefgh"]
        self.assertEqual(set(codes), {0, 70})
        self.traces = self.folder / "abcdefgh"[codes.index(70)]
        self.assertTrue(spans(self.read(0), name="matmul logits"))
        self.assertTrue(spans(self.read(0), name="prefill step"))


class TraceRefusalTest(TraceCase, RefusalTest):
    def refuses_merge(self, what, code, line, *arguments):
        self.refuses(what, ["trace", "merge", str(self.traces), *arguments], code, line)

    def test_a_folder_that_cannot_be_made_is_refused_before_the_model_is_opened(self):
        inside_a_file = self.model + "/traces"
        for model in (self.model, str(self.folder / "none.gguf")):
            self.refuses("no folder", ["generate", model, "--prompt", "x", "--trace",
                                       inside_a_file], IO,
                         re.escape(inside_a_file) + ".*name another folder")

    def test_a_name_is_needed(self):
        self.refuses("empty", ["generate", self.model, "--prompt", "x", "--trace", ""], USAGE,
                     "--trace is empty")

    def test_words_that_are_no_command(self):
        self.refuses("nothing", ["trace"], USAGE, "longspan trace merge DIR")
        self.refuses("another verb", ["trace", "split", "x"], USAGE, "legal: trace merge DIR")
        self.refuses("no folder", ["trace", "merge"], USAGE, "DIR is missing")
        self.refuses("two folders", ["trace", "merge", "a", "b"], USAGE, "'b' after DIR")
        self.refuses("a flag", ["trace", "merge", "a", "--outptu", "b"], USAGE, "nearest: --output")

    def test_nothing_to_merge(self):
        self.refuses_merge("no folder", NO_INPUT, "there is no folder .*--trace")
        self.traces.mkdir(parents=True)
        (self.traces / "rank-x.json").write_text("{}")
        self.refuses_merge("no files", NO_INPUT, r"no rank-N\.json.*--trace")

    def test_damaged_files_are_named_with_the_fix(self):
        self.record(2)
        path = self.traces / "rank-1.json"
        whole = path.read_bytes()
        fix = r"rank-1\.json: damaged, .*remove this file"
        for what, data in [("cut short", whole[:len(whole) // 2]), ("empty", b""),
                           ("other bytes", b"\xff\xfe" + whole), ("a list", b"[]"),
                           ("an object", b"{}"), ("no time", whole.replace(b'"ts"', b'"tz"', 1)),
                           ("a time that is text", whole.replace(b'"dur":', b'"dur":"x","d":', 1)),
                           ("no end", whole.replace(b'"otherData"', b'"other"'))]:
            path.write_bytes(data)
            self.refuses_merge(what, BAD_DATA, fix)
        path.write_bytes(whole.replace(b'"run":"', b'"run":"0', 1))
        self.refuses_merge("another run", BAD_DATA, r"rank-1\.json is of another run than .*rank-0")

    def test_places_where_the_result_cannot_go(self):
        self.record(0)
        self.refuses_merge("inside a file", IO, "cannot write .*--output", "-o",
                           self.model + "/out.json")
        self.refuses_merge("over a rank's file", USAGE, "to be merged", "--output",
                           str(self.traces / "rank-0.json"))


if __name__ == "__main__":
    unittest.main()
