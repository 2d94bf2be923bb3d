// SPDX-License-Identifier: GPL-2.0
/*
 * Software secondary MMUs, to test MMU notifiers with.
 *
 * Each open file of /dev/test_mmu_notifier is one secondary MMU.  It is
 * attached to a process and keeps translations, from the process's addresses
 * to page frames, for the pages that it was asked to load from or store to.
 * Loads and stores go through the translations and from there straight to
 * physical memory, so that a translation that outlived its page shows itself
 * by what it reads.  The callbacks of the MMU notifier are all that keeps the
 * translations right.
 *
 * What differs between kinds of secondary MMUs is in struct tmn_style:
 *
 *  - KVM: invalidate_range_start/end, a count of invalidations in progress and
 *    a sequence number.  A fault samples the number, looks the page up, and
 *    installs the translation only if no invalidation came in between.  Once
 *    the translation is installed, no reference on the page is held.
 *
 *  - XPMEM: the same, with callbacks that sleep, because a partition far away
 *    has to answer, and with a reference on every mirrored page until it is
 *    invalidated.
 *
 *  - INTERVAL: an interval notifier over one range.
 *
 *  - GRU: invalidate_page, and faults through mmu_notifier_fault().  Both run
 *    under the page table lock, which is all that orders them: no sequence, no
 *    retries, no reference on any page.
 *
 *  - BOTH: that of KVM, with invalidate_page as well, which is only to come
 *    between the start and the end of a section that covers it.
 *
 * The last two not with CONFIG_MMU_NOTIFIER_STOCK, which has no invalidate_page.
 *
 * Locks: file->rwsem (attached or not), then mmap_lock, then the locks that
 * callbacks run under, then the style's own lock.
 *
 * The interface is described in test_mmu_notifier_uapi.h.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/capability.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/init.h>
#include <linux/irq_work.h>
#include <linux/ktime.h>
#include <linux/miscdevice.h>
#include <linux/mman.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pid.h>
#include <linux/rmap.h>
#include <linux/rwsem.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "test_mmu_notifier_uapi.h"

/* More invalidations than this at a time are counted, but not told apart. */
#define TMN_MAX_SECTIONS	64

static unsigned long max_translations = 1UL << 18;
module_param(max_translations, ulong, 0644);
MODULE_PARM_DESC(max_translations, "Most translations of one secondary MMU");

static bool stock_core = IS_ENABLED(CONFIG_MMU_NOTIFIER_STOCK);
module_param(stock_core, bool, 0444);
MODULE_PARM_DESC(stock_core, "Whether this kernel has Linux's own core");

struct tmn_mirror;

/**
 * struct tmn_style - what tells one kind of secondary MMU from another
 * @holds_pages: each translation owns a reference on its page
 * @interval: uses an interval notifier, not a struct mmu_notifier
 * @ops: callbacks for mmu_notifier_register()
 * @get_ops: the same for mmu_notifier_get(), which recognises a subscription
 *	by its ops and must not take one that was registered for its own; NULL
 *	if it cannot be got
 * @lock: takes the lock that protects translations and sections
 * @unlock: drops it
 * @fault: establishes one translation; -EAGAIN: not done, to be tried again
 */
struct tmn_style {
	bool holds_pages;
	bool interval;
	const struct mmu_notifier_ops *ops;
	const struct mmu_notifier_ops *get_ops;
	void (*lock)(struct tmn_mirror *mirror);
	void (*unlock)(struct tmn_mirror *mirror);
	int (*fault)(struct tmn_mirror *mirror, unsigned long address,
		     bool write);
};

/* An invalidation between its start and its end. */
struct tmn_section {
	struct task_struct *task;	/* only compared; NULL: free */
	unsigned long start;
	unsigned long end;
};

struct tmn_counters {
	atomic64_t starts;
	atomic64_t failed_starts;
	atomic64_t ends;
	atomic64_t unbalanced_ends;
	atomic64_t interval_invalidates;
	atomic64_t invalidate_pages;
	atomic64_t outside_pages;
	atomic64_t watched_pages;
	atomic64_t young;
	atomic64_t releases;
	atomic64_t faults;
	atomic64_t retries;
	atomic64_t dropped;
	atomic64_t delayed;
	atomic64_t sleeping;
	atomic64_t events[TMN_EVENTS];
};

/**
 * struct tmn_mirror - the translations of one process's memory
 * @notifier: the subscription of most styles
 * @interval: the subscription of TMN_STYLE_INTERVAL
 * @style: what kind of secondary MMU it is
 * @style_id: the same, as user space calls it
 * @mm: whose memory; pinned by the subscription
 * @files: how many files share it (TMN_ATTACH_GET), under tmn_get_mutex
 * @spin: the lock of styles whose callbacks do not sleep
 * @mutex: the lock of styles whose callbacks sleep
 * @table: translations by page number, see TMN_ENTRY_*; under the style's lock
 * @nr: number of translations; under the style's lock
 * @dead: no more translations, the process has exited; under the style's lock
 * @section_lock: protects @sequence to @sections, in callbacks that must not
 *	sleep too; nests in the style's lock
 * @sequence: number of ends
 * @active: number of sections
 * @untracked: how many of them did not fit in @sections
 * @sections: the others
 * @wait: woken when @active drops to 0
 * @misbehave_lock: protects @misbehave and @misbehave_left
 * @misbehave: what user space asked for
 * @misbehave_left: how many callbacks misbehave still
 * @watch_start: first byte of what invalidate_page is watched for
 * @watch_end: the byte after the last
 * @count: statistics
 */
struct tmn_mirror {
	struct mmu_notifier notifier;
	struct mmu_interval_notifier interval;
	const struct tmn_style *style;
	unsigned int style_id;
	struct mm_struct *mm;
	unsigned int files;

	/* @table to @dead, where callbacks do not sleep */
	spinlock_t spin;
	/* @table to @dead, where callbacks sleep */
	struct mutex mutex;
	struct xarray table;
	unsigned long nr;
	bool dead;

	spinlock_t section_lock;	/* @sequence to @sections */
	unsigned long sequence;
	unsigned int active;
	unsigned int untracked;
	struct tmn_section sections[TMN_MAX_SECTIONS];
	wait_queue_head_t wait;

	spinlock_t misbehave_lock;	/* the two below */
	struct tmn_misbehave misbehave;
	unsigned int misbehave_left;

	unsigned long watch_start;
	unsigned long watch_end;

	struct tmn_counters count;
};

/**
 * struct tmn_file - an open file
 * @rwsem: for write while @mirror changes
 * @mirror: NULL when not attached
 * @flags: TMN_ATTACH_* that @mirror was attached with
 * @last: statistics as of the last DETACH
 */
struct tmn_file {
	struct rw_semaphore rwsem;
	struct tmn_mirror *mirror;
	u32 flags;
	struct tmn_stats last;
};

/* Serialises TMN_ATTACH_GET: a mirror that nobody uses is not found again. */
static DEFINE_MUTEX(tmn_get_mutex);

/* Translations: a page frame number and two flags, as an xarray's value. */

#define TMN_ENTRY_WRITE		1UL
#define TMN_ENTRY_YOUNG		2UL
#define TMN_ENTRY_SHIFT		2

static void *tmn_entry(unsigned long pfn, bool write)
{
	return xa_mk_value(pfn << TMN_ENTRY_SHIFT | TMN_ENTRY_YOUNG |
			   (write ? TMN_ENTRY_WRITE : 0));
}

static struct page *tmn_entry_page(void *entry)
{
	return pfn_to_page(xa_to_value(entry) >> TMN_ENTRY_SHIFT);
}

static bool tmn_entry_test(void *entry, unsigned long flag)
{
	return xa_to_value(entry) & flag;
}

