// SPDX-License-Identifier: GPL-2.0
/*
 * MMU notifiers: every change of the CPU's page tables, watched by every style
 * of software secondary MMU (lib/test_mmu_notifier.c), and the interface of
 * those.  Registration has its own tests, in mmu_notifier_register_test.c.
 *
 * To be run as root, with page_poison=1 or init_on_free=1, so that what is read
 * through a stale translation differs from what was there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "mmu_notifier_events.h"
#include "mmu_notifier_util.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif

#define MN_MMAP_MIN_ADDR	"/proc/sys/vm/mmap_min_addr"

/* Events */

FIXTURE(event)
{
	struct mn_run run;
};

FIXTURE_VARIANT(event)
{
	unsigned int style;
};

FIXTURE_VARIANT_ADD(event, gru)
{
	.style = TMN_STYLE_GRU,
};

FIXTURE_VARIANT_ADD(event, kvm)
{
	.style = TMN_STYLE_KVM,
};

FIXTURE_VARIANT_ADD(event, xpmem)
{
	.style = TMN_STYLE_XPMEM,
};

FIXTURE_VARIANT_ADD(event, interval)
{
	.style = TMN_STYLE_INTERVAL,
};

FIXTURE_VARIANT_ADD(event, both)
{
	.style = TMN_STYLE_BOTH,
};

FIXTURE_SETUP(event)
{
	self->run.style = variant->style;
}

FIXTURE_TEARDOWN(event)
{
}

