# SPDX-License-Identifier: GPL-2.0
# Everything that is not kernel is in lab/; `make help` lists the targets.
#
# LINUX=<git tree, unpacked tree or tarball of 6.12.y>  default: Debian's
# OUT=<folder for all that is built>                    default: out
# JOBS=<parallel jobs>, V=1: show everything

export LINUX OUT JOBS V SEED MINUTES
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help run test figures mutants series am build shell kunit model stress stress-ng \
	bench bench-native identity style coverage check check-all bisect bases clients compile \
	clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make run      build both cores, boot both, report side by side
## make test     every test; the last line is the count
## make figures  the README's pictures, from what make run measured
## make mutants  switch off each hook and each step in turn: does a test fail?
## make series   write the patches to out/series/, ready for git am
## make am LINUX=<git tree>
##               apply them there; a tree they do not apply to stays as it was
## make build    build the guest kernels: out/build/test and out/build/stock
## make shell    an interactive shell in the guest
## make kunit    the KUnit suites alone, on UML
## make stress SEED=1 MINUTES=10
##               random operations from that seed on
## make stress-ng MINUTES=10
##               Debian's stress-ng, watched by secondary MMUs
## make model    the model of registration, whole and with each step removed
## make bench    what it costs, in instructions, beside stock's core
## make bench-native
##               the same on this machine's own kernel, if that has the series
## make identity without CONFIG_MMU_NOTIFIER mm/ compiles to the same code
## make style    checkpatch, sparse, kernel-doc, W=1 and shellcheck
## make debug-lockdep, debug-kasan, debug-kcsan, debug-rt
##               all tests in a kernel that watches itself
## make coverage which lines the tests run, where allocations fail as well
## make check    what of all this fits into an hour, in one table
## make check-all  everything
## make bisect   every patch of the series builds and boots
## make clients  QEMU, Linux's own tests of KVM, HMM and mm, beside stock's core
## make compile  every user of the API, for x86-64 and arm64, gcc and clang
## make bases    the series applies to every 6.12.y that apt offers
## make clean    remove what was built; out/linux (the source) stays
##
## LINUX=...     the kernel to work on: a git tree, an unpacked tree or a
##               tarball of any 6.12.y; without it, Debian's linux-source-6.12
## OUT=...       where everything is built (out)
## JOBS=...      parallel jobs (number of CPUs)
## V=1           show all output

run:
	@lab/run.sh

test:
	@lab/test.sh

figures:
	@lab/figures.sh

mutants:
	@lab/base.sh
	@lab/build.sh test base test
	@lab/mutants-tree.sh
	@SRC="$$(realpath "$${OUT:-out}")/mutants-linux" lab/build.sh mutants base test mutants
	@lab/tools.sh boot python
	@lab/mutants.py "$${OUT:-out}/mutants-linux" "$${OUT:-out}/build/mutants" "$${OUT:-out}/build/test/selftests"

series:
	@lab/series.sh

am:
	@lab/am.sh

build:
	@lab/base.sh
	@lab/build.sh test base test
	@lab/build.sh stock base stock

shell:
	@lab/base.sh
	@lab/build.sh test base test
	@lab/tools.sh boot
	@lab/shell.sh test

kunit:
	@lab/base.sh
	@lab/kunit.sh

stress stress-ng:
	@lab/base.sh
	@lab/build.sh test base test
	@lab/stress.sh $(@:stress=generator)

model:
	@lab/model.sh

bench:
	@lab/bench.sh

bench-native:
	@lab/bench-native.sh

identity:
	@lab/identity.sh

style:
	@lab/base.sh
	@lab/style.sh

debug-%:
	@lab/debug.sh $*

coverage:
	@lab/coverage.sh

CHECKS := style model coverage debug-lockdep debug-kasan stress
# The debug kernels run the stress test, too: here, a few minutes of it will do.
check:
	@MINUTES=$${MINUTES:-3} lab/check.sh $(CHECKS)

check-all:
	@lab/check.sh $(CHECKS) test debug-kcsan debug-rt mutants clients \
		compile identity bases bisect bench

bisect:
	@lab/base.sh
	@lab/bisect.sh

clients:
	@lab/clients.sh

compile:
	@lab/compile.sh

bases:
	@lab/bases.sh

clean:
	@rm -rf "$${OUT:-out}/build" "$${OUT:-out}/series" "$${OUT:-out}/lab-series" "$${OUT:-out}/log"
