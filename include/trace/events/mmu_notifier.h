/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mmu_notifier

#if !defined(_TRACE_MMU_NOTIFIER_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_MMU_NOTIFIER_H

#include <linux/mmu_notifier.h>
#include <linux/tracepoint.h>

#define MMU_NOTIFIER_REASONS				\
	EM(MMU_NOTIFY_UNMAP, "unmap")			\
	EM(MMU_NOTIFY_CLEAR, "clear")			\
	EM(MMU_NOTIFY_PROTECTION_VMA, "protection_vma")	\
	EM(MMU_NOTIFY_PROTECTION_PAGE, "protection_page") \
	EM(MMU_NOTIFY_SOFT_DIRTY, "soft_dirty")		\
	EM(MMU_NOTIFY_RELEASE, "release")		\
	EM(MMU_NOTIFY_MIGRATE, "migrate")		\
	EMe(MMU_NOTIFY_EXCLUSIVE, "exclusive")

#undef EM
#undef EMe
#define EM(a, b)	TRACE_DEFINE_ENUM(a);
#define EMe(a, b)	TRACE_DEFINE_ENUM(a);

MMU_NOTIFIER_REASONS

#undef EM
#undef EMe
#define EM(a, b)	{ a, b },
#define EMe(a, b)	{ a, b }

DECLARE_EVENT_CLASS(mmu_notifier_subscription,

	TP_PROTO(struct mm_struct *mm, void *callback, int ret),

	TP_ARGS(mm, callback, ret),

	TP_STRUCT__entry(
		__field(void *,	mm)
		__field(void *,	callback)
		__field(int,	ret)
	),

	TP_fast_assign(
		__entry->mm = mm;
		__entry->callback = callback;
		__entry->ret = ret;
	),

	TP_printk("mm=%p callback=%ps ret=%d", __entry->mm, __entry->callback,
		  __entry->ret)
);

/* A subscription was made, or not (ret); a callback tells whose it is. */
DEFINE_EVENT(mmu_notifier_subscription, mmu_notifier_register,

	TP_PROTO(struct mm_struct *mm, void *callback, int ret),

	TP_ARGS(mm, callback, ret)
);

/* A subscription ended: no callback of it runs any more. */
DEFINE_EVENT(mmu_notifier_subscription, mmu_notifier_unregister,

	TP_PROTO(struct mm_struct *mm, void *callback, int ret),

	TP_ARGS(mm, callback, ret)
);

/* A registration looked at the locks of so many VMAs, and waited for some. */
TRACE_EVENT(mmu_notifier_drain,

	TP_PROTO(struct mm_struct *mm, unsigned int vmas, unsigned int waits,
		 u64 ns, u64 longest_ns, int ret),

	TP_ARGS(mm, vmas, waits, ns, longest_ns, ret),

	TP_STRUCT__entry(
		__field(void *,		mm)
		__field(unsigned int,	vmas)
		__field(unsigned int,	waits)
		__field(u64,		ns)
		__field(u64,		longest_ns)
		__field(int,		ret)
	),

	TP_fast_assign(
		__entry->mm = mm;
		__entry->vmas = vmas;
		__entry->waits = waits;
		__entry->ns = ns;
		__entry->longest_ns = longest_ns;
		__entry->ret = ret;
	),

	TP_printk("mm=%p vmas=%u waits=%u ns=%llu longest_ns=%llu ret=%d",
		  __entry->mm, __entry->vmas, __entry->waits, __entry->ns,
		  __entry->longest_ns, __entry->ret)
);

DECLARE_EVENT_CLASS(mmu_notifier_range,

	TP_PROTO(const struct mmu_notifier_range *range, int ret),

	TP_ARGS(range, ret),

	TP_STRUCT__entry(
		__field(void *,		mm)
		__field(unsigned long,	start)
		__field(unsigned long,	end)
		__field(unsigned int,	reason)
		__field(bool,		blockable)
		__field(int,		ret)
	),

	TP_fast_assign(
		__entry->mm = range->mm;
		__entry->start = range->start;
		__entry->end = range->end;
		__entry->reason = range->event;
		__entry->blockable = mmu_notifier_range_blockable(range);
		__entry->ret = ret;
	),

	TP_printk("mm=%p start=%lx end=%lx reason=%s blockable=%d ret=%d",
		  __entry->mm, __entry->start, __entry->end,
		  __print_symbolic(__entry->reason, MMU_NOTIFIER_REASONS),
		  __entry->blockable, __entry->ret)
);

/* A section began: all subscriptions were told, or one refused (ret). */
DEFINE_EVENT(mmu_notifier_range, mmu_notifier_range_start,

	TP_PROTO(const struct mmu_notifier_range *range, int ret),

	TP_ARGS(range, ret)
);

/* A section ended, and all subscriptions were told. */
DEFINE_EVENT(mmu_notifier_range, mmu_notifier_range_end,

	TP_PROTO(const struct mmu_notifier_range *range, int ret),

	TP_ARGS(range, ret)
);

/* A callback has returned: what it was called for, and how long it took. */
TRACE_EVENT(mmu_notifier_callback,

	TP_PROTO(void *callback, struct mm_struct *mm, unsigned long start,
		 unsigned long end, u64 ns, int ret),

	TP_ARGS(callback, mm, start, end, ns, ret),

	TP_STRUCT__entry(
		__field(void *,		callback)
		__field(void *,		mm)
		__field(unsigned long,	start)
		__field(unsigned long,	end)
		__field(u64,		ns)
		__field(int,		ret)
	),

	TP_fast_assign(
		__entry->callback = callback;
		__entry->mm = mm;
		__entry->start = start;
		__entry->end = end;
		__entry->ns = ns;
		__entry->ret = ret;
	),

	TP_printk("callback=%ps mm=%p start=%lx end=%lx ns=%llu ret=%d",
		  __entry->callback, __entry->mm, __entry->start, __entry->end,
		  __entry->ns, __entry->ret)
);

/* Entries were changed under the PTL, and all subscriptions were told. */
TRACE_EVENT(mmu_notifier_invalidate_page,

	TP_PROTO(struct mm_struct *mm, unsigned long address,
		 unsigned long size),

	TP_ARGS(mm, address, size),

	TP_STRUCT__entry(
		__field(void *,		mm)
		__field(unsigned long,	address)
		__field(unsigned long,	size)
	),

	TP_fast_assign(
		__entry->mm = mm;
		__entry->address = address;
		__entry->size = size;
	),

	TP_printk("mm=%p address=%lx size=%lx", __entry->mm, __entry->address,
		  __entry->size)
);

/* The address space goes away: every subscription has dropped what it had. */
TRACE_EVENT(mmu_notifier_release,

	TP_PROTO(struct mm_struct *mm),

	TP_ARGS(mm),

	TP_STRUCT__entry(
		__field(void *,		mm)
	),

	TP_fast_assign(
		__entry->mm = mm;
	),

	TP_printk("mm=%p", __entry->mm)
);

#endif /* _TRACE_MMU_NOTIFIER_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
