// SPDX-License-Identifier: GPL-2.0
/*
 * MMU notifiers: bad input.
 *
 * What a driver must not do with the core gets one warning and does no harm; and
 * the device of lib/test_mmu_notifier.c, which all tests rely on, stands any
 * argument.  MMU_NOTIFIER_SEED=n replays a run of random arguments.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "mmu_notifier_util.h"

#define WARN_COUNT	"/sys/kernel/warn_count"
#define CLEAR_ONCE	"/sys/kernel/debug/clear_warn_once"

/* Misuse of the core */

FIXTURE(misuse)
{
	int fd;
};

FIXTURE_VARIANT(misuse)
{
	unsigned int id;
	int ret;
	/* Of the memory of a process that has exited. */
	bool dead;
};

FIXTURE_VARIANT_ADD(misuse, register_twice)
{
	.id = TMN_MISUSE_REGISTER_TWICE,
	.ret = -EEXIST,
};

FIXTURE_VARIANT_ADD(misuse, unregister_twice)
{
	.id = TMN_MISUSE_UNREGISTER_TWICE,
};

FIXTURE_VARIANT_ADD(misuse, put_twice)
{
	.id = TMN_MISUSE_PUT_TWICE,
};

FIXTURE_VARIANT_ADD(misuse, refuse)
{
	.id = TMN_MISUSE_REFUSE,
};

FIXTURE_VARIANT_ADD(misuse, contradicting_ops)
{
	.id = TMN_MISUSE_OPS,
	.ret = -EINVAL,
};

FIXTURE_VARIANT_ADD(misuse, register_locked)
{
	.id = TMN_MISUSE_LOCKED,
	.ret = -EINVAL,
};

FIXTURE_VARIANT_ADD(misuse, get_locked)
{
	.id = TMN_MISUSE_GET_LOCKED,
	.ret = -EINVAL,
};

FIXTURE_VARIANT_ADD(misuse, dead_mm)
{
	.id = TMN_MISUSE_DEAD,
	.ret = -EINVAL,
	.dead = true,
};

FIXTURE_VARIANT_ADD(misuse, dead_mm_interval)
{
	.id = TMN_MISUSE_DEAD_INTERVAL,
	.ret = -EINVAL,
	.dead = true,
};

FIXTURE_SETUP(misuse)
{
	self->fd = mn_open();
	if (self->fd < 0)
		SKIP(return, "no " MN_DEVICE);
	if (access(WARN_COUNT, R_OK) || mn_write_file(CLEAR_ONCE, "1"))
		SKIP(return, "no " WARN_COUNT " or no " CLEAR_ONCE);
}

FIXTURE_TEARDOWN(misuse)
{
	close(self->fd);
}

static int misuse(int fd, unsigned long id)
{
	return ioctl(fd, TMN_MISUSE, id) ? -errno : 0;
}

/* A process that exits when its end of the pipe is written to. */
static pid_t fork_waiter(int go[2])
{
	pid_t pid;
	char c;

	if (pipe(go))
		return -1;
	pid = fork();
	if (!pid)
		_exit(read(go[0], &c, 1) != 1);
	return pid;
}

TEST_F(misuse, is_warned_of)
{
	long before, after;
	int ret, go[2];
	pid_t pid;

	if (variant->dead) {
		pid = fork_waiter(go);
		ASSERT_LT(0, pid);
		ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, pid));
		EXPECT_EQ(-EBUSY, misuse(self->fd, variant->id));
		ASSERT_EQ(1, write(go[1], "", 1));
		ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	}
	ASSERT_EQ(0, mn_read_long(WARN_COUNT, &before));
	ret = misuse(self->fd, variant->id);
	if (ret == -EOPNOTSUPP)
		SKIP(return, "this kernel does not look");
	EXPECT_EQ(variant->ret, ret);
	ASSERT_EQ(0, mn_read_long(WARN_COUNT, &after));
	EXPECT_EQ(1, after - before);

	mn_detach(self->fd);
	EXPECT_EQ(NULL, mn_works(self->fd, TMN_STYLE_KVM, 0));
	EXPECT_EQ(NULL, mn_works(self->fd, TMN_STYLE_XPMEM, TMN_ATTACH_GET));
	EXPECT_EQ(NULL, mn_works(self->fd, TMN_STYLE_INTERVAL, 0));
}

