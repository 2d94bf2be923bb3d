#!/bin/bash
# Usage: bisect.sh [FIRST]
#
# Builds and boots the tree after every patch of the series (from number FIRST),
# with the tests as soon as it has them.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

"$here/tools.sh" build boot
tree=$out/bisect build=$out/build/bisect
g=(git -C "$out/linux")
if [ ! -e "$tree/.git" ]; then
	need_space "$out" 3500
	"${g[@]}" worktree prune
	"${g[@]}" worktree add -q --detach "$tree" refs/lab/base
fi
n=0 failed=0
for commit in $("${g[@]}" rev-list --reverse refs/lab/base..refs/lab/series); do
	n=$((n + 1))
	[ "$n" -ge "${1:-1}" ] || continue
	git -C "$tree" checkout -q -f --detach "$commit"
	# Of the tests, what the tree has by now.
	while read -r line; do
		option=${line%%=*}
		! git -C "$tree" grep -qE "^(menu)?config ${option#CONFIG_}\$" -- '*Kconfig*' || echo "$line"
	done < <(grep '^CONFIG_' "$here/config/test.config") >"$out/log/bisect.config"
	name=$(printf '%02d %.40s' "$n" "$(git -C "$tree" log -1 --format=%s)")
	"$here/config.sh" "$tree" "$build" base "$out/log/bisect.config"
	if ! step "$name" "$out/log/bisect-$n" make -C "$tree" O="$build" -j"$jobs" bzImage modules ||
	   ! step "   boots" "$out/log/bisect-boot-$n" "$here/boot.sh" -t 120 "$build" true; then
		failed=$((failed + 1))
	fi
	if grep -E 'warning:' "$out/log/bisect-$n" >&2; then failed=$((failed + 1)); fi
done
note "  $n patches, $failed of them failed"
[ "$failed" = 0 ]
