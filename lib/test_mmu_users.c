// SPDX-License-Identifier: GPL-2.0
/*
 * What users of MMU notifiers do, for tests of what they rely on.
 *
 * The drivers that use MMU notifiers do more with them than is written down:
 * they look at the structure after a failure (i915, radeon), ignore the result
 * (kfd), insert from works on queues that everybody shares (mlx5), on the stack
 * and for each fault (nouveau), or thousands at once (hfi1). This does the same,
 * in the same order, when user space says so.
 *
 * The interface is described in test_mmu_users_uapi.h.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_context.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "test_mmu_users_uapi.h"

/* Sections of one mm that are open at the same time. */
#define TMU_OPEN	64
/* What a structure holds that nobody initialised. */
#define TMU_POISON	0x5a
/* How often a fault begins again before it gives up. */
#define TMU_RETRIES	1000

/**
 * struct tmu_state - what came of the last registration
 * @busy: the core is being called
 * @registered: the core said that it is
 * @ret: what the core returned
 * @changed: bytes of the structure that a failure changed
 * @ns: how long it took
 *
 * All under tmu_context.mutex.
 */
struct tmu_state {
	bool busy;
	bool registered;
	int ret;
	unsigned int changed;
	u64 ns;
};

struct tmu_interval {
	struct mmu_interval_notifier notifier;
	struct tmu_state state;
	atomic64_t hits;
};

/**
 * struct tmu_sub - a list subscription
 * @notifier: the core's part
 * @lock: protects what follows
 * @open: the sections that started and did not end; an address is one section's
 *	for as long as it lasts
 * @nr_open: how many these are
 * @starts: how many started
 * @ends: how many of these ended
 * @unmatched: ends without a start
 * @lost: starts without room in @open
 * @releases: calls of release()
 */
struct tmu_sub {
	struct mmu_notifier notifier;
	/* For what follows. */
	spinlock_t lock;
	const struct mmu_notifier_range *open[TMU_OPEN];
	unsigned int nr_open;
	u64 starts;
	u64 ends;
	u64 unmatched;
	u64 lost;
	u64 releases;
};

struct tmu_list {
	struct tmu_sub *sub;
	struct tmu_state state;
	bool get;
};

/**
 * struct tmu_holder - who holds a lock of the target
 * @work: does it
 * @held: it does, or failed with @ret
 * @let_go: it is to stop
 * @lock: enum tmu_lock
 * @ms: for how long
 * @addr: of which VMA
 * @ret: whether it could
 */
struct tmu_holder {
	struct work_struct work;
	struct completion held;
	struct completion let_go;
	unsigned int lock;
	unsigned int ms;
	unsigned long addr;
	int ret;
};

/**
 * struct tmu_context - an open file
 * @mutex: protects the states, and that there is one target; not held while the
 *	core is called
 * @mm: the target, grabbed; set once
 * @intervals: TMU_INTERVALS of them, from the first use on
 * @lists: what else is subscribed
 * @holder: whoever holds a lock
 * @hold_mutex: one TMU_HOLD or TMU_LET_GO at a time
 */
struct tmu_context {
	/* For the states; see above. */
	struct mutex mutex;
	struct mm_struct *mm;
	struct tmu_interval *intervals;
	struct tmu_list lists[TMU_LISTS];
	struct tmu_holder holder;
	/* For the holder. */
	struct mutex hold_mutex;
};

static struct workqueue_struct *tmu_hold_wq;
static struct workqueue_struct *tmu_reclaim_wq;

/* The target */

static struct mm_struct *tmu_mm_of_pid(pid_t nr)
{
	struct task_struct *task;
	struct mm_struct *mm;
	struct pid *pid;

	pid = find_get_pid(nr);
	if (!pid)
		return NULL;
	task = get_pid_task(pid, PIDTYPE_PID);
	put_pid(pid);
	if (!task)
		return NULL;
	mm = get_task_mm(task);
	put_task_struct(task);
	return mm;
}

static int tmu_target(struct tmu_context *context, unsigned long nr)
{
	struct mm_struct *mm;

	if (nr > PID_MAX_LIMIT)
		return -EINVAL;
	guard(mutex)(&context->mutex);
	if (context->mm)
		return -EBUSY;

	mm = nr ? tmu_mm_of_pid(nr) : get_task_mm(current);
	if (!mm)
		return -ESRCH;
	mmgrab(mm);
	/* Pairs with tmu_ioctl(). */
	smp_store_release(&context->mm, mm);
	mmput(mm);
	return 0;
}

/* Thousands of files are cheap as long as they do not need these. */
static int tmu_have_intervals(struct tmu_context *context)
{
	guard(mutex)(&context->mutex);
	if (!context->intervals)
		context->intervals = kvcalloc(TMU_INTERVALS,
					      sizeof(*context->intervals),
					      GFP_KERNEL);
	return context->intervals ? 0 : -ENOMEM;
}

