// SPDX-License-Identifier: GPL-2.0
/*
 * What the events have in common; see mmu_notifier_scene.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest.h"
#include "mmu_notifier_scene.h"
#include "mmu_notifier_util.h"
#include "vm_util.h"

enum mn_result verdict(struct mn_run *run, enum mn_result result,
		       const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(run->why, sizeof(run->why), format, args);
	va_end(args);
	return result;
}

size_t bytes(size_t pages)
{
	return pages * mn_page_size();
}

char *page_at(void *addr, size_t nr)
{
	return (char *)addr + bytes(nr);
}

void *map_pages(size_t pages)
{
	void *addr = mn_map(bytes(pages), mn_page_size());

	madvise(addr, bytes(pages), MADV_NOHUGEPAGE);
	return addr;
}

bool begin(struct mn_run *run)
{
	struct tmn_stats stats;

	if (mn_stats(run->fd, &stats))
		return false;
	run->before = mn_callbacks(&stats);
	return true;
}

bool mirror(struct mn_run *run, void *addr, size_t pages, bool write)
{
	mn_fill(addr, pages, 1);
	run->pages += pages;
	return !mn_mirror(run->fd, addr, pages, write) && begin(run);
}

void settle(struct mn_run *run, void *addr, size_t pages, bool write)
{
	run->stale += mn_stale(run->fd, addr, pages);
	if (write) {
		mn_fill(addr, pages, 2);
		run->stale += mn_stale(run->fd, addr, pages);
	}
	run->stale += mn_wrong(run->fd, addr, pages);
}

bool holds_pages(const struct mn_run *run)
{
	return run->style == TMN_STYLE_XPMEM;
}

void stay_here(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

bool fork_child(struct child *child, int (*run)(void *arg, int in, int out),
		void *arg)
{
	int to[2], from[2];

	if (pipe(to) || pipe(from))
		return false;
	child->pid = fork();
	if (child->pid < 0)
		return false;
	if (!child->pid) {
		close(to[1]);
		close(from[0]);
		_exit(run(arg, to[0], from[1]));
	}
	close(to[0]);
	close(from[1]);
	child->to = to[1];
	child->from = from[0];
	return true;
}

bool tell(int fd)
{
	return write(fd, "", 1) == 1;
}

bool hear(int fd)
{
	char c;

	return read(fd, &c, 1) == 1;
}

int end_child(struct child *child)
{
	int status = -1;

	close(child->to);
	waitpid(child->pid, &status, 0);
	close(child->from);
	return status;
}

bool reclaim(void *addr, size_t pages)
{
	unsigned int tries;
	size_t i;

	for (tries = 0; tries < TRIES; tries++) {
		if (madvise(addr, bytes(pages), MADV_PAGEOUT))
			return false;
		for (i = 0; i < pages && !mn_pfn(page_at(addr, i)); i++)
			;
		if (i == pages)
			return true;
		mn_sleep_ms(20);
	}
	return false;
}

int cow_bystander(void *arg, int in, int out)
{
	char *addr = arg;
	size_t i;

	hear(in);
	for (i = 0; i < PAGES; i++) {
		if (mn_cpu(page_at(addr, i)) != mn_value(page_at(addr, i), 1))
			return 1;
	}
	return 0;
}

void release_pages(struct mn_run *run, void *addr, size_t length)
{
	if (holds_pages(run))
		mn_drop(run->fd, addr, length);
}

char *map_huge(size_t size)
{
	char *addr = mn_map(size, size);

	madvise(addr, size, MADV_HUGEPAGE);
	mn_fill(addr, size / mn_page_size(), 1);
	return check_huge_anon(addr, 1, size) ? addr : NULL;
}

char *map_shmem_huge(int fd, size_t size)
{
	char *addr = mn_map(size, size);
	unsigned int tries;

	if (fd < 0 || ftruncate(fd, size))
		return NULL;
	addr = mmap(addr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		    fd, 0);
	if (addr == MAP_FAILED)
		return NULL;
	mn_fill(addr, size / mn_page_size(), 1);
	for (tries = 0; tries < TRIES; tries++) {
		if (!madvise(addr, size, MADV_COLLAPSE))
			return check_huge_shmem(addr, 1, size) ? addr : NULL;
		mn_sleep_ms(20);
	}
	return NULL;
}

bool all_merged(char *addr, size_t pages)
{
	uint64_t pfn = mn_pfn(addr);
	size_t i;

	for (i = 1; i < pages; i++) {
		if (mn_pfn(page_at(addr, i)) != pfn)
			return false;
	}
	return pfn;
}

bool merge(char *addr, size_t pages)
{
	unsigned int ms;
	bool merged = false;

	if (madvise(addr, bytes(pages), MADV_MERGEABLE))
		return false;
	mn_write_file("/sys/kernel/mm/ksm/sleep_millisecs", "0");
	mn_write_file("/sys/kernel/mm/ksm/pages_to_scan", "500");
	if (mn_write_file(KSM_RUN, "1"))
		return false;
	for (ms = 0; ms < 60000 && !merged; ms += 10) {
		mn_sleep_ms(10);
		merged = all_merged(addr, pages);
	}
	mn_write_file(KSM_RUN, "0");
	return merged;
}

void fill_alike(char *addr, size_t pages)
{
	size_t i;

	for (i = 0; i < pages; i++)
		mn_cpu_write(page_at(addr, i), ALIKE);
}

bool has_node(int node)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", node);
	return !access(path, F_OK);
}

size_t need_hugetlb(unsigned int nr)
{
	static const char path[] = "/proc/sys/vm/nr_hugepages";
	size_t size = default_huge_page_size();
	long total;

	if (!size || mn_read_long(path, &total))
		return 0;
	if (get_free_hugepages() < nr)
		mn_write_file(path, "%ld", total + nr);
	return get_free_hugepages() < nr ? 0 : size;
}

char *map_hugetlb(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
}

int open_uffd(uint64_t features)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = features,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, UFFDIO_API, &api) || (api.features & features) != features)
		return -EINVAL;
	return fd;
}

bool register_uffd(int fd, void *addr, size_t length, uint64_t mode)
{
	struct uffdio_register args = {
		.range = { (uintptr_t)addr, length },
		.mode = mode,
	};

	return !ioctl(fd, UFFDIO_REGISTER, &args);
}

static bool protect_uffd(int fd, void *addr, size_t length, bool protect)
{
	struct uffdio_writeprotect args = {
		.range = { (uintptr_t)addr, length },
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return !ioctl(fd, UFFDIO_WRITEPROTECT, &args);
}

enum mn_result protect_by_uffd(struct mn_run *run, char *addr, size_t size)
{
	int fd = open_uffd(UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			   UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
	size_t pages = size / mn_page_size();

	if (fd < 0)
		return skip(run, "no UFFDIO_WRITEPROTECT");
	mn_fill(addr, pages, 1);
	REQUIRE(run, register_uffd(fd, addr, size, UFFDIO_REGISTER_MODE_WP));
	REQUIRE(run, mirror(run, addr, pages, true));
	REQUIRE(run, protect_uffd(fd, addr, size, true));
	run->stale += mn_writable(run->fd, addr, pages);
	run->stale += mn_wrong(run->fd, addr, pages);

	REQUIRE(run, protect_uffd(fd, addr, size, false));
	settle(run, addr, pages, true);
	REQUIRE(run, !mn_mirror(run->fd, addr, pages, true));
	return MN_PASS;
}

/* How many bytes were written since they were last protected, or -1. */
static long written(char *addr, size_t size, bool protect)
{
	struct page_region region[2];
	struct pm_scan_arg args = {
		.size = sizeof(args),
		.flags = PM_SCAN_CHECK_WPASYNC |
			 (protect ? PM_SCAN_WP_MATCHING : 0),
		.start = (uintptr_t)addr,
		.end = (uintptr_t)addr + size,
		.vec = (uintptr_t)region,
		.vec_len = ARRAY_SIZE(region),
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY);
	long sum = 0;
	int i, nr;

	nr = ioctl(fd, PAGEMAP_SCAN, &args);
	close(fd);
	for (i = 0; i < nr; i++)
		sum += region[i].end - region[i].start;
	return nr < 0 ? -1 : sum;
}

