/* SPDX-License-Identifier: GPL-2.0 */
/*
 * MMU notifiers: tell a secondary MMU (KVM's shadow or nested page tables, the
 * TLB of a GRU- or GPU-like device, a NIC with on-demand paging) that the CPU's
 * page tables of a process change.
 *
 * Documentation/mm/mmu_notifier.rst says which style of subscription fits which
 * device, and why registration is safe the moment it returns.
 */
/* Not the guard of mmu_notifier_stock.h, which is a renamed file. */
#ifndef _LINUX_MMU_NOTIFIER_CORE_H
#define _LINUX_MMU_NOTIFIER_CORE_H

#ifdef CONFIG_MMU_NOTIFIER_STOCK

#include <linux/mmu_notifier_stock.h>

/* Linux's own core knows no invalidate_page: its hooks compile to nothing. */
#define mmu_notifier_invalidate_page(mm, address, size)			\
	((void)(mm), (void)(address), (void)(size))

#else /* CONFIG_MMU_NOTIFIER_STOCK */

#include <linux/bits.h>
#include <linux/interval_tree.h>
#include <linux/jump_label.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/mmap_lock.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/types.h>

struct mmu_interval_notifier;
struct mmu_notifier;
struct mmu_notifier_range;
struct mmu_notifier_subscriptions;

/**
 * enum mmu_notifier_event - why a range is invalidated
 * @MMU_NOTIFY_UNMAP: the range is unmapped (munmap()) or moved away (mremap())
 * @MMU_NOTIFY_CLEAR: entries are cleared or replaced for any other reason:
 *	reclaim, truncation, madvise(), copy-on-write, KSM, THP collapse
 * @MMU_NOTIFY_PROTECTION_VMA: the protection of the range changes, and
 *	vma->vm_page_prot tells all there is to know (mprotect())
 * @MMU_NOTIFY_PROTECTION_PAGE: the protection of single pages changes; only
 *	the CPU's page table tells which
 * @MMU_NOTIFY_SOFT_DIRTY: soft-dirty tracking starts anew; same pages, same
 *	rights, but a later write through the secondary MMU must be seen
 * @MMU_NOTIFY_RELEASE: the address space goes away (interval subscriptions)
 * @MMU_NOTIFY_MIGRATE: pages are collected for migration to or from a device;
 *	the driver that is the &mmu_notifier_range.owner may ignore it
 * @MMU_NOTIFY_EXCLUSIVE: a device gains or loses exclusive access to a page;
 *	on gaining, &mmu_notifier_range.owner is the driver's, else NULL
 */
enum mmu_notifier_event {
	MMU_NOTIFY_UNMAP = 0,
	MMU_NOTIFY_CLEAR,
	MMU_NOTIFY_PROTECTION_VMA,
	MMU_NOTIFY_PROTECTION_PAGE,
	MMU_NOTIFY_SOFT_DIRTY,
	MMU_NOTIFY_RELEASE,
	MMU_NOTIFY_MIGRATE,
	MMU_NOTIFY_EXCLUSIVE,
};

/* How many publications an mm can count: one in a microsecond, for years. */
#define MMU_NOTIFIER_EPOCH_BITS		48

/* The callbacks of this section may sleep. */
#define MMU_NOTIFIER_RANGE_BLOCKABLE	BIT(0)
/* From start to end: the section knew of intervals, and counted itself. */
#define MMU_NOTIFIER_RANGE_COUNTED	BIT(1)
/* From start to end: the section is in the mm's SRCU domain, by this index. */
#define MMU_NOTIFIER_RANGE_TRACKED	BIT(2)
#define MMU_NOTIFIER_RANGE_SRCU_INDEX	BIT(3)

/**
 * struct mmu_notifier_ops - what a subscription wants to be told
 *
 * Every callback is optional. A subscription gets either
 * @arch_invalidate_secondary_tlbs or the @invalidate_range_start and
 * @invalidate_range_end pair, never both: registration refuses such a set
 * with -EINVAL. Callbacks of one subscription may run at the same time on
 * several CPUs, for overlapping ranges too.
 */
