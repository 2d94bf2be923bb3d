// SPDX-License-Identifier: GPL-2.0
/*
 * MMU notifiers: what their users rely on.
 *
 * The drivers in the tree do more with MMU notifiers than the API's description
 * says.  lib/test_mmu_users.c does the same, and these tests say what has to
 * come of it: one for each habit of i915, radeon, kfd, mlx5, nouveau and hfi1,
 * for each failure, at each wait, and for what is done twice or in the wrong
 * order.
 *
 * All of it happens to the memory of another process, the subject, which has to
 * go on; and whose mm_count has to be, in the end, what it was.
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
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "../../../../lib/test_mmu_users_uapi.h"
#include "mmu_notifier_util.h"

#define USERS_DEVICE	"/dev/test_mmu_users"
#define WARN_COUNT	"/sys/kernel/warn_count"
#define CLEAR_ONCE	"/sys/kernel/debug/clear_warn_once"

#define NS_PER_MS	1000000ULL
#define TO_MS(ns)	((unsigned long long)(ns) / NS_PER_MS)

/* What is to happen at once happens in less; what waits does not. */
#define AT_ONCE_MS	250
#define HELD_MS		600
/* Whoever is killed while somebody holds a lock for long is dead by then. */
#define DEAD_MS		3000
/* How often the scheduler may have been in the way, but not each time. */
#define ROUNDS		3

#define AREA_PAGES	4000
#define FILE_PAGES	600
#define BIG_SIZE	(16UL << 20)

/* The subject */

/**
 * struct subject - a process whose memory others subscribe to
 * @pid: the process
 * @command: a byte for each thing that it is to do; see run_command()
 * @reply: a byte when it is done
 * @file: a file that it maps, and nobody else
 * @area: (in the subject) AREA_PAGES of anonymous memory
 * @mapped: (in the subject) FILE_PAGES of @file
 */
struct subject {
	pid_t pid;
	int command[2];
	int reply[2];
	int file;
	char *area;
	char *mapped;
};

/* In the subject: what its threads do. */
static struct {
	bool stop;
	unsigned int nr;
	pthread_t threads[8];
	uint64_t longest_ns;
} noise;

static bool stopped(void)
{
	return __atomic_load_n(&noise.stop, __ATOMIC_RELAXED);
}

static bool map_and_unmap(size_t size)
{
	char *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return false;
	memset(map, 1, mn_page_size());
	return !munmap(map, size);
}

static void fork_and_wait(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static void *noise_zap(void *arg)
{
	struct subject *subject = arg;
	size_t size = AREA_PAGES * mn_page_size();

	while (!stopped()) {
		madvise(subject->area, size, MADV_DONTNEED);
		mn_fill(subject->area, 64, 1);
	}
	return NULL;
}

/* Sections that last. */
static void *noise_big(void *arg)
{
	while (!stopped()) {
		char *map = mmap(NULL, BIG_SIZE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
				 0);

		if (map == MAP_FAILED)
			break;
		mprotect(map, BIG_SIZE, PROT_READ);
		if (mremap(map, BIG_SIZE, BIG_SIZE / 2, 0) == MAP_FAILED)
			break;
		munmap(map, BIG_SIZE / 2);
	}
	return NULL;
}

static void *noise_small(void *arg)
{
	while (!stopped())
		map_and_unmap(4 * mn_page_size());
	return NULL;
}

static void *noise_fork(void *arg)
{
	while (!stopped())
		fork_and_wait();
	return NULL;
}

/* Nothing but mmap() and munmap(): how long the longest takes. */
static void *measure_stalls(void *arg)
{
	while (!stopped()) {
		uint64_t begin = mn_now_ns();

		map_and_unmap(mn_page_size());
		begin = mn_now_ns() - begin;
		if (begin > noise.longest_ns)
			noise.longest_ns = begin;
	}
	return NULL;
}

static void start_thread(struct subject *subject, void *(*run)(void *arg))
{
	if (pthread_create(&noise.threads[noise.nr++], NULL, run, subject))
		_exit(1);
}

static void stop_threads(void)
{
	unsigned int i;

	__atomic_store_n(&noise.stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < noise.nr; i++)
		pthread_join(noise.threads[i], NULL);
	noise.stop = false;
	noise.nr = 0;
}

static void become_another_program(struct subject *subject)
{
	static char * const argv[] = { "mmu_notifier_users_test", NULL };
	static char * const envp[] = { "MMU_NOTIFIER_NOTHING=1", NULL };

	dup2(subject->command[0], 0);
	execve("/proc/self/exe", argv, envp);
	_exit(1);
}

static bool run_command(struct subject *subject, char command)
{
	size_t size = AREA_PAGES * mn_page_size();

	switch (command) {
	case 'p':
		/* Prove that it works. */
		return map_and_unmap(mn_page_size());
	case 'z':
		/* Zap all of it: the area page by page. */
		for (char *page = subject->area; page < subject->area + size;
		     page += mn_page_size()) {
			*page = 1;
			if (madvise(page, mn_page_size(), MADV_DONTNEED))
				return false;
		}
		mn_fill(subject->area, 1, 1);
		mn_fill(subject->mapped, FILE_PAGES, 1);
		return !madvise(subject->mapped, FILE_PAGES * mn_page_size(),
				MADV_DONTNEED);
	case 't':
		/* Touch the file. */
		mn_fill(subject->mapped, 1, 1);
		return true;
	case 'n':
		start_thread(subject, noise_zap);
		start_thread(subject, noise_big);
		start_thread(subject, noise_small);
		return true;
	case 'b':
		/* What splits and joins the area's mappings is left out. */
		start_thread(subject, noise_zap);
		start_thread(subject, noise_big);
		start_thread(subject, noise_small);
		start_thread(subject, noise_fork);
		return true;
	case 'm':
		noise.longest_ns = 0;
		start_thread(subject, measure_stalls);
		return true;
	case 's':
		stop_threads();
		return true;
	case 'f':
		fork_and_wait();
		return true;
	case 'x':
		become_another_program(subject);
		return false;
	case 'q':
		_exit(0);
	}
	return false;
}

static void run_subject(struct subject *subject)
{
	size_t size = mn_page_size();
	char command;

	subject->area = mmap(NULL, AREA_PAGES * size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			     0);
	subject->mapped = mmap(NULL, FILE_PAGES * size, PROT_READ | PROT_WRITE,
			       MAP_SHARED, subject->file, 0);
	if (subject->area == MAP_FAILED || subject->mapped == MAP_FAILED)
		_exit(1);
	mn_fill(subject->area, 1, 1);
	mn_fill(subject->mapped, 1, 1);
	if (write(subject->reply[1], subject, sizeof(*subject)) !=
	    sizeof(*subject))
		_exit(1);
	while (read(subject->command[0], &command, 1) == 1) {
		char reply = run_command(subject, command);

		if (write(subject->reply[1], &reply, 1) != 1 ||
		    (command == 's' &&
		     write(subject->reply[1], &noise.longest_ns, 8) != 8))
			break;
	}
	_exit(0);
}

static bool read_reply(struct subject *subject, void *reply, size_t size)
{
	struct pollfd poll_fd = { .fd = subject->reply[0], .events = POLLIN };

	return poll(&poll_fd, 1, 20000) == 1 &&
	       read(subject->reply[0], reply, size) == (ssize_t)size;
}

static bool start_subject(struct subject *subject)
{
	struct subject theirs;

	memset(subject, 0, sizeof(*subject));
	subject->file = memfd_create("subject", MFD_CLOEXEC);
	if (subject->file < 0 ||
	    ftruncate(subject->file, FILE_PAGES * mn_page_size()) ||
	    pipe(subject->command) || pipe(subject->reply))
		return false;
	subject->pid = fork();
	if (!subject->pid)
		run_subject(subject);
	if (subject->pid < 0 ||
	    !read_reply(subject, &theirs, sizeof(theirs)))
		return false;
	subject->area = theirs.area;
	subject->mapped = theirs.mapped;
	return true;
}

static bool tell(struct subject *subject, char command)
{
	char reply = 0;

	return write(subject->command[1], &command, 1) == 1 &&
	       read_reply(subject, &reply, 1) && reply == 1;
}

/* How long the longest stall was, where it has measured; ~0 if it hangs. */
static uint64_t tell_to_stop(struct subject *subject)
{
	uint64_t ns;

	return tell(subject, 's') && read_reply(subject, &ns, sizeof(ns)) ?
	       ns : ~0ULL;
}

static void end_subject(struct subject *subject)
{
	if (subject->pid > 0) {
		kill(subject->pid, SIGKILL);
		waitpid(subject->pid, NULL, 0);
	}
	close(subject->command[0]);
	close(subject->command[1]);
	close(subject->reply[0]);
	close(subject->reply[1]);
	close(subject->file);
}

/* The device */

static int tmu(int fd, unsigned long command, void *arg)
{
	return ioctl(fd, command, arg) ? -errno : 0;
}

static int open_target(pid_t pid)
{
	int fd = open(USERS_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd >= 0 && ioctl(fd, TMU_TARGET, (unsigned long)pid)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int insert_some(int fd, unsigned int first, unsigned int nr,
		       const void *addr, size_t length, unsigned int flags,
		       uint64_t *ns)
{
	struct tmu_interval_op args = {
		.first = first,
		.nr = nr,
		.start = (uintptr_t)addr,
		.length = length,
		.flags = flags,
	};
	int ret = tmu(fd, TMU_INSERT, &args);

	if (ns)
		*ns = args.slowest_ns;
	return ret ?: args.ret;
}

static int insert(int fd, unsigned int id, const void *addr, unsigned int flags)
{
	return insert_some(fd, id, 1, addr, mn_page_size(), flags, NULL);
}

/* How many were removed, or a negative errno. */
static int remove_some(int fd, unsigned int first, unsigned int nr,
		       unsigned int flags)
{
	struct tmu_interval_op args = {
		.first = first,
		.nr = nr,
		.flags = flags,
	};
	int ret = tmu(fd, TMU_REMOVE, &args);

	return ret ?: args.ret ?: (int)args.done;
}

static int add_list(int fd, unsigned int id, unsigned int flags)
{
	struct tmu_list_op args = { .id = id, .flags = flags };

	return tmu(fd, TMU_REGISTER, &args) ?: args.ret;
}

static int drop_list(int fd, unsigned int id, unsigned int flags)
{
	struct tmu_list_op args = { .id = id, .flags = flags };

	return tmu(fd, TMU_UNREGISTER, &args) ?: args.ret;
}

static struct tmu_look look_at(int fd, unsigned int list, unsigned int id)
{
	struct tmu_look look = { .list = list, .id = id };

	if (tmu(fd, TMU_LOOK, &look))
		look.ret = -ENOTTY;
	return look;
}

static struct tmu_look look_interval(int fd, unsigned int id)
{
	return look_at(fd, 0, id);
}

static struct tmu_look look_list(int fd, unsigned int id)
{
	return look_at(fd, 1, id);
}

/*
 * A CPU on which the subject ran last may keep a reference to its mm for whatever
 * kernel thread comes next: this process runs on each of them first.
 */
static int count_of(int fd)
{
	cpu_set_t all, one;
	int cpu;

	sched_getaffinity(0, sizeof(all), &all);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
	}
	sched_setaffinity(0, sizeof(all), &all);
	return ioctl(fd, TMU_COUNT, 0);
}

/* What is freed later may keep a reference until then. */
static bool count_becomes(int fd, int count)
{
	int ms;

	for (ms = 0; ms < 5000; ms += 10) {
		if (count_of(fd) == count)
			return true;
		mn_sleep_ms(10);
	}
	return false;
}

static long warnings(void)
{
	long count = -1;

	mn_write_file(CLEAR_ONCE, "1");
	mn_read_long(WARN_COUNT, &count);
	return count;
}

/**
 * struct scene - what each test begins with
 * @subject: the process
 * @fd: a file whose target it is
 * @holder: another one, only to hold a lock of the subject
 * @count: the mm's references
 * @warned: warnings since boot
 */
struct scene {
	struct subject subject;
	int fd;
	int holder;
	int count;
	long warned;
};

static void set_up(struct __test_metadata *_metadata, struct scene *self)
{
	if (access(USERS_DEVICE, R_OK | W_OK))
		SKIP(return, "no " USERS_DEVICE);
	ASSERT_TRUE(start_subject(&self->subject));
	self->fd = open_target(self->subject.pid);
	ASSERT_LE(0, self->fd);
	self->holder = open_target(self->subject.pid);
	ASSERT_LE(0, self->holder);
	self->count = count_of(self->fd);
	ASSERT_LT(0, self->count);
	self->warned = warnings();
}

static void tear_down(struct scene *self)
{
	ioctl(self->holder, TMU_LET_GO, 0);
	close(self->holder);
	end_subject(&self->subject);
	close(self->fd);
}

FIXTURE(user)
{
	struct scene scene;
};

FIXTURE_SETUP(user)
{
	set_up(_metadata, &self->scene);
}

FIXTURE_TEARDOWN(user)
{
	tear_down(&self->scene);
}

/* Things done in the wrong order; these run last. */
FIXTURE(wrong)
{
	struct scene scene;
};

FIXTURE_SETUP(wrong)
{
	set_up(_metadata, &self->scene);
}

FIXTURE_TEARDOWN(wrong)
{
	tear_down(&self->scene);
}

#define SCENE_TEST(fixture, name)					\
static void run_##fixture##_##name(struct __test_metadata *_metadata,	\
				   struct scene *self);			\
									\
TEST_F_TIMEOUT(fixture, name, 300)					\
{									\
	run_##fixture##_##name(_metadata, &self->scene);		\
}									\
									\
static void run_##fixture##_##name(struct __test_metadata *_metadata,	\
				   struct scene *self)

