// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an operator sees of MMU notifiers in debugfs: who subscribes to which
 * process, and whose callbacks are slow.
 *
 * Documentation/ABI/testing/debugfs-mmu_notifier describes the files.
 */

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/debugfs.h>
#include <linux/hash.h>
#include <linux/init.h>
#include <linux/interval_tree.h>
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string_helpers.h>
#include <trace/events/mmu_notifier.h>

#include "mmu_notifier_internal.h"

/* --- How long callbacks take --------------------------------------------- */

/* Powers of two of a microsecond; the last holds all that is longer. */
#define MN_BUCKETS		24
#define MN_CALLBACK_BITS	7
#define MN_CALLBACKS		BIT(MN_CALLBACK_BITS)

/**
 * struct mn_latency - what was seen of one callback
 * @callback: which; NULL: the slot is free; its own address: the module that
 *	had the callback is gone
 * @name: its symbol, from when it was first seen
 * @calls: how often it returned
 * @total_ns: how long it took altogether
 * @max_ns: how long it took at most
 * @buckets: how often it took less than 2^i us, and not less than 2^(i-1)
 */
struct mn_latency {
	void *callback;
	char name[64];
	atomic64_t calls;
	atomic64_t total_ns;
	atomic64_t max_ns;
	atomic64_t buckets[MN_BUCKETS];
};

/* Hashed by callback. Made when they are first wanted, and never freed. */
static struct mn_latency *mn_latencies;
/* Calls of callbacks that found no room. */
static atomic64_t mn_latency_lost;
/* Protects the claiming of slots; a probe may be called under any spinlock. */
static DEFINE_RAW_SPINLOCK(mn_latency_claim);
/* Serialises switching on and off, and protects mn_latency_on. */
static DEFINE_MUTEX(mn_latency_mutex);
static bool mn_latency_on;

static void mn_latency_take(struct mn_latency *slot, void *callback)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&mn_latency_claim, flags);
	if (!slot->callback) {
		snprintf(slot->name, sizeof(slot->name), "%ps", callback);
		/* Pairs with the acquire in mn_latency_of(). */
		smp_store_release(&slot->callback, callback);
	}
	raw_spin_unlock_irqrestore(&mn_latency_claim, flags);
}

static struct mn_latency *mn_latency_of(void *callback)
{
	unsigned int i, first = hash_ptr(callback, MN_CALLBACK_BITS);

	for (i = 0; i < MN_CALLBACKS; i++) {
		struct mn_latency *slot =
			&mn_latencies[(first + i) % MN_CALLBACKS];

		/* Pairs with the release in mn_latency_take(). */
		if (!smp_load_acquire(&slot->callback))
			mn_latency_take(slot, callback);
		if (READ_ONCE(slot->callback) == callback)
			return slot;
	}
	return NULL;
}

/* Called by the tracepoint, with preemption disabled. */
static void mn_latency_probe(void *data, void *callback, struct mm_struct *mm,
			     unsigned long start, unsigned long end, u64 ns,
			     int ret)
{
	struct mn_latency *latency = mn_latency_of(callback);
	u64 us = div_u64(ns, NSEC_PER_USEC);
	unsigned int bucket = us ? min(ilog2(us) + 1, MN_BUCKETS - 1) : 0;
	s64 max;

	if (!latency) {
		atomic64_inc(&mn_latency_lost);
		return;
	}
	atomic64_inc(&latency->calls);
	atomic64_add(ns, &latency->total_ns);
	atomic64_inc(&latency->buckets[bucket]);
	max = atomic64_read(&latency->max_ns);
	do {
		if (max >= (s64)ns)
			break;
	} while (!atomic64_try_cmpxchg(&latency->max_ns, &max, ns));
}

/* On: from now on, and from zero. */
static int mn_latency_start(void)
{
	size_t size = array_size(MN_CALLBACKS, sizeof(*mn_latencies));

	lockdep_assert_held(&mn_latency_mutex);
	if (!mn_latencies)
		mn_latencies = kvzalloc(size, GFP_KERNEL);
	if (!mn_latencies)
		return -ENOMEM;
	memset(mn_latencies, 0, size);
	atomic64_set(&mn_latency_lost, 0);
	return register_trace_mmu_notifier_callback(mn_latency_probe, NULL);
}

