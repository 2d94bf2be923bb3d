#!/bin/bash
# Usage: build.sh NAME FRAGMENT...
#
# Builds the patched tree with these fragments into out/build/NAME: kernel,
# modules, and the series' kselftests in selftests/, linked statically. Only
# what changed is built again.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

src=$out/linux name=$1 build=$out/build/$1
shift
"$here/tools.sh" build
lock "$out/log/lock-linux" -s
lock "$out/log/lock-$name"
[ -f "$build/vmlinux" ] || need_space "$out" 1500
step "$name: configuration" "$out/log/config-$name" "$here/config.sh" "$src" "$build" "$@"
step "$name: kernel and modules" "$out/log/build-$name" \
	make -C "$src" O="$build" -j"$jobs" bzImage modules

# The programs among mm's mmu_notifier*.c are those with a main; the others are
# what they share.
selftests() {
	local mm=$src/tools/testing/selftests/mm c programs=() shared=()
	make -s -C "$src" O="$build" headers_install
	mkdir -p "$build/selftests"
	for c in "$mm"/mmu_notifier*.c; do
		[ -f "$c" ] || continue
		if grep -qE '^(TEST_HARNESS_MAIN|int main\()' "$c"; then
			programs+=("$c")
		else
			shared+=("$c")
		fi
	done
	[ -f "$mm/vm_util.c" ] && shared+=("$mm/vm_util.c")
	for c in "${programs[@]}"; do
		echo "$c"
		gcc -O2 -Wall -D_GNU_SOURCE= -static -pthread -isystem "$build/usr/include" \
			-I "$src/tools/testing/selftests" \
			-o "$build/selftests/$(basename "$c" .c)" "$c" "${shared[@]}" || return
	done
}
step "$name: kselftests" "$out/log/selftests-$name" selftests
