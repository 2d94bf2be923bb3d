// SPDX-License-Identifier: GPL-2.0-only
/*
 * How a driver with an invalidate_page callback establishes a translation.
 *
 * invalidate_page runs under the page table lock (PTL) that protects the CPU's
 * entry, right after the entry changed. Here the driver's map callback runs
 * under the same PTL while the entry is seen to allow the access. So one of
 * the two comes first: either map sees the entry as it is after the change,
 * or the translation exists when invalidate_page comes to drop it. The driver
 * needs no sequence count and no retry.
 */

#include <linux/export.h>
#include <linux/hugetlb.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/mmu_context.h>
#include <linux/mmu_notifier.h>
#include <linux/pagewalk.h>
#include <linux/pgtable.h>
#include <linux/secretmem.h>

/* Faults before giving up: an entry may be gone again each time we look. */
#define MN_FAULT_TRIES	16

/**
 * struct mn_access - an access of a secondary MMU that has no translation yet
 * @address: where, in bytes
 * @write: for writing; else for reading
 * @map: the driver's callback
 * @arg: its argument
 * @ret: what it returned, if it was called
 */
struct mn_access {
	unsigned long address;
	bool write;
	mmu_notifier_map_fn map;
	void *arg;
	int ret;
};

/*
 * May a secondary MMU access this VMA so? As for get_user_pages(): neither
 * memory that the kernel itself has no mapping of, nor writing to what only
 * call instructions write. Protection keys are the calling thread's, and hold
 * only for its own memory.
 */
static bool mn_vma_allows(struct vm_area_struct *vma, bool write, bool remote)
{
	if (vma_is_secretmem(vma))
		return false;
	if (write && vma->vm_flags & VM_SHADOW_STACK)
		return false;
	return vma->vm_flags & (write ? VM_WRITE : VM_READ) &&
	       arch_vma_access_permitted(vma, write, false, remote);
}

/*
 * May the secondary MMU store through a writable entry? That does not set the
 * CPU's dirty bit, so it has to be set: the fault sets it, and what clears it
 * calls invalidate_page. A shadow stack's entries are writable, but not to all.
 */
static bool mn_may_store(const struct vm_area_struct *vma, bool writable,
			 bool dirty)
{
	return writable && dirty &&
	       (vma->vm_flags & (VM_WRITE | VM_SHADOW_STACK)) == VM_WRITE;
}

/*
 * Call the driver for an entry that is present, under its lock, if the entry
 * allows the access. Was it called?
 */
static bool mn_show(struct mn_access *access, spinlock_t *ptl,
		    const struct mmu_notifier_mapping *mapping)
	__must_hold(ptl)
{
	lockdep_assert_held(ptl);
	if (access->write && !mapping->writable)
		return false;

	access->ret = access->map(mapping, access->arg);
	return true;
}

/* Base pages and THPs, whatever owns them, and the zero pages. */
static bool mn_map_folio(struct vm_area_struct *vma, struct mn_access *access)
{
	struct mmu_notifier_mapping mapping;
	bool present, shown = false;
	struct folio_walk fw;

	if (!folio_walk_start(&fw, vma, access->address, FW_ZEROPAGE))
		return false;

	/* A leaf never reaches beyond its VMA: splitting the VMA splits it. */
	if (fw.level == FW_LEVEL_PMD) {
		present = !pmd_protnone(fw.pmd);
		mapping.size = PMD_SIZE;
		mapping.pfn = pmd_pfn(fw.pmd);
		mapping.writable = mn_may_store(vma, pmd_write(fw.pmd),
						pmd_dirty(fw.pmd));
	} else {
		/* A folio of PUD size is hugetlb's, or a device's: not found. */
		present = fw.level == FW_LEVEL_PTE && !pte_protnone(fw.pte);
		mapping.size = PAGE_SIZE;
		mapping.pfn = pte_pfn(fw.pte);
		mapping.writable = mn_may_store(vma, pte_write(fw.pte),
						pte_dirty(fw.pte));
	}
	mapping.address = ALIGN_DOWN(access->address, mapping.size);
	/* The walk shows the page of the address, and none for a zero page. */
	mapping.page = fw.page ? pfn_to_page(mapping.pfn) : NULL;

	if (present)
		shown = mn_show(access, fw.ptl, &mapping);
	folio_walk_end(&fw, vma);
	return shown;
}