/* As drivers do: one's own needs no reference. */
static bool tmu_get_mm(struct mm_struct *mm)
{
	return mm == current->mm || mmget_not_zero(mm);
}

static void tmu_put_mm(struct mm_struct *mm)
{
	if (mm != current->mm)
		mmput(mm);
}

/* Calling the core */

static unsigned int tmu_count_changed(const void *before, const void *after,
				      size_t size)
{
	const u8 *a = before, *b = after;
	unsigned int changed = 0;

	while (size--)
		changed += *a++ != *b++;
	return changed;
}

/* Nobody else calls the core for it until the state is written. */
static int tmu_claim_any(struct tmu_context *context, struct tmu_state *state)
{
	guard(mutex)(&context->mutex);
	if (state->busy)
		return -EBUSY;
	state->busy = true;
	return 0;
}

/* The same, if it is in the right state, or TMU_AGAIN says that it need not. */
static int tmu_claim(struct tmu_context *context, struct tmu_state *state,
		     bool registered, unsigned int flags)
{
	guard(mutex)(&context->mutex);
	if (state->busy)
		return -EBUSY;
	if (state->registered != registered) {
		if (!(flags & TMU_AGAIN))
			return -EBUSY;
		if (IS_ENABLED(CONFIG_MMU_NOTIFIER_STOCK))
			return -EOPNOTSUPP;
	}
	state->busy = true;
	return 0;
}

/* What happens right before the core is called; tmu_after() is its end. */
static ktime_t tmu_before(struct mm_struct *mm, unsigned int flags)
{
	if (flags & TMU_KILLED)
		send_sig(SIGKILL, current, 1);
	if (flags & TMU_LOCKED)
		mmap_write_lock(mm);
	return ktime_get();
}

static u64 tmu_after(struct mm_struct *mm, unsigned int flags, ktime_t begin)
{
	u64 ns = ktime_to_ns(ktime_sub(ktime_get(), begin));

	if (flags & TMU_LOCKED) {
		mmap_assert_write_locked(mm);
		mmap_write_unlock(mm);
	}
	return ns;
}

/* Intervals */

static bool tmu_invalidate(struct mmu_interval_notifier *notifier,
			   const struct mmu_notifier_range *range,
			   unsigned long cur_seq)
{
	struct tmu_interval *interval =
		container_of(notifier, struct tmu_interval, notifier);

	mmu_interval_set_seq(notifier, cur_seq);
	atomic64_inc(&interval->hits);
	return true;
}

static const struct mmu_interval_notifier_ops tmu_interval_ops = {
	.invalidate	= tmu_invalidate,
};

static int tmu_insert_one(struct tmu_context *context,
			  struct tmu_interval *interval, unsigned long start,
			  unsigned long length, unsigned int flags)
{
	struct mmu_interval_notifier *notifier = &interval->notifier;
	struct mmu_interval_notifier before;
	struct mm_struct *mm = context->mm;
	unsigned int changed = 0;
	ktime_t begin;
	int ret;
	u64 ns;

	ret = tmu_claim(context, &interval->state, false, flags);
	if (ret)
		return ret;
	if (!(flags & TMU_AGAIN)) {
		memset(notifier, flags & TMU_JUNK ? TMU_POISON : 0,
		       sizeof(*notifier));
		atomic64_set(&interval->hits, 0);
	}
	memcpy(&before, notifier, sizeof(before));

	begin = tmu_before(mm, flags);
	if (flags & TMU_LOCKED)
		ret = mmu_interval_notifier_insert_locked(notifier, mm, start,
							  length,
							  &tmu_interval_ops);
	else
		ret = mmu_interval_notifier_insert(notifier, mm, start, length,
						   &tmu_interval_ops);
	ns = tmu_after(mm, flags, begin);
	if (ret)
		changed = tmu_count_changed(&before, notifier, sizeof(before));

	guard(mutex)(&context->mutex);
	interval->state.busy = false;
	interval->state.registered |= !ret;
	interval->state.ret = ret;
	interval->state.changed = changed;
	interval->state.ns = ns;
	return ret;
}

static int tmu_remove_one(struct tmu_context *context,
			  struct tmu_interval *interval, unsigned int flags,
			  bool *removed)
{
	struct mmu_interval_notifier *notifier = &interval->notifier;
	int ret;

	/* These two look at the structure only, whatever we know. */
	if (flags & (TMU_IF_MM | TMU_IF_TREE))
		ret = tmu_claim_any(context, &interval->state);
	else
		ret = tmu_claim(context, &interval->state, true, flags);
	if (ret)
		return ret;

	if (flags & TMU_IF_MM)
		*removed = notifier->mm;
	else if (flags & TMU_IF_TREE)
		*removed = notifier->interval_tree.start &&
			   notifier->interval_tree.last;
	else
		*removed = true;
	if (*removed)
		mmu_interval_notifier_remove(notifier);
	if (flags & TMU_IF_MM)
		notifier->mm = NULL;

	guard(mutex)(&context->mutex);
	interval->state.busy = false;
	interval->state.registered &= !*removed;
	return 0;
}

