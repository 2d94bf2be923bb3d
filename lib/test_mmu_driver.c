// SPDX-License-Identifier: GPL-2.0
/*
 * What only drivers do to the page tables of a process, for tests of MMU
 * notifiers: mappings of page frames, with PTEs, PMDs and PUDs; exclusive
 * access; migration; dirty tracking. In software, and when user space says so.
 *
 * The interface is described in test_mmu_driver_uapi.h.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/huge_mm.h>
#include <linux/init.h>
#include <linux/migrate.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/pfn_t.h>
#include <linux/rmap.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "test_mmu_driver_uapi.h"

/* The memory of small mappings, and what there is to be seen in large ones. */
#define TMD_ORDER	4

static struct page *tmd_pages;

static unsigned long frame;
module_param(frame, ulong, 0400);
MODULE_PARM_DESC(frame, "(read only) The page frame that the module owns");

/* Mappings */

static enum tmd_kind tmd_kind_of(const struct vm_area_struct *vma)
{
	return vma->vm_pgoff >> (34 - PAGE_SHIFT);
}

/* The page frame for an address: large mappings begin at a large boundary. */
static unsigned long tmd_frame_of(struct vm_area_struct *vma,
				  unsigned long address)
{
	pgoff_t index = linear_page_index(vma, address) &
			((1UL << (34 - PAGE_SHIFT)) - 1);

	switch (tmd_kind_of(vma)) {
	case TMD_PMD:
		return ALIGN_DOWN(frame, PTRS_PER_PTE) + index;
	case TMD_PUD:
	case TMD_MIXED_PUD:
		return ALIGN_DOWN(frame, PTRS_PER_PTE * PTRS_PER_PMD) + index;
	default:
		return frame + (index & ((1UL << TMD_ORDER) - 1));
	}
}

static vm_fault_t tmd_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long pfn = tmd_frame_of(vma, vmf->address);

	switch (tmd_kind_of(vma)) {
	case TMD_NOTHING:
		return VM_FAULT_NOPAGE;
	case TMD_MIXED:
		vmf->page = pfn_to_page(pfn);
		get_page(vmf->page);
		return 0;
	case TMD_MIXED_FRAME:
		return vmf_insert_mixed(vma, vmf->address,
					pfn_to_pfn_t(pfn));
	case TMD_MIXED_PUD:
		return VM_FAULT_SIGBUS;
	default:
		return vmf_insert_pfn(vma, vmf->address, pfn);
	}
}

static vm_fault_t tmd_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long start = ALIGN_DOWN(vmf->address, PAGE_SIZE << order);
	bool write = vmf->flags & FAULT_FLAG_WRITE;
	pfn_t pfn = pfn_to_pfn_t(tmd_frame_of(vma, start));

	if (start < vma->vm_start || start + (PAGE_SIZE << order) > vma->vm_end)
		return VM_FAULT_FALLBACK;

	switch (tmd_kind_of(vma)) {
	case TMD_PMD:
		if (!IS_ENABLED(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) ||
		    order != PMD_SHIFT - PAGE_SHIFT)
			return VM_FAULT_FALLBACK;
		return vmf_insert_pfn_pmd(vmf, pfn, write);
	case TMD_PUD:
	case TMD_MIXED_PUD:
		if (!IS_ENABLED(CONFIG_ARCH_SUPPORTS_PUD_PFNMAP) ||
		    order != PUD_SHIFT - PAGE_SHIFT)
			return VM_FAULT_FALLBACK;
		return vmf_insert_pfn_pud(vmf, pfn, write);
	default:
		return VM_FAULT_FALLBACK;
	}
}

/* A write to an entry that wp_shared_mapping_range() made read-only. */
static vm_fault_t tmd_pfn_mkwrite(struct vm_fault *vmf)
{
	return 0;
}

static const struct vm_operations_struct tmd_vm_ops = {
	.fault		= tmd_fault,
	.huge_fault	= tmd_huge_fault,
	.pfn_mkwrite	= tmd_pfn_mkwrite,
};