/* Removes the translations that touch [start, end).  Under the style's lock. */
static unsigned long tmn_drop(struct tmn_mirror *mirror, unsigned long start,
			      unsigned long end)
{
	XA_STATE(xas, &mirror->table, start >> PAGE_SHIFT);
	unsigned long nr = 0;
	void *entry;

	xas_lock(&xas);
	xas_for_each(&xas, entry, (end - 1) >> PAGE_SHIFT) {
		/* What is only reserved stays so. */
		if (xas_retry(&xas, entry))
			continue;
		xas_store(&xas, NULL);
		if (mirror->style->holds_pages)
			put_page(tmn_entry_page(entry));
		nr++;
	}
	xas_unlock(&xas);
	mirror->nr -= nr;
	return nr;
}

/*
 * The same on behalf of a callback, without the lock. Not inlined, so that it
 * costs the same under both cores, whatever else there is to call it.
 */
static noinline void tmn_invalidate(struct tmn_mirror *mirror,
				    unsigned long start, unsigned long end)
{
	unsigned long nr;

	mirror->style->lock(mirror);
	nr = tmn_drop(mirror, start, end);
	mirror->style->unlock(mirror);
	atomic64_add(nr, &mirror->count.dropped);
}

static bool tmn_maps(struct tmn_mirror *mirror, unsigned long start,
		     unsigned long end)
{
	unsigned long index = start >> PAGE_SHIFT;

	return xa_find(&mirror->table, &index, (end - 1) >> PAGE_SHIFT,
		       XA_PRESENT);
}

/*
 * Installs a translation and returns the one that it replaces, if any, by
 * @oldp.  Under the style's lock.
 */
static int tmn_install_pfn(struct tmn_mirror *mirror, unsigned long address,
			   unsigned long pfn, bool write, void **oldp)
{
	unsigned long index = address >> PAGE_SHIFT;
	void *old;

	if (mirror->dead)
		return -ESRCH;

	old = xa_load(&mirror->table, index);
	if (!old && mirror->nr >= READ_ONCE(max_translations))
		return -ENOSPC;

	/* The slot was reserved, but may have been invalidated since. */
	old = xa_store(&mirror->table, index, tmn_entry(pfn, write),
		       GFP_NOWAIT | __GFP_NOWARN);
	if (xa_is_err(old))
		return -EAGAIN;
	if (!old)
		mirror->nr++;
	atomic64_inc(&mirror->count.faults);
	*oldp = old;
	return 0;
}

/*
 * Installs a translation for a page that the caller has a reference on, and
 * consumes the reference if that worked.  Under the style's lock.
 */
static int tmn_install(struct tmn_mirror *mirror, unsigned long address,
		       struct page *page, bool write)
{
	void *old;
	int ret;

	ret = tmn_install_pfn(mirror, address, page_to_pfn(page), write, &old);
	if (ret)
		return ret;
	if (!mirror->style->holds_pages)
		put_page(page);
	else if (old)
		put_page(tmn_entry_page(old));
	return 0;
}

/* Misbehaviour */

/* How long a callback is to sleep now. */
static unsigned int tmn_delay_us(struct tmn_mirror *mirror,
				 const struct mmu_notifier_range *range,
				 bool end)
{
	struct tmn_misbehave *misbehave = &mirror->misbehave;
	unsigned int us;

	if (!mmu_notifier_range_blockable(range))
		return 0;

	spin_lock(&mirror->misbehave_lock);
	us = end ? misbehave->end_delay_us : misbehave->start_delay_us;
	if (!(misbehave->events & BIT(range->event)))
		us = 0;
	if (misbehave->length &&
	    (range->end <= misbehave->start ||
	     range->start >= misbehave->start + misbehave->length))
		us = 0;
	if (us && misbehave->limit) {
		if (mirror->misbehave_left)
			mirror->misbehave_left--;
		else
			us = 0;
	}
	spin_unlock(&mirror->misbehave_lock);
	return us;
}

static void tmn_delay(struct tmn_mirror *mirror,
		      const struct mmu_notifier_range *range, bool end)
{
	unsigned int us = tmn_delay_us(mirror, range, end);

	if (!us)
		return;

	atomic64_inc(&mirror->count.delayed);
	atomic64_inc(&mirror->count.sleeping);
	fsleep(us);
	atomic64_dec(&mirror->count.sleeping);
}

static bool tmn_fails(struct tmn_mirror *mirror,
		      const struct mmu_notifier_range *range)
{
	bool fails;

	if (mmu_notifier_range_blockable(range))
		return false;

	spin_lock(&mirror->misbehave_lock);
	fails = (mirror->misbehave.flags & TMN_MISBEHAVE_FAIL_NONBLOCK) &&
		(mirror->misbehave.events & BIT(range->event));
	spin_unlock(&mirror->misbehave_lock);
	return fails;
}

/* Sections, for the styles that have start and end. */

static void tmn_section_start(struct tmn_mirror *mirror,
			      const struct mmu_notifier_range *range)
{
	struct tmn_section *section;

	spin_lock(&mirror->section_lock);
	/* Pairs with the lockless reads. */
	WRITE_ONCE(mirror->active, mirror->active + 1);
	for (section = mirror->sections;
	     section < mirror->sections + TMN_MAX_SECTIONS; section++) {
		if (section->task)
			continue;
		section->task = current;
		section->start = range->start;
		section->end = range->end;
		goto tracked;
	}
	mirror->untracked++;
tracked:
	spin_unlock(&mirror->section_lock);
}

/* False if this section was never announced to us.  Under the section lock. */
static bool tmn_section_end(struct tmn_mirror *mirror,
			    const struct mmu_notifier_range *range)
{
	struct tmn_section *section;

	for (section = mirror->sections;
	     section < mirror->sections + TMN_MAX_SECTIONS; section++) {
		if (section->task == current &&
		    section->start == range->start &&
		    section->end == range->end) {
			section->task = NULL;
			goto found;
		}
	}
	if (!mirror->untracked)
		return false;
	mirror->untracked--;
found:
	WRITE_ONCE(mirror->active, mirror->active - 1);
	/* Whoever sampled the sequence during the section has to retry. */
	mirror->sequence++;
	return true;
}

/* Callbacks of the styles that have start and end. */

static struct tmn_mirror *tmn_mirror_of(struct mmu_notifier *notifier)
{
	return container_of(notifier, struct tmn_mirror, notifier);
}

static void tmn_count_event(struct tmn_mirror *mirror,
			    const struct mmu_notifier_range *range)
{
	if (range->event < TMN_EVENTS)
		atomic64_inc(&mirror->count.events[range->event]);
}

static void tmn_release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	const struct mmu_notifier_range range = {
		.mm = mm,
		.end = ULONG_MAX,
		.flags = MMU_NOTIFIER_RANGE_BLOCKABLE,
		.event = MMU_NOTIFY_RELEASE,
	};
	struct tmn_mirror *mirror = tmn_mirror_of(notifier);
	unsigned long nr;

	tmn_delay(mirror, &range, false);

	mirror->style->lock(mirror);
	WRITE_ONCE(mirror->dead, true);
	nr = tmn_drop(mirror, 0, ULONG_MAX);
	mirror->style->unlock(mirror);

	atomic64_add(nr, &mirror->count.dropped);
	atomic64_inc(&mirror->count.releases);
}

static int tmn_start_failed(struct tmn_mirror *mirror)
{
	atomic64_inc(&mirror->count.failed_starts);
	return -EAGAIN;
}

/*
 * Translations stay in use until start returns, as those of hardware would,
 * but from before the delay on no new one is established.
 */
static int tmn_started(struct tmn_mirror *mirror,
		       const struct mmu_notifier_range *range)
{
	tmn_count_event(mirror, range);
	tmn_delay(mirror, range, false);
	tmn_invalidate(mirror, range->start, range->end);
	atomic64_inc(&mirror->count.starts);
	return 0;
}

static int tmn_kvm_start(struct mmu_notifier *notifier,
			 const struct mmu_notifier_range *range)
{
	struct tmn_mirror *mirror = tmn_mirror_of(notifier);

	if (tmn_fails(mirror, range))
		return tmn_start_failed(mirror);

	tmn_section_start(mirror, range);
	return tmn_started(mirror, range);
}

/*
 * The other partition has to be asked only if it has something to answer for;
 * where that is so, and sleeping is forbidden, start fails.
 */