TEST(misuse_unknown)
{
	int fd = mn_open();

	if (fd < 0)
		SKIP(return, "no " MN_DEVICE);
	if (!mn_core_drains())
		SKIP(return, "this core is not to be misused");
	EXPECT_EQ(-EINVAL, misuse(fd, TMN_MISUSES));
	EXPECT_EQ(-EINVAL, misuse(fd, -1UL));
	close(fd);
}

/* Random arguments */

#define MMUS		6
#define PAGES		4
#define ROUNDS		20000
#define THREADS		4

struct fuzz {
	uint64_t random;
	int fd[MMUS];
	char *pages;
	unsigned int rounds;
	/* Nobody else uses the files: what fails must have changed nothing. */
	bool alone;
	const char *error;
	unsigned int accepted;
	unsigned int refused;
};

/* xorshift64*: the same numbers everywhere. */
static uint64_t next(struct fuzz *fuzz)
{
	fuzz->random ^= fuzz->random >> 12;
	fuzz->random ^= fuzz->random << 25;
	fuzz->random ^= fuzz->random >> 27;
	return fuzz->random * 2685821657736338717ULL;
}

static uint64_t below(struct fuzz *fuzz, uint64_t limit)
{
	return (next(fuzz) >> 11) % limit;
}

/* At limits, beyond them, and anything. */
static uint64_t number(struct fuzz *fuzz)
{
	uint64_t page = (uintptr_t)fuzz->pages +
			below(fuzz, PAGES) * mn_page_size();

	switch (below(fuzz, 14)) {
	case 0:
		return 0;
	case 1:
		return below(fuzz, 8);
	case 2:
	case 3:
	case 4:
	case 5:
		return page + 8 * below(fuzz, mn_page_size() / 8);
	case 6:
		return page;
	case 7:
		return page + below(fuzz, mn_page_size());
	case 8:
		return mn_page_size() << below(fuzz, 3);
	case 9:
		/* The end of user space, about. */
		return (1ULL << 47) - mn_page_size() * below(fuzz, 3) -
			8 * below(fuzz, 2);
	case 10:
		return -(uint64_t)below(fuzz, 2 * mn_page_size());
	case 11:
		return (1ULL << below(fuzz, 64)) - below(fuzz, 2);
	case 12:
		return TMN_MAX_DELAY_US - 2 + below(fuzz, 4);
	default:
		return next(fuzz);
	}
}

/* What would take long, or be none of our business. */
static void tame(struct fuzz *fuzz, unsigned long command, void *argument)
{
	struct tmn_misbehave *misbehave = argument;
	struct tmn_attach *attach = argument;
	struct tmn_bench *bench = argument;

	switch (command) {
	case TMN_ATTACH:
		if (attach->pid > 0 && attach->pid < 1 << 22)
			attach->pid = below(fuzz, 2) ? getpid() : 0;
		break;
	case TMN_MISBEHAVE:
		if (misbehave->start_delay_us <= TMN_MAX_DELAY_US)
			misbehave->start_delay_us %= 100;
		if (misbehave->end_delay_us <= TMN_MAX_DELAY_US)
			misbehave->end_delay_us %= 100;
		break;
	case TMN_BENCH:
		if (bench->loops <= TMN_MAX_LOOPS)
			bench->loops %= 4;
		break;
	}
}

/* Each field of the argument: what is right often enough, or a number. */
static void fill(struct fuzz *fuzz, unsigned long command, void *argument,
		 size_t size)
{
	struct tmn_misbehave *misbehave = argument;
	struct tmn_access *access = argument;
	struct tmn_attach *attach = argument;
	struct tmn_range *range = argument;
	struct tmn_bench *bench = argument;
	uint32_t *word = argument;
	size_t i;

	for (i = 0; i < size / sizeof(*word); i++)
		word[i] = below(fuzz, 2) ? number(fuzz) : 0;
	if (below(fuzz, 8) == 0)
		return;

	switch (command) {
	case TMN_ATTACH:
		attach->style = below(fuzz, TMN_STYLES + 2);
		attach->flags = below(fuzz, 5);
		attach->reserved = !below(fuzz, 16);
		attach->start = below(fuzz, 2) ? number(fuzz) : 0;
		attach->length = below(fuzz, 2) ? number(fuzz) : 0;
		break;
	case TMN_LOAD:
	case TMN_STORE:
		access->addr = number(fuzz);
		access->flags = below(fuzz, 3);
		access->reserved = !below(fuzz, 16);
		break;
	case TMN_DROP:
		range->start = number(fuzz);
		range->length = number(fuzz);
		break;
	case TMN_MISBEHAVE:
		misbehave->start = number(fuzz);
		misbehave->length = number(fuzz);
		misbehave->events = below(fuzz, 2 << TMN_EVENTS);
		misbehave->flags = below(fuzz, 3);
		misbehave->reserved = !below(fuzz, 16);
		break;
	case TMN_BENCH:
		bench->style = below(fuzz, TMN_STYLES + 2);
		break;
	}
}

