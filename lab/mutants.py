#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Switch off one hook, or one step of a protocol, at a time: does a test notice?

usage: lab/mutants.py [--first] [--only REGEX] TREE BUILD PROGRAMS

TREE is the series with its mutants (lab/mutants-tree.sh), BUILD what was built of
it with CONFIG_MMU_NOTIFIER_MUTANTS, PROGRAMS the folder of the series' kselftests.
In one guest every test runs as it should and tells what it came by; in the next
each of these is switched off in turn, and the tests that came by it run again.
Prints TAP: a result for each hook and step, and the tests that caught it. With
--first, a mutant that was caught is done with.

What no test comes by fails, unless the kernel does not contain it: a hook's
name is a string in vmlinux if the compiler kept the call. The kernel may know a
hook by a longer path than the source does.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterator, NamedTuple

LAB = Path(__file__).resolve().parent
# The tests that watch single mappings, and those of the steps of registration.
PROGRAMS = {
    "mmu_notifier_test": r"(event|huge)\.gru\.|driver\.",
    "mmu_notifier_fault_test": r"",
    "mmu_notifier_register_test": r"draining\.|overlapping\.|registering\.start_refused",
    "mmu_notifier_users_test": r"user\.two_",
}
# Functions that have a hook and are only called by one which nothing calls in
# some 6.12.y; where something does, a test has to come by.
UNCALLED = {"__discard_anon_folio_pmd_locked": "unmap_huge_pmd_locked"}
BOOTS = 10  # a mutant may bring the guest down


class Test(NamedTuple):
    program: str
    name: str


class Run(NamedTuple):
    mutant: str
    test: Test
    verdict: str  # pass, skip, fail, crash
    time: int
    met: list[str]
    log: list[str]


def hooks(tree: Path) -> dict[str, str]:
    """Every hook in the source: its name and the function it is in."""
    lines = subprocess.run([LAB / "audit.py", "--hooks", tree], check=True, capture_output=True, text=True).stdout
    return dict(line.split(" ", 1) for line in lines.splitlines())


def steps(tree: Path) -> dict[str, str]:
    """Every other mutant: its name and the file that it is in."""
    found = {}
    for path in sorted((tree / "mm").glob("mmu_*notifier*.c")):
        for name in re.findall(r'mmu_notifier_mutant\("(\w+)"\)', path.read_text()):
            found[name] = f"mm/{path.name}"
    return found


def uncalled(tree: Path, place: str) -> str:
    """The function without a caller by which alone a hook's function is reached, or nothing."""
    name = UNCALLED.get(place, "")
    calls = sum(len(re.findall(rf"\b{name}\(", path.read_text())) for path in (tree / "mm").glob("*.c")) if name else 2
    return name if calls == 1 else ""


def listed(program: Path) -> Iterator[str]:
    """The tests of a program, from the columns of its -l: fixtures, and beside each its variants and its tests."""
    table = subprocess.run([program, "-l"], capture_output=True, text=True).stderr
    for block in re.split(r"\n-+\n", table.split("\n", 1)[1]):
        rows = [(line[:20].strip(), line[21:46].strip(), line[47:].strip()) for line in block.splitlines()]
        fixture = rows[0][0]
        for variant in [row[1] for row in rows if row[1]] or [""]:
            yield from (".".join(filter(None, (fixture, variant, row[2]))) for row in rows if row[2])


