// SPDX-License-Identifier: GPL-2.0
/*
 * MMU notifiers: a KVM guest whose memory changes under it.
 *
 * A guest in flat 32-bit mode goes over its memory without pause: each page has
 * to hold what the guest wrote there in the pass before.  Meanwhile the host
 * reclaims that memory, merges, migrates, collapses, splits, discards, truncates
 * and write-protects it, and forks the VMM.  A translation of KVM's that outlives
 * a page shows as a wrong word, to the guest, to the host, or to a child of the
 * VMM; boot with init_on_free=1, so that no freed page keeps the right one.
 *
 * That an event reached KVM is seen by the faults which the guest takes after it
 * (the vCPU's statistic pf_fixed): until then it takes none.
 *
 * And a VMM with many anon_vmas leaves lockdep as it was, where there is lockdep.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "mmu_notifier_util.h"
#include "vm_util.h"

#ifdef __x86_64__

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

/* Where things are in the guest's physical memory. */
#define CONTROL		0x1000
#define DATA		0x10000000U

#define DATA_PAGES	1024U
#define DATA_SIZE	(DATA_PAGES * 4096UL)
#define HUGE_SIZE	(2UL << 20)

/* More locks of one class than the 11 bits of lockdep's count of references. */
#define ANON_VMAS	2200

/* A word that has something of each bit of the page's number. */
#define MIX		0x9e3779b1U

#define KSM		"/sys/kernel/mm/ksm/"
#define SPLIT		"/sys/kernel/debug/split_huge_pages"

/* How long something may take that has to come. */
#define PATIENCE_MS	60000
#define TRIES		50

/*
 * What guest and host tell each other; the guest's code has the offsets.  But for
 * @stop the host writes here only while the guest is paused.
 */
struct control {
	uint32_t gen;		/* page i holds gen + i * mul */
	uint32_t step;		/* each pass that writes adds this to gen */
	uint32_t mul;
	uint32_t write;		/* each pass writes */
	uint32_t zero_ok;	/* a page may have become zero: it is counted */
	uint32_t stop;		/* pause after this pass */
	uint32_t pages;
	uint32_t passes;
	uint32_t zeroes;
	uint32_t bad;		/* 1 + the page that was wrong */
	uint32_t bad_value;
	uint32_t bad_wanted;
};

/* %ebx: struct control; %edi: the data; both physical. */
asm(".pushsection .rodata, \"a\"\n"
	".code32\n"
	"guest_code:\n"
	"1:	movl	0(%ebx), %eax\n"	/* what the page should hold */
	"	movl	%eax, %edx\n"
	"	addl	4(%ebx), %edx\n"	/* and what it shall hold */
	"	movl	%edi, %esi\n"
	"	xorl	%ecx, %ecx\n"
	"2:	movl	(%esi), %ebp\n"
	"	cmpl	%eax, %ebp\n"
	"	je	3f\n"
	"	testl	%ebp, %ebp\n"
	"	jne	6f\n"
	"	cmpl	$0, 16(%ebx)\n"
	"	je	6f\n"
	"	incl	32(%ebx)\n"
	"3:	cmpl	$0, 12(%ebx)\n"
	"	je	4f\n"
	"	movl	%edx, (%esi)\n"
	"4:	addl	8(%ebx), %eax\n"
	"	addl	8(%ebx), %edx\n"
	"	addl	$4096, %esi\n"
	"	incl	%ecx\n"
	"	cmpl	24(%ebx), %ecx\n"
	"	jb	2b\n"
	"	cmpl	$0, 12(%ebx)\n"
	"	je	5f\n"
	"	movl	4(%ebx), %eax\n"
	"	addl	%eax, 0(%ebx)\n"
	"5:	incl	28(%ebx)\n"
	"	cmpl	$0, 20(%ebx)\n"
	"	je	1b\n"
	"	hlt\n"
	"	jmp	1b\n"
	"6:	movl	%ebp, 40(%ebx)\n"
	"	movl	%eax, 44(%ebx)\n"
	"	incl	%ecx\n"
	"	movl	%ecx, 36(%ebx)\n"
	"	hlt\n"
	"	jmp	6b\n"
	"guest_code_end:\n"
	".code64\n"
	".popsection\n");

