// SPDX-License-Identifier: GPL-2.0-only
/*
 * MMU notifiers: who is told when the page tables of a process change.
 *
 * Terms. A *section* is what runs between mmu_notifier_invalidate_range_start()
 * and mmu_notifier_invalidate_range_end(). A section is *unaware* of a
 * subscription if it began before that was published: it will not announce to
 * it what it is about to zap. A driver may establish translations only when no
 * such section is left. So a registration publishes the subscription, under
 * mmap_lock for write, and then waits for the sections that are unaware of it:
 *
 *  - The first registration of an mm looks once at each lock that a section
 *    could hold, and waits for those that are held (mmu_notifier_drain.c).
 *
 *  - Before it publishes, it has sections enter the mm's SRCU domain at their
 *    start, and leave it at their end: they are *tracked*. Once the first
 *    registration is done, no section is left that is not, so that later ones
 *    wait for a grace period, whatever the number of VMAs, and whatever lock a
 *    section may be under. (Not those whose caller keeps mmap_lock: mn_wait().)
 *
 * An mm counts its publications. The count is the *epoch*, and a section
 * remembers the epoch at which it began: it announces itself to the
 * subscriptions born by then, and to the same ones its end.
 *
 * A registration has no limit in time. It waits for locks that munmap() and
 * exit of the same process wait for as well, holds none of them meanwhile, and a
 * fatal signal ends the wait.
 *
 * Barriers, by the letters in the comments:
 *
 *  A  mm->notifier_subscriptions is published: what it points to comes before.
 *  B  publication, and then what shows who is unaware: the look at a lock, or a
 *     grace period. Pairs with a section's taking that lock, or entering SRCU,
 *     before it reads what is published.
 *  C  the end of a section, and then what the registered driver does.
 *  D  a subscription is on the list before the epoch says so.
 *  E  the wait for a birth is over before anybody who reads so goes on.
 *  F  the same for intervals (mmu_interval_notifier.c).
 *  G  the domain is there before anybody is told that there is a reader of it.
 *  H  the sequence of intervals moves on, or its sleepers are seen.
 */

#include <linux/atomic.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/jump_label.h>
#include <linux/llist.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/srcu.h>
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

/* --- Domains of SRCU ----------------------------------------------------- */

/*
 * A section is an SRCU reader, and its callbacks may sleep for as long as they
 * like. So each mm with list subscriptions has a domain of its own, in which
 * nobody waits for the sections of another process. A domain has memory for
 * every CPU: some are kept for the next mm. To lockdep all are one class, as all
 * locks of a kind are.
 */
#define MN_IDLE_DOMAINS	64

/**
 * struct mn_domain - a domain of SRCU
 * @srcu: the domain
 * @node: links it while it belongs to no mm
 */
struct mn_domain {
	struct srcu_struct srcu;
	struct llist_node node;
};

static DEFINE_SPINLOCK(mn_idle_lock);	/* the two below */
static LLIST_HEAD(mn_idle_domains);
static unsigned int mn_nr_idle;

/* Those beyond, until they are freed; that sleeps, and mmdrop() must not. */
static LLIST_HEAD(mn_surplus_domains);

static struct srcu_struct *mn_get_domain(void)
{
	struct llist_node *node;
	struct mn_domain *domain;
	unsigned long flags;

	spin_lock_irqsave(&mn_idle_lock, flags);
	node = llist_del_first(&mn_idle_domains);
	if (node)
		mn_nr_idle--;
	spin_unlock_irqrestore(&mn_idle_lock, flags);
	if (node)
		return &llist_entry(node, struct mn_domain, node)->srcu;

	domain = kzalloc(sizeof(*domain), GFP_KERNEL);
	if (domain && init_srcu_struct(&domain->srcu)) {
		kfree(domain);
		domain = NULL;
	}
	return domain ? &domain->srcu : NULL;
}

static void mn_free_surplus(struct work_struct *work)
{
	struct mn_domain *domain, *next;

	llist_for_each_entry_safe(domain, next,
				  llist_del_all(&mn_surplus_domains), node) {
		cleanup_srcu_struct(&domain->srcu);
		kfree(domain);
	}
}

static DECLARE_WORK(mn_surplus_work, mn_free_surplus);