#define EVENT_TEST(fixture, table, name, seconds)			\
TEST_F_TIMEOUT(fixture, name, seconds)					\
{									\
	switch (mn_run_event(&table[MN_EVENT_##name], &self->run)) {	\
	case MN_SKIP:							\
		SKIP(return, "%s", self->run.why);			\
	case MN_FAIL:							\
		TH_LOG("%s", self->run.why);				\
		ASSERT_TRUE(false);					\
	case MN_PASS:							\
		break;							\
	}								\
}

#define ANY_EVENT_TEST(name, seconds)					\
	EVENT_TEST(event, mn_events, name, seconds)
MN_EVENTS(ANY_EVENT_TEST)

/* Huge pages: for those that hear of single mappings. */

FIXTURE(huge)
{
	struct mn_run run;
};

FIXTURE_VARIANT(huge)
{
	unsigned int style;
};

FIXTURE_VARIANT_ADD(huge, gru)
{
	.style = TMN_STYLE_GRU,
};

FIXTURE_VARIANT_ADD(huge, both)
{
	.style = TMN_STYLE_BOTH,
};

FIXTURE_SETUP(huge)
{
	self->run.style = variant->style;
}

FIXTURE_TEARDOWN(huge)
{
}

#define HUGE_EVENT_TEST(name, seconds)					\
	EVENT_TEST(huge, mn_huge_events, name, seconds)
MN_HUGE_EVENTS(HUGE_EVENT_TEST)

/* What drivers do, to memory that only mmu_notifier_fault() maps. */

FIXTURE(driver)
{
	struct mn_run run;
};

FIXTURE_SETUP(driver)
{
	self->run.style = TMN_STYLE_GRU;
}

FIXTURE_TEARDOWN(driver)
{
}

#define DRIVER_EVENT_TEST(name, seconds)				\
	EVENT_TEST(driver, mn_driver_events, name, seconds)
MN_DRIVER_EVENTS(DRIVER_EVENT_TEST)

/* The interface */

FIXTURE(mmu)
{
	int fd;
	char *page;
};

FIXTURE_SETUP(mmu)
{
	self->fd = mn_open();
	if (self->fd < 0)
		SKIP(return, "no " MN_DEVICE);
	self->page = mn_map(mn_page_size(), mn_page_size());
	mn_fill(self->page, 1, 1);
}

FIXTURE_TEARDOWN(mmu)
{
	if (self->fd >= 0)
		close(self->fd);
}

static int call(int fd, unsigned long command, const void *arg)
{
	return ioctl(fd, command, arg) ? -errno : 0;
}

TEST_F(mmu, wrong_attach)
{
	static const struct {
		struct tmn_attach args;
		int error;
	} wrong[] = {
		{ { .style = TMN_STYLE_NONE }, -EINVAL },
		{ { .style = TMN_STYLES }, -EINVAL },
		{ { .style = ~0U }, -EINVAL },
		{ { .style = TMN_STYLE_KVM, .flags = 1 << 2 }, -EINVAL },
		{ { .style = TMN_STYLE_GRU, .flags = TMN_ATTACH_LOCKED },
		  -EINVAL },
		{ { .style = TMN_STYLE_BOTH, .flags = TMN_ATTACH_LOCKED },
		  -EINVAL },
		{ { .style = TMN_STYLE_BOTH, .flags = TMN_ATTACH_GET },
		  -EINVAL },
		{ { .style = TMN_STYLE_KVM, .flags = 1U << 31 }, -EINVAL },
		{ { .style = TMN_STYLE_KVM, .reserved = 1 }, -EINVAL },
		{ { .style = TMN_STYLE_KVM, .start = 4096 }, -EINVAL },
		{ { .style = TMN_STYLE_KVM, .length = 4096 }, -EINVAL },
		{ { .style = TMN_STYLE_KVM, .pid = -1 }, -EINVAL },
		{ { .style = TMN_STYLE_KVM, .pid = 0x7fffffff }, -ESRCH },
		/* A kernel thread has no memory. */
		{ { .style = TMN_STYLE_KVM, .pid = 2 }, -ESRCH },
		{ { .style = TMN_STYLE_INTERVAL }, -EINVAL },
		{ { .style = TMN_STYLE_INTERVAL, .start = 1,
		    .length = 1 << 20 }, -EINVAL },
		{ { .style = TMN_STYLE_INTERVAL, .length = 1 }, -EINVAL },
		{ { .style = TMN_STYLE_INTERVAL, .length = -(1ULL << 20) },
		  -EINVAL },
		{ { .style = TMN_STYLE_INTERVAL, .start = -(1ULL << 20),
		    .length = 1ULL << 20 }, -EINVAL },
		{ { .style = TMN_STYLE_INTERVAL, .start = -(1ULL << 20),
		    .length = 1ULL << 21 }, -EINVAL },
		{ { .style = TMN_STYLE_INTERVAL, .flags = TMN_ATTACH_GET,
		    .length = 1 << 20 }, -EINVAL },
	};
	struct tmn_stats stats;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		EXPECT_EQ(wrong[i].error,
			  call(self->fd, TMN_ATTACH, &wrong[i].args)) {
			TH_LOG("case %u", i);
		}
	}
	EXPECT_EQ(-EFAULT, call(self->fd, TMN_ATTACH, (void *)8));

	ASSERT_EQ(0, mn_stats(self->fd, &stats));
	EXPECT_EQ(TMN_STYLE_NONE, stats.style);
	EXPECT_EQ(-ENOTCONN, mn_detach(self->fd));
	EXPECT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
}

TEST_F(mmu, not_attached)
{
	struct tmn_misbehave behave = { .events = MN_ALL_EVENTS };
	struct tmn_stats stats;
	uint64_t value;

	EXPECT_EQ(-ENOTCONN, mn_detach(self->fd));
	EXPECT_EQ(-ENOTCONN, mn_load(self->fd, self->page, &value));
	EXPECT_EQ(-ENOTCONN, mn_store(self->fd, self->page, 0));
	EXPECT_EQ(-ENOTCONN, mn_drop(self->fd, self->page, mn_page_size()));
	EXPECT_EQ(-ENOTCONN, call(self->fd, TMN_MISBEHAVE, &behave));
	ASSERT_EQ(0, mn_stats(self->fd, &stats));
	EXPECT_EQ(TMN_STYLE_NONE, stats.style);
	EXPECT_EQ(mn_value(self->page, 1), mn_cpu(self->page));
}

TEST_F(mmu, wrong_access)
{
	static const char text[] = "a page that may not be written";
	struct tmn_stats before, after;
	struct tmn_access access = {
		.addr = (uintptr_t)self->page,
		.value = 1,
	};
	uint64_t value = 42;

	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
	ASSERT_EQ(0, mn_stats(self->fd, &before));

	access.flags = 1 << 1;
	EXPECT_EQ(-EINVAL, call(self->fd, TMN_LOAD, &access));
	EXPECT_EQ(-EINVAL, call(self->fd, TMN_STORE, &access));
	access.flags = 0;
	access.reserved = 1;
	EXPECT_EQ(-EINVAL, call(self->fd, TMN_LOAD, &access));
	EXPECT_EQ(-EINVAL, call(self->fd, TMN_STORE, &access));
	EXPECT_EQ(-EFAULT, call(self->fd, TMN_LOAD, (void *)8));
	EXPECT_EQ(-EFAULT, call(self->fd, TMN_STORE, (void *)8));

	EXPECT_EQ(-EINVAL, mn_load(self->fd, self->page + 4, &value));
	EXPECT_EQ(-EINVAL, mn_store(self->fd, self->page + 4, 0));
	EXPECT_EQ(-EFAULT, mn_load(self->fd, NULL, &value));
	/* Not user space at all. */
	EXPECT_EQ(-EFAULT, mn_load(self->fd, (void *)-8L, &value));
	EXPECT_EQ(-EFAULT, mn_store(self->fd, (void *)-8L, 0));
	EXPECT_EQ(-EFAULT, mn_store(self->fd, (void *)((uintptr_t)text & ~7UL),
				    0));
	EXPECT_EQ(42, value);

	ASSERT_EQ(0, mn_stats(self->fd, &after));
	EXPECT_EQ(before.translations, after.translations);
	EXPECT_EQ(before.faults, after.faults);
	EXPECT_EQ(mn_value(self->page, 1), mn_cpu(self->page));
}

TEST_F(mmu, wrong_drop)
{
	struct tmn_stats stats;
	uint64_t value;

	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
	ASSERT_EQ(0, mn_load(self->fd, self->page, &value));

	EXPECT_EQ(-EINVAL, mn_drop(self->fd, self->page, 0));
	EXPECT_EQ(-EINVAL, mn_drop(self->fd, self->page, 1));
	EXPECT_EQ(-EINVAL, mn_drop(self->fd, self->page + 1, mn_page_size()));
	EXPECT_EQ(-EINVAL, mn_drop(self->fd, self->page, -mn_page_size()));
	EXPECT_EQ(-EINVAL, mn_drop(self->fd, (void *)-mn_page_size(),
				   mn_page_size()));
	EXPECT_EQ(-EFAULT, call(self->fd, TMN_DROP, (void *)8));
	ASSERT_EQ(0, mn_stats(self->fd, &stats));
	EXPECT_EQ(1, stats.translations);

	EXPECT_EQ(0, mn_drop(self->fd, self->page, mn_page_size()));
	EXPECT_EQ(-ENOENT, mn_load_nofault(self->fd, self->page, &value));
}

TEST_F(mmu, wrong_misbehave)
{
	static const struct tmn_misbehave wrong[] = {
		{ .events = 0, .start_delay_us = 1 },
		{ .events = 1U << TMN_EVENTS },
		{ .events = 1, .flags = 1 << 1 },
		{ .events = 1, .reserved = 1 },
		{ .events = 1, .start_delay_us = TMN_MAX_DELAY_US + 1 },
		{ .events = 1, .end_delay_us = TMN_MAX_DELAY_US + 1 },
		{ .events = 1, .start = 4096, .length = -1ULL },
	};
	struct tmn_stats stats;
	uint64_t start;
	unsigned int i;

	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		EXPECT_EQ(-EINVAL, call(self->fd, TMN_MISBEHAVE, &wrong[i])) {
			TH_LOG("case %u", i);
		}
	}
	EXPECT_EQ(-EFAULT, call(self->fd, TMN_MISBEHAVE, (void *)8));

	/* None of it took hold. */
	start = mn_now_ns();
	ASSERT_EQ(0, munmap(self->page, mn_page_size()));
	EXPECT_LT(mn_now_ns() - start, 5000000000ULL);
	ASSERT_EQ(0, mn_stats(self->fd, &stats));
	EXPECT_EQ(0, stats.delayed);
}

