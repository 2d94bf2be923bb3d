// SPDX-License-Identifier: GPL-2.0-only
/*
 * MMU notifiers: who is told when the page tables of a process change.
 *
 * Terms. A *section* is what runs between mmu_notifier_invalidate_range_start()
 * and mmu_notifier_invalidate_range_end(); it holds mmap_lock, a per-VMA lock,
 * an i_mmap_rwsem or the rwsem of an anon_vma root. A section is *unaware* of a
 * subscription if it began before that was published: it will not announce to
 * it what it is about to zap. A driver may establish translations only when no
 * such section is left. So registration
 *
 *  1. publishes the subscription, under mmap_lock for write: every section
 *     that holds mmap_lock has ended, every section from now on is aware;
 *  2. drains (mmu_notifier_drain.c): waits, one lock at a time, until the
 *     sections that hold one of the other locks have ended.
 *
 * An mm counts its publications. The count is the *epoch*, and a section
 * remembers the epoch at which it began: it announces itself to the
 * subscriptions born by then, and to the same ones its end.
 */

#include <linux/atomic.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/interval_tree.h>
#include <linux/jump_label.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/rculist.h>
#include <linux/sched/clock.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/srcu.h>
#include <linux/wait_bit.h>
#include <linux/workqueue.h>

#include "mmu_notifier_internal.h"

#define CREATE_TRACE_POINTS
#include <trace/events/mmu_notifier.h>

#ifdef CONFIG_LOCKDEP
struct lockdep_map __mmu_notifier_invalidate_range_start_map = {
	.name = "mmu_notifier_invalidate_range_start"
};
#endif

DEFINE_STATIC_KEY_FALSE(mmu_notifier_page_key);

/*
 * Walks of the lists run under SRCU, since callbacks may sleep. With one domain
 * for the machine an exit or an unregister here would wait for a callback that
 * sleeps there. So each mm has a domain of its own, as long as there are: a
 * domain has memory for every CPU, and is kept for the next mm.
 */
#define MN_DOMAINS	64

/**
 * struct mn_domain - a domain of SRCU
 * @srcu: the domain
 * @mms: how many mms have it
 */
struct mn_domain {
	struct srcu_struct srcu;
	atomic_t mms;
};

static struct mn_domain mn_domains[MN_DOMAINS];
/* How many of them are initialised; grows under the mutex. */
static unsigned int mn_nr_domains;
static DEFINE_MUTEX(mn_domain_mutex);	/* serialises mn_domain_add() */

static struct mn_domain *mn_domain_add(void)
{
	struct mn_domain *domain = NULL;

	mutex_lock(&mn_domain_mutex);
	if (mn_nr_domains < MN_DOMAINS &&
	    !init_srcu_struct(&mn_domains[mn_nr_domains].srcu)) {
		domain = &mn_domains[mn_nr_domains];
		atomic_set(&domain->mms, 1);
		/* Pairs with the acquires of those who walk them. */
		smp_store_release(&mn_nr_domains, mn_nr_domains + 1);
	}
	mutex_unlock(&mn_domain_mutex);
	return domain;
}

/* An unused domain; else a new one; else that which the fewest have. */
static struct srcu_struct *mn_domain_get(void)
{
	/* Pairs with the release in mn_domain_add(). */
	struct mn_domain *end = mn_domains + smp_load_acquire(&mn_nr_domains);
	struct mn_domain *domain, *best = NULL;

	for (domain = mn_domains; domain < end; domain++) {
		if (!atomic_cmpxchg(&domain->mms, 0, 1))
			return &domain->srcu;
		if (!best || atomic_read(&domain->mms) < atomic_read(&best->mms))
			best = domain;
	}
	domain = mn_domain_add();
	if (domain)
		return &domain->srcu;
	if (!best)
		return NULL;
	atomic_inc(&best->mms);
	return &best->srcu;
}

static void mn_domain_put(struct srcu_struct *srcu)
{
	atomic_dec(&container_of(srcu, struct mn_domain, srcu)->mms);
}

/*
 * Around a callback that must not sleep. On PREEMPT_RT the spinlocks it takes
 * do, and the PTL that it may be called under does as well: might_sleep()
 * knows the PTL, and what is allowed under it.
 */
static void mn_atomic_start(void)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		non_block_start();
}

static void mn_atomic_end(void)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		non_block_end();
}

/*
 * How long a callback takes, for its tracepoint, which the latencies in debugfs
 * come from as well. While nobody looks, a nop before it and one after.
 */
static u64 mn_clock(void)
{
	return trace_mmu_notifier_callback_enabled() ? local_clock() : 0;
}

static noinline void mn_trace_callback(void *callback, struct mm_struct *mm,
				       unsigned long start, unsigned long end,
				       u64 began, int ret)
{
	if (began)
		trace_mmu_notifier_callback(callback, mm, start, end,
					    local_clock() - began, ret);
}

/* A macro, so that the arguments are looked up only if somebody looks. */
#define mn_called(...)							\
do {									\
	if (trace_mmu_notifier_callback_enabled())			\
		mn_trace_callback(__VA_ARGS__);				\
} while (0)

/* Does anybody want to be told that? Pairs with the stores in mn_count(). */
static bool mn_wanted(const struct mmu_notifier_subscriptions *subs,
		      enum mn_kind kind)
{
	return READ_ONCE(subs->nr[kind]);
}

/* --- Sections: interval subscriptions ---------------------------------- */