/* Errors that the interface knows. */
static bool known(int error)
{
	switch (error) {
	case EINVAL:
	case EFAULT:
	case ENOTCONN:
	case EOPNOTSUPP:
	case EBUSY:
	case ESRCH:
	case ENOENT:
	case ENOSPC:
	case ERANGE:
	case ENOTTY:
		return true;
	default:
		return false;
	}
}

static const char *fuzz_once(struct fuzz *fuzz)
{
	static const unsigned long commands[] = {
		TMN_ATTACH, TMN_DETACH, TMN_LOAD, TMN_STORE, TMN_DROP,
		TMN_STATS, TMN_MISBEHAVE, TMN_BENCH, TMN_LOAD, TMN_STORE,
		TMN_LOAD, TMN_STORE, TMN_ATTACH,
	};
	unsigned long command = commands[below(fuzz, ARRAY_SIZE(commands))];
	int fd = fuzz->fd[below(fuzz, MMUS)];
	struct tmn_stats before = {}, after;
	/* Twice as much as any command takes. */
	union {
		struct tmn_stats stats;
		uint32_t word[64];
	} argument = {};
	void *pointer = &argument;
	int ret;

	fill(fuzz, command, &argument, sizeof(argument));
	tame(fuzz, command, &argument);
	switch (below(fuzz, 40)) {
	case 0:
		/* Neither this size nor this number is known. */
		command += 1UL << (16 + below(fuzz, 14));
		break;
	case 1:
		command = next(fuzz) & 0xffffffff;
		/* Not by chance what takes long or warns. */
		if ((command & 0xffff) >> 8 == 'N')
			command ^= 0x100;
		break;
	case 2:
		/* 0, the kernel, the end of everything, somewhere. */
		pointer = (void *)(below(fuzz, 2) ? -below(fuzz, 1UL << 47) :
						    below(fuzz, 4096));
		break;
	}

	if (fuzz->alone)
		mn_stats(fd, &before);
	ret = ioctl(fd, command, pointer);
	if (!ret) {
		fuzz->accepted++;
		return NULL;
	}
	fuzz->refused++;
	if (!known(errno)) {
		ksft_print_msg("command %#lx: errno %d\n", command, errno);
		return "an error that the interface does not know";
	}
	if (!fuzz->alone)
		return NULL;
	mn_stats(fd, &after);
	return before.style == after.style &&
	       before.translations == after.translations ?
	       NULL : "what failed has changed something";
}

/* Pages that a secondary MMU shows wrong; none if it is not attached. */
static unsigned int stale(int fd, const void *pages)
{
	uint64_t value;

	if (mn_load_nofault(fd, pages, &value) == -ENOTCONN)
		return 0;
	return mn_stale(fd, pages, PAGES);
}

/* Every now and then the pages change, and every MMU has to know. */
static const char *check(struct fuzz *fuzz)
{
	unsigned int i;

	madvise(fuzz->pages + below(fuzz, PAGES) * mn_page_size(),
		mn_page_size(), MADV_DONTNEED);
	for (i = 0; i < MMUS && fuzz->alone; i++) {
		if (stale(fuzz->fd[i], fuzz->pages))
			return "a translation is stale";
	}
	return NULL;
}

static void *run_fuzz(void *arg)
{
	struct fuzz *fuzz = arg;
	unsigned int round;

	for (round = 0; round < fuzz->rounds && !fuzz->error; round++) {
		fuzz->error = fuzz_once(fuzz);
		if (!fuzz->error && round % 64 == 0)
			fuzz->error = check(fuzz);
	}
	return NULL;
}

static uint64_t seed(void)
{
	const char *text = getenv("MMU_NOTIFIER_SEED");

	return text ? strtoull(text, NULL, 0) : 1;
}

