// SPDX-License-Identifier: GPL-2.0
/*
 * The events of mmu_notifier_events.h that processes do not cause by
 * themselves: what drivers do to page tables (lib/test_mmu_driver.c), and
 * uprobes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest.h"
#include "mmu_notifier_events.h"
#include "mmu_notifier_scene.h"
#include "mmu_notifier_util.h"
#include "vm_util.h"
#include "../../../../lib/test_mmu_driver_uapi.h"

#define DRIVER	"/dev/test_mmu_driver"
#define FRAME	"/sys/module/test_mmu_driver/parameters/frame"

#define need_driver(run)						\
	do {								\
		if (access(DRIVER, R_OK | W_OK))			\
			return skip(run, "no " DRIVER);			\
	} while (0)

/* Has the driver do something: what its ioctl returns, or a negative errno. */
static int act(enum tmd_action action, void *addr, size_t pages)
{
	struct tmd_act args = {
		.start = (uintptr_t)addr,
		.length = bytes(pages),
		.action = action,
	};
	int fd = open(DRIVER, O_RDWR);
	int ret = ioctl(fd, TMD_ACT, &args);

	if (ret < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/* What may fail because others look at the pages at the same time. */
static int try_act(enum tmd_action action, void *addr, size_t pages)
{
	unsigned int tries;
	int ret;

	for (tries = 0; tries < TRIES; tries++) {
		ret = act(action, addr, pages);
		if (ret != -EBUSY)
			break;
		mn_sleep_ms(20);
	}
	return ret;
}

/* Uprobes */

/* Alone in its page, so that what a probe puts there is what a load sees. */
static void __attribute__((noinline, aligned(4096))) probed(void)
{
	asm volatile("nop");
}

/* Where in its file the code at @addr is, or -1. */
static long file_offset(const void *addr)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start, end, offset;
	long found = -1;
	char line[512];

	if (!maps)
		return -1;
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %*s %lx", &start, &end,
			   &offset) == 3 &&
		    start <= (uintptr_t)addr && (uintptr_t)addr < end)
			found = offset + ((uintptr_t)addr - start);
	}
	fclose(maps);
	return found;
}

static enum mn_result event_uprobe(struct mn_run *run)
{
	static const char events[] = "/sys/kernel/tracing/uprobe_events";
	static const char enable[] =
		"/sys/kernel/tracing/events/uprobes/mmu_notifier/enable";
	char *addr = (char *)probed;
	uint64_t before;
	char path[256];
	ssize_t length;
	int set, unset;

	length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (access(events, W_OK) || length < 0)
		return skip(run, "no uprobes");
	path[length] = '\0';
	/* Of a run that was ended in the middle. */
	mn_write_file(events, "-:mmu_notifier");
	REQUIRE(run, !mn_write_file(events, "p:mmu_notifier %s:0x%lx", path,
				    file_offset(addr)));
	probed();
	run->pages = 1;
	REQUIRE(run, !mn_mirror(run->fd, addr, 1, false) && begin(run));

	before = mn_cpu(addr);
	set = mn_write_file(enable, "1");
	run->stale += mn_stale(run->fd, addr, 1);
	run->stale += mn_wrong(run->fd, addr, 1);
	probed();
	set |= mn_cpu(addr) == before;
	unset = mn_write_file(enable, "0");
	run->stale += mn_stale(run->fd, addr, 1);
	run->stale += mn_wrong(run->fd, addr, 1);
	mn_write_file(events, "-:mmu_notifier");
	REQUIRE(run, !set && !unset && mn_cpu(addr) == before);
	return MN_PASS;
}

/* Exclusive access */

static enum mn_result event_exclusive(struct mn_run *run)
{
	char *addr = map_pages(PAGES);
	struct tmn_stats before, after;
	int ret;

	need_driver(run);
	REQUIRE(run, mirror(run, addr, PAGES, true));
	ret = try_act(TMD_EXCLUSIVE, addr, PAGES);
	if (ret == -EOPNOTSUPP)
		return skip(run, "no exclusive access");
	REQUIRE(run, !ret);
	run->stale += mn_mapped(run->fd, addr, PAGES);

	/* The CPU gets it back, and whoever had it exclusively is told. */
	REQUIRE(run, !mn_stats(run->fd, &before));
	REQUIRE(run, mn_cpu(addr) == mn_value(addr, 1));
	REQUIRE(run, !mn_stats(run->fd, &after));
	REQUIRE(run, after.invalidate_pages > before.invalidate_pages);
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

/* Migration */

static enum mn_result event_migrate_vma(struct mn_run *run)
{
	char *addr = map_pages(PAGES);
	int ret;

