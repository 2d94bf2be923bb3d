// SPDX-License-Identifier: GPL-2.0
/*
 * A secondary MMU with page tables of its own, as KVM's: a range is announced
 * before it changes and after. No references to pages; a count of changes under
 * way and a sequence counter tell whether a page may be mapped.
 */
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "sample_device.h"

struct sample_entry {
	unsigned long address;
	unsigned long pfn;
	bool present;
	bool writable;
};

struct sample_mmu {
	struct mmu_notifier notifier;
	/* Protects all that follows. */
	spinlock_t lock;
	/* Changes under way: while there are any, nothing is mapped. */
	unsigned long changing;
	/* Changes that have ended. */
	unsigned long sequence;
	struct sample_entry table[SAMPLE_TLB];
};

static struct sample_entry *entry_of(struct sample_mmu *mmu,
				     unsigned long address)
{
	return &mmu->table[(address >> PAGE_SHIFT) % SAMPLE_TLB];
}

static void drop(struct sample_mmu *mmu, unsigned long start, unsigned long end)
{
	struct sample_entry *entry;

	lockdep_assert_held(&mmu->lock);
	for (entry = mmu->table; entry < mmu->table + SAMPLE_TLB; entry++)
		if (entry->address >= start && entry->address < end)
			entry->present = false;
}

/* What is in the range is about to change: it is not used from now on. */
static int sample_start(struct mmu_notifier *notifier,
			const struct mmu_notifier_range *range)
{
	struct sample_mmu *mmu =
		container_of(notifier, struct sample_mmu, notifier);

	spin_lock(&mmu->lock);
	mmu->changing++;
	drop(mmu, range->start, range->end);
	spin_unlock(&mmu->lock);
	/* Could this sleep, it had to say -EAGAIN where it must not. */
	return 0;
}

/* It has changed. */
static void sample_end(struct mmu_notifier *notifier,
		       const struct mmu_notifier_range *range)
{
	struct sample_mmu *mmu =
		container_of(notifier, struct sample_mmu, notifier);

	spin_lock(&mmu->lock);
	mmu->changing--;
	mmu->sequence++;
	spin_unlock(&mmu->lock);
}

/* The process exits: its pages are freed when this has returned. */
static void sample_release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	struct sample_mmu *mmu =
		container_of(notifier, struct sample_mmu, notifier);

	spin_lock(&mmu->lock);
	drop(mmu, 0, ULONG_MAX);
	spin_unlock(&mmu->lock);
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
	long pinned;

	/* First the sequence, then the page. */
	spin_lock(&mmu->lock);
	sequence = mmu->sequence;
	spin_unlock(&mmu->lock);

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	pinned = get_user_pages_remote(mm, address, 1, write ? FOLL_WRITE : 0,
				       &page, NULL);
	mmap_read_unlock(mm);
	if (pinned != 1)
		return pinned < 0 ? pinned : -EFAULT;

	/* It is still the page if nothing changes, and nothing has changed. */
	spin_lock(&mmu->lock);
	if (!mmu->changing && mmu->sequence == sequence) {
		entry->address = address & PAGE_MASK;
		entry->pfn = page_to_pfn(page);
		entry->writable = write;
		entry->present = true;
	}
	spin_unlock(&mmu->lock);
	/* The next start comes before the page can go. */
	put_page(page);
	return 0;
}

static bool use_entry(struct sample_mmu *mmu, unsigned long address,
		      void *data, size_t length, bool write)
{
	struct sample_entry *entry = entry_of(mmu, address);
	bool usable;

	spin_lock(&mmu->lock);
	usable = entry->present && entry->address == (address & PAGE_MASK) &&
		 (entry->writable || !write);
	if (usable)
		sample_copy(entry->pfn, address, data, length, write);
	spin_unlock(&mmu->lock);
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
		cond_resched();
	}
	return 0;
}

static struct sample_mmu *sample_attach(struct mm_struct *mm)
{
	struct sample_mmu *mmu = kzalloc(sizeof(*mmu), GFP_KERNEL);
	int ret;

	if (!mmu)
		return ERR_PTR(-ENOMEM);
	spin_lock_init(&mmu->lock);
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
	mmu_notifier_unregister(&mmu->notifier, mmu->notifier.mm);
	/* No callback runs any more. */
	kfree(mmu);
}

const struct sample_style sample_range_style = {
	.attach	= sample_attach,
	.detach	= sample_detach,
	.access	= sample_access,
};
