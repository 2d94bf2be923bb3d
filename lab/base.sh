#!/bin/bash
# Usage: base.sh
#
# Brings the Linux to build on into out/linux, a private git repository, as
# refs/lab/base (one commit without history), and checks out the series on top
# of it. LINUX names a git tree, an unpacked tree or a tarball of any 6.12.y;
# without it, Debian's linux-source-6.12 is installed. LINUX is only read.
#
# Files that did not change keep their time stamps, so that the next build is
# incremental.
set -euo pipefail
shopt -s inherit_errexit
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

linux=$out/linux
g=(git -C "$linux")
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
# The lab's own commits need some identity, and always the same.
export GIT_COMMITTER_NAME=lab GIT_COMMITTER_EMAIL=lab@localhost
export GIT_COMMITTER_DATE='2024-11-17T00:00:00Z'

# One commit of TREE, without parents: an equal base is an equal commit.
commit_tree() { # TREE
	GIT_AUTHOR_NAME=lab GIT_AUTHOR_EMAIL=lab@localhost GIT_AUTHOR_DATE=$GIT_COMMITTER_DATE \
		"${g[@]}" commit-tree -m "Linux $version" "$1"
}

import_git() { # SRC: its objects are used where they are
	local objects
	# Those of the tree before, if any, hold what is checked out now.
	objects=$(readlink -f "$(cd "$1" && readlink -f "$(git rev-parse --git-path objects)")")
	grep -qxF "$objects" "$linux/.git/objects/info/alternates" 2>/dev/null ||
		echo "$objects" >>"$linux/.git/objects/info/alternates"
	commit_tree "$(git -C "$1" rev-parse 'HEAD^{tree}')"
}

import_tar() { # FILE or -, NAME
	local why=$out/log/import
	if ! python3 "$here/import.py" "$1" 2>"$why" |
	     "${g[@]}" -c core.compression=1 fast-import --quiet --force >&2 2>"$why.git"; then
		cat "$why.git" >>"$why"
		die "LINUX=$2: cannot be read as a kernel tarball: $(head -n 1 "$why")"
	fi
	"${g[@]}" cat-file -e refs/lab/import:Makefile 2>/dev/null || die "LINUX=$2: not a Linux kernel (no Makefile)"
	version=$("${g[@]}" show refs/lab/import:Makefile | kernel_version - "LINUX=$2")
	if "${g[@]}" cat-file -e refs/lab/import:mm/mmu_notifier_stock.c 2>/dev/null; then
		die "LINUX=$2: the series is already applied there;
  name an unpatched 6.12.y tree"
	fi
	commit_tree "$("${g[@]}" rev-parse 'refs/lab/import^{tree}')"
}

get_base() {
	local src=${LINUX:-} key commit
	if [ -z "$src" ]; then
		src=/usr/src/linux-source-6.12.tar.xz
		[ -f "$src" ] || "$here/tools.sh" base
		[ -f "$src" ] || die "Debian's linux-source-6.12 did not bring $src;
  name another kernel: make LINUX=/path/to/linux-6.12.y.tar.xz ..."
	fi
	[ -e "$src" ] || die "LINUX=$src: there is nothing"
	src=$(readlink -f "$src")
	[ -r "$src" ] || die "LINUX=$src: cannot be read"

	[ -d "$linux/.git" ] || need_space "$out" 4500
	# A git tree that it borrowed objects from may be gone.
	if ! "${g[@]}" rev-parse -q --verify 'refs/lab/series^{tree}' >/dev/null 2>&1; then
		rm -rf "$linux" "$out/bisect"
		git init -q -b lab "$linux"
	fi

	if [ -f "$src" ]; then
		key="$src $(stat -c '%s %Y' "$src")"
		if ! same_base "$key"; then
			commit=$(import_tar "$src" "$src")
		fi
	elif is_git_tree "$src"; then
		check_git_tree "$src" "$touched"
		key="$src $(git -C "$src" rev-parse HEAD)"
		version=$(git -C "$src" show HEAD:Makefile | kernel_version - "LINUX=$src")
		same_base "$key" || commit=$(import_git "$src")
	elif [ -d "$src" ]; then
		[ -f "$src/Makefile" ] || die "LINUX=$src: not a Linux kernel (no Makefile)"
		key="$src $(cd "$src" && find . -type f -printf '%p %s %T@\n' | LC_ALL=C sort | sha256sum)"
		if ! same_base "$key"; then
			commit=$(tar -C "$(dirname "$src")" -cf - "$(basename "$src")" | import_tar - "$src")
		fi
	else
		die "LINUX=$src: neither a directory nor a tarball"
	fi
	if [ -n "${commit:-}" ]; then
		"${g[@]}" update-ref refs/lab/base "$commit"
		echo "$key" >"$linux/.git/lab-base"
	fi
}

same_base() {
	[ "$(cat "$linux/.git/lab-base" 2>/dev/null)" = "$1" ] &&
		"${g[@]}" rev-parse -q --verify 'refs/lab/base^{tree}' >/dev/null
}

# The series is applied in a worktree that holds just the files it touches:
# out/linux goes from the old result to the new one and never through the base.
apply_series() {
	local base stamp am=$out/am
	base=$("${g[@]}" rev-parse refs/lab/base)
	stamp=$(cat "$out"/lab-series/*.patch | sha256sum)" $base"
	if [ "$stamp" != "$(cat "$linux/.git/lab-stamp" 2>/dev/null)" ]; then
		rm -rf "$am"
		"${g[@]}" worktree prune
		"${g[@]}" worktree add -q --no-checkout --detach "$am" "$base"
		git -C "$am" sparse-checkout set --no-cone --stdin <<<"/${touched//$'\n'/$'\n/'}"
		git -C "$am" checkout -q --detach "$base"
		git -C "$am" -c commit.gpgSign=false am -q --empty=drop --keep-non-patch --committer-date-is-author-date \
			"$out"/lab-series/*.patch ||
			die "the series does not apply to Linux $(base_version "$base"), see above"
		"${g[@]}" update-ref refs/lab/series "$(git -C "$am" rev-parse HEAD)"
		rm -rf "$am"
		"${g[@]}" worktree prune
		echo "$stamp" >"$linux/.git/lab-stamp"
	fi
	if [ "$("${g[@]}" rev-parse -q --verify HEAD)" != "$("${g[@]}" rev-parse refs/lab/series)" ] ||
	   ! "${g[@]}" diff-index --quiet HEAD 2>/dev/null; then
		"${g[@]}" checkout -q -f --detach refs/lab/series
	fi
}

base_version() { "${g[@]}" log -1 --format=%s "$1" | sed 's/^Linux //'; }

mkdir -p "$out/log"
"$here/tools.sh" git python
lock "$out/log/lock-linux"
# Whoever has no git identity can still build and test.
GIT_AUTHOR_NAME=lab GIT_AUTHOR_EMAIL=lab@localhost "$here/series.sh" "$out/lab-series" 2>"$out/log/series" ||
	die "$(sed 's/^error: //' "$out/log/series")"
touched=$(touched_files "$out"/lab-series/*.patch)
version=
get_base
apply_series
note "  Linux $(base_version refs/lab/base) with the series: ${linux#"$top/"}"
