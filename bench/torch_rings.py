#!/usr/bin/env python3
"""Causal attention over several GPUs as PyTorch programs do it: what bench/ring_yardsticks.py starts, one
process a GPU, under torch.distributed.run.

  gather-fa3  zigzag shards; keys and values are all-gathered by groups of two KV heads on a second
              stream while FlashAttention 3 computes the group before: needs the wheel fa3-fwd
  context-parallel  PyTorch's own: keys and values are all-gathered while cuDNN (else FlashAttention 2)
              computes the first step; 8 KV heads, or where it does not take them, as many as queries

bfloat16, 32 query and 8 KV heads of 128, the same random data on each GPU, which then keeps its rows of
it. Before anything is timed, each GPU compares its rows of a few thousand tokens with those of plain
scaled_dot_product_attention in float32. What fails or differs says so and is not timed.

Prints lines of JSON: "refused" with the reason, "as" when something is right, then seconds of each length.
"""
import argparse
import contextlib
import json
import os
import statistics
import time

QUERY_HEADS, KV_HEADS, HEAD = 32, 8, 128
GROUP = 2  # KV heads that are gathered at a time
CHECKED = 4096  # tokens, about
WORST = 0.02  # of a row's length: rounding to bfloat16 should make 0.003 (derived), wrong keys about 1

# A program: takes (torch, dist, q, k, v), of all tokens, each (1, heads, tokens, HEAD); gives within a
# context what computes this GPU's rows, in the same order of dimensions, and their positions.


@contextlib.contextmanager
def gather_fa3(torch, dist, q, k, v):
    from fa3_fwd_interface import flash_attn_func
    rank, ranks, tokens = dist.get_rank(), dist.get_world_size(), q.shape[2]
    own, piece, groups = tokens // ranks, tokens // (2 * ranks), KV_HEADS // GROUP
    pieces = (rank, 2 * ranks - 1 - rank)
    rows = torch.cat([torch.arange(n * piece, (n + 1) * piece, device="cuda") for n in pieces])
    mine = q[:, :, rows].transpose(1, 2).contiguous()
    kv = torch.stack([one[0][:, rows].reshape(groups, GROUP, own, HEAD).transpose(1, 2) for one in (k, v)], 1)
    new = lambda *shape: torch.empty(*shape, device="cuda", dtype=torch.bfloat16)
    arrived = [new(ranks, 2, own, GROUP, HEAD) for _ in range(2)]
    ordered = [new(2, 1, tokens, GROUP, HEAD) for _ in range(2)]
    out, heads = torch.empty_like(mine), QUERY_HEADS // groups
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
            of_group = slice(group * heads, (group + 1) * heads)
            for at, number in enumerate(pieces):
                some, upto = slice(at * piece, (at + 1) * piece), (number + 1) * piece
                out[:, some, of_group] = flash_attn_func(mine[:, some, of_group], keys[:, :upto],
                                                         values[:, :upto], causal=True)
            if group + 2 < groups:
                side.wait_stream(main)
        return out.transpose(1, 2)

    yield call, rows


def context_parallel(backend, kv_heads):
    @contextlib.contextmanager
    def program(torch, dist, q, k, v):
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor.experimental import context_parallel as shared_out
        from torch.nn import functional
        from torch.nn.attention import SDPBackend, sdpa_kernel
        mesh = init_device_mesh("cuda", (dist.get_world_size(),))
        more = kv_heads // KV_HEADS
        rows = torch.arange(q.shape[2], device="cuda")[None]
        # Each becomes this GPU's part of it.
        shared = [q.clone(), *(one.repeat_interleave(more, dim=1).clone() for one in (k, v)), rows]
        with shared_out(mesh, buffers=shared, buffer_seq_dims=[2, 2, 2, 1], no_restore_buffers=set(shared)), \
                sdpa_kernel(getattr(SDPBackend, backend)):
            # Looked up in its module at each call: the context puts another function there, and one
            # that was imported before would attend to this GPU's own keys alone.
            yield lambda: functional.scaled_dot_product_attention(
                *shared[:3], is_causal=True, enable_gqa=kv_heads < QUERY_HEADS), rows[0]

    return program


# Of each name the ways to do it, the fastest first; the first that is right is timed.
PROGRAMS = {"gather-fa3": {"FlashAttention 3": gather_fa3},
            "context-parallel": {f"{backend.split('_')[0]}, {heads} KV heads": context_parallel(backend, heads)
                                 for backend in ("CUDNN_ATTENTION", "FLASH_ATTENTION")
                                 for heads in (KV_HEADS, QUERY_HEADS)}}


def inputs(torch, tokens):
    torch.manual_seed(tokens)  # on all GPUs alike
    return [torch.randn(1, heads, tokens, HEAD, device="cuda", dtype=torch.bfloat16)
            for heads in (QUERY_HEADS, KV_HEADS, KV_HEADS)]


def worst_row(mine, whole):
    """The largest error of a row, as a part of its length; infinite where something is no number."""
    if mine.shape != whole.shape:
        raise ValueError(f"rows of shape {tuple(mine.shape)} instead of {tuple(whole.shape)}")
    errors = (mine.float() - whole).norm(dim=-1) / whole.norm(dim=-1)
    return errors.nan_to_num(nan=float("inf")).max().item()


def why_not(torch, dist, program, qkv, whole):
    """Nothing, if the program gives what one GPU does; else what is wrong. All GPUs say the same."""
    said, worst = "", float("inf")
    try:
        with program(torch, dist, *qkv) as (call, rows):
            call()  # twice: buffers are used again
            worst = worst_row(call(), whole[:, :, rows])
    except Exception as error:  # whatever a library of another release says
        said = repr(error)[:200]
    worst_of_all = torch.tensor([worst], device="cuda", dtype=torch.float64)
    dist.all_reduce(worst_of_all, dist.ReduceOp.MAX)
    if worst_of_all.item() <= WORST:
        return ""
    return said or f"its rows are not those of one GPU: {worst_of_all.item():.3g} of a row's length apart"


def first_that_is_right(torch, dist, programs, say):
    unit = 2 * dist.get_world_size()
    qkv = inputs(torch, CHECKED // unit * unit)
    # Before any program: a context that fails may leave another function in its place.
    whole = torch.nn.functional.scaled_dot_product_attention(*(one.float() for one in qkv), is_causal=True,
                                                             enable_gqa=True)
    for name, program in programs.items():
        wrong = why_not(torch, dist, program, qkv, whole)
        if not wrong:
            say({"as": name})
            return program
        say({"refused": f"{name}: {wrong}"})
    return None


def seconds_of(torch, dist, call, seconds, launches):
    """Of a call: the slowest rank's, the median of the later two thirds."""
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--seconds", type=float, default=2.0, help="that each length lasts")
    parser.add_argument("--tokens", type=int, nargs="+", default=[65536], help="of all GPUs together")
    options = parser.parse_args()
    import torch
    import torch.distributed as dist
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl")

    def say(what):
        if dist.get_rank() == 0:
            print(json.dumps(what), flush=True)

    with torch.no_grad():
        program = first_that_is_right(torch, dist, PROGRAMS[options.program], say)
        for tokens in options.tokens if program else []:
            torch.cuda.empty_cache()
            with program(torch, dist, *inputs(torch, tokens)) as (call, _):
                launches = max(1, min(16, 262144 // tokens))
                say({"tokens": tokens, "seconds": seconds_of(torch, dist, call, options.seconds, launches)})
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
