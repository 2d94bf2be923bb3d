#!/bin/bash
# Usage: series.sh [DIR]
#
# Writes the patches into DIR (out/series), ready for git am, from three
# things: the file `series` (the order), patches/ (messages, and edits of
# Linux's own files) and the files that the series adds, which this repository
# holds whole. Needs git, and no kernel source. Whoever runs this hands the
# patches on, and so is their author and signs them off. With LINUX=<tree> it
# prints whom that tree says to send them to.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

dir=${1:-$out/series}
cd "$top"
command -v git >/dev/null || die "git is missing: apt-get install git"
name=${GIT_AUTHOR_NAME:-$(git config user.name || true)}
email=${GIT_AUTHOR_EMAIL:-$(git config user.email || true)}
if [ -z "$name" ] || [ -z "$email" ]; then die "the patches need an author: set it with
  git config --global user.name 'Your Name'
  git config --global user.email you@example.org"; fi
# The same tree gives the same patches.
date=$(git log -1 --format=%aD 2>/dev/null || true)
date=${date:-$(LC_ALL=C date '+%a, %d %b %Y %T %z')}
from=$name
[[ $name =~ ^[A-Za-z0-9\ _-]*$ ]] || from="\"${name//\"/}\""

mapfile -t lines < <(sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^[[:space:]]*$/d' series)
total=${#lines[@]}
[ "$total" -gt 0 ] || die "series: lists no patch"

# Whole files appear as new files, in the one patch that adds them.
add_file() {
	[ -f "$1" ] || die "series: $patch wants $1, which is not there"
	# exits with 1, since the two differ
	git diff --no-index --no-color --no-ext-diff --no-textconv --no-renames \
		--src-prefix=a/ --dst-prefix=b/ -- /dev/null "$1" || [ $? = 1 ]
}

header() { # SUBJECT
	printf 'From %040d Mon Sep 17 00:00:00 2001\n' 0
	printf 'From: %s <%s>\nDate: %s\nSubject: %s\n' "$from" "$email" "$date" "$1"
	printf 'MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n'
	printf 'Content-Transfer-Encoding: 8bit\n\n'
}

mkdir -p "$(dirname "$dir")"
new=$(mktemp -d "$dir.XXXXXX")
trap 'rm -rf "$new"' EXIT
seen=' ' n=0 shortlog=''
for line in "${lines[@]}"; do
	read -r -a words <<<"$line"
	patch=${words[0]}
	for w in "${words[@]}"; do
		[[ $seen != *" $w "* ]] || die "series: lists $w twice"
		seen+="$w "
	done
	src=patches/$patch
	[ -f "$src" ] || die "series: no such patch: $src"
	subject=$(sed -n '1s/^Subject: \[PATCH\] //p' "$src")
	[ -n "$subject" ] || die "$src: the first line must be 'Subject: [PATCH] ...'"
	n=$((n + 1))
	shortlog+="  $subject"$'\n'

	# The message ends at the first line that is '---' or starts a diff.
	message=$(awk 'NR > 1 { if (/^---$/ || /^diff --git /) exit; print }' "$src")
	{
		# without format-patch's signature
		awk 'on || /^diff --git / { on = 1; print }' "$src" |
			sed -z 's/\n-- \n[^\n]*\n*$/\n/'
		for f in "${words[@]:1}"; do add_file "$f"; done
	} >"$new/diff"
	[ -s "$new/diff" ] || die "$src: neither an edit nor a whole file"
	stat=$(git apply --stat --summary "$new/diff" 2>"$new/err") ||
		die "$src: not a valid diff: $(head -n 1 "$new/err")"

	slug=$(tr -cs 'A-Za-z0-9._\n' - <<<"$subject" | cut -c -52 | sed 's/[-.]*$//')
	{
		header "$(printf '[PATCH %0*d/%d] %s' "${#total}" "$n" "$total" "$subject")"
		# without the blank lines at either end
		sed -e '/./,$!d' <<<"$message" | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'
		printf '\nSigned-off-by: %s <%s>\n---\n%s\n\n' "$name" "$email" "$stat"
		cat "$new/diff"
		printf -- '-- \n%s\n' "$(git --version | sed 's/git version //')"
	} >"$new/$(printf '%04d-%s.patch' "$n" "$slug")"
	cat "$new/diff" >>"$new/all"
done
for f in patches/*.patch; do
	[[ $seen == *" ${f#patches/} "* ]] || note "warning: series does not list $f"
done

# No patch, so for git am --empty=drop, and for git send-email as it stands.
if [ -f patches/0000-cover-letter.txt ]; then
	{
		header "[PATCH $(printf '%0*d' "${#total}" 0)/$total] $(head -n 1 patches/0000-cover-letter.txt)"
		sed 1d patches/0000-cover-letter.txt | sed '/./,$!d'
		printf '\n%s (%d):\n%s\n' "$name" "$total" "$shortlog"
		git apply --stat --summary "$new/all"
		printf -- '-- \n%s\n' "$(git --version | sed 's/git version //')"
	} >"$new/0000-cover-letter.patch"
fi

rm -f "$new/diff" "$new/err" "$new/all"
chmod 755 "$new"
rm -rf "$dir"
mv "$new" "$dir"
trap - EXIT
note "$total patches in ${dir#"$top/"}/"

# Whom to send them to, if a tree is there to ask.
if [ $# = 0 ] && [ -f "${LINUX:-}/scripts/get_maintainer.pl" ]; then
	if ! command -v perl >/dev/null; then
		note "whom to send them to: perl is missing: apt-get install perl"
	elif ! find "$dir" -name '*.patch' ! -name '0000-*' | LC_ALL=C sort |
		(cd "$LINUX" && xargs perl scripts/get_maintainer.pl --no-rolestats --no-git-fallback); then
		note "whom to send them to: get_maintainer.pl of $LINUX failed"
	fi
fi
