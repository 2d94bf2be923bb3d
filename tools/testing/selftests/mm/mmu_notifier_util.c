// SPDX-License-Identifier: GPL-2.0
/*
 * What the tests of MMU notifiers share; see mmu_notifier_util.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "mmu_notifier_util.h"

/* How long a test waits for something that has to come. */
#define PATIENCE_MS	20000

/* Secondary MMUs */

const char *mn_style_name(unsigned int style)
{
	static const char * const names[TMN_STYLES] = {
		[TMN_STYLE_NONE]	= "none",
		[TMN_STYLE_GRU]		= "gru",
		[TMN_STYLE_KVM]		= "kvm",
		[TMN_STYLE_XPMEM]	= "xpmem",
		[TMN_STYLE_INTERVAL]	= "interval",
		[TMN_STYLE_BOTH]	= "both",
	};

	return style < TMN_STYLES ? names[style] : "unknown";
}

static int do_ioctl(int fd, unsigned long command, void *arg)
{
	return ioctl(fd, command, arg) ? -errno : 0;
}

int mn_open(void)
{
	int fd = open(MN_DEVICE, O_RDWR);

	return fd < 0 ? -errno : fd;
}

int mn_attach(int fd, unsigned int style, unsigned int flags, pid_t pid)
{
	struct tmn_attach args = {
		.style = style,
		.flags = flags,
		.pid = pid,
	};

	if (style == TMN_STYLE_INTERVAL) {
		/* All of it, or on machines with less as much as there is. */
		int bits, ret = -EINVAL;

		for (bits = 47; bits >= 31 && ret == -EINVAL; bits--) {
			args.length = (1UL << bits) - mn_page_size();
			ret = do_ioctl(fd, TMN_ATTACH, &args);
		}
		return ret;
	}
	return do_ioctl(fd, TMN_ATTACH, &args);
}

int mn_detach(int fd)
{
	return do_ioctl(fd, TMN_DETACH, NULL);
}

static int do_load(int fd, const void *addr, uint64_t *value, uint32_t flags)
{
	struct tmn_access args = {
		.addr = (uintptr_t)addr,
		.flags = flags,
	};
	int ret = do_ioctl(fd, TMN_LOAD, &args);

	if (!ret)
		*value = args.value;
	return ret;
}

static int do_store(int fd, void *addr, uint64_t value, uint32_t flags)
{
	struct tmn_access args = {
		.addr = (uintptr_t)addr,
		.value = value,
		.flags = flags,
	};

	return do_ioctl(fd, TMN_STORE, &args);
}

int mn_load(int fd, const void *addr, uint64_t *value)
{
	return do_load(fd, addr, value, 0);
}

int mn_load_nofault(int fd, const void *addr, uint64_t *value)
{
	return do_load(fd, addr, value, TMN_ACCESS_NOFAULT);
}

int mn_store(int fd, void *addr, uint64_t value)
{
	return do_store(fd, addr, value, 0);
}

int mn_store_nofault(int fd, void *addr, uint64_t value)
{
	return do_store(fd, addr, value, TMN_ACCESS_NOFAULT);
}

int mn_drop(int fd, void *addr, size_t length)
{
	struct tmn_range args = {
		.start = (uintptr_t)addr,
		.length = length,
	};

	return do_ioctl(fd, TMN_DROP, &args);
}

int mn_watch(int fd, const void *addr, size_t length)
{
	struct tmn_range args = {
		.start = (uintptr_t)addr,
		.length = length,
	};

	return do_ioctl(fd, TMN_WATCH, &args);
}

int mn_stats(int fd, struct tmn_stats *stats)
{
	return do_ioctl(fd, TMN_STATS, stats);
}

uint64_t mn_callbacks(const struct tmn_stats *stats)
{
	return stats->starts + stats->failed_starts +
	       stats->interval_invalidates + stats->invalidate_pages;
}

int mn_stall(int fd, void *addr, size_t length, unsigned int us)
{
	struct tmn_misbehave args = {
		.start = (uintptr_t)addr,
		.length = length,
		.events = MN_ALL_EVENTS,
		.limit = 1,
		.start_delay_us = us,
	};

	return do_ioctl(fd, TMN_MISBEHAVE, &args);
}

int mn_wait_stalled(int fd)
{
	struct tmn_stats stats;
	int ms, ret;

	for (ms = 0; ms < PATIENCE_MS; ms++) {
		ret = mn_stats(fd, &stats);
		if (ret)
			return ret;
		if (stats.sleeping)
			return 0;
		mn_sleep_ms(1);
	}
	return -ETIMEDOUT;
}