/* The core has to look: each of these begins with it. */
#define SKIP_ON_STOCK()							\
do {									\
	if (!mn_core_drains())						\
		SKIP(return, "this core does not look");		\
} while (0)

#define USER_TEST(name)		SCENE_TEST(user, name)
#define WRONG_TEST(name)	SCENE_TEST(wrong, name)

/* What has to be so in the end, whatever was done. */
#define EXPECT_AS_BEFORE()						\
do {									\
	EXPECT_TRUE(count_becomes(self->fd, self->count)) {		\
		TH_LOG("mm_count was %d and is %d", self->count,	\
		       count_of(self->fd));				\
	}								\
	EXPECT_TRUE(tell(&self->subject, 'p'));				\
	EXPECT_EQ(self->warned, warnings());				\
} while (0)

/* Locks that are held */

struct lock {
	const char *name;
	enum tmu_lock lock;
	/* Which page's. */
	bool file;
	bool anon;
	/* Whoever waits for it can be killed. */
	bool killable;
};

static const struct lock locks[] = {
	{ "mmap_lock, read", TMU_MMAP_READ, .killable = true },
	{ "mmap_lock, write", TMU_MMAP_WRITE, .killable = true },
	{ "i_mmap, read", TMU_I_MMAP_READ, .file = true, .killable = true },
	{ "i_mmap, write", TMU_I_MMAP_WRITE, .file = true, .killable = true },
	{ "anon_vma, read", TMU_ANON_VMA_READ, .anon = true, .killable = true },
	{ "anon_vma, write", TMU_ANON_VMA_WRITE, .anon = true,
	  .killable = true },
	/* Held for as long as a fault is handled, and not while it waits. */
	{ "VMA, read", TMU_VMA_READ, .anon = true },
};

static bool is_mmap_lock(const struct lock *lock)
{
	return !lock->file && !lock->anon;
}

/* A page whose changes take the lock. */
static char *page_of(const struct subject *subject, const struct lock *lock)
{
	return lock->file ? subject->mapped : subject->area;
}

static int hold(int fd, const struct subject *subject, const struct lock *lock,
		unsigned int ms)
{
	struct tmu_hold args = {
		.lock = lock->lock,
		.ms = ms,
		.addr = (uintptr_t)page_of(subject, lock),
	};

	return tmu(fd, TMU_HOLD, &args);
}

/* Somebody who is killed */

enum attempt_kind {
	INSERT,
	INSERT_LOCKED,
	REGISTER,
	REGISTER_LOCKED,
	GET,
	GET_LOCKED,
	ATTEMPTS,
};

static const char * const attempt_names[ATTEMPTS] = {
	[INSERT]		= "insert",
	[INSERT_LOCKED]		= "insert_locked",
	[REGISTER]		= "register",
	[REGISTER_LOCKED]	= "__register",
	[GET]			= "get",
	[GET_LOCKED]		= "get_locked",
};

static bool is_interval(enum attempt_kind kind)
{
	return kind == INSERT || kind == INSERT_LOCKED;
}

static bool is_locked(enum attempt_kind kind)
{
	return kind == INSERT_LOCKED || kind == REGISTER_LOCKED ||
	       kind == GET_LOCKED;
}

