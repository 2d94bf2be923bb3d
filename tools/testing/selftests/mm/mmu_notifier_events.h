/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Everything that the kernel does to the CPU's page tables and a secondary MMU
 * has to hear of, each as a function that sets the scene, lets it happen, and
 * asks the oracle.  mmu_notifier_test.c makes tests of them,
 * mmu_notifier_report.c a table.
 *
 * An event changes its process and leaves things behind: it is run in a
 * process of its own.
 */
#ifndef _MMU_NOTIFIER_EVENTS_H
#define _MMU_NOTIFIER_EVENTS_H

#include <stddef.h>
#include <stdint.h>

enum mn_result {
	MN_PASS,
	MN_FAIL,
	/* The kernel or the machine lacks what the event is about. */
	MN_SKIP,
};

/**
 * struct mn_run - an event in the making
 * @style: which kind of secondary MMU watches it
 * @fd: the secondary MMU
 * @pages: how many pages were mirrored and then changed
 * @before: callbacks before the event
 * @callbacks: callbacks that the event produced
 * @stale: pages of which the secondary MMU saw something else than the CPU
 * @why: what failed or is missing
 */
struct mn_run {
	unsigned int style;
	int fd;
	size_t pages;
	uint64_t before;
	uint64_t callbacks;
	unsigned int stale;
	char why[160];
};

/*
 * X(name, seconds): every event, and how long it may take.  Events for every
 * style; what differs from these for THP and hugetlb; what only drivers do.
 */
#define MN_EVENTS(X)			\
	X(munmap, 60)			\
	X(madv_dontneed, 60)		\
	X(madv_free, 60)		\
	X(madv_free_child, 60)	\
	X(madv_pageout, 60)		\
	X(swapoff, 120)			\
	X(mprotect, 60)			\
	X(mremap, 60)			\
	X(mremap_dontunmap, 60)	\
	X(mremap_pmd, 60)		\
	X(mremap_pud, 60)		\
	X(fork_cow_parent, 60)		\
	X(fork_cow_child, 60)		\
	X(ksm_replace, 120)		\
	X(ksm_merge, 120)		\
	X(ksm_unmerge, 120)		\
	X(thp_collapse, 60)		\
	X(thp_collapse_shmem, 60)	\
	X(thp_split, 60)		\
	X(thp_zap_part, 60)		\
	X(migrate, 60)			\
	X(mbind, 60)			\
	X(shmem_truncate, 60)		\
	X(shmem_punch, 60)		\
	X(hugetlb_unmap, 60)		\
	X(hugetlb_cow, 60)		\
	X(hugetlb_truncate, 60)		\
	X(uffd_move, 60)		\
	X(uffd_move_zero, 60)		\
	X(uffd_wp, 60)			\
	X(pagemap_scan, 60)		\
	X(soft_dirty, 60)		\
	X(file_writeback, 120)		\
	X(process_exit, 60)		\
	X(process_exec, 60)		\
	X(oom_reap, 180)

struct mn_event {
	const char *name;
	enum mn_result (*run)(struct mn_run *run);
	unsigned int seconds;
};

#define MN_HUGE_EVENTS(X)		\
	X(thp_unmap, 60)		\
	X(thp_dontneed, 60)		\
	X(thp_protect, 60)		\
	X(thp_move, 60)			\
	X(thp_fork, 60)			\
	X(thp_migrate, 60)		\
	X(thp_uffd_wp, 60)		\
	X(thp_uffd_move, 60)		\
	X(thp_soft_dirty, 60)		\
	X(thp_pagemap_scan, 60)		\
	X(thp_madv_free, 60)		\
	X(thp_discard, 60)		\
	X(thp_pageout, 60)		\
	X(thp_zero_page, 60)		\
	X(thp_shmem_split, 60)		\
	X(thp_khugepaged_shmem, 120)	\
	X(hugetlb_protect, 60)		\
	X(hugetlb_move, 60)		\
	X(hugetlb_fork, 60)		\
	X(hugetlb_migrate, 60)		\
	X(hugetlb_uffd_wp, 60)		\
	X(hugetlb_pagemap_scan, 60)	\
	X(hugetlb_unshare, 60)

#define MN_DRIVER_EVENTS(X)		\
	X(uprobe, 60)			\
	X(exclusive, 60)		\
	X(migrate_vma, 60)		\
	X(migrate_vma_zero, 60)		\
	X(mkclean, 60)			\
	X(mkclean_thp, 60)		\
	X(wrprotect_mapping, 60)	\
	X(clean_mapping, 60)		\
	X(pmd_frames_unmap, 60)		\
	X(pud_frames_unmap, 60)		\
	X(pud_frames_protect, 60)	\
	X(pud_frames_move, 60)		\
	X(pud_frames_move_apart, 60)	\
	X(pud_frames_fork, 60)

extern const struct mn_event mn_events[];
extern const size_t mn_nr_events;
extern const struct mn_event mn_huge_events[];
extern const struct mn_event mn_driver_events[];

/* Where an event is in its table. */
#define MN_EVENT_NUMBER(name, seconds)	MN_EVENT_##name,
enum mn_event_number {
	MN_EVENTS(MN_EVENT_NUMBER)
};

enum mn_huge_event_number {
	MN_HUGE_EVENTS(MN_EVENT_NUMBER)
};

enum mn_driver_event_number {
	MN_DRIVER_EVENTS(MN_EVENT_NUMBER)
};

/* An entry of a table of events. */
#define MN_EVENT(name, seconds)	{ #name, event_##name, seconds },

/* Runs an event under the eyes of a secondary MMU of style @run->style. */
enum mn_result mn_run_event(const struct mn_event *event, struct mn_run *run);

#endif /* _MMU_NOTIFIER_EVENTS_H */
