// SPDX-License-Identifier: GPL-2.0
/*
 * MMU notifiers: callbacks that sleep.
 *
 * A secondary MMU whose answer takes time makes reclaim, migration and truncation
 * sleep in its callback while they hold i_mmap_rwsem or the lock of an anon_vma
 * root.  That is what these locks are rwsems for.  Whoever needs the same lock
 * waits; nobody else does: not for his own page tables, and not to unregister or
 * to exit in a process of his own.
 *
 * Run it on a kernel with PROVE_LOCKING and DEBUG_ATOMIC_SLEEP as well: what the
 * kernel has to say about the sleep it says there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "mmu_notifier_util.h"

#define NS_PER_MS	1000000ULL
#define SLEEP_MS	3000
/* Who waits for the sleeper waits longer than this, and nobody else does. */
#define HELD_UP_MS	1500

#define TRIES		50

static bool have_device(void)
{
	return !access(MN_DEVICE, R_OK | W_OK);
}

static unsigned int ms_since(uint64_t start)
{
	return (mn_now_ns() - start) / NS_PER_MS;
}

/* Processes that do one thing when they are told to */

struct helper {
	pid_t pid;
	int go;
};

/* Waits until told; false if it never will be. */
static bool told(int in)
{
	char c;

	return read(in, &c, 1) == 1;
}

static bool tell(struct helper *helper)
{
	return write(helper->go, "", 1) == 1;
}

static bool finish(struct helper *helper)
{
	int status;

	close(helper->go);
	return waitpid(helper->pid, &status, 0) == helper->pid && !status;
}

static bool start_helper(struct helper *helper, bool (*run)(void *arg, int in),
			 void *arg)
{
	int go[2];

	if (pipe(go))
		return false;
	helper->go = go[1];
	helper->pid = fork();
	if (!helper->pid) {
		close(go[1]);
		_exit(!run(arg, go[0]));
	}
	close(go[0]);
	return helper->pid > 0;
}

/* Sleeping under a lock of rmap */

/**
 * struct scene - a page that is mirrored, and who has to do with it
 * @act: takes the page away, in another process
 * @wait: needs the same lock, in the owner
 * @mmu: the secondary MMU, whose callback sleeps
 * @page: the page
 * @file: what it maps, or -1
 * @owner: the process that maps it
 * @actor: the process that takes it away
 * @bystander: a process that has nothing to do with it
 * @held_up: the longest that the bystander was held up, in ms; shared
 */
struct scene {
	bool (*act)(struct scene *scene);
	bool (*wait)(struct scene *scene);
	int mmu;
	char *page;
	int file;
	pid_t owner;
	struct helper actor;
	struct helper bystander;
	unsigned int *held_up;
};

static bool punch(struct scene *scene)
{
	return !fallocate(scene->file,
			  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			  mn_page_size());
}

static bool truncate_file(struct scene *scene)
{
	return !ftruncate(scene->file, 0) &&
	       !ftruncate(scene->file, mn_page_size());
}

/* Not always at once: the page may be on its way to a list. */
static bool migrate(struct scene *scene)
{
	int node = !mn_node_of(scene->owner, scene->page);
	unsigned int tries;

	for (tries = 0; tries < TRIES; tries++) {
		if (mn_move_pages(scene->owner, scene->page, 1, node) == 1)
			return true;
		mn_sleep_ms(20);
	}
	return false;
}

static bool reclaim(struct scene *scene)
{
	struct iovec page = { scene->page, mn_page_size() };
	int fd = syscall(SYS_pidfd_open, scene->owner, 0);
	struct tmn_stats stats;
	unsigned int tries;

	for (tries = 0; tries < TRIES; tries++) {
		if (syscall(SYS_process_madvise, fd, &page, 1UL, MADV_PAGEOUT,
			    0) < 0 || mn_stats(scene->mmu, &stats))
			return false;
		if (stats.delayed)
			return true;
		mn_sleep_ms(20);
	}
	return false;
}

/* These take the lock for writing. */

static bool map_file(struct scene *scene)
{
	void *map = mmap(NULL, mn_page_size(), PROT_READ, MAP_SHARED,
			 scene->file, 0);

	return map != MAP_FAILED && !munmap(map, mn_page_size());
}

static bool fork_owner(struct scene *scene)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	return pid > 0 && waitpid(pid, NULL, 0) == pid;
}

static bool run_actor(void *arg, int in)
{
	struct scene *scene = arg;

	munmap(scene->page, mn_page_size());
	return told(in) && scene->act(scene);
}

/* Maps, faults, forks, copies, exits and unmaps. */
static bool do_everything(void)
{
	const size_t pages = 16, size = pages * mn_page_size();
	char *map = mn_map(size, mn_page_size());
	pid_t pid;

	mn_fill(map, pages, 1);
	pid = fork();
	if (!pid)
		_exit(0);
	mn_fill(map, pages, 2);
	return pid > 0 && waitpid(pid, NULL, 0) == pid && !munmap(map, size);
}

