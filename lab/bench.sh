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
#   contention    in real time, on 2 CPUs and more; medians
#   memory        sizes of structures
#
# --check prints TAP instead: the figures in instructions that matter, each
# against the limit that lab/bench.py holds it to.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

dir=$out/bench${1:-}
guest() { # BUILD LOG BOOT-OPTIONS -- ARGUMENTS
	local build=$1 log=$dir/$2 options=()
	shift 2
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	step "guest: ${log##*/}" "$out/log/bench-${log##*/}" env LAB_NO_KVM=1 "$here/boot.sh" -t 1200 -m 3072 -l "$log" \
		"${options[@]}" -f "$out/build/stock/selftests/mmu_notifier_bench" "$out/build/$build" mmu_notifier_bench "$@"
}
icount=(-s 1 -q '-icount shift=0,sleep=off')

# size STRUCT < SOURCE-FILE: the text of its definition
definition() { sed -n "/^struct $1 {/,/^};/p"; }

# The structures' sizes in the kernel BUILD, as a module's symbols.
sizes() { # BUILD CORE
	local work=$out/bench/sizes-$2 core=$out/linux/mm/mmu_notifier_internal.h
	[ "$2" != stock ] || core=$out/linux/mm/mmu_notifier_stock.c
	mkdir -p "$work"
	{
		printf '#include <linux/%s.h>\n' module mm_types mmu_notifier spinlock wait interval_tree
		definition mmu_notifier_subscriptions <"$core"
		for s in mm_struct mmu_notifier_subscriptions mmu_notifier_range mmu_notifier mmu_interval_notifier; do
			echo "char size_of_${s}[sizeof(struct $s)];"
		done
		echo 'MODULE_LICENSE("GPL");'
	} >"$work/sizes.c"
	echo 'obj-m := sizes.o' >"$work/Makefile"
	make -s -C "$out/linux" O="$out/build/$1" M="$work" sizes.o
	nm -S "$work/sizes.o" | awk '$4 ~ /^size_of_/ { sub(/^size_of_/, "", $4)
		printf "BENCH\tmemory\tstruct %s\t0\t%d\n", $4, strtonum("0x" $2) }' >"$dir/$2-sizes.output"
	[ "$(wc -l <"$dir/$2-sizes.output")" = 5 ]
}

"$here/tools.sh" git base build boot python figures
"$here/base.sh"
"$here/build.sh" bench base bench
"$here/build.sh" stock base stock
rm -rf "$dir"
mkdir -p "$dir"

if [ "${1:-}" = --check ]; then
	for core in stock bench; do
		guest "$core" "$core-icount" "${icount[@]}" -- -q none kvm exit interval register
	done
	exec "$here/bench.py" --check "$dir"
fi

unpatched=$out/unpatched
[ -d "$unpatched" ] || git -C "$out/linux" worktree add -q --detach "$unpatched" refs/lab/base
git -C "$unpatched" checkout -q --detach refs/lab/base
SRC=$unpatched "$here/build.sh" unpatched base
for boot in 1 2 3; do
	guest unpatched "unpatched-icount-$boot" "${icount[@]}" -- none
	for core in stock bench; do
		guest "$core" "$core-icount-$boot" "${icount[@]}" -- none kvm gru exit interval register
	done
done
for boot in 1 2; do
	for core in stock bench; do
		guest "$core" "$core-2cpus-$boot" -s 2 -- stall rate truncate
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
	step "sizes: $core" "$out/log/bench-sizes-$core" sizes "$core" "$core"
done
"$here/bench.py" "$dir"
gnuplot "$dir/register.gnuplot"
cat "$dir/table.txt"