enum mn_result scan_pagemap(struct mn_run *run, char *addr, size_t size)
{
	int fd = open_uffd(UFFD_FEATURE_WP_ASYNC |
			   UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
	size_t pages = size / mn_page_size();

	if (fd < 0)
		return skip(run, "no UFFD_FEATURE_WP_ASYNC");
	mn_fill(addr, pages, 1);
	REQUIRE(run, register_uffd(fd, addr, size, UFFDIO_REGISTER_MODE_WP));
	REQUIRE(run, mirror(run, addr, pages, true));
	REQUIRE(run, written(addr, size, true) == (long)size);

	/* The next store has to be noticed. */
	run->stale += mn_writable(run->fd, addr, pages);
	REQUIRE(run, !mn_mirror(run->fd, addr, pages, false));
	REQUIRE(run, !written(addr, size, false));
	REQUIRE(run, !mn_store(run->fd, addr, mn_value(addr, 3)));
	REQUIRE(run, written(addr, size, false) > 0);
	settle(run, addr, pages, true);
	return MN_PASS;
}

enum mn_result mn_run_event(const struct mn_event *event, struct mn_run *run)
{
	unsigned int style = run->style;
	struct tmn_stats stats;
	enum mn_result result;
	int ret;

	memset(run, 0, sizeof(*run));
	run->style = style;
	run->fd = mn_open();
	if (run->fd < 0)
		return skip(run, "no " MN_DEVICE ": %s", strerror(-run->fd));
	ret = mn_attach(run->fd, style, 0, 0);
	if (ret == -EOPNOTSUPP) {
		close(run->fd);
		return skip(run, "no style %s", mn_style_name(style));
	}
	if (ret) {
		close(run->fd);
		return verdict(run, MN_FAIL, "attach: %s", strerror(-ret));
	}

	result = event->run(run);
	if (result == MN_PASS && mn_stats(run->fd, &stats))
		result = verdict(run, MN_FAIL, "no statistics");
	if (result == MN_PASS) {
		if (!run->callbacks)
			run->callbacks = mn_callbacks(&stats) - run->before;
		if (run->stale)
			result = verdict(run, MN_FAIL, "%u stale", run->stale);
		else if (!run->callbacks)
			result = verdict(run, MN_FAIL, "no callback");
		else if (stats.outside_pages)
			result = verdict(run, MN_FAIL,
					 "invalidate_page outside of a section");
		else if (!mn_balanced(run->fd))
			result = verdict(run, MN_FAIL,
					 "starts and ends do not balance");
	}
	close(run->fd);
	return result;
}