/*
 * The interval tree is looked up at the start of a section under the lock,
 * then walked without it: while a section is under way that met something in
 * the tree (odd sequence) insertions and removals are queued.
 *
 * A reader (mmu_interval_read_begin() … mmu_interval_read_retry()) collides
 * with a section if its subscription's sequence changed, or was that of a
 * section under way. A subscription's sequence is always odd and the idle
 * sequence of the mm even, so an idle subscription never looks invalidated.
 */
static bool mn_itree_busy(const struct mmu_notifier_subscriptions *subs)
{
	lockdep_assert_held(&subs->lock);
	return subs->seq & 1;
}

static struct mmu_interval_notifier *
mn_interval_of(struct interval_tree_node *node)
{
	return container_of(node, struct mmu_interval_notifier, interval_tree);
}

static void mn_itree_end(struct mmu_notifier_subscriptions *subs)
{
	struct mmu_interval_notifier *interval_sub;
	struct hlist_node *next;
	bool waiting;

	spin_lock(&subs->lock);
	if (--subs->active || !mn_itree_busy(subs)) {
		spin_unlock(&subs->lock);
		return;
	}

	/* Pairs with the lockless reads of those who wait. */
	WRITE_ONCE(subs->seq, subs->seq + 1);
	hlist_for_each_entry_safe(interval_sub, next, &subs->deferred,
				  deferred_item) {
		struct interval_tree_node *node = &interval_sub->interval_tree;

		hlist_del_init(&interval_sub->deferred_item);
		if (RB_EMPTY_NODE(&node->rb))
			interval_tree_insert(node, &subs->itree);
		else
			interval_tree_remove(node, &subs->itree);
	}
	waiting = subs->waiting;
	subs->waiting = false;
	spin_unlock(&subs->lock);
	if (!waiting)
		return;
	/* Pairs with the barrier in wait_var_event(): who waits, or sees. */
	smp_mb();
	wake_up_var(&subs->seq);
}

static int mn_itree_start(struct mmu_notifier_subscriptions *subs,
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
		u64 began = mn_clock();
		bool done;

		done = interval_sub->ops->invalidate(interval_sub, range, seq);
		mn_called(interval_sub->ops->invalidate, range->mm,
			  range->start, range->end, began,
			  done ? 0 : -EAGAIN);
		if (done || WARN_ON(mmu_notifier_range_blockable(range)))
			continue;
		mn_itree_end(subs);
		return -EAGAIN;
	}
	return 0;
}

/* Does a section of @epoch know of interval subscriptions? */
static bool mn_itree_announced(struct mmu_notifier_subscriptions *subs,
			       unsigned long epoch)
{
	/* Pairs with the store in mn_publish_itree(). */
	unsigned long birth = READ_ONCE(subs->itree_birth);

	if (mmu_notifier_mutant("epoch"))
		return birth;
	return birth && birth <= epoch;
}

/* --- Sections: list subscriptions --------------------------------------- */

/*
 * Nearly every section may sleep, and nearly nobody traces callbacks. So there
 * are two of what follows: for these, and a careful one for the others.
 */
static __always_inline bool mn_careful(const struct mmu_notifier_range *range)
{
	return trace_mmu_notifier_callback_enabled() ||
	       !mmu_notifier_range_blockable(range);
}

static noinline int mn_start_carefully(struct mmu_notifier *sub,
				       const struct mmu_notifier_range *range)
{
	bool blockable = mmu_notifier_range_blockable(range);
	u64 began;
	int ret;

	if (!blockable)
		mn_atomic_start();
	began = mn_clock();
	ret = sub->ops->invalidate_range_start(sub, range);
	mn_called(sub->ops->invalidate_range_start, range->mm, range->start,
		  range->end, began, ret);
	if (!blockable)
		mn_atomic_end();
	return ret;
}

static noinline void mn_end_carefully(struct mmu_notifier *sub,
				      const struct mmu_notifier_range *range)
{
	bool blockable = mmu_notifier_range_blockable(range);
	u64 began;

	if (!blockable)
		mn_atomic_start();
	began = mn_clock();
	sub->ops->invalidate_range_end(sub, range);
	mn_called(sub->ops->invalidate_range_end, range->mm, range->start,
		  range->end, began, 0);
	if (!blockable)
		mn_atomic_end();
}

/* The end of a section for the subscriptions born in (@after, @epoch]. */
static __always_inline void
__mn_list_end(struct mmu_notifier_subscriptions *subs,
	      const struct mmu_notifier_range *range, unsigned long after,
	      unsigned long epoch, bool careful)
{
	struct mmu_notifier *sub;

	mn_for_each(sub, subs) {
		if (after && sub->birth <= after)
			break;
		if (sub->birth > epoch && !mmu_notifier_mutant("epoch"))
			continue;
		if (!sub->ops->invalidate_range_end)
			continue;
		if (careful)
			mn_end_carefully(sub, range);
		else
			sub->ops->invalidate_range_end(sub, range);
	}
}

static noinline void
mn_list_end_carefully(struct mmu_notifier_subscriptions *subs,
		      const struct mmu_notifier_range *range,
		      unsigned long after, unsigned long epoch)
{
	__mn_list_end(subs, range, after, epoch, true);
}

static __always_inline void
mn_list_end(struct mmu_notifier_subscriptions *subs,
	    const struct mmu_notifier_range *range, unsigned long epoch)
{
	int idx = srcu_read_lock(subs->srcu);

	if (mn_careful(range))
		mn_list_end_carefully(subs, range, 0, epoch);
	else
		__mn_list_end(subs, range, 0, epoch, false);
	srcu_read_unlock(subs->srcu, idx);
}

