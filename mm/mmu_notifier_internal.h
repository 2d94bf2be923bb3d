/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the parts of the MMU-notifier core. */
#ifndef _MM_MMU_NOTIFIER_INTERNAL_H
#define _MM_MMU_NOTIFIER_INTERNAL_H

#include <linux/mm_types.h>

/* How long a registration may wait for locks (ms, 0: for ever). */
extern unsigned int mn_register_timeout_ms;

int mn_drain(struct mm_struct *mm, unsigned long start, unsigned long last);

#endif
