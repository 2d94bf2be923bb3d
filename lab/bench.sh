#!/bin/bash
# Usage: bench.sh
#
# What MMU notifiers cost, in instructions: the same benchmark in a guest with
# stock's core and in one with the series', on one tree and one configuration.
# Writes out/bench/: table.txt, table.csv, and a plot of registration, as SVG and
# PNG. QEMU's -icount makes the guest's clock count instructions, on one CPU, so
# that a figure does not depend on what else this machine does.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

"$here/tools.sh" git base build boot python figures
"$here/base.sh"
"$here/build.sh" bench base bench
"$here/build.sh" stock base stock

dir=$out/bench
mkdir -p "$dir"
for core in stock bench; do
	for boot in 1 2; do
		step "guest: $core, boot $boot" "$out/log/bench-$core-$boot" env LAB_NO_KVM=1 "$here/boot.sh" \
			-t 900 -s 1 -m 3072 -q '-icount shift=0,sleep=off' -l "$dir/$core-$boot" \
			-f "$out/build/$core/selftests/mmu_notifier_bench" "$out/build/$core" mmu_notifier_bench
	done
done
"$here/bench.py" "$dir"
gnuplot "$dir/register.gnuplot"
cat "$dir/table.txt"
