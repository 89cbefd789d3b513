#!/usr/bin/env python3
"""Writes a llama-type GGUF file out as a Hugging Face model folder: dequantised, float32.

    gguf_to_folder.py MODEL.gguf FOLDER

Q and K get back the rows in half-split order that the GGUF converter took apart. The folder has
config.json, model.safetensors, and the tokenizer.json of a byte-level vocabulary that splits as
SmolLM2's does.
Needs: pip install gguf
"""

import json
import pathlib
import struct
import sys

import gguf
import numpy

NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
ENDS = {"token_embd": "embed_tokens", "output_norm": "norm"}


def hugging_face_name(name):
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{NAMES[parts[2]]}.weight"
    return "lm_head.weight" if parts[0] == "output" else f"model.{ENDS[parts[0]]}.weight"


def half_split(rows, heads):
    """(dimension pairs, 2) of each head to (2, dimension pairs)."""
    pairs = rows.shape[0] // heads // 2
    return rows.reshape(heads, pairs, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def main():
    model, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    reader = gguf.GGUFReader(model)

    def value(key, default=None):
        field = reader.fields.get("llama." + key)
        return default if field is None else field.contents()

    heads = value("attention.head_count")
    kv_heads = value("attention.head_count_kv", heads)
    tensors = {}
    for tensor in reader.tensors:
        rows = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("<f4")
        if ".attn_q." in tensor.name:
            rows = half_split(rows, heads)
        if ".attn_k." in tensor.name:
            rows = half_split(rows, kv_heads)
        tensors[hugging_face_name(tensor.name)] = numpy.ascontiguousarray(rows)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": value("embedding_length"),
        "intermediate_size": value("feed_forward_length"),
        "max_position_embeddings": value("context_length"),
        "num_attention_heads": heads,
        "num_hidden_layers": value("block_count"),
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": float(value("attention.layer_norm_rms_epsilon")),
        "rope_theta": float(value("rope.freq_base", 10000.0)),
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        "torch_dtype": "float32",
        "vocab_size": tensors["model.embed_tokens.weight"].shape[0],
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write_safetensors(folder / "model.safetensors", tensors)
    write_tokenizer(folder, reader)


def write_tokenizer(folder, reader):
    """tokenizer.json, and tokenizer_config.json for the token that ends a text."""
    def value(key):
        return reader.fields["tokenizer.ggml." + key].contents()

    if (value("model"), value("pre")) != ("gpt2", "smollm"):
        sys.exit("gguf_to_folder: only SmolLM2's tokenizer is written out")
    tokens, kinds = value("tokens"), value("token_type")
    control = [i for i, kind in enumerate(kinds) if kind == gguf.TokenType.CONTROL]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": tokens[i], "special": True, **flags}
                         for i in control],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True}, {**byte_level, "use_regex": True}]},
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: i for i, token in enumerate(tokens)},
                  "merges": value("merges")},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False) + "\n")
    end = tokens[value("eos_token_id")]
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": end}) + "\n")


def write_safetensors(path, tensors):
    header, end = {}, 0
    for name, rows in tensors.items():
        header[name] = {
            "dtype": "F32",
            "shape": list(rows.shape),
            "data_offsets": [end, end + rows.nbytes],
        }
        end += rows.nbytes
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for rows in tensors.values():
            file.write(rows.tobytes())


if __name__ == "__main__":
    main()