extern const char guest_code[], guest_code_end[];

#define peek(word)		__atomic_load_n(&(word), __ATOMIC_ACQUIRE)
#define poke(word, value)	__atomic_store_n(&(word), value, __ATOMIC_RELEASE)

/* The VMM */

struct vmm {
	int kvm, fd, vcpu, stats, memfd;
	struct kvm_run *run;
	char *low, *data;
	struct control *ctl;
	off_t pf_fixed;		/* in what stats reads */
	pthread_t thread;
	sem_t go;
	bool running;		/* there is the thread */
	bool paused;
	bool broken;		/* KVM_RUN failed */
	bool may_fault;		/* memory is missing for a while */
	unsigned int faulted;	/* how often it was */
	int error;
};

FIXTURE(kvm)
{
	struct vmm vmm;
};

FIXTURE_VARIANT(kvm)
{
	bool shared;		/* memory is a memfd */
};

FIXTURE_VARIANT_ADD(kvm, anon) { .shared = false };
FIXTURE_VARIANT_ADD(kvm, memfd) { .shared = true };

/* One statistic of the vCPU, by its name. */
static off_t find_stat(int fd, const char *name)
{
	struct kvm_stats_header header;
	struct kvm_stats_desc *desc;
	off_t found = -1;
	size_t size;
	uint32_t i;

	if (pread(fd, &header, sizeof(header), 0) != sizeof(header))
		return -1;
	size = sizeof(*desc) + header.name_size;
	desc = malloc(size);
	for (i = 0; desc && i < header.num_desc && found < 0; i++) {
		if (pread(fd, desc, size, header.desc_offset + i * size) !=
		    (ssize_t)size)
			break;
		if (!strcmp(desc->name, name))
			found = header.data_offset + desc->offset;
	}
	free(desc);
	return found;
}

static uint64_t faults(struct vmm *vm)
{
	uint64_t value = 0;

	if (pread(vm->stats, &value, sizeof(value), vm->pf_fixed) !=
	    sizeof(value))
		return 0;
	return value;
}

static void *vcpu_thread(void *arg)
{
	struct vmm *vm = arg;

	for (;;) {
		if (ioctl(vm->vcpu, KVM_RUN, 0)) {
			if (errno == EINTR)
				continue;
			if (errno == EFAULT && peek(vm->may_fault)) {
				poke(vm->faulted, vm->faulted + 1);
				sched_yield();
				continue;
			}
			vm->error = errno;
			break;
		}
		if (vm->run->exit_reason != KVM_EXIT_HLT ||
		    peek(vm->ctl->bad))
			break;
		poke(vm->paused, true);
		sem_wait(&vm->go);
		if (peek(vm->ctl->stop) == 2)
			return NULL;
	}
	poke(vm->broken, true);
	return NULL;
}

/* False, with the reason on the screen, if the guest found something wrong. */
static bool fine(struct vmm *vm)
{
	struct control *ctl = vm->ctl;

	if (!peek(vm->broken))
		return true;
	if (peek(ctl->bad))
		ksft_print_msg("guest: page %u holds %#x and not %#x\n",
			       ctl->bad - 1, ctl->bad_value, ctl->bad_wanted);
	else
		ksft_print_msg("KVM_RUN: error %d, exit %u\n", vm->error,
			       vm->run->exit_reason);
	return false;
}

/* Waits until the guest went over all of its memory so many times more. */
static bool passes(struct vmm *vm, unsigned int nr)
{
	/* The pass that goes on began before. */
	uint32_t until = peek(vm->ctl->passes) + nr + 1;
	unsigned int ms;

	for (ms = 0; ms < PATIENCE_MS && fine(vm); ms++) {
		if ((int32_t)(peek(vm->ctl->passes) - until) >= 0)
			return true;
		mn_sleep_ms(1);
	}
	ksft_print_msg("the guest does not get on\n");
	return false;
}

