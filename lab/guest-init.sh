#!/bin/busybox sh
# shellcheck shell=dash
# /init of the guest (see boot.sh): runs /command with its output on the second
# serial port, writes its status there behind a token that no program prints by
# chance, and ends the guest.
/bin/busybox --install -s /bin
export PATH=/bin:/sbin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t tmpfs tmpfs /tmp
mkdir -p /dev/shm /dev/pts /sys/fs/cgroup
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up 2>/dev/null

# swap on compressed memory, so that reclaim has somewhere to go
if [ -e /sys/block/zram0/disksize ]; then
	echo 512M >/sys/block/zram0/disksize
	mkswap /dev/zram0 >/dev/null && swapon /dev/zram0
fi
echo 64 >/proc/sys/vm/nr_hugepages

for module in test_mmu_notifier test_mmu_driver test_mmu_users sample_mmu_notifier; do
	[ ! -e /modules/$module.ko ] || insmod /modules/$module.ko
done

if [ -s /command ] && [ "$(cat /command)" ]; then
	stty -F /dev/ttyS1 raw -echo -opost 2>/dev/null
	cd /tmp || exit
	sh -c "$(cat /command)" </dev/null >/dev/ttyS1 2>&1
	echo "$(cat /token) $?" >/dev/ttyS1
	# the port's buffer must be empty before the machine goes
	stty -F /dev/ttyS1 >/dev/null 2>&1
	sleep 0.3
else
	echo "The guest's shell. Modules are in /modules; exit ends the guest."
	setsid cttyhack sh
fi
sync
reboot -f
