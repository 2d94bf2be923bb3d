#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""usage: lab/bench.py DIR

What mmu_notifier_bench printed in the guests (DIR/stock-*.output and
DIR/bench-*.output), as ratios of the series to stock: DIR/table.txt,
DIR/table.csv, and DIR/register.gnuplot, which plots registration.
"""

import csv
import re
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple


class Row(NamedTuple):
    group: str
    what: str
    size: int


def read(directory: Path, core: str) -> dict[Row, list[int]]:
    """The measurements of each boot."""
    found: dict[Row, list[int]] = {}
    for path in sorted(directory.glob(f"{core}-*.output")):
        for line in path.read_text().replace("\r", "").splitlines():
            if match := re.fullmatch(r"BENCH\t([^\t]+)\t([^\t]+)\t(\d+)\t(\d+)", line):
                row = Row(match[1], match[2], int(match[3]))
                found.setdefault(row, []).append(int(match[4]))
    return found


def spread(values: list[int]) -> float:
    """By how many percent boots differ."""
    return 100 * (max(values) - min(values)) / max(1, min(values))


def plot(directory: Path, rows: dict[str, dict[Row, list[int]]]) -> str:
    lines = []
    for core, found in rows.items():
        for what in sorted({row.what for row in found if row.group == "register"}):
            data = directory / f"{core}-{re.sub('[^a-z]+', '-', what)}.dat"
            points = sorted((row.size, median(values)) for row, values in found.items()
                            if row.group == "register" and row.what == what)
            data.write_text("".join(f"{size} {value:.0f}\n" for size, value in points))
            lines.append(f"'{data}' with linespoints title '{core}: {what}'")
    commands = ["set logscale xy", "set grid", "set key outside right", "set title 'Registration'",
                "set xlabel 'VMAs of the process'", "set ylabel 'instructions'"]
    for kind, size in (("svg size 900,480 noenhanced background rgb 'white'", "svg"), ("png size 900,480 noenhanced", "png")):
        commands += [f"set terminal {kind}", f"set output '{directory}/register.{size}'", "plot " + ", ".join(lines)]
    return "\n".join(commands) + "\n"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    directory = Path(sys.argv[1])
    stock, series = read(directory, "stock"), read(directory, "bench")
    if not stock or not series:
        sys.exit(f"error: no measurements in {directory}; see the consoles there")
    table = [("", "what", "size", "stock", "series", "ratio", "spread")]
    for row in sorted(series, key=list(series).index):
        ours = median(series[row])
        theirs = median(stock[row]) if row in stock else None
        most = max(spread(series[row]), spread(stock.get(row, [1])))
        table.append((row.group, row.what, str(row.size), f"{theirs:.0f}" if theirs else "-", f"{ours:.0f}",
                      f"{ours / theirs:.4f}" if theirs else "-", f"{most:.2f} %"))
    with open(directory / "table.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("group", *table[0][1:]), *table[1:]])
    lines = [f"{a:<11}{b:<21}{c:>6}{d:>12}{e:>12}{f:>9}{g:>9}" for a, b, c, d, e, f, g in table]
    (directory / "table.txt").write_text("Instructions (ns of -icount shift=0), least of several; spread between boots\n" +
                                         "\n".join(lines) + "\n", encoding="utf-8")
    (directory / "register.gnuplot").write_text(plot(directory, {"stock": stock, "series": series}), encoding="utf-8")


main()
