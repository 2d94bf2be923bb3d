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

/* These sections hold no lock that the drain could wait for. */
static void mn_test_unaware_section(struct kunit *test)
{
	struct mmu_notifier_range first, second;
	struct mn_test_sub old = {}, young = {};

	mn_test_range(&first);
	mmu_notifier_invalidate_range_start(&first);
	mn_test_register(test, &old.mn, &mn_test_range_ops);
	mn_test_range(&second);
	mmu_notifier_invalidate_range_start(&second);
	mn_test_register(test, &young.mn, &mn_test_range_ops);

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
	mn_test_insert(test, &interval, PAGE_SIZE, PAGE_SIZE);
	mmu_notifier_invalidate_range_end(&range);
	KUNIT_EXPECT_EQ(test, mn_test_active(), 0);

	mn_test_range(&aware);
	mmu_notifier_invalidate_range_start(&aware);
	KUNIT_EXPECT_EQ(test, mn_test_active(), 1);
	mmu_notifier_invalidate_range_end(&aware);
	KUNIT_EXPECT_EQ(test, interval.calls, 1);

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
	struct mmu_interval_notifier sub;

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
			  unsigned int range, unsigned int page,
			  unsigned int young, unsigned int tlb)
{
	KUNIT_EXPECT_EQ(test, subs->nr[MN_RANGE], range);
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
	mn_test_wants(test, subs, 1, 0, 0, 0);
	mn_test_register(test, &ageing.mn, &mn_test_ageing_ops);
	mn_test_wants(test, subs, 1, 0, 1, 1);
	both = mmu_notifier_get(&mn_test_get_ops, current->mm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, both);
	mn_test_wants(test, subs, 2, 1, 1, 1);
	/* Once for all users. */
	mmu_notifier_get(&mn_test_get_ops, current->mm);
	mn_test_wants(test, subs, 2, 1, 1, 1);
	mmu_notifier_put(both);
	mmu_notifier_unregister(&range.mn, current->mm);
	mn_test_wants(test, subs, 1, 1, 1, 1);
	mmu_notifier_put(both);
	mmu_notifier_synchronize();
	mmu_notifier_unregister(&ageing.mn, current->mm);
	mn_test_wants(test, subs, 0, 0, 0, 0);
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
	KUNIT_EXPECT_EQ(test, -EOVERFLOW,
			mmu_interval_notifier_insert(&interval.sub,
						     current->mm, 0, PAGE_SIZE,
						     &mn_test_interval_ops));
	subs->epoch = MN_EPOCH_MAX - 1;
	mn_test_register(test, &sub.mn, &mn_test_range_ops);
	KUNIT_EXPECT_EQ(test, sub.mn.birth, MN_EPOCH_MAX);
	mmu_notifier_unregister(&sub.mn, current->mm);
	mmu_notifier_unregister(&first.mn, current->mm);
}

/* --- What a registration waits for --- */

struct mn_test_holder {
	struct work_struct work;
	struct completion held;
	struct rw_semaphore *rwsem;
	unsigned int ms;
};

static void mn_test_hold(struct work_struct *work)
{
	struct mn_test_holder *holder =
		container_of(work, struct mn_test_holder, work);

	down_read(holder->rwsem);
	complete(&holder->held);
	msleep(holder->ms);
	up_read(holder->rwsem);
}

/* Have somebody else read-hold the lock of @vma's anon_vma for @ms. */
static void mn_test_hold_anon(struct mn_test_holder *holder,
			      unsigned long address, unsigned int ms)
{
	mmap_read_lock(current->mm);
	holder->rwsem = &vma_lookup(current->mm, address)->anon_vma->root->rwsem;
	mmap_read_unlock(current->mm);
	holder->ms = ms;
	INIT_WORK_ONSTACK(&holder->work, mn_test_hold);
	init_completion(&holder->held);
	queue_work(system_unbound_wq, &holder->work);
	wait_for_completion(&holder->held);
}

static void mn_test_drain_waits(struct kunit *test)
{
	unsigned int timeout_ms = mn_register_timeout_ms;
	struct mn_test_sub range = { .mn.ops = &mn_test_range_ops };
	struct mn_test_sub page = { .mn.ops = &mn_test_page_ops };
	struct mn_test_interval interval = {};
	struct mn_test_holder holder;
	unsigned long address, before;

	address = mn_test_mmap(test);
	KUNIT_ASSERT_NE(test, address, 0);
	KUNIT_ASSERT_EQ(test, 0, put_user(1, (int __user *)address));

	/* It gives up in time, and leaves nothing behind. */
	mn_register_timeout_ms = 50;
	mn_test_hold_anon(&holder, address, 500);
	KUNIT_EXPECT_EQ(test, -ETIME,
			mmu_notifier_register(&range.mn, current->mm));
	KUNIT_EXPECT_TRUE(test,
			  hlist_empty(&current->mm->notifier_subscriptions->list));

	/* Who has only invalidate_page does not wait at all, */
	KUNIT_EXPECT_EQ(test, 0, mmu_notifier_register(&page.mn, current->mm));
	/* nor does an interval where nobody holds a lock. */
	mn_test_insert(test, &interval, PAGE_SIZE, PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, rwsem_is_locked(holder.rwsem));
	mmu_interval_notifier_remove(&interval.sub);
	/* But the interval of that page does. */
	KUNIT_EXPECT_EQ(test, -ETIME,
			mmu_interval_notifier_insert(&interval.sub, current->mm,
						     address, PAGE_SIZE,
						     &mn_test_interval_ops));
	flush_work(&holder.work);
	destroy_work_on_stack(&holder.work);

	/* With time enough it waits as long as it takes. */
	mn_register_timeout_ms = 0;
	mn_test_hold_anon(&holder, address, 100);
	before = jiffies;
	KUNIT_EXPECT_EQ(test, 0, mmu_notifier_register(&range.mn, current->mm));
	KUNIT_EXPECT_GE(test, jiffies_to_msecs(jiffies - before), 80);
	flush_work(&holder.work);
	destroy_work_on_stack(&holder.work);

	mn_register_timeout_ms = timeout_ms;
	mmu_notifier_unregister(&range.mn, current->mm);
	mmu_notifier_unregister(&page.mn, current->mm);
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
	KUNIT_CASE(mn_test_interval_refused),
	KUNIT_CASE(mn_test_interval_range),
	KUNIT_CASE(mn_test_get_put),
	KUNIT_CASE(mn_test_wanted),
	KUNIT_CASE(mn_test_epoch_limit),
	KUNIT_CASE(mn_test_drain_waits),
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
