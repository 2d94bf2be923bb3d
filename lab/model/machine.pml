/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The machine under the model: memory with store buffers, rwsems, SRCU.
 *
 * Two kinds of machine. By default x86: a CPU's stores wait in a buffer, leave
 * it in order, and a locked instruction waits until the buffer is empty.
 * -DWEAK: stores leave in any order unless they are releases, and the store by
 * which a lock is taken may be seen by plain loads only after the loads that
 * follow it (an acquire orders no more). RMWs on one variable are atomic on
 * either machine.
 */
#ifdef WEAK
#define IF_WEAK(code)	code
#define IF_X86(cond)	true
#else
#define IF_WEAK(code)	skip
#define IF_X86(cond)	(cond)
#endif

#define CPUS	6
#define BIT(n)	(1 << (n))

/* --- Memory ---------------------------------------------------------------
 *
 * Only what is read without a lock: the fields of struct
 * mmu_notifier_subscriptions, and the pointer to it.
 */
#define SUBS		0	/* mm->notifier_subscriptions: is it there? */
#define DOMAIN		1	/* subs->srcu: likewise */
#define TRACK		2	/* subs->track */
#define LIST		3	/* subs->list: a set of subscriptions */
#define EPOCH		4	/* subs->epoch */
#define ITREE_STATE	5	/* subs->itree_state */
#define SPIN		6	/* subs->lock */
#define PTL		7	/* the page table lock */
#define LOCATIONS	8

byte mem[LOCATIONS];

/* The CPUs that store anything are those of the drivers and of the exit. */
#define STORING_CPUS	3
chan buffer[STORING_CPUS] = [4] of { byte, byte };

/*
 * A store: plain, WRITE_ONCE(), or a release. It is a release that waits for
 * the earlier ones, and which stores those are is said in memory() below.
 */
#define STORE(location, value)	buffer[cpu]!location, value

/* smp_mb(), a locked instruction on x86, and what any release RMW needs. */
#define ALL_VISIBLE		(cpu >= STORING_CPUS || empty(buffer[cpu]))

/* The oldest store of @who reaches memory, at any time. */
#define IN_ORDER(who)							\
	:: atomic { buffer[who]?location, value -> mem[location] = value }
/* One that is no release comes before those that it was after. */
#define EARLY(who, which)						\
	:: atomic { buffer[who]??which, value -> mem[which] = value }

/* smp_store_release(&subs->epoch), unless that is what is taken away */
#if defined(WEAK) && defined(NO_EPOCH_RELEASE)
#define EPOCH_EARLY(who)	EARLY(who, EPOCH)
#else
#define EPOCH_EARLY(who)
#endif
/* smp_store_release(&subs->nr[kind]), or &subs->track, likewise */
#if defined(WEAK) && defined(NO_LIST_RELEASE)
#define LIST_EARLY(who)		EARLY(who, LIST)
#else
#define LIST_EARLY(who)
#endif
#if defined(WEAK) && defined(NO_TRACK_RELEASE)
#define TRACK_EARLY(who)	EARLY(who, TRACK)
#else
#define TRACK_EARLY(who)
#endif

/*
 * On a machine of weak memory the plain stores are DOMAIN's and ITREE_STATE's
 * (that of READY is a release, but not for anything here). The others are
 * releases: spin_unlock() and smp_store_release(), which for LIST is that of
 * subs->nr[].
 */
#ifdef WEAK
#define PLAIN_EARLY(who)						\
	EARLY(who, DOMAIN)						\
	EARLY(who, ITREE_STATE)						\
	EPOCH_EARLY(who)						\
	LIST_EARLY(who)							\
	TRACK_EARLY(who)
#else
#define PLAIN_EARLY(who)
#endif

active proctype memory()
{
	byte location, value;

end:	do
	IN_ORDER(0)
	PLAIN_EARLY(0)
	IN_ORDER(1)
	PLAIN_EARLY(1)
	IN_ORDER(2)
	PLAIN_EARLY(2)
	od
}

/*
 * subs->lock (SPIN) and the PTL. That a store enters the buffer is seen by
 * nobody, so it needs no step of its own.
 */
inline spin_lock(lock)
{
	IF_X86(ALL_VISIBLE) && mem[lock] == 0 -> mem[lock] = 1
}

inline spin_unlock(lock)
{
	STORE(lock, 0)
}

/* --- rwsems ---------------------------------------------------------------
 *
 * kernel/locking/rwsem.c. Everything is an RMW on one word, sem->count. What
 * makes it interesting: a reader that went to sleep does not take the lock
 * itself, rwsem_mark_wake() of some other CPU does, and hands it over by
 * smp_store_release(&waiter->task, NULL). And between the unlock and that wake
 * a spinning writer or a stealing reader may come first.
 *
 * Sleeping writers take the lock themselves when they find it free, so they
 * are not on record here; the real lock looks locked while they wait, and lets
 * fewer readers pass, which only hides errors.
 */
