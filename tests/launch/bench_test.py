"""`longspan bench`: what it prints, never how fast it is. Each bench runs tiny, alone and under
mpirun."""

import json
import pathlib
import tempfile
import unittest
import xml.etree.ElementTree as xml

import longspan_command
from refusal import RefusalTest
from tiny_model import FFN, HIDDEN, LAYERS, VOCABULARY, TinyModel, written_for

USAGE, NO_INPUT, OUT_OF_MEMORY, IO = 2, 66, 71, 74

HEAD = {"bench": str, "version": str, "degree": int, "ranks": int, "hosts": int, "threads": int,
        "placement": str, "device": str, "throttle_link": str, "seconds_per_figure": float}
TIMING = {"seconds": float, "spread": float, "runs": int}
STRATEGY = {"strategy": str, **TIMING, "share_of_ideal": float, "predicted_s": float,
            "modelled_s": float}
CHUNK = {"tokens": int, "cached": int, "layout": str, "rows_by_rank": list, "cached_by_rank": list,
         "ideal": dict, "strategies": list,
         "chosen": str, "reason": str, "chosen_seconds": float, "fastest": str,
         "fastest_seconds": float, "regret": float}
MESSAGE = {"bytes": int, **TIMING, "bytes_per_s": float, "copy_bytes_per_s": float, "ratio": float}
STEP = {"context": int, "rows": int, "keys": str, "bytes_per_rank": float, "alone": dict, "strategies": list}
DECODE_STRATEGY = {"strategy": str, **TIMING, "bytes_per_s": float, "ratio_to_reading": float,
                   "share_of_alone": float}
LOAD = {"best_s": float, "median_s": float, "spread": float, "runs": int}
READ = {**TIMING, "tokens_per_s": float, "yardstick_s": float, "ratio": float}
TOKEN = {**TIMING, "bytes_per_rank": float, "yardstick_s": float, "ratio": float}
ROUND_TRIP = {"bytes": int, "after_work_s": float, **TIMING, "yardstick_s": float, "ratio": float}


def types(value):
    return {key: type(part) for key, part in value.items()}


