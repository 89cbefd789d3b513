#!/usr/bin/env python3
"""Prints how large the files and functions of each folder are. Nothing fails on it.

Usage: scripts/print-sizes.py [--longest N]

Per folder: files, then median, 90th percentile and largest of file and function length in lines;
then the N longest files and functions (default 10). Of a long one ask: is this one concept?
"""

import pathlib
import re
import subprocess
import sys

CPP = (".h", ".cc", ".inl", ".cu", ".cuh")
NOT_CODE = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', re.DOTALL)
SCOPE = re.compile(r"^\s*(template\s*<.*>\s*)?(inline\s+)?(namespace|class|struct|union|enum|extern)\b",
                   re.DOTALL)


def without_comments(text):
    """The same lines, with comments and literals blanked: braces left are code."""
    return NOT_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def functions(text):
    """(name, first line, lines) of each function: a braced block at class or namespace level whose
    header has a parameter list. Lambdas and blocks inside a function belong to it."""
    code = without_comments(text)
    header_start, depth_in_function, scopes, found = 0, 0, [], []
    for at, char in enumerate(code):
        if char == ";" and not depth_in_function:
            header_start = at + 1
        elif char == "{":
            header = code[header_start:at]
            if depth_in_function:
                depth_in_function += 1
            elif "(" in header and header.count("(") == header.count(")") and not SCOPE.match(header):
                depth_in_function = 1
                first = header_start + len(header) - len(header.lstrip())
                name = re.search(r"([\w:~]+|operator\S+)\s*\(", header)
                begin = (name.group(1) if name else "?", first)
            else:
                scopes.append(header)
            header_start = at + 1 if not depth_in_function else header_start
        elif char == "}":
            if depth_in_function:
                depth_in_function -= 1
                if not depth_in_function:
                    name, first = begin
                    line = code.count("\n", 0, first) + 1
                    found.append((name, line, code.count("\n", first, at) + 1))
            if not depth_in_function:
                header_start = at + 1
    return found


def summary(lengths):
    if not lengths:
        return "     -     -     -"
    ordered = sorted(lengths)
    middle, most = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 9 // 10)]
    return f"{middle:6}{most:6}{ordered[-1]:6}"


def main(arguments):
    if arguments[:1] == ["--help"]:
        print(__doc__.strip())
        return 0
    longest = int(arguments[1]) if arguments[:1] == ["--longest"] else 10
    root = pathlib.Path(__file__).parent.parent
    tracked = subprocess.run(["git", "-C", root, "ls-files"], check=True, text=True,
                             capture_output=True).stdout.split()
    files, bodies = {}, []
    for path in (p for p in tracked if p.endswith(CPP)):
        text = (root / path).read_text()
        files[path] = text.count("\n")
        bodies += [(path, *function) for function in functions(text)]

    print(f"{'folder':12}{'files':>6}   file: median p90 largest   function: median p90 largest")
    for folder in sorted({path.split("/")[0] for path in files}):
        sizes = [size for path, size in files.items() if path.startswith(folder + "/")]
        lengths = [body[3] for body in bodies if body[0].startswith(folder + "/")]
        print(f"{folder:12}{len(sizes):6}   {summary(sizes)}           {summary(lengths)}")
    print("\nlongest files")
    for path, size in sorted(files.items(), key=lambda item: -item[1])[:longest]:
        print(f"{size:6}  {path}")
    print("\nlongest functions")
    for path, name, line, size in sorted(bodies, key=lambda body: -body[3])[:longest]:
        print(f"{size:6}  {name}  {path}:{line}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
