// SPDX-License-Identifier: GPL-2.0
/*
 * The events of mmu_notifier_events.h that go another way through the kernel
 * where memory is mapped by THPs or by hugetlb.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../kselftest.h"
#include "mmu_notifier_events.h"
#include "mmu_notifier_scene.h"
#include "mmu_notifier_util.h"
#include "vm_util.h"

#define THP	"/sys/kernel/mm/transparent_hugepage/"

/* What is done to one huge page at @addr, of either kind */

static enum mn_result unmap(struct mn_run *run, char *addr, size_t size)
{
	size_t pages = size / mn_page_size();

	REQUIRE(run, mirror(run, addr, pages, true));
	REQUIRE(run, !munmap(addr, size));
	run->stale += mn_reachable(run->fd, addr, pages);
	return MN_PASS;
}

static enum mn_result dontneed(struct mn_run *run, char *addr, size_t size)
{
	size_t pages = size / mn_page_size();

	REQUIRE(run, mirror(run, addr, pages, true));
	REQUIRE(run, !madvise(addr, size, MADV_DONTNEED));
	run->stale += mn_stale(run->fd, addr, pages);
	REQUIRE(run, !mn_cpu(addr));
	settle(run, addr, pages, true);
	return MN_PASS;
}

static enum mn_result protect(struct mn_run *run, char *addr, size_t size)
{
	size_t pages = size / mn_page_size();

	REQUIRE(run, mirror(run, addr, pages, true));
	REQUIRE(run, !mprotect(addr, size, PROT_READ));
	run->stale += mn_writable(run->fd, addr, pages);
	REQUIRE(run, mn_store(run->fd, addr, 0) == -EFAULT);
	REQUIRE(run, !mn_mirror(run->fd, addr, pages, false));

	REQUIRE(run, !mprotect(addr, size, PROT_NONE));
	run->stale += mn_reachable(run->fd, addr, pages);

	REQUIRE(run, !mprotect(addr, size, PROT_READ | PROT_WRITE));
	REQUIRE(run, mn_cpu(addr) == mn_value(addr, 1));
	settle(run, addr, pages, true);
	return MN_PASS;
}

static enum mn_result move(struct mn_run *run, char *addr, size_t size)
{
	size_t pages = size / mn_page_size();
	char *to = mn_map(size, size);

	REQUIRE(run, mirror(run, addr, pages, true));
	REQUIRE(run, mremap(addr, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
			    to) == to);
	run->stale += mn_reachable(run->fd, addr, pages);
	REQUIRE(run, mn_cpu(to) == mn_value(addr, 1));
	run->stale += mn_wrong(run->fd, to, pages);
	settle(run, to, pages, true);
	return MN_PASS;
}

static enum mn_result share_by_fork(struct mn_run *run, char *addr, size_t size)
{
	size_t pages = size / mn_page_size();
	struct child child;

	REQUIRE(run, mirror(run, addr, pages, true));
	REQUIRE(run, fork_child(&child, cow_bystander, addr));
	/* It is the child's as well: no store without a fault. */
	run->stale += mn_writable(run->fd, addr, pages);
	REQUIRE(run, !mn_mirror(run->fd, addr, pages, false));
	mn_cpu_write(addr, mn_value(addr, 2));
	run->stale += mn_stale(run->fd, addr, pages);
	REQUIRE(run, !mn_store(run->fd, page_at(addr, 1),
			       mn_value(page_at(addr, 1), 2)));
	run->stale += mn_wrong(run->fd, addr, pages);
	tell(child.to);
	REQUIRE(run, end_child(&child) == 0);
	settle(run, addr, pages, true);
	return MN_PASS;
}

static enum mn_result migrate(struct mn_run *run, char *addr, size_t size)
{
	size_t pages = size / mn_page_size();
	unsigned int tries;
	int node;

	if (!has_node(0) || !has_node(1))
		return skip(run, "no two NUMA nodes");
	REQUIRE(run, mirror(run, addr, pages, true));
	node = !mn_node_of(0, addr);
	for (tries = 0; tries < TRIES; tries++) {
		if (mn_move_pages(0, addr, 1, node) == 1)
			break;
		mn_sleep_ms(20);
	}
	REQUIRE(run, tries < TRIES);
	settle(run, addr, pages, true);
	return MN_PASS;
}

