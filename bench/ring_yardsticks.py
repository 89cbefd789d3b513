#!/usr/bin/env python3
"""Causal attention over several GPUs, beside the fastest that PyTorch programs do, in turn.

Ours is `longspan bench attention` under mpirun, once for each --link, and on one GPU alone, whose
rate is what several should each keep. Theirs, one process a GPU under torch.distributed.run:
  gather-fa3  zigzag shards; keys and values are all-gathered by groups of two KV heads on a second
              stream while FlashAttention 3 computes the group before: needs the wheel fa3-fwd
  context-parallel  PyTorch's own, a ring of cuDNN's attention

bfloat16, 32 query and 8 KV heads of 128, random data, one chunk without cached tokens. Each point
lasts --seconds in every round, and rounds alternate, so that clock and heat are the same for all.
Prints TFLOP/s of each GPU and ours over the better of theirs; with --json also as JSON. What is
missing, or fails, is said and left out.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

QUERY_HEADS, KV_HEADS, HEAD = 32, 8, 128
GROUP = 2  # KV heads that are gathered at a time
THEIRS = ("gather-fa3", "context-parallel")


def tflops(tokens, ranks, seconds):
    return 2 * QUERY_HEADS * HEAD * tokens * tokens / ranks / seconds / 1e12


# --- theirs, in a process of each GPU ---


def gather_fa3(torch, dist, tokens, measure):
    """This rank's two pieces of a zigzag; keys are gathered on the way."""
    from fa3_fwd_interface import flash_attn_func
    rank, ranks = dist.get_rank(), dist.get_world_size()
    own, piece, groups = tokens // ranks, tokens // (2 * ranks), KV_HEADS // GROUP
    new = lambda *shape: torch.randn(*shape, device="cuda", dtype=torch.bfloat16)
    q, kv = new(1, own, QUERY_HEADS, HEAD), new(groups, 2, own, GROUP, HEAD)
    arrived = [new(ranks, 2, own, GROUP, HEAD) for _ in range(2)]
    ordered = [new(2, 1, tokens, GROUP, HEAD) for _ in range(2)]
    out, heads = torch.empty_like(q), QUERY_HEADS // groups
    side, main = torch.cuda.Stream(), torch.cuda.current_stream()

    def gather(group):
        with torch.cuda.stream(side):
            dist.all_gather_into_tensor(arrived[group % 2], kv[group])
            event = torch.cuda.Event()
            event.record()
        return event

    def in_order(group):
        """Pieces of all ranks, where each belongs in the sequence."""
        come, line = arrived[group % 2], ordered[group % 2]
        for j in range(ranks):
            line[:, 0, j * piece:(j + 1) * piece] = come[j, :, :piece]
            last = 2 * ranks - 1 - j
            line[:, 0, last * piece:(last + 1) * piece] = come[j, :, piece:]
        return line

    def call():
        side.wait_stream(main)
        event = gather(0)
        for group in range(groups):
            main.wait_event(event)
            if group + 1 < groups:
                event = gather(group + 1)
            keys, values = in_order(group)
            mine = slice(group * heads, (group + 1) * heads)
            for at, number in enumerate((rank, 2 * ranks - 1 - rank)):
                rows, upto = slice(at * piece, (at + 1) * piece), (number + 1) * piece
                out[:, rows, mine] = flash_attn_func(q[:, rows, mine], keys[:, :upto],
                                                     values[:, :upto], causal=True)
            if group + 2 < groups:
                side.wait_stream(main)

    return measure(call)


def context_parallel(torch, dist, tokens, measure):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.experimental import context_parallel as sharded
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention
    mesh = init_device_mesh("cuda", (dist.get_world_size(),))
    q, k, v = (torch.randn(1, QUERY_HEADS, tokens, HEAD, device="cuda", dtype=torch.bfloat16)
               for _ in range(3))

    with sharded(mesh, buffers=(q, k, v), buffer_seq_dims=(2, 2, 2)), \
            sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        return measure(lambda: scaled_dot_product_attention(q, k, v, is_causal=True))


