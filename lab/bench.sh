#!/bin/bash
# Usage: bench.sh [--check]
#
# What MMU notifiers cost: the same benchmark in guests with stock's core and with
# the series', on one tree and one configuration, and, for what costs something
# without a subscriber too, with the unpatched base. Writes out/bench/: table.txt,
# table.csv, and a plot of registration, as SVG and PNG.
#
#   instructions  QEMU's -icount makes the guest's clock count instructions, on one
#                 CPU, so that a figure does not depend on what else goes on here
#   contention    in real time, on 2 CPUs and more: what others are held up by, or
#                 hold up; medians, and longest waits
#   memory        sizes of structures
#
# --check prints TAP instead: the figures in instructions that matter, each
# against the limit that lab/bench.py holds it to.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

dir=$out/bench${1:-}
guest() { # CORE LOG BOOT-OPTIONS -- ARGUMENTS
	local build=${1/#stock/bench-stock} log=$dir/$2 options=()
	shift 2
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	step "guest: ${log##*/}" "$out/log/bench-${log##*/}" env LAB_NO_KVM=1 "$here/boot.sh" -t 1200 -m 3072 -l "$log" \
		"${options[@]}" -f "$out/build/bench/selftests/mmu_notifier_bench" "$out/build/$build" mmu_notifier_bench "$@"
}
icount=(-s 1 -q '-icount shift=0,sleep=off')

# The structures' sizes under a core, as a module's symbols. Stock's subscriptions
# are defined where nobody can include them.
sizes() { # CORE
	local work=$dir/sizes-$1 s size name
	mkdir -p "$work"
	{
		printf '#include <linux/%s.h>\n' module mm_types mmu_notifier spinlock wait interval_tree
		if [ "$1" = stock ]; then
			sed -n '/^struct mmu_notifier_subscriptions {/,/^};/p' "$out/linux/mm/mmu_notifier_stock.c"
		else
			echo "#include \"$out/linux/mm/mmu_notifier_internal.h\""
		fi
		for s in mm_struct mmu_notifier_subscriptions mmu_notifier_range mmu_notifier mmu_interval_notifier; do
			echo "char size_of_${s}[sizeof(struct $s)];"
		done
		echo 'MODULE_LICENSE("GPL");'
	} >"$work/sizes.c"
	echo 'obj-m := sizes.o' >"$work/Makefile"
	make -s -C "$out/linux" O="$out/build/${1/#stock/bench-stock}" M="$work" sizes.o
	while read -r _ size _ name; do
		printf 'BENCH\tmemory\tstruct %s\t0\t%d\n' "${name#size_of_}" $((16#$size))
	done < <(nm -S "$work/sizes.o" | grep ' size_of_') >"$dir/$1-sizes.output"
	[ "$(wc -l <"$dir/$1-sizes.output")" = 5 ]
}

"$here/tools.sh" git base build boot python figures
"$here/base.sh"
"$here/build.sh" bench base jump-label bench
"$here/build.sh" bench-stock base jump-label stock
rm -rf "$dir"
mkdir -p "$dir"

if [ "${1:-}" = --check ]; then
	for boot in 1 2; do
		for core in stock bench; do
			guest "$core" "$core-icount-$boot" "${icount[@]}" -- -q none kvm exit interval register later create stuck
		done
	done
	exec "$here/bench.py" --check "$dir"
fi

unpatched_tree
SRC=$out/unpatched "$here/build.sh" unpatched base jump-label
for boot in 1 2; do
	guest unpatched "unpatched-icount-$boot" "${icount[@]}" -- none create
	for core in stock bench; do
		guest "$core" "$core-icount-$boot" "${icount[@]}" -- none kvm gru exit interval register \
			later create stuck
	done
done
for boot in 1 2; do
	for core in stock bench; do
		guest "$core" "$core-2cpus-$boot" -s 2 -- stall rate truncate \
			beside held munmap starve
	done
done
if [ "$(nproc)" -ge 4 ]; then
	for core in stock bench; do
		guest "$core" "$core-4cpus" -s 4 -- rate
	done
else
	note "  4 registrations at once are not measured: this machine has fewer CPUs"
fi
for core in stock bench; do
	step "sizes: $core" "$out/log/bench-sizes-$core" sizes "$core"
done
"$here/bench.py" "$dir"
gnuplot "$dir/register.gnuplot"
cat "$dir/table.txt"
