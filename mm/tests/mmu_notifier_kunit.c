// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the MMU-notifier core's logic: which sections reach which
 * subscriptions, and what a registration waits for. Included by
 * mm/mmu_notifier.c.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/mman.h>
#include <linux/rmap.h>
#include <linux/uaccess.h>

/* A subscription that counts, and that may refuse to start. */
struct mn_test_sub {
	struct mmu_notifier mn;
	unsigned int starts;
	unsigned int ends;
	unsigned int pages;
	unsigned int releases;
	bool refuse;
};

static struct mn_test_sub *mn_test_sub_of(struct mmu_notifier *mn)
{
	return container_of(mn, struct mn_test_sub, mn);
}

static int mn_test_start(struct mmu_notifier *mn,
			 const struct mmu_notifier_range *range)
{
	struct mn_test_sub *sub = mn_test_sub_of(mn);

	if (sub->refuse && !mmu_notifier_range_blockable(range))
		return -EAGAIN;
	sub->starts++;
	return 0;
}

static void mn_test_end(struct mmu_notifier *mn,
			const struct mmu_notifier_range *range)
{
	mn_test_sub_of(mn)->ends++;
}

static void mn_test_page(struct mmu_notifier *mn, struct mm_struct *mm,
			 unsigned long address, unsigned long size)
{
	mn_test_sub_of(mn)->pages++;
}

static void mn_test_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	mn_test_sub_of(mn)->releases++;
}

static const struct mmu_notifier_ops mn_test_range_ops = {
	.release = mn_test_release,
	.invalidate_range_start = mn_test_start,
	.invalidate_range_end = mn_test_end,
};

static const struct mmu_notifier_ops mn_test_page_ops = {
	.invalidate_page = mn_test_page,
};

static void mn_test_register(struct kunit *test, struct mmu_notifier *mn,
			     const struct mmu_notifier_ops *ops)
{
	mn->ops = ops;
	KUNIT_ASSERT_EQ(test, mmu_notifier_register(mn, current->mm), 0);
}

/* One page of memory; with the first, KUnit lends an mm to the test's thread. */
static unsigned long mn_test_mmap(struct kunit *test)
{
	return kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
}

static int mn_test_init(struct kunit *test)
{
	return mn_test_mmap(test) ? 0 : -ENOMEM;
}

static void mn_test_range(struct mmu_notifier_range *range)
{
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, current->mm,
				PAGE_SIZE, 2 * PAGE_SIZE);
}

static void mn_test_aware_section(struct kunit *test)
{
	struct mmu_notifier_range range;
	struct mn_test_sub sub = {};

	mn_test_register(test, &sub.mn, &mn_test_range_ops);
	mn_test_range(&range);
	mmu_notifier_invalidate_range_start(&range);
	KUNIT_EXPECT_EQ(test, sub.starts, 1);
	KUNIT_EXPECT_EQ(test, sub.ends, 0);
	mmu_notifier_invalidate_range_end(&range);
	KUNIT_EXPECT_EQ(test, sub.ends, 1);

	mmu_notifier_unregister(&sub.mn, current->mm);
	KUNIT_EXPECT_EQ(test, sub.releases, 1);
	mn_test_range(&range);
	mmu_notifier_invalidate_range_start(&range);
	mmu_notifier_invalidate_range_end(&range);
	KUNIT_EXPECT_EQ(test, sub.starts, 1);
	KUNIT_EXPECT_EQ(test, sub.ends, 1);
}

/* Publish without the wait: this thread is in the section itself. */
static void mn_test_publish(struct kunit *test, struct mmu_notifier *mn,
			    const struct mmu_notifier_ops *ops)
{
	mn->ops = ops;
	mmap_write_lock(current->mm);
	KUNIT_EXPECT_EQ(test, mn_publish(mn, current->mm), 0);
	mmap_write_unlock(current->mm);
}

static void mn_test_unaware_section(struct kunit *test)
{
	struct mmu_notifier_range first, second;
	struct mn_test_sub old = {}, young = {};

	/* It holds no lock that a first registration could wait for. */
	mn_test_range(&first);
	mmu_notifier_invalidate_range_start(&first);
	mn_test_register(test, &old.mn, &mn_test_range_ops);
	mn_test_range(&second);
	mmu_notifier_invalidate_range_start(&second);
	mn_test_publish(test, &young.mn, &mn_test_range_ops);

	mmu_notifier_invalidate_range_end(&first);
	KUNIT_EXPECT_EQ(test, old.ends, 0);
	mmu_notifier_invalidate_range_end(&second);
	KUNIT_EXPECT_EQ(test, old.starts, 1);
	KUNIT_EXPECT_EQ(test, old.ends, 1);
	KUNIT_EXPECT_EQ(test, young.starts, 0);
	KUNIT_EXPECT_EQ(test, young.ends, 0);

	mmu_notifier_unregister(&old.mn, current->mm);
	mmu_notifier_unregister(&young.mn, current->mm);
}

