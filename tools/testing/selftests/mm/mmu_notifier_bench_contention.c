// SPDX-License-Identifier: GPL-2.0
/*
 * What a registration costs others, on several CPUs; in real time, so that it
 * takes many repetitions.  Groups of mmu_notifier_bench:
 *
 *	stall		the longest that a bystander was held up, by one
 *			registration of a process with <size> VMAs that map the
 *			files which the bystander maps, faults, truncates and
 *			unmaps; "alone": in the same time without a registration
 *	rate		the time by registration, when <size> processes register
 *			for one after the other of their children at once
 *	truncate	the time by truncation of <size> processes, each of a
 *			file of its own, while the children of one more register,
 *			unregister and exit; "alone": while they just exit
 *	beside		an insertion of an interval that is not the first, of a
 *			page or of everything, by a process with <size> VMAs
 *			beside two threads that read-hold its mmap_lock most of
 *			the time, or one that maps and unmaps: least, median, and
 *			the longest of BESIDE_LOOPS, each a moment after the other
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest.h"
#include "mmu_notifier_bench.h"
#include "mmu_notifier_util.h"

#define ROUNDS		15
#define WINDOW_NS	400000000ULL

#define STALL_VMAS	30000
#define STALL_FILES	16

#define RATE_VMAS	5000
#define RATE_LOOPS	16

#define BESIDE_VMAS	8000
#define BESIDE_LOOPS	50
#define BESIDE_PAUSE_NS	200000ULL
#define BESIDE_PAGES	2048
#define BESIDE_MAPPED	16

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif

#define TRUNCATERS	4
#define TRUNCATE_PAGES	64
#define TRUNCATE_VMAS	1000

/**
 * struct shared - what the processes of a measurement share
 * @done: how many rounds each process has done
 * @longest_ns: the longest round of the bystander since this was set to 0
 * @ready: how many processes wait for @go
 * @go: may begin
 */
struct shared {
	unsigned long done[8];
	uint64_t longest_ns;
	unsigned int ready;
	bool go;
};

void *share(size_t length)
{
	void *shared = mmap(NULL, length, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED)
		exit(KSFT_FAIL);
	return shared;
}

pid_t spawn(void)
{
	pid_t pid = fork();

	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (pid < 0)
		exit(KSFT_FAIL);
	return pid;
}