FIXTURE(random)
{
	struct fuzz fuzz;
	long users;
	long warnings;
};

FIXTURE_SETUP(random)
{
	unsigned int i;

	if (access(MN_DEVICE, R_OK | W_OK))
		SKIP(return, "no " MN_DEVICE);
	self->users = mn_module_users();
	mn_read_long(WARN_COUNT, &self->warnings);
	for (i = 0; i < MMUS; i++) {
		self->fuzz.fd[i] = mn_open();
		ASSERT_LE(0, self->fuzz.fd[i]);
	}
	self->fuzz.pages = mn_map(PAGES * mn_page_size(), mn_page_size());
	/* The generator stays at 0 once it is there. */
	self->fuzz.random = seed() * 0x9e3779b97f4a7c15ULL | 1;
	TH_LOG("MMU_NOTIFIER_SEED=%llu", (unsigned long long)seed());
}

FIXTURE_TEARDOWN(random)
{
	long warnings = 0;
	unsigned int i;

	for (i = 0; i < MMUS; i++) {
		mn_detach(self->fuzz.fd[i]);
		EXPECT_EQ(NULL, mn_works(self->fuzz.fd[i], TMN_STYLE_KVM, 0));
		close(self->fuzz.fd[i]);
	}
	EXPECT_TRUE(mn_wait_module_users(self->users));
	mn_read_long(WARN_COUNT, &warnings);
	EXPECT_EQ(self->warnings, warnings);
}

TEST_F_TIMEOUT(random, one_thread, 300)
{
	self->fuzz.alone = true;
	self->fuzz.rounds = ROUNDS;
	run_fuzz(&self->fuzz);
	EXPECT_EQ(NULL, self->fuzz.error) {
		TH_LOG("%s", self->fuzz.error);
	}
	/* Both are worth something only if there was enough of them. */
	EXPECT_LT(ROUNDS / 20, self->fuzz.accepted);
	EXPECT_LT(ROUNDS / 20, self->fuzz.refused);
}

TEST_F_TIMEOUT(random, threads, 300)
{
	struct fuzz fuzz[THREADS];
	pthread_t thread[THREADS];
	unsigned int i;

	for (i = 0; i < THREADS; i++) {
		fuzz[i] = self->fuzz;
		fuzz[i].random = next(&self->fuzz) | 1;
		fuzz[i].rounds = ROUNDS / THREADS;
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, run_fuzz,
					    &fuzz[i]));
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		EXPECT_EQ(NULL, fuzz[i].error) {
			TH_LOG("%s", fuzz[i].error);
		}
	}
	for (i = 0; i < MMUS; i++)
		EXPECT_EQ(0, stale(self->fuzz.fd[i], self->fuzz.pages));
}

/* Unloading the module: last, since the others need it. */

TEST(unload_while_subscribed)
{
	int i, fd = mn_open(), fds[32];
	char *page;

	if (fd < 0)
		SKIP(return, "no " MN_DEVICE);
	if (mn_module_users() < 0)
		SKIP(return, "no module");
	page = mn_map(mn_page_size(), mn_page_size());
	mn_fill(page, 1, 1);
	ASSERT_EQ(0, mn_attach(fd, TMN_STYLE_KVM, 0, 0));
	EXPECT_EQ(-EWOULDBLOCK, mn_unload_module());
	/* It goes on. */
	EXPECT_EQ(0, mn_mirror(fd, page, 1, true));
	ASSERT_EQ(0, madvise(page, mn_page_size(), MADV_DONTNEED));
	EXPECT_EQ(0, mn_wrong(fd, page, 1));
	EXPECT_TRUE(mn_balanced(fd));
	close(fd);

	/* What was put is freed later, by code of the module. */
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = mn_open();
		ASSERT_LE(0, fds[i]);
		ASSERT_EQ(0, mn_attach(fds[i], i % 2 ? TMN_STYLE_KVM :
					       TMN_STYLE_XPMEM,
				       TMN_ATTACH_GET, 0));
	}
	for (i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	EXPECT_EQ(0, mn_unload_module());
	EXPECT_NE(0, access(MN_DEVICE, F_OK));
	ASSERT_TRUE(mn_load_module());
	fd = mn_open();
	ASSERT_LE(0, fd);
	EXPECT_EQ(NULL, mn_works(fd, TMN_STYLE_KVM, 0));
	close(fd);
}

TEST_HARNESS_MAIN