/* Nobody is in the domain, nor comes; the caller may be one of its callbacks. */
static void mn_put_domain(struct srcu_struct *srcu)
{
	struct mn_domain *domain = container_of(srcu, struct mn_domain, srcu);
	unsigned long flags;
	bool keep;

	spin_lock_irqsave(&mn_idle_lock, flags);
	keep = mn_nr_idle < MN_IDLE_DOMAINS;
	if (keep) {
		llist_add(&domain->node, &mn_idle_domains);
		mn_nr_idle++;
	}
	spin_unlock_irqrestore(&mn_idle_lock, flags);
	if (!keep && llist_add(&domain->node, &mn_surplus_domains))
		schedule_work(&mn_surplus_work);
}

/* --- Callbacks ----------------------------------------------------------- */

/*
 * Around a callback that must not sleep. On PREEMPT_RT the spinlocks it takes
 * do, and the PTL that it may be called under does as well: might_sleep()
 * knows the PTL, and what is allowed under it.
 */
static void mn_start_atomic(void)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		non_block_start();
}

static void mn_end_atomic(void)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		non_block_end();
}

/* Does anybody want to be told that? If so, the domain is there. */
static bool mn_is_wanted(const struct mmu_notifier_subscriptions *subs,
			 enum mn_kind kind)
{
	/* G: pairs with the release in mn_count(). */
	return smp_load_acquire(&subs->nr[kind]);
}

/* --- Sections ------------------------------------------------------------ */

/* What the core notes in &mmu_notifier_range.flags from start to end. */
#define MN_RANGE_MARKS	(MMU_NOTIFIER_RANGE_COUNTED |		\
			 MMU_NOTIFIER_RANGE_TRACKED |		\
			 MMU_NOTIFIER_RANGE_SRCU_INDEX)

/* The end of a section for the subscriptions born in (@after, @epoch]. */
static __always_inline void
mn_end_list(struct mmu_notifier_subscriptions *subs,
	    const struct mmu_notifier_range *range, unsigned long after,
	    unsigned long epoch)
{
	bool blockable = mmu_notifier_range_blockable(range);
	struct mmu_notifier *sub;

	mn_for_each(sub, subs) {
		/* The older ones come later. */
		if (sub->birth <= after)
			break;
		if (sub->birth > epoch || !sub->ops->invalidate_range_end)
			continue;
		if (!blockable)
			mn_start_atomic();
		mn_trace_call(sub->ops->invalidate_range_end, range->mm,
			      range->start, range->end,
			      (sub->ops->invalidate_range_end(sub, range), 0));
		if (!blockable)
			mn_end_atomic();
	}
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
mn_start_list(struct mmu_notifier_subscriptions *subs,
	      const struct mmu_notifier_range *range, unsigned long epoch)
{
	bool blockable = mmu_notifier_range_blockable(range);
	struct mmu_notifier *sub;
	int ret;

	mn_for_each(sub, subs) {
		if (sub->birth > epoch || !sub->ops->invalidate_range_start)
			continue;
		if (!blockable)
			mn_start_atomic();
		ret = mn_trace_call(sub->ops->invalidate_range_start,
				    range->mm, range->start, range->end,
				    sub->ops->invalidate_range_start(sub, range));
		if (!blockable)
			mn_end_atomic();
		if (unlikely(ret) && mn_start_failed(sub, range, ret)) {
			mn_end_list(subs, range, sub->birth, epoch);
			return ret;
		}
	}
	return 0;
}

int __mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range)
{
	/* A: pairs, by the dependency, with mn_get_subscriptions(). */
	struct mmu_notifier_subscriptions *subs =
		READ_ONCE(range->mm->notifier_subscriptions);
	unsigned long epoch;
	int ret = 0, idx;

	/* G: pairs with the release in mn_publish(). */
	if (smp_load_acquire(&subs->track)) {
		/* B: what is published is read after this. */
		idx = srcu_read_lock(subs->srcu);
		/* D: pairs with the release in mn_publish(). */
		epoch = smp_load_acquire(&subs->epoch);
		range->epoch = epoch;
		range->flags |= MMU_NOTIFIER_RANGE_TRACKED |
				idx * MMU_NOTIFIER_RANGE_SRCU_INDEX;
	}
	if (READ_ONCE(subs->itree_state)) {
		ret = mn_itree_start(subs, range);
		if (!ret)
			range->flags |= MMU_NOTIFIER_RANGE_COUNTED;
	}
	if (!ret && range->flags & MMU_NOTIFIER_RANGE_TRACKED)
		ret = mn_start_list(subs, range, epoch);
	if (unlikely(ret)) {
		if (range->flags & MMU_NOTIFIER_RANGE_COUNTED)
			mn_itree_end(subs);
		if (range->flags & MMU_NOTIFIER_RANGE_TRACKED)
			srcu_read_unlock(subs->srcu, idx);
		range->flags &= ~MN_RANGE_MARKS;
	}
	trace_mmu_notifier_range_start(range, ret);
	return ret;
}

