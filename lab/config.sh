#!/bin/bash
# Usage: config.sh SRC BUILD FRAGMENT...
#
# Configures the kernel in SRC into BUILD: allnoconfig plus the fragments
# (names in lab/config/ without .config, or files; later ones win), and fails when the
# result lacks anything that a fragment asks for: Kconfig drops such options
# silently. Leaves BUILD/.config untouched when nothing changes, so that
# nothing is built again.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

[ $# -ge 3 ] || die "usage: config.sh SRC BUILD FRAGMENT..."
src=$(readlink -f "$1") build=$2
shift 2
mkdir -p "$build"
build=$(readlink -f "$build")

wanted=$build/.wanted.config
: >"$wanted.new"
for name; do
	[[ $name == */* ]] || name=$here/config/$name.config
	[ -f "$name" ] || die "no $name"
	cat "$name" >>"$wanted.new"
done

# The Kconfig files are part of the input: a new patch may have changed them.
stamp=$(cat "$wanted.new" <(cd "$src" && find . -name 'Kconfig*' -print0 |
	LC_ALL=C sort -z | xargs -0 cat) | sha256sum)
if [ -f "$build/.config" ] && [ "$stamp" = "$(cat "$build/.wanted.stamp" 2>/dev/null)" ]; then
	rm -f "$wanted.new"
	exit 0
fi
mv "$wanted.new" "$wanted"

run_quiet "$build/config.log" make -s -C "$src" O="$build" \
	KCONFIG_ALLCONFIG="$wanted" allnoconfig ||
	die "allnoconfig failed in $src (see $build/config.log)"
run_quiet "$build/config.log" make -s -C "$src" O="$build" olddefconfig ||
	die "olddefconfig failed in $src (see $build/config.log)"

missing=$(awk -F= '
	NR == FNR {
		if ($0 ~ /^CONFIG_/) { want[$1] = $0 }
		else if ($0 ~ /^# CONFIG_.* is not set/) { split($0, w, " "); want[w[2]] = $0 }
		next
	}
	/^CONFIG_/ { have[$1] = $0 }
	END {
		for (o in want) {
			got = (o in have) ? have[o] : "nothing"
			if (want[o] ~ /is not set/ ? got != "nothing" : got != want[o])
				printf "  %s (got: %s)\n", want[o], got
		}
	}' "$wanted" "$build/.config" | sort)
[ -z "$missing" ] || die "these options did not make it into $build/.config:
$missing
  A dependency is missing from the fragments ($*), or this tree does not know the option."
echo "$stamp" >"$build/.wanted.stamp"
