# UTun: a thin layer over tools/setup, Meson and Ninja. `make help` lists what there is.

PREFIX    ?=
DESTDIR   ?=
ARGS      ?=
FUZZ_SECS ?= 60

NATIVE   := .deps/native.ini
SETUP    := tools/setup
MESON    := meson setup --native-file $(NATIVE)
SANITIZE := -Db_sanitize=address,undefined -Db_lundef=false

.DEFAULT_GOAL := all
.PHONY: all run test test-long bench fuzz lint install clean distclean help \
        setup configure configure-asan

all: configure
	ninja -C build

setup:
	@$(SETUP)

# A build folder is made once; a changed .deps/native.ini (other libraries) makes it anew.
configure: setup
	@if [ ! -f build/build.ninja ] || [ $(NATIVE) -nt build/build.ninja ]; then \
	    rm -rf build && $(MESON) build; fi

configure-asan: setup
	@if [ ! -f build-asan/build.ninja ] || [ $(NATIVE) -nt build-asan/build.ninja ]; then \
	    rm -rf build-asan && $(MESON) build-asan $(SANITIZE); fi

run: all
	build/utun demo $(ARGS)

test: configure configure-asan
	@$(SETUP) --test
	@tools/run-tests build build-asan

test-long: configure configure-asan
	@$(SETUP) --test
	@tools/run-tests --long build build-asan

bench: all
	@$(SETUP) --test --bench
	@UTUN=$(CURDIR)/build/utun tests/bench/run $(ARGS)

fuzz: setup
	@$(SETUP) --lint
	@if [ ! -f build-fuzz/build.ninja ] || [ $(NATIVE) -nt build-fuzz/build.ninja ]; then \
	    rm -rf build-fuzz && CC=clang CXX=clang++ $(MESON) build-fuzz $(SANITIZE) -Dfuzz=true; fi
	@tools/run-fuzz build-fuzz $(FUZZ_SECS)

lint: setup
	@$(SETUP) --lint
	@tools/lint

install: all
	@if [ -n "$(PREFIX)" ]; then meson configure build -Dprefix="$(PREFIX)"; fi
	DESTDIR="$(DESTDIR)" meson install -C build

clean:
	rm -rf build build-*

distclean: clean
	rm -rf .deps

help:
	@echo 'make            build build/utun (installs the missing build packages first)'
	@echo 'make run        build, then run the demo; ARGS=--once ends after its check'
	@echo 'make test       build, then pass every test: unit, sim, e2e, each also with ASan+UBSan'
	@echo 'make test-long  the long versions of the tests and the clean rooms (Debian 12 and 13)'
	@echo 'make bench      measure utun beside ssh, stunnel and a direct connection'
	@echo 'make fuzz       run every fuzz target, FUZZ_SECS=60 each'
	@echo 'make lint       format, static analysis, include direction, gcc and clang -Werror'
	@echo 'make install    install to PREFIX (/usr/local) below DESTDIR'
	@echo 'make clean      remove the build folders; distclean also removes .deps/'