TEST_F(mmu, wrong_bench)
{
	static const struct tmn_bench wrong[] = {
		{ .style = TMN_STYLE_NONE, .loops = 0 },
		{ .style = TMN_STYLES, .loops = 1 },
		{ .style = TMN_STYLE_KVM, .loops = 0 },
		{ .style = TMN_STYLE_KVM, .loops = TMN_MAX_LOOPS + 1 },
		{ .style = TMN_STYLE_KVM, .loops = 1, .length = 4096 },
		{ .style = TMN_STYLE_INTERVAL, .loops = 1, .length = 1 },
	};
	struct tmn_bench bench = { .style = TMN_STYLE_KVM, .loops = 11 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++)
		EXPECT_EQ(-EINVAL, call(self->fd, TMN_BENCH, &wrong[i]));
	EXPECT_EQ(-EFAULT, call(self->fd, TMN_BENCH, (void *)8));

	ASSERT_EQ(0, call(self->fd, TMN_BENCH, &bench));
	EXPECT_GT(bench.register_min_ns, 0);
	EXPECT_LE(bench.register_min_ns, bench.register_median_ns);
	EXPECT_LE(bench.unregister_min_ns, bench.unregister_median_ns);
}

TEST_F(mmu, unknown_command)
{
	EXPECT_EQ(-ENOTTY, call(self->fd, _IO('N', 0x7f), NULL));
	EXPECT_EQ(-ENOTTY, call(self->fd, _IO('X', 1), NULL));
}

