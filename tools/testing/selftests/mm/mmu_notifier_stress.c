// SPDX-License-Identifier: GPL-2.0
/*
 * MMU notifiers under load: processes and threads that do random operations on
 * their memory, under the eyes of software secondary MMUs of every style that
 * come and go (lib/test_mmu_notifier.c).
 *
 * There are a few workers, processes with several threads that own an area of
 * memory each, and live until they have done what they had to, or are killed in
 * the middle; then another one takes their place.  Observers attach secondary
 * MMUs to them from outside, and reclaim and migrate their memory under locks
 * that the workers do not see.  What the operations are is in
 * mmu_notifier_stress_ops.c, how it is told right from wrong in
 * mmu_notifier_stress.h.
 *
 * All operations follow from the seed: the nth operation of a thread is the same
 * each time, only when it meets which one of the others differs.
 *
 *   mmu_notifier_stress [-s SEED] [-n SEEDS] [-t SECONDS] [-l OPERATIONS]
 *
 * runs SEEDS seeds (1) from SEED (1) on, each for SECONDS (10).  With -l it says
 * instead what the first OPERATIONS of each thread's first life are.
 *
 * To be run as root, with page_poison=1 or init_on_free=1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mmu_notifier_stress.h"
#include "vm_util.h"

#define OBSERVERS	2

/* Where the areas are; nothing else comes there by itself. */
#define AREAS_START	(1UL << 36)
#define AREA_STRIDE	(1UL << 24)

/* Every process of a run has to end in this time once it is told to. */
#define END_SECONDS	120

struct world *world;

uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
	return x ^ x >> 32;
}

unsigned int pick(struct actor *actor, unsigned int limit)
{
	actor->random = mix(actor->random);
	return (actor->random >> 32) * limit >> 32;
}

bool stopped(void)
{
	return __atomic_load_n(&world->stop, __ATOMIC_RELAXED);
}

static void stop(void)
{
	__atomic_store_n(&world->stop, true, __ATOMIC_RELAXED);
}

/* One line, whole, whoever prints at the same time. */
static void __printf(1, 2) say(const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	dprintf(STDOUT_FILENO, "# %s\n", text);
}

void complain(struct actor *actor, const char *format, ...)
{
	char text[256];
	va_list args;

	if (__atomic_exchange_n(&world->failed, true, __ATOMIC_SEQ_CST))
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	say("seed %llu: %s %u.%u.%u.%u%s %s %u+%u: %s",
	    (unsigned long long)world->seed,
	    actor->area ? "worker" : "observer of worker", actor->worker,
	    actor->life, actor->thread, actor->nr, actor->forked ? "'" : "",
	    actor->name, actor->range.first, actor->range.count, text);
	stop();
}

void check_status(int status)
{
	/* Being killed is what happens to some of them. */
	if (!status || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ||
	    __atomic_exchange_n(&world->failed, true, __ATOMIC_SEQ_CST))
		return;
	say("seed %llu: a process ended with wait status %#x",
	    (unsigned long long)world->seed, status);
	stop();
}

/* The oracle */

char *page_addr(const struct area *area, unsigned int nr)
{
	return area->addr + nr * mn_page_size();
}

uint64_t state_of(const struct area *area, unsigned int nr)
{
	const struct page *page = &area->pages[nr];

	return page->states[page->noted % HISTORY];
}

uint64_t new_value(const struct area *area, unsigned int nr)
{
	return mn_value(page_addr(area, nr), area->pages[nr].noted + 1);
}

void may_be(struct area *area, unsigned int nr, uint64_t state)
{
	struct page *page = &area->pages[nr];
	uint32_t next = page->noted + 1;

	__atomic_store_n(&page->states[next % HISTORY], state,
			 __ATOMIC_SEQ_CST);
	__atomic_store_n(&page->noted, next, __ATOMIC_SEQ_CST);
}

void stress_settle(struct area *area, unsigned int nr)
{
	struct page *page = &area->pages[nr];

	__atomic_store_n(&page->settled, page->noted, __ATOMIC_SEQ_CST);
}

void may_all_be(struct area *area, struct range range, uint64_t state)
{
	unsigned int nr;

	for_each_nr(nr, range)
		may_be(area, nr, state);
}

void settle_all(struct area *area, struct range range)
{
	unsigned int nr;

	for_each_nr(nr, range)
		stress_settle(area, nr);
}