bool mn_balanced(int fd)
{
	struct tmn_stats stats;
	int ms;

	for (ms = 0; ms < PATIENCE_MS; ms++) {
		if (mn_stats(fd, &stats) || stats.unbalanced_ends)
			return false;
		if (!stats.active)
			return stats.starts == stats.ends;
		mn_sleep_ms(1);
	}
	return false;
}

/* The oracle */

uint64_t mn_value(const void *addr, unsigned int generation)
{
	return (uint64_t)generation << 48 | (uintptr_t)addr;
}

void mn_fill(void *addr, size_t pages, unsigned int generation)
{
	char *page = addr;

	for (; pages--; page += mn_page_size())
		mn_cpu_write(page, mn_value(page, generation));
}

unsigned int mn_stale(int fd, const void *addr, size_t pages)
{
	const char *page = addr;
	unsigned int stale = 0;
	uint64_t value;

	for (; pages--; page += mn_page_size()) {
		/* Before the CPU, whose fault could hide what was wrong. */
		int ret = mn_load_nofault(fd, page, &value);

		if (ret == -ENOENT)
			continue;
		if (ret || value != mn_cpu(page))
			stale++;
	}
	return stale;
}

unsigned int mn_wrong(int fd, const void *addr, size_t pages)
{
	const char *page = addr;
	unsigned int wrong = mn_stale(fd, addr, pages);
	uint64_t value;

	for (; pages--; page += mn_page_size()) {
		if (mn_load(fd, page, &value) || value != mn_cpu(page))
			wrong++;
	}
	return wrong;
}

unsigned int mn_mapped(int fd, const void *addr, size_t pages)
{
	const char *page = addr;
	unsigned int mapped = 0;
	uint64_t value;

	for (; pages--; page += mn_page_size())
		mapped += mn_load_nofault(fd, page, &value) != -ENOENT;
	return mapped;
}

unsigned int mn_reachable(int fd, const void *addr, size_t pages)
{
	const char *page = addr;
	unsigned int reachable = 0;
	uint64_t value;

	for (; pages--; page += mn_page_size()) {
		if (mn_load_nofault(fd, page, &value) != -ENOENT)
			reachable++;
		if (mn_load(fd, page, &value) != -EFAULT)
			reachable++;
	}
	return reachable;
}

unsigned int mn_writable(int fd, void *addr, size_t pages)
{
	unsigned int writable = 0;
	char *page = addr;

	for (; pages--; page += mn_page_size()) {
		if (mn_store_nofault(fd, page, mn_cpu(page)) != -ENOENT)
			writable++;
	}
	return writable;
}

unsigned int mn_mirror(int fd, void *addr, size_t pages, bool write)
{
	unsigned int failed = 0;
	char *page = addr;
	uint64_t value;

	for (; pages--; page += mn_page_size()) {
		int ret = write ? mn_store(fd, page, mn_cpu(page)) : 0;

		if (ret || mn_load(fd, page, &value) || value != mn_cpu(page))
			failed++;
	}
	return failed;
}

const char *mn_works(int fd, unsigned int style, unsigned int flags)
{
	char *page = mn_map(mn_page_size(), mn_page_size());
	const char *error = NULL;

	mn_fill(page, 1, 1);
	if (mn_attach(fd, style, flags, 0))
		return "it cannot be attached";
	if (mn_mirror(fd, page, 1, true))
		error = "it cannot be used";
	munmap(page, mn_page_size());
	if (!error && mn_reachable(fd, page, 1))
		error = "it was not told";
	if (!error && !mn_balanced(fd))
		error = "starts and ends do not balance";
	if (mn_detach(fd))
		error = "it cannot be detached";
	return error;
}

/* The machine */

size_t mn_page_size(void)
{
	static size_t size;

	if (!size)
		size = sysconf(_SC_PAGESIZE);
	return size;
}

