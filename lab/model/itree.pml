/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * mm/mmu_interval_notifier.c: subscription s has page s. Who changes or looks up
 * the tree holds subs->lock; who walks it during a section does not.
 */

/* subs->itree_state: do sections know of intervals? */
#define NONE		0
#define PUBLISHED	1	/* those that begin now do */
#define READY		2	/* and the others have ended */

/* What subs->lock protects. */
byte itree_state;	/* subs->itree_state, as the lock's holder sees it */
byte itree_waiters;	/* subs->itree_waiters */
byte under_way;		/* subs->active */
byte seq = 2;		/* subs->seq */
byte itree;		/* subs->itree, a set of subscriptions */
byte deferred;		/* subs->deferred, likewise */
bit  waiting;		/* subs->waiting */

byte walkers;		/* of the tree, without the lock */
byte queued;		/* who sleeps in wait_var_event(), a set of subscriptions */

byte interval_seq[2];	/* mmu_interval_notifier.invalidate_seq */

#define ALL		2	/* in place of a page: all there are */
#define MEETS(page)	(itree & ((page) == ALL -> 3 : BIT(page)))
#ifdef NO_DEFER
#define ITREE_BUSY	false
#else
#define ITREE_BUSY	(seq & 1)
#endif

inline set_itree(set)
{
	assert(!walkers);
	itree = set
}

/*
 * What is inserted has an odd sequence, and what left the tree an even one: that
 * is what mmu_interval_notifier_remove() is known by to be called twice.
 */
#define LOOKS_INSERTED(s)	(interval_seq[s] & 1)

inline set_removed(set)
{
#ifndef NO_SEQ_AT_REMOVE
	interval_seq[0] = ((set) & 1 -> 0 : interval_seq[0]);
	interval_seq[1] = ((set) & 2 -> 0 : interval_seq[1])
#else
	skip
#endif
}

/* --- The driver's callback, and its fault ---------------------------------
 *
 * mmu_interval_set_seq() and mmu_interval_read_retry() are under the driver's
 * lock. A section of all pages, that of exit, is not refused.
 */
inline ops_invalidate(s, cur_seq, page)
{
	assert(!gone[s]);
	if
	:: true ->
		interval_seq[s] = cur_seq;
		translated[s] = translated[s] & ~BIT(s)
#ifdef NONBLOCK
	:: (page) != ALL -> ret = 1	/* false: it would have to sleep */
#endif
	fi
}

/* The queue's own lock makes a full barrier of going to sleep and of waking. */
inline wait_var_event(s, old)
{
	do
	:: queued = queued | BIT(s);
	   if
	   :: seq != old -> queued = queued & ~BIT(s); break
	   :: seq == old -> !(queued & BIT(s))
	   fi
	od
}

inline mmu_interval_read_begin(s)
{
	atomic {
		spin_lock(SPIN);
		seen = interval_seq[s];
		retry = seen == seq;
#ifndef NO_WAITING
		waiting = waiting | retry;
#endif
		spin_unlock(SPIN)
	};
#ifndef NO_WAIT_IN_BEGIN
	if
	:: retry -> wait_var_event(s, seen)
	:: else
	fi
#endif
}

inline interval_fault(s)
{
	mmu_interval_read_begin(s);
	if
	:: present[s] ->
		atomic {
			if
#ifdef NO_RETRY
			:: true ->
#else
			:: interval_seq[s] == seen ->
#endif
				assert(!freed[s]);
				translated[s] = translated[s] | BIT(s)
			:: else
			fi
		}
	:: else
	fi
}

/* --- Sections -------------------------------------------------------------- */

inline mn_itree_end()
{
	atomic {
		mem[SPIN] == 0 ->
		assert(under_way > 0);
		under_way--;
		woken = 0;
		if
		:: !under_way && (seq & 1) ->
			seq++;
			set_removed(itree & deferred);
			set_itree(itree ^ deferred);
			deferred = 0;
			woken = waiting;
			waiting = 0
		:: else
		fi
	};
	if
	:: woken -> queued = 0		/* wake_up_var() */
	:: else
	fi
}

