# UTun: a thin layer over tools/setup, Meson and Ninja. `make help` lists what there is.

PREFIX    ?=
DESTDIR   ?=
ARGS      ?=
FUZZ_SECS ?= 60
SEED      ?= 1
SEEDS     ?= 100000

SANITIZE  := -Db_sanitize=address,undefined -Db_lundef=false

.DEFAULT_GOAL := all
.PHONY: all run test test-long tsan memcheck bench fuzz sim model lint sbom install deb clean distclean help \
        setup configure configure-asan configure-tsan whole

all: configure
	ninja -C build program

# With the tests.
whole: configure
	ninja -C build

setup:
	@tools/setup

configure: setup
	@tools/configure build

configure-asan: setup
	@tools/configure build-asan $(SANITIZE)

configure-tsan: setup
	@tools/configure build-tsan -Db_sanitize=thread -Db_lundef=false

run: all
	build/utun demo $(ARGS)

test: configure configure-asan
	@tools/setup --test
	@tools/run-tests $(ARGS) build build-asan

test-long: configure configure-asan tsan memcheck
	@tools/setup --test
	@tools/run-tests --long $(ARGS) build build-asan

tsan: configure-tsan
	@tools/setup --test
	@tools/run-tests --suite threads build-tsan

memcheck: configure
	@tools/setup --test
	@tools/run-tests --memcheck build

bench: whole
	@tools/setup --test --bench
	@UTUN=$(CURDIR)/build/utun tests/bench/run $(ARGS)

fuzz: setup
	@tools/setup --lint
	@CC=clang CXX=clang++ tools/configure build-fuzz $(SANITIZE) -Dfuzz=true
	@tools/run-fuzz build-fuzz $(FUZZ_SECS)

sim: whole
	@build/tests/sim/sim --first $(SEED) --seeds $(SEEDS) --jobs "$$(nproc)"

model:
	@tests/model/prove.py $(ARGS) docs/model

lint: setup
	@tools/setup --lint
	@tools/lint

sbom: all
	ninja -C build utun.cdx.json
	@echo build/utun.cdx.json

install: all
	@if [ -n "$(PREFIX)" ]; then meson configure build -Dprefix="$(PREFIX)"; fi
	ninja -C build program
	DESTDIR="$(DESTDIR)" meson install --no-rebuild -C build

deb: all
	@tools/setup --deb
	@tools/make-deb build build

clean:
	rm -rf build build-*

distclean: clean
	rm -rf .deps

help:
	@echo 'make            build build/utun (installs the missing build packages first)'
	@echo 'make run        build, then run the demo; ARGS=--once ends after its check'
	@echo 'make test       build, then pass every test: unit, sim, model, e2e, each also with ASan+UBSan'
	@echo 'make test-long  the long versions of the tests and the clean rooms (Debian 12 and 13)'
	@echo 'make tsan       what crosses threads, with ThreadSanitizer; part of test-long'
	@echo 'make memcheck   the end-to-end tests with the program below Valgrind; part of test-long'
	@echo 'make bench      measure utun beside other forwarders, in 20 minutes; QUICK=1: in 3'
	@echo 'make fuzz       run every fuzz target, FUZZ_SECS=60 each'
	@echo 'make sim        run the simulation with SEEDS=100000 seeds from SEED=1 on'
	@echo 'make model      prove the protocol with ProVerif, where it is installed'
	@echo 'make lint       format, static analysis, include direction, gcc and clang -Werror'
	@echo 'make sbom       write build/utun.cdx.json, what utun is made of (CycloneDX)'
	@echo 'make install    install to PREFIX (/usr/local) below DESTDIR'
	@echo 'make deb        a Debian package of it, in build/'
	@echo 'make clean      remove the build folders; distclean also removes .deps/'