struct mmu_notifier_ops {
	/**
	 * @release: the address space goes away, or mmu_notifier_unregister()
	 * was called. Drop every secondary translation and establish none from
	 * now on: when this returns the pages may be freed. Without it, the
	 * driver must be sure that its device is quiet by the time the last
	 * thread of the mm has exited, speculative accesses included.
	 * Sections that are under way at that time may never be said to end:
	 * who counts them must not wait for the count afterwards.
	 *
	 * Context: process context, may sleep. Other callbacks may run at the
	 * same time (rmap walks do not wait for exit), and so may a second
	 * call from mmu_notifier_unregister().
	 */
	void (*release)(struct mmu_notifier *subscription,
			struct mm_struct *mm);

	/**
	 * @clear_flush_young: test and clear the accessed bits of the
	 * secondary entries in [@start, @end) and flush the secondary TLB. A
	 * secondary MMU without accessed bits may drop its entries instead.
	 * Returns 1 if any entry was young, else 0.
	 *
	 * Context: a page table lock may be held; must not sleep.
	 */
	int (*clear_flush_young)(struct mmu_notifier *subscription,
				 struct mm_struct *mm,
				 unsigned long start, unsigned long end);

	/**
	 * @clear_young: like @clear_flush_young, but the secondary TLB need
	 * not be flushed: a lost access is only a small error of ageing.
	 */
	int (*clear_young)(struct mmu_notifier *subscription,
			   struct mm_struct *mm,
			   unsigned long start, unsigned long end);

	/**
	 * @test_young: tell, without changing anything, whether the secondary
	 * entry of @address was accessed. Context as @clear_flush_young.
	 */
	int (*test_young)(struct mmu_notifier *subscription,
			  struct mm_struct *mm, unsigned long address);

	/**
	 * @invalidate_page: the CPU's mapping of [@address, @address + @size)
	 * has just been removed, replaced, moved or robbed of a right.
	 * @size counts bytes: one page, what one hold of the lock went over
	 * (mapped or not), or a whole PMD, PUD or hugetlb mapping.
	 * When it returns the secondary MMU no longer uses what it had cached
	 * for the range; it may establish the new state only through
	 * mmu_notifier_fault(), which waits for the same lock.
	 *
	 * The CPU's entry is none, or already holds its new value (a swap or
	 * migration entry, another page, or the same page with fewer rights).
	 * The CPU's own TLB may not have been flushed yet. The page that was
	 * mapped is not freed before the lock is dropped.
	 *
	 * Context: under the page table lock (PTL) of the one page table that
	 * held the entry, perhaps in lazy MMU mode. Atomic: must not sleep,
	 * must not take a PTL, the mmap_lock or an rmap lock, nor look at
	 * other page tables. One exception: where mremap() unshares a hugetlb
	 * page table, mmap_lock, the hugetlb VMA lock and i_mmap_rwsem are
	 * held for write instead.
	 *
	 * A subscription with @invalidate_page and none of the range callbacks
	 * is registered without any wait. With both, one change of the CPU's
	 * page tables gives @invalidate_range_start, then @invalidate_page for
	 * what was really mapped, then @invalidate_range_end.
	 */
	void (*invalidate_page)(struct mmu_notifier *subscription,
				struct mm_struct *mm,
				unsigned long address, unsigned long size);

	/**
	 * @invalidate_range_start: the CPU's entries of @range are about to
	 * change. From here until @invalidate_range_end the driver establishes
	 * no translation in the range; what it had is dropped before this
	 * returns, or, if it holds page references, before
	 * @invalidate_range_end drops them. The pages are still mapped.
	 *
	 * Each start that returned 0 is followed by exactly one end, except
	 * where the subscription is unregistered in between.
	 *
	 * Context: mmap_lock, a per-VMA lock, an i_mmap_rwsem or an anon_vma
	 * lock is held, and the mm's SRCU domain from here to the end. May sleep
	 * if mmu_notifier_range_blockable(), else it
	 * returns -EAGAIN where it would have to: the caller then leaves the
	 * range alone, and this subscription gets no end for it. Must not
	 * take any of those locks nor allocate memory that waits for reclaim.
	 *
	 * Return: 0, or -EAGAIN where @range is not blockable.
	 */
	int (*invalidate_range_start)(struct mmu_notifier *subscription,
				      const struct mmu_notifier_range *range);

