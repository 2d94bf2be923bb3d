// SPDX-License-Identifier: GPL-2.0-only
/*
 * The drain of an MMU-notifier registration, the first of an mm or one with
 * mmap_lock kept: wait until no section is left that began before the
 * subscription was published. (Documentation/mm/mmu_notifier_sites.rst lists
 * them all with their locks, and the one driver that has none.)
 *
 * Such a section holds a per-VMA lock, an i_mmap_rwsem or the rwsem of an
 * anon_vma root of a VMA that the mm had at the publication (sections under
 * mmap_lock ended before, as publication holds it for write). So for each of
 * these locks it suffices that it was free, or changed hands to a writer, once
 * after the publication: whoever takes it later sees the subscription.
 *
 * Looking before locking. Most locks are free, and a free lock need not be
 * taken to know it:
 *
 *	registration			section
 *
 *	publish				take the lock
 *	full barrier (B)		full barrier (B)
 *	look at the lock		read mm->notifier_subscriptions
 *
 * Either the look finds the lock held or the section finds the subscription.
 * The section's barrier is the instruction by which it takes the lock, where
 * the architecture promises that (CONFIG_MMU_NOTIFIER_LOOK). When a waker takes
 * the lock on behalf of a sleeper, its instruction is ordered before the
 * sleeper's reads by the wake-up itself; a spinning writer, a PREEMPT_RT reader
 * and writer (readers != READER_BIAS from its atomic_sub() on) use the same
 * instructions. Elsewhere locks are taken by an acquire, which lets later reads
 * pass; a barrier in every section would be paid by everybody for something
 * rare, so the drain there takes each lock.
 *
 * Waiting without mmap_lock. A lock that is held may be held for long, and the
 * process wants to map and unmap meanwhile. So the walk over the VMAs pins what
 * the lock is in, drops mmap_lock, waits, takes mmap_lock again (for write, see
 * mn_lock_mmap()), and goes on where it was. What becomes of the VMAs in between
 * needs nothing: whoever links a VMA to a file or to an anon_vma, unlinks it,
 * moves it or changes its bounds takes its i_mmap_rwsem and its anon_vma root's
 * rwsem for write, and write-locks the VMA, after the publication; and a VMA
 * that nobody touched is where it was. (A stack grows under the anon_vma's lock
 * only, and still contains what it was before.) That holds for the VMA that gets
 * its anon_vma by a fault as well: whether the root is new or a neighbour's, it
 * is linked under that root's lock.
 */

#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/rwsem.h>
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>
#include <trace/events/mmu_notifier.h>

#include "mmu_notifier_internal.h"

/* The locks of a VMA in the order in which the walk passes them. */
enum mn_vma_lock {
	MN_NO_LOCK,
	MN_VMA_LOCK,
	MN_FILE_LOCK,
	MN_ANON_LOCK,
};

/**
 * struct mn_drain_control - the state of one drain
 * @mm: whose VMAs
 * @flags: MN_WAIT_*
 * @mmap_locked: whether mmap_lock is held, where the caller does not keep it
 * @address: the start of the VMA that the walk goes on with
 * @passed: which of that VMA's locks was waited for last, so that a lock which
 *	somebody always holds is waited for once
 * @mapping: the file passed last; neighbouring VMAs often share it
 * @root: the anon_vma root passed last, likewise
 * @file: pins what was waited for last, if that was @mapping
 * @pinned_root: the same, if that was @root
 * @vmas: how many VMAs it has looked at
 * @waits: how many locks it had to wait for
 * @longest_ns: how long for the slowest of them
 */
struct mn_drain_control {
	struct mm_struct *mm;
	unsigned int flags;
	bool mmap_locked;
	unsigned long address;
	enum mn_vma_lock passed;
	struct address_space *mapping;
	struct anon_vma *root;
	struct file *file;
	struct anon_vma *pinned_root;
	unsigned int vmas;
	unsigned int waits;
	u64 longest_ns;
};

/* How many VMAs to pass between two looks at signals. */
#define MN_DRAIN_BATCH	64

/* Is the lock known to be free, or was it taken at once? See above. */
static bool mn_pass_lock(struct rw_semaphore *rwsem)
{
	if (IS_ENABLED(CONFIG_MMU_NOTIFIER_LOOK))
		return !rwsem_is_locked(rwsem);
	if (!down_write_trylock(rwsem))
		return false;
	up_write(rwsem);
	return true;
}