/* Off: what was counted stays to be read. */
static int mn_latency_stop(void)
{
	int ret;

	lockdep_assert_held(&mn_latency_mutex);
	ret = unregister_trace_mmu_notifier_callback(mn_latency_probe, NULL);
	tracepoint_synchronize_unregister();
	return ret;
}

static int mn_latency_enable_set(void *data, u64 on)
{
	int ret = 0;

	if (on > 1)
		return -EINVAL;
	if (mutex_lock_interruptible(&mn_latency_mutex))
		return -ERESTARTSYS;
	if (on != mn_latency_on)
		ret = on ? mn_latency_start() : mn_latency_stop();
	if (!ret)
		mn_latency_on = on;
	mutex_unlock(&mn_latency_mutex);
	return ret;
}

static int mn_latency_enable_get(void *data, u64 *on)
{
	*on = READ_ONCE(mn_latency_on);
	return 0;
}

DEFINE_DEBUGFS_ATTRIBUTE(mn_latency_enable_fops, mn_latency_enable_get,
			 mn_latency_enable_set, "%llu\n");

static void mn_latency_show_one(struct seq_file *m,
				const struct mn_latency *latency)
{
	int i, last = MN_BUCKETS - 1;

	while (last && !atomic64_read(&latency->buckets[last]))
		last--;
	seq_printf(m, "%s %lld %lld %lld", latency->name,
		   atomic64_read(&latency->calls),
		   atomic64_read(&latency->total_ns),
		   atomic64_read(&latency->max_ns));
	for (i = 0; i <= last; i++)
		seq_printf(m, " %lld", atomic64_read(&latency->buckets[i]));
	seq_putc(m, '\n');
}

static int latency_show(struct seq_file *m, void *unused)
{
	int i;

	seq_puts(m, "# callback calls total_ns max_ns, and how often it took less than 1 us, 2 us, 4 us, ...\n");
	if (mutex_lock_interruptible(&mn_latency_mutex))
		return -ERESTARTSYS;
	for (i = 0; mn_latencies && i < MN_CALLBACKS; i++) {
		/* Pairs with the release in mn_latency_take(). */
		if (smp_load_acquire(&mn_latencies[i].callback))
			mn_latency_show_one(m, &mn_latencies[i]);
	}
	if (atomic64_read(&mn_latency_lost))
		seq_printf(m, "# no room for %lld calls of others\n",
			   atomic64_read(&mn_latency_lost));
	mutex_unlock(&mn_latency_mutex);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(latency);

/* Another module may get the addresses of one that goes: that is not it. */
static int mn_module_notify(struct notifier_block *block, unsigned long state,
			    void *data)
{
	struct module *module = data;
	int i;

	if (state != MODULE_STATE_GOING)
		return NOTIFY_DONE;
	mutex_lock(&mn_latency_mutex);
	for (i = 0; mn_latencies && i < MN_CALLBACKS; i++) {
		struct mn_latency *slot = &mn_latencies[i];

		if (within_module((unsigned long)slot->callback, module))
			WRITE_ONCE(slot->callback, slot);
	}
	mutex_unlock(&mn_latency_mutex);
	return NOTIFY_OK;
}

static struct notifier_block mn_module_block = {
	.notifier_call = mn_module_notify,
};

/* --- Who subscribes ------------------------------------------------------ */

/* So many lines for one process, and so many of its intervals are looked at. */
#define MN_SHOWN	32
#define MN_INTERVALS	4096

static void mn_show_line(struct seq_file *m, struct task_struct *task,
			 const char *kind, unsigned long count, void *callback)
{
	char comm[TASK_COMM_LEN];

	get_task_comm(comm, task);
	seq_printf(m, "%d %s %lu %ps ", task_pid_nr(task), kind, count,
		   callback);
	seq_escape_mem(m, comm, strlen(comm), ESCAPE_SPACE | ESCAPE_SPECIAL,
		       "\n\\");
	seq_putc(m, '\n');
}

static void mn_show_list(struct seq_file *m, struct task_struct *task,
			 struct mmu_notifier_subscriptions *subs)
{
	/* G: pairs, by the dependency, with mn_get_subscriptions(). */
	struct srcu_struct *srcu = READ_ONCE(subs->srcu);
	struct mmu_notifier *sub;
	unsigned int shown = 0;
	int idx;

	if (!srcu)
		return;
	idx = srcu_read_lock(srcu);
	mn_for_each(sub, subs) {
		if (shown++ == MN_SHOWN) {
			seq_printf(m, "# %d has more\n", task_pid_nr(task));
			break;
		}
		mn_show_line(m, task, "list", READ_ONCE(sub->users),
			     mn_callback_of(sub->ops));
	}
	srcu_read_unlock(srcu, idx);
}

/* A driver may have thousands of intervals: they are counted by callback. */
static void mn_show_intervals(struct seq_file *m, struct task_struct *task,
			      struct mmu_notifier_subscriptions *subs)
{
	struct { void *callback; unsigned long count; } kinds[8] = {};
	struct interval_tree_node *node;
	unsigned int i, seen = 0;

	spin_lock(&subs->lock);
	node = interval_tree_iter_first(&subs->itree, 0, ULONG_MAX);
	while (node && seen++ < MN_INTERVALS) {
		struct mmu_interval_notifier *interval_sub =
			container_of(node, struct mmu_interval_notifier,
				     interval_tree);
		void *callback = interval_sub->ops->invalidate;

		for (i = 0; i < ARRAY_SIZE(kinds) - 1; i++) {
			if (!kinds[i].callback)
				kinds[i].callback = callback;
			if (kinds[i].callback == callback)
				break;
		}
		/* The last is for whatever does not fit. */
		kinds[i].count++;
		node = interval_tree_iter_next(node, 0, ULONG_MAX);
	}
	spin_unlock(&subs->lock);

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].count)
			mn_show_line(m, task, "interval", kinds[i].count,
				     kinds[i].callback);
	if (node)
		seq_printf(m, "# %d has more\n", task_pid_nr(task));
}

