/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Interface of lib/test_mmu_users.c: what users of MMU notifiers do.
 *
 * An open file of /dev/test_mmu_users is a driver's context: it has one target,
 * the mm of a process, and subscriptions to it by number. Every operation that
 * may wait can be looked at meanwhile, and after its caller was killed, through
 * the same file in another process.
 *
 * Every ioctl checks every argument. What all have in common:
 *
 *   EINVAL    a flag, a reserved field or a number outside its limits
 *   EFAULT    the argument is not accessible
 *   ENOTCONN  the file has no target
 *   ESRCH     the target has exited
 *   EBUSY     the subscription is in use in a way that excludes this one
 *   EOPNOTSUPP stock's core does not survive this
 *
 * What the core returned is in the argument and in TMU_LOOK.
 */
#ifndef _LIB_TEST_MMU_USERS_UAPI_H
#define _LIB_TEST_MMU_USERS_UAPI_H

#include <linux/const.h>
#include <linux/ioctl.h>
#include <linux/types.h>

/* How many of them a file has. */
#define TMU_INTERVALS	4096
#define TMU_LISTS	256

/* The caller of the core holds mmap_lock for write. */
#define TMU_LOCKED	_BITUL(0)
/* The caller is killed just before, and dies when it returns. */
#define TMU_KILLED	_BITUL(1)
/* The structure holds junk before, not zeroes. */
#define TMU_JUNK	_BITUL(2)
/* Misuse: whatever was done before. The structure is left as it is. */
#define TMU_AGAIN	_BITUL(3)
/* Lists: mmu_notifier_get() and mmu_notifier_put(). */
#define TMU_GET		_BITUL(4)
/* Lists: release() is the only callback, as kfd's. */
#define TMU_RELEASE	_BITUL(5)
/* Remove: only if notifier.mm is set, which is cleared then: i915, radeon. */
#define TMU_IF_MM	_BITUL(6)
/* Remove: only if interval_tree.start and .last are set: kfd. */
#define TMU_IF_TREE	_BITUL(7)

/*
 * TMU_INSERT, TMU_REMOVE: interval @first + i over [@start + i * @length,
 * + @length), for i < @nr. Remove wants @start and @length 0, and one of
 * TMU_IF_MM, TMU_IF_TREE and TMU_AGAIN, or no flag for what was inserted.
 *
 * @done: (out) how many
 * @ret: (out) what the core returned for the one after these, or 0
 * @slowest_ns: (out) the longest call of the core
 */
struct tmu_interval_op {
	__u32	first;
	__u32	nr;
	__u64	start;
	__u64	length;
	__u32	flags;
	__u32	done;
	__s32	ret;
	__u32	reserved;
	__u64	slowest_ns;
};

/* TMU_REGISTER, TMU_UNREGISTER: @flags of the latter: TMU_AGAIN */
struct tmu_list_op {
	__u32	id;
	__u32	flags;
	__s32	ret;
	__u32	reserved;
	__u64	ns;
};

/*
 * @id: which one
 * @list: 0: an interval, 1: a list subscription
 * @busy: (out) the core is being called for it
 * @ret: (out) what the core returned when it was last to be registered
 * @changed: (out) how many bytes of the structure this had changed, if it failed
 * @mm: (out) the structure's ->mm is set
 * @ns: (out) how long it took
 * @start, @last: (out) the structure's interval_tree
 * @hits: (out) invalidate() of an interval; release() of a list
 * @starts, @ends: (out) those that were matched
 * @unmatched: (out) ends without a start
 * @lost: (out) starts for which there was no room
 * @open: (out) starts that have not ended
 * @cookie: (out) the same for two that are one
 */
struct tmu_look {
	__u32	id;
	__u32	list;
	__u32	busy;
	__s32	ret;
	__u32	changed;
	__u32	mm;
	__u64	ns;
	__u64	start;
	__u64	last;
	__u64	hits;
	__u64	starts;
	__u64	ends;
	__u64	unmatched;
	__u64	lost;
	__u64	open;
	__u64	cookie;
};

