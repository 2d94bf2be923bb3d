// SPDX-License-Identifier: GPL-2.0-only
/*
 * MMU interval notifiers: subscriptions to a range of addresses.
 *
 * The interval tree is looked up at the start of a section under the lock,
 * then walked without it: while a section is under way that met something in
 * the tree (odd sequence) insertions and removals are queued.
 *
 * A reader (mmu_interval_read_begin() … mmu_interval_read_retry()) collides
 * with a section if its subscription's sequence changed, or was that of a
 * section under way. A subscription's sequence is always odd and the idle
 * sequence of the mm even, so an idle subscription never looks invalidated.
 *
 * The first insertion into an mm makes sections know of intervals and waits for
 * those that do not, as a registration does. All that follow change the tree
 * and nothing else: they take no lock of the mm, wait for nobody, and cannot
 * fail but for wrong arguments. Drivers insert from their fault handlers, from
 * work queues and under their own locks, and not all look at the result.
 */

#include <kunit/visibility.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/interval_tree.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/overflow.h>
#include <linux/sched/mm.h>
#include <linux/wait_bit.h>

#include "mmu_notifier_internal.h"

static struct mmu_interval_notifier *
mn_interval_of(struct interval_tree_node *node)
{
	return container_of(node, struct mmu_interval_notifier, interval_tree);
}

/* --- Sections ------------------------------------------------------------ */

static bool mn_itree_busy(const struct mmu_notifier_subscriptions *subs)
{
	lockdep_assert_held(&subs->lock);
	return subs->seq & 1;
}

/*
 * Was it inserted, and not removed since? Its sequence is odd then, as all that
 * it is set to are. A structure that was zeroed or removed has an even one.
 */
static __no_kmsan_checks bool
mn_interval_looks_inserted(const struct mmu_interval_notifier *interval_sub)
{
	return READ_ONCE(interval_sub->invalidate_seq) & 1;
}

/* The sequence says so at once: nobody is to remove it a second time. */
static void mn_itree_remove(struct mmu_interval_notifier *interval_sub,
			    struct mmu_notifier_subscriptions *subs)
{
	interval_tree_remove(&interval_sub->interval_tree, &subs->itree);
	WRITE_ONCE(interval_sub->invalidate_seq, 0);
}

static void mn_itree_do_deferred(struct mmu_notifier_subscriptions *subs)
{
	struct mmu_interval_notifier *interval_sub;
	struct hlist_node *next;

	hlist_for_each_entry_safe(interval_sub, next, &subs->deferred,
				  deferred_item) {
		hlist_del_init(&interval_sub->deferred_item);
		if (RB_EMPTY_NODE(&interval_sub->interval_tree.rb))
			interval_tree_insert(&interval_sub->interval_tree,
					     &subs->itree);
		else
			mn_itree_remove(interval_sub, subs);
	}
}

/**
 * mn_itree_end - a section that knows of intervals ends
 * @subs: the subscriptions of its mm
 *
 * Context: as the section's.
 */
void mn_itree_end(struct mmu_notifier_subscriptions *subs)
{
	bool waiting;

	spin_lock(&subs->lock);
	if (--subs->active || !mn_itree_busy(subs)) {
		spin_unlock(&subs->lock);
		return;
	}

	/* Pairs with the lockless reads of those who wait. */
	WRITE_ONCE(subs->seq, subs->seq + 1);
	mn_itree_do_deferred(subs);
	waiting = subs->waiting;
	subs->waiting = false;
	spin_unlock(&subs->lock);
	if (!waiting)
		return;
	/* H: pairs with the barrier in wait_var_event(): who waits, or sees. */
	smp_mb();
	wake_up_var(&subs->seq);
}

/**
 * mn_itree_start - a section begins that knows of intervals
 * @subs: the subscriptions of its mm
 * @range: the section
 *
 * Context: as the section's.
 * Return: 0; -EAGAIN if a subscription would have to sleep and must not: the
 * section has not begun.
 */
int mn_itree_start(struct mmu_notifier_subscriptions *subs,
		   const struct mmu_notifier_range *range)
{
	unsigned long last = range->end - 1;
	struct interval_tree_node *node;
	unsigned long seq;

	spin_lock(&subs->lock);
	subs->active++;
	node = interval_tree_iter_first(&subs->itree, range->start, last);
	if (node)
		WRITE_ONCE(subs->seq, subs->seq | 1);
	seq = subs->seq;
	spin_unlock(&subs->lock);

	for (; node; node = interval_tree_iter_next(node, range->start, last)) {
		struct mmu_interval_notifier *interval_sub =
			mn_interval_of(node);
		int ret;

		ret = mn_trace_call(interval_sub->ops->invalidate, range->mm,
				    range->start, range->end,
				    interval_sub->ops->invalidate(interval_sub,
								  range, seq) ?
				    0 : -EAGAIN);
		if (!ret || WARN_ON(mmu_notifier_range_blockable(range)))
			continue;
		mn_itree_end(subs);
		return -EAGAIN;
	}
	return 0;
}

