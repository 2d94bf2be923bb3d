#!/bin/bash
# Usage: test.sh
#
# Every test: the lab itself, the model, KUnit on UML and in the guest, the
# kselftests and stress in the guest, whether they notice a hook or a step that
# is switched off, and what it costs beside stock's core. The last line is
# `N passed, N failed, N skipped`, counted from what the tests printed.
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"
. "$here/results.sh"

build=$out/build/test
new_results "$out/test"

"$here/tools.sh" git base build boot python || exit
"$here/base.sh"
status=$?
report $status "the series applies to the base"
[ $status = 0 ] || finish
"$here/build.sh" test base test
status=$?
report $status "the patched kernel builds"
[ $status = 0 ] || finish

part lab 2 "$here/test-lab.sh"
part audit 1 "$here/test-audit.sh" "$out/linux"
part compile 3 "$here/compile.sh" x86-small
part model 4 "$here/model.sh"

selftest_files
guest kunit 120 'echo 1..1; echo ok 1 the guest runs commands'
parts+=("KUnit in the guest=$results/kunit.console")
for f in "$build"/selftests/*_test; do
	[ -f "$f" ] || continue
	guest "${f##*/}" 1200 "${f##*/}" -w "$(expected "${f##*/}")"
done
# Always the same seeds; `make stress` goes on from there.
guest mmu_notifier_stress 400 "mmu_notifier_stress -s 1 -n 6 -t 20"
part cost 1 "$here/test-cost.sh" "$build"
# What users apply has no switches: these are in a kernel of their own.
if time_for 11; then
	"$here/mutants-tree.sh" && SRC=$out/mutants-linux "$here/build.sh" mutants base test mutants
	status=$?
	report $status "the kernel with the mutants builds"
	[ $status != 0 ] || part mutants 6 "$here/mutants.py" --first "$out/mutants-linux" \
		"$out/build/mutants" "$build/selftests"
else
	no_time_for mutants
fi
part bench 15 "$here/bench.sh" --check

"$here/kunit.sh" --quiet
parts+=("KUnit on UML=$out/log/kunit-uml.ktap")
finish
