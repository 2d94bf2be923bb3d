#!/bin/bash
# Usage: bases.sh
#
# Does the series apply, with git am, to every 6.12.y that apt offers, and does the
# table of sites still know all of each? Debian's versions of linux-source-6.12,
# and the pristine upstream tarball of its source package. Prints TAP.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

"$here/tools.sh" git base python
work=$out/bases
rm -rf "$work"
mkdir -p "$work/apt/lists/partial" "$work/apt/parts"
n=0 failed=0

result() { # STATUS NAME [LOG]
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n $2"
	else
		echo "not ok $n $2"
		tail -n 20 "${3:-/dev/null}" | sed 's/^/# /'
		failed=1
	fi
}

# try NAME TARBALL: a base of its own, which is thrown away afterwards
try() {
	local status=0 log=$out/log/bases
	env OUT="$work/try" LINUX="$2" "$here/base.sh" >"$log" 2>&1 || status=$?
	result $status "$1: git am" "$log"
	if [ $status = 0 ]; then
		"$here/audit.py" "$work/try/linux" >"$log" 2>&1 || status=$?
		result $status "$1: the table of sites is complete" "$log"
	fi
	rm -rf "$work/try" "$2"
}

echo "TAP version 13"
mapfile -t versions < <(apt-cache madison linux-source-6.12 | awk '{ print $3 }' | sort -Vu)
[ ${#versions[@]} -gt 0 ] || die "apt knows no linux-source-6.12: apt-get update"
for version in "${versions[@]}"; do
	# What apt lists it may not have any more.
	if ! (cd "$work" && run_quiet "$out/log/bases" apt-get download "linux-source-6.12=$version"); then
		n=$((n + 1))
		echo "ok $n Debian $version # SKIP cannot be downloaded"
		continue
	fi
	dpkg-deb --fsys-tarfile "$work"/linux-source-6.12_*.deb |
		tar -x -C "$work" --strip-components=3 ./usr/src/linux-source-6.12.tar.xz
	rm -f "$work"/*.deb
	try "Debian $version" "$work/linux-source-6.12.tar.xz"
done

# The same places as for packages, asked for sources.
for f in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
	[ -f "$f" ] && sed -e 's/^Types:.*/Types: deb-src/' -e 's/^deb /deb-src /' "$f" >"$work/apt/parts/${f##*/}"
done
apt=(apt-get -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/apt/parts"
	-o "Dir::State::lists=$work/apt/lists" -o Debug::NoLocking=1)
if run_quiet "$out/log/bases" "${apt[@]}" update &&
	(cd "$work" && run_quiet "$out/log/bases" "${apt[@]}" source --download-only --tar-only linux-6.12); then
	tarball=$(find "$work" -maxdepth 1 -name '*.orig.tar.xz')
	try "upstream, $(basename "$tarball")" "$tarball"
else
	n=$((n + 1))
	echo "ok $n the upstream tarball # SKIP apt has no sources, see out/log/bases"
fi
echo "1..$n"
exit $failed
