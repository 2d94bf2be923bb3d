#!/bin/bash
# Usage: test-audit.sh TREE
#
# Does audit.py notice? TREE is a kernel with the series applied and is not
# changed: the files that the tables name are copied, and one thing at a time
# is made wrong in the copy. Prints TAP.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

[ $# = 1 ] || die "usage: test-audit.sh TREE"
tree=$(readlink -f "$1")
table=Documentation/mm/mmu_notifier_sites.rst
mkdir -p "$out"
work=$(mktemp -d "$out/test-audit.XXXXXX")
trap 'rm -rf "$work"' EXIT
n=0 failed=0
"$here/audit.py" --files "$tree" >"$work/files"

# fresh: the copy as it should be
fresh() {
	rm -rf "$work/tree"
	mkdir "$work/tree"
	(cd "$tree" && xargs cp --parents -t "$work/tree" "$table" <"$work/files")
	cd "$work/tree"
}

# expect STATUS REGEX NAME: audit.py on the copy exits so and says so
expect() {
	local status=0
	"$here/audit.py" "$work/tree" >"$work/said" 2>&1 || status=$?
	n=$((n + 1))
	if [ "$status" = "$1" ] && grep -Eq "$2" "$work/said"; then
		echo "ok $n $3"
	else
		echo "not ok $n $3: exit status $status, not $1, or no /$2/ in:"
		sed 's/^/#   /' "$work/said"
		failed=1
	fi
}

# change SED FILE: and fail if that changes nothing
change() {
	sed -i.orig -e "$1" "$2"
	if cmp -s "$2" "$2.orig"; then die "test-audit.sh: nothing in $2 fits $1"; fi
	rm "$2.orig"
}

echo "TAP version 13"
fresh
expect 0 'all known' "the series as it is"

change '/"wp_page_copy".*"hooked/d' "$table"
expect 1 'mm/memory.c: wp_page_copy.*not in the table' "a hook's row deleted"

fresh
change '/"unuse_pte".*"no hook"/d' "$table"
expect 1 'mm/swapfile.c: unuse_pte.*not in the table' "a row without a hook deleted"

fresh
printf '\nvoid new_site(struct mm_struct *mm, pte_t *ptep)\n{\n\tptep_get_and_clear(mm, 0, ptep);\n}\n' >>mm/mincore.c
expect 1 'mm/mincore.c: new_site.*ptep_get_and_clear.*not in the table' "a site added in a file that had none"

fresh
change 's/^\tptep_clear_flush(vma, addr, ptep);$/&&/' mm/ksm.c
expect 1 'mm/ksm.c: replace_page.*2 in the source, 1 in the table' "a second use in a function"

fresh
# shellcheck disable=SC2016 # sed's $, not the shell's
change '$a\
#define new_macro(mm, ptep)	\\\
	wrprotect_some_ptes(mm, ptep)' mm/ksm.c
expect 1 'mm/ksm.c: new_macro.*wrprotect_some_ptes.*not in the table' "a primitive never seen before, in a macro"

fresh
change 's/^static int replace_page(/static int put_page_in_place(/' mm/ksm.c
expect 1 'replace_page.*gone from the source' "a site that is gone"

fresh
change '/wp_pte/,/^}/ { /mmu_notifier_invalidate_page/d }' mm/mapping_dirty_helpers.c
expect 1 'wp_pte.*calls the hook 0 times, the table says 1' "a hook deleted from the source"

fresh
change '/^copy_pte_range/,/^}/ { /mmu_notifier_invalidate_page/d }' mm/memory.c
expect 1 '__copy_present_ptes.*copy_pte_range, which calls no hook' "a hook deleted from a caller"

fresh
change 's/^\tptep_clear_flush(vma, addr, ptep);$/&\n\tmmu_notifier_invalidate_page(mm, addr, 1);/' mm/ksm.c
expect 1 'replace_page.*calls the hook 2 times, the table says 1' "a hook that the table does not have"

fresh
change 's/"absent: a swap entry"/"because"/' "$table"
expect 1 'a reason starts with its kind' "a row without a reason"

fresh
change 's|^\t\*orig_pte = entry;$|& /* ptep_clear_flush(vma, 0, ptep); */|' mm/ksm.c
expect 0 'all known' "a comment is no site"

fresh
change '/^static void damon_hugetlb_mkold(/,/^}/ s/huge_ptep_get_and_clear(/older_name(/' mm/damon/vaddr.c
expect 0 'all known' "a use that only some 6.12.y have"

# new FILE CODE: a file of one function, new() unless CODE names another
new() {
	mkdir -p "$(dirname "$1")"
	printf '\nvoid new(struct vm_area_struct *vma)\n{\n\t%s;\n}\n' "$2" >>"$1"
}

start='mmu_notifier_invalidate_range_start(&range)'
for file in mm/new.c drivers/new/new.c arch/x86/mm/new.c net/new.h; do
	fresh
	new "$file" "$start"
	expect 1 "$file: new.*: starts a section, not in the table" "a new section in $file"
done

for file in mm/mincore.c drivers/misc/sgi-gru/grufile.c arch/powerpc/mm/new.c sound/new.c; do
	fresh
	new "$file" 'zap_vma_ptes(vma, 0, 1)'
	expect 1 "$file: new.*zap_vma_ptes: starts a section, not in the table" "in $file a new caller of what starts one"
done

fresh
new mm/ksm.c 'write_protect_page(vma, NULL, NULL)'
expect 1 'mm/ksm.c: new.*write_protect_page: starts' "a new caller of a static function"

fresh
new kernel/new.c 'write_protect_page(vma, NULL, NULL)'
new drivers/new/new.c 'unmap_region(vma)'
printf '\nstatic void unmap_region(void *region)\n{\n}\n' >>drivers/new/new.c
expect 0 'all known' "functions of the same name elsewhere"

fresh
new drivers/new/new.c 'goto unmap_vmas; unmap_vmas: return'
echo 'EXPORT_SYMBOL_GPL(zap_vma_ptes);' >>drivers/new/new.c
echo 'void zap_vma_ptes(struct vm_area_struct *vma, unsigned long address);' >>drivers/new/new.h
expect 0 'all known' "labels, exports and declarations are no callers"

fresh
printf '\nstatic const struct ops ops = {\n\t.zap = zap_vma_ptes,\n};\n' >>drivers/misc/sgi-gru/grufile.c
expect 1 'grufile.c: .*zap_vma_ptes: starts a section' "a pointer to what starts one"

fresh
new drivers/new/new.c 'try_to_unmap(folio, TTU_RMAP_LOCKED)'
expect 1 'drivers/new/new.c: new.*TTU_RMAP_LOCKED: starts' "a caller that says it holds the lock of the rmap"

fresh
change '/^static bool __oom_reap_task_mm/,/^}/ s/unmap_page_range(&tlb/zap_vma_ptes(vma, 0, 1); &/' mm/oom_kill.c
expect 1 'mm/oom_kill.c: __oom_reap_task_mm.*zap_vma_ptes: starts' "a start by other means in a function that has one"

fresh
change 's/^\tzap_page_range_single(vma, address, size, NULL);$/&&/' mm/memory.c
expect 1 'mm/memory.c: .*zap_page_range_single: 2 in the source, 1 in the table' "a second start in a function"

fresh
change '/"exit_mmap", "unmap_vmas"/d' "$table"
expect 1 'mm/mmap.c: exit_mmap.*unmap_vmas: starts a section, not in the table' "the row of a start deleted"

fresh
change '/"zap_vma_pages", "zap_page_range_single", "caller"/ s/"caller", ""/"mmap", "because"/' "$table"
expect 1 'arch/arm64/kernel/vdso.c: vdso_join_timens.*zap_vma_pages: 0 in the source' "rows of callers that are not needed"

fresh
change '/"exit_mmap", "unmap_vmas"/ s/"mmap read"/"a spinlock"/' "$table"
expect 1 'no such lock: a spinlock' "a lock that registration does not look at"

fresh
change '/"exit_mmap", "unmap_vmas"/ s/"takes it"/""/' "$table"
expect 1 'exit_mmap: no reason why the lock is enough' "a lock without a reason"

fresh
change '/^static int wp_clean_pre_vma/,/^}/ { /invalidate_range_start/d }' mm/mapping_dirty_helpers.c
expect 1 'wp_clean_pre_vma.*0 in the source, 1 in the table' "a start that is gone"

fresh
change 's/= change_prot_numa(/= change_nothing(/' kernel/sched/fair.c
expect 1 'change_prot_numa.*has no caller' "a function that nobody calls any more"

fresh
# shellcheck disable=SC2016 # sed's $, not the shell's
change '/^.. csv-table:: sections/,$d' "$table"
expect 1 'no table of sections' "no table of sections"

echo "1..$n"
exit "$failed"
