/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Interface of lib/test_mmu_driver.c: what only drivers do to page tables.
 *
 * mmap() of /dev/test_mmu_driver at TMD_MAP(kind) gives memory of that kind. Of
 * all kinds but TMD_NOTHING, the page at offset 0 of a TMD_PAGE or TMD_MIXED
 * mapping, and the page with the frame number of the parameter "frame" of any
 * other, is one page that the module owns. Huge entries need an address, and
 * with it all of their range, in the mapping; else base pages are used.
 */
#ifndef _LIB_TEST_MMU_DRIVER_UAPI_H
#define _LIB_TEST_MMU_DRIVER_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Kinds of memory. VM_PFNMAP has to be mapped MAP_SHARED. */
enum tmd_kind {
	/* VM_PFNMAP, PTEs */
	TMD_PAGE,
	/* VM_PFNMAP, PMDs: memory from the frame on, aligned down */
	TMD_PMD,
	/* VM_PFNMAP, PUDs */
	TMD_PUD,
	/* VM_MIXEDMAP, PTEs of a page with a reference count */
	TMD_MIXED,
	/* VM_MIXEDMAP, PTEs of a frame without */
	TMD_MIXED_FRAME,
	/* VM_MIXEDMAP, PUDs */
	TMD_MIXED_PUD,
	/* faults succeed and map nothing */
	TMD_NOTHING,
	TMD_KINDS,
};

#define TMD_MAP(kind)	((__u64)(kind) << 34)

/* What to do with a range of the caller's memory. */
enum tmd_action {
	/* make_device_exclusive_range() */
	TMD_EXCLUSIVE,
	/* migrate_vma_*(), from system memory to system memory */
	TMD_MIGRATE,
	/* folio_mkclean() */
	TMD_MKCLEAN,
	/* wp_shared_mapping_range(), clean_record_shared_mapping_range() */
	TMD_WRPROTECT,
	TMD_CLEAN_RECORD,
	TMD_ACTIONS,
};

/*
 * @start, @length: page aligned, not empty, at most TMD_MAX_PAGES
 * @action: enum tmd_action
 *
 * Returns how many entries changed, for the last two, else 0.
 *
 * EFAULT: nothing, or something else, is mapped there. EBUSY: not all of it
 * could be done. EOPNOTSUPP: not in this kernel. EINVAL: anything else.
 */
struct tmd_act {
	__u64	start;
	__u64	length;
	__u32	action;
	__u32	reserved;
};

#define TMD_MAX_PAGES	512

#define TMD_ACT		_IOW('n', 0x00, struct tmd_act)

#endif /* _LIB_TEST_MMU_DRIVER_UAPI_H */
