#!/bin/bash
# Usage: test-lab.sh
#
# Tests of the lab itself, in TAP: that the series applies, and that wrong
# input gets one clear message and leaves the user's tree as it was. Needs what
# base.sh left in out/linux.
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

work=$(mktemp -d "$out/test-lab.XXXXXX")
trap 'rm -rf "$work"' EXIT
export GIT_AUTHOR_NAME=lab GIT_AUTHOR_EMAIL=lab@localhost
export GIT_COMMITTER_NAME=lab GIT_COMMITTER_EMAIL=lab@localhost
unset LINUX
n=0

result() { # ok|not-ok NAME
	n=$((n + 1))
	if [ "$1" = ok ]; then
		echo "ok $n $2"
	else
		echo "not ok $n $2"
		sed 's/^/# /' "$work/log" 2>/dev/null
	fi
}

check() { # NAME COMMAND...
	local name=$1
	shift
	if "$@" >"$work/log" 2>&1 </dev/null; then result ok "$name"; else result not-ok "$name"; fi
}

# refused NAME TEXT COMMAND...: fails, says TEXT, and nothing of git's or bash's
refused() {
	local name=$1 text=$2
	shift 2
	if "$@" >"$work/log" 2>&1 </dev/null; then
		result not-ok "$name"
	elif grep -q "^error: .*$text" "$work/log" && [ "$(grep -c . "$work/log")" -le 8 ]; then
		result ok "$name"
	else
		result not-ok "$name"
	fi
}

