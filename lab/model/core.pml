/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * mm/mmu_notifier.c and mm/mmu_notifier_drain.c, step by step; what belongs to
 * interval subscriptions alone is in itree.pml. One line that can be interrupted
 * is one access to memory that somebody else uses without a lock; what a lock
 * protects is done at once.
 *
 * The model's names are the kernel's. cpu is the process's own number.
 */

/* --- The state of the mm ------------------------------------------------ */

/* What subs->lock or mmap_lock protects, as its holder sees it. */
bit  itree_born;	/* subs->itree_birth is set */
bit  allocated;		/* mm->notifier_subscriptions is not NULL */
byte listed;		/* the subscriptions on subs->list */
byte published;		/* subs->epoch */

byte birth[2];		/* mmu_notifier.birth */
byte mm_users;
bit  hidden_user;	/* the last increment is not seen yet */
byte root_of_0;		/* VMA 0's anon_vma->root: a lock, or 0 */

/* The memory of the process: one page in each of two VMAs. */
bit  present[2] = 1;	/* the CPU's PTE */
bit  freed[2];		/* the page has gone to somebody else */

/* --- Two drivers, of KVM's style ----------------------------------------
 *
 * A driver counts the sections that it was told of, and establishes a
 * translation only if there is none and none ended since it began to look.
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
	byte list, sub, after, early, early_birth, met, seq_now;	\
	bit ret, zapped, woken

typedef mmu_notifier_range {
	byte epoch;
	bit announced	/* MMU_NOTIFIER_RANGE_ANNOUNCED */
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

/*
 * The walks are under SRCU. hlist_empty(), which is looked at before, is one
 * step with the beginning of the walk: to walk an empty list is the same.
 */
inline mn_list_end(range, birth_of_refuser)
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
	atomic { list = RANGES; mn_list_end(range, 0) }
#else
#ifndef NO_END_ON_REFUSAL
	atomic { list = RANGES; mn_list_end(range, birth[sub]) }
#endif
#endif
	skip
}

inline mn_list_start(range, page)
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
	od;
	srcu_read_unlock()
}

/*
 * mm_has_notifiers() and the epoch are one step too: the pointer, once there,
 * stays.
 */
inline mmu_notifier_invalidate_range_start(range, page)
{
	ret = 0;
#ifdef NO_EPOCH_ACQUIRE
	/* Then the later loads may be done earlier. */
	early = RANGES;
	early_birth = mem[ITREE_BIRTH];
#define LIST_AT_START		(early && RANGES)
#define BIRTH_AT_START		early_birth
#else
#define LIST_AT_START		RANGES
#define BIRTH_AT_START		mem[ITREE_BIRTH]
#endif
	if
	:: atomic { mem[SUBS] ->
		range.epoch = mem[EPOCH];
		range.announced = 1
	   };
	   if
	   :: ITREE_ANNOUNCED(BIRTH_AT_START, range) -> mn_itree_start(page)
	   :: else
	   fi;
	   if
	   :: atomic { !ret && LIST_AT_START ->
		srcu_read_lock();
		list = RANGES
	      };
	      mn_list_start(range, page);
#ifndef NO_ITREE_END_ON_REFUSAL
	      if
	      :: ret && ITREE_ANNOUNCED(mem[ITREE_BIRTH], range) -> mn_itree_end()
	      :: else
	      fi
#endif
	   :: else
	   fi;
	   range.announced = !ret
	:: !mem[SUBS] -> range.announced = 0
	fi
}

inline mmu_notifier_invalidate_range_end(range)
{
	if
	:: range.announced ->
	   if
	   :: ITREE_ANNOUNCED_AT_END(range) -> mn_itree_end()
	   :: else
	   fi;
	   if
	   :: atomic { RANGES ->
		srcu_read_lock();
		list = RANGES
	      };
	      mn_list_end(range, 0);
	      srcu_read_unlock()
	   :: !RANGES
	   fi
	:: else
	fi
}