	/**
	 * @invalidate_range_end: the change that @invalidate_range_start
	 * announced is done, the pages may have been freed. Context as there;
	 * it cannot fail.
	 */
	void (*invalidate_range_end)(struct mmu_notifier *subscription,
				     const struct mmu_notifier_range *range);

	/**
	 * @arch_invalidate_secondary_tlbs: flush a device TLB which walks the
	 * CPU's own page tables. Called by the architecture wherever the CPU's
	 * TLB is flushed for [@start, @end), after the entries have changed.
	 *
	 * Context: a page table lock may be held; must not sleep.
	 */
	void (*arch_invalidate_secondary_tlbs)(struct mmu_notifier *subscription,
					       struct mm_struct *mm,
					       unsigned long start,
					       unsigned long end);

	/**
	 * @alloc_notifier: allocate the subscription for mmu_notifier_get().
	 * Returns it or an ERR_PTR(). Context: mmap_lock held for write.
	 */
	struct mmu_notifier *(*alloc_notifier)(struct mm_struct *mm);

	/**
	 * @free_notifier: free what @alloc_notifier gave, some time after the
	 * last mmu_notifier_put(); no callback runs or will run. Context:
	 * an SRCU callback; must not sleep.
	 */
	void (*free_notifier)(struct mmu_notifier *subscription);
};

/**
 * struct mmu_notifier - a subscription to all of an address space
 * @hlist: its place among the subscriptions of the mm, youngest first;
 *	read under SRCU, changed under the lock of the mm's subscriptions
 * @ops: what it wants to be told; set by the driver before registration
 * @mm: the address space; a reference (mmgrab()) is held while registered
 * @rcu: defers the work of mmu_notifier_put()
 * @birth: the epoch of the mm at which it was published; the start and end of
 *	a section of an earlier epoch do not concern it
 * @users: references of mmu_notifier_get(); 1 after mmu_notifier_register(),
 *	0 after mmu_notifier_unregister()
 * @put_idx: by which mmu_notifier_synchronize() waits for it to be freed
 */
struct mmu_notifier {
	struct hlist_node hlist;
	const struct mmu_notifier_ops *ops;
	struct mm_struct *mm;
	struct rcu_head rcu;
	unsigned long birth;
	unsigned int users;
	int put_idx;
};

/**
 * struct mmu_interval_notifier_ops - callbacks of an interval subscription
 */
struct mmu_interval_notifier_ops {
	/**
	 * @invalidate: stop using every translation of the range. Take the
	 * driver's lock, call mmu_interval_set_seq() with @cur_seq, drop the
	 * translations.
	 *
	 * Context: as &mmu_notifier_ops.invalidate_range_start.
	 *
	 * Return: true; false only where it would have to sleep and
	 * mmu_notifier_range_blockable() forbids it.
	 */
	bool (*invalidate)(struct mmu_interval_notifier *interval_sub,
			   const struct mmu_notifier_range *range,
			   unsigned long cur_seq);
};

/**
 * struct mmu_interval_notifier - a subscription to one range of addresses
 * @interval_tree: the range, both ends included, and its place in the tree
 * @ops: what it wants to be told
 * @mm: the address space; a reference (mmgrab()) is held while inserted
 * @deferred_item: links it while an invalidation keeps the tree from changing
 * @invalidate_seq: the sequence of the last invalidation that met it; odd while
 *	it is inserted
 */
struct mmu_interval_notifier {
	struct interval_tree_node interval_tree;
	const struct mmu_interval_notifier_ops *ops;
	struct mm_struct *mm;
	struct hlist_node deferred_item;
	unsigned long invalidate_seq;
};

/**
 * struct mmu_notifier_mapping - what the CPU maps, as shown under the PTL
 * @address: where the mapping starts, a multiple of @size
 * @size: bytes that one entry of the CPU's page table maps
 * @pfn: the page frame of @address
 * @page: the page of @address; NULL where there is none to be touched
 *	(a zero page, VM_PFNMAP)
 * @writable: the secondary MMU may write: the CPU's entry is writable and dirty
 */
struct mmu_notifier_mapping {
	unsigned long address;
	unsigned long size;
	unsigned long pfn;
	struct page *page;
	bool writable;
};