void __mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range)
{
	struct mmu_notifier_subscriptions *subs =
		range->mm->notifier_subscriptions;
	unsigned int marks = range->flags & MN_RANGE_MARKS;

	/* The caller may use the range again. */
	range->flags &= ~MN_RANGE_MARKS;

	lock_map_acquire(&__mmu_notifier_invalidate_range_start_map);
	if (marks & MMU_NOTIFIER_RANGE_COUNTED)
		mn_itree_end(subs);
	if (marks & MMU_NOTIFIER_RANGE_TRACKED) {
		mn_end_list(subs, range, 0, range->epoch);
		/* C: pairs with the grace period in mn_wait(). */
		srcu_read_unlock(subs->srcu,
				 !!(marks & MMU_NOTIFIER_RANGE_SRCU_INDEX));
	}
	lock_map_release(&__mmu_notifier_invalidate_range_start_map);
	trace_mmu_notifier_range_end(range, 0);
}

/* --- The callbacks that know no epoch ------------------------------------ */

/*
 * Ageing, secondary TLBs of shared page tables, and single pages: one call is
 * all there is, so any subscription on the list may get it.
 */

enum mn_age {
	MN_CLEAR_FLUSH_YOUNG,
	MN_CLEAR_YOUNG,
	MN_TEST_YOUNG,
};

typedef int (*mn_clear_young_fn)(struct mmu_notifier *subscription,
				 struct mm_struct *mm, unsigned long start,
				 unsigned long end);

static __always_inline int mn_age(struct mm_struct *mm, unsigned long start,
				  unsigned long end, enum mn_age age)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;
	bool test = age == MN_TEST_YOUNG;
	struct mmu_notifier *sub;
	int young = 0;
	int idx;

	if (!mn_is_wanted(subs, MN_YOUNG))
		return 0;

	idx = srcu_read_lock(subs->srcu);
	mn_for_each(sub, subs) {
		const struct mmu_notifier_ops *ops = sub->ops;
		mn_clear_young_fn clear = age == MN_CLEAR_YOUNG ?
			ops->clear_young : ops->clear_flush_young;

		if (test ? !ops->test_young : !clear)
			continue;
		young |= mn_trace_call(test ? (void *)ops->test_young : clear,
				       mm, start, end,
				       test ? ops->test_young(sub, mm, start) :
					      clear(sub, mm, start, end));
		/* All have to clear, but one that tells is enough. */
		if (test && young)
			break;
	}
	srcu_read_unlock(subs->srcu, idx);
	return young;
}

int __mmu_notifier_clear_flush_young(struct mm_struct *mm,
				     unsigned long start, unsigned long end)
{
	return mn_age(mm, start, end, MN_CLEAR_FLUSH_YOUNG);
}

int __mmu_notifier_clear_young(struct mm_struct *mm,
			       unsigned long start, unsigned long end)
{
	return mn_age(mm, start, end, MN_CLEAR_YOUNG);
}

int __mmu_notifier_test_young(struct mm_struct *mm, unsigned long address)
{
	return mn_age(mm, address, address + PAGE_SIZE, MN_TEST_YOUNG);
}

void __mmu_notifier_arch_invalidate_secondary_tlbs(struct mm_struct *mm,
						   unsigned long start,
						   unsigned long end)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;
	struct mmu_notifier *sub;
	int idx;

	if (!mn_is_wanted(subs, MN_TLB))
		return;

	idx = srcu_read_lock(subs->srcu);
	mn_for_each(sub, subs) {
		if (!sub->ops->arch_invalidate_secondary_tlbs)
			continue;
		mn_trace_call(sub->ops->arch_invalidate_secondary_tlbs, mm,
			      start, end,
			      (sub->ops->arch_invalidate_secondary_tlbs(sub, mm,
									start,
									end),
			       0));
	}
	srcu_read_unlock(subs->srcu, idx);
}

