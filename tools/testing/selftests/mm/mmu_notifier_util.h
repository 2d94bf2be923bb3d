/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of MMU notifiers share: secondary MMUs as a test sees them
 * (lib/test_mmu_notifier.c), and the oracle.
 *
 * The oracle: the first word of each page holds the address it was written at
 * and a generation.  What a secondary MMU loads has to be what the CPU sees.  A
 * translation that outlived a page gives the wrong generation, or whatever the
 * kernel poisons freed pages with (boot with page_poison=1 or init_on_free=1).
 *
 * Functions return 0, or a negative errno, unless they say something else.
 */
#ifndef _MMU_NOTIFIER_UTIL_H
#define _MMU_NOTIFIER_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../kselftest.h"
#include "../../../../lib/test_mmu_notifier_uapi.h"

#define MN_DEVICE	"/dev/test_mmu_notifier"
#define MN_STOCK_CORE	"/sys/module/test_mmu_notifier/parameters/stock_core"

/* enum mmu_notifier_event, as far as the tests name events. */
enum {
	MN_EVENT_UNMAP		= 0,
	MN_EVENT_CLEAR		= 1,
	MN_EVENT_RELEASE	= 5,
};

#define MN_ALL_EVENTS	((1U << TMN_EVENTS) - 1)

/* Secondary MMUs */

const char *mn_style_name(unsigned int style);

/* Opens a secondary MMU: a file descriptor or a negative errno. */
int mn_open(void);

/* Attaches it, an interval over all of user space; @pid 0 is the caller. */
int mn_attach(int fd, unsigned int style, unsigned int flags, pid_t pid);
int mn_detach(int fd);

int mn_load(int fd, const void *addr, uint64_t *value);
int mn_load_nofault(int fd, const void *addr, uint64_t *value);
int mn_store(int fd, void *addr, uint64_t value);
int mn_store_nofault(int fd, void *addr, uint64_t value);
int mn_drop(int fd, void *addr, size_t length);
/* From now on calls of invalidate_page for the range are counted. */
int mn_watch(int fd, const void *addr, size_t length);
int mn_stats(int fd, struct tmn_stats *stats);
uint64_t mn_callbacks(const struct tmn_stats *stats);

/*
 * Makes the first callback that touches a range sleep at its start; waits
 * until one does.
 */
int mn_stall(int fd, void *addr, size_t length, unsigned int us);
int mn_wait_stalled(int fd);

/*
 * Waits until no invalidation is going on, and says whether each start had its
 * end and nothing else had one.
 */
bool mn_balanced(int fd);

/* The oracle */

uint64_t mn_value(const void *addr, unsigned int generation);

static inline uint64_t mn_cpu(const void *addr)
{
	return __atomic_load_n((const uint64_t *)addr, __ATOMIC_RELAXED);
}

static inline void mn_cpu_write(void *addr, uint64_t value)
{
	__atomic_store_n((uint64_t *)addr, value, __ATOMIC_RELAXED);
}

/* Writes each page of @pages with the CPU. */
void mn_fill(void *addr, size_t pages, unsigned int generation);

/*
 * Each of these returns how many pages are wrong.
 *
 * mn_stale: a translation that is there shows something else than the CPU
 * mn_wrong: the same, and loads that fault
 * mn_mapped: there is a translation, whatever it shows
 * mn_reachable: there is a translation, or one can be established
 * mn_writable: a store succeeds without a fault (it stores what is there)
 */
unsigned int mn_stale(int fd, const void *addr, size_t pages);
unsigned int mn_wrong(int fd, const void *addr, size_t pages);
unsigned int mn_mapped(int fd, const void *addr, size_t pages);
unsigned int mn_reachable(int fd, const void *addr, size_t pages);
unsigned int mn_writable(int fd, void *addr, size_t pages);

/* Establishes translations, for stores too if @write: how many failed. */
unsigned int mn_mirror(int fd, void *addr, size_t pages, bool write);

/*
 * Whether a secondary MMU that is not attached works: it is attached, used, told
 * of a change, and detached.  NULL, or what does not work.
 */
const char *mn_works(int fd, unsigned int style, unsigned int flags);

/* The machine */

size_t mn_page_size(void);
/* Anonymous private memory, @align a power of two; exits when there is none. */
void *mn_map(size_t length, size_t align);
/* Adds mappings that do not merge; each second one has an anon_vma of its own. */
bool mn_add_vmas(unsigned int nr);
/* Adds a thread that does nothing, until the process exits. */
bool mn_add_thread(void);
uint64_t mn_now_ns(void);
void mn_sleep_ms(unsigned int ms);
/* How many files of the device are open, or whatever else keeps the module. */
long mn_module_users(void);
/* Unloads it (0 or a negative errno) and loads it again. */
int mn_unload_module(void);
bool mn_load_module(void);
/* Waits until there are just so many: those of a process that exits go late. */
bool mn_wait_module_users(long users);
/* Whether this kernel's core is the one whose registration drains. */
bool mn_core_drains(void);

int __printf(2, 3) mn_write_file(const char *path, const char *format, ...);
int mn_read_long(const char *path, long *value);
/* The page frame behind an address, 0 if there is none. */
uint64_t mn_pfn(const void *addr);
bool mn_swapped(const void *addr);
bool mn_soft_dirty(const void *addr);
bool mn_uffd_wp(const void *addr);
/* The first swap device or file in use, false if there is none. */
bool mn_swap_device(char *path, size_t length);
/* Moves pages to another node: how many are there now, or a negative errno. */
int mn_move_pages(pid_t pid, void *addr, size_t pages, int node);
int mn_node_of(pid_t pid, void *addr);
/* A memory cgroup of its own, to be removed with rmdir(); -ENODEV: none here. */
int mn_make_memcg(char *path, size_t length);

#endif /* _MMU_NOTIFIER_UTIL_H */