/* A refused start ends exactly what had started, whatever the order. */
static void mn_test_refused_start(struct kunit *test)
{
	struct mmu_notifier_range range;
	struct mn_test_sub subs[3] = {};
	int i, refuser;

	for (i = 0; i < ARRAY_SIZE(subs); i++)
		mn_test_register(test, &subs[i].mn, &mn_test_range_ops);

	for (refuser = 0; refuser < ARRAY_SIZE(subs); refuser++) {
		subs[refuser].refuse = true;
		mn_test_range(&range);
		KUNIT_EXPECT_EQ(test, -EAGAIN,
				mmu_notifier_invalidate_range_start_nonblock(&range));
		/* No end is owed, and none is given. */
		mmu_notifier_invalidate_range_end(&range);
		for (i = 0; i < ARRAY_SIZE(subs); i++)
			KUNIT_EXPECT_EQ(test, subs[i].starts, subs[i].ends);
		subs[refuser].refuse = false;
	}
	/* The youngest comes first: it started when one of the others refused. */
	KUNIT_EXPECT_EQ(test, subs[2].starts, 2);
	KUNIT_EXPECT_EQ(test, subs[0].starts, 0);

	for (i = 0; i < ARRAY_SIZE(subs); i++)
		mmu_notifier_unregister(&subs[i].mn, current->mm);
}

static void mn_test_invalidate_page(struct kunit *test)
{
	struct mmu_notifier_range range;
	struct mn_test_sub page = {};

	mn_test_register(test, &page.mn, &mn_test_page_ops);
	KUNIT_EXPECT_TRUE(test, static_key_enabled(&mmu_notifier_page_key));
	mmu_notifier_invalidate_page(current->mm, PAGE_SIZE, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, page.pages, 1);

	/* A section by itself tells it nothing. */
	mn_test_range(&range);
	mmu_notifier_invalidate_range_start(&range);
	mmu_notifier_invalidate_range_end(&range);
	KUNIT_EXPECT_EQ(test, page.pages, 1);

	mmu_notifier_unregister(&page.mn, current->mm);
	mmu_notifier_invalidate_page(current->mm, PAGE_SIZE, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, page.pages, 1);
}

/* --- The callbacks that know no epoch --- */

struct mn_test_ageing {
	struct mmu_notifier mn;
	unsigned int calls;
	int young;
};

static int mn_test_age(struct mmu_notifier *mn)
{
	struct mn_test_ageing *sub = container_of(mn, struct mn_test_ageing, mn);

	sub->calls++;
	return sub->young;
}

static int mn_test_clear_young(struct mmu_notifier *mn, struct mm_struct *mm,
			       unsigned long start, unsigned long end)
{
	return mn_test_age(mn);
}

static int mn_test_test_young(struct mmu_notifier *mn, struct mm_struct *mm,
			      unsigned long address)
{
	return mn_test_age(mn);
}

static void mn_test_secondary_tlbs(struct mmu_notifier *mn,
				   struct mm_struct *mm, unsigned long start,
				   unsigned long end)
{
	mn_test_age(mn);
}

static const struct mmu_notifier_ops mn_test_ageing_ops = {
	.clear_flush_young = mn_test_clear_young,
	.clear_young = mn_test_clear_young,
	.test_young = mn_test_test_young,
	.arch_invalidate_secondary_tlbs = mn_test_secondary_tlbs,
};

