#!/bin/bash
# Usage: LINUX=<git tree> am.sh
#
# Applies the series to a git tree with git am, or leaves it as it was: branch,
# index and files.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

[ -n "${LINUX:-}" ] || die "which tree? make am LINUX=/path/to/a/git/tree"
[ -d "$LINUX" ] || die "LINUX=$LINUX: there is no such directory"
linux=$(readlink -f "$LINUX")
"$here/tools.sh" git
is_git_tree "$linux" || die "LINUX=$linux: not the top of a git tree that you own;
  git am needs one. In an unpacked tree: git init && git add -A -f && git commit"
"$here/series.sh"
patches=("$out"/series/*.patch)
git -C "$linux" show HEAD:Makefile 2>/dev/null | kernel_version - "LINUX=$linux" >/dev/null
check_git_tree "$linux" "$(touched_files "${patches[@]}")"
for f in rebase-apply rebase-merge MERGE_HEAD CHERRY_PICK_HEAD; do
	[ ! -e "$(cd "$linux" && readlink -f "$(git rev-parse --git-path $f)")" ] ||
		die "LINUX=$linux: another git am, rebase or merge is under way there; end it first"
done
git --no-optional-locks -C "$linux" diff-index --quiet --cached HEAD ||
	die "LINUX=$linux: its index holds changes that are not committed;
  commit them, or put them aside: git stash"

head=$(git -C "$linux" rev-parse HEAD)
log=$out/log/am
mkdir -p "$out/log"
if ! git -C "$linux" am --empty=drop "${patches[@]}" >"$log" 2>&1 </dev/null; then
	git -C "$linux" am --abort
	[ "$(git -C "$linux" rev-parse HEAD)" = "$head" ] || git -C "$linux" reset -q --keep "$head"
	die "the series does not apply; $linux is as it was. git said:
$(grep -E '^(error:|fatal:|Patch failed)' "$log" | head -n 6 | sed 's/^/  /')"
fi
note "$(git -C "$linux" rev-list --count "$head..") patches applied to $linux; to undo: git reset --keep ${head:0:12}"
