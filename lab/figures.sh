#!/bin/bash
# Usage: figures.sh
#
# The pictures of the README, from what `make run` measured last: figures/report.svg
# (its page) and figures/register.svg (how long a registration takes).
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

"$here/tools.sh" figures
report=$out/run/report
[ -s "$report" ] || "$here/run.sh"
figures=$top/figures
mkdir -p "$figures"

# A page of text as a picture.
awk '{ gsub(/&/, "\\&amp;"); gsub(/</, "\\&lt;"); line[NR] = $0; if (length > width) width = length }
END {
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\">\n", width * 8.4 + 24, NR * 18 + 24
	print "<rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#1e1e1e\"/>"
	print "<g font-family=\"monospace\" font-size=\"14\" fill=\"#d4d4d4\" xml:space=\"preserve\">"
	for (n = 1; n <= NR; n++) printf "<text x=\"12\" y=\"%d\">%s</text>\n", n * 18 + 8, line[n]
	print "</g></svg>"
}' "$report" >"$figures/report.svg"

# $4 kind, $3 VMAs, $5 ns
points() { # CORE KIND
	awk -F'\t' -v kind="$2" '$2 == "register" && $4 == kind { print $3, $5 / 1000 }' "$out/run/$1.output" | sort -n
}
data=$out/run/points
mkdir -p "$data"
plots=()
while read -r kind; do
	points stock "$kind" >"$data/stock-$kind"
	points test "$kind" >"$data/new-$kind"
	if [ -s "$data/stock-$kind" ]; then plots+=("'$data/stock-$kind' with linespoints title 'stock, $kind'"); fi
	plots+=("'$data/new-$kind' with linespoints title 'new, $kind'")
done < <(awk -F'\t' '$2 == "register" { print $4 }' "$out/run/test.output" | sort -u)
gnuplot <<-PLOT
	set terminal svg size 800,480 noenhanced background rgb 'white'
	set output '$figures/register.svg'
	set title 'mmu_notifier_register(), $(head -n 1 "$report" | cut -d, -f1-4)'
	set logscale xy
	set xlabel 'VMAs of the process'
	set ylabel 'microseconds'
	set key left top
	set grid
	plot $(IFS=,; echo "${plots[*]}")
PLOT
note "figures/report.svg and figures/register.svg, from out/run/"