static bool is_get(enum attempt_kind kind)
{
	return kind == GET || kind == GET_LOCKED;
}

static int attempt(int fd, enum attempt_kind kind, unsigned int id,
		   const void *addr, unsigned int flags)
{
	if (is_locked(kind))
		flags |= TMU_LOCKED;
	if (is_interval(kind))
		return insert(fd, id, addr, flags);
	return add_list(fd, id, flags | (is_get(kind) ? TMU_GET : 0));
}

/* What it takes to undo it. */
static int undo(int fd, enum attempt_kind kind, unsigned int id)
{
	if (is_interval(kind))
		return remove_some(fd, id, 1, 0) == 1 ? 0 : -EUCLEAN;
	return drop_list(fd, id, 0);
}

/* In another process: its exit status is 0 if it worked. */
static pid_t attempt_elsewhere(int fd, enum attempt_kind kind, unsigned int id,
			       const void *addr, unsigned int flags)
{
	pid_t pid = fork();

	if (!pid)
		_exit(attempt(fd, kind, id, addr, flags) ? 1 : 0);
	return pid;
}

static bool ends_within(pid_t pid, unsigned int ms)
{
	for (; ms; ms--) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return true;
		mn_sleep_ms(1);
	}
	return false;
}

/*
 * i915, radeon: whoever inserts is killed while it waits.  Then they look whether
 * notifier.mm is set, and remove if so.
 */
static void kill_attempt(struct __test_metadata *_metadata,
			 struct scene *self, const struct lock *lock,
			 enum attempt_kind kind)
{
	char *page = page_of(&self->subject, lock);
	struct tmu_look look;
	bool prompt;
	pid_t pid;

	TH_LOG("%s killed, %s", attempt_names[kind], lock->name);
	ASSERT_EQ(0, hold(self->holder, &self->subject, lock, 10000));
	pid = attempt_elsewhere(self->fd, kind, 0, page,
				is_get(kind) ? 0 : TMU_JUNK);
	ASSERT_LT(0, pid);
	/* It waits. */
	EXPECT_FALSE(ends_within(pid, 100));
	kill(pid, SIGKILL);
	prompt = ends_within(pid, mn_core_drains() ? DEAD_MS : 100);
	ASSERT_EQ(0, ioctl(self->holder, TMU_LET_GO, 0));
	if (!prompt)
		ASSERT_TRUE(ends_within(pid, 10000));

	look = look_at(self->fd, !is_interval(kind), 0);
	EXPECT_EQ(0, look.busy);
	/* Stock waits for locks as if nobody could be killed. */
	if (mn_core_drains() && lock->killable) {
		EXPECT_TRUE(prompt);
		EXPECT_EQ(-EINTR, look.ret);
	}
	if (look.ret) {
		EXPECT_EQ(-EINTR, look.ret);
		/* Nothing is to be undone. */
		ASSERT_EQ(0, look.changed);
	} else {
		ASSERT_EQ(0, undo(self->fd, kind, 0));
	}
	EXPECT_AS_BEFORE();

	/* And afterwards it works. */
	ASSERT_EQ(0, attempt(self->fd, kind, 0, page, 0));
	ASSERT_TRUE(tell(&self->subject, 'z'));
	look = look_at(self->fd, !is_interval(kind), 0);
	EXPECT_LT(0, is_interval(kind) ? look.hits : look.starts);
	EXPECT_EQ(0, look.open);
	EXPECT_EQ(0, look.unmatched);
	EXPECT_EQ(0, undo(self->fd, kind, 0));
	EXPECT_AS_BEFORE();
}

/* Of each subject it is the first registration. */
#define KILL_TEST(name, kind)						\
USER_TEST(name)							\
{									\
	unsigned int i;							\
									\
	for (i = 0; i < ARRAY_SIZE(locks); i++) {			\
		/* Whoever owns mmap_lock does not wait for it. */	\
		if (is_locked(kind) && is_mmap_lock(&locks[i]))		\
			continue;					\
		tear_down(self);					\
		set_up(_metadata, self);				\
		kill_attempt(_metadata, self, &locks[i], kind);		\
	}								\
}

KILL_TEST(killed_insert, INSERT)
KILL_TEST(killed_insert_locked, INSERT_LOCKED)
KILL_TEST(killed_register, REGISTER)
KILL_TEST(killed_register_locked, REGISTER_LOCKED)
KILL_TEST(killed_get, GET)
KILL_TEST(killed_get_locked, GET_LOCKED)

/* The structure is zeroed, as i915's, and looked at as i915 does. */
USER_TEST(i915_killed)
{
	struct tmu_look look;
	pid_t pid;

	ASSERT_EQ(0, hold(self->holder, &self->subject, &locks[1], 10000));
	pid = attempt_elsewhere(self->fd, INSERT, 0, self->subject.area, 0);
	ASSERT_LT(0, pid);
	EXPECT_FALSE(ends_within(pid, 100));
	kill(pid, SIGKILL);
	ends_within(pid, 500);
	ASSERT_EQ(0, ioctl(self->holder, TMU_LET_GO, 0));
	waitpid(pid, NULL, 0);

	look = look_interval(self->fd, 0);
	EXPECT_EQ(-EINTR, look.ret);
	/* Else the next step breaks the subject's mm. */
	ASSERT_EQ(0, look.mm);
	EXPECT_EQ(0, remove_some(self->fd, 0, 1, TMU_IF_MM));
	EXPECT_AS_BEFORE();

	ASSERT_EQ(0, insert(self->fd, 0, self->subject.area, 0));
	EXPECT_EQ(1, look_interval(self->fd, 0).mm);
	EXPECT_TRUE(count_becomes(self->fd, self->count + 1));
	EXPECT_EQ(1, remove_some(self->fd, 0, 1, TMU_IF_MM));
	EXPECT_EQ(0, remove_some(self->fd, 0, 1, TMU_IF_MM));
	EXPECT_AS_BEFORE();
}

/*
 * kfd: a subscription for release, then intervals under mmap_lock whose results
 * nobody looks at.  It looks at start and last, and removes if both are set.
 */
static void kfd_insert(struct __test_metadata *_metadata,
		       struct scene *self)
{
	struct tmu_look look;
	pid_t pid;
	int i;

	/* So that whoever can be killed has to wait, and is. */
	ASSERT_EQ(0, hold(self->holder, &self->subject, &locks[3], HELD_MS));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		insert_some(self->fd, 0, 3, self->subject.mapped,
			    mn_page_size(), TMU_LOCKED | TMU_KILLED, NULL);
		_exit(0);
	}
	ASSERT_TRUE(ends_within(pid, 10000));

	for (i = 0; i < 3; i++) {
		look = look_interval(self->fd, i);
		EXPECT_EQ(0, look.ret) {
			TH_LOG("insertion %d", i);
		}
		EXPECT_EQ((uintptr_t)self->subject.mapped + i * mn_page_size(),
			  look.start);
		EXPECT_EQ(look.start + mn_page_size() - 1, look.last);
	}
	ASSERT_TRUE(tell(&self->subject, 'z'));
	for (i = 0; i < 3; i++)
		EXPECT_LT(0, look_interval(self->fd, i).hits);
	EXPECT_EQ(3, remove_some(self->fd, 0, 3, TMU_IF_TREE));
}

USER_TEST(kfd_first_range)
{
	if (!mn_core_drains())
		SKIP(return, "the first range is lost here, and nobody notices");
	ASSERT_EQ(0, add_list(self->fd, 0, TMU_GET | TMU_RELEASE));
	kfd_insert(_metadata, self);
	EXPECT_EQ(0, drop_list(self->fd, 0, 0));
	EXPECT_AS_BEFORE();
}

USER_TEST(kfd_further_range)
{
	ASSERT_EQ(0, add_list(self->fd, 0, TMU_GET | TMU_RELEASE));
	ASSERT_EQ(0, insert(self->fd, 9, self->subject.area, 0));
	kfd_insert(_metadata, self);
	EXPECT_EQ(1, remove_some(self->fd, 9, 1, 0));
	EXPECT_EQ(0, drop_list(self->fd, 0, 0));
	EXPECT_AS_BEFORE();
}

/* mlx5: from works that share their queue with everybody. */

static void insert_at_once(struct __test_metadata *_metadata,
			   struct scene *self, bool reclaim, bool first)
{
	struct tmu_works works = {
		.nr = FILE_PAGES,
		.reclaim = reclaim,
		.start = (uintptr_t)self->subject.mapped,
		.length = mn_page_size(),
	};

