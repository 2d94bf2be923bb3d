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

# model FLAG...: the model with these, and without the processes that the
# scenario does not run, which would take most of the time to compile
model() {
	gcc -E -P -x c "${@/#/-D}" "$here/model/scenarios.pml" | awk '
		{
			line[NR] = rest = $0
			while (match(rest, /run [a-z_]+/)) {
				used[substr(rest, RSTART + 4, RLENGTH - 4)]
				rest = substr(rest, RSTART + RLENGTH)
			}
		}
		END {
			for (n = 1; n <= NR; n++) {
				if (match(line[n], /^proctype [a-z_]+/))
					skip = !(substr(line[n], 10, RLENGTH - 9) in used)
				if (!skip)
					print line[n]
				if (line[n] ~ /^}/)
					skip = 0
			}
		}'
}

# check NUMBER ok|broken FLAG...
check() {
	local n=$1 want=$2 dir=$work/$1 verdict='not ok' result states
	shift 2
	mkdir -p "$dir"
	(cd "$dir" && model "$@" >model.pml && spin -a model.pml >spin.log 2>&1 &&
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
	for scenario in PROCESS_LOCKS RMAP_LOCKS NESTED SLEEPERS TWO_DRIVERS KILLED_DRIVER \
		TRACKED RELEASE_LOCK LATE_ANON MUNMAP MREMAP GET GET_TRACKED TEARDOWN \
		EXIT_TWICE NEXT_MM PAGES_ONLY PAGES_AND_RANGES PAGES_TEARDOWN INTERVAL INTERVAL_TRACKED \
		TWO_INTERVALS LIST_AND_INTERVAL PASSING_INTERVAL INTERVAL_TEARDOWN; do
		echo "ok $scenario NONBLOCK"
		echo "ok $scenario LOCKED"
		echo "ok $scenario WEAK"
	done
	# Where a fatal signal may end a wait.
	for scenario in KILLED_DRIVER TWO_DRIVERS GET TWO_INTERVALS; do
		echo "ok $scenario KILLS"
		echo "ok $scenario KILLS LOCKED"
		echo "ok $scenario KILLS WEAK"
	done
	echo "ok LIST_AND_INTERVAL KILLS"
	echo "ok MUNMAP KILLS"
	# A release callback may wait for mmap_lock. The grace period of a killed
	# registration that keeps mmap_lock would wait for it, so that only a
	# registration into an empty list can be killed there.
	echo "ok RELEASE_LOCK KILLS"
	echo "ok RELEASE_LOCK KILLS WEAK"
	echo "ok RELEASE_LOCK KILLS LOCKED"
	# With looks at locks in a tracked mm, where they are taken to look.
	echo "ok TRACKED LOCKED WEAK"
	echo "ok INTERVAL_TRACKED LOCKED WEAK"
	sed 's/^/broken /' <<'MUTANTS'
PROCESS_LOCKS NO_MMAP_LOCK
PROCESS_LOCKS NO_VMA_DRAIN
RMAP_LOCKS NO_FILE_DRAIN
RMAP_LOCKS NO_ANON_DRAIN
RMAP_LOCKS LOCKED NO_BARRIER
RMAP_LOCKS PUBLISH_AFTER_DRAIN
RMAP_LOCKS DRAIN_BY_READING
RMAP_LOCKS WEAK LOOK_ON_WEAK
MUNMAP RETAKE_FOR_READ
MREMAP LINK_WITHOUT_LOCK
TWO_DRIVERS NO_EPOCH_AT_START
TWO_DRIVERS NO_EPOCH_AT_END
RMAP_LOCKS EPOCH_FIRST
RMAP_LOCKS NO_EPOCH_ACQUIRE
RMAP_LOCKS WEAK NO_EPOCH_RELEASE
RMAP_LOCKS WEAK NO_TRACK_ACQUIRE
RMAP_LOCKS WEAK NO_TRACK_RELEASE
TWO_DRIVERS NONBLOCK NO_END_ON_REFUSAL
TWO_DRIVERS NONBLOCK END_ALL_ON_REFUSAL
TWO_DRIVERS NONBLOCK LIST_ADD_TAIL
TWO_DRIVERS NONBLOCK NO_LEAVE_ON_REFUSAL
TRACKED NO_GRACE_PERIOD
TRACKED NO_READER_BARRIER
TRACKED LEAVE_AFTER_START
TRACKED LOCKED NO_VMA_DRAIN
TRACKED LOCKED NO_FILE_DRAIN
TRACKED LOCKED NO_BARRIER
RELEASE_LOCK LOCKED GRACE_PERIOD_WHEN_KEPT
RELEASE_LOCK KILLS LOCKED KILLED_BESIDE_OTHERS
KILLED_DRIVER KILLS NO_UNPUBLISH
KILLED_DRIVER KILLS NO_SRCU_IN_UNPUBLISH
KILLED_DRIVER KILLS FAILED_IS_DRAINED
KILLED_DRIVER KILLS WALK_UNTRACKED
GET GET_IS_DRAINED
GET_TRACKED GET_IS_DRAINED
GET KILLS NO_UNPUBLISH
GET KILLS NO_SRCU_IN_UNPUBLISH
GET KILLS KILLED_GET_FREES_FOR_ALL
GET NO_SRCU_IN_PUT
TEARDOWN NO_SRCU_IN_UNREGISTER
TEARDOWN RELEASE_AFTER_DEL
EXIT_TWICE NO_SRCU_IN_RELEASE
NEXT_MM DOMAIN_BACK_AT_RELEASE
PAGES_ONLY HOOK_BEFORE_PTL
PAGES_ONLY LOOK_WITHOUT_PTL
PAGES_ONLY NO_SRCU_IN_UNREGISTER
PAGES_ONLY DOMAIN_AFTER_PUBLISH
PAGES_ONLY WEAK NO_LIST_RELEASE
PAGES_AND_RANGES PAGES_ARE_DRAINED
INTERVAL NO_INTERVAL_DRAIN
INTERVAL NO_VMA_DRAIN
INTERVAL NO_FILE_DRAIN
INTERVAL LOCKED NO_BARRIER
INTERVAL WEAK LOOK_ON_WEAK
INTERVAL NO_COUNTED
INTERVAL_TRACKED NO_GRACE_PERIOD
INTERVAL_TRACKED NO_READER_BARRIER
INTERVAL_TRACKED LOCKED NO_ANON_DRAIN
INTERVAL_TRACKED LOCKED NO_BARRIER
TWO_INTERVALS PUBLISHED_IS_READY
TWO_INTERVALS KILLS NO_COUNTED
TWO_INTERVALS KILLS NO_RESET
TWO_INTERVALS KILLS RESET_BESIDE_OTHERS
LIST_AND_INTERVAL INTERVAL_IS_DRAINED
LIST_AND_INTERVAL NONBLOCK NO_ITREE_END_ON_REFUSAL
INTERVAL NO_SEQ_AT_INSERT
INTERVAL NO_WAIT_IN_BEGIN
INTERVAL NO_RETRY
INTERVAL NO_WAITING
PASSING_INTERVAL NO_DEFER
PASSING_INTERVAL NO_WAIT_IN_REMOVE
PASSING_INTERVAL NO_SEQ_AT_REMOVE
MUTANTS
}

export -f check model
export work here
checks | nl -w 1 -s ' ' | xargs -P "$jobs" -L 1 bash -c 'check "$@"' check | tee "$work/results"
echo "1..$(checks | wc -l)"
! grep -q '^not ok' "$work/results"