/* THP */

static enum mn_result
with_thp(struct mn_run *run,
	 enum mn_result (*act)(struct mn_run *run, char *addr, size_t size))
{
	size_t size = read_pmd_pagesize();
	char *addr;

	if (!size)
		return skip(run, "no transparent huge pages");
	addr = map_huge(size);
	if (!addr)
		return skip(run, "no free huge page");
	return act(run, addr, size);
}

static enum mn_result event_thp_unmap(struct mn_run *run)
{
	return with_thp(run, unmap);
}

static enum mn_result event_thp_dontneed(struct mn_run *run)
{
	return with_thp(run, dontneed);
}

static enum mn_result event_thp_protect(struct mn_run *run)
{
	return with_thp(run, protect);
}

static enum mn_result event_thp_move(struct mn_run *run)
{
	return with_thp(run, move);
}

static enum mn_result event_thp_fork(struct mn_run *run)
{
	return with_thp(run, share_by_fork);
}

static enum mn_result event_thp_migrate(struct mn_run *run)
{
	return with_thp(run, migrate);
}

static enum mn_result event_thp_uffd_wp(struct mn_run *run)
{
	return with_thp(run, protect_by_uffd);
}

static enum mn_result event_thp_pagemap_scan(struct mn_run *run)
{
	return with_thp(run, scan_pagemap);
}

static enum mn_result uffd_move(struct mn_run *run, char *from, size_t size)
{
	size_t pages = size / mn_page_size();
	char *to = mn_map(size, size);
	struct uffdio_move args = {
		.dst = (uintptr_t)to,
		.src = (uintptr_t)from,
		.len = size,
	};
	int fd = open_uffd(UFFD_FEATURE_MOVE);

	if (fd < 0)
		return skip(run, "no UFFDIO_MOVE");
	madvise(to, size, MADV_HUGEPAGE);
	REQUIRE(run, register_uffd(fd, to, size, UFFDIO_REGISTER_MODE_MISSING));
	REQUIRE(run, mirror(run, from, pages, true));
	REQUIRE(run, !ioctl(fd, UFFDIO_MOVE, &args));
	REQUIRE(run, check_huge_anon(to, 1, size));
	run->stale += mn_stale(run->fd, from, pages);
	REQUIRE(run, mn_cpu(to) == mn_value(from, 1));
	settle(run, from, pages, true);
	settle(run, to, pages, true);
	return MN_PASS;
}

static enum mn_result event_thp_uffd_move(struct mn_run *run)
{
	return with_thp(run, uffd_move);
}

static enum mn_result soft_dirty(struct mn_run *run, char *addr, size_t size)
{
	size_t pages = size / mn_page_size();

	REQUIRE(run, mirror(run, addr, pages, true));
	REQUIRE(run, !mn_write_file("/proc/self/clear_refs", "4"));
	if (mn_soft_dirty(addr))
		return skip(run, "no soft-dirty bits");
	run->stale += mn_writable(run->fd, addr, pages);
	REQUIRE(run, !mn_mirror(run->fd, addr, pages, false));
	REQUIRE(run, !mn_store(run->fd, addr, mn_value(addr, 3)));
	REQUIRE(run, mn_soft_dirty(addr));
	settle(run, addr, pages, true);
	return MN_PASS;
}

static enum mn_result event_thp_soft_dirty(struct mn_run *run)
{
	return with_thp(run, soft_dirty);
}

static enum mn_result madv_free(struct mn_run *run, char *addr, size_t size)
{
	size_t pages = size / mn_page_size();

	stay_here();
	REQUIRE(run, mirror(run, addr, pages, true));
	REQUIRE(run, !madvise(addr, size, MADV_FREE));
	/* A store would make the page dirty behind the kernel's back. */
	run->stale += mn_writable(run->fd, addr, pages);
	REQUIRE(run, !madvise(addr, size, MADV_FREE));
	REQUIRE(run, !mn_mirror(run->fd, addr, pages, false));
	/* Nobody has stored anything: it is discarded as a whole. */
	release_pages(run, addr, size);
	REQUIRE(run, reclaim(addr, pages));
	run->stale += mn_stale(run->fd, addr, pages);
	REQUIRE(run, !mn_cpu(addr));
	settle(run, addr, pages, true);
	return MN_PASS;
}