static int tmn_xpmem_start_nonblock(struct tmn_mirror *mirror,
				    const struct mmu_notifier_range *range)
{
	if (tmn_fails(mirror, range) || !mutex_trylock(&mirror->mutex))
		return tmn_start_failed(mirror);

	if (tmn_maps(mirror, range->start, range->end)) {
		mutex_unlock(&mirror->mutex);
		return tmn_start_failed(mirror);
	}
	tmn_section_start(mirror, range);
	mutex_unlock(&mirror->mutex);

	tmn_count_event(mirror, range);
	atomic64_inc(&mirror->count.starts);
	return 0;
}

static int tmn_xpmem_start(struct mmu_notifier *notifier,
			   const struct mmu_notifier_range *range)
{
	struct tmn_mirror *mirror = tmn_mirror_of(notifier);

	if (!mmu_notifier_range_blockable(range))
		return tmn_xpmem_start_nonblock(mirror, range);

	tmn_section_start(mirror, range);
	return tmn_started(mirror, range);
}

static void tmn_end(struct mmu_notifier *notifier,
		    const struct mmu_notifier_range *range)
{
	struct tmn_mirror *mirror = tmn_mirror_of(notifier);
	bool balanced, idle;

	tmn_delay(mirror, range, true);

	spin_lock(&mirror->section_lock);
	balanced = tmn_section_end(mirror, range);
	idle = !mirror->active;
	spin_unlock(&mirror->section_lock);

	if (balanced)
		atomic64_inc(&mirror->count.ends);
	else
		atomic64_inc(&mirror->count.unbalanced_ends);
	if (idle)
		wake_up_all(&mirror->wait);
}

/*
 * The young callbacks run under the page table lock, so a style that has them
 * has a spinlock.
 */
static int tmn_young(struct mmu_notifier *notifier, unsigned long start,
		     unsigned long end, bool clear)
{
	struct tmn_mirror *mirror = tmn_mirror_of(notifier);
	unsigned long index;
	void *entry;
	int young = 0;

	atomic64_inc(&mirror->count.young);

	spin_lock(&mirror->spin);
	xa_for_each_range(&mirror->table, index, entry, start >> PAGE_SHIFT,
			  (end - 1) >> PAGE_SHIFT) {
		if (!tmn_entry_test(entry, TMN_ENTRY_YOUNG))
			continue;
		young = 1;
		if (!clear)
			break;
		/* An entry that is there can be replaced without memory. */
		xa_store(&mirror->table, index,
			 xa_mk_value(xa_to_value(entry) & ~TMN_ENTRY_YOUNG),
			 GFP_NOWAIT);
	}
	spin_unlock(&mirror->spin);
	return young;
}

static int tmn_clear_young(struct mmu_notifier *notifier, struct mm_struct *mm,
			   unsigned long start, unsigned long end)
{
	return tmn_young(notifier, start, end, true);
}

static int tmn_test_young(struct mmu_notifier *notifier, struct mm_struct *mm,
			  unsigned long address)
{
	return tmn_young(notifier, address, address + 1, false);
}

/* The callback of TMN_STYLE_INTERVAL. */
static bool tmn_interval_invalidate(struct mmu_interval_notifier *interval,
				    const struct mmu_notifier_range *range,
				    unsigned long sequence)
{
	struct tmn_mirror *mirror =
		container_of(interval, struct tmn_mirror, interval);
	unsigned long nr;

	if (tmn_fails(mirror, range)) {
		atomic64_inc(&mirror->count.failed_starts);
		return false;
	}

	tmn_count_event(mirror, range);
	tmn_delay(mirror, range, false);

	spin_lock(&mirror->spin);
	mmu_interval_set_seq(interval, sequence);
	if (range->event == MMU_NOTIFY_RELEASE) {
		WRITE_ONCE(mirror->dead, true);
		atomic64_inc(&mirror->count.releases);
	}
	nr = tmn_drop(mirror, range->start, range->end);
	spin_unlock(&mirror->spin);

	atomic64_add(nr, &mirror->count.dropped);
	atomic64_inc(&mirror->count.interval_invalidates);
	return true;
}

static const struct mmu_interval_notifier_ops tmn_interval_ops = {
	.invalidate = tmn_interval_invalidate,
};

/* Faults */

/*
 * Gets the page at @address with a reference.  The page is made dirty here and
 * not when the translation goes away: whoever cleans it invalidates the
 * translation first, and the next store faults again.
 */
static int tmn_get_page(struct tmn_mirror *mirror, unsigned long address,
			bool write, struct page **page)
{
	struct mm_struct *mm = mirror->mm;
	unsigned int gup_flags = write ? FOLL_WRITE : 0;
	int locked = 1;
	long ret;

	if (mm == current->mm) {
		ret = get_user_pages_fast(address, 1, gup_flags, page);
	} else {
		/* Its address space is gone for us, even if its mm is not. */
		if (!mmget_not_zero(mm))
			return -ESRCH;
		ret = mmap_read_lock_killable(mm);
		if (!ret) {
			ret = get_user_pages_remote(mm, address, 1, gup_flags,
						    page, &locked);
			if (locked)
				mmap_read_unlock(mm);
		}
		mmput(mm);
	}
	if (ret != 1)
		return ret < 0 ? ret : -EFAULT;

	if (write)
		set_page_dirty_lock(*page);
	return 0;
}

/* Waits for sections to end.  Where one takes very long, the caller retries. */
static int tmn_wait_idle(struct tmn_mirror *mirror)
{
	long ret;

	ret = wait_event_killable_timeout(mirror->wait,
					  !READ_ONCE(mirror->active), HZ / 10);
	return ret < 0 ? -EINTR : -EAGAIN;
}

/* Takes note of how many sections have ended, and says if none is under way. */
static bool tmn_sample(struct tmn_mirror *mirror, unsigned long *sequence)
{
	bool idle;

	spin_lock(&mirror->section_lock);
	*sequence = mirror->sequence;
	idle = !mirror->active;
	spin_unlock(&mirror->section_lock);
	return idle;
}

/* The fault path of the styles that have start and end. */
static int tmn_section_fault(struct tmn_mirror *mirror, unsigned long address,
			     bool write)
{
	const struct tmn_style *style = mirror->style;
	unsigned long sequence, now;
	struct page *page;
	int ret;

	/*
	 * A section during which the process exits may never be said to end.
	 * Lockless: a look that comes too early waits, and looks again.
	 */
	if (READ_ONCE(mirror->dead))
		return -ESRCH;
	if (!tmn_sample(mirror, &sequence))
		return tmn_wait_idle(mirror);

	ret = tmn_get_page(mirror, address, write, &page);
	if (ret)
		return ret;

	style->lock(mirror);
	/* A section that starts after this takes the style's lock to drop. */
	if (!tmn_sample(mirror, &now) || now != sequence)
		ret = -EAGAIN;
	else
		ret = tmn_install(mirror, address, page, write);
	style->unlock(mirror);

	if (ret)
		put_page(page);
	return ret;
}

static int tmn_interval_fault(struct tmn_mirror *mirror, unsigned long address,
			      bool write)
{
	unsigned long sequence;
	struct page *page;
	int ret;

	if (address < mirror->interval.interval_tree.start ||
	    address > mirror->interval.interval_tree.last)
		return -ERANGE;

	sequence = mmu_interval_read_begin(&mirror->interval);

	ret = tmn_get_page(mirror, address, write, &page);
	if (ret)
		return ret;

	spin_lock(&mirror->spin);
	if (mmu_interval_read_retry(&mirror->interval, sequence))
		ret = -EAGAIN;
	else
		ret = tmn_install(mirror, address, page, write);
	spin_unlock(&mirror->spin);

	if (ret)
		put_page(page);
	return ret;
}

#ifndef CONFIG_MMU_NOTIFIER_STOCK
/* The callback and the fault path of TMN_STYLE_GRU. */