/* --- The first insertion of an mm ---------------------------------------- */

/* Need an insertion wait for nothing? */
static bool mn_itree_ready(struct mm_struct *mm)
{
	/* A: READ_ONCE() and dependency, as in every hook. */
	struct mmu_notifier_subscriptions *subs =
		READ_ONCE(mm->notifier_subscriptions);

	/* F: pairs with the release in mn_itree_settle(). */
	return subs && smp_load_acquire(&subs->itree_state) == MN_ITREE_READY;
}

/* Have sections know of intervals from now on; mmap_lock is held for write. */
VISIBLE_IF_KUNIT int mn_itree_publish(struct mm_struct *mm)
{
	struct mmu_notifier_subscriptions *subs = mn_get_subscriptions(mm, false);

	if (IS_ERR(subs))
		return PTR_ERR(subs);
	spin_lock(&subs->lock);
	subs->itree_waiters++;
	/* B: read by a section after it has taken its lock or entered SRCU. */
	if (subs->itree_state == MN_ITREE_NONE)
		WRITE_ONCE(subs->itree_state, MN_ITREE_PUBLISHED);
	spin_unlock(&subs->lock);
	return 0;
}

/*
 * The wait for older sections is over, or failed with @error. Sections count
 * themselves in vain if nobody is left who wants to insert.
 */
VISIBLE_IF_KUNIT int mn_itree_settle(struct mm_struct *mm, int error)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;

	spin_lock(&subs->lock);
	subs->itree_waiters--;
	if (!error)
		/* F: pairs with the acquire in mn_itree_ready(). */
		smp_store_release(&subs->itree_state, MN_ITREE_READY);
	else if (subs->itree_state == MN_ITREE_PUBLISHED &&
		 !subs->itree_waiters)
		WRITE_ONCE(subs->itree_state, MN_ITREE_NONE);
	spin_unlock(&subs->lock);
	return error;
}

/*
 * A fatal signal ends the wait only where the mm had no subscription at all:
 * there an insertion could fail since there are intervals. Where it has one,
 * some drivers do not look at the result (kfd_svm).
 */
static unsigned int mn_itree_wait_flags(struct mm_struct *mm)
{
	return READ_ONCE(mm->notifier_subscriptions) ? 0 : MN_WAIT_KILLABLE;
}

/* Publish and wait; mmap_lock is held for write, and kept or not as @flags say. */
static int mn_itree_prepare_locked(struct mm_struct *mm, unsigned int flags)
{
	int ret = mn_itree_publish(mm);

	if (!ret)
		return mn_itree_settle(mm, mn_wait(mm, flags));
	if (!(flags & MN_WAIT_KEEP))
		mmap_write_unlock(mm);
	return ret;
}

static int mn_itree_prepare(struct mm_struct *mm)
{
	unsigned int flags = mn_itree_wait_flags(mm);

	if (!flags)
		mmap_write_lock(mm);
	else if (mmap_write_lock_killable(mm))
		return -EINTR;
	return mn_itree_prepare_locked(mm, flags);
}

/* --- Insertion and removal ----------------------------------------------- */

/*
 * Is it in the tree, or about to be? A structure that was never inserted may
 * hold anything, so all it says is where to look.
 */
static noinline __no_kmsan_checks bool
mn_interval_is_inserted(const struct mmu_interval_notifier *interval_sub,
			struct mmu_notifier_subscriptions *subs)
{
	unsigned long start = interval_sub->interval_tree.start;
	unsigned long last = interval_sub->interval_tree.last;
	struct mmu_interval_notifier *deferred;
	struct interval_tree_node *node;
	bool found = false;

	spin_lock(&subs->lock);
	hlist_for_each_entry(deferred, &subs->deferred, deferred_item)
		found |= deferred == interval_sub;
	for (node = interval_tree_iter_first(&subs->itree, start, last);
	     node && !found; node = interval_tree_iter_next(node, start, last))
		found = node == &interval_sub->interval_tree;
	spin_unlock(&subs->lock);
	return found;
}

static int mn_interval_check_args(struct mm_struct *mm, unsigned long start,
				  unsigned long length, unsigned long *last)
{
	if (!length || check_add_overflow(start, length - 1, last))
		return -EOVERFLOW;
	if (WARN_ON(atomic_read(&mm->mm_users) <= 0))
		return -EINVAL;
	return 0;
}