/* Whether a callback that returned @ret ends the section before it began. */
static noinline bool mn_start_failed(struct mmu_notifier *sub,
				     const struct mmu_notifier_range *range,
				     int ret)
{
	bool blockable = mmu_notifier_range_blockable(range);

	WARN(blockable || ret != -EAGAIN,
	     "mmu_notifier: %ps returned %d for a %sblockable range\n",
	     sub->ops->invalidate_range_start, ret, blockable ? "" : "non-");
	/* Nobody asks a blockable start for its result: the section goes on. */
	return !blockable;
}

static __always_inline int
__mn_list_start(struct mmu_notifier_subscriptions *subs,
		const struct mmu_notifier_range *range, unsigned long epoch,
		bool careful)
{
	struct mmu_notifier *sub;
	int ret;

	mn_for_each(sub, subs) {
		if (sub->birth > epoch || !sub->ops->invalidate_range_start)
			continue;
		if (careful)
			ret = mn_start_carefully(sub, range);
		else
			ret = sub->ops->invalidate_range_start(sub, range);
		if (unlikely(ret) && mn_start_failed(sub, range, ret)) {
			/* Those before it on the list are the younger ones. */
			mn_list_end_carefully(subs, range, sub->birth, epoch);
			return ret;
		}
	}
	return 0;
}

static noinline int
mn_list_start_carefully(struct mmu_notifier_subscriptions *subs,
			const struct mmu_notifier_range *range,
			unsigned long epoch)
{
	return __mn_list_start(subs, range, epoch, true);
}

static __always_inline int
mn_list_start(struct mmu_notifier_subscriptions *subs,
	      const struct mmu_notifier_range *range, unsigned long epoch)
{
	int idx = srcu_read_lock(subs->srcu);
	int ret;

	if (mn_careful(range))
		ret = mn_list_start_carefully(subs, range, epoch);
	else
		ret = __mn_list_start(subs, range, epoch, false);
	srcu_read_unlock(subs->srcu, idx);
	return ret;
}

int __mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range)
{
	struct mmu_notifier_subscriptions *subs =
		READ_ONCE(range->mm->notifier_subscriptions);
	/* Pairs with the release in mn_publish(): born by then, so found. */
	unsigned long epoch = smp_load_acquire(&subs->epoch);
	int ret = 0;

	range->epoch = epoch;
	if (mn_itree_announced(subs, epoch))
		ret = mn_itree_start(subs, range);
	if (!ret && mn_wanted(subs, MN_RANGE)) {
		ret = mn_list_start(subs, range, epoch);
		if (ret && mn_itree_announced(subs, epoch))
			mn_itree_end(subs);
	}
	if (!ret)
		range->flags |= MMU_NOTIFIER_RANGE_ANNOUNCED;
	else	/* The caller may have used it before. */
		range->flags &= ~MMU_NOTIFIER_RANGE_ANNOUNCED;
	trace_mmu_notifier_range_start(range, ret);
	return ret;
}

void __mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range)
{
	struct mmu_notifier_subscriptions *subs =
		range->mm->notifier_subscriptions;
	unsigned long epoch = range->epoch;

	lock_map_acquire(&__mmu_notifier_invalidate_range_start_map);
	if (mn_itree_announced(subs, epoch))
		mn_itree_end(subs);
	if (mn_wanted(subs, MN_RANGE))
		mn_list_end(subs, range, epoch);
	lock_map_release(&__mmu_notifier_invalidate_range_start_map);
	trace_mmu_notifier_range_end(range, 0);
}

/* --- The callbacks that know no epoch ----------------------------------- */

/*
 * Ageing, secondary TLBs of shared page tables, and single pages: one call is
 * all there is, so any subscription on the list may get it.
 */
int __mmu_notifier_clear_flush_young(struct mm_struct *mm,
				     unsigned long start, unsigned long end)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;
	struct mmu_notifier *sub;
	int young = 0, ret;
	u64 began;
	int idx;

	if (!mn_wanted(subs, MN_YOUNG))
		return 0;

	idx = srcu_read_lock(subs->srcu);
	mn_for_each(sub, subs) {
		if (!sub->ops->clear_flush_young)
			continue;
		began = mn_clock();
		ret = sub->ops->clear_flush_young(sub, mm, start, end);
		mn_called(sub->ops->clear_flush_young, mm, start, end, began,
			  ret);
		young |= ret;
	}
	srcu_read_unlock(subs->srcu, idx);
	return young;
}

int __mmu_notifier_clear_young(struct mm_struct *mm,
			       unsigned long start, unsigned long end)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;
	struct mmu_notifier *sub;
	int young = 0, ret;
	u64 began;
	int idx;

	if (!mn_wanted(subs, MN_YOUNG))
		return 0;

	idx = srcu_read_lock(subs->srcu);
	mn_for_each(sub, subs) {
		if (!sub->ops->clear_young)
			continue;
		began = mn_clock();
		ret = sub->ops->clear_young(sub, mm, start, end);
		mn_called(sub->ops->clear_young, mm, start, end, began, ret);
		young |= ret;
	}
	srcu_read_unlock(subs->srcu, idx);
	return young;
}

int __mmu_notifier_test_young(struct mm_struct *mm, unsigned long address)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;
	struct mmu_notifier *sub;
	int young = 0;
	u64 began;
	int idx;

	if (!mn_wanted(subs, MN_YOUNG))
		return 0;

	idx = srcu_read_lock(subs->srcu);
	mn_for_each(sub, subs) {
		if (!sub->ops->test_young)
			continue;
		began = mn_clock();
		young = sub->ops->test_young(sub, mm, address);
		mn_called(sub->ops->test_young, mm, address,
			  address + PAGE_SIZE, began, young);
		if (young)
			break;
	}
	srcu_read_unlock(subs->srcu, idx);
	return young;
}