/**
 * typedef mmu_notifier_map_fn - establish a secondary translation
 * @mapping: what to map; valid only during the call
 * @arg: the caller's
 *
 * Context: under the PTL, atomic.
 * Return: 0, or a negative errno that mmu_notifier_fault() hands on.
 */
typedef int (*mmu_notifier_map_fn)(const struct mmu_notifier_mapping *mapping,
				   void *arg);

#ifdef CONFIG_MMU_NOTIFIER

#ifdef CONFIG_LOCKDEP
extern struct lockdep_map __mmu_notifier_invalidate_range_start_map;
#endif

/**
 * struct mmu_notifier_range - a section: one change of the CPU's page tables
 * @mm: the address space
 * @start: first address, in bytes
 * @end: the address after the last
 * @flags: MMU_NOTIFIER_RANGE_*
 * @event: why
 * @epoch: how much of the mm's subscriptions the section knows of; set and
 *	read by the core only, valid with MMU_NOTIFIER_RANGE_TRACKED
 * @owner: the driver that causes it, for MMU_NOTIFY_MIGRATE and
 *	MMU_NOTIFY_EXCLUSIVE only
 *
 * Five words, as these are on the stack of every fault that copies a page, and
 * compilers zero a sixth by a slow instruction (CONFIG_INIT_STACK_ALL_ZERO).
 */
struct mmu_notifier_range {
	struct mm_struct *mm;
	unsigned long start;
	unsigned long end;
	unsigned int flags : 8;
	enum mmu_notifier_event event : 8;
	u64 epoch : MMU_NOTIFIER_EPOCH_BITS;
	void *owner;
};

/**
 * mm_has_notifiers - has anybody ever subscribed to this mm?
 * @mm: the address space
 *
 * Context: any; without a lock of the mm the answer may be outdated.
 * Return: true from the first registration until the mm is freed.
 */
static inline int mm_has_notifiers(struct mm_struct *mm)
{
	return unlikely(READ_ONCE(mm->notifier_subscriptions));
}

int mmu_notifier_register(struct mmu_notifier *subscription,
			  struct mm_struct *mm);
int __mmu_notifier_register(struct mmu_notifier *subscription,
			    struct mm_struct *mm);
void mmu_notifier_unregister(struct mmu_notifier *subscription,
			     struct mm_struct *mm);

struct mmu_notifier *mmu_notifier_get(const struct mmu_notifier_ops *ops,
				      struct mm_struct *mm);
struct mmu_notifier *mmu_notifier_get_locked(const struct mmu_notifier_ops *ops,
					     struct mm_struct *mm);
void mmu_notifier_put(struct mmu_notifier *subscription);
void mmu_notifier_synchronize(void);

unsigned long
mmu_interval_read_begin(struct mmu_interval_notifier *interval_sub);
int mmu_interval_notifier_insert(struct mmu_interval_notifier *interval_sub,
				 struct mm_struct *mm, unsigned long start,
				 unsigned long length,
				 const struct mmu_interval_notifier_ops *ops);
int mmu_interval_notifier_insert_locked(struct mmu_interval_notifier *interval_sub,
					struct mm_struct *mm,
					unsigned long start,
					unsigned long length,
					const struct mmu_interval_notifier_ops *ops);
void mmu_interval_notifier_remove(struct mmu_interval_notifier *interval_sub);

/**
 * mmu_interval_set_seq - note an invalidation
 * @interval_sub: the subscription
 * @cur_seq: what &mmu_interval_notifier_ops.invalidate was given, always odd
 *
 * Makes the mmu_interval_read_retry() of every reader that is under way say
 * true. Not needed by a driver that uses no read side.
 *
 * Context: in the invalidate callback, under the driver's lock.
 */
static inline void
mmu_interval_set_seq(struct mmu_interval_notifier *interval_sub,
		     unsigned long cur_seq)
{
	/* Pairs with mmu_interval_check_retry(), which holds no lock. */
	WRITE_ONCE(interval_sub->invalidate_seq, cur_seq);
}

/**
 * mmu_interval_read_retry - did an invalidation come between?
 * @interval_sub: the subscription
 * @seq: what mmu_interval_read_begin() returned
 *
 * Context: under the driver's lock that its invalidate callback takes too.
 * Return: true if what was read since mmu_interval_read_begin() must not be
 * used; start again.
 */
