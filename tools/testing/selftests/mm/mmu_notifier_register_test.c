// SPDX-License-Identifier: GPL-2.0
/*
 * MMU notifiers: registration.
 *
 * When registering returns, every change of the page tables that is in flight
 * and does not know the new secondary MMU has ended; it does not fail for
 * signals, and when it fails or is killed, nothing is left.
 *
 * The steps by which the core gets there are tested one by one, and without
 * luck: a secondary MMU that was there before makes an invalidation (a
 * "section") sleep in its start, before the page tables are changed, while it
 * holds exactly one kind of lock.  Then another secondary MMU is registered and
 * used at once.  If registering did not wait for that section, a translation is
 * established that nobody will invalidate, and the oracle sees it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "mmu_notifier_section.h"
#include "mmu_notifier_util.h"

#ifndef KVM_CREATE_VM
#define KVM_CREATE_VM	_IO(0xAE, 0x01)
#endif

#define NS_PER_MS	1000000ULL

/* Helpers */

static bool have_device(void)
{
	return !access(MN_DEVICE, R_OK | W_OK);
}

static void count_signal(int signal)
{
}

/* A signal for this process every millisecond. */
static void start_signals(void)
{
	struct itimerval timer = {
		.it_interval.tv_usec = 1000,
		.it_value.tv_usec = 1000,
	};
	struct sigaction action = {
		.sa_handler = count_signal,
		.sa_flags = SA_RESTART,
	};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void stop_signals(void)
{
	struct itimerval timer = {};

	setitimer(ITIMER_REAL, &timer, NULL);
}

/* The steps of registration */

/**
 * struct outcome - what came of registering during a section
 * @error: why the section could not be set, NULL if it could
 * @ret: what registering returned
 * @ns: how long it took
 * @early: it returned while the section was still asleep
 * @stale: pages that the oracle found wrong
 * @unbalanced: ends without a start, or starts without an end
 */
struct outcome {
	const char *error;
	int ret;
	uint64_t ns;
	bool early;
	unsigned int stale;
	bool unbalanced;
};

/*
 * Has a section sleep for @sleep_ms, by a secondary MMU of the style @first,
 * and attaches @fd meanwhile.  The section has ended when this returns.
 */
static struct outcome run_step(const struct mn_step *step, unsigned int first,
			       int fd, unsigned int style,
			       unsigned int sleep_ms)
{
	struct outcome outcome = {};
	struct mn_section section;
	uint64_t value;

	outcome.error = mn_begin_section(&section, step, first, sleep_ms);
	if (outcome.error)
		return outcome;

	outcome.ns = mn_now_ns();
	outcome.ret = mn_attach(fd, style, 0, 0);
	outcome.ns = mn_now_ns() - outcome.ns;
	outcome.early = mn_section_sleeps(&section);
	/* Use it at once. */
	if (!outcome.ret)
		mn_load(fd, section.addr, &value);

	if (!mn_wait_section(&section))
		outcome.error = "the section failed";

	if (!outcome.ret) {
		outcome.stale += mn_stale(fd, section.addr, 1);
		mn_fill(section.addr, 1, 3);
		outcome.stale += mn_wrong(fd, section.addr, 1);
		/* It is told of what comes next. */
		madvise(section.addr, mn_page_size(), MADV_DONTNEED);
		outcome.stale += mn_wrong(fd, section.addr, 1);
		outcome.unbalanced = !mn_balanced(fd);
	}
	outcome.unbalanced |= !mn_end_section(&section);
	return outcome;
}

FIXTURE(draining)
{
	int fd;
};

FIXTURE_VARIANT(draining)
{
	unsigned int style;
	unsigned int first;
};

/* The first with range callbacks: it looks at the locks. */
FIXTURE_VARIANT_ADD(draining, kvm)
{
	.style = TMN_STYLE_KVM,
	.first = TMN_STYLE_INTERVAL,
};

FIXTURE_VARIANT_ADD(draining, xpmem)
{
	.style = TMN_STYLE_XPMEM,
	.first = TMN_STYLE_INTERVAL,
};

/* Later ones wait for the sections, whatever their locks. */
FIXTURE_VARIANT_ADD(draining, kvm_later)
{
	.style = TMN_STYLE_KVM,
	.first = TMN_STYLE_XPMEM,
};

FIXTURE_VARIANT_ADD(draining, xpmem_later)
{
	.style = TMN_STYLE_XPMEM,
	.first = TMN_STYLE_KVM,
};

FIXTURE_VARIANT_ADD(draining, first_interval)
{
	.style = TMN_STYLE_INTERVAL,
	.first = TMN_STYLE_XPMEM,
};

FIXTURE_SETUP(draining)
{
	if (!have_device())
		SKIP(return, "no " MN_DEVICE);
	self->fd = mn_open();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(draining)
{
	close(self->fd);
}

#define STEP_TEST(which)						\
TEST_F_TIMEOUT(draining, which, 60)						\
{									\
	struct outcome outcome;						\
									\
	if (!mn_machine_has(&mn_step_##which))				\
		SKIP(return, "no two NUMA nodes");			\
	outcome = run_step(&mn_step_##which, variant->first, self->fd,	\
			   variant->style, 700);			\
	ASSERT_EQ(NULL, outcome.error) {				\
		TH_LOG("%s", outcome.error);				\
	}								\
	EXPECT_EQ(0, outcome.ret);					\
	EXPECT_FALSE(outcome.early);					\
	EXPECT_EQ(0, outcome.stale);					\
	EXPECT_FALSE(outcome.unbalanced);				\
}

STEP_TEST(i_mmap)
STEP_TEST(anon_vma)
STEP_TEST(vma_lock)
STEP_TEST(mmap_lock)
STEP_TEST(epoch)

/*
 * Two sections that overlap: each changes a page of its own, and each has a
 * secondary MMU that makes it sleep.
 */

struct overlap {
	int fds[2];
	char *pages[2];
	int file;
	int go[2];
	pid_t bystander;
	pthread_t thread;
};

FIXTURE(overlapping)
{
	struct overlap overlap;
	int fd;
};

FIXTURE_SETUP(overlapping)
{
	struct overlap *overlap = &self->overlap;

	if (!have_device())
		SKIP(return, "no " MN_DEVICE);
	self->fd = mn_open();
	ASSERT_LE(0, self->fd);
	overlap->file = memfd_create("overlapping", 0);
	ASSERT_LE(0, overlap->file);
	ASSERT_EQ(0, ftruncate(overlap->file, 3 * mn_page_size()));
	ASSERT_EQ(0, pipe(overlap->go));
}

FIXTURE_TEARDOWN(overlapping)
{
	close(self->overlap.fds[0]);
	close(self->overlap.fds[1]);
	close(self->fd);
}

/* A process that does not map the file will punch this page, when told. */
static bool fork_puncher(struct overlap *overlap, unsigned int page)
{
	off_t size = mn_page_size();
	char c;

	overlap->bystander = fork();
	if (overlap->bystander)
		return overlap->bystander > 0;
	close(overlap->go[1]);
	if (read(overlap->go[0], &c, 1) != 1)
		_exit(1);
	_exit(fallocate(overlap->file, FALLOC_FL_PUNCH_HOLE |
			FALLOC_FL_KEEP_SIZE, page * size, size) != 0);
}

/* Has the section that changes this page sleep. */
static bool stall_page(struct overlap *overlap, unsigned int page,
		       unsigned int style, unsigned int ms)
{
	int fd = mn_open();

	overlap->fds[page] = fd;
	return fd >= 0 && !mn_attach(fd, style, 0, 0) &&
	       !mn_stall(fd, overlap->pages[page], mn_page_size(), ms * 1000);
}

static bool punch_and_sleep(struct overlap *overlap, unsigned int page)
{
	return write(overlap->go[1], "", 1) == 1 &&
	       !mn_wait_stalled(overlap->fds[page]);
}

static bool overlap_sleeps(struct overlap *overlap, unsigned int page)
{
	struct tmn_stats stats;

	return !mn_stats(overlap->fds[page], &stats) && stats.sleeping;
}

static bool punched(struct overlap *overlap)
{
	int status;

	return waitpid(overlap->bystander, &status, 0) == overlap->bystander &&
	       !status;
}

static void *write_first_page(void *arg)
{
	struct overlap *overlap = arg;

	mn_fill(overlap->pages[0], 1, 2);
	return NULL;
}

/* Registers while a section is at its very start, where nothing can stop it. */
TEST_F_TIMEOUT(overlapping, section_begins, 60)
{
	struct overlap *overlap = &self->overlap;
	size_t size = mn_page_size();
	uint64_t value;

	ASSERT_TRUE(fork_puncher(overlap, 0));
	overlap->pages[0] = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
				 overlap->file, 0);
	ASSERT_NE(MAP_FAILED, overlap->pages[0]);
	mn_fill(overlap->pages[0], 1, 1);
	ASSERT_TRUE(stall_page(overlap, 0, TMN_STYLE_XPMEM, 0));

	ASSERT_EQ(1, write(overlap->go[1], "", 1));
	mn_sleep_ms(50);
	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
	mn_load(self->fd, overlap->pages[0], &value);
	EXPECT_TRUE(punched(overlap));
	mn_fill(overlap->pages[0], 1, 2);
	EXPECT_EQ(0, mn_wrong(self->fd, overlap->pages[0], 1));
	EXPECT_TRUE(mn_balanced(self->fd));
}

/* Of one VMA the file's lock is held for longer than the VMA's own. */
TEST_F_TIMEOUT(overlapping, two_locks_of_a_vma, 60)
{
	struct overlap *overlap = &self->overlap;
	size_t size = mn_page_size();
	uint64_t value;
	bool early;

	ASSERT_TRUE(fork_puncher(overlap, 1));
	overlap->pages[0] = mmap(NULL, 3 * size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE, overlap->file, 0);
	ASSERT_NE(MAP_FAILED, overlap->pages[0]);
	overlap->pages[1] = overlap->pages[0] + size;
	/* The first page is the file's, to be copied; the third one is not. */
	EXPECT_EQ(0, mn_cpu(overlap->pages[0]));
	EXPECT_EQ(0, mn_cpu(overlap->pages[1]));
	mn_fill(overlap->pages[0] + 2 * size, 1, 1);

	ASSERT_TRUE(stall_page(overlap, 0, TMN_STYLE_INTERVAL, 700));
	ASSERT_TRUE(stall_page(overlap, 1, TMN_STYLE_INTERVAL, 1500));
	ASSERT_TRUE(punch_and_sleep(overlap, 1));
	pthread_create(&overlap->thread, NULL, write_first_page, overlap);
	ASSERT_EQ(0, mn_wait_stalled(overlap->fds[0]));

	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
	early = overlap_sleeps(overlap, 0) || overlap_sleeps(overlap, 1);
	mn_load(self->fd, overlap->pages[1], &value);
	pthread_join(overlap->thread, NULL);
	EXPECT_TRUE(punched(overlap));
	EXPECT_FALSE(early);
	/* What was freed holds zeroes, as a hole does. */
	EXPECT_EQ(1, pwrite(overlap->file, "x", 1, size));
	EXPECT_EQ(0, mn_stale(self->fd, overlap->pages[0], 2));
	EXPECT_TRUE(mn_balanced(self->fd));
}

struct attaching {
	int fd;
	int ret;
};

static void *attach_interval(void *arg)
{
	struct attaching *attaching = arg;

	attaching->ret = mn_attach(attaching->fd, TMN_STYLE_INTERVAL, 0, 0);
	return NULL;
}

static void *zap_second_page(void *arg)
{
	struct overlap *overlap = arg;

	madvise(overlap->pages[1], mn_page_size(), MADV_DONTNEED);
	return NULL;
}

/*
 * The first interval of an mm waits for a section that does not know of it. When
 * that ends, one that does is under way still, which readers have to wait for.
 */
TEST_F_TIMEOUT(overlapping, first_interval, 60)
{
	struct overlap *overlap = &self->overlap;
	struct attaching attaching = { .fd = self->fd };
	size_t size = mn_page_size();
	pthread_t thread;
	uint64_t value;

	ASSERT_TRUE(fork_puncher(overlap, 0));
	overlap->pages[0] = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
				 overlap->file, 0);
	ASSERT_NE(MAP_FAILED, overlap->pages[0]);
	overlap->pages[1] = mn_map(size, size);
	mn_fill(overlap->pages[0], 1, 1);
	mn_fill(overlap->pages[1], 1, 1);

	ASSERT_TRUE(stall_page(overlap, 0, TMN_STYLE_XPMEM, 700));
	ASSERT_TRUE(stall_page(overlap, 1, TMN_STYLE_XPMEM, 1500));
	ASSERT_TRUE(punch_and_sleep(overlap, 0));
	pthread_create(&thread, NULL, attach_interval, &attaching);
	/* Until it waits. */
	mn_sleep_ms(200);
	pthread_create(&overlap->thread, NULL, zap_second_page, overlap);
	ASSERT_EQ(0, mn_wait_stalled(overlap->fds[1]));

	pthread_join(thread, NULL);
	ASSERT_EQ(0, attaching.ret);
	EXPECT_FALSE(overlap_sleeps(overlap, 0));
	mn_load(self->fd, overlap->pages[1], &value);
	pthread_join(overlap->thread, NULL);
	EXPECT_TRUE(punched(overlap));
	mn_fill(overlap->pages[0], 1, 2);
	mn_fill(overlap->pages[1], 1, 2);
	EXPECT_EQ(0, mn_wrong(self->fd, overlap->pages[0], 1));
	EXPECT_EQ(0, mn_wrong(self->fd, overlap->pages[1], 1));
}

/* Registration that cannot succeed */

FIXTURE(registering)
{
	int fd;
};

FIXTURE_SETUP(registering)
{
	if (!have_device())
		SKIP(return, "no " MN_DEVICE);
	self->fd = mn_open();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(registering)
{
	close(self->fd);
}

/* It waits for as long as it takes. */
TEST_F_TIMEOUT(registering, patient, 60)
{
	struct outcome outcome;

	outcome = run_step(&mn_step_i_mmap, TMN_STYLE_INTERVAL, self->fd,
			   TMN_STYLE_KVM, 6000);
	ASSERT_EQ(NULL, outcome.error) {
		TH_LOG("%s", outcome.error);
	}
	EXPECT_EQ(0, outcome.ret);
	EXPECT_FALSE(outcome.early);
	EXPECT_LE(5000 * NS_PER_MS, outcome.ns);
	EXPECT_EQ(0, outcome.stale);
	EXPECT_FALSE(outcome.unbalanced);
}

/* Registers with another process's mm, and is killed while it waits. */
TEST_F_TIMEOUT(registering, killed, 60)
{
	struct mn_section section;
	uint64_t start;
	pid_t pid;
	int status, go[2];
	char *page;

	if (!mn_core_drains())
		SKIP(return, "registration waits for mmap_lock, and is killed there");
	ASSERT_EQ(0, pipe(go));
	/* It does not map the file: exit would wait for the lock as well. */
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		char c;

		_exit(read(go[0], &c, 1) != 1 ||
		      mn_attach(self->fd, TMN_STYLE_KVM, 0, getppid()));
	}
	ASSERT_EQ(NULL, mn_begin_section(&section, &mn_step_i_mmap,
					 TMN_STYLE_INTERVAL, 5000));
	ASSERT_EQ(1, write(go[1], "", 1));
	mn_sleep_ms(300);
	ASSERT_EQ(0, waitpid(pid, &status, WNOHANG));

	start = mn_now_ns();
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_GT(1500 * NS_PER_MS, mn_now_ns() - start);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_TRUE(mn_section_sleeps(&section));

	/* It has not left mmap_lock behind. */
	page = mn_map(mn_page_size(), mn_page_size());
	mn_fill(page, 1, 1);
	ASSERT_EQ(0, munmap(page, mn_page_size()));
	EXPECT_TRUE(mn_wait_section(&section));
	EXPECT_EQ(-ENOTCONN, mn_detach(self->fd));
	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
	EXPECT_EQ(0, mn_wrong(self->fd, section.addr, 1));
	EXPECT_TRUE(mn_balanced(self->fd));
	EXPECT_TRUE(mn_end_section(&section));
}

/* Registration in bad weather */

TEST_F_TIMEOUT(registering, storm_of_signals, 120)
{
	unsigned int i, failed = 0;
	int fd2 = mn_open();

	ASSERT_TRUE(mn_add_vmas(4000));
	start_signals();
	for (i = 0; i < 100; i++) {
		failed += !!mn_attach(self->fd, TMN_STYLE_KVM, 0, 0);
		failed += !!mn_attach(fd2, TMN_STYLE_XPMEM, TMN_ATTACH_GET, 0);
		mn_detach(self->fd);
		mn_detach(fd2);
		failed += !!mn_attach(self->fd, TMN_STYLE_INTERVAL, 0, 0);
		mn_detach(self->fd);
	}
	stop_signals();
	EXPECT_EQ(0, failed);
	close(fd2);
}

TEST_F_TIMEOUT(registering, kvm_create_vm, 180)
{
	int kvm = open("/dev/kvm", O_RDWR);
	unsigned int i, failed = 0;

	if (kvm < 0)
		SKIP(return, "no /dev/kvm");
	ASSERT_TRUE(mn_add_vmas(20000));
	start_signals();
	for (i = 0; i < 50; i++) {
		int vm = ioctl(kvm, KVM_CREATE_VM, 0);

		if (vm < 0)
			failed++;
		else
			close(vm);
	}
	stop_signals();
	EXPECT_EQ(0, failed);
	close(kvm);
}

/* Exit while threads register, and while another process registers with us. */

static void *keep_registering(void *arg)
{
	unsigned int *seed = arg;
	int fd = mn_open();

	for (;;) {
		unsigned int flags = rand_r(seed) & 1 ? TMN_ATTACH_GET : 0;

		if (!mn_attach(fd, rand_r(seed) & 1 ? TMN_STYLE_KVM :
			       TMN_STYLE_XPMEM, flags, 0)) {
			if (rand_r(seed) & 1)
				mn_detach(fd);
			else
				fd = mn_open();
		}
	}
	return NULL;
}

static void register_and_exit(unsigned int seed, int ready)
{
	unsigned int seeds[2] = { seed, seed + 1 };
	pthread_t thread;

	mn_add_vmas(300);
	pthread_create(&thread, NULL, keep_registering, &seeds[0]);
	pthread_create(&thread, NULL, keep_registering, &seeds[1]);
	(void)!write(ready, "", 1);
	mn_sleep_ms(seed % 20);
	/* Every other one is killed instead. */
	if (seed & 1)
		mn_sleep_ms(100000);
	_exit(0);
}

TEST_F_TIMEOUT(registering, exit_in_the_middle, 180)
{
	char *page = mn_map(mn_page_size(), mn_page_size());
	unsigned int round, attached = 0;
	uint64_t value;
	int ready[2];
	char c;

	mn_fill(page, 1, 1);
	ASSERT_EQ(0, pipe(ready));
	for (round = 0; round < 40; round++) {
		pid_t pid = fork();
		bool there = false;
		int status, ret, i;

		if (!pid)
			register_and_exit(round, ready[1]);
		ASSERT_EQ(1, read(ready[0], &c, 1));
		for (i = 0; i < 5; i++) {
			ret = mn_attach(self->fd, TMN_STYLE_KVM, 0, pid);
			if (ret) {
				ASSERT_EQ(-ESRCH, ret);
				break;
			}
			attached++;
			ret = mn_load(self->fd, page, &value);
			EXPECT_TRUE(ret == -ESRCH ||
				    (!ret && value == mn_value(page, 1)));
			there = i == 4;
			if (!there)
				ASSERT_EQ(0, mn_detach(self->fd));
		}
		if (round & 1)
			kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		if (there) {
			EXPECT_EQ(-ESRCH, mn_load(self->fd, page, &value));
			EXPECT_TRUE(mn_balanced(self->fd));
			ASSERT_EQ(0, mn_detach(self->fd));
		}
	}
	EXPECT_LT(0, attached);
}

/*
 * Registration against everything.  A page's content changes all the time, so
 * what may be seen is bounded by two counters: a generation that is being
 * written, and the last that has been.  0 is what is there in between.
 */

#define STORM_PAGES	8
#define STORM_MS	6000

struct slot {
	unsigned int started;
	unsigned int done;
};

/* Shared by all processes of the storm. */
struct storm {
	bool stop;
	struct slot slots[2 * STORM_PAGES];
};

struct weather {
	struct storm *storm;
	/* STORM_PAGES of anonymous memory, then as many of the file. */
	char *anon;
	char *file;
	int fd;
};

static char *storm_page(const struct weather *weather, unsigned int nr)
{
	char *map = nr < STORM_PAGES ? weather->anon : weather->file;

	return map + nr % STORM_PAGES * mn_page_size();
}

static bool stopped(const struct weather *weather)
{
	return __atomic_load_n(&weather->storm->stop, __ATOMIC_RELAXED);
}

/* Replaces a page and writes the next generation.  One writer for each page. */
static void renew(const struct weather *weather, unsigned int nr)
{
	struct slot *slot = &weather->storm->slots[nr];
	unsigned int next = slot->started + 1;
	char *page = storm_page(weather, nr);

	/* Generations have 16 bits. */
	if (next > 0xffff)
		return;
	__atomic_store_n(&slot->started, next, __ATOMIC_SEQ_CST);
	if (nr < STORM_PAGES)
		madvise(page, mn_page_size(), MADV_DONTNEED);
	else
		fallocate(weather->fd,
			  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  (nr - STORM_PAGES) * mn_page_size(), mn_page_size());
	mn_fill(page, 1, next);
	__atomic_store_n(&slot->done, next, __ATOMIC_SEQ_CST);
}

/* Each of these is a thread of the process that is mirrored. */

static void *storm_zap(void *arg)
{
	unsigned int i;

	for (i = 0; !stopped(arg); i++)
		renew(arg, i % STORM_PAGES);
	return NULL;
}

static void *storm_fork(void *arg)
{
	while (!stopped(arg)) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
	return NULL;
}

static void *storm_reclaim(void *arg)
{
	struct weather *weather = arg;
	unsigned int node = 0;

	while (!stopped(weather)) {
		madvise(weather->anon, STORM_PAGES * mn_page_size(),
			MADV_PAGEOUT);
		madvise(weather->file, STORM_PAGES * mn_page_size(),
			MADV_PAGEOUT);
		mn_move_pages(0, weather->anon, STORM_PAGES, node ^= 1);
	}
	return NULL;
}

/* Each of these is another process. */

static void storm_punch(struct weather *weather)
{
	unsigned int i;

	for (i = 0; !stopped(weather); i++)
		renew(weather, STORM_PAGES + i % STORM_PAGES);
}

static void storm_map(struct weather *weather)
{
	size_t size = STORM_PAGES * mn_page_size();

	while (!stopped(weather)) {
		char *map = mmap(NULL, size, PROT_READ, MAP_SHARED, weather->fd,
				 0);

		if (map == MAP_FAILED)
			break;
		(void)mn_cpu(map);
		munmap(map, size);
	}
}

static pid_t storm_process(struct weather *weather,
			   void (*run)(struct weather *weather))
{
	pid_t pid = fork();

	if (!pid) {
		run(weather);
		_exit(0);
	}
	return pid;
}

/* Whether what is seen of a page could be seen between two moments. */
static bool plausible(const struct weather *weather, unsigned int nr, int fd,
		      bool fault)
{
	struct slot *slot = &weather->storm->slots[nr];
	char *page = storm_page(weather, nr);
	unsigned int done, started, generation;
	uint64_t value;
	int ret;

	done = __atomic_load_n(&slot->done, __ATOMIC_SEQ_CST);
	ret = fault ? mn_load(fd, page, &value) :
		      mn_load_nofault(fd, page, &value);
	started = __atomic_load_n(&slot->started, __ATOMIC_SEQ_CST);

	if (ret == -ENOENT && !fault)
		return true;
	if (ret)
		return false;
	if (!value)
		return started > done;
	generation = value >> 48;
	return value == mn_value(page, generation) &&
	       generation >= done && generation <= started;
}

FIXTURE(storm)
{
	struct weather weather;
	int fd;
};

FIXTURE_VARIANT(storm)
{
	unsigned int style;
};

FIXTURE_VARIANT_ADD(storm, kvm)
{
	.style = TMN_STYLE_KVM,
};

FIXTURE_VARIANT_ADD(storm, xpmem)
{
	.style = TMN_STYLE_XPMEM,
};

FIXTURE_VARIANT_ADD(storm, interval)
{
	.style = TMN_STYLE_INTERVAL,
};

FIXTURE_SETUP(storm)
{
	size_t size = STORM_PAGES * mn_page_size();
	struct weather *weather = &self->weather;
	unsigned int i;

	if (!have_device())
		SKIP(return, "no " MN_DEVICE);
	self->fd = mn_open();
	ASSERT_LE(0, self->fd);
	weather->storm = mmap(NULL, sizeof(*weather->storm),
			      PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, weather->storm);
	weather->anon = mn_map(size, mn_page_size());
	weather->fd = memfd_create("storm", 0);
	ASSERT_LE(0, weather->fd);
	ASSERT_EQ(0, ftruncate(weather->fd, size));
	weather->file = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			     weather->fd, 0);
	ASSERT_NE(MAP_FAILED, weather->file);
	for (i = 0; i < 2 * STORM_PAGES; i++)
		renew(weather, i);
}

FIXTURE_TEARDOWN(storm)
{
	close(self->fd);
}

TEST_F_TIMEOUT(storm, register_and_use, 120)
{
	struct weather *weather = &self->weather;
	unsigned int attached = 0, refused = 0, stale = 0, unbalanced = 0;
	pthread_t threads[3];
	struct tmn_stats stats;
	unsigned int i, round;
	pid_t pids[2];
	uint64_t end;

	ASSERT_TRUE(mn_add_vmas(200));
	pids[0] = storm_process(weather, storm_punch);
	pids[1] = storm_process(weather, storm_map);
	pthread_create(&threads[0], NULL, storm_zap, weather);
	pthread_create(&threads[1], NULL, storm_fork, weather);
	pthread_create(&threads[2], NULL, storm_reclaim, weather);

	for (end = mn_now_ns() + STORM_MS * NS_PER_MS; mn_now_ns() < end;) {
		if (mn_attach(self->fd, variant->style, 0, 0)) {
			refused++;
			continue;
		}
		attached++;
		for (round = 0; round < 4; round++) {
			for (i = 0; i < 2 * STORM_PAGES; i++)
				stale += !plausible(weather, i, self->fd,
						    round % 2 == 0);
		}
		mn_detach(self->fd);
		/* All that started here have ended, or are still under way. */
		mn_stats(self->fd, &stats);
		unbalanced += stats.unbalanced_ends ||
			      stats.starts != stats.ends + stats.active;
	}

	__atomic_store_n(&weather->storm->stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < ARRAY_SIZE(pids); i++)
		waitpid(pids[i], NULL, 0);
	TH_LOG("%u registrations, %u generations of page 0, %u of the file",
	       attached, weather->storm->slots[0].done,
	       weather->storm->slots[STORM_PAGES].done);
	EXPECT_LT(0, attached);
	EXPECT_EQ(0, refused);
	EXPECT_EQ(0, stale);
	EXPECT_EQ(0, unbalanced);
}

/*
 * Non-blocking sections: of three secondary MMUs one refuses, and those that
 * had been started are ended.
 */

static void use_up_memory(const char *memcg, char *page, int ready, int go)
{
	char path[320], c;

	snprintf(path, sizeof(path), "%s/cgroup.procs", memcg);
	if (mn_write_file(path, "%d", getpid()))
		_exit(1);
	mn_fill(page, 1, 1);
	(void)!write(ready, "", 1);
	(void)!read(go, &c, 1);
	for (;;)
		mn_fill(mn_map(1 << 20, mn_page_size()),
			(1 << 20) / mn_page_size(), 1);
}

TEST_F_TIMEOUT(registering, start_refused, 120)
{
	static const unsigned int styles[] = {
		TMN_STYLE_KVM, TMN_STYLE_KVM, TMN_STYLE_KVM, TMN_STYLE_INTERVAL,
	};
	struct tmn_misbehave refuse = {
		.events = MN_ALL_EVENTS,
		.flags = TMN_MISBEHAVE_FAIL_NONBLOCK,
	};
	struct tmn_misbehave slow = {
		.events = 1U << MN_EVENT_RELEASE,
		.start_delay_us = 4000000,
	};
	char *page = mn_map(mn_page_size(), mn_page_size());
	int fds[ARRAY_SIZE(styles)];
	struct tmn_stats stats;
	int ready[2], go[2], status;
	char memcg[256], path[320], c;
	unsigned int i;
	pid_t pid;

	if (!mn_core_drains())
		SKIP(return, "a start that fails may not have an end here");
	if (mn_make_memcg(memcg, sizeof(memcg)))
		SKIP(return, "no memory cgroups");
	snprintf(path, sizeof(path), "%s/memory.swap.max", memcg);
	mn_write_file(path, "0");
	snprintf(path, sizeof(path), "%s/memory.max", memcg);
	ASSERT_EQ(0, mn_write_file(path, "%d", 32 << 20));
	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		use_up_memory(memcg, page, ready[1], go[0]);
	ASSERT_EQ(1, read(ready[0], &c, 1));

	for (i = 0; i < ARRAY_SIZE(styles); i++) {
		fds[i] = mn_open();
		ASSERT_LE(0, fds[i]);
		ASSERT_EQ(0, mn_attach(fds[i], styles[i], 0, pid));
		ASSERT_EQ(0, mn_mirror(fds[i], page, 0, false));
	}
	/* The one in the middle refuses; the reaper comes while one is slow. */
	ASSERT_EQ(0, ioctl(fds[1], TMN_MISBEHAVE, &refuse));
	ASSERT_EQ(0, ioctl(fds[0], TMN_MISBEHAVE, &slow));
	ASSERT_EQ(1, write(go[1], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

	for (i = 0; i < ARRAY_SIZE(styles); i++) {
		EXPECT_TRUE(mn_balanced(fds[i])) {
			TH_LOG("secondary MMU %u", i);
		}
		ASSERT_EQ(0, mn_stats(fds[i], &stats));
		EXPECT_EQ(1, stats.releases);
		if (i == 1)
			EXPECT_LT(0, stats.failed_starts);
		close(fds[i]);
	}
	rmdir(memcg);
}

TEST_HARNESS_MAIN