void __mmu_notifier_arch_invalidate_secondary_tlbs(struct mm_struct *mm,
						   unsigned long start,
						   unsigned long end)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;
	struct mmu_notifier *sub;
	u64 began;
	int idx;

	if (!mn_wanted(subs, MN_TLB))
		return;

	idx = srcu_read_lock(subs->srcu);
	mn_for_each(sub, subs) {
		if (!sub->ops->arch_invalidate_secondary_tlbs)
			continue;
		began = mn_clock();
		sub->ops->arch_invalidate_secondary_tlbs(sub, mm, start, end);
		mn_called(sub->ops->arch_invalidate_secondary_tlbs, mm, start,
			  end, began, 0);
	}
	srcu_read_unlock(subs->srcu, idx);
}

void __mmu_notifier_invalidate_page(struct mm_struct *mm,
				    unsigned long address, unsigned long size)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;
	struct mmu_notifier *sub;
	u64 began;
	int idx;

	if (!mn_wanted(subs, MN_PAGE))
		return;

	idx = srcu_read_lock(subs->srcu);
	mn_for_each(sub, subs) {
		if (!sub->ops->invalidate_page)
			continue;
		mn_atomic_start();
		began = mn_clock();
		sub->ops->invalidate_page(sub, mm, address, size);
		mn_called(sub->ops->invalidate_page, mm, address,
			  address + size, began, 0);
		mn_atomic_end();
	}
	trace_mmu_notifier_invalidate_page(mm, address, size);
	srcu_read_unlock(subs->srcu, idx);
}

/* --- Registration: publish, then drain ---------------------------------- */

/*
 * The switch of the invalidate_page hooks patches kernel text under locks that
 * a caller of unregister may not be able to take, so it is turned off later,
 * by work, and stays on while registrations come and go quickly.
 */
static atomic_t mn_page_key_idle;

static void mn_page_key_drop(struct work_struct *work)
{
	int n;

	for (n = atomic_xchg(&mn_page_key_idle, 0); n; n--)
		static_branch_dec(&mmu_notifier_page_key);
}

static DECLARE_DELAYED_WORK(mn_page_key_work, mn_page_key_drop);

static void mn_page_key_get(const struct mmu_notifier_ops *ops)
{
	if (ops->invalidate_page)
		static_branch_inc(&mmu_notifier_page_key);
}

static void mn_page_key_put(const struct mmu_notifier_ops *ops)
{
	if (!ops->invalidate_page)
		return;
	atomic_inc(&mn_page_key_idle);
	queue_delayed_work(system_wq, &mn_page_key_work, HZ);
}

/*
 * Only a range callback has something to miss in a section that is under way.
 * invalidate_page is ordered by the PTL: the driver's first fault takes it
 * after the publication, and finds an entry gone or the next hook aware. A
 * secondary TLB is flushed after the CPU's entry has changed, so a flush that
 * saw no subscription leaves nothing stale to be loaded. Ageing is a hint.
 */
static bool mn_needs_drain(const struct mmu_notifier_ops *ops)
{
	return ops->invalidate_range_start || ops->invalidate_range_end;
}

/* A function of the driver, by which people know whose the @ops are. */
void *mn_callback_of(const struct mmu_notifier_ops *ops)
{
	if (ops->invalidate_range_start)
		return ops->invalidate_range_start;
	if (ops->invalidate_page)
		return ops->invalidate_page;
	if (ops->arch_invalidate_secondary_tlbs)
		return ops->arch_invalidate_secondary_tlbs;
	if (ops->invalidate_range_end)
		return ops->invalidate_range_end;
	return ops->release;
}

static bool mn_ops_valid(const struct mmu_notifier_ops *ops)
{
	return !WARN_ON_ONCE(ops->arch_invalidate_secondary_tlbs &&
			     mn_needs_drain(ops));
}

static void mn_count(struct mmu_notifier_subscriptions *subs,
		     enum mn_kind kind, bool wants, int by)
{
	lockdep_assert_held(&subs->lock);
	/* Pairs with mn_wanted(). */
	if (wants)
		WRITE_ONCE(subs->nr[kind], subs->nr[kind] + by);
}

static void mn_count_all(struct mmu_notifier_subscriptions *subs,
			 const struct mmu_notifier_ops *ops, int by)
{
	bool young = ops->clear_flush_young || ops->clear_young ||
		     ops->test_young;

	mn_count(subs, MN_RANGE, mn_needs_drain(ops), by);
	mn_count(subs, MN_PAGE, ops->invalidate_page, by);
	mn_count(subs, MN_YOUNG, young, by);
	mn_count(subs, MN_TLB, ops->arch_invalidate_secondary_tlbs, by);
}

static void mn_list_add(struct mmu_notifier *sub,
			struct mmu_notifier_subscriptions *subs)
{
	mn_count_all(subs, sub->ops, 1);
	hlist_add_head_rcu(&sub->hlist, &subs->list);
}

/* It may have gone already, with its mm. */
static void mn_list_del(struct mmu_notifier *sub,
			struct mmu_notifier_subscriptions *subs)
{
	if (hlist_unhashed(&sub->hlist))
		return;
	hlist_del_init_rcu(&sub->hlist);
	mn_count_all(subs, sub->ops, -1);
}

