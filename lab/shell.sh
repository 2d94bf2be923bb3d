#!/bin/bash
# Usage: shell.sh NAME
#
# An interactive shell in the guest, with the tests in /bin.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

build=$out/build/$1
files=()
for f in "$build"/selftests/*; do files+=(-f "$f"); done
exec "$here/boot.sh" "${files[@]}" "$build"