inline mmu_notifier_invalidate_page(page)
{
	if
	:: atomic { mem[SUBS] && PAGES ->
		srcu_read_lock();
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
	   srcu_read_unlock()
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
			freed[page] = 1
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

inline list_add(s)
{
	atomic {
		spin_lock(SPIN);
		birth[s] = published + 1;
		listed = listed | BIT(s);
		STORE(LIST, listed);
		spin_unlock(SPIN)
	}
}

inline list_del(s)
{
	atomic {
		spin_lock(SPIN);
		listed = listed & ~BIT(s);
		STORE(LIST, listed);
		spin_unlock(SPIN)
	}
}

inline mn_subscriptions()
{
	if
	:: atomic { !allocated -> allocated = 1; STORE(SUBS, 1) }
	:: else
	fi
}

inline mn_publish(s)
{
	mn_subscriptions();
#ifdef EPOCH_FIRST
	STORE(EPOCH, published + 1);
	list_add(s);
	published++
#else
	list_add(s);
	atomic { published++; STORE(EPOCH, published) }
#endif
}

inline mn_unpublish(s)
{
#ifndef NO_UNPUBLISH
	list_del(s);
#endif
#ifndef NO_SRCU_IN_UNPUBLISH
	synchronize_srcu()
#endif
}

/* --- Registration: drain ------------------------------------------------ */

#if !defined(WEAK) || defined(LOOK_ON_WEAK)
#define LOOKS_FREE(l)	!IS_LOCKED(l)
#else
#define LOOKS_FREE(l)	false
#endif

/*
 * mn_drain_vma() and mn_drain_rmap(). The worker by which the latter waits is
 * a detail: what it does is done here. -DFAILS, -DINTERVAL_FAILS: a fatal signal
 * or the deadline.
 */
inline drain_lock(l)
{
	if
	:: ret
	:: !ret && LOOKS_FREE(l)
#if defined(FAILS) || defined(INTERVAL_FAILS)
	:: !ret -> ret = 1
#endif
	:: else ->
#ifdef DRAIN_BY_READING
		down_read(l);
		up_read(l)
#else
		down_write(l);
		up_write(l)
#endif
	fi
}

inline read_mm_users()
{
	/* current->mm == mm: the model registers its own mm only */
	shared = mm_users - hidden_user > 1
}

/* @vmas: the set of those in the range that is drained */
inline mn_drain(vmas)
{
	ret = 0;
#ifndef NO_BARRIER
	ALL_VISIBLE;		/* smp_mb() */
#endif
#ifndef USERS_BEFORE_PUBLISH
	read_mm_users();
#endif
	if
	:: (vmas) & BIT(0) ->
		if
		:: shared ->
#ifndef NO_VMA_DRAIN
			drain_lock(VMA(0))
#endif
		:: else
		fi;
#ifndef NO_FILE_DRAIN
		drain_lock(FILE);
#endif
#ifndef NO_ANON_DRAIN
		if
		:: root_of_0 -> drain_lock(root_of_0)
		:: else
		fi
#endif
	:: else
	fi;
	if
	:: (vmas) & BIT(1) ->
		if
		:: shared ->
#ifndef NO_VMA_DRAIN
			drain_lock(VMA(1))
#endif
		:: else
		fi;
#ifndef NO_ANON_DRAIN
		drain_lock(ROOT)
#endif
	:: else
	fi
}

inline mn_drain_all(s)
{
	mn_drain(BIT(0) | BIT(1));
	if
	:: !ret -> STORE(DRAINED, birth[s])
	:: else
	fi
}

/*
 * mmu_notifier_register(); -DLOCKED: __mmu_notifier_register(), which keeps the
 * write lock
 */
inline mmu_notifier_register(s)
{
#ifdef USERS_BEFORE_PUBLISH
	read_mm_users();
#endif
#ifdef NO_MMAP_LOCK
	down_read(MMAP);
	mn_publish(s);
	mn_drain_all(s);
#else
	down_write(MMAP);
#ifdef PUBLISH_AFTER_DRAIN
	mn_drain(BIT(0) | BIT(1));
	mn_publish(s);
	downgrade_write(MMAP);
#else
	mn_publish(s);
#ifndef LOCKED
	downgrade_write(MMAP);
#endif
	if
	:: pages_only & BIT(s)	/* !mn_needs_drain() */
	:: else -> mn_drain_all(s)
	fi;
#endif
#endif
	if
	:: ret -> mn_unpublish(s)
	:: else
	fi;
#ifdef LOCKED
	up_write(MMAP)
#else
	up_read(MMAP)
#endif
}

/* --- Teardown ----------------------------------------------------------- */

inline mmu_notifier_unregister(s)
{
#ifdef RELEASE_AFTER_DEL
	list_del(s);
	ops_release(s);
#else
	srcu_read_lock();
	if
	:: mem[LIST] & BIT(s) -> ops_release(s)
	:: else
	fi;
	srcu_read_unlock();
	list_del(s);
#endif
#ifndef NO_SRCU_IN_UNREGISTER
	synchronize_srcu()
#endif
}

/* mmu_notifier_release(), in exit_mmap() */
inline mmu_notifier_release()
{
	if
	:: mem[SUBS] && mem[ITREE_BIRTH] ->
		mn_itree_start(ALL);
		mn_itree_end()
	:: else
	fi;
	if
	:: mem[SUBS] && mem[LIST] ->
		srcu_read_lock();
		list = mem[LIST];
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
			srcu_read_unlock()
		};
#ifndef NO_SRCU_IN_RELEASE
		synchronize_srcu()
#endif
	:: else
	fi
}
