// SPDX-License-Identifier: GPL-2.0
/*
 * MMU notifiers in figures: what secondary MMUs see of each event, how long
 * registering takes, and how often creating a virtual machine fails under a
 * timer.  Lines to be read by programs, fields separated by tabs:
 *
 *	REPORT event NAME STYLE PAGES CALLBACKS STALE
 *	REPORT register VMAS anon|file NS
 *	REPORT kvm_create_vm VMAS TIMER_MS CALLS EINTR
 *
 * An event that cannot be had here has "-" for its figures, one that failed
 * otherwise than by stale pages has "failed" instead of STALE; why is said in a
 * line that begins with "#".  A style that this kernel lacks has no lines.
 *
 * Arguments choose among "event", "register" and "kvm_create_vm"; without any,
 * all of them are made.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest.h"
#include "mmu_notifier_events.h"
#include "mmu_notifier_util.h"

#ifndef KVM_CREATE_VM
#define KVM_CREATE_VM	_IO(0xAE, 0x01)
#endif

#define VM_CALLS	50

/*
 * Each figure is taken in a process of its own, which hands it over in memory
 * that both share.
 */
static void *share(size_t size)
{
	void *shared = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return shared;
}

/* In the child: 0.  In the parent, later: the child's wait status, not 0. */
static int in_child(unsigned int seconds)
{
	int status = -1;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		alarm(seconds);
		return 0;
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	return status | 1 << 30;
}

static bool ended_well(int status)
{
	return status == 1 << 30;
}

/* Events */

struct figures {
	enum mn_result result;
	struct mn_run run;
};

static bool report_event(const struct mn_event *event, unsigned int style)
{
	struct figures *figures = share(sizeof(*figures));
	const char *name = mn_style_name(style);
	struct mn_run *run = &figures->run;
	bool good;
	int status;

	figures->result = MN_FAIL;
	run->style = style;
	snprintf(run->why, sizeof(run->why), "did not come to its end");
	status = in_child(event->seconds);
	if (!status) {
		struct mn_run mine = { .style = style };
		enum mn_result result = mn_run_event(event, &mine);

		*run = mine;
		figures->result = result;
		_exit(0);
	}

	good = figures->result != MN_FAIL;
	if (figures->result != MN_PASS)
		printf("# %s %s: %s\n", event->name, name, run->why);
	if (figures->result == MN_SKIP)
		printf("REPORT\tevent\t%s\t%s\t-\t-\t-\n", event->name, name);
	else if (good || run->stale)
		printf("REPORT\tevent\t%s\t%s\t%zu\t%llu\t%u\n", event->name,
		       name, run->pages, (unsigned long long)run->callbacks,
		       run->stale);
	else
		printf("REPORT\tevent\t%s\t%s\t%zu\t%llu\tfailed\n",
		       event->name, name, run->pages,
		       (unsigned long long)run->callbacks);
	munmap(figures, sizeof(*figures));
	return good;
}

static bool has_style(unsigned int style)
{
	int fd = mn_open();
	bool has;

	if (fd < 0)
		return false;
	has = mn_attach(fd, style, 0, 0) != -EOPNOTSUPP;
	close(fd);
	return has;
}

static bool report_events(void)
{
	unsigned int style;
	bool good = true;
	size_t i;

	for (i = 0; i < mn_nr_events; i++) {
		for (style = TMN_STYLE_NONE + 1; style < TMN_STYLE_BOTH; style++) {
			if (has_style(style))
				good &= report_event(&mn_events[i], style);
		}
	}
	return good;
}

/* Mappings */

static bool raise_map_count(unsigned int nr)
{
	static const char path[] = "/proc/sys/vm/max_map_count";
	long max;

	if (mn_read_long(path, &max))
		return false;
	return max >= nr + 1000 || !mn_write_file(path, "%u", nr + 1000);
}

/* Two mappings a page, an anon_vma each. */
static bool map_anon(unsigned int nr)
{
	size_t size = mn_page_size();
	char *map = mmap(NULL, nr * size, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return false;
	for (; nr >= 2; nr -= 2, map += 2 * size) {
		if (mprotect(map, size, PROT_READ | PROT_WRITE))
			return false;
		*map = 1;
	}
	return true;
}

/* One mapping a file. */
static bool map_files(unsigned int nr)
{
	size_t size = mn_page_size();

	while (nr--) {
		int fd = memfd_create("report", 0);
		char *map;

		if (fd < 0 || ftruncate(fd, size))
			return false;
		map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			   0);
		close(fd);
		if (map == MAP_FAILED)
			return false;
		*map = 1;
	}
	return true;
}