/* One is asked all the same if another one was young, unless one is enough. */
static void mn_test_young(struct kunit *test)
{
	struct mn_test_ageing subs[2] = {};
	struct mm_struct *mm = current->mm;
	struct mn_test_sub none = {};
	int i;

	mn_test_register(test, &none.mn, &mn_test_range_ops);
	for (i = 0; i < ARRAY_SIZE(subs); i++)
		mn_test_register(test, &subs[i].mn, &mn_test_ageing_ops);
	KUNIT_EXPECT_EQ(test, mmu_notifier_clear_young(mm, 0, PAGE_SIZE), 0);
	KUNIT_EXPECT_EQ(test, mmu_notifier_test_young(mm, 0), 0);
	for (i = 0; i < ARRAY_SIZE(subs); i++)
		KUNIT_EXPECT_EQ(test, subs[i].calls, 2);

	/* The youngest subscription comes first. */
	subs[1].young = 1;
	KUNIT_EXPECT_EQ(test, mmu_notifier_test_young(mm, 0), 1);
	KUNIT_EXPECT_EQ(test, subs[0].calls, 2);
	KUNIT_EXPECT_EQ(test, mmu_notifier_clear_young(mm, 0, PAGE_SIZE), 1);
	KUNIT_EXPECT_EQ(test, 1,
			mmu_notifier_clear_flush_young(mm, 0, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, subs[0].calls, 4);
	KUNIT_EXPECT_EQ(test, subs[1].calls, 5);

	for (i = 0; i < ARRAY_SIZE(subs); i++)
		mmu_notifier_unregister(&subs[i].mn, mm);
	KUNIT_EXPECT_EQ(test, mmu_notifier_test_young(mm, 0), 0);
	mmu_notifier_unregister(&none.mn, mm);
}

static void mn_test_tlbs(struct kunit *test)
{
	struct mn_test_ageing sub = {};
	struct mn_test_sub none = {};

	mn_test_register(test, &none.mn, &mn_test_range_ops);
	mn_test_register(test, &sub.mn, &mn_test_ageing_ops);
	/* The CPU's TLB may be flushed for this thread at any time. */
	sub.calls = 0;
	mmu_notifier_arch_invalidate_secondary_tlbs(current->mm, 0, PAGE_SIZE);
	KUNIT_EXPECT_GE(test, sub.calls, 1);
	mmu_notifier_unregister(&sub.mn, current->mm);
	sub.calls = 0;
	mmu_notifier_arch_invalidate_secondary_tlbs(current->mm, 0, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, sub.calls, 0);
	mmu_notifier_unregister(&none.mn, current->mm);
}

/* Each callback is optional, whatever others there are. */
static void mn_test_some_callbacks(struct kunit *test)
{
	static const struct mmu_notifier_ops ops[] = {
		{ .invalidate_range_start = mn_test_start },
		{ .invalidate_range_end = mn_test_end },
		{ .clear_young = mn_test_clear_young },
		{ .test_young = mn_test_test_young },
	};
	struct mn_test_ageing clear = { .young = 1 }, look = { .young = 1 };
	struct mn_test_sub start = {}, end = {}, page = {};
	struct mm_struct *mm = current->mm;
	struct mmu_notifier_range range;

	mn_test_register(test, &page.mn, &mn_test_page_ops);
	KUNIT_EXPECT_EQ(test, 0, mmu_notifier_clear_young(mm, 0, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0,
			mmu_notifier_clear_flush_young(mm, 0, PAGE_SIZE));

	mn_test_register(test, &start.mn, &ops[0]);
	mn_test_register(test, &end.mn, &ops[1]);
	mn_test_range(&range);
	mmu_notifier_invalidate_range_start(&range);
	mmu_notifier_invalidate_range_end(&range);
	KUNIT_EXPECT_EQ(test, start.starts, 1);
	KUNIT_EXPECT_EQ(test, start.ends, 0);
	KUNIT_EXPECT_EQ(test, end.starts, 0);
	KUNIT_EXPECT_EQ(test, end.ends, 1);

	mn_test_register(test, &clear.mn, &ops[2]);
	mn_test_register(test, &look.mn, &ops[3]);
	KUNIT_EXPECT_EQ(test, 1, mmu_notifier_clear_young(mm, 0, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 1, mmu_notifier_test_young(mm, 0));
	KUNIT_EXPECT_EQ(test, 0,
			mmu_notifier_clear_flush_young(mm, 0, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, clear.calls, 1);
	KUNIT_EXPECT_EQ(test, look.calls, 1);

	mmu_notifier_unregister(&look.mn, mm);
	mmu_notifier_unregister(&clear.mn, mm);
	mmu_notifier_unregister(&end.mn, mm);
	mmu_notifier_unregister(&start.mn, mm);
	mmu_notifier_unregister(&page.mn, mm);
}

struct mn_test_trace {
	struct mm_struct *mm;
	unsigned int calls;
};

static void mn_test_probe(void *data, void *callback, struct mm_struct *mm,
			  unsigned long start, unsigned long end, u64 ns,
			  int ret)
{
	struct mn_test_trace *trace = data;

	trace->calls += mm == trace->mm;
}

/* Callbacks that few events come by are traced like the others. */
static void mn_test_traced(struct kunit *test)
{
	struct mn_test_ageing sub = {};
	struct mm_struct *mm = current->mm;
	struct mn_test_trace trace = { .mm = mm };

	if (!IS_ENABLED(CONFIG_TRACEPOINTS))
		kunit_skip(test, "no tracepoints");
	mn_test_register(test, &sub.mn, &mn_test_ageing_ops);
	KUNIT_ASSERT_EQ(test, 0,
			register_trace_mmu_notifier_callback(mn_test_probe,
							     &trace));
	mmu_notifier_clear_flush_young(mm, 0, PAGE_SIZE);
	mmu_notifier_clear_young(mm, 0, PAGE_SIZE);
	mmu_notifier_test_young(mm, 0);
	mmu_notifier_arch_invalidate_secondary_tlbs(mm, 0, PAGE_SIZE);
	unregister_trace_mmu_notifier_callback(mn_test_probe, &trace);
	tracepoint_synchronize_unregister();
	KUNIT_EXPECT_GE(test, trace.calls, 4);
	mmu_notifier_unregister(&sub.mn, mm);
}

/* --- Interval subscriptions --- */

struct mn_test_interval {
	struct mmu_interval_notifier sub;
	unsigned int calls;
	bool refuse;
};

static bool mn_test_invalidate(struct mmu_interval_notifier *sub,
			       const struct mmu_notifier_range *range,
			       unsigned long cur_seq)
{
	struct mn_test_interval *interval =
		container_of(sub, struct mn_test_interval, sub);

	if (interval->refuse && !mmu_notifier_range_blockable(range))
		return false;
	interval->calls++;
	mmu_interval_set_seq(sub, cur_seq);
	return true;
}

/* How many sections that know of intervals are under way. */
static unsigned int mn_test_active(void)
{
	return current->mm->notifier_subscriptions->active;
}

static const struct mmu_interval_notifier_ops mn_test_interval_ops = {
	.invalidate = mn_test_invalidate,
};

static void mn_test_insert(struct kunit *test, struct mn_test_interval *interval,
			   unsigned long start, unsigned long length)
{
	KUNIT_ASSERT_EQ(test, 0,
			mmu_interval_notifier_insert(&interval->sub,
						     current->mm, start, length,
						     &mn_test_interval_ops));
}

static void mn_test_interval_collision(struct kunit *test)
{
	struct mn_test_interval hit = {}, miss = {};
	struct mmu_notifier_range range;
	unsigned long hit_seq, miss_seq;

	mn_test_insert(test, &hit, PAGE_SIZE, 1);
	mn_test_insert(test, &miss, 2 * PAGE_SIZE, PAGE_SIZE);
	hit_seq = mmu_interval_read_begin(&hit.sub);
	miss_seq = mmu_interval_read_begin(&miss.sub);
	KUNIT_EXPECT_FALSE(test, mmu_interval_read_retry(&hit.sub, hit_seq));

	mn_test_range(&range);
	mmu_notifier_invalidate_range_start(&range);
	KUNIT_EXPECT_TRUE(test, mmu_interval_read_retry(&hit.sub, hit_seq));
	KUNIT_EXPECT_TRUE(test, mmu_interval_check_retry(&hit.sub, hit_seq));
	KUNIT_EXPECT_FALSE(test, mmu_interval_read_retry(&miss.sub, miss_seq));
	mmu_notifier_invalidate_range_end(&range);

	KUNIT_EXPECT_EQ(test, hit.calls, 1);
	KUNIT_EXPECT_EQ(test, miss.calls, 0);
	hit_seq = mmu_interval_read_begin(&hit.sub);
	KUNIT_EXPECT_FALSE(test, mmu_interval_read_retry(&hit.sub, hit_seq));

	mmu_interval_notifier_remove(&hit.sub);
	mmu_interval_notifier_remove(&miss.sub);
}

/* What changes the tree during an invalidation takes effect at its end. */
static void mn_test_interval_deferred(struct kunit *test)
{
	struct mn_test_interval first = {}, second = {}, third = {};
	struct mmu_notifier_range range;
	unsigned long seq;

	mn_test_insert(test, &first, PAGE_SIZE, PAGE_SIZE);
	mn_test_range(&range);
	mmu_notifier_invalidate_range_start(&range);
	mn_test_insert(test, &second, PAGE_SIZE, PAGE_SIZE);
	mn_test_insert(test, &third, PAGE_SIZE, PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, RB_EMPTY_NODE(&second.sub.interval_tree.rb));
	mmu_interval_notifier_remove(&third.sub);
	mmu_notifier_invalidate_range_end(&range);
	KUNIT_EXPECT_FALSE(test, RB_EMPTY_NODE(&second.sub.interval_tree.rb));
	KUNIT_EXPECT_EQ(test, second.calls, 0);

	seq = mmu_interval_read_begin(&second.sub);
	KUNIT_EXPECT_FALSE(test, mmu_interval_read_retry(&second.sub, seq));
	mn_test_range(&range);
	mmu_notifier_invalidate_range_start(&range);
	mmu_notifier_invalidate_range_end(&range);
	KUNIT_EXPECT_EQ(test, first.calls, 2);
	KUNIT_EXPECT_EQ(test, second.calls, 1);
	KUNIT_EXPECT_EQ(test, third.calls, 0);

	mmu_interval_notifier_remove(&first.sub);
	mmu_interval_notifier_remove(&second.sub);
}

/* A section older than the first interval is not counted down at its end. */
static void mn_test_interval_unaware(struct kunit *test)
{
	struct mmu_notifier_range range, aware;
	struct mn_test_interval interval = {};
	struct mn_test_sub list = {};

	mn_test_register(test, &list.mn, &mn_test_range_ops);
	mn_test_range(&range);
	mmu_notifier_invalidate_range_start(&range);
	/* As an insertion does, without its wait for this very section. */
	mmap_write_lock(current->mm);
	KUNIT_EXPECT_EQ(test, mn_itree_publish(current->mm), 0);
	mmap_write_unlock(current->mm);
	mmu_notifier_invalidate_range_end(&range);
	KUNIT_EXPECT_EQ(test, mn_test_active(), 0);
	KUNIT_EXPECT_EQ(test, mn_itree_settle(current->mm, 0), 0);
	mn_test_insert(test, &interval, PAGE_SIZE, PAGE_SIZE);

	mn_test_range(&aware);
	mmu_notifier_invalidate_range_start(&aware);
	KUNIT_EXPECT_EQ(test, mn_test_active(), 1);
	mmu_notifier_invalidate_range_end(&aware);
	KUNIT_EXPECT_EQ(test, interval.calls, 1);

	mmu_interval_notifier_remove(&interval.sub);
	mmu_notifier_unregister(&list.mn, current->mm);
}

/* What the core noted in a range does not outlive the section. */
static void mn_test_range_used_again(struct kunit *test)
{
	struct mn_test_interval interval = {};
	struct mmu_notifier_range range;
	struct mn_test_sub list = {};

	mn_test_register(test, &list.mn, &mn_test_range_ops);
	mn_test_insert(test, &interval, PAGE_SIZE, PAGE_SIZE);
	mn_test_range(&range);
	mmu_notifier_invalidate_range_start(&range);
	KUNIT_EXPECT_EQ(test, range.flags & (MMU_NOTIFIER_RANGE_COUNTED |
					     MMU_NOTIFIER_RANGE_TRACKED),
			MMU_NOTIFIER_RANGE_COUNTED |
			MMU_NOTIFIER_RANGE_TRACKED);
	mmu_notifier_invalidate_range_end(&range);
	KUNIT_EXPECT_EQ(test, (u32)range.flags,
			MMU_NOTIFIER_RANGE_BLOCKABLE);
	/* An end without a start, as of an mm without subscriptions. */
	mmu_notifier_invalidate_range_end(&range);
	KUNIT_EXPECT_EQ(test, list.ends, 1);
	KUNIT_EXPECT_EQ(test, mn_test_active(), 0);

	mmu_interval_notifier_remove(&interval.sub);
	mmu_notifier_unregister(&list.mn, current->mm);
}

static void mn_test_interval_refused(struct kunit *test)
{
	struct mn_test_interval interval = { .refuse = true };
	struct mmu_notifier_range range;
	struct mn_test_sub list = {};

	mn_test_register(test, &list.mn, &mn_test_range_ops);
	mn_test_insert(test, &interval, PAGE_SIZE, PAGE_SIZE);
	mn_test_range(&range);
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			mmu_notifier_invalidate_range_start_nonblock(&range));
	KUNIT_EXPECT_EQ(test, list.starts, 0);
	KUNIT_EXPECT_EQ(test, mn_test_active(), 0);

	/* A list subscription that refuses takes the intervals' start back. */
	interval.refuse = false;
	list.refuse = true;
	mn_test_range(&range);
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			mmu_notifier_invalidate_range_start_nonblock(&range));
	KUNIT_EXPECT_EQ(test, interval.calls, 1);
	KUNIT_EXPECT_EQ(test, mn_test_active(), 0);

	mmu_interval_notifier_remove(&interval.sub);
	mmu_notifier_unregister(&list.mn, current->mm);
}

static void mn_test_interval_range(struct kunit *test)
{
	struct mmu_interval_notifier sub, before;

	memset(&sub, 0x5a, sizeof(sub));
	before = sub;
	KUNIT_EXPECT_EQ(test, -EOVERFLOW,
			mmu_interval_notifier_insert(&sub, current->mm, 0, 0,
						     &mn_test_interval_ops));
	KUNIT_EXPECT_EQ(test, -EOVERFLOW,
			mmu_interval_notifier_insert(&sub, current->mm, 2,
						     ULONG_MAX,
						     &mn_test_interval_ops));
	mmap_write_lock(current->mm);
	KUNIT_EXPECT_EQ(test, -EOVERFLOW,
			mmu_interval_notifier_insert_locked(&sub, current->mm,
							    0, 0,
							    &mn_test_interval_ops));
	mmap_write_unlock(current->mm);
	/* Drivers look at it to know whether it was inserted. */
	KUNIT_EXPECT_MEMEQ(test, &sub, &before, sizeof(sub));
}

/* --- get and put --- */

static unsigned int mn_test_freed;

static struct mmu_notifier *mn_test_alloc(struct mm_struct *mm)
{
	struct mn_test_sub *sub = kzalloc(sizeof(*sub), GFP_KERNEL);

	return sub ? &sub->mn : ERR_PTR(-ENOMEM);
}

static void mn_test_free(struct mmu_notifier *mn)
{
	mn_test_freed++;
	kfree(mn_test_sub_of(mn));
}

static const struct mmu_notifier_ops mn_test_get_ops = {
	.alloc_notifier = mn_test_alloc,
	.free_notifier = mn_test_free,
	.invalidate_range_start = mn_test_start,
	.invalidate_page = mn_test_page,
};

static void mn_test_get_put(struct kunit *test)
{
	struct mmu_notifier *first, *second;

	mn_test_freed = 0;
	first = mmu_notifier_get(&mn_test_get_ops, current->mm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, first);
	second = mmu_notifier_get(&mn_test_get_ops, current->mm);
	KUNIT_EXPECT_PTR_EQ(test, first, second);
	KUNIT_EXPECT_EQ(test, first->users, 2);

	first->users = UINT_MAX;
	second = mmu_notifier_get(&mn_test_get_ops, current->mm);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(second), -EOVERFLOW);
	first->users = 2;

	mmu_notifier_put(first);
	mmu_notifier_synchronize();
	KUNIT_EXPECT_EQ(test, mn_test_freed, 0);
	mmu_notifier_put(first);
	mmu_notifier_synchronize();
	KUNIT_EXPECT_EQ(test, mn_test_freed, 1);
}

static void mn_test_wants(struct kunit *test,
			  const struct mmu_notifier_subscriptions *subs,
			  unsigned int page, unsigned int young,
			  unsigned int tlb)
{
	KUNIT_EXPECT_EQ(test, subs->nr[MN_PAGE], page);
	KUNIT_EXPECT_EQ(test, subs->nr[MN_YOUNG], young);
	KUNIT_EXPECT_EQ(test, subs->nr[MN_TLB], tlb);
}

/* An mm knows what its subscriptions want, those that come and go by get too. */
static void mn_test_wanted(struct kunit *test)
{
	struct mmu_notifier_subscriptions *subs;
	struct mn_test_sub range = {}, ageing = {};
	struct mmu_notifier *both;

	mn_test_register(test, &range.mn, &mn_test_range_ops);
	subs = current->mm->notifier_subscriptions;
	mn_test_wants(test, subs, 0, 0, 0);
	mn_test_register(test, &ageing.mn, &mn_test_ageing_ops);
	mn_test_wants(test, subs, 0, 1, 1);
	both = mmu_notifier_get(&mn_test_get_ops, current->mm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, both);
	mn_test_wants(test, subs, 1, 1, 1);
	/* Once for all users. */
	mmu_notifier_get(&mn_test_get_ops, current->mm);
	mn_test_wants(test, subs, 1, 1, 1);
	mmu_notifier_put(both);
	mmu_notifier_unregister(&range.mn, current->mm);
	mn_test_wants(test, subs, 1, 1, 1);
	mmu_notifier_put(both);
	mmu_notifier_synchronize();
	mmu_notifier_unregister(&ageing.mn, current->mm);
	mn_test_wants(test, subs, 0, 0, 0);
}

/* Births are ordered: when there are no more numbers, there is no more of them. */
static void mn_test_epoch_limit(struct kunit *test)
{
	struct mn_test_sub sub = { .mn.ops = &mn_test_range_ops };
	struct mmu_notifier_subscriptions *subs;
	struct mn_test_interval interval = {};
	struct mn_test_sub first = {};

	mn_test_register(test, &first.mn, &mn_test_range_ops);
	subs = current->mm->notifier_subscriptions;
	subs->epoch = MN_EPOCH_MAX;
	KUNIT_EXPECT_EQ(test, -EOVERFLOW,
			mmu_notifier_register(&sub.mn, current->mm));
	/* Intervals have no births. */
	mn_test_insert(test, &interval, 0, PAGE_SIZE);
	mmu_interval_notifier_remove(&interval.sub);
	subs->epoch = MN_EPOCH_MAX - 1;
	mn_test_register(test, &sub.mn, &mn_test_range_ops);
	KUNIT_EXPECT_EQ(test, sub.mn.birth, MN_EPOCH_MAX);
	mmu_notifier_unregister(&sub.mn, current->mm);
	mmu_notifier_unregister(&first.mn, current->mm);
}

/* --- What a registration waits for --- */

/* Somebody else who does something for a while, on behalf of the test's mm. */
struct mn_test_other {
	struct work_struct work;
	struct completion began;
	void (*begin)(struct mn_test_other *other);
	void (*end)(struct mn_test_other *other);
	struct mm_struct *mm;
	struct rw_semaphore *rwsem;
	struct mmu_notifier_range range;
	unsigned int ms;
	bool done;
};

static void mn_test_other_work(struct work_struct *work)
{
	struct mn_test_other *other =
		container_of(work, struct mn_test_other, work);

	other->begin(other);
	complete(&other->began);
	msleep(other->ms);
	WRITE_ONCE(other->done, true);
	other->end(other);
}

static void mn_test_other_begin(struct mn_test_other *other, unsigned int ms)
{
	other->mm = current->mm;
	other->ms = ms;
	other->done = false;
	INIT_WORK_ONSTACK(&other->work, mn_test_other_work);
	init_completion(&other->began);
	queue_work(system_unbound_wq, &other->work);
	wait_for_completion(&other->began);
}

static void mn_test_other_end(struct mn_test_other *other)
{
	flush_work(&other->work);
	destroy_work_on_stack(&other->work);
}

static void mn_test_lock_rmap(struct mn_test_other *other)
{
	down_read(other->rwsem);
}

static void mn_test_unlock_rmap(struct mn_test_other *other)
{
	up_read(other->rwsem);
}

static void mn_test_lock_mmap(struct mn_test_other *other)
{
	mmap_write_lock(other->mm);
}

static void mn_test_unlock_mmap(struct mn_test_other *other)
{
	mmap_write_unlock(other->mm);
}

static void mn_test_begin_section(struct mn_test_other *other)
{
	mmu_notifier_range_init(&other->range, MMU_NOTIFY_CLEAR, 0, other->mm,
				PAGE_SIZE, 2 * PAGE_SIZE);
	mmu_notifier_invalidate_range_start(&other->range);
}

static void mn_test_end_section(struct mn_test_other *other)
{
	mmu_notifier_invalidate_range_end(&other->range);
}

/* Have somebody else read-hold the lock of the anon_vma of a page for @ms. */
static void mn_test_hold_anon(struct kunit *test, struct mn_test_other *other,
			      unsigned int ms)
{
	unsigned long address = mn_test_mmap(test);

	KUNIT_ASSERT_NE(test, address, 0);
	KUNIT_ASSERT_EQ(test, 0, put_user(1, (int __user *)address));
	mmap_read_lock(current->mm);
	other->rwsem = &vma_lookup(current->mm, address)->anon_vma->root->rwsem;
	mmap_read_unlock(current->mm);
	mn_test_other_begin(other, ms);
}

/* The first registration waits for who holds a lock; later ones do not. */
static void mn_test_first_waits(struct kunit *test)
{
	struct mn_test_sub range = { .mn.ops = &mn_test_range_ops };
	struct mn_test_sub later = { .mn.ops = &mn_test_range_ops };
	struct mn_test_sub page = { .mn.ops = &mn_test_page_ops };
	struct mn_test_other other = {
		.begin = mn_test_lock_rmap, .end = mn_test_unlock_rmap,
	};

	mn_test_hold_anon(test, &other, 500);
	/* Who has only invalidate_page does not wait at all, */
	KUNIT_EXPECT_EQ(test, 0, mmu_notifier_register(&page.mn, current->mm));
	KUNIT_EXPECT_FALSE(test, READ_ONCE(other.done));
	KUNIT_EXPECT_FALSE(test,
			   mn_is_tracked(current->mm->notifier_subscriptions));
	/* and nobody who wants ranges was spared the wait by that. */
	KUNIT_EXPECT_EQ(test, 0, mmu_notifier_register(&range.mn, current->mm));
	KUNIT_EXPECT_TRUE(test, READ_ONCE(other.done));
	KUNIT_EXPECT_TRUE(test,
			  mn_is_tracked(current->mm->notifier_subscriptions));
	mn_test_other_end(&other);

	/* All sections are tracked: the lock is nobody's section. */
	mn_test_hold_anon(test, &other, 500);
	KUNIT_EXPECT_EQ(test, 0, mmu_notifier_register(&later.mn, current->mm));
	KUNIT_EXPECT_FALSE(test, READ_ONCE(other.done));
	mn_test_other_end(&other);

	mmu_notifier_unregister(&later.mn, current->mm);
	mmu_notifier_unregister(&range.mn, current->mm);
	mmu_notifier_unregister(&page.mn, current->mm);
}

/* A tracked section is waited for, under whatever lock it is. */
static void mn_test_later_waits(struct kunit *test)
{
	struct mn_test_sub first = {}, later = { .mn.ops = &mn_test_range_ops };
	struct mn_test_interval interval = {};
	struct mn_test_other other = {
		.begin = mn_test_begin_section, .end = mn_test_end_section,
	};

	mn_test_register(test, &first.mn, &mn_test_range_ops);
	mn_test_other_begin(&other, 100);
	KUNIT_EXPECT_EQ(test, 0, mmu_notifier_register(&later.mn, current->mm));
	KUNIT_EXPECT_TRUE(test, READ_ONCE(other.done));
	mn_test_other_end(&other);
	KUNIT_EXPECT_EQ(test, first.starts, 1);
	KUNIT_EXPECT_EQ(test, first.ends, 1);
	KUNIT_EXPECT_EQ(test, later.starts, 0);
	KUNIT_EXPECT_EQ(test, later.ends, 0);

	/* So does the first interval. */
	mn_test_other_begin(&other, 100);
	mn_test_insert(test, &interval, PAGE_SIZE, PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(other.done));
	mn_test_other_end(&other);
	KUNIT_EXPECT_EQ(test, mn_test_active(), 0);

	/* And who unregisters. */
	mn_test_other_begin(&other, 100);
	mmu_notifier_unregister(&later.mn, current->mm);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(other.done));
	mn_test_other_end(&other);

	mmu_interval_notifier_remove(&interval.sub);
	mmu_notifier_unregister(&first.mn, current->mm);
}

