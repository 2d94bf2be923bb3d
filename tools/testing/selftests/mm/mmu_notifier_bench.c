// SPDX-License-Identifier: GPL-2.0
/*
 * What MMU notifiers cost.  Prints a line for each measurement,
 *
 *	BENCH <group> <what> <size> <ns>
 *
 * separated by tabs: the least of several repetitions.  In a guest whose clock
 * counts instructions (QEMU's -icount) a nanosecond is an instruction, and the
 * same comes out each time.  What happens at the same time on several CPUs is in
 * mmu_notifier_bench_contention.c.
 *
 * Groups:
 *	none, kvm, gru	an operation on memory of a process with no subscription,
 *			with one of that style
 *	interval	MADV_DONTNEED of a page, in a process with <size> interval
 *			subscriptions, one of which covers it
 *	exit		the exit of a process with a subscription
 *	register	a subscription of that style (range, page, interval), and
 *			its end (unregister), to a process with <size> VMAs,
 *			of its own memory (with threads: two of them) or files;
 *			floor: one look at each of the locks that there are
 *	later		the same where the process has one of that style already,
 *			which stays; and the end (later end)
 *	create		see mmu_notifier_bench_kvm.c
 *	stall, rate, truncate, beside
 *			see mmu_notifier_bench_contention.c
 *	held, munmap, stuck, starve
 *			see mmu_notifier_bench_wait.c
 *
 * Arguments choose among the groups; without any, all.  With -q before them,
 * sizes up to QUICK_SIZE.  The first line says
 * which core the kernel has: drain, or stock.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../kselftest.h"
#include "mmu_notifier_bench.h"
#include "mmu_notifier_util.h"
#include "vm_util.h"

#define MPOL_MF_MOVE	2

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

/* Pages that an operation works on; repetitions of which the least counts. */
#define PAGES		64
#define REPEAT		15

/* How often a registration ends, of which the least counts. */
#define ENDS		5

/* Up to this size only, where time is short. */
#define QUICK_SIZE	1000
static bool quick;

