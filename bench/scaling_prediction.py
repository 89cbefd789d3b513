"""What N GPUs of a host should take, from what one and two of them did: for scripts/gpu-scaling.

  attention   the cost model's (`longspan bench attention --predict`), zigzag, with the constants that
              two GPUs calibrated; but attention at the rates of one GPU's long chunks, which
              calibration, made for short ones, does not see
  prefill     that of all layers, and what is left of the time of one and of two GPUs without it: one
              part by rows of each GPU, one that stays (at shorter lengths where these do not fit one)
  a token     weights (a GPU's share of them, if sliced), keys and values of a GPU's share of the
              context, and exchanges: what two GPUs take beyond, and its bytes to each further one
"""

import json
import tempfile

from scaling_report import best


def causal_flop(tokens, heads):
    return 4 * heads.query * heads.size * tokens * (tokens + 1) / 2


def between(points, at):
    """Of {x: y}, linear between neighbours, beyond the ends in proportion."""
    below = max((x for x in points if x <= at), default=None)
    above = min((x for x in points if x >= at), default=None)
    if below is None or above is None:
        near = above or below
        return points[near] * at / near
    share = (at - below) / (above - below) if above > below else 0
    return points[below] + share * (points[above] - points[below])


class Prediction:
    """From `cells`; `run` asks longspan, which needs no GPU for it. Raises LookupError where a cell is
    missing that nothing can be said without."""

    def __init__(self, run, cells):
        self.run, self.cells = run, cells
        self.rates = self.with_long_chunks(self.needed("rates 2", "rates"))
        self.attended = {}

    def needed(self, name, key):
        value = self.cells.value(name, key)
        if value is None:
            raise LookupError(f"there is no cell {name}: run this on two GPUs first")
        return value

    def with_long_chunks(self, rates):
        points = {}
        for name in self.cells.done:
            alone = name.removeprefix("attention 1x").removeprefix("attention alone ")
            if alone.isdigit() and best(self.cells, name):
                points[int(alone)] = causal_flop(int(alone), self.run.heads) / best(self.cells, name)
        if not points:
            raise LookupError("there is no cell of attention on one GPU: run this on two GPUs first")
        # Probes of short chunks on two GPUs say nothing of these, nor of more GPUs.
        return rates | {"masked_share": 1, "sliced": [], "probed": [], "attention": [
            {"rows": rows, "flops_per_second": points[rows]} for rows in sorted(points)]}

    def attention(self, ranks, tokens):
        """Seconds of a layer, and the strategy."""
        if (ranks, tokens) not in self.attended:
            with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
                json.dump({"rates": self.rates}, file)
                file.flush()
                answer, said = self.run.longspan(
                    1, "bench", "attention", "--predict", file.name, "--degree", ranks, "--tokens", tokens,
                    "--layout", "zigzag", "--heads", self.run.heads)
            if answer is None:
                raise LookupError(said)
            chunk, = answer["chunks"]
            self.attended[ranks, tokens] = chunk["chosen_predicted_s"], chunk["chosen"]
        return self.attended[ranks, tokens]

    def off_at_two(self, each):
        """How many times as long two GPUs took as the model says, at as many tokens on each."""
        measured = best(self.cells, f"attention 2x{each}")
        return measured / self.attention(2, 2 * each)[0] if measured else None

    def both(self, part, key, tokens):
        """Of `tokens`, or of the longest prompt that one and two GPUs had both: its length and values."""
        one, two = (part, "prefill")[part == "sliced"], part
        lengths = [n for n in self.run.sizes.prompts
                   if self.cells.value(f"{one} 1x{n}", key) and self.cells.value(f"{two} 2x{n}", key)]
        if not lengths:
            raise LookupError(f"no prompt has cells of {part} on one GPU and on two")
        length = tokens if tokens in lengths else max(lengths)
        return length, self.cells.value(f"{one} 1x{length}", key), self.cells.value(f"{two} 2x{length}", key)

    def prefill_s(self, ranks, tokens):
        layers = self.run.layers
        length, one, two = self.both("prefill", "prefill_s", tokens)
        rest_of_one = one - layers * self.attention(1, length)[0]
        rest_of_two = two - layers * self.attention(2, length)[0]
        stays = max(0.0, 2 * rest_of_two - rest_of_one)
        by_rows = 2 * (rest_of_two - stays)
        return layers * self.attention(ranks, tokens)[0] + (by_rows / ranks + stays) * tokens / length

    def token_ms(self, ranks, tokens, part):
        heads, layers = self.run.heads, self.run.layers
        points = {int(n): seconds for n, seconds in self.needed("rates decode", "seconds").items()}
        keys = lambda columns: 1e3 * layers * between(points, columns)
        length, one, two = self.both(part, "token_ms", tokens)
        weights = one - keys(length)
        share = lambda n: weights / n if part == "sliced" else weights
        exchange = max(0.0, two - share(2) - keys(length / 2))
        row = 4 * heads.query * (2 * heads.size + 1)  # a query there, a partial back
        further = 1e3 * layers * (ranks - 2) * row / self.rates["inside_host"]["bytes_per_second"]
        return share(ranks) + keys(tokens / ranks) + exchange + further


def predictions(run, cells, ranks_of):
    """(Name of a cell, what says its values), for each number of GPUs of `ranks_of`."""
    says = Prediction(run, cells)

    def attention(ranks, each):
        seconds, strategy = says.attention(ranks, ranks * each)
        off = says.off_at_two(each)
        return {"seconds": seconds, "strategy": strategy} | ({"off_as_two_s": seconds * off} if off else {})

    for ranks in ranks_of:
        for each in run.sizes.each:
            yield f"attention {ranks}x{each}", lambda r=ranks, e=each: attention(r, e)
        for tokens in run.sizes.prompts:
            yield f"prefill {ranks}x{tokens}", lambda r=ranks, t=tokens: {
                "prefill_s": says.prefill_s(r, t), "token_ms": says.token_ms(r, t, "prefill")}
            yield f"sliced {ranks}x{tokens}", lambda r=ranks, t=tokens: {"token_ms": says.token_ms(r, t, "sliced")}
