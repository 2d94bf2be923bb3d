/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sections that sleep on demand.  A section is what runs between the start and
 * the end of an invalidation.  These sleep in their start, before the page
 * tables are changed, while they hold exactly one kind of lock, so that a test
 * can do something in the middle of one without luck.
 */
#ifndef _MMU_NOTIFIER_SECTION_H
#define _MMU_NOTIFIER_SECTION_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

struct mn_section;

/**
 * struct mn_step - what registering has to wait for
 * @file: whether the page is shared memory
 * @bystander: whether the section runs in a process that does not share the mm
 * @two_nodes: whether the machine needs two NUMA nodes
 * @prepare: something else that is needed; after the page was written
 * @act: runs the section
 */
struct mn_step {
	bool file;
	bool bystander;
	bool two_nodes;
	bool (*prepare)(struct mn_section *section);
	bool (*act)(struct mn_section *section);
};

extern const struct mn_step mn_step_i_mmap;
extern const struct mn_step mn_step_anon_vma;
extern const struct mn_step mn_step_vma_lock;
extern const struct mn_step mn_step_mmap_lock;
extern const struct mn_step mn_step_epoch;

/**
 * struct mn_section - one section that sleeps, and what it is to change
 * @step: what it is about
 * @first: the secondary MMU that makes it sleep
 * @addr: one page
 * @file: what @addr maps, or -1
 * @owner: the process whose memory it is
 * @bystander: the process that runs the section, or 0:
 * @thread: the thread that does
 * @go: for the bystander: a byte to begin
 * @done: the section did what it is for
 */
struct mn_section {
	const struct mn_step *step;
	int first;
	char *addr;
	int file;
	pid_t owner;
	pid_t bystander;
	pthread_t thread;
	int go[2];
	bool done;
};

bool mn_machine_has(const struct mn_step *step);

/*
 * Has a section begin, and sleep for @ms by a secondary MMU of the style @first.
 * With an interval the mm has no subscription with range callbacks, so that the
 * next one looks at locks; with any other it waits for the sections, whatever
 * their locks.  NULL, or what did not work; then nothing has to be ended.
 */
const char *mn_begin_section(struct mn_section *section,
			     const struct mn_step *step, unsigned int first,
			     unsigned int ms);

/* Whether the section sleeps still. */
bool mn_section_sleeps(struct mn_section *section);
/* Waits until the section has ended: whether it did what it is for. */
bool mn_wait_section(struct mn_section *section);
/* Takes down what is left of it; whether its starts and ends balanced. */
bool mn_end_section(struct mn_section *section);

#endif /* _MMU_NOTIFIER_SECTION_H */