/* Stops the guest between two passes. */
static bool pause_guest(struct vmm *vm)
{
	unsigned int ms;

	poke(vm->ctl->stop, 1);
	for (ms = 0; ms < PATIENCE_MS && fine(vm); ms++) {
		if (peek(vm->paused))
			return true;
		mn_sleep_ms(1);
	}
	ksft_print_msg("the guest does not stop\n");
	return false;
}

static void resume_guest(struct vmm *vm)
{
	poke(vm->paused, false);
	poke(vm->ctl->stop, 0);
	sem_post(&vm->go);
}

static uint32_t wanted(struct vmm *vm, unsigned int page)
{
	return vm->ctl->gen + page * vm->ctl->mul;
}

static uint32_t *word(struct vmm *vm, unsigned int page)
{
	return (uint32_t *)(vm->data + page * 4096UL);
}

static void fill(struct vmm *vm)
{
	unsigned int i;

	for (i = 0; i < DATA_PAGES; i++)
		poke(*word(vm, i), wanted(vm, i));
}

/* Whether the host sees what the guest, which is paused, wrote. */
static bool agree(struct vmm *vm)
{
	unsigned int i;

	for (i = 0; i < DATA_PAGES; i++) {
		if (peek(*word(vm, i)) == wanted(vm, i))
			continue;
		ksft_print_msg("host: page %u holds %#x and not %#x\n", i,
			       peek(*word(vm, i)), wanted(vm, i));
		return false;
	}
	return true;
}

/* Waits until the guest takes no more faults: what comes now is an event's. */
static bool settled(struct vmm *vm, uint64_t *before)
{
	unsigned int tries;

	for (tries = 0; tries < TRIES; tries++) {
		*before = faults(vm);
		if (!passes(vm, 2))
			return false;
		if (faults(vm) == *before)
			return true;
	}
	ksft_print_msg("the guest does not stop to fault\n");
	return false;
}

/* The guest had to fault in so much again, and nothing is wrong. */
static bool reached(struct vmm *vm, uint64_t before, uint64_t at_least)
{
	if (!passes(vm, 2))
		return false;
	if (faults(vm) - before < at_least) {
		ksft_print_msg("%llu faults after the event, not %llu\n",
			       (unsigned long long)(faults(vm) - before),
			       (unsigned long long)at_least);
		return false;
	}
	if (!pause_guest(vm) || !agree(vm))
		return false;
	resume_guest(vm);
	return passes(vm, 1);
}

static bool set_region(struct vmm *vm, uint32_t slot, uint64_t gpa, void *addr,
		       uint64_t size)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)addr,
	};

	return !ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

/* Protected mode without paging: all of memory, at its physical address. */
static bool set_registers(struct vmm *vm)
{
	struct kvm_segment data = {
		.limit = 0xffffffff, .selector = 0x10, .type = 3, .present = 1,
		.db = 1, .s = 1, .g = 1,
	};
	struct kvm_regs regs = {
		.rip = 0, .rbx = CONTROL, .rdi = DATA, .rflags = 2,
	};
	struct kvm_sregs sregs;

	if (ioctl(vm->vcpu, KVM_GET_SREGS, &sregs))
		return false;
	sregs.ds = data;
	sregs.es = data;
	sregs.fs = data;
	sregs.gs = data;
	sregs.ss = data;
	sregs.cs = data;
	sregs.cs.selector = 8;
	sregs.cs.type = 11;
	sregs.cr0 |= 1;
	return !ioctl(vm->vcpu, KVM_SET_SREGS, &sregs) &&
	       !ioctl(vm->vcpu, KVM_SET_REGS, &regs);
}

