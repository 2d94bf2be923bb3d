// SPDX-License-Identifier: GPL-2.0
/*
 * The events that a secondary MMU has to hear of; see mmu_notifier_events.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest.h"
#include "mmu_notifier_events.h"
#include "mmu_notifier_scene.h"
#include "mmu_notifier_util.h"
#include "vm_util.h"

/* Zapping */

static enum mn_result event_munmap(struct mn_run *run)
{
	char *addr = map_pages(PAGES);

	REQUIRE(run, mirror(run, addr, PAGES, true));
	REQUIRE(run, !munmap(addr, bytes(PAGES)));
	run->stale += mn_reachable(run->fd, addr, PAGES);
	return MN_PASS;
}

static enum mn_result event_madv_dontneed(struct mn_run *run)
{
	char *addr = map_pages(PAGES);

	REQUIRE(run, mirror(run, addr, PAGES, true));
	REQUIRE(run, !madvise(addr, bytes(PAGES), MADV_DONTNEED));
	run->stale += mn_stale(run->fd, addr, PAGES);
	REQUIRE(run, !mn_cpu(addr));
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

/* Reclaim */

static enum mn_result event_madv_free(struct mn_run *run)
{
	char *addr = map_pages(PAGES);
	size_t i;

	stay_here();
	REQUIRE(run, mirror(run, addr, PAGES, true));
	REQUIRE(run, !madvise(addr, bytes(PAGES), MADV_FREE));
	/* A store would make the page dirty behind the kernel's back. */
	run->stale += mn_writable(run->fd, addr, PAGES);
	REQUIRE(run, !madvise(addr, bytes(PAGES), MADV_FREE));
	REQUIRE(run, !mn_mirror(run->fd, addr, PAGES, false));
	/* What is stored through the secondary MMU now has to survive. */
	REQUIRE(run, !mn_store(run->fd, addr, mn_value(addr, 3)));
	REQUIRE(run, reclaim(addr, PAGES));
	run->stale += mn_stale(run->fd, addr, PAGES);
	run->stale += mn_cpu(addr) != mn_value(addr, 3);
	for (i = 1; i < PAGES; i++)
		REQUIRE(run, !mn_cpu(page_at(addr, i)));
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

static int free_child(void *arg, int in, int out)
{
	return madvise(arg, bytes(PAGES), MADV_FREE) ? 1 : 0;
}

/* Pages from swap that a child shares, and gives away: its share only. */
static enum mn_result event_madv_free_child(struct mn_run *run)
{
	char *addr = map_pages(PAGES);
	struct child child;
	char swap[256];
	int status;
	size_t i;

	if (!mn_swap_device(swap, sizeof(swap)))
		return skip(run, "no swap");
	stay_here();
	mn_fill(addr, PAGES, 1);
	REQUIRE(run, reclaim(addr, PAGES));
	REQUIRE(run, !mn_mirror(run->fd, addr, PAGES, false));
	run->pages += PAGES;
	REQUIRE(run, begin(run));
	REQUIRE(run, fork_child(&child, free_child, addr));
	status = end_child(&child);
	if (status)
		return verdict(run, MN_FAIL, "child: status %#x", status);
	REQUIRE(run, reclaim(addr, PAGES));
	run->stale += mn_stale(run->fd, addr, PAGES);
	for (i = 0; i < PAGES; i++)
		run->stale += mn_cpu(page_at(addr, i)) !=
			      mn_value(page_at(addr, i), 1);
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

static enum mn_result event_madv_pageout(struct mn_run *run)
{
	char *addr = map_pages(PAGES);
	char swap[256];

	if (!mn_swap_device(swap, sizeof(swap)))
		return skip(run, "no swap");
	stay_here();
	REQUIRE(run, mirror(run, addr, PAGES, true));
	REQUIRE(run, reclaim(addr, PAGES));
	REQUIRE(run, mn_swapped(addr));
	run->stale += mn_stale(run->fd, addr, PAGES);
	REQUIRE(run, mn_cpu(addr) == mn_value(addr, 1));
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

/* Half of the pages come back because the swap goes away. */
static enum mn_result event_swapoff(struct mn_run *run)
{
	char *addr = map_pages(2 * PAGES);
	char swap[256];
	int ret, error;

	if (!mn_swap_device(swap, sizeof(swap)))
		return skip(run, "no swap");
	stay_here();
	REQUIRE(run, mirror(run, addr, 2 * PAGES, true));
	REQUIRE(run, reclaim(addr, PAGES));

	/* These are mapped again for reading, and still have their swap. */
	REQUIRE(run, !mn_mirror(run->fd, addr, PAGES / 2, false));
	ret = swapoff(swap);
	error = errno;
	run->stale += mn_stale(run->fd, addr, 2 * PAGES);
	settle(run, addr, 2 * PAGES, true);
	if (!ret)
		REQUIRE(run, !swapon(swap, 0));
	errno = error;
	REQUIRE(run, !ret);
	return MN_PASS;
}

/* Protection and moves */

static enum mn_result event_mprotect(struct mn_run *run)
{
	char *addr = map_pages(PAGES);

