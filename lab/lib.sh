# shellcheck shell=bash
# Shared by the scripts in lab/: where things are, messages, build steps.

# shellcheck disable=SC2034 # for those who source this
top=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
out=${OUT:-$top/out}
jobs=${JOBS:-$(nproc)}

die() { printf 'error: %s\n' "$*" >&2; exit 1; }
note() { printf '%s\n' "$*" >&2; }

# run_quiet LOG COMMAND...: output to LOG, and to the terminal as well with V=1
run_quiet() {
	local log=$1
	shift
	mkdir -p "$(dirname "$log")"
	if [ "${V:-}" = 1 ]; then
		"$@" 2>&1 </dev/null | tee "$log" >&2
	else
		"$@" >"$log" 2>&1 </dev/null
	fi
}

# step NAME LOG COMMAND...: one line saying what runs and how long it took; on
# failure the end of its log.
step() {
	local name=$1 log=$2 start=$SECONDS pid
	shift 2
	if [ -t 2 ] && [ "${V:-}" != 1 ]; then
		run_quiet "$log" "$@" &
		pid=$!
		while kill -0 "$pid" 2>/dev/null; do
			printf '\r  %-46s %4d s' "$name" $((SECONDS - start)) >&2
			sleep 1
		done
		printf '\r' >&2
		wait "$pid" || { step_failed "$name" "$log"; return 1; }
	else
		printf '  %-46s ...\n' "$name" >&2
		run_quiet "$log" "$@" || { step_failed "$name" "$log"; return 1; }
	fi
	printf '  %-46s %4d s\n' "$name" $((SECONDS - start)) >&2
}

step_failed() {
	printf '  %-46s FAILED, the end of %s:\n' "$1" "$2" >&2
	{ grep -nE 'error:|Error [0-9]|undefined reference|No space left' "$2" | head -n 15
	  tail -n 15 "$2"; } | sed 's/^/    /' >&2
}
