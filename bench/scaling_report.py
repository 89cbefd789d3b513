"""What scripts/gpu-scaling says of its cells: a table, and a drawing of one part of it."""

import statistics

from degree_changes import in_words

K = 1024


def counts(most):
    """1, 2, 4, ... and the most."""
    return sorted({1 << i for i in range(most.bit_length())} | {most})


def best(cells, name):
    """The least seconds of any layout and strategy in a cell of one length."""
    seconds = cells.value(name, "seconds") if name.startswith("attention ") else None
    return min(min(one.values()) for length in seconds.values() for one in length.values()) if seconds else None


def shares(cells, most, sizes):
    """{tokens of each GPU: [(GPUs, rate of each over one alone's at the same length)]}"""
    lines = {}
    for each in sizes.each:
        for ranks in counts(most)[1:]:
            together, alone = best(cells, f"attention {ranks}x{each}"), best(cells, f"attention alone {ranks * each}")
            if together and alone:
                lines.setdefault(each, [(1, 1.0)]).append((ranks, alone / ranks / together))
    return lines


def print_table(cells, most, sizes):
    print("attention: rate of each GPU over that of one alone at the same length")
    for each, line in shares(cells, most, sizes).items():
        print(f"{each:>9} tokens on each  " + "  ".join(f"{ranks}: {share:.3f}" for ranks, share in line))
    for part, key, what in (("prefill", "prefill_s", "s of prefill"), ("prefill", "token_ms", "ms a token"),
                            ("sliced", "token_ms", "ms a token, sliced"), ("batch", "token_ms", "ms a token of each, 16")):
        for tokens in sizes.batch if part == "batch" else sizes.prompts:
            row = [(n, cells.value(f"{part} {n}x{tokens}", key)) for n in counts(most)]
            numbers = "  ".join(f"{n}: {value:.3f}" for n, value in row if value is not None)
            if numbers:
                print(f"{tokens:>9} tokens, {what}  {numbers}")
    print_layouts(cells, most, sizes)
    for each in sizes.each[:2]:
        tflops = cells.value(f"yardsticks {most}x{each}", "tflops") or {}
        numbers = "  ".join(f"{name}: {statistics.median(rounds):.0f}" for name, rounds in tflops.items() if rounds)
        if numbers:
            print(f"{each:>9} tokens on each of {most}, TFLOP/s of each  {numbers}")
    if cells.has(f"degrees {most} elastic"):
        static = {n: cells.done[f"degrees {most} static {n}"] for n in range(1, most + 1)
                  if cells.has(f"degrees {most} static {n}")}
        print(f"{sizes.degrees:>9} tokens in chunks of {sizes.chunk} on {most}: "
              f"{in_words(cells.done[f'degrees {most} elastic'], static)}")
    print_predictions(cells)


def print_layouts(cells, most, sizes):
    for of_layout in (cells.value(f"layouts {most}x{sizes.layouts}", "seconds") or {}).values():
        for layout, strategies in of_layout.items():
            numbers = "  ".join(f"{strategy}: {1e3 * s:.3f}" for strategy, s in strategies.items())
            print(f"{sizes.layouts:>9} tokens on each of {most}, {layout}, ms a layer  {numbers}")


def print_predictions(cells):
    """Each beside what was measured, and the ratio of both."""
    rows = []
    for name, cell in cells.done.items():
        name = name.removeprefix("predicted ")
        if cell["cell"] == name:
            continue
        for key, what, measured in (("seconds", "ms a layer", best(cells, name)),
                                    ("off_as_two_s", "the same, as far off as two", best(cells, name)),
                                    ("prefill_s", "s of prefill", cells.value(name, "prefill_s")),
                                    ("token_ms", "ms a token", cells.value(name, "token_ms"))):
            if key in cell:
                scale = 1e3 if what.startswith(("ms a layer", "the same")) else 1
                ratio = f"{measured / cell[key]:9.3f}" if measured else ""
                rows.append(f"{name:20} {what:28}{scale * cell[key]:11.3f}"
                            + (f"{scale * measured:11.3f}{ratio}" if measured else ""))
    if rows:
        print(f"{'predicted':49}{'predicted':>11}{'measured':>11}{'ratio':>9}", *rows, sep="\n")


def draw(lines, path):
    """Share of one GPU's rate over the number of GPUs, and the published rings beside it."""
    width, height, left, top = 560, 340, 60, 20
    most = max([ranks for line in lines.values() for ranks, _ in line] + [2])
    x = lambda ranks: left + (ranks - 1) / (most - 1) * (width - 150)
    y = lambda share: top + (1.05 - share) / 0.65 * (height - 60)
    text = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
            'font-size="12">', f'<rect width="{width}" height="{height}" fill="white"/>']
    for share in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        text.append(f'<path d="M{left} {y(share):.1f}H{x(most):.1f}" stroke="#ddd"/>'
                    f'<text x="{left - 8}" y="{y(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    for ranks in range(1, most + 1):
        text.append(f'<text x="{x(ranks):.1f}" y="{height - 20}" text-anchor="middle">{ranks}</text>')
    colours = ("#1b6ca8", "#d1495b", "#3a7d44", "#8d6a9f")
    for colour, (each, line) in zip(colours, lines.items()):
        points = " ".join(f"{x(ranks):.1f},{y(share):.1f}" for ranks, share in line)
        text.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        text.append(f'<text x="{x(line[-1][0]) + 6:.1f}" y="{y(line[-1][1]) + 4:.1f}" fill="{colour}">'
                    f'{each // K}K on each</text>' if each >= K else "")
    if most >= 8:  # 8 H800, 8K tokens on each: ring, stripe, zigzag (zhuzilin/ring-flash-attention)
        for share, name in ((0.521, "ring"), (0.744, "stripe"), (0.852, "zigzag")):
            text.append(f'<circle cx="{x(8):.1f}" cy="{y(share):.1f}" r="3" fill="#777"/>'
                        f'<text x="{x(8) - 8:.1f}" y="{y(share) + 4:.1f}" text-anchor="end" fill="#777">{name}, published'
                        "</text>")
    path.write_text("\n".join([*text, "</svg>"]) + "\n")
