#!/bin/bash
# Usage: compile.sh [KERNEL...]
#
# Every file of the base that uses the API of MMU notifiers, compiled in the patched
# tree with as much configured as can be (allmodconfig): for x86-64 and arm64, with
# the new core and with stock's, with clang; and whole kernels, small ones (allnoconfig),
# which have no MMU notifiers, and usual ones (defconfig). Prints TAP, a result for each
# file. One that does not compile, or not without a warning, is compiled in the unpatched
# base too: if the compiler says the same there it is skipped, as not in that
# configuration, or not the series' doing.
#
#   KERNEL  x86, x86-stock, x86-clang, arm64, arm64-stock, x86-small, arm64-small,
#           x86-usual
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

export LC_ALL=C
[ $# -gt 0 ] || set -- x86 x86-stock x86-clang arm64 arm64-stock x86-small arm64-small x86-usual
"$here/tools.sh" git base build
[ "$*" = x86-small ] || "$here/tools.sh" cross
"$here/base.sh"
lock "$out/log/lock-linux" -s

# users ARCH KIND: the objects, but those of other architectures and the other core
users() {
	local other='mm/mmu_notifier_stock'
	[ "$2" != stock ] || other='mm/mmu_(interval_notifier|notifier(_drain|_fault|_debugfs)?)'
	cd "$out/linux"
	grep -rlE --include='*.c' 'mmu_notifier|mmu_interval_(notifier|read|set)|migrate_vma|hmm_range' \
		arch/"$1" block drivers fs include io_uring ipc kernel lib mm net sound virt |
		grep -vE "^(mm/tests/mmu_notifier_kunit|$other)\.c$" |
		LC_ALL=C sort | sed 's/\.c$/.o/; s,/amd/amdkfd/,/amd/amdgpu/../amdkfd/,'
}

# configure TREE BUILD KIND: allmodconfig without what only takes time
configure() {
	local tree=$1 build=$2
	mkdir -p "$build"
	case $3 in
	small) make -s -C "$tree" O="$build" "${vars[@]}" allnoconfig; return ;;
	usual) make -s -C "$tree" O="$build" "${vars[@]}" defconfig; return ;;
	esac
	make -s -C "$tree" O="$build" "${vars[@]}" allmodconfig
	"$tree/scripts/config" --file "$build/.config" -d WERROR -d GCC_PLUGINS -d KASAN -d KCSAN -d KCOV \
		-d GCOV_KERNEL -d UBSAN -d DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT -e DEBUG_INFO_NONE -d MODULE_SIG \
		-d SYSTEM_TRUSTED_KEYRING -d FTRACE_MCOUNT_USE_OBJTOOL -d DRM_WERROR -d DRM_I915_WERROR
	if [ "$3" = stock ]; then
		"$tree/scripts/config" --file "$build/.config" -e MMU_NOTIFIER_STOCK
	else
		"$tree/scripts/config" --file "$build/.config" -d MMU_NOTIFIER_STOCK
	fi
	make -s -C "$tree" O="$build" "${vars[@]}" olddefconfig
}

# objects TREE BUILD LOG OBJECT...: all at once, and for those that are not there
# then, or that a warning is about, a log of their own
objects() {
	local tree=$1 build=$2 log=$3 o
	shift 3
	mkdir -p "$log"
	make -k -C "$tree" O="$build" -j"$jobs" "${vars[@]}" "$@" >"$log/together" 2>&1 || true
	for o; do
		if [ -f "$build/$o" ] && ! grep -q "${o%o}c:.*warning:" "$log/together"; then continue; fi
		mkdir -p "$(dirname "$log/$o")"
		rm -f "$build/$o"
		make -C "$tree" O="$build" "${vars[@]}" "$o" >"$log/$o.log" 2>&1 || rm -f "$build/$o"
	done
}