	if (!first)
		ASSERT_EQ(0, insert(self->fd, 0, self->subject.area, 0));
	/* An i_mmap lock, for 100 ms. */
	ASSERT_EQ(0, hold(self->holder, &self->subject, &locks[3], 100));
	ASSERT_EQ(0, tmu(self->fd, TMU_WORKS, &works));
	EXPECT_EQ(0, works.failed) {
		TH_LOG("%u failed, with %d", works.failed, works.ret);
	}
	EXPECT_GT(4000 * NS_PER_MS, works.slowest_ns) {
		TH_LOG("all of them took %llu ms", TO_MS(works.slowest_ns));
	}
	ASSERT_EQ(0, ioctl(self->holder, TMU_LET_GO, 0));
	if (!first)
		EXPECT_EQ(1, remove_some(self->fd, 0, 1, 0));
	EXPECT_AS_BEFORE();
}

#define WORKS_TEST(name, reclaim, first)					\
USER_TEST(name)							\
{									\
	insert_at_once(_metadata, self, reclaim, first);		\
}

WORKS_TEST(mlx5_unbound_first, false, true)
WORKS_TEST(mlx5_unbound_later, false, false)
WORKS_TEST(mlx5_reclaim_first, true, true)
WORKS_TEST(mlx5_reclaim_later, true, false)

/*
 * Whoever waits takes no slot of a queue that others need: many processes wait,
 * killed or not, and a work still runs at once.
 */
#define WAITERS	600

USER_TEST(waiting_takes_no_slot)
{
	struct tmu_works work = { .nr = 1, .length = mn_page_size() };
	unsigned int i, waiting = 0;
	static pid_t pids[WAITERS];
	int ready[2], bystander;
	struct subject other;
	char c;

	if (!mn_core_drains())
		SKIP(return, "registration has no worker");
	ASSERT_TRUE(start_subject(&other));
	bystander = open_target(other.pid);
	ASSERT_LE(0, bystander);
	work.start = (uintptr_t)other.area;
	ASSERT_EQ(0, pipe(ready));
	for (i = 0; i < WAITERS; i++) {
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (!pids[i]) {
			/* Each node has its own slots. */
			cpu_set_t cpus;

			CPU_ZERO(&cpus);
			CPU_SET(i % sysconf(_SC_NPROCESSORS_ONLN), &cpus);
			sched_setaffinity(0, sizeof(cpus), &cpus);

			char *page = mmap(NULL, mn_page_size(), PROT_READ,
					  MAP_SHARED, self->subject.file, 0);
			int fd = open_target(0);

			(void)!write(ready[1], page == MAP_FAILED || fd < 0 ?
					       "" : "y", 1);
			/* Until all of them are there, and the lock is held. */
			raise(SIGSTOP);
			_exit(attempt(fd, REGISTER, 0, NULL, 0) ? 1 : 0);
		}
		ASSERT_EQ(1, read(ready[0], &c, 1));
		ASSERT_EQ('y', c);
		ASSERT_EQ(pids[i], waitpid(pids[i], NULL, WUNTRACED));
	}
	ASSERT_EQ(0, hold(self->holder, &self->subject, &locks[3], 30000));
	for (i = 0; i < WAITERS; i++)
		kill(pids[i], SIGCONT);
	mn_sleep_ms(2000);
	for (i = 0; i < WAITERS; i += 2)
		kill(pids[i], SIGKILL);
	mn_sleep_ms(500);
	for (i = 0; i < WAITERS; i++)
		waiting += waitpid(pids[i], NULL, WNOHANG) == 0;
	/* Those that are dead wait to unmap the file. */
	EXPECT_EQ(WAITERS, waiting);

	/* In a thread of its own it could be given up; it ends with the lock. */
	EXPECT_EQ(0, tmu(bystander, TMU_WORKS, &work));
	EXPECT_EQ(0, work.failed);
	EXPECT_GT(3000 * NS_PER_MS, work.slowest_ns) {
		TH_LOG("a work had to wait for %llu ms",
		       TO_MS(work.slowest_ns));
	}
	ASSERT_EQ(0, ioctl(self->holder, TMU_LET_GO, 0));
	for (i = 0; i < WAITERS; i++)
		waitpid(pids[i], NULL, 0);
	close(bystander);
	end_subject(&other);
	EXPECT_AS_BEFORE();
}

/* nouveau: one for each fault, on a stack that nobody has cleared. */
USER_TEST(nouveau_faults)
{
	struct tmu_faults faults = {
		.nr = 5000,
		.pages = 100,
		.start = (uintptr_t)self->subject.area,
	};

	ASSERT_TRUE(tell(&self->subject, 'n'));
	ASSERT_EQ(0, tmu(self->fd, TMU_FAULTS, &faults));
	EXPECT_NE(~0ULL, tell_to_stop(&self->subject));
	EXPECT_EQ(0, faults.failed) {
		TH_LOG("%u failed, with %d", faults.failed, faults.ret);
	}
	EXPECT_EQ(0, faults.nothing);
	EXPECT_EQ(0, faults.starved);
	TH_LOG("%u retries, longest insertion %llu us", faults.retries,
	       faults.slowest_ns / 1000);
	EXPECT_AS_BEFORE();
}

/* hfi1: one for each entry, all of them at the same time. */
USER_TEST(hfi1_entries)
{
	const char *beyond = self->subject.area + AREA_PAGES * mn_page_size();
	unsigned int i, missed = 0;
	uint64_t ns;

	ASSERT_EQ(0, insert_some(self->fd, 0, AREA_PAGES, self->subject.area,
				 mn_page_size(), 0, &ns));
	ASSERT_EQ(0, insert(self->fd, AREA_PAGES, beyond, 0));
	EXPECT_TRUE(count_becomes(self->fd, self->count + AREA_PAGES + 1));
	for (i = 0; i <= AREA_PAGES; i++)
		missed += look_interval(self->fd, i).hits != 0;
	EXPECT_EQ(0, missed);
	ASSERT_TRUE(tell(&self->subject, 'z'));
	for (i = 0; i < AREA_PAGES; i++)
		missed += look_interval(self->fd, i).hits == 0;
	EXPECT_EQ(0, missed);
	EXPECT_EQ(0, look_interval(self->fd, AREA_PAGES).hits);

	/* While the area is zapped, and entries come and go. */
	ASSERT_TRUE(tell(&self->subject, 'n'));
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(AREA_PAGES / 2,
			  remove_some(self->fd, AREA_PAGES / 2,
				      AREA_PAGES / 2, 0));
		ASSERT_EQ(0, insert_some(self->fd, AREA_PAGES / 2,
					 AREA_PAGES / 2,
					 self->subject.area +
					 AREA_PAGES / 2 * mn_page_size(),
					 mn_page_size(), 0, &ns));
	}
	EXPECT_NE(~0ULL, tell_to_stop(&self->subject));
	ASSERT_TRUE(tell(&self->subject, 'z'));
	for (i = AREA_PAGES / 2; i < AREA_PAGES; i++)
		missed += look_interval(self->fd, i).hits == 0;
	EXPECT_EQ(0, missed);
	EXPECT_EQ(AREA_PAGES + 1,
		  remove_some(self->fd, 0, AREA_PAGES + 1, 0));
	EXPECT_AS_BEFORE();
}

/* Bad arguments */

static void refuse_ranges(struct __test_metadata *_metadata,
			  struct scene *self)
{
	static const struct {
		uint64_t start;
		uint64_t length;
	} bad[] = {
		{ 0, 0 },
		{ 4096, 0 },
		{ -4096ULL, 4097 },
		{ -1ULL, 2 },
		{ 4096, -1ULL },
		{ -1ULL, -1ULL },
	};
	struct tmu_look look;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EOVERFLOW,
			  insert_some(self->fd, 1, 1,
				      (void *)(uintptr_t)bad[i].start,
				      bad[i].length, i & 1 ? TMU_LOCKED : 0,
				      NULL)) {
			TH_LOG("range %u", i);
		}
		look = look_interval(self->fd, 1);
		/* Stock fills it in before it looks at it. */
		if (mn_core_drains()) {
			ASSERT_EQ(0, look.changed);
			EXPECT_EQ(0, remove_some(self->fd, 1, 1, TMU_IF_MM));
			EXPECT_EQ(0, remove_some(self->fd, 1, 1, TMU_IF_TREE));
		}
	}
	EXPECT_AS_BEFORE();
}

