// SPDX-License-Identifier: GPL-2.0
/*
 * MMU notifiers: what an operator sees, in tracefs and debugfs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "mmu_notifier_util.h"

#define DIR		"/sys/kernel/debug/mmu_notifier/"
#define SUBSCRIPTIONS	DIR "subscriptions"
#define LATENCY		DIR "latency"
#define LATENCY_ENABLE	DIR "latency_enable"
#define TRACING		"/sys/kernel/tracing/"
#define INSTANCE	TRACING "instances/mmu_notifier_test/"

/* The first line of a file in which @pattern, for sscanf(), finds @wanted. */
static int scan_lines(const char *path, const char *pattern, int wanted,
		      void *a, void *b, void *c)
{
	FILE *file = fopen(path, "r");
	char line[4096];
	int found = -ENOENT;

	if (!file)
		return -errno;
	while (found && fgets(line, sizeof(line), file)) {
		if (sscanf(line, pattern, a, b, c) == wanted)
			found = 0;
	}
	fclose(file);
	return found;
}

/* How many lines of a file hold @text; negative if it cannot be read. */
static int lines_with(const char *path, const char *text)
{
	FILE *file = fopen(path, "r");
	char line[4096];
	int lines = 0;

	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file))
		lines += !!strstr(line, text);
	if (ferror(file))
		lines = -EIO;
	fclose(file);
	return lines;
}

/* What @pid subscribes to by @callback: how many, or a negative errno. */
static int subscribed(pid_t pid, const char *kind, const char *callback)
{
	char pattern[256];
	unsigned int count = 0;
	char comm[32];
	int ret;

	snprintf(pattern, sizeof(pattern), "%d %s %%u %s%%*s %%31s", pid, kind,
		 callback);
	ret = scan_lines(SUBSCRIPTIONS, pattern, 2, &count, comm, NULL);
	if (ret == -ENOENT)
		return 0;
	return ret ?: (int)count;
}

FIXTURE(debugfs)
{
	int fd;
	char *page;
};

FIXTURE_SETUP(debugfs)
{
	self->fd = mn_open();
	if (self->fd < 0)
		SKIP(return, "no " MN_DEVICE);
	if (access(SUBSCRIPTIONS, R_OK))
		SKIP(return, "no CONFIG_MMU_NOTIFIER_DEBUGFS");
	self->page = mn_map(mn_page_size(), mn_page_size());
	mn_fill(self->page, 1, 1);
}

FIXTURE_TEARDOWN(debugfs)
{
	if (!access(LATENCY_ENABLE, W_OK))
		mn_write_file(LATENCY_ENABLE, "0");
	close(self->fd);
}

TEST_F(debugfs, is_for_root)
{
	static const char * const files[] = {
		SUBSCRIPTIONS, LATENCY, LATENCY_ENABLE
	};
	struct stat status;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(files); i++) {
		ASSERT_EQ(0, stat(files[i], &status));
		EXPECT_EQ(0, status.st_uid);
		EXPECT_EQ(0, status.st_mode & 0077);
	}
}

/* May be read before anybody has switched it on. */
TEST_F(debugfs, latency_of_nobody)
{
	char line[256];
	FILE *file = fopen(LATENCY, "r");

	ASSERT_NE(NULL, file);
	ASSERT_NE(NULL, fgets(line, sizeof(line), file));
	EXPECT_EQ('#', line[0]);
	fclose(file);
}

TEST_F(debugfs, subscriptions)
{
	pid_t pid = getpid();
	int other = mn_open();

	ASSERT_LE(0, other);
	EXPECT_EQ(0, subscribed(pid, "list", "tmn_"));
	EXPECT_EQ(0, subscribed(pid, "interval", "tmn_"));
	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
	EXPECT_EQ(1, subscribed(pid, "list", "tmn_kvm_start"));
	ASSERT_EQ(0, mn_attach(other, TMN_STYLE_INTERVAL, 0, 0));
	EXPECT_EQ(1, subscribed(pid, "interval", "tmn_interval_invalidate"));
	ASSERT_EQ(0, mn_detach(self->fd));
	ASSERT_EQ(0, mn_detach(other));
	EXPECT_EQ(0, subscribed(pid, "list", "tmn_"));
	EXPECT_EQ(0, subscribed(pid, "interval", "tmn_"));
	close(other);
}