/* The process with the lowest ID from *@pos on, which is its ID then. */
static struct task_struct *mn_process_from(loff_t *pos)
{
	struct task_struct *task = NULL;
	struct pid *pid;

	rcu_read_lock();
	for (;;) {
		pid = *pos > PID_MAX_LIMIT ? NULL :
					     find_ge_pid(*pos, &init_pid_ns);
		if (!pid)
			break;
		*pos = pid_nr(pid);
		task = pid_task(pid, PIDTYPE_TGID);
		if (task) {
			get_task_struct(task);
			break;
		}
		++*pos;
	}
	rcu_read_unlock();
	return task;
}

static void *subscriptions_start(struct seq_file *m, loff_t *pos)
{
	return *pos ? mn_process_from(pos) : SEQ_START_TOKEN;
}

static void *subscriptions_next(struct seq_file *m, void *v, loff_t *pos)
{
	if (v != SEQ_START_TOKEN)
		put_task_struct(v);
	++*pos;
	return mn_process_from(pos);
}

static void subscriptions_stop(struct seq_file *m, void *v)
{
	if (v && v != SEQ_START_TOKEN)
		put_task_struct(v);
}

static int subscriptions_show(struct seq_file *m, void *v)
{
	struct mmu_notifier_subscriptions *subs;
	struct task_struct *task = v;
	struct mm_struct *mm;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, "# pid kind count callback comm\n");
		return 0;
	}
	mm = get_task_mm(task);
	if (!mm)
		return 0;
	/* A: pairs, by the dependency, with mn_get_subscriptions(). */
	subs = READ_ONCE(mm->notifier_subscriptions);
	if (subs) {
		mn_show_list(m, task, subs);
		mn_show_intervals(m, task, subs);
	}
	mmput(mm);
	return 0;
}

static const struct seq_operations subscriptions_sops = {
	.start	= subscriptions_start,
	.next	= subscriptions_next,
	.stop	= subscriptions_stop,
	.show	= subscriptions_show,
};
DEFINE_SEQ_ATTRIBUTE(subscriptions);

static int __init mn_debugfs_init(void)
{
	struct dentry *dir = debugfs_create_dir("mmu_notifier", NULL);

	debugfs_create_file("subscriptions", 0400, dir, NULL,
			    &subscriptions_fops);
	debugfs_create_file("latency", 0400, dir, NULL, &latency_fops);
	debugfs_create_file_unsafe("latency_enable", 0600, dir, NULL,
				   &mn_latency_enable_fops);
	return register_module_notifier(&mn_module_block);
}
late_initcall(mn_debugfs_init);