# What the compiler has to say, without trees and lines' numbers.
complaints() { # LOG
	[ -f "$1" ] || return 0
	sed -nE 's/:[0-9]+(:[0-9]+)?: (warning|error|fatal error):/: \2:/p; s/^[^ ]*\.s:[0-9]+: Error:/assembler: error:/p; s/^make[^:]*: (.*No rule to make)/\1/p' "$1" |
		sed -E 's,^[^ ]*/(linux|unpatched)/,,' | LC_ALL=C sort -u
}

in_base() { # BUILD KIND
	unpatched_tree
	configure "$out/unpatched" "$1" "$2"
	make -C "$out/unpatched" O="$1" -j"$jobs" "${vars[@]}" prepare modules_prepare
	objects "$out/unpatched" "$1" "$logs/base" "${bad[@]}"
}

n=0
for kernel; do
	arch=${kernel%%-*} kind=${kernel#"$arch"} kind=${kind#-}
	vars=(ARCH="${arch/x86/x86_64}")
	[ "$arch" != arm64 ] || vars+=(CROSS_COMPILE=aarch64-linux-gnu-)
	[ "$kind" != clang ] || vars+=(CC=clang HOSTCC=clang)
	build=$out/build/compile-$kernel logs=$out/log/compile-$kernel
	rm -rf "$logs"
	step "$kernel: configuration" "$out/log/compile-config-$kernel" configure "$out/linux" "$build" "$kind" || { n=$((n + 1)); echo "not ok $n $kernel: configuration"; continue; }
	has() { grep -q "^CONFIG_$1=y" "$build/.config"; }
	if [ "$kind" = small ]; then
		! has MMU_NOTIFIER || die "$kernel: MMU_NOTIFIER is set"
		list=(mm/{memory,mmap,mprotect,mremap,rmap,madvise,truncate,oom_kill,gup,vmscan}.o vmlinux)
	elif [ "$kind" = usual ]; then
		list=(mm/{memory,mmu_notifier,mmu_notifier_drain}.o vmlinux)
	else
		has MMU_NOTIFIER || die "$kernel: MMU_NOTIFIER is not set"
		core=$(sed -n 's/^CONFIG_MMU_NOTIFIER_STOCK=y/stock/p' "$build/.config")
		[ "${kind#clang}" = "$core" ] || die "$kernel: not the core that was asked for"
		mapfile -t list < <(users "$arch" "$kind")
	fi
	step "$kernel: preparation" "$out/log/compile-prepare-$kernel" make -C "$out/linux" O="$build" -j"$jobs" "${vars[@]}" prepare modules_prepare
	step "$kernel: ${#list[@]} files" "$logs/all" objects "$out/linux" "$build" "$logs" "${list[@]}"

	# Those that did not go well, in the base.
	bad=()
	for o in "${list[@]}"; do
		if [ ! -f "$build/$o" ] || [ -n "$(complaints "$logs/$o.log")" ]; then bad+=("$o"); fi
	done
	[ ${#bad[@]} = 0 ] || step "$kernel: ${#bad[@]} of them in the base" "$logs/base-all" in_base \
		"$out/build/compile-base-$arch-${kind/stock/}" "${kind/stock/}"
	for o in "${list[@]}"; do
		n=$((n + 1))
		if [[ " ${bad[*]} " != *" $o "* ]]; then
			echo "ok $n $kernel $o"
		elif [ -f "$logs/base/$o.log" ] && [ -z "$(comm -23 <(complaints "$logs/$o.log") <(complaints "$logs/base/$o.log"))" ] &&
			[ -n "$(complaints "$logs/base/$o.log")" ]; then
			echo "ok $n $kernel $o # SKIP the same in the base: $(complaints "$logs/$o.log" | head -n 1 | cut -c -90)"
		else
			echo "not ok $n $kernel $o"
			complaints "$logs/$o.log" | head -n 5 | sed 's/^/# /'
		fi
	done
done
echo "1..$n"
