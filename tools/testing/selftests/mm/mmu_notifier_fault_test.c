// SPDX-License-Identifier: GPL-2.0
/*
 * MMU notifiers: mmu_notifier_fault() and mmu_notifier_fault_atomic(), what they
 * show of each kind of memory and how they fail, and a secondary MMU that
 * faults through them without pause while the page tables change.
 *
 * To be run as root, as mmu_notifier_test.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "mmu_notifier_scene.h"
#include "mmu_notifier_util.h"
#include "vm_util.h"
#include "../../../../lib/test_mmu_driver_uapi.h"

#define DRIVER	"/dev/test_mmu_driver"

/* What is shown */

FIXTURE(fault)
{
	int fd;
	size_t page_size;
	struct tmn_fault seen;
};

FIXTURE_SETUP(fault)
{
	int ret;

	self->page_size = mn_page_size();
	self->fd = mn_open();
	if (self->fd < 0)
		SKIP(return, "no " MN_DEVICE);
	ret = mn_attach(self->fd, TMN_STYLE_GRU, 0, 0);
	if (ret == -EOPNOTSUPP)
		SKIP(return, "no mmu_notifier_fault()");
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(fault)
{
	if (self->fd >= 0)
		close(self->fd);
}

static int fault_with(int fd, void *addr, uint32_t flags, uint32_t error,
		      struct tmn_fault *seen)
{
	memset(seen, 0, sizeof(*seen));
	seen->addr = (uintptr_t)addr;
	seen->flags = flags;
	seen->error = error;
	return ioctl(fd, TMN_FAULT, seen) ? -errno : 0;
}

#define see(addr, flags)	fault_with(self->fd, addr, flags, 0, &self->seen)

/* That it was shown this, of which @addr is a part. */
#define EXPECT_SEEN(addr, size, flag)					\
	do {								\
		uint64_t __size = (size);				\
									\
		EXPECT_EQ(__size, self->seen.mapping_size);		\
		EXPECT_EQ((uintptr_t)(addr) & ~(__size - 1),		\
			  self->seen.mapping_start);			\
		EXPECT_EQ((uint32_t)(flag), self->seen.flags);		\
	} while (0)

#define PAGE_RO	TMN_FAULT_PAGE
#define PAGE_RW	(TMN_FAULT_PAGE | TMN_FAULT_WRITE)

TEST_F(fault, anonymous)
{
	char *page = map_pages(2);
	uint64_t zero;

	/* Nothing there yet: the zero page, and nothing to be written to. */
	ASSERT_EQ(0, see(page, 0));
	EXPECT_SEEN(page, self->page_size, 0);
	zero = self->seen.pfn;
	ASSERT_EQ(0, see(page + 8, TMN_FAULT_WRITE));
	EXPECT_SEEN(page, self->page_size, PAGE_RW);
	EXPECT_NE(zero, self->seen.pfn);
	EXPECT_EQ(mn_pfn(page), self->seen.pfn);

	/* A page that may be written is shown so for a read as well. */
	mn_cpu_write(page + self->page_size, 1);
	ASSERT_EQ(0, see(page + self->page_size, 0));
	EXPECT_SEEN(page + self->page_size, self->page_size, PAGE_RW);
}

/* On behalf of a process that is not the one that calls. */
TEST_F(fault, of_another_process)
{
	char *page = map_pages(1);
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(see(page, TMN_FAULT_WRITE) || mn_pfn(page) ? 1 : 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_NE(0, mn_pfn(page));
}

/* A fault that has to do something first: copy, swap in. */
TEST_F(fault, copies)
{
	char *page = map_pages(1);
	uint64_t shared;
	pid_t pid;
	int to[2];
	char c;

	mn_fill(page, 1, 1);
	ASSERT_EQ(0, pipe(to));
	pid = fork();
	if (!pid) {
		close(to[1]);
		_exit(read(to[0], &c, 1) != 0);
	}
	ASSERT_EQ(0, see(page, 0));
	EXPECT_SEEN(page, self->page_size, PAGE_RO);
	shared = self->seen.pfn;
	ASSERT_EQ(0, see(page, TMN_FAULT_WRITE));
	EXPECT_SEEN(page, self->page_size, PAGE_RW);
	EXPECT_NE(shared, self->seen.pfn);
	close(to[1]);
	waitpid(pid, NULL, 0);
}

TEST_F(fault, thp)
{
	size_t size = read_pmd_pagesize();
	char *addr = size ? map_huge(size) : NULL;

	if (!addr)
		SKIP(return, "no transparent huge page");
	ASSERT_EQ(0, see(addr + size / 2 + 8, TMN_FAULT_WRITE));
	EXPECT_SEEN(addr, size, PAGE_RW);
	EXPECT_EQ(mn_pfn(addr), self->seen.pfn);
}

TEST_F(fault, thp_zero)
{
	size_t size = read_pmd_pagesize();
	char *addr;

	if (!size)
		SKIP(return, "no transparent huge page");
	addr = mn_map(size, size);
	madvise(addr, size, MADV_HUGEPAGE);
	ASSERT_EQ(0, see(addr + size - 8, 0));
	EXPECT_SEEN(addr, size, 0);
}

TEST_F(fault, hugetlb)
{
	size_t size = need_hugetlb(2);
	char *addr;

	if (!size)
		SKIP(return, "no free hugetlb pages");
	addr = map_hugetlb(2 * size);
	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_EQ(0, see(addr + size + 4096, TMN_FAULT_WRITE));
	EXPECT_SEEN(addr + size, size, PAGE_RW);
	EXPECT_EQ(mn_pfn(addr + size), self->seen.pfn);

	/* Read-only, then write-protected: the rights of the VMA count. */
	ASSERT_EQ(0, mprotect(addr + size, size, PROT_READ));
	ASSERT_EQ(0, see(addr + size, 0));
	EXPECT_SEEN(addr + size, size, PAGE_RO);
	EXPECT_EQ(-EFAULT, see(addr + size, TMN_FAULT_WRITE));
}

TEST_F(fault, file)
{
	int fd = memfd_create("fault", 0);
	char *shared, *private;
	uint64_t pfn;

	ASSERT_EQ(0, ftruncate(fd, self->page_size));
	shared = mmap(NULL, self->page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		      fd, 0);
	private = mmap(NULL, self->page_size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, shared);
	ASSERT_NE(MAP_FAILED, private);

	ASSERT_EQ(0, see(shared, TMN_FAULT_WRITE));
	EXPECT_SEEN(shared, self->page_size, PAGE_RW);
	pfn = self->seen.pfn;
	/* The file's page for reading, one of its own for writing. */
	ASSERT_EQ(0, see(private, 0));
	EXPECT_SEEN(private, self->page_size, PAGE_RO);
	EXPECT_EQ(pfn, self->seen.pfn);
	ASSERT_EQ(0, see(private, TMN_FAULT_WRITE));
	EXPECT_SEEN(private, self->page_size, PAGE_RW);
	EXPECT_NE(pfn, self->seen.pfn);

	/* Past the end of the file. */
	ASSERT_EQ(0, ftruncate(fd, 0));
	EXPECT_EQ(-EFAULT, see(shared, 0));
}

TEST_F_TIMEOUT(fault, ksm, 120)
{
	char *addr = map_pages(PAGES);
	uint64_t pfn;

	if (access(KSM_RUN, W_OK))
		SKIP(return, "no KSM");
	fill_alike(addr, PAGES);
	ASSERT_TRUE(merge(addr, PAGES));
	ASSERT_EQ(0, see(addr, 0));
	EXPECT_SEEN(addr, self->page_size, PAGE_RO);
	pfn = self->seen.pfn;
	ASSERT_EQ(0, see(addr, TMN_FAULT_WRITE));
	EXPECT_SEEN(addr, self->page_size, PAGE_RW);
	EXPECT_NE(pfn, self->seen.pfn);
}

#define NUMA_BALANCING	"/proc/sys/kernel/numa_balancing"

/* Whether the kernel has put a NUMA hint, PROT_NONE, into the entry of @addr. */
static bool wait_for_hint(int fd, char *addr)
{
	uint64_t end = mn_now_ns() + 60000000000ULL;
	struct tmn_fault seen;
	int ret;

	/* It looks for pages when the process has used the CPU for a while. */
	do {
		ret = fault_with(fd, addr, TMN_FAULT_INTERRUPT, 0, &seen);
	} while (!ret && mn_now_ns() < end);
	return ret == -EAGAIN;
}

/* An entry that makes the next access a fault is none for the device, either. */
TEST_F_TIMEOUT(fault, numa_hint, 150)
{
	size_t huge = read_pmd_pagesize();
	char *page = map_pages(1);
	char *addr = huge ? map_huge(huge) : NULL;
	long before;

	if (!has_node(0) || !has_node(1) ||
	    mn_read_long(NUMA_BALANCING, &before))
		SKIP(return, "no NUMA balancing");
	/* Else pages on the CPU's own node are left alone. */
	ASSERT_TRUE(mn_add_thread());
	mn_fill(page, 1, 1);
	ASSERT_EQ(0, mn_write_file(NUMA_BALANCING, "1"));
	EXPECT_TRUE(wait_for_hint(self->fd, page));
	/* The fault takes it away. */
	EXPECT_EQ(0, see(page, 0));
	EXPECT_EQ(0, see(page, TMN_FAULT_INTERRUPT | TMN_FAULT_WRITE));
	EXPECT_SEEN(page, self->page_size, PAGE_RW);
	if (addr) {
		EXPECT_TRUE(wait_for_hint(self->fd, addr));
		EXPECT_EQ(0, see(addr, 0));
		EXPECT_EQ(0, see(addr, TMN_FAULT_INTERRUPT | TMN_FAULT_WRITE));
		EXPECT_SEEN(addr, huge, PAGE_RW);
	}
	mn_write_file(NUMA_BALANCING, "%ld", before);
}

/* Memory of a driver; NULL without one. */
static char *map_driver(enum tmd_kind kind, size_t size)
{
	int fd = open(DRIVER, O_RDWR);
	char *addr;

	if (fd < 0)
		return NULL;
	addr = mmap(mn_map(size, size), size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED, fd, TMD_MAP(kind));
	close(fd);
	return addr == MAP_FAILED ? NULL : addr;
}

#define FRAME	"/sys/module/test_mmu_driver/parameters/frame"

TEST_F(fault, frames)
{
	size_t size = self->page_size;
	char *addr = map_driver(TMD_PAGE, size);
	long frame;

	if (!addr || mn_read_long(FRAME, &frame))
		SKIP(return, "no " DRIVER);
	/* No page, although there is one: nobody says that it lasts. */
	ASSERT_EQ(0, see(addr, TMN_FAULT_WRITE));
	EXPECT_SEEN(addr, size, TMN_FAULT_WRITE);
	EXPECT_EQ((uint64_t)frame, self->seen.pfn);
	/* What is writable and not dirty is not for a device to write to. */
	addr = map_driver(TMD_PAGE, size);
	ASSERT_EQ(0, see(addr, 0));
	EXPECT_SEEN(addr, size, 0);

	/* A part of a large entry is as good as any. */
	addr = map_driver(TMD_PMD, 2UL << 20);
	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, see(addr + size * (frame % 512), TMN_FAULT_WRITE));
	EXPECT_SEEN(addr + size * (frame % 512), size, TMN_FAULT_WRITE);
	EXPECT_EQ((uint64_t)frame, self->seen.pfn);
}

TEST_F(fault, mixed)
{
	char *addr = map_driver(TMD_MIXED, self->page_size);

	if (!addr)
		SKIP(return, "no " DRIVER);
	ASSERT_EQ(0, see(addr, TMN_FAULT_WRITE));
	EXPECT_SEEN(addr, self->page_size, PAGE_RW);
	addr = map_driver(TMD_MIXED_FRAME, self->page_size);
	ASSERT_NE(NULL, addr);
	EXPECT_EQ(-EFAULT, see(addr, 0));
	EXPECT_EQ(-EFAULT, see(addr, TMN_FAULT_WRITE));
}

/* How it fails */

TEST_F(fault, nothing_there)
{
	char *page = map_pages(1);

	ASSERT_EQ(0, mprotect(page, self->page_size, PROT_READ));
	EXPECT_EQ(0, see(page, 0));
	EXPECT_EQ(-EFAULT, see(page, TMN_FAULT_WRITE));
	ASSERT_EQ(0, mprotect(page, self->page_size, PROT_NONE));
	EXPECT_EQ(-EFAULT, see(page, 0));
	ASSERT_EQ(0, munmap(page, self->page_size));
	EXPECT_EQ(-EFAULT, see(page, 0));
	EXPECT_EQ(-EFAULT, see((void *)-4096L, 0));
}

TEST_F(fault, secret_memory)
{
	int fd = syscall(SYS_memfd_secret, 0);
	char *page;

	if (fd < 0)
		SKIP(return, "no memfd_secret()");
	ASSERT_EQ(0, ftruncate(fd, self->page_size));
	page = mmap(NULL, self->page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		    fd, 0);
	ASSERT_NE(MAP_FAILED, page);
	mn_fill(page, 1, 1);
	EXPECT_EQ(-EFAULT, see(page, 0));
	EXPECT_EQ(-EAGAIN, see(page, TMN_FAULT_INTERRUPT));
}

TEST_F(fault, driver_refuses)
{
	char *page = map_pages(1);

	EXPECT_EQ(-ENXIO, fault_with(self->fd, page, 0, ENXIO, &self->seen));
	/* The driver's own, not a reason to fault again. */
	EXPECT_EQ(-EBUSY, fault_with(self->fd, page, 0, EBUSY, &self->seen));
}

/* Faults that succeed and leave nothing: not for ever. */
TEST_F(fault, gives_up)
{
	char *addr = map_driver(TMD_NOTHING, self->page_size);
	uint64_t begin;

	if (!addr)
		SKIP(return, "no " DRIVER);
	begin = mn_now_ns();
	EXPECT_EQ(-EBUSY, see(addr, 0));
	EXPECT_LT(mn_now_ns() - begin, 5000000000ULL);
}

static void nothing(int signal)
{
}

/* Waits for a page that nobody brings, and can be killed, by no lesser signal. */
TEST_F_TIMEOUT(fault, killed, 60)
{
	struct sigaction action = { .sa_handler = nothing };
	char *page = map_pages(1);
	int uffd = open_uffd(0);
	struct tmn_fault seen;
	int ready[2], status;
	uint64_t begin;
	pid_t pid;
	char c;

	if (uffd < 0)
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int fd = mn_open();

		uffd = open_uffd(0);
		sigaction(SIGUSR1, &action, NULL);
		if (mn_attach(fd, TMN_STYLE_GRU, 0, 0) ||
		    !register_uffd(uffd, page, mn_page_size(),
				   UFFDIO_REGISTER_MODE_MISSING) ||
		    write(ready[1], "", 1) != 1)
			_exit(1);
		fault_with(fd, page, 0, 0, &seen);
		_exit(2);
	}
	ASSERT_EQ(1, read(ready[0], &c, 1));
	mn_sleep_ms(300);
	kill(pid, SIGUSR1);
	mn_sleep_ms(300);
	ASSERT_EQ(0, waitpid(pid, &status, WNOHANG));
	begin = mn_now_ns();
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_LT(mn_now_ns() - begin, 5000000000ULL);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
}

