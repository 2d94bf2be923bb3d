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
 *			again and again at once
 *	truncate	the time by truncation of <size> processes, each of a
 *			file of its own, while one more registers and
 *			unregisters; "alone": while that one just computes
 */
#define _GNU_SOURCE
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

#define RATE_VMAS	10000
#define RATE_LOOPS	64

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

static struct shared *share(void)
{
	struct shared *shared = mmap(NULL, sizeof(*shared),
				     PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED)
		exit(KSFT_FAIL);
	return shared;
}

/* A child that ends with its parent; 0 in the child. */
static pid_t start(void)
{
	pid_t pid = fork();

	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (pid < 0)
		exit(KSFT_FAIL);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void run_on(unsigned int cpu)
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

static uint64_t median(uint64_t *values, unsigned int nr)
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

void bench_stall(void)
{
	uint64_t with[ROUNDS], without[ROUNDS];
	struct shared *shared = share();
	size_t size = mn_page_size();
	int files[STALL_FILES];
	unsigned int i;
	pid_t pid;

	for (i = 0; i < STALL_FILES; i++) {
		files[i] = memfd_create("stall", 0);
		if (files[i] < 0 || ftruncate(files[i], STALL_VMAS * size))
			return;
	}
	pid = start();
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
		int fd = mn_open();
		uint64_t ns;

		forget_longest(shared);
		ns = now();
		if (fd < 0 || mn_attach(fd, TMN_STYLE_KVM, 0, 0))
			return;
		ns = now() - ns;
		with[i] = longest(shared);
		close(fd);
		longest(shared);
		forget_longest(shared);
		compute(ns);
		without[i] = longest(shared);
	}
	end(pid);
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

static void register_often(struct shared *shared, int finished)
{
	int fds[RATE_LOOPS];
	unsigned int i;

	if (!mn_add_vmas(RATE_VMAS))
		_exit(KSFT_FAIL);
	for (i = 0; i < RATE_LOOPS; i++)
		fds[i] = mn_open();
	meet(shared);
	for (i = 0; i < RATE_LOOPS; i++)
		if (mn_attach(fds[i], TMN_STYLE_KVM, 0, 0))
			_exit(KSFT_FAIL);
	if (write(finished, "", 1) != 1)
		_exit(KSFT_FAIL);
	pause();
}

static uint64_t rate_once(unsigned int nr)
{
	struct shared *shared = share();
	int finished[2];
	pid_t pids[8];
	unsigned int i;
	uint64_t ns;
	char c;

	if (pipe(finished))
		exit(KSFT_FAIL);

	for (i = 0; i < nr; i++) {
		pids[i] = start();
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
		end(pids[i]);
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

static void come_and_go(bool subscribe)
{
	struct tmn_bench bench = { .style = TMN_STYLE_KVM, .loops = 1 };
	int fd = mn_open();

	if (!mn_add_vmas(TRUNCATE_VMAS))
		_exit(KSFT_FAIL);
	for (;;)
		if (subscribe && ioctl(fd, TMN_BENCH, &bench))
			_exit(KSFT_FAIL);
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
	pid_t pid = start();

	if (!pid)
		come_and_go(subscribe);
	mn_sleep_ms(100);
	before = truncations(shared);
	ns = now();
	mn_sleep_ms(WINDOW_NS / 1000000);
	ns = now() - ns;
	ns /= truncations(shared) - before + 1;
	end(pid);
	return ns;
}

void bench_truncate(void)
{
	uint64_t with[ROUNDS], without[ROUNDS];
	struct shared *shared = share();
	pid_t pids[TRUNCATERS];
	unsigned int i;

	for (i = 0; i < TRUNCATERS; i++) {
		pids[i] = start();
		if (!pids[i])
			truncate_often(shared, i);
	}
	for (i = 0; i < ROUNDS; i++) {
		without[i] = truncate_once(shared, false);
		with[i] = truncate_once(shared, true);
	}
	for (i = 0; i < TRUNCATERS; i++)
		end(pids[i]);
	put("truncate", "registrations", TRUNCATERS, median(with, ROUNDS));
	put("truncate", "alone", TRUNCATERS, median(without, ROUNDS));
}