FIXTURE_SETUP(kvm)
{
	struct vmm *vm = &self->vmm;
	int size;

	vm->memfd = -1;
	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm < 0)
		SKIP(return, "no /dev/kvm");
	vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	ASSERT_GE(vm->fd, 0);

	/* What belongs to the test shall not be what changes. */
	vm->low = mmap(NULL, 0x2000, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(vm->low, MAP_FAILED);
	memcpy(vm->low, guest_code, guest_code_end - guest_code);
	vm->ctl = (void *)(vm->low + CONTROL);
	vm->ctl->gen = 1;
	vm->ctl->step = 1;
	vm->ctl->mul = MIX;
	vm->ctl->write = 1;
	vm->ctl->pages = DATA_PAGES;

	vm->data = mn_map(DATA_SIZE, HUGE_SIZE);
	if (variant->shared) {
		vm->memfd = memfd_create("guest", MFD_CLOEXEC);
		ASSERT_GE(vm->memfd, 0);
		ASSERT_EQ(0, ftruncate(vm->memfd, DATA_SIZE));
		ASSERT_EQ(vm->data,
			  mmap(vm->data, DATA_SIZE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_FIXED, vm->memfd, 0));
	}
	fill(vm);

	ASSERT_TRUE(set_region(vm, 0, 0, vm->low, 0x2000));
	ASSERT_TRUE(set_region(vm, 1, DATA, vm->data, DATA_SIZE));
	vm->vcpu = ioctl(vm->fd, KVM_CREATE_VCPU, 0);
	ASSERT_GE(vm->vcpu, 0);
	size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       vm->vcpu, 0);
	ASSERT_NE(vm->run, MAP_FAILED);
	ASSERT_TRUE(set_registers(vm));
	vm->stats = ioctl(vm->vcpu, KVM_GET_STATS_FD, NULL);
	ASSERT_GE(vm->stats, 0);
	vm->pf_fixed = find_stat(vm->stats, "pf_fixed");
	ASSERT_GE(vm->pf_fixed, 0);

	sem_init(&vm->go, 0, 0);
	ASSERT_EQ(0, pthread_create(&vm->thread, NULL, vcpu_thread, vm));
	vm->running = true;
}

FIXTURE_TEARDOWN(kvm)
{
	struct vmm *vm = &self->vmm;
	/* A guest that found something wrong has ended; the process will. */
	if (!vm->running || peek(vm->broken) || !pause_guest(vm))
		return;
	poke(vm->ctl->stop, 2);
	sem_post(&vm->go);
	EXPECT_EQ(0, pthread_join(vm->thread, NULL));
	close(vm->vcpu);
	close(vm->fd);
	close(vm->kvm);
}

/* How many of the pages are where they should be, by a question to each. */
static unsigned int count_pages(struct vmm *vm, bool (*question)(const void *addr))
{
	unsigned int i, nr = 0;

	for (i = 0; i < DATA_PAGES; i++)
		nr += question(word(vm, i));
	return nr;
}

/* Gives memory back, as a balloon does: there are zeroes now. */
static bool discard(struct vmm *vm, off_t offset, size_t size)
{
	if (vm->memfd < 0)
		return !madvise(vm->data + offset, size, MADV_DONTNEED);
	return !fallocate(vm->memfd, FALLOC_FL_PUNCH_HOLE |
			  FALLOC_FL_KEEP_SIZE, offset, size);
}

static bool present(const void *addr)
{
	return mn_pfn(addr);
}

/* The events */

/* Nothing changes, and the guest takes no fault: that is what others mean. */
TEST_F_TIMEOUT(kvm, nothing, 120)
{
	struct vmm *vm = &self->vmm;
	uint64_t before;

	ASSERT_TRUE(settled(vm, &before));
	EXPECT_TRUE(passes(vm, 20));
	EXPECT_EQ(before, faults(vm));
	EXPECT_TRUE(reached(vm, before, 0));
}