TEST_F(fault, wrong_arguments)
{
	char *page = map_pages(1);
	int fd = mn_open();

	EXPECT_EQ(-EINVAL, fault_with(self->fd, page, 1 << 2, 0, &self->seen));
	EXPECT_EQ(-EINVAL, fault_with(self->fd, page, 0, 4095, &self->seen));
	EXPECT_EQ(-ENOTCONN, fault_with(fd, page, 0, 0, &self->seen));
	ASSERT_EQ(0, mn_attach(fd, TMN_STYLE_KVM, 0, 0));
	EXPECT_EQ(-EOPNOTSUPP, fault_with(fd, page, 0, 0, &self->seen));
	close(fd);
}

/* In an interrupt: what is there, and nothing that has to be waited for. */
TEST_F(fault, interrupt)
{
	size_t huge = read_pmd_pagesize(), tlb = need_hugetlb(1);
	char *page = map_pages(1);
	struct utsname kernel;
	char *addr;

	EXPECT_EQ(-EAGAIN, see(page, TMN_FAULT_INTERRUPT));
	mn_fill(page, 1, 1);
	ASSERT_EQ(0, uname(&kernel));
	if (strstr(kernel.version, "PREEMPT_RT")) {
		/* Whose page table lock is not for interrupts. */
		EXPECT_EQ(-EAGAIN, see(page, TMN_FAULT_INTERRUPT));
		return;
	}
	ASSERT_EQ(0, see(page, TMN_FAULT_INTERRUPT | TMN_FAULT_WRITE));
	EXPECT_SEEN(page, self->page_size, PAGE_RW);
	EXPECT_EQ(mn_pfn(page), self->seen.pfn);
	EXPECT_EQ(-ENXIO, fault_with(self->fd, page, TMN_FAULT_INTERRUPT, ENXIO,
				     &self->seen));

	ASSERT_EQ(0, mprotect(page, self->page_size, PROT_READ));
	ASSERT_EQ(0, see(page, TMN_FAULT_INTERRUPT));
	EXPECT_SEEN(page, self->page_size, PAGE_RO);
	EXPECT_EQ(-EAGAIN, see(page, TMN_FAULT_INTERRUPT | TMN_FAULT_WRITE));
	ASSERT_EQ(0, munmap(page, self->page_size));
	EXPECT_EQ(-EAGAIN, see(page, TMN_FAULT_INTERRUPT));

	addr = huge ? map_huge(huge) : NULL;
	if (addr) {
		ASSERT_EQ(0, see(addr + huge / 2, TMN_FAULT_INTERRUPT));
		EXPECT_SEEN(addr, huge, PAGE_RW);
		EXPECT_EQ(mn_pfn(addr), self->seen.pfn);
	}
	if (tlb) {
		addr = map_hugetlb(tlb);
		ASSERT_NE(MAP_FAILED, addr);
		mn_fill(addr, 1, 1);
		EXPECT_EQ(-EAGAIN, see(addr, TMN_FAULT_INTERRUPT));
		EXPECT_EQ(0, see(addr, 0));
	}
}