static void tmn_invalidate_page(struct mmu_notifier *notifier,
				struct mm_struct *mm, unsigned long address,
				unsigned long size)
{
	struct tmn_mirror *mirror = tmn_mirror_of(notifier);

	tmn_invalidate(mirror, address, address + size);
	atomic64_inc(&mirror->count.invalidate_pages);
	if (address < READ_ONCE(mirror->watch_end) &&
	    address + size > READ_ONCE(mirror->watch_start))
		atomic64_inc(&mirror->count.watched_pages);
}

/*
 * The callback of TMN_STYLE_BOTH.  Start has dropped what there was, and no
 * fault has established anything since: there is nothing left to drop.
 */
static void tmn_both_invalidate_page(struct mmu_notifier *notifier,
				     struct mm_struct *mm,
				     unsigned long address, unsigned long size)
{
	struct tmn_mirror *mirror = tmn_mirror_of(notifier);
	struct tmn_section *section;
	bool outside;

	spin_lock(&mirror->spin);
	spin_lock(&mirror->section_lock);
	outside = !mirror->untracked;
	for (section = mirror->sections;
	     outside && section < mirror->sections + TMN_MAX_SECTIONS;
	     section++)
		outside = section->task != current ||
			  section->start > address ||
			  section->end < address + size;
	spin_unlock(&mirror->section_lock);
	outside |= tmn_maps(mirror, address, address + size);
	spin_unlock(&mirror->spin);

	if (outside)
		atomic64_inc(&mirror->count.outside_pages);
	atomic64_inc(&mirror->count.invalidate_pages);
}

struct tmn_gru_fault {
	struct tmn_mirror *mirror;
	unsigned long address;
};

/* Under the page table lock.  One page of the mapping is enough for us. */
static int tmn_gru_map(const struct mmu_notifier_mapping *mapping, void *arg)
{
	struct tmn_gru_fault *fault = arg;
	struct tmn_mirror *mirror = fault->mirror;
	unsigned long pfn = mapping->pfn +
		((fault->address - mapping->address) >> PAGE_SHIFT);
	void *old;
	int ret;

	if (!pfn_valid(pfn))
		return -EFAULT;

	spin_lock(&mirror->spin);
	ret = tmn_install_pfn(mirror, fault->address, pfn, mapping->writable,
			      &old);
	spin_unlock(&mirror->spin);
	return ret;
}

static int tmn_gru_fault(struct tmn_mirror *mirror, unsigned long address,
			 bool write)
{
	struct tmn_gru_fault fault = {
		.mirror = mirror,
		.address = address,
	};
	int ret;

	/* As a GRU does: drop it in if that is quick, and else take time. */
	if (!mmget_not_zero(mirror->mm))
		return -ESRCH;
	ret = mmu_notifier_fault_atomic(mirror->mm, address, write,
					tmn_gru_map, &fault);
	if (ret == -EAGAIN)
		ret = mmu_notifier_fault(mirror->mm, address, write,
					 tmn_gru_map, &fault);
	mmput(mirror->mm);
	return ret;
}
#endif

/* Styles */

static void tmn_spin_lock(struct tmn_mirror *mirror)
	__acquires(&mirror->spin)
{
	spin_lock(&mirror->spin);
}

static void tmn_spin_unlock(struct tmn_mirror *mirror)
	__releases(&mirror->spin)
{
	spin_unlock(&mirror->spin);
}

static void tmn_mutex_lock(struct tmn_mirror *mirror)
{
	mutex_lock(&mirror->mutex);
}

static void tmn_mutex_unlock(struct tmn_mirror *mirror)
{
	mutex_unlock(&mirror->mutex);
}

static struct tmn_mirror *tmn_alloc(unsigned int style_id);
static void tmn_free(struct tmn_mirror *mirror);

static struct mmu_notifier *tmn_alloc_notifier(unsigned int style_id)
{
	struct tmn_mirror *mirror = tmn_alloc(style_id);

	return mirror ? &mirror->notifier : ERR_PTR(-ENOMEM);
}

static struct mmu_notifier *tmn_kvm_alloc(struct mm_struct *mm)
{
	return tmn_alloc_notifier(TMN_STYLE_KVM);
}

#ifndef CONFIG_MMU_NOTIFIER_STOCK
static struct mmu_notifier *tmn_gru_alloc(struct mm_struct *mm)
{
	return tmn_alloc_notifier(TMN_STYLE_GRU);
}
#endif

static struct mmu_notifier *tmn_xpmem_alloc(struct mm_struct *mm)
{
	return tmn_alloc_notifier(TMN_STYLE_XPMEM);
}

static void tmn_free_notifier(struct mmu_notifier *notifier)
{
	tmn_free(tmn_mirror_of(notifier));
}

#ifndef CONFIG_MMU_NOTIFIER_STOCK
/* A TLB, which has no accessed bits that anybody could ask for. */
static const struct mmu_notifier_ops tmn_gru_ops = {
	.release		= tmn_release,
	.invalidate_page	= tmn_invalidate_page,
};

static const struct mmu_notifier_ops tmn_both_ops = {
	.release		= tmn_release,
	.clear_flush_young	= tmn_clear_young,
	.clear_young		= tmn_clear_young,
	.test_young		= tmn_test_young,
	.invalidate_page	= tmn_both_invalidate_page,
	.invalidate_range_start	= tmn_kvm_start,
	.invalidate_range_end	= tmn_end,
};

static const struct mmu_notifier_ops tmn_gru_get_ops = {
	.release		= tmn_release,
	.invalidate_page	= tmn_invalidate_page,
	.alloc_notifier		= tmn_gru_alloc,
	.free_notifier		= tmn_free_notifier,
};
#endif

static const struct mmu_notifier_ops tmn_kvm_ops = {
	.release		= tmn_release,
	.clear_flush_young	= tmn_clear_young,
	.clear_young		= tmn_clear_young,
	.test_young		= tmn_test_young,
	.invalidate_range_start	= tmn_kvm_start,
	.invalidate_range_end	= tmn_end,
};

static const struct mmu_notifier_ops tmn_kvm_get_ops = {
	.release		= tmn_release,
	.clear_flush_young	= tmn_clear_young,
	.clear_young		= tmn_clear_young,
	.test_young		= tmn_test_young,
	.invalidate_range_start	= tmn_kvm_start,
	.invalidate_range_end	= tmn_end,
	.alloc_notifier		= tmn_kvm_alloc,
	.free_notifier		= tmn_free_notifier,
};

static const struct mmu_notifier_ops tmn_xpmem_ops = {
	.release		= tmn_release,
	.invalidate_range_start	= tmn_xpmem_start,
	.invalidate_range_end	= tmn_end,
};

static const struct mmu_notifier_ops tmn_xpmem_get_ops = {
	.release		= tmn_release,
	.invalidate_range_start	= tmn_xpmem_start,
	.invalidate_range_end	= tmn_end,
	.alloc_notifier		= tmn_xpmem_alloc,
	.free_notifier		= tmn_free_notifier,
};

/* A style without a fault path is known, but not supported. */
static const struct tmn_style tmn_styles[TMN_STYLES] = {
#ifndef CONFIG_MMU_NOTIFIER_STOCK
	[TMN_STYLE_GRU] = {
		.ops		= &tmn_gru_ops,
		.get_ops	= &tmn_gru_get_ops,
		.lock		= tmn_spin_lock,
		.unlock		= tmn_spin_unlock,
		.fault		= tmn_gru_fault,
	},
	[TMN_STYLE_BOTH] = {
		.ops		= &tmn_both_ops,
		.lock		= tmn_spin_lock,
		.unlock		= tmn_spin_unlock,
		.fault		= tmn_section_fault,
	},
#endif
	[TMN_STYLE_KVM] = {
		.ops		= &tmn_kvm_ops,
		.get_ops	= &tmn_kvm_get_ops,
		.lock		= tmn_spin_lock,
		.unlock		= tmn_spin_unlock,
		.fault		= tmn_section_fault,
	},
	[TMN_STYLE_XPMEM] = {
		.holds_pages	= true,
		.ops		= &tmn_xpmem_ops,
		.get_ops	= &tmn_xpmem_get_ops,
		.lock		= tmn_mutex_lock,
		.unlock		= tmn_mutex_unlock,
		.fault		= tmn_section_fault,
	},
	[TMN_STYLE_INTERVAL] = {
		.interval	= true,
		.lock		= tmn_spin_lock,
		.unlock		= tmn_spin_unlock,
		.fault		= tmn_interval_fault,
	},
};