/* Registration */

static bool report_register(unsigned int nr, const char *kind,
			    bool (*map)(unsigned int nr))
{
	struct tmn_bench *bench = share(sizeof(*bench));
	int status;

	bench->style = TMN_STYLE_KVM;
	bench->loops = nr < 10000 ? 51 : 15;
	status = in_child(120);
	if (!status) {
		int fd = mn_open();

		if (fd < 0 || !raise_map_count(nr) || !map(nr))
			_exit(1);
		_exit(ioctl(fd, TMN_BENCH, bench) ? 2 : 0);
	}
	if (ended_well(status))
		printf("REPORT\tregister\t%u\t%s\t%llu\n", nr, kind,
		       (unsigned long long)bench->register_median_ns);
	else
		printf("# register %u %s: failed, status %#x\n", nr, kind,
		       status & ~(1 << 30));
	munmap(bench, sizeof(*bench));
	return ended_well(status);
}

static bool report_registers(void)
{
	static const unsigned int nrs[] = { 100, 1000, 10000, 30000 };
	bool good = true;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(nrs); i++) {
		good &= report_register(nrs[i], "anon", map_anon);
		good &= report_register(nrs[i], "file", map_files);
	}
	return good;
}

/* Virtual machines */

static void ignore(int signal)
{
}

static bool create_vms(unsigned int nr, unsigned int timer_ms,
		       unsigned int *interrupted)
{
	struct itimerval timer = {
		.it_interval.tv_usec = timer_ms * 1000,
		.it_value.tv_usec = timer_ms * 1000,
	};
	struct sigaction action = {
		.sa_handler = ignore,
		.sa_flags = SA_RESTART,
	};
	int kvm = open("/dev/kvm", O_RDWR);
	unsigned int i;

	if (kvm < 0 || !raise_map_count(nr) || !map_anon(nr))
		return false;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	for (i = 0; i < VM_CALLS; i++) {
		int vm = ioctl(kvm, KVM_CREATE_VM, 0);

		if (vm >= 0)
			close(vm);
		else if (errno == EINTR)
			++*interrupted;
		else
			return false;
	}
	return true;
}

static bool report_kvm(unsigned int nr, unsigned int timer_ms)
{
	unsigned int *interrupted = share(sizeof(*interrupted));
	int status;

	if (access("/dev/kvm", R_OK | W_OK)) {
		printf("# kvm_create_vm: no /dev/kvm\n");
		return true;
	}
	/* The timer is what alarm() would use. */
	status = in_child(0);
	if (!status)
		_exit(!create_vms(nr, timer_ms, interrupted));
	if (ended_well(status))
		printf("REPORT\tkvm_create_vm\t%u\t%u\t%u\t%u\n", nr,
		       timer_ms, VM_CALLS, *interrupted);
	else
		printf("# kvm_create_vm: failed, status %#x\n",
		       status & ~(1 << 30));
	return ended_well(status);
}

static bool wanted(int argc, char **argv, const char *what)
{
	int i;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], what))
			return true;
	}
	return argc == 1;
}

int main(int argc, char **argv)
{
	static const unsigned int vmas[] = { 200, 2000, 20000 };
	static const unsigned int timers_ms[] = { 1, 4, 10 };
	bool good = true;
	size_t i;

	if (access(MN_DEVICE, R_OK | W_OK)) {
		printf("# no " MN_DEVICE "\n");
		return 4;
	}
	if (wanted(argc, argv, "event"))
		good &= report_events();
	if (wanted(argc, argv, "register"))
		good &= report_registers();
	if (wanted(argc, argv, "kvm_create_vm")) {
		for (i = 0; i < ARRAY_SIZE(vmas) * ARRAY_SIZE(timers_ms); i++)
			good &= report_kvm(vmas[i / ARRAY_SIZE(timers_ms)],
					   timers_ms[i % ARRAY_SIZE(timers_ms)]);
	}
	return !good;
}
