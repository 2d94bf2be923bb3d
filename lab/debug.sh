#!/bin/bash
# Usage: debug.sh KERNEL
#
# All kselftests, and KUnit, in a debug kernel: lab/config/KERNEL.config, one of
# lockdep, kasan, kcsan, rt, or any other fragment. None of them may report
# anything. KCSAN finds data races in Linux's own files as well, which are
# counted; in those of the series there may be none.
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"
. "$here/results.sh"

[ $# = 1 ] || die "usage: debug.sh KERNEL"
kernel=$1 build=$out/build/$1
"$here/tools.sh" git base build boot python || exit
"$here/base.sh" || exit
new_results "$out/debug-$kernel"

# races CONSOLE: those with a function of the series, and how many others
races() {
	nm "$build"/mm/mmu_*notifier*.o "$build"/lib/test_mmu_notifier.o "$build"/lib/test_mmu_users.o |
		awk '$2 ~ /^[tT]$/ { sub(/\..*/, "", $3); print $3 }' |
		LC_ALL=C sort -u >"$results/ours"
	tr -d '\r' <"$1" | sed -n 's/.*BUG: KCSAN: [a-z-]* in //p' |
		awk 'NR == FNR { ours[$1] = 1; next }
			{ race = $0; mine = 0; n = split($0, f, " / ")
			  for (i = 1; i <= n; i++) { sub(/[.+].*/, "", f[i]); mine += f[i] in ours }
			  if (mine) print race; else others++ }
			END { printf "# %d races in files of Linux alone\n", others }' "$results/ours" -
}

"$here/build.sh" "$kernel" base test "$kernel"
status=$?
report $status "the kernel builds"
[ $status = 0 ] || finish

selftest_files
# Where freed pages are poisoned already, zeroes would hide it.
[ "$kernel" != kasan ] || kernel_args='page_poison=1'
guest kunit 600 'echo 1..1; echo ok 1 the guest runs commands'
parts+=("KUnit=$results/kunit.console")
for f in "$build"/selftests/*_test "mmu_notifier_stress -s 1 -n 3 -t 30"; do
	command=${f##*/}
	program=${command%% *} allow=$(expected "$program")
	[ "$kernel" != kcsan ] || allow+='|KCSAN'
	guest "$program" 2400 "$command" -w "$allow"
	[ "$kernel" = kcsan ] || continue
	races "$results/$program.console" | tee "$results/$program.races" >&2
	! grep -q '^[^#]' "$results/$program.races"
	report $? "no race in the series under $program"
done
finish
