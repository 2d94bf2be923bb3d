#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""usage: clients.py FOLDER GROUP...

Compares what the programs of clients.list said on stock's core, in
FOLDER/stock-GROUP.output, with FOLDER/series-GROUP.output, and prints one table.
Fails if anything that passes on stock does not pass on the series. A program
that prints no TAP counts as one test: its exit status says what it was.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ktap import RESULT, Counts, count

SKIP = 4  # a kselftest's exit status


@dataclass
class Run:
    counts: Counts
    seconds: float
    reason: str  # what it said last of why it was skipped
    tries: int = 1  # how often it ran, as the last of which counts


def judge(program: str, text: str, status: int) -> Counts:
    if any(RESULT.match(line) for line in text.splitlines()):
        counts = count(program, text)
        if status not in (0, SKIP) and not counts.failures:
            counts.failures.append(f"{program}: exit status {status}")
        return counts
    counts = Counts()
    if status == 0:
        counts.passed = 1
    elif status == SKIP:
        counts.skipped = 1
        counts.skips.append(program)
    else:
        counts.failures.append(f"{program}: exit status {status}")
    return counts


def runs(path: Path) -> dict[str, Run]:
    found: dict[str, Run] = {}
    output = path.read_text(errors="replace").replace("\r", "") if path.exists() else ""
    for block in re.split(r"^begin ", output, flags=re.MULTILINE)[1:]:
        program, _, text = block.partition("\n")
        end = re.search(r"^end (\d+) (\d+)$", text, re.MULTILINE)
        if end:
            counts = judge(program, text[:end.start()], int(end[1]))
        else:
            counts = Counts(failures=[f"{program}: the guest did not come to its end"])
        why = [line.strip() for line in text.splitlines() if re.search("skip|not met|required", line, re.IGNORECASE)]
        tries = found[program].tries + 1 if program in found else 1
        found[program] = Run(counts, int(end[2]) / 100 if end else 0, why[-1] if why else "", tries)
    return found


def total(counts: list[Counts]) -> str:
    return f"{sum(c.passed for c in counts)}/{sum(len(c.failures) for c in counts)}/{sum(c.skipped for c in counts)}"


def text(run: Run | None) -> str:
    if run is None:
        return "-"
    return total([run.counts]) + (f" x{run.tries}" if run.tries > 1 else "")


def worse(stock: Run, series: Run | None) -> list[str]:
    """What passed on stock and does not on the series."""
    if series is None:
        return ["was not run"]
    known = stock.counts.failures + stock.counts.skips
    lost = [line for line in series.counts.failures + series.counts.skips if line not in known]
    if series.counts.passed < stock.counts.passed and not lost:
        lost.append(f"{stock.counts.passed - series.counts.passed} results are missing")
    return lost if stock.counts.passed else []


def main() -> int:
    folder, groups = Path(sys.argv[1]), sys.argv[2:]
    lost: list[str] = []
    fails: list[str] = []
    skips: list[str] = []
    passed = 0
    print(f"{'program (passed/failed/skipped xtries)':<46} {'stock':>11} {'series':>11} {'s':>7}")
    totals = []
    for group in groups:
        stock, series = (runs(folder / f"{core}-{group}.output") for core in ("stock", "series"))
        if not stock:
            lost.append(f"{group}: nothing ran on stock")
        sums = [total([run.counts for run in core.values()]) for core in (stock, series)]
        totals.append(f"{group + f', {len(stock)} programs':<46} {sums[0]:>11} {sums[1]:>11}")
        for program, run in stock.items():
            other = series.get(program)
            print(f"{group + ' ' + program:<46.46} {text(run):>11} {text(other):>11} "
                  f"{other.seconds if other else 0:>7.1f}")
            passed += run.counts.passed
            lost += [f"{program}: {line}" for line in worse(run, other)]
            fails += run.counts.failures
            if run.counts.skipped and not run.counts.passed:
                skips.append(f"{program}: {run.reason}")
    print("", *totals, sep="\n")
    for title, lines in (("skipped on stock", skips), ("fails on stock", fails), ("LOST on the series", lost)):
        for line in lines:
            print(f"  {title}: {line}"[:160])
    print(f"{passed} pass on stock, {len(lost)} of them lost on the series")
    return 1 if lost or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