static bool mn_listed(struct mmu_notifier_subscriptions *subs,
		      const struct mmu_notifier *subscription)
{
	struct mmu_notifier *sub;

	lockdep_assert_held(&subs->lock);
	hlist_for_each_entry(sub, &subs->list, hlist)
		if (sub == subscription)
			return true;
	return false;
}

/* The subscriptions of @mm, made on first use; mmap_lock is held for write. */
static struct mmu_notifier_subscriptions *mn_subscriptions(struct mm_struct *mm)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;

	mmap_assert_write_locked(mm);
	/* A reference taken from 0 on would not be seen by exit_mmap(). */
	if (WARN_ON_ONCE(atomic_read(&mm->mm_users) <= 0))
		return ERR_PTR(-EINVAL);

	if (!subs) {
		subs = kzalloc(sizeof(*subs), GFP_KERNEL);
		if (!subs)
			return ERR_PTR(-ENOMEM);
		subs->srcu = mn_domain_get();
		if (!subs->srcu) {
			kfree(subs);
			return ERR_PTR(-ENOMEM);
		}
		spin_lock_init(&subs->lock);
		subs->seq = 2;
		subs->itree = RB_ROOT_CACHED;
		/* Pairs with READ_ONCE() and the dependency in every hook. */
		smp_store_release(&mm->notifier_subscriptions, subs);
	}
	/* Births must stay ordered. */
	if (subs->epoch == MN_EPOCH_MAX)
		return ERR_PTR(-EOVERFLOW);
	return subs;
}

/* Make @sub visible to every section that starts from now on. */
static int mn_publish(struct mmu_notifier *sub, struct mm_struct *mm)
{
	struct mmu_notifier_subscriptions *subs = mn_subscriptions(mm);

	if (IS_ERR(subs))
		return PTR_ERR(subs);

	spin_lock(&subs->lock);
	if (IS_ENABLED(CONFIG_DEBUG_VM) && WARN_ON(mn_listed(subs, sub))) {
		spin_unlock(&subs->lock);
		return -EEXIST;
	}
	mmgrab(mm);
	sub->mm = mm;
	sub->users = 1;
	sub->birth = subs->epoch + 1;
	if (!mmu_notifier_mutant("publish"))
		mn_list_add(sub, subs);
	spin_unlock(&subs->lock);

	/* Pairs with the acquire in __mmu_notifier_invalidate_range_start(). */
	smp_store_release(&subs->epoch, sub->birth);
	return 0;
}

/* The same for interval subscriptions as such, once for an mm. */
static int mn_publish_itree(struct mm_struct *mm)
{
	struct mmu_notifier_subscriptions *subs = mn_subscriptions(mm);

	if (IS_ERR(subs))
		return PTR_ERR(subs);
	if (!subs->itree_birth) {
		/* Pairs with mn_itree_announced(). */
		WRITE_ONCE(subs->itree_birth, subs->epoch + 1);
		/* As in mn_publish(). */
		smp_store_release(&subs->epoch, subs->itree_birth);
	}
	return 0;
}

/* Take back a publication whose drain failed. */
static void mn_unpublish(struct mmu_notifier *sub, struct mm_struct *mm)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;

	spin_lock(&subs->lock);
	mn_list_del(sub, subs);
	sub->users = 0;
	spin_unlock(&subs->lock);

	synchronize_srcu_expedited(subs->srcu);
	mmdrop(mm);
}

/* Drain the whole mm for what was published at @birth. */
static int mn_drain_all(struct mm_struct *mm, unsigned long birth)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;
	int ret = mn_drain(mm, 0, ULONG_MAX);

	if (ret)
		return ret;
	/*
	 * Later than @birth is impossible: publications wait for mmap_lock.
	 * Pairs with the acquire in mn_itree_drained().
	 */
	smp_store_release(&subs->drained, birth);
	return 0;
}

/*
 * Publish and drain. mmap_lock is held for write. With @downgrade it is held
 * for read when this returns, and during the drain: the owner of the lock has
 * nothing else to protect, so the process can fault meanwhile.
 */
static int mn_register(struct mmu_notifier *sub, struct mm_struct *mm,
		       bool downgrade)
{
	int ret;

	ret = mn_ops_valid(sub->ops) ? mn_publish(sub, mm) : -EINVAL;
	if (downgrade)
		mmap_write_downgrade(mm);
	if (!ret && mn_needs_drain(sub->ops)) {
		ret = mn_drain_all(mm, sub->birth);
		if (ret)
			mn_unpublish(sub, mm);
	}
	trace_mmu_notifier_register(mm, mn_callback_of(sub->ops), ret);
	return ret;
}

/*
 * The switch of the hooks cannot be turned on under mmap_lock: it takes
 * cpus_read_lock(), which comes before (cpuset rebinds policies under it).
 */
static bool mn_ops_need_switch(const struct mmu_notifier_ops *ops)
{
	return WARN_ONCE(ops->invalidate_page,
			 "mmu_notifier: %ps must be registered without mmap_lock\n",
			 ops->invalidate_page);
}

/**
 * __mmu_notifier_register - subscribe, with mmap_lock held
 * @subscription: with its ops set
 * @mm: the address space
 *
 * As mmu_notifier_register(), for callers that hold mmap_lock. It stays a
 * write lock throughout.
 *
 * Context: process context, mmap_lock held for write. May sleep.
 * Return: as mmu_notifier_register(); -EINVAL also for ops with
 * invalidate_page, which need the lock free.
 */