TEST_F(mmu, outside_interval)
{
	struct tmn_attach args = {
		.style = TMN_STYLE_INTERVAL,
		.length = mn_page_size(),
	};
	char *other = mn_map(mn_page_size(), mn_page_size());
	uint64_t value;

	args.start = (uintptr_t)self->page;
	ASSERT_EQ(0, call(self->fd, TMN_ATTACH, &args));
	EXPECT_EQ(0, mn_load(self->fd, self->page, &value));
	EXPECT_EQ(-ERANGE, mn_load(self->fd, other, &value));
	EXPECT_EQ(-ENOENT, mn_load_nofault(self->fd, other, &value));
}

TEST_F(mmu, too_many_translations)
{
	static const char path[] =
		"/sys/module/test_mmu_notifier/parameters/max_translations";
	char *pages = mn_map(3 * mn_page_size(), mn_page_size());
	uint64_t value;
	long limit;

	if (mn_read_long(path, &limit))
		SKIP(return, "no %s", path);
	mn_fill(pages, 3, 1);
	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_XPMEM, 0, 0));
	ASSERT_EQ(0, mn_write_file(path, "2"));
	EXPECT_EQ(0, mn_load(self->fd, pages, &value));
	EXPECT_EQ(0, mn_load(self->fd, pages + mn_page_size(), &value));
	EXPECT_EQ(-ENOSPC, mn_load(self->fd, pages + 2 * mn_page_size(),
				   &value));
	/* One that is there may be replaced. */
	EXPECT_EQ(0, mn_store(self->fd, pages, mn_value(pages, 2)));
	EXPECT_EQ(0, mn_write_file(path, "%ld", limit));
	EXPECT_EQ(0, mn_wrong(self->fd, pages, 3));
}

