#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Hold a kernel tree against the table of sites that change page tables.

usage: lab/audit.py [--list | --hooks] [--table FILE] TREE

A site is (file, function, primitive) with the number of its uses. Fails when

  - the source has a site, or a number of uses, that the table does not have;
  - the table has a site that the source does not have, unless a question mark
    says that only some 6.12.y have it;
  - a function calls the hook another number of times than its rows say, or
    a row names a function as the place of the hook that calls none;
  - a row without a hook gives no reason.

Preprocessor conditions are not looked at: a site counts in every configuration.
"""

import argparse
import csv
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Iterator, NamedTuple

TABLE = "Documentation/mm/mmu_notifier_sites.rst"
DIRS = ("mm", "fs", "kernel", "virt", "include")
HOOK = "mmu_notifier_invalidate_page"
KINDS = "absent|relaxed|young|same|table|announced|corrupt|kernel|wrapper"

# What can change an entry. Written as families, so that a primitive that a later kernel adds
# (as modify_prot_start_ptes() was) is found without its name being known here.
LEVEL = r"(?:pte|pmd|pud|p4d|pgd)"
CHANGES = re.compile(
    rf"""(?:
      set_{LEVEL}(?:_at|_safe)? | set_ptes | set_pmds | set_puds | set_huge_{LEVEL}_at
    | (?:huge_)?{LEVEL}p_\w+
    | (?:huge_)?{LEVEL}_clear(?:_bad|_huge|_full|_not_present_full)?
    | {LEVEL}_(?:populate|install)\w*
    | (?!vms_)(?:\w+_)?(?:get_and_clear|clear|wrprotect|mkold|young|dirty)_(?:\w+_)?(?:ptes|pmds)(?:_\w+)?
    | \w*modify_prot\w*
    | \w*{LEVEL}s?_\w*(?:get_and_clear|clear_flush|collapse|unshare)\w*
    )""",
    re.VERBOSE,
)
# Of these, what only reads an entry, and the names of tests. (*_none_or_clear_bad() is not among
# them: what it clears is corrupt.)
READS = re.compile(rf"(?:huge_)?{LEVEL}p_(?:get|get_lockless\w*|lockptr)|\w+_tests|ptep_lockptr")


class Site(NamedTuple):
    file: str
    function: str
    primitive: str


class Row(NamedTuple):
    count: int
    verdict: str
    line: int
    sometimes: bool  # not in every 6.12.y


def blank(text: str) -> str:
    """Comments and literals become spaces; newlines stay, so offsets and lines hold."""
    pattern = r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.DOTALL)


def bodies(text: str) -> Iterator[tuple[str, str, int]]:
    """(name, code, line) of each function and macro; '' for code outside both."""
    lines = text.split("\n")
    head: list[str] = []  # what a function's name and arguments may be among
    i = 0
    while i < len(lines):
        line = lines[i]
        i += 1
        number = i
        if line.startswith("#"):
            while line.endswith("\\") and i < len(lines):
                line += "\n" + lines[i]
                i += 1
            macro = re.match(r"#\s*define\s+(\w+)(?:\([^)]*\))?(.*)", line, re.DOTALL)
            if macro:
                yield macro[1], macro[2], number
        elif "{" in line and not line.startswith((" ", "\t", "}")):
            # A body: until a brace in the first column, or all on the line of the head.
            before, _, rest = line.partition("{")
            head.append(before)
            name = named(" ".join(head))
            yield "", outside(" ".join(head), name), number
            body = [rest]
            while rest.count("}") <= rest.count("{") and i < len(lines) and not lines[i].startswith("}"):
                body.append(lines[i])
                i += 1
            yield name, "\n".join(body), number
            head = []
        else:
            head.append(line)
            if line.rstrip().endswith((";", "}")):
                whole = " ".join(head)
                yield "", outside(whole, named(whole)), number
                head = []


def named(head: str) -> str:
    """The function's name in 'static inline int name(args)'."""
    head = re.sub(r"__attribute__\s*\(\(.*?\)\)|__(?:acquires|releases|must_hold)\s*\([^)]*\)", " ", head)
    names = re.findall(r"(\w+)\s*\(", head)
    return names[0] if names else ""


def outside(head: str, name: str) -> str:
    """A declaration without the name that it declares: that is no use of it."""
    return re.sub(rf"\b{name}\s*\(", "(", head, count=1) if name else head


Hooks = dict[tuple[str, str], list[int]]


def scan(tree: Path) -> tuple[Counter[Site], Hooks]:
    """Every use of a primitive, and the lines of the hook's calls by (file, function)."""
    sites: Counter[Site] = Counter()
    hooks: Hooks = {}
    for path in sorted(p for d in DIRS for p in (tree / d).rglob("*.[ch]")):
        file = path.relative_to(tree).as_posix()
        text = path.read_text(errors="replace")
        if not re.search(r"p(?:te|md|ud|4d|gd)", text):
            continue
        for function, code, number in bodies(blank(text)):
            for call in re.finditer(r"\b(\w+)\s*\(", code):
                word = call[1]
                if word == HOOK:
                    line = number + code.count("\n", 0, call.start())
                    hooks.setdefault((file, function), []).append(line)
                elif CHANGES.fullmatch(word) and not READS.fullmatch(word):
                    sites[Site(file, function, word)] += 1
    return sites, hooks


