#!/bin/bash
# Usage: tools.sh SET...
#
# Makes sure that the tools of each SET are there: installs Debian's packages
# where it may, else says which command to run.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

# A line: set, package, and the file or command that shows it is there.
wanted() {
	cat <<-'E'
	git	git			git
	base	linux-source-6.12	/usr/src/linux-source-6.12.tar.xz
	base	xz-utils		xz
	build	gcc			gcc
	build	libc6-dev		/usr/include/stdio.h
	build	make			make
	build	flex			flex
	build	bison			bison
	build	bc			bc
	build	libelf-dev		/usr/include/libelf.h
	build	rsync			rsync
	build	cpio			cpio
	build	perl			perl
	boot	qemu-system-x86		qemu-system-x86_64
	boot	busybox-static		/usr/share/doc/busybox-static
	boot	cpio			cpio
	cross	clang			clang
	cross	gcc-aarch64-linux-gnu	aarch64-linux-gnu-gcc
	cross	libssl-dev		/usr/include/openssl/ssl.h
	python	python3			python3
	coverage lcov			lcov
	figures	gnuplot-nox		gnuplot
	stress	stress-ng		stress-ng
	model	spin			spin
	model	gcc			gcc
	model	libc6-dev		/usr/include/stdio.h
	clients	libnuma-dev		/usr/include/numa.h
	clients	libcap-dev		/usr/include/sys/capability.h
	check	perl			perl
	check	python3			python3
	check	sparse			sparse
	check	shellcheck		shellcheck
	check	python3-sphinx		/usr/bin/sphinx-build
	check	python3-ply		/usr/lib/python3/dist-packages/ply
	check	python3-git		/usr/lib/python3/dist-packages/git
	E
}

packages=''
while read -r set package proof; do
	[[ " $* " == *" $set "* ]] || continue
	if [[ $proof == /* ]]; then
		[ -e "$proof" ] && continue
	else
		command -v "$proof" >/dev/null && continue
	fi
	packages+=" $package"
done < <(wanted)
[ -n "$packages" ] || exit 0

read -r -a packages <<<"$packages"
if [ "$(id -u)" = 0 ]; then
	root=(env)
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
	root=(sudo -n)
else
	root=()
fi
if ! command -v apt-get >/dev/null || [ ${#root[@]} = 0 ]; then
	die "missing: ${packages[*]}
  run this, then try again: sudo apt-get install --no-install-recommends ${packages[*]}"
fi
install() {
	"${root[@]}" apt-get update &&
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
		-o DPkg::Lock::Timeout=120 "${packages[@]}"
}
mkdir -p "$out/log"
step "installing packages" "$out/log/apt" install ||
	die "could not install: ${packages[*]}
  see $out/log/apt, or run: sudo apt-get install --no-install-recommends ${packages[*]}"