void reap(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

void run_on(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void compute(uint64_t ns)
{
	uint64_t until = now() + ns;

	while (now() < until)
		;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

uint64_t median(uint64_t *values, unsigned int nr)
{
	qsort(values, nr, sizeof(*values), compare);
	return values[nr / 2];
}

/* The bystander */

static void use_files(struct shared *shared, const int *files)
{
	size_t size = mn_page_size();
	unsigned int i;

	for (i = 0; ; i++) {
		int fd = files[i % STALL_FILES];
		uint64_t ns = now();
		char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
				 fd, STALL_VMAS * size);

		if (map == MAP_FAILED || ftruncate(fd, (STALL_VMAS + 1) * size))
			_exit(KSFT_FAIL);
		*map = 1;
		if (ftruncate(fd, STALL_VMAS * size))
			_exit(KSFT_FAIL);
		munmap(map, size);
		ns = now() - ns;
		if (ns > shared->longest_ns)
			__atomic_store_n(&shared->longest_ns, ns,
					 __ATOMIC_RELAXED);
		__atomic_fetch_add(&shared->done[0], 1, __ATOMIC_SEQ_CST);
	}
}

/* Waits until the round that is under way, and one more, have come in. */
static uint64_t longest(struct shared *shared)
{
	unsigned long done = __atomic_load_n(&shared->done[0], __ATOMIC_SEQ_CST);

	while (__atomic_load_n(&shared->done[0], __ATOMIC_SEQ_CST) < done + 2)
		;
	return __atomic_load_n(&shared->longest_ns, __ATOMIC_RELAXED);
}

static void forget_longest(struct shared *shared)
{
	__atomic_store_n(&shared->longest_ns, 0, __ATOMIC_RELAXED);
}

/* The first registration of a process that has the same mapped: its time. */
static uint64_t stall_once(struct shared *shared, uint64_t *stall)
{
	uint64_t *result = share(2 * sizeof(*result)), ns;
	pid_t pid = spawn();

	if (!pid) {
		int fd = mn_open();

		/* What the fork held up is no concern of ours. */
		longest(shared);
		forget_longest(shared);
		ns = now();
		if (fd < 0 || mn_attach(fd, TMN_STYLE_KVM, 0, 0))
			_exit(KSFT_FAIL);
		result[0] = now() - ns;
		result[1] = longest(shared);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	ns = result[0];
	*stall = result[1];
	munmap(result, 2 * sizeof(*result));
	return ns;
}

void bench_stall(void)
{
	uint64_t with[ROUNDS], without[ROUNDS];
	struct shared *shared = share(sizeof(*shared));
	size_t size = mn_page_size();
	int files[STALL_FILES];
	unsigned int i;
	pid_t pid;

	for (i = 0; i < STALL_FILES; i++) {
		files[i] = memfd_create("stall", 0);
		if (files[i] < 0 || ftruncate(files[i], STALL_VMAS * size))
			return;
	}
	pid = spawn();
	if (!pid) {
		run_on(1);
		use_files(shared, files);
	}
	run_on(0);
	/* No two of them merge, as neighbours have different files. */
	for (i = 0; i < STALL_VMAS; i++)
		if (mmap(NULL, size, PROT_READ, MAP_SHARED,
			 files[i % STALL_FILES], i * size) == MAP_FAILED)
			return;
	for (i = 0; i < ROUNDS; i++) {
		uint64_t ns = stall_once(shared, &with[i]);

		if (!ns)
			return;
		longest(shared);
		forget_longest(shared);
		compute(ns);
		without[i] = longest(shared);
	}
	reap(pid);
	put("stall", "registration", STALL_VMAS, median(with, ROUNDS));
	put("stall", "alone", STALL_VMAS, median(without, ROUNDS));
}

/* Registrations of several processes at once */

static void meet(struct shared *shared)
{
	__atomic_fetch_add(&shared->ready, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&shared->go, __ATOMIC_SEQ_CST))
		;
}

/* The first secondary MMU of so many processes: this one's children. */
static void register_often(struct shared *shared, int finished)
{
	pid_t children[RATE_LOOPS];
	int fds[RATE_LOOPS];
	unsigned int i;

	if (!mn_add_vmas(RATE_VMAS))
		_exit(KSFT_FAIL);
	for (i = 0; i < RATE_LOOPS; i++) {
		fds[i] = mn_open();
		children[i] = spawn();
		if (!children[i])
			pause();
	}
	meet(shared);
	for (i = 0; i < RATE_LOOPS; i++)
		if (mn_attach(fds[i], TMN_STYLE_KVM, 0, children[i]))
			_exit(KSFT_FAIL);
	if (write(finished, "", 1) != 1)
		_exit(KSFT_FAIL);
	pause();
}

static uint64_t rate_once(unsigned int nr)
{
	struct shared *shared = share(sizeof(*shared));
	int finished[2];
	pid_t pids[8];
	unsigned int i;
	uint64_t ns;
	char c;

	if (pipe(finished))
		exit(KSFT_FAIL);

	for (i = 0; i < nr; i++) {
		pids[i] = spawn();
		if (!pids[i]) {
			run_on(i);
			register_often(shared, finished[1]);
		}
	}
	while (__atomic_load_n(&shared->ready, __ATOMIC_SEQ_CST) < nr)
		mn_sleep_ms(1);
	ns = now();
	__atomic_store_n(&shared->go, true, __ATOMIC_SEQ_CST);
	/* One who failed has closed its end, and the last one does. */
	close(finished[1]);
	for (i = 0; i < nr && read(finished[0], &c, 1) == 1; i++)
		;
	ns = now() - ns;
	close(finished[0]);
	if (i < nr)
		exit(KSFT_FAIL);
	for (i = 0; i < nr; i++)
		reap(pids[i]);
	munmap(shared, sizeof(*shared));
	return ns / (nr * RATE_LOOPS);
}

void bench_rate(void)
{
	static const unsigned int sizes[] = { 1, 2, 4 };
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t ns[ARRAY_SIZE(sizes)][ROUNDS];
	unsigned int i, round;

	for (round = 0; round < ROUNDS; round++)
		for (i = 0; i < ARRAY_SIZE(sizes) && sizes[i] <= cpus; i++)
			ns[i][round] = rate_once(sizes[i]);
	for (i = 0; i < ARRAY_SIZE(sizes) && sizes[i] <= cpus; i++)
		put("rate", "registrations", sizes[i], median(ns[i], ROUNDS));
}

/* Truncation of separate files in parallel */

static void truncate_often(struct shared *shared, unsigned int nr)
{
	size_t length = TRUNCATE_PAGES * mn_page_size();
	int fd = memfd_create("truncate", 0);
	char *map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			 0);

	if (map == MAP_FAILED)
		_exit(KSFT_FAIL);
	for (;;) {
		if (ftruncate(fd, length))
			_exit(KSFT_FAIL);
		mn_fill(map, TRUNCATE_PAGES, 1);
		if (ftruncate(fd, 0))
			_exit(KSFT_FAIL);
		__atomic_fetch_add(&shared->done[nr], 1, __ATOMIC_RELAXED);
	}
}

/* Each registration is the first one of its process. */
static void come_and_go(bool subscribe)
{
	struct tmn_bench bench = { .style = TMN_STYLE_KVM, .loops = 1 };
	int fd = mn_open();
	pid_t pid;

	if (fd < 0 || !mn_add_vmas(TRUNCATE_VMAS))
		_exit(KSFT_FAIL);
	for (;;) {
		pid = spawn();
		if (!pid)
			_exit(subscribe && ioctl(fd, TMN_BENCH, &bench));
		waitpid(pid, NULL, 0);
	}
}

static unsigned long truncations(const struct shared *shared)
{
	unsigned long sum = 0;
	unsigned int i;

	for (i = 0; i < TRUNCATERS; i++)
		sum += __atomic_load_n(&shared->done[i], __ATOMIC_RELAXED);
	return sum;
}

static uint64_t truncate_once(const struct shared *shared, bool subscribe)
{
	unsigned long before;
	uint64_t ns;
	pid_t pid = spawn();

	if (!pid)
		come_and_go(subscribe);
	mn_sleep_ms(100);
	before = truncations(shared);
	ns = now();
	mn_sleep_ms(WINDOW_NS / 1000000);
	ns = now() - ns;
	ns /= truncations(shared) - before + 1;
	reap(pid);
	return ns;
}

void bench_truncate(void)
{
	uint64_t with[ROUNDS], without[ROUNDS];
	struct shared *shared = share(sizeof(*shared));
	pid_t pids[TRUNCATERS];
	unsigned int i;

	for (i = 0; i < TRUNCATERS; i++) {
		pids[i] = spawn();
		if (!pids[i])
			truncate_often(shared, i);
	}
	for (i = 0; i < ROUNDS; i++) {
		without[i] = truncate_once(shared, false);
		with[i] = truncate_once(shared, true);
	}
	for (i = 0; i < TRUNCATERS; i++)
		reap(pids[i]);
	put("truncate", "registrations", TRUNCATERS, median(with, ROUNDS));
	put("truncate", "alone", TRUNCATERS, median(without, ROUNDS));
}

/* Later insertions of intervals beside other threads */

/* Each call holds mmap_lock for as long as it takes to look at all pages. */
static void *hold_mmap_lock(void *unused)
{
	size_t length = BESIDE_PAGES * mn_page_size();
	char *map = map_anon(length);

	mn_fill(map, BESIDE_PAGES, 1);
	while (!madvise(map, length, MADV_POPULATE_READ))
		;
	exit(KSFT_FAIL);
}

static void *map_and_unmap(void *unused)
{
	size_t length = BESIDE_MAPPED * mn_page_size();

	for (;;) {
		char *map = map_anon(length);

		mn_fill(map, BESIDE_MAPPED, 1);
		munmap(map, length);
	}
	return NULL;
}

/* So that what others wait for now they get before the next one. */
static bool insert_one(int fd, struct tmn_bench *bench, uint64_t *ns)
{
	compute(BESIDE_PAUSE_NS);
	if (ioctl(fd, TMN_BENCH, bench))
		return false;
	*ns = bench->register_min_ns;
	return true;
}

static void put_beside(const char *what, const char *figure, uint64_t ns)
{
	char name[64];

	snprintf(name, sizeof(name), "%s, %s", what, figure);
	put("beside", name, BESIDE_VMAS, ns);
}

/* In a process of its own, which the threads end with. */
static void insert_beside(const char *what, bool of_a_page,
			  void *(*run)(void *unused), unsigned int threads)
{
	struct tmn_bench bench = { .style = TMN_STYLE_INTERVAL, .loops = 1 };
	uint64_t ns[ROUNDS][BESIDE_LOOPS], middle[ROUNDS], longest[ROUNDS];
	uint64_t least = UINT64_MAX;
	char *page = map_anon(mn_page_size());
	unsigned int i, j;
	int fd = mn_open();
	pthread_t thread;

	if (of_a_page) {
		bench.start = (uintptr_t)page;
		bench.length = mn_page_size();
	}
	mn_fill(page, 1, 1);
	if (!mn_add_vmas(BESIDE_VMAS) ||
	    mn_attach(mn_open(), TMN_STYLE_INTERVAL, 0, 0))
		return;
	while (threads--)
		if (pthread_create(&thread, NULL, run, NULL))
			return;
	mn_sleep_ms(100);
	for (i = 0; i < ROUNDS; i++) {
		for (j = 0; j < BESIDE_LOOPS; j++)
			if (!insert_one(fd, &bench, &ns[i][j]))
				return;
		middle[i] = median(ns[i], BESIDE_LOOPS);
		/* They are sorted. */
		longest[i] = ns[i][BESIDE_LOOPS - 1];
		if (ns[i][0] < least)
			least = ns[i][0];
	}
	put_beside(what, "least", least);
	put_beside(what, "median", median(middle, ROUNDS));
	put_beside(what, "longest", median(longest, ROUNDS));
}

void bench_beside_others(void)
{
	static const struct {
		const char *what;
		bool of_a_page;
		void *(*run)(void *unused);
		unsigned int threads;
	} kinds[] = {
		{ "page beside readers", true, hold_mmap_lock, 2 },
		{ "everything beside readers", false, hold_mmap_lock, 2 },
		{ "page beside a mapper", true, map_and_unmap, 1 },
		{ "everything beside a mapper", false, map_and_unmap, 1 },
	};
	unsigned int i;
	pid_t pid;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		pid = spawn();
		if (!pid) {
			insert_beside(kinds[i].what, kinds[i].of_a_page,
				      kinds[i].run, kinds[i].threads);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
	}
}