	REQUIRE(run, mirror(run, addr, PAGES, true));
	REQUIRE(run, !mprotect(addr, bytes(PAGES), PROT_READ));
	run->stale += mn_writable(run->fd, addr, PAGES);
	REQUIRE(run, mn_store(run->fd, addr, 0) == -EFAULT);
	REQUIRE(run, !mn_mirror(run->fd, addr, PAGES, false));

	REQUIRE(run, !mprotect(addr, bytes(PAGES), PROT_NONE));
	run->stale += mn_reachable(run->fd, addr, PAGES);

	REQUIRE(run, !mprotect(addr, bytes(PAGES), PROT_READ | PROT_WRITE));
	REQUIRE(run, mn_cpu(addr) == mn_value(addr, 1));
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

static enum mn_result move_mapping(struct mn_run *run, size_t pages,
				   size_t align, int flags)
{
	char *from = mn_map(bytes(pages), align);
	char *to = mn_map(bytes(pages), align);
	size_t i;

	madvise(from, bytes(pages), MADV_NOHUGEPAGE);
	REQUIRE(run, mirror(run, from, pages, true));
	REQUIRE(run, mremap(from, bytes(pages), bytes(pages),
			    MREMAP_MAYMOVE | MREMAP_FIXED | flags, to) == to);
	run->stale += flags & MREMAP_DONTUNMAP ?
		      mn_wrong(run->fd, from, pages) :
		      mn_reachable(run->fd, from, pages);
	for (i = 0; i < pages; i++)
		REQUIRE(run, mn_cpu(page_at(to, i)) ==
			     mn_value(page_at(from, i), 1));
	run->stale += mn_wrong(run->fd, to, pages);
	settle(run, to, pages, true);
	return MN_PASS;
}

static enum mn_result event_mremap(struct mn_run *run)
{
	return move_mapping(run, PAGES, mn_page_size(), 0);
}

/* No munmap() of what the entries have left, whose hook would do as well. */
static enum mn_result event_mremap_dontunmap(struct mn_run *run)
{
	return move_mapping(run, PAGES, mn_page_size(), MREMAP_DONTUNMAP);
}

/* Whole page tables are moved, not entries. */
static enum mn_result event_mremap_pmd(struct mn_run *run)
{
	size_t size = read_pmd_pagesize() ?: 2UL << 20;

	return move_mapping(run, size / mn_page_size(), size, 0);
}

/* And tables of page tables; there is room for that many, and little in it. */
static enum mn_result event_mremap_pud(struct mn_run *run)
{
	size_t size = 1UL << 30;
	char *from, *to;
	size_t i;

	if (sizeof(long) < 8)
		return skip(run, "no room for two PUDs");
	from = mn_map(size, size);
	to = mn_map(size, size);
	madvise(from, size, MADV_NOHUGEPAGE);
	REQUIRE(run, mirror(run, from, PAGES, true));
	REQUIRE(run, mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
			    to) == to);
	run->stale += mn_reachable(run->fd, from, PAGES);
	for (i = 0; i < PAGES; i++)
		REQUIRE(run, mn_cpu(page_at(to, i)) ==
			     mn_value(page_at(from, i), 1));
	settle(run, to, PAGES, true);
	return MN_PASS;
}

/* Copy on write */

static enum mn_result event_fork_cow_parent(struct mn_run *run)
{
	char *addr = map_pages(PAGES);
	struct child child;
	size_t i;

	REQUIRE(run, mirror(run, addr, PAGES, true));
	REQUIRE(run, fork_child(&child, cow_bystander, addr));

	/* The pages are the child's as well: no store without a fault. */
	run->stale += mn_writable(run->fd, addr, PAGES);
	REQUIRE(run, !mn_mirror(run->fd, addr, PAGES, false));

	/* Half is copied for the CPU, half for the secondary MMU. */
	mn_fill(addr, PAGES / 2, 2);
	run->stale += mn_stale(run->fd, addr, PAGES);
	for (i = PAGES / 2; i < PAGES; i++)
		REQUIRE(run, !mn_store(run->fd, page_at(addr, i),
				       mn_value(page_at(addr, i), 2)));
	run->stale += mn_wrong(run->fd, addr, PAGES);
	for (i = 0; i < PAGES; i++)
		run->stale += mn_cpu(page_at(addr, i)) !=
			      mn_value(page_at(addr, i), 2);
	tell(child.to);
	REQUIRE(run, end_child(&child) == 0);
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

struct cow_child {
	struct mn_run *run;
	char *addr;
};

/* Has a secondary MMU of its own on what it shares with its parent. */
static int cow_child(void *arg, int in, int out)
{
	struct cow_child *cow = arg;
	int fd = mn_open();

	if (fd < 0 || mn_attach(fd, cow->run->style, 0, 0))
		return 1;
	if (mn_mirror(fd, cow->addr, PAGES, false))
		return 2;
	/* The parent writes: that must not be seen here. */
	tell(out);
	hear(in);
	if (mn_wrong(fd, cow->addr, PAGES) || cow_bystander(cow->addr, in, out))
		return 3;
	/* Now the pages are copied, or are the child's own. */
	mn_fill(cow->addr, PAGES, 7);
	if (mn_stale(fd, cow->addr, PAGES) || mn_wrong(fd, cow->addr, PAGES))
		return 4;
	if (mn_mirror(fd, cow->addr, PAGES, true))
		return 5;
	return mn_balanced(fd) ? 0 : 6;
}

static enum mn_result event_fork_cow_child(struct mn_run *run)
{
	char *addr = map_pages(PAGES);
	struct cow_child cow = { run, addr };
	struct child child;
	int status;