/* A process whose ID comes after that of a thread, which is no process. */
TEST_F(debugfs, behind_a_thread)
{
	int status;
	pid_t pid;

	ASSERT_TRUE(mn_add_thread());
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (mn_attach(mn_open(), TMN_STYLE_KVM, 0, 0))
			_exit(1);
		raise(SIGSTOP);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
	EXPECT_EQ(1, subscribed(pid, "list", "tmn_kvm_start"));
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
}

/* What is read in pieces is the same, and what is too much is said to be. */
TEST_F_TIMEOUT(debugfs, of_many, 120)
{
	enum { LIST = 40, INTERVALS = 4100 };
	struct rlimit limit = { INTERVALS + 100, INTERVALS + 100 };
	char text[64];
	ssize_t length;
	int i, fd, file;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	for (i = 0; i < LIST; i++)
		ASSERT_EQ(0, mn_attach(mn_open(), TMN_STYLE_KVM, 0, 0));
	snprintf(text, sizeof(text), "# %d has more\n", getpid());
	EXPECT_EQ(1, lines_with(SUBSCRIPTIONS, text));
	for (i = 0; i < INTERVALS; i++) {
		fd = mn_open();
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, mn_attach(fd, TMN_STYLE_INTERVAL, 0, 0));
	}
	EXPECT_EQ(4096, subscribed(getpid(), "interval",
				   "tmn_interval_invalidate"));
	EXPECT_EQ(2, lines_with(SUBSCRIPTIONS, text));

	file = open(SUBSCRIPTIONS, O_RDONLY);
	ASSERT_LE(0, file);
	for (i = 0; (length = read(file, text, 10)) > 0; i++)
		;
	EXPECT_EQ(0, length);
	EXPECT_LT(LIST, i);
	close(file);
}

/* A name is what a process says it is. */
TEST_F(debugfs, a_name_stays_on_its_line)
{
	FILE *comm = fopen("/proc/self/comm", "w");

	ASSERT_NE(NULL, comm);
	fputs("1 list\n2", comm);
	fclose(comm);
	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
	EXPECT_EQ(1, lines_with(SUBSCRIPTIONS, " 1 list\\n2\n"));
	EXPECT_EQ(1, subscribed(getpid(), "list", "tmn_kvm_start"));
}

static void come_and_go(void)
{
	int fd = mn_open();

	for (;;) {
		pid_t pid = fork();

		if (!pid) {
			mn_attach(fd, TMN_STYLE_KVM, 0, 0);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
	}
}

TEST_F_TIMEOUT(debugfs, while_processes_come_and_go, 60)
{
	pid_t pids[2];
	int i;

	for (i = 0; i < 2; i++) {
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (!pids[i])
			come_and_go();
	}
	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
	ASSERT_EQ(0, mn_write_file(LATENCY_ENABLE, "1"));
	for (i = 0; i < 200; i++) {
		EXPECT_EQ(1, subscribed(getpid(), "list", "tmn_kvm_start"));
		EXPECT_EQ(1, lines_with(LATENCY, "# callback"));
	}
	for (i = 0; i < 2; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
}

struct latency {
	unsigned long long calls, total_ns, max_ns;
};

static int latency_of(const char *callback, struct latency *latency)
{
	char pattern[256];

	*latency = (struct latency){};
	/* A module's symbol has the module behind it, in brackets. */
	snprintf(pattern, sizeof(pattern), "%s%%*[^0-9]%%llu %%llu %%llu",
		 callback);
	return scan_lines(LATENCY, pattern, 3, &latency->calls,
			  &latency->total_ns, &latency->max_ns);
}

TEST_F(debugfs, latency)
{
	const unsigned int delay_us = 30000;
	struct latency before, after;
	size_t size = mn_page_size();
	long on;

	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_XPMEM, 0, 0));
	EXPECT_EQ(-EINVAL, mn_write_file(LATENCY_ENABLE, "2"));
	ASSERT_EQ(0, mn_write_file(LATENCY_ENABLE, "1"));
	ASSERT_EQ(0, mn_read_long(LATENCY_ENABLE, &on));
	EXPECT_EQ(1, on);

	/* Who is slow? */
	ASSERT_EQ(0, mn_stall(self->fd, self->page, size, delay_us));
	ASSERT_EQ(0, madvise(self->page, size, MADV_DONTNEED));
	ASSERT_EQ(0, latency_of("tmn_xpmem_start", &before));
	EXPECT_LE(1, before.calls);
	EXPECT_LE(delay_us * 1000ULL, before.max_ns);
	EXPECT_LE(before.max_ns, before.total_ns);

	/* Not counted: what comes when it is off. */
	ASSERT_EQ(0, mn_write_file(LATENCY_ENABLE, "0"));
	mn_fill(self->page, 1, 1);
	ASSERT_EQ(0, madvise(self->page, size, MADV_DONTNEED));
	ASSERT_EQ(0, latency_of("tmn_xpmem_start", &after));
	EXPECT_EQ(before.calls, after.calls);
	EXPECT_EQ(before.total_ns, after.total_ns);

	/* From zero again. */
	ASSERT_EQ(0, mn_write_file(LATENCY_ENABLE, "1"));
	latency_of("tmn_xpmem_start", &after);
	EXPECT_GT(delay_us * 1000ULL, after.max_ns);
}

