#!/usr/bin/env python3
"""Writes a llama-type GGUF file out as a Hugging Face model folder: dequantised, float32.

    gguf_to_folder.py MODEL.gguf FOLDER

Q and K get back the rows in half-split order that the GGUF converter took apart. The folder has
config.json and model.safetensors, and no tokenizer.
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