/* A mapping of page frames that the VM does not manage. */
static bool mn_map_pfn(struct vm_area_struct *vma, struct mn_access *access)
{
	struct follow_pfnmap_args args = {
		.vma = vma,
		.address = access->address,
	};
	struct mmu_notifier_mapping mapping;
	bool dirty, shown;

	if (follow_pfnmap_start(&args))
		return false;

	/* Only of PTEs anybody clears it: mapping_dirty_helpers.c. */
	dirty = !args.ptep || pte_dirty(ptep_get(args.ptep));
	/* One page, even of a larger entry: that is always right. */
	mapping.address = access->address & PAGE_MASK;
	mapping.size = PAGE_SIZE;
	mapping.pfn = args.pfn;
	mapping.page = NULL;
	mapping.writable = mn_may_store(vma, args.writable, dirty);
	shown = mn_show(access, args.lock, &mapping);
	follow_pfnmap_end(&args);
	return shown;
}

#ifdef CONFIG_HUGETLB_PAGE
/*
 * Apart from the others, because an entry of hugetlb may be several entries of
 * the CPU's, with a lock that depends on the size of the huge page, in a page
 * table that may be shared with other processes.
 */
static bool mn_map_hugetlb(struct vm_area_struct *vma, struct mn_access *access)
{
	struct hstate *h = hstate_vma(vma);
	struct mmu_notifier_mapping mapping = {
		.address = access->address & huge_page_mask(h),
		.size = huge_page_size(h),
	};
	bool shown = false;
	spinlock_t *ptl;
	pte_t *ptep, pte;

	/* Keeps a shared page table from being unshared. */
	hugetlb_vma_lock_read(vma);
	ptep = hugetlb_walk(vma, mapping.address, mapping.size);
	if (ptep) {
		ptl = huge_pte_lock(h, vma->vm_mm, ptep);
		pte = huge_ptep_get(vma->vm_mm, mapping.address, ptep);
		if (pte_present(pte) && !pte_protnone(pte)) {
			mapping.pfn = pte_pfn(pte);
			mapping.page = pte_page(pte);
			mapping.writable = mn_may_store(vma,
							huge_pte_write(pte),
							huge_pte_dirty(pte));
			shown = mn_show(access, ptl, &mapping);
		}
		spin_unlock(ptl);
	}
	hugetlb_vma_unlock_read(vma);
	return shown;
}
#else
static bool mn_map_hugetlb(struct vm_area_struct *vma, struct mn_access *access)
{
	return false;
}
#endif

/* Call the driver if the CPU's entry allows the access now; did it? */
static bool mn_map(struct vm_area_struct *vma, struct mn_access *access)
{
	if (is_vm_hugetlb_page(vma))
		return mn_map_hugetlb(vma, access);
	/* A private VM_PFNMAP has ordinary pages where it was written to. */
	return mn_map_folio(vma, access) ||
	       (vma->vm_flags & (VM_IO | VM_PFNMAP) && mn_map_pfn(vma, access));
}

