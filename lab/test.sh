#!/bin/bash
# Usage: test.sh
#
# Every test: the lab itself, KUnit on UML and in the guest, the kselftests in
# the guest. The last line is `N passed, N failed, N skipped`, counted from
# what the tests printed.
#
# MINUTES=55 bounds it all: a part that would not end by then is skipped, and
# counted so.
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

begin=$SECONDS
results=$out/test build=$out/build/test
rm -rf "$results"
mkdir -p "$results"
steps=$results/steps.tap parts=()

# Steps that are no tests by themselves count as one: did it work?
report() { # STATUS NAME
	local n
	n=$(($(grep -c . "$steps" 2>/dev/null) + 1))
	if [ "$1" = 0 ]; then echo "ok $n $2"; else echo "not ok $n $2"; fi >>"$steps"
}

# part NAME MINUTES COMMAND...: a part that prints TAP, if there is time for it
part() {
	local name=$1 minutes=$2 tap=$results/$1.tap
	shift 2
	parts+=("$name=$tap")
	if [ $((SECONDS - begin + 60 * minutes)) -gt $((60 * ${MINUTES:-55})) ]; then
		echo "1..0 # SKIP no time left" >"$tap"
	else
		step "$name" "$out/log/$name" tap "$tap" "$@" || true
	fi
}

# Its TAP goes to a file, what else it says to the step's log.
tap() { # FILE COMMAND...
	local file=$1
	shift
	"$@" >"$file"
}

# One boot for each program: what one of them breaks cannot touch the next.
guest() { # NAME SECONDS COMMAND
	local log=$results/$1 status=0
	step "guest: $1" "$out/log/guest-$1" "$here/boot.sh" -t "$2" -l "$log" -m 3072 \
		-a init_on_free=1 "${files[@]}" "$build" "$3" || status=$?
	# A test that failed is counted from its results; a kernel that
	# complained, hung or died shows here.
	status=$(cat "$log.status" 2>/dev/null || echo 126)
	case $status in
	124 | 125 | 126) report 1 "the kernel under $1 (boot.sh: $status)" ;;
	*) report 0 "the kernel under $1" ;;
	esac
	parts+=("$1=$log.output")
}

finish() {
	[ ! -s "$steps" ] || parts=("steps=$steps" "${parts[@]}")
	echo "Results ($((SECONDS - begin)) s, logs in ${results#"$top/"}/ and ${out#"$top/"}/log/):"
	"$here/ktap.py" "${parts[@]}"
	exit
}

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

files=()
for f in "$build"/selftests/*; do files+=(-f "$f"); done
guest kunit 120 'echo ok 1 the guest runs commands'
parts+=("KUnit in the guest=$results/kunit.console")
for f in "$build"/selftests/*_test; do
	[ -f "$f" ] || continue
	guest "${f##*/}" 1200 "${f##*/}"
done
part cost 1 "$here/test-cost.sh" "$build"

"$here/kunit.sh" --quiet
parts+=("KUnit on UML=$out/log/kunit-uml.ktap")
finish
