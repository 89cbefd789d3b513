"""Writes a complete Llama model of a few thousand random weights as a GGUF file.

Every part of it can be changed before it is written, so that a test can ask for one wrong thing in
a file that is otherwise right. Token b is the byte b, and END_OF_TEXT is the only other one.
"""

import random
import struct
import tempfile

UINT32, FLOAT32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9  # value types of the format
F32 = 0  # a tensor type
END_OF_TEXT = 256
VOCABULARY = 257
HIDDEN, HEADS, KV_HEADS, FFN, LAYERS = 64, 4, 2, 96, 2
CONTEXT = 512
ALIGNMENT = 32


def text(value):
    encoded = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def uint32(value):
    return struct.pack("<II", UINT32, value)


def float32(value):
    return struct.pack("<If", FLOAT32, value)


def string(value):
    return struct.pack("<I", STRING) + text(value)


def strings(values):
    return struct.pack("<IIQ", ARRAY, STRING, len(values)) + b"".join(map(text, values))


def byte_letters():
    """The letter that stands for each byte in a byte-level vocabulary: itself if it can be seen,
    else the next unused one from U+0100 on."""
    seen = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return [chr(byte if byte in seen else 0x100 + unseen.index(byte)) for byte in range(256)]


class Tensor:
    def __init__(self, name, shape, seed):
        self.name = name
        self.type = F32
        self.shape = shape  # fastest dimension first, as in the file
        self.offset = None  # where to claim it lies, if not where it does
        count = 1
        for extent in shape:
            count *= extent
        spread = (3 / shape[0]) ** 0.5  # variance 1 / inputs
        values = random.Random(seed)
        self.data = struct.pack(f"<{count}f", *(
            values.uniform(-spread, spread) if len(shape) > 1 else values.uniform(0.75, 1.25)
            for _ in range(count)))


class TinyModel:
    def __init__(self, hidden=HIDDEN, heads=HEADS, kv_heads=KV_HEADS, ffn=FFN, context=CONTEXT):
        kv = hidden // heads * kv_heads
        self.magic, self.version = b"GGUF", 3
        self.tensor_count = self.key_count = None  # what to claim, if not what is there
        self.keys = {  # encoded with their type
            "general.architecture": string("llama"),
            "general.name": string("Tiny"),
            "llama.block_count": uint32(LAYERS),
            "llama.context_length": uint32(context),
            "llama.embedding_length": uint32(hidden),
            "llama.feed_forward_length": uint32(ffn),
            "llama.attention.head_count": uint32(heads),
            "llama.attention.head_count_kv": uint32(kv_heads),
            "llama.attention.layer_norm_rms_epsilon": float32(1e-5),
            "llama.rope.dimension_count": uint32(hidden // heads),
            "tokenizer.ggml.model": string("gpt2"),
            "tokenizer.ggml.pre": string("smollm"),
            "tokenizer.ggml.tokens": strings([*byte_letters(), "<|endoftext|>"]),
            "tokenizer.ggml.token_type": struct.pack(f"<IIQ{VOCABULARY}i", ARRAY, 5, VOCABULARY,
                                                     *[1] * 256, 3),
            "tokenizer.ggml.merges": strings([]),
            "tokenizer.ggml.eos_token_id": uint32(END_OF_TEXT),
            "tokenizer.ggml.bos_token_id": uint32(END_OF_TEXT),
            "tokenizer.ggml.add_bos_token": struct.pack("<IB", BOOL, 0),
        }
        shapes = {"token_embd": (hidden, VOCABULARY), "output_norm": (hidden,)}
        for layer in range(LAYERS):
            shapes |= {f"blk.{layer}.{name}": shape for name, shape in {
                "attn_norm": (hidden,), "attn_q": (hidden, hidden), "attn_k": (hidden, kv),
                "attn_v": (hidden, kv), "attn_output": (hidden, hidden), "ffn_norm": (hidden,),
                "ffn_gate": (hidden, ffn), "ffn_up": (hidden, ffn),
                "ffn_down": (ffn, hidden)}.items()}
        self.tensors = [Tensor(f"{name}.weight", shape, seed)
                        for seed, (name, shape) in enumerate(shapes.items())]

    def tensor(self, name):
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def preamble(self):
        """Up to the first key."""
        tensors = len(self.tensors) if self.tensor_count is None else self.tensor_count
        keys = len(self.keys) if self.key_count is None else self.key_count
        return self.magic + struct.pack("<IQQ", self.version, tensors, keys)

    def metadata(self):
        return b"".join(text(key) + value for key, value in self.keys.items())

    def tensor_table(self):
        table, offset = b"", 0
        for tensor in self.tensors:
            claimed = offset if tensor.offset is None else tensor.offset
            table += text(tensor.name) + struct.pack(
                f"<I{len(tensor.shape)}QIQ", len(tensor.shape), *tensor.shape, tensor.type, claimed)
            offset += len(padded(tensor.data))
        return table

    def bytes(self):
        header = self.preamble() + self.metadata() + self.tensor_table()
        return padded(header) + b"".join(padded(tensor.data) for tensor in self.tensors)


def written_for(test, model):
    """The path of a file with `model`, which goes when the test is over."""
    file = tempfile.NamedTemporaryFile(suffix=".gguf")
    test.addCleanup(file.close)
    file.write(model.bytes())
    file.flush()
    return file.name


def padded(data):
    return data + bytes(-len(data) % ALIGNMENT)