	REQUIRE(run, mirror(run, addr, PAGES, true));
	REQUIRE(run, fork_child(&child, cow_child, &cow));
	REQUIRE(run, hear(child.from));
	mn_fill(addr, PAGES, 2);
	run->stale += mn_wrong(run->fd, addr, PAGES);
	tell(child.to);
	status = end_child(&child);
	if (status)
		return verdict(run, MN_FAIL, "child: status %#x", status);
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

/* KSM */

static enum mn_result event_ksm_merge(struct mn_run *run)
{
	char *addr = map_pages(PAGES);
	size_t i;

	if (access(KSM_RUN, W_OK))
		return skip(run, "no KSM");
	fill_alike(addr, PAGES);
	run->pages = PAGES;
	REQUIRE(run, !mn_mirror(run->fd, addr, PAGES, true) && begin(run));
	REQUIRE(run, merge(addr, PAGES));

	/* All of them are one page now: no store may reach it. */
	run->stale += mn_writable(run->fd, addr, PAGES);
	run->stale += mn_stale(run->fd, addr, PAGES);
	REQUIRE(run, !mn_mirror(run->fd, addr, PAGES, false));

	REQUIRE(run, !mn_store(run->fd, addr, mn_value(addr, 2)));
	mn_cpu_write(page_at(addr, 1), mn_value(addr, 3));
	run->stale += mn_wrong(run->fd, addr, PAGES);
	run->stale += mn_cpu(addr) != mn_value(addr, 2);
	for (i = 2; i < PAGES; i++)
		run->stale += mn_cpu(page_at(addr, i)) != ALIKE;
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

static int wait_to_be_told(void *arg, int in, int out)
{
	return !hear(in);
}

/*
 * Most pages are announced when KSM protects them, before it puts another in
 * their place.  Not so a page that needs no protection: it is clean, and shared
 * with the swap of a child.  When that is gone, so is the page.
 */
static enum mn_result event_ksm_replace(struct mn_run *run)
{
	char *addr = map_pages(PAGES);
	struct child child;
	char swap[256];

	if (access(KSM_RUN, W_OK))
		return skip(run, "no KSM");
	if (!mn_swap_device(swap, sizeof(swap)))
		return skip(run, "no swap");
	stay_here();
	fill_alike(addr, PAGES);
	REQUIRE(run, reclaim(addr, PAGES));
	REQUIRE(run, fork_child(&child, wait_to_be_told, NULL));
	run->pages = PAGES;
	REQUIRE(run, !mn_mirror(run->fd, addr, PAGES, false) && begin(run));
	REQUIRE(run, merge(addr, PAGES));
	tell(child.to);
	REQUIRE(run, end_child(&child) == 0);
	run->stale += mn_stale(run->fd, addr, PAGES);
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

static enum mn_result event_ksm_unmerge(struct mn_run *run)
{
	char *addr = map_pages(PAGES);

	if (access(KSM_RUN, W_OK))
		return skip(run, "no KSM");
	fill_alike(addr, PAGES);
	REQUIRE(run, merge(addr, PAGES));
	run->pages = PAGES;
	REQUIRE(run, !mn_mirror(run->fd, addr, PAGES, false) && begin(run));

	REQUIRE(run, !madvise(addr, bytes(PAGES), MADV_UNMERGEABLE));
	REQUIRE(run, !all_merged(addr, PAGES));
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

/* Transparent huge pages */

static enum mn_result event_thp_collapse(struct mn_run *run)
{
	size_t size = read_pmd_pagesize();
	size_t pages = size / mn_page_size();
	unsigned int tries;
	char *addr;
	int ret;

	if (!size)
		return skip(run, "no transparent huge pages");
	addr = mn_map(size, size);
	madvise(addr, size, MADV_NOHUGEPAGE);
	mn_fill(addr, pages, 1);
	madvise(addr, size, MADV_HUGEPAGE);
	REQUIRE(run, mirror(run, addr, pages, true));

