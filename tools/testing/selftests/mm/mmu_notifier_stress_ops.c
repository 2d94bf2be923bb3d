// SPDX-License-Identifier: GPL-2.0
/*
 * The operations of the stress test of MMU notifiers.  Each is done by the owner
 * of an area, who notes what it does to the content; see mmu_notifier_stress.h.
 *
 * An operation may fail where the kernel has a right to say no (a page is in
 * use, mappings do not merge): what is noted is what has happened.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mmu_notifier_stress.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

static size_t bytes(struct range range)
{
	return range.count * mn_page_size();
}

static char *addr_of(const struct actor *actor, struct range range)
{
	return page_addr(actor->area, range.first);
}

/* The same place in the other half. */
static struct range other_half(struct range range)
{
	range.first ^= HALF_PAGES;
	return range;
}

static void set_access(struct actor *actor, struct range range,
		       enum access access)
{
	memset(actor->access + range.first, access, range.count);
}

/* Mapping */

static void map_range(struct actor *actor, struct range range)
{
	struct area *area = actor->area;
	int flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;

	if (area->kind == KIND_HUGETLB)
		flags |= MAP_HUGETLB;
	must(actor, mmap(addr_of(actor, range), bytes(range),
			 PROT_READ | PROT_WRITE, flags, -1,
			 0) != MAP_FAILED);
}

static void restore_run(struct actor *actor, struct range run)
{
	struct area *area = actor->area;
	unsigned int nr;

	switch (actor->access[run.first]) {
	case ACCESS_ALL:
		return;
	case ACCESS_UNMAPPED:
		may_all_be(area, run, 0);
		map_range(actor, run);
		break;
	case ACCESS_NONE:
		for_each_nr(nr, run)
			may_be(area, nr, actor->hidden[nr]);
		__attribute__((__fallthrough__));
	case ACCESS_READ:
		must(actor, !mprotect(addr_of(actor, run), bytes(run),
				      PROT_READ | PROT_WRITE));
	}
	settle_all(area, run);
	set_access(actor, run, ACCESS_ALL);
}

void restore(struct actor *actor, struct range range)
{
	struct range run = { range.first, 0 };
	unsigned int nr;

	for_each_nr(nr, range) {
		if (actor->access[nr] != actor->access[run.first]) {
			restore_run(actor, run);
			run = (struct range){ nr, 0 };
		}
		run.count++;
	}
	restore_run(actor, run);
}

void map_area(struct actor *actor)
{
	const struct range all = { 0, AREA_PAGES };
	struct area *area = actor->area;

	if (area->kind == KIND_SHMEM) {
		/* Whoever owned it before was killed in the middle. */
		may_all_be(area, all, UNREACHABLE);
		may_all_be(area, all, 0);
		must(actor, !ftruncate(area->fd, 0));
		must(actor, !ftruncate(area->fd, bytes(all)));
		settle_all(area, all);
		return;
	}
	may_all_be(area, all, UNREACHABLE);
	settle_all(area, all);
	set_access(actor, all, ACCESS_UNMAPPED);
	restore(actor, all);
}

static void op_unmap(struct actor *actor, struct range range)
{
	may_all_be(actor->area, range, UNREACHABLE);
	must(actor, !munmap(addr_of(actor, range), bytes(range)));
	settle_all(actor->area, range);
	set_access(actor, range, ACCESS_UNMAPPED);
}

/* Content */

static void write_page(struct actor *actor, unsigned int nr, uint64_t value)
{
	may_be(actor->area, nr, value);
	mn_cpu_write(page_addr(actor->area, nr), value);
	stress_settle(actor->area, nr);
}