void settle_on_two(struct area *area, struct range range)
{
	unsigned int nr;

	for_each_nr(nr, range) {
		struct page *page = &area->pages[nr];

		__atomic_store_n(&page->settled, page->noted - 1,
				 __ATOMIC_SEQ_CST);
	}
}

/* Whether @page may have been seen in @state since @settled was read. */
static bool possible(struct page *page, uint32_t settled, uint64_t state)
{
	uint32_t noted = __atomic_load_n(&page->noted, __ATOMIC_SEQ_CST);
	uint32_t i;

	for (i = 0; i < HISTORY && i <= noted - settled; i++) {
		if (__atomic_load_n(&page->states[(settled + i) % HISTORY],
				    __ATOMIC_SEQ_CST) == state)
			return true;
	}
	/* If history has been overwritten meanwhile, nobody can tell. */
	noted = __atomic_load_n(&page->noted, __ATOMIC_SEQ_CST);
	return noted - settled >= HISTORY - 1;
}

/* Whether it is still the process that it was when we attached. */
static bool same_life(const struct actor *actor, const struct area *area)
{
	return actor->forked || area->kind == KIND_SHMEM ||
	       __atomic_load_n(&world->lives[actor->worker],
			       __ATOMIC_SEQ_CST) == actor->life;
}

/* Loads, and says what is to be learned from it: false if nothing is. */
static bool see(struct actor *actor, struct mirror *mirror, char *addr,
		bool fault, uint64_t *seen)
{
	int ret = fault ? mn_load(mirror->fd, addr, seen) :
			  mn_load_nofault(mirror->fd, addr, seen);

	switch (ret) {
	case 0:
		__atomic_fetch_add(&world->looks, 1, __ATOMIC_RELAXED);
		return true;
	case -EFAULT:
		*seen = UNREACHABLE;
		return true;
	case -ENOENT:
	case -ENOTCONN:
	case -ESRCH:
	case -EINTR:
		return false;
	default:
		complain(actor, "load from %p through %s: %s", addr,
			 mn_style_name(mirror->style), strerror(-ret));
		return false;
	}
}

void look(struct actor *actor, struct mirror *mirror, struct area *area,
	  unsigned int nr, bool fault)
{
	struct page *page = &area->pages[nr];
	uint32_t settled = __atomic_load_n(&page->settled, __ATOMIC_SEQ_CST);
	uint64_t seen, again = UNREACHABLE;
	char *addr = page_addr(area, nr);

	if (!see(actor, mirror, addr, fault, &seen) ||
	    possible(page, settled, seen) || !same_life(actor, area))
		return;
	/* Was it the translation, or what is there? */
	mn_drop(mirror->fd, addr, mn_page_size());
	see(actor, mirror, addr, true, &again);
	complain(actor, "page %u of area %u (%u to %u): %s sees %#llx%s, anew %#llx, not %#llx",
		 nr, (unsigned int)(((uintptr_t)addr - AREAS_START) /
				    AREA_STRIDE), settled, page->noted,
		 mn_style_name(mirror->style), (unsigned long long)seen,
		 fault ? " (fault)" : "", (unsigned long long)again,
		 (unsigned long long)page->states[settled % HISTORY]);
}

void look_around(struct actor *actor, struct area *area, struct range range,
		 bool fault)
{
	unsigned int i;

	for (i = 0; i < 4; i++)
		look(actor, any_mirror(actor), area,
		     range.first + pick(actor, range.count), fault);
}

/* A process that was forked has nothing of its parent that others change. */
static bool can_see(const struct actor *actor, const struct area *area)
{
	return area->kind == KIND_SHMEM ||
	       (area->worker == actor->worker && !actor->forked);
}

void look_everywhere(struct actor *actor, struct mirror *mirror, bool fault)
{
	struct range now, all = { 0, AREA_PAGES };
	struct area *area[16];
	unsigned int nr[16], i, round;

	for (i = 0; i < ARRAY_SIZE(nr); i++) {
		do {
			area[i] = &world->areas[pick(actor, AREAS)];
		} while (!can_see(actor, area[i]));
		__atomic_load(&area[i]->now, &now, __ATOMIC_RELAXED);
		if (!now.count || one_in(actor, 8))
			now = all;
		nr[i] = now.first + pick(actor, now.count);
	}
	/* What is stale is seen the second time. */
	for (round = 0; round < 3; round++) {
		for (i = 0; i < ARRAY_SIZE(nr) && !stopped(); i++)
			look(actor, mirror, area[i], nr[i],
			     fault && round != 1);
		sched_yield();
	}
}

