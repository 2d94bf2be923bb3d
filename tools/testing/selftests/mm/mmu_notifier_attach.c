// SPDX-License-Identifier: GPL-2.0
/*
 * MMU notifiers on somebody else's memory: attaches software secondary MMUs of
 * every style (lib/test_mmu_notifier.c) to running processes, loads through them
 * from random addresses of what those have mapped, and detaches them again.
 *
 *   mmu_notifier_attach [-t SECONDS] [-j JOBS] [-s SEED] NAME
 *
 * does so for SECONDS (10) with all processes whose command begins with NAME, as
 * they come and go, in JOBS (2) processes of its own.  What the loads give is not
 * known here; the workload may know, and loads do not change it.  Each start of
 * an invalidation has to have its end, and no end may be without a start; what
 * else goes wrong the kernel has to notice.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mmu_notifier_util.h"

#define MAX_PROCESSES	256
#define MAX_MAPPINGS	1024
#define LOADS		200

/* How long to wait when there is nobody, and how long to stay attached. */
#define PAUSE_MS	20

/* For each style, by all jobs. */
struct totals {
	uint64_t attached;
	uint64_t loads;
	uint64_t callbacks;
	uint64_t unbalanced;
	uint64_t failed;
};

static struct totals *totals;

struct mapping {
	uintptr_t start;
	uintptr_t end;
};

static void add(uint64_t *total, uint64_t nr)
{
	__atomic_fetch_add(total, nr, __ATOMIC_RELAXED);
}

static bool runs(pid_t pid, const char *name)
{
	char path[64], comm[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	file = fopen(path, "r");
	if (!file)
		return false;
	if (!fgets(comm, sizeof(comm), file))
		comm[0] = '\0';
	fclose(file);
	return !strncmp(comm, name, strlen(name));
}

/* One of the processes, 0 if there is none. */
static pid_t choose_process(const char *name, unsigned int *seed)
{
	pid_t pids[MAX_PROCESSES];
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	unsigned int nr = 0;

	if (!proc)
		return 0;
	while (nr < MAX_PROCESSES && (entry = readdir(proc))) {
		if (isdigit(entry->d_name[0]) && runs(atoi(entry->d_name), name))
			pids[nr++] = atoi(entry->d_name);
	}
	closedir(proc);
	return nr ? pids[rand_r(seed) % nr] : 0;
}

static unsigned int read_mappings(pid_t pid, struct mapping *mappings)
{
	char path[64], line[512];
	unsigned int nr = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	file = fopen(path, "r");
	if (!file)
		return 0;
	while (nr < MAX_MAPPINGS && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx", &mappings[nr].start,
			   &mappings[nr].end) == 2)
			nr++;
	}
	fclose(file);
	return nr;
}

static void load_some(int fd, pid_t pid, struct totals *total,
		      unsigned int *seed)
{
	static struct mapping mappings[MAX_MAPPINGS];
	unsigned int nr = read_mappings(pid, mappings), i;
	uint64_t value;

	for (i = 0; nr && i < LOADS; i++) {
		struct mapping *mapping = &mappings[rand_r(seed) % nr];
		size_t pages = (mapping->end - mapping->start) / mn_page_size();
		void *addr = (void *)(mapping->start +
				      rand_r(seed) % pages * mn_page_size());

		if (!mn_load(fd, addr, &value) &&
		    !mn_load_nofault(fd, addr, &value))
			add(&total->loads, 1);
	}
}

static void attach_once(int fd, const char *name, unsigned int style,
			unsigned int *seed)
{
	struct totals *total = &totals[style];
	pid_t pid = choose_process(name, seed);
	struct tmn_stats stats;
	int ret;

	if (!pid) {
		mn_sleep_ms(PAUSE_MS);
		return;
	}
	ret = mn_attach(fd, style, 0, pid);
	if (ret) {
		/* It may have ended. */
		add(&total->failed, ret != -ESRCH && ret != -EOPNOTSUPP);
		return;
	}
	add(&total->attached, 1);
	load_some(fd, pid, total, seed);
	mn_sleep_ms(rand_r(seed) % PAUSE_MS);
	load_some(fd, pid, total, seed);
	mn_detach(fd);

	/* No callback runs any more: what has begun has ended, or never will. */
	if (mn_stats(fd, &stats) || stats.unbalanced_ends ||
	    stats.starts != stats.ends + stats.active)
		add(&total->unbalanced, 1);
	else
		add(&total->callbacks, mn_callbacks(&stats));
}

static void work(const char *name, unsigned int seconds, unsigned int seed)
{
	uint64_t end = mn_now_ns() + seconds * 1000000000ULL;
	int fd = mn_open();

	if (fd < 0)
		_exit(1);
	while (mn_now_ns() < end) {
		unsigned int style = 1 + rand_r(&seed) % (TMN_STYLES - 1);

		attach_once(fd, name, style, &seed);
	}
	_exit(0);
}

static void report(unsigned int style)
{
	const struct totals *total = &totals[style];

	ksft_print_msg("%s: attached %llu times, %llu refused\n",
		       mn_style_name(style),
		       (unsigned long long)total->attached,
		       (unsigned long long)total->failed);
	ksft_print_msg("%s: %llu loads, %llu callbacks, %llu unbalanced\n",
		       mn_style_name(style),
		       (unsigned long long)total->loads,
		       (unsigned long long)total->callbacks,
		       (unsigned long long)total->unbalanced);
	if (style == TMN_STYLE_GRU && !mn_core_drains()) {
		ksft_test_result_skip("%s\n", mn_style_name(style));
		return;
	}
	ksft_test_result(total->attached && total->loads && total->callbacks &&
			 !total->unbalanced && !total->failed, "%s\n",
			 mn_style_name(style));
}

int main(int argc, char **argv)
{
	unsigned int seconds = 10, jobs = 2, seed = 1, style, i;
	int option;

	while ((option = getopt(argc, argv, "t:j:s:")) != -1) {
		switch (option) {
		case 't':
			seconds = atoi(optarg);
			break;
		case 'j':
			jobs = atoi(optarg);
			break;
		case 's':
			seed = atoi(optarg);
			break;
		default:
			optind = argc;
		}
	}
	if (optind != argc - 1) {
		fprintf(stderr, "usage: %s [-t SECONDS] [-j JOBS] [-s SEED] NAME\n",
			argv[0]);
		return KSFT_FAIL;
	}

	ksft_print_header();
	if (access(MN_DEVICE, R_OK | W_OK))
		ksft_exit_skip("no " MN_DEVICE "\n");
	ksft_set_plan(TMN_STYLES - 1);
	totals = mmap(NULL, TMN_STYLES * sizeof(*totals),
		      PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (totals == MAP_FAILED)
		ksft_exit_fail_msg("no memory\n");
	for (i = 0; i < jobs; i++) {
		if (!fork())
			work(argv[optind], seconds, seed + i);
	}
	while (wait(NULL) > 0)
		;
	for (style = 1; style < TMN_STYLES; style++)
		report(style);
	ksft_finished();
}