/* Stores a new value through a secondary MMU, if one is attached. */
static bool try_store(struct actor *actor, unsigned int nr)
{
	struct area *area = actor->area;
	struct mirror *mirror = any_mirror(actor);
	uint64_t value = new_value(area, nr);
	int ret;

	may_be(area, nr, value);
	ret = mn_store(mirror->fd, page_addr(area, nr), value);
	if (!ret)
		stress_settle(area, nr);
	else if (ret != -ENOTCONN && ret != -EINTR)
		complain(actor, "page %u: store through %s: %s", nr,
			 mn_style_name(mirror->style), strerror(-ret));
	return !ret;
}

static bool store_page(struct actor *actor, unsigned int nr)
{
	uint64_t before = state_of(actor->area, nr);

	if (try_store(actor, nr))
		return true;
	may_be(actor->area, nr, before);
	stress_settle(actor->area, nr);
	return false;
}

static void op_write(struct actor *actor, struct range range)
{
	unsigned int nr;

	for_each_nr(nr, range)
		write_page(actor, nr, new_value(actor->area, nr));
}

static void op_store(struct actor *actor, struct range range)
{
	unsigned int nr;

	for_each_nr(nr, range)
		store_page(actor, nr);
}

/* Some of the pages are mirrored for stores, so that something can be stale. */
static void mirror_some(struct actor *actor, struct range range)
{
	unsigned int i;

	for (i = 0; i < 4; i++)
		store_page(actor, range.first + pick(actor, range.count));
}

/* Protection */

/* No store gets through where the CPU may not write. */
static void check_read_only(struct actor *actor, struct range range)
{
	unsigned int i;

	for (i = 0; i < 4; i++) {
		unsigned int nr = range.first + pick(actor, range.count);
		struct mirror *mirror = any_mirror(actor);

		if (!mn_store(mirror->fd, page_addr(actor->area, nr),
			      state_of(actor->area, nr)))
			complain(actor, "page %u: %s stores what is read-only",
				 nr, mn_style_name(mirror->style));
	}
}

static void op_protect(struct actor *actor, struct range range)
{
	mirror_some(actor, range);
	must(actor, !mprotect(addr_of(actor, range), bytes(range), PROT_READ));
	set_access(actor, range, ACCESS_READ);
	check_read_only(actor, range);
	/* It is not left so: others have no business with what may be done. */
	if (actor->area->kind == KIND_SHMEM || one_in(actor, 2))
		restore(actor, range);
}

static void op_hide(struct actor *actor, struct range range)
{
	unsigned int nr;

	for_each_nr(nr, range) {
		actor->hidden[nr] = state_of(actor->area, nr);
		may_be(actor->area, nr, UNREACHABLE);
	}
	must(actor, !mprotect(addr_of(actor, range), bytes(range), PROT_NONE));
	settle_all(actor->area, range);
	set_access(actor, range, ACCESS_NONE);
}

static void op_soft_dirty(struct actor *actor, struct range range)
{
	mirror_some(actor, range);
	must(actor, !mn_write_file("/proc/self/clear_refs", "4"));
}

/* Moves */

/*
 * What has moved from @from to @to, and what is left behind.  The destination
 * was unmapped in any case.
 */
static void note_move(struct actor *actor, struct range from, struct range to,
		      uint64_t left)
{
	unsigned int i;

	may_all_be(actor->area, to, UNREACHABLE);
	for (i = 0; i < from.count; i++) {
		may_be(actor->area, to.first + i,
		       state_of(actor->area, from.first + i));
		may_be(actor->area, from.first + i, left);
	}
}

static void take_back_move(struct actor *actor, struct range from,
			   struct range to, uint64_t dest)
{
	unsigned int i;

	for (i = 0; i < from.count; i++) {
		may_be(actor->area, from.first + i,
		       state_of(actor->area, to.first + i));
		may_be(actor->area, to.first + i, dest);
	}
}

