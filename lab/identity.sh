#!/bin/bash
# Usage: identity.sh
#
# Without CONFIG_MMU_NOTIFIER the series must cost nothing: compiles mm/ of the
# unpatched base and of the patched tree without it, and compares the code of each
# object, as TAP. An object may differ only where the series mends Linux itself.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

# What patches/mremap-leaf-pud.patch and patches/swapin-dirty.patch change.
mended=' mm/memory.o mm/mremap.o '

"$here/tools.sh" git base build
"$here/base.sh"
unpatched_tree

for tree in unpatched linux; do
	build=$out/build/without-$tree
	step "$tree: configuration" "$out/log/config-without-$tree" \
		"$here/config.sh" "$out/$tree" "$build" base without
	! grep -q '^CONFIG_MMU_NOTIFIER=y' "$build/.config" || die "$build: CONFIG_MMU_NOTIFIER is set"
	step "$tree: mm/ without MMU notifiers" "$out/log/build-without-$tree" \
		make -C "$out/$tree" O="$build" -j"$jobs" mm/
done

code() { objdump -d --no-show-raw-insn "$1" | sed -n 's/^ *[0-9a-f]*:\t//; s/<[^>]*>//; T; p'; }

cd "$out/build/without-linux"
n=0
for o in mm/*.o; do
	[ "$o" != mm/built-in.o ] || continue
	n=$((n + 1))
	if cmp -s <(code "$o") <(code "../without-unpatched/$o"); then
		echo "ok $n $o is the same"
	elif [[ $mended == *" $o "* ]]; then
		echo "ok $n $o differs by what is mended there: $(size "$o" | awk 'NR == 2 { print $1 }') bytes of text, not $(size "../without-unpatched/$o" | awk 'NR == 2 { print $1 }')"
	else
		echo "not ok $n $o differs"
	fi
done
echo "1..$n"
