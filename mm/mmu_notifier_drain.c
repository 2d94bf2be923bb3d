// SPDX-License-Identifier: GPL-2.0-only
/*
 * The drain of an MMU-notifier registration: wait until no section is left
 * that began before the subscription was published.
 *
 * Such a section holds a per-VMA lock, an i_mmap_rwsem or the rwsem of an
 * anon_vma root of a VMA that the mm has now (sections under mmap_lock ended
 * before the publication, which holds it for write). So for each lock it
 * suffices that it was free, or changed hands to a writer, once after the
 * publication: whoever takes it later sees the subscription.
 *
 * VMAs and locks that join during the drain need nothing. A VMA that gets an
 * anon_vma by a fault links it under the root's lock; whether that root is new
 * or a neighbour's, a section under it either began after that, and is aware,
 * or the lock is looked at when the walk comes to the neighbour, or was free
 * when it had been there.
 *
 * Looking before locking. Most locks are free, and a free lock need not be
 * taken to know it:
 *
 *	registration			section
 *
 *	publish				take the lock
 *	full barrier			full barrier
 *	look at the lock		read mm->notifier_subscriptions
 *
 * Either the look finds the lock held or the section finds the subscription.
 * The section's barrier is the locked instruction by which any rwsem is taken
 * on x86. When a waker takes the lock on behalf of a sleeper, its instruction
 * is ordered before the sleeper's reads by the wake-up itself; a spinning
 * writer, a PREEMPT_RT reader and writer (readers != READER_BIAS from its
 * atomic_sub() on) use the same instructions. Other architectures take locks
 * by an acquire, which lets later reads pass; a barrier in every section would
 * be paid by everybody for something rare, so the drain there takes each lock.
 */

#include <linux/completion.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/moduleparam.h>
#include <linux/refcount.h>
#include <linux/rmap.h>
#include <linux/rwsem.h>
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <trace/events/mmu_notifier.h>

#include "mmu_notifier_internal.h"

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "mmu_notifier."

unsigned int mn_register_timeout_ms = 5000;
module_param_named(register_timeout_ms, mn_register_timeout_ms, uint, 0644);
MODULE_PARM_DESC(register_timeout_ms,
		 "How long a registration may wait for locks (ms, 0: for ever)");

/**
 * struct mn_drain_control - the state of one drain
 * @deadline: when it has to be done, in jiffies
 * @bounded: whether there is a deadline at all
 * @mapping: the file last drained; neighbouring VMAs often share it
 * @root: the anon_vma root last drained, likewise
 * @waits: how many locks it had to wait for
 * @longest_ns: how long for the slowest of them
 */
struct mn_drain_control {
	unsigned long deadline;
	bool bounded;
	struct address_space *mapping;
	struct anon_vma *root;
	unsigned int waits;
	u64 longest_ns;
};

/* How many VMAs to pass between two looks at signals and the clock. */
#define MN_DRAIN_BATCH	64

/*
 * An rwsem cannot be waited for with a limit in time, so a worker waits, and
 * the registration for the worker. It may outlive the registration that gave
 * up: it holds a reference to what the lock is in.
 */
struct mn_lock_wait {
	struct work_struct work;
	struct completion done;
	refcount_t refs;
	struct rw_semaphore *rwsem;
	struct file *file;
	struct anon_vma *root;
};

static void mn_lock_wait_put(struct mn_lock_wait *wait)
{
	if (!refcount_dec_and_test(&wait->refs))
		return;
	if (wait->file)
		fput(wait->file);
	if (wait->root)
		put_anon_vma(wait->root);
	kfree(wait);
}

static void mn_lock_wait_work(struct work_struct *work)
{
	struct mn_lock_wait *wait =
		container_of(work, struct mn_lock_wait, work);

	/* Only a writer waits for readers, and it is fair to both. */
	down_write(wait->rwsem);
	up_write(wait->rwsem);
	complete(&wait->done);
	mn_lock_wait_put(wait);
}

static long mn_time_left(const struct mn_drain_control *drain)
{
	if (!drain->bounded)
		return MAX_SCHEDULE_TIMEOUT;
	return max_t(long, drain->deadline - jiffies, 0);
}

static int mn_interrupted(const struct mn_drain_control *drain)
{
	if (fatal_signal_pending(current))
		return -EINTR;
	return mn_time_left(drain) ? 0 : -ETIME;
}

static void mn_waited(struct mn_drain_control *drain, u64 since)
{
	drain->waits++;
	drain->longest_ns = max(drain->longest_ns, local_clock() - since);
}

/* Is the lock known to be free without taking it? See above. */
static bool mn_looks_free(struct rw_semaphore *rwsem)
{
	return IS_ENABLED(CONFIG_X86) && !rwsem_is_locked(rwsem);
}

/* Wait for who holds an rmap lock: that of @file's mapping or of @root. */
static noinline int mn_wait_rmap(struct mn_drain_control *drain,
				 struct rw_semaphore *rwsem, struct file *file,
				 struct anon_vma *root)
{
	struct mn_lock_wait *wait;
	u64 since;
	long left;

	if (down_write_trylock(rwsem)) {
		up_write(rwsem);
		return 0;
	}

