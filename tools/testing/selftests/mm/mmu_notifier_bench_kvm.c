// SPDX-License-Identifier: GPL-2.0
/*
 * What a process pays to KVM for each virtual machine that it creates, beyond the
 * first; those stay until the last one is there.  A group of mmu_notifier_bench:
 *
 *	create		KVM_CREATE_VM number 2 to VMS of a process with <size>
 *			VMAs: the least (kvm, further VM) and their median
 *
 * It takes the same time at any number of VMAs where nobody looks at those.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest.h"
#include "mmu_notifier_bench.h"
#include "mmu_notifier_util.h"

#ifndef KVM_CREATE_VM
#define KVM_CREATE_VM	_IO(0xAE, 0x01)
#endif

#define VMS	200

static void create_vms(int kvm, unsigned int vmas)
{
	uint64_t ns[VMS - 1], middle;
	unsigned int i;

	if (!mn_add_thread() || !mn_add_vmas(vmas) ||
	    ioctl(kvm, KVM_CREATE_VM, 0) < 0)
		return;
	for (i = 0; i < ARRAY_SIZE(ns); i++) {
		uint64_t start = now();

		if (ioctl(kvm, KVM_CREATE_VM, 0) < 0)
			return;
		ns[i] = now() - start;
	}
	/* This sorts them. */
	middle = median(ns, ARRAY_SIZE(ns));
	put("create", "kvm, further VM", vmas, ns[0]);
	put("create", "kvm, further VM, median", vmas, middle);
}

void bench_create(void)
{
	static const unsigned int sizes[] = { 100, 1000, 20000 };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	unsigned int i;
	pid_t pid;

	for (i = 0; kvm >= 0 && i < ARRAY_SIZE(sizes) && small(sizes[i]); i++) {
		pid = spawn();
		if (!pid) {
			create_vms(kvm, sizes[i]);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
	}
}
