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
work=$out/model
rm -rf "$work"
mkdir -p "$work"

# check NUMBER ok|broken FLAG...
check() {
	local n=$1 want=$2 dir=$work/$1 verdict='not ok' result states
	shift 2
	mkdir -p "$dir"
	(cd "$dir" && spin "${@/#/-D}" -a "$here/model/scenarios.pml" >spin.log 2>&1 &&
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
	[ "$result" != "$want" ] || verdict=ok
	printf '%s %d %s: %s, %s states\n' "$verdict" "$n" "$*" "$result" "${states:-no}"
}

checks() {
	local scenario

	# Each with callbacks that may refuse, and with registration by a caller
	# that keeps mmap_lock; on x86 and on a machine of weak memory.
	for scenario in PROCESS_LOCKS RMAP_LOCKS NESTED SLEEPERS TWO_DRIVERS LATE_ANON \
		NEWCOMER FAILS TEARDOWN EXIT_TWICE PAGES_ONLY PAGES_AND_RANGES PAGES_TEARDOWN \
		INTERVAL INTERVAL_ANON TWO_INTERVALS LIST_AND_INTERVAL PASSING_INTERVAL \
		INTERVAL_FAILS INTERVAL_TEARDOWN; do
		echo "ok $scenario NONBLOCK"
		echo "ok $scenario LOCKED"
		echo "ok $scenario WEAK"
	done
	sed 's/^/broken /' <<'MUTANTS'
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
RMAP_LOCKS NO_EPOCH_ACQUIRE
RMAP_LOCKS WEAK NO_EPOCH_RELEASE
TWO_DRIVERS NONBLOCK NO_END_ON_REFUSAL
TWO_DRIVERS NONBLOCK END_ALL_ON_REFUSAL
TWO_DRIVERS NONBLOCK LIST_ADD_TAIL
TEARDOWN NO_SRCU_IN_UNREGISTER
TEARDOWN RELEASE_AFTER_DEL
EXIT_TWICE NO_SRCU_IN_RELEASE
FAILS NO_UNPUBLISH
FAILS NO_SRCU_IN_UNPUBLISH
PAGES_ONLY HOOK_BEFORE_PTL
PAGES_ONLY LOOK_WITHOUT_PTL
PAGES_ONLY NO_SRCU_IN_UNREGISTER
INTERVAL NO_INTERVAL_DRAIN
INTERVAL NO_VMA_DRAIN
INTERVAL NO_FILE_DRAIN
INTERVAL_ANON NO_ANON_DRAIN
INTERVAL LOCKED NO_BARRIER
INTERVAL WEAK LOOK_ON_WEAK
TWO_INTERVALS BORN_IS_DRAINED
INTERVAL NO_EPOCH_AT_END
INTERVAL NO_EPOCH_ACQUIRE
INTERVAL WEAK NO_EPOCH_RELEASE
LIST_AND_INTERVAL NONBLOCK NO_ITREE_END_ON_REFUSAL
INTERVAL_FAILS BORN_IS_DRAINED
INTERVAL NO_SEQ_AT_INSERT
INTERVAL NO_WAIT_IN_BEGIN
INTERVAL NO_RETRY
INTERVAL NO_WAITING
PASSING_INTERVAL NO_DEFER
PASSING_INTERVAL NO_WAIT_IN_REMOVE
MUTANTS
}

export -f check
export work here
checks | nl -w 1 -s ' ' | xargs -P "$jobs" -L 1 bash -c 'check "$@"' model | tee "$work/results"
echo "1..$(checks | wc -l)"
! grep -q '^not ok' "$work/results"
