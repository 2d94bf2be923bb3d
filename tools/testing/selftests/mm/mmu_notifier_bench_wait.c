// SPDX-License-Identifier: GPL-2.0
/*
 * What waits for what.  Groups of mmu_notifier_bench:
 *
 *	held		the longest round of a thread that maps and unmaps, while
 *			another one registers the first (or a later) secondary
 *			MMU and somebody else holds the lock of a file of theirs,
 *			for HELD_MS; "alone": while nobody registers
 *	munmap		how long unregistering takes: quiet, and beside munmap()
 *			of <size> MiB by another thread; and that munmap()
 *	stuck		how long unregistering, or the exit of a process with a
 *			secondary MMU, takes, of <size> processes one after the
 *			other: median and longest; quiet, and while a callback
 *			of one more process sleeps for STUCK_US
 *	starve		loads by a secondary MMU with an interval, and removals
 *			of such an interval: the longest and the mean; quiet, and
 *			beside <size> threads that call madvise() on other memory,
 *			and one of those calls.  None is let starve for longer
 *			than STARVE_NS.  Whether one meets a moment without any
 *			section is luck, so that they differ from run to run
 *
 * All but stuck in real time, on two CPUs.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest.h"
#include "mmu_notifier_bench.h"
#include "mmu_notifier_util.h"

#define ROUNDS		5

#define HELD_MS		300
#define HELD_VMAS	1000
#define HELD_PAGES	16

#define MUNMAP_MIB	1024

#define STUCK_PROCESSES	300
#define STUCK_US	TMN_MAX_DELAY_US

#define STARVE_THREADS	6
#define STARVE_PAGES	2048
#define STARVE_LOADS	50
#define STARVE_NS	5000000000ULL

#define peek(word)		__atomic_load_n(&(word), __ATOMIC_SEQ_CST)
#define poke(word, value)	__atomic_store_n(&(word), value, __ATOMIC_SEQ_CST)

/* In a process of its own, whose memory nobody has subscribed to before. */
static bool in_child(bool (*run)(uint64_t *result, unsigned int how),
		     uint64_t *result, unsigned int results, unsigned int how)
{
	uint64_t *shared = share(results * sizeof(*shared));
	int status;
	pid_t pid = spawn();

	if (!pid)
		_exit(!run(shared, how));
	if (waitpid(pid, &status, 0) != pid)
		status = -1;
	memcpy(result, shared, results * sizeof(*shared));
	munmap(shared, results * sizeof(*shared));
	return !status;
}

/* A lock that is held */

/* Whose page another process takes away, and how long that takes its time. */
static pid_t hold_file(int fd, int file, void *page)
{
	pid_t pid = spawn();

	if (pid)
		return pid;
	if (!mn_attach(fd, TMN_STYLE_XPMEM, 0, 0) &&
	    !mn_stall(fd, page, mn_page_size(), HELD_MS * 1000))
		fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			  mn_page_size());
	_exit(0);
}

static uint64_t held_longest;
static unsigned long held_rounds;

static void *map_and_unmap(void *unused)
{
	size_t length = HELD_PAGES * mn_page_size();

	run_on(1);
	for (;;) {
		uint64_t ns = now();
		char *map = map_anon(length);

		mn_fill(map, HELD_PAGES, 1);
		munmap(map, length);
		ns = now() - ns;
		if (ns > peek(held_longest))
			poke(held_longest, ns);
		poke(held_rounds, held_rounds + 1);
	}
	return NULL;
}

enum { HELD_ALONE, HELD_FIRST, HELD_LATER };

static bool held_once(uint64_t *result, unsigned int how)
{
	int fd = mn_open(), holder = mn_open();
	int file = memfd_create("held", 0);
	unsigned long rounds;
	pthread_t thread;
	pid_t pid;
	char *page;

	if (fd < 0 || holder < 0 || ftruncate(file, mn_page_size()) ||
	    !mn_add_vmas(HELD_VMAS))
		return false;
	page = mmap(NULL, mn_page_size(), PROT_READ | PROT_WRITE, MAP_SHARED,
		    file, 0);
	if (page == MAP_FAILED)
		return false;
	mn_fill(page, 1, 1);
	if (how == HELD_LATER && mn_attach(mn_open(), TMN_STYLE_KVM, 0, 0))
		return false;
	if (pthread_create(&thread, NULL, map_and_unmap, NULL))
		return false;
	run_on(0);
	pid = hold_file(holder, file, page);
	if (mn_wait_stalled(holder))
		return false;

	poke(held_longest, 0);
	if (how == HELD_ALONE)
		mn_sleep_ms(HELD_MS);
	else if (mn_attach(fd, TMN_STYLE_KVM, 0, 0))
		return false;
	/* The round that is under way, and one more, have come in. */
	rounds = peek(held_rounds);
	while (peek(held_rounds) < rounds + 2)
		mn_sleep_ms(1);
	*result = peek(held_longest);
	waitpid(pid, NULL, 0);
	return true;
}

