# What mmu_notifier_report printed under stock's core (first file) and under the
# new one, as a page of 80 columns. Fails when a stale page was read, when an
# event failed, or when there is nothing to show.

$1 != "REPORT" { next }
{ core = FILENAME == stock ? "stock" : "new"; sub(/\r$/, "", $NF) }

$2 == "event" && core == "new" {
	if (!($3 in row)) { row[$3] = ++rows; name[rows] = $3 }
	if (!($4 in column)) { column[$4] = ++columns; style[columns] = $4 }
	if ($7 == "-") { cell[$3, $4] = "skipped"; next }
	cell[$3, $4] = sprintf("%4d %4d %5s", $5, $6, $7)
	if ($7 == "failed") { cell[$3, $4] = "failed"; broken++ } else stale += $7
}

$2 == "register" {
	if (!(($4, $3) in seen)) { seen[$4, $3] = 1; order[++points] = $4 SUBSEP $3 }
	latency[core, $4, $3] = $5 / 1000
}

$2 == "kvm_create_vm" {
	if (!(($3, $4) in timer)) { timer[$3, $4] = 1; timers[++kvm] = $3 SUBSEP $4 }
	eintr[core, $3, $4] = sprintf("%d of %d", $6, $5)
}

function us(v) {
	if (v == "") return "-"
	return v >= 10000 ? sprintf("%.1f ms", v / 1000) : sprintf("%d us", v)
}

END {
	if (rows) {
		printf "%-16s", "new core, event"
		for (c = 1; c <= columns; c++) printf " %15s", style[c]
		print ""
		for (r = 1; r <= rows; r++) {
			printf "%-16.16s", name[r]
			for (c = 1; c <= columns; c++)
				printf " %15s", (name[r], style[c]) in cell ? cell[name[r], style[c]] : "-"
			print ""
		}
		print "Each: pages mirrored, callbacks, stale reads. Stale reads in all: " stale + 0 (broken ? ", failed: " broken : "")
	}
	if (points) {
		printf "\n%-26s %12s %12s %8s\n", "mmu_notifier_register()", "stock", "new", "faster"
		for (p = 1; p <= points; p++) {
			split(order[p], k, SUBSEP)
			s = latency["stock", k[1], k[2]]; n = latency["new", k[1], k[2]]
			printf "  %-6s %9d VMAs     %12s %12s %8s\n", k[1], k[2], us(s), us(n), (s != "" && n > 0) ? sprintf("%.1fx", s / n) : "-"
		}
	}
	if (kvm) print "KVM_CREATE_VM failed with EINTR under a timer"
	for (p = 1; p <= kvm; p++) {
		split(timers[p], k, SUBSEP)
		printf "  %6d VMAs, %2d ms          %12s %12s\n", k[1], k[2], eintr["stock", k[1], k[2]], eintr["new", k[1], k[2]]
	}
	if (!rows || !points || !kvm) {
		print "error: the report is not complete, see out/run/" >"/dev/stderr"
		exit 1
	}
	exit (stale > 0 || broken > 0)
}