def read(table: Path) -> tuple[dict[Site, Row], list[str]]:
    """The rows of the csv-tables, one for each primitive, and what is wrong with them."""
    rows: dict[Site, Row] = {}
    errors = []
    file = ""
    for number, line in enumerate(table.read_text().split("\n"), 1):
        title = re.match(r"\.\. csv-table:: (\S+)", line)
        if title:
            file = title[1]
        if not line.startswith('   "'):
            continue
        cells = next(csv.reader([line.strip()], skipinitialspace=True))
        if len(cells) != 4:
            errors.append(f"line {number}: {len(cells)} cells, not function, primitives, verdict, reason")
            continue
        function, primitives, verdict, reason = cells
        if not re.fullmatch(r"no hook|hooked \d+|hooked in \S+", verdict):
            errors.append(f"line {number}: no such verdict: {verdict}")
        if verdict == "no hook" and not re.match(rf"(?:{KINDS})\b", reason):
            errors.append(f"line {number}: {function}: a reason starts with its kind: {reason}")
        for primitive in primitives.split(", "):
            name, _, count = primitive.partition(" ")
            site = Site(file, function, name.removesuffix("?"))
            if site in rows:
                errors.append(f"line {number}: {named_site(site)} is in line {rows[site].line} already")
            rows[site] = Row(int(count or 1), verdict, number, name.endswith("?"))
    return rows, errors


def named_site(site: Site) -> str:
    return f"{site.file}: {site.function}(): {site.primitive}()"


def check(sites: Counter[Site], hooks: Hooks, rows: dict[Site, Row]) -> list[str]:
    """What the source has and the table has not, and the reverse."""
    errors = []
    for site, count in sorted(sites.items()):
        if site not in rows:
            errors.append(f"{named_site(site)}: not in the table")
        elif count != rows[site].count:
            errors.append(f"{named_site(site)}: {count} in the source, {rows[site].count} in the table")
    for site in sorted(site for site in rows.keys() - sites.keys() if not rows[site].sometimes):
        errors.append(f"{named_site(site)}: gone from the source (line {rows[site].line} of the table)")

    claimed: dict[tuple[str, str], int] = {}
    for site, row in rows.items():
        counted = re.fullmatch(r"hooked (\d+)", row.verdict)
        elsewhere = re.fullmatch(r"hooked in (?:(\S+):)?(\w+)", row.verdict)
        if counted:
            claimed[site.file, site.function] = int(counted[1])
        elif elsewhere and (elsewhere[1] or site.file, elsewhere[2]) not in hooks:
            errors.append(f"{named_site(site)}: {row.verdict}, which calls no hook (line {row.line})")
    for file, function in sorted(claimed.keys() | hooks.keys()):
        want, have = claimed.get((file, function), 0), len(hooks.get((file, function), []))
        # Who is named by "hooked in" need not change an entry itself.
        if not want and any(
            row.verdict in (f"hooked in {function}", f"hooked in {file}:{function}") for row in rows.values()
        ):
            continue
        if want != have:
            errors.append(f"{file}: {function}(): calls the hook {have} times, the table says {want}")
    return errors


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("usage:")[0], epilog=__doc__.split("\n\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print every site and every hook, check nothing")
    parser.add_argument("--hooks", action="store_true", help="print where each hook is: FILE:LINE FUNCTION")
    parser.add_argument("--table", type=Path, help=f"default: TREE/{TABLE}")
    parser.add_argument("tree", type=Path, help="a kernel with the series applied")
    args = parser.parse_args()

    sites, hooks = scan(args.tree)
    if args.list:
        for site, count in sorted(sites.items()):
            print(*site, count)
        for (file, function), lines in sorted(hooks.items()):
            print(file, function, HOOK, len(lines))
        return 0
    if args.hooks:
        for (file, function), lines in hooks.items():
            for line in lines:
                print(f"{file}:{line} {function}")
        return 0
    table = args.table or args.tree / TABLE
    if not table.is_file():
        print(f"audit: no table: {table}", file=sys.stderr)
        return 2
    rows, errors = read(table)
    errors += check(sites, hooks, rows)
    for error in errors:
        print(f"audit: {error}", file=sys.stderr)
    if errors:
        print(f"audit: {len(errors)} errors", file=sys.stderr)
        return 1
    print(f"audit: {sum(sites.values())} uses in {len({s[:2] for s in sites})} functions, all known; "
          f"{sum(map(len, hooks.values()))} hooks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