void __mmu_notifier_invalidate_page(struct mm_struct *mm,
				    unsigned long address, unsigned long size)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;
	struct mmu_notifier *sub;
	int idx;

	if (!mn_is_wanted(subs, MN_PAGE))
		return;

	idx = srcu_read_lock(subs->srcu);
	mn_for_each(sub, subs) {
		if (!sub->ops->invalidate_page)
			continue;
		mn_start_atomic();
		mn_trace_call(sub->ops->invalidate_page, mm, address,
			      address + size,
			      (sub->ops->invalidate_page(sub, mm, address, size),
			       0));
		mn_end_atomic();
	}
	trace_mmu_notifier_invalidate_page(mm, address, size);
	srcu_read_unlock(subs->srcu, idx);
}

/* --- Registration: publish, then wait for who is unaware ------------------ */

/*
 * The switch of the invalidate_page hooks patches kernel text under locks that
 * a caller of unregister may not be able to take, so it is turned off later,
 * by work, and stays on while registrations come and go quickly.
 */
static atomic_t mn_page_key_idle;

static void mn_drop_page_key(struct work_struct *work)
{
	int n;

	for (n = atomic_xchg(&mn_page_key_idle, 0); n; n--)
		static_branch_dec(&mmu_notifier_page_key);
}

static DECLARE_DELAYED_WORK(mn_page_key_work, mn_drop_page_key);

static void mn_get_page_key(const struct mmu_notifier_ops *ops)
{
	if (ops->invalidate_page)
		static_branch_inc(&mmu_notifier_page_key);
}

static void mn_put_page_key(const struct mmu_notifier_ops *ops)
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
static bool mn_has_range_ops(const struct mmu_notifier_ops *ops)
{
	return ops->invalidate_range_start || ops->invalidate_range_end;
}

/* A function of the driver, by which people know whose the @ops are. */
void *mn_callback_of(const struct mmu_notifier_ops *ops)
{
	if (!ops)
		return NULL;
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

static int mn_check_ops(const struct mmu_notifier_ops *ops)
{
	if (WARN_ONCE(ops->arch_invalidate_secondary_tlbs &&
		      mn_has_range_ops(ops),
		      "mmu_notifier: %ps excludes range callbacks\n",
		      ops->arch_invalidate_secondary_tlbs))
		return -EINVAL;
	return 0;
}

/*
 * The switch of the hooks cannot be turned on under mmap_lock: it takes
 * cpus_read_lock(), which comes before (cpuset rebinds policies under it).
 */
static int mn_check_ops_locked(const struct mmu_notifier_ops *ops)
{
	if (WARN_ONCE(ops->invalidate_page,
		      "mmu_notifier: %ps must be registered without mmap_lock\n",
		      ops->invalidate_page))
		return -EINVAL;
	return mn_check_ops(ops);
}

static void mn_count(struct mmu_notifier_subscriptions *subs,
		     enum mn_kind kind, bool wants, int by)
{
	lockdep_assert_held(&subs->lock);
	if (wants)
		/* G: pairs with the acquire in mn_is_wanted(). */
		smp_store_release(&subs->nr[kind], subs->nr[kind] + by);
}

static void mn_count_ops(struct mmu_notifier_subscriptions *subs,
			 const struct mmu_notifier_ops *ops, int by)
{
	bool young = ops->clear_flush_young || ops->clear_young ||
		     ops->test_young;

	mn_count(subs, MN_PAGE, ops->invalidate_page, by);
	mn_count(subs, MN_YOUNG, young, by);
	mn_count(subs, MN_TLB, ops->arch_invalidate_secondary_tlbs, by);
}

static void mn_add_to_list(struct mmu_notifier *sub,
			   struct mmu_notifier_subscriptions *subs)
{
	mn_count_ops(subs, sub->ops, 1);
	hlist_add_head_rcu(&sub->hlist, &subs->list);
}

/* It may have gone already, with its mm. */
static void mn_del_from_list(struct mmu_notifier *sub,
			     struct mmu_notifier_subscriptions *subs)
{
	if (hlist_unhashed(&sub->hlist))
		return;
	hlist_del_init_rcu(&sub->hlist);
	mn_count_ops(subs, sub->ops, -1);
}

/*
 * Is it on the list? A structure that was never registered may hold anything,
 * so all it says is whether to look.
 */
static __no_kmsan_checks bool
mn_is_listed(struct mmu_notifier_subscriptions *subs,
	     const struct mmu_notifier *subscription,
	     const struct mm_struct *mm)
{
	struct mmu_notifier *sub;

	lockdep_assert_held(&subs->lock);
	if (subscription->mm != mm || !subscription->users)
		return false;
	hlist_for_each_entry(sub, &subs->list, hlist)
		if (sub == subscription)
			return true;
	return false;
}

/**
 * mn_get_subscriptions - the subscriptions of an mm, made on first use
 * @mm: the address space
 * @with_domain: whether they need a domain of SRCU
 *
 * Context: process context, mmap_lock held for write. May sleep.
 * Return: them; ERR_PTR(-ENOMEM); ERR_PTR(-EINVAL) for a dying mm.
 */
struct mmu_notifier_subscriptions *mn_get_subscriptions(struct mm_struct *mm,
							bool with_domain)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;
	struct srcu_struct *srcu = NULL;

	mmap_assert_write_locked(mm);
	/* A reference taken from 0 on would not be seen by exit_mmap(). */
	if (WARN_ON_ONCE(atomic_read(&mm->mm_users) <= 0))
		return ERR_PTR(-EINVAL);

	if (with_domain && !(subs && subs->srcu)) {
		srcu = mn_get_domain();
		if (!srcu)
			return ERR_PTR(-ENOMEM);
	}
	if (!subs) {
		subs = kzalloc(sizeof(*subs), GFP_KERNEL);
		if (!subs) {
			if (srcu)
				mn_put_domain(srcu);
			return ERR_PTR(-ENOMEM);
		}
		spin_lock_init(&subs->lock);
		subs->seq = 2;
		subs->itree = RB_ROOT_CACHED;
		/* A: pairs with READ_ONCE() and the dependency in every hook. */
		smp_store_release(&mm->notifier_subscriptions, subs);
	}
	if (srcu)
		/* G: pairs with the dependency of those who look for it. */
		smp_store_release(&subs->srcu, srcu);
	return subs;
}

