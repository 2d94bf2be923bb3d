#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""usage: lab/bench.py [--check] DIR

What mmu_notifier_bench printed in the guests (DIR/unpatched-*.output,
DIR/stock-*.output, DIR/bench-*.output), as ratios of the series to stock:
DIR/table.txt, DIR/table.csv, and DIR/register.gnuplot, which plots registration.
With --check nothing of that, but TAP: no ratio may be above its limit.
"""

import csv
import re
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

CONTENTION = ("stall", "rate", "truncate", "beside", "held", "munmap", "stuck", "starve")
# Of a longest wait, in ns, what a timer tick or whoever else runs here makes of it.
TICKS = 20_000_000
MOMENT = 50_000


class Row(NamedTuple):
    group: str
    what: str
    size: int


Figures = dict[Row, list[int]]


class Line(NamedTuple):
    """A line of the table."""

    group: str
    what: str
    size: str
    base: str
    stock: str
    series: str
    ratio: str
    goal: str
    floor: str
    spread: str


def read(directory: Path, core: str) -> Figures:
    """The measurements of each boot."""
    found: Figures = {}
    for path in sorted(directory.glob(f"{core}-*.output")):
        for line in path.read_text().replace("\r", "").splitlines():
            if match := re.fullmatch(r"BENCH\t([^\t]+)\t([^\t]+)\t(\d+)\t(\d+)", line):
                row = Row(match[1], match[2], int(match[3]))
                found.setdefault(row, []).append(int(match[4]))
    return found


def goal(row: Row) -> float:
    """What the ratio of the series to stock shall be at most."""
    if row.group == "later" and row.what.startswith("range") and row.size >= 30000:
        return 0.001
    if row.group == "register" or row.group == "later" and row.what.startswith("range"):
        return 0.4 if row.size < 100 else 0.22
    return 1.0005 if row.group == "none" else 1.0


def slack(row: Row) -> float:
    """By how much a ratio may exceed its goal before --check fails: what is known
    to miss it, and what a grace period or a page more makes of a short figure."""
    return {"none": 0.0025, "kvm": 0.004, "exit": 0.01, "interval": 0.004, "register": 0.005,
            "later": 0.07, "later end": 0.08, "unregister": 0.08, "create": 0.0}[row.group]


def spread(values: list[int]) -> float:
    """By how many percent boots differ."""
    return 100 * (max(values) - min(values)) / max(1, min(values))


def instructions(stock: Figures, series: Figures, base: Figures) -> list[Line]:
    """The least of all boots: an interrupt only adds to it."""
    lines = []
    for row in sorted(series, key=list(series).index):
        if row.group in CONTENTION or row.group == "memory" or row.what.startswith("floor"):
            continue
        ours, theirs = min(series[row]), min(stock.get(row, [0]))
        floor = series.get(Row("register", row.what.replace(row.what.split(",")[0], "floor"), row.size))
        lines.append(Line(
            row.group, row.what, str(row.size), str(min(base[row])) if row in base else "-",
            str(theirs or "-"), str(ours), f"{ours / theirs:.4f}" if theirs else "-",
            f"{goal(row):.4g}" if theirs else "-", str(min(floor)) if floor and row.group == "register" and "page" not in row.what else "-",
            f"{max(spread(series[row]), spread(stock.get(row, [1]))):.2f} %"))
    return lines


def derived(stock: Figures, series: Figures) -> list[Line]:
    """What does not depend on how many VMAs there are, or how much it does."""
    lines = []

    def line(group: str, what: str, sizes: str, values: list[float], ratio: float, goal_text: str) -> None:
        lines.append(Line(group, what, sizes, "-", *(f"{value:.4g}" for value in values), f"{ratio:.4f}", goal_text, "-", "-"))

    for what in sorted({row.what for row in series if row.group == "create"}):
        sizes = sorted(row.size for row in series if row[:2] == ("create", what) and row in stock)
        if len(sizes) > 1:
            few, many = (Row("create", what, size) for size in (sizes[0], sizes[-1]))
            each = [(min(core[many]) - min(core[few])) / (many.size - few.size) for core in (stock, series)]
            line("create", f"{what}, for each VMA", f"{few.size}..{many.size}", each, max(0.0, each[1] / each[0]), "0")
    rows = [row for row in series if row.group == "later" and row.what.startswith("range") and row.size >= 1000 and row in stock]
    if rows:
        most = [max(min(core[row]) for row in rows) / min(min(core[row]) for row in rows) for core in (stock, series)]
        line("later", f"{rows[0].what}, most / least", f"{rows[0].size}..{rows[-1].size}", most, most[1], "1.05")
    return lines


def reclaim(stock: Figures, series: Figures) -> list[Line]:
    """What a secondary MMU adds to the reclaim of the pages it has translations of:
    page by page under the page table lock here, in sections on stock."""
    def added(core: Figures, row: Row) -> int:
        return min(core[row]) - min(core[row._replace(group="none")])

    lines = []
    for row in series:
        # Without swap there is none.
        if row[:2] == ("gru", "pageout"):
            theirs, ours = added(stock, row._replace(group="kvm")), added(series, row)
            lines.append(Line("gru / kvm", "pageout, more than with none", str(row.size), "-", str(theirs), str(ours),
                              f"{ours / theirs:.4f}", "0.5", "-", "-"))
    return lines


def contention(stock: Figures, series: Figures) -> list[Line]:
    """Figures made of two measurements each; medians."""
    lines = []

    def line(what: str, size: int, name: str, values: list[float], against: str, reached: str) -> None:
        lines.append(Line("contention", f"{what} {name}", str(size), "-", *(f"{value:.4g}" for value in values), reached, against, "-", "-"))

    def figure(core: Figures, row: Row) -> float:
        return median(core[row])

    both = [row for row in series if row in stock]
    for row in both:
        if row.group == "stall" and row.what == "registration":
            alone = Row("stall", "alone", row.size)
            extra = [max(0.0, figure(core, row) - figure(core, alone)) / 1000 for core in (stock, series)]
            line("bystander's stall,", row.size, "us", extra, "0.05", f"{extra[1] / max(extra[0], 0.001):.4f}")
        if row.group == "truncate" and row.what == "registrations":
            alone = Row("truncate", "alone", row.size)
            share = [figure(core, alone) / figure(core, row) for core in (stock, series)]
            line("truncations beside registrations,", row.size, "share", share, ">= 0.95", f"{share[1]:.4f}")
        half = Row("rate", row.what, row.size // 2)
        if row.group == "rate" and half in series:
            gain = [figure(core, half) / figure(core, row) for core in (stock, series)]
            line(f"registrations/s against {half.size},", row.size, "times", gain, ">= 1.8", f"{gain[1]:.4f}")
        if row.group == "beside":
            # The least of all boots here too: others run on this machine.
            ns = [min(core[row]) for core in (stock, series)]
            least = MOMENT if row.what.endswith("longest") else 1
            line(f"later insertion of {row.what},", row.size, "ns", ns, "1.1", f"{max(ns[1], least) / max(ns[0], least):.4f}")
        if row.group == "held" and row.what != "alone":
            alone = Row("held", "alone", row.size)
            extra = [max(0.0, figure(core, row) - figure(core, alone)) / 1000 for core in (stock, series)]
            line(f"stall of others behind a held lock, {row.what},", row.size, "us", extra, "0.1", f"{extra[1] / max(extra[0], 0.001):.4f}")
        if row.group in ("munmap", "starve"):
            us = [figure(core, row) / 1000 for core in (stock, series)]
            line(f"{row.group}: {row.what},", row.size, "us", us, "-", f"{us[1] / us[0]:.4f}")
    return lines + stuck(stock, series)


def stuck(stock: Figures, series: Figures) -> list[Line]:
    """Leaving while a callback of somebody else sleeps, against quiet: instructions."""
    lines = []
    for row in series:
        quiet = row._replace(what=row.what.replace(", stuck", ", quiet"))
        if row.group == "stuck" and row != quiet and row in stock:
            longest = "longest" in row.what
            least = TICKS if longest else 1
            times = [max(least, (max if longest else min)(core[row])) / max(least, (max if longest else min)(core[quiet]))
                     for core in (stock, series)]
            lines.append(Line("contention", f"{row.what}, times quiet", str(row.size), "-",
                              *(f"{value:.4g}" for value in times), f"{times[1]:.4f}", "1.05", "-", "-"))
    return lines


def memory(stock: Figures, series: Figures) -> list[Line]:
    return [Line("memory", row.what, "", "-", str(stock[row][0]), str(series[row][0]),
                 f"{series[row][0] - stock[row][0]:+d}", "+16", "-", "-")
            for row in series if row.group == "memory" and row in stock]


def plot(directory: Path, cores: dict[str, Figures]) -> str:
    """Few curves: what a reader wants to compare."""
    curves = [("stock", "register", "range, anonymous", "stock core, each"),
              ("series", "register", "range, anonymous", "new core, the first of a process"),
              ("series", "later", "range, threads", "new core, later ones"),
              ("series", "register", "page, anonymous", "new core, invalidate_page only")]
    lines = []
    for core, group, what, title in curves:
        data = directory / f"{core}-{group}-{re.sub('[^a-z]+', '-', what)}.dat"
        points = sorted((row.size, min(values)) for row, values in cores[core].items()
                        if row.group == group and row.what == what)
        data.write_text("".join(f"{size} {value}\n" for size, value in points))
        lines.append(f"'{data}' with linespoints title '{title}'")
    commands = ["set logscale xy", "set grid", "set key left top", "set title 'Registration'",
                "set xlabel 'VMAs of the process'", "set ylabel 'instructions'"]
    for kind, size in (("svg size 900,480 noenhanced background rgb 'white'", "svg"), ("png size 900,480 noenhanced", "png")):
        commands += [f"set terminal {kind}", f"set output '{directory}/register.{size}'", "plot " + ", ".join(lines)]
    return "\n".join(commands) + "\n"


def check(stock: Figures, series: Figures) -> None:
    rows = [row for row in series if row in stock and row.group not in CONTENTION and not row.what.startswith("floor")]
    results = [(f"{row.group} {row.what} {row.size}", min(series[row]) / min(stock[row]), goal(row) + slack(row)) for row in rows]
    results += [(f"{line.what} {line.size}", float(line.ratio), 1.15) for line in stuck(stock, series)]
    results += [(f"{line.group} {line.what} {line.size}", float(line.ratio), 0.02)
                for line in derived(stock, series) if line.goal == "0"]
    print(f"1..{len(results)}")
    for number, (name, ratio, limit) in enumerate(results, 1):
        print(f"{'ok' if ratio <= limit else 'not ok'} {number} {name}: {ratio:.4f}, at most {limit:.4f}")


def main() -> None:
    arguments = sys.argv[1:]
    checking = arguments[:1] == ["--check"]
    if len(arguments) != 1 + checking:
        sys.exit(__doc__)
    directory = Path(arguments[-1])
    stock, series, base = (read(directory, core) for core in ("stock", "bench", "unpatched"))
    if not stock or not series:
        sys.exit(f"error: no measurements in {directory}; see the consoles there")
    if checking:
        check(stock, series)
        return
    head = Line("", "what", "size", "unpatched", "stock", "series", "ratio", "goal", "floor", "spread")
    table = [head, *instructions(stock, series, base), *derived(stock, series), *reclaim(stock, series), *contention(stock, series), *memory(stock, series)]
    with open(directory / "table.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(table)
    widths = [max(len(line[column]) for line in table) for column in range(len(head))]
    text = "\n".join("  ".join(field.ljust(width) if column < 2 else field.rjust(width)
                               for column, (field, width) in enumerate(zip(line, widths))).rstrip() for line in table)
    (directory / "table.txt").write_text(
        "Instructions (ns of -icount shift=0), the least of all boots and repetitions; contention: see each; memory: bytes\n" + text + "\n", encoding="utf-8")
    (directory / "register.gnuplot").write_text(plot(directory, {"stock": stock, "series": series}), encoding="utf-8")


main()