#define MMAP		0	/* mm->mmap_lock */
#define VMA(v)		(1 + (v))	/* the own lock of VMA 0 and 1 */
#define FILE		3	/* the i_mmap_rwsem of VMA 0's file */
#define ROOT		4	/* the anon_vma root of VMA 1 */
#define NEW_ROOT	5	/* one that VMA 0 gets by a fault */
#define LOCKS		6

byte readers[LOCKS];
byte sleepers[LOCKS];	/* a set of CPUs */
bit  writer[LOCKS];
#ifdef WEAK
bit  unseen[LOCKS];	/* the last taking of the lock is not seen yet */
#endif

#define COUNT(set)	(((set) & 1) + ((set) >> 1 & 1) + ((set) >> 2 & 1) + \
			 ((set) >> 3 & 1) + ((set) >> 4 & 1) + ((set) >> 5 & 1))

/* An RMW shows all earlier RMWs on the word to everybody. */
#define RMW(l)		IF_WEAK(unseen[l] = 0)

inline took(l)
{
	RMW(l);
	IF_WEAK(unseen[l] = (l != MMAP))	/* at which nobody looks */
}

inline down_read(l)
{
	if
	:: atomic { !writer[l] -> readers[l]++; took(l) }
	:: atomic { writer[l] -> sleepers[l] = sleepers[l] | BIT(cpu); RMW(l) };
	   /* smp_load_acquire(&waiter.task): no barrier besides */
	   !(sleepers[l] & BIT(cpu))
	fi
}

inline up_read(l)
{
	atomic { ALL_VISIBLE -> RMW(l); readers[l]-- }
}

inline down_write(l)
{
	atomic {
		!writer[l] && !readers[l] && IF_X86(ALL_VISIBLE) ->
		writer[l] = 1;
		took(l)
	}
}

/* rwsem_mark_wake(), unless somebody came first, whose turn it is then */
inline wake_readers(l)
{
	if
	:: !sleepers[l]
	:: atomic {
		sleepers[l] && !writer[l] ->
		readers[l] = readers[l] + COUNT(sleepers[l]);
		sleepers[l] = 0;
		RMW(l)
	   }
	:: sleepers[l] && writer[l]
	fi
}

inline up_write(l)
{
	atomic { ALL_VISIBLE -> RMW(l); writer[l] = 0 };
	wake_readers(l)
}

inline downgrade_write(l)
{
	atomic { ALL_VISIBLE -> RMW(l); writer[l] = 0; readers[l] = 1 };
	wake_readers(l)
}

/* rwsem_is_locked(): one plain load of the count */
#ifdef WEAK
#define IS_LOCKED(l)	(readers[l] + writer[l] > unseen[l] || sleepers[l])
#else
#define IS_LOCKED(l)	(readers[l] || writer[l] || sleepers[l])
#endif

#ifdef WEAK
active proctype visibility()
{
end:	do
	:: atomic { unseen[VMA(0)] -> unseen[VMA(0)] = 0 }
	:: atomic { unseen[VMA(1)] -> unseen[VMA(1)] = 0 }
	:: atomic { unseen[FILE] -> unseen[FILE] = 0 }
	:: atomic { unseen[ROOT] -> unseen[ROOT] = 0 }
	:: atomic { unseen[NEW_ROOT] -> unseen[NEW_ROOT] = 0 }
	od
}
#endif

/* --- SRCU -----------------------------------------------------------------
 *
 * srcu_read_lock() and synchronize_srcu() contain full barriers; a grace period
 * waits for every reader that was there when it began, and for no other. A
 * reader in a reader of the same CPU is covered by the outer one.
 */
byte in_srcu;			/* a set of CPUs */
byte awaited[STORING_CPUS];	/* whom a grace period still waits for */

inline srcu_read_lock(mark)
{
	mark = !(in_srcu & BIT(cpu));
	in_srcu = in_srcu | BIT(cpu)
}

inline srcu_read_unlock(mark)
{
	if
	:: mark ->
		in_srcu = in_srcu & ~BIT(cpu);
		awaited[0] = awaited[0] & ~BIT(cpu);
		awaited[1] = awaited[1] & ~BIT(cpu);
		awaited[2] = awaited[2] & ~BIT(cpu);
		mark = 0
	:: else
	fi
}

inline synchronize_srcu()
{
	atomic { ALL_VISIBLE -> awaited[cpu] = in_srcu };
	!awaited[cpu]
}