/* Make @sub visible to every section that starts from now on. */
static int mn_publish(struct mmu_notifier *sub, struct mm_struct *mm)
{
	struct mmu_notifier_subscriptions *subs = mn_get_subscriptions(mm, true);

	if (IS_ERR(subs))
		return PTR_ERR(subs);
	/* Births must stay ordered. */
	if (subs->epoch == MN_EPOCH_MAX)
		return -EOVERFLOW;

	spin_lock(&subs->lock);
	if (WARN(mn_is_listed(subs, sub, mm),
		 "mmu_notifier: %ps is registered already\n",
		 mn_callback_of(sub->ops))) {
		spin_unlock(&subs->lock);
		return -EEXIST;
	}
	mmgrab(mm);
	sub->mm = mm;
	sub->users = 1;
	sub->birth = subs->epoch + 1;
	if (mn_has_range_ops(sub->ops))
		/* G: pairs with the acquire in the start of a section. */
		smp_store_release(&subs->track, true);
	mn_add_to_list(sub, subs);
	spin_unlock(&subs->lock);

	/* D: pairs with the acquire in __mmu_notifier_invalidate_range_start(). */
	smp_store_release(&subs->epoch, sub->birth);
	return 0;
}

/* Has every section ended that was not tracked? */
static bool mn_is_tracked(const struct mmu_notifier_subscriptions *subs)
{
	/* E: pairs with the release in mn_set_drained(). */
	return smp_load_acquire(&subs->drained);
}

/* Are there list subscriptions beside the one just published? */
static bool mn_has_others(struct mmu_notifier_subscriptions *subs)
{
	bool others;

	spin_lock(&subs->lock);
	others = subs->list.first && subs->list.first->next;
	spin_unlock(&subs->lock);
	return others;
}

/**
 * mn_wait - wait for the sections that are unaware of what was published
 * @mm: the address space
 * @flags: MN_WAIT_*
 *
 * A caller who keeps mmap_lock looks at locks in any case. A grace period waits
 * for the release callbacks of others as well, and these may take locks of their
 * driver under which mmap_lock is taken (kfd_processes_mutex). For the same reason
 * it is not killable where there are others: to fail takes a grace period.
 *
 * Context: process context, sleeps. mmap_lock has been held for write since
 * the publication. With MN_WAIT_KEEP it stays so, else it is released.
 * Return: 0; -EINTR on a fatal signal if MN_WAIT_KILLABLE, but never if it waits
 * for a grace period, or keeps mmap_lock where there are other subscriptions.
 */