/* Attaching twice, detaching twice, and again after that. */
TEST_F(mmu, attach_twice)
{
	struct tmn_stats stats;
	uint64_t value;
	int fd2;

	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
	ASSERT_EQ(0, mn_load(self->fd, self->page, &value));
	EXPECT_EQ(-EBUSY, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
	EXPECT_EQ(-EBUSY, mn_attach(self->fd, TMN_STYLE_XPMEM, 0, 0));
	EXPECT_EQ(-EBUSY, mn_attach(self->fd, TMN_STYLE_KVM, TMN_ATTACH_GET,
				    0));
	/* As if nothing had been tried. */
	EXPECT_EQ(0, mn_load_nofault(self->fd, self->page, &value));
	ASSERT_EQ(0, mn_stats(self->fd, &stats));
	EXPECT_EQ(TMN_STYLE_KVM, stats.style);

	/* Several secondary MMUs may mirror one process. */
	fd2 = mn_open();
	ASSERT_LE(0, fd2);
	ASSERT_EQ(0, mn_attach(fd2, TMN_STYLE_XPMEM, 0, 0));
	ASSERT_EQ(0, mn_load(fd2, self->page, &value));
	ASSERT_EQ(0, madvise(self->page, mn_page_size(), MADV_DONTNEED));
	EXPECT_EQ(0, mn_stale(self->fd, self->page, 1));
	EXPECT_EQ(0, mn_stale(fd2, self->page, 1));
	EXPECT_TRUE(mn_balanced(self->fd));
	EXPECT_TRUE(mn_balanced(fd2));
	EXPECT_EQ(0, mn_detach(fd2));
	EXPECT_EQ(-ENOTCONN, mn_detach(fd2));

	EXPECT_EQ(0, mn_detach(self->fd));
	EXPECT_EQ(-ENOTCONN, mn_detach(self->fd));
	EXPECT_EQ(0, mn_attach(self->fd, TMN_STYLE_INTERVAL, 0, 0));
	EXPECT_EQ(-ENOENT, mn_load_nofault(self->fd, self->page, &value));
	mn_fill(self->page, 1, 3);
	EXPECT_EQ(0, mn_wrong(self->fd, self->page, 1));
	EXPECT_EQ(0, mn_detach(self->fd));
	close(fd2);
}

/* What callbacks said until DETACH can be read after it. */
TEST_F(mmu, statistics_after_detach)
{
	struct tmn_stats stats;
	uint64_t value;

	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
	ASSERT_EQ(0, mn_load(self->fd, self->page, &value));
	ASSERT_EQ(0, madvise(self->page, mn_page_size(), MADV_DONTNEED));
	ASSERT_EQ(0, mn_detach(self->fd));
	ASSERT_EQ(0, mn_stats(self->fd, &stats));
	EXPECT_EQ(TMN_STYLE_KVM, stats.style);
	EXPECT_LE(1, stats.starts);
	EXPECT_EQ(stats.starts, stats.ends);
	EXPECT_EQ(1, stats.releases);
	EXPECT_EQ(0, stats.translations);
	EXPECT_EQ(0, stats.active);
}

/* mmu_notifier_get(): one subscription for all who ask. */
TEST_F(mmu, get_and_put)
{
	static const unsigned int styles[] = { TMN_STYLE_KVM, TMN_STYLE_XPMEM };
	unsigned int i, round;
	uint64_t value;
	int fd2, fd3;

	fd2 = mn_open();
	fd3 = mn_open();
	ASSERT_LE(0, fd2);
	ASSERT_LE(0, fd3);
	for (round = 0; round < 20; round++) {
		for (i = 0; i < ARRAY_SIZE(styles); i++) {
			mn_fill(self->page, 1, round + 1);
			/* Registered, so not to be had with a get. */
			ASSERT_EQ(0, mn_attach(fd3, styles[i], 0, 0));
			ASSERT_EQ(0, mn_attach(self->fd, styles[i],
					       TMN_ATTACH_GET, 0));
			ASSERT_EQ(0, mn_attach(fd2, styles[i],
					       TMN_ATTACH_GET, 0));
			ASSERT_EQ(0, mn_load(self->fd, self->page, &value));
			/* It is the same one. */
			EXPECT_EQ(0, mn_load_nofault(fd2, self->page, &value));
			EXPECT_EQ(-ENOENT, mn_load_nofault(fd3, self->page,
							   &value));
			EXPECT_EQ(mn_value(self->page, round + 1), value);

			ASSERT_EQ(0, mn_detach(self->fd));
			EXPECT_EQ(0, mn_load_nofault(fd2, self->page, &value));
			madvise(self->page, mn_page_size(), MADV_DONTNEED);
			EXPECT_EQ(0, mn_wrong(fd2, self->page, 1));
			EXPECT_TRUE(mn_balanced(fd2));
			ASSERT_EQ(0, mn_detach(fd2));
			ASSERT_EQ(0, mn_detach(fd3));
		}
	}
	close(fd2);
	close(fd3);
}

/* Two styles, and registered and got ones, do not know each other. */
TEST_F(mmu, get_is_by_ops)
{
	int fd2 = mn_open();
	uint64_t value;

	ASSERT_LE(0, fd2);
	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, TMN_ATTACH_GET, 0));
	ASSERT_EQ(0, mn_attach(fd2, TMN_STYLE_XPMEM, TMN_ATTACH_GET, 0));
	ASSERT_EQ(0, mn_load(self->fd, self->page, &value));
	EXPECT_EQ(-ENOENT, mn_load_nofault(fd2, self->page, &value));
	/* The last put is left to close. */
	close(fd2);
}