/**
 * mmu_notifier_fault - establish a secondary translation under the PTL
 * @mm: the address space; the caller holds a reference to its users (mmget())
 *	and has an invalidate_page subscription to it
 * @address: where the secondary MMU faulted, in bytes, without a tag
 * @write: for writing; else for reading
 * @map: called under the PTL with what the CPU maps at @address
 * @arg: handed to @map
 *
 * Lets the CPU fault the page in, copy it or make it writable as the access
 * needs, and calls @map once while the entry allows the access. The mapping that
 * @map is shown may be used until invalidate_page is called for any part of
 * it, without a reference to the page. It may be a whole PMD or hugetlb page,
 * and writable although only a read was asked for.
 *
 * For VM_PFNMAP and VM_IO the mapping has no page. Entries of a VM_MIXEDMAP
 * without a managed page (device memory) are refused with -EFAULT: nothing says
 * how long they last.
 *
 * Context: process context, sleeps; must not hold mmap_lock. @map is atomic.
 * Return: what @map returned; -EFAULT if nothing that allows the access is
 * mapped there, or the page is poisoned; -ENOMEM from the fault; -EINTR on a
 * fatal signal; -EBUSY if the page was taken away again too often; -EINVAL if
 * nobody ever subscribed to @mm.
 */
int mmu_notifier_fault(struct mm_struct *mm, unsigned long address, bool write,
		       mmu_notifier_map_fn map, void *arg)
{
	const bool remote = mm != current->mm;
	const unsigned int flags = (write ? FAULT_FLAG_WRITE : 0) |
				   (remote ? FAULT_FLAG_REMOTE : 0);
	struct mn_access access = {
		.address = address,
		.write = write,
		.map = map,
		.arg = arg,
	};
	struct vm_area_struct *vma;
	bool unlocked;
	int ret, tries;

	if (WARN_ON_ONCE(!mm_has_notifiers(mm)))
		return -EINVAL;
	if (mmap_read_lock_killable(mm))
		return -EINTR;

	for (tries = 0; ; tries++) {
		vma = vma_lookup(mm, address);
		ret = -EFAULT;
		if (!vma || !mn_vma_allows(vma, write, remote))
			break;
		if (mn_map(vma, &access)) {
			ret = access.ret;
			break;
		}
		/* In a VM_MIXEDMAP it is there, but not for us to use. */
		ret = vma->vm_flags & VM_MIXEDMAP ? -EFAULT : -EBUSY;
		if (tries == MN_FAULT_TRIES)
			break;
		ret = fixup_user_fault(mm, address, flags, &unlocked);
		if (ret)
			break;
	}
	mmap_read_unlock(mm);
	return ret;
}
EXPORT_SYMBOL_GPL(mmu_notifier_fault);

#ifdef CONFIG_HAVE_GUP_FAST
static bool mn_try_map_pmd(struct vm_area_struct *vma, pmd_t *pmdp,
			   struct mn_access *access)
{
	spinlock_t *ptl = pmd_lockptr(vma->vm_mm, pmdp);
	bool shown = false;
	pmd_t pmd;

	if (!spin_trylock(ptl))
		return false;
	pmd = pmdp_get_lockless(pmdp);
	if (pmd_present(pmd) && pmd_leaf(pmd) && !pmd_devmap(pmd) &&
	    !pmd_special(pmd) && !pmd_protnone(pmd)) {
		struct mmu_notifier_mapping mapping = {
			.address = access->address & PMD_MASK,
			.size = PMD_SIZE,
			.pfn = pmd_pfn(pmd),
			.page = is_huge_zero_pmd(pmd) ? NULL : pmd_page(pmd),
			.writable = mn_may_store(vma, pmd_write(pmd),
						 pmd_dirty(pmd)),
		};

		shown = mn_show(access, ptl, &mapping);
	}
	spin_unlock(ptl);
	return shown;
}

static bool mn_try_map_pte(struct vm_area_struct *vma, pmd_t *pmdp, pmd_t pmd,
			   struct mn_access *access)
{
	bool shown = false;
	pte_t *ptep, pte;
	spinlock_t *ptl;

	ptep = pte_offset_map_nolock(vma->vm_mm, pmdp, access->address, &ptl);
	if (!ptep)
		return false;
	if (!spin_trylock(ptl)) {
		pte_unmap(ptep);
		return false;
	}