int mn_wait(struct mm_struct *mm, unsigned int flags)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;

	if (flags & MN_WAIT_KEEP && mn_has_others(subs))
		flags &= ~MN_WAIT_KILLABLE;
	if (flags & MN_WAIT_KEEP || !mn_is_tracked(subs))
		return mn_drain(mm, flags);
	mmap_write_unlock(mm);
	/* B and C */
	synchronize_srcu_expedited(subs->srcu);
	return 0;
}

/* Need somebody who has @sub wait before it is used? */
static bool mn_must_wait(const struct mmu_notifier *sub)
{
	return mn_has_range_ops(sub->ops) &&
	       /* E: pairs with the release in mn_set_drained(). */
	       smp_load_acquire(&sub->mm->notifier_subscriptions->drained) <
	       sub->birth;
}

/* The wait for @sub is over. Others of its mm may be done in any order. */
static void mn_set_drained(const struct mmu_notifier *sub)
{
	struct mmu_notifier_subscriptions *subs =
		sub->mm->notifier_subscriptions;

	spin_lock(&subs->lock);
	if (subs->drained < sub->birth)
		/* E: pairs with the acquires above. */
		smp_store_release(&subs->drained, sub->birth);
	spin_unlock(&subs->lock);
}

/* Wait for what @sub needs, with flags and mmap_lock as for mn_wait(). */
static int mn_settle(struct mmu_notifier *sub, unsigned int flags)
{
	int ret = 0;

	if (mn_must_wait(sub)) {
		ret = mn_wait(sub->mm, flags);
		if (!ret)
			mn_set_drained(sub);
	} else if (!(flags & MN_WAIT_KEEP)) {
		mmap_write_unlock(sub->mm);
	}
	return ret;
}

/* Take back what was published. Returns true if nobody else uses it. */
static bool mn_unpublish(struct mmu_notifier *sub)
{
	struct mmu_notifier_subscriptions *subs =
		sub->mm->notifier_subscriptions;
	unsigned int users;

	spin_lock(&subs->lock);
	users = --sub->users;
	if (!users)
		mn_del_from_list(sub, subs);
	spin_unlock(&subs->lock);

	if (users)
		return false;
	synchronize_srcu_expedited(subs->srcu);
	return true;
}

/* What mmu_notifier_register() does to fail after the publication. */
static void mn_fail_register(struct mmu_notifier *sub, struct mm_struct *mm,
			     const struct mmu_notifier *before)
{
	mn_unpublish(sub);
	*sub = *before;
	mmdrop(mm);
}

/**
 * __mmu_notifier_register - subscribe, with mmap_lock held
 * @subscription: with its ops set
 * @mm: the address space
 *
 * As mmu_notifier_register(), for callers that hold mmap_lock. It stays a
 * write lock throughout, and so the locks of all VMAs are looked at each time.
 * That can be killed only if the mm has no other list subscription.
 *
 * Context: process context, mmap_lock held for write. May sleep.
 * Return: as mmu_notifier_register(); -EINVAL also for ops with
 * invalidate_page, which need the lock free.
 */
int __mmu_notifier_register(struct mmu_notifier *subscription,
			    struct mm_struct *mm)
{
	const struct mmu_notifier before = *subscription;
	int ret;

	ret = mn_check_ops_locked(subscription->ops);
	if (!ret)
		ret = mn_publish(subscription, mm);
	if (!ret) {
		ret = mn_settle(subscription,
				MN_WAIT_KILLABLE | MN_WAIT_KEEP);
		if (ret)
			mn_fail_register(subscription, mm, &before);
	}
	trace_mmu_notifier_register(mm, mn_callback_of(subscription->ops), ret);
	return ret;
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
 * -EINTR on a fatal signal only; -EOVERFLOW after 2^48 (on 32 bit 2^32)
 * registrations on one mm; -EEXIST if registered already. After an error no
 * callback runs or will run, and @subscription is as it was before.
 */
int mmu_notifier_register(struct mmu_notifier *subscription,
			  struct mm_struct *mm)
{
	const struct mmu_notifier before = *subscription;
	int ret;

	ret = mn_check_ops(subscription->ops);
	if (ret)
		goto out;
	mn_get_page_key(subscription->ops);
	ret = mmap_write_lock_killable(mm);
	if (ret)
		goto put_page_key;

	ret = mn_publish(subscription, mm);
	if (ret) {
		mmap_write_unlock(mm);
		goto put_page_key;
	}
	ret = mn_settle(subscription, MN_WAIT_KILLABLE);
	if (!ret)
		goto out;

