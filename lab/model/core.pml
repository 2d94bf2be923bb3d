/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * mm/mmu_notifier.c and mm/mmu_notifier_drain.c, step by step; what is
 * mm/mmu_interval_notifier.c's is in itree.pml. One line that can be interrupted
 * is one access to memory that somebody else uses without a lock; what a lock
 * protects is done at once.
 *
 * The model's names are the kernel's. cpu is the process's own number.
 */

/* --- The state of the mm ------------------------------------------------ */

/* What subs->lock or mmap_lock protects, as its holder sees it. */
bit  allocated;		/* mm->notifier_subscriptions is not NULL */
bit  has_domain;	/* subs->srcu is not NULL */
bit  track;		/* subs->track */
byte listed;		/* the subscriptions on subs->list */
byte published;		/* subs->epoch */
byte drained;		/* subs->drained: a release, and an acquire */

byte birth[2];		/* mmu_notifier.birth */
byte users[2];		/* mmu_notifier.users */
byte mm_users;
byte root_of_0;		/* VMA 0's anon_vma->root: a lock, or 0 */

/* The memory of the process: one page in each of two VMAs. */
bit  present[2] = 1;	/* the CPU's PTE */
bit  freed[2];		/* the page has gone to somebody else */
bit  in_tree[2] = 1;	/* a walk over the VMAs comes to it */
bit  linked[2] = 1;	/* a walk of its file or anon_vma comes to it */

bit  domain_is_idle;	/* it may be another mm's: this one has given it back */

/* --- Two drivers, of KVM's style ----------------------------------------
 *
 * A driver counts the sections that it was told of, and establishes a
 * translation only if there is none and none ended since it began to look. It
 * looks at the page table and not at VMAs: get_user_pages_fast().
 */
byte count[2];		/* invalidations under way */
bit  ended[2];		/* one ended: KVM's sequence count has changed */
byte translated[2];	/* the pages it has translations of */
bit  released[2];	/* it was told to drop all and make no new ones */
bit  gone[2];		/* no callback may run */

/* Those of them that want invalidate_page, and nothing of sections. */
byte pages_only;
#define PAGES	(mem[LIST] & pages_only)
#define RANGES	(mem[LIST] & ~pages_only)

inline ops_invalidate_range_start(s, page)
{
	assert(!gone[s]);
	if
	:: true ->
		count[s]++;
		translated[s] = translated[s] & ~BIT(page)
#ifdef NONBLOCK
	:: ret = 1	/* -EAGAIN: it would have to sleep */
#endif
	fi
}

inline ops_invalidate_range_end(s)
{
	assert(!gone[s]);
	assert(count[s] > 0);
	count[s]--;
	ended[s] = 1
}

/*
 * It may run twice, even at the same time: for unregister and for exit. When it
 * returns, whoever called it, the pages may be freed. A driver that leaves the
 * work to the first call (-DEXIT_TWICE) is safe only as long as nobody but
 * these two frees pages; so it is with stock's core.
 */
inline ops_release(s)
{
#ifdef RELEASE_LOCK
	/* It takes a lock of its driver, whose holder waits for mmap_lock. */
	down_read(MMAP);
	up_read(MMAP);
#endif
#ifdef EXIT_TWICE
	if
	:: atomic { !released[s] -> released[s] = 1 };
	   atomic { assert(!gone[s]); translated[s] = 0 }
	:: released[s]
	fi
#else
	released[s] = 1;
	atomic { assert(!gone[s]); translated[s] = 0 }
#endif
}

/* A fault of the secondary MMU. */
inline driver_fault(s, page)
{
	ended[s] = 0;
	if
	:: present[page] ->
		/* under the driver's lock, which its callbacks take too */
		atomic {
			if
			:: !count[s] && !ended[s] && !released[s] ->
				assert(!freed[page]);
				translated[s] = translated[s] | BIT(page)
			:: else
			fi
		}
	:: else
	fi
}

/* The same of GRU's style: the PTL orders it against who clears the entry. */
inline driver_page_fault(s, page)
{
	atomic { spin_lock(PTL) };
#ifdef LOOK_WITHOUT_PTL
	atomic { spin_unlock(PTL) };
#endif
	if
	:: present[page] ->
		atomic {
			if
			:: !released[s] ->
				assert(!freed[page]);
				translated[s] = translated[s] | BIT(page)
			:: else
			fi
		}
	:: else
	fi;
#ifndef LOOK_WITHOUT_PTL
	atomic { spin_unlock(PTL) }
#endif
}

