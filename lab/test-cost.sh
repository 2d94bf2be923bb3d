#!/bin/bash
# Usage: test-cost.sh BUILD
#
# mmu_notifier_cost_test where the guest's clock counts its instructions
# (-icount, one CPU, no KVM): times are exact, and may not differ by more than
# what interrupts cost. Prints the test's TAP.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

[ $# = 1 ] || die "usage: test-cost.sh BUILD"
LAB_NO_KVM=1 exec "$here/boot.sh" -t 240 -s 1 -q '-icount shift=0,sleep=off' -l "$out/test-cost/boot" \
	-f "$1/selftests/mmu_notifier_cost_test" "$1" MN_TOLERANCE=2 mmu_notifier_cost_test
