// SPDX-License-Identifier: GPL-2.0
/*
 * Sections that sleep on demand; see mmu_notifier_section.h.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mmu_notifier_section.h"
#include "mmu_notifier_util.h"

/* Holds i_mmap_rwsem; mmap_lock of none of those who map the file. */
static bool punch_hole(struct mn_section *section)
{
	return !fallocate(section->file,
			  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			  mn_page_size());
}

/* Holds the root anon_vma; the owner's mmap_lock is long dropped by then. */
static bool move_to_other_node(struct mn_section *section)
{
	int node = !mn_node_of(section->owner, section->addr);
	unsigned int tries;

	for (tries = 0; tries < 50; tries++) {
		if (mn_move_pages(section->owner, section->addr, 1, node) == 1)
			return true;
		mn_sleep_ms(20);
	}
	return false;
}

static bool share_with_child(struct mn_section *section)
{
	pid_t pid = fork();

	if (!pid) {
		/* Until the parent is gone, or has closed its end. */
		char c;

		close(section->go[1]);
		_exit(read(section->go[0], &c, 1) != 0);
	}
	return pid > 0;
}

/* Copies the page, under the lock of its VMA alone. */
static bool write_page(struct mn_section *section)
{
	mn_fill(section->addr, 1, 2);
	return true;
}

/* Holds mmap_lock for reading. */
static bool zap_page(struct mn_section *section)
{
	return !madvise(section->addr, mn_page_size(), MADV_DONTNEED);
}

const struct mn_step mn_step_i_mmap = {
	.file = true,
	.bystander = true,
	.act = punch_hole,
};

const struct mn_step mn_step_anon_vma = {
	.bystander = true,
	.two_nodes = true,
	.act = move_to_other_node,
};

const struct mn_step mn_step_vma_lock = {
	.prepare = share_with_child,
	.act = write_page,
};

const struct mn_step mn_step_mmap_lock = {
	.act = zap_page,
};

/* A section that is waited for ends: its end is nothing to the new one. */
const struct mn_step mn_step_epoch = {
	.file = true,
	.bystander = true,
	.act = punch_hole,
};

bool mn_machine_has(const struct mn_step *step)
{
	return !step->two_nodes ||
	       !access("/sys/devices/system/node/node1", F_OK);
}

/* The section's process, if it is another one; waits until told. */
static pid_t fork_bystander(struct mn_section *section)
{
	pid_t pid = fork();
	char c;

	if (pid)
		return pid;
	close(section->go[1]);
	if (read(section->go[0], &c, 1) != 1)
		_exit(1);
	_exit(!section->step->act(section));
}

static const char *set_scene(struct mn_section *section,
			     const struct mn_step *step, unsigned int first)
{
	size_t size = mn_page_size();

	*section = (struct mn_section){
		.step = step,
		.owner = getpid(),
		.file = -1,
	};
	if (pipe(section->go))
		return "no pipe";
	if (step->file) {
		section->file = memfd_create("section", 0);
		if (section->file < 0 || ftruncate(section->file, size))
			return "no file";
		section->addr = mmap(NULL, size, PROT_READ | PROT_WRITE,
				     MAP_SHARED, section->file, 0);
		if (section->addr == MAP_FAILED)
			return "no mapping";
	} else {
		section->addr = mn_map(size, size);
	}
	/* Before the page is there: it is not to be shared with this one. */
	if (step->bystander) {
		section->bystander = fork_bystander(section);
		if (section->bystander < 0)
			return "no bystander";
	}

	section->first = mn_open();
	if (section->first < 0 ||
	    mn_attach(section->first, first, 0, 0))
		return "no secondary MMU that sleeps";
	mn_fill(section->addr, 1, 1);
	if (step->prepare && !step->prepare(section))
		return "the section could not be prepared";
	return NULL;
}

static void *act(void *arg)
{
	struct mn_section *section = arg;

	section->done = section->step->act(section);
	return NULL;
}

static const char *stall(struct mn_section *section, unsigned int ms)
{
	if (mn_stall(section->first, section->addr, mn_page_size(), ms * 1000))
		return "the section cannot be made to sleep";
	if (section->bystander ?
	    write(section->go[1], "", 1) != 1 :
	    pthread_create(&section->thread, NULL, act, section))
		return "nobody runs the section";
	return mn_wait_stalled(section->first) ? "the section did not begin" : NULL;
}

const char *mn_begin_section(struct mn_section *section,
			     const struct mn_step *step, unsigned int first,
			     unsigned int ms)
{
	return set_scene(section, step, first) ?: stall(section, ms);
}

bool mn_section_sleeps(struct mn_section *section)
{
	struct tmn_stats stats;

	return !mn_stats(section->first, &stats) && stats.sleeping;
}

bool mn_wait_section(struct mn_section *section)
{
	int status;

	if (!section->bystander)
		return !pthread_join(section->thread, NULL) && section->done;
	return waitpid(section->bystander, &status, 0) == section->bystander &&
	       !status;
}

bool mn_end_section(struct mn_section *section)
{
	bool balanced = mn_balanced(section->first);

	close(section->go[0]);
	close(section->go[1]);
	close(section->first);
	if (section->file >= 0)
		close(section->file);
	munmap(section->addr, mn_page_size());
	return balanced;
}