static const struct mmu_notifier_ops mn_test_get_range_ops = {
	.alloc_notifier = mn_test_alloc,
	.free_notifier = mn_test_free,
	.invalidate_range_start = mn_test_start,
};

/* Who finds a subscription that somebody else waits for waits as well. */
static void mn_test_get_waits(struct kunit *test)
{
	struct mmu_notifier_subscriptions *subs;
	struct mmu_notifier *found, *sub;
	struct mn_test_other other = {
		.begin = mn_test_begin_section, .end = mn_test_end_section,
	};
	struct mn_test_sub first = {};

	mn_test_register(test, &first.mn, &mn_test_range_ops);
	subs = current->mm->notifier_subscriptions;
	mn_test_other_begin(&other, 100);

	/* Another caller has published, and not waited yet. */
	mmap_write_lock(current->mm);
	sub = mn_get(&mn_test_get_range_ops, current->mm);
	mmap_write_unlock(current->mm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, sub);
	KUNIT_EXPECT_TRUE(test, mn_must_wait(sub));

	found = mmu_notifier_get(&mn_test_get_range_ops, current->mm);
	KUNIT_EXPECT_PTR_EQ(test, found, sub);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(other.done));
	KUNIT_EXPECT_FALSE(test, mn_must_wait(sub));
	KUNIT_EXPECT_EQ(test, subs->drained, sub->birth);
	mn_test_other_end(&other);

	mmu_notifier_put(sub);
	mmu_notifier_put(sub);
	mmu_notifier_synchronize();
	mmu_notifier_unregister(&first.mn, current->mm);
}