	if (holds_pages(run)) {
		madvise(addr, size, MADV_COLLAPSE);
		run->stale += mn_stale(run->fd, addr, pages);
		release_pages(run, addr, size);
	}
	for (tries = 0; tries < TRIES; tries++) {
		ret = madvise(addr, size, MADV_COLLAPSE);
		if (!ret || errno == EINVAL)
			break;
		mn_sleep_ms(20);
	}
	if (ret && errno == EINVAL)
		return skip(run, "no MADV_COLLAPSE");
	REQUIRE(run, !ret);
	REQUIRE(run, check_huge_anon(addr, 1, size));
	settle(run, addr, pages, true);
	return MN_PASS;
}

struct collapser {
	int fd;
	size_t size;
};

/* Collapses a file that it maps as well. */
static int collapser(void *arg, int in, int out)
{
	struct collapser *collapser = arg;
	size_t size = collapser->size;
	char *addr = mn_map(size, size);
	unsigned int tries;

	addr = mmap(addr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		    collapser->fd, 0);
	if (addr == MAP_FAILED)
		return 1;
	hear(in);
	for (tries = 0; tries < TRIES; tries++) {
		if (!madvise(addr, size, MADV_COLLAPSE))
			return 0;
		if (errno == EINVAL)
			return 2;
		mn_sleep_ms(20);
	}
	return 3;
}

/* Another process collapses the file; its page tables go away under us. */
static enum mn_result event_thp_collapse_shmem(struct mn_run *run)
{
	size_t size = read_pmd_pagesize();
	size_t pages = size / mn_page_size();
	struct collapser args = { -1, size };
	struct child child;
	char *addr;
	int status;

	if (!size)
		return skip(run, "no transparent huge pages");
	args.fd = memfd_create("collapse", 0);
	REQUIRE(run, args.fd >= 0 && !ftruncate(args.fd, size));
	REQUIRE(run, fork_child(&child, collapser, &args));
	addr = mmap(mn_map(size, size), size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED, args.fd, 0);
	REQUIRE(run, addr != MAP_FAILED);
	REQUIRE(run, mirror(run, addr, pages, true));
	release_pages(run, addr, size);

	tell(child.to);
	status = end_child(&child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
		return skip(run, "no MADV_COLLAPSE of shmem");
	REQUIRE(run, !status);
	settle(run, addr, pages, true);
	return MN_PASS;
}

static enum mn_result event_thp_split(struct mn_run *run)
{
	static const char split[] = "/sys/kernel/debug/split_huge_pages";
	size_t size = read_pmd_pagesize();
	size_t pages = size / mn_page_size();
	unsigned int tries;
	char *addr;

	if (!size)
		return skip(run, "no transparent huge pages");
	if (access(split, W_OK))
		return skip(run, "no %s", split);
	addr = map_huge(size);
	if (!addr)
		return skip(run, "no free huge page");
	REQUIRE(run, mirror(run, addr, pages, true));
	release_pages(run, addr, size);

	for (tries = 0; tries < TRIES; tries++) {
		mn_write_file(split, "%d,0x%lx,0x%lx,0", getpid(),
			      (unsigned long)addr,
			      (unsigned long)addr + size);
		if (!check_huge_anon(addr, 1, size))
			break;
		mn_sleep_ms(20);
	}
	REQUIRE(run, !check_huge_anon(addr, 1, size));
	settle(run, addr, pages, true);
	return MN_PASS;
}

/* One page in the middle goes away, its neighbours stay. */
static enum mn_result event_thp_zap_part(struct mn_run *run)
{
	size_t size = read_pmd_pagesize();
	size_t pages = size / mn_page_size();
	char *addr, *middle;

	if (!size)
		return skip(run, "no transparent huge pages");
	addr = map_huge(size);
	if (!addr)
		return skip(run, "no free huge page");
	REQUIRE(run, mirror(run, addr, pages, true));
	middle = page_at(addr, pages / 2);
	REQUIRE(run, !madvise(middle, mn_page_size(), MADV_DONTNEED));
	run->stale += mn_stale(run->fd, addr, pages);
	REQUIRE(run, !mn_cpu(middle));
	REQUIRE(run, mn_cpu(middle + mn_page_size()) ==
		     mn_value(middle + mn_page_size(), 1));
	settle(run, addr, pages, true);
	return MN_PASS;
}

/* Migration */

static enum mn_result event_migrate(struct mn_run *run)
{
	char *addr = map_pages(PAGES);
	unsigned int tries;
	int node, moved = 0;

	if (!has_node(0) || !has_node(1))
		return skip(run, "no two NUMA nodes");
	REQUIRE(run, mirror(run, addr, PAGES, true));
	node = !mn_node_of(0, addr);
	for (tries = 0; tries < TRIES && moved != PAGES; tries++) {
		moved = mn_move_pages(0, addr, PAGES, node);
		REQUIRE(run, moved >= 0);
	}
	REQUIRE(run, moved == PAGES);
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

static enum mn_result event_mbind(struct mn_run *run)
{
	char *addr = map_pages(PAGES);
	unsigned long nodes;
	int node;

