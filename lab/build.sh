#!/bin/bash
# Usage: build.sh NAME FRAGMENT...
#
# Builds the patched tree with these fragments into out/build/NAME: kernel,
# modules, and the series' kselftests in selftests/, linked statically. Only
# what changed is built again. SRC: another tree than the patched one, and no
# kselftests.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

src=${SRC:-$out/linux} name=$1 build=$out/build/$1
shift
"$here/tools.sh" build
lock "$out/log/lock-linux" -s
lock "$out/log/lock-$name"
[ -f "$build/vmlinux" ] || need_space "$out" 1500
step "$name: configuration" "$out/log/config-$name" "$here/config.sh" "$src" "$build" "$@"
# Where the configuration has gcov, it is for the core alone.
gcov=()
if grep -q '^CONFIG_GCOV_KERNEL=y' "$build/.config"; then
	for c in "$src"/mm/mmu_*notifier*.c; do
		gcov+=("GCOV_PROFILE_$(basename "$c" .c).o=y")
	done
fi
step "$name: kernel and modules" "$out/log/build-$name" \
	make -C "$src" O="$build" -j"$jobs" "${gcov[@]}" bzImage modules
[ -n "${SRC:-}" ] || step "$name: kselftests" "$out/log/selftests-$name" selftests "$src" "$build"