/* Without pause */

/**
 * struct storm - one thread that loads through a secondary MMU, one that
 * changes what is mapped
 * @fd: the secondary MMU
 * @addr: the memory
 * @size: of it
 * @phase: odd while it changes; else twice the generation of its content
 * @stop: the loads are to end
 * @wrong: loads of anything else
 * @loads: loads in all
 */
struct storm {
	int fd;
	char *addr;
	size_t size;
	_Atomic unsigned int phase;
	_Atomic bool stop;
	_Atomic unsigned int wrong;
	_Atomic unsigned int loads;
};

/* Some pages of it, from its first to its last. */
static char *storm_page(const struct storm *storm, unsigned int nr)
{
	return storm->addr + (storm->size / PAGES * nr & -mn_page_size());
}

static void *load_without_pause(void *arg)
{
	struct storm *storm = arg;
	unsigned int nr = 0;

	for (; !storm->stop; nr = (nr + 1) % PAGES) {
		char *page = storm_page(storm, nr);
		unsigned int phase = storm->phase;
		uint64_t value = 0;
		int ret = mn_load(storm->fd, page, &value);

		storm->loads++;
		if (!(phase & 1) && phase == storm->phase &&
		    (ret || value != mn_value(page, phase / 2)))
			storm->wrong++;
	}
	return NULL;
}

