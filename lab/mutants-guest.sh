#!/bin/busybox sh
# shellcheck shell=dash
# Usage: mutants-guest.sh all|first PLAN
#
# In the guest, for mutants.py: runs tests as the lines of PLAN say: what to
# switch off (- for nothing), program, test. Prints of each
#
#   run MUTANT PROGRAM TEST
#   met NAME                   with nothing switched off: what it came by
#   pass|skip|fail CENTISECONDS
#
# and at last `end`. With `first`, what one test has caught no other one tries.
set -u
parameters=/sys/module/mmu_notifier/parameters

now() { tr -d . </proc/uptime | cut -d ' ' -f 1; }

caught=
while read -r mutant program test; do
	[ "$mutant" != "$caught" ] || continue
	echo "run $mutant $program $test"
	if [ "$mutant" = - ]; then
		echo >$parameters/met
	else
		echo "$mutant" >$parameters/mutant
	fi
	start=$(now)
	if ! "$program" -r "$test" >/tmp/log 2>&1; then
		verdict=fail
	elif grep -q '^ok .*# SKIP' /tmp/log; then
		verdict=skip
	else
		verdict=pass
	fi
	echo >$parameters/mutant
	[ "$mutant" != - ] || sed 's/^/met /' $parameters/met
	echo "$verdict $(($(now) - start))"
	[ $verdict = pass ] || sed 's/^/# /' /tmp/log
	[ "$1" != first ] || [ $verdict != fail ] || caught=$mutant
done <"$2"
echo end