	need_driver(run);
	REQUIRE(run, mirror(run, addr, PAGES, true));
	ret = try_act(TMD_MIGRATE, addr, PAGES);
	if (ret == -EOPNOTSUPP)
		return skip(run, "no migration by drivers");
	REQUIRE(run, !ret);
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

/* Of zero pages as well: they become pages. */
static enum mn_result event_migrate_vma_zero(struct mn_run *run)
{
	char *addr = map_pages(PAGES);
	int ret;

	need_driver(run);
	run->pages = PAGES;
	REQUIRE(run, !mn_mirror(run->fd, addr, PAGES, false) && begin(run));
	ret = try_act(TMD_MIGRATE, addr, PAGES);
	if (ret == -EOPNOTSUPP)
		return skip(run, "no migration by drivers");
	REQUIRE(run, !ret);
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

/* Dirty tracking */

static enum mn_result clean(struct mn_run *run, char *addr, size_t pages)
{
	REQUIRE(run, mirror(run, addr, pages, true));
	REQUIRE(run, !act(TMD_MKCLEAN, addr, pages));
	/* Clean: the next store has to tell the kernel. */
	run->stale += mn_writable(run->fd, addr, pages);
	settle(run, addr, pages, true);
	return MN_PASS;
}

static enum mn_result event_mkclean(struct mn_run *run)
{
	int fd = memfd_create("mkclean", 0);
	char *addr;

	need_driver(run);
	REQUIRE(run, fd >= 0 && !ftruncate(fd, bytes(PAGES)));
	addr = mmap(NULL, bytes(PAGES), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    0);
	REQUIRE(run, addr != MAP_FAILED);
	return clean(run, addr, PAGES);
}

static enum mn_result event_mkclean_thp(struct mn_run *run)
{
	size_t size = read_pmd_pagesize();
	char *addr;

	need_driver(run);
	addr = size ? map_shmem_huge(memfd_create("mkclean", 0), size) : NULL;
	if (!addr)
		return skip(run, "no huge page of shared memory");
	return clean(run, addr, size / mn_page_size());
}

/* Memory of a kind that the driver has; MAP_FAILED if it has not. */
static char *map_frames(enum tmd_kind kind, size_t size, int flags)
{
	int fd = open(DRIVER, O_RDWR);
	char *addr;

	addr = mmap(mn_map(size, size), size, PROT_READ | PROT_WRITE,
		    flags | MAP_FIXED, fd, TMD_MAP(kind));
	close(fd);
	return addr;
}

static enum mn_result event_wrprotect_mapping(struct mn_run *run)
{
	char *addr = map_frames(TMD_PAGE, bytes(PAGES), MAP_SHARED);

	need_driver(run);
	REQUIRE(run, addr != MAP_FAILED);
	REQUIRE(run, mirror(run, addr, PAGES, true));
	REQUIRE(run, act(TMD_WRPROTECT, addr, PAGES) == PAGES);
	run->stale += mn_writable(run->fd, addr, PAGES);
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

static enum mn_result event_clean_mapping(struct mn_run *run)
{
	char *addr = map_frames(TMD_PAGE, bytes(PAGES), MAP_SHARED);

	need_driver(run);
	REQUIRE(run, addr != MAP_FAILED);
	REQUIRE(run, mirror(run, addr, PAGES, true));
	REQUIRE(run, act(TMD_CLEAN_RECORD, addr, PAGES) == PAGES);
	run->stale += mn_writable(run->fd, addr, PAGES);
	/* What was stored since then has to be on the record. */
	REQUIRE(run, !mn_mirror(run->fd, addr, PAGES, false));
	REQUIRE(run, !mn_store(run->fd, addr, mn_value(addr, 2)));
	REQUIRE(run, act(TMD_CLEAN_RECORD, addr, PAGES) == 1);
	settle(run, addr, PAGES, true);
	return MN_PASS;
}

/*
 * Large entries for page frames.  The pages around those that the driver owns
 * are somebody else's, and not touched.
 */
static char *own_frames(char *addr, size_t size)
{
	long frame;

	if (mn_read_long(FRAME, &frame))
		return NULL;
	return page_at(addr, frame % (size / mn_page_size()));
}

struct frames {
	char *addr;
	size_t size;
	/* PAGES pages of it */
	char *own;
};

#define PMD_FRAMES	(2UL << 20)
#define PUD_FRAMES	(1UL << 30)

static bool set_frames(struct frames *frames, enum tmd_kind kind, size_t size,
		       int flags)
{
	frames->size = size;
	frames->addr = map_frames(kind, size, flags);
	frames->own = own_frames(frames->addr, size);
	return frames->addr != MAP_FAILED && frames->own;
}

static enum mn_result unmap_frames(struct mn_run *run, enum tmd_kind kind,
				   size_t size)
{
	struct frames frames;

	need_driver(run);
	REQUIRE(run, set_frames(&frames, kind, size, MAP_SHARED));
	REQUIRE(run, mirror(run, frames.own, PAGES, true));
	REQUIRE(run, !munmap(frames.addr, frames.size));
	run->stale += mn_reachable(run->fd, frames.own, PAGES);
	return MN_PASS;
}

static enum mn_result event_pmd_frames_unmap(struct mn_run *run)
{
	return unmap_frames(run, TMD_PMD, PMD_FRAMES);
}

static enum mn_result event_pud_frames_unmap(struct mn_run *run)
{
	return unmap_frames(run, TMD_PUD, PUD_FRAMES);
}

static enum mn_result event_pud_frames_protect(struct mn_run *run)
{
	struct frames frames;