def measure_theirs(torch, dist, call, seconds, launches):
    """Seconds of a call: the slowest rank's, the median of the later two thirds."""
    call()
    times, begun, more = [], time.time(), True
    while more or len(times) < 3:
        dist.barrier()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(launches):
            call()
        torch.cuda.synchronize()
        both = torch.tensor([(time.perf_counter() - start) / launches, float(time.time() - begun < seconds)],
                            device="cuda", dtype=torch.float64)
        dist.all_reduce(both[:1], dist.ReduceOp.MAX)
        dist.broadcast(both[1:], 0)
        times.append(both[0].item())
        more = both[1].item() > 0
    return statistics.median(times[len(times) // 3:])


def child(options):
    import torch
    import torch.distributed as dist
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl")
    yardstick = {"gather-fa3": gather_fa3, "context-parallel": context_parallel}[options.child]
    for tokens in options.tokens:
        launches = max(1, min(16, 262144 // tokens))
        measure = lambda call: measure_theirs(torch, dist, call, options.seconds, launches)
        seconds = yardstick(torch, dist, tokens, measure)
        if dist.get_rank() == 0:
            print(json.dumps({"tokens": tokens, "seconds": seconds}), flush=True)
        torch.cuda.empty_cache()
    dist.destroy_process_group()


# --- both, in turn ---


def run(command, limit):
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                       NCCL_NVLS_ENABLE="0")
    try:
        done = subprocess.run(command, text=True, capture_output=True, timeout=limit, env=environment)
    except subprocess.TimeoutExpired:
        return None, f"not done after {limit} s"
    return (done.stdout if done.returncode == 0 else None), done.stderr.strip()[-400:]


def ours(options, ranks, link):
    lengths = [n for n in options.tokens if ranks > 1 or n <= options.longest_alone]
    command = [options.binary, "bench", "attention", "--backend", "cuda", "--json", "--seconds",
               str(options.seconds), "--heads", f"{QUERY_HEADS}/{KV_HEADS}x{HEAD}", "--dtype", "bfloat16",
               "--calibrate", "off", "--layout", "zigzag" if ranks > 1 else "contiguous", "--strategy",
               options.strategy if ranks > 1 else "all", "--tokens", ",".join(map(str, lengths))]
    if ranks > 1:
        command = ["mpirun", "--bind-to", "none", "-np", str(ranks), *command, "--gpu-link", link]
    out, said = run(command, options.limit)
    if out is None:
        return {}, said
    return {chunk["tokens"]: min(one["seconds"] for one in chunk["strategies"])
            for chunk in json.loads(out)["chunks"]}, ""


def theirs(options, name):
    out, said = run([sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(options.ranks), __file__,
                     "--child", name, "--seconds", str(options.seconds), "--tokens", *map(str, options.tokens)],
                    options.limit)
    if out is None:
        return {}, said
    points = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return {point["tokens"]: point["seconds"] for point in points}, ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--tokens", type=int, nargs="*", default=[16384, 32768, 65536, 131072, 262144],
                        help="of all GPUs together")
    parser.add_argument("--binary", default="build/cuda/launch/longspan")
    parser.add_argument("--link", nargs="*", default=["peer"], choices=["nccl", "peer"])
    parser.add_argument("--strategy", default="all", help="as longspan has them; the fastest counts")
    parser.add_argument("--longest-alone", type=int, default=131072, help="tokens that one GPU is measured at")
    parser.add_argument("--seconds", type=float, default=2.0, help="that each point lasts in each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--limit", type=int, default=240, help="seconds before a program is given up")
    parser.add_argument("--json", help="a file for all that was measured")
    parser.add_argument("--child", choices=THEIRS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options)

    programs = {f"longspan {link}": lambda link=link: ours(options, options.ranks, link) for link in options.link}
    programs["longspan alone"] = lambda: ours(options, 1, "")
    programs |= {name: lambda name=name: theirs(options, name) for name in THEIRS}
    rates = {name: {tokens: [] for tokens in options.tokens} for name in programs}
    for _ in range(options.rounds):
        for name, program in programs.items():
            seconds, said = program()
            if said:
                print(f"{name}: {said}", flush=True)
            gpus = 1 if name == "longspan alone" else options.ranks
            for tokens, one in seconds.items():
                rates[name][tokens].append(tflops(tokens, gpus, one))

    print(f"causal attention over {options.ranks} GPUs, TFLOP/s of each; ours over the better of theirs, over ours alone")
    print(f"{'tokens':>8}" + "".join(f"{name:>18}" for name in programs) + f"{'ratio':>8}{'kept':>8}")
    for tokens in options.tokens:
        median = {name: statistics.median(rates[name][tokens] or [0]) for name in programs}
        best = max(median[f"longspan {link}"] for link in options.link)
        other, alone = max(median[name] for name in THEIRS), median["longspan alone"]
        cells = "".join(f"{value:18.0f}" if value else f"{'-':>18}" for value in median.values())
        ratio, kept = (f"{best / one:8.3f}" if one else f"{'-':>8}" for one in (other, alone))
        print(f"{tokens:8}{cells}{ratio}{kept}", flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"ranks": options.ranks, "tflops": rates}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
