#!/bin/busybox sh
# shellcheck shell=dash
# Usage: clients-guest.sh GROUP
#
# In the guest, for clients.sh: runs the programs of GROUP in /bin/clients.list, one
# after the other. Of each it prints
#
#   begin PROGRAM ARGUMENTS
#   what the program prints
#   end STATUS CENTISECONDS
#
# One that fails, but not by taking too long, runs up to three times: some of Linux's
# tests race with themselves (uffd-unit-tests' UFFDIO_COPY with its own mremap()).
set -u

now() { tr -d . </proc/uptime | cut -d ' ' -f 1; }

case $1 in
hmm)
	# Two pieces of memory that the kernel was told to leave alone are what its
	# coherent devices offer; see clients.sh. THP has to be at madvise: with always,
	# the exclusive tests of 6.12 fail with EBUSY on any core, as their buffer is a
	# huge page and make_device_exclusive_range() refuses tail pages.
	insmod /modules/test_hmm.ko spm_addr_dev0=0x50000000 spm_addr_dev1=0xa0000000 || exit ;;
mm | cow)
	echo 300 >/proc/sys/vm/nr_hugepages ;;
esac

while read -r group limit command; do
	[ "$group" = "$1" ] || continue
	for _ in 1 2 3; do
		echo "begin $command"
		start=$(now)
		# By its path: tests of KVM read themselves.
		# shellcheck disable=SC2086 # words wanted
		timeout -s KILL "$limit" /bin/${command##*/} </dev/null 2>&1
		status=$?
		printf '\nend %s %s\n' $status $(($(now) - start))
		case $status in 0 | 4 | 137) break ;; esac
	done
done </bin/clients.list