static void move(struct actor *actor, struct range from, int flags,
		 uint64_t left)
{
	struct range to = other_half(from);

	restore(actor, to);
	note_move(actor, from, to, left);
	if (mremap(addr_of(actor, from), bytes(from), bytes(from),
		   MREMAP_MAYMOVE | MREMAP_FIXED | flags,
		   addr_of(actor, to)) != MAP_FAILED) {
		set_access(actor, from, left ? ACCESS_UNMAPPED : ACCESS_ALL);
	} else {
		/* It is more than one mapping. */
		munmap(addr_of(actor, to), bytes(to));
		take_back_move(actor, from, to, UNREACHABLE);
		set_access(actor, to, ACCESS_UNMAPPED);
	}
	settle_all(actor->area, from);
	settle_all(actor->area, to);
	restore(actor, to);
}

static void op_move(struct actor *actor, struct range range)
{
	move(actor, range, 0, UNREACHABLE);
}

static void op_move_and_keep(struct actor *actor, struct range range)
{
	move(actor, range, MREMAP_DONTUNMAP, 0);
}

/* Advice and reclaim */

/* Drops the content of private memory, the mapping of shared memory. */
static void op_dontneed(struct actor *actor, struct range range)
{
	if (actor->area->kind != KIND_SHMEM)
		may_all_be(actor->area, range, 0);
	must(actor, !madvise(addr_of(actor, range), bytes(range),
			     MADV_DONTNEED));
	settle_all(actor->area, range);
}

static void op_pageout(struct actor *actor, struct range range)
{
	madvise(addr_of(actor, range), bytes(range), MADV_PAGEOUT);
}

/* Free for the kernel to take, until it is written again. */
static void op_free(struct actor *actor, struct range range)
{
	unsigned int nr;

	mirror_some(actor, range);
	may_all_be(actor->area, range, 0);
	if (madvise(addr_of(actor, range), bytes(range), MADV_FREE)) {
		complain(actor, "MADV_FREE: %s", strerror(errno));
		return;
	}
	if (one_in(actor, 2))
		op_pageout(actor, range);
	look_around(actor, actor->area, range, one_in(actor, 2));
	for_each_nr(nr, range)
		if (one_in(actor, 2) || !try_store(actor, nr))
			write_page(actor, nr, new_value(actor->area, nr));
	op_pageout(actor, range);
}

static void op_advise(struct actor *actor, struct range range)
{
	static const int advice[] = {
		MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_COLD, MADV_WILLNEED,
		MADV_RANDOM, MADV_NORMAL, MADV_POPULATE_READ,
		MADV_POPULATE_WRITE,
	};

	madvise(addr_of(actor, range), bytes(range),
		advice[pick(actor, ARRAY_SIZE(advice))]);
}

static void op_collapse(struct actor *actor, struct range range)
{
	const struct range half = { range.first & HALF_PAGES, HALF_PAGES };

	restore(actor, half);
	/* Pages that a secondary MMU holds would be in the way. */
	if (one_in(actor, 2))
		mn_drop(any_mirror(actor)->fd, addr_of(actor, half),
			bytes(half));
	madvise(addr_of(actor, half), bytes(half), MADV_HUGEPAGE);
	madvise(addr_of(actor, half), bytes(half), MADV_COLLAPSE);
	look_around(actor, actor->area, half, false);
}

static void op_migrate(struct actor *actor, struct range range)
{
	if (range.count > 32)
		range.count = 32;
	mn_move_pages(0, addr_of(actor, range), range.count, pick(actor, 2));
}

static void op_bind(struct actor *actor, struct range range)
{
	unsigned long nodes = 1UL << pick(actor, 2);

	/* MPOL_PREFERRED; MPOL_MF_MOVE */
	syscall(SYS_mbind, addr_of(actor, range), bytes(range), 1, &nodes,
		8 * sizeof(nodes), 2);
}

/* What ksmd makes one page of, some time later. */
static void op_alike(struct actor *actor, struct range range)
{
	uint64_t value = new_value(actor->area, 0);
	unsigned int nr;

	for_each_nr(nr, range)
		write_page(actor, nr, value);
	madvise(addr_of(actor, range), bytes(range),
		one_in(actor, 4) ? MADV_UNMERGEABLE : MADV_MERGEABLE);
}