/* Secondary MMUs */

struct mirror *any_mirror(struct actor *actor)
{
	return &actor->mirrors[pick(actor, actor->nr_mirrors)];
}

bool attach(struct actor *actor, struct mirror *mirror, pid_t pid)
{
	unsigned int style = 1 + pick(actor, TMN_STYLES - 1);
	unsigned int flags = 0;
	int ret;

	if (one_in(actor, 4) && style != TMN_STYLE_INTERVAL)
		flags |= TMN_ATTACH_GET;
	/* With invalidate_page mmap_lock has to be free. */
	if (one_in(actor, 4) && style != TMN_STYLE_GRU)
		flags |= TMN_ATTACH_LOCKED;
	/* The device has this style in one way only. */
	if (style == TMN_STYLE_BOTH)
		flags = 0;
	mirror->style = style;
	ret = mn_attach(mirror->fd, style, flags, pid);
	mirror->attached = !ret;
	if (!ret)
		__atomic_fetch_add(&world->registrations, 1, __ATOMIC_RELAXED);
	else if (ret != -EOPNOTSUPP && ret != -EINTR && ret != -ESRCH)
		complain(actor, "subscribe as %s: %s", mn_style_name(style),
			 strerror(-ret));
	return !ret;
}

void detach(struct actor *actor, struct mirror *mirror)
{
	struct tmn_stats stats;

	if (!mirror->attached)
		return;
	mirror->attached = false;
	must(actor, !mn_detach(mirror->fd));
	must(actor, !mn_stats(mirror->fd, &stats));
	if (stats.unbalanced_ends)
		complain(actor, "%s got %llu ends without a start",
			 mn_style_name(mirror->style),
			 (unsigned long long)stats.unbalanced_ends);
}

static bool open_mirrors(struct mirror *mirrors, unsigned int nr)
{
	for (; nr--; mirrors++) {
		mirrors->fd = mn_open();
		if (mirrors->fd < 0)
			return false;
	}
	return true;
}

/* Workers */

/* How many operations the first thread does before its process ends. */
static unsigned int life_span(struct actor *actor)
{
	return 100 + pick(actor, 500);
}

static void *work(void *arg)
{
	struct actor *actor = arg;
	unsigned int i, span = life_span(actor);
	bool killed = one_in(actor, 2);

	map_area(actor);
	for (i = 0; i < actor->nr_own; i++)
		attach(actor, &actor->own[i], 0);
	for (actor->nr = 0; !stopped(); actor->nr++) {
		if (!actor->thread && actor->nr == span) {
			if (killed)
				kill(getpid(), SIGKILL);
			_exit(0);
		}
		operate(actor);
	}
	await_child(actor);
	return NULL;
}

static void run_worker(unsigned int worker)
{
	static struct mirror mirrors[MIRRORS];
	static struct actor actors[THREADS];
	pthread_t threads[THREADS];
	unsigned int i;

	if (!open_mirrors(mirrors, MIRRORS))
		_exit(2);
	for (i = 0; i < THREADS; i++) {
		struct actor *actor = &actors[i];

		actor->worker = worker;
		actor->thread = i;
		actor->life = world->lives[worker];
		actor->random = world->seed + (worker * THREADS + i) * 1000003 +
				actor->life;
		actor->name = "start";
		actor->area = &world->areas[worker * THREADS + i];
		actor->mirrors = mirrors;
		actor->nr_mirrors = MIRRORS;
		actor->own = &mirrors[i * MIRRORS / THREADS];
		actor->nr_own = MIRRORS / THREADS;
	}
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, &actors[i]))
			_exit(3);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < MIRRORS; i++)
		detach(&actors[0], &mirrors[i]);
	_exit(0);
}

/* Starts the next life of a worker. */
static void start_worker(unsigned int worker)
{
	const struct range all = { 0, AREA_PAGES };
	unsigned int i;
	pid_t pid;

	__atomic_store_n(&world->pids[worker], 0, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&world->lives[worker], 1, __ATOMIC_SEQ_CST);
	/* What the last one had is gone with it. */
	for (i = 0; i < AREAS; i++) {
		struct area *area = &world->areas[i];

		if (area->worker != worker || area->kind == KIND_SHMEM)
			continue;
		may_all_be(area, all, UNREACHABLE);
		settle_all(area, all);
	}
	pid = fork();
	if (!pid)
		run_worker(worker);
	if (pid < 0) {
		say("fork: %s", strerror(errno));
		world->failed = true;
		stop();
	}
	__atomic_store_n(&world->pids[worker], pid, __ATOMIC_SEQ_CST);
}