/* Waits end in any order: a later one is not taken back by an earlier one. */
static void mn_test_waits_overtake(struct kunit *test)
{
	struct mmu_notifier_subscriptions *subs;
	struct mn_test_sub subs_of[2] = {};
	int i;

	for (i = 0; i < ARRAY_SIZE(subs_of); i++)
		mn_test_register(test, &subs_of[i].mn, &mn_test_range_ops);
	subs = current->mm->notifier_subscriptions;
	KUNIT_EXPECT_EQ(test, subs->drained, subs_of[1].mn.birth);
	mn_set_drained(&subs_of[0].mn);
	KUNIT_EXPECT_EQ(test, subs->drained, subs_of[1].mn.birth);
	for (i = 0; i < ARRAY_SIZE(subs_of); i++)
		mmu_notifier_unregister(&subs_of[i].mn, current->mm);
}

/* The first interval waits, in an mm that has no list subscriptions either. */
static void mn_test_interval_first(struct kunit *test)
{
	struct mn_test_interval first = {}, later = {};
	struct mmu_notifier_subscriptions *subs;
	struct mn_test_other other = {
		.begin = mn_test_lock_rmap, .end = mn_test_unlock_rmap,
	};

	mn_test_hold_anon(test, &other, 100);
	mn_test_insert(test, &first, PAGE_SIZE, PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(other.done));
	mn_test_other_end(&other);
	subs = current->mm->notifier_subscriptions;
	KUNIT_EXPECT_EQ(test, subs->itree_state, MN_ITREE_READY);
	/* Intervals alone need no domain, and no section an SRCU reader. */
	KUNIT_EXPECT_PTR_EQ(test, subs->srcu, NULL);
	KUNIT_EXPECT_FALSE(test, subs->track);

	/* Later ones take no lock of the mm and wait for nobody. */
	other.begin = mn_test_lock_mmap;
	other.end = mn_test_unlock_mmap;
	mn_test_other_begin(&other, 500);
	mn_test_insert(test, &later, PAGE_SIZE, PAGE_SIZE);
	KUNIT_EXPECT_FALSE(test, READ_ONCE(other.done));
	mn_test_other_end(&other);

	mmu_interval_notifier_remove(&later.sub);
	mmu_interval_notifier_remove(&first.sub);
}