	pte = ptep_get(ptep);
	/* The table may have gone before we had the lock. */
	if (pmd_same(pmd, pmdp_get_lockless(pmdp)) && pte_present(pte) &&
	    !pte_special(pte) && !pte_devmap(pte) && !pte_protnone(pte)) {
		struct mmu_notifier_mapping mapping = {
			.address = access->address & PAGE_MASK,
			.size = PAGE_SIZE,
			.pfn = pte_pfn(pte),
			.page = pte_page(pte),
			.writable = mn_may_store(vma, pte_write(pte),
						 pte_dirty(pte)),
		};

		shown = mn_show(access, ptl, &mapping);
	}
	spin_unlock(ptl);
	pte_unmap(ptep);
	return shown;
}

/* Interrupts are off, which keeps page tables from being freed. */
static bool mn_try_map(struct vm_area_struct *vma, struct mn_access *access)
{
	pmd_t *pmdp, pmd;
	pgd_t *pgdp;
	p4d_t *p4dp;
	pud_t *pudp;

	pgdp = pgd_offset(vma->vm_mm, access->address);
	if (!pgd_present(READ_ONCE(*pgdp)))
		return false;
	p4dp = p4d_offset(pgdp, access->address);
	if (!p4d_present(READ_ONCE(*p4dp)))
		return false;
	pudp = pud_offset(p4dp, access->address);
	if (!pud_present(READ_ONCE(*pudp)) || pud_leaf(READ_ONCE(*pudp)))
		return false;
	pmdp = pmd_offset(pudp, access->address);
	pmd = pmdp_get_lockless(pmdp);
	if (!pmd_present(pmd))
		return false;
	if (pmd_leaf(pmd))
		return mn_try_map_pmd(vma, pmdp, access);
	return mn_try_map_pte(vma, pmdp, pmd, access);
}

/**
 * mmu_notifier_fault_atomic - establish a translation if the page is there
 * @mm: the address space; a reference to its users is held, and an
 *	invalidate_page subscription
 * @address: where the secondary MMU faulted, in bytes, without a tag
 * @write: for writing; else for reading
 * @map: called under the PTL with what the CPU maps at @address
 * @arg: handed to @map
 *
 * For drivers that drop in translations from an interrupt. It waits for
 * nothing: neither for a fault nor for mmap_lock or the PTL, which the
 * interrupted code may hold. Only ordinary pages, of base or PMD size, not of
 * hugetlb.
 *
 * Context: any but NMI; atomic. Never succeeds on PREEMPT_RT, where the PTL
 * cannot be taken in an interrupt.
 * Return: what @map returned; -EAGAIN: use mmu_notifier_fault() in a context
 * that may sleep.
 */
int mmu_notifier_fault_atomic(struct mm_struct *mm, unsigned long address,
			      bool write, mmu_notifier_map_fn map, void *arg)
{
	struct mn_access access = {
		.address = address,
		.write = write,
		.map = map,
		.arg = arg,
		.ret = -EAGAIN,
	};
	struct vm_area_struct *vma;
	unsigned long flags;
	bool remote;

	/*
	 * With mmap_lock no mremap() moves the page table to other addresses
	 * under the lock above it. hugetlb may unshare a table likewise.
	 */
	if (IS_ENABLED(CONFIG_PREEMPT_RT) || !mmap_read_trylock(mm))
		return -EAGAIN;
	vma = vma_lookup(mm, address);
	/* Whose protection keys an interrupt has is a matter of chance. */
	remote = !in_task() || mm != current->mm;
	if (vma && mn_vma_allows(vma, write, remote) &&
	    !is_vm_hugetlb_page(vma)) {
		/*
		 * Tables are freed after an IPI to all CPUs, or after RCU: as
		 * for GUP-fast.
		 */
		local_irq_save(flags);
		mn_try_map(vma, &access);
		local_irq_restore(flags);
	}
	mmap_read_unlock(mm);
	return access.ret;
}
#else
int mmu_notifier_fault_atomic(struct mm_struct *mm, unsigned long address,
			      bool write, mmu_notifier_map_fn map, void *arg)
{
	return -EAGAIN;
}
#endif
EXPORT_SYMBOL_GPL(mmu_notifier_fault_atomic);
