#!/bin/bash
# Usage: test-gru.sh
#
# The SGI GRU driver as the series leaves it: compiled, which is all that can be
# done without the hardware, and whether its patch says so. Prints TAP.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

build=$out/build/gru log=$out/log/gru
patch=$top/patches/sgi-gru.patch
lock "$out/log/lock-linux" -s
"$here/config.sh" "$out/linux" "$build" gru
make=(make -C "$out/linux" O="$build" -j"$jobs" W=1)
run_quiet "$log-prepare" "${make[@]}" prepare modules_prepare || die "see $log-prepare"

echo "TAP version 13"
echo "1..2"
rm -f "$build"/drivers/misc/sgi-gru/*.o
if ! run_quiet "$log" "${make[@]}" drivers/misc/sgi-gru/ || grep -E 'warning:|error:' "$log" >&2 ||
   [ ! -f "$build/drivers/misc/sgi-gru/grutlbpurge.o" ]; then
	echo "not ok 1 sgi-gru compiles"
	sed 's/^/# /' "$log"
else
	echo "ok 1 sgi-gru compiles"
fi
if sed '/^---$/q' "$patch" | grep -q 'Only compiled' && sed '/^---$/q' "$patch" | grep -q 'The hardware is needed'; then
	echo "ok 2 its message says what was not tested"
else
	echo "not ok 2 its message says what was not tested"
fi
