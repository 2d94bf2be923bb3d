// SPDX-License-Identifier: GPL-2.0
/*
 * A secondary MMU that has to be asked, and answers after a while, as another
 * partition in XPMEM: callbacks sleep, under rmap locks as well. It holds a
 * reference to each page, so that late accesses find the page they mean.
 */
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "sample_device.h"

struct sample_entry {
	unsigned long address;
	/* Referenced; NULL: no translation */
	struct page *page;
	bool writable;
};

struct sample_mmu {
	struct mmu_notifier notifier;
	/*
	 * Protects all that follows. Taken by callbacks under mmap_lock and rmap
	 * locks, so nothing that takes those is done under it: no fault.
	 */
	struct mutex lock;
	/* Changes under way: while there are any, nothing is mapped. */
	unsigned long changing;
	/* Changes that have ended. */
	unsigned long sequence;
	struct sample_entry table[SAMPLE_TLB];
	/* Who waits until no change is under way. */
	wait_queue_head_t settled;
};

static struct sample_entry *entry_of(struct sample_mmu *mmu,
				     unsigned long address)
{
	return &mmu->table[(address >> PAGE_SHIFT) % SAMPLE_TLB];
}

static void drop_entry(struct sample_entry *entry)
{
	/* What the other side may take to answer. */
	usleep_range(10, 20);
	/* The CPU's entry is dirty since the fault: that goes with the page. */
	put_page(entry->page);
	entry->page = NULL;
}

static void drop(struct sample_mmu *mmu, unsigned long start, unsigned long end)
{
	struct sample_entry *entry;

	lockdep_assert_held(&mmu->lock);
	for (entry = mmu->table; entry < mmu->table + SAMPLE_TLB; entry++)
		if (entry->page && entry->address >= start &&
		    entry->address < end)
			drop_entry(entry);
}

static int sample_start(struct mmu_notifier *notifier,
			const struct mmu_notifier_range *range)
{
	struct sample_mmu *mmu =
		container_of(notifier, struct sample_mmu, notifier);

	/* The OOM reaper. There will be no end to a start that is refused. */
	if (!mmu_notifier_range_blockable(range))
		return -EAGAIN;

	mutex_lock(&mmu->lock);
	WRITE_ONCE(mmu->changing, mmu->changing + 1);
	drop(mmu, range->start, range->end);
	mutex_unlock(&mmu->lock);
	return 0;
}

static void sample_end(struct mmu_notifier *notifier,
		       const struct mmu_notifier_range *range)
{
	struct sample_mmu *mmu =
		container_of(notifier, struct sample_mmu, notifier);

	mutex_lock(&mmu->lock);
	WRITE_ONCE(mmu->changing, mmu->changing - 1);
	mmu->sequence++;
	mutex_unlock(&mmu->lock);
	wake_up_all(&mmu->settled);
}

/* The process exits: its pages are freed when this has returned. */
static void sample_release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	struct sample_mmu *mmu =
		container_of(notifier, struct sample_mmu, notifier);

	mutex_lock(&mmu->lock);
	drop(mmu, 0, ULONG_MAX);
	mutex_unlock(&mmu->lock);
}

static const struct mmu_notifier_ops sample_ops = {
	.invalidate_range_start = sample_start,
	.invalidate_range_end = sample_end,
	.release = sample_release,
};

static int sample_fault(struct sample_mmu *mmu, unsigned long address,
			bool write)
{
	struct mm_struct *mm = mmu->notifier.mm;
	struct sample_entry *entry = entry_of(mmu, address);
	unsigned long sequence;
	struct page *page;
	long got;

	/* Changes take long here: it would be vain to try meanwhile. */
	if (wait_event_killable(mmu->settled, !READ_ONCE(mmu->changing)))
		return -EINTR;

	/* First the sequence, then the page. */
	mutex_lock(&mmu->lock);
	sequence = mmu->sequence;
	mutex_unlock(&mmu->lock);

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	got = get_user_pages_remote(mm, address, 1, write ? FOLL_WRITE : 0,
				    &page, NULL);
	mmap_read_unlock(mm);
	if (got != 1)
		return got < 0 ? got : -EFAULT;

	mutex_lock(&mmu->lock);
	if (!mmu->changing && mmu->sequence == sequence) {
		if (entry->page)
			drop_entry(entry);
		entry->address = address & PAGE_MASK;
		entry->writable = write;
		/* With its reference. */
		entry->page = page;
		page = NULL;
	}
	mutex_unlock(&mmu->lock);
	if (page)
		put_page(page);
	return 0;
}

static bool use_entry(struct sample_mmu *mmu, unsigned long address,
		      void *data, size_t length, bool write)
{
	struct sample_entry *entry = entry_of(mmu, address);
	bool usable;

	mutex_lock(&mmu->lock);
	usable = entry->page && entry->address == (address & PAGE_MASK) &&
		 (entry->writable || !write);
	if (usable)
		sample_copy(page_to_pfn(entry->page), address, data, length,
			    write);
	mutex_unlock(&mmu->lock);
	return usable;
}

static int sample_access(struct sample_mmu *mmu, unsigned long address,
			 void *data, size_t length, bool write)
{
	int ret, tries = 0;

	while (!use_entry(mmu, address, data, length, write)) {
		if (++tries > SAMPLE_TRIES)
			return -EBUSY;
		ret = sample_fault(mmu, address, write);
		if (ret)
			return ret;
	}
	return 0;
}

static struct sample_mmu *sample_attach(struct mm_struct *mm)
{
	struct sample_mmu *mmu = kzalloc(sizeof(*mmu), GFP_KERNEL);
	int ret;

	if (!mmu)
		return ERR_PTR(-ENOMEM);
	mutex_init(&mmu->lock);
	init_waitqueue_head(&mmu->settled);
	mmu->notifier.ops = &sample_ops;
	/* When this returns every change under way has been counted. */
	ret = mmu_notifier_register(&mmu->notifier, mm);
	if (ret) {
		kfree(mmu);
		return ERR_PTR(ret);
	}
	return mmu;
}

static void sample_detach(struct sample_mmu *mmu)
{
	/* Unless the process has exited this runs release, which drops all. */
	mmu_notifier_unregister(&mmu->notifier, mmu->notifier.mm);
	/* No callback runs any more. */
	kfree(mmu);
}

const struct sample_style sample_sleep_style = {
	.attach	= sample_attach,
	.detach	= sample_detach,
	.access	= sample_access,
};
