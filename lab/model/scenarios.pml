/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Drivers that register, get or insert, use and unregister, put or remove;
 * sections of each kind; munmap(), mremap() and a fault that brings an anon_vma;
 * the exit of the process, and who has its domain next. Each can begin at any
 * step of all others. Which of them run together: see the scenarios at the end.
 *
 * What must hold:
 *  - no translation is left when its page is freed, and none is made of a
 *    freed page: nothing is stale after register, and after release;
 *  - start and end balance: no end without its start (in the callback), and
 *    none outstanding when everything is over;
 *  - the interval tree does not change while somebody walks it;
 *  - after unregister, and after a registration that failed, no callback runs;
 *  - nobody is left in a domain that is given back, none is entered that is
 *    not there, and no reference to a subscription is lost;
 *  - everybody gets to the end: no deadlock.
 */
#include "machine.pml"
#include "core.pml"

byte running;
byte mm_count = 2;	/* the users' reference, and a driver's */

/* --- Drivers ------------------------------------------------------------- */

inline register_and_fault(s)
{
	mmu_notifier_register(s);
#ifdef KILLS
	/*
	 * It was killed, no callback may come, and it is tried once more. The
	 * driver forgets sections that it was told of, and nobody tells it
	 * their end.
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
	DRIVER;

	register_and_fault(s);
	running--
}

/* This one unregisters, perhaps when its process is gone already. */
proctype passing_driver(byte cpu; byte s)
{
	DRIVER;

	register_and_fault(s);
	mm_users--;			/* mmput() */
	mmu_notifier_unregister(s);
	atomic { gone[s] = 1; count[s] = 0; mm_count--; running-- }
}

/* One that was registered for long, and leaves. */
proctype leaving_driver(byte cpu; byte s)
{
	DRIVER;

	mmu_notifier_unregister(s);
	atomic { gone[s] = 1; count[s] = 0; running-- }
}

bit faulting;

/* One that gets what another may have got already, and puts it. */
proctype getting_driver(byte cpu; byte s)
{
	DRIVER;

	mmu_notifier_get(s);
	if
	:: ret
	:: else ->
		/* one fault at a time: there is but one ended[] */
		atomic { !faulting -> faulting = 1 };
		driver_fault(s, 0);
		faulting = 0;
		mmu_notifier_put(s)
	fi;
	running--
}

/* One that wants pages only; it may stay registered. */
proctype page_driver(byte cpu; byte s)
{
	DRIVER;

	mmu_notifier_register(s);
	if
	:: driver_page_fault(s, 0)
	:: driver_page_fault(s, 1)
	fi;
	mm_users--;			/* mmput() */
	if
	:: mmu_notifier_unregister(s);
	   gone[s] = 1
	:: true
	fi;
	running--
}

inline insert_and_fault(s)
{
	mmu_interval_notifier_insert(s);
#ifdef KILLS
	/* It may be tried once more. */
	if
	:: ret -> mmu_interval_notifier_insert(s)
	:: true
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
	DRIVER;
	bit retry;

	insert_and_fault(s);
	running--
}

/* This one removes it again. */
proctype passing_interval_driver(byte cpu; byte s)
{
	DRIVER;
	bit retry;

	insert_and_fault(s);
	mm_users--;			/* mmput() */
	if
	:: ret
	:: else ->
		translated[s] = 0;
		mmu_interval_notifier_remove(s);
		assert(!LOOKS_INSERTED(s));
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

/* Under an rmap lock held for read: truncation, reclaim, migration. */
proctype rmap_section(byte cpu; byte rwsem; byte page)
{
	SECTION;

	down_read(rwsem);
	if
	:: linked[page] -> change(range, page)
	:: else
	fi;
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

/*
 * Under a lock that the core knows nothing of: only a grace period sees it, and
 * a registration that keeps mmap_lock does not.
 */
#ifdef LOCKED
#define any_section	fault_section
#else
#define any_section	foreign_section
#endif

proctype foreign_section(byte cpu; byte page)
{
	SECTION;

	change(range, page);
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

/* --- Others who change VMAs ----------------------------------------------- */

/* Who holds an rmap lock for long, and has no section. */
proctype holder(byte cpu; byte rwsem)
{
	down_read(rwsem);
	up_read(rwsem);
	running--
}

/*
 * munmap() of VMA 1: out of the tree, mmap_lock downgraded, zapped, unlinked
 * under the lock of its anon_vma root.
 */
proctype munmap(byte cpu)
{
	SECTION;

	down_write(MMAP);
	down_write(VMA(1));
	up_write(VMA(1));
	in_tree[1] = 0;
	downgrade_write(MMAP);
	change(range, 1);
	down_write(ROOT);
	linked[1] = 0;
	up_write(ROOT);
	up_read(MMAP);
	running--
}

/*
 * mremap() of VMA 1 to an address that the walk may have passed. It is a new
 * VMA with locks that are there already; copy_vma() links it under them. The
 * page moves with it. Before the registration it would be a VMA like any other.
 */
proctype mremap(byte cpu)
{
	published;
	down_write(MMAP);
	down_write(VMA(1));
	up_write(VMA(1));
#ifndef LINK_WITHOUT_LOCK
	down_write(ROOT);
	up_write(ROOT);
#endif
	in_tree[1] = 0;		/* where the walk comes to */
	up_write(MMAP);
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
	DRIVER;
	byte list, sub, met, seq_now;
	bit zapped, woken, hook;

	!mm_users;
	mmu_notifier_release();
#ifdef DOMAIN_BACK_AT_RELEASE
	domain_is_idle = 1;
#endif
	zap(0);
	zap(1);
	down_write(FILE);
	linked[0] = 0;
	up_write(FILE);
	atomic { mm_count--; running-- }	/* mmdrop() */
}

/*
 * __mmdrop(): the domain, if there is one, may go to another mm. Whoever waits
 * there must not wait for a section here.
 */
proctype next_mm(byte cpu)
{
	!mm_count;
	domain_is_idle = 1;
	assert(!in_srcu);
	running--
}

/* --- Scenarios: -D one of these ------------------------------------------- */

/* The mm is tracked: driver 0 has been there for long. */
inline start_tracked()
{
	allocated = 1;
	has_domain = 1;
	track = 1;
	listed = BIT(0);
	published = 1;
	drained = 1;
	birth[0] = 1;
	users[0] = 1;
	mem[SUBS] = 1;
	mem[DOMAIN] = 1;
	mem[TRACK] = 1;
	mem[LIST] = BIT(0);
	mem[EPOCH] = 1
}

/* Driver 0 has been there for long, and wants pages only. */
inline start_with_pages()
{
	start_tracked();
	pages_only = BIT(0);
	track = 0;
	drained = 0;
	mem[TRACK] = 0
}

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
#ifdef KILLED_DRIVER
		running = 2;
		run driver(0, 0);
		run rmap_section(3, FILE, 0)
#endif
#ifdef TRACKED
		start_tracked();
		running = 3;
		run driver(1, 1);
		run rmap_section(3, FILE, 0);
		run any_section(4, 1)
#endif
#ifdef RELEASE_LOCK
#ifdef KILLS	/* where not tracked yet */
		start_with_pages();
#else
		start_tracked();
#endif
		running = 3;
		run leaving_driver(0, 0);
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
#ifdef MUNMAP
		running = 4;
		run driver(0, 0);
		run holder(3, FILE);
		run rmap_section(4, ROOT, 1);
		run munmap(5)
#endif
#ifdef MREMAP
		running = 4;
		run driver(0, 0);
		run holder(3, FILE);
		run rmap_section(4, ROOT, 1);
		run mremap(5)
#endif
#ifdef GET
		running = 3;
		run getting_driver(0, 0);
		run getting_driver(1, 1);
		run rmap_section(3, FILE, 0)
#endif
#ifdef GET_TRACKED
		start_tracked();
		listed = 0;		/* the driver has gone */
		users[0] = 0;
		mem[LIST] = 0;
		running = 3;
		run getting_driver(0, 0);
		run getting_driver(1, 1);
		run any_section(3, 0)
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
#ifdef NEXT_MM
		mm_users = 1;
		running = 4;
		run passing_driver(0, 0);
		run exit_mmap(2);
		run rmap_section(3, FILE, 0);
		run next_mm(1)
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
#ifdef INTERVAL_TRACKED
		start_tracked();
		running = 3;
		run interval_driver(1, 1);
		run rmap_write_section(3, ROOT, 1);
		run any_section(4, 1)
#endif
#ifdef TWO_INTERVALS
		running = 3;
		run interval_driver(0, 0);
		run interval_driver(1, 1);
		run rmap_section(3, ROOT, 1)
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
#ifdef INTERVAL_TEARDOWN
		mm_users = 1;
		running = 3;
		run passing_interval_driver(0, 0);
		run exit_mmap(2);
		run rmap_section(3, FILE, 0)
#endif
	};
	!running;
	assert(!under_way && !ITREE_BUSY && !in_srcu);
	assert(itree_state != PUBLISHED && !itree_waiters);
#if defined(GET) || defined(GET_TRACKED)
	assert(!users[0] && !users[1] && !listed);
#endif
	assert(!count[0] || released[0]);
	assert(!count[1] || released[1])
}
