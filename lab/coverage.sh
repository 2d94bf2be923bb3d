#!/bin/bash
# Usage: coverage.sh
#
# All kselftests and KUnit in a kernel whose allocations can be made to fail
# (lab/config/faults.config). After each program kmemleak looks for memory that
# nobody refers to any more. gcov counts the lines and branches of the core that
# ran, lcov adds them up over the programs, and coverage.py judges the sum.
# What lcov makes of it is left in out/coverage/: total.info, and html/.
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"
. "$here/results.sh"

build=$out/build/faults
"$here/tools.sh" git base build boot python coverage || exit
"$here/base.sh" || exit
new_results "$out/coverage"

"$here/build.sh" faults base test faults
status=$?
report $status "the kernel builds"
[ $status = 0 ] || finish

# In the guest, after the program: kmemleak looks at what is older than 5 s.
# shellcheck disable=SC2016 # expanded in the guest
after='status=$?
leaks=/sys/kernel/debug/kmemleak
for i in 1 2; do sleep 6; echo scan >$leaks; done
cat $leaks
for f in $(find /sys/kernel/debug/gcov -name "mmu_*notifier*.gcda"); do
	echo "gcda ${f##*/}"
	base64 $f
	echo "gcda end"
done
exit $status'

# Not counted are the branches that Linux's own macros bring along: what cannot happen
# is not made to happen (WARN), and what an unlock or a wait checks is tested elsewhere.
macros='mn_called|WARN|trace_mmu_notifier|srcu_read_unlock|wait_var_event|DEFINE_SEQ_ATTRIBUTE'
lcov() {
	command lcov --quiet --rc lcov_branch_coverage=1 \
		--rc lcov_excl_br_line="LCOV_EXCL_BR_LINE|$macros" "$@"
}

# counts NAME: what lcov makes of the counts that the guest printed
counts() {
	local dir=$results/gcov-$1 name data
	mkdir -p "$dir"
	cp "$build"/mm/mmu_*notifier*.gcno "$dir"
	while read -r name data; do
		base64 -d <<<"${data// /$'\n'}" >"$dir/$name"
	done < <(tr -d '\r' <"$results/$1.output" | awk '
		/^gcda end$/ { if (on) print name, data; on = 0 }
		on { data = data " " $0 }
		/^gcda [^ ]*gcda$/ { on = 1; name = $2; data = "" }')
	lcov --capture --directory "$dir" --base-directory "$build" --output-file "$dir/all.info" &&
		lcov --extract "$dir/all.info" '*/mm/mmu_*notifier*.c' --output-file "$results/$1.info"
}

selftest_files
guest kunit 300 "echo 1..1; echo ok 1 the guest runs commands; $after"
parts+=("KUnit=$results/kunit.console")
programs=(kunit)
for f in "$build"/selftests/*_test; do
	guest "${f##*/}" 1800 "${f##*/}; $after" -w "$(expected "${f##*/}")"
	programs+=("${f##*/}")
done

infos=()
for program in "${programs[@]}"; do
	step "lcov: $program" "$out/log/lcov-$program" counts "$program"
	report $? "gcov's counts of $program"
	infos+=(--add-tracefile "$results/$program.info")
done
step "lcov: total" "$out/log/lcov-total" lcov "${infos[@]}" --output-file "$results/total.info"
report $? "the sum of gcov's counts"
genhtml --quiet --branch-coverage --output-directory "$results/html" "$results/total.info" \
	>"$out/log/genhtml" 2>&1
"$here/coverage.py" "$results/total.info" "$here/uncovered" | tee "$results/coverage.tap"
parts+=("coverage=$results/coverage.tap")
finish