static int tmu_check_intervals(const struct tmu_interval_op *args, bool insert)
{
	u64 bytes;

	if (args->reserved || !args->nr || args->nr > TMU_INTERVALS ||
	    args->first > TMU_INTERVALS - args->nr ||
	    args->start > ULONG_MAX || args->length > ULONG_MAX)
		return -EINVAL;
	if (!insert) {
		if (args->start || args->length)
			return -EINVAL;
		switch (args->flags) {
		case 0:
		case TMU_IF_MM:
		case TMU_IF_TREE:
		case TMU_AGAIN:
			return 0;
		default:
			return -EINVAL;
		}
	}
	if (args->flags & ~(TMU_LOCKED | TMU_KILLED | TMU_JUNK | TMU_AGAIN))
		return -EINVAL;
	/* Of a single one the core has to check the range. */
	if (args->nr > 1 &&
	    (!args->length ||
	     check_mul_overflow(args->length, (u64)args->nr, &bytes) ||
	     bytes - 1 > ULONG_MAX - args->start))
		return -EINVAL;
	return 0;
}

static int tmu_intervals(struct tmu_context *context, void __user *uptr,
			 bool insert)
{
	struct mm_struct *mm = context->mm;
	struct tmu_interval_op args;
	unsigned int i;
	int ret;

	if (copy_from_user(&args, uptr, sizeof(args)))
		return -EFAULT;
	ret = tmu_check_intervals(&args, insert) ?: tmu_have_intervals(context);
	if (ret)
		return ret;
	if (insert && !tmu_get_mm(mm))
		return -ESRCH;

	args.done = 0;
	args.ret = 0;
	args.slowest_ns = 0;
	for (i = 0; i < args.nr; i++) {
		struct tmu_interval *interval =
			&context->intervals[args.first + i];
		bool done = true;

		if (insert) {
			ret = tmu_insert_one(context, interval,
					     args.start + i * args.length,
					     args.length, args.flags);
			args.slowest_ns = max(args.slowest_ns,
					      interval->state.ns);
		} else {
			ret = tmu_remove_one(context, interval, args.flags,
					     &done);
		}
		if (ret)
			break;
		args.done += done;
		cond_resched();
	}
	if (insert)
		tmu_put_mm(mm);
	args.ret = ret;
	return copy_to_user(uptr, &args, sizeof(args)) ? -EFAULT : 0;
}

/* Lists */

static int tmu_start(struct mmu_notifier *notifier,
		     const struct mmu_notifier_range *range)
{
	struct tmu_sub *sub = container_of(notifier, struct tmu_sub, notifier);
	unsigned int i;

	guard(spinlock)(&sub->lock);
	for (i = 0; i < TMU_OPEN && sub->open[i]; i++)
		;
	if (i == TMU_OPEN) {
		sub->lost++;
		return 0;
	}
	sub->open[i] = range;
	sub->nr_open++;
	sub->starts++;
	return 0;
}

static void tmu_end(struct mmu_notifier *notifier,
		    const struct mmu_notifier_range *range)
{
	struct tmu_sub *sub = container_of(notifier, struct tmu_sub, notifier);
	unsigned int i;

	guard(spinlock)(&sub->lock);
	for (i = 0; i < TMU_OPEN && sub->open[i] != range; i++)
		;
	if (i == TMU_OPEN) {
		sub->unmatched++;
		return;
	}
	sub->open[i] = NULL;
	sub->nr_open--;
	sub->ends++;
}

static void tmu_release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	struct tmu_sub *sub = container_of(notifier, struct tmu_sub, notifier);

	guard(spinlock)(&sub->lock);
	sub->releases++;
}

static struct tmu_sub *tmu_new_sub(void)
{
	struct tmu_sub *sub = kzalloc(sizeof(*sub), GFP_KERNEL);

	if (sub)
		spin_lock_init(&sub->lock);
	return sub;
}

static struct mmu_notifier *tmu_alloc(struct mm_struct *mm)
{
	struct tmu_sub *sub = tmu_new_sub();

	return sub ? &sub->notifier : ERR_PTR(-ENOMEM);
}

static void tmu_free(struct mmu_notifier *notifier)
{
	kfree(container_of(notifier, struct tmu_sub, notifier));
}

