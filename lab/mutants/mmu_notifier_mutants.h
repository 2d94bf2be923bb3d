/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Test builds: what can be switched off, see mm/mmu_notifier_mutants.c. Comes at
 * the end of linux/mmu_notifier.h, after the hook that users have.
 */
#ifndef _LINUX_MMU_NOTIFIER_MUTANTS_H
#define _LINUX_MMU_NOTIFIER_MUTANTS_H

#include <linux/delay.h>
#include <linux/stringify.h>

#ifdef CONFIG_MMU_NOTIFIER_MUTANTS

bool mmu_notifier_mutant(const char *name);

/*
 * The hook again, as a macro: then each call of it is a mutant by its file and
 * line. Who has no subscription does not come by: neither is it recorded.
 */
#define mmu_notifier_invalidate_page(_mm, _address, _size)		\
do {									\
	struct mm_struct *__mn_mm = (_mm);				\
									\
	if (static_branch_unlikely(&mmu_notifier_page_key) &&		\
	    mm_has_notifiers(__mn_mm) &&				\
	    !mmu_notifier_mutant(__FILE__ ":" __stringify(__LINE__)))	\
		__mmu_notifier_invalidate_page(__mn_mm, _address,	\
					       _size);			\
} while (0)

#else

static inline bool mmu_notifier_mutant(const char *name)
{
	return false;
}

#endif

#endif