/* The caller of the core holds mmap_lock, and still does afterwards. */
TEST_F(mmu, attach_locked)
{
	static const unsigned int styles[] = {
		TMN_STYLE_KVM, TMN_STYLE_XPMEM, TMN_STYLE_INTERVAL,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(styles); i++) {
		ASSERT_EQ(0, mn_attach(self->fd, styles[i], TMN_ATTACH_LOCKED,
				       0));
		EXPECT_EQ(0, mn_mirror(self->fd, self->page, 1, true));
		madvise(self->page, mn_page_size(), MADV_DONTNEED);
		EXPECT_EQ(0, mn_wrong(self->fd, self->page, 1));
		EXPECT_TRUE(mn_balanced(self->fd));
		ASSERT_EQ(0, mn_detach(self->fd));
	}
	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM,
			       TMN_ATTACH_LOCKED | TMN_ATTACH_GET, 0));
	EXPECT_EQ(0, mn_mirror(self->fd, self->page, 1, true));
}

/* A subscription to all has waited for all: an interval need not again. */
TEST_F(mmu, intervals_beside_a_list)
{
	static const unsigned int flags[] = { 0, TMN_ATTACH_LOCKED };
	int fds[3] = { mn_open(), mn_open(), mn_open() };
	unsigned int i;

	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_INTERVAL, 0, 0));
	ASSERT_EQ(0, mn_attach(fds[2], TMN_STYLE_KVM, 0, 0));
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		ASSERT_EQ(0, mn_attach(fds[i], TMN_STYLE_INTERVAL, flags[i],
				       0));
		EXPECT_EQ(0, mn_mirror(fds[i], self->page, 1, true));
	}
	madvise(self->page, mn_page_size(), MADV_DONTNEED);
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		EXPECT_EQ(0, mn_wrong(fds[i], self->page, 1));
		EXPECT_TRUE(mn_balanced(fds[i]));
		close(fds[i]);
	}
}

/* Another process's memory. */
TEST_F(mmu, attach_by_pid)
{
	uint64_t value;
	int to[2], from[2];
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(to));
	ASSERT_EQ(0, pipe(from));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(to[1]);
		mn_fill(self->page, 1, 5);
		if (write(from[1], "", 1) != 1 || read(to[0], &c, 1) != 1)
			_exit(1);
		madvise(self->page, mn_page_size(), MADV_DONTNEED);
		mn_fill(self->page, 1, 6);
		if (write(from[1], "", 1) != 1)
			_exit(1);
		/* The end of the file, because the parent has closed it. */
		_exit(read(to[0], &c, 1) != 0);
	}
	ASSERT_EQ(1, read(from[0], &c, 1));
	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, pid));
	ASSERT_EQ(0, mn_load(self->fd, self->page, &value));
	EXPECT_EQ(mn_value(self->page, 5), value);
	ASSERT_EQ(1, write(to[1], "", 1));
	ASSERT_EQ(1, read(from[0], &c, 1));
	EXPECT_EQ(-ENOENT, mn_load_nofault(self->fd, self->page, &value));
	ASSERT_EQ(0, mn_load(self->fd, self->page, &value));
	EXPECT_EQ(mn_value(self->page, 6), value);
	/* Ours is another page. */
	EXPECT_EQ(mn_value(self->page, 1), mn_cpu(self->page));

	close(to[1]);
	waitpid(pid, NULL, 0);
	EXPECT_EQ(-ENOENT, mn_load_nofault(self->fd, self->page, &value));
	EXPECT_EQ(-ESRCH, mn_load(self->fd, self->page, &value));
	EXPECT_TRUE(mn_balanced(self->fd));
	EXPECT_EQ(0, mn_detach(self->fd));
	EXPECT_EQ(-ESRCH, mn_attach(self->fd, TMN_STYLE_KVM, 0, pid));
}