static bool storm_fill(struct storm *storm, unsigned int generation)
{
	unsigned int nr;

	for (nr = 0; nr < PAGES; nr++)
		mn_fill(storm_page(storm, nr), 1, generation);
	return true;
}

/* Ways to change what is mapped, and then the content; false: failed. */

static bool change_zap(struct storm *storm, unsigned int generation)
{
	return !madvise(storm->addr, storm->size, MADV_DONTNEED) &&
	       storm_fill(storm, generation);
}

static bool change_protection(struct storm *storm, unsigned int generation)
{
	return !mprotect(storm->addr, storm->size, PROT_NONE) &&
	       !mprotect(storm->addr, storm->size, PROT_READ | PROT_WRITE) &&
	       storm_fill(storm, generation);
}

static bool change_address(struct storm *storm, unsigned int generation)
{
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
	char *away = mn_map(storm->size, storm->size);

	/* Zapped there, so that nothing of it comes back. */
	return mremap(storm->addr, storm->size, storm->size, flags, away) ==
		       away &&
	       !madvise(away, storm->size, MADV_DONTNEED) &&
	       mremap(away, storm->size, storm->size, flags, storm->addr) ==
		       storm->addr &&
	       storm_fill(storm, generation);
}

/* The parent copies each page while the child has it too. */
static bool change_owner(struct storm *storm, unsigned int generation)
{
	int to[2], status = -1;
	pid_t pid;
	char c;

	if (pipe(to))
		return false;
	pid = fork();
	if (!pid) {
		close(to[1]);
		_exit(read(to[0], &c, 1) != 0);
	}
	close(to[0]);
	storm_fill(storm, generation);
	close(to[1]);
	waitpid(pid, &status, 0);
	return !status;
}