int __mmu_notifier_register(struct mmu_notifier *subscription,
			    struct mm_struct *mm)
{
	if (mn_ops_need_switch(subscription->ops))
		return -EINVAL;
	return mn_register(subscription, mm, false);
}
EXPORT_SYMBOL_GPL(__mmu_notifier_register);

/**
 * mmu_notifier_register - subscribe to an address space
 * @subscription: with its ops set; embedded in the driver's structure
 * @mm: current->mm, or an mm with a reference from get_task_mm() or mmget()
 *
 * When this returns 0 the driver may establish translations at once: no change
 * of the page tables is under way that it was not told of. Callbacks may run
 * before it returns. A subscription without range callbacks waits for nothing.
 *
 * Pair with mmu_notifier_unregister(). @subscription->mm stays valid until
 * then, and mmget_not_zero() makes an active mm of it.
 *
 * Context: process context, may sleep; no lock of the VM held.
 * Return: 0; -ENOMEM; -EINVAL for ops that exclude each other or a dying mm;
 * -EINTR on a fatal signal only; -ETIME if somebody held one lock for longer
 * than the parameter register_timeout_ms; -EOVERFLOW after 2^48 (on 32 bit
 * 2^32) registrations on one mm; with CONFIG_DEBUG_VM -EEXIST if registered
 * already. After an error no callback runs or will run.
 */
int mmu_notifier_register(struct mmu_notifier *subscription,
			  struct mm_struct *mm)
{
	int ret = -EINTR;

	mn_page_key_get(subscription->ops);
	if (!mmap_write_lock_killable(mm)) {
		ret = mn_register(subscription, mm, true);
		mmap_read_unlock(mm);
	}
	if (ret)
		mn_page_key_put(subscription->ops);
	return ret;
}
EXPORT_SYMBOL_GPL(mmu_notifier_register);

/**
 * mmu_notifier_unregister - end a subscription
 * @subscription: as given to mmu_notifier_register()
 * @mm: as given there
 *
 * Runs the release callback unless the address space went away before; a
 * release that runs at that moment for its exit may coincide. When this
 * returns no callback runs or will run, and the mm's reference is dropped.
 *
 * Context: process context, may sleep; not from a callback, and holding no
 * lock that a callback takes.
 */
void mmu_notifier_unregister(struct mmu_notifier *subscription,
			     struct mm_struct *mm)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;
	int idx;

	/* A second unregister would drop somebody else's reference. */
	if (WARN_ON(!subscription->users || subscription->mm != mm))
		return;

	/* SRCU makes exit_mmap() wait for our release, as we for its. */
	idx = srcu_read_lock(subs->srcu);
	if (!hlist_unhashed_lockless(&subscription->hlist) &&
	    subscription->ops->release)
		subscription->ops->release(subscription, mm);
	srcu_read_unlock(subs->srcu, idx);

	spin_lock(&subs->lock);
	mn_list_del(subscription, subs);
	subscription->users = 0;
	spin_unlock(&subs->lock);

	synchronize_srcu_expedited(subs->srcu);
	trace_mmu_notifier_unregister(mm, mn_callback_of(subscription->ops), 0);
	mn_page_key_put(subscription->ops);
	mmdrop(mm);
}
EXPORT_SYMBOL_GPL(mmu_notifier_unregister);

/* --- get and put: one subscription for an mm and its ops ---------------- */

static struct mmu_notifier *mn_find_get(struct mm_struct *mm,
					const struct mmu_notifier_ops *ops)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;
	struct mmu_notifier *sub, *found = NULL;

	if (!subs)
		return NULL;
	spin_lock(&subs->lock);
	hlist_for_each_entry(sub, &subs->list, hlist) {
		if (sub->ops != ops)
			continue;
		if (sub->users == UINT_MAX) {
			found = ERR_PTR(-EOVERFLOW);
		} else {
			sub->users++;
			found = sub;
		}
		break;
	}
	spin_unlock(&subs->lock);
	return found;
}

/*
 * mmap_lock is held for write; with @downgrade, for read on return. Nobody
 * finds a subscription whose drain is not done: that takes the write lock.
 */
static struct mmu_notifier *mn_get(const struct mmu_notifier_ops *ops,
				   struct mm_struct *mm, bool downgrade)
{
	struct mmu_notifier *sub = mn_find_get(mm, ops);
	int ret;

	if (!sub) {
		sub = ops->alloc_notifier(mm);
		if (!IS_ERR(sub)) {
			sub->ops = ops;
			ret = mn_register(sub, mm, downgrade);
			if (!ret)
				return sub;
			ops->free_notifier(sub);
			return ERR_PTR(ret);
		}
	}
	if (downgrade)
		mmap_write_downgrade(mm);
	return sub;
}

/**
 * mmu_notifier_get_locked - find or make the subscription, mmap_lock held
 * @ops: the kind of subscription
 * @mm: the address space
 *
 * As mmu_notifier_get(), for callers that hold mmap_lock.
 *
 * Context: process context, mmap_lock held for write. May sleep.
 * Return: as mmu_notifier_get(); ERR_PTR(-EINVAL) also for ops with
 * invalidate_page, which need the lock free.
 */
struct mmu_notifier *mmu_notifier_get_locked(const struct mmu_notifier_ops *ops,
					     struct mm_struct *mm)
{
	mmap_assert_write_locked(mm);
	if (mn_ops_need_switch(ops))
		return ERR_PTR(-EINVAL);
	return mn_get(ops, mm, false);
}
EXPORT_SYMBOL_GPL(mmu_notifier_get_locked);