/* A section that starts at address 0 ends: its end was once forgotten. */
TEST_F_TIMEOUT(mmu, mprotect_at_zero, 60)
{
	size_t size = mn_page_size();
	long least = 0;
	char *zero;
	int fd;

	mn_read_long(MN_MMAP_MIN_ADDR, &least);
	if (mn_write_file(MN_MMAP_MIN_ADDR, "0"))
		SKIP(return, "vm.mmap_min_addr cannot be changed");
	zero = mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	mn_write_file(MN_MMAP_MIN_ADDR, "%ld", least);
	ASSERT_EQ(NULL, zero);

	fd = mn_open();
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, mn_attach(fd, TMN_STYLE_KVM, 0, 0));
	/* The page tables must be there for the section to start. */
	ASSERT_EQ(0, madvise(zero, size, MADV_POPULATE_WRITE));
	ASSERT_EQ(0, mprotect(zero, size, PROT_READ));
	ASSERT_TRUE(mn_balanced(fd));
	ASSERT_EQ(0, munmap(zero, size));
	/* Nothing is left to wait for. */
	EXPECT_EQ(0, mn_detach(fd));
	close(fd);
}

/* Somebody else's section is under way in a process that exits. */
TEST_F_TIMEOUT(mmu, exit_in_a_section, 60)
{
	int file = memfd_create("exit", 0);
	pid_t owner, puncher;
	uint64_t value;
	int to[2];
	char *page, c;

	ASSERT_EQ(0, ftruncate(file, mn_page_size()));
	page = mmap(NULL, mn_page_size(), PROT_READ | PROT_WRITE, MAP_SHARED,
		    file, 0);
	ASSERT_NE(MAP_FAILED, page);
	ASSERT_EQ(0, pipe(to));
	owner = fork();
	ASSERT_LE(0, owner);
	if (!owner) {
		close(to[1]);
		_exit(read(to[0], &c, 1) != 0);
	}
	ASSERT_EQ(0, munmap(page, mn_page_size()));
	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, owner));
	ASSERT_EQ(0, mn_load(self->fd, page, &value));
	ASSERT_EQ(0, mn_stall(self->fd, page, mn_page_size(), 1000000));
	puncher = fork();
	ASSERT_LE(0, puncher);
	if (!puncher) {
		close(to[1]);
		_exit(fallocate(file,
				FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				mn_page_size()) != 0);
	}
	ASSERT_EQ(0, mn_wait_stalled(self->fd));
	close(to[1]);
	/* The exit waits for the callback, and then no end is announced. */
	waitpid(owner, NULL, 0);
	waitpid(puncher, NULL, 0);
	EXPECT_EQ(-ENOENT, mn_load_nofault(self->fd, page, &value));
	EXPECT_EQ(-ESRCH, mn_load(self->fd, page, &value));
	EXPECT_EQ(0, mn_detach(self->fd));
}

/* The idle bit of a page, in a file of one bit a page frame. */
static bool set_idle(int bitmap, uint64_t pfn)
{
	uint64_t word = 1ULL << pfn % 64;

	return pwrite(bitmap, &word, sizeof(word), pfn / 64 * 8) ==
	       sizeof(word);
}

static bool is_idle(int bitmap, uint64_t pfn)
{
	uint64_t word = 0;

	return pread(bitmap, &word, sizeof(word), pfn / 64 * 8) ==
	       sizeof(word) && (word >> pfn % 64 & 1);
}

/* Who looks for pages in use asks secondary MMUs as well. */
TEST_F(mmu, young)
{
	int bitmap = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR);
	struct tmn_stats stats;
	unsigned int tries;
	uint64_t value, pfn;

	if (bitmap < 0)
		SKIP(return, "no idle page tracking");
	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
	ASSERT_EQ(0, mn_load(self->fd, self->page, &value));
	pfn = mn_pfn(self->page);

	/* It takes its time until a new page is where it can be found. */
	for (tries = 0; tries < 50; tries++) {
		ASSERT_TRUE(set_idle(bitmap, pfn));
		if (is_idle(bitmap, pfn))
			break;
		madvise(self->page, mn_page_size(), MADV_COLD);
		mn_sleep_ms(20);
	}
	ASSERT_TRUE(is_idle(bitmap, pfn));
	ASSERT_EQ(0, mn_stats(self->fd, &stats));
	EXPECT_LT(0, stats.young);

	/* The CPU does not touch it: only the secondary MMU knows. */
	ASSERT_EQ(0, mn_load_nofault(self->fd, self->page, &value));
	EXPECT_FALSE(is_idle(bitmap, pfn));
	close(bitmap);
}

TEST_HARNESS_MAIN