/* Get finds by the ops, so those who register have others. */
static const struct mmu_notifier_ops tmu_range_ops = {
	.invalidate_range_start	= tmu_start,
	.invalidate_range_end	= tmu_end,
	.release		= tmu_release,
};

static const struct mmu_notifier_ops tmu_get_range_ops = {
	.invalidate_range_start	= tmu_start,
	.invalidate_range_end	= tmu_end,
	.release		= tmu_release,
	.alloc_notifier		= tmu_alloc,
	.free_notifier		= tmu_free,
};

static const struct mmu_notifier_ops tmu_release_ops = {
	.release		= tmu_release,
};

static const struct mmu_notifier_ops tmu_get_release_ops = {
	.release		= tmu_release,
	.alloc_notifier		= tmu_alloc,
	.free_notifier		= tmu_free,
};

static const struct mmu_notifier_ops *tmu_ops(unsigned int flags)
{
	if (flags & TMU_GET)
		return flags & TMU_RELEASE ? &tmu_get_release_ops :
					     &tmu_get_range_ops;
	return flags & TMU_RELEASE ? &tmu_release_ops : &tmu_range_ops;
}

static int tmu_get_list(struct mm_struct *mm, struct tmu_list *list,
			const struct mmu_notifier_ops *ops, unsigned int flags)
{
	struct mmu_notifier *notifier;

	if (flags & TMU_LOCKED)
		notifier = mmu_notifier_get_locked(ops, mm);
	else
		notifier = mmu_notifier_get(ops, mm);
	if (IS_ERR(notifier))
		return PTR_ERR(notifier);
	list->sub = container_of(notifier, struct tmu_sub, notifier);
	return 0;
}

static int tmu_register_list(struct tmu_context *context,
			     struct tmu_list *list, unsigned int flags)
{
	const struct mmu_notifier_ops *ops = tmu_ops(flags);
	struct mm_struct *mm = context->mm;
	struct mmu_notifier before = {};
	unsigned int changed = 0;
	struct tmu_sub *sub;
	ktime_t begin;
	int ret;
	u64 ns;

	ret = tmu_claim(context, &list->state, false, flags);
	if (ret)
		return ret;
	if (!(flags & TMU_AGAIN)) {
		/* What was unregistered stays, to be misused. */
		kfree(list->sub);
		list->sub = NULL;
		list->get = flags & TMU_GET;
		if (!list->get) {
			list->sub = tmu_new_sub();
			ret = list->sub ? 0 : -ENOMEM;
		}
	} else if (!list->sub || list->get) {
		ret = -EINVAL;
	}
	sub = list->sub;
	if (ret) {
		guard(mutex)(&context->mutex);
		list->state.busy = false;
		return ret;
	}
	if (sub && !(flags & TMU_AGAIN)) {
		memset(&sub->notifier, flags & TMU_JUNK ? TMU_POISON : 0,
		       sizeof(sub->notifier));
		sub->notifier.ops = ops;
	}
	if (sub)
		before = sub->notifier;

	begin = tmu_before(mm, flags);
	if (list->get)
		ret = tmu_get_list(mm, list, ops, flags);
	else if (flags & TMU_LOCKED)
		ret = __mmu_notifier_register(&sub->notifier, mm);
	else
		ret = mmu_notifier_register(&sub->notifier, mm);
	ns = tmu_after(mm, flags, begin);
	if (ret && sub)
		changed = tmu_count_changed(&before, &sub->notifier,
					    sizeof(before));

	guard(mutex)(&context->mutex);
	list->state.busy = false;
	list->state.registered |= !ret;
	list->state.ret = ret;
	list->state.changed = changed;
	list->state.ns = ns;
	return ret;
}

/* The caller has claimed it, or has the context for itself. */
static void tmu_drop_list(struct tmu_context *context, struct tmu_list *list)
{
	struct tmu_sub *sub = list->sub;

	if (list->get) {
		list->sub = NULL;
		mmu_notifier_put(&sub->notifier);
	} else {
		mmu_notifier_unregister(&sub->notifier, context->mm);
	}
}

static int tmu_unregister_list(struct tmu_context *context,
			       struct tmu_list *list, unsigned int flags)
{
	int ret = tmu_claim(context, &list->state, true, flags);

	if (ret)
		return ret;
	if (list->sub)
		tmu_drop_list(context, list);
	else
		ret = -EINVAL;

	guard(mutex)(&context->mutex);
	list->state.busy = false;
	list->state.registered = false;
	return ret;
}