/* --- Sections ----------------------------------------------------------- */

/* What the inlines below want of local variables. */
#define SECTION								\
	mmu_notifier_range range;					\
	byte list, sub, after, early, met, seq_now;			\
	bit ret, zapped, woken, hook

typedef mmu_notifier_range {
	byte epoch;
	bit tracked;	/* MMU_NOTIFIER_RANGE_TRACKED */
	bit outermost;	/* its reader is in no other of this CPU */
	bit counted	/* MMU_NOTIFIER_RANGE_COUNTED */
};

#include "itree.pml"

/* Walks go from the head, where the youngest is. */
#ifdef LIST_ADD_TAIL
#define OLDER(a, b)	(birth[a] > birth[b])
#else
#define OLDER(a, b)	(birth[a] < birth[b])
#endif
#define FIRST(set)	((set) == 3 -> (OLDER(0, 1) -> 1 : 0) : (set) - 1)

inline next_subscription()
{
	sub = FIRST(list);
	list = list & ~BIT(sub)
}

#ifdef NO_EPOCH_AT_START
#define KNOWS_AT_START(range)	true
#else
#define KNOWS_AT_START(range)	(birth[sub] <= range.epoch)
#endif
#ifdef NO_EPOCH_AT_END
#define KNOWS_AT_END(range)	true
#else
#define KNOWS_AT_END(range)	(birth[sub] <= range.epoch)
#endif

/* Whoever uses the list is in the domain, which must be there, and this mm's. */
inline enter_domain(mark)
{
	assert(mem[DOMAIN] && !domain_is_idle);
	srcu_read_lock(mark)
}

/*
 * hlist_empty(), which is looked at before, is one step with the beginning of
 * the walk: to walk an empty list is the same.
 */
inline mn_end_list(range, birth_of_refuser)
{
	after = birth_of_refuser;
	do
	:: atomic { list ->
		next_subscription();
		if
		:: birth[sub] <= after -> list = 0
		:: birth[sub] > after && KNOWS_AT_END(range) ->
			ops_invalidate_range_end(sub)
		:: else
		fi
	   }
	:: !list -> break
	od
}

/* A start was refused: those that had started are the younger ones. */
inline mn_undo_start(range)
{
#ifdef END_ALL_ON_REFUSAL
	atomic { list = RANGES; mn_end_list(range, 0) }
#else
#ifndef NO_END_ON_REFUSAL
	atomic { list = RANGES; mn_end_list(range, birth[sub]) }
#endif
#endif
	skip
}

inline mn_start_list(range, page)
{
	do
	:: atomic { list ->
		next_subscription();
		if
		:: KNOWS_AT_START(range) ->
			ops_invalidate_range_start(sub, page);
			if
			:: ret -> mn_undo_start(range); list = 0
			:: else
			fi
		:: else
		fi
	   }
	:: !list -> break
	od
}

/*
 * The loads of start in their order: `track`; into the domain; the epoch, the
 * state of the interval tree; the list. Where what keeps a load behind is taken
 * away, it is done early.
 */
#ifdef NO_READER_BARRIER
#define STATE_AT_START	(range.tracked -> early : mem[ITREE_STATE])
#else
#define STATE_AT_START	mem[ITREE_STATE]
#endif
#ifdef NO_EPOCH_ACQUIRE
#define LIST_AT_START	(early & RANGES)
#else
#define LIST_AT_START	RANGES
#endif

inline mn_enter(range)
{
#ifdef NO_TRACK_ACQUIRE
	assert(early);
#endif
	enter_domain(range.outermost);
	range.tracked = 1;
#ifdef NO_EPOCH_ACQUIRE
	early = RANGES
#endif
}

/*
 * mm_has_notifiers() and `track` are one step, with that into the domain: once
 * they are there, they stay. A section that is not tracked looks at no list, as
 * one does that began before the first publication (epoch 0).
 */