static __no_kmsan_checks int
mn_interval_insert(struct mmu_interval_notifier *interval_sub,
		   struct mm_struct *mm, unsigned long start,
		   unsigned long last,
		   const struct mmu_interval_notifier_ops *ops)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;

	if (unlikely(interval_sub->mm == mm) &&
	    mn_interval_looks_inserted(interval_sub) &&
	    WARN(mn_interval_is_inserted(interval_sub, subs),
		 "mmu_notifier: interval with %ps is inserted already\n",
		 ops->invalidate))
		return -EEXIST;

	/* Dropped in mmu_interval_notifier_remove(). */
	mmgrab(mm);
	interval_sub->mm = mm;
	interval_sub->ops = ops;
	interval_sub->interval_tree.start = start;
	interval_sub->interval_tree.last = last;
	INIT_HLIST_NODE(&interval_sub->deferred_item);

	spin_lock(&subs->lock);
	if (mn_itree_busy(subs)) {
		/* Which ranges are under way is not known: assume this one. */
		interval_sub->invalidate_seq = subs->seq;
		RB_CLEAR_NODE(&interval_sub->interval_tree.rb);
		hlist_add_head(&interval_sub->deferred_item, &subs->deferred);
	} else {
		if (subs->active)
			WRITE_ONCE(subs->seq, subs->seq + 1);
		/* Odd; that of the sections under way, or a past one. */
		interval_sub->invalidate_seq =
			subs->active ? subs->seq : subs->seq - 1;
		interval_tree_insert(&interval_sub->interval_tree,
				     &subs->itree);
	}
	spin_unlock(&subs->lock);
	if (trace_mmu_notifier_register_enabled())
		trace_mmu_notifier_register(interval_sub->mm,
					    interval_sub->ops->invalidate, 0);
	return 0;
}

/**
 * mmu_interval_notifier_insert - subscribe to a range of addresses
 * @interval_sub: the subscription
 * @mm: current->mm, or an mm with a reference from get_task_mm() or mmget()
 * @start: first address, in bytes
 * @length: bytes, at least 1
 * @ops: what it wants to be told
 *
 * Translations are established between mmu_interval_read_begin() and
 * mmu_interval_read_retry() only. While an invalidation is under way the
 * insertion may be completed by its end, and readers wait for that.
 *
 * The first insertion into an mm waits as mmu_notifier_register() does. Later
 * ones take no lock of the mm and wait for nothing.
 *
 * Context: process context, may sleep; no lock of the VM held.
 * Return: 0; -EOVERFLOW for a range that is empty or wraps; -EINVAL for a
 * dying mm; -EEXIST if @interval_sub is inserted already. Only if the mm had no
 * subscription of any kind when the call began also -ENOMEM, and -EINTR on a
 * fatal signal. After an error @interval_sub is as it was before.
 */
int mmu_interval_notifier_insert(struct mmu_interval_notifier *interval_sub,
				 struct mm_struct *mm, unsigned long start,
				 unsigned long length,
				 const struct mmu_interval_notifier_ops *ops)
{
	unsigned long last;
	int ret;

	might_lock(&mm->mmap_lock);

	ret = mn_interval_check_args(mm, start, length, &last);
	if (!ret && !mn_itree_ready(mm))
		ret = mn_itree_prepare(mm);
	if (!ret)
		return mn_interval_insert(interval_sub, mm, start, last, ops);
	trace_mmu_notifier_register(mm, ops->invalidate, ret);
	return ret;
}
EXPORT_SYMBOL_GPL(mmu_interval_notifier_insert);

/**
 * mmu_interval_notifier_insert_locked - as above, with mmap_lock held
 * @interval_sub: the subscription
 * @mm: the address space
 * @start: first address, in bytes
 * @length: bytes, at least 1
 * @ops: what it wants to be told
 *
 * Context: process context, mmap_lock held for write throughout. May sleep.
 * Return: as mmu_interval_notifier_insert().
 */
int mmu_interval_notifier_insert_locked(struct mmu_interval_notifier *interval_sub,
					struct mm_struct *mm,
					unsigned long start,
					unsigned long length,
					const struct mmu_interval_notifier_ops *ops)
{
	unsigned long last;
	int ret;

	mmap_assert_write_locked(mm);

	ret = mn_interval_check_args(mm, start, length, &last);
	if (!ret && !mn_itree_ready(mm))
		ret = mn_itree_prepare_locked(mm, mn_itree_wait_flags(mm) |
						  MN_WAIT_KEEP);
	if (!ret)
		return mn_interval_insert(interval_sub, mm, start, last, ops);
	trace_mmu_notifier_register(mm, ops->invalidate, ret);
	return ret;
}
EXPORT_SYMBOL_GPL(mmu_interval_notifier_insert_locked);