static int tmn_check_style(unsigned int style_id)
{
	if (style_id == TMN_STYLE_NONE || style_id >= TMN_STYLES)
		return -EINVAL;
	return tmn_styles[style_id].fault ? 0 : -EOPNOTSUPP;
}

static struct tmn_mirror *tmn_alloc(unsigned int style_id)
{
	struct tmn_mirror *mirror = kzalloc(sizeof(*mirror), GFP_KERNEL);

	if (!mirror)
		return NULL;

	mirror->style_id = style_id;
	mirror->style = &tmn_styles[style_id];
	spin_lock_init(&mirror->spin);
	spin_lock_init(&mirror->section_lock);
	mutex_init(&mirror->mutex);
	xa_init(&mirror->table);
	init_waitqueue_head(&mirror->wait);
	spin_lock_init(&mirror->misbehave_lock);
	return mirror;
}

static void tmn_free(struct tmn_mirror *mirror)
{
	WARN_ON(mirror->nr);
	/* Slots that were reserved and never used are left. */
	xa_destroy(&mirror->table);
	kfree(mirror);
}

/* Attaching and detaching */

static int tmn_insert_interval(struct tmn_mirror *mirror, struct mm_struct *mm,
			       const struct tmn_attach *args)
{
	if (args->flags & TMN_ATTACH_LOCKED)
		return mmu_interval_notifier_insert_locked(&mirror->interval,
							   mm, args->start,
							   args->length,
							   &tmn_interval_ops);

	return mmu_interval_notifier_insert(&mirror->interval, mm, args->start,
					    args->length, &tmn_interval_ops);
}

static int tmn_register(struct tmn_mirror *mirror, struct mm_struct *mm,
			const struct tmn_attach *args)
{
	bool locked = args->flags & TMN_ATTACH_LOCKED;
	int ret;

	mirror->mm = mm;
	mirror->files = 1;

	if (locked) {
		ret = mmap_write_lock_killable(mm);
		if (ret)
			return ret;
	}

	mirror->notifier.ops = mirror->style->ops;
	if (mirror->style->interval)
		ret = tmn_insert_interval(mirror, mm, args);
	else if (locked)
		ret = __mmu_notifier_register(&mirror->notifier, mm);
	else
		ret = mmu_notifier_register(&mirror->notifier, mm);

	if (locked) {
		mmap_assert_write_locked(mm);
		mmap_write_unlock(mm);
	}
	return ret;
}

static struct tmn_mirror *tmn_alloc_registered(struct mm_struct *mm,
					       const struct tmn_attach *args)
{
	struct tmn_mirror *mirror = tmn_alloc(args->style);
	int ret;

	if (!mirror)
		return ERR_PTR(-ENOMEM);
	ret = tmn_register(mirror, mm, args);
	if (!ret)
		return mirror;
	tmn_free(mirror);
	return ERR_PTR(ret);
}

static void tmn_unregister(struct tmn_mirror *mirror)
{
	if (mirror->style->interval)
		mmu_interval_notifier_remove(&mirror->interval);
	else
		mmu_notifier_unregister(&mirror->notifier, mirror->mm);
}

/* Of a mirror that nobody calls back any more. */
static void tmn_drop_all(struct tmn_mirror *mirror)
{
	mirror->style->lock(mirror);
	tmn_drop(mirror, 0, ULONG_MAX);
	mirror->style->unlock(mirror);
}

static struct tmn_mirror *tmn_get(struct mm_struct *mm,
				  const struct tmn_attach *args)
{
	struct mmu_notifier *notifier;
	struct tmn_mirror *mirror;

	guard(mutex)(&tmn_get_mutex);

	if (args->flags & TMN_ATTACH_LOCKED) {
		if (mmap_write_lock_killable(mm))
			return ERR_PTR(-EINTR);
		notifier = mmu_notifier_get_locked(tmn_styles[args->style].get_ops,
						   mm);
		mmap_assert_write_locked(mm);
		mmap_write_unlock(mm);
	} else {
		notifier = mmu_notifier_get(tmn_styles[args->style].get_ops,
					    mm);
	}
	if (IS_ERR(notifier))
		return ERR_CAST(notifier);

	mirror = tmn_mirror_of(notifier);
	mirror->mm = mm;
	mirror->files++;
	return mirror;
}

static void tmn_put(struct tmn_mirror *mirror)
{
	guard(mutex)(&tmn_get_mutex);

	if (!--mirror->files) {
		/* release() need not be called: leave nothing behind. */
		mirror->style->lock(mirror);
		WRITE_ONCE(mirror->dead, true);
		tmn_drop(mirror, 0, ULONG_MAX);
		mirror->style->unlock(mirror);
	}
	mmu_notifier_put(&mirror->notifier);
}

static struct mm_struct *tmn_mm_of_pid(pid_t nr)
{
	struct task_struct *task;
	struct mm_struct *mm;
	struct pid *pid;

	pid = find_get_pid(nr);
	if (!pid)
		return NULL;

	task = get_pid_task(pid, PIDTYPE_PID);
	put_pid(pid);
	if (!task)
		return NULL;

	mm = get_task_mm(task);
	put_task_struct(task);
	return mm;
}

static int tmn_check_attach(const struct tmn_attach *args)
{
	int ret = tmn_check_style(args->style);

	if (ret)
		return ret;
	if (args->flags & ~(TMN_ATTACH_GET | TMN_ATTACH_LOCKED) ||
	    args->reserved || args->pid < 0)
		return -EINVAL;
	/* The hooks cannot be switched on with mmap_lock held. */
	if ((args->style == TMN_STYLE_GRU || args->style == TMN_STYLE_BOTH) &&
	    args->flags & TMN_ATTACH_LOCKED)
		return -EINVAL;
	if (args->flags & TMN_ATTACH_GET && !tmn_styles[args->style].get_ops)
		return -EINVAL;

	if (!tmn_styles[args->style].interval)
		return args->start || args->length ? -EINVAL : 0;

	if (!args->length || !PAGE_ALIGNED(args->start) ||
	    !PAGE_ALIGNED(args->length))
		return -EINVAL;
	if (args->start >= TASK_SIZE || args->length > TASK_SIZE - args->start)
		return -EINVAL;
	return 0;
}

static int tmn_attach(struct tmn_file *file, void __user *uptr)
{
	struct tmn_mirror *mirror;
	struct tmn_attach args;
	struct mm_struct *mm;
	int ret;

	if (copy_from_user(&args, uptr, sizeof(args)))
		return -EFAULT;
	ret = tmn_check_attach(&args);
	if (ret)
		return ret;
	if (args.pid && !capable(CAP_SYS_ADMIN))
		return -EPERM;

	ret = down_write_killable(&file->rwsem);
	if (ret)
		return ret;
	if (file->mirror) {
		ret = -EBUSY;
		goto out_unlock;
	}

	mm = args.pid ? tmn_mm_of_pid(args.pid) : get_task_mm(current);
	if (!mm) {
		ret = -ESRCH;
		goto out_unlock;
	}

	if (args.flags & TMN_ATTACH_GET)
		mirror = tmn_get(mm, &args);
	else
		mirror = tmn_alloc_registered(mm, &args);
	/* From here on the subscription keeps the mm. */
	mmput(mm);

	if (IS_ERR(mirror)) {
		ret = PTR_ERR(mirror);
		goto out_unlock;
	}
	file->mirror = mirror;
	file->flags = args.flags;
out_unlock:
	up_write(&file->rwsem);
	return ret;
}