/* An insertion that fails stops the counting, unless another one waits. */
static void mn_test_interval_failed(struct kunit *test)
{
	struct mmu_notifier_subscriptions *subs;
	struct mm_struct *mm = current->mm;
	struct mmu_notifier_range range;

	mmap_write_lock(mm);
	KUNIT_ASSERT_EQ(test, 0, mn_itree_publish(mm));
	KUNIT_ASSERT_EQ(test, 0, mn_itree_publish(mm));
	mmap_write_unlock(mm);
	subs = mm->notifier_subscriptions;

	mn_test_range(&range);
	mmu_notifier_invalidate_range_start(&range);
	KUNIT_EXPECT_EQ(test, mn_test_active(), 1);
	KUNIT_EXPECT_EQ(test, -EINTR, mn_itree_settle(mm, -EINTR));
	KUNIT_EXPECT_EQ(test, subs->itree_state, MN_ITREE_PUBLISHED);
	KUNIT_EXPECT_EQ(test, -EINTR, mn_itree_settle(mm, -EINTR));
	KUNIT_EXPECT_EQ(test, subs->itree_state, MN_ITREE_NONE);
	/* Who counted itself counts itself down. */
	mmu_notifier_invalidate_range_end(&range);
	KUNIT_EXPECT_EQ(test, mn_test_active(), 0);

	mn_test_range(&range);
	mmu_notifier_invalidate_range_start(&range);
	KUNIT_EXPECT_EQ(test, mn_test_active(), 0);
	mmu_notifier_invalidate_range_end(&range);
}

