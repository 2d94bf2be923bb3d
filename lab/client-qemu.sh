#!/bin/bash
# Usage: client-qemu.sh BUILD
#
# Debian's QEMU as a client: inside a guest with the kernel BUILD it boots that same
# kernel, with -accel kvm, to a shell. Then the memory of that inner guest is
# reclaimed under it, at rest and at work, and it has to answer and to know what it
# knew. Prints TAP.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

[ $# = 1 ] || die "usage: client-qemu.sh BUILD"
build=$(readlink -f "$1") work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The inner guest: a file of 64 MB in its memory, and its checksum when asked.
mkdir -p "$work/root"/{bin,proc,dev,tmp}
cp /bin/busybox "$work/root/bin/"
cat >"$work/root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
dd if=/dev/urandom of=/tmp/file bs=1M count=64 2>/dev/null
echo "ready $(md5sum </tmp/file)"
while read -r question; do
	echo "answer $question $(md5sum </tmp/file)"
done
INIT
chmod 755 "$work/root/init"
(cd "$work/root" && find . | cpio -o -H newc -R 0:0 --quiet) | gzip -1 >"$work/inner.gz"

cat >"$work/outer" <<'OUTER'
#!/bin/sh
# In the outer guest.
vm=/sys/fs/cgroup/vm
mkdir $vm
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkfifo in
exec 3<>in
: >out
(
	sh -c 'echo $PPID' >$vm/cgroup.procs
	exec /bin/ld-linux-x86-64.so.2 --library-path /bin /bin/qemu-system-x86_64 -L /bin -accel kvm -cpu host \
		-m 256 -nodefaults -no-user-config -display none -no-reboot -kernel /bin/bzImage -initrd /bin/inner.gz \
		-append 'console=ttyS0 quiet panic=-1 kunit.enable=0' -serial stdio <in >out 2>err
) &

# Waits for a line that begins with $1, and prints it.
line() {
	n=0
	until tr -d '\r' <out | grep -m 1 "^$1"; do
		n=$((n + 1))
		[ $n -lt 1200 ] || return 1
		sleep 0.1
	done
}
reclaim() { for i in 1 2 3 4; do echo 64M >$vm/memory.reclaim; done 2>/dev/null; }
swapped() { echo $(($(cat $vm/memory.swap.current) >> 20)); }
verdict() { if [ "$1" = 0 ]; then echo "ok $2"; else echo "not ok $2"; failed=1; fi; }

echo 1..4
failed=0
sum=$(line ready)
verdict $? "1 the inner guest boots"
sum=${sum#ready }
[ -n "$sum" ] || { cat err; tail -n 20 out; }
# What was in use at first only ages.
mb=0 tries=0
while [ "$mb" -lt 48 ] && [ $tries -lt 60 ]; do
	reclaim
	mb=$(swapped) tries=$((tries + 1))
	sleep 0.3
done
[ "$mb" -ge 48 ]
verdict $? "2 its memory is reclaimed ($mb MB of it)"
echo one >&3
[ "$(line 'answer one')" = "answer one $sum" ]
verdict $? "3 it answers, and knows what it knew"
good=0
for q in a b c d; do
	echo $q >&3
	reclaim
	[ "$(line "answer $q")" = "answer $q $sum" ] || good=1
done
verdict $good "4 the same when reclaimed at work ($(swapped) MB at the end)"
kill %1
exit $failed
OUTER

files=(-f "$work/outer" -f "$work/inner.gz" -f "$build/arch/x86/boot/bzImage" -f "$(command -v qemu-system-x86_64)")
for f in /usr/share/seabios/bios-256k.bin /usr/share/qemu/{kvmvapic,linuxboot_dma}.bin; do files+=(-f "$f"); done
while read -r f; do files+=(-f "$f"); done < <(ldd "$(command -v qemu-system-x86_64)" | grep -o '/[^ ]*' | sort -u)
"$here/boot.sh" -t 600 -m 3072 -l "$out/clients/qemu-${build##*/}" "${files[@]}" "$build" "sh /bin/outer"