static inline bool
mmu_interval_read_retry(struct mmu_interval_notifier *interval_sub,
			unsigned long seq)
{
	return interval_sub->invalidate_seq != seq;
}

/**
 * mmu_interval_check_retry - look early whether to start again
 * @interval_sub: the subscription
 * @seq: what mmu_interval_read_begin() returned
 *
 * Context: any; no lock needed.
 * Return: true if mmu_interval_read_retry() will say true; false promises
 * nothing.
 */
static inline bool
mmu_interval_check_retry(struct mmu_interval_notifier *interval_sub,
			 unsigned long seq)
{
	/* Pairs with mmu_interval_set_seq(). */
	return READ_ONCE(interval_sub->invalidate_seq) != seq;
}

void __mmu_notifier_subscriptions_destroy(struct mm_struct *mm);
void __mmu_notifier_release(struct mm_struct *mm);
int __mmu_notifier_clear_flush_young(struct mm_struct *mm,
				     unsigned long start, unsigned long end);
int __mmu_notifier_clear_young(struct mm_struct *mm,
			       unsigned long start, unsigned long end);
int __mmu_notifier_test_young(struct mm_struct *mm, unsigned long address);
int __mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range);
void __mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range);
void __mmu_notifier_invalidate_page(struct mm_struct *mm,
				    unsigned long address, unsigned long size);
void __mmu_notifier_arch_invalidate_secondary_tlbs(struct mm_struct *mm,
						   unsigned long start,
						   unsigned long end);

int mmu_notifier_fault(struct mm_struct *mm, unsigned long address, bool write,
		       mmu_notifier_map_fn map, void *arg);
int mmu_notifier_fault_atomic(struct mm_struct *mm, unsigned long address,
			      bool write, mmu_notifier_map_fn map, void *arg);

/* True while an invalidate_page subscription exists anywhere. */
DECLARE_STATIC_KEY_FALSE(mmu_notifier_page_key);

/**
 * mmu_notifier_invalidate_page - tell that mapped memory changed
 * @mm: the address space
 * @address: first address whose entry changed, in bytes
 * @size: how many bytes were mapped by the entries that changed
 *
 * The hook for code that has just removed, replaced, moved or restricted a
 * present entry. A nop while no &mmu_notifier_ops.invalidate_page subscription
 * exists on the machine.
 *
 * Context: under the PTL under which the entry was changed, before it is
 * dropped.
 */
static inline void mmu_notifier_invalidate_page(struct mm_struct *mm,
						unsigned long address,
						unsigned long size)
{
	if (static_branch_unlikely(&mmu_notifier_page_key) &&
	    mm_has_notifiers(mm))
		__mmu_notifier_invalidate_page(mm, address, size);
}

/**
 * mmu_notifier_range_blockable - may the callbacks of this section sleep?
 * @range: the section
 *
 * Return: true if they may, false if they return -EAGAIN instead.
 */
static inline bool
mmu_notifier_range_blockable(const struct mmu_notifier_range *range)
{
	return range->flags & MMU_NOTIFIER_RANGE_BLOCKABLE;
}

/* exit_mmap(): nobody uses the address space any more */
static inline void mmu_notifier_release(struct mm_struct *mm)
{
	if (mm_has_notifiers(mm))
		__mmu_notifier_release(mm);
}

static inline int mmu_notifier_clear_flush_young(struct mm_struct *mm,
						 unsigned long start,
						 unsigned long end)
{
	if (mm_has_notifiers(mm))
		return __mmu_notifier_clear_flush_young(mm, start, end);
	return 0;
}

static inline int mmu_notifier_clear_young(struct mm_struct *mm,
					   unsigned long start,
					   unsigned long end)
{
	if (mm_has_notifiers(mm))
		return __mmu_notifier_clear_young(mm, start, end);
	return 0;
}

static inline int mmu_notifier_test_young(struct mm_struct *mm,
					  unsigned long address)
{
	if (mm_has_notifiers(mm))
		return __mmu_notifier_test_young(mm, address);
	return 0;
}