static bool run_bystander(void *arg, int in)
{
	struct scene *scene = arg;
	struct tmn_stats stats;

	/* Else its fork() would need the lock of the file. */
	munmap(scene->page, mn_page_size());
	if (!told(in))
		return false;
	do {
		uint64_t start = mn_now_ns();
		unsigned int ms;

		if (!do_everything() || mn_stats(scene->mmu, &stats))
			return false;
		ms = ms_since(start);
		if (ms > *scene->held_up)
			*scene->held_up = ms;
	} while (stats.sleeping);
	return true;
}

FIXTURE(sleeping)
{
	struct scene scene;
};

FIXTURE_VARIANT(sleeping)
{
	bool file;
	bool (*act)(struct scene *scene);
};

FIXTURE_VARIANT_ADD(sleeping, punch)
{
	.file = true,
	.act = punch,
};

FIXTURE_VARIANT_ADD(sleeping, truncate)
{
	.file = true,
	.act = truncate_file,
};

FIXTURE_VARIANT_ADD(sleeping, migrate_file)
{
	.file = true,
	.act = migrate,
};

FIXTURE_VARIANT_ADD(sleeping, reclaim_file)
{
	.file = true,
	.act = reclaim,
};

FIXTURE_VARIANT_ADD(sleeping, migrate_anon)
{
	.act = migrate,
};

FIXTURE_VARIANT_ADD(sleeping, reclaim_anon)
{
	.act = reclaim,
};

FIXTURE_SETUP(sleeping)
{
	struct scene *scene = &self->scene;
	size_t size = mn_page_size();
	char swap[256];

	if (!have_device())
		SKIP(return, "no " MN_DEVICE);
	if (variant->act == migrate &&
	    access("/sys/devices/system/node/node1", F_OK))
		SKIP(return, "no two NUMA nodes");
	if (variant->act == reclaim && !mn_swap_device(swap, sizeof(swap)))
		SKIP(return, "no swap");

	scene->act = variant->act;
	scene->wait = variant->file ? map_file : fork_owner;
	scene->owner = getpid();
	scene->file = -1;
	if (variant->file) {
		scene->file = memfd_create("sleeping", 0);
		ASSERT_LE(0, scene->file);
		ASSERT_EQ(0, ftruncate(scene->file, size));
		scene->page = mmap(NULL, size, PROT_READ | PROT_WRITE,
				   MAP_SHARED, scene->file, 0);
		ASSERT_NE(MAP_FAILED, scene->page);
	} else {
		scene->page = mn_map(size, size);
	}
	scene->held_up = mmap(NULL, size, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, scene->held_up);
	scene->mmu = mn_open();
	ASSERT_LE(0, scene->mmu);
	/* Before the page is there, lest it be theirs too. */
	ASSERT_TRUE(start_helper(&scene->actor, run_actor, scene));
	ASSERT_TRUE(start_helper(&scene->bystander, run_bystander, scene));
	ASSERT_EQ(0, mn_attach(scene->mmu, TMN_STYLE_XPMEM, 0, 0));
	mn_fill(scene->page, 1, 1);
	ASSERT_EQ(0, mn_mirror(scene->mmu, scene->page, 1, true));
	/* A reference would keep the page from being moved. */
	ASSERT_EQ(0, mn_drop(scene->mmu, scene->page, size));
	/* To where it is: that takes it out of the list of one CPU. */
	mn_move_pages(0, scene->page, 1, mn_node_of(0, scene->page));
}

FIXTURE_TEARDOWN(sleeping)
{
	close(self->scene.mmu);
}

TEST_F_TIMEOUT(sleeping, holds_up_who_needs_the_lock, 120)
{
	struct scene *scene = &self->scene;
	unsigned int waited;
	uint64_t start;

	ASSERT_EQ(0, mn_stall(scene->mmu, scene->page, mn_page_size(),
			      SLEEP_MS * 1000));
	ASSERT_TRUE(tell(&scene->actor));
	ASSERT_EQ(0, mn_wait_stalled(scene->mmu));
	start = mn_now_ns();
	ASSERT_TRUE(tell(&scene->bystander));
	ASSERT_TRUE(scene->wait(scene));
	waited = ms_since(start);
	EXPECT_TRUE(finish(&scene->actor));
	EXPECT_TRUE(finish(&scene->bystander));

	TH_LOG("asleep for %u ms, held up: %u ms who needs the lock, %u ms who does not",
	       SLEEP_MS, waited, *scene->held_up);
	EXPECT_LT(HELD_UP_MS, waited);
	EXPECT_GT(HELD_UP_MS, *scene->held_up);
	EXPECT_EQ(0, mn_wrong(scene->mmu, scene->page, 1));
	EXPECT_TRUE(mn_balanced(scene->mmu));
}