	if (!has_node(0) || !has_node(1))
		return skip(run, "no two NUMA nodes");
	REQUIRE(run, mirror(run, addr, PAGES, true));
	node = !mn_node_of(0, addr);
	nodes = 1UL << node;
	/* MPOL_BIND, MPOL_MF_STRICT | MPOL_MF_MOVE */
	REQUIRE(run, !syscall(SYS_mbind, addr, bytes(PAGES), 2, &nodes,
			      8 * sizeof(nodes), 1 | 2));
	REQUIRE(run, mn_node_of(0, addr) == node);
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

/* Files */

static char *map_file(int fd, size_t pages)
{
	if (fd < 0 || ftruncate(fd, bytes(pages)))
		return MAP_FAILED;
	return mmap(NULL, bytes(pages), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    0);
}

static enum mn_result truncate_file(struct mn_run *run, int fd, char *addr,
				    size_t pages)
{
	REQUIRE(run, mirror(run, addr, pages, true));
	REQUIRE(run, !ftruncate(fd, 0));
	run->stale += mn_reachable(run->fd, addr, pages);

	REQUIRE(run, !ftruncate(fd, bytes(pages)));
	REQUIRE(run, !mn_cpu(addr));
	settle(run, addr, pages, true);
	return MN_PASS;
}

static enum mn_result event_shmem_truncate(struct mn_run *run)
{
	int fd = memfd_create("truncate", 0);
	char *addr = map_file(fd, PAGES);

	REQUIRE(run, addr != MAP_FAILED);
	return truncate_file(run, fd, addr, PAGES);
}

static enum mn_result event_shmem_punch(struct mn_run *run)
{
	int fd = memfd_create("punch", 0);
	char *addr = map_file(fd, PAGES);