enum tmu_lock {
	TMU_MMAP_READ,
	TMU_MMAP_WRITE,
	TMU_I_MMAP_READ,
	TMU_I_MMAP_WRITE,
	TMU_ANON_VMA_READ,
	TMU_ANON_VMA_WRITE,
	TMU_VMA_READ,
	TMU_LOCKS,
};

#define TMU_MAX_MS	30000

/*
 * Has a kernel thread hold a lock of the target, one for each file, and returns
 * when it does.
 *
 * @lock: enum tmu_lock
 * @ms: for how long, if TMU_LET_GO does not end it; 1 to TMU_MAX_MS
 * @addr: which VMA's, but of mmap_lock
 *
 * ENOENT: the VMA has no such lock, or none is there. EAGAIN: it is taken.
 */
struct tmu_hold {
	__u32	lock;
	__u32	ms;
	__u64	addr;
};

#define TMU_MAX_WORKS	4096

/*
 * Inserts an interval from each of many works at once, as mlx5 does. They are
 * removed when all are done.
 *
 * @nr: how many works, 1 to TMU_MAX_WORKS
 * @reclaim: 0: on system_unbound_wq, 1: on a queue with WQ_MEM_RECLAIM
 * @start, @length: work i has [@start + i * @length, + @length)
 * @failed: (out) how many insertions failed
 * @ret: (out) what one of these returned
 * @slowest_ns: (out) from queueing the first until the last was inserted
 */
struct tmu_works {
	__u32	nr;
	__u32	reclaim;
	__u64	start;
	__u64	length;
	__u32	failed;
	__s32	ret;
	__u64	slowest_ns;
};

#define TMU_MAX_FAULTS	1000000

/*
 * Handles faults of a device as nouveau does: each inserts an interval on the
 * stack, reads a page under its sequence, and removes it.
 *
 * @nr: how many, 1 to TMU_MAX_FAULTS
 * @pages, @start: of which pages
 * @failed: (out) insertions that failed
 * @ret: (out) what one of these returned
 * @nothing: (out) faults where nothing was mapped
 * @retries: (out) how often an invalidation came between
 * @starved: (out) faults that met too many of these
 * @slowest_ns: (out) the longest insertion
 */
struct tmu_faults {
	__u32	nr;
	__u32	pages;
	__u64	start;
	__u32	failed;
	__s32	ret;
	__u32	nothing;
	__u32	retries;
	__u32	starved;
	__u32	reserved;
	__u64	slowest_ns;
};

/* The argument is a process, 0 for the caller. EBUSY: there is one already. */
#define TMU_TARGET	_IO('u', 0x00)
#define TMU_INSERT	_IOWR('u', 0x01, struct tmu_interval_op)
#define TMU_REMOVE	_IOWR('u', 0x02, struct tmu_interval_op)
#define TMU_REGISTER	_IOWR('u', 0x03, struct tmu_list_op)
#define TMU_UNREGISTER	_IOWR('u', 0x04, struct tmu_list_op)
#define TMU_LOOK	_IOWR('u', 0x05, struct tmu_look)
#define TMU_HOLD	_IOW('u', 0x06, struct tmu_hold)
/* Returns when the lock is free; 0 also if none was held. */
#define TMU_LET_GO	_IO('u', 0x07)
#define TMU_WORKS	_IOWR('u', 0x08, struct tmu_works)
#define TMU_FAULTS	_IOWR('u', 0x09, struct tmu_faults)
/*
 * Returns the target's mm_count, without what CPUs have borrowed. EBUSY: the
 * caller's own mm, which a CPU may borrow any time.
 */
#define TMU_COUNT	_IO('u', 0x0a)

#endif /* _LIB_TEST_MMU_USERS_UAPI_H */
