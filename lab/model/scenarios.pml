/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Drivers that register or insert, use and unregister or remove; sections of
 * each kind; a fault that brings an anon_vma; the exit of the process. Each can
 * begin at any step of all others. Which of them run together: see the scenarios
 * at the end.
 *
 * What must hold:
 *  - no translation is left when its page is freed, and none is made of a
 *    freed page: nothing is stale after register, and after release;
 *  - start and end balance: no end without its start (in the callback), and
 *    none outstanding when everything is over;
 *  - the interval tree does not change while somebody walks it;
 *  - after unregister, and after a registration that failed, no callback runs;
 *  - everybody gets to the end: no deadlock.
 */
#include "machine.pml"
#include "core.pml"

byte running;

/* --- Drivers ------------------------------------------------------------- */

inline register_and_fault(s)
{
	mmu_notifier_register(s);
#ifdef FAILS
	/*
	 * It failed, no callback may come, and is tried once more. The driver
	 * forgets sections that it was told of, and nobody tells it their end.
	 */
	if
	:: ret ->
		gone[s] = 1;
		atomic { gone[s] = 0; count[s] = 0 };
		mmu_notifier_register(s)
	:: else
	fi;
#endif
	if
	:: ret -> atomic { gone[s] = 1; count[s] = 0 }
	:: !ret -> driver_fault(s, 0)
	:: !ret -> driver_fault(s, 1)
	fi
}

/* A driver in a thread of the process; it stays registered. */
proctype driver(byte cpu; byte s)
{
	byte i;
	bit ret, shared;

	register_and_fault(s);
	running--
}

/* This one unregisters, perhaps when its process is gone already. */
proctype passing_driver(byte cpu; byte s)
{
	byte i;
	bit ret, shared;

	register_and_fault(s);
	mm_users--;			/* mmput() */
	mmu_notifier_unregister(s);
	atomic { gone[s] = 1; count[s] = 0; running-- }
}

/* One that wants pages only; it may stay registered. */
proctype page_driver(byte cpu; byte s)
{
	byte i;
	bit ret, shared;

	mmu_notifier_register(s);
	if
	:: ret
	:: !ret -> driver_page_fault(s, 0)
	:: !ret -> driver_page_fault(s, 1)
	fi;
	mm_users--;			/* mmput() */
	if
	:: !ret ->
		mmu_notifier_unregister(s);
		gone[s] = 1
	:: true
	fi;
	running--
}

inline insert_and_fault(s)
{
	mmu_interval_notifier_insert(s);
#ifdef INTERVAL_FAILS
	if
	:: ret -> mmu_interval_notifier_insert(s)
	:: else
	fi;
#endif
	if
	:: ret
	:: else -> interval_fault(s)
	fi
}

/* A driver of intervals: it has that of page @s. */
proctype interval_driver(byte cpu; byte s)
{
	byte i, seen;
	bit ret, shared, retry;

	insert_and_fault(s);
	running--
}

/* This one removes it again. */
proctype passing_interval_driver(byte cpu; byte s)
{
	byte i, seen;
	bit ret, shared, retry;

	insert_and_fault(s);
	mm_users--;			/* mmput() */
	if
	:: ret
	:: else ->
		translated[s] = 0;
		mmu_interval_notifier_remove(s);
		gone[s] = 1
	fi;
	running--
}

/* --- Sections ------------------------------------------------------------ */

/* Under mmap_lock held for read: zap_page_range_single() of madvise(). */
proctype mmap_section(byte cpu; byte page)
{
	SECTION;

	down_read(MMAP);
	change(range, page);
	up_read(MMAP);
	running--
}

/* Under the VMA's own lock, a fault that copies a page: wp_page_copy(). */
proctype fault_section(byte cpu; byte page)
{
	SECTION;

	if
	:: atomic { !writer[VMA(page)] ->	/* vma_start_read(), a trylock */
		readers[VMA(page)]++;
		took(VMA(page))
	   };
	   change(range, page);
	   up_read(VMA(page))
	:: atomic { writer[VMA(page)] -> skip };
	   down_read(MMAP);
	   change(range, page);
	   up_read(MMAP)
	fi;
	running--
}

