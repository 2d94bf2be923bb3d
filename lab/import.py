#!/usr/bin/env python3
"""Usage: import.py TARBALL|- | git fast-import

Turns a tarball of a source tree into a stream for git fast-import: one commit
of its one top directory, on refs/lab/import. Much faster than to unpack 85 000
files only to have git read them again.
"""
import re
import sys
import tarfile
from typing import BinaryIO

# What a build leaves in a source tree; a build elsewhere refuses to start
# where it sees some of these.
LEFTOVERS = re.compile(
    r"(^|/)(\.git|\.config(\.old)?|\.tmp_[^/]*|vmlinux|[^/]*\.(o|a|ko|mod|mod\.c)|\.[^/]*\.cmd)(/|$)"
    r"|^include/(config|generated)/|^arch/[^/]+/include/generated/"
)


def data(out: BinaryIO, content: bytes) -> None:
    out.write(b"data %d\n" % len(content) + content + b"\n")


def convert(name: str, out: BinaryIO) -> None:
    out.write(b"commit refs/lab/import\ncommitter lab <lab@localhost> 1731801600 +0000\n")
    data(out, b"Linux")
    out.write(b"deleteall\n")
    top = None
    files = 0
    with tarfile.open(
        name=None if name == "-" else name, mode="r|*", fileobj=sys.stdin.buffer if name == "-" else None
    ) as tar:
        for member in tar:
            path = member.name.removeprefix("./")
            first, _, rest = path.partition("/")
            if member.type in (tarfile.XGLTYPE, tarfile.XHDTYPE) or not rest:
                continue
            if top not in (None, first):
                sys.exit(f"it must hold one directory, but has {top} and {first}")
            top = first
            if LEFTOVERS.search(rest):
                continue
            where = rest.encode(errors="surrogateescape")
            if member.issym():
                out.write(b"M 120000 inline " + where + b"\n")
                data(out, member.linkname.encode(errors="surrogateescape"))
            elif member.isfile():
                source = tar.extractfile(member)
                assert source is not None
                mode = b"100755" if member.mode & 0o100 else b"100644"
                out.write(b"M " + mode + b" inline " + where + b"\n")
                data(out, source.read())
            else:
                continue
            files += 1
    if not files:
        sys.exit("it holds no files")


def main() -> None:
    try:
        convert(sys.argv[1], sys.stdout.buffer)
    except (tarfile.TarError, OSError, EOFError) as error:
        sys.exit(str(error))


main()