/* The histogram adds up. */
TEST_F(debugfs, histogram)
{
	size_t size = mn_page_size();
	unsigned long long calls, sum = 0;
	char line[4096], *at;
	int i;
	FILE *file;

	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
	ASSERT_EQ(0, mn_write_file(LATENCY_ENABLE, "1"));
	for (i = 0; i < 100; i++)
		ASSERT_EQ(0, madvise(self->page, size, MADV_DONTNEED));
	ASSERT_EQ(0, mn_write_file(LATENCY_ENABLE, "0"));

	file = fopen(LATENCY, "r");
	ASSERT_NE(NULL, file);
	do {
		ASSERT_NE(NULL, fgets(line, sizeof(line), file));
	} while (strncmp(line, "tmn_kvm_start", 13));
	fclose(file);
	at = line + strcspn(line, "0123456789");
	calls = strtoull(at, &at, 10);
	/* What it took altogether, and at most. */
	strtoull(at, &at, 10);
	strtoull(at, &at, 10);
	while (*at != '\n')
		sum += strtoull(at, &at, 10);
	EXPECT_LE(100, calls);
	EXPECT_EQ(calls, sum);
}

/* What was seen of a module that is gone is not another's. */
TEST_F(debugfs, without_the_module)
{
	struct latency latency, again;
	size_t size = mn_page_size();

	if (mn_module_users() < 0)
		SKIP(return, "no module");
	ASSERT_EQ(0, mn_write_file(LATENCY_ENABLE, "1"));
	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
	ASSERT_EQ(0, madvise(self->page, size, MADV_DONTNEED));
	close(self->fd);
	ASSERT_EQ(0, mn_unload_module());
	EXPECT_EQ(0, latency_of("tmn_kvm_start", &latency));
	EXPECT_LE(1, latency.calls);
	ASSERT_TRUE(mn_load_module());
	self->fd = mn_open();
	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
	ASSERT_EQ(0, madvise(self->page, size, MADV_DONTNEED));
	EXPECT_EQ(2, lines_with(LATENCY, "tmn_kvm_start"));
	EXPECT_EQ(0, latency_of("tmn_kvm_start", &again));
}

FIXTURE(tracing)
{
	int fd;
	char *page;
};

FIXTURE_SETUP(tracing)
{
	self->fd = mn_open();
	if (self->fd < 0)
		SKIP(return, "no " MN_DEVICE);
	if (access(TRACING "events/mmu_notifier", F_OK))
		SKIP(return, "no tracepoints");
	self->page = mn_map(mn_page_size(), mn_page_size());
	mn_fill(self->page, 1, 1);
	rmdir(INSTANCE);
	ASSERT_EQ(0, mkdir(INSTANCE, 0700));
	ASSERT_EQ(0, mn_write_file(INSTANCE "events/mmu_notifier/enable", "1"));
}

