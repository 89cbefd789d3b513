"""Writes a Llama of random weights in the shape of SmolLM2-135M: where the model itself is not at
hand, it runs as fast as that."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests/launch"))
from tiny_model import byte_letters  # noqa: E402

LAYERS, HIDDEN, HEADS, KV_HEADS, FFN, VOCABULARY = 30, 576, 9, 3, 1536, 49152
CONTEXT = 1 << 20


def write_random_model(target):
    import gguf
    import numpy

    random = numpy.random.default_rng(1)
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_name("random")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_rope_freq_base(100_000.0)
    writer.add_vocab_size(VOCABULARY)
    letters = byte_letters() + ["th"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(letters + [f"<{i}>" for i in range(len(letters), VOCABULARY)])
    writer.add_token_types([1] * len(letters) + [3] * (VOCABULARY - len(letters)))
    writer.add_token_merges(["t h"])  # a list may not be empty
    writer.add_eos_token_id(len(letters))
    writer.add_bos_token_id(len(letters))

    def matrix(name, outputs, inputs):
        values = random.standard_normal((outputs, inputs), dtype=numpy.float32)
        writer.add_tensor(name + ".weight", values / numpy.sqrt(numpy.float32(inputs)))

    def norm(name):
        writer.add_tensor(name + ".weight", numpy.ones(HIDDEN, dtype=numpy.float32))

    kv = HIDDEN // HEADS * KV_HEADS
    matrix("token_embd", VOCABULARY, HIDDEN)
    norm("output_norm")
    for layer in range(LAYERS):
        at = f"blk.{layer}."
        norm(at + "attn_norm")
        norm(at + "ffn_norm")
        for name, outputs, inputs in [
                ("attn_q", HIDDEN, HIDDEN), ("attn_k", kv, HIDDEN), ("attn_v", kv, HIDDEN),
                ("attn_output", HIDDEN, HIDDEN), ("ffn_gate", FFN, HIDDEN),
                ("ffn_up", FFN, HIDDEN), ("ffn_down", HIDDEN, FFN)]:
            matrix(at + name, outputs, inputs)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