TEST_F_TIMEOUT(kvm, pageout, 180)
{
	struct vmm *vm = &self->vmm;
	unsigned int tries, left = DATA_PAGES;
	uint64_t before;
	char swap[256];

	if (!mn_swap_device(swap, sizeof(swap)))
		SKIP(return, "no swap");

	/* All of it, while the guest waits. */
	ASSERT_TRUE(settled(vm, &before));
	ASSERT_TRUE(pause_guest(vm));
	for (tries = 0; tries < TRIES && left; tries++) {
		/* Pages may be in a CPU's batch, where they are not found. */
		mn_write_file("/proc/sys/vm/compact_memory", "1");
		ASSERT_EQ(0, madvise(vm->data, DATA_SIZE, MADV_PAGEOUT));
		left = count_pages(vm, present);
	}
	ASSERT_EQ(0, left);
	resume_guest(vm);
	EXPECT_TRUE(reached(vm, before, DATA_PAGES));

	/* And under it. */
	before = faults(vm);
	for (tries = 0; tries < TRIES; tries++) {
		ASSERT_EQ(0, madvise(vm->data, DATA_SIZE, MADV_PAGEOUT));
		ASSERT_TRUE(fine(vm));
	}
	EXPECT_TRUE(reached(vm, before, DATA_PAGES));
}

/* A limit below what the guest uses: it never has all of its memory. */
TEST_F_TIMEOUT(kvm, memcg_limit, 180)
{
	struct vmm *vm = &self->vmm;
	char group[128], file[160], usage[160], swap[256];
	long current, limit;
	unsigned int tries;
	uint64_t before;

	if (!mn_swap_device(swap, sizeof(swap)))
		SKIP(return, "no swap");
	if (mn_make_memcg(group, sizeof(group)))
		SKIP(return, "no memory cgroups");
	ASSERT_TRUE(settled(vm, &before));
	ASSERT_TRUE(pause_guest(vm));
	snprintf(file, sizeof(file), "%s/cgroup.procs", group);
	ASSERT_EQ(0, mn_write_file(file, "%d", getpid()));

	/* What it has is charged to another: it gets it anew. */
	ASSERT_TRUE(discard(vm, 0, DATA_SIZE));
	fill(vm);
	resume_guest(vm);
	EXPECT_TRUE(reached(vm, before, DATA_PAGES));

	/* Pages that the guest uses again and again are not given away. */
	ASSERT_TRUE(pause_guest(vm));
	before = faults(vm);
	snprintf(usage, sizeof(usage), "%s/memory.current", group);
	snprintf(file, sizeof(file), "%s/memory.high", group);
	ASSERT_EQ(0, mn_read_long(usage, &current));
	limit = current - (long)DATA_SIZE / 4;
	for (tries = 0; tries < TRIES && current > limit; tries++) {
		ASSERT_EQ(0, mn_write_file(file, "%ld", limit));
		ASSERT_EQ(0, mn_read_long(usage, &current));
	}
	ASSERT_LE(current, limit);
	resume_guest(vm);
	EXPECT_TRUE(passes(vm, 3));
	ASSERT_EQ(0, mn_write_file(file, "max"));
	EXPECT_TRUE(reached(vm, before, DATA_PAGES / 4));

	EXPECT_EQ(0, mn_write_file("/sys/fs/cgroup/cgroup.procs", "%d",
				   getpid()));
	rmdir(group);
}

static bool ksm_is_here(void)
{
	return !mn_write_file(KSM "pages_to_scan", "20000") &&
	       !mn_write_file(KSM "sleep_millisecs", "0") &&
	       !mn_write_file(KSM "run", "1");
}

/* Waits until so many pages are KSM's. */
static bool ksm_merged(struct vmm *vm, long pages)
{
	unsigned int ms;
	long nr = 0;

	for (ms = 0; ms < PATIENCE_MS && fine(vm); ms++) {
		if (!mn_read_long("/proc/self/ksm_merging_pages", &nr) &&
		    nr >= pages)
			return true;
		mn_sleep_ms(1);
	}
	ksft_print_msg("KSM merged %ld pages of %ld\n", nr, pages);
	return false;
}