	mn_fail_register(subscription, mm, &before);
put_page_key:
	mn_put_page_key(subscription->ops);
out:
	trace_mmu_notifier_register(mm, mn_callback_of(subscription->ops), ret);
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
 * Warns and does nothing if @subscription is not registered with @mm.
 *
 * Waits for the sections of @mm that are under way, as a registration and
 * mmu_interval_notifier_remove() do. A section may allocate memory (fork), so a
 * lock that reclaim takes must not be held; lockdep knows.
 *
 * Context: process context, may sleep; not from a callback, and holding no
 * lock that a callback, a section or memory reclaim takes.
 */
void mmu_notifier_unregister(struct mmu_notifier *subscription,
			     struct mm_struct *mm)
{
	struct mmu_notifier_subscriptions *subs;
	int idx;

	/* A second unregister would drop somebody else's reference. */
	if (WARN(!subscription->users || subscription->mm != mm,
		 "mmu_notifier: %ps is not registered\n",
		 mn_callback_of(subscription->ops)))
		return;

	subs = mm->notifier_subscriptions;
	/* SRCU makes exit_mmap() wait for our release, as we for its. */
	idx = srcu_read_lock(subs->srcu);
	if (!hlist_unhashed_lockless(&subscription->hlist) &&
	    subscription->ops->release)
		subscription->ops->release(subscription, mm);
	srcu_read_unlock(subs->srcu, idx);

	spin_lock(&subs->lock);
	mn_del_from_list(subscription, subs);
	subscription->users = 0;
	spin_unlock(&subs->lock);

	synchronize_srcu_expedited(subs->srcu);
	trace_mmu_notifier_unregister(mm, mn_callback_of(subscription->ops), 0);
	mn_put_page_key(subscription->ops);
	mmdrop(mm);
}
EXPORT_SYMBOL_GPL(mmu_notifier_unregister);

/* --- get and put: one subscription for an mm and its ops ----------------- */

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

/* Find or publish; somebody has to wait still. mmap_lock is held for write. */
static struct mmu_notifier *mn_get(const struct mmu_notifier_ops *ops,
				   struct mm_struct *mm)
{
	struct mmu_notifier *sub = mn_find_get(mm, ops);
	int ret;

	if (sub)
		return sub;
	sub = ops->alloc_notifier(mm);
	if (IS_ERR(sub))
		return sub;
	sub->ops = ops;
	ret = mn_publish(sub, mm);
	trace_mmu_notifier_register(mm, mn_callback_of(ops), ret);
	if (ret) {
		ops->free_notifier(sub);
		return ERR_PTR(ret);
	}
	return sub;
}

/* The same for mmu_notifier_get(): others may have found it meanwhile. */
static struct mmu_notifier *mn_fail_get(struct mmu_notifier *sub, int error)
{
	struct mm_struct *mm = sub->mm;

	trace_mmu_notifier_register(mm, mn_callback_of(sub->ops), error);
	mn_put_page_key(sub->ops);
	if (mn_unpublish(sub)) {
		sub->ops->free_notifier(sub);
		mmdrop(mm);
	}
	return ERR_PTR(error);
}

/**
 * mmu_notifier_get_locked - find or make the subscription, mmap_lock held
 * @ops: the kind of subscription
 * @mm: the address space
 *
 * As mmu_notifier_get(), for callers that hold mmap_lock. It stays a write
 * lock throughout.
 *
 * Context: process context, mmap_lock held for write. May sleep.
 * Return: as mmu_notifier_get(); ERR_PTR(-EINVAL) also for ops with
 * invalidate_page, which need the lock free.
 */
struct mmu_notifier *mmu_notifier_get_locked(const struct mmu_notifier_ops *ops,
					     struct mm_struct *mm)
{
	struct mmu_notifier *sub;
	int ret;

