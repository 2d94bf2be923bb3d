/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The stress test of MMU notifiers: what its processes (mmu_notifier_stress.c)
 * and its operations (mmu_notifier_stress_ops.c) share.
 *
 * The oracle.  Memory is divided into areas.  One thread, the owner of an area,
 * does operations on it; everybody may look at it through any secondary MMU at
 * any time.  Each page of an area has a history of states: what is read there,
 * or that it cannot be reached.  Before the owner does something it notes the
 * states that may result (may_be()), and afterwards that the last one noted is
 * the only one left (stress_settle()).  So what is seen through a secondary MMU has to
 * be one of the states between the last that had been settled before looking
 * and the last that had been noted after it.  For the owner itself, between
 * two operations, that is exactly one.
 *
 * What does not change the content (reclaim, migration, KSM, collapse, another
 * mapping's fork) notes nothing, whoever does it.
 */
#ifndef _MMU_NOTIFIER_STRESS_H
#define _MMU_NOTIFIER_STRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "mmu_notifier_util.h"

/* An area is two halves of the size of a huge page, on any x86. */
#define HALF_PAGES	512
#define AREA_PAGES	(2 * HALF_PAGES)

/* How many states of a page can be told apart while somebody looks. */
#define HISTORY		16

/* A state that is no value: nobody can reach the page. */
#define UNREACHABLE	1ULL

/**
 * struct page - one page of an area, as its owner says
 * @settled: number of the oldest state that it may still be in
 * @noted: number of the latest that it may be in
 * @states: the latest states, by their number modulo HISTORY
 */
struct page {
	uint32_t settled;
	uint32_t noted;
	uint64_t states[HISTORY];
};

enum kind {
	KIND_ANON	= 1 << 0,
	/* Shared memory, mapped by every process at the same address. */
	KIND_SHMEM	= 1 << 1,
	/* Private huge pages. */
	KIND_HUGETLB	= 1 << 2,
	KIND_ALL	= KIND_ANON | KIND_SHMEM | KIND_HUGETLB,
};

/* Pages of an area. */
struct range {
	unsigned int first;
	unsigned int count;
};

/**
 * struct area - memory with one owner
 * @kind: what it is
 * @worker: the process whose thread owns it
 * @addr: where it is, in every process that maps it
 * @fd: KIND_SHMEM: its file
 * @now: where its owner does something now
 * @pages: what the owner has noted
 */
struct area {
	enum kind kind;
	unsigned int worker;
	char *addr;
	int fd;
	struct range now;
	struct page pages[AREA_PAGES];
};

#define for_each_nr(nr, range)						\
	for ((nr) = (range).first;					\
	     (nr) < (range).first + (range).count; (nr)++)

#define WORKERS		3
#define THREADS		3
#define AREAS		(WORKERS * THREADS)

/**
 * struct world - what all processes of one run share
 * @stop: it is time to end
 * @failed: somebody found an error, and has said so
 * @seed: everything that is done follows from it, but for when it is done
 * @pids: the processes now
 * @lives: how many there were before each of them
 * @operations: how many were done
 * @looks: how many pages were looked at and seen
 * @registrations: how many secondary MMUs were attached
 * @areas: thread T of worker W owns area W * THREADS + T
 */
struct world {
	bool stop;
	bool failed;
	uint64_t seed;
	pid_t pids[WORKERS];
	uint32_t lives[WORKERS];
	uint64_t operations;
	uint64_t looks;
	uint64_t registrations;
	struct area areas[AREAS];
};

extern struct world *world;

/* A secondary MMU.  Everybody in the process may look through it. */
struct mirror {
	int fd;
	unsigned int style;
	bool attached;
};

/* What a page's owner may do there itself. */
enum access {
	ACCESS_ALL,
	ACCESS_READ,
	/* Mapped, but not accessible. */
	ACCESS_NONE,
	ACCESS_UNMAPPED,
};

/* Two for each thread. */
#define MIRRORS		(2 * THREADS)

/**
 * struct actor - who does operations: a thread, or a process forked by one
 * @worker: which process
 * @thread: which thread of it
 * @life: how many processes there were before this one in its place
 * @nr: number of the operation
 * @random: state of the generator, new for each operation
 * @name: what is being done
 * @range: where
 * @area: what it owns; NULL for one who only looks
 * @access: of its pages
 * @hidden: ACCESS_NONE: what is there
 * @mirrors: the secondary MMUs of the process
 * @nr_mirrors: how many
 * @own: those that this one attaches and detaches
 * @nr_own: how many
 * @child: a process that it forked and has not waited for, or 0
 * @forked: it is such a process: the area is a copy that nobody else knows
 */
struct actor {
	unsigned int worker;
	unsigned int thread;
	uint32_t life;
	unsigned int nr;
	uint64_t random;
	const char *name;
	struct range range;
	struct area *area;
	uint8_t access[AREA_PAGES];
	uint64_t hidden[AREA_PAGES];
	struct mirror *mirrors;
	unsigned int nr_mirrors;
	struct mirror *own;
	unsigned int nr_own;
	pid_t child;
	bool forked;
};

/* Another number for each, with nothing in common. */
uint64_t mix(uint64_t x);
/* The next random number below @limit. */
unsigned int pick(struct actor *actor, unsigned int limit);

static inline bool one_in(struct actor *actor, unsigned int n)
{
	return !pick(actor, n);
}

bool stopped(void);

/* Says what is wrong, once, and makes everybody stop. */
void __printf(2, 3) complain(struct actor *actor, const char *format, ...);

/* Complains about a process that did not end as one does here. */
void check_status(int status);

/* Complains about a system call that must not fail. */
#define must(actor, condition)						\
	do {								\
		if (!(condition))					\
			complain(actor, "%s (errno %d)", #condition,	\
				 errno);				\
	} while (0)

/* The oracle: what the owner notes. */

char *page_addr(const struct area *area, unsigned int nr);
/* The state noted last: between operations, the state. */
uint64_t state_of(const struct area *area, unsigned int nr);
/* A value that no page has had. */
uint64_t new_value(const struct area *area, unsigned int nr);
void may_be(struct area *area, unsigned int nr, uint64_t state);
void stress_settle(struct area *area, unsigned int nr);
void may_all_be(struct area *area, struct range range, uint64_t state);
void settle_all(struct area *area, struct range range);
/* The last two noted are left: which one it is the kernel decides. */
void settle_on_two(struct area *area, struct range range);

/* The oracle: what everybody may check.  @fault: establish translations. */

void look(struct actor *actor, struct mirror *mirror, struct area *area,
	  unsigned int nr, bool fault);
/* Looks at a few pages of a range, through secondary MMUs of the process. */
void look_around(struct actor *actor, struct area *area, struct range range,
		 bool fault);
/* Looks at what the process maps, most of all where something happens. */
void look_everywhere(struct actor *actor, struct mirror *mirror, bool fault);

/* Secondary MMUs */

struct mirror *any_mirror(struct actor *actor);
/* @pid 0: the caller's memory. */
bool attach(struct actor *actor, struct mirror *mirror, pid_t pid);
void detach(struct actor *actor, struct mirror *mirror);

/* Operations */

/* Makes an area, as it is after fork() from one who does not map it. */
void map_area(struct actor *actor);
/* Makes pages accessible again. */
void restore(struct actor *actor, struct range range);
/* Does operation number @actor->nr, whatever the seed says that is. */
void operate(struct actor *actor);
/* Says what that would be. */
void foretell(struct actor *actor);
/* Waits for what the last one may have left. */
void await_child(struct actor *actor);

#endif /* _MMU_NOTIFIER_STRESS_H */
