/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Interface of the software secondary MMUs of lib/test_mmu_notifier.c.
 *
 * Each open file of /dev/test_mmu_notifier is one secondary MMU.  It is
 * attached to one process, mirrors what it is asked to touch there, and gives
 * access to memory through its own translations only.
 *
 * Every ioctl checks every argument.  When it fails, nothing has changed.
 * What all have in common:
 *
 *   EINVAL    a flag, a reserved field or a number outside its limits
 *   EFAULT    the argument, or the address to be mirrored, is not accessible
 *   ENOTCONN  the file is not attached
 */
#ifndef _LIB_TEST_MMU_NOTIFIER_UAPI_H
#define _LIB_TEST_MMU_NOTIFIER_UAPI_H

#include <linux/const.h>
#include <linux/ioctl.h>
#include <linux/types.h>

/* How a secondary MMU keeps its translations from becoming stale. */
enum tmn_style_id {
	/* 0 is no style, to catch structures that were not filled in. */
	TMN_STYLE_NONE,
	/* Serialised by the page table lock alone: invalidate_page. */
	TMN_STYLE_GRU,
	/* start/end, a sequence and retries; holds no page references. */
	TMN_STYLE_KVM,
	/* start/end that sleep; holds a reference on each mirrored page. */
	TMN_STYLE_XPMEM,
	/* An interval notifier over one range; holds no page references. */
	TMN_STYLE_INTERVAL,
	/* As KVM, and invalidate_page too. */
	TMN_STYLE_BOTH,
	TMN_STYLES,
};

/* mmu_notifier_get() and mmu_notifier_put() instead of (un)register. */
#define TMN_ATTACH_GET		_BITUL(0)
/* The caller of the core holds mmap_lock for write. */
#define TMN_ATTACH_LOCKED	_BITUL(1)

/*
 * @style: one of enum tmn_style_id
 * @flags: TMN_ATTACH_*
 * @pid: the process to mirror (CAP_SYS_ADMIN), 0 for the caller
 * @start: TMN_STYLE_INTERVAL: first byte, page aligned; else 0
 * @length: TMN_STYLE_INTERVAL: bytes, page aligned, not 0; else 0
 *
 * EOPNOTSUPP: this kernel has no such style.  EBUSY: attached already.
 * ESRCH: no such process, or it has no memory.
 */
struct tmn_attach {
	__u32	style;
	__u32	flags;
	__s32	pid;
	__u32	reserved;
	__u64	start;
	__u64	length;
};

/* Use an existing translation or fail with ENOENT; never fault. */
#define TMN_ACCESS_NOFAULT	_BITUL(0)

/*
 * @addr: user address in the mirrored process, 8-byte aligned
 * @value: what was loaded, or what to store
 * @flags: TMN_ACCESS_*
 *
 * ENOENT: no translation.  ENOSPC: no room for one more.  ERANGE: outside the
 * interval.  ESRCH: the mirrored process has exited.
 */
struct tmn_access {
	__u64	addr;
	__u64	value;
	__u32	flags;
	__u32	reserved;
};

/* A page-aligned range. DROP forgets its translations, WATCH counts. */
struct tmn_range {
	__u64	start;
	__u64	length;
};

/* In: for writing. Out: the secondary MMU may write. */
#define TMN_FAULT_WRITE		_BITUL(0)
/* In: mmu_notifier_fault_atomic(), in an interrupt. */
#define TMN_FAULT_INTERRUPT	_BITUL(1)
/* Out: there is a page. */
#define TMN_FAULT_PAGE		_BITUL(2)

/*
 * Calls mmu_notifier_fault(), to see what it shows and returns.
 *
 * @addr: user address in the mirrored process
 * @flags: TMN_FAULT_*; (out) likewise
 * @error: what the map callback is to fail with, or 0
 * @mapping_start, @mapping_size, @pfn: (out) what it was shown
 *
 * EOPNOTSUPP: not a style with invalidate_page. EDEADLK: the callback could
 * have slept.
 */
struct tmn_fault {
	__u64	addr;
	__u32	flags;
	__u32	error;
	__u64	mapping_start;
	__u64	mapping_size;
	__u64	pfn;
};

/* Indexed by enum mmu_notifier_event. */
#define TMN_EVENTS		8

/*
 * What happened since ATTACH; what had happened by then, after DETACH.
 *
 * @style: TMN_STYLE_NONE before the first ATTACH
 * @starts: invalidate_range_start() that returned 0
 * @failed_starts: invalidate_range_start() that returned -EAGAIN
 * @ends: invalidate_range_end() of a start that returned 0
 * @unbalanced_ends: invalidate_range_end() without such a start
 * @interval_invalidates: invalidate() of an interval notifier
 * @invalidate_pages: invalidate_page()
 * @outside_pages: TMN_STYLE_BOTH: invalidate_page() without a start before and
 *	an end after it, of the same task, that covers it
 * @watched_pages: TMN_STYLE_GRU: invalidate_page() for what WATCH named
 * @young: clear_flush_young(), clear_young() and test_young()
 * @releases: release(), or an invalidate() that says MMU_NOTIFY_RELEASE
 * @faults: translations established
 * @retries: faults that met an invalidation and began again
 * @dropped: translations removed by callbacks
 * @delayed: callbacks that were made slow by MISBEHAVE
 * @active: starts that have not ended yet
 * @sleeping: callbacks being made slow right now
 * @translations: present translations
 * @events: start, invalidate and invalidate_page by their event
 */
