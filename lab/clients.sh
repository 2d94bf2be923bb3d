#!/bin/bash
# Usage: clients.sh [GROUP...]
#
# Linux's own tests of KVM, HMM and mm, unmodified (lab/clients.list), on stock's
# core and on the series', in guests that have nested SVM. Prints one table; fails
# when anything that passes on stock does not pass on the series. The kernels are
# those of make build: their configurations differ in the core and in the series'
# own tests. The group qemu is lab/client-qemu.sh.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

list=$here/clients.list
[ $# -gt 0 ] || set -- qemu kvm hmm mm cow
"$here/tools.sh" git base build boot python clients
"$here/base.sh"
"$here/build.sh" stock base stock
"$here/build.sh" test base test
mkdir -p "$out/clients/kvm" "$out/clients/mm"

programs() { awk -v groups=" $* " 'index(groups, " " $1 " ") { print $3 }' "$list" | sort -u; }

# make_programs FOLDER GROUP...: what the groups need of selftests/FOLDER
make_programs() {
	local dir=$1 wanted flags=(USERLDFLAGS=-static "OUTPUT=$out/clients/$1"
		"KHDR_INCLUDES=-isystem $out/build/test/usr/include")
	shift
	mapfile -t wanted < <(programs "$@" | grep -v '^khugepaged$' | sed "s,^,$out/clients/$dir/,")
	make -s -C "$out/linux/tools/testing/selftests/$dir" -j"$jobs" "${flags[@]}" "${wanted[@]}"
	# 6.12's khugepaged.c forgets an include.
	[ "$dir" != mm ] || make -s -C "$out/linux/tools/testing/selftests/mm" "${flags[@]}" \
		"EXTRA_CFLAGS=-include $out/linux/tools/testing/selftests/kselftest.h" "$out/clients/mm/khugepaged"
}
step "Linux's tests of KVM" "$out/log/clients-kvm" make_programs kvm kvm
step "Linux's tests of mm" "$out/log/clients-mm" make_programs mm hmm mm cow

qemu() { # BUILD OUTPUT, in the form of clients-guest.sh
	local start=$SECONDS status=0
	{
		echo "begin qemu-system-x86_64 -accel kvm"
		"$here/client-qemu.sh" "$1" || status=$?
		printf '\nend %s %s\n' $status $((100 * (SECONDS - start)))
	} >"$2"
}

for group; do
	if [ "$group" = qemu ]; then
		step "qemu on stock" "$out/log/clients-stock-qemu" qemu "$out/build/stock" "$out/clients/stock-qemu.output"
		step "qemu on series" "$out/log/clients-series-qemu" qemu "$out/build/test" "$out/clients/series-qemu.output"
		continue
	fi
	dir=mm options=()
	[ "$group" != kvm ] || dir=kvm
	# What a coherent device offers is memory that the kernel leaves alone, a
	# piece of each node.
	# shellcheck disable=SC2016 # memmap's $ is the kernel's
	[ "$group" != hmm ] || options=(-a 'memmap=256M$0x50000000 memmap=256M$0xa0000000')
	while read -r program; do
		options+=(-f "$out/clients/$dir/$program")
	done < <(programs "$group")
	limit=$(awk -v group="$group" '$1 == group { s += $2 } END { print 2 * s + 60 }' "$list")
	for core in stock series; do
		build=$out/build/$core
		[ $core = stock ] || build=$out/build/test
		step "$group on $core" "$out/log/clients-$core-$group" "$here/boot.sh" -t "$limit" -m 3072 \
			-l "$out/clients/$core-$group" -f "$list" -f "$here/clients-guest.sh" \
			"${options[@]}" "$build" "clients-guest.sh $group" || true
	done
done
"$here/clients.py" "$out/clients" "$@"
