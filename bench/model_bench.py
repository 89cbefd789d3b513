#!/usr/bin/env python3
"""Prefill and decode of a whole model beside llama.cpp's, in one run on one machine.

    bench/model_bench.py --binary build/release/launch/longspan --model MODEL.gguf [--repeat 3]
        [--dtype bfloat16] [--tokens 8192]

Needs the Python packages llama-cpp-python, gguf and numpy (llama-cpp-python is compiled when it is
installed; give it CMAKE_ARGS=-DGGML_NATIVE=ON). Both programs read the same tokens and weights at
float32 or bfloat16: the model is written out as such a GGUF for llama.cpp once. llama.cpp runs with
and without its flash attention, and the better of the two is the yardstick for each figure. With
--random instead of --model, the weights are random, in the shape of SmolLM2-135M.

Each figure is the median of --repeat rounds; a round runs every configuration once, so that slow
changes of the machine meet all of them. Run it on an idle machine: with two threads on two cores,
any other busy process slows both programs by far more than its share.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from random_model import write_random_model  # noqa: E402

NEW_TOKENS = 48


def read_bandwidth():
    """Bytes per second that one thread reads from memory. max(), not sum(): that is held up by its
    additions."""
    import numpy

    values = numpy.ones(1 << 27, dtype=numpy.float32)  # 512 MiB
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        values.max()
        best = max(best, values.nbytes / (time.perf_counter() - start))
    return best


def write_as(dtype, source, target):
    """The model with its matrices in this type, and without its tokenizer: prompts are ids. Returns
    the bytes of its tensors."""
    import gguf
    import numpy
    from gguf.quants import dequantize, quantize

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for key, field in reader.fields.items():
        if key.startswith(("GGUF.", "tokenizer.", "general.")):
            continue
        kind = field.types[0]
        sub_type = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), kind, sub_type=sub_type)
    writer.add_tokenizer_model("no_vocab")
    embedding = next(tensor for tensor in reader.tensors if tensor.name == "token_embd.weight")
    if "llama.vocab_size" not in reader.fields:
        writer.add_vocab_size(int(embedding.shape[-1]))
    total = 0
    for tensor in reader.tensors:
        shape = [int(extent) for extent in reversed(tensor.shape)]
        values = dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32).reshape(shape)
        if dtype == "bfloat16" and len(shape) > 1:
            narrow = quantize(values, gguf.GGMLQuantizationType.BF16)
            total += narrow.nbytes
            writer.add_tensor(tensor.name, narrow, raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            total += values.nbytes
            writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return total


def run_longspan(options, ids_file, ranks, threads, decode="shipped"):
    line = [options.binary, "generate", options.model, "--prompt-ids", ids_file, "--json",
            "--ignore-eos", "--max-tokens", str(NEW_TOKENS), "--threads", str(threads),
            "--decode-strategy", decode, "--dtype", options.dtype]
    if ranks > 1:
        line = ["mpirun", "-q", "--oversubscribe", "--bind-to", "none", "-np", str(ranks)] + line
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=True)
    timings = json.loads(done.stdout)["timings"]
    return timings["prefill_tokens_per_s"], timings["decode_tokens_per_s"]


def llama_child(path, ids_file, threads, flash):
    """In a process of its own: one prefill and one decode by llama.cpp; prints the two rates."""
    import llama_cpp as llama

    with open(ids_file) as file:
        ids = json.load(file)
    llama.llama_backend_init()
    silent = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(silent, None)
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    parameters = llama.llama_context_default_params()
    parameters.n_ctx = len(ids) + 256
    parameters.n_batch = len(ids)
    parameters.n_ubatch = 512
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.flash_attn_type = flash
    context = llama.llama_init_from_model(model, parameters)

    def decode(tokens):
        array = (llama.llama_token * len(tokens))(*tokens)
        if llama.llama_decode(context, llama.llama_batch_get_one(array, len(tokens))) != 0:
            sys.exit("llama.cpp could not decode")
        llama.llama_synchronize(context)

    decode(ids[:64])  # warm
    llama.llama_memory_clear(llama.llama_get_memory(context), True)
    start = time.perf_counter()
    decode(ids)
    prefill = len(ids) / (time.perf_counter() - start)
    start = time.perf_counter()
    for token in ids[:NEW_TOKENS]:
        decode([token])
    print(json.dumps([prefill, NEW_TOKENS / (time.perf_counter() - start)]))


def run_llama(path, ids_file, threads, flash):
    done = subprocess.run([sys.executable, __file__, "--llama", path, ids_file, str(threads),
                           str(flash)], capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def prompt_ids(options):
    """Tokens of a long text, as longspan reads it."""
    done = subprocess.run([options.binary, "generate", options.model, "--prompt-file", options.text,
                           "--json", "--max-tokens", "1"], capture_output=True, text=True,
                          check=True)
    ids = json.loads(done.stdout)["prompt_ids"]
    return (ids * (options.tokens // len(ids) + 1))[:options.tokens]


def cpu_name():
    with open("/proc/cpuinfo") as file:
        return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))


def row(name, figure, yardstick):
    print(f"{name:44} {figure:12.1f} {yardstick:12.1f} {figure / yardstick:8.2f}")


def main():
    if sys.argv[1:2] == ["--llama"]:
        llama_child(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
        return
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--model")
    model.add_argument("--random", action="store_true", help="random weights, as SmolLM2-135M")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--tokens", type=int, default=4096, help="of the prompt")
    parser.add_argument("--text", default="/usr/share/common-licenses/GPL-3")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        if options.random:
            options.model = os.path.join(folder, "random.gguf")
            write_random_model(options.model)
        ids_file = os.path.join(folder, "ids.json")
        with open(ids_file, "w") as file:
            json.dump(prompt_ids(options), file)
        same = os.path.join(folder, "same.gguf")
        weights = write_as(options.dtype, options.model, same)
        bandwidth = read_bandwidth()
        rates = {"one": [], "two": [], "sliced": [], "llama": [], "flash": []}
        for _ in range(options.repeat):
            rates["one"].append(run_longspan(options, ids_file, 1, 2))
            rates["llama"].append(run_llama(same, ids_file, 2, 0))
            rates["two"].append(run_longspan(options, ids_file, 2, 1))
            rates["sliced"].append(run_longspan(options, ids_file, 2, 1, "sliced"))
            rates["flash"].append(run_llama(same, ids_file, 2, 1))
    medians = {name: [statistics.median(rate[i] for rate in list_) for i in (0, 1)]
               for name, list_ in rates.items()}
    yardstick = [max(medians["llama"][i], medians["flash"][i]) for i in (0, 1)]
    floor = bandwidth / weights
    if options.json:
        print(json.dumps({"rounds": rates, "weights_bytes": weights,
                          "one_thread_bytes_per_s": bandwidth}))
        return
    print(f"{cpu_name()}, {os.cpu_count()} cores; {options.dtype}, {options.tokens} prompt tokens, decode "
          f"after them; median of {options.repeat}")
    print(f"{'tokens/s':44} {'figure':>12} {'yardstick':>12} {'ratio':>8}")
    row("prefill, 1 rank x 2 threads | llama.cpp", medians["one"][0], yardstick[0])
    row("decode, 1 rank x 2 threads | llama.cpp", medians["one"][1], yardstick[1])
    row("prefill, 2 ranks x 1 thread | 1 rank", medians["two"][0], medians["one"][0])
    row("decode, 2 ranks x 1 thread | its floor", medians["two"][1], floor)
    row("decode, 2 ranks x 1 thread, sliced | 1 rank", medians["sliced"][1], medians["one"][1])
    print(f"floor: {weights / 1e6:.0f} MB of weights at {bandwidth / 1e9:.1f} GB/s, what one "
          "thread reads (measured); each rank's half of the KV comes on top")


if __name__ == "__main__":
    main()