static void tmn_fill_stats(struct tmn_mirror *mirror, struct tmn_stats *stats)
{
	struct tmn_counters *count = &mirror->count;
	unsigned int i;

	memset(stats, 0, sizeof(*stats));
	stats->style = mirror->style_id;
	stats->starts = atomic64_read(&count->starts);
	stats->failed_starts = atomic64_read(&count->failed_starts);
	stats->ends = atomic64_read(&count->ends);
	stats->unbalanced_ends = atomic64_read(&count->unbalanced_ends);
	stats->interval_invalidates =
		atomic64_read(&count->interval_invalidates);
	stats->invalidate_pages = atomic64_read(&count->invalidate_pages);
	stats->outside_pages = atomic64_read(&count->outside_pages);
	stats->watched_pages = atomic64_read(&count->watched_pages);
	stats->young = atomic64_read(&count->young);
	stats->releases = atomic64_read(&count->releases);
	stats->faults = atomic64_read(&count->faults);
	stats->retries = atomic64_read(&count->retries);
	stats->dropped = atomic64_read(&count->dropped);
	stats->delayed = atomic64_read(&count->delayed);
	stats->sleeping = atomic64_read(&count->sleeping);
	for (i = 0; i < TMN_EVENTS; i++)
		stats->events[i] = atomic64_read(&count->events[i]);

	mirror->style->lock(mirror);
	stats->active = READ_ONCE(mirror->active);
	stats->translations = mirror->nr;
	mirror->style->unlock(mirror);
}

/* The caller has file->rwsem for write, or the file for itself. */
static void __tmn_detach(struct tmn_file *file)
{
	struct tmn_mirror *mirror = file->mirror;

	file->mirror = NULL;
	if (file->flags & TMN_ATTACH_GET) {
		tmn_fill_stats(mirror, &file->last);
		tmn_put(mirror);
	} else {
		tmn_unregister(mirror);
		tmn_drop_all(mirror);
		tmn_fill_stats(mirror, &file->last);
		tmn_free(mirror);
	}
}

static int tmn_detach(struct tmn_file *file)
{
	int ret = down_write_killable(&file->rwsem);

	if (ret)
		return ret;
	if (file->mirror)
		__tmn_detach(file);
	else
		ret = -ENOTCONN;
	up_write(&file->rwsem);
	return ret;
}

/* Access */

/* -ENOENT: there is no translation that allows it. */
static int tmn_try_access(struct tmn_mirror *mirror, unsigned long address,
			  u64 *value, bool write)
{
	unsigned int offset = offset_in_page(address);
	int ret = -ENOENT;
	void *entry;
	void *kaddr;

	mirror->style->lock(mirror);
	entry = xa_load(&mirror->table, address >> PAGE_SHIFT);
	if (!entry || (write && !tmn_entry_test(entry, TMN_ENTRY_WRITE)))
		goto out_unlock;

	kaddr = kmap_local_page(tmn_entry_page(entry));
	if (write) {
		WRITE_ONCE(*(u64 *)(kaddr + offset), *value);
		ret = 0;
	} else {
		/* A stale translation may lead anywhere. */
		ret = get_kernel_nofault(*value, (u64 *)(kaddr + offset));
	}
	kunmap_local(kaddr);

	if (!tmn_entry_test(entry, TMN_ENTRY_YOUNG))
		xa_store(&mirror->table, address >> PAGE_SHIFT,
			 xa_mk_value(xa_to_value(entry) | TMN_ENTRY_YOUNG),
			 GFP_NOWAIT);
out_unlock:
	mirror->style->unlock(mirror);
	return ret ? (ret == -ENOENT ? ret : -EIO) : 0;
}