struct tmn_stats {
	__u64	style;
	__u64	starts;
	__u64	failed_starts;
	__u64	ends;
	__u64	unbalanced_ends;
	__u64	interval_invalidates;
	__u64	invalidate_pages;
	__u64	outside_pages;
	__u64	watched_pages;
	__u64	young;
	__u64	releases;
	__u64	faults;
	__u64	retries;
	__u64	dropped;
	__u64	delayed;
	__u64	active;
	__u64	sleeping;
	__u64	translations;
	__u64	events[TMN_EVENTS];
};

/* Fail with -EAGAIN whenever the callback may not block. */
#define TMN_MISBEHAVE_FAIL_NONBLOCK	_BITUL(0)

#define TMN_MAX_DELAY_US	10000000U

/*
 * @start: only callbacks that touch [@start, @start + @length)
 * @length: 0 for all addresses
 * @events: only these events (1 << enum mmu_notifier_event), not 0
 * @limit: only so many callbacks, 0 for all
 * @start_delay_us: sleep in invalidate_range_start(), invalidate() and, where
 *	@events has MMU_NOTIFY_RELEASE, release()
 * @end_delay_us: sleep in invalidate_range_end()
 * @flags: TMN_MISBEHAVE_*
 *
 * Callbacks that may not block never sleep.  Both delays 0 and no flag: behave.
 */
struct tmn_misbehave {
	__u64	start;
	__u64	length;
	__u32	events;
	__u32	limit;
	__u32	start_delay_us;
	__u32	end_delay_us;
	__u32	flags;
	__u32	reserved;
};

#define TMN_MAX_LOOPS		10000U

/*
 * Registers with the caller's mm and unregisters, @loops times, beside what
 * the file and others are attached to.  What is measured is the core's call alone.
 *
 * @style: one of enum tmn_style_id; TMN_STYLE_NONE: only looks at each lock of
 *	the mm that a registration may have to wait for
 * @loops: 1 to TMN_MAX_LOOPS
 * @start, @length: bytes, the interval where the style has one; 0, 0: all there is
 * @register_min_ns, @register_median_ns, @register_max_ns: (out)
 * @unregister_min_ns, @unregister_median_ns, @unregister_max_ns: (out)
 */
struct tmn_bench {
	__u32	style;
	__u32	loops;
	__u64	start;
	__u64	length;
	__u64	register_min_ns;
	__u64	register_median_ns;
	__u64	register_max_ns;
	__u64	unregister_min_ns;
	__u64	unregister_median_ns;
	__u64	unregister_max_ns;
};

/*
 * What a driver must not do with the core.  Each gets a warning in the kernel's
 * log, and otherwise does no harm.
 */
enum tmn_misuse_id {
	/* Registers what is registered already: EEXIST with DEBUG_VM. */
	TMN_MISUSE_REGISTER_TWICE,
	/* Unregisters what is not registered any more. */
	TMN_MISUSE_UNREGISTER_TWICE,
	/* Puts once more than it got. */
	TMN_MISUSE_PUT_TWICE,
	/* Says no to an invalidation that does not ask. */
	TMN_MISUSE_REFUSE,
	/* Registers ops that exclude each other: EINVAL. */
	TMN_MISUSE_OPS,
	/* Registers for single pages while it holds mmap_lock: EINVAL. */
	TMN_MISUSE_LOCKED,
	/* The same with mmu_notifier_get_locked(). */
	TMN_MISUSE_GET_LOCKED,
	/* Registers with the mm that the file is attached to, dead: EINVAL. */
	TMN_MISUSE_DEAD,
	/* The same for an interval. */
	TMN_MISUSE_DEAD_INTERVAL,
	TMN_MISUSES,
};

#define TMN_ATTACH	_IOW('N', 0x00, struct tmn_attach)
#define TMN_DETACH	_IO('N', 0x01)
#define TMN_LOAD	_IOWR('N', 0x02, struct tmn_access)
#define TMN_STORE	_IOW('N', 0x03, struct tmn_access)
#define TMN_DROP	_IOW('N', 0x04, struct tmn_range)
#define TMN_STATS	_IOR('N', 0x05, struct tmn_stats)
#define TMN_MISBEHAVE	_IOW('N', 0x06, struct tmn_misbehave)
#define TMN_BENCH	_IOWR('N', 0x07, struct tmn_bench)
#define TMN_WATCH	_IOW('N', 0x08, struct tmn_range)
#define TMN_FAULT	_IOWR('N', 0x09, struct tmn_fault)
/*
 * The argument is one of enum tmn_misuse_id.  EOPNOTSUPP: this kernel does not
 * notice.  EUCLEAN: it did harm.  EBUSY: the mm is not dead.
 */
#define TMN_MISUSE	_IO('N', 0x0b)

#endif /* _LIB_TEST_MMU_NOTIFIER_UAPI_H */
