#!/bin/bash
# Usage: boot.sh [OPTION]... BUILD [COMMAND...]
#
# Boots the kernel built in BUILD in QEMU with an initramfs of Debian's static
# busybox, and runs COMMAND (words joined, given to sh -c) in the guest. Prints
# what the command prints and exits with its status, or with
#   124  the guest did not come to its end in time
#   125  the kernel reported something wrong (the lines are shown)
#   126  the guest ended without running COMMAND to its end
# Without COMMAND: an interactive shell; `exit` ends the guest.
#
#   -f FILE[:NAME]  put FILE into /bin of the guest (as NAME); may be repeated
#   -t SECONDS      time limit for the whole boot (300)
#   -m MEGABYTES    memory, split between two NUMA nodes (2048)
#   -s CPUS         CPUs (2)
#   -a ARGS         more kernel parameters
#   -q ARGS         more QEMU parameters
#   -l PREFIX       logs: PREFIX.console (kernel), PREFIX.output (COMMAND) and
#                   PREFIX.status; default: BUILD/boot
#   -w REGEX        console lines that are expected and not errors
#
# The modules that BUILD holds are in /modules of the guest; test_mmu_notifier,
# test_mmu_driver and test_mmu_users are loaded, the others are left to COMMAND.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

files=() limit=300 memory=2048 cpus=2 append='' qemu_args='' prefix='' allow='^$'
while getopts f:t:m:s:a:q:l:w: o; do
	case $o in
	f) files+=("$OPTARG") ;;
	t) limit=$OPTARG ;;
	m) memory=$OPTARG ;;
	s) cpus=$OPTARG ;;
	a) append=$OPTARG ;;
	q) qemu_args=$OPTARG ;;
	l) prefix=$OPTARG ;;
	w) allow=$OPTARG ;;
	*) die "see the head of lab/boot.sh for its options" ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 1 ] || die "usage: boot.sh [OPTION]... BUILD [COMMAND...]"
build=$(readlink -f "$1") || die "no build tree $1"
shift
command="$*"
image=$build/arch/x86/boot/bzImage
[ -f "$image" ] || die "no kernel in $build; build it first (make build)"
prefix=${prefix:-$build/boot}
mkdir -p "$(dirname "$prefix")"
rm -f "$prefix.status"