USER_TEST(bad_ranges)
{
	/* The limits: one byte, and everything. */
	static const uint64_t good[][2] = {
		{ 0, 1 }, { -1ULL, 1 }, { 0, -1ULL }, { 1, -1ULL },
	};
	unsigned int i;

	refuse_ranges(_metadata, self);
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		EXPECT_EQ(0, insert_some(self->fd, 0, 1,
					 (void *)(uintptr_t)good[i][0],
					 good[i][1], 0, NULL));
		EXPECT_EQ(good[i][0], look_interval(self->fd, 0).start);
		EXPECT_EQ(good[i][0] + good[i][1] - 1,
			  look_interval(self->fd, 0).last);
		EXPECT_EQ(1, remove_some(self->fd, 0, 1, 0));
	}
	refuse_ranges(_metadata, self);
}

USER_TEST(bad_arguments)
{
	struct tmu_interval_op intervals = { .nr = 1, .reserved = 1 };
	struct tmu_list_op list = { .id = TMU_LISTS };
	struct tmu_faults faults = { .nr = 1, .pages = 1, .start = 1 };
	struct tmu_works works = { .nr = 1 };
	struct tmu_hold hold = { .lock = TMU_LOCKS, .ms = 1 };
	struct tmu_look look = { .list = 2 };
	int fd = open(USERS_DEVICE, O_RDWR);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-ENOTCONN, tmu(fd, TMU_LOOK, &look));
	EXPECT_EQ(-EINVAL, tmu(fd, TMU_TARGET, (void *)-1UL));
	EXPECT_EQ(-EBUSY, tmu(self->fd, TMU_TARGET, NULL));
	EXPECT_EQ(-ENOTTY, tmu(self->fd, _IO('u', 0xff), NULL));
	EXPECT_EQ(-EFAULT, tmu(self->fd, TMU_INSERT, NULL));
	EXPECT_EQ(-EINVAL, tmu(self->fd, TMU_LOOK, &look));
	EXPECT_EQ(-EINVAL, tmu(self->fd, TMU_REGISTER, &list));
	list = (struct tmu_list_op){ .flags = TMU_IF_MM };
	EXPECT_EQ(-EINVAL, tmu(self->fd, TMU_REGISTER, &list));
	list.flags = TMU_GET;
	EXPECT_EQ(-EINVAL, tmu(self->fd, TMU_UNREGISTER, &list));
	EXPECT_EQ(-EINVAL, tmu(self->fd, TMU_FAULTS, &faults));
	EXPECT_EQ(-EINVAL, tmu(self->fd, TMU_WORKS, &works));
	EXPECT_EQ(-EINVAL, tmu(self->fd, TMU_HOLD, &hold));
	hold = (struct tmu_hold){ .ms = TMU_MAX_MS + 1 };
	EXPECT_EQ(-EINVAL, tmu(self->fd, TMU_HOLD, &hold));
	EXPECT_EQ(-EINVAL, tmu(self->fd, TMU_INSERT, &intervals));
	intervals = (struct tmu_interval_op){ .first = TMU_INTERVALS, .nr = 1 };
	EXPECT_EQ(-EINVAL, tmu(self->fd, TMU_INSERT, &intervals));
	intervals = (struct tmu_interval_op){ .nr = 2, .length = -1ULL };
	EXPECT_EQ(-EINVAL, tmu(self->fd, TMU_INSERT, &intervals));
	/* What is not there is not removed, unless it is asked for. */
	EXPECT_EQ(-EBUSY, remove_some(self->fd, 0, 1, 0));
	EXPECT_EQ(-EBUSY, drop_list(self->fd, 0, 0));
	EXPECT_EQ(0, ioctl(self->fd, TMU_LET_GO, 0));
	close(fd);
	EXPECT_AS_BEFORE();
}

/* Later insertions take no lock of the mm, and wait for nothing. */
USER_TEST(later_insert_waits_for_nothing)
{
	unsigned int i, round;
	uint64_t ns, least;

	ASSERT_EQ(0, insert(self->fd, 0, self->subject.area, 0));
	for (i = 0; i < ARRAY_SIZE(locks); i++) {
		least = ~0ULL;
		for (round = 0; round < ROUNDS; round++) {
			ASSERT_EQ(0, hold(self->holder, &self->subject,
					  &locks[i], HELD_MS));
			ASSERT_EQ(0, insert_some(self->fd, 1, 1,
						 page_of(&self->subject,
							 &locks[i]),
						 mn_page_size(), 0, &ns));
			ASSERT_EQ(1, remove_some(self->fd, 1, 1, 0));
			ASSERT_EQ(0, ioctl(self->holder, TMU_LET_GO, 0));
			if (ns < least)
				least = ns;
		}
		EXPECT_GT(AT_ONCE_MS * NS_PER_MS, least) {
			TH_LOG("%s: %llu ms", locks[i].name,
			       TO_MS(least));
		}
	}
	EXPECT_EQ(1, remove_some(self->fd, 0, 1, 0));
	EXPECT_AS_BEFORE();
}

/*
 * A registration waits for what is held, and meanwhile the threads of its process
 * map and unmap as if it were not there.
 */
static void stall_others(struct __test_metadata *_metadata,
			 enum attempt_kind kind, const struct lock *lock)
{
	uint64_t ns, least = ~0ULL;
	unsigned int round;

	if (access(USERS_DEVICE, R_OK | W_OK))
		SKIP(return, "no " USERS_DEVICE);
	if (!mn_core_drains())
		SKIP(return, "everybody waits here");
	for (round = 0; round < ROUNDS; round++) {
		struct subject subject;
		int fd, holder, status;
		pid_t pid;

		ASSERT_TRUE(start_subject(&subject));
		fd = open_target(subject.pid);
		holder = open_target(subject.pid);
		ASSERT_LE(0, fd);
		ASSERT_LE(0, holder);
		ASSERT_TRUE(tell(&subject, 'm'));
		ASSERT_EQ(0, hold(holder, &subject, lock, 10000));
		pid = attempt_elsewhere(fd, kind, 0, page_of(&subject, lock),
					0);
		/* Nobody is fast because it does not wait. */
		EXPECT_FALSE(ends_within(pid, HELD_MS));
		ASSERT_EQ(0, ioctl(holder, TMU_LET_GO, 0));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		ns = tell_to_stop(&subject);
		if (ns < least)
			least = ns;
		close(fd);
		close(holder);
		end_subject(&subject);
	}
	EXPECT_GT(AT_ONCE_MS * NS_PER_MS, least) {
		TH_LOG("longest stall %llu ms",
		       TO_MS(least));
	}
}

#define STALL_TEST(kind, nr, name)					\
TEST(stall_##name)							\
{									\
	stall_others(_metadata, kind, &locks[nr]);			\
}

STALL_TEST(REGISTER, 2, register_i_mmap_read)
STALL_TEST(REGISTER, 3, register_i_mmap_write)
STALL_TEST(REGISTER, 4, register_anon_vma_read)
STALL_TEST(REGISTER, 5, register_anon_vma_write)
STALL_TEST(GET, 3, get_i_mmap_write)
STALL_TEST(INSERT, 3, insert_i_mmap_write)
STALL_TEST(INSERT, 5, insert_anon_vma_write)

/* Two wait for the same thing; get() gives out nothing that is not there yet. */
USER_TEST(two_get_one)
{
	struct tmu_look look[2];
	int status, i;
	pid_t pid[2];

	/* It holds all anon_vma locks, which fork() needs. */
	if (!mn_core_drains())
		SKIP(return, "the parent waits as well here");
	ASSERT_EQ(0, hold(self->holder, &self->subject, &locks[3], 10000));
	for (i = 0; i < 2; i++) {
		pid[i] = attempt_elsewhere(self->fd, GET, i, NULL, 0);
		EXPECT_FALSE(ends_within(pid[i], 200));
	}
	EXPECT_FALSE(ends_within(pid[0], 1));
	ASSERT_EQ(0, ioctl(self->holder, TMU_LET_GO, 0));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(pid[i], waitpid(pid[i], &status, 0));
		EXPECT_EQ(0, status);
		look[i] = look_list(self->fd, i);
	}
	EXPECT_EQ(look[0].cookie, look[1].cookie);
	EXPECT_TRUE(count_becomes(self->fd, self->count + 1));
	EXPECT_EQ(0, drop_list(self->fd, 0, 0));
	ASSERT_TRUE(tell(&self->subject, 'z'));
	EXPECT_LT(0, look_list(self->fd, 1).starts);
	EXPECT_EQ(0, look_list(self->fd, 1).open);
	EXPECT_EQ(0, drop_list(self->fd, 1, 0));
	EXPECT_AS_BEFORE();
}