class BenchTest(RefusalTest):
    def bench(self, what, *arguments, ranks=0):
        done = longspan_command.run(
            ["bench", what, "--threads", "1", "--seconds", "0.05", *arguments], ranks)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done.stdout.decode()

    def json(self, *arguments, ranks=0):
        answer = json.loads(self.bench(*arguments, "--json", ranks=ranks))
        self.assertEqual({key: type(answer[key]) for key in HEAD}, HEAD)
        self.assertEqual(answer["bench"], arguments[0])
        self.assertEqual((answer["ranks"], answer["threads"]), (max(1, ranks), 1))
        return answer

    def check_timing(self, row):
        self.assertGreater(row["seconds"], 0)
        self.assertGreaterEqual(row["spread"], 0)
        self.assertGreaterEqual(row["runs"], 3)

    def check_ratio(self, ratio, figure, yardstick):
        self.assertAlmostEqual(ratio, figure / yardstick, delta=1e-9 * ratio)

    def check_chunk(self, chunk, more_of_a_strategy):
        rematch = chunk.pop("rematch")
        self.assertEqual(types(chunk), CHUNK)
        self.assertEqual(sum(chunk["rows_by_rank"]), chunk["tokens"])
        self.assertEqual(sum(chunk["cached_by_rank"]), chunk["cached"])
        self.assertEqual(types(chunk["ideal"]), TIMING)
        self.check_timing(chunk["ideal"])
        measured = {}
        for row in chunk["strategies"]:
            self.assertEqual(types(row), STRATEGY | more_of_a_strategy)
            self.check_timing(row)
            self.check_ratio(row["share_of_ideal"], chunk["ideal"]["seconds"], row["seconds"])
            self.assertGreater(row["predicted_s"], 0)
            measured[row["strategy"]] = row["seconds"]
        self.assertEqual(chunk["chosen_seconds"], measured[chunk["chosen"]])
        self.assertEqual(chunk["fastest_seconds"], min(measured.values()))
        self.assertEqual(measured[chunk["fastest"]], chunk["fastest_seconds"])
        self.assertEqual(rematch is None, chunk["chosen"] == chunk["fastest"])
        self.check_regret_of(chunk["regret"], rematch)
        return list(measured)

    def check_regret_of(self, regret, rematch):
        if rematch is None:
            self.assertEqual(regret, 0)
            return
        for timing in rematch.values():
            self.check_timing(timing)
        ratio = rematch["chosen"]["seconds"] / rematch["fastest"]["seconds"]
        self.assertAlmostEqual(regret, max(0, ratio - 1), places=9)

    def check_regret(self, answer):
        regrets = [chunk["regret"] for chunk in answer["chunks"]]
        self.assertEqual(answer["regret"]["worst"], max(regrets))
        self.assertAlmostEqual(answer["regret"]["mean"], sum(regrets) / len(regrets), places=9)

    def test_attention_over_three_ranks(self):
        with tempfile.TemporaryDirectory() as folder:
            plot = pathlib.Path(folder) / "share.svg"
            answer = self.json("attention", "--tokens", "40,2", "--cached", "19", "--layout",
                               "folded,zigzag", "--plot", str(plot), ranks=3)
            lines = self.polylines(plot)
        self.assertEqual([(c["tokens"], c["cached"], c["layout"]) for c in answer["chunks"]],
                         [(t, 19, l) for t in (40, 2) for l in ("folded", "zigzag")])
        self.assertIsNone(answer["matrix_flop_per_s"])
        for chunk in answer["chunks"]:
            measured = self.check_chunk(chunk, {})
            keys = ["ring", "all-gather", "double-ring 1 x 3"]
            others = ["query-ring", "gather-q", "ulysses"] if chunk["layout"] == "folded" else []
            self.assertEqual(sorted(measured), sorted(keys + others))
        self.check_regret(answer)
        self.assertEqual(len(lines), 6 + 3)
        for line in lines:
            self.assertEqual(len(line.split()), 2)  # sizes

    def polylines(self, plot):
        root = xml.parse(plot).getroot()
        space = "{http://www.w3.org/2000/svg}"
        self.assertEqual(root.tag, space + "svg")
        self.assertFalse(list(root.iter(space + "script")))
        return [line.get("points") for line in root.iter(space + "polyline")]

    def test_attention_alone_stands_beside_a_matrix_product(self):
        answer = self.json("attention", "--tokens", "33", "--heads", "4x2x16", "--page-tokens", "1")
        self.assertEqual(answer["heads"], {"query": 4, "kv": 2, "size": 16})
        chunk, = answer["chunks"]
        self.assertEqual(self.check_chunk(chunk, {"flop_per_s": float, "ratio_to_matrix": float}),
                         ["ring"])
        row, = chunk["strategies"]
        flop = 4 * 4 * 16 * 33 * 34 / 2
        self.assertAlmostEqual(row["flop_per_s"] * row["seconds"], flop, delta=1e-6 * flop)
        self.check_ratio(row["ratio_to_matrix"], row["flop_per_s"], answer["matrix_flop_per_s"])

    def test_auto_measures_what_is_chosen_on_random_chunks(self):
        answer = self.json("attention", "--random", "3", "--tokens", "50", "--cached", "90",
                           "--strategy", "auto", "--throttle-link", "10M", "--degree", "2", ranks=3)
        self.assertEqual((answer["degree"], answer["throttle_link"]), (2, "10M"))
        self.assertEqual(len(answer["chunks"]), 3)
        for chunk in answer["chunks"]:
            self.assertEqual(self.check_chunk(chunk, {}), [chunk["chosen"]])
            self.assertLessEqual(chunk["tokens"], 50)
            self.assertLessEqual(chunk["cached"], 90)

    def test_rates_of_two_ranks_predict_eight(self):
        with tempfile.TemporaryDirectory() as folder:
            two = pathlib.Path(folder) / "two.json"
            two.write_text(json.dumps(self.json("attention", "--tokens", "8", "--calibrate", "off", ranks=2)))
            answer = json.loads(self.bench("attention", "--predict", str(two), "--degree", "8", "--json"))
        self.assertEqual((answer["degree"], answer["rates_of"]), (8, str(two)))
        for chunk in answer["chunks"]:
            predicted = {row["strategy"]: row["predicted_s"] for row in chunk["strategies"]}
            self.assertEqual(chunk["chosen_predicted_s"], predicted[chunk["chosen"]])

    def test_decode(self):
        for ranks, kv_dtype, value_bytes in ((0, "float32", 4), (3, "bfloat16", 2)):
            answer = self.json("decode", "--context", "1,50", "--rows", "2", "--keys", "own,shared", "--heads", "6/2x16",
                               "--kv-dtype", kv_dtype, ranks=ranks)
            self.assertEqual(answer["kv_dtype"], kv_dtype)
            self.assertGreater(answer["read_bytes_per_s"], 0)
            self.assertEqual([(step["context"], step["keys"]) for step in answer["steps"]],
                             [(1, "own"), (1, "shared"), (50, "own"), (50, "shared")])
            for step in answer["steps"]:
                self.assertEqual(types(step), STEP)
                self.check_timing(step["alone"])
                self.assertAlmostEqual(step["bytes_per_rank"] * max(1, ranks),
                                       2 * step["context"] * 2 * 2 * 16 * value_bytes)
                self.assertEqual([row["strategy"] for row in step["strategies"]],
                                 ["shipped", "mirrored", "tree", "sliced"])
                for row in step["strategies"]:
                    self.assertEqual(types(row), DECODE_STRATEGY)
                    self.check_timing(row)
                    self.check_ratio(row["bytes_per_s"], step["bytes_per_rank"], row["seconds"])
                    self.check_ratio(row["ratio_to_reading"], row["bytes_per_s"],
                                     answer["read_bytes_per_s"])
                    self.check_ratio(row["share_of_alone"], step["alone"]["seconds"],
                                     row["seconds"])

    def test_comm(self):
        for ranks in (0, 3):
            answer = self.json("comm", "--bytes", "1,64K", ranks=ranks)
            self.assertEqual([row["bytes"] for row in answer["messages"]], [1, 65536])
            for row in answer["messages"]:
                self.assertEqual(types(row), MESSAGE)
                self.check_timing(row)
                self.check_ratio(row["bytes_per_s"], row["bytes"], row["seconds"])
                self.check_ratio(row["ratio"], row["bytes_per_s"], row["copy_bytes_per_s"])
            self.assertEqual([row["after_work_s"] for row in answer["round_trips"]],
                             [0, 0.001] if ranks else [])
            for row in answer["round_trips"]:
                self.assertEqual(types(row), ROUND_TRIP)
                self.check_timing(row)
                self.check_ratio(row["ratio"], row["seconds"], row["yardstick_s"])

    def test_load(self):
        tiny = TinyModel()
        with tempfile.TemporaryDirectory() as folder:
            model = pathlib.Path(folder) / "tiny.gguf"
            model.write_bytes(tiny.bytes())
            answers = [self.json("load", str(model), "--dtype", "float32", ranks=ranks)
                       for ranks in (0, 3)]
        weights = sum(len(tensor.data) for tensor in tiny.tensors)
        for ranks, answer in zip((1, 3), answers):
            self.assertEqual((answer["dtype"], answer["load_threads"]), ("float32", ranks))
            self.assertEqual(answer["file_bytes"], weights)
            self.assertGreater(answer["weight_bytes"], weights)
            for row in (answer["load"], answer["yardstick"], answer["in_cache"]):
                self.assertEqual(types(row), LOAD)
                self.assertGreater(row["best_s"], 0)
                self.assertLessEqual(row["best_s"], row["median_s"])
                self.assertGreaterEqual(row["runs"], 3)
            self.check_ratio(answer["ratio"], answer["load"]["best_s"],
                             answer["yardstick"]["best_s"])

    def test_model(self):
        """The tiny model has half as many KV heads as query heads."""
        matrices = LAYERS * HIDDEN * (3 * HIDDEN + 3 * FFN) + HIDDEN * VOCABULARY
        model = written_for(self, TinyModel())
        for ranks, sliced in ((0, False), (2, True)):
            answer = self.json("model", model, "--tokens", "7,60", "--answer", "5", "--repeat", "4",
                               "--decode-strategy", "sliced" if sliced else "shipped", ranks=ranks)
            self.assertEqual((answer["dtype"], answer["kv_dtype"], answer["answer_tokens"]),
                             ("float32", "float32", 5))
            self.assertEqual(answer["weight_bytes"], 4 * matrices)
            self.assertEqual([one["tokens"] for one in answer["lengths"]], [7, 60])
            for one in answer["lengths"]:
                tokens, read, token = one["tokens"], one["read"], one["token"]
                self.assertEqual((types(read), types(token)), (READ, TOKEN))
                self.check_timing(read)
                self.check_timing(token)
                self.check_ratio(read["tokens_per_s"], tokens, read["seconds"])
                self.check_ratio(read["ratio"], read["yardstick_s"], read["seconds"])
                self.check_ratio(token["ratio"], token["yardstick_s"], token["seconds"])
                pairs = tokens * (tokens + 1) / 2
                flop = (2 * (matrices * tokens - HIDDEN * VOCABULARY * (tokens - 1))
                        + LAYERS * 4 * HIDDEN * pairs)
                self.check_ratio(read["yardstick_s"], flop, answer["matrix_flop_per_s"])
                # In the middle of the answer.
                keys = LAYERS * HIDDEN * (tokens + 3) * 4
                self.assertAlmostEqual(token["bytes_per_rank"] * max(1, ranks), 4 * matrices + keys)
                least = token["bytes_per_rank"] / answer["key_bytes_per_s"]
                self.assertAlmostEqual(token["yardstick_s"], least, delta=1e-9 * least)

    def test_model_takes_the_lengths_that_its_context_has_room_for(self):
        model = written_for(self, TinyModel())
        for answer, length in (("40", "128"), ("505", "7")):
            table = self.bench("model", model, "--answer", answer, "--repeat", "2", "--degree", "2", ranks=3)
            head, *_, columns, row = table.splitlines()
            self.assertRegex(head, "^longspan bench model: 2 ranks of 3 on 1 host")
            self.assertEqual((columns.split()[0], row.split()[0]), ("tokens", length))

    def test_tables_have_a_row_for_each_figure(self):
        table = self.bench("attention", "--tokens", "8", "--layout", "striped", ranks=3)
        rows = [line for line in table.splitlines() if " striped " in line]
        self.assertEqual([line.split()[3] for line in rows], ["ring", "all-gather", "double-ring"])
        self.assertEqual(sum(" * " in line for line in rows), 1)
        self.assertRegex(table, r"regret of the choice over 1 chunks: [0-9.]+ % at worst")
        table = self.bench("comm", "--bytes", "1K,2K")
        self.assertEqual(sum("GB/s" in line for line in table.splitlines()), 2)

    def test_what_cannot_be_is_refused_in_one_line(self):
        model = written_for(self, TinyModel())
        for what, arguments, code, line in [
                ("more ranks than there are", ["attention", "--degree", "4"], USAGE,
                 "--degree 4 needs 4 ranks, but the job has [13]"),
                ("more keys than memory", ["attention", "--tokens", "1G", "--heads", "64/64x256"],
                 OUT_OF_MEMORY,
                 "needs .* on each rank, .*lower --tokens"),
                ("rates that are not there", ["attention", "--predict", "/nowhere/two.json", "--degree", "8"],
                 NO_INPUT, "cannot read the rates in /nowhere/two.json: No such file"),
                ("no model", ["load"], USAGE, "MODEL is missing: longspan bench load MODEL"),
                ("a model that is not there", ["load", "/nowhere/m.gguf"], NO_INPUT,
                 "/nowhere/m.gguf: cannot open the model: No such file"),
                ("a model that is not there to be run", ["model", "/nowhere/m.gguf"], NO_INPUT,
                 "/nowhere/m.gguf: cannot open the model: No such file"),
                ("a prompt beyond the context", ["model", model, "--tokens", "9,481"], USAGE,
                 "a prompt of 481 tokens and --answer 32 .* context of 512; lower --tokens to 480"),
                ("an answer beyond the context", ["model", model, "--answer", "512"], USAGE,
                 "--answer 512 leaves no room .* context of 512 tokens; lower it to 511"),
                ("a plot that cannot be written",
                 ["attention", "--plot", "/nowhere/share.svg"], IO,
                 "cannot write /nowhere/share.svg: No such file")]:
            self.refuses(what, ["bench", *arguments], code, line)
        done = longspan_command.run(["bench", "attention", "--layout", "zigzag", "--strategy",
                                     "ulysses,query-ring", "--threads", "1"], 3)
        self.assertEqual(done.returncode, USAGE)
        self.assertRegex(done.stderr.decode(), "--layout zigzag: ulysses leaves the KV")


if __name__ == "__main__":
    unittest.main()