TEST_F_TIMEOUT(kvm, ksm, 240)
{
	struct vmm *vm = &self->vmm;
	struct control *ctl = vm->ctl;
	uint64_t before;

	if (variant->shared)
		SKIP(return, "KSM merges anonymous memory");
	if (!ksm_is_here())
		SKIP(return, "no KSM");

	/* All pages are alike, and the guest only looks. */
	ASSERT_TRUE(pause_guest(vm));
	ctl->mul = 0;
	ctl->write = 0;
	fill(vm);
	resume_guest(vm);
	ASSERT_TRUE(settled(vm, &before));
	ASSERT_EQ(0, madvise(vm->data, DATA_SIZE, MADV_MERGEABLE));
	ASSERT_TRUE(ksm_merged(vm, DATA_PAGES));
	EXPECT_TRUE(reached(vm, before, DATA_PAGES));

	/* The guest writes again, to pages that are one. */
	ASSERT_TRUE(settled(vm, &before));
	ASSERT_TRUE(pause_guest(vm));
	ctl->write = 1;
	ctl->mul = MIX;
	ctl->step = 1;
	/* The host too; KVM still maps the page of all. */
	fill(vm);
	resume_guest(vm);
	EXPECT_TRUE(reached(vm, before, DATA_PAGES));

	/* What is written is what was there: merged and copied without end. */
	ASSERT_TRUE(pause_guest(vm));
	ctl->mul = 0;
	ctl->step = 0;
	fill(vm);
	before = faults(vm);
	resume_guest(vm);
	mn_sleep_ms(3000);
	EXPECT_TRUE(reached(vm, before, DATA_PAGES));
	EXPECT_EQ(0, madvise(vm->data, DATA_SIZE, MADV_UNMERGEABLE));
	EXPECT_TRUE(passes(vm, 2));
}

TEST_F_TIMEOUT(kvm, migrate, 180)
{
	struct vmm *vm = &self->vmm;
	unsigned int tries, moved = 0;
	uint64_t before;
	int node, ret;

	if (access("/sys/devices/system/node/node1", F_OK))
		SKIP(return, "no two NUMA nodes");
	ASSERT_TRUE(settled(vm, &before));
	for (tries = 0; tries < 8; tries++) {
		node = !mn_node_of(0, vm->data);
		ret = mn_move_pages(0, vm->data, DATA_PAGES, node);
		ASSERT_GE(ret, 0);
		moved += ret;
		ASSERT_TRUE(passes(vm, 1));
	}
	/* Some may be in somebody's hands at that moment. */
	EXPECT_GE(moved, 4 * DATA_PAGES);
	EXPECT_TRUE(reached(vm, before, moved / 2));
}

static bool is_huge(struct vmm *vm, bool shared)
{
	return shared ? check_huge_shmem(vm->data, 2, HUGE_SIZE) :
			check_huge_anon(vm->data, 2, HUGE_SIZE);
}

TEST_F_TIMEOUT(kvm, thp, 240)
{
	struct vmm *vm = &self->vmm;
	unsigned int round, tries;
	uint64_t before;

	if (read_pmd_pagesize() != HUGE_SIZE)
		SKIP(return, "no transparent huge pages");
	if (access(SPLIT, W_OK))
		SKIP(return, "no debugfs");
	for (round = 0; round < 4; round++) {
		ASSERT_TRUE(settled(vm, &before));
		for (tries = 0; tries < TRIES && !is_huge(vm, variant->shared);
		     tries++) {
			madvise(vm->data, DATA_SIZE, MADV_COLLAPSE);
			ASSERT_TRUE(fine(vm));
		}
		ASSERT_TRUE(is_huge(vm, variant->shared));
		EXPECT_TRUE(reached(vm, before, DATA_SIZE / HUGE_SIZE));

		ASSERT_TRUE(settled(vm, &before));
		for (tries = 0; tries < TRIES && is_huge(vm, variant->shared);
		     tries++) {
			mn_write_file(SPLIT, "%d,0x%lx,0x%lx", getpid(),
				      (unsigned long)vm->data,
				      (unsigned long)vm->data + DATA_SIZE);
			ASSERT_TRUE(fine(vm));
		}
		ASSERT_FALSE(is_huge(vm, variant->shared));
		EXPECT_TRUE(reached(vm, before, DATA_SIZE / HUGE_SIZE));
	}
}

