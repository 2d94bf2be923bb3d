/* SPDX-License-Identifier: GPL-2.0 */
/* A secondary MMU of one style, as sample_device.c drives it. */
#ifndef _SAMPLES_MMU_NOTIFIER_DEVICE_H
#define _SAMPLES_MMU_NOTIFIER_DEVICE_H

#include <linux/mm_types.h>

struct sample_mmu;

/**
 * struct sample_style - a style of secondary MMU
 * @attach: gives current->mm a secondary MMU: an ERR_PTR() or what the other
 *	two get
 * @detach: takes it away
 * @access: loads or stores (@write) @length bytes at @address, which are in one
 *	page: 0 or a negative errno. The caller has a reference to the mm's users.
 */
struct sample_style {
	struct sample_mmu *(*attach)(struct mm_struct *mm);
	void (*detach)(struct sample_mmu *mmu);
	int (*access)(struct sample_mmu *mmu, unsigned long address,
		      void *data, size_t length, bool write);
};

extern const struct sample_style sample_page_style;
extern const struct sample_style sample_range_style;
extern const struct sample_style sample_sleep_style;

/* Translations that a secondary MMU has room for. */
#define SAMPLE_TLB	16

/* Gives up when others take a page away that often before it is used. */
#define SAMPLE_TRIES	1000

void sample_copy(unsigned long pfn, unsigned long address, void *data,
		 size_t length, bool write);

#endif