/* Page faults hold the VMA's own lock. */
static bool mn_pass_vma(struct vm_area_struct *vma)
{
#ifdef CONFIG_PER_VMA_LOCK
	return mn_pass_lock(&vma->vm_lock->lock);
#else
	return true;
#endif
}

static bool mn_pass_file(struct mn_drain_control *drain,
			 struct vm_area_struct *vma)
{
	struct address_space *mapping =
		vma->vm_file ? vma->vm_file->f_mapping : NULL;

	if (!mapping || mapping == drain->mapping)
		return true;
	if (!mn_pass_lock(&mapping->i_mmap_rwsem))
		return false;
	drain->mapping = mapping;
	return true;
}

static bool mn_pass_anon(struct mn_drain_control *drain,
			 struct vm_area_struct *vma)
{
	/* Pairs with __anon_vma_prepare(), under mmap_lock for read too. */
	struct anon_vma *anon_vma = READ_ONCE(vma->anon_vma);

	/* All anon_vmas that the VMA is linked to share one root. */
	if (!anon_vma || anon_vma->root == drain->root)
		return true;
	if (!mn_pass_lock(&anon_vma->root->rwsem))
		return false;
	drain->root = anon_vma->root;
	return true;
}

/* The first of the VMA's locks after @passed that is held. */
static enum mn_vma_lock mn_held_lock(struct mn_drain_control *drain,
				     struct vm_area_struct *vma,
				     enum mn_vma_lock passed)
{
	if (passed < MN_VMA_LOCK && !mn_pass_vma(vma))
		return MN_VMA_LOCK;
	if (passed < MN_FILE_LOCK && !mn_pass_file(drain, vma))
		return MN_FILE_LOCK;
	if (passed < MN_ANON_LOCK && !mn_pass_anon(drain, vma))
		return MN_ANON_LOCK;
	return MN_NO_LOCK;
}

static bool mn_killable(const struct mn_drain_control *drain)
{
	return drain->flags & MN_WAIT_KILLABLE;
}

static bool mn_keeps_mmap_lock(const struct mn_drain_control *drain)
{
	return drain->flags & MN_WAIT_KEEP;
}

/*
 * Walk on to the next VMA with a lock that is held, and return it. *@error is
 * set where a signal ended the walk. mmap_lock is held.
 */
static struct vm_area_struct *mn_find_held(struct mn_drain_control *drain,
					   int *error)
{
	VMA_ITERATOR(vmi, drain->mm, drain->address);
	struct vm_area_struct *vma;
	enum mn_vma_lock held;

	for_each_vma(vmi, vma) {
		/* A VMA that nobody touched starts where it did. */
		if (likely(vma->vm_start != drain->address))
			drain->passed = MN_NO_LOCK;
		held = mn_held_lock(drain, vma, drain->passed);
		if (held) {
			drain->address = vma->vm_start;
			drain->passed = held;
			return vma;
		}
		if (++drain->vmas % MN_DRAIN_BATCH == 0) {
			cond_resched();
			if (mn_killable(drain) &&
			    fatal_signal_pending(current)) {
				*error = -EINTR;
				break;
			}
		}
	}
	return NULL;
}

static void mn_unpin(struct mn_drain_control *drain)
{
	if (drain->file)
		fput(drain->file);
	if (drain->pinned_root)
		put_anon_vma(drain->pinned_root);
	drain->file = NULL;
	drain->pinned_root = NULL;
}

/*
 * Pin the rmap lock that @vma was found with, and no other: who waits for one
 * lock need not keep another file open.
 */
static struct rw_semaphore *mn_pin_rmap(struct mn_drain_control *drain,
					struct vm_area_struct *vma)
{
	mn_unpin(drain);
	if (drain->passed == MN_FILE_LOCK) {
		drain->file = get_file(vma->vm_file);
		return &drain->file->f_mapping->i_mmap_rwsem;
	}
	drain->pinned_root = vma->anon_vma->root;
	get_anon_vma(drain->pinned_root);
	return &drain->pinned_root->rwsem;
}

/* Wait for who holds @rwsem: only a writer waits for readers, and is fair. */
static int mn_wait_lock(struct mn_drain_control *drain,
			struct rw_semaphore *rwsem)
{
	if (!mn_killable(drain))
		down_write(rwsem);
	else if (down_write_killable(rwsem))
		return -EINTR;
	up_write(rwsem);
	return 0;
}