work=$(mktemp -d)
qemu=
cleanup() {
	local status=$?
	[ -z "$prefix" ] || echo "$status" >"$prefix.status"
	[ -z "$qemu" ] || kill -9 "$qemu" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

make_initramfs() {
	local root=$work/root f ko
	mkdir -p "$root"/{bin,sbin,etc,proc,sys,dev,tmp,modules,mnt,root}
	cp /bin/busybox "$root/bin/busybox"
	cp "$here/guest-init.sh" "$root/init"
	for f in ${files[@]+"${files[@]}"}; do
		[ -f "${f%%:*}" ] || die "no such file: ${f%%:*}"
		if [[ $f == *:* ]]; then
			cp "${f%%:*}" "$root/bin/${f##*:}"
		else
			cp "$f" "$root/bin/"
		fi
	done
	while read -r ko; do
		cp "$build/$ko" "$root/modules/"
	done < <(sed -n 's/\.o$/.ko/p' "$build/modules.order" 2>/dev/null)
	printf '%s\n' "$command" >"$root/command"
	printf '%s\n' "$token" >"$root/token"
	chmod -R u+rwX "$root"
	chmod 755 "$root/init" "$root"/bin/*
	(cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet) | gzip -1 >"$work/initramfs"
}

# KVM counts only when a guest really runs on it: /dev/kvm may exist, and be
# useless, inside another guest.
accelerator() {
	if [ -z "${LAB_NO_KVM:-}" ] && [ -w /dev/kvm ] && grep -qwE 'svm|vmx' /proc/cpuinfo &&
	   echo quit | timeout 10 qemu-system-x86_64 -accel kvm -cpu host -display none \
		-nodefaults -monitor stdio >/dev/null 2>&1; then
		echo "-accel kvm -cpu host"
	else
		echo "-accel tcg -cpu max"
	fi
}

token=$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
make_initramfs

half=$((memory / 2))
# shellcheck disable=SC2054,SC2206,SC2207 # words wanted; commas are QEMU's
args=(
	$(accelerator) -m "${memory}M" -nodefaults -no-user-config
	-no-reboot -display none -monitor none
	-object "memory-backend-ram,id=m0,size=${half}M"
	-object "memory-backend-ram,id=m1,size=${half}M"
	-numa node,nodeid=0,memdev=m0 -numa node,nodeid=1,memdev=m1
	-kernel "$image" -initrd "$work/initramfs"
	$qemu_args
)
for ((i = 0; i < cpus; i++)); do
	args+=(-numa "cpu,node-id=$((i * 2 / cpus % 2)),socket-id=$i,core-id=0,thread-id=0")
done
args+=(-smp "$cpus,sockets=$cpus,cores=1,threads=1")
# A hang or panic reboots, and -no-reboot turns that into the guest's end.
cmdline="console=ttyS0 panic=-1 oops=panic hung_task_panic=1 softlockup_panic=1"
cmdline+=" printk.time=1 numa_balancing=disable $append"

if [ -z "$command" ]; then
	qemu-system-x86_64 "${args[@]}" -append "$cmdline quiet" -serial mon:stdio
	exit
fi

# The console carries the kernel's messages, the second port only what COMMAND
# prints: neither can tear a line of the other.
console=$prefix.console output=$prefix.output
: >"$console"
: >"$output"
start=$SECONDS
qemu-system-x86_64 "${args[@]}" -append "$cmdline" \
	-serial "file:$console" -serial "file:$output" </dev/null &
qemu=$!

# Shown as it comes, without the line that carries the status.
tail -n +1 -f --pid="$qemu" -s 0.2 "$output" 2>/dev/null | tr -d '\r' | grep -v --line-buffered "$token" || true &
shown=$!

timed_out=
while kill -0 "$qemu" 2>/dev/null; do
	if [ $((SECONDS - start)) -ge "$limit" ]; then
		timed_out=1
		kill -9 "$qemu" 2>/dev/null || true
		break
	fi
	sleep 0.2
done
wait "$qemu" 2>/dev/null || true
qemu=
wait "$shown" 2>/dev/null || true

status=$(tr -d '\r' <"$output" | sed -n "s/^$token //p")
sed -i "/$token/d" "$output"

bad='BUG:|WARNING:|KASAN|KCSAN|KMSAN|UBSAN|Oops|kernel BUG at|Kernel panic|general protection fault'
bad+='|possible recursive locking|possible circular locking|inconsistent lock state|possible irq lock inversion'
bad+='|suspicious RCU usage|sleeping function called from invalid context|scheduling while atomic'
bad+='|bad unlock balance|held lock freed|lock held when returning|DEBUG_LOCKS_WARN_ON|nested lock was not taken'
bad+='|rcu:.*(stall|kthread starved)|kmemleak: [0-9]+ new|blocked for more than|soft lockup|hard LOCKUP'
bad+='|Bad page (state|map)|bad: scheduling|refcount_t:|list_(add|del) corruption|ODEBUG|BUG '
# KASAN and friends announce themselves at boot; workqueues are chatty under TCG.
fine='kasan: KernelAddressSanitizer initialized|kcsan: (enabled|strict|selftest)|workqueue: .* hogged CPU'
problems=$(tr -d '\r' <"$console" | grep -nE "$bad" | grep -vE "$fine" | grep -vE -- "$allow" || true)

if [ -n "$problems" ]; then
	note "boot: the kernel complained; from $console:"
	line=${problems%%:*}
	{ head -n 15 <<<"$problems"
	  echo '...'
	  sed -n "$line,$((line + 40))p" "$console"; } | sed 's/^/    /' >&2
	exit 125
fi
if [ -n "$timed_out" ]; then
	note "boot: no end after $limit s; the end of $console:"
	tail -n 15 "$console" | sed 's/^/    /' >&2
	exit 124
fi
if [ -z "$status" ]; then
	note "boot: the guest ended before the command did; the end of $console:"
	tail -n 25 "$console" | sed 's/^/    /' >&2
	exit 126
fi
exit "$status"