/*
 * The guest sees each page that is discarded as zero, once.  One it may just
 * have read, and then it writes it without having seen it.
 */
static bool saw_zeroes(struct vmm *vm, uint64_t before, uint32_t pages)
{
	uint32_t seen;

	if (!reached(vm, before, pages))
		return false;
	seen = peek(vm->ctl->zeroes);
	if (seen == pages || seen == pages - 1)
		return true;
	ksft_print_msg("the guest saw %u zeroes, not %u\n", seen, pages);
	return false;
}

static bool allow_zeroes(struct vmm *vm, bool allow)
{
	if (!pause_guest(vm))
		return false;
	vm->ctl->zeroes = 0;
	vm->ctl->zero_ok = allow;
	resume_guest(vm);
	return true;
}

TEST_F_TIMEOUT(kvm, discard, 180)
{
	struct vmm *vm = &self->vmm;
	unsigned int round;
	uint64_t before;

	for (round = 0; round < 8; round++) {
		ASSERT_TRUE(allow_zeroes(vm, true));
		ASSERT_TRUE(settled(vm, &before));
		ASSERT_TRUE(discard(vm, DATA_SIZE / 4, DATA_SIZE / 2));
		EXPECT_TRUE(saw_zeroes(vm, before, DATA_PAGES / 2));
		ASSERT_TRUE(allow_zeroes(vm, false));
	}
}

TEST_F_TIMEOUT(kvm, truncate, 180)
{
	struct vmm *vm = &self->vmm;
	unsigned int round, faulted, ms;
	uint64_t before;

	if (!variant->shared)
		SKIP(return, "anonymous memory is not truncated");
	for (round = 0; round < 8; round++) {
		ASSERT_TRUE(allow_zeroes(vm, true));
		ASSERT_TRUE(settled(vm, &before));
		faulted = peek(vm->faulted);
		poke(vm->may_fault, true);
		ASSERT_EQ(0, ftruncate(vm->memfd, DATA_SIZE / 2));
		/* There is nothing behind the end, and KVM says so. */
		for (ms = 0; ms < PATIENCE_MS && fine(vm); ms++) {
			if (peek(vm->faulted) != faulted)
				break;
			mn_sleep_ms(1);
		}
		ASSERT_NE(faulted, peek(vm->faulted));
		ASSERT_EQ(0, ftruncate(vm->memfd, DATA_SIZE));
		ASSERT_TRUE(passes(vm, 1));
		poke(vm->may_fault, false);
		EXPECT_TRUE(saw_zeroes(vm, before, DATA_PAGES / 2));
		ASSERT_TRUE(allow_zeroes(vm, false));
	}
}

static int open_wp(struct vmm *vm)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			    UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
	};
	struct uffdio_register reg = {
		.range = { (uintptr_t)vm->data, DATA_SIZE },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -1;
	if (!ioctl(fd, UFFDIO_API, &api) && !ioctl(fd, UFFDIO_REGISTER, &reg))
		return fd;
	close(fd);
	return -1;
}