static enum mn_result event_thp_madv_free(struct mn_run *run)
{
	return with_thp(run, madv_free);
}

/* What MADV_FREE made clean is not split, and not swapped, but given away. */
static enum mn_result discard(struct mn_run *run, char *addr, size_t size)
{
	size_t pages = size / mn_page_size();

	stay_here();
	REQUIRE(run, mirror(run, addr, pages, true));
	REQUIRE(run, !madvise(addr, size, MADV_FREE));
	REQUIRE(run, !mn_mirror(run->fd, addr, pages, false));
	REQUIRE(run, reclaim(addr, pages));
	/* The memory of others, and what is there from now on, read as zero. */
	run->stale += mn_mapped(run->fd, addr, pages);
	REQUIRE(run, !mn_cpu(addr));
	settle(run, addr, pages, true);
	return MN_PASS;
}

static enum mn_result event_thp_discard(struct mn_run *run)
{
	return with_thp(run, discard);
}

static enum mn_result pageout(struct mn_run *run, char *addr, size_t size)
{
	size_t pages = size / mn_page_size();
	char swap[256];

	if (!mn_swap_device(swap, sizeof(swap)))
		return skip(run, "no swap");
	stay_here();
	REQUIRE(run, mirror(run, addr, pages, true));
	REQUIRE(run, reclaim(addr, pages));
	run->stale += mn_stale(run->fd, addr, pages);
	REQUIRE(run, mn_cpu(addr) == mn_value(addr, 1));
	settle(run, addr, pages, true);
	return MN_PASS;
}

static enum mn_result event_thp_pageout(struct mn_run *run)
{
	return with_thp(run, pageout);
}

/* Zeros that are read, and then written to. */
static enum mn_result event_thp_zero_page(struct mn_run *run)
{
	size_t size = read_pmd_pagesize();
	size_t pages = size / mn_page_size();
	char *addr;

	if (!size)
		return skip(run, "no transparent huge pages");
	addr = mn_map(size, size);
	madvise(addr, size, MADV_HUGEPAGE);
	run->pages = pages;
	REQUIRE(run, !mn_mirror(run->fd, addr, pages, false) && begin(run));
	run->stale += mn_writable(run->fd, addr, pages);
	mn_fill(addr, 1, 1);
	run->stale += mn_stale(run->fd, addr, pages);
	settle(run, addr, pages, true);
	return MN_PASS;
}

/* The file loses pages that nothing maps any more but the secondary MMU. */
static enum mn_result lose_half(struct mn_run *run, int fd, char *addr,
				size_t size)
{
	size_t half = size / 2 / mn_page_size();

	REQUIRE(run, !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				0, size / 2));
	run->stale += mn_stale(run->fd, addr, half);
	settle(run, addr, half, true);
	return MN_PASS;
}

/* The PMD of a file is not split into PTEs: it goes away. */
static enum mn_result event_thp_shmem_split(struct mn_run *run)
{
	size_t size = read_pmd_pagesize();
	size_t pages = size / mn_page_size();
	int fd = memfd_create("split", 0);
	char *addr;

	addr = size ? map_shmem_huge(fd, size) : NULL;
	if (!addr)
		return skip(run, "no huge page of shared memory");
	REQUIRE(run, mirror(run, addr, pages, true));
	REQUIRE(run, !munmap(page_at(addr, pages - 1), mn_page_size()));
	return lose_half(run, fd, addr, size);
}

/* khugepaged finds a huge page mapped by PTEs, and removes these. */
static enum mn_result event_thp_khugepaged_shmem(struct mn_run *run)
{
	size_t size = read_pmd_pagesize();
	size_t pages = size / mn_page_size();
	int fd = memfd_create("khugepaged", 0);
	unsigned int ms;
	char *addr;

