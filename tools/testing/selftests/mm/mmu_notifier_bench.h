/* SPDX-License-Identifier: GPL-2.0 */
/* What mmu_notifier_bench.c and mmu_notifier_bench_contention.c share. */
#ifndef _MMU_NOTIFIER_BENCH_H
#define _MMU_NOTIFIER_BENCH_H

#include <stddef.h>
#include <stdint.h>

uint64_t now(void);
/* One measurement. */
void put(const char *group, const char *what, unsigned int size, uint64_t ns);
/* Anonymous memory of base pages; ends the program if there is none. */
void *map_anon(size_t length);

/* What happens at the same time on several CPUs. */
void bench_stall(void);
void bench_rate(void);
void bench_truncate(void);

#endif /* _MMU_NOTIFIER_BENCH_H */