/* Domains beyond the bound of idle ones are freed. */
static void mn_test_domains(struct kunit *test)
{
	struct srcu_struct **srcu;
	int i, nr = MN_IDLE_DOMAINS + 10;

	srcu = kunit_kcalloc(test, nr, sizeof(*srcu), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, srcu);
	for (i = 0; i < nr; i++) {
		srcu[i] = mn_get_domain();
		KUNIT_EXPECT_NOT_NULL(test, srcu[i]);
	}
	for (i = 0; i < nr; i++)
		if (srcu[i])
			mn_put_domain(srcu[i]);
	KUNIT_EXPECT_LE(test, READ_ONCE(mn_nr_idle), MN_IDLE_DOMAINS);
	flush_work(&mn_surplus_work);
	KUNIT_EXPECT_TRUE(test, llist_empty(&mn_surplus_domains));
}

/* The end of the address space, with a driver that does not want to know. */
static void mn_test_exit(struct kunit *test)
{
	struct mn_test_sub range = {}, page = {};

	mn_test_register(test, &range.mn, &mn_test_range_ops);
	mn_test_register(test, &page.mn, &mn_test_page_ops);
	__mmu_notifier_release(current->mm);
	KUNIT_EXPECT_EQ(test, range.releases, 1);

	/* Nothing reaches them any more, and release has run. */
	mmu_notifier_unregister(&range.mn, current->mm);
	mmu_notifier_unregister(&page.mn, current->mm);
	KUNIT_EXPECT_EQ(test, range.releases, 1);
}