/**
 * mmu_notifier_get - find or make the one subscription of @ops to @mm
 * @ops: the kind of subscription; with alloc_notifier and free_notifier
 * @mm: current->mm, or an mm with a reference from get_task_mm() or mmget()
 *
 * Two subscriptions are the same if their ops are. Pair each call with
 * mmu_notifier_put().
 *
 * Context: process context, may sleep; no lock of the VM held.
 * Return: the subscription; ERR_PTR() with what alloc_notifier or
 * mmu_notifier_register() says, or -EOVERFLOW after UINT_MAX users.
 */
struct mmu_notifier *mmu_notifier_get(const struct mmu_notifier_ops *ops,
				      struct mm_struct *mm)
{
	struct mmu_notifier *sub = ERR_PTR(-EINTR);

	mn_page_key_get(ops);
	if (!mmap_write_lock_killable(mm)) {
		sub = mn_get(ops, mm, true);
		mmap_read_unlock(mm);
	}
	/* Each user keeps the hooks switched on until its put. */
	if (IS_ERR(sub))
		mn_page_key_put(ops);
	return sub;
}
EXPORT_SYMBOL_GPL(mmu_notifier_get);

static void mn_free_rcu(struct rcu_head *rcu)
{
	struct mmu_notifier *sub = container_of(rcu, struct mmu_notifier, rcu);
	struct mm_struct *mm = sub->mm;

	trace_mmu_notifier_unregister(mm, mn_callback_of(sub->ops), 0);
	sub->ops->free_notifier(sub);
	mmdrop(mm);
}

/**
 * mmu_notifier_put - drop a reference of mmu_notifier_get()
 * @subscription: what that returned
 *
 * After the last one free_notifier runs, some time later. release is *not*
 * called: the driver has dropped all translations before, and makes no new
 * ones. May be called from the release callback. A module that uses this calls
 * mmu_notifier_synchronize() before it is unloaded.
 *
 * Context: any that may take a spinlock; does not sleep.
 */
void mmu_notifier_put(struct mmu_notifier *subscription)
{
	struct mm_struct *mm = subscription->mm;
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;
	const struct mmu_notifier_ops *ops = subscription->ops;
	unsigned int users;

	spin_lock(&subs->lock);
	if (WARN_ON(!subscription->users)) {
		spin_unlock(&subs->lock);
		return;
	}
	users = --subscription->users;
	if (!users)
		mn_list_del(subscription, subs);
	spin_unlock(&subs->lock);

	mn_page_key_put(ops);
	if (!users)
		call_srcu(subs->srcu, &subscription->rcu, mn_free_rcu);
}
EXPORT_SYMBOL_GPL(mmu_notifier_put);

/**
 * mmu_notifier_synchronize - wait until all that was put is freed
 *
 * For the exit function of a module that uses mmu_notifier_put(): afterwards
 * none of its callbacks, free_notifier included, runs or will run.
 *
 * Context: process context, sleeps.
 */
void mmu_notifier_synchronize(void)
{
	/* Pairs with the release in mn_domain_add(). */
	struct mn_domain *end = mn_domains + smp_load_acquire(&mn_nr_domains);
	struct mn_domain *domain;

	for (domain = mn_domains; domain < end; domain++)
		srcu_barrier(&domain->srcu);
}
EXPORT_SYMBOL_GPL(mmu_notifier_synchronize);

/* --- Interval subscriptions: the driver's side --------------------------- */

/* Has every section ended that began before interval subscriptions existed? */
static bool mn_itree_drained(struct mmu_notifier_subscriptions *subs)
{
	unsigned long birth = subs ? READ_ONCE(subs->itree_birth) : 0;

	/* Pairs with the release in mn_drain_all(). */
	return birth && smp_load_acquire(&subs->drained) >= birth;
}

/*
 * A section concerns an interval only if it changes entries in it, and it then
 * holds a lock of a VMA there: only those are drained, so that the price of an
 * interval does not depend on the size of the process. It is paid by each
 * interval until a list subscription has drained the whole mm.
 */
static int mn_interval_register(struct mmu_interval_notifier *interval_sub,
				struct mm_struct *mm)
{
	unsigned long start = interval_sub->interval_tree.start;
	unsigned long last = interval_sub->interval_tree.last;
	int ret;

	if (mmap_write_lock_killable(mm))
		return -EINTR;
	ret = mn_publish_itree(mm);
	mmap_write_downgrade(mm);
	if (!ret)
		ret = mn_drain(mm, start, last);
	mmap_read_unlock(mm);
	return ret;
}

static int mn_interval_init(struct mmu_interval_notifier *interval_sub,
			    struct mm_struct *mm, unsigned long start,
			    unsigned long length,
			    const struct mmu_interval_notifier_ops *ops)
{
	struct interval_tree_node *node = &interval_sub->interval_tree;

	interval_sub->mm = mm;
	interval_sub->ops = ops;
	INIT_HLIST_NODE(&interval_sub->deferred_item);
	RB_CLEAR_NODE(&node->rb);
	node->start = start;
	if (!length || check_add_overflow(start, length - 1, &node->last))
		return -EOVERFLOW;
	if (WARN_ON(atomic_read(&mm->mm_users) <= 0))
		return -EINVAL;
	return 0;
}

