// SPDX-License-Identifier: GPL-2.0
/*
 * The samples of MMU notifiers (samples/mmu_notifier/): that what a driver
 * writer starts from works.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "mmu_notifier_util.h"

FIXTURE(sample)
{
	int fd;
	size_t size;
	char *page;
};

FIXTURE_VARIANT(sample)
{
	const char *device;
};

FIXTURE_VARIANT_ADD(sample, page)
{
	.device = "/dev/sample_mmu_page",
};

FIXTURE_VARIANT_ADD(sample, range)
{
	.device = "/dev/sample_mmu_range",
};

FIXTURE_VARIANT_ADD(sample, sleep)
{
	.device = "/dev/sample_mmu_sleep",
};

FIXTURE_SETUP(sample)
{
	self->fd = open(variant->device, O_RDWR);
	if (self->fd < 0)
		SKIP(return, "no CONFIG_SAMPLE_MMU_NOTIFIER");
	self->size = mn_page_size();
	self->page = mn_map(self->size, self->size);
	mn_fill(self->page, 1, 1);
}

FIXTURE_TEARDOWN(sample)
{
	close(self->fd);
}

/* What the device sees; where it sees nothing, the negative errno. */
static uint64_t load(int fd, const void *addr)
{
	uint64_t value;

	if (pread(fd, &value, sizeof(value), (off_t)addr) != sizeof(value))
		return -errno;
	return value;
}

static int store(int fd, void *addr, uint64_t value)
{
	if (pwrite(fd, &value, sizeof(value), (off_t)addr) != sizeof(value))
		return -errno;
	return 0;
}

TEST_F(sample, loads_and_stores)
{
	EXPECT_EQ(mn_value(self->page, 1), load(self->fd, self->page));
	mn_fill(self->page, 1, 2);
	EXPECT_EQ(mn_value(self->page, 2), load(self->fd, self->page));
	EXPECT_EQ(0, store(self->fd, self->page, 3));
	EXPECT_EQ(3, mn_cpu(self->page));
}

TEST_F(sample, is_told)
{
	int status;
	pid_t pid;

	EXPECT_EQ(0, store(self->fd, self->page, 3));
	ASSERT_EQ(0, madvise(self->page, self->size, MADV_DONTNEED));
	EXPECT_EQ(0, load(self->fd, self->page));

	/* What a child shares is copied before it is written to. */
	EXPECT_EQ(0, store(self->fd, self->page, 4));
	pid = fork();
	if (!pid) {
		mn_sleep_ms(300);
		_exit(mn_cpu(self->page) != 4);
	}
	EXPECT_EQ(0, store(self->fd, self->page, 5));
	EXPECT_EQ(5, mn_cpu(self->page));
	mn_cpu_write(self->page, 6);
	EXPECT_EQ(6, load(self->fd, self->page));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);

	ASSERT_EQ(0, mprotect(self->page, self->size, PROT_READ));
	EXPECT_EQ(-EFAULT, store(self->fd, self->page, 7));
	EXPECT_EQ(6, load(self->fd, self->page));
	ASSERT_EQ(0, munmap(self->page, self->size));
	EXPECT_EQ((uint64_t)-EFAULT, load(self->fd, self->page));
}

/* A process that has exited has no memory any more. */
TEST_F(sample, outlives_its_process)
{
	int status, fds[2], fd;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	if (!pid) {
		fd = open(variant->device, O_RDWR);
		if (fd < 0 || load(fd, self->page) != mn_value(self->page, 1))
			_exit(1);
		(void)!write(fds[1], (char []){ fd }, 1);
		pause();
	}
	ASSERT_EQ(1, read(fds[0], &c, 1));
	/* The very one: to open it again would give another secondary MMU. */
	fd = syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, pid, 0), c, 0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(mn_value(self->page, 1), load(fd, self->page));
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ((uint64_t)-ESRCH, load(fd, self->page));
	close(fd);
}

struct storm {
	char *page;
	size_t size;
	bool stop;
};

static void *storm(void *arg)
{
	struct storm *storm = arg;

	while (!__atomic_load_n(&storm->stop, __ATOMIC_RELAXED)) {
		mn_cpu_write(storm->page, 1);
		madvise(storm->page, storm->size, MADV_DONTNEED);
	}
	return NULL;
}

/* Old memory would show the poison of freed pages, or somebody's data. */
TEST_F(sample, while_the_memory_changes)
{
	struct storm args = { self->page, self->size };
	pthread_t thread;
	unsigned int i;

	mn_cpu_write(self->page, 0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, storm, &args));
	for (i = 0; i < 20000; i++)
		ASSERT_GE(1, load(self->fd, self->page));
	__atomic_store_n(&args.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
}

TEST_HARNESS_MAIN