static bool change_node(struct storm *storm, unsigned int generation)
{
	/* A huge page moves with its first; what is in use stays. */
	size_t pages = storm->size == bytes(PAGES) ? PAGES : 1;

	return mn_move_pages(0, storm->addr, pages, generation % 2) >= 0 &&
	       storm_fill(storm, generation);
}

FIXTURE(storm)
{
	struct storm storm;
};

enum memory { BASE, HUGE, HUGETLB };

FIXTURE_VARIANT(storm)
{
	enum memory memory;
};

FIXTURE_VARIANT_ADD(storm, base) { .memory = BASE };
FIXTURE_VARIANT_ADD(storm, thp) { .memory = HUGE };
FIXTURE_VARIANT_ADD(storm, hugetlb) { .memory = HUGETLB };

FIXTURE_SETUP(storm)
{
	struct storm *storm = &self->storm;

	storm->fd = mn_open();
	if (storm->fd < 0 || mn_attach(storm->fd, TMN_STYLE_GRU, 0, 0))
		SKIP(return, "no mmu_notifier_fault()");
	switch (variant->memory) {
	case BASE:
		storm->size = bytes(PAGES);
		storm->addr = map_pages(PAGES);
		break;
	case HUGE:
		storm->size = read_pmd_pagesize();
		if (storm->size)
			storm->addr = map_huge(storm->size);
		break;
	case HUGETLB:
		storm->size = need_hugetlb(4);
		if (storm->size)
			storm->addr = map_hugetlb(storm->size);
		break;
	}
	if (!storm->addr || storm->addr == MAP_FAILED)
		SKIP(return, "no huge pages");
}