# A git tree with the files of the base that the series touches, and Makefile.
"$here/series.sh" "$work/series" 2>/dev/null
tree=$work/tree
git -C "$out/linux" rev-parse -q --verify refs/lab/base >/dev/null || die "run lab/base.sh first"
git init -q -b master "$tree"
mapfile -t files < <(touched_files "$work"/series/*.patch)
for f in Makefile "${files[@]}"; do
	mkdir -p "$tree/$(dirname "$f")"
	git -C "$out/linux" show "refs/lab/base:$f" >"$tree/$f" 2>/dev/null || rm -f "$tree/$f"
done
git -C "$tree" add -A -f
git -C "$tree" commit -q -m base
base=$(git -C "$tree" rev-parse HEAD)

state() {
	git -C "$tree" symbolic-ref HEAD
	git -C "$tree" rev-parse HEAD
	git -C "$tree" status --porcelain --ignored
	git -C "$tree" ls-files -s | sha256sum
	(cd "$tree" && find . -path ./.git -prune -o -type f -exec sha256sum {} + | sort | sha256sum)
}
untouched() { # NAME TEXT: make am is refused and leaves the tree as it was
	local before
	before=$(state)
	refused "$1" "$2" env OUT="$work/o" LINUX="$tree" "$here/am.sh"
	if [ "$before" = "$(state)" ] && [ ! -e "$tree/.git/rebase-apply" ]; then
		result ok "$1: tree as it was"
	else
		result not-ok "$1: tree as it was"
	fi
}
back() { git -C "$tree" reset -q --hard "$base" && git -C "$tree" clean -qfdx; }

echo "TAP version 13"
echo "1..37"
check "series: without a kernel source" test -s "$work/series"/0001-*.patch
refused "series: no author" "need an author" env -i PATH="$PATH" HOME="$work" OUT="$work/o" \
	GIT_CONFIG_NOSYSTEM=1 GIT_DIR="$work/none" "$here/series.sh"
check "am: applies" env OUT="$work/o" LINUX="$tree" "$here/am.sh"
check "am: keeps the number of patches" test "$(git -C "$tree" rev-list --count "$base..HEAD")" = \
	"$(find "$work/series" -name '*.patch' ! -name '0000-*' | wc -l)"
check "series: a cover letter" grep -q '^Subject: \[PATCH 00*/' "$work/series/0000-cover-letter.patch"
mkdir -p "$work/asked/scripts"
printf '%s\n' 'print "linux-mm\@kvack.org ", scalar(@ARGV), "\n" unless grep { /0000-/ } @ARGV' \
	>"$work/asked/scripts/get_maintainer.pl"
env OUT="$work/o" LINUX="$work/asked" "$here/series.sh" >"$work/whom" 2>/dev/null
check "series: whom to send them to" grep -q '^linux-mm@kvack.org' "$work/whom"
untouched "am: already applied" "already applied"
refused "base: already applied" "already applied" env OUT="$work/o" LINUX="$tree" "$here/base.sh"
back
check "base: a git tree" env OUT="$work/o" LINUX="$tree" "$here/base.sh"
check "mutants: a tree of their own" env OUT="$work/o" "$here/mutants-tree.sh"
check "mutants: their files are there" test -f "$work/o/mutants-linux/mm/mmu_notifier_mutants.c"
series=$(git -C "$work/o/linux" rev-parse refs/lab/series)
git -C "$work/o/linux" update-ref refs/lab/series refs/lab/base
refused "mutants: do not apply" "lab/mutants/.*does not apply" env OUT="$work/o" "$here/mutants-tree.sh"
git -C "$work/o/linux" update-ref refs/lab/series "$series"
echo "/* local */" >>"$tree/mm/Makefile"
untouched "am: local changes" "local changes"
refused "base: local changes" "local changes" env OUT="$work/o" LINUX="$tree" "$here/base.sh"
back
echo x >"$tree/mm/mmu_notifier_stock.c"
untouched "am: an untracked file in the way" "local changes"
back
sed -i '/mmu_notifier/d' "$tree/mm/Makefile"
git -C "$tree" commit -q -a -m other
untouched "am: does not apply" "does not apply"
refused "base: does not apply" "does not apply" env OUT="$work/o" LINUX="$tree" "$here/base.sh"
back
sed -i 's/^PATCHLEVEL = .*/PATCHLEVEL = 13/' "$tree/Makefile"
git -C "$tree" commit -q -a -m other
untouched "am: not 6.12" "for 6.12.y"
back
refused "base: nothing there" "there is nothing" env LINUX="$work/none" OUT="$work/o" "$here/base.sh"
refused "base: no kernel" "not a Linux kernel" env LINUX="$here" OUT="$work/o" "$here/base.sh"
echo x >"$work/x.tar.xz"
refused "base: no tarball" "kernel tarball" env LINUX="$work/x.tar.xz" OUT="$work/o" "$here/base.sh"
tar -C "$work" --exclude=.git -czf "$work/tree.tar.gz" tree
check "base: a tarball" env LINUX="$work/tree.tar.gz" OUT="$work/o2" "$here/base.sh"
one=$(git -C "$tree" rev-parse "$base^{tree}")
rm -rf "$tree/.git"
check "base: an unpacked tree" env LINUX="$tree" OUT="$work/o2" "$here/base.sh"
refused "am: no git tree" "not the top of a git tree" env LINUX="$tree" OUT="$work/o" "$here/am.sh"
check "base: a git tree, a tarball and an unpacked tree are one base" \
	test "$one" = "$(git -C "$work/o2/linux" rev-parse 'refs/lab/base^{tree}')"

[ -e /dev/test_mmu_notifier ] ||
	refused "bench-native: not in this kernel" "does not have the series" "$here/bench-native.sh"

# counts NAME N-PASSED-N-FAILED LINE...: what ktap.py says of these lines
counts() {
	local name=$1 wanted=$2
	shift 2
	printf '%s\n' "$@" >"$work/tap"
	check "$name" test "$("$here/ktap.py" "$work/tap" | tail -n 1)" = "$wanted"
}
counts "ktap: a plan before the results" "2 passed, 0 failed, 0 skipped" "1..2" "ok 1 a" "ok 2 b"
counts "ktap: a plan after the results" "2 passed, 0 failed, 0 skipped" "ok 1 a" "ok 2 b" "1..2"
counts "ktap: a planned test without a result" "1 passed, 1 failed, 0 skipped" "1..2" "ok 1 a"
counts "ktap: no plan" "1 passed, 1 failed, 0 skipped" "ok 1 a"
counts "ktap: no results" "0 passed, 1 failed, 0 skipped" "# nothing"
counts "ktap: only leaves count" "1 passed, 1 failed, 1 skipped" "1..2" \
	"    1..2" "    ok 1 a" "    not ok 2 b" "not ok 1 suite" "ok 2 c # SKIP not here"