/* Observers */

/* Reclaims or migrates somebody else's memory. */
static void meddle(struct actor *actor, pid_t pid)
{
	static const int advice[] = {
		MADV_PAGEOUT, MADV_COLD, MADV_WILLNEED,
	};
	struct area *area = &world->areas[pick(actor, AREAS)];
	unsigned int nr = pick(actor, AREA_PAGES - 32);
	struct iovec vector = { page_addr(area, nr), 32 * mn_page_size() };
	int fd;

	if (one_in(actor, 2)) {
		mn_move_pages(pid, vector.iov_base, 32, pick(actor, 2));
		return;
	}
	fd = syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return;
	syscall(SYS_process_madvise, fd, &vector, 1UL,
		advice[pick(actor, ARRAY_SIZE(advice))], 0);
	close(fd);
}

static void reclaim_everything(struct actor *actor)
{
	char device[256];

	mn_write_file("/proc/sys/vm/compact_memory", "1");
	if (one_in(actor, 4) && mn_swap_device(device, sizeof(device)) &&
	    !swapoff(device))
		must(actor, !swapon(device, 0));
}

static void *observe(void *arg)
{
	struct actor *actor = arg;
	struct mirror *mirror = actor->mirrors;
	unsigned int i, rounds;
	pid_t pid;

	for (actor->nr = 0; !stopped(); actor->nr++) {
		actor->worker = pick(actor, WORKERS);
		actor->life = __atomic_load_n(&world->lives[actor->worker],
					      __ATOMIC_SEQ_CST);
		pid = __atomic_load_n(&world->pids[actor->worker],
				      __ATOMIC_SEQ_CST);
		rounds = pick(actor, 8);
		if (!pid || !attach(actor, mirror, pid))
			continue;
		/* Is it still the one that it was? */
		if (__atomic_load_n(&world->lives[actor->worker],
				    __ATOMIC_SEQ_CST) == actor->life) {
			look_everywhere(actor, mirror, true);
			for (i = 0; i < rounds; i++) {
				meddle(actor, pid);
				look_everywhere(actor, mirror,
						one_in(actor, 2));
			}
		}
		detach(actor, mirror);
		if (one_in(actor, 200))
			reclaim_everything(actor);
	}
	return NULL;
}

static void run_observers(void)
{
	static struct mirror mirrors[OBSERVERS];
	static struct actor actors[OBSERVERS];
	pthread_t threads[OBSERVERS];
	unsigned int i;

	if (!open_mirrors(mirrors, OBSERVERS))
		_exit(2);
	for (i = 0; i < OBSERVERS; i++) {
		actors[i].thread = i;
		actors[i].random = world->seed ^ (i + 1) * 1000003;
		actors[i].name = "observe";
		actors[i].mirrors = &mirrors[i];
		actors[i].nr_mirrors = 1;
		if (pthread_create(&threads[i], NULL, observe, &actors[i]))
			_exit(3);
	}
	for (i = 0; i < OBSERVERS; i++)
		pthread_join(threads[i], NULL);
	_exit(0);
}

/* Runs */

static enum kind kind_of(unsigned int worker, unsigned int thread)
{
	if (thread == 1)
		return KIND_SHMEM;
	return worker == 0 && thread == 2 && get_free_hugepages() ?
	       KIND_HUGETLB : KIND_ANON;
}

static void make_world(uint64_t seed)
{
	const size_t size = AREA_PAGES * mn_page_size();
	unsigned int i;

	world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (world == MAP_FAILED)
		ksft_exit_fail_msg("no memory\n");
	world->seed = seed;
	for (i = 0; i < AREAS; i++) {
		struct area *area = &world->areas[i];

		area->worker = i / THREADS;
		area->kind = kind_of(area->worker, i % THREADS);
		area->addr = (char *)(AREAS_START + i * AREA_STRIDE);
		area->fd = -1;
		if (area->kind != KIND_SHMEM)
			continue;
		area->fd = memfd_create("stress", 0);
		if (area->fd < 0 || ftruncate(area->fd, size) ||
		    mmap(area->addr, size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED_NOREPLACE, area->fd,
			 0) != area->addr)
			ksft_exit_fail_msg("no shared memory\n");
	}
}