	might_lock(rwsem);
	wait = kzalloc(sizeof(*wait), GFP_KERNEL);
	if (!wait)
		return -ENOMEM;
	INIT_WORK(&wait->work, mn_lock_wait_work);
	init_completion(&wait->done);
	refcount_set(&wait->refs, 2);
	wait->rwsem = rwsem;
	if (file)
		wait->file = get_file(file);
	if (root) {
		get_anon_vma(root);
		wait->root = root;
	}
	queue_work(system_unbound_wq, &wait->work);

	since = local_clock();
	left = wait_for_completion_killable_timeout(&wait->done,
						    mn_time_left(drain));
	mn_waited(drain, since);
	mn_lock_wait_put(wait);
	if (left < 0)
		return -EINTR;
	return left ? 0 : -ETIME;
}

static int mn_drain_rmap(struct mn_drain_control *drain,
			 struct rw_semaphore *rwsem, struct file *file,
			 struct anon_vma *root)
{
	if (mn_looks_free(rwsem))
		return 0;
	return mn_wait_rmap(drain, rwsem, file, root);
}

static int mn_drain_file(struct mn_drain_control *drain,
			 struct vm_area_struct *vma)
{
	struct address_space *mapping =
		vma->vm_file ? vma->vm_file->f_mapping : NULL;

	if (!mapping || mapping == drain->mapping ||
	    mmu_notifier_mutant("i_mmap"))
		return 0;
	drain->mapping = mapping;
	return mn_drain_rmap(drain, &mapping->i_mmap_rwsem, vma->vm_file, NULL);
}

static int mn_drain_anon(struct mn_drain_control *drain,
			 struct vm_area_struct *vma)
{
	/* Pairs with __anon_vma_prepare(), under mmap_lock for read too. */
	struct anon_vma *anon_vma = READ_ONCE(vma->anon_vma);

	/* All anon_vmas that the VMA is linked to share one root. */
	if (!anon_vma || anon_vma->root == drain->root ||
	    mmu_notifier_mutant("anon_vma"))
		return 0;
	drain->root = anon_vma->root;
	return mn_drain_rmap(drain, &drain->root->rwsem, NULL, drain->root);
}

#ifdef CONFIG_PER_VMA_LOCK
/*
 * Wait for faults that hold the VMA's own lock. They are by threads of this
 * process and hold it no longer than one fault; meanwhile others fall back to
 * mmap_lock. A VMA cannot be pinned, so there is no worker and no deadline
 * within one wait.
 */
static int mn_drain_vma(struct mn_drain_control *drain,
			struct vm_area_struct *vma)
{
	struct rw_semaphore *rwsem = &vma->vm_lock->lock;
	u64 since;

	if (mn_looks_free(rwsem) || mmu_notifier_mutant("vma_lock"))
		return 0;
	since = local_clock();
	if (down_write_killable(rwsem))
		return -EINTR;
	up_write(rwsem);
	mn_waited(drain, since);
	return 0;
}
#else
static int mn_drain_vma(struct mn_drain_control *drain,
			struct vm_area_struct *vma)
{
	return 0;
}
#endif

/**
 * mn_drain - wait for the sections that may be unaware of a publication
 * @mm: the address space
 * @start: first address that matters, in bytes
 * @last: last address that matters
 *
 * Looks once at each lock of each VMA in the range, and waits for those that
 * are held; never holds one, never has two.
 *
 * Context: process context, sleeps. mmap_lock has been held since the
 * publication, for write then, for read at least now.
 * Return: 0; -EINTR on a fatal signal; -ETIME after register_timeout_ms;
 * -ENOMEM.
 */
int mn_drain(struct mm_struct *mm, unsigned long start, unsigned long last)
{
	unsigned int timeout_ms = READ_ONCE(mn_register_timeout_ms);
	struct mn_drain_control drain = {
		.deadline = jiffies + msecs_to_jiffies(timeout_ms),
		.bounded = timeout_ms,
	};
	u64 began = trace_mmu_notifier_drain_enabled() ? local_clock() : 0;
	VMA_ITERATOR(vmi, mm, start);
	struct vm_area_struct *vma;
	unsigned int vmas = 0;
	bool shared;
	int ret = 0;

	mmap_assert_locked(mm);

	/*
	 * The full barrier of "publish, barrier, look". Pairs with the
	 * instruction by which a section takes its lock.
	 */
	smp_mb();

	/*
	 * Per-VMA locks are taken by users of the mm only, and who becomes one
	 * after this finds the subscription. Pairs with the atomic operations
	 * on mm_users.
	 */
	shared = current->mm != mm || atomic_read(&mm->mm_users) > 1;

	for_each_vma_range(vmi, vma, last + 1) {
		ret = shared ? mn_drain_vma(&drain, vma) : 0;
		if (!ret)
			ret = mn_drain_file(&drain, vma);
		if (!ret)
			ret = mn_drain_anon(&drain, vma);
		if (!ret && ++vmas % MN_DRAIN_BATCH == 0) {
			cond_resched();
			ret = mn_interrupted(&drain);
		}
		if (ret)
			break;
	}

	/*
	 * What a section did before it released the lock that was seen free
	 * comes before what the caller does now. Pairs with that release.
	 */
	smp_rmb();
	if (trace_mmu_notifier_drain_enabled() && began)
		trace_mmu_notifier_drain(mm, vmas, drain.waits,
					 local_clock() - began,
					 drain.longest_ns, ret);
	return ret;
}