/**
 * mmu_notifier_invalidate_range_start - begin a section
 * @range: from mmu_notifier_range_init()
 *
 * Context: mmap_lock, a per-VMA lock, an i_mmap_rwsem or an anon_vma lock is
 * held that keeps the range's VMAs from going away, and stays held until
 * mmu_notifier_invalidate_range_end(). May sleep.
 */
static inline void
mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range)
{
	might_sleep();

	lock_map_acquire(&__mmu_notifier_invalidate_range_start_map);
	if (mm_has_notifiers(range->mm)) {
		range->flags |= MMU_NOTIFIER_RANGE_BLOCKABLE;
		__mmu_notifier_invalidate_range_start(range);
	}
	lock_map_release(&__mmu_notifier_invalidate_range_start_map);
}

/**
 * mmu_notifier_invalidate_range_start_nonblock - begin a section, do not sleep
 * @range: from mmu_notifier_range_init()
 *
 * For the OOM reaper, which must not wait for what it tries to help.
 *
 * Return: 0, or -EAGAIN if a subscription would have to sleep: the section has
 * not begun, the caller changes nothing in the range and calls no end.
 */
static inline int __must_check
mmu_notifier_invalidate_range_start_nonblock(struct mmu_notifier_range *range)
{
	int ret = 0;

	lock_map_acquire(&__mmu_notifier_invalidate_range_start_map);
	if (mm_has_notifiers(range->mm)) {
		range->flags &= ~MMU_NOTIFIER_RANGE_BLOCKABLE;
		ret = __mmu_notifier_invalidate_range_start(range);
	}
	lock_map_release(&__mmu_notifier_invalidate_range_start_map);
	return ret;
}

/**
 * mmu_notifier_invalidate_range_end - end a section
 * @range: as given to the start
 *
 * Reaches exactly the subscriptions that the start reached: a section which
 * began before a subscription was published leaves it alone.
 *
 * Context: as the start's.
 */
static inline void
mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range)
{
	if (mmu_notifier_range_blockable(range))
		might_sleep();

	if (unlikely(range->flags & (MMU_NOTIFIER_RANGE_COUNTED |
				     MMU_NOTIFIER_RANGE_TRACKED)))
		__mmu_notifier_invalidate_range_end(range);
}

/* Architecture code: the CPU's TLB was flushed for [start, end). */
static inline void
mmu_notifier_arch_invalidate_secondary_tlbs(struct mm_struct *mm,
					    unsigned long start,
					    unsigned long end)
{
	if (mm_has_notifiers(mm))
		__mmu_notifier_arch_invalidate_secondary_tlbs(mm, start, end);
}

static inline void mmu_notifier_subscriptions_init(struct mm_struct *mm)
{
	mm->notifier_subscriptions = NULL;
}

/* __mmdrop(): the last reference is gone, sleeping may be forbidden */
static inline void mmu_notifier_subscriptions_destroy(struct mm_struct *mm)
{
	if (mm_has_notifiers(mm))
		__mmu_notifier_subscriptions_destroy(mm);
}

/**
 * mmu_notifier_range_init - describe a section
 * @range: to be filled in
 * @event: why the range changes
 * @flags: 0
 * @mm: the address space
 * @start: first address, in bytes
 * @end: the address after the last
 */
static inline void mmu_notifier_range_init(struct mmu_notifier_range *range,
					   enum mmu_notifier_event event,
					   unsigned int flags,
					   struct mm_struct *mm,
					   unsigned long start,
					   unsigned long end)
{
	range->mm = mm;
	range->start = start;
	range->end = end;
	range->flags = flags;
	range->event = event;
}

/**
 * mmu_notifier_range_init_owner - describe a section that a driver causes
 * @range: to be filled in
 * @event: MMU_NOTIFY_MIGRATE or MMU_NOTIFY_EXCLUSIVE
 * @flags: 0
 * @mm: the address space
 * @start: first address, in bytes
 * @end: the address after the last
 * @owner: by which the driver's own callback knows its own section
 */
static inline void
mmu_notifier_range_init_owner(struct mmu_notifier_range *range,
			      enum mmu_notifier_event event,
			      unsigned int flags, struct mm_struct *mm,
			      unsigned long start, unsigned long end,
			      void *owner)
{
	mmu_notifier_range_init(range, event, flags, mm, start, end);
	range->owner = owner;
}

