#!/bin/bash
# Usage: model.sh
#
# Checks the model of registration (lab/model/) with spin, in TAP: each scenario
# must be free of errors, and with one step of the protocol removed (-D) it must
# fail. A search that was cut off proves nothing and fails either way.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

"$here/tools.sh" model
work=$out/model failed=0 n=0
rm -rf "$work"
mkdir -p "$work"

# check ok|broken FLAG...
check() {
	local want=$1 dir result states
	shift
	n=$((n + 1)) dir=$work/$n
	mkdir -p "$dir"
	(cd "$dir" && spin "${@/#/-D}" -a "$here/model/list.pml" >spin.log 2>&1 &&
		gcc -O0 -w -DSAFETY -DCOLLAPSE -DMEMLIM=2000 -o pan pan.c &&
		./pan -m100000 >pan.log 2>&1) || true
	states=$(awk '/states, stored/ { print $1 }' "$dir/pan.log" 2>/dev/null || true)
	if grep -qE 'max search depth too small|MEMLIM|out of memory' "$dir/pan.log" || [ -z "$states" ]; then
		result='cut off'
	elif grep -q 'errors: 0' "$dir/pan.log"; then
		result=ok
	else
		result=broken
	fi
	if [ "$result" = "$want" ]; then printf 'ok'; else printf 'not ok'; failed=1; fi
	printf ' %d %s: %s, %s states\n' "$n" "$*" "$result" "${states:-no}"
}

for scenario in PROCESS_LOCKS RMAP_LOCKS NESTED SLEEPERS TWO_DRIVERS LATE_ANON NEWCOMER FAILS TEARDOWN; do
	check ok "$scenario"
done
check ok RMAP_LOCKS LOCKED
check ok RMAP_LOCKS WEAK
check ok NEWCOMER WEAK

while read -r flags; do
	read -r -a flags <<<"$flags"
	check broken "${flags[@]}"
done <<'MUTANTS'
PROCESS_LOCKS NO_MMAP_LOCK
PROCESS_LOCKS NO_VMA_DRAIN
RMAP_LOCKS NO_FILE_DRAIN
RMAP_LOCKS NO_ANON_DRAIN
RMAP_LOCKS LOCKED NO_BARRIER
RMAP_LOCKS PUBLISH_AFTER_DRAIN
RMAP_LOCKS DRAIN_BY_READING
RMAP_LOCKS WEAK LOOK_ON_WEAK
NEWCOMER USERS_BEFORE_PUBLISH
NEWCOMER WEAK RELAXED_MMGET
TWO_DRIVERS NO_EPOCH_AT_START
TWO_DRIVERS NO_EPOCH_AT_END
RMAP_LOCKS EPOCH_FIRST
RMAP_LOCKS WEAK NO_EPOCH_RELEASE
TEARDOWN NO_SRCU_IN_UNREGISTER
FAILS NO_UNPUBLISH
MUTANTS
echo "1..$n"
exit "$failed"
