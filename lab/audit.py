#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Hold a kernel tree against the tables of sites that change page tables, and of sections.

usage: lab/audit.py [--list | --hooks | --files] [--table FILE] TREE

A site is (file, function, primitive) with the number of its uses. Fails when

  - the source has a site, or a number of uses, that the table does not have;
  - the table has a site that the source does not have, unless a question mark
    says that only some 6.12.y have it;
  - a function calls the hook another number of times than its rows say, or
    a row names a function as the place of the hook that calls none;
  - a row without a hook gives no reason.

A section is started by mmu_notifier_invalidate_range_start(), or by a function whose
row in the table of sections says that its caller holds the lock. Fails when

  - the source uses one of these, in whatever directory, and the table does not say so,
    or says another number;
  - the table has a use, or a function, that the source does not have;
  - a row gives no lock, or no reason why it is enough.

Preprocessor conditions are not looked at: a site counts in every configuration.
"""

import argparse
import csv
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Iterator, NamedTuple

TABLE = "Documentation/mm/mmu_notifier_sites.rst"
DIRS = ("mm", "fs", "kernel", "virt", "include")
HOOK = "mmu_notifier_invalidate_page"

SECTIONS = "sections"  # the title of their table
SECTION_DIRS = ("arch", "block", "crypto", "drivers", "fs", "include", "init", "io_uring", "ipc", "kernel", "lib",
                "mm", "net", "samples", "security", "sound", "virt")
START = "mmu_notifier_invalidate_range_start"
# What starts a section wherever it is used. TTU_RMAP_LOCKED has try_to_unmap() and try_to_migrate() take no lock.
STARTERS = (START, START + "_nonblock", "__" + START, "__" + START + "_nonblock", "TTU_RMAP_LOCKED")
# The implementation and its KUnit tests are no users.
CORE = re.compile(r"(?:mm|include/linux)/(?:tests/)?mmu_\w*notifier\w*\.[ch]")
LOCK = r"(?:mmap(?: read| write)?|vma|i_mmap|rmap)"
LOCKS = re.compile(rf"caller|outer|none|{LOCK}(?: or {LOCK})*")
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


class Use(NamedTuple):
    file: str
    function: str
    starter: str


class Holds(NamedTuple):
    """A row of the table of sections."""
    files: list[str]
    functions: list[str]
    uses: Counter[str]
    lock: str
    line: int


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
        if not line.startswith('   "') or file == SECTIONS:
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


def braces(word: str) -> list[str]:
    """arch/{arm,csky}/mm/fault.c: as the shell expands it."""
    found = re.search(r"\{([^{}]*)\}", word)
    if not found:
        return [word]
    return [w for part in found[1].split(",") for w in braces(word[:found.start()] + part + word[found.end():])]


def read_sections(table: Path) -> tuple[list[Holds], list[str]]:
    """The rows of the table of sections, and what is wrong with them."""
    rows = []
    errors = []
    title = ""
    for number, line in enumerate(table.read_text().split("\n"), 1):
        begin = re.match(r"\.\. csv-table:: (\S+)", line)
        if begin:
            title = begin[1]
        if not line.startswith('   "') or title != SECTIONS:
            continue
        cells = next(csv.reader([line.strip()], skipinitialspace=True))
        if len(cells) != 5:
            errors.append(f"line {number}: {len(cells)} cells, not file, function, starts by, lock, reason")
            continue
        files, functions, starters, lock, reason = cells
        if not LOCKS.fullmatch(lock):
            errors.append(f"line {number}: no such lock: {lock}")
        if lock != "caller" and not reason:
            errors.append(f"line {number}: {functions}: no reason why the lock is enough")
        uses: Counter[str] = Counter()
        for use in starters.split(", "):
            name, _, count = use.partition(" ")
            uses[re.sub("^start", START, name)] += int(count or 1)
        rows.append(Holds(braces(files), functions.split(", "), uses, lock, number))
    if not rows:
        errors.append(f"no table of {SECTIONS}")
    return rows, errors


def scan_sections(tree: Path, rows: list[Holds]) -> Counter[Use]:
    """Every use of what starts a section: of the starters, and of functions that leave the lock to their caller."""
    homes: dict[str, set[str]] = {}
    for row in rows:
        if row.lock == "caller":
            for function in row.functions:
                homes.setdefault(function, set()).update(row.files)
    names = "|".join([*STARTERS, *homes])
    dirs = [d for d in SECTION_DIRS if (tree / d).is_dir()]
    grep = subprocess.run(["grep", "-rlwE", "--include=*.[ch]", names, *dirs], cwd=tree, text=True,
                          stdout=subprocess.PIPE, check=False)
    texts = {file: blank((tree / file).read_text(errors="replace")) for file in sorted(grep.stdout.split("\n")[:-1])}

    # A static function of a .c file can be used only there.
    shared = set(STARTERS) | {name for name, files in homes.items() if any(
        file.endswith(".h") or not re.search(rf"^static\b[^;{{}}()]*\b{name}\s*\(", texts.get(file, ""), re.MULTILINE)
        for file in files)}
    uses: Counter[Use] = Counter()
    for file, text in texts.items():
        if CORE.fullmatch(file):
            continue
        code = list(bodies(text))
        # Another function of the same name. (In a header it is the same one without some option.)
        own = {name for name, _, _ in code} if file.endswith(".c") else set()
        for function, body, _ in code:
            for word in re.finditer(rf"(?<![\w.>])(?:{names})\b(?!\s*:)", body):
                name = word[0]
                before = body[:word.start()].rstrip()
                if before.endswith("goto") or not function and before.endswith("("):  # a label; EXPORT_SYMBOL()
                    continue
                if file in homes.get(name, ()) or name in shared and name not in own:
                    uses[Use(file, function, name)] += 1
    return uses


def check_sections(uses: Counter[Use], rows: list[Holds]) -> list[str]:
    """What the source has and the table of sections has not, and the reverse."""
    errors = []
    claimed: dict[Use, Holds] = {}
    for row in rows:
        found: Counter[str] = Counter()
        idle = {(file, function) for file in row.files for function in row.functions}
        for file, function in sorted(idle):
            for name in row.uses:
                use = Use(file, function, name)
                if use in uses:
                    if use in claimed:
                        errors.append(f"{named_use(use)}: in lines {claimed[use].line} and {row.line} of the table")
                    claimed[use] = row
                    found[name] += uses[use]
                    idle.discard((file, function))
        for name in sorted(row.uses):
            if found[name] != row.uses[name]:
                errors.append(f"{row.files[0]}: {', '.join(row.functions)}: {name}: {found[name]} in the source, "
                              f"{row.uses[name]} in the table (line {row.line})")
        for file, function in sorted(idle):
            errors.append(f"{file}: {function}(): starts no section as in line {row.line} of the table")
    used = {use.starter for use in uses}
    for row in rows:
        for function in sorted(set(row.functions) - used if row.lock == "caller" else ()):
            errors.append(f"{row.files[0]}: {function}(): has no caller that holds the lock (line {row.line})")
    for use in sorted(uses.keys() - claimed.keys()):
        errors.append(f"{named_use(use)}: starts a section, not in the table")
    return errors


def named_use(use: Use) -> str:
    return f"{use.file}: {use.function}(): {use.starter}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("usage:")[0], epilog=__doc__.split("\n\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print every site and every hook, check nothing")
    parser.add_argument("--hooks", action="store_true", help="print where each hook is: FILE:LINE FUNCTION")
    parser.add_argument("--files", action="store_true", help="print the files that the tables name")
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
    holds, wrong = read_sections(table)
    if args.files:
        print(*sorted({site.file for site in rows} | {file for row in holds for file in row.files}), sep="\n")
        return 0
    errors += check(sites, hooks, rows) + wrong
    uses = scan_sections(args.tree, holds)
    errors += check_sections(uses, holds)
    for error in errors:
        print(f"audit: {error}", file=sys.stderr)
    if errors:
        print(f"audit: {len(errors)} errors", file=sys.stderr)
        return 1
    print(f"audit: {sum(sites.values())} uses in {len({s[:2] for s in sites})} functions, all known; "
          f"{sum(map(len, hooks.values()))} hooks; {sum(uses.values())} starts of sections in "
          f"{len({u[:2] for u in uses})} functions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