static int tmd_mmap(struct file *filp, struct vm_area_struct *vma)
{
	/* Large mappings show memory of others. */
	if (!capable(CAP_SYS_RAWIO))
		return -EPERM;

	switch (tmd_kind_of(vma)) {
	case TMD_PAGE:
	case TMD_PMD:
	case TMD_PUD:
		if (!(vma->vm_flags & VM_SHARED))
			return -EINVAL;
		vm_flags_set(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
		break;
	case TMD_MIXED:
	case TMD_MIXED_FRAME:
	case TMD_MIXED_PUD:
		vm_flags_set(vma, VM_MIXEDMAP | VM_DONTEXPAND | VM_DONTDUMP);
		break;
	case TMD_NOTHING:
		break;
	default:
		return -EINVAL;
	}
	vma->vm_ops = &tmd_vm_ops;
	return 0;
}

/* Actions on current's memory */

/* How many pages there were to be unlocked and put. */
static int tmd_put_locked(struct page **pages, int nr)
{
	int i, put = 0;

	for (i = 0; i < nr; i++) {
		if (!pages[i])
			continue;
		unlock_page(pages[i]);
		put_page(pages[i]);
		put++;
	}
	return put;
}

static int tmd_exclusive(unsigned long start, unsigned long end)
{
	struct page *pages[16];
	int nr, ret = 0;

	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		return -EOPNOTSUPP;

	mmap_read_lock(current->mm);
	for (; !ret && start < end; start += nr * PAGE_SIZE) {
		nr = min((end - start) / PAGE_SIZE, ARRAY_SIZE(pages));
		ret = make_device_exclusive_range(current->mm, start,
						  start + nr * PAGE_SIZE,
						  pages, &tmd_pages);
		if (ret > 0)
			ret = tmd_put_locked(pages, ret) == nr ? 0 : -EBUSY;
	}
	mmap_read_unlock(current->mm);
	return ret;
}

/* Copies what is to migrate to new pages, as a driver would to its memory. */
static void tmd_copy(const struct migrate_vma *args)
{
	unsigned long i;

	for (i = 0; i < args->npages; i++) {
		struct page *from = migrate_pfn_to_page(args->src[i]);
		struct page *to;

		if (!(args->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		to = alloc_page_vma(GFP_HIGHUSER_MOVABLE, args->vma,
				    args->start + i * PAGE_SIZE);
		if (!to)
			continue;
		if (from)
			copy_highpage(to, from);
		else
			clear_highpage(to);
		lock_page(to);
		args->dst[i] = migrate_pfn(page_to_pfn(to));
	}
}

static int tmd_migrate_locked(unsigned long start, unsigned long end,
			      unsigned long *src, unsigned long *dst)
{
	struct migrate_vma args = {
		.vma = vma_lookup(current->mm, start),
		.src = src,
		.dst = dst,
		.start = start,
		.end = end,
		.pgmap_owner = &tmd_pages,
		.flags = MIGRATE_VMA_SELECT_SYSTEM,
	};
	unsigned long i, moved = 0;
	int ret;

	if (!args.vma)
		return -EFAULT;
	ret = migrate_vma_setup(&args);
	if (ret)
		return ret;
	tmd_copy(&args);
	migrate_vma_pages(&args);
	for (i = 0; i < args.npages; i++)
		moved += !!(src[i] & MIGRATE_PFN_MIGRATE);
	migrate_vma_finalize(&args);
	return moved == (end - start) / PAGE_SIZE ? 0 : -EBUSY;
}

static int tmd_migrate(unsigned long start, unsigned long end)
{
	unsigned long nr = (end - start) / PAGE_SIZE;
	unsigned long *frames;
	int ret;

	if (!IS_ENABLED(CONFIG_DEVICE_MIGRATION))
		return -EOPNOTSUPP;
	frames = kvcalloc(nr, 2 * sizeof(*frames), GFP_KERNEL);
	if (!frames)
		return -ENOMEM;
	mmap_read_lock(current->mm);
	ret = tmd_migrate_locked(start, end, frames, frames + nr);
	mmap_read_unlock(current->mm);
	kvfree(frames);
	return ret;
}

static int tmd_mkclean(unsigned long start, unsigned long end)
{
	for (; start < end; start += PAGE_SIZE) {
		struct folio *folio;
		struct page *page;

		if (get_user_pages_fast(start, 1, 0, &page) != 1)
			return -EFAULT;
		folio = page_folio(page);
		folio_lock(folio);
		folio_mkclean(folio);
		folio_unlock(folio);
		put_page(page);
	}
	return 0;
}

/* All of the range has to be one mapping of one file. How many were dirty? */
static int tmd_clean_range(unsigned long start, unsigned long end, bool record)
{
	DECLARE_BITMAP(dirty, TMD_MAX_PAGES) = {};
	unsigned long nr = (end - start) / PAGE_SIZE;
	pgoff_t index, first = 0, last = 0;
	struct vm_area_struct *vma;
	struct file *file = NULL;

	mmap_read_lock(current->mm);
	vma = vma_lookup(current->mm, start);
	if (vma && vma->vm_file && end <= vma->vm_end) {
		file = get_file(vma->vm_file);
		index = linear_page_index(vma, start);
	}
	mmap_read_unlock(current->mm);
	if (!file)
		return -EFAULT;

	if (record)
		nr = clean_record_shared_mapping_range(file->f_mapping, index,
						       nr, index, dirty,
						       &first, &last);
	else
		nr = wp_shared_mapping_range(file->f_mapping, index, nr);
	fput(file);
	return nr;
}

static int tmd_act(void __user *uptr)
{
	unsigned long start, end;
	struct tmd_act args;

	if (copy_from_user(&args, uptr, sizeof(args)))
		return -EFAULT;
	if (args.reserved || !args.length || !PAGE_ALIGNED(args.start) ||
	    !PAGE_ALIGNED(args.length) || args.start >= TASK_SIZE ||
	    args.length > TASK_SIZE - args.start ||
	    args.length > TMD_MAX_PAGES * PAGE_SIZE)
		return -EINVAL;
	start = args.start;
	end = args.start + args.length;

	switch (args.action) {
	case TMD_EXCLUSIVE:
		return tmd_exclusive(start, end);
	case TMD_MIGRATE:
		return tmd_migrate(start, end);
	case TMD_MKCLEAN:
		return tmd_mkclean(start, end);
	case TMD_WRPROTECT:
		return tmd_clean_range(start, end, false);
	case TMD_CLEAN_RECORD:
		return tmd_clean_range(start, end, true);
	default:
		return -EINVAL;
	}
}

/* The device */

static long tmd_ioctl(struct file *filp, unsigned int command,
		      unsigned long arg)
{
	return command == TMD_ACT ? tmd_act((void __user *)arg) : -ENOTTY;
}

static const struct file_operations tmd_fops = {
	.owner		= THIS_MODULE,
	.unlocked_ioctl	= tmd_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.mmap		= tmd_mmap,
	.llseek		= noop_llseek,
};

static struct miscdevice tmd_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "test_mmu_driver",
	.fops	= &tmd_fops,
	.mode	= 0600,
};

static int __init tmd_init(void)
{
	int ret;

	tmd_pages = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_COMP,
				TMD_ORDER);
	if (!tmd_pages)
		return -ENOMEM;
	frame = page_to_pfn(tmd_pages);
	ret = misc_register(&tmd_device);
	if (ret)
		__free_pages(tmd_pages, TMD_ORDER);
	return ret;
}
module_init(tmd_init);

static void __exit tmd_exit(void)
{
	misc_deregister(&tmd_device);
	__free_pages(tmd_pages, TMD_ORDER);
}
module_exit(tmd_exit);

MODULE_DESCRIPTION("What drivers do to page tables, for tests of MMU notifiers");
MODULE_LICENSE("GPL");