/*
 * Age one mapping: the CPU's entry first, then the secondary MMUs'. Macros,
 * because this header must not depend on the architecture's pgtable.h.
 */
#define __mmu_notifier_age(_age_cpu, _age_secondary, _vma, _address,	\
			   _entry, _size)				\
({									\
	struct vm_area_struct *__mn_vma = (_vma);			\
	unsigned long __mn_addr = (_address);				\
	int __mn_young = _age_cpu(__mn_vma, __mn_addr, _entry);		\
									\
	__mn_young | _age_secondary(__mn_vma->vm_mm, __mn_addr,		\
				    __mn_addr + (_size));		\
})

#define ptep_clear_flush_young_notify(vma, address, ptep)		\
	__mmu_notifier_age(ptep_clear_flush_young,			\
			   mmu_notifier_clear_flush_young,		\
			   vma, address, ptep, PAGE_SIZE)

#define pmdp_clear_flush_young_notify(vma, address, pmdp)		\
	__mmu_notifier_age(pmdp_clear_flush_young,			\
			   mmu_notifier_clear_flush_young,		\
			   vma, address, pmdp, PMD_SIZE)

#define ptep_clear_young_notify(vma, address, ptep)			\
	__mmu_notifier_age(ptep_test_and_clear_young,			\
			   mmu_notifier_clear_young,			\
			   vma, address, ptep, PAGE_SIZE)

#define pmdp_clear_young_notify(vma, address, pmdp)			\
	__mmu_notifier_age(pmdp_test_and_clear_young,			\
			   mmu_notifier_clear_young,			\
			   vma, address, pmdp, PMD_SIZE)

#else /* CONFIG_MMU_NOTIFIER */

struct mmu_notifier_range {
	unsigned long start;
	unsigned long end;
};

/* The arguments of these two stay unevaluated: nobody looks at them. */
#define mmu_notifier_range_init(range, event, flags, mm, start, end)	\
	__mmu_notifier_range_init(range, start, end)
#define mmu_notifier_range_init_owner(range, event, flags, mm, start,	\
				      end, owner)			\
	__mmu_notifier_range_init(range, start, end)

static inline void __mmu_notifier_range_init(struct mmu_notifier_range *range,
					     unsigned long start,
					     unsigned long end)
{
	range->start = start;
	range->end = end;
}

static inline bool
mmu_notifier_range_blockable(const struct mmu_notifier_range *range)
{
	return true;
}

static inline int mm_has_notifiers(struct mm_struct *mm)
{
	return 0;
}

static inline void mmu_notifier_release(struct mm_struct *mm)
{
}

static inline int mmu_notifier_clear_flush_young(struct mm_struct *mm,
						 unsigned long start,
						 unsigned long end)
{
	return 0;
}

static inline int mmu_notifier_clear_young(struct mm_struct *mm,
					   unsigned long start,
					   unsigned long end)
{
	return 0;
}

static inline int mmu_notifier_test_young(struct mm_struct *mm,
					  unsigned long address)
{
	return 0;
}

static inline void
mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range)
{
}

static inline int
mmu_notifier_invalidate_range_start_nonblock(struct mmu_notifier_range *range)
{
	return 0;
}

static inline void
mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range)
{
}

#define mmu_notifier_invalidate_page(mm, address, size)			\
	((void)(mm), (void)(address), (void)(size))

static inline void
mmu_notifier_arch_invalidate_secondary_tlbs(struct mm_struct *mm,
					    unsigned long start,
					    unsigned long end)
{
}

static inline void mmu_notifier_subscriptions_init(struct mm_struct *mm)
{
}

static inline void mmu_notifier_subscriptions_destroy(struct mm_struct *mm)
{
}

static inline void mmu_notifier_synchronize(void)
{
}

#define ptep_clear_flush_young_notify	ptep_clear_flush_young
#define pmdp_clear_flush_young_notify	pmdp_clear_flush_young
#define ptep_clear_young_notify		ptep_test_and_clear_young
#define pmdp_clear_young_notify		pmdp_test_and_clear_young

#endif /* CONFIG_MMU_NOTIFIER */

#endif /* CONFIG_MMU_NOTIFIER_STOCK */

#endif /* _LINUX_MMU_NOTIFIER_CORE_H */
