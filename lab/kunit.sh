#!/bin/bash
# Usage: kunit.sh
#
# Runs the KUnit suites with the base's own kunit.py on UML, and leaves their
# KTAP in out/log/kunit-uml.ktap.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

"$here/tools.sh" build python
ktap=$out/log/kunit-uml.ktap
mkdir -p "$out/build/kunit"
kunit() {
	(cd "$out/linux" && ./tools/testing/kunit/kunit.py run --build_dir="$out/build/kunit" \
		--kunitconfig="$here/config/kunit.config" --jobs="$jobs" --timeout=300 \
		--raw_output=kunit) >"$ktap" || { cat "$ktap"; return 1; }
}
# A failed test is counted from the KTAP; here only a kernel that did not run.
step "KUnit on UML: build and run" "$out/log/kunit-uml" kunit || true
[ "${1:-}" = --quiet ] || "$here/ktap.py" "KUnit on UML=$ktap"
