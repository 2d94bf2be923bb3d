/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the events of mmu_notifier_events.h are made of: memory to be mirrored,
 * processes that share it, and the questions to the oracle.
 */
#ifndef _MMU_NOTIFIER_SCENE_H
#define _MMU_NOTIFIER_SCENE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "mmu_notifier_events.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

/* Enough for batches, and little enough for a slow guest. */
#define PAGES		16
#define TRIES		50

/* Verdicts */

enum mn_result __printf(3, 4)
verdict(struct mn_run *run, enum mn_result result, const char *format, ...);

#define skip(run, ...)	verdict(run, MN_SKIP, __VA_ARGS__)

#define REQUIRE(run, condition)						\
	do {								\
		if (!(condition))					\
			return verdict(run, MN_FAIL,			\
				       "%s:%d: %s (errno %d)", __func__, \
				       __LINE__, #condition, errno);	\
	} while (0)

/* What has come until now is not the event's. */
bool begin(struct mn_run *run);

/* The scene of most events: memory written by the CPU, and mirrored. */
bool mirror(struct mn_run *run, void *addr, size_t pages, bool write);

/*
 * The end of most events: what is still mirrored is right, what the CPU writes
 * next is seen, and all can be mirrored again.
 */
void settle(struct mn_run *run, void *addr, size_t pages, bool write);

bool holds_pages(const struct mn_run *run);

/* Memory */

size_t bytes(size_t pages);
char *page_at(void *addr, size_t nr);

/* Fresh anonymous memory, one base page each. */
void *map_pages(size_t pages);

/* A huge page; NULL if there is none to be had. */
char *map_huge(size_t size);

/* Shared memory of one huge page, mapped by a PMD; NULL: not to be had. */
char *map_shmem_huge(int fd, size_t size);

/* So many free huge pages of the default size, which is returned. */
size_t need_hugetlb(unsigned int nr);
char *map_hugetlb(size_t size);

/* Pages that are all alike, and KSM makes one of them all; needs KSM_RUN. */
#define KSM_RUN	"/sys/kernel/mm/ksm/run"
#define ALIKE	0x6b736d206b736dULL

void fill_alike(char *addr, size_t pages);
bool all_merged(char *addr, size_t pages);
bool merge(char *addr, size_t pages);

bool has_node(int node);

/* Reclaims pages until none is mapped. */
bool reclaim(void *addr, size_t pages);

/* So that pages are not in another CPU's batch when they are to be found. */
void stay_here(void);

/*
 * Collapsing and splitting fail while somebody has a reference on a page; that
 * is their right, and no page becomes stale by it.  Try it with the references
 * held, then without.
 */
void release_pages(struct mn_run *run, void *addr, size_t length);

/* Processes */

/* A child of an event, which does one thing at a time when told to. */
struct child {
	pid_t pid;
	int to, from;
};

bool fork_child(struct child *child, int (*run)(void *arg, int in, int out),
		void *arg);
bool tell(int fd);
bool hear(int fd);
/* The child's wait status. */
int end_child(struct child *child);

/*
 * A child: waits, then says whether it sees in the first PAGES pages what there
 * was when it was forked.
 */
int cow_bystander(void *arg, int in, int out);

/* userfaultfd */

/* A userfaultfd that has these features, or a negative errno. */
int open_uffd(uint64_t features);
bool register_uffd(int fd, void *addr, size_t length, uint64_t mode);

/* Parts of events, the same for memory of any kind */

enum mn_result protect_by_uffd(struct mn_run *run, char *addr, size_t size);
enum mn_result scan_pagemap(struct mn_run *run, char *addr, size_t size);

#endif /* _MMU_NOTIFIER_SCENE_H */