inline mmu_notifier_invalidate_range_start(range, page)
{
	ret = 0;
#ifdef NO_TRACK_ACQUIRE
	early = mem[DOMAIN];
#endif
	if
	:: !mem[SUBS]
	:: mem[SUBS] ->
	   if
#ifdef NO_READER_BARRIER
	   :: atomic { mem[TRACK] ->
		range.epoch = mem[EPOCH];
		early = mem[ITREE_STATE]
	      };
	      atomic { mn_enter(range) }
#else
	   :: atomic { mem[TRACK] -> mn_enter(range) };
	      /* the full barrier in srcu_read_lock() */
	      range.epoch = mem[EPOCH]
#endif
#ifdef WALK_UNTRACKED
	   :: !mem[TRACK] -> range.epoch = mem[EPOCH]
#else
	   :: !mem[TRACK]
#endif
	   fi;
	   if
	   :: STATE_AT_START != NONE ->
		range.counted = 1;
		mn_itree_start(page)
	   :: STATE_AT_START == NONE
	   fi;
	   if
	   :: atomic { !ret && range.epoch -> list = LIST_AT_START };
	      mn_start_list(range, page);
#ifndef NO_ITREE_END_ON_REFUSAL
	      if
	      :: ret && range.counted -> mn_itree_end()
	      :: else
	      fi
#endif
	   :: else
	   fi;
	   atomic {
		if
		:: ret ->
			range.counted = 0;
#ifndef NO_LEAVE_ON_REFUSAL
			srcu_read_unlock(range.outermost);
#endif
			range.tracked = 0
		:: else
		fi;
#ifdef LEAVE_AFTER_START
		srcu_read_unlock(range.outermost)
#endif
	   }
	fi
}

#ifdef NO_COUNTED
#define COUNTED(range)	(mem[SUBS] && mem[ITREE_STATE] != NONE)
#else
#define COUNTED(range)	range.counted
#endif