	REQUIRE(run, addr != MAP_FAILED);
	REQUIRE(run, mirror(run, addr, PAGES, true));
	REQUIRE(run, !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				bytes(PAGES / 2), bytes(PAGES / 2)));
	run->stale += mn_stale(run->fd, addr, PAGES);
	REQUIRE(run, mn_cpu(addr) == mn_value(addr, 1));
	REQUIRE(run, !mn_cpu(page_at(addr, PAGES / 2)));
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

/* A file system that tracks what is dirty, on a loop device. */
struct volume {
	char image[32];
	char mountpoint[32];
	char loop[32];
	int image_fd, loop_fd;
};

static void free_volume(struct volume *volume)
{
	umount2(volume->mountpoint, MNT_DETACH);
	rmdir(volume->mountpoint);
	/* The loop device goes away with its last user. */
	close(volume->loop_fd);
	close(volume->image_fd);
	unlink(volume->image);
}

/* NULL, or what could not be done. */
static const char *make_volume(struct volume *volume)
{
	struct loop_config config = {
		.info.lo_flags = LO_FLAGS_AUTOCLEAR,
	};
	const char *failed;
	char command[80];
	int control, error, fd, nr;

	snprintf(volume->image, sizeof(volume->image),
		 "/tmp/mmu_notifier.XXXXXX");
	snprintf(volume->mountpoint, sizeof(volume->mountpoint),
		 "/tmp/mmu_notifier.XXXXXX");
	volume->loop_fd = -1;
	volume->image_fd = mkstemp(volume->image);
	if (volume->image_fd < 0 || !mkdtemp(volume->mountpoint))
		return "create files in /tmp";
	snprintf(command, sizeof(command), "mke2fs -F %s >/dev/null 2>&1",
		 volume->image);
	failed = "run mke2fs";
	if (ftruncate(volume->image_fd, 16 << 20) || system(command))
		goto fail;

	failed = "find a loop device";
	control = open("/dev/loop-control", O_RDWR);
	if (control < 0)
		goto fail;
	nr = ioctl(control, LOOP_CTL_GET_FREE);
	close(control);
	snprintf(volume->loop, sizeof(volume->loop), "/dev/loop%d", nr);
	failed = "set up a loop device";
	volume->loop_fd = open(volume->loop, O_RDWR);
	config.fd = volume->image_fd;
	if (nr < 0 || volume->loop_fd < 0 ||
	    ioctl(volume->loop_fd, LOOP_CONFIGURE, &config))
		goto fail;

	/* Kernels that protect mounted devices mount none open for writing. */
	fd = volume->loop_fd;
	volume->loop_fd = open(volume->loop, O_RDONLY);
	close(fd);
	failed = "mount ext4 or ext2";
	if (!mount(volume->loop, volume->mountpoint, "ext4", 0, NULL) ||
	    !mount(volume->loop, volume->mountpoint, "ext2", 0, NULL))
		return NULL;
fail:
	error = errno;
	free_volume(volume);
	errno = error;
	return failed;
}

/* What is on the disk, past the page cache. */
static bool on_disk(const char *path, size_t pages, unsigned int generation,
		    char *addr)
{
	char *buffer = mn_map(bytes(pages), mn_page_size());
	int fd = open(path, O_RDONLY | O_DIRECT);
	bool same = true;
	size_t i;

	if (fd < 0 || pread(fd, buffer, bytes(pages), 0) !=
		      (ssize_t)bytes(pages))
		return false;
	for (i = 0; i < pages; i++)
		same &= mn_cpu(page_at(buffer, i)) ==
			mn_value(page_at(addr, i), generation);
	close(fd);
	return same;
}

static enum mn_result write_back(struct mn_run *run, const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	char *addr = map_file(fd, PAGES);
	size_t i;

	REQUIRE(run, addr != MAP_FAILED);
	REQUIRE(run, mirror(run, addr, PAGES, true));
	REQUIRE(run, !msync(addr, bytes(PAGES), MS_SYNC));
	/* Clean: the next store has to tell the kernel. */
	run->stale += mn_writable(run->fd, addr, PAGES);
	REQUIRE(run, !mn_mirror(run->fd, addr, PAGES, false));

	for (i = 0; i < PAGES; i++)
		REQUIRE(run, !mn_store(run->fd, page_at(addr, i),
				       mn_value(page_at(addr, i), 2)));
	run->stale += mn_wrong(run->fd, addr, PAGES);
	REQUIRE(run, !msync(addr, bytes(PAGES), MS_SYNC));
	REQUIRE(run, on_disk(path, PAGES, 2, addr));
	close(fd);
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

static enum mn_result event_file_writeback(struct mn_run *run)
{
	struct volume volume;
	enum mn_result result;
	const char *failed;
	char path[64];

	failed = make_volume(&volume);
	if (failed)
		return skip(run, "could not %s: %s", failed, strerror(errno));
	snprintf(path, sizeof(path), "%s/file", volume.mountpoint);
	result = write_back(run, path);
	free_volume(&volume);
	return result;
}

/* hugetlb */

static enum mn_result event_hugetlb_unmap(struct mn_run *run)
{
	size_t size = need_hugetlb(2);
	size_t pages = size / mn_page_size();
	char *addr;

	if (!size)
		return skip(run, "no free hugetlb pages");
	addr = map_hugetlb(2 * size);
	REQUIRE(run, addr != MAP_FAILED);
	REQUIRE(run, mirror(run, addr, 2 * pages, true));
	REQUIRE(run, !madvise(addr, size, MADV_DONTNEED));
	run->stale += mn_stale(run->fd, addr, 2 * pages);
	settle(run, addr, 2 * pages, true);
	REQUIRE(run, !munmap(addr, 2 * size));
	run->stale += mn_reachable(run->fd, addr, 2 * pages);
	return MN_PASS;
}

static enum mn_result event_hugetlb_cow(struct mn_run *run)
{
	size_t size = need_hugetlb(4);
	size_t pages = size / mn_page_size();
	struct child child;
	char *addr;

	if (!size)
		return skip(run, "no free hugetlb pages");
	addr = map_hugetlb(2 * size);
	REQUIRE(run, addr != MAP_FAILED);
	REQUIRE(run, mirror(run, addr, 2 * pages, true));
	REQUIRE(run, fork_child(&child, cow_bystander, addr));
	run->stale += mn_writable(run->fd, addr, 2 * pages);
	REQUIRE(run, !mn_mirror(run->fd, addr, 2 * pages, false));

	/* One is copied for the CPU, one for the secondary MMU. */
	mn_cpu_write(addr, mn_value(addr, 2));
	run->stale += mn_stale(run->fd, addr, 2 * pages);
	REQUIRE(run, !mn_store(run->fd, addr + size,
			       mn_value(addr + size, 2)));
	run->stale += mn_cpu(addr + size) != mn_value(addr + size, 2);
	run->stale += mn_wrong(run->fd, addr, 2 * pages);
	/* It looks at its own first page only after that. */
	tell(child.to);
	REQUIRE(run, end_child(&child) == 0);
	settle(run, addr, 2 * pages, true);
	return MN_PASS;
}

static enum mn_result event_hugetlb_truncate(struct mn_run *run)
{
	size_t size = need_hugetlb(2);
	size_t pages = size / mn_page_size();
	char *addr;
	int fd;

	if (!size)
		return skip(run, "no free hugetlb pages");
	fd = memfd_create("hugetlb", MFD_HUGETLB);
	addr = map_file(fd, 2 * pages);
	REQUIRE(run, addr != MAP_FAILED);
	REQUIRE(run, mirror(run, addr, 2 * pages, true));
	REQUIRE(run, !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				size, size));
	run->stale += mn_stale(run->fd, addr, 2 * pages);
	REQUIRE(run, !mn_cpu(addr + size));
	return truncate_file(run, fd, addr, 2 * pages);
}

/* userfaultfd */

static enum mn_result event_uffd_move(struct mn_run *run)
{
	char *from = map_pages(PAGES), *to = map_pages(PAGES);
	struct uffdio_move args = {
		.dst = (uintptr_t)to,
		.src = (uintptr_t)from,
		.len = bytes(PAGES),
	};
	int fd = open_uffd(UFFD_FEATURE_MOVE);
	size_t i;