static void mn_test_tlb(struct mmu_notifier *mn, struct mm_struct *mm,
			unsigned long start, unsigned long end)
{
}

static void mn_test_callback(struct kunit *test)
{
	struct mmu_notifier_ops ops = {};

	KUNIT_EXPECT_PTR_EQ(test, mn_callback_of(&ops), NULL);
	ops.release = mn_test_release;
	KUNIT_EXPECT_PTR_EQ(test, mn_callback_of(&ops),
			    (void *)mn_test_release);
	ops.invalidate_range_end = mn_test_end;
	KUNIT_EXPECT_PTR_EQ(test, mn_callback_of(&ops), (void *)mn_test_end);
	ops.arch_invalidate_secondary_tlbs = mn_test_tlb;
	KUNIT_EXPECT_PTR_EQ(test, mn_callback_of(&ops), (void *)mn_test_tlb);
	ops.invalidate_page = mn_test_page;
	KUNIT_EXPECT_PTR_EQ(test, mn_callback_of(&ops), (void *)mn_test_page);
	ops.invalidate_range_start = mn_test_start;
	KUNIT_EXPECT_PTR_EQ(test, mn_callback_of(&ops), (void *)mn_test_start);
}

static struct kunit_case mn_test_cases[] = {
	KUNIT_CASE(mn_test_aware_section),
	KUNIT_CASE(mn_test_unaware_section),
	KUNIT_CASE(mn_test_refused_start),
	KUNIT_CASE(mn_test_invalidate_page),
	KUNIT_CASE(mn_test_young),
	KUNIT_CASE(mn_test_tlbs),
	KUNIT_CASE(mn_test_some_callbacks),
	KUNIT_CASE(mn_test_traced),
	KUNIT_CASE(mn_test_interval_collision),
	KUNIT_CASE(mn_test_interval_deferred),
	KUNIT_CASE(mn_test_interval_unaware),
	KUNIT_CASE(mn_test_range_used_again),
	KUNIT_CASE(mn_test_interval_refused),
	KUNIT_CASE(mn_test_interval_range),
	KUNIT_CASE(mn_test_get_put),
	KUNIT_CASE(mn_test_wanted),
	KUNIT_CASE(mn_test_epoch_limit),
	KUNIT_CASE(mn_test_first_waits),
	KUNIT_CASE(mn_test_later_waits),
	KUNIT_CASE(mn_test_get_waits),
	KUNIT_CASE(mn_test_waits_overtake),
	KUNIT_CASE(mn_test_interval_first),
	KUNIT_CASE(mn_test_interval_failed),
	KUNIT_CASE(mn_test_domains),
	KUNIT_CASE(mn_test_exit),
	KUNIT_CASE(mn_test_callback),
	{}
};

static struct kunit_suite mn_test_suite = {
	.name = "mmu_notifier",
	.init = mn_test_init,
	.test_cases = mn_test_cases,
};

kunit_test_suite(mn_test_suite);
