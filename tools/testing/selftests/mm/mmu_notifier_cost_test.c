// SPDX-License-Identifier: GPL-2.0
/*
 * MMU notifiers: what it costs to register a secondary MMU that has only
 * invalidate_page does not depend on how much the process has mapped.
 *
 * MN_TOLERANCE is by how many percent the times may differ: 2 where the clock
 * counts instructions (QEMU's -icount).  By default it allows for noise, far
 * below what a look at each VMA would cost.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "mmu_notifier_util.h"

static const unsigned int sizes[] = { 10, 1000, 30000 };

/*
 * The least time in ns that registering took of some times; 0: it failed.  In a
 * process of its own that has the same mapped, as the first one that waits for
 * sections leaves little to do to those after it.
 */
static uint64_t cost(int fd, unsigned int style)
{
	struct tmn_bench *bench = mmap(NULL, sizeof(*bench),
				       PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t ns = 0;
	int status;
	pid_t pid;

	if (bench == MAP_FAILED)
		return 0;
	bench->style = style;
	bench->loops = style == TMN_STYLE_GRU ? 51 : 1;
	pid = fork();
	if (!pid)
		_exit(!!ioctl(fd, TMN_BENCH, bench));
	if (waitpid(pid, &status, 0) == pid && !status)
		ns = bench->register_min_ns;
	munmap(bench, sizeof(*bench));
	return ns;
}

static unsigned int tolerance(void)
{
	const char *percent = getenv("MN_TOLERANCE");

	return percent ? atoi(percent) : 300;
}

FIXTURE(cost)
{
	int fd;
};

FIXTURE_SETUP(cost)
{
	self->fd = mn_open();
	if (self->fd < 0)
		SKIP(return, "no " MN_DEVICE);
	if (!cost(self->fd, TMN_STYLE_GRU))
		SKIP(return, "no invalidate_page");
}

FIXTURE_TEARDOWN(cost)
{
	if (self->fd >= 0)
		close(self->fd);
}

TEST_F_TIMEOUT(cost, any_number_of_vmas, 180)
{
	uint64_t ns[ARRAY_SIZE(sizes)], few;
	unsigned int have = 0, i;

	/* The first since boot allocates what all later ones use again. */
	cost(self->fd, TMN_STYLE_KVM);
	few = cost(self->fd, TMN_STYLE_KVM);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_TRUE(mn_add_vmas(sizes[i] - have));
		have = sizes[i];
		ns[i] = cost(self->fd, TMN_STYLE_GRU);
		ASSERT_NE(0, ns[i]);
		TH_LOG("%u VMAs: %llu ns", have, (unsigned long long)ns[i]);
	}
	for (i = 1; i < ARRAY_SIZE(sizes); i++) {
		EXPECT_LE(ns[i] * 100, ns[0] * (100 + tolerance()));
		EXPECT_LE(ns[0] * 100, ns[i] * (100 + tolerance()));
	}

	/* That the measure tells: who has to look at them pays for them. */
	EXPECT_GT(cost(self->fd, TMN_STYLE_KVM), 20 * few);
}

TEST_HARNESS_MAIN