/* The time by a clock: the machine's, or that of a process's CPU time. */
static uint64_t read_clock(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

uint64_t now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

bool small(unsigned int size)
{
	return !quick || size <= QUICK_SIZE;
}

void put(const char *group, const char *what, unsigned int size, uint64_t ns)
{
	printf("BENCH\t%s\t%s\t%u\t%llu\n", group, what, size,
	       (unsigned long long)ns);
	fflush(stdout);
}

void *map_anon(size_t length)
{
	void *map = mmap(NULL, length, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		exit(KSFT_FAIL);
	madvise(map, length, MADV_NOHUGEPAGE);
	return map;
}

/*
 * Operations: each prepares, and returns how long the thing itself took, or 0
 * if it cannot be had here.
 */

static uint64_t op_mmap_touch_munmap(void)
{
	size_t length = PAGES * mn_page_size();
	uint64_t start = now();
	char *map = map_anon(length);

	mn_fill(map, PAGES, 1);
	munmap(map, length);
	return now() - start;
}

static uint64_t op_fork_exit(void)
{
	uint64_t start = now();
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	return now() - start;
}

static uint64_t op_cow(void)
{
	size_t length = PAGES * mn_page_size();
	char *map = map_anon(length);
	uint64_t start;
	pid_t pid;

	mn_fill(map, PAGES, 1);
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	start = now();
	mn_fill(map, PAGES, 2);
	start = now() - start;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	munmap(map, length);
	return start;
}

static uint64_t op_mprotect(void)
{
	size_t length = PAGES * mn_page_size();
	char *map = map_anon(length);
	uint64_t start;

	mn_fill(map, PAGES, 1);
	start = now();
	mprotect(map, length, PROT_READ);
	mprotect(map, length, PROT_READ | PROT_WRITE);
	start = now() - start;
	munmap(map, length);
	return start;
}

static uint64_t op_dontneed(void)
{
	size_t length = PAGES * mn_page_size();
	char *map = map_anon(length);
	uint64_t start;

	mn_fill(map, PAGES, 1);
	start = now();
	madvise(map, length, MADV_DONTNEED);
	start = now() - start;
	munmap(map, length);
	return start;
}

static uint64_t op_ftruncate(void)
{
	size_t length = PAGES * mn_page_size();
	int fd = memfd_create("bench", 0);
	uint64_t start;
	char *map;

	if (ftruncate(fd, length))
		return 0;
	map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return 0;
	mn_fill(map, PAGES, 1);
	start = now();
	if (ftruncate(fd, 0))
		return 0;
	start = now() - start;
	munmap(map, length);
	close(fd);
	return start;
}

/* The secondary MMU of the process, or -1. */
static int mirror = -1;

/*
 * To swap, as far as it goes at the first attempt: pages that the secondary MMU, if
 * there is one, has translations of.
 */
static uint64_t op_pageout(void)
{
	size_t length = PAGES * mn_page_size();
	char *map = map_anon(length);
	uint64_t start;

	mn_fill(map, PAGES, 1);
	if (mirror >= 0)
		mn_mirror(mirror, map, PAGES, true);
	start = now();
	madvise(map, length, MADV_PAGEOUT);
	start = now() - start;
	if (mn_pfn(map))
		start = 0;
	munmap(map, length);
	return start;
}

static uint64_t op_collapse(void)
{
	size_t size = read_pmd_pagesize();
	uint64_t start;
	char *map;
	int ret;

	if (!size)
		return 0;
	map = mn_map(size, size);
	madvise(map, size, MADV_NOHUGEPAGE);
	mn_fill(map, PAGES, 1);
	madvise(map, size, MADV_HUGEPAGE);
	start = now();
	ret = madvise(map, size, MADV_COLLAPSE);
	start = now() - start;
	munmap(map, size);
	return ret ? 0 : start;
}

static uint64_t op_migrate(void)
{
	size_t length = PAGES * mn_page_size();
	int nodes[2][PAGES], status[PAGES], i;
	char *map = map_anon(length);
	void *pages[PAGES];
	uint64_t start;
	long ret;

	mn_fill(map, PAGES, 1);
	for (i = 0; i < PAGES; i++) {
		pages[i] = map + i * mn_page_size();
		nodes[0][i] = 0;
		nodes[1][i] = 1;
	}
	/* Wherever they were, they are on the second node now. */
	syscall(SYS_move_pages, 0, PAGES, pages, nodes[1], status,
		MPOL_MF_MOVE);
	start = now();
	ret = syscall(SYS_move_pages, 0, PAGES, pages, nodes[0], status,
		      MPOL_MF_MOVE);
	start = now() - start;
	munmap(map, length);
	return ret ? 0 : start;
}

/* The process of that name, or 0. */
static pid_t task_named(const char *name)
{
	DIR *proc = opendir("/proc");
	char path[64], comm[32];
	struct dirent *entry;
	pid_t pid = 0;
	FILE *file;

	while (proc && !pid && (entry = readdir(proc))) {
		snprintf(path, sizeof(path), "/proc/%.16s/comm", entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (fscanf(file, "%31s", comm) == 1 && !strcmp(comm, name))
			pid = atoi(entry->d_name);
		fclose(file);
	}
	if (proc)
		closedir(proc);
	return pid;
}

/* ksmd's CPU time, as long as it takes it to make one page of all. */
static uint64_t op_ksm_merge(void)
{
	size_t length = PAGES * mn_page_size();
	char *map = map_anon(length);
	uint64_t start, end = 0;
	clockid_t clock;
	unsigned int i;

	if (clock_getcpuclockid(task_named("ksmd"), &clock))
		return 0;
	memset(map, 1, length);
	start = read_clock(clock);
	if (madvise(map, length, MADV_MERGEABLE) ||
	    mn_write_file("/sys/kernel/mm/ksm/sleep_millisecs", "1") ||
	    mn_write_file("/sys/kernel/mm/ksm/pages_to_scan", "%u", PAGES) ||
	    mn_write_file("/sys/kernel/mm/ksm/run", "1"))
		return 0;
	for (i = 0; !end && i < 1000; i++) {
		mn_sleep_ms(1);
		if (mn_pfn(map) &&
		    mn_pfn(map) == mn_pfn(map + length - mn_page_size()))
			end = read_clock(clock) - start;
	}
	mn_write_file("/sys/kernel/mm/ksm/run", "2");
	munmap(map, length);
	return end;
}

static const struct {
	const char *name;
	uint64_t (*run)(void);
} ops[] = {
	{ "mmap+touch+munmap", op_mmap_touch_munmap },
	{ "fork+exit", op_fork_exit },
	{ "cow", op_cow },
	{ "mprotect", op_mprotect },
	{ "dontneed", op_dontneed },
	{ "ftruncate", op_ftruncate },
	{ "pageout", op_pageout },
	{ "KSM merge", op_ksm_merge },
	{ "collapse", op_collapse },
	{ "migrate", op_migrate },
};

static void bench_ops(const char *group, unsigned int style)
{
	unsigned int i, round;

	if (style != TMN_STYLE_NONE) {
		mirror = mn_open();
		if (mirror < 0 || mn_attach(mirror, style, 0, 0))
			return;
	}
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		uint64_t least = 0;

		for (round = 0; round < REPEAT; round++) {
			uint64_t ns = ops[i].run();

			if (ns && (!least || ns < least))
				least = ns;
		}
		if (least)
			put(group, ops[i].name, PAGES, least);
	}
}

/* From the word to the one who has a subscription until its parent knows. */
static uint64_t exit_once(unsigned int style)
{
	int ready[2], go[2], fd;
	uint64_t start;
	pid_t pid;
	char c;

	if (pipe(ready) || pipe(go))
		return 0;
	pid = fork();
	if (!pid) {
		fd = mn_open();
		if (fd < 0 || mn_attach(fd, style, 0, 0) ||
		    write(ready[1], "", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(1);
		_exit(0);
	}
	close(ready[1]);
	c = read(ready[0], &c, 1) == 1;
	start = now();
	if (write(go[1], "", 1) != 1)
		c = 0;
	waitpid(pid, NULL, 0);
	start = now() - start;
	close(ready[0]);
	close(go[0]);
	close(go[1]);
	return c ? start : 0;
}

static void bench_exit(void)
{
	static const unsigned int styles[] = { TMN_STYLE_KVM, TMN_STYLE_GRU };
	unsigned int i, round;

	for (i = 0; i < ARRAY_SIZE(styles); i++) {
		uint64_t least = 0;

		for (round = 0; round < REPEAT; round++) {
			uint64_t ns = exit_once(styles[i]);

			if (ns && (!least || ns < least))
				least = ns;
		}
		if (least)
			put("exit", mn_style_name(styles[i]), 1, least);
	}
}

/* Intervals: as many as asked for, a page each; the first is changed. */
static void bench_intervals(void)
{
	static const unsigned int sizes[] = { 1, 10, 100, 1000, 10000 };
	size_t size = mn_page_size();
	unsigned int i, have = 0, round;
	char *map = map_anon(sizes[ARRAY_SIZE(sizes) - 1] * size);

	for (i = 0; i < ARRAY_SIZE(sizes) && small(sizes[i]); i++) {
		uint64_t least = UINT64_MAX;

		for (; have < sizes[i]; have++) {
			struct tmn_attach args = {
				.style = TMN_STYLE_INTERVAL,
				.start = (uintptr_t)map + have * size,
				.length = size,
			};
			int fd = mn_open();

			if (fd < 0 || ioctl(fd, TMN_ATTACH, &args))
				return;
		}
		for (round = 0; round < REPEAT; round++) {
			uint64_t start;

			mn_fill(map, 1, 1);
			start = now();
			madvise(map, size, MADV_DONTNEED);
			start = now() - start;
			if (start < least)
				least = start;
		}
		put("interval", "dontneed", have, least);
	}
}

/* Registration */

static bool have_anon(unsigned int nr)
{
	return mn_add_vmas(nr);
}

/* Somebody else may hold the lock of a VMA, for a page fault. */
static bool have_thread(unsigned int nr)
{
	return mn_add_thread() && have_anon(nr);
}

static bool have_files(unsigned int nr)
{
	size_t size = mn_page_size();

	while (nr--) {
		int fd = memfd_create("bench", 0);
		char *map;

		if (fd < 0 || ftruncate(fd, size))
			return false;
		map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			   0);
		close(fd);
		if (map == MAP_FAILED)
			return false;
		*map = 1;
	}
	return true;
}

/*
 * What is measured where @first is there already, and stays.  The end of one may
 * meet a grace period that is under way, so it takes more than one to know.
 */
static bool register_beside(struct tmn_bench *bench, unsigned int first)
{
	struct tmn_bench again = *bench;
	int fd = mn_open();

	if (first != TMN_STYLE_NONE && mn_attach(mn_open(), first, 0, 0))
		return false;
	if (ioctl(fd, TMN_BENCH, bench))
		return false;
	again.loops = ENDS;
	if (ioctl(fd, TMN_BENCH, &again))
		return false;
	if (again.unregister_min_ns < bench->unregister_min_ns)
		bench->unregister_min_ns = again.unregister_min_ns;
	return true;
}

/* In a process of its own, to which nobody but @first has subscribed before. */
static bool register_once(struct tmn_bench *bench, unsigned int first,
			  bool (*have)(unsigned int nr), unsigned int nr)
{
	struct tmn_bench *shared = mmap(NULL, sizeof(*shared),
					PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bool done = false;
	int status;
	pid_t pid;

	if (shared == MAP_FAILED)
		return false;
	*shared = *bench;
	pid = fork();
	if (!pid)
		_exit(!have(nr) || !register_beside(shared, first));
	if (waitpid(pid, &status, 0) == pid && !status) {
		*bench = *shared;
		done = true;
	}
	munmap(shared, sizeof(*shared));
	return done;
}

/**
 * struct registered - what is registered
 * @name: what it is called
 * @style: its style
 * @first: the style that is there before it, or none
 * @loops: how often, in one process
 * @of_a_page: an interval of one page
 */
struct registered {
	const char *name;
	unsigned int style, first, loops;
	bool of_a_page;
};

static void bench_one(const struct registered *one, const char *group,
		      const char *end_group, const char *kind,
		      bool (*have)(unsigned int nr))
{
	static const unsigned int sizes[] = {
		10, 100, 1000, 10000, 30000, 60000,
	};
	char *page = map_anon(mn_page_size());
	char what[64];
	unsigned int i, j;

	mn_fill(page, 1, 1);
	for (i = 0; i < ARRAY_SIZE(sizes) && small(sizes[i]); i++) {
		uint64_t begin = UINT64_MAX, end = UINT64_MAX;

		/* It takes time to have many. */
		for (j = 0; j < (sizes[i] <= QUICK_SIZE ? 3 : 1); j++) {
			struct tmn_bench bench = {
				.style = one->style,
				.loops = one->loops,
			};

			if (one->of_a_page) {
				bench.start = (uintptr_t)page;
				bench.length = mn_page_size();
			}

			if (!register_once(&bench, one->first, have, sizes[i]))
				return;
			if (bench.register_min_ns < begin)
				begin = bench.register_min_ns;
			if (bench.unregister_min_ns < end)
				end = bench.unregister_min_ns;
		}
		snprintf(what, sizeof(what), "%s, %s", one->name, kind);
		put(group, what, sizes[i], begin);
		if (one->style != TMN_STYLE_NONE)
			put(end_group, what, sizes[i], end);
	}
}

static void bench_register(const char *kind, bool (*have)(unsigned int nr))
{
	/* The first one is what costs; those after it are in bench_later(). */
	static const struct registered kinds[] = {
		{ "floor", TMN_STYLE_NONE, .loops = 21 },
		{ "range", TMN_STYLE_KVM, .loops = 1 },
		{ "page", TMN_STYLE_GRU, .loops = 1 },
		{ "interval", TMN_STYLE_INTERVAL, .loops = 1 },
		{ "page's interval", TMN_STYLE_INTERVAL, .loops = 1,
		  .of_a_page = true },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		bench_one(&kinds[i], "register", "unregister", kind, have);
}

static void bench_later(const char *kind, bool (*have)(unsigned int nr))
{
	static const struct registered kinds[] = {
		{ "range", TMN_STYLE_KVM, TMN_STYLE_KVM, 51 },
		{ "interval", TMN_STYLE_INTERVAL, TMN_STYLE_INTERVAL, 51 },
		{ "page's interval", TMN_STYLE_INTERVAL, TMN_STYLE_INTERVAL, 51,
		  .of_a_page = true },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		bench_one(&kinds[i], "later", "later end", kind, have);
}

static bool wanted(int argc, char **argv, const char *group)
{
	int i;

	for (i = optind; i < argc; i++)
		if (!strcmp(argv[i], group))
			return true;
	return argc == optind;
}

/* In a process of its own: an mm that had a subscription is another. */
#define BENCH(group, call)						\
	do {								\
		if (wanted(argc, argv, group)) {			\
			pid_t pid = fork();				\
									\
			if (!pid) {					\
				call;					\
				_exit(0);				\
			}						\
			waitpid(pid, NULL, 0);				\
		}							\
	} while (0)

/* Where the stack happens to be decides how many page tables a fork copies. */
static void without_randomization(char **argv)
{
	int persona = personality(0xffffffff);

	if (persona >= 0 && !(persona & ADDR_NO_RANDOMIZE) &&
	    personality(persona | ADDR_NO_RANDOMIZE) >= 0)
		execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
	static const struct rlimit files = { 20000, 20000 };

	without_randomization(argv);

	quick = getopt(argc, argv, "q") == 'q';
	/* Room for as many mappings and files as there are intervals and VMAs. */
	mn_write_file("/proc/sys/vm/max_map_count", "200000");
	setrlimit(RLIMIT_NOFILE, &files);

	printf("core\t%s\n", mn_core_drains() ? "drain" : "stock");
	fflush(stdout);
	BENCH("none", bench_ops("none", TMN_STYLE_NONE));
	BENCH("kvm", bench_ops("kvm", TMN_STYLE_KVM));
	BENCH("gru", bench_ops("gru", TMN_STYLE_GRU));
	BENCH("exit", bench_exit());
	BENCH("interval", bench_intervals());
	BENCH("register", bench_register("anonymous", have_anon));
	BENCH("register", bench_register("threads", have_thread));
	BENCH("register", bench_register("files", have_files));
	BENCH("later", bench_later("threads", have_thread));
	BENCH("create", bench_create());
	BENCH("stuck", bench_stuck());
	BENCH("stall", bench_stall());
	BENCH("rate", bench_rate());
	BENCH("truncate", bench_truncate());
	BENCH("beside", bench_beside_others());
	BENCH("held", bench_held());
	BENCH("munmap", bench_munmap());
	BENCH("starve", bench_starve());
	return KSFT_PASS;
}
