#!/usr/bin/env python3
"""A model of Llama-3-8B's shape with made-up weights on one GPU: Hugging Face's program, with
FlashAttention 3 and with PyTorch's own attention, as `scripts/gpu-rates` measures ours.

Prints for each prompt length the seconds of reading it, the best of --rounds, and the milliseconds
of writing a token behind it, the median of eight. Needs PyTorch, transformers and the wheel
fa3-fwd; what is not there is said and left out. A prompt is read whole, and only its last token is
scored, as ours does. With --json FILE the same as JSON.
"""
import argparse
import json
import statistics
import time

SHAPE = dict(vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
             num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=1 << 20, rope_theta=5e5)
FA3 = "fa3_forward"


def register_fa3():
    from fa3_fwd_interface import flash_attn_func
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    def attend(_module, q, k, v, _mask, scaling=None, **_):
        out = flash_attn_func(*(one.transpose(1, 2) for one in (q, k, v)), softmax_scale=scaling, causal=True)
        return (out[0] if isinstance(out, tuple) else out), None

    ALL_ATTENTION_FUNCTIONS.register(FA3, attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(FA3, lambda *_, **__: None)


def seconds_of(torch, call):
    torch.cuda.synchronize()
    begun = time.perf_counter()
    result = call()
    torch.cuda.synchronize()
    return time.perf_counter() - begun, result


def measure(torch, model, tokens, rounds):
    """(seconds of a prompt, seconds of a token)"""
    ids = torch.randint(0, SHAPE["vocab_size"], (1, tokens), device="cuda")
    read, answer = [], None
    with torch.inference_mode():
        for _ in range(rounds):
            answer = None  # its cache goes before another one comes
            torch.cuda.empty_cache()
            seconds, answer = seconds_of(torch, lambda: model(ids, use_cache=True, logits_to_keep=1))
            read.append(seconds)
        cache, token = answer.past_key_values, ids[:, :1]
        written = [seconds_of(torch, lambda: model(token, past_key_values=cache, use_cache=True))[0] for _ in range(12)]
    return min(read), statistics.median(written[4:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="*", default=[4096, 32768, 131072])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="a file for all that was measured")
    options = parser.parse_args()
    try:
        import torch
        import transformers
    except ImportError as error:
        print(f"no {error.name}: Hugging Face's model is left out")
        return
    kinds = ["sdpa"]
    try:
        register_fa3()
        kinds.insert(0, FA3)
    except Exception as error:  # whatever a wheel of another release says
        print("no FlashAttention 3:", repr(error)[:200])
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE)).eval()
    print(f"8B shape, transformers {transformers.__version__}, {torch.cuda.get_device_name()}")
    print(f"{'attention':>12}{'tokens':>9}{'prefill s':>11}{'decode ms':>11}")
    found = []
    for kind in kinds:
        model.set_attn_implementation(kind)
        for tokens in options.tokens:
            read, written = measure(torch, model, tokens, options.rounds)
            print(f"{kind:>12}{tokens:9}{read:11.2f}{written * 1e3:11.1f}", flush=True)
            found.append({"attention": kind, "tokens": tokens, "prefill_s": read, "token_s": written})
            if options.json:  # after each: a longer one may not fit
                with open(options.json, "w") as file:
                    json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