/* userfaultfd */

static int open_uffd(struct actor *actor, struct range range, uint64_t features,
		     uint64_t mode)
{
	struct uffdio_register args = {
		.range = { (uintptr_t)addr_of(actor, range), bytes(range) },
		.mode = mode,
	};
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = features,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -1;
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &args)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Closing would not do: a process forked meanwhile may have it open, too. */
static void close_uffd(struct actor *actor, int fd, struct range range)
{
	struct uffdio_range args = {
		(uintptr_t)addr_of(actor, range), bytes(range),
	};

	must(actor, !ioctl(fd, UFFDIO_UNREGISTER, &args));
	close(fd);
}

/* Write-protected; who writes lifts it, and nobody waits. */
static void op_uffd_protect(struct actor *actor, struct range range)
{
	struct uffdio_writeprotect args = {
		.range = { (uintptr_t)addr_of(actor, range), bytes(range) },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	unsigned int i, nr;
	int fd = open_uffd(actor, range, UFFD_FEATURE_WP_ASYNC |
			   UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			   UFFD_FEATURE_WP_UNPOPULATED |
			   UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
			   UFFDIO_REGISTER_MODE_WP);

	if (fd < 0)
		return;
	mirror_some(actor, range);
	must(actor, !ioctl(fd, UFFDIO_WRITEPROTECT, &args));
	for (i = 0; i < 4; i++) {
		nr = range.first + pick(actor, range.count);
		if (store_page(actor, nr) &&
		    mn_uffd_wp(page_addr(actor->area, nr)))
			complain(actor, "page %u: a store was not seen", nr);
	}
	close_uffd(actor, fd, range);
}

/* Moves pages to where there are none, and where faults fail. */
static void op_uffd_move(struct actor *actor, struct range from)
{
	const struct range half = { from.first & HALF_PAGES, HALF_PAGES };
	struct range to = other_half(from), rest = from, rest_to = to;
	struct uffdio_move args = { .len = bytes(from) };
	unsigned int moved;
	int fd;

	/*
	 * Base pages: while somebody has a reference to a huge one, as a
	 * secondary MMU may for long, 6.12 tries to split it without end.
	 */
	madvise(addr_of(actor, half), bytes(half), MADV_NOHUGEPAGE);
	op_dontneed(actor, from);
	op_write(actor, from);
	if (one_in(actor, 2))
		op_pageout(actor, from);

	args.src = (uintptr_t)addr_of(actor, from);
	args.dst = (uintptr_t)addr_of(actor, to);
	restore(actor, to);
	/* From the registration on, faults fail where nothing is mapped. */
	may_all_be(actor->area, to, 0);
	may_all_be(actor->area, to, UNREACHABLE);
	fd = open_uffd(actor, to, UFFD_FEATURE_MOVE | UFFD_FEATURE_SIGBUS,
		       UFFDIO_REGISTER_MODE_MISSING);
	must(actor, !madvise(addr_of(actor, to), bytes(to), MADV_DONTNEED));
	if (fd < 0)
		may_all_be(actor->area, to, 0);
	settle_all(actor->area, to);
	if (fd < 0)
		return;

	note_move(actor, from, to, 0);
	ioctl(fd, UFFDIO_MOVE, &args);
	moved = args.move > 0 ? args.move / mn_page_size() : 0;
	rest.first += moved;
	rest.count -= moved;
	rest_to.first += moved;
	rest_to.count -= moved;
	take_back_move(actor, rest, rest_to, UNREACHABLE);
	settle_all(actor->area, from);
	settle_all(actor->area, to);

	look_around(actor, actor->area, to, true);
	may_all_be(actor->area, rest_to, 0);
	close_uffd(actor, fd, to);
	settle_all(actor->area, rest_to);
}

/* Files */

static off_t offset_of(struct range range)
{
	return (off_t)range.first * mn_page_size();
}

static void op_pwrite(struct actor *actor, struct range range)
{
	struct area *area = actor->area;
	unsigned int nr;

	for_each_nr(nr, range) {
		uint64_t value = new_value(area, nr);

		may_be(area, nr, value);
		must(actor, pwrite(area->fd, &value, sizeof(value),
				   nr * mn_page_size()) == sizeof(value));
		stress_settle(area, nr);
	}
}

static void op_punch(struct actor *actor, struct range range)
{
	may_all_be(actor->area, range, 0);
	must(actor, !fallocate(actor->area->fd,
			       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       offset_of(range), bytes(range)));
	settle_all(actor->area, range);
}

static void op_truncate(struct actor *actor, struct range range)
{
	const struct range end = { range.first, AREA_PAGES - range.first };
	struct area *area = actor->area;

	/*
	 * What a huge page has past the end of the file is zeroed, and stays
	 * mapped with it, if somebody holds it and it cannot be split.
	 */
	may_all_be(area, end, 0);
	may_all_be(area, end, UNREACHABLE);
	must(actor, !ftruncate(area->fd, offset_of(end)));
	settle_on_two(area, end);
	look_around(actor, area, end, true);
	may_all_be(area, end, 0);
	must(actor, !ftruncate(area->fd, AREA_PAGES * mn_page_size()));
	settle_all(area, end);
}

/* What nobody else knows, and changes: it has this value and no other. */
static void expect(struct actor *actor, char *addr, uint64_t expected)
{
	struct mirror *mirror = any_mirror(actor);
	uint64_t value;
	int i, ret;

	for (i = 0; i < 2; i++) {
		ret = i ? mn_load(mirror->fd, addr, &value) :
			  mn_load_nofault(mirror->fd, addr, &value);
		if (ret == -EFAULT)
			value = UNREACHABLE;
		else if (ret)
			continue;
		if (value != expected)
			complain(actor, "private copy: %s sees %#llx, not %#llx",
				 mn_style_name(mirror->style),
				 (unsigned long long)value,
				 (unsigned long long)expected);
	}
}

/* A private mapping of the file, past the end of the area. */
static void op_copy(struct actor *actor, struct range range)
{
	struct area *area = actor->area;
	char *map = page_addr(area, 2 * AREA_PAGES), *addr;
	unsigned int nr;

	if (range.count > 16)
		range.count = 16;
	must(actor, mmap(map, bytes(range), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_FIXED, area->fd,
			 offset_of(range)) == map);
	for_each_nr(nr, range) {
		addr = map + (nr - range.first) * mn_page_size();
		expect(actor, addr, state_of(area, nr));
		if (one_in(actor, 2))
			continue;
		mn_cpu_write(addr, mn_value(addr, 1));
		expect(actor, addr, mn_value(addr, 1));
		/* The file's pages go, the copies stay. */
		op_punch(actor, (struct range){ nr, 1 });
		expect(actor, addr, mn_value(addr, 1));
	}
	munmap(map, bytes(range));
	expect(actor, map, UNREACHABLE);
}

/* Processes */

/* A life of its own: it does operations on a copy of the area. */
static void live(struct actor *actor)
{
	static const char * const argv[] = { "mmu_notifier", NULL };
	static const char * const envp[] = { "MMU_NOTIFIER_NOTHING=1", NULL };
	struct mirror mirror = { .fd = mn_open() };
	unsigned int end = actor->nr + 1 + pick(actor, 12);
	unsigned int last = pick(actor, 3);

	actor->forked = true;
	actor->child = 0;
	actor->mirrors = &mirror;
	actor->nr_mirrors = 1;
	actor->own = &mirror;
	actor->nr_own = 1;
	must(actor, mirror.fd >= 0);
	attach(actor, &mirror, 0);
	look_everywhere(actor, &mirror, true);
	while (actor->area->kind == KIND_ANON && ++actor->nr < end && !stopped())
		operate(actor);
	if (last == 0) {
		int fd = open("/dev/null", O_RDONLY);

		dup2(fd, 0);
		execve("/proc/self/exe", (char **)argv, (char **)envp);
		complain(actor, "exec: %s", strerror(errno));
	}
	if (last == 1)
		kill(getpid(), SIGKILL);
	detach(actor, &mirror);
	_exit(0);
}

void await_child(struct actor *actor)
{
	int status;

	if (actor->child && waitpid(actor->child, &status, 0) > 0)
		check_status(status);
	actor->child = 0;
}

static void op_fork(struct actor *actor, struct range range)
{
	static __thread struct area *copy;
	bool shared = actor->area->kind == KIND_SHMEM;

	await_child(actor);
	/* Those who are forked have no children, lest they be too many. */
	if (actor->forked)
		return;
	if (!copy)
		copy = mmap(NULL, sizeof(*copy), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(actor, copy != MAP_FAILED);
	/* Before fork(): later the owner goes on. */
	if (!shared)
		memcpy(copy, actor->area, sizeof(*copy));
	actor->child = fork();
	if (!actor->child) {
		if (!shared)
			actor->area = copy;
		live(actor);
	}
	must(actor, actor->child > 0);
}

/* Secondary MMUs */

static void op_register(struct actor *actor, struct range range)
{
	struct mirror *mirror = &actor->own[pick(actor, actor->nr_own)];

	detach(actor, mirror);
	attach(actor, mirror, 0);
	/* Use it at once. */
	look_everywhere(actor, mirror, true);
}

static void op_unregister(struct actor *actor, struct range range)
{
	detach(actor, &actor->own[pick(actor, actor->nr_own)]);
}

/* Slow callbacks, so that others meet invalidations that are under way. */
static void op_misbehave(struct actor *actor, struct range range)
{
	struct tmn_misbehave args = {
		.events = MN_ALL_EVENTS,
		.limit = 1 + pick(actor, 8),
		.start_delay_us = pick(actor, 3000),
		.end_delay_us = pick(actor, 1000),
		.flags = one_in(actor, 2) ? TMN_MISBEHAVE_FAIL_NONBLOCK : 0,
	};

	if (one_in(actor, 2)) {
		args.start = (uintptr_t)addr_of(actor, range);
		args.length = bytes(range);
	}
	ioctl(any_mirror(actor)->fd, TMN_MISBEHAVE, &args);
}

static void op_look(struct actor *actor, struct range range)
{
	look_everywhere(actor, any_mirror(actor), one_in(actor, 2));
}

/* Which operation */

struct op {
	const char *name;
	void (*run)(struct actor *actor, struct range range);
	unsigned int kinds;
	unsigned int weight;
};

#define PRIVATE	(KIND_ANON | KIND_HUGETLB)
#define BASE	(KIND_ANON | KIND_SHMEM)

static const struct op ops[] = {
	{ "write",		op_write,		KIND_ALL,	6 },
	{ "store",		op_store,		KIND_ALL,	6 },
	{ "unmap",		op_unmap,		PRIVATE,	6 },
	{ "protect",		op_protect,		KIND_ALL,	6 },
	{ "hide",		op_hide,		PRIVATE,	4 },
	{ "soft_dirty",		op_soft_dirty,		KIND_ALL,	1 },
	{ "move",		op_move,		KIND_ANON,	5 },
	{ "move_and_keep",	op_move_and_keep,	KIND_ANON,	3 },
	{ "dontneed",		op_dontneed,		KIND_ALL,	6 },
	{ "free",		op_free,		KIND_ANON,	4 },
	{ "pageout",		op_pageout,		BASE,		6 },
	{ "advise",		op_advise,		KIND_ALL,	4 },
	{ "collapse",		op_collapse,		BASE,		3 },
	{ "migrate",		op_migrate,		KIND_ALL,	6 },
	{ "bind",		op_bind,		KIND_ALL,	3 },
	{ "alike",		op_alike,		KIND_ANON,	4 },
	{ "uffd_protect",	op_uffd_protect,	KIND_ALL,	4 },
	{ "uffd_move",		op_uffd_move,		KIND_ANON,	4 },
	{ "pwrite",		op_pwrite,		KIND_SHMEM,	3 },
	{ "punch",		op_punch,		KIND_SHMEM,	6 },
	{ "truncate",		op_truncate,		KIND_SHMEM,	4 },
	{ "copy",		op_copy,		KIND_SHMEM,	4 },
	{ "fork",		op_fork,		KIND_ALL,	4 },
	{ "register",		op_register,		KIND_ALL,	5 },
	{ "unregister",		op_unregister,		KIND_ALL,	1 },
	{ "misbehave",		op_misbehave,		KIND_ALL,	5 },
	{ "look",		op_look,		KIND_ALL,	4 },
};

static struct range pick_range(struct actor *actor)
{
	unsigned int unit = actor->area->kind == KIND_HUGETLB ? HALF_PAGES : 1;
	struct range range = { .count = unit };

	/* Mostly a few pages, sometimes what a huge page would hold. */
	if (unit == 1)
		range.count = one_in(actor, 16) ? HALF_PAGES :
						  1U << pick(actor, 6);
	range.first = pick(actor, HALF_PAGES - range.count + 1);
	if (one_in(actor, 2))
		range.first += HALF_PAGES;
	return range;
}

static const struct op *pick_op(struct actor *actor)
{
	unsigned int i, weights = 0, chosen;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		if (ops[i].kinds & actor->area->kind)
			weights += ops[i].weight;
	chosen = pick(actor, weights);
	for (i = 0; ; i++) {
		if (!(ops[i].kinds & actor->area->kind))
			continue;
		if (chosen < ops[i].weight)
			return &ops[i];
		chosen -= ops[i].weight;
	}
}

/* Nothing but the seed and the operation's number decides. */
static const struct op *begin(struct actor *actor)
{
	const uint64_t parts[] = {
		actor->worker, actor->thread, actor->life, actor->nr,
		actor->forked,
	};
	const struct op *op;
	unsigned int i;

	actor->random = world->seed;
	for (i = 0; i < ARRAY_SIZE(parts); i++)
		actor->random = mix(actor->random + parts[i]);
	op = pick_op(actor);
	actor->range = pick_range(actor);
	actor->name = op->name;
	return op;
}

/* The CPU agrees with what was noted. */
static void check_cpu(struct actor *actor, struct range range)
{
	unsigned int i;

	for (i = 0; i < 4; i++) {
		unsigned int nr = range.first + pick(actor, range.count);
		uint64_t value;

		if (actor->access[nr] > ACCESS_READ)
			continue;
		value = mn_cpu(page_addr(actor->area, nr));
		if (value != state_of(actor->area, nr))
			complain(actor, "page %u: the CPU sees %#llx, not %#llx",
				 nr, (unsigned long long)value,
				 (unsigned long long)state_of(actor->area, nr));
	}
}

void operate(struct actor *actor)
{
	const struct op *op = begin(actor);
	struct range range = actor->range;

	__atomic_store(&actor->area->now, &range, __ATOMIC_RELAXED);
	restore(actor, range);
	if (one_in(actor, 2))
		mirror_some(actor, range);
	else
		look_around(actor, actor->area, range, true);
	op->run(actor, range);
	look_around(actor, actor->area, range, false);
	check_cpu(actor, range);
	look_around(actor, actor->area, range, true);
	__atomic_fetch_add(&world->operations, 1, __ATOMIC_RELAXED);
}

void foretell(struct actor *actor)
{
	begin(actor);
	printf("%u.%u.%u.%u %s %u+%u\n", actor->worker, actor->life,
	       actor->thread, actor->nr, actor->name, actor->range.first,
	       actor->range.count);
}