	if (fd < 0)
		return skip(run, "no UFFDIO_MOVE");
	REQUIRE(run, register_uffd(fd, to, bytes(PAGES),
				   UFFDIO_REGISTER_MODE_MISSING));
	REQUIRE(run, mirror(run, from, PAGES, true));
	REQUIRE(run, !ioctl(fd, UFFDIO_MOVE, &args));
	run->stale += mn_stale(run->fd, from, PAGES);
	for (i = 0; i < PAGES; i++)
		REQUIRE(run, mn_cpu(page_at(to, i)) ==
			     mn_value(page_at(from, i), 1));
	run->stale += mn_wrong(run->fd, to, PAGES);
	settle(run, from, PAGES, true);
	settle(run, to, PAGES, true);
	return MN_PASS;
}

/* The zero page moves as well, in a way of its own. */
static enum mn_result event_uffd_move_zero(struct mn_run *run)
{
	char *from = map_pages(PAGES), *to = map_pages(PAGES);
	struct uffdio_move args = {
		.dst = (uintptr_t)to,
		.src = (uintptr_t)from,
		.len = bytes(PAGES),
	};
	int fd = open_uffd(UFFD_FEATURE_MOVE);

	if (fd < 0)
		return skip(run, "no UFFDIO_MOVE");
	REQUIRE(run, register_uffd(fd, to, bytes(PAGES),
				   UFFDIO_REGISTER_MODE_MISSING));
	run->pages = PAGES;
	REQUIRE(run, !mn_mirror(run->fd, from, PAGES, false) && begin(run));
	REQUIRE(run, !ioctl(fd, UFFDIO_MOVE, &args));
	/* What is there from now on reads as zero too. */
	run->stale += mn_mapped(run->fd, from, PAGES);
	REQUIRE(run, !mn_cpu(to));
	settle(run, from, PAGES, true);
	settle(run, to, PAGES, true);
	return MN_PASS;
}

static enum mn_result event_uffd_wp(struct mn_run *run)
{
	return protect_by_uffd(run, map_pages(PAGES), bytes(PAGES));
}

static enum mn_result event_soft_dirty(struct mn_run *run)
{
	char *addr = map_pages(PAGES);

	mn_fill(addr, PAGES, 1);
	REQUIRE(run, !mn_write_file("/proc/self/clear_refs", "4"));
	mn_fill(addr, 1, 2);
	if (!mn_soft_dirty(addr) || mn_soft_dirty(page_at(addr, 1)))
		return skip(run, "no soft-dirty bits");
	REQUIRE(run, mirror(run, addr, PAGES, true));
	REQUIRE(run, !mn_write_file("/proc/self/clear_refs", "4"));
	run->stale += mn_writable(run->fd, addr, PAGES);
	REQUIRE(run, !mn_mirror(run->fd, addr, PAGES, false));
	REQUIRE(run, !mn_store(run->fd, addr, mn_value(addr, 3)));
	REQUIRE(run, mn_soft_dirty(addr));
	REQUIRE(run, !mn_soft_dirty(page_at(addr, 1)));
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

static enum mn_result event_pagemap_scan(struct mn_run *run)
{
	return scan_pagemap(run, map_pages(PAGES), bytes(PAGES));
}

/* The end of an address space */

struct victim {
	struct mn_run *run;
	char *addr;
	const char *memcg;
};

/* A process that is mirrored by our secondary MMU. */
static bool become_mirrored(struct victim *victim)
{
	struct mn_run *run = victim->run;

	if (mn_attach(run->fd, run->style, 0, 0))
		return false;
	mn_fill(victim->addr, PAGES, 1);
	return !mn_mirror(run->fd, victim->addr, PAGES, true);
}

/* The secondary MMU has been told, and lets nothing through any more. */
static enum mn_result check_released(struct mn_run *run, char *addr)
{
	struct tmn_stats stats;
	uint64_t value;
	unsigned int ms;
	size_t i;

	for (ms = 0; ms < 10000; ms++) {
		REQUIRE(run, !mn_stats(run->fd, &stats));
		if (stats.releases)
			break;
		mn_sleep_ms(1);
	}
	REQUIRE(run, stats.releases == 1);
	REQUIRE(run, !stats.translations);
	for (i = 0; i < PAGES; i++) {
		if (mn_load_nofault(run->fd, page_at(addr, i), &value) !=
		    -ENOENT)
			run->stale++;
	}
	REQUIRE(run, mn_load(run->fd, addr, &value) == -ESRCH);
	REQUIRE(run, mn_store(run->fd, addr, 0) == -ESRCH);
	return MN_PASS;
}

static int exiting(void *arg, int in, int out)
{
	if (!become_mirrored(arg) || !tell(out))
		return 1;
	hear(in);
	return 0;
}

static enum mn_result event_process_exit(struct mn_run *run)
{
	struct victim victim = { run, map_pages(PAGES), NULL };
	enum mn_result result;
	struct child child;