static void mn_interval_insert(struct mmu_interval_notifier *interval_sub)
{
	struct mm_struct *mm = interval_sub->mm;
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;

	/* Dropped in mmu_interval_notifier_remove(). */
	mmgrab(mm);

	spin_lock(&subs->lock);
	if (mn_itree_busy(subs)) {
		/* Which ranges are under way is not known: assume this one. */
		interval_sub->invalidate_seq = subs->seq;
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
 * Context: process context, may sleep; no lock of the VM held.
 * Return: 0; -EOVERFLOW for a range that is empty or wraps; else as
 * mmu_notifier_register().
 */
int mmu_interval_notifier_insert(struct mmu_interval_notifier *interval_sub,
				 struct mm_struct *mm, unsigned long start,
				 unsigned long length,
				 const struct mmu_interval_notifier_ops *ops)
{
	int ret;

	might_lock(&mm->mmap_lock);

	ret = mn_interval_init(interval_sub, mm, start, length, ops);
	/* READ_ONCE() and dependency: pairs with mn_subscriptions(). */
	if (!ret && !mn_itree_drained(READ_ONCE(mm->notifier_subscriptions)))
		ret = mn_interval_register(interval_sub, mm);
	if (!ret)
		mn_interval_insert(interval_sub);
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
 * Context: process context, mmap_lock held for write. May sleep.
 * Return: as mmu_interval_notifier_insert().
 */
int mmu_interval_notifier_insert_locked(struct mmu_interval_notifier *interval_sub,
					struct mm_struct *mm,
					unsigned long start,
					unsigned long length,
					const struct mmu_interval_notifier_ops *ops)
{
	int ret;

	mmap_assert_write_locked(mm);

	ret = mn_interval_init(interval_sub, mm, start, length, ops);
	if (!ret && !mn_itree_drained(mm->notifier_subscriptions)) {
		ret = mn_publish_itree(mm);
		if (!ret)
			ret = mn_drain(mm, start,
				       interval_sub->interval_tree.last);
	}
	if (!ret)
		mn_interval_insert(interval_sub);
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
 * When this returns no callback runs or will run.
 *
 * Context: process context, may sleep; not from a callback, and holding no
 * lock that a callback takes.
 */
void mmu_interval_notifier_remove(struct mmu_interval_notifier *interval_sub)
{
	struct mmu_notifier_subscriptions *subs =
		interval_sub->mm->notifier_subscriptions;
	struct interval_tree_node *node = &interval_sub->interval_tree;
	unsigned long busy_seq = 0;

	spin_lock(&subs->lock);
	if (RB_EMPTY_NODE(&node->rb)) {
		/* Inserted during the invalidation that is still under way. */
		hlist_del_init(&interval_sub->deferred_item);
	} else if (mn_itree_busy(subs)) {
		hlist_add_head(&interval_sub->deferred_item, &subs->deferred);
		subs->waiting = true;
		busy_seq = subs->seq;
	} else {
		interval_tree_remove(node, &subs->itree);
	}
	spin_unlock(&subs->lock);

	mn_might_wait_for_section();
	if (busy_seq) {
		wait_var_event(&subs->seq, READ_ONCE(subs->seq) != busy_seq);
		/* mn_itree_end() has moved on, but may still hold the lock. */
		spin_lock(&subs->lock);
		spin_unlock(&subs->lock);
	}
	trace_mmu_notifier_unregister(interval_sub->mm,
				      interval_sub->ops->invalidate, 0);
	mmdrop(interval_sub->mm);
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
		wait_var_event(&subs->seq, READ_ONCE(subs->seq) != seq);
	return seq;
}
EXPORT_SYMBOL_GPL(mmu_interval_read_begin);

/* --- The end of an address space ----------------------------------------- */

/**
 * __mmu_notifier_release - exit_mmap(): the last user has gone
 * @mm: the address space
 *
 * Nobody can register any more (mm_users is 0), but rmap walks still run
 * sections, and drivers may unregister at the same time. When this returns
 * every subscription has dropped its translations and the pages can be freed.
 *
 * Context: process context, may sleep.
 */
void __mmu_notifier_release(struct mm_struct *mm)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;
	struct mmu_notifier_range range = {
		.mm = mm,
		.end = ULONG_MAX,
		.flags = MMU_NOTIFIER_RANGE_BLOCKABLE,
		.event = MMU_NOTIFY_RELEASE,
	};
	struct mmu_notifier *sub;
	struct hlist_node *next;
	u64 began;
	int idx;

	if (subs->itree_birth) {
		mn_itree_start(subs, &range);
		mn_itree_end(subs);
	}
	if (hlist_empty(&subs->list))
		return;

	idx = srcu_read_lock(subs->srcu);
	mn_for_each(sub, subs) {
		if (!sub->ops->release)
			continue;
		began = mn_clock();
		sub->ops->release(sub, mm);
		mn_called(sub->ops->release, mm, 0, ULONG_MAX, began, 0);
	}

	spin_lock(&subs->lock);
	hlist_for_each_entry_safe(sub, next, &subs->list, hlist)
		mn_list_del(sub, subs);
	spin_unlock(&subs->lock);
	srcu_read_unlock(subs->srcu, idx);

	/* A release that an unregister runs must be done before pages go. */
	synchronize_srcu_expedited(subs->srcu);
	trace_mmu_notifier_release(mm);
}

/* The last reference to the mm is gone, and with it every subscription. */
void __mmu_notifier_subscriptions_destroy(struct mm_struct *mm)
{
	WARN_ON(!hlist_empty(&mm->notifier_subscriptions->list));
	mn_domain_put(mm->notifier_subscriptions->srcu);
	kfree(mm->notifier_subscriptions);
	mm->notifier_subscriptions = NULL;
}

#ifdef CONFIG_MMU_NOTIFIER_KUNIT_TEST
#include "tests/mmu_notifier_kunit.c"
#endif