inline mn_itree_start(page)
{
	atomic {
		mem[SPIN] == 0 ->
		under_way++;
		met = MEETS(page);
		if
		:: met -> seq = seq | 1; walkers++
		:: else
		fi;
		seq_now = seq
	};
	if
	:: met ->
		do
		:: atomic { met ->
			sub = (met & 1 -> 0 : 1);
			met = met & ~BIT(sub);
			ops_invalidate(sub, seq_now, page);
			if
			:: ret -> met = 0
			:: else
			fi
		   }
		:: else -> break
		od;
		walkers--;
		if
		:: ret -> mn_itree_end()
		:: else
		fi
	:: else
	fi
}

/* --- The first insertion --------------------------------------------------- */

/*
 * It makes sections know of intervals, and waits for those that do not. Which
 * did, and counted themselves in subs->active, their marks say. Several
 * insertions may wait at a time; the first to be done makes the mm ready, and
 * the last takes it back if all were killed.
 */
inline mn_itree_publish()
{
	mn_get_subscriptions();
	atomic {
		spin_lock(SPIN);
		itree_waiters++;
		if
		:: itree_state == NONE ->
			itree_state = PUBLISHED;
			STORE(ITREE_STATE, PUBLISHED)
		:: else
		fi;
		spin_unlock(SPIN)
	}
}

#ifdef RESET_BESIDE_OTHERS
#define OTHERS_WAIT	false
#else
#define OTHERS_WAIT	itree_waiters
#endif

inline mn_itree_settle()
{
	atomic {
		spin_lock(SPIN);
		itree_waiters--;
		if
		:: !ret -> itree_state = READY; STORE(ITREE_STATE, READY)
#ifndef NO_RESET
		:: ret && itree_state == PUBLISHED && !OTHERS_WAIT ->
			itree_state = NONE;
			STORE(ITREE_STATE, NONE)
#endif
		:: else
		fi;
		spin_unlock(SPIN)
	}
}

#ifdef PUBLISHED_IS_READY
#define ITREE_READY	(mem[SUBS] && mem[ITREE_STATE] != NONE)
#else
#define ITREE_READY	(mem[SUBS] && mem[ITREE_STATE] == READY)
#endif

/* Where the mm had a subscription, no signal ends the wait. */
inline mn_itree_prepare()
{
	killable = !mem[SUBS];
	down_write(MMAP);
	mn_itree_publish();
#ifdef NO_INTERVAL_DRAIN
#ifndef LOCKED
	up_write(MMAP);
#endif
#else
	mn_wait();
#endif
#ifdef INTERVAL_IS_DRAINED
	mn_set_drained(1);
#endif
	mn_itree_settle();
	release_mmap_lock()
}

/* --- Every insertion ------------------------------------------------------- */

inline mn_interval_insert(s)
{
	atomic {
		spin_lock(SPIN);
		if
		:: ITREE_BUSY ->
			interval_seq[s] = seq;
			deferred = deferred | BIT(s)
		:: else ->
			interval_seq[s] = seq - 1;
#ifndef NO_SEQ_AT_INSERT
			if
			:: under_way -> seq++; interval_seq[s] = seq
			:: else
			fi;
#endif
			set_itree(itree | BIT(s))
		fi;
		spin_unlock(SPIN)
	}
}

/* -DLOCKED: mmu_interval_notifier_insert_locked() */
inline mmu_interval_notifier_insert(s)
{
	ret = 0;
	if
	:: ITREE_READY
	:: else -> mn_itree_prepare()
	fi;
	if
	:: ret
	:: else -> mn_interval_insert(s)
	fi
}

inline mmu_interval_notifier_remove(s)
{
	atomic {
		spin_lock(SPIN);
		assert(LOOKS_INSERTED(s));
		seen = 0;
		if
		:: !(itree & BIT(s)) ->
			deferred = deferred & ~BIT(s);
			set_removed(BIT(s))
		:: (itree & BIT(s)) && ITREE_BUSY ->
			deferred = deferred | BIT(s);
			waiting = 1;
			seen = seq
		:: else ->
			set_itree(itree & ~BIT(s));
			set_removed(BIT(s))
		fi;
		spin_unlock(SPIN)
	};
#ifndef NO_WAIT_IN_REMOVE
	if
	:: seen -> wait_var_event(s, seen)
	:: else
	fi
#endif
}