/* One of two is killed while both wait: the other one gets it. */
USER_TEST(two_get_one_is_killed)
{
	int status, killed;
	pid_t pid[2];

	if (!mn_core_drains())
		SKIP(return, "nobody is killed while it waits here");
	for (killed = 0; killed < 2; killed++) {
		/* Of another subject it is the first again, and waits. */
		tear_down(self);
		set_up(_metadata, self);
		ASSERT_EQ(0, hold(self->holder, &self->subject, &locks[3],
				  10000));
		pid[0] = attempt_elsewhere(self->fd, GET, 0, NULL, 0);
		EXPECT_FALSE(ends_within(pid[0], 100));
		pid[1] = attempt_elsewhere(self->fd, GET, 1, NULL, 0);
		EXPECT_FALSE(ends_within(pid[1], 100));
		kill(pid[killed], SIGKILL);
		EXPECT_TRUE(ends_within(pid[killed], DEAD_MS)) {
			TH_LOG("number %d does not die", killed);
		}
		EXPECT_FALSE(ends_within(pid[!killed], 100));
		ASSERT_EQ(0, ioctl(self->holder, TMU_LET_GO, 0));
		ASSERT_EQ(pid[!killed], waitpid(pid[!killed], &status, 0));
		EXPECT_EQ(0, status);
		EXPECT_EQ(-EINTR, look_list(self->fd, killed).ret);
		EXPECT_EQ(0, look_list(self->fd, !killed).ret);
		ASSERT_TRUE(tell(&self->subject, 'z'));
		EXPECT_LT(0, look_list(self->fd, !killed).starts);
		EXPECT_EQ(0, look_list(self->fd, !killed).unmatched);
		EXPECT_EQ(0, drop_list(self->fd, !killed, 0));
		EXPECT_AS_BEFORE();
	}
}

/*
 * The same with insertions.  The first of an mm may be killed; whoever waits with
 * it finds that the mm has subscriptions, and gets its own whatever happens.
 */
USER_TEST(two_insert_one_is_killed)
{
	int status, killed;
	pid_t pid[2];

	if (!mn_core_drains())
		SKIP(return, "nobody is killed while it waits here");
	for (killed = 0; killed < 2; killed++) {
		tear_down(self);
		set_up(_metadata, self);
		ASSERT_EQ(0, hold(self->holder, &self->subject, &locks[3],
				  10000));
		pid[0] = attempt_elsewhere(self->fd, INSERT, 0,
					   self->subject.mapped, 0);
		EXPECT_FALSE(ends_within(pid[0], 100));
		pid[1] = attempt_elsewhere(self->fd, INSERT, 1,
					   self->subject.mapped, 0);
		EXPECT_FALSE(ends_within(pid[1], 100));
		kill(pid[killed], SIGKILL);
		if (!killed)
			EXPECT_TRUE(ends_within(pid[0], DEAD_MS));
		EXPECT_FALSE(ends_within(pid[!killed], 100));
		ASSERT_EQ(0, ioctl(self->holder, TMU_LET_GO, 0));
		ASSERT_EQ(pid[!killed], waitpid(pid[!killed], &status, 0));
		EXPECT_EQ(0, status);
		if (killed)
			EXPECT_TRUE(ends_within(pid[1], 5000));

		EXPECT_EQ(killed ? 0 : -EINTR, look_interval(self->fd, 0).ret);
		ASSERT_EQ(0, look_interval(self->fd, 0).changed);
		EXPECT_EQ(0, look_interval(self->fd, 1).ret);
		ASSERT_TRUE(tell(&self->subject, 'z'));
		EXPECT_LT(0, look_interval(self->fd, 1).hits);
		EXPECT_EQ(killed, remove_some(self->fd, 0, 1, TMU_IF_TREE));
		EXPECT_EQ(1, remove_some(self->fd, 1, 1, TMU_IF_TREE));
		EXPECT_AS_BEFORE();
	}
}

/* Punches holes into the subject's file: sections under i_mmap alone. */
static pid_t start_puncher(const struct subject *subject)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	for (;;) {
		fallocate(subject->file,
			  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			  mn_page_size());
		fallocate(subject->file, 0, 0, mn_page_size());
	}
}

/* Everybody waits at once, for the same lock; nobody is done before it is free. */
USER_TEST(all_wait_at_once)
{
	enum attempt_kind kind;
	pid_t pid[ATTEMPTS];
	struct tmu_look look;
	int status;

	/* It holds all anon_vma locks, which fork() needs. */
	if (!mn_core_drains())
		SKIP(return, "the parent waits as well here");
	ASSERT_EQ(0, hold(self->holder, &self->subject, &locks[3], 10000));
	for (kind = 0; kind < ATTEMPTS; kind++)
		pid[kind] = attempt_elsewhere(self->fd, kind, kind,
					      self->subject.mapped, 0);
	mn_sleep_ms(200);
	for (kind = 0; kind < ATTEMPTS; kind++) {
		EXPECT_FALSE(ends_within(pid[kind], 1)) {
			TH_LOG("%s did not wait", attempt_names[kind]);
		}
	}
	ASSERT_EQ(0, ioctl(self->holder, TMU_LET_GO, 0));
	for (kind = 0; kind < ATTEMPTS; kind++) {
		ASSERT_EQ(pid[kind], waitpid(pid[kind], &status, 0));
		EXPECT_EQ(0, status) {
			TH_LOG("%s", attempt_names[kind]);
		}
	}
	ASSERT_TRUE(tell(&self->subject, 'z'));
	for (kind = 0; kind < ATTEMPTS; kind++) {
		look = look_at(self->fd, !is_interval(kind), kind);
		EXPECT_LT(0, is_interval(kind) ? look.hits : look.starts);
		EXPECT_EQ(0, look.unmatched);
		EXPECT_EQ(0, look.open);
		EXPECT_EQ(0, undo(self->fd, kind, kind));
	}
	EXPECT_AS_BEFORE();
}

/*
 * The process whose memory it is dies meanwhile.  Whoever holds the lock, and
 * whoever waits, keep its mm until they are done.
 */
USER_TEST(dies_meanwhile)
{
	static const enum attempt_kind kinds[] = { INSERT, REGISTER, GET };
	struct tmu_look look;
	bool killed, ended;
	unsigned int i;
	pid_t pid;

	if (!mn_core_drains())
		SKIP(return, "it cannot die while somebody waits here");

	for (i = 0; i < 2 * ARRAY_SIZE(kinds); i++) {
		enum attempt_kind kind = kinds[i / 2];

		killed = i & 1;
		tear_down(self);
		set_up(_metadata, self);
		ASSERT_EQ(0, hold(self->holder, &self->subject, &locks[3],
				  10000));
		pid = attempt_elsewhere(self->fd, kind, 0, self->subject.mapped,
					0);
		EXPECT_FALSE(ends_within(pid, 100));
		kill(self->subject.pid, SIGKILL);
		ASSERT_TRUE(ends_within(self->subject.pid, 10000));
		self->subject.pid = 0;
		if (killed)
			kill(pid, SIGKILL);
	ended = ends_within(pid, killed ? DEAD_MS : 100);
		EXPECT_EQ(killed, ended);
		ASSERT_EQ(0, ioctl(self->holder, TMU_LET_GO, 0));
		if (!ended)
			ASSERT_TRUE(ends_within(pid, 10000));

		look = look_at(self->fd, !is_interval(kind), 0);
		EXPECT_EQ(killed ? -EINTR : 0, look.ret);
		if (look.ret) {
			EXPECT_EQ(0, look.changed);
			continue;
		}
		EXPECT_LE(1, look.hits);
		EXPECT_EQ(0, undo(self->fd, kind, 0));
	}
	EXPECT_EQ(self->warned, warnings());
}

/* Several come and go at the same time, on one mm, beside its threads. */
#define PEERS		4
#define PEER_ROUNDS	100

static unsigned int come_and_go(struct scene *self, unsigned int peer)
{
	unsigned int round, failed = 0, id = peer * 8;
	struct tmu_look look;

	for (round = 0; round < PEER_ROUNDS; round++) {
		enum attempt_kind kind = (round + peer) % ATTEMPTS;

		failed += !!attempt(self->fd, kind, id, self->subject.area, 0);
		look = look_at(self->fd, !is_interval(kind), id);
		failed += look.unmatched || look.lost;
		failed += !!undo(self->fd, kind, id);
	}
	return failed;
}