def boot(args: argparse.Namespace, log: Path, mode: str, plan: list[tuple[str, Test]]) -> list[Run]:
    """What a guest says of PLAN; if it dies, what it was at then is the last."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.writelines(f"{mutant} {test.program} {test.name}\n" for mutant, test in plan)
        file.flush()
        programs = [arg for name in PROGRAMS for arg in ("-f", args.programs / name)]
        # A kernel without a hook has every reason to complain.
        subprocess.run(
            [LAB / "boot.sh", "-t", "5400", "-m", "3072", "-a", "init_on_free=1", "-l", log, "-w", ".", *programs,
             "-f", LAB / "mutants-guest.sh", "-f", f"{file.name}:plan", args.build,
             f"mutants-guest.sh {mode} /bin/plan"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return list(parse(Path(f"{log}.output").read_text(errors="replace").replace("\r", "")))


def parse(output: str) -> Iterator[Run]:
    for block in re.split(r"^run ", output, flags=re.MULTILINE)[1:]:
        lines = block.splitlines()
        head = lines[0].split()
        met = [line[4:] for line in lines if line.startswith("met ")]
        verdict = re.search(r"^(pass|skip|fail) (\d+)$", block, re.MULTILINE)
        yield Run(head[0], Test(*head[1:3]), verdict[1] if verdict else "crash", int(verdict[2]) if verdict else 0,
                  met, [line for line in lines if line.startswith("#")])


def run_all(args: argparse.Namespace, log: Path, mode: str, plan: list[tuple[str, Test]]) -> list[Run]:
    """As boot(), in as many guests as it takes."""
    runs: list[Run] = []
    for number in range(BOOTS):
        done = boot(args, Path(f"{log}-{number}"), mode, plan)
        if not done:
            break
        runs += done
        if done[-1].verdict != "crash":
            return runs
        # To hang again would take minutes, and show nothing new.
        plan = [(mutant, test) for mutant, test in plan[plan.index((done[-1].mutant, done[-1].test)) + 1:]
                if mutant == "-" or mutant != done[-1].mutant]
        if not plan:
            return runs
    sys.exit(f"error: guests do not come to their end, see {log}-*.console")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("usage:")[0], epilog=__doc__.split("\n\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", action="store_true", help="go on to the next mutant when one test caught it")
    parser.add_argument("--only", default="", help="only mutants whose name or function this matches")
    parser.add_argument("tree", type=Path)
    parser.add_argument("build", type=Path)
    parser.add_argument("programs", type=Path)
    args = parser.parse_args()

    log = args.build.parent.parent / "mutants"
    log.mkdir(parents=True, exist_ok=True)
    every = {**hooks(args.tree), **steps(args.tree)}
    where = {name: place for name, place in every.items() if re.search(args.only, f"{name} {place}")}
    image = (args.build / "vmlinux").read_bytes()
    built = {name for name in where if name.encode() + b"\0" in image}
    tests = [Test(program, name) for program, wanted in PROGRAMS.items()
             for name in listed(args.programs / program) if re.match(wanted, name)]

    print("TAP version 13", flush=True)
    sound = run_all(args, log / "sound", "all", [("-", test) for test in tests])
    failed = [run for run in sound if run.verdict in ("fail", "crash")]
    number = 0
    for run in failed:
        number += 1
        print(f"not ok {number} {run.test.name} with nothing switched off", *run.log, sep="\n")
    met = {name for run in sound for name in run.met}
    spelled = {short: name for name in met for short in every if name == short or name.endswith(f"/{short}")}
    unknown = met - set(spelled.values())
    if unknown:
        number += 1
        print(f"not ok {number} the source has no such hook: {' '.join(sorted(unknown))}")

    # The quickest first.
    good = sorted((run for run in sound if run.verdict == "pass"), key=lambda run: run.time)
    plan = [(spelled[name], run.test) for name in where if name in spelled
            for run in good if spelled[name] in run.met]
    runs = run_all(args, log / "mutant", "first" if args.first else "all", plan) if plan else []
    survivors = 0
    for name, place in where.items():
        number += 1
        mine = [run for run in runs if run.mutant == spelled.get(name)]
        caught = [run for run in mine if run.verdict in ("fail", "crash")]
        title = f"{number} {name} {place}"
        if name not in built:
            print(f"ok {title} # SKIP not reachable here: vmlinux does not contain it")
        elif not mine and uncalled(args.tree, place):
            print(f"ok {title} # SKIP not reachable here: nothing calls {uncalled(args.tree, place)}()")
        elif not mine:
            print(f"not ok {title}: no test comes by it")
        else:
            print(f"{'ok' if caught else 'not ok'} {title}: caught by {len(caught)} of {len(mine)}")
            for run in caught or mine:
                print(f"#   {run.test.name}{' (crash)' if run.verdict == 'crash' else ''}")
        survivors += name in built and not caught and not uncalled(args.tree, place)
    print(f"1..{number}")
    print(f"# {len(where)} mutants, {survivors} survived, {len(where.keys() - built)} not built; "
          f"{len(runs)} runs of {len(good)} tests")
    return 1 if survivors or failed or unknown else 0


if __name__ == "__main__":
    sys.exit(main())