void *mn_map(size_t length, size_t align)
{
	char *map, *aligned;

	map = mmap(NULL, length + align, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	aligned = (char *)(((uintptr_t)map + align - 1) & ~(align - 1));
	/* Neighbours that are unmapped keep it from merging with others. */
	if (aligned > map)
		munmap(map, aligned - map);
	munmap(aligned + length, map + align - aligned);
	return aligned;
}

bool mn_add_vmas(unsigned int nr)
{
	static const char limit[] = "/proc/sys/vm/max_map_count";
	size_t size = mn_page_size();
	char *map;
	long max;

	if (!mn_read_long(limit, &max) && max < nr + 1000)
		mn_write_file(limit, "%u", nr + 1000);
	map = mmap(NULL, nr * size, PROT_NONE,
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

static void *sleep_on(void *unused)
{
	for (;;)
		pause();
	return NULL;
}

bool mn_add_thread(void)
{
	pthread_t thread;

	return !pthread_create(&thread, NULL, sleep_on, NULL);
}

uint64_t mn_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

void mn_sleep_ms(unsigned int ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

long mn_module_users(void)
{
	long users = -1;

	mn_read_long("/sys/module/test_mmu_notifier/refcnt", &users);
	return users;
}

int mn_unload_module(void)
{
	return syscall(SYS_delete_module, "test_mmu_notifier", O_NONBLOCK) ?
	       -errno : 0;
}

bool mn_load_module(void)
{
	return !system("modprobe -q test_mmu_notifier 2>/dev/null") ||
	       !system("insmod /modules/test_mmu_notifier.ko");
}

bool mn_wait_module_users(long users)
{
	int ms;

	for (ms = 0; ms < PATIENCE_MS; ms++) {
		if (mn_module_users() == users)
			return true;
		mn_sleep_ms(1);
	}
	return false;
}

bool mn_core_drains(void)
{
	char stock = 'N';
	int fd = open(MN_STOCK_CORE, O_RDONLY);

	if (fd >= 0) {
		if (read(fd, &stock, 1) != 1)
			stock = 'N';
		close(fd);
	}
	return stock == 'N';
}

int mn_write_file(const char *path, const char *format, ...)
{
	char text[256];
	int fd, length, ret = 0;
	va_list args;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);

	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	if (write(fd, text, length) != length)
		ret = -errno;
	close(fd);
	return ret;
}

int mn_read_long(const char *path, long *value)
{
	FILE *file = fopen(path, "r");
	int ret;

	if (!file)
		return -errno;
	ret = fscanf(file, "%ld", value) == 1 ? 0 : -EINVAL;
	fclose(file);
	return ret;
}

static uint64_t pagemap_entry(const void *addr)
{
	uint64_t entry = 0;
	off_t offset = (uintptr_t)addr / mn_page_size() * sizeof(entry);
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0)
		return 0;
	if (pread(fd, &entry, sizeof(entry), offset) != sizeof(entry))
		entry = 0;
	close(fd);
	return entry;
}

uint64_t mn_pfn(const void *addr)
{
	uint64_t entry = pagemap_entry(addr);

	return entry >> 63 ? entry & ((1ULL << 55) - 1) : 0;
}

bool mn_swapped(const void *addr)
{
	return pagemap_entry(addr) >> 62 & 1;
}

bool mn_soft_dirty(const void *addr)
{
	return pagemap_entry(addr) >> 55 & 1;
}

bool mn_uffd_wp(const void *addr)
{
	return pagemap_entry(addr) >> 57 & 1;
}

bool mn_swap_device(char *path, size_t length)
{
	FILE *file = fopen("/proc/swaps", "r");
	char line[512];
	bool found = false;

	if (!file)
		return false;
	if (fgets(line, sizeof(line), file) &&
	    fgets(line, sizeof(line), file)) {
		line[strcspn(line, " \t\n")] = '\0';
		snprintf(path, length, "%s", line);
		found = true;
	}
	fclose(file);
	return found;
}

int mn_move_pages(pid_t pid, void *addr, size_t pages, int node)
{
	unsigned int moved = 0;
	void *page[pages];
	int nodes[pages];
	int status[pages];
	size_t i;

	for (i = 0; i < pages; i++) {
		page[i] = (char *)addr + i * mn_page_size();
		nodes[i] = node;
		status[i] = -1;
	}
	/* MPOL_MF_MOVE_ALL, for whoever does not own all mappings. */
	if (syscall(SYS_move_pages, pid, pages, page, nodes, status, 1 << 2) < 0)
		return -errno;
	for (i = 0; i < pages; i++)
		moved += status[i] == node;
	return moved;
}

int mn_node_of(pid_t pid, void *addr)
{
	int status = -1;

	if (syscall(SYS_move_pages, pid, 1UL, &addr, NULL, &status, 0))
		return -errno;
	return status;
}

int mn_make_memcg(char *path, size_t length)
{
	static unsigned int nr;

	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK) &&
	    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL))
		return -ENODEV;
	if (mn_write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory"))
		return -ENODEV;
	snprintf(path, length, "/sys/fs/cgroup/mmu_notifier.%d.%u", getpid(),
		 nr++);
	return mkdir(path, 0700) ? -errno : 0;
}

/*
 * The program that the tests of exec run is this one.  It does nothing until its
 * standard input ends, so that whoever ran it knows that it lives.
 */
static void __attribute__((constructor)) run_nothing(void)
{
	char c;

	if (!getenv("MMU_NOTIFIER_NOTHING"))
		return;
	while (read(0, &c, 1) > 0)
		;
	_exit(0);
}
