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
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagewalk.h>
#include <linux/pgtable.h>

/* Faults before giving up: an entry may be gone again each time we look. */
#define MN_FAULT_TRIES	16

/*
 * Does the CPU's entry allow the access without a fault? A store through the
 * secondary MMU does not set the CPU's dirty bit, so that has to be set: the
 * fault sets it, and what clears it calls invalidate_page.
 */
static bool mn_pte_allows(pte_t pte, bool write)
{
	return pte_present(pte) && !pte_protnone(pte) &&
	       (!write || (pte_write(pte) && pte_dirty(pte)));
}

static bool mn_pmd_allows(pmd_t pmd, bool write)
{
	return pmd_present(pmd) && !pmd_protnone(pmd) &&
	       (!write || (pmd_write(pmd) && pmd_dirty(pmd)));
}

#ifdef CONFIG_PGTABLE_HAS_HUGE_LEAVES
static bool mn_pud_allows(pud_t pud, bool write)
{
	return pud_present(pud) &&
	       (!write || (pud_write(pud) && pud_dirty(pud)));
}
#endif

/* What the locked entry maps; false if it does not allow the access. */
static bool mn_walk_mapping(const struct folio_walk *fw, unsigned long address,
			    bool write, struct mmu_notifier_mapping *mapping)
{
	unsigned long pfn;

	switch (fw->level) {
	case FW_LEVEL_PTE:
		if (!mn_pte_allows(fw->pte, write))
			return false;
		mapping->size = PAGE_SIZE;
		mapping->writable = mn_pte_allows(fw->pte, true);
		pfn = pte_pfn(fw->pte);
		break;
	case FW_LEVEL_PMD:
		if (!mn_pmd_allows(fw->pmd, write))
			return false;
		mapping->size = PMD_SIZE;
		mapping->writable = mn_pmd_allows(fw->pmd, true);
		pfn = pmd_pfn(fw->pmd);
		break;
#ifdef CONFIG_PGTABLE_HAS_HUGE_LEAVES
	case FW_LEVEL_PUD:
		if (!mn_pud_allows(fw->pud, write))
			return false;
		mapping->size = PUD_SIZE;
		mapping->writable = mn_pud_allows(fw->pud, true);
		pfn = pud_pfn(fw->pud);
		break;
#endif
	default:
		return false;
	}

	/* A leaf never reaches beyond its VMA: splitting the VMA splits it. */
	mapping->address = ALIGN_DOWN(address, mapping->size);
	mapping->pfn = pfn;
	/* The walk shows the page of the address, and none for a zero page. */
	mapping->page = fw->page ? pfn_to_page(pfn) : NULL;
	return true;
}

/*
 * Call @map for @address if the CPU's entry allows the access now. Sets
 * @mapped if it did, and then returns what @map returned.
 */
static int mn_map_page(struct vm_area_struct *vma, unsigned long address,
		       bool write, mmu_notifier_map_fn map, void *arg,
		       bool *mapped)
{
	struct mmu_notifier_mapping mapping;
	struct folio_walk fw;
	int ret = 0;

	if (!folio_walk_start(&fw, vma, address, FW_ZEROPAGE))
		return 0;

	*mapped = mn_walk_mapping(&fw, address, write, &mapping);
	if (mmu_notifier_mutant("fault_ptl")) {
		folio_walk_end(&fw, vma);
		return *mapped ? map(&mapping, arg) : 0;
	}
	if (*mapped)
		ret = map(&mapping, arg);
	folio_walk_end(&fw, vma);
	return ret;
}

/* The same for a mapping of page frames that the VM does not manage. */
static int mn_map_pfn(struct vm_area_struct *vma, unsigned long address,
		      bool write, mmu_notifier_map_fn map, void *arg,
		      bool *mapped)
{
	struct follow_pfnmap_args args = { .vma = vma, .address = address };
	struct mmu_notifier_mapping mapping;
	int ret = 0;

	if (!(vma->vm_flags & (VM_IO | VM_PFNMAP)) || follow_pfnmap_start(&args))
		return 0;

	*mapped = args.writable || !write;
	if (*mapped) {
		/* One page, even of a larger entry: that is always right. */
		mapping.address = address & PAGE_MASK;
		mapping.size = PAGE_SIZE;
		mapping.pfn = args.pfn;
		mapping.page = NULL;
		mapping.writable = args.writable;
		ret = map(&mapping, arg);
	}
	follow_pfnmap_end(&args);
	return ret;
}

static bool mn_vma_allows(const struct vm_area_struct *vma, bool write)
{
	return vma->vm_flags & (write ? VM_WRITE : VM_READ);
}

/**
 * mmu_notifier_fault - establish a secondary translation under the PTL
 * @mm: the address space; the caller holds a reference to its users (mmget())
 *	and has an invalidate_page subscription to it
 * @address: where the secondary MMU faulted, in bytes
 * @write: for writing; else for reading
 * @map: called under the PTL with what the CPU maps at @address
 * @arg: handed to @map
 *
 * Lets the CPU fault the page in, copy it or make it writable as the access
 * needs, and calls @map once while the entry allows the access. The mapping that
 * @map is shown may be used until invalidate_page is called for any part of
 * it, without a reference to the page. It may be a whole PMD, PUD or hugetlb
 * page; and writable although only a read was asked for.
 *
 * For VM_PFNMAP and VM_IO the mapping has no page. Entries of a VM_MIXEDMAP
 * without a managed page (device memory) are refused with -EFAULT: nothing says
 * how long they last.
 *
 * Context: process context, sleeps; must not hold mmap_lock. @map is atomic.
 * Return: what @map returned; -EFAULT if nothing that allows the access is
 * mapped there; -EHWPOISON or -ENOMEM from the fault; -EINTR on a fatal
 * signal; -EBUSY if the page was taken away again too often; -EINVAL if nobody
 * ever subscribed to @mm.
 */
