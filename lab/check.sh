#!/bin/bash
# Usage: check.sh TARGET...
#
# Makes each target, whatever became of the others, and prints one table: its
# verdict, how long it took, and the last thing it said. Fails if any did.
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

log=$out/log/check table=$out/log/check/table
mkdir -p "$log"
: >"$table"
failed=0
for target; do
	start=$SECONDS verdict=ok
	step "make $target" "$log/$target" make --no-print-directory -C "$top" "$target" || verdict=FAILED failed=1
	printf '%-16s %-8s %4d:%02d  %s\n' "$target" "$verdict" $(((SECONDS - start) / 60)) \
		$(((SECONDS - start) % 60)) "$(grep -v '^make' "$log/$target" | tail -n 1 | cut -c -70)" >>"$table"
done
echo "Results (logs in ${log#"$top/"}/):"
sed 's/^/  /' "$table"
exit $failed