	mmap_assert_write_locked(mm);
	ret = mn_check_ops_locked(ops);
	if (ret)
		return ERR_PTR(ret);
	sub = mn_get(ops, mm);
	if (IS_ERR(sub))
		return sub;
	ret = mn_settle(sub, MN_WAIT_KILLABLE | MN_WAIT_KEEP);
	return ret ? mn_fail_get(sub, ret) : sub;
}
EXPORT_SYMBOL_GPL(mmu_notifier_get_locked);

/**
 * mmu_notifier_get - find or make the one subscription of @ops to @mm
 * @ops: the kind of subscription; with alloc_notifier and free_notifier
 * @mm: current->mm, or an mm with a reference from get_task_mm() or mmget()
 *
 * Two subscriptions are the same if their ops are. Pair each call with
 * mmu_notifier_put(). Whoever finds a subscription that somebody else still
 * waits for waits as well.
 *
 * Context: process context, may sleep; no lock of the VM held.
 * Return: the subscription; ERR_PTR() with what alloc_notifier or
 * mmu_notifier_register() says, or -EOVERFLOW after UINT_MAX users.
 */
struct mmu_notifier *mmu_notifier_get(const struct mmu_notifier_ops *ops,
				      struct mm_struct *mm)
{
	struct mmu_notifier *sub;
	int ret;

	ret = mn_check_ops(ops);
	if (ret)
		return ERR_PTR(ret);
	/* Each user keeps the hooks switched on until its put. */
	mn_get_page_key(ops);
	ret = mmap_write_lock_killable(mm);
	if (ret) {
		mn_put_page_key(ops);
		return ERR_PTR(ret);
	}
	sub = mn_get(ops, mm);
	if (IS_ERR(sub)) {
		mmap_write_unlock(mm);
		mn_put_page_key(ops);
		return sub;
	}
	ret = mn_settle(sub, MN_WAIT_KILLABLE);
	return ret ? mn_fail_get(sub, ret) : sub;
}
EXPORT_SYMBOL_GPL(mmu_notifier_get);

/*
 * Who was put and is not freed yet reads in this domain, so that
 * mmu_notifier_synchronize() can wait for all of them.
 */
DEFINE_STATIC_SRCU(mn_puts);

static void mn_free_rcu(struct rcu_head *rcu)
{
	struct mmu_notifier *sub = container_of(rcu, struct mmu_notifier, rcu);
	struct mm_struct *mm = sub->mm;
	int idx = sub->put_idx;

	trace_mmu_notifier_unregister(mm, mn_callback_of(sub->ops), 0);
	sub->ops->free_notifier(sub);
	mmdrop(mm);
	srcu_up_read(&mn_puts, idx);
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
 * Context: task context; does not sleep.
 */
void mmu_notifier_put(struct mmu_notifier *subscription)
{
	struct mm_struct *mm = subscription->mm;
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;
	const struct mmu_notifier_ops *ops = subscription->ops;
	unsigned int users;

	spin_lock(&subs->lock);
	if (WARN(!subscription->users, "mmu_notifier: %ps is not registered\n",
		 mn_callback_of(ops))) {
		spin_unlock(&subs->lock);
		return;
	}
	users = --subscription->users;
	if (!users)
		mn_del_from_list(subscription, subs);
	spin_unlock(&subs->lock);

	mn_put_page_key(ops);
	if (users)
		return;
	subscription->put_idx = srcu_down_read(&mn_puts);
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
	synchronize_srcu_expedited(&mn_puts);
}
EXPORT_SYMBOL_GPL(mmu_notifier_synchronize);

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
	int idx;

	if (subs->itree_state) {
		mn_itree_start(subs, &range);
		mn_itree_end(subs);
	}
	if (hlist_empty(&subs->list))
		return;

	idx = srcu_read_lock(subs->srcu);
	mn_for_each(sub, subs) {
		if (!sub->ops->release)
			continue;
		mn_trace_call(sub->ops->release, mm, 0, ULONG_MAX,
			      (sub->ops->release(sub, mm), 0));
	}

	spin_lock(&subs->lock);
	hlist_for_each_entry_safe(sub, next, &subs->list, hlist)
		mn_del_from_list(sub, subs);
	spin_unlock(&subs->lock);
	srcu_read_unlock(subs->srcu, idx);

	/* A release that an unregister runs must be done before pages go. */
	synchronize_srcu_expedited(subs->srcu);
	trace_mmu_notifier_release(mm);
}

/* The last reference to the mm is gone, and with it every subscription. */
void __mmu_notifier_subscriptions_destroy(struct mm_struct *mm)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;

	WARN_ON(!hlist_empty(&subs->list));
	if (subs->srcu)
		mn_put_domain(subs->srcu);
	kfree(subs);
	mm->notifier_subscriptions = NULL;
}

#ifdef CONFIG_MMU_NOTIFIER_KUNIT_TEST
#include "tests/mmu_notifier_kunit.c"
#endif