static bool protect(int fd, uint64_t addr, uint64_t size, bool on)
{
	struct uffdio_writeprotect args = {
		.range = { addr, size },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return !ioctl(fd, UFFDIO_WRITEPROTECT, &args);
}

TEST_F_TIMEOUT(kvm, uffd_wp, 180)
{
	struct vmm *vm = &self->vmm;
	uint32_t copy[DATA_PAGES];
	struct uffd_msg msg;
	struct pollfd poller = { .events = POLLIN };
	unsigned int changed, i, round;
	uint64_t before;
	int fd;

	fd = open_wp(vm);
	if (fd < 0)
		SKIP(return, "no userfaultfd that write-protects");
	poller.fd = fd;
	for (round = 0; round < 3; round++) {
		ASSERT_TRUE(settled(vm, &before));
		ASSERT_TRUE(protect(fd, (uintptr_t)vm->data, DATA_SIZE, true));

		/* From here on no page changes. */
		for (i = 0; i < DATA_PAGES; i++)
			copy[i] = peek(*word(vm, i));
		mn_sleep_ms(50);
		for (i = 0, changed = 0; i < DATA_PAGES; i++)
			changed += copy[i] != peek(*word(vm, i));
		ASSERT_EQ(0, changed);

		/* The guest writes each of them once more. */
		for (i = 0; i < DATA_PAGES; i++) {
			ASSERT_EQ(1, poll(&poller, 1, PATIENCE_MS));
			ASSERT_EQ(sizeof(msg), read(fd, &msg, sizeof(msg)));
			ASSERT_EQ(UFFD_EVENT_PAGEFAULT, msg.event);
			ASSERT_TRUE(protect(fd, msg.arg.pagefault.address &
					    ~4095ULL, 4096, false));
		}
		EXPECT_TRUE(reached(vm, before, DATA_PAGES));
		EXPECT_EQ(0, poll(&poller, 1, 0));
	}
	close(fd);
}

/* In the child: does its copy stay what it is? */
static int watch_copy(struct vmm *vm)
{
	uint32_t copy[DATA_PAGES];
	unsigned int i, round;

	for (i = 0; i < DATA_PAGES; i++)
		copy[i] = peek(*word(vm, i));
	for (round = 0; round < 20; round++) {
		for (i = 0; i < DATA_PAGES; i++) {
			if (copy[i] != peek(*word(vm, i)))
				return 1;
		}
		mn_sleep_ms(10);
	}
	return 0;
}

TEST_F_TIMEOUT(kvm, fork, 180)
{
	struct vmm *vm = &self->vmm;
	unsigned int round;
	uint64_t before;
	int status;
	pid_t pid;

	if (variant->shared)
		SKIP(return, "a fork shares it");
	for (round = 0; round < 5; round++) {
		ASSERT_TRUE(settled(vm, &before));
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid)
			_exit(watch_copy(vm));
		EXPECT_TRUE(reached(vm, before, DATA_PAGES));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
	}
}

/* Lockdep is on (1), off (0), or not there (-1). */
static int lockdep_is_on(void)
{
	FILE *file = fopen("/proc/lockdep_stats", "r");
	char line[256];
	int on = -1;

	while (file && on < 0 && fgets(line, sizeof(line), file))
		sscanf(line, " debug_locks: %d", &on);
	if (file)
		fclose(file);
	return on;
}

FIXTURE(lockdep)
{
	int kvm;
};

FIXTURE_SETUP(lockdep)
{
	self->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (self->kvm < 0)
		SKIP(return, "no /dev/kvm");
	if (lockdep_is_on() < 0)
		SKIP(return, "no lockdep (CONFIG_PROVE_LOCKING), or not root");
	if (!lockdep_is_on())
		SKIP(return, "lockdep has been off since something before");
}

FIXTURE_TEARDOWN(lockdep)
{
	if (self->kvm >= 0)
		close(self->kvm);
}

/*
 * A core that holds the locks of all anon_vmas at once holds more than lockdep
 * can count: it says so, and looks at no lock of anybody any more.
 */
TEST_F_TIMEOUT(lockdep, counts_the_locks, 180)
{
	/* Each second mapping has an anon_vma of its own. */
	ASSERT_TRUE(mn_add_vmas(2 * ANON_VMAS));
	EXPECT_GE(ioctl(self->kvm, KVM_CREATE_VM, 0), 0);
	EXPECT_EQ(1, lockdep_is_on());
}

TEST_HARNESS_MAIN

#else /* __x86_64__ */

int main(void)
{
	ksft_print_header();
	ksft_exit_skip("the guest's code is for x86\n");
}

#endif