static void destroy_world(void)
{
	unsigned int i;

	for (i = 0; i < AREAS; i++) {
		struct area *area = &world->areas[i];

		if (area->kind != KIND_SHMEM)
			continue;
		munmap(area->addr, AREA_PAGES * mn_page_size());
		close(area->fd);
	}
	munmap(world, sizeof(*world));
}

/* Takes note of who has ended; false if nobody is left. */
static bool reap(void)
{
	unsigned int i;
	int status;
	pid_t pid;

	pid = waitpid(-1, &status, WNOHANG);
	if (pid < 0)
		return false;
	if (!pid) {
		mn_sleep_ms(5);
		return true;
	}
	check_status(status);
	for (i = 0; i < WORKERS; i++)
		if (pid == world->pids[i] && !stopped())
			start_worker(i);
	return true;
}

static bool run(uint64_t seed, unsigned int seconds)
{
	uint64_t end = mn_now_ns() + seconds * 1000000000ULL;
	pid_t observers;
	unsigned int i;
	bool passed;

	make_world(seed);
	for (i = 0; i < WORKERS; i++)
		start_worker(i);
	observers = fork();
	if (!observers)
		run_observers();
	while (!stopped() && mn_now_ns() < end)
		reap();
	stop();
	end = mn_now_ns() + END_SECONDS * 1000000000ULL;
	while (reap()) {
		if (mn_now_ns() < end)
			continue;
		say("seed %llu: after %u s some process has not ended",
		    (unsigned long long)seed, END_SECONDS);
		world->failed = true;
		/* Where they are. */
		mn_write_file("/proc/sysrq-trigger", "t");
		kill(observers, SIGKILL);
		for (i = 0; i < WORKERS; i++)
			kill(world->pids[i], SIGKILL);
		break;
	}
	say("seed %llu: %llu operations, %llu looks, %llu registrations, %u lives",
	    (unsigned long long)seed, (unsigned long long)world->operations,
	    (unsigned long long)world->looks,
	    (unsigned long long)world->registrations,
	    world->lives[0] + world->lives[1] + world->lives[2]);
	/* A run that saw nothing has shown nothing. */
	passed = !world->failed && world->operations && world->looks &&
		 world->registrations;
	destroy_world();
	return passed;
}

static void list(uint64_t seed, unsigned int operations)
{
	static struct actor actor;
	unsigned int i;

	make_world(seed);
	for (i = 0; i < AREAS; i++) {
		actor.worker = i / THREADS;
		actor.thread = i % THREADS;
		actor.life = 1;
		actor.area = &world->areas[i];
		for (actor.nr = 0; actor.nr < operations; actor.nr++)
			foretell(&actor);
	}
}

int main(int argc, char **argv)
{
	unsigned int i, seeds = 1, seconds = 10, operations = 0;
	uint64_t seed = 1;
	int option;

	while ((option = getopt(argc, argv, "s:n:t:l:")) != -1) {
		switch (option) {
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			seeds = atoi(optarg);
			break;
		case 't':
			seconds = atoi(optarg);
			break;
		case 'l':
			operations = atoi(optarg);
			break;
		default:
			fprintf(stderr,
				"usage: %s [-s SEED] [-n SEEDS] [-t SECONDS] [-l OPERATIONS]\n",
				argv[0]);
			return KSFT_FAIL;
		}
	}
	if (operations) {
		list(seed, operations);
		return KSFT_PASS;
	}

	ksft_print_header();
	setvbuf(stdout, NULL, _IONBF, 0);
	if (access(MN_DEVICE, R_OK | W_OK))
		ksft_exit_skip("no " MN_DEVICE "\n");
	ksft_set_plan(seeds);
	/* Those whose parents were killed are ours to wait for. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	mn_write_file("/sys/kernel/mm/ksm/sleep_millisecs", "20");
	mn_write_file("/sys/kernel/mm/ksm/pages_to_scan", "1000");
	mn_write_file("/sys/kernel/mm/ksm/run", "1");
	for (i = 0; i < seeds; i++)
		ksft_test_result(run(seed + i, seconds), "seed %llu\n",
				 (unsigned long long)seed + i);
	mn_write_file("/sys/kernel/mm/ksm/run", "0");
	ksft_finished();
}