static int tmu_list(struct tmu_context *context, void __user *uptr,
		    bool insert)
{
	struct mm_struct *mm = context->mm;
	unsigned int allowed = TMU_AGAIN;
	struct tmu_list_op args;
	struct tmu_list *list;
	ktime_t begin;

	if (insert)
		allowed |= TMU_LOCKED | TMU_KILLED | TMU_JUNK | TMU_GET |
			   TMU_RELEASE;
	if (copy_from_user(&args, uptr, sizeof(args)))
		return -EFAULT;
	if (args.reserved || args.id >= TMU_LISTS || args.flags & ~allowed ||
	    (args.flags & TMU_GET && args.flags & (TMU_AGAIN | TMU_JUNK)))
		return -EINVAL;
	if (insert && !tmu_get_mm(mm))
		return -ESRCH;

	list = &context->lists[args.id];
	begin = ktime_get();
	if (insert)
		args.ret = tmu_register_list(context, list, args.flags);
	else
		args.ret = tmu_unregister_list(context, list, args.flags);
	args.ns = ktime_to_ns(ktime_sub(ktime_get(), begin));
	if (insert)
		tmu_put_mm(mm);
	return copy_to_user(uptr, &args, sizeof(args)) ? -EFAULT : 0;
}

/* What came of it */

static void tmu_look_state(struct tmu_look *args, const struct tmu_state *state)
{
	args->busy = state->busy;
	args->ret = state->ret;
	args->changed = state->changed;
	args->ns = state->ns;
}

static void tmu_look_interval(struct tmu_look *args,
			      const struct tmu_interval *interval)
{
	tmu_look_state(args, &interval->state);
	args->mm = !!READ_ONCE(interval->notifier.mm);
	args->start = READ_ONCE(interval->notifier.interval_tree.start);
	args->last = READ_ONCE(interval->notifier.interval_tree.last);
	args->hits = atomic64_read(&interval->hits);
	args->cookie = (uintptr_t)interval;
}

static void tmu_look_list(struct tmu_look *args, const struct tmu_list *list)
{
	struct tmu_sub *sub = list->sub;

	tmu_look_state(args, &list->state);
	/* One that is being registered or dropped may be freed under us. */
	if (!sub || list->state.busy)
		return;
	guard(spinlock)(&sub->lock);
	args->mm = !!sub->notifier.mm;
	args->hits = sub->releases;
	args->starts = sub->starts;
	args->ends = sub->ends;
	args->unmatched = sub->unmatched;
	args->lost = sub->lost;
	args->open = sub->nr_open;
	args->cookie = (uintptr_t)sub;
}

static int tmu_look(struct tmu_context *context, void __user *uptr)
{
	struct tmu_look args, in;

	if (copy_from_user(&in, uptr, sizeof(in)))
		return -EFAULT;
	if (in.list > 1 || in.id >= (in.list ? TMU_LISTS : TMU_INTERVALS))
		return -EINVAL;
	memset(&args, 0, sizeof(args));
	args.id = in.id;
	args.list = in.list;

	mutex_lock(&context->mutex);
	if (args.list)
		tmu_look_list(&args, &context->lists[args.id]);
	else if (context->intervals)
		tmu_look_interval(&args, &context->intervals[args.id]);
	mutex_unlock(&context->mutex);
	return copy_to_user(uptr, &args, sizeof(args)) ? -EFAULT : 0;
}

struct tmu_use_mm {
	struct work_struct work;
	struct mm_struct *mm;
};

/* A kernel thread drops what it has borrowed when it uses another. */
static void tmu_use_mm(struct work_struct *work)
{
	struct tmu_use_mm *use = container_of(work, struct tmu_use_mm, work);

	kthread_use_mm(use->mm);
	kthread_unuse_mm(use->mm);
}

static int tmu_count(struct tmu_context *context)
{
	struct tmu_use_mm use = { .mm = current->mm };
	int cpu;

	if (context->mm == current->mm)
		return -EBUSY;
	INIT_WORK_ONSTACK(&use.work, tmu_use_mm);
	cpus_read_lock();
	for_each_online_cpu(cpu) {
		schedule_work_on(cpu, &use.work);
		flush_work(&use.work);
	}
	cpus_read_unlock();
	destroy_work_on_stack(&use.work);
	return atomic_read(&context->mm->mm_count);
}

/* Who holds locks */

static int tmu_take_vma_lock(struct tmu_holder *holder,
			     struct vm_area_struct *vma, void **held)
{
	switch (holder->lock) {
	case TMU_I_MMAP_READ:
	case TMU_I_MMAP_WRITE:
		if (!vma->vm_file)
			return -ENOENT;
		*held = get_file(vma->vm_file);
		if (holder->lock == TMU_I_MMAP_READ)
			i_mmap_lock_read(vma->vm_file->f_mapping);
		else
			i_mmap_lock_write(vma->vm_file->f_mapping);
		return 0;
	case TMU_ANON_VMA_READ:
	case TMU_ANON_VMA_WRITE:
		/* Whoever frees it takes the lock: it stays while we have it. */
		*held = vma->anon_vma;
		if (!*held)
			return -ENOENT;
		if (holder->lock == TMU_ANON_VMA_READ)
			anon_vma_lock_read(vma->anon_vma);
		else
			anon_vma_lock_write(vma->anon_vma);
		return 0;
	case TMU_VMA_READ:
#ifdef CONFIG_PER_VMA_LOCK
		*held = vma;
		return vma_start_read(vma) ? 0 : -EAGAIN;
#else
		return -ENOENT;
#endif
	default:
		return -EINVAL;
	}
}