	need_driver(run);
	REQUIRE(run, set_frames(&frames, TMD_PUD, PUD_FRAMES, MAP_SHARED));
	REQUIRE(run, mirror(run, frames.own, PAGES, true));
	REQUIRE(run, !mprotect(frames.addr, frames.size, PROT_READ));
	run->stale += mn_writable(run->fd, frames.own, PAGES);
	run->stale += mn_wrong(run->fd, frames.own, PAGES);
	REQUIRE(run, !mprotect(frames.addr, frames.size, PROT_NONE));
	run->stale += mn_reachable(run->fd, frames.own, PAGES);
	return MN_PASS;
}

/*
 * As one entry where the new place has room for it; else it is split.  What also
 * splits it, to unmap a part of it, trips over a VM_BUG_ON of Linux's own, since
 * the VMA has been split by then.
 */
static enum mn_result move_frames(struct mn_run *run, size_t offset)
{
	struct frames frames;
	char *to, *own;
	size_t i;

	need_driver(run);
	REQUIRE(run, set_frames(&frames, TMD_PUD, PUD_FRAMES, MAP_SHARED));
	REQUIRE(run, mirror(run, frames.own, PAGES, true));
	to = mn_map(2 * PUD_FRAMES, PUD_FRAMES) + offset;
	own = to + (frames.own - frames.addr);
	REQUIRE(run, mremap(frames.addr, frames.size, frames.size,
			    MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	run->stale += mn_reachable(run->fd, frames.own, PAGES);
	for (i = 0; i < PAGES; i++)
		REQUIRE(run, mn_cpu(page_at(own, i)) ==
			     mn_value(page_at(frames.own, i), 1));
	settle(run, own, PAGES, true);
	REQUIRE(run, !munmap(to, frames.size));
	run->stale += mn_reachable(run->fd, own, PAGES);
	return MN_PASS;
}

static enum mn_result event_pud_frames_move(struct mn_run *run)
{
	return move_frames(run, 0);
}

static enum mn_result event_pud_frames_move_apart(struct mn_run *run)
{
	return move_frames(run, PMD_FRAMES);
}

static int child_of_frames(void *arg, int in, int out)
{
	return 0;
}

/*
 * Private frames in one entry: fork() takes the right to write from it.  No
 * helper gives translations of these, so what counts is the call.  A store to
 * them from now on would need a page in their place, which nobody gives.
 */
static enum mn_result event_pud_frames_fork(struct mn_run *run)
{
	struct tmn_stats before, after;
	struct frames frames;
	struct child child;

	need_driver(run);
	if (!read_pmd_pagesize())
		return skip(run, "no transparent huge pages");
	REQUIRE(run, set_frames(&frames, TMD_MIXED_PUD, PUD_FRAMES,
				MAP_PRIVATE));
	/* Unlike VM_PFNMAP, this is a matter of policy. */
	REQUIRE(run, !madvise(frames.addr, frames.size, MADV_HUGEPAGE));
	mn_cpu_write(frames.own, 1);
	run->pages = 1;
	REQUIRE(run, !mn_watch(run->fd, frames.own, bytes(1)) && begin(run));
	REQUIRE(run, !mn_stats(run->fd, &before));
	REQUIRE(run, fork_child(&child, child_of_frames, NULL));
	REQUIRE(run, end_child(&child) == 0);
	REQUIRE(run, !mn_stats(run->fd, &after));
	REQUIRE(run, after.watched_pages == before.watched_pages + 1);
	return MN_PASS;
}

const struct mn_event mn_driver_events[] = {
	MN_DRIVER_EVENTS(MN_EVENT)
};
