#!/bin/bash
# Usage: mutants-tree.sh
#
# The series with what lab/mutants.py switches off, in a tree of its own for test
# kernels: out/mutants-linux, one commit (refs/lab/mutants) on top of refs/lab/series.
# It is made of what lab/mutants/ holds: two patches, hooks.patch for the hook and the
# fault helper, core.patch for the steps of the core, and the files that they need.
#
# Files that did not change keep their time stamps, so that the next build is
# incremental.
set -euo pipefail
shopt -s inherit_errexit
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

linux=$out/linux tree=$out/mutants-linux mutants=$here/mutants
g=(git -C "$linux")
# The lab's own commits need some identity, and always the same.
export GIT_AUTHOR_NAME=lab GIT_AUTHOR_EMAIL=lab@localhost GIT_AUTHOR_DATE='2024-11-17T00:00:00Z'
export GIT_COMMITTER_NAME=lab GIT_COMMITTER_EMAIL=lab@localhost GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE

# add FILE PATH: a file of lab/mutants/, as PATH of the tree
add() {
	index update-index --add --cacheinfo "100644,$("${g[@]}" hash-object -w --no-filters "$mutants/$1"),$2"
}

index() { GIT_INDEX_FILE=$work/index "${g[@]}" "$@"; }

# Made in an index alone: the tree goes from one result to the next.
commit_mutants() {
	local patch log=$out/log/mutants-tree
	index read-tree refs/lab/series
	for patch in hooks core; do
		index apply --cached --recount "$mutants/$patch.patch" 2>"$log" ||
			die "lab/mutants/$patch.patch does not apply to the series any more:
$(grep -v 'patch does not apply$' "$log" | sed 's/^error: //; s/^/  /' | head -n 8)
  Mend it: its first lines say how."
	done
	add mmu_notifier_mutants.c mm/mmu_notifier_mutants.c
	add mmu_notifier_mutants.h include/linux/mmu_notifier_mutants.h
	"${g[@]}" commit-tree -p refs/lab/series -m "Mutants" "$(index write-tree)"
}

# Is it a tree of out/linux, and not what an older one left?
is_ours() {
	[ -e "$tree/.git" ] &&
		[ "$(git -C "$tree" rev-parse --path-format=absolute --git-common-dir 2>/dev/null)" = "$linux/.git" ]
}

"${g[@]}" rev-parse -q --verify refs/lab/series >/dev/null || die "run lab/base.sh first"
mkdir -p "$out/log"
lock "$out/log/lock-linux"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
commit=$(commit_mutants)
"${g[@]}" update-ref refs/lab/mutants "$commit"
if ! is_ours; then
	need_space "$out" 2000
	rm -rf "$tree"
	"${g[@]}" worktree prune
	"${g[@]}" worktree add -q --no-checkout --detach "$tree" "$commit"
fi
if [ "$(git -C "$tree" rev-parse -q --verify HEAD)" != "$commit" ] ||
   ! git -C "$tree" diff-index --quiet HEAD 2>/dev/null; then
	git -C "$tree" checkout -q -f --detach "$commit"
fi
