/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of mmu_notifier_bench share. */
#ifndef _MMU_NOTIFIER_BENCH_H
#define _MMU_NOTIFIER_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

uint64_t now(void);
/* One measurement. */
void put(const char *group, const char *what, unsigned int size, uint64_t ns);
/* Whether there is time for so many. */
bool small(unsigned int size);
/* Anonymous memory of base pages; ends the program if there is none. */
void *map_anon(size_t length);

/* Memory that is shared with children, all zero; ends the program likewise. */
void *share(size_t length);
/* A child that ends with its parent; 0 in the child. */
pid_t spawn(void);
/* Kills it, if it has not ended yet, and waits for it. */
void reap(pid_t pid);
void run_on(unsigned int cpu);
/* Sorts them. */
uint64_t median(uint64_t *values, unsigned int nr);

/* KVM itself. */
void bench_create(void);

/* What happens at the same time on several CPUs. */
void bench_stall(void);
void bench_rate(void);
void bench_truncate(void);
void bench_beside_others(void);

/* What waits for what. */
void bench_held(void);
void bench_munmap(void);
void bench_stuck(void);
void bench_starve(void);

#endif /* _MMU_NOTIFIER_BENCH_H */
