#!/bin/bash
# Usage: run.sh
#
# Builds the patched kernel with the new core and with stock's, boots both, and
# prints what mmu_notifier_report measured in the guests.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

"$here/tools.sh" git base build boot python
"$here/base.sh"
"$here/build.sh" test base test
"$here/build.sh" stock base stock

failed=0
mkdir -p "$out/run"
for core in test stock; do
	program=$out/build/$core/selftests/mmu_notifier_report
	[ -f "$program" ] || die "the series has no mmu_notifier_report"
	step "guest: report of the core '$core'" "$out/log/run-$core" \
		"$here/boot.sh" -t 300 -m 3072 -a init_on_free=1 -l "$out/run/$core" \
		-f "$program" "$out/build/$core" mmu_notifier_report || failed=1
done
version=$(git -C "$out/linux" log -1 --format=%s refs/lab/base)
# Kept for lab/figures.sh.
{
	echo "$version, x86-64, $(grep -qs 'Hypervisor detected: KVM' "$out/run/test.console" &&
		echo KVM || echo TCG), 2 CPUs, measured $(date -u '+%F %T') UTC"
	awk -F'\t' -f "$here/report.awk" stock="$out/run/stock.output" "$out/run/stock.output" "$out/run/test.output"
} >"$out/run/report" || failed=1
echo
cat "$out/run/report"
exit $failed