void bench_held(void)
{
	static const struct {
		const char *name;
		unsigned int how;
	} kinds[] = {
		{ "alone", HELD_ALONE },
		{ "first registration", HELD_FIRST },
		{ "later registration", HELD_LATER },
	};
	uint64_t ns[ARRAY_SIZE(kinds)][ROUNDS];
	unsigned int i, round;

	for (round = 0; round < ROUNDS; round++)
		for (i = 0; i < ARRAY_SIZE(kinds); i++)
			if (!in_child(held_once, &ns[i][round], 1, kinds[i].how))
				return;
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		put("held", kinds[i].name, HELD_VMAS, median(ns[i], ROUNDS));
}

/* A long section of the same process */

struct unmapping {
	char *map;
	size_t length;
	uint64_t ns;
	bool begun;
};

static void *unmap_all(void *arg)
{
	struct unmapping *unmapping = arg;

	run_on(1);
	poke(unmapping->begun, true);
	unmapping->ns = now();
	munmap(unmapping->map, unmapping->length);
	unmapping->ns = now() - unmapping->ns;
	return NULL;
}

/* Results: quiet, beside, and the munmap() itself. */
static bool munmap_once(uint64_t *result, unsigned int how)
{
	struct unmapping unmapping = { .length = (size_t)MUNMAP_MIB << 20 };
	pthread_t thread;
	int fd = mn_open();

	run_on(0);
	if (fd < 0 || mn_attach(fd, TMN_STYLE_KVM, 0, 0))
		return false;
	result[0] = now();
	mn_detach(fd);
	result[0] = now() - result[0];

	unmapping.map = map_anon(unmapping.length);
	mn_fill(unmapping.map, unmapping.length / mn_page_size(), 1);
	if (mn_attach(fd, TMN_STYLE_KVM, 0, 0) ||
	    pthread_create(&thread, NULL, unmap_all, &unmapping))
		return false;
	while (!peek(unmapping.begun))
		;
	mn_sleep_ms(2);
	result[1] = now();
	mn_detach(fd);
	result[1] = now() - result[1];
	pthread_join(thread, NULL);
	result[2] = unmapping.ns;
	return true;
}

void bench_munmap(void)
{
	static const char * const names[] = {
		"unregister, quiet", "unregister, beside", "munmap",
	};
	uint64_t ns[ARRAY_SIZE(names)][ROUNDS], once[ARRAY_SIZE(names)];
	unsigned int i, round;

	for (round = 0; round < ROUNDS; round++) {
		if (!in_child(munmap_once, once, ARRAY_SIZE(names), 0))
			return;
		for (i = 0; i < ARRAY_SIZE(names); i++)
			ns[i][round] = once[i];
	}
	for (i = 0; i < ARRAY_SIZE(names); i++)
		put("munmap", names[i], MUNMAP_MIB, median(ns[i], ROUNDS));
}

/* A callback of somebody else that sleeps */

static pid_t get_stuck(int fd)
{
	char *page = map_anon(mn_page_size());
	pid_t pid = spawn();

	if (pid)
		return pid;
	mn_fill(page, 1, 1);
	if (!mn_attach(fd, TMN_STYLE_XPMEM, 0, 0) &&
	    !mn_stall(fd, page, mn_page_size(), STUCK_US))
		madvise(page, mn_page_size(), MADV_DONTNEED);
	_exit(0);
}

struct leaver {
	pid_t pid;
	int go;
};

/* Unregisters when it is told to and says how long that took, or exits. */
static void leave(int go, int done, bool unregisters)
{
	int fd = mn_open();
	uint64_t ns;
	char c;

	if (fd < 0 || mn_attach(fd, TMN_STYLE_KVM, 0, 0) ||
	    write(done, &ns, sizeof(ns)) != sizeof(ns) ||
	    read(go, &c, 1) != 1 || !unregisters)
		_exit(0);
	ns = now();
	mn_detach(fd);
	ns = now() - ns;
	if (write(done, &ns, sizeof(ns)) == sizeof(ns))
		pause();
	_exit(0);
}

static bool start_leaver(struct leaver *leaver, const int *done,
			 bool unregisters)
{
	int go[2];
	uint64_t ns;

	if (pipe(go))
		return false;
	leaver->go = go[1];
	leaver->pid = spawn();
	if (!leaver->pid)
		leave(go[0], done[1], unregisters);
	close(go[0]);
	return read(done[0], &ns, sizeof(ns)) == sizeof(ns);
}

static uint64_t let_leave(const struct leaver *leaver, int done,
			  bool unregisters)
{
	uint64_t start = now(), ns;

	if (write(leaver->go, "", 1) != 1)
		exit(KSFT_FAIL);
	if (!unregisters) {
		waitpid(leaver->pid, NULL, 0);
		return now() - start;
	}
	if (read(done, &ns, sizeof(ns)) != sizeof(ns))
		exit(KSFT_FAIL);
	reap(leaver->pid);
	return ns;
}

