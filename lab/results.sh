# shellcheck shell=bash
# Sourced by those who run tests: programs on this machine (part) and in guests
# (guest), whose results in TAP are collected in the folder $results, and counted at
# the end (finish). MINUTES=55 bounds it all: a part that would not end by then is
# skipped, and counted so.

# shellcheck disable=SC2034,SC2154 # here, out, results, build: who sources this
begin=$SECONDS parts=() files=() kernel_args='init_on_free=1'

new_results() { # FOLDER
	results=$1
	rm -rf "$results"
	mkdir -p "$results"
}

# Steps that are no tests by themselves count as one: did it work?
report() { # STATUS NAME
	local n steps=$results/steps.tap
	n=$(($(grep -c . "$steps" 2>/dev/null) + 1))
	if [ "$1" = 0 ]; then echo "ok $n $2"; else echo "not ok $n $2"; fi >>"$steps"
}

time_for() { # MINUTES
	[ $((SECONDS - begin + 60 * $1)) -le $((60 * ${MINUTES:-55})) ]
}

no_time_for() { # NAME: of a part
	parts+=("$1=$results/$1.tap")
	echo "1..0 # SKIP no time left" >"$results/$1.tap"
}

# part NAME MINUTES COMMAND...: a part that prints TAP, if there is time for it
part() {
	local name=$1 minutes=$2 tap=$results/$1.tap
	shift 2
	if ! time_for "$minutes"; then
		no_time_for "$name"
		return
	fi
	parts+=("$name=$tap")
	step "$name" "$out/log/$name" tap "$tap" "$@" || true
}

# Its TAP goes to a file, what else it says to the step's log.
tap() { # FILE COMMAND...
	local file=$1
	shift
	"$@" >"$file"
}

# What the guests of $build have in /bin: its kselftests.
selftest_files() {
	local f
	files=()
	for f in "$build"/selftests/*; do files+=(-f "$f"); done
}

# Console lines that a program provokes: each misuse is to get one WARN, which the
# test counts; in which function it is depends on what the compiler inlines.
expected() { # PROGRAM
	case $1 in
	mmu_notifier_bad_input_test | mmu_notifier_users_test)
		echo 'WARNING: CPU: .* at (.*mm/mmu_(interval_)?notifier\.c:[0-9]+ |_*mmu_(interval_)?notifier_|mn_)' ;;
	*) echo '^$' ;;
	esac
}

# guest NAME SECONDS COMMAND [BOOT-OPTION...]: a guest whose command prints TAP.
# One boot for each program: what one of them breaks cannot touch the next. KUnit
# runs in the guest of that name alone, so that in the others the first
# registration since boot is the program's.
guest() {
	local log=$results/$1 status=0 args=$kernel_args
	[ "$1" = kunit ] || args+=' kunit.enable=0'
	step "guest: $1" "$out/log/guest-$1" "$here/boot.sh" -t "$2" -l "$log" -m 3072 \
		-a "$args" "${files[@]}" "${@:4}" "$build" "$3" || status=$?
	# A test that failed is counted from its results; a kernel that
	# complained, hung or died shows here.
	status=$(cat "$log.status" 2>/dev/null || echo 126)
	case $status in
	124 | 125 | 126) report 1 "the kernel under $1 (boot.sh: $status)" ;;
	*) report 0 "the kernel under $1" ;;
	esac
	parts+=("$1=$log.output")
}

finish() {
	local steps=$results/steps.tap
	[ ! -s "$steps" ] || echo "1..$(grep -c . "$steps")" >>"$steps"
	[ ! -s "$steps" ] || parts=("steps=$steps" "${parts[@]}")
	echo "Results ($((SECONDS - begin)) s, logs in ${results#"$top/"}/ and ${out#"$top/"}/log/):"
	"$here/ktap.py" "${parts[@]}"
	exit
}
