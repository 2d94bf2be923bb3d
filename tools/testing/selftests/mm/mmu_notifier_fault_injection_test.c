// SPDX-License-Identifier: GPL-2.0
/*
 * MMU notifiers: whatever registering needs fails once.
 *
 * Each allocation in turn, each wait that a signal can end, and each wait with
 * a limit in time.  Each time registering has to say so, must leave nothing
 * behind (the number of users of the module shows some of it, kmemleak the
 * rest), and works the next time.
 *
 * Allocations need CONFIG_FAULT_INJECTION_DEBUG_FS, CONFIG_FAILSLAB and
 * CONFIG_FAIL_PAGE_ALLOC.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "mmu_notifier_section.h"
#include "mmu_notifier_util.h"

#define DEBUGFS		"/sys/kernel/debug/"
#define FAIL_NTH	"/proc/thread-self/fail-nth"

/* More allocations than this one ioctl never makes. */
#define MAX_NTH		1000

/*
 * Every allocation that sleeps can fail; the stacks of those that do are many.
 * Those that fail by probability are of who asks for it alone, all of them.
 */
static bool have_injection(void)
{
	return !mn_write_file(DEBUGFS "failslab/ignore-gfp-wait", "N") &&
	       !mn_write_file(DEBUGFS "failslab/verbose", "0") &&
	       !mn_write_file(DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N") &&
	       !mn_write_file(DEBUGFS "fail_page_alloc/ignore-gfp-highmem",
			      "N") &&
	       !mn_write_file(DEBUGFS "fail_page_alloc/min-order", "0") &&
	       !mn_write_file(DEBUGFS "fail_page_alloc/verbose", "0") &&
	       !mn_write_file(DEBUGFS "failslab/task-filter", "Y") &&
	       !mn_write_file(DEBUGFS "failslab/times", "-1") &&
	       !mn_write_file(DEBUGFS "fail_page_alloc/task-filter", "Y") &&
	       !mn_write_file(DEBUGFS "fail_page_alloc/times", "-1") &&
	       !access(FAIL_NTH, W_OK);
}

/* The @nth allocation from now on fails: a file to ask, or a negative errno. */
static int arm(unsigned int nth)
{
	int fd = open(FAIL_NTH, O_RDWR);

	if (fd < 0)
		return -errno;
	if (dprintf(fd, "%u", nth) < 0)
		return -errno;
	return fd;
}

/* Whether an allocation did fail; no other will. */
static bool disarm(int fd)
{
	char text[16] = "";
	bool fired;

	fired = pread(fd, text, sizeof(text) - 1, 0) > 0 && atoi(text) == 0;
	(void)!pwrite(fd, "0", 1, 0);
	close(fd);
	return fired;
}

/* Whatever who asks for it (make-it-fail) takes beyond so much memory fails. */
static bool fail_beyond(int space)
{
	return !mn_write_file(DEBUGFS "failslab/space", "%d", space) &&
	       !mn_write_file(DEBUGFS "fail_page_alloc/space", "%d", space) &&
	       !mn_write_file(DEBUGFS "failslab/probability", "100") &&
	       !mn_write_file(DEBUGFS "fail_page_alloc/probability", "100");
}

static bool fail_no_more(void)
{
	return !mn_write_file(DEBUGFS "failslab/probability", "0") &&
	       !mn_write_file(DEBUGFS "fail_page_alloc/probability", "0");
}

/* More memory than this one ioctl never takes, and a part of each that it does. */
#define MAX_SPACE	(1 << 20)
#define STEP_SPACE	64

/*
 * Attaches in processes of their own, each of which comes a bit further.  None
 * comes around a failure: whatever is asked for after it fails, too.  Returns
 * how many failed; -1 if one did for another reason, or all.
 */
static int attach_step_by_step(int fd, unsigned int style, unsigned int flags)
{
	int space, status = 1, ret, failed = 0;
	pid_t pid;

	for (space = 0; status && space < MAX_SPACE; space += STEP_SPACE) {
		if (!fail_beyond(space))
			return -1;
		pid = fork();
		if (!pid) {
			/* In vain, so that its own pages are there now. */
			mn_attach(fd, style, ~0U, 0);
			if (mn_write_file("/proc/self/make-it-fail", "1"))
				_exit(2);
			ret = mn_attach(fd, style, flags, 0);
			if (!ret)
				mn_detach(fd);
			_exit(!ret ? 0 : ret == -ENOMEM ? 1 : 2);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid ||
		    !WIFEXITED(status) || WEXITSTATUS(status) > 1) {
			fprintf(stderr, "# attach beyond %d bytes: status %#x\n",
				space, status);
			return -1;
		}
		failed += WEXITSTATUS(status);
	}
	return fail_no_more() && !status ? failed : -1;
}

FIXTURE(first)
{
	int fd;
};

FIXTURE_SETUP(first)
{
	self->fd = mn_open();
	if (self->fd < 0)
		SKIP(return, "no " MN_DEVICE);
	if (!have_injection())
		SKIP(return, "no CONFIG_FAILSLAB and CONFIG_FAIL_PAGE_ALLOC");
}

FIXTURE_TEARDOWN(first)
{
	fail_no_more();
	close(self->fd);
}

/*
 * The first registration since boot makes a domain of SRCU as well, and there is
 * no other to be had in its place.  That is so only where nothing has registered
 * before, KUnit's tests neither.
 */
TEST_F_TIMEOUT(first, of_all, 120)
{
	EXPECT_LE(2, attach_step_by_step(self->fd, TMN_STYLE_KVM, 0));
	EXPECT_EQ(NULL, mn_works(self->fd, TMN_STYLE_KVM, 0));
}

FIXTURE(allocation)
{
	int fd;
	long users;
};

FIXTURE_VARIANT(allocation)
{
	unsigned int style;
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(allocation, gru)
{
	.style = TMN_STYLE_GRU,
};

FIXTURE_VARIANT_ADD(allocation, gru_get)
{
	.style = TMN_STYLE_GRU,
	.flags = TMN_ATTACH_GET,
};

FIXTURE_VARIANT_ADD(allocation, kvm)
{
	.style = TMN_STYLE_KVM,
};

FIXTURE_VARIANT_ADD(allocation, kvm_get_locked)
{
	.style = TMN_STYLE_KVM,
	.flags = TMN_ATTACH_GET | TMN_ATTACH_LOCKED,
};

FIXTURE_VARIANT_ADD(allocation, xpmem_get)
{
	.style = TMN_STYLE_XPMEM,
	.flags = TMN_ATTACH_GET,
};

FIXTURE_VARIANT_ADD(allocation, xpmem_locked)
{
	.style = TMN_STYLE_XPMEM,
	.flags = TMN_ATTACH_LOCKED,
};

FIXTURE_VARIANT_ADD(allocation, interval)
{
	.style = TMN_STYLE_INTERVAL,
};

FIXTURE_VARIANT_ADD(allocation, interval_locked)
{
	.style = TMN_STYLE_INTERVAL,
	.flags = TMN_ATTACH_LOCKED,
};

FIXTURE_SETUP(allocation)
{
	struct tmn_attach args = { .style = variant->style };

	self->fd = mn_open();
	if (self->fd < 0)
		SKIP(return, "no " MN_DEVICE);
	if (!have_injection())
		SKIP(return, "no CONFIG_FAILSLAB and CONFIG_FAIL_PAGE_ALLOC");
	if (variant->style == TMN_STYLE_GRU &&
	    ioctl(self->fd, TMN_ATTACH, &args)) {
		ASSERT_EQ(EOPNOTSUPP, errno);
		SKIP(return, "no such style");
	}
	/* Whatever is made for an mm once, is to be made by the test. */
	mn_detach(self->fd);
	self->users = mn_module_users();
}

FIXTURE_TEARDOWN(allocation)
{
	close(self->fd);
}

struct attempt {
	int fd;
	unsigned int style;
	unsigned int flags;
	unsigned int nth;
	bool fired;
	int ret;
};

static void try_attach(struct attempt *attempt)
{
	int injector = arm(attempt->nth);

	attempt->ret = mn_attach(attempt->fd, attempt->style, attempt->flags,
				 0);
	attempt->fired = injector >= 0 && disarm(injector);
}

/* What a child of the test finds. */
enum found {
	/* One failed, for which attach did, or somebody knew another way. */
	FOUND_FAILURE,
	/* No allocation was left to fail. */
	FOUND_END,
	FOUND_WRONG,
};

/* Attaches in a process of its own, whose mm had no subscription. */
static enum found attach_in_child(const struct attempt *args)
{
	struct attempt attempt = *args;
	const char *error;
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		try_attach(&attempt);
		if (attempt.fired && attempt.ret && attempt.ret != -ENOMEM) {
			fprintf(stderr, "# allocation %u: attach returned %d\n",
				attempt.nth, attempt.ret);
			_exit(FOUND_WRONG);
		}
		if (!attempt.fired && attempt.ret) {
			fprintf(stderr, "# without a failure: %d\n",
				attempt.ret);
			_exit(FOUND_WRONG);
		}
		if (!attempt.ret)
			mn_detach(attempt.fd);
		error = mn_works(attempt.fd, attempt.style, attempt.flags);
		if (error) {
			fprintf(stderr, "# after allocation %u failed: %s\n",
				attempt.nth, error);
			_exit(FOUND_WRONG);
		}
		_exit(attempt.fired ? FOUND_FAILURE : FOUND_END);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return FOUND_WRONG;
	return WEXITSTATUS(status);
}

/* Of registering where no lock is held. */
TEST_F_TIMEOUT(allocation, of_attaching, 300)
{
	struct attempt attempt = {
		.fd = self->fd,
		.style = variant->style,
		.flags = variant->flags,
	};
	enum found found;

	do {
		attempt.nth++;
		found = attach_in_child(&attempt);
		ASSERT_NE(FOUND_WRONG, found);
	} while (found != FOUND_END && attempt.nth < MAX_NTH);
	EXPECT_EQ(FOUND_END, found);
	/* One alone is perhaps SLUB's or kmemleak's, which do without. */
	EXPECT_LE(2, attach_step_by_step(self->fd, variant->style,
					 variant->flags));
	EXPECT_EQ(NULL, mn_works(self->fd, variant->style, variant->flags));
	EXPECT_TRUE(mn_wait_module_users(self->users));
}

/* Of using what is attached: faults and callbacks. */
TEST_F_TIMEOUT(allocation, of_faults, 300)
{
	size_t size = mn_page_size();
	int ret, make_it_fail;
	unsigned int nth;
	uint64_t value;
	char *page;
	bool fired;

	ASSERT_EQ(0, mn_attach(self->fd, variant->style, variant->flags, 0));
	/* At 0 nothing fails; afterwards all is there that this here touches. */
	for (nth = 0; nth < MAX_NTH; nth++) {
		/* A fresh one, so that each time the same is allocated. */
		int injector;

		page = mn_map(size, size);
		/* Unlike its neighbours, whose anon_vma would do for it. */
		ASSERT_EQ(0, madvise(page, size, MADV_DONTFORK));
		injector = arm(nth);
		ASSERT_LE(0, injector);
		ret = mn_store(self->fd, page, mn_value(page, 1));
		fired = disarm(injector);
		if (ret) {
			EXPECT_TRUE(fired);
			EXPECT_EQ(-ENOMEM, ret) {
				TH_LOG("allocation %u", nth);
			}
		}
		/* The next one works. */
		EXPECT_EQ(0, mn_store(self->fd, page, mn_value(page, 2)));
		EXPECT_EQ(0, mn_load(self->fd, page, &value));
		EXPECT_EQ(mn_value(page, 2), value);
		EXPECT_EQ(mn_value(page, 2), mn_cpu(page));
		ASSERT_EQ(0, madvise(page, size, MADV_DONTNEED));
		EXPECT_EQ(0, mn_stale(self->fd, page, 1));
		ASSERT_EQ(0, munmap(page, size));
		if (!fired)
			break;
	}
	EXPECT_LT(nth, MAX_NTH);

	/* All at once: one alone is perhaps kmemleak's, which does without. */
	page = mn_map(size, size);
	make_it_fail = open("/proc/self/make-it-fail", O_WRONLY);
	ASSERT_LE(0, make_it_fail);
	ASSERT_TRUE(fail_beyond(0));
	ASSERT_EQ(1, pwrite(make_it_fail, "1", 1, 0));
	ret = mn_store(self->fd, page, mn_value(page, 1));
	ASSERT_EQ(1, pwrite(make_it_fail, "0", 1, 0));
	EXPECT_TRUE(fail_no_more());
	EXPECT_EQ(-ENOMEM, ret);
	EXPECT_EQ(0, mn_store(self->fd, page, mn_value(page, 2)));
	EXPECT_EQ(mn_value(page, 2), mn_cpu(page));

	EXPECT_TRUE(mn_balanced(self->fd));
	EXPECT_EQ(0, mn_detach(self->fd));
}

/* Waits: for each kind of lock that somebody holds. */

FIXTURE(waiting)
{
	int fd;
	long users;
};

FIXTURE_VARIANT(waiting)
{
	const struct mn_step *step;
	unsigned int style;
};

FIXTURE_VARIANT_ADD(waiting, i_mmap)
{
	.step = &mn_step_i_mmap,
	.style = TMN_STYLE_KVM,
};

FIXTURE_VARIANT_ADD(waiting, anon_vma)
{
	.step = &mn_step_anon_vma,
	.style = TMN_STYLE_XPMEM,
};

FIXTURE_VARIANT_ADD(waiting, vma_lock)
{
	.step = &mn_step_vma_lock,
	.style = TMN_STYLE_KVM,
};

FIXTURE_VARIANT_ADD(waiting, mmap_lock)
{
	.step = &mn_step_mmap_lock,
	.style = TMN_STYLE_KVM,
};

FIXTURE_SETUP(waiting)
{
	self->fd = mn_open();
	if (self->fd < 0)
		SKIP(return, "no " MN_DEVICE);
	if (!mn_core_drains())
		SKIP(return, "registering waits for all locks at once");
	if (!mn_machine_has(variant->step))
		SKIP(return, "no two NUMA nodes");
	self->users = mn_module_users();
}

FIXTURE_TEARDOWN(waiting)
{
	close(self->fd);
}

/* A fatal signal, while it waits. */
TEST_F_TIMEOUT(waiting, killed, 120)
{
	struct mn_section section;
	pid_t pid, owner = getpid();
	int status, go[2];
	char c;

	/* Beforehand: a copy of the memory would hold its locks as well. */
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(go[1]);
		_exit(read(go[0], &c, 1) != 1 ||
		      mn_attach(self->fd, variant->style, 0, owner));
	}
	ASSERT_EQ(NULL, mn_begin_section(&section, variant->step,
					 TMN_STYLE_INTERVAL, 2000));
	ASSERT_EQ(1, write(go[1], "", 1));
	mn_sleep_ms(300);
	/* It waits; and is gone once whoever it waited for may be. */
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	EXPECT_TRUE(mn_section_sleeps(&section));
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_TRUE(mn_wait_section(&section));
	EXPECT_TRUE(mn_end_section(&section));
	close(go[0]);
	close(go[1]);

	EXPECT_EQ(-ENOTCONN, mn_detach(self->fd));
	EXPECT_EQ(NULL, mn_works(self->fd, variant->style, 0));
	EXPECT_TRUE(mn_wait_module_users(self->users));
}

/* Each allocation, where there is somebody to wait for. */
TEST_F_TIMEOUT(waiting, without_memory, 300)
{
	struct attempt attempt = {
		.fd = self->fd,
		.style = variant->style,
	};
	unsigned int round, failed = 0;
	struct mn_section section;

	if (!have_injection())
		SKIP(return, "no CONFIG_FAILSLAB and CONFIG_FAIL_PAGE_ALLOC");
	/* The device's own, and the domain; as in allocation.of_attaching. */
	for (round = 0; round < 5 && failed < 1; round++) {
		failed = 0;
		attempt.nth = 0;
		do {
			attempt.nth++;
			ASSERT_EQ(NULL, mn_begin_section(&section,
							 variant->step,
							 TMN_STYLE_INTERVAL, 500));
			try_attach(&attempt);
			failed += attempt.fired && attempt.ret == -ENOMEM;
			EXPECT_TRUE(!attempt.ret ||
				    (attempt.fired && attempt.ret == -ENOMEM)) {
				TH_LOG("allocation %u: %d", attempt.nth,
				       attempt.ret);
			}
			EXPECT_TRUE(mn_wait_section(&section));
			EXPECT_EQ(attempt.ret ? -ENOTCONN : 0,
				  mn_detach(self->fd));
			EXPECT_TRUE(mn_end_section(&section));
			EXPECT_EQ(NULL, mn_works(self->fd, variant->style, 0));
		} while (attempt.fired && attempt.nth < MAX_NTH);
	}
	EXPECT_LE(1, failed);
	EXPECT_TRUE(mn_wait_module_users(self->users));
}

/* No wait at all, but many locks to look at. */

#define MANY_VMAS	30000

FIXTURE(looking)
{
	int fd;
};

FIXTURE_SETUP(looking)
{
	self->fd = mn_open();
	if (self->fd < 0)
		SKIP(return, "no " MN_DEVICE);
	if (!mn_core_drains())
		SKIP(return, "registering does not look at locks");
	ASSERT_TRUE(mn_add_vmas(MANY_VMAS));
}

FIXTURE_TEARDOWN(looking)
{
	close(self->fd);
}

/* A process that attaches to us again and again, until it is killed. */
TEST_F_TIMEOUT(looking, killed, 600)
{
	pid_t pid, owner = getpid();
	unsigned int i;
	int status;

	for (i = 0; i < 20; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		while (!pid) {
			mn_attach(self->fd, TMN_STYLE_KVM, 0, owner);
			mn_detach(self->fd);
		}
		mn_sleep_ms(100 + 7 * i);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status));
		/* It may have been killed before or after, too. */
		mn_detach(self->fd);
		EXPECT_EQ(NULL, mn_works(self->fd, TMN_STYLE_KVM, 0));
	}
}

TEST_HARNESS_MAIN
