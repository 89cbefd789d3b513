"""What it costs to change who computes, between the chunks of a prompt: for scripts/gpu-scaling.

A run with --policy random_elastic takes other ranks for each chunk. Its traces say which, and how
long each chunk took, from the end of the one before: planning and moved pages included. A run of
as many ranks that stay says what the same chunk takes there; what is more is the change's.
"""

import json
import pathlib
import statistics


def prefill_steps(folder):
    """Of the traces of one host: [(seconds from the end of the step before, ranks that had rows)]."""
    steps = {}
    for file in pathlib.Path(folder).glob("rank-*.json"):
        for event in json.loads(file.read_text())["traceEvents"]:
            if event["name"] == "prefill step":
                begin, end, ranks = steps.get(event["args"]["epoch"], (float("inf"), 0, set()))
                ranks |= {event["pid"]} if event["args"]["rows"] > 0 else set()
                steps[event["args"]["epoch"]] = min(begin, event["ts"]), max(end, event["ts"] + event["dur"]), ranks
    told, before = [], None
    for _, (begin, end, ranks) in sorted(steps.items()):
        told.append((1e-6 * (end - (begin if before is None else before)), sorted(ranks)))
        before = end
    return told


def seconds_of_changes(elastic, static):
    """What each chunk took beyond the same one of `static[degree]`, where other ranks than before
    computed it. The first chunk has none before it."""
    return [seconds - static[len(ranks)][at + 1][0]
            for at, ((_, before), (seconds, ranks)) in enumerate(zip(elastic, elastic[1:]))
            if ranks != before and len(ranks) in static]


def in_words(elastic, static):
    costs = seconds_of_changes(elastic["steps"], {degree: one["steps"] for degree, one in static.items()})
    text = f"{len(costs)} changes between chunks"
    if costs:
        text += f", ms each: median {1e3 * statistics.median(costs):.3f}, mean {1e3 * statistics.mean(costs):.3f}"
    still = static.get(max(static, default=0))
    if still:
        text += f"; ms a token, owners drawn anew for each: {elastic['token_ms']:.3f}, as they are: {still['token_ms']:.3f}"
    return text