/*
 * Take mmap_lock again. For write, and downgrade it then: munmap() takes VMAs
 * out of the tree and downgrades before it zaps and unlinks them. The walk must
 * not miss a VMA that was not unlinked yet. That is over once nobody else holds
 * mmap_lock, and while the walk does no VMA leaves the tree.
 */
static int mn_lock_mmap(struct mn_drain_control *drain)
{
	if (!mn_killable(drain))
		mmap_write_lock(drain->mm);
	else if (mmap_write_lock_killable(drain->mm))
		return -EINTR;
	return 0;
}

/*
 * Page faults hold a VMA's own lock. As everywhere, it is waited for under
 * mmap_lock for write: UFFDIO_MOVE waits for a second VMA lock while it has one,
 * so two who wait for VMA locks at a time could deadlock with it.
 */
static int mn_wait_vma(struct mn_drain_control *drain)
{
#ifdef CONFIG_PER_VMA_LOCK
	struct vm_area_struct *vma = vma_lookup(drain->mm, drain->address);

	if (vma)
		return mn_wait_lock(drain, &vma->vm_lock->lock);
#endif
	return 0;
}

/* Wait for what mn_find_held() found, for an rmap lock without mmap_lock. */
static int mn_wait_held(struct mn_drain_control *drain,
			struct vm_area_struct *vma)
{
	struct rw_semaphore *rwsem = NULL;
	int ret = 0;

	if (drain->passed != MN_VMA_LOCK)
		rwsem = mn_pin_rmap(drain, vma);
	/* What is not pinned may become something else. */
	drain->mapping = drain->file ? drain->file->f_mapping : NULL;
	drain->root = drain->pinned_root;

	if (mn_keeps_mmap_lock(drain))
		return rwsem ? mn_wait_lock(drain, rwsem) : mn_wait_vma(drain);

	mmap_read_unlock(drain->mm);
	drain->mmap_locked = false;
	if (rwsem)
		ret = mn_wait_lock(drain, rwsem);
	if (!ret)
		ret = mn_lock_mmap(drain);
	if (ret)
		return ret;
	if (!rwsem)
		ret = mn_wait_vma(drain);
	mmap_write_downgrade(drain->mm);
	drain->mmap_locked = true;
	return ret;
}

/**
 * mn_drain - wait for the unaware sections
 * @mm: the address space
 * @flags: MN_WAIT_*
 *
 * Looks once at each lock of each VMA, and waits for those that are held;
 * never holds two of them.
 *
 * Context: process context, sleeps. mmap_lock has been held for write since the
 * publication. With MN_WAIT_KEEP it stays so. Else it is held for read only
 * while the walk goes over VMAs, and not at all when this returns.
 * Return: 0; -EINTR on a fatal signal if MN_WAIT_KILLABLE.
 */
int mn_drain(struct mm_struct *mm, unsigned int flags)
{
	u64 began = trace_mmu_notifier_drain_enabled() ? local_clock() : 0;
	struct mn_drain_control drain = { .mm = mm, .flags = flags };
	struct vm_area_struct *vma;
	u64 since;
	int ret = 0;

	mmap_assert_write_locked(mm);
	if (!mn_keeps_mmap_lock(&drain)) {
		mmap_write_downgrade(mm);
		drain.mmap_locked = true;
	}

	/*
	 * B: "publish, barrier, look". Pairs with the instruction by which a
	 * section takes its lock, before it reads mm->notifier_subscriptions.
	 */
	smp_mb();

	while (!ret && (vma = mn_find_held(&drain, &ret))) {
		since = local_clock();
		ret = mn_wait_held(&drain, vma);
		since = local_clock() - since;
		drain.longest_ns = max(drain.longest_ns, since);
		drain.waits++;
	}
	if (drain.mmap_locked)
		mmap_read_unlock(mm);
	mn_unpin(&drain);

	/*
	 * C: what a section did before it released the lock that was seen free
	 * comes before all that the caller does now. Pairs with that release.
	 */
	smp_mb();

	if (trace_mmu_notifier_drain_enabled() && began)
		trace_mmu_notifier_drain(mm, drain.vmas, drain.waits,
					 local_clock() - began,
					 drain.longest_ns, ret);
	return ret;
}