static void tmu_drop_vma_lock(struct tmu_holder *holder, void *held)
{
	struct file *file = held;

	switch (holder->lock) {
	case TMU_I_MMAP_READ:
		i_mmap_unlock_read(file->f_mapping);
		fput(file);
		break;
	case TMU_I_MMAP_WRITE:
		i_mmap_unlock_write(file->f_mapping);
		fput(file);
		break;
	case TMU_ANON_VMA_READ:
		anon_vma_unlock_read(held);
		break;
	case TMU_ANON_VMA_WRITE:
		anon_vma_unlock_write(held);
		break;
	case TMU_VMA_READ:
#ifdef CONFIG_PER_VMA_LOCK
		vma_end_read(held);
#endif
		break;
	}
}

static void tmu_wait_to_let_go(struct tmu_holder *holder)
{
	complete(&holder->held);
	wait_for_completion_timeout(&holder->let_go,
				    msecs_to_jiffies(holder->ms));
}

static void tmu_hold_mmap(struct tmu_holder *holder, struct mm_struct *mm)
{
	if (holder->lock == TMU_MMAP_READ) {
		mmap_read_lock(mm);
		tmu_wait_to_let_go(holder);
		mmap_read_unlock(mm);
	} else {
		mmap_write_lock(mm);
		tmu_wait_to_let_go(holder);
		mmap_write_unlock(mm);
	}
}

static void tmu_hold_vma(struct tmu_holder *holder, struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	void *held = NULL;

	mmap_read_lock(mm);
	vma = vma_lookup(mm, holder->addr);
	holder->ret = vma ? tmu_take_vma_lock(holder, vma, &held) : -ENOENT;
	mmap_read_unlock(mm);
	if (holder->ret) {
		complete(&holder->held);
		return;
	}
	tmu_wait_to_let_go(holder);
	tmu_drop_vma_lock(holder, held);
}

/* The file waits for it, so the context and its mm are there. */
static void tmu_hold_work(struct work_struct *work)
{
	struct tmu_holder *holder = container_of(work, struct tmu_holder, work);
	struct tmu_context *context =
		container_of(holder, struct tmu_context, holder);
	struct mm_struct *mm = context->mm;

	holder->ret = 0;
	if (!mmget_not_zero(mm)) {
		holder->ret = -ESRCH;
		complete(&holder->held);
		return;
	}
	if (holder->lock == TMU_MMAP_READ || holder->lock == TMU_MMAP_WRITE)
		tmu_hold_mmap(holder, mm);
	else
		tmu_hold_vma(holder, mm);
	mmput(mm);
}

static int tmu_hold(struct tmu_context *context, void __user *uptr)
{
	struct tmu_holder *holder = &context->holder;
	struct tmu_hold args;

	if (copy_from_user(&args, uptr, sizeof(args)))
		return -EFAULT;
	if (args.lock >= TMU_LOCKS || !args.ms || args.ms > TMU_MAX_MS ||
	    args.addr > ULONG_MAX)
		return -EINVAL;
	guard(mutex)(&context->hold_mutex);
	if (work_busy(&holder->work))
		return -EBUSY;
	holder->lock = args.lock;
	holder->ms = args.ms;
	holder->addr = args.addr;
	reinit_completion(&holder->held);
	reinit_completion(&holder->let_go);
	queue_work(tmu_hold_wq, &holder->work);
	wait_for_completion(&holder->held);
	if (holder->ret)
		flush_work(&holder->work);
	return holder->ret;
}

static int tmu_let_go(struct tmu_context *context)
{
	guard(mutex)(&context->hold_mutex);
	complete(&context->holder.let_go);
	flush_work(&context->holder.work);
	return 0;
}

/* Works, as mlx5's */

struct tmu_work {
	struct work_struct work;
	struct tmu_interval interval;
	struct mm_struct *mm;
	unsigned long start;
	unsigned long length;
	ktime_t done;
	int ret;
};

static void tmu_insert_work(struct work_struct *w)
{
	struct tmu_work *work = container_of(w, struct tmu_work, work);

	work->ret = -ESRCH;
	if (mmget_not_zero(work->mm)) {
		work->ret = mmu_interval_notifier_insert(&work->interval.notifier,
							 work->mm, work->start,
							 work->length,
							 &tmu_interval_ops);
		mmput(work->mm);
	}
	work->done = ktime_get();
}

