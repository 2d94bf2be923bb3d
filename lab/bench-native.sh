#!/bin/bash
# Usage: bench-native.sh
#
# The benchmark of bench.sh on this machine, in the kernel that runs on it, if that
# has the series: in real time, with all the noise there is. Run it in the kernel
# with this core and in the one with stock's, and the second time out/bench-native/
# has the table of both.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

device=/dev/test_mmu_notifier dir=$out/bench-native
if [ ! -e "$device" ] && ! modprobe -q test_mmu_notifier 2>/dev/null; then
	die "this kernel ($(uname -r)) does not have the series, or not its test module.
  Build one that has, from a 6.12.y tree and the configuration of this machine:
    make am LINUX=/path/to/linux && cd /path/to/linux
    cp /boot/config-$(uname -r) .config
    scripts/config -m TEST_MMU_NOTIFIER         # -e MMU_NOTIFIER_STOCK: stock's core
    make olddefconfig && make -j$jobs && make modules_install install
  boot it, and run this again; once with each core gives the ratios"
fi
if [ ! -r "$device" ] || [ ! -w "$device" ]; then die "$device: not yours to open; run this as root"; fi

"$here/tools.sh" git base build python figures
"$here/base.sh"
step "the benchmark" "$out/log/bench-native-build" selftests "$out/linux" "$dir" mmu_notifier_bench
"$dir/selftests/mmu_notifier_bench" | tee "$dir/output"
grep -q '^BENCH' "$dir/output" || die "it measured nothing"
core=$(sed -n 's/^core\t//p' "$dir/output")
mv "$dir/output" "$dir/${core/drain/bench}-$(uname -r).output"

if compgen -G "$dir/stock-*.output" >/dev/null && compgen -G "$dir/bench-*.output" >/dev/null; then
	"$here/bench.py" "$dir"
	gnuplot "$dir/register.gnuplot"
	cat "$dir/table.txt"
else
	note "  ratios: boot the kernel with the other core, and run this again"
fi