static int tmn_do_access(struct tmn_mirror *mirror, struct tmn_access *args,
			 bool write)
{
	unsigned long address = args->addr;
	unsigned long index = address >> PAGE_SHIFT;
	int ret;

	for (;;) {
		ret = tmn_try_access(mirror, address, &args->value, write);
		if (ret != -ENOENT || args->flags & TMN_ACCESS_NOFAULT)
			return ret;

		/* So that installing it under a spinlock has the memory. */
		ret = xa_reserve(&mirror->table, index, GFP_KERNEL);
		if (ret)
			return ret;
		ret = mirror->style->fault(mirror, address, write);
		if (ret && ret != -EAGAIN) {
			xa_release(&mirror->table, index);
			return ret;
		}
		if (ret)
			atomic64_inc(&mirror->count.retries);
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
}

static int tmn_access(struct tmn_file *file, void __user *uptr, bool write)
{
	struct tmn_access args;
	int ret;

	if (copy_from_user(&args, uptr, sizeof(args)))
		return -EFAULT;
	if (args.flags & ~TMN_ACCESS_NOFAULT || args.reserved ||
	    !IS_ALIGNED(args.addr, sizeof(args.value)))
		return -EINVAL;
	if (args.addr >= TASK_SIZE)
		return -EFAULT;

	ret = down_read_killable(&file->rwsem);
	if (ret)
		return ret;
	if (file->mirror)
		ret = tmn_do_access(file->mirror, &args, write);
	else
		ret = -ENOTCONN;
	up_read(&file->rwsem);

	if (!ret && !write && copy_to_user(uptr, &args, sizeof(args)))
		return -EFAULT;
	return ret;
}

static int tmn_range(struct tmn_file *file, void __user *uptr,
		     void (*act)(struct tmn_mirror *mirror, unsigned long start,
				 unsigned long end))
{
	struct tmn_range args;
	int ret;

	if (copy_from_user(&args, uptr, sizeof(args)))
		return -EFAULT;
	if (!args.length || !PAGE_ALIGNED(args.start) ||
	    !PAGE_ALIGNED(args.length) || args.start >= TASK_SIZE ||
	    args.length > TASK_SIZE - args.start)
		return -EINVAL;

	ret = down_read_killable(&file->rwsem);
	if (ret)
		return ret;
	if (file->mirror)
		act(file->mirror, args.start, args.start + args.length);
	else
		ret = -ENOTCONN;
	up_read(&file->rwsem);
	return ret;
}

static void tmn_drop_range(struct tmn_mirror *mirror, unsigned long start,
			   unsigned long end)
{
	mirror->style->lock(mirror);
	tmn_drop(mirror, start, end);
	mirror->style->unlock(mirror);
}

static void tmn_watch_range(struct tmn_mirror *mirror, unsigned long start,
			    unsigned long end)
{
	WRITE_ONCE(mirror->watch_start, start);
	WRITE_ONCE(mirror->watch_end, end);
}

#ifndef CONFIG_MMU_NOTIFIER_STOCK
/* The helper itself, without a translation that comes of it. */

struct tmn_probe {
	struct tmn_fault *args;
	struct mm_struct *mm;
	struct irq_work work;
	int ret;
};

static int tmn_probe_map(const struct mmu_notifier_mapping *mapping, void *arg)
{
	struct tmn_probe *probe = arg;
	struct tmn_fault *args = probe->args;

	/* Nothing that may sleep is allowed here, but for RT's spinlocks. */
	if (IS_ENABLED(CONFIG_PREEMPT_COUNT) &&
	    !IS_ENABLED(CONFIG_PREEMPT_RT) && !in_atomic())
		return -EDEADLK;
	args->mapping_start = mapping->address;
	args->mapping_size = mapping->size;
	args->pfn = mapping->pfn;
	args->flags = (mapping->page ? TMN_FAULT_PAGE : 0) |
		      (mapping->writable ? TMN_FAULT_WRITE : 0);
	return -(int)args->error;
}

static void tmn_probe_atomic(struct irq_work *work)
{
	struct tmn_probe *probe = container_of(work, struct tmn_probe, work);

	probe->ret = mmu_notifier_fault_atomic(probe->mm, probe->args->addr,
					       probe->args->flags & TMN_FAULT_WRITE,
					       tmn_probe_map, probe);
}

static int tmn_do_fault(struct tmn_mirror *mirror, struct tmn_fault *args)
{
	struct tmn_probe probe = { .args = args, .mm = mirror->mm };

	if (!mirror->style->ops || !mirror->style->ops->invalidate_page)
		return -EOPNOTSUPP;
	if (!mmget_not_zero(probe.mm))
		return -ESRCH;
	if (args->flags & TMN_FAULT_INTERRUPT) {
		probe.work = IRQ_WORK_INIT_HARD(tmn_probe_atomic);
		irq_work_queue(&probe.work);
		irq_work_sync(&probe.work);
	} else {
		probe.ret = mmu_notifier_fault(probe.mm, args->addr,
					       args->flags & TMN_FAULT_WRITE,
					       tmn_probe_map, &probe);
	}
	mmput(probe.mm);
	return probe.ret;
}
#else
static int tmn_do_fault(struct tmn_mirror *mirror, struct tmn_fault *args)
{
	return -EOPNOTSUPP;
}
#endif

static int tmn_fault(struct tmn_file *file, void __user *uptr)
{
	struct tmn_fault args;
	int ret;

	if (copy_from_user(&args, uptr, sizeof(args)))
		return -EFAULT;
	if (args.flags & ~(TMN_FAULT_WRITE | TMN_FAULT_INTERRUPT) ||
	    args.error >= MAX_ERRNO)
		return -EINVAL;

	ret = down_read_killable(&file->rwsem);
	if (ret)
		return ret;
	if (file->mirror)
		ret = tmn_do_fault(file->mirror, &args);
	else
		ret = -ENOTCONN;
	up_read(&file->rwsem);

	if (!ret && copy_to_user(uptr, &args, sizeof(args)))
		return -EFAULT;
	return ret;
}

/* Never waits for a fault or for an invalidation, only for ATTACH and DETACH. */
static int tmn_get_stats(struct tmn_file *file, void __user *uptr)
{
	struct tmn_stats stats;
	int ret;

	ret = down_read_killable(&file->rwsem);
	if (ret)
		return ret;
	if (file->mirror)
		tmn_fill_stats(file->mirror, &stats);
	else
		stats = file->last;
	up_read(&file->rwsem);

	return copy_to_user(uptr, &stats, sizeof(stats)) ? -EFAULT : 0;
}

static int tmn_misbehave(struct tmn_file *file, void __user *uptr)
{
	struct tmn_misbehave args;
	struct tmn_mirror *mirror;
	u64 end;
	int ret;

	if (copy_from_user(&args, uptr, sizeof(args)))
		return -EFAULT;
	if (!args.events || args.events & ~(BIT(TMN_EVENTS) - 1) ||
	    args.flags & ~TMN_MISBEHAVE_FAIL_NONBLOCK || args.reserved ||
	    args.start_delay_us > TMN_MAX_DELAY_US ||
	    args.end_delay_us > TMN_MAX_DELAY_US ||
	    check_add_overflow(args.start, args.length, &end))
		return -EINVAL;

	ret = down_read_killable(&file->rwsem);
	if (ret)
		return ret;
	mirror = file->mirror;
	if (mirror) {
		spin_lock(&mirror->misbehave_lock);
		mirror->misbehave = args;
		mirror->misbehave_left = args.limit;
		spin_unlock(&mirror->misbehave_lock);
	} else {
		ret = -ENOTCONN;
	}
	up_read(&file->rwsem);
	return ret;
}

/* Measuring */

static int tmn_compare_ns(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

/* What the last look at all locks saw. */
static long tmn_looked;

/*
 * The floor of a drain that looks at every lock of a process: nothing but that.
 * The sum of what it saw keeps the compiler from seeing through.
 */
static long tmn_look(struct mm_struct *mm)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;
	struct anon_vma *anon_vma;
	long sum = 0;

	mmap_read_lock(mm);
	for_each_vma(vmi, vma) {
#ifdef CONFIG_PER_VMA_LOCK
		sum += rwsem_is_locked(&vma->vm_lock->lock);
#endif
		if (vma->vm_file)
			sum += rwsem_is_locked(&vma->vm_file->f_mapping->i_mmap_rwsem);
		anon_vma = READ_ONCE(vma->anon_vma);
		if (anon_vma)
			sum += rwsem_is_locked(&anon_vma->root->rwsem);
	}
	mmap_read_unlock(mm);
	return sum;
}

/* What is measured: registers, or looks. */
static int tmn_bench_begin(struct tmn_mirror *mirror,
			   const struct tmn_attach *attach)
{
	if (mirror)
		return tmn_register(mirror, current->mm, attach);
	WRITE_ONCE(tmn_looked, tmn_look(current->mm));
	return 0;
}

static int tmn_bench_once(const struct tmn_attach *attach, u64 *begin, u64 *end)
{
	struct tmn_mirror *mirror = NULL;
	ktime_t t0, t1;
	int ret;

	if (attach->style != TMN_STYLE_NONE) {
		mirror = tmn_alloc(attach->style);
		if (!mirror)
			return -ENOMEM;
	}

	t0 = ktime_get();
	ret = tmn_bench_begin(mirror, attach);
	t1 = ktime_get();
	*begin = ktime_to_ns(ktime_sub(t1, t0));
	if (ret)
		goto out_free;

	t0 = ktime_get();
	if (mirror)
		tmn_unregister(mirror);
	t1 = ktime_get();
	*end = ktime_to_ns(ktime_sub(t1, t0));
	if (mirror)
		tmn_drop_all(mirror);
out_free:
	if (mirror)
		tmn_free(mirror);
	return ret;
}

static int tmn_bench(void __user *uptr)
{
	struct tmn_attach attach = {};
	struct tmn_bench args;
	u64 *begin, *end;
	u32 i;
	int ret;

	if (copy_from_user(&args, uptr, sizeof(args)))
		return -EFAULT;
	attach.style = args.style;
	attach.start = args.start;
	attach.length = args.length;
	if (args.style < TMN_STYLES && tmn_styles[args.style].interval &&
	    !args.start && !args.length)
		attach.length = TASK_SIZE;
	ret = args.style ? tmn_check_attach(&attach) : 0;
	if (ret)
		return ret;
	if (!args.loops || args.loops > TMN_MAX_LOOPS)
		return -EINVAL;

	begin = kvmalloc_array(args.loops, 2 * sizeof(*begin), GFP_KERNEL);
	if (!begin)
		return -ENOMEM;
	end = begin + args.loops;

	for (i = 0; i < args.loops; i++) {
		ret = tmn_bench_once(&attach, &begin[i], &end[i]);
		if (ret)
			goto out_free;

		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			goto out_free;
		}
		cond_resched();
	}

	sort(begin, args.loops, sizeof(*begin), tmn_compare_ns, NULL);
	sort(end, args.loops, sizeof(*end), tmn_compare_ns, NULL);
	args.register_min_ns = begin[0];
	args.register_median_ns = begin[args.loops / 2];
	args.register_max_ns = begin[args.loops - 1];
	args.unregister_min_ns = end[0];
	args.unregister_median_ns = end[args.loops / 2];
	args.unregister_max_ns = end[args.loops - 1];
	if (copy_to_user(uptr, &args, sizeof(args)))
		ret = -EFAULT;
out_free:
	kvfree(begin);
	return ret;
}

/* Misuse */

#ifdef CONFIG_MMU_NOTIFIER_STOCK
static int tmn_misuse(struct tmn_file *file, unsigned long id)
{
	return -EOPNOTSUPP;
}
#else
/* Outlives what is done to it; one at a time. */
static struct mmu_notifier tmn_misused;
static unsigned int tmn_misused_freed;
static DEFINE_MUTEX(tmn_misuse_mutex);

static struct mmu_notifier *tmn_misused_alloc(struct mm_struct *mm)
{
	return &tmn_misused;
}

static void tmn_misused_free(struct mmu_notifier *notifier)
{
	tmn_misused_freed++;
}

static int tmn_misused_start(struct mmu_notifier *notifier,
			     const struct mmu_notifier_range *range)
{
	return 0;
}

static int tmn_misused_refuse(struct mmu_notifier *notifier,
			      const struct mmu_notifier_range *range)
{
	return -EAGAIN;
}

static void tmn_misused_page(struct mmu_notifier *notifier,
			     struct mm_struct *mm, unsigned long address,
			     unsigned long size)
{
}