/* Unregistering and exiting while a callback sleeps in another process */

#define NEIGHBOURS	24
/* More than there are domains of SRCU. */
#define MANY		80

/* One of each two unregisters, the other exits. */
struct neighbours {
	struct helper helpers[MANY];
	/* Shared: how long it took, in ms, plus one; 0: it has not ended. */
	unsigned int *took;
	int ready[2];
	unsigned int nr;
};

static bool run_neighbour(void *arg, int in)
{
	struct neighbours *all = arg;
	unsigned int nr = all->nr;
	int fd = mn_open();
	uint64_t start;

	if (fd < 0 || mn_attach(fd, TMN_STYLE_KVM, 0, 0) ||
	    write(all->ready[1], "", 1) != 1 || !told(in))
		return false;
	if (nr % 2)
		return true;
	start = mn_now_ns();
	if (mn_detach(fd))
		return false;
	all->took[nr] = 1 + ms_since(start);
	return true;
}

static bool start_neighbours(struct neighbours *all, unsigned int count)
{
	char c;

	if (pipe(all->ready))
		return false;
	all->took = mmap(NULL, mn_page_size(), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (all->took == MAP_FAILED)
		return false;
	for (all->nr = 0; all->nr < count; all->nr++)
		if (!start_helper(&all->helpers[all->nr], run_neighbour, all) ||
		    read(all->ready[0], &c, 1) != 1)
			return false;
	return true;
}

static void *zap_page(void *page)
{
	madvise(page, mn_page_size(), MADV_DONTNEED);
	return NULL;
}

FIXTURE(isolation)
{
	struct neighbours neighbours;
};

FIXTURE_SETUP(isolation)
{
	if (!have_device())
		SKIP(return, "no " MN_DEVICE);
}

FIXTURE_TEARDOWN(isolation)
{
}

/*
 * The callback does not hold a lock that the others need.  But callbacks run in
 * a read-side section of SRCU, and unregister and exit wait for those of their
 * domain to end; stock has one domain for the machine.
 */
TEST_F_TIMEOUT(isolation, of_unregister_and_exit, 120)
{
	struct neighbours *all = &self->neighbours;
	char *page = mn_map(mn_page_size(), mn_page_size());
	unsigned int nr, left, delayed[2] = {}, worst[2] = {};
	int mmu = mn_open();
	pthread_t sleeper;
	uint64_t start;

	ASSERT_LE(0, mmu);
	ASSERT_TRUE(start_neighbours(all, NEIGHBOURS));
	ASSERT_EQ(0, mn_attach(mmu, TMN_STYLE_XPMEM, 0, 0));
	mn_fill(page, 1, 1);
	ASSERT_EQ(0, mn_stall(mmu, page, mn_page_size(), SLEEP_MS * 1000));
	ASSERT_EQ(0, pthread_create(&sleeper, NULL, zap_page, page));
	ASSERT_EQ(0, mn_wait_stalled(mmu));

	start = mn_now_ns();
	for (nr = 0; nr < NEIGHBOURS; nr++)
		ASSERT_TRUE(tell(&all->helpers[nr]));
	for (left = NEIGHBOURS; left;) {
		int status;
		pid_t pid = waitpid(-1, &status, 0);

		ASSERT_LT(0, pid);
		ASSERT_EQ(0, status);
		for (nr = 0; all->helpers[nr].pid != pid; nr++)
			;
		if (!all->took[nr])
			all->took[nr] = 1 + ms_since(start);
		left--;
	}
	pthread_join(sleeper, NULL);
	for (nr = 0; nr < NEIGHBOURS; nr++) {
		if (all->took[nr] > HELD_UP_MS)
			delayed[nr % 2]++;
		if (all->took[nr] > worst[nr % 2])
			worst[nr % 2] = all->took[nr];
	}
	TH_LOG("unregister: %u of %u held up, at most %u ms; exit: %u of %u, at most %u ms",
	       delayed[0], NEIGHBOURS / 2, worst[0], delayed[1],
	       NEIGHBOURS / 2, worst[1]);
	if (!mn_core_drains())
		SKIP(return, "one domain of SRCU for the machine");
	/* They are few enough for a domain each. */
	EXPECT_EQ(0, delayed[0] + delayed[1]);
}

/* Where mms have to share, they still come and go. */
TEST_F_TIMEOUT(isolation, of_more_than_there_are_domains, 120)
{
	struct neighbours *all = &self->neighbours;
	unsigned int nr;
	int status;

	ASSERT_TRUE(start_neighbours(all, MANY));
	for (nr = 0; nr < MANY; nr++)
		ASSERT_TRUE(tell(&all->helpers[nr]));
	for (nr = 0; nr < MANY; nr++) {
		ASSERT_LT(0, waitpid(-1, &status, 0));
		EXPECT_EQ(0, status);
	}
}

TEST_HARNESS_MAIN
