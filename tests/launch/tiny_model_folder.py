"""Writes the tiny model as a Hugging Face folder, and whatever files a test wants beside it."""

import json
import struct

from tiny_model import CONTEXT, FFN, HEADS, HIDDEN, KV_HEADS, LAYERS, VOCABULARY, TinyModel, byte_letters

NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
IN_LAYER = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj",
            "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
            "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
            "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCABULARY,
          "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": LAYERS,
          "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "hidden_act": "silu",
          "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
          "tie_word_embeddings": True}
TOKENIZER = {"added_tokens": [{"id": VOCABULARY - 1, "content": "<|endoftext|>", "special": True}],
             "normalizer": None, "post_processor": None, "decoder": {"type": "ByteLevel"},
             "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
             "model": {"type": "BPE", "merges": [],
                       "vocab": {letter: byte for byte, letter in enumerate(byte_letters())}}}


def name_in_folder(name):
    stem = name.removesuffix(".weight")
    if stem in NAMES:
        return f"{NAMES[stem]}.weight"
    _, layer, role = stem.split(".")
    return f"model.layers.{layer}.{IN_LAYER[role]}.weight"


def safetensors():
    header, data = {}, b""
    for tensor in TinyModel().tensors:
        header[name_in_folder(tensor.name)] = {
            "dtype": "F32", "shape": tensor.shape[::-1],
            "data_offsets": [len(data), len(data) + len(tensor.data)]}
        data += tensor.data
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + data


def write(folder, **files):
    """`files`: name without its end to what it holds; None leaves one of the usual ones out."""
    (folder / "model.safetensors").write_bytes(safetensors())
    for name, value in ({"config": CONFIG, "tokenizer": TOKENIZER} | files).items():
        path = folder / f"{name}.json"
        if value is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(json.dumps(value))