static void tmn_misused_tlbs(struct mmu_notifier *notifier,
			     struct mm_struct *mm, unsigned long start,
			     unsigned long end)
{
}

static const struct mmu_notifier_ops tmn_misused_ops = {
	.alloc_notifier		= tmn_misused_alloc,
	.free_notifier		= tmn_misused_free,
	.invalidate_range_start	= tmn_misused_start,
};

static const struct mmu_notifier_ops tmn_misused_refuse_ops = {
	.invalidate_range_start	= tmn_misused_refuse,
};

static const struct mmu_notifier_ops tmn_misused_page_ops = {
	.alloc_notifier		= tmn_misused_alloc,
	.free_notifier		= tmn_misused_free,
	.invalidate_page	= tmn_misused_page,
};

static const struct mmu_notifier_ops tmn_misused_contradiction = {
	.invalidate_range_start		= tmn_misused_start,
	.arch_invalidate_secondary_tlbs	= tmn_misused_tlbs,
};

static int tmn_register_misused(struct mm_struct *mm,
				const struct mmu_notifier_ops *ops)
{
	tmn_misused = (struct mmu_notifier){ .ops = ops };
	return mmu_notifier_register(&tmn_misused, mm);
}

static int tmn_register_twice(struct mm_struct *mm)
{
	int ret;

	ret = tmn_register_misused(mm, &tmn_misused_ops);
	if (ret)
		return ret;
	ret = mmu_notifier_register(&tmn_misused, mm);
	mmu_notifier_unregister(&tmn_misused, mm);
	return ret;
}

static int tmn_unregister_twice(struct mm_struct *mm)
{
	int ret = tmn_register_misused(mm, &tmn_misused_ops);

	if (ret)
		return ret;
	mmu_notifier_unregister(&tmn_misused, mm);
	mmu_notifier_unregister(&tmn_misused, mm);
	return 0;
}

static int tmn_put_twice(struct mm_struct *mm)
{
	struct mmu_notifier *notifier;

	tmn_misused_freed = 0;
	tmn_misused = (struct mmu_notifier){};
	notifier = mmu_notifier_get(&tmn_misused_ops, mm);
	if (IS_ERR(notifier))
		return PTR_ERR(notifier);
	mmu_notifier_put(notifier);
	mmu_notifier_put(notifier);
	mmu_notifier_synchronize();
	return tmn_misused_freed == 1 ? 0 : -EUCLEAN;
}

/* Nobody asked whether the page may go: it goes. */
static int tmn_refuse(struct mm_struct *mm)
{
	unsigned long address;
	int ret, unmapped;

	address = vm_mmap(NULL, 0, PAGE_SIZE, PROT_READ,
			  MAP_PRIVATE | MAP_ANONYMOUS, 0);
	if (IS_ERR_VALUE(address))
		return address;
	ret = tmn_register_misused(mm, &tmn_misused_refuse_ops);
	unmapped = vm_munmap(address, PAGE_SIZE);
	if (!ret)
		mmu_notifier_unregister(&tmn_misused, mm);
	return ret ?: unmapped;
}

/* Neither is registered: there is nothing to undo. */
static int tmn_register_locked(struct mm_struct *mm, bool get)
{
	struct mmu_notifier *notifier;
	int ret;

	ret = mmap_write_lock_killable(mm);
	if (ret)
		return ret;
	if (get) {
		notifier = mmu_notifier_get_locked(&tmn_misused_page_ops, mm);
		ret = PTR_ERR_OR_ZERO(notifier);
	} else {
		tmn_misused = (struct mmu_notifier){
			.ops = &tmn_misused_page_ops
		};
		ret = __mmu_notifier_register(&tmn_misused, mm);
	}
	mmap_assert_write_locked(mm);
	mmap_write_unlock(mm);
	return ret;
}

static int tmn_register_dead(struct tmn_file *file, bool interval)
{
	struct mmu_interval_notifier unused;
	struct mm_struct *mm;
	int ret;

	ret = down_read_killable(&file->rwsem);
	if (ret)
		return ret;
	if (!file->mirror) {
		ret = -ENOTCONN;
		goto out_unlock;
	}
	mm = file->mirror->mm;
	if (atomic_read(&mm->mm_users))
		ret = -EBUSY;
	else if (interval)
		ret = mmu_interval_notifier_insert(&unused, mm, 0, PAGE_SIZE,
						   &tmn_interval_ops);
	else
		ret = tmn_register_misused(mm, &tmn_misused_ops);
out_unlock:
	up_read(&file->rwsem);
	return ret;
}

static int tmn_misuse(struct tmn_file *file, unsigned long id)
{
	struct mm_struct *mm = current->mm;

	guard(mutex)(&tmn_misuse_mutex);

	switch (id) {
	case TMN_MISUSE_REGISTER_TWICE:
		return tmn_register_twice(mm);
	case TMN_MISUSE_UNREGISTER_TWICE:
		return tmn_unregister_twice(mm);
	case TMN_MISUSE_PUT_TWICE:
		return tmn_put_twice(mm);
	case TMN_MISUSE_REFUSE:
		return tmn_refuse(mm);
	case TMN_MISUSE_OPS:
		return tmn_register_misused(mm, &tmn_misused_contradiction);
	case TMN_MISUSE_LOCKED:
	case TMN_MISUSE_GET_LOCKED:
		return tmn_register_locked(mm, id == TMN_MISUSE_GET_LOCKED);
	case TMN_MISUSE_DEAD:
	case TMN_MISUSE_DEAD_INTERVAL:
		return tmn_register_dead(file, id == TMN_MISUSE_DEAD_INTERVAL);
	default:
		return -EINVAL;
	}
}
#endif

/* The device */

static int tmn_open(struct inode *inode, struct file *filp)
{
	struct tmn_file *file = kzalloc(sizeof(*file), GFP_KERNEL);

	if (!file)
		return -ENOMEM;
	init_rwsem(&file->rwsem);
	filp->private_data = file;
	return 0;
}

static int tmn_close(struct inode *inode, struct file *filp)
{
	struct tmn_file *file = filp->private_data;

	if (file->mirror)
		__tmn_detach(file);
	kfree(file);
	return 0;
}

static long tmn_ioctl(struct file *filp, unsigned int command,
		      unsigned long arg)
{
	struct tmn_file *file = filp->private_data;
	void __user *uptr = (void __user *)arg;

	switch (command) {
	case TMN_ATTACH:
		return tmn_attach(file, uptr);
	case TMN_DETACH:
		return tmn_detach(file);
	case TMN_LOAD:
		return tmn_access(file, uptr, false);
	case TMN_STORE:
		return tmn_access(file, uptr, true);
	case TMN_DROP:
		return tmn_range(file, uptr, tmn_drop_range);
	case TMN_WATCH:
		return tmn_range(file, uptr, tmn_watch_range);
	case TMN_FAULT:
		return tmn_fault(file, uptr);
	case TMN_STATS:
		return tmn_get_stats(file, uptr);
	case TMN_MISBEHAVE:
		return tmn_misbehave(file, uptr);
	case TMN_BENCH:
		return tmn_bench(uptr);
	case TMN_MISUSE:
		return tmn_misuse(file, arg);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations tmn_fops = {
	.owner		= THIS_MODULE,
	.open		= tmn_open,
	.release	= tmn_close,
	.unlocked_ioctl	= tmn_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.llseek		= noop_llseek,
};

static struct miscdevice tmn_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "test_mmu_notifier",
	.fops	= &tmn_fops,
	.mode	= 0600,
};

static int __init tmn_init(void)
{
	return misc_register(&tmn_device);
}
module_init(tmn_init);

static void __exit tmn_exit(void)
{
	misc_deregister(&tmn_device);
	/* What mmu_notifier_put() left to be freed needs our code. */
	mmu_notifier_synchronize();
}
module_exit(tmn_exit);

MODULE_DESCRIPTION("Software secondary MMUs to test MMU notifiers with");
MODULE_LICENSE("GPL");