	addr = size ? map_shmem_huge(fd, size) : NULL;
	if (!addr)
		return skip(run, "no huge page of shared memory");
	if (mn_write_file(THP "shmem_enabled", "advise") ||
	    mn_write_file(THP "khugepaged/pages_to_scan", "100000"))
		return skip(run, "no khugepaged");

	/* A VMA of its own for one page, and there is no room for a PMD. */
	REQUIRE(run, !mprotect(addr, mn_page_size(), PROT_READ));
	mn_fill(page_at(addr, 1), pages - 1, 1);
	REQUIRE(run, !mprotect(addr, mn_page_size(), PROT_READ | PROT_WRITE));
	mn_fill(addr, 1, 1);
	REQUIRE(run, !check_huge_shmem(addr, 1, size));
	REQUIRE(run, mirror(run, addr, pages, true));
	release_pages(run, addr, size);

	madvise(addr, size, MADV_HUGEPAGE);
	mn_write_file(THP "khugepaged/scan_sleep_millisecs", "0");
	for (ms = 0; ms < 60000 && mn_pfn(addr); ms += 10)
		mn_sleep_ms(10);
	mn_write_file(THP "khugepaged/scan_sleep_millisecs", "10000");
	mn_write_file(THP "shmem_enabled", "never");
	REQUIRE(run, !mn_pfn(addr));
	return lose_half(run, fd, addr, size);
}

/* hugetlb */

static enum mn_result
with_hugetlb(struct mn_run *run,
	     enum mn_result (*act)(struct mn_run *run, char *addr, size_t size))
{
	size_t size = need_hugetlb(4);
	char *addr;

	if (!size)
		return skip(run, "no free hugetlb pages");
	addr = map_hugetlb(size);
	REQUIRE(run, addr != MAP_FAILED);
	return act(run, addr, size);
}

static enum mn_result event_hugetlb_protect(struct mn_run *run)
{
	return with_hugetlb(run, protect);
}

static enum mn_result event_hugetlb_move(struct mn_run *run)
{
	return with_hugetlb(run, move);
}

static enum mn_result event_hugetlb_fork(struct mn_run *run)
{
	return with_hugetlb(run, share_by_fork);
}

static enum mn_result event_hugetlb_migrate(struct mn_run *run)
{
	return with_hugetlb(run, migrate);
}

static enum mn_result event_hugetlb_uffd_wp(struct mn_run *run)
{
	return with_hugetlb(run, protect_by_uffd);
}

static enum mn_result event_hugetlb_pagemap_scan(struct mn_run *run)
{
	return with_hugetlb(run, scan_pagemap);
}

/* Looks at what it maps, so that it shares the page table with its parent. */
static int share_table(void *arg, int in, int out)
{
	char *addr = arg;

	if (mn_cpu(addr) != mn_value(addr, 1))
		return 1;
	tell(out);
	hear(in);
	return mn_cpu(addr) != mn_value(addr, 1);
}

/* A page table that two processes share leaves one of them as a whole. */
static enum mn_result event_hugetlb_unshare(struct mn_run *run)
{
	size_t pages = need_hugetlb(2) / mn_page_size();
	size_t size = 1UL << 30;
	struct child child;
	char *addr;
	int fd;

	if (!pages || sizeof(long) < 8)
		return skip(run, "no free hugetlb pages");
	fd = memfd_create("unshare", MFD_HUGETLB);
	REQUIRE(run, fd >= 0 && !ftruncate(fd, size));
	addr = mmap(mn_map(size, size), size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0);
	REQUIRE(run, addr != MAP_FAILED);
	mn_fill(addr, pages, 1);
	REQUIRE(run, fork_child(&child, share_table, addr));
	REQUIRE(run, hear(child.from));
	REQUIRE(run, mirror(run, addr, pages, true));

	REQUIRE(run, !mprotect(addr, size, PROT_NONE));
	run->stale += mn_reachable(run->fd, addr, pages);
	REQUIRE(run, !mprotect(addr, size, PROT_READ | PROT_WRITE));
	tell(child.to);
	REQUIRE(run, end_child(&child) == 0);
	settle(run, addr, pages, true);
	return MN_PASS;
}

const struct mn_event mn_huge_events[] = {
	MN_HUGE_EVENTS(MN_EVENT)
};