static int tmu_works(struct tmu_context *context, void __user *uptr)
{
	struct workqueue_struct *wq;
	struct tmu_works args;
	struct tmu_work *works;
	ktime_t begin;
	unsigned int i;
	u64 bytes;

	if (copy_from_user(&args, uptr, sizeof(args)))
		return -EFAULT;
	if (!args.nr || args.nr > TMU_MAX_WORKS || args.reclaim > 1 ||
	    !args.length || args.start > ULONG_MAX ||
	    check_mul_overflow(args.length, (u64)args.nr, &bytes) ||
	    bytes - 1 > ULONG_MAX - args.start)
		return -EINVAL;
	works = kvcalloc(args.nr, sizeof(*works), GFP_KERNEL);
	if (!works)
		return -ENOMEM;

	wq = args.reclaim ? tmu_reclaim_wq : system_unbound_wq;
	begin = ktime_get();
	for (i = 0; i < args.nr; i++) {
		INIT_WORK(&works[i].work, tmu_insert_work);
		works[i].mm = context->mm;
		works[i].start = args.start + i * args.length;
		works[i].length = args.length;
		queue_work(wq, &works[i].work);
	}
	args.failed = 0;
	args.ret = 0;
	args.slowest_ns = 0;
	for (i = 0; i < args.nr; i++) {
		flush_work(&works[i].work);
		args.slowest_ns = max_t(u64, args.slowest_ns,
					ktime_to_ns(ktime_sub(works[i].done,
							      begin)));
		if (works[i].ret) {
			args.failed++;
			args.ret = works[i].ret;
		}
	}
	for (i = 0; i < args.nr; i++) {
		if (!works[i].ret)
			mmu_interval_notifier_remove(&works[i].interval.notifier);
	}
	kvfree(works);
	return copy_to_user(uptr, &args, sizeof(args)) ? -EFAULT : 0;
}

/* Faults, as nouveau's */

/* What the device would be given: 0, or 1 if there is nothing. */
static int tmu_read_page(struct mm_struct *mm, unsigned long addr)
{
	struct page *page;
	int locked = 1;
	long got;

	mmap_read_lock(mm);
	got = get_user_pages_remote(mm, addr, 1, 0, &page, &locked);
	if (locked)
		mmap_read_unlock(mm);
	if (got != 1)
		return 1;
	put_page(page);
	return 0;
}

/* The device's lock. */
static DEFINE_MUTEX(tmu_device_mutex);

static bool tmu_invalidate_fault(struct mmu_interval_notifier *notifier,
				 const struct mmu_notifier_range *range,
				 unsigned long cur_seq)
{
	if (mmu_notifier_range_blockable(range))
		mutex_lock(&tmu_device_mutex);
	else if (!mutex_trylock(&tmu_device_mutex))
		return false;
	mmu_interval_set_seq(notifier, cur_seq);
	mutex_unlock(&tmu_device_mutex);
	return true;
}

static const struct mmu_interval_notifier_ops tmu_fault_ops = {
	.invalidate	= tmu_invalidate_fault,
};

static void tmu_handle_fault(struct mm_struct *mm, unsigned long addr,
			     struct tmu_faults *args)
{
	struct mmu_interval_notifier notifier;
	unsigned long seq;
	ktime_t begin;
	bool retry;
	int ret, i;
	u64 ns;

	/* nouveau initialises nothing. */
	memset(&notifier, TMU_POISON, sizeof(notifier));
	begin = ktime_get();
	ret = mmu_interval_notifier_insert(&notifier, mm, addr, PAGE_SIZE,
					   &tmu_fault_ops);
	ns = ktime_to_ns(ktime_sub(ktime_get(), begin));
	args->slowest_ns = max(args->slowest_ns, ns);
	if (ret) {
		args->failed++;
		args->ret = ret;
		return;
	}

	for (i = 0; i < TMU_RETRIES; i++) {
		seq = mmu_interval_read_begin(&notifier);
		if (tmu_read_page(mm, addr)) {
			args->nothing++;
			break;
		}
		mutex_lock(&tmu_device_mutex);
		retry = mmu_interval_read_retry(&notifier, seq);
		mutex_unlock(&tmu_device_mutex);
		if (!retry)
			break;
		args->retries++;
	}
	args->starved += i == TMU_RETRIES;
	mmu_interval_notifier_remove(&notifier);
}

