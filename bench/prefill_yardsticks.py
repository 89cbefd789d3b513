#!/usr/bin/env python3
"""The Hopper prefill kernel beside FlashAttention 3 and cuDNN, in turn, on one GPU.

Steady state, random bfloat16, 32 query and 8 KV heads: each measurement warms up and then lasts two
seconds, many launches between events, and each point is measured --rounds times, ours and theirs
alternating, so that clock and heat are the same for all. Prints TFLOP/s, the SM clock and the power
during each, and the ratio to the better of the others; with --json also as JSON.

Needs PyTorch for cuDNN, the wheel fa3-fwd for FlashAttention 3, nvidia-ml-py for clocks; says what
is missing and goes on without it.

Predictions, before the first run (ratio to FlashAttention 3): in_order 0.75-0.85, turns 0.85-0.93,
overlap 0.93-0.98, fetching 0.97-1.0. The kernel writes float32 results where the others write bfloat16.
"""
import argparse
import contextlib
import json
import statistics
import subprocess
import threading
import time

QUERY_HEADS, KV_HEADS = 32, 8
POINTS = [(4096, True), (8192, True), (16384, True), (32768, True), (65536, True), (131072, True),
          (16384, False), (65536, False)]
RUNGS = ["in_order", "turns", "overlap", "fetching", "mma"]  # mma: the kernel for any matrix units
WARM_UP, STEADY = 0.5, 2.0  # seconds


def flops(tokens, causal, head_dim):
    return 4 * QUERY_HEADS * head_dim * tokens * tokens * (0.5 if causal else 1)


class Sampler:
    """SM clock and power while something runs."""

    def __init__(self):
        try:
            import pynvml
            pynvml.nvmlInit()
            self.nvml, self.gpu = pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)
        except Exception as error:
            print("no clocks:", repr(error)[:120])
            self.nvml = None

    @contextlib.contextmanager
    def watch(self, result):
        samples, done = [], threading.Event()

        def sample():
            while self.nvml and not done.wait(0.05):
                samples.append((self.nvml.nvmlDeviceGetClockInfo(self.gpu, self.nvml.NVML_CLOCK_SM),
                                self.nvml.nvmlDeviceGetPowerUsage(self.gpu) / 1000))

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
        # The end of what was watched is what was timed; before it memory was filled.
        last = samples[-30:]
        if last:
            result["mhz"] = statistics.median(clock for clock, _ in last)
            result["watts"] = statistics.median(power for _, power in last)


class Ours:
    def __init__(self, bench, rung):
        self.process = subprocess.Popen([bench, "--serve"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.rung = rung

    def measure(self, tokens, causal, head_dim):
        print(tokens, "causal" if causal else "full", self.rung, head_dim,
              file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the bench ended with code {self.process.wait()}")
        return json.loads(answer)["tflops"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def steady(torch, call, work):
    """TFLOP/s: batches of launches between events, the median of the steady part."""
    call()
    torch.cuda.synchronize()
    launches = max(1, min(64, int(4e13 / work)))
    seconds, start = [], time.time()
    while time.time() - start < WARM_UP + STEADY or len(seconds) < 3:
        begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
        begin.record()
        for _ in range(launches):
            call()
        end.record()
        end.synchronize()
        seconds.append((time.time() - start, begin.elapsed_time(end) / 1000 / launches))
    late = [one for at, one in seconds if at > WARM_UP] or [seconds[-1][1]]
    return work / statistics.median(late) / 1e12


class Theirs:
    """A library's attention through PyTorch."""

    def __init__(self, torch, library, function):
        self.torch, self.library, self.function = torch, library, function

    def measure(self, tokens, causal, head_dim):
        torch = self.torch
        make = lambda heads: torch.randn(1, tokens, heads, head_dim, device="cuda",
                                         dtype=torch.bfloat16)
        call = self.function(make(QUERY_HEADS), make(KV_HEADS), make(KV_HEADS), causal)
        try:
            return steady(torch, call, flops(tokens, causal, head_dim))
        finally:
            del call
            torch.cuda.empty_cache()

    def close(self):
        pass


def theirs():
    try:
        import torch
    except ImportError:
        print("no PyTorch: ours alone")
        return {}
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    def cudnn(q, k, v, causal):
        q, k, v = (one.transpose(1, 2).contiguous() for one in (q, k, v))

        def call():
            with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
                return scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)

        return call

    found = {"cudnn": Theirs(torch, "cudnn", cudnn)}
    try:
        from fa3_fwd_interface import flash_attn_func
        found["fa3"] = Theirs(torch, "fa3",
                              lambda q, k, v, causal: lambda: flash_attn_func(q, k, v,
                                                                              causal=causal))
    except Exception as error:
        print("no fa3:", repr(error)[:200])
    return found


def measure_point(sampler, kernels, tokens, causal, head_dim, rounds):
    results = {name: [] for name in kernels}
    for _ in range(rounds):
        for name, kernel in kernels.items():
            one = {}
            try:
                with sampler.watch(one):
                    one["tflops"] = kernel.measure(tokens, causal, head_dim)
                results[name].append(one)
            except Exception as error:  # another kernel's fault must not end the run
                print(f"  {name} at {tokens} failed: {repr(error)[:200]}", flush=True)
    return results


def print_point(label, results):
    best = {name: statistics.median(one["tflops"] for one in runs)
            for name, runs in results.items() if runs}
    others = [value for name, value in best.items() if name in ("fa3", "cudnn")]
    cells = []
    for name, value in best.items():
        runs = results[name]
        clock = statistics.median(one.get("mhz", 0) for one in runs)
        power = statistics.median(one.get("watts", 0) for one in runs)
        ratio = f" {value / max(others):.3f}x" if others and name not in ("fa3", "cudnn") else ""
        cells.append(f"{name} {value:.0f}{ratio} ({clock:.0f} MHz, {power:.0f} W)")
    print(f"{label:>16}  " + "   ".join(cells), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default="build/cuda/bench/cuda_attention_bench")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--head-dim", type=int, default=128, choices=(64, 128))
    parser.add_argument("--tokens", type=int, nargs="*", help="only these lengths")
    parser.add_argument("--rungs", nargs="*", default=["fetching"], choices=RUNGS)
    parser.add_argument("--json", help="a file for all that was measured")
    options = parser.parse_args()
    sampler = Sampler()
    kernels = {rung: Ours(options.bench, rung) for rung in options.rungs} | theirs()
    print(f"prefill, {QUERY_HEADS}/{KV_HEADS} heads of {options.head_dim}, TFLOP/s; "
          "the ratio is to the better of the others")
    everything = []
    for tokens, causal in POINTS:
        if options.tokens and tokens not in options.tokens:
            continue
        results = measure_point(sampler, kernels, tokens, causal, options.head_dim, options.rounds)
        print_point(f"{tokens} {'causal' if causal else 'full'}", results)
        everything.append({"tokens": tokens, "causal": causal, "results": results})
        if options.json:
            with open(options.json, "w") as file:
                json.dump({"head_dim": options.head_dim, "points": everything}, file, indent=1)
    for kernel in kernels.values():
        kernel.close()


if __name__ == "__main__":
    main()