	REQUIRE(run, !mn_detach(run->fd));
	REQUIRE(run, fork_child(&child, exiting, &victim));
	REQUIRE(run, hear(child.from));
	run->pages = PAGES;
	run->before = 0;
	REQUIRE(run, end_child(&child) == 0);
	result = check_released(run, victim.addr);
	run->callbacks = 1;
	return result;
}

/* Becomes a program that waits for its standard input to end. */
static int executing(void *arg, int in, int out)
{
	static char * const argv[] = { "mmu_notifier", NULL };
	static char * const envp[] = { "MMU_NOTIFIER_NOTHING=1", NULL };

	if (!become_mirrored(arg) || !tell(out))
		return 1;
	hear(in);
	if (dup2(in, 0))
		return 2;
	execve("/proc/self/exe", argv, envp);
	return 3;
}

static enum mn_result event_process_exec(struct mn_run *run)
{
	struct victim victim = { run, map_pages(PAGES), NULL };
	enum mn_result result;
	struct child child;

	REQUIRE(run, !mn_detach(run->fd));
	REQUIRE(run, fork_child(&child, executing, &victim));
	REQUIRE(run, hear(child.from));
	run->pages = PAGES;
	run->before = 0;
	tell(child.to);
	result = check_released(run, victim.addr);
	run->callbacks = 1;
	if (result)
		return result;
	/* It was not the end of the process. */
	REQUIRE(run, waitpid(child.pid, NULL, WNOHANG) == 0);
	REQUIRE(run, end_child(&child) == 0);
	return MN_PASS;
}

/*
 * Uses up its cgroup's memory.  Its secondary MMU takes its time to let go,
 * which the OOM reaper does not wait for.
 */
static int out_of_memory(void *arg, int in, int out)
{
	struct victim *victim = arg;
	struct tmn_misbehave slow = {
		.events = 1U << MN_EVENT_RELEASE,
		.start_delay_us = 5000000,
	};
	char path[320];

	snprintf(path, sizeof(path), "%s/cgroup.procs", victim->memcg);
	if (mn_write_file(path, "%d", getpid()) || !become_mirrored(victim) ||
	    ioctl(victim->run->fd, TMN_MISBEHAVE, &slow))
		return 1;
	if (!tell(out))
		return 2;
	hear(in);
	for (;;)
		mn_fill(mn_map(1 << 20, mn_page_size()),
			(1 << 20) / mn_page_size(), 1);
}

/* Looks on while the victim's memory is taken away. */
static unsigned int watch_victim(struct mn_run *run, struct child *child,
				 char *addr, int *status)
{
	unsigned int stale = 0;
	uint64_t value;
	size_t i;

	while (!waitpid(child->pid, status, WNOHANG)) {
		for (i = 0; i < PAGES; i++) {
			int ret = mn_load_nofault(run->fd, page_at(addr, i),
						  &value);

			if (ret != -ENOENT &&
			    (ret || value != mn_value(page_at(addr, i), 1)))
				stale++;
		}
		mn_sleep_ms(2);
	}
	return stale;
}

static enum mn_result kill_by_oom(struct mn_run *run, const char *memcg)
{
	struct victim victim = { run, map_pages(PAGES), memcg };
	enum mn_result result;
	struct tmn_stats stats;
	struct child child;
	char path[320];
	int status = 0;

	snprintf(path, sizeof(path), "%s/memory.swap.max", memcg);
	mn_write_file(path, "0");
	snprintf(path, sizeof(path), "%s/memory.max", memcg);
	REQUIRE(run, !mn_write_file(path, "%d", 32 << 20));

	REQUIRE(run, !mn_detach(run->fd));
	REQUIRE(run, fork_child(&child, out_of_memory, &victim));
	REQUIRE(run, hear(child.from));
	run->pages = PAGES;
	REQUIRE(run, begin(run));
	tell(child.to);
	run->stale += watch_victim(run, &child, victim.addr, &status);
	close(child.to);
	close(child.from);
	REQUIRE(run, WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

	REQUIRE(run, !mn_stats(run->fd, &stats));
	/* Who may not sleep, and would have to, has said so each time. */
	if (run->style == TMN_STYLE_XPMEM)
		REQUIRE(run, stats.failed_starts);
	result = check_released(run, victim.addr);
	return result;
}

static enum mn_result event_oom_reap(struct mn_run *run)
{
	enum mn_result result;
	char memcg[256];

	if (run->style == TMN_STYLE_XPMEM && !mn_core_drains())
		return skip(run, "a start that fails may not have an end here");
	if (mn_make_memcg(memcg, sizeof(memcg)))
		return skip(run, "no memory cgroups");
	result = kill_by_oom(run, memcg);
	rmdir(memcg);
	return result;
}

/* All of them */

const struct mn_event mn_events[] = {
	MN_EVENTS(MN_EVENT)
};

const size_t mn_nr_events = ARRAY_SIZE(mn_events);