static int tmu_faults(struct tmu_context *context, void __user *uptr)
{
	struct mm_struct *mm = context->mm;
	struct tmu_faults args;
	unsigned int i;
	int ret = 0;

	if (copy_from_user(&args, uptr, sizeof(args)))
		return -EFAULT;
	if (!args.nr || args.nr > TMU_MAX_FAULTS || !args.pages ||
	    args.reserved || !PAGE_ALIGNED(args.start) ||
	    args.start >= TASK_SIZE ||
	    args.pages > (TASK_SIZE - args.start) / PAGE_SIZE)
		return -EINVAL;
	if (!tmu_get_mm(mm))
		return -ESRCH;
	args.failed = 0;
	args.ret = 0;
	args.nothing = 0;
	args.retries = 0;
	args.starved = 0;
	args.slowest_ns = 0;
	for (i = 0; i < args.nr && !ret; i++) {
		tmu_handle_fault(mm, args.start + i % args.pages * PAGE_SIZE,
				 &args);
		if (fatal_signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}
	tmu_put_mm(mm);
	if (copy_to_user(uptr, &args, sizeof(args)))
		return -EFAULT;
	return ret;
}

/* The device */

static int tmu_open(struct inode *inode, struct file *filp)
{
	struct tmu_context *context;

	/* It waits, and makes others wait, on behalf of any process. */
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	context = kvzalloc(sizeof(*context), GFP_KERNEL);
	if (!context)
		return -ENOMEM;
	mutex_init(&context->mutex);
	mutex_init(&context->hold_mutex);
	INIT_WORK(&context->holder.work, tmu_hold_work);
	init_completion(&context->holder.held);
	init_completion(&context->holder.let_go);
	filp->private_data = context;
	return 0;
}

static int tmu_close(struct inode *inode, struct file *filp)
{
	struct tmu_context *context = filp->private_data;
	unsigned int i;

	tmu_let_go(context);
	for (i = 0; context->intervals && i < TMU_INTERVALS; i++) {
		struct tmu_interval *interval = &context->intervals[i];

		if (interval->state.registered)
			mmu_interval_notifier_remove(&interval->notifier);
	}
	for (i = 0; context->mm && i < TMU_LISTS; i++) {
		struct tmu_list *list = &context->lists[i];

		if (list->state.registered)
			tmu_drop_list(context, list);
		kfree(list->sub);
	}
	if (context->mm)
		mmdrop(context->mm);
	kvfree(context->intervals);
	kvfree(context);
	return 0;
}

static long tmu_ioctl(struct file *filp, unsigned int command,
		      unsigned long arg)
{
	struct tmu_context *context = filp->private_data;
	void __user *uptr = (void __user *)arg;

	if (command == TMU_TARGET)
		return tmu_target(context, arg);
	/* Pairs with tmu_target(). */
	if (!smp_load_acquire(&context->mm))
		return -ENOTCONN;

	switch (command) {
	case TMU_INSERT:
		return tmu_intervals(context, uptr, true);
	case TMU_REMOVE:
		return tmu_intervals(context, uptr, false);
	case TMU_REGISTER:
		return tmu_list(context, uptr, true);
	case TMU_UNREGISTER:
		return tmu_list(context, uptr, false);
	case TMU_LOOK:
		return tmu_look(context, uptr);
	case TMU_HOLD:
		return tmu_hold(context, uptr);
	case TMU_LET_GO:
		return tmu_let_go(context);
	case TMU_WORKS:
		return tmu_works(context, uptr);
	case TMU_FAULTS:
		return tmu_faults(context, uptr);
	case TMU_COUNT:
		return tmu_count(context);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations tmu_fops = {
	.owner		= THIS_MODULE,
	.open		= tmu_open,
	.release	= tmu_close,
	.unlocked_ioctl	= tmu_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.llseek		= noop_llseek,
};

static struct miscdevice tmu_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "test_mmu_users",
	.fops	= &tmu_fops,
	.mode	= 0600,
};

static void tmu_destroy_queues(void)
{
	if (tmu_hold_wq)
		destroy_workqueue(tmu_hold_wq);
	if (tmu_reclaim_wq)
		destroy_workqueue(tmu_reclaim_wq);
}

static int __init tmu_init(void)
{
	int ret = -ENOMEM;

	tmu_hold_wq = alloc_workqueue("test_mmu_users_hold", WQ_UNBOUND, 0);
	tmu_reclaim_wq = alloc_workqueue("test_mmu_users",
					 WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (tmu_hold_wq && tmu_reclaim_wq)
		ret = misc_register(&tmu_device);
	if (ret)
		tmu_destroy_queues();
	return ret;
}
module_init(tmu_init);

static void __exit tmu_exit(void)
{
	misc_deregister(&tmu_device);
	tmu_destroy_queues();
	/* What mmu_notifier_put() left to be freed needs our code. */
	mmu_notifier_synchronize();
}
module_exit(tmu_exit);

MODULE_DESCRIPTION("What users of MMU notifiers do, for tests of them");
MODULE_LICENSE("GPL");