int mmu_notifier_fault(struct mm_struct *mm, unsigned long address, bool write,
		       mmu_notifier_map_fn map, void *arg)
{
	unsigned int flags = write ? FAULT_FLAG_WRITE : 0;
	struct vm_area_struct *vma;
	bool mapped = false;
	bool unlocked;
	int ret, tries;

	if (WARN_ON_ONCE(!mm_has_notifiers(mm)))
		return -EINVAL;
	if (mmap_read_lock_killable(mm))
		return -EINTR;

	for (tries = 0; ; tries++) {
		vma = vma_lookup(mm, address);
		ret = -EFAULT;
		if (!vma || !mn_vma_allows(vma, write))
			break;

		ret = mn_map_page(vma, address, write, map, arg, &mapped);
		if (!mapped)
			ret = mn_map_pfn(vma, address, write, map, arg,
					 &mapped);
		if (mapped)
			break;

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
static int mn_try_map_pmd(struct mm_struct *mm, pmd_t *pmdp,
			  unsigned long address, bool write,
			  mmu_notifier_map_fn map, void *arg)
{
	spinlock_t *ptl = pmd_lockptr(mm, pmdp);
	int ret = -EAGAIN;
	pmd_t pmd;

	if (!spin_trylock(ptl))
		return -EAGAIN;
	pmd = pmdp_get_lockless(pmdp);
	if (pmd_leaf(pmd) && !pmd_devmap(pmd) && !pmd_special(pmd) &&
	    mn_pmd_allows(pmd, write)) {
		struct mmu_notifier_mapping mapping = {
			.address = address & PMD_MASK,
			.size = PMD_SIZE,
			.pfn = pmd_pfn(pmd),
			.page = is_huge_zero_pmd(pmd) ? NULL : pmd_page(pmd),
			.writable = mn_pmd_allows(pmd, true),
		};

		ret = map(&mapping, arg);
	}
	spin_unlock(ptl);
	return ret;
}

static int mn_try_map_pte(struct mm_struct *mm, pmd_t *pmdp, pmd_t pmd,
			  unsigned long address, bool write,
			  mmu_notifier_map_fn map, void *arg)
{
	int ret = -EAGAIN;
	spinlock_t *ptl;
	pte_t *ptep;

	ptep = pte_offset_map_nolock(mm, pmdp, address, &ptl);
	if (!ptep)
		return -EAGAIN;
	if (spin_trylock(ptl)) {
		pte_t pte = ptep_get(ptep);
		struct mmu_notifier_mapping mapping = {
			.address = address & PAGE_MASK,
			.size = PAGE_SIZE,
			.pfn = pte_pfn(pte),
			.page = pte_page(pte),
			.writable = mn_pte_allows(pte, true),
		};

		/* The table may have gone before we had the lock. */
		if (pmd_same(pmd, pmdp_get_lockless(pmdp)) &&
		    !pte_special(pte) && !pte_devmap(pte) &&
		    mn_pte_allows(pte, write))
			ret = map(&mapping, arg);
		spin_unlock(ptl);
	}
	pte_unmap(ptep);
	return ret;
}

/* Interrupts are off, which keeps page tables from being freed. */
static int mn_try_map(struct mm_struct *mm, unsigned long address, bool write,
		      mmu_notifier_map_fn map, void *arg)
{
	pmd_t *pmdp, pmd;
	pgd_t *pgdp;
	p4d_t *p4dp;
	pud_t *pudp;

	pgdp = pgd_offset(mm, address);
	if (!pgd_present(READ_ONCE(*pgdp)))
		return -EAGAIN;
	p4dp = p4d_offset(pgdp, address);
	if (!p4d_present(READ_ONCE(*p4dp)))
		return -EAGAIN;
	pudp = pud_offset(p4dp, address);
	if (!pud_present(READ_ONCE(*pudp)) || pud_leaf(READ_ONCE(*pudp)))
		return -EAGAIN;
	pmdp = pmd_offset(pudp, address);
	pmd = pmdp_get_lockless(pmdp);
	if (!pmd_present(pmd))
		return -EAGAIN;
	if (pmd_leaf(pmd))
		return mn_try_map_pmd(mm, pmdp, address, write, map, arg);
	return mn_try_map_pte(mm, pmdp, pmd, address, write, map, arg);
}

/**
 * mmu_notifier_fault_atomic - establish a translation if the page is there
 * @mm: the address space; a reference to its users is held, and an
 *	invalidate_page subscription
 * @address: where the secondary MMU faulted, in bytes
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
	struct vm_area_struct *vma;
	unsigned long flags;
	int ret;

	/*
	 * With mmap_lock no mremap() moves the page table to other addresses
	 * under the lock above it. hugetlb may unshare a table likewise.
	 */
	if (IS_ENABLED(CONFIG_PREEMPT_RT) || !mmap_read_trylock(mm))
		return -EAGAIN;
	vma = vma_lookup(mm, address);
	if (!vma || !mn_vma_allows(vma, write) || is_vm_hugetlb_page(vma)) {
		mmap_read_unlock(mm);
		return -EAGAIN;
	}

	/* Tables are freed after an IPI to all CPUs, or after RCU: as GUP-fast. */
	local_irq_save(flags);
	ret = mn_try_map(mm, address, write, map, arg);
	local_irq_restore(flags);
	mmap_read_unlock(mm);
	return ret;
}
#else
int mmu_notifier_fault_atomic(struct mm_struct *mm, unsigned long address,
			      bool write, mmu_notifier_map_fn map, void *arg)
{
	return -EAGAIN;
}
#endif
EXPORT_SYMBOL_GPL(mmu_notifier_fault_atomic);
