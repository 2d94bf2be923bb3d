#!/bin/bash
# Usage: stress.sh generator|stress-ng [MINUTES]
#
# Stress in the guest, as TAP: random operations from SEED on (the kselftest
# mmu_notifier_stress, which knows right from wrong), or Debian's stress-ng with
# software secondary MMUs of every style attached to its workers. Runs for
# MINUTES (10; also from the environment) altogether. BUILD (test) is the kernel in out/build. A seed that
# failed fails again, sooner or later, with
#
#   make stress SEED=<that seed>
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

seed=${SEED:-1} minutes=${2:-${MINUTES:-10}} build=$out/build/${BUILD:-test}
[[ $seed =~ ^[0-9]+$ ]] || die "SEED=$seed: a number is wanted"
[[ $minutes =~ ^[1-9][0-9]*$ ]] || die "MINUTES=$minutes: a number is wanted, at least 1"

# The guest's TAP as it is, and one result for its kernel.
guest() { # NAME FILE... COMMAND
	local name=$1 files=() log=$out/stress/$1 status=0
	shift
	while [ $# -gt 1 ]; do
		files+=(-f "$1")
		shift
	done
	"$here/boot.sh" -t $((60 * minutes + 180)) -m 3072 -a init_on_free=1 -l "$log" \
		"${files[@]}" "$build" "$1" || status=$?
	case $status in
	124 | 125 | 126) echo "not ok 1 the kernel under $name (boot.sh: $status)" ;;
	*) echo "ok 1 the kernel under $name" ;;
	esac
	[ $status = 0 ]
}

# Seeds one after the other, for each long enough that its processes live a few
# times.
generator() {
	local seconds=20

	guest generator "$build/selftests/mmu_notifier_stress" \
		"mmu_notifier_stress -s $seed -n $((60 * minutes / seconds)) -t $seconds"
}

# stress-ng is linked to many libraries: they go to /bin as well, and the loader
# is told so. What it stores it verifies, so that a page lost would be seen. Its
# userfaultfd stressor takes a fault of anybody else for an error, and gives up:
# that one is started again and again, and not judged.
stress_ng() {
	local files lib seconds=$((60 * minutes)) work
	local run="/bin/ld-linux-x86-64.so.2 --library-path /bin /bin/stress-ng"

	"$here/tools.sh" stress
	mapfile -t files < <(ldd "$(command -v stress-ng)" | grep -o '/[^ ]*')
	for lib in "${files[@]}"; do [ -f "$lib" ] || die "$lib: stress-ng needs it, and it is not there"; done
	# Memory to swap to needs a file system that is none of memory's own.
	work="dd if=/dev/zero of=image bs=1M count=96 && mke2fs -F image && mkdir -p files"
	work+=" && losetup /dev/loop0 image && mount /dev/loop0 files"
	guest stress-ng "$(command -v stress-ng)" "${files[@]}" "$build/selftests/mmu_notifier_attach" "
		{ $work; } >/dev/null 2>&1 || echo '# no file system for the swap stressor'
		echo 1 >/sys/kernel/mm/ksm/run
		$run --temp-path /tmp/files --timeout $seconds --verify --oomable \
			--vm 1 --vm-bytes 16M --vm-keep --vm-madvise mergeable \
			--mmap 1 --mmap-bytes 8M --mremap 1 --mremap-bytes 8M \
			--madvise 1 --pageswap 1 --fork 1 --numa 1 --shm-sysv 1 \
			--shm-sysv-bytes 8M --shm 1 --shm-bytes 8M --swap 1 \
			>stress-ng.log 2>&1 &
		ng=\$!
		while $run --userfaultfd 1 --userfaultfd-bytes 4M --timeout 5; [ -d /proc/\$ng ]; do :; done \
			>/dev/null 2>&1 &
		sleep 3
		mmu_notifier_attach -t $((seconds - 10)) -j 2 -s $seed stress-ng
		status=\$?
		wait \$ng
		ng=\$?
		sed 's/^/# /' stress-ng.log
		if [ \$ng = 0 ]; then echo ok 5 stress-ng; else echo not ok 5 stress-ng: \$ng; fi
		[ \$status = 0 ] && [ \$ng = 0 ]"
}

"$here/tools.sh" boot
case ${1:-} in
generator) generator ;;
stress-ng) stress_ng ;;
*) die "usage: stress.sh generator|stress-ng" ;;
esac