/*
 * The same by somebody who becomes a user of the mm only now, as userfaultfd
 * does: mmget_not_zero() is a full barrier on every machine.
 */
proctype newcomer_section(byte cpu; byte page)
{
	SECTION;

	if
#ifdef RELAXED_MMGET
	/* An increment without a barrier may be seen later than what follows. */
	:: atomic { mm_users -> mm_users++; hidden_user = 1 };
#else
	:: atomic { mm_users -> mm_users++ };
#endif
	   if
	   :: atomic { !writer[VMA(page)] ->
		readers[VMA(page)]++;
		took(VMA(page))
	      };
	      change(range, page);
	      up_read(VMA(page))
	   :: atomic { writer[VMA(page)] -> skip }
	   fi;
	   atomic { hidden_user = 0; mm_users-- }	/* mmput() */
	:: !mm_users
	fi;
	running--
}

/* Under an rmap lock held for read: truncation, reclaim, migration. */
proctype rmap_section(byte cpu; byte rwsem; byte page)
{
	SECTION;

	down_read(rwsem);
	change(range, page);
	up_read(rwsem);
	running--
}

/* Held for write: hugetlb. */
proctype rmap_write_section(byte cpu; byte rwsem; byte page)
{
	SECTION;

	down_write(rwsem);
	change(range, page);
	up_write(rwsem);
	running--
}

/* A section in a section: a zap of a part of a huge page splits it first. */
proctype nested_section(byte cpu; byte rwsem; byte page)
{
	SECTION;
	mmu_notifier_range inner;
	byte other = 1 - page;

	down_read(rwsem);
	mmu_notifier_invalidate_range_start(range, page);
	if
	:: !ret ->
		change(inner, other);
		zap(page);
		mmu_notifier_invalidate_range_end(range)
	:: else
	fi;
	up_read(rwsem);
	running--
}

/*
 * rmap_walk_anon() under VMA 1's root: a section for each VMA linked to it,
 * which VMA 0 may have become by then.
 */
proctype anon_walk(byte cpu)
{
	SECTION;

	down_read(ROOT);
	change(range, 1);
	if
	:: root_of_0 == ROOT -> change(range, 0)
	:: root_of_0 != ROOT
	fi;
	up_read(ROOT);
	running--
}

/*
 * __anon_vma_prepare() in a fault in VMA 0: find_mergeable_anon_vma() finds
 * that of the neighbour, or there is a new one. The VMA is linked to it under
 * the lock of its root.
 */
proctype anon_fault(byte cpu)
{
	down_read(MMAP);
	if
	:: down_write(ROOT);
	   root_of_0 = ROOT;
	   up_write(ROOT)
	:: down_write(NEW_ROOT);
	   root_of_0 = NEW_ROOT;
	   up_write(NEW_ROOT)
	fi;
	up_read(MMAP);
	running--
}

/* A walk under the new root, which leads to VMA 0 alone. */
proctype new_root_section(byte cpu)
{
	SECTION;

	root_of_0 == NEW_ROOT || running == 1;
	if
	:: root_of_0 == NEW_ROOT ->
		down_read(NEW_ROOT);
		change(range, 0);
		up_read(NEW_ROOT)
	:: else
	fi;
	running--
}

/* --- The end of the process ---------------------------------------------- */

/* exit_mmap(): what is still mapped goes, with or without a section. */
proctype exit_mmap(byte cpu)
{
	byte list, sub, i, met, seq_now;
	bit ret, zapped, woken;

	!mm_users;
	mmu_notifier_release();
	zap(0);
	zap(1);
	running--
}

/* --- Scenarios: -D one of these ------------------------------------------- */