FIXTURE_TEARDOWN(tracing)
{
	close(self->fd);
	mn_write_file(INSTANCE "events/mmu_notifier/enable", "0");
	rmdir(INSTANCE);
}

/* This process's lines that have both texts. */
static int traced(const char *event, const char *text)
{
	FILE *file = fopen(INSTANCE "trace", "r");
	char line[4096], name[64];
	int lines = 0;

	if (!file)
		return -errno;
	snprintf(name, sizeof(name), " mmu_notifier_%s: ", event);
	while (fgets(line, sizeof(line), file))
		lines += strstr(line, name) && strstr(line, text);
	fclose(file);
	return lines;
}

TEST_F(tracing, of_sections)
{
	char start[64];

	snprintf(start, sizeof(start), "start=%lx", (unsigned long)self->page);
	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_KVM, 0, 0));
	EXPECT_EQ(1, traced("register", "callback=tmn_kvm_start"));
	EXPECT_EQ(1, traced("drain", "ret=0"));
	EXPECT_EQ(0, traced("range_start", start));
	ASSERT_EQ(0, madvise(self->page, mn_page_size(), MADV_DONTNEED));
	EXPECT_EQ(1, traced("range_start", start));
	EXPECT_EQ(1, traced("range_end", start));
	EXPECT_EQ(2, traced("callback", start));
	EXPECT_LE(1, traced("range_start", "reason=clear blockable=1 ret=0"));
	ASSERT_EQ(0, mn_detach(self->fd));
	EXPECT_EQ(1, traced("unregister", "callback=tmn_kvm_start"));
}

TEST_F(tracing, of_pages)
{
	char address[64];

	snprintf(address, sizeof(address), "address=%lx",
		 (unsigned long)self->page);
	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_GRU, 0, 0));
	/* There is nothing to drain. */
	EXPECT_EQ(1, traced("register", "callback=tmn_invalidate_page"));
	EXPECT_EQ(0, traced("drain", ""));
	ASSERT_EQ(0, mn_mirror(self->fd, self->page, 1, true));
	ASSERT_EQ(0, madvise(self->page, mn_page_size(), MADV_DONTNEED));
	EXPECT_EQ(1, traced("invalidate_page", address));
	EXPECT_LE(1, traced("callback", "callback=tmn_invalidate_page"));
}

/* Locks that nobody holds are looked at, and not taken. */
TEST_F(tracing, of_a_drain_of_quiet_locks)
{
#ifdef __x86_64__
	int i, status;
	pid_t pid;

	ASSERT_TRUE(mn_add_vmas(1000));
	/*
	 * The first registration of a process only. Somebody else may hold one
	 * of them, once.
	 */
	for (i = 0; i < 3; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			_exit(mn_attach(self->fd, TMN_STYLE_KVM, 0, 0) ||
			      mn_detach(self->fd) ||
			      mn_attach(self->fd, TMN_STYLE_KVM, 0, 0) ||
			      mn_detach(self->fd));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
	}
	EXPECT_EQ(3, traced("drain", "ret=0"));
	EXPECT_LE(1, traced("drain", "waits=0"));
#else
	SKIP(return, "only x86-64 orders what a look needs");
#endif
}

TEST_F(tracing, of_an_interval_and_an_exit)
{
	pid_t pid;

	ASSERT_EQ(0, mn_attach(self->fd, TMN_STYLE_INTERVAL, 0, 0));
	EXPECT_EQ(1, traced("register", "callback=tmn_interval_invalidate"));
	ASSERT_EQ(0, mn_detach(self->fd));
	EXPECT_EQ(1, traced("unregister", "callback=tmn_interval_invalidate"));

	EXPECT_EQ(0, traced("release", ""));
	pid = fork();
	if (!pid)
		_exit(mn_attach(mn_open(), TMN_STYLE_KVM, 0, 0) ? 1 : 0);
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_EQ(1, traced("release", ""));
	EXPECT_EQ(1, traced("callback", "callback=tmn_release"));
}

TEST_HARNESS_MAIN
