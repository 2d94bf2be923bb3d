#!/usr/bin/env python3
"""Usage: coverage.py INFO LIST

Judges what lcov counted (INFO), and prints TAP. Of the lines 95 % have to be covered, of
the branches 90 %, and each line that is not has to be in LIST with the reason:

    FUNCTION: CODE -- REASON

A line in LIST that is covered, or is not there any more, fails as well, unless the
reason starts with "by chance".
"""
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

LINES, BRANCHES = 95.0, 90.0


@dataclass
class File:
    path: Path
    functions: dict[int, str] = field(default_factory=dict)  # by first line
    lines: dict[int, int] = field(default_factory=dict)
    branches: list[int] = field(default_factory=list)

    def function(self, line: int) -> str:
        first = max((n for n in self.functions if n <= line), default=0)
        return self.functions.get(first, "?")

    def uncovered(self) -> list[tuple[int, str]]:
        """Of each line that never ran: its number, and how LIST names it."""
        source = self.path.read_text(encoding="utf-8").splitlines()
        return [(n, f"{self.function(n)}: {source[n - 1].strip()}")
                for n, count in sorted(self.lines.items()) if not count]


def read_info(path: str) -> list[File]:
    files: list[File] = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        fields = value.split(",")
        if key == "SF":
            files.append(File(Path(value)))
        elif key == "FN":
            files[-1].functions[int(fields[0])] = fields[1]
        elif key == "DA":
            files[-1].lines[int(fields[0])] = int(fields[1])
        elif key == "BRDA":
            files[-1].branches.append(0 if fields[3] == "-" else int(fields[3]))
    return files


def read_list(path: str) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            code, separator, reason = line.rpartition(" -- ")
            if not separator:
                sys.exit(f"{path}: no reason: {line}")
            reasons[code.strip()] = reason.strip()
    return reasons


def percent(counts: list[int]) -> float:
    return 100.0 * sum(1 for n in counts if n) / len(counts) if counts else 0.0


class Tap:
    count = 0
    failed = False

    def result(self, good: bool, name: str) -> None:
        self.count += 1
        self.failed |= not good
        print(f"{'ok' if good else 'not ok'} {self.count} {name}")


def main() -> None:
    files = read_info(sys.argv[1])
    reasons = read_list(sys.argv[2])
    tap = Tap()
    for file in files:
        lines = list(file.lines.values())
        print(f"# {file.path.name}: {percent(lines):.1f} % of {len(lines)} lines, "
              f"{percent(file.branches):.1f} % of {len(file.branches)} branches")

    lines = [n for f in files for n in f.lines.values()]
    branches = [n for f in files for n in f.branches]
    tap.result(percent(lines) >= LINES, f"{percent(lines):.1f} % of {len(lines)} lines")
    tap.result(percent(branches) >= BRANCHES,
               f"{percent(branches):.1f} % of {len(branches)} branches")

    seen: set[str] = set()
    for file in files:
        for number, code in file.uncovered():
            seen.add(code)
            why = reasons.get(code)
            name = re.sub(r"#", "", f"{file.path.name} {number} {code}")
            tap.result(why is not None, f"{name}: {why or 'not covered, not in the list'}")
    for code in reasons:
        if code not in seen and not reasons[code].startswith("by chance"):
            tap.result(False, f"{code}: in the list, but covered or gone")
    print(f"1..{tap.count}")
    sys.exit(tap.failed)


main()
