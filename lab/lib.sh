# shellcheck shell=bash
# Shared by the scripts in lab/: where things are, messages, build steps.

# shellcheck disable=SC2034 # for those who source this
top=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
out=$(realpath -m "${OUT:-$top/out}")
jobs=${JOBS:-$(nproc)}
# What was said to this Makefile is not meant for the kernel's.
unset MAKEFLAGS MFLAGS MAKELEVEL

die() { printf 'error: %s\n' "$*" >&2; exit 1; }
note() { printf '%s\n' "$*" >&2; }

# run_quiet LOG COMMAND...: output to LOG, and to the terminal as well with V=1
run_quiet() {
	local log=$1
	shift
	mkdir -p "$(dirname "$log")"
	if [ "${V:-}" = 1 ]; then
		"$@" 2>&1 </dev/null | tee "$log" >&2
	else
		"$@" >"$log" 2>&1 </dev/null
	fi
}

# step NAME LOG COMMAND...: one line saying what runs and how long it took; on
# failure the end of its log.
step() {
	local name=$1 log=$2 start=$SECONDS pid
	shift 2
	if [ -t 2 ] && [ "${V:-}" != 1 ]; then
		run_quiet "$log" "$@" &
		pid=$!
		while kill -0 "$pid" 2>/dev/null; do
			printf '\r  %-46s %4d s' "$name" $((SECONDS - start)) >&2
			sleep 1
		done
		printf '\r' >&2
		wait "$pid" || { step_failed "$name" "$log"; return 1; }
	else
		printf '  %-46s ...\n' "$name" >&2
		run_quiet "$log" "$@" || { step_failed "$name" "$log"; return 1; }
	fi
	printf '  %-46s %4d s\n' "$name" $((SECONDS - start)) >&2
}

step_failed() {
	printf '  %-46s FAILED, the end of %s:\n' "$1" "$2" >&2
	{ grep -nE 'error:|Error [0-9]|undefined reference|No space left' "$2" | head -n 15
	  tail -n 15 "$2"; } | sed 's/^/    /' >&2
}

# need_space DIR MEGABYTES
need_space() {
	local have
	mkdir -p "$1"
	have=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
	[ "$have" -ge "$2" ] || die "no space left: $1 has $have MB, this needs $2 MB;
  make room there, or build elsewhere: make OUT=/another/disk ..."
}

# The files that patches touch, old names and new ones.
touched_files() {
	cat "$@" | sed -n 's,^diff --git a/\(.*\) b/\(.*\)$,\1\n\2,p' | LC_ALL=C sort -u
}

# kernel_version MAKEFILE NAME: prints 6.12.y, or ends with what is wrong with NAME
kernel_version() {
	local v
	[ "$1" = - ] || [ -f "$1" ] || die "$2: not a Linux kernel (no Makefile)"
	v=$(sed -n 's/^\(VERSION\|PATCHLEVEL\|SUBLEVEL\) = *\([0-9]*\).*/\2/p' "$1" | head -n 3 | paste -sd.)
	[[ $v =~ ^[0-9]+\.[0-9]+ ]] || die "$2: not a Linux kernel (no version in its Makefile)"
	[[ $v =~ ^6\.12(\.[0-9]+)?$ ]] || die "$2: this is Linux $v; the series is for 6.12.y"
	echo "$v"
}

is_git_tree() {
	[ -d "$1" ] && [ "$(cd "$1" && git rev-parse --show-toplevel 2>/dev/null)" = "$1" ]
}

# check_git_tree DIR FILES: ends unless the series can be applied to its HEAD
check_git_tree() {
	local dirty
	git -C "$1" rev-parse -q --verify HEAD >/dev/null || die "LINUX=$1: a git tree without a commit"
	if git -C "$1" cat-file -e HEAD:mm/mmu_notifier_stock.c 2>/dev/null; then
		die "LINUX=$1: the series is already applied there;
  name an unpatched 6.12.y tree, or go back there: git checkout <the commit before the series>"
	fi
	mapfile -t touched_list <<<"$2"
	dirty=$(git --no-optional-locks -C "$1" status --porcelain --ignored -- "${touched_list[@]}" | head -n 5)
	[ -z "$dirty" ] || die "LINUX=$1: local changes in files that the series touches:
$dirty
  commit them, or put them aside: git stash --include-untracked"
}

# unpatched_tree: the base, in a tree of its own: $out/unpatched
unpatched_tree() {
	[ -d "$out/unpatched" ] || git -C "$out/linux" worktree add -q --detach "$out/unpatched" refs/lab/base
	git -C "$out/unpatched" checkout -q --detach refs/lab/base
}

# selftests TREE BUILD [NAME]: the series' programs, or that one, into BUILD/selftests.
# The programs among mm's mmu_notifier*.c are those with a main; NAME_*.c is a part of
# the program NAME, and the others are what all share.
selftests() {
	local mm=$1/tools/testing/selftests/mm build=$2 c programs=() parts shared=()
	make -s -C "$1" O="$build" headers_install
	mkdir -p "$build/selftests"
	for c in "$mm"/mmu_notifier*.c; do
		[ -f "$c" ] || continue
		if grep -qE '^(TEST_HARNESS_MAIN|int main\()' "$c"; then
			programs+=("$c")
		elif [ ! -f "${c%_*}.c" ]; then
			shared+=("$c")
		fi
	done
	[ -f "$mm/vm_util.c" ] && shared+=("$mm/vm_util.c")
	for c in "${programs[@]}"; do
		[ $# = 2 ] || [ "$c" = "$mm/$3.c" ] || continue
		echo "$c"
		parts=("${c%.c}"_*.c)
		[ -f "${parts[0]}" ] || parts=()
		gcc -O2 -Wall -D_GNU_SOURCE= -static -pthread -isystem "$build/usr/include" \
			-I "$1/tools/testing/selftests" \
			-o "$build/selftests/$(basename "$c" .c)" "$c" \
			${parts[@]+"${parts[@]}"} "${shared[@]}" || return
	done
}

# lock FILE [-s]: until this script ends; two makes at once must not mix
lock() {
	local fd
	mkdir -p "$(dirname "$1")"
	exec {fd}>"$1"
	if ! flock -n "${@:2}" "$fd"; then
		note "  waiting for another make in ${out#"$top/"} to end"
		flock "${@:2}" "$fd"
	fi
}