USER_TEST(several_come_and_go)
{
	pid_t pid[PEERS], puncher;
	unsigned int i;
	int status;

	puncher = start_puncher(&self->subject);
	ASSERT_LT(0, puncher);
	ASSERT_TRUE(tell(&self->subject, 'b'));
	for (i = 0; i < PEERS; i++) {
		pid[i] = fork();
		ASSERT_LE(0, pid[i]);
		if (!pid[i])
			_exit(come_and_go(self, i) != 0);
	}
	for (i = 0; i < PEERS; i++) {
		ASSERT_EQ(pid[i], waitpid(pid[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	EXPECT_NE(~0ULL, tell_to_stop(&self->subject));
	kill(puncher, SIGKILL);
	waitpid(puncher, NULL, 0);
	EXPECT_AS_BEFORE();
}

/*
 * Somebody who sleeps in a callback, under the lock of the subject's file: a
 * section that lasts, of an mm that has subscriptions.
 */
struct sleeper {
	int mmu;
	pid_t pid;
};

static bool start_sleeper(struct sleeper *sleeper,
			  const struct subject *subject, unsigned int ms)
{
	sleeper->pid = -1;
	sleeper->mmu = mn_open();
	if (sleeper->mmu < 0 ||
	    mn_attach(sleeper->mmu, TMN_STYLE_XPMEM, 0, subject->pid) ||
	    mn_stall(sleeper->mmu, subject->mapped, mn_page_size(), ms * 1000))
		return false;
	sleeper->pid = fork();
	if (!sleeper->pid)
		_exit(fallocate(subject->file,
				FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				mn_page_size()) != 0);
	return sleeper->pid > 0 && !mn_wait_stalled(sleeper->mmu);
}

static bool sleeps(const struct sleeper *sleeper)
{
	struct tmn_stats stats;

	return mn_stats(sleeper->mmu, &stats) || stats.sleeping;
}

static bool end_sleeper(struct sleeper *sleeper)
{
	bool balanced = ends_within(sleeper->pid, 10000) &&
			mn_balanced(sleeper->mmu);

	close(sleeper->mmu);
	return balanced;
}

/* Later registrations wait for such a section, and nothing makes them fail. */
static void kill_later(struct __test_metadata *_metadata, struct scene *self,
		       enum attempt_kind kind)
{
	struct sleeper sleeper;
	struct tmu_look look;
	pid_t pid;

	TH_LOG("%s", attempt_names[kind]);
	/* The subject's page is there, so that there is something to zap. */
	ASSERT_TRUE(tell(&self->subject, 'z'));
	ASSERT_TRUE(tell(&self->subject, 't'));
	ASSERT_TRUE(start_sleeper(&sleeper, &self->subject, 2000));
	pid = attempt_elsewhere(self->fd, kind, 0, NULL,
				is_get(kind) ? 0 : TMU_JUNK);
	EXPECT_FALSE(ends_within(pid, 200));
	kill(pid, SIGKILL);
	ASSERT_TRUE(ends_within(pid, 10000));
	EXPECT_FALSE(sleeps(&sleeper));
	look = look_list(self->fd, 0);
	if (mn_core_drains())
		EXPECT_EQ(0, look.ret);
	if (look.ret) {
		EXPECT_EQ(-EINTR, look.ret);
		EXPECT_EQ(0, look.changed);
		ASSERT_EQ(0, add_list(self->fd, 0, 0));
	}
	EXPECT_TRUE(end_sleeper(&sleeper));
	ASSERT_TRUE(tell(&self->subject, 'z'));
	look = look_list(self->fd, 0);
	EXPECT_LT(0, look.starts);
	/* The end of the section that it waited for was nothing to it. */
	EXPECT_EQ(0, look.unmatched);
	EXPECT_EQ(0, look.open);
	EXPECT_EQ(0, drop_list(self->fd, 0, 0));
	EXPECT_AS_BEFORE();
}

USER_TEST(killed_later)
{
	if (access(MN_DEVICE, R_OK | W_OK))
		SKIP(return, "no " MN_DEVICE);
	kill_later(_metadata, self, REGISTER);
	kill_later(_metadata, self, REGISTER_LOCKED);
	kill_later(_metadata, self, GET);
	kill_later(_metadata, self, GET_LOCKED);
}

/* And meanwhile the threads of the process map and unmap. */
USER_TEST(stall_later)
{
	uint64_t ns, least = ~0ULL;
	unsigned int round;

	if (access(MN_DEVICE, R_OK | W_OK))
		SKIP(return, "no " MN_DEVICE);
	if (!mn_core_drains())
		SKIP(return, "everybody waits here");
	for (round = 0; round < ROUNDS; round++) {
		struct sleeper sleeper;

		ASSERT_TRUE(tell(&self->subject, 't'));
		ASSERT_TRUE(start_sleeper(&sleeper, &self->subject, HELD_MS));
		ASSERT_TRUE(tell(&self->subject, 'm'));
		EXPECT_EQ(0, add_list(self->fd, 0, 0));
		ns = tell_to_stop(&self->subject);
		if (ns < least)
			least = ns;
		/* It was not so fast because it did not wait. */
		EXPECT_FALSE(sleeps(&sleeper));
		EXPECT_TRUE(end_sleeper(&sleeper));
		EXPECT_EQ(0, drop_list(self->fd, 0, 0));
	}
	EXPECT_GT(AT_ONCE_MS * NS_PER_MS, least) {
		TH_LOG("longest stall %llu ms", TO_MS(least));
	}
	EXPECT_AS_BEFORE();
}

/*
 * Registrations number 2 to 200, beside sections of every kind: no end without
 * its start, and no start without its end.
 */
#define MANY	200

static unsigned int flags_of(unsigned int id)
{
	/* One in four is shared by all of these. */
	return id % 4 == 3 ? TMU_GET : id % 4 == 2 ? TMU_JUNK : 0;
}

static void register_many(struct __test_metadata *_metadata,
			  struct scene *self)
{
	unsigned int id;

	for (id = 0; id < MANY; id++) {
		ASSERT_EQ(0, add_list(self->fd, id, flags_of(id))) {
			TH_LOG("number %u", id);
		}
		/* Some go again, and come again. */
		if (id % 8 == 5) {
			ASSERT_EQ(0, drop_list(self->fd, id - 2, 0));
			ASSERT_EQ(0, add_list(self->fd, id - 2,
					      flags_of(id - 2)));
		}
	}
}

/* Nothing goes on in the subject. */
static void check_many(struct __test_metadata *_metadata,
		       struct scene *self)
{
	unsigned int id, wrong = 0;

	for (id = 0; id < MANY; id++) {
		struct tmu_look look = look_list(self->fd, id);

		if (look.unmatched || look.open || look.lost ||
		    look.starts != look.ends) {
			wrong++;
			TH_LOG("%u: starts %llu ends %llu, open %llu, unmatched %llu, lost %llu",
			       id, look.starts, look.ends, look.open,
			       look.unmatched, look.lost);
		}
	}
	EXPECT_EQ(0, wrong);
}

USER_TEST(many_registrations)
{
	uint64_t starts[MANY], begin = mn_now_ns();
	unsigned int id, silent = 0, round;
	pid_t puncher;

	puncher = start_puncher(&self->subject);
	ASSERT_LT(0, puncher);
	for (round = 0; round < 2; round++) {
		ASSERT_TRUE(tell(&self->subject, 'b'));
		register_many(_metadata, self);
		EXPECT_NE(~0ULL, tell_to_stop(&self->subject));
		kill(puncher, SIGSTOP);
		mn_sleep_ms(50);

		check_many(_metadata, self);
		for (id = 0; id < MANY; id++)
			starts[id] = look_list(self->fd, id).starts;
		ASSERT_TRUE(tell(&self->subject, 'p'));
		for (id = 0; id < MANY; id++)
			silent += look_list(self->fd, id).starts == starts[id];
		EXPECT_EQ(0, silent);
		check_many(_metadata, self);
		kill(puncher, SIGCONT);

		/* And they go while everything goes on. */
		ASSERT_TRUE(tell(&self->subject, 'b'));
		for (id = 0; id < MANY; id++) {
			EXPECT_EQ(0, look_list(self->fd, id).unmatched);
			EXPECT_EQ(0, look_list(self->fd, id).lost);
			ASSERT_EQ(0, drop_list(self->fd, id, 0));
		}
		EXPECT_NE(~0ULL, tell_to_stop(&self->subject));
		EXPECT_AS_BEFORE();
	}
	kill(puncher, SIGKILL);
	waitpid(puncher, NULL, 0);
	TH_LOG("%llu ms", TO_MS(mn_now_ns() - begin));
}

/* The end of such an mm, in each of the ways in which one can end. */
static void end_many(struct __test_metadata *_metadata,
		     struct scene *self, const char *end)
{
	unsigned int id = 0, ms = 0, missed = 0;
	struct tmu_look look;
	pid_t puncher;
	bool told;

	puncher = start_puncher(&self->subject);
	ASSERT_LT(0, puncher);
	ASSERT_TRUE(tell(&self->subject, 'b'));
	register_many(_metadata, self);
	ASSERT_EQ(0, insert(self->fd, 0, self->subject.area, 0));
	/* Its threads end with it. */
	told = *end ? write(self->subject.command[1], end, 1) == 1 :
		      !kill(self->subject.pid, SIGKILL);
	ASSERT_TRUE(told);

	while (id < MANY && ms++ < 20000) {
		if (look_list(self->fd, id).hits)
			id++;
		else
			mn_sleep_ms(1);
	}
	kill(puncher, SIGKILL);
	waitpid(puncher, NULL, 0);
	for (id = 0; id < MANY; id++) {
		look = look_list(self->fd, id);
		/* Released once; a section may have been cut off by that. */
		missed += look.hits != 1 || look.unmatched || look.lost;
	}
	EXPECT_EQ(0, missed);
	for (id = 0; id < MANY; id++)
		EXPECT_EQ(0, drop_list(self->fd, id, 0));
	EXPECT_LT(0, look_interval(self->fd, 0).hits);
	EXPECT_EQ(1, remove_some(self->fd, 0, 1, TMU_IF_MM));
	/* What is dead takes nobody. */
	EXPECT_EQ(-ESRCH, add_list(self->fd, 0, 0));
	EXPECT_EQ(-ESRCH, insert(self->fd, 0, self->subject.area, 0));
	EXPECT_EQ(self->warned, warnings());
}

USER_TEST(many_and_exit)
{
	end_many(_metadata, self, "q");
}

USER_TEST(many_and_killed)
{
	end_many(_metadata, self, "");
}

USER_TEST(many_and_exec)
{
	end_many(_metadata, self, "x");
	/* It is another program now, in an mm that nobody knows. */
	EXPECT_EQ(0, waitpid(self->subject.pid, NULL, WNOHANG));
}

USER_TEST(many_and_fork)
{
	uint64_t starts;
	unsigned int id;

	register_many(_metadata, self);
	starts = look_list(self->fd, 0).starts;
	/* Forking is told; what the child does is nobody's business. */
	for (id = 0; id < 5; id++)
		ASSERT_TRUE(tell(&self->subject, 'f'));
	check_many(_metadata, self);
	EXPECT_LT(starts, look_list(self->fd, 0).starts);
	EXPECT_EQ(0, look_list(self->fd, 0).hits);
	for (id = 0; id < MANY; id++)
		EXPECT_EQ(0, drop_list(self->fd, id, 0));
	EXPECT_AS_BEFORE();
}

/*
 * In the wrong order.  One warning each, and nothing is broken.  These are the
 * last, as a core that does not notice does not survive them.
 */

/* An interval and a list that are registered as they should be: they work. */
static void expect_works(struct __test_metadata *_metadata,
			 struct scene *self)
{
	struct tmu_look look;

	ASSERT_EQ(0, insert(self->fd, 100, self->subject.area, 0));
	ASSERT_EQ(0, add_list(self->fd, 100, 0));
	ASSERT_TRUE(tell(&self->subject, 'z'));
	EXPECT_LT(0, look_interval(self->fd, 100).hits);
	look = look_list(self->fd, 100);
	EXPECT_LT(0, look.starts);
	EXPECT_EQ(0, look.open);
	EXPECT_EQ(0, look.unmatched);
	EXPECT_EQ(1, remove_some(self->fd, 100, 1, 0));
	EXPECT_EQ(0, drop_list(self->fd, 100, 0));
	EXPECT_AS_BEFORE();
}

#define EXPECT_WARNED(n)						\
do {									\
	long now = warnings();						\
									\
	EXPECT_EQ(n, now - self->warned);				\
	self->warned = now;						\
} while (0)

WRONG_TEST(unregister_twice)
{
	SKIP_ON_STOCK();
	ASSERT_EQ(0, add_list(self->fd, 0, 0));
	ASSERT_EQ(0, drop_list(self->fd, 0, 0));
	EXPECT_EQ(0, drop_list(self->fd, 0, TMU_AGAIN));
	EXPECT_WARNED(1);
	expect_works(_metadata, self);
}

WRONG_TEST(remove_twice)
{
	SKIP_ON_STOCK();
	ASSERT_EQ(0, insert(self->fd, 1, self->subject.area, 0));
	ASSERT_EQ(0, insert(self->fd, 0, self->subject.area, 0));
	ASSERT_EQ(1, remove_some(self->fd, 0, 1, 0));
	ASSERT_EQ(1, remove_some(self->fd, 0, 1, TMU_AGAIN));
	EXPECT_WARNED(1);
	ASSERT_TRUE(tell(&self->subject, 'z'));
	EXPECT_LT(0, look_interval(self->fd, 1).hits);
	EXPECT_EQ(1, remove_some(self->fd, 1, 1, 0));
	expect_works(_metadata, self);
}

/* The same beside sections, where insertion and removal are put off. */
WRONG_TEST(remove_twice_beside_sections)
{
	unsigned int i;

	SKIP_ON_STOCK();
	ASSERT_EQ(0, insert(self->fd, 1, self->subject.area, 0));
	ASSERT_TRUE(tell(&self->subject, 'n'));
	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, insert(self->fd, 0, self->subject.area, 0));
		ASSERT_EQ(1, remove_some(self->fd, 0, 1, 0));
		ASSERT_EQ(1, remove_some(self->fd, 0, 1, TMU_AGAIN));
		EXPECT_WARNED(1);
	}
	EXPECT_NE(~0ULL, tell_to_stop(&self->subject));
	EXPECT_EQ(1, remove_some(self->fd, 1, 1, 0));
	expect_works(_metadata, self);
}

WRONG_TEST(insert_twice)
{
	SKIP_ON_STOCK();
	ASSERT_EQ(0, insert(self->fd, 0, self->subject.area, 0));
	EXPECT_EQ(-EEXIST, insert(self->fd, 0, self->subject.area, TMU_AGAIN));
	EXPECT_EQ(0, look_interval(self->fd, 0).changed);
	EXPECT_WARNED(1);
	EXPECT_TRUE(count_becomes(self->fd, self->count + 1));
	ASSERT_TRUE(tell(&self->subject, 'z'));
	/* Each page once; the first twice, as it is mapped by a section too. */
	EXPECT_LT(0, look_interval(self->fd, 0).hits);
	EXPECT_EQ(1, remove_some(self->fd, 0, 1, 0));
	expect_works(_metadata, self);
}

WRONG_TEST(register_twice)
{
	SKIP_ON_STOCK();
	ASSERT_EQ(0, add_list(self->fd, 1, 0));
	ASSERT_EQ(0, add_list(self->fd, 0, 0));
	EXPECT_EQ(-EEXIST, add_list(self->fd, 0, TMU_AGAIN));
	EXPECT_EQ(0, look_list(self->fd, 0).changed);
	EXPECT_WARNED(1);
	EXPECT_TRUE(count_becomes(self->fd, self->count + 2));
	ASSERT_TRUE(tell(&self->subject, 'z'));
	EXPECT_LT(0, look_list(self->fd, 0).starts);
	EXPECT_EQ(look_list(self->fd, 1).starts, look_list(self->fd, 0).starts);
	EXPECT_EQ(0, look_list(self->fd, 0).open);
	EXPECT_EQ(0, look_list(self->fd, 0).unmatched);
	EXPECT_EQ(0, drop_list(self->fd, 0, 0));
	EXPECT_EQ(0, drop_list(self->fd, 1, 0));
	expect_works(_metadata, self);
}

/* A structure of zeroes: it does not even have ops to be named. */
WRONG_TEST(remove_never_inserted)
{
	SKIP_ON_STOCK();
	ASSERT_EQ(1, remove_some(self->fd, 0, 1, TMU_AGAIN));
	EXPECT_WARNED(1);
	expect_works(_metadata, self);
	ASSERT_EQ(1, remove_some(self->fd, 1, 1, TMU_AGAIN));
	EXPECT_WARNED(1);
	expect_works(_metadata, self);
}

TEST_HARNESS_MAIN
