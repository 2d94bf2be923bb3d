#!/usr/bin/env python3
"""Usage: ktap.py [FILE | NAME=FILE]...

Counts results in TAP or KTAP (the output of kselftests, of KUnit, a console log
that holds it) and prints `N passed, N failed, N skipped` as the last line, after
the failures. Only leaves count: a suite's line sums up what it holds. Tests
that were planned and gave no result, and a file without results or without a
plan (before them, or after), have failed.
"""
import re
import sys
from dataclasses import dataclass, field

STAMP = re.compile(r"^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
RESULT = re.compile(r"^(?P<indent> *)(?P<status>ok|not ok) (?P<number>\d+)(?: +-? ?(?P<name>[^#]*?))?(?: *#(?P<directive>.*))?$")
PLAN = re.compile(r"^(?P<indent> *)1\.\.(?P<count>\d+)(?: *# *SKIP(?P<why>.*))?")


@dataclass
class Counts:
    passed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)

    def text(self) -> str:
        return f"{self.passed} passed, {len(self.failures)} failed, {self.skipped} skipped"


def count(name: str, text: str) -> Counts:
    counts = Counts()
    results = plans = 0
    planned: dict[int, int] = {}  # by indentation: results that are still due
    ahead: dict[int, int] = {}  # by indentation: results whose plan comes last
    deeper: dict[int, bool] = {}  # by indentation: whether results lay below

    def lost(indent: int) -> None:
        for level in [n for n in planned if n >= indent]:
            due = planned.pop(level)
            counts.failures.extend([f"{name}: no result of a planned test"] * max(0, due))
        for level in [n for n in ahead if n >= indent]:
            del ahead[level]

    for raw in text.splitlines():
        line = STAMP.sub("", raw.rstrip("\r"))
        if plan := PLAN.match(line):
            indent = len(plan["indent"])
            plans += 1
            had = ahead.get(indent, 0)
            lost(indent)
            if plan["why"] is not None:
                counts.skipped += 1
                counts.skips.append(f"{name}:{plan['why']}")
                results += 1
            planned[indent] = int(plan["count"]) - had
        elif result := RESULT.match(line):
            indent = len(result["indent"])
            lost(indent + 1)
            results += 1
            if planned.get(indent, 0) > 0:
                planned[indent] -= 1
            else:
                ahead[indent] = ahead.get(indent, 0) + 1
            has_children = deeper.pop(indent, False)
            for level in [n for n in deeper if n > indent]:
                del deeper[level]
            for level in range(indent):
                deeper[level] = True
            title = f"{name}: {(result['name'] or result['number']).strip()}"
            directive = (result["directive"] or "").strip()
            if directive.upper().startswith("SKIP"):
                if not has_children:
                    counts.skipped += 1
                    counts.skips.append(f"{title} ({directive[4:].strip()})")
            elif result["status"] == "not ok":
                # A suite may fail by itself, although no test of it did.
                if not has_children or not any(f.startswith(name) for f in counts.failures):
                    counts.failures.append(title)
            elif not has_children:
                counts.passed += 1
    lost(0)
    if not results:
        counts.failures.append(f"{name}: no results")
    elif not plans:
        counts.failures.append(f"{name}: no plan, so it did not come to its end")
    return counts


def main() -> None:
    total = Counts()
    for arg in sys.argv[1:]:
        name, _, path = arg.rpartition("=")
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                one = count(name or path, file.read())
        except OSError as error:
            one = Counts(failures=[f"{name or path}: {error.strerror}"])
        print(f"  {name or path}: {one.text()}")
        total.passed += one.passed
        total.skipped += one.skipped
        total.failures += one.failures
        total.skips += one.skips
    for title, lines in (("skipped", total.skips), ("FAILED", total.failures)):
        for line in lines:
            print(f"  {title}: {line}")
    print(total.text())
    sys.exit(1 if total.failures else 0)


if __name__ == "__main__":
    main()
