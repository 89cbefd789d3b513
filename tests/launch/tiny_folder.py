"""Writes a complete Llama model of a few thousand random weights as a Hugging Face folder of two
shards. As with tiny_model.py every part can be changed before it is written. Token b is the byte b.
"""

import json
import random
import struct

from tiny_model import (CONTEXT, END_OF_TEXT, FFN, HEADS, HIDDEN, KV_HEADS, LAYERS, VOCABULARY,
                        byte_letters)

INDEX = "model.safetensors.index.json"
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def shapes():
    kv = HIDDEN // HEADS * KV_HEADS
    of_layer = {"input_layernorm": (HIDDEN,), "self_attn.q_proj": (HIDDEN, HIDDEN),
                "self_attn.k_proj": (kv, HIDDEN), "self_attn.v_proj": (kv, HIDDEN),
                "self_attn.o_proj": (HIDDEN, HIDDEN), "post_attention_layernorm": (HIDDEN,),
                "mlp.gate_proj": (FFN, HIDDEN), "mlp.up_proj": (FFN, HIDDEN),
                "mlp.down_proj": (HIDDEN, FFN)}
    all_shapes = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        for name, shape in of_layer.items():
            all_shapes[f"model.layers.{layer}.{name}.weight"] = shape
    return all_shapes


def values(shape, seed):
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    spread = (3 / shape[-1]) ** 0.5
    chosen = random.Random(seed)
    return struct.pack(f"<{count}f", *(
        chosen.uniform(-spread, spread) if len(shape) > 1 else chosen.uniform(0.75, 1.25)
        for _ in range(count)))


class TinyFolder:
    def __init__(self):
        self.config = {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
            "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "tie_word_embeddings": True, "vocab_size": VOCABULARY}
        self.tokenizer = {
            "added_tokens": [{"id": END_OF_TEXT, "content": "<|endoftext|>", "special": True,
                              "lstrip": False, "rstrip": False, "single_word": False,
                              "normalized": False}],
            "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
            "post_processor": None,
            "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "merges": [],
                      "vocab": {letter: byte for byte, letter in enumerate(byte_letters())}}}
        self.headers = [{}, {}]  # of the shards; offsets follow from their data
        self.data = [b"", b""]
        self.weight_map = {}
        for seed, (name, shape) in enumerate(shapes().items()):
            self.add(seed % 2, name, shape, values(shape, seed))

    def add(self, shard, name, shape, data):
        begin = len(self.data[shard])
        self.headers[shard][name] = {"dtype": "F32", "shape": list(shape),
                                     "data_offsets": [begin, begin + len(data)]}
        self.data[shard] += data
        self.weight_map[name] = SHARDS[shard]

    def shard(self, shard):
        header = json.dumps(self.headers[shard]).encode()
        return struct.pack("<Q", len(header)) + header + self.data[shard]

    def write(self, folder, **files):
        """`files`: name without its end to what it holds; None leaves one of the usual ones out."""
        for name, value in ({"config": self.config, "tokenizer": self.tokenizer} | files).items():
            path = folder / f"{name}.json"
            if value is None:
                path.unlink(missing_ok=True)
            else:
                path.write_text(json.dumps(value))
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": self.weight_map}))
        for shard, name in enumerate(SHARDS):
            (folder / name).write_bytes(self.shard(shard))