inline mmu_notifier_invalidate_range_end(range)
{
	if
	:: COUNTED(range) -> mn_itree_end(); range.counted = 0
	:: else
	fi;
	if
#ifdef WALK_UNTRACKED
	:: atomic { range.epoch ->
#else
	:: atomic { range.tracked ->
#endif
#ifdef LEAVE_AFTER_START
		enter_domain(range.outermost);
#endif
		list = RANGES
	   };
	   mn_end_list(range, 0);
	   atomic {
		srcu_read_unlock(range.outermost);
		range.tracked = 0;
		range.epoch = 0
	   }
	:: else
	fi
}

inline mmu_notifier_invalidate_page(page)
{
	if
	:: atomic { mem[SUBS] && PAGES ->
		enter_domain(hook);
		list = PAGES
	   };
	   do
	   :: atomic { list ->
		next_subscription();
		assert(!gone[sub]);
		translated[sub] = translated[sub] & ~BIT(page)
	      }
	   :: else -> break
	   od;
	   srcu_read_unlock(hook)
	:: else
	fi
}

/*
 * The change: the PTE is cleared under the PTL, and the hook called before that
 * is released; then the page is freed. Where nobody wants pages, all that is
 * under the PTL is one step.
 */
inline zap(page)
{
#ifdef HOOK_BEFORE_PTL
	mmu_notifier_invalidate_page(page);
#endif
	atomic {
		mem[PTL] == 0 ->
		if
		:: present[page] -> present[page] = 0; zapped = 1
		:: else -> zapped = 0
		fi;
		mem[PTL] = (pages_only -> 1 : 0)
	};
	if
	:: pages_only ->
#ifndef HOOK_BEFORE_PTL
		if
		:: zapped -> mmu_notifier_invalidate_page(page)
		:: else
		fi;
#endif
		atomic { ALL_VISIBLE -> mem[PTL] = 0 }
	:: else
	fi;
	atomic {
		if
		:: zapped ->
			assert(!(translated[0] & BIT(page)));
			assert(!(translated[1] & BIT(page)));
			freed[page] = 1;
			zapped = 0
		:: else
		fi
	}
}

inline change(range, page)
{
	mmu_notifier_invalidate_range_start(range, page);
	if
	:: !ret ->
		zap(page);
		mmu_notifier_invalidate_range_end(range)
	:: else		/* the caller of a start that fails changes nothing */
	fi
}

/* --- Registration: publish ---------------------------------------------- */

/* What the inlines from here on want of local variables. */
#define DRIVER								\
	byte l, nth, seen;						\
	bit ret, has_mmap_lock, outermost, killable, again

inline mn_add_to_list(s)
{
	atomic {
		spin_lock(SPIN);
		users[s] = 1;
		birth[s] = published + 1;
		listed = listed | BIT(s);
		STORE(LIST, listed);
		spin_unlock(SPIN)
	}
}

inline mn_del_from_list(s)
{
	atomic {
		spin_lock(SPIN);
		listed = listed & ~BIT(s);
		STORE(LIST, listed);
		spin_unlock(SPIN)
	}
}

inline mn_get_subscriptions()
{
	if
	:: atomic { !allocated -> allocated = 1; STORE(SUBS, 1) }
	:: else
	fi
}

/* Once it is set, every section enters the domain. */
inline set_track()
{
	atomic {
		if
		:: !track -> track = 1; STORE(TRACK, 1)
		:: else
		fi
	}
}

/*
 * A subscription that wants pages only needs the domain, for the walks of the
 * hooks, and no section to be tracked.
 */
inline mn_prepare(s)
{
	mn_get_subscriptions();
	atomic {
		if
		:: !has_domain -> has_domain = 1; STORE(DOMAIN, 1)
		:: else
		fi
	};
	if
	:: pages_only & BIT(s)
	:: else -> set_track()
	fi
}

inline mn_publish(s)
{
#ifndef DOMAIN_AFTER_PUBLISH
	mn_prepare(s);
#else
	mn_get_subscriptions();
#endif
#ifdef EPOCH_FIRST
	STORE(EPOCH, published + 1);
	mn_add_to_list(s);
	published++;
#else
	mn_add_to_list(s);
	atomic { published++; STORE(EPOCH, published) };
#endif
#ifdef DOMAIN_AFTER_PUBLISH
	mn_prepare(s)
#endif
}

#ifdef KILLED_GET_FREES_FOR_ALL
#define OTHERS_USE(s)	false
#else
#define OTHERS_USE(s)	users[s]
#endif

/* again: nobody else uses it */
inline mn_unpublish(s)
{
#ifndef NO_UNPUBLISH
	atomic {
		spin_lock(SPIN);
		users[s]--;
		again = !OTHERS_USE(s);
		if
		:: again ->
			/* by the others, before their put */
			translated[s] = (users[s] -> translated[s] : 0);
			listed = listed & ~BIT(s);
			STORE(LIST, listed)
		:: else
		fi;
		spin_unlock(SPIN)
	};
#else
	again = 1;
#endif
	if
	:: again ->
#ifndef NO_SRCU_IN_UNPUBLISH
		synchronize_srcu()
#else
		skip
#endif
	:: else
	fi
}

/* --- Registration: wait by looking ---------------------------------------
 *
 * The locks in the order in which the walk over the VMAs passes them: VMA 0's
 * own, that of its file, of its anon_vma root; VMA 1's own, of its root.
 */
#define NR_LOCKS	5
#define NTH_VMA(n)	((n) / 3)
#define IS_VMA_LOCK(n)	((n) == 0 || (n) == 3)
#define NTH_LOCK(n)							\
	((n) == 0 -> VMA(0) : ((n) == 1 -> FILE : ((n) == 2 -> root_of_0 : \
	 ((n) == 3 -> VMA(1) : ROOT))))

#ifdef NO_VMA_DRAIN
#define NOT_VMA	|| IS_VMA_LOCK(nth)
#else
#define NOT_VMA
#endif
#ifdef NO_FILE_DRAIN
#define NOT_FILE || nth == 1
#else
#define NOT_FILE
#endif
#ifdef NO_ANON_DRAIN
#define NOT_ANON || nth == 2 || nth == 4
#else
#define NOT_ANON
#endif
/* The VMA is not there, or not linked to such a lock. */
#define SKIP_LOCK							\
	(!in_tree[NTH_VMA(nth)] || !NTH_LOCK(nth) NOT_VMA NOT_FILE NOT_ANON)

/* rwsem_is_locked(), or, on a machine of weak memory, down_write_trylock() */
#if !defined(WEAK) || defined(LOOK_ON_WEAK)
#define LOOKS_FREE(l)	!IS_LOCKED(l)
#else
#define LOOKS_FREE(l)	(!writer[l] && !readers[l])
#endif

/* A fatal signal may end it where -DKILLS; see the scenarios. */
#ifdef KILLS
#define KILLED		killable
#else
#define KILLED		false
#endif

/* Down for write and up again: only that waits for all who hold it. */
inline mn_wait_lock()
{
#ifdef DRAIN_BY_READING
	down_read(l);
	up_read(l)
#else
	down_write(l);
	up_write(l)
#endif
}

/*
 * An rmap lock is waited for without mmap_lock, so VMAs may come and go.
 * munmap() takes them out of the tree under mmap_lock held for write, but clears
 * and unlinks them under mmap_lock held for read; until then a section under one
 * of their locks may be under way, and the walk does not come to that. So
 * mmap_lock is taken for write again: who held it for read has finished.
 *
 * A VMA's own lock is waited for under mmap_lock held for write, since
 * UFFDIO_MOVE waits for a second one. The VMA has to be looked up again.
 */
inline mn_wait_dropping()
{
	up_read(MMAP);
	has_mmap_lock = 0;
	if
	:: KILLED -> ret = 1
	:: true ->
		if
		:: IS_VMA_LOCK(nth)
		:: else -> mn_wait_lock()
		fi;
#ifdef RETAKE_FOR_READ
		down_read(MMAP);
#else
		down_write(MMAP);
		if
		:: IS_VMA_LOCK(nth) && in_tree[NTH_VMA(nth)] -> mn_wait_lock()
		:: else
		fi;
		downgrade_write(MMAP);
#endif
		has_mmap_lock = 1
	fi
}

/* -DLOCKED: the caller owns mmap_lock for write, and keeps it. */
inline mn_wait_held()
{
#ifdef LOCKED
	if
	:: KILLED -> ret = 1
	:: true -> mn_wait_lock()
	fi
#else
	mn_wait_dropping()
#endif
}

/*
 * smp_mb(), then the walk over the VMAs. mmap_lock was held for write since the
 * publication, and is for read now (-DLOCKED: still for write).
 */
inline mn_drain()
{
#ifndef NO_BARRIER
	ALL_VISIBLE;
#endif
	do
	:: atomic { nth == NR_LOCKS || ret -> nth = 0; l = 0; break }
	:: atomic { nth < NR_LOCKS && !ret && SKIP_LOCK -> nth++ }
	:: nth < NR_LOCKS && !ret && !SKIP_LOCK ->
		if
		:: atomic { LOOKS_FREE(NTH_LOCK(nth)) -> RMW(NTH_LOCK(nth)); nth++ }
		:: else ->
			l = NTH_LOCK(nth);
			mn_wait_held();
			nth++
		fi
	od
}

/* --- Registration: wait ---------------------------------------------------
 *
 * The mm is tracked once a whole drain that came after `track` was set is over:
 * from then on every section is in the domain. Whoever waited for the sections
 * before one birth waited for those before all older ones.
 */
inline mn_set_drained(epoch)
{
	atomic {
		spin_lock(SPIN);
		drained = (drained > (epoch) -> drained : (epoch));
		spin_unlock(SPIN)
	}
}

/*
 * mmap_lock is held for write. The first time by looking; later by a grace
 * period with mmap_lock released, which cannot fail. -DLOCKED (MN_WAIT_KEEP): it
 * is kept, and there are looks each time, which a signal ends only if the mm has
 * no other subscription on its list: to fail takes a grace period, see RELEASE_LOCK.
 */
inline mn_wait()
{
#ifdef LOCKED
	killable = killable && !drained;
#ifndef KILLED_BESIDE_OTHERS
	killable = killable && !(listed & listed - 1);
#endif
#ifdef GRACE_PERIOD_WHEN_KEPT
	if
	:: drained -> synchronize_srcu()
	:: else -> mn_drain()
	fi
#else
	mn_drain()
#endif
#else
	if
	:: drained ->
		up_write(MMAP);
#ifndef NO_GRACE_PERIOD
		synchronize_srcu()
#endif
	:: else ->
		downgrade_write(MMAP);
		has_mmap_lock = 1;
		mn_drain();
		if
		:: has_mmap_lock -> up_read(MMAP); has_mmap_lock = 0
		:: else
		fi
	fi
#endif
}

/* What __mmu_notifier_register() and its like leave to their callers */
inline release_mmap_lock()
{
#ifdef LOCKED
	up_write(MMAP)
#else
	skip
#endif
}

inline mn_settle(s)
{
	mn_wait();
	if
#ifdef FAILED_IS_DRAINED
	:: true -> mn_set_drained(birth[s])
#else
	:: !ret -> mn_set_drained(birth[s])
#endif
	:: else
	fi
}

/* The wait in the wrong place, before the publication */
inline mn_drain_first()
{
	downgrade_write(MMAP);
	has_mmap_lock = 1;
	mn_drain();
	up_read(MMAP);
	has_mmap_lock = 0;
	down_write(MMAP)
}

/*
 * mmu_notifier_register(); -DLOCKED: __mmu_notifier_register(), which keeps the
 * write lock
 */
inline mmu_notifier_register(s)
{
	atomic { ret = 0; killable = 1 };
#ifdef NO_MMAP_LOCK
	down_read(MMAP);
	mn_publish(s);
	has_mmap_lock = 1;
	mn_drain();
	up_read(MMAP);
	has_mmap_lock = 0
#else
	down_write(MMAP);
#ifdef PUBLISH_AFTER_DRAIN
	mn_drain_first();
#endif
	mn_publish(s);
	if
	:: pages_only & BIT(s) ->	/* !mn_has_range_ops() */
#ifdef PAGES_ARE_DRAINED
		mn_set_drained(birth[s]);
#endif
#ifndef LOCKED
		up_write(MMAP)
#else
		skip
#endif
	:: else ->
#ifdef PUBLISH_AFTER_DRAIN
		up_write(MMAP)
#else
		mn_settle(s)
#endif
	fi;
	if
	:: ret -> mn_unpublish(s); again = 0
	:: else
	fi;
	release_mmap_lock()
#endif
}

/* --- get and put ---------------------------------------------------------- */

/* call_srcu(), and what it calls then: free_notifier() */
inline mmu_notifier_put(s)
{
	atomic {
		spin_lock(SPIN);
		users[s]--;
		again = !users[s];
		if
		:: again ->
			translated[s] = 0;	/* by the driver, before */
			listed = listed & ~BIT(s);
			STORE(LIST, listed)
		:: else
		fi;
		spin_unlock(SPIN)
	};
	if
	:: again ->
#ifndef NO_SRCU_IN_PUT
		synchronize_srcu();
#endif
		atomic { gone[s] = 1; count[s] = 0; again = 0 }
	:: else
	fi
}

/*
 * There is one already, or it allocates a new one; @s becomes the one. One
 * whose wait is not over is waited for here as well: who allocated it may be
 * killed, or come back later. A get() that is killed drops its reference, and
 * frees at once what nobody else uses.
 */
inline mmu_notifier_get(s)
{
	atomic { ret = 0; killable = 1 };
	down_write(MMAP);
	atomic {
		spin_lock(SPIN);
		if
		:: users[0] -> s = 0; users[0]++; again = 1
		:: users[1] -> s = 1; users[1]++; again = 1
		:: else
		fi;
		spin_unlock(SPIN)
	};
	if
	:: again -> again = 0
	:: else -> mn_publish(s)
	fi;
	if
#ifdef GET_IS_DRAINED
	:: users[s] > 1 -> up_write(MMAP)
#endif
	:: birth[s] <= drained ->
#ifndef LOCKED
		up_write(MMAP)
#else
		skip
#endif
	:: else -> mn_settle(s)
	fi;
	if
	:: ret ->
		mn_unpublish(s);
		if
		:: again ->	/* free_notifier() */
			atomic { gone[s] = 1; count[s] = 0; again = 0 }
		:: else
		fi
	:: else
	fi;
	release_mmap_lock()
}

/* --- Teardown ----------------------------------------------------------- */

inline mmu_notifier_unregister(s)
{
#ifdef RELEASE_AFTER_DEL
	mn_del_from_list(s);
	ops_release(s);
#else
	atomic { enter_domain(outermost) };
	if
	:: mem[LIST] & BIT(s) -> ops_release(s)
	:: else
	fi;
	srcu_read_unlock(outermost);
	mn_del_from_list(s);
#endif
#ifndef NO_SRCU_IN_UNREGISTER
	synchronize_srcu()
#endif
}

/* mmu_notifier_release(), in exit_mmap() */
inline mmu_notifier_release()
{
	if
	:: mem[SUBS] && mem[ITREE_STATE] != NONE ->
		mn_itree_start(ALL);
		mn_itree_end()
	:: else
	fi;
	if
	:: mem[SUBS] && mem[LIST] ->
		atomic { enter_domain(outermost); list = mem[LIST] };
		do
		:: atomic { list -> next_subscription() };
		   ops_release(sub)
		:: else -> break
		od;
		atomic {
			spin_lock(SPIN);
			listed = 0;
			STORE(LIST, 0);
			spin_unlock(SPIN);
			srcu_read_unlock(outermost)
		};
#ifndef NO_SRCU_IN_RELEASE
		synchronize_srcu()
#endif
	:: else
	fi
}
