#!/usr/bin/env python3
"""A GGUF file and the same weights as a Hugging Face folder give the same answer.

    folder_oracle.py MODEL.gguf LONGSPAN

Compares ids, log-probabilities and the prompt's nll of `longspan generate --prompt-ids`.
"""

import json
import pathlib
import subprocess
import sys
import tempfile


def answer(longspan, model, ids):
    command = [longspan, "generate", model, "--prompt-ids", ids, "--max-tokens", "12", "--json"]
    command += ["--logprobs", "3", "--prompt-nll", "--ignore-eos", "--dtype", "float32"]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(result.stdout)


def main():
    model, longspan = sys.argv[1:]
    maker = pathlib.Path(__file__).with_name("gguf_to_folder.py")
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch) / "folder"
        subprocess.run([sys.executable, maker, model, folder], check=True)
        ids = pathlib.Path(scratch) / "ids.json"
        ids.write_text(json.dumps([(i * i * 31 + 7 * i + 504) % 40000 for i in range(150)]))
        of_file, of_folder = answer(longspan, model, ids), answer(longspan, folder, ids)
    different = compare(of_file, of_folder)
    print(different or "the folder says what the file says")
    sys.exit(1 if different else 0)


def compare(a, b):
    if a["ids"] != b["ids"]:
        return f"ids differ: {a['ids']} and {b['ids']}"
    if abs(a["prompt_nll"] - b["prompt_nll"]) > 1e-5:
        return f"prompt nll differs: {a['prompt_nll']} and {b['prompt_nll']}"
    for i, (one, other) in enumerate(zip(a["logprobs"], b["logprobs"])):
        if abs(one["logprob"] - other["logprob"]) > 1e-4:
            return f"log-probability {i} differs: {one} and {other}"
    return ""


if __name__ == "__main__":
    main()