init
{
	atomic {
		mm_users = 2;
#ifdef PROCESS_LOCKS
		running = 3;
		run driver(0, 0);
		run mmap_section(3, 0);
		run fault_section(4, 0)
#endif
#ifdef RMAP_LOCKS
		running = 3;
		run driver(0, 0);
		run rmap_section(3, FILE, 0);
		run rmap_write_section(4, ROOT, 1)
#endif
#ifdef NESTED
		running = 3;
		run driver(0, 0);
		run nested_section(3, FILE, 0);
		run fault_section(4, 1)
#endif
#ifdef SLEEPERS
		running = 3;
		run driver(0, 0);
		run rmap_write_section(3, FILE, 1);
		run rmap_section(4, FILE, 0)
#endif
#ifdef TWO_DRIVERS
		running = 3;
		run driver(0, 0);
		run driver(1, 1);
		run rmap_section(3, FILE, 0)
#endif
#ifdef LATE_ANON
		running = 4;
		run driver(0, 0);
		run anon_fault(3);
		run anon_walk(4);
		run new_root_section(5)
#endif
#ifdef NEWCOMER
		mm_users = 1;
		running = 2;
		run driver(0, 0);
		run newcomer_section(3, 0)
#endif
#ifdef FAILS
		running = 2;
		run driver(0, 0);
		run rmap_section(3, FILE, 0)
#endif
#ifdef TEARDOWN
		mm_users = 1;
		running = 3;
		run passing_driver(0, 0);
		run exit_mmap(2);
		run rmap_section(3, FILE, 0)
#endif
#ifdef EXIT_TWICE
		mm_users = 1;
		running = 2;
		run passing_driver(0, 0);
		run exit_mmap(2)
#endif
#ifdef PAGES_ONLY
		pages_only = BIT(0);
		running = 3;
		run page_driver(0, 0);
		run rmap_section(3, FILE, 0);
		run fault_section(4, 0)
#endif
#ifdef PAGES_AND_RANGES
		pages_only = BIT(0);
		running = 3;
		run page_driver(0, 0);
		run driver(1, 1);
		run rmap_section(3, FILE, 0)
#endif
#ifdef PAGES_TEARDOWN
		pages_only = BIT(0);
		mm_users = 1;
		running = 3;
		run page_driver(0, 0);
		run exit_mmap(2);
		run rmap_section(3, FILE, 0)
#endif
#ifdef INTERVAL
		running = 3;
		run interval_driver(0, 0);
		run rmap_section(3, FILE, 0);
		run fault_section(4, 0)
#endif
#ifdef INTERVAL_ANON
		running = 3;
		run interval_driver(1, 1);
		run rmap_write_section(3, ROOT, 1);
		run mmap_section(4, 1)
#endif
#ifdef TWO_INTERVALS
		running = 4;
		run interval_driver(0, 0);
		run interval_driver(1, 1);
		run rmap_section(3, FILE, 0);
		run rmap_section(4, ROOT, 1)
#endif
#ifdef LIST_AND_INTERVAL
		running = 3;
		run driver(0, 0);
		run interval_driver(1, 1);
		run rmap_section(3, ROOT, 1)
#endif
#ifdef PASSING_INTERVAL
		running = 3;
		run passing_interval_driver(0, 0);
		run rmap_section(3, FILE, 0);
		run nested_section(4, FILE, 0)
#endif
#ifdef INTERVAL_FAILS
		running = 3;
		run interval_driver(0, 0);
		run rmap_section(3, FILE, 0);
		run rmap_section(4, ROOT, 1)
#endif
#ifdef INTERVAL_TEARDOWN
		mm_users = 1;
		running = 3;
		run passing_interval_driver(0, 0);
		run exit_mmap(2);
		run rmap_section(3, FILE, 0)
#endif
	};
	!running;
	assert(!under_way && !ITREE_BUSY);
	assert(!count[0] || released[0]);
	assert(!count[1] || released[1])
}
