#!/bin/bash
# Usage: style.sh
#
# checkpatch, sparse, W=1, kernel-doc and Sphinx on what the series adds, line by line:
# what Linux's own lines in the same files provoke is not shown. shellcheck on
# the scripts, and whether everything is in the series.
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

"$here/tools.sh" build check
linux=$out/linux build=$out/build/style log=$out/log/style
mkdir -p "$log"
g=(git -C "$linux")
bad=0

verdict() { # NAME FILE: FILE holds the complaints
	if [ -s "$2" ]; then
		printf '  %-12s %s\n' "$1" "$(wc -l <"$2") lines:" >&2
		head -n 40 "$2" | sed 's/^/    /' >&2
		bad=1
	else
		printf '  %-12s clean\n' "$1" >&2
	fi
}

mapfile -t touched < <("${g[@]}" diff --name-only -M --diff-filter=d refs/lab/base refs/lab/series)
"${g[@]}" diff -M -U0 --no-color refs/lab/base refs/lab/series | awk '
	/^\+\+\+ / { file = substr($2, 3) }
	/^@@/ { split(substr($3, 2), r, ","); n = r[2] == "" ? 1 : r[2]
		for (i = 0; i < n; i++) print file ":" r[1] + i }' >"$log/lines"
# Of FILE:LINE: messages on stdin, those on lines of the series.
ours() {
	awk -v linux="$linux/" 'NR == FNR { own[$0] = 1; next }
		match($0, /[^ :]+\.[chS]:[0-9]+/) {
			at = substr($0, RSTART, RLENGTH)
			if (index(at, linux) == 1) at = substr(at, length(linux) + 1)
			sub(/^(\.\.?\/)+(linux\/)?/, "", at)
			if (at in own && at !~ /_stock\./) print
		}' "$log/lines" - | sort -u
}

# Whom to write to (MAINTAINERS) is for who hands the series on.
# The base's repository does not have the commits that Fixes: names.
# The Python that has the modules is Debian's.
# In test programs, tables and the harness are macros, _Atomic is a type, and the
# kernel's own BIT(), noinline and __aligned() are not there; symbols of asm code are
# in no header. Arguments of macros
# that are functions' names take no parentheses; that nobody looks at the others
# is the point. A local pointer to a PTL protects nothing by itself. What the
# test module asks in_atomic() is whether the core kept its promise. TRACE_EVENT()
# has a style of its own, VMA_ITERATOR() is a declaration, mn_for_each() takes
# its arguments more than once as all loops over lists do, and mn_trace_call() makes
# its call in one of two places.
(cd "$linux" && PATH=/usr/bin:$PATH ./scripts/checkpatch.pl --strict --terse --no-summary --quiet \
	--show-types --ignore FILE_PATH_CHANGES,UNKNOWN_COMMIT_ID "$out"/lab-series/*.patch) 2>&1 |
	grep -vE -e '0000-cover-letter' -e 'selftests.*:(COMPLEX_MACRO|MACRO_ARG_(REUSE|UNUSED|PRECEDENCE)|MACRO_WITH_FLOW_CONTROL)' \
		-e 'selftests.*:(BIT_MACRO|PREFER_DEFINED_ATTRIBUTE_MACRO|CAMELCASE.*_Atomic)' \
		-e 'set-the-current-core-aside.*:MACRO_ARG_(UNUSED|PRECEDENCE)' \
		-e 'selftests.*:(LINE_SPACING: Missing a blank line|AVOID_EXTERNS)' \
		-e 'establish-translations.*:UNCOMMENTED_DEFINITION' \
		-e 'define-tracepoints.*:(OPEN_ENDED_LINE|PARENTHESIS_ALIGNMENT|MACRO_ARG|COMPLEX_MACRO|TRAILING_SEMI)' \
		-e 'publish-then-wait.*:(LINE_SPACING: Missing|MACRO_ARG_REUSE)' \
		-e 'lib-software.*:IN_ATOMIC' >"$log/checkpatch"
verdict checkpatch "$log/checkpatch"

"$here/config.sh" "$linux" "$build" base test || exit
objects=()
for f in "${touched[@]}"; do
	[[ $f == *.c && $f != tools/* && $f != */tests/* ]] || continue
	# A file that this configuration does not build has no object to look at.
	[[ $f == *_stock.c || $f == kernel/bpf/* ]] || objects+=("${f%.c}.o")
done
make -s -C "$linux" O="$build" -j"$jobs" prepare modules_prepare >"$log/prepare" 2>&1
rm -f "${objects[@]/#/$build/}"
step "W=1 and sparse: ${#objects[@]} objects" "$log/build" \
	make -k -C "$linux" O="$build" -j"$jobs" W=1 C=1 "${objects[@]}"
# Sparse does not see that folio_walk_start() and pte_offset_map_nolock() enter what
# folio_walk_end() and pte_unmap() leave, that a section enters SRCU under the condition
# by which it leaves it, nor guard(). In change_huge_pud() and mmu_notifier_put() a lock is
# left in each of two branches, as Linux has it.
grep -E 'warning:|error:' "$log/build" | ours |
	grep -vE "context imbalance in '(mn_(map_folio|try_map_pte)|tmu_[a-z_]*|__mmu_notifier_invalidate_range_(start|end)|change_huge_pud|mmu_notifier_put)'" >"$log/w1"
verdict "W=1, sparse" "$log/w1"

(cd "$linux" && for f in "${touched[@]}"; do
	[[ $f == *.[ch] && $f != tools/* ]] || continue
	./scripts/kernel-doc -none -Wall "$f" 2>&1
done) | grep -E 'warning:|error:' | ours >"$log/kernel-doc"
verdict kernel-doc "$log/kernel-doc"

# What Sphinx says of the documents that the series has, and of its kernel-doc.
step "htmldocs" "$log/htmldocs" env PATH="/usr/bin:$PATH" \
	make -C "$linux" O="$build" htmldocs SPHINXDIRS="mm core-api" || bad=1
grep -E 'WARNING|ERROR' "$log/htmldocs" | grep mmu_notifier | grep -v mmu_notifier_stock >"$log/docs"
verdict htmldocs "$log/docs"

mapfile -t scripts < <(cd "$top" && find lab tools .ci -name '*.sh' -o -path .ci/run)
(cd "$top" && shellcheck "${scripts[@]}") >"$log/shellcheck" 2>&1
verdict shellcheck "$log/shellcheck"

GIT_AUTHOR_NAME=lab GIT_AUTHOR_EMAIL=lab@localhost "$here/series.sh" "$log/series" 2>&1 |
	grep warning >"$log/missing"
if git -C "$top" rev-parse -q --verify HEAD >/dev/null 2>&1; then
	mapfile -t own < <(git -C "$top" ls-files -- mm include lib Documentation tools kernel fs)
	for f in "${own[@]}"; do
		sed 's/#.*//' "$top/series" | grep -qwF -- "$f" ||
			echo "$f is not in the series" >>"$log/missing"
	done
fi
verdict series "$log/missing"
exit $bad