/* Lockdep: the caller may have to wait for a section to end. */
static void mn_might_wait_for_section(void)
{
	might_sleep();
	lock_map_acquire(&__mmu_notifier_invalidate_range_start_map);
	lock_map_release(&__mmu_notifier_invalidate_range_start_map);
}

/**
 * mmu_interval_notifier_remove - end a subscription to a range
 * @interval_sub: from mmu_interval_notifier_insert()
 *
 * When this returns no callback runs or will run. Warns and does nothing if
 * @interval_sub is zeroed or was removed before; @interval_sub->mm and the
 * range can still be read afterwards.
 *
 * Context: process context, may sleep; not from a callback, and holding no
 * lock that a callback takes.
 */
void mmu_interval_notifier_remove(struct mmu_interval_notifier *interval_sub)
{
	struct mm_struct *mm = interval_sub->mm;
	struct mmu_notifier_subscriptions *subs;
	unsigned long busy_seq = 0;

	/* Its mm may have gone with it. */
	if (!mn_interval_looks_inserted(interval_sub))
		goto misuse;

	subs = mm->notifier_subscriptions;
	spin_lock(&subs->lock);
	if (!mn_interval_looks_inserted(interval_sub))
		goto unlock_misuse;
	if (!mn_itree_busy(subs)) {
		mn_itree_remove(interval_sub, subs);
	} else if (hlist_unhashed(&interval_sub->deferred_item)) {
		hlist_add_head(&interval_sub->deferred_item, &subs->deferred);
		subs->waiting = true;
		busy_seq = subs->seq;
	} else if (RB_EMPTY_NODE(&interval_sub->interval_tree.rb)) {
		/* Inserted during the invalidation that is still under way. */
		hlist_del_init(&interval_sub->deferred_item);
		WRITE_ONCE(interval_sub->invalidate_seq, 0);
	} else {
		goto unlock_misuse;
	}
	spin_unlock(&subs->lock);

	mn_might_wait_for_section();
	if (busy_seq) {
		/* H: pairs with the barrier in mn_itree_end(). */
		wait_var_event(&subs->seq, READ_ONCE(subs->seq) != busy_seq);
		/* mn_itree_end() has moved on, but may still hold the lock. */
		spin_lock(&subs->lock);
		spin_unlock(&subs->lock);
	}
	if (trace_mmu_notifier_unregister_enabled())
		trace_mmu_notifier_unregister(mm, interval_sub->ops->invalidate,
					      0);
	mmdrop(mm);
	return;

unlock_misuse:
	spin_unlock(&subs->lock);
misuse:
	WARN(1, "mmu_notifier: interval with %ps is not inserted\n",
	     interval_sub->ops ? interval_sub->ops->invalidate : NULL);
}
EXPORT_SYMBOL_GPL(mmu_interval_notifier_remove);

/**
 * mmu_interval_read_begin - begin to read page tables for an interval
 * @interval_sub: the subscription
 *
 * Between this and mmu_interval_read_retry() the driver finds out, sleeping as
 * it needs, what is mapped in the range. Waits for an invalidation of the
 * interval that is under way.
 *
 * Context: process context, sleeps; holding no lock that a callback takes.
 * Return: the sequence for mmu_interval_read_retry(), which may already say
 * true: there is no loop in here, so that the caller can bound its own.
 */
unsigned long mmu_interval_read_begin(struct mmu_interval_notifier *interval_sub)
{
	struct mmu_notifier_subscriptions *subs =
		interval_sub->mm->notifier_subscriptions;
	unsigned long seq;
	bool colliding;

	/*
	 * A section that comes later calls invalidate, which changes the
	 * subscription's sequence under the driver's lock, and retry sees it
	 * under the same lock. One that came before has either ended, or its
	 * sequence is both the subscription's and the mm's.
	 */
	spin_lock(&subs->lock);
	/* Pairs with mmu_interval_set_seq(). */
	seq = READ_ONCE(interval_sub->invalidate_seq);
	colliding = seq == subs->seq;
	if (colliding)
		subs->waiting = true;
	spin_unlock(&subs->lock);

	mn_might_wait_for_section();
	if (colliding)
		/* H: pairs with the barrier in mn_itree_end(). */
		wait_var_event(&subs->seq, READ_ONCE(subs->seq) != seq);
	return seq;
}
EXPORT_SYMBOL_GPL(mmu_interval_read_begin);
