// SPDX-License-Identifier: GPL-2.0
/*
 * A secondary MMU with a TLB of its own that is dropped in atomic context, as a
 * GRU's is: invalidate_page only. No references to pages, no sequence counter,
 * and nothing to wait for at registration.
 */
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
	/* Protects the TLB. Taken under the PTL. */
	spinlock_t lock;
	struct sample_entry tlb[SAMPLE_TLB];
};

static struct sample_entry *entry_of(struct sample_mmu *mmu,
				     unsigned long address)
{
	return &mmu->tlb[(address >> PAGE_SHIFT) % SAMPLE_TLB];
}

/*
 * The CPU's entries have changed, under the PTL that we are called under. When
 * this returns nobody may use a translation of them any more.
 */
static void sample_invalidate_page(struct mmu_notifier *notifier,
				   struct mm_struct *mm,
				   unsigned long address, unsigned long size)
{
	struct sample_mmu *mmu =
		container_of(notifier, struct sample_mmu, notifier);
	struct sample_entry *entry;

	spin_lock(&mmu->lock);
	for (entry = mmu->tlb; entry < mmu->tlb + SAMPLE_TLB; entry++)
		if (entry->address >= address &&
		    entry->address - address < size)
			entry->present = false;
	spin_unlock(&mmu->lock);
}

/* The process exits: its pages are freed when this has returned. */
static void sample_release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	sample_invalidate_page(notifier, mm, 0, ULONG_MAX);
}

static const struct mmu_notifier_ops sample_ops = {
	.invalidate_page = sample_invalidate_page,
	.release = sample_release,
};

struct sample_fault {
	struct sample_mmu *mmu;
	unsigned long address;
};

/* Under the PTL: the CPU has this mapping now, and keeps it until we return. */
static int sample_map(const struct mmu_notifier_mapping *mapping, void *arg)
{
	struct sample_fault *fault = arg;
	struct sample_entry *entry = entry_of(fault->mmu, fault->address);
	unsigned long offset = fault->address - mapping->address;

	/* A device's memory, which a copy by the CPU is not for. */
	if (!mapping->page && !pfn_valid(mapping->pfn))
		return -EFAULT;

	spin_lock(&fault->mmu->lock);
	entry->address = fault->address & PAGE_MASK;
	entry->pfn = mapping->pfn + (offset >> PAGE_SHIFT);
	entry->writable = mapping->writable;
	entry->present = true;
	spin_unlock(&fault->mmu->lock);
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
	struct sample_fault fault = { .mmu = mmu, .address = address };
	int ret, tries = 0;

	while (!use_entry(mmu, address, data, length, write)) {
		if (++tries > SAMPLE_TRIES)
			return -EBUSY;
		ret = mmu_notifier_fault(mmu->notifier.mm, address, write,
					 sample_map, &fault);
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
	spin_lock_init(&mmu->lock);
	mmu->notifier.ops = &sample_ops;
	/* Callbacks may run from here on. */
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

const struct sample_style sample_page_style = {
	.attach	= sample_attach,
	.detach	= sample_detach,
	.access	= sample_access,
};
