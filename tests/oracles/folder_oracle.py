#!/usr/bin/env python3
"""A GGUF file and the same weights and tokenizer as a Hugging Face folder give the same answer.

    folder_oracle.py MODEL.gguf LONGSPAN

Compares ids, text, log-probabilities and the prompt's nll of `longspan generate`, for a prompt of
ids and one of text.
"""

import json
import pathlib
import subprocess
import sys
import tempfile


TEXT = "<|im_start|>user\nWhat did Zoë pay in 2019 for 1,250 of them?  (naïve: ½ € each)<|im_end|>\n"


def answer(longspan, model, *prompt):
    command = [longspan, "generate", model, *prompt, "--max-tokens", "12", "--json"]
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
        for prompt in (["--prompt-ids", ids], ["--prompt", TEXT]):
            different = compare(answer(longspan, model, *prompt), answer(longspan, folder, *prompt))
            if different:
                sys.exit(f"{prompt[0]}: {different}")
    print("the folder says what the file says")


def compare(a, b):
    for key in ("prompt_ids", "text"):
        if a[key] != b[key]:
            return f"{key} differs: {a[key]} and {b[key]}"
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
