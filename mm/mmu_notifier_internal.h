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
#include <linux/spinlock.h>
#include <linux/srcu.h>

/**
 * enum mn_kind - what a list subscription may want to be told
 * @MN_RANGE: of sections: start, end, or both
 * @MN_PAGE: of single pages
 * @MN_YOUNG: of ageing, by any of its three callbacks
 * @MN_TLB: of flushes of the CPU's TLB
 * @MN_KINDS: how many there are
 */
enum mn_kind {
	MN_RANGE,
	MN_PAGE,
	MN_YOUNG,
	MN_TLB,
	MN_KINDS,
};

/**
 * struct mmu_notifier_subscriptions - all that subscribes to one mm
 * @srcu: the domain that walks of @list are in
 * @list: the list subscriptions, youngest first, so that births decrease;
 *	read under SRCU, changed under @lock
 * @nr: how many on @list want what, so that a hook need not walk it in vain;
 *	changed under @lock
 * @lock: protects changes of @list, &mmu_notifier.users, and all of the
 *	interval tree's fields below
 * @active: how many sections that know of the tree are under way
 * @waiting: whether somebody waits for @seq to move on
 * @epoch: how many publications there were; changed under mmap_lock for write
 * @drained: every section of an epoch below this has ended
 * @itree_birth: the epoch at which interval subscriptions began to exist on
 *	this mm, 0 if never; changed under mmap_lock for write
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
	spinlock_t lock;	/* the list and the tree, see above */
	unsigned int active : 31;
	unsigned int waiting : 1;
	unsigned long epoch;
	unsigned long drained;
	unsigned long itree_birth;
	unsigned long seq;
	struct rb_root_cached itree;
	struct hlist_head deferred;
};

/* The last epoch of an mm: on 32 bit, of an unsigned long. */
#define MN_EPOCH_MAX							\
	((unsigned long)min_t(u64, ULONG_MAX,				\
			      GENMASK_ULL(MMU_NOTIFIER_EPOCH_BITS - 1, 0)))

/* Iterate over the list subscriptions of @subs; the caller is in SRCU. */
#define mn_for_each(sub, subs)						\
	hlist_for_each_entry_srcu(sub, &(subs)->list, hlist,		\
				  srcu_read_lock_held((subs)->srcu))

/* How long a registration may wait for locks (ms, 0: for ever). */
extern unsigned int mn_register_timeout_ms;

void *mn_callback_of(const struct mmu_notifier_ops *ops);
int mn_drain(struct mm_struct *mm, unsigned long start, unsigned long last);

#endif
