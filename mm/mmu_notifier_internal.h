/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the parts of the MMU-notifier core. */
#ifndef _MM_MMU_NOTIFIER_INTERNAL_H
#define _MM_MMU_NOTIFIER_INTERNAL_H

#include <linux/bits.h>
#include <linux/limits.h>
#include <linux/minmax.h>
#include <linux/mm_types.h>
#include <linux/mmu_notifier.h>
#include <linux/rculist.h>
#include <linux/sched/clock.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <trace/events/mmu_notifier.h>

/**
 * enum mn_kind - what a list subscription may want to be told, beside sections
 * @MN_PAGE: of single pages
 * @MN_YOUNG: of ageing, by any of its three callbacks
 * @MN_TLB: of flushes of the CPU's TLB
 * @MN_KINDS: how many there are
 */
enum mn_kind {
	MN_PAGE,
	MN_YOUNG,
	MN_TLB,
	MN_KINDS,
};

/**
 * enum mn_itree_state - whether sections know of interval subscriptions
 * @MN_ITREE_NONE: none was ever inserted into this mm
 * @MN_ITREE_PUBLISHED: sections that begin now know of them, older ones do not
 * @MN_ITREE_READY: the older ones have ended; insertions wait for nothing
 */
enum mn_itree_state {
	MN_ITREE_NONE,
	MN_ITREE_PUBLISHED,
	MN_ITREE_READY,
};

/**
 * struct mmu_notifier_subscriptions - all that subscribes to one mm
 * @srcu: the domain that tracked sections and walks of @list are in; NULL
 *	until the first list subscription
 * @list: the list subscriptions, youngest first, so that births decrease;
 *	read under SRCU, changed under @lock
 * @nr: how many on @list want what, so that a hook need not walk it in vain;
 *	changed under @lock
 * @track: whether sections enter @srcu; set before the first subscription
 *	with range callbacks is published, and never cleared
 * @lock: protects changes of @list, @drained, &mmu_notifier.users, and all of
 *	the fields of intervals, from @itree_state on
 * @epoch: how many list subscriptions were published; changed under mmap_lock
 *	for write
 * @drained: every section that @track or a subscription born by this epoch
 *	could have missed has ended; 0: not even one drain was completed
 * @itree_state: whether sections know of intervals
 * @itree_waiters: how many insertions wait for @itree_state to become ready
 * @active: how many sections that know of intervals are under way
 * @waiting: whether somebody waits for @seq to move on
 * @seq: the collision sequence of interval subscriptions. Odd: a section under
 *	way meets some of them, and the tree must not change. Even: no such.
 *	Who waits for it to move on waits for its address (wait_var_event())
 * @itree: the interval subscriptions
 * @deferred: those to be inserted (not in the tree) or removed (in the tree)
 *	when @seq becomes even
 *
 * Allocated at the first registration, freed with the mm.
 */
struct mmu_notifier_subscriptions {
	struct srcu_struct *srcu;
	struct hlist_head list;
	unsigned int nr[MN_KINDS];
	bool track;
	spinlock_t lock;	/* the list and the tree, see above */
	unsigned long epoch;
	unsigned long drained;

	enum mn_itree_state itree_state;
	unsigned int itree_waiters;
	unsigned int active : 31;
	unsigned int waiting : 1;
	unsigned long seq;
	struct rb_root_cached itree;
	struct hlist_head deferred;
};

/* The last epoch of an mm: on 32 bit, of an unsigned long. */
#define MN_EPOCH_MAX							\
	((unsigned long)min_t(u64, ULONG_MAX,				\
			      GENMASK_ULL(MMU_NOTIFIER_EPOCH_BITS - 1, 0)))

/*
 * How to wait for sections. mmap_lock is held for write at first; who does not
 * keep it finds it released.
 */
#define MN_WAIT_KILLABLE	BIT(0)	/* a fatal signal ends the wait */
#define MN_WAIT_KEEP		BIT(1)	/* the caller's mmap_lock stays held */

/* Iterate over the list subscriptions of @subs; the caller is in SRCU. */
#define mn_for_each(sub, subs)						\
	hlist_for_each_entry_srcu(sub, &(subs)->list, hlist,		\
				  srcu_read_lock_held((subs)->srcu))

/*
 * Make a call of a callback, whose value is an int, and tell its tracepoint how
 * long that took: the latencies in debugfs come from there as well. While nobody
 * looks, a nop before the call.
 */
#define mn_trace_call(_callback, _mm, _start, _end, _call)		\
({									\
	u64 __began;							\
	int __ret;							\
									\
	if (!trace_mmu_notifier_callback_enabled()) {			\
		__ret = (_call);					\
	} else {							\
		__began = local_clock();				\
		__ret = (_call);					\
		trace_mmu_notifier_callback(_callback, _mm, _start, _end, \
					    local_clock() - __began,	\
					    __ret);			\
	}								\
	__ret;								\
})

/* mm/mmu_notifier.c */
void *mn_callback_of(const struct mmu_notifier_ops *ops);
struct mmu_notifier_subscriptions *mn_get_subscriptions(struct mm_struct *mm,
							bool with_domain);
int mn_wait(struct mm_struct *mm, unsigned int flags);

/* mm/mmu_interval_notifier.c */
int mn_itree_start(struct mmu_notifier_subscriptions *subs,
		   const struct mmu_notifier_range *range);
void mn_itree_end(struct mmu_notifier_subscriptions *subs);
#if IS_ENABLED(CONFIG_KUNIT)
int mn_itree_publish(struct mm_struct *mm);
int mn_itree_settle(struct mm_struct *mm, int error);
#endif

/* mm/mmu_notifier_drain.c */
int mn_drain(struct mm_struct *mm, unsigned int flags);

#endif