FIXTURE_TEARDOWN(storm)
{
	if (self->storm.fd >= 0)
		close(self->storm.fd);
}

#define STORM_MS	400

/* False if a change failed. */
static bool run_storm(struct storm *storm,
		      bool (*change)(struct storm *, unsigned int generation))
{
	uint64_t end = mn_now_ns() + STORM_MS * 1000000ULL;
	unsigned int generation = 1;
	bool changed = true;
	pthread_t thread;

	storm_fill(storm, generation);
	storm->phase = 2 * generation;
	if (pthread_create(&thread, NULL, load_without_pause, storm))
		return false;
	while (changed && (mn_now_ns() < end || generation < 20)) {
		unsigned int loads;

		storm->phase++;
		changed = change(storm, ++generation);
		storm->phase++;
		/* Each page is looked at once at least. */
		loads = storm->loads;
		while (storm->loads - loads < PAGES + 1)
			sched_yield();
	}
	storm->stop = true;
	pthread_join(thread, NULL);
	return changed;
}

#define STORM_TEST(name)						\
TEST_F_TIMEOUT(storm, name, 60)						\
{									\
	ASSERT_TRUE(run_storm(&self->storm, change_##name));		\
	EXPECT_EQ(0, self->storm.wrong) {				\
		TH_LOG("%u of %u loads", self->storm.wrong,		\
		       self->storm.loads);				\
	}								\
}

STORM_TEST(zap)
STORM_TEST(protection)
STORM_TEST(address)
STORM_TEST(owner)
STORM_TEST(node)

TEST_HARNESS_MAIN