static void stuck_once(const char *when, bool stuck)
{
	static const char * const names[] = { "exit", "unregister" };
	struct leaver leavers[STUCK_PROCESSES];
	uint64_t ns[2][STUCK_PROCESSES / 2];
	unsigned int i;
	char what[64];
	int done[2], fd = mn_open();
	pid_t pid = 0;

	if (fd < 0 || pipe(done))
		return;
	for (i = 0; i < STUCK_PROCESSES; i++)
		if (!start_leaver(&leavers[i], done, i % 2))
			return;
	if (stuck) {
		pid = get_stuck(fd);
		if (mn_wait_stalled(fd))
			return;
	}
	for (i = 0; i < STUCK_PROCESSES; i++)
		ns[i % 2][i / 2] = let_leave(&leavers[i], done[0], i % 2);
	if (stuck)
		waitpid(pid, NULL, 0);
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		uint64_t middle = median(ns[i], STUCK_PROCESSES / 2);

		snprintf(what, sizeof(what), "%s, median, %s", names[i], when);
		put("stuck", what, STUCK_PROCESSES, middle);
		/* They are sorted. */
		snprintf(what, sizeof(what), "%s, longest, %s", names[i], when);
		put("stuck", what, STUCK_PROCESSES,
		    ns[i][STUCK_PROCESSES / 2 - 1]);
	}
}

void bench_stuck(void)
{
	pid_t pid = spawn();

	/* Each begins with the same files open. */
	if (!pid) {
		stuck_once("quiet", false);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	stuck_once("stuck", true);
}

/* Intervals that wait for everybody's sections */

/* Until when the threads go on. */
static uint64_t starve_until;
static uint64_t starve_madvise;

static void *invalidate_others(void *unused)
{
	size_t length = STARVE_PAGES * mn_page_size();
	char *map = map_anon(length);
	uint64_t start;

	mn_fill(map, STARVE_PAGES, 1);
	for (;;) {
		start = now();
		if (start > peek(starve_until)) {
			mn_sleep_ms(1);
			continue;
		}
		madvise(map, length, MADV_FREE);
		poke(starve_madvise, now() - start);
	}
	return NULL;
}

struct times {
	uint64_t longest, sum;
};

/* One thing that a secondary MMU does, in the middle of what the threads do. */
static bool starve_once(int fd, bool (*run)(int fd, char *page), char *page,
			struct times *times)
{
	uint64_t ns;

	mn_sleep_ms(5);
	ns = now();
	poke(starve_until, ns + STARVE_NS);
	if (!run(fd, page))
		return false;
	ns = now() - ns;
	times->sum += ns;
	if (ns > times->longest)
		times->longest = ns;
	return true;
}

static void put_times(const char *name, const char *when,
		      const struct times *times, unsigned int nr)
{
	char what[64];

	snprintf(what, sizeof(what), "%s, longest, %s", name, when);
	put("starve", what, STARVE_THREADS, times->longest);
	snprintf(what, sizeof(what), "%s, mean, %s", name, when);
	put("starve", what, STARVE_THREADS, times->sum / nr);
}

static bool load(int fd, char *page)
{
	uint64_t value;

	return !mn_load(fd, page, &value) && value == mn_cpu(page);
}

static bool removal(int fd, char *unused)
{
	return !mn_detach(fd);
}

static bool load_and_remove(char *page, const char *when)
{
	struct times loads = {}, removals = {};
	uint64_t began = now();
	unsigned int i;

	for (i = 0; i < STARVE_LOADS && now() < began + 2 * STARVE_NS; i++) {
		int fd = mn_open();

		if (fd < 0 || mn_attach(fd, TMN_STYLE_INTERVAL, 0, 0))
			return false;
		mn_fill(page, 1, i);
		if (!starve_once(fd, load, page, &loads) ||
		    !starve_once(fd, removal, page, &removals))
			return false;
		close(fd);
	}
	put_times("load", when, &loads, i);
	put_times("removal", when, &removals, i);
	return true;
}

void bench_starve(void)
{
	char *page = map_anon(mn_page_size());
	pthread_t thread;
	unsigned int i;

	/* One that stays: an insertion is to stop nobody. */
	if (mn_attach(mn_open(), TMN_STYLE_INTERVAL, 0, 0) ||
	    !load_and_remove(page, "quiet"))
		return;
	poke(starve_until, now() + STARVE_NS);
	for (i = 0; i < STARVE_THREADS; i++)
		if (pthread_create(&thread, NULL, invalidate_others, NULL))
			return;
	mn_sleep_ms(500);
	if (load_and_remove(page, "beside"))
		put("starve", "madvise", STARVE_THREADS, peek(starve_madvise));
}
