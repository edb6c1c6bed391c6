# SPDX-License-Identifier: MIT
# Everything is built below build/. `make help` lists the targets.
#
#   make SAN=asan …   the same in build/asan, with ASan and UBSan (also: ubsan, tsan, coverage)
#   make WERROR=1 …   warnings are errors (lint and CI do it)
#
# A folder's sources are found by wildcard; adding a file needs no change here.

VERSION := 0.1.0

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBEXECDIR ?= $(PREFIX)/libexec/sandboxfs
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/sandboxfs
UNITDIR ?= $(PREFIX)/lib/systemd/system
INSTALL ?= install
PKG_CONFIG ?= pkg-config

SAN ?=
WERROR ?=
V ?=

ifeq ($(filter $(SAN),asan ubsan tsan coverage),$(SAN))
else
$(error SAN is one of asan, ubsan, tsan, coverage, or empty)
endif

B := build$(if $(SAN),/$(SAN))
OBJ := $(B)/obj
GEN := build/gen

# --- flags ---------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Wformat=2 -Wundef -Wpointer-arith
ifneq ($(WERROR),)
WARNINGS += -Werror
endif

SAN_FLAGS_asan := -fsanitize=address,undefined -fno-sanitize-recover=undefined
SAN_FLAGS_ubsan := -fsanitize=undefined -fno-sanitize-recover=undefined
SAN_FLAGS_tsan := -fsanitize=thread
SAN_FLAGS_coverage := --coverage -fprofile-update=atomic
SAN_FLAGS := $(SAN_FLAGS_$(SAN))

HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection
OPTIMIZE := -O2 -g
ifneq ($(SAN),)
HARDEN := -fno-omit-frame-pointer
OPTIMIZE := -O1 -g
endif

CFLAGS ?= $(OPTIMIZE)
CPPFLAGS_ALL := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DSANDBOXFS_VERSION='"$(VERSION)"' \
	-I. -Iruntime -I$(GEN) -Ibuild $(CPPFLAGS)
CFLAGS_ALL := -std=gnu11 -fPIE $(WARNINGS) $(HARDEN) $(CFLAGS)
LDFLAGS_ALL := -pie -Wl,-z,relro,-z,now $(LDFLAGS)
DEPFLAGS = -MMD -MP -MF $(@:.o=.d)

# pkg-config is asked once, and only by targets that compile.
pkg = $(shell $(PKG_CONFIG) $(1) $(2))
LIBS_DAEMON = $(call pkg,--libs,fuse3 inih jansson libcap-ng) -pthread
LIBS_KEEPER = -pthread
LIBS_NET = $(call pkg,--libs,libmnl) -lnftables
LIBS_IMAGE = $(call pkg,--libs,libcrypto libarchive jansson)
LIBS_UNIT = $(call pkg,--libs,cmocka)
CFLAGS_DAEMON = $(call pkg,--cflags,fuse3 inih jansson) -pthread
# libs3 static, so that what it asks of libcurl comes through mounts/wire.c. Its archive needs libxml2.
STORE_WRAP := -Wl,--wrap=curl_easy_setopt,--wrap=curl_easy_perform,--wrap=gmtime
LIBS_STORE = $(STORE_WRAP) -l:libs3.a $(call pkg,--libs,libxml-2.0 libcurl expat libcrypto inih) -pthread
CFLAGS_MOUNTS = $(call pkg,--cflags,fuse3 libcurl expat libcrypto inih) -pthread

# The keeper is executed once for each box's start: static makes that fast. A sanitizer needs it
# dynamic. init is always static and never instrumented: its memory is part of the box's fence.
KEEPER_LINK := $(if $(SAN),$(LDFLAGS_ALL) $(SAN_FLAGS),-static-pie -Wl,-z,relro,-z,now $(LDFLAGS))
INIT_LINK := -static-pie -Wl,-z,relro,-z,now $(LDFLAGS)

# --- sources -------------------------------------------------------------------------------

BASE_SRC := $(sort $(wildcard runtime/base/*.c)) runtime/protocol.c runtime/log_index.c runtime/output_gap.c \
	runtime/net_policy.c runtime/limit.c
DISK_SRC := $(sort $(wildcard runtime/disk/*.c))
KEEPER_SRC := $(sort $(wildcard runtime/keeper/*.c))
INIT_SRC := $(sort $(wildcard runtime/init/*.c))
NET_SRC := $(sort $(wildcard runtime/net/*.c))
IMAGE_SRC := $(sort $(wildcard runtime/image/*.c runtime/import/*.c))
DAEMON_SRC := $(sort $(wildcard sandboxfs/*.c))
MOUNTS_SRC := $(sort $(wildcard mounts/*.c))
UNIT_SRC := $(sort $(wildcard tests/unit/*.c))
GENERATE_SRC := $(wildcard runtime/seccomp/generate.c)
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))

objects = $(patsubst %.c,$(OBJ)/%.o,$(1))
BASE_OBJ := $(call objects,$(BASE_SRC))
DISK_OBJ := $(call objects,$(DISK_SRC))
KEEPER_OBJ := $(call objects,$(KEEPER_SRC))
IMAGE_OBJ := $(call objects,$(IMAGE_SRC))
DAEMON_OBJ := $(call objects,$(DAEMON_SRC))
NET_OBJ := $(call objects,$(NET_SRC))
MOUNTS_OBJ := $(call objects,$(MOUNTS_SRC))
KEY_OBJ := $(OBJ)/runtime/image/key.o
# init's own copies, without sanitizer.
INIT_OBJ := $(patsubst %.c,$(OBJ)/init/%.o,$(INIT_SRC) $(BASE_SRC))
UNIT_BIN := $(patsubst tests/unit/%.c,$(B)/unit/%,$(UNIT_SRC))
DRIVER_BIN := $(patsubst tests/buckets/%.c,$(B)/buckets/%,$(wildcard tests/buckets/*.c))

FILTER_H := $(if $(GENERATE_SRC),$(GEN)/seccomp_filter.h)
PROGRAMS := $(B)/sandboxfs $(B)/sandbox-keeper $(B)/sandbox-init $(B)/sandbox-image \
	$(B)/sandbox-net $(B)/sandbox-bucket

Q := $(if $(V),,@)
say = @printf '  %-8s %s\n' '$(1)' '$(2)'

.PHONY: all deps run test test-v2 test-weak check-unit bench bench-buckets fmt lint asan ubsan tsan fuzz coverage \
	install uninstall dist clean help programs unit
.DELETE_ON_ERROR:
.SUFFIXES:

all: programs

programs: $(PROGRAMS)
# The drivers of tests/buckets are built with the unit tests.
unit: $(UNIT_BIN) $(DRIVER_BIN)

# --- how things are made ----------------------------------------------------------------------

$(OBJ)/sandboxfs/%.o: sandboxfs/%.c | $(FILTER_H)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(SAN_FLAGS) $(CFLAGS_DAEMON) $(DEPFLAGS) -c -o $@ $<

$(OBJ)/mounts/%.o: mounts/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(SAN_FLAGS) $(CFLAGS_MOUNTS) $(DEPFLAGS) -c -o $@ $<

$(OBJ)/tests/%.o: tests/%.c | $(FILTER_H)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(SAN_FLAGS) $(CFLAGS_DAEMON) $(DEPFLAGS) -c -o $@ $<

$(OBJ)/init/%.o: %.c | $(FILTER_H)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(DEPFLAGS) -c -o $@ $<

$(OBJ)/%.o: %.c | $(FILTER_H)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(SAN_FLAGS) $(DEPFLAGS) -c -o $@ $<

# The seccomp filter: built once by libseccomp from the table, kept as a header.
$(GEN)/generate: $(GENERATE_SRC) $(wildcard runtime/seccomp/*.h)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS_ALL) -std=gnu11 $(WARNINGS) -O1 -o $@ $(GENERATE_SRC) \
		$(call pkg,--cflags --libs,libseccomp)

$(GEN)/seccomp_filter.h: $(GEN)/generate
	$(call say,GEN,$@)
	$(Q)$(GEN)/generate >$@.tmp && mv $@.tmp $@

$(B)/sandboxfs: $(DAEMON_OBJ) $(KEY_OBJ) $(DISK_OBJ) $(BASE_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) $(SAN_FLAGS) -o $@ $^ $(LIBS_DAEMON)

$(B)/sandbox-keeper: $(KEEPER_OBJ) $(DISK_OBJ) $(BASE_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(KEEPER_LINK) -o $@ $^ $(LIBS_KEEPER)

# Mode 0511: nobody but root may read it, so that the box's root never may.
$(B)/sandbox-init: $(INIT_OBJ)
	$(call say,LD,$@)
	$(Q)rm -f $@ && $(CC) $(INIT_LINK) -o $@ $^ && chmod 0511 $@

$(B)/sandbox-image: $(IMAGE_OBJ) $(BASE_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) $(SAN_FLAGS) -o $@ $^ $(LIBS_IMAGE)

$(B)/sandbox-net: $(NET_OBJ) $(OBJ)/keeper.a $(OBJ)/disk.a $(OBJ)/base.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) $(SAN_FLAGS) -o $@ $^ $(LIBS_NET)

$(B)/sandbox-bucket: $(MOUNTS_OBJ) $(OBJ)/base.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) $(SAN_FLAGS) -o $@ $^ $(call pkg,--libs,fuse3) $(LIBS_STORE)

# Unit tests pull what they need out of one archive for each folder (main() stays outside).
ARCHIVES := $(OBJ)/sandboxfs.a $(OBJ)/keeper.a $(OBJ)/image.a $(OBJ)/disk.a $(OBJ)/mounts.a $(OBJ)/base.a
$(OBJ)/sandboxfs.a: $(filter-out %/main.o,$(DAEMON_OBJ))
$(OBJ)/keeper.a: $(filter-out %/main.o,$(KEEPER_OBJ))
$(OBJ)/image.a: $(filter-out %/main.o,$(IMAGE_OBJ))
$(OBJ)/disk.a: $(DISK_OBJ)
$(OBJ)/mounts.a: $(filter-out %/main.o,$(MOUNTS_OBJ))
$(OBJ)/base.a: $(BASE_OBJ)
$(ARCHIVES):
	$(call say,AR,$@)
	@mkdir -p $(@D)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(B)/unit/%: $(OBJ)/tests/unit/%.o $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) $(SAN_FLAGS) -o $@ $< -Wl,--start-group $(ARCHIVES) -Wl,--end-group \
		$(LIBS_DAEMON) $(LIBS_IMAGE) $(LIBS_STORE) $(LIBS_UNIT)

$(B)/buckets/%: $(OBJ)/tests/buckets/%.o $(OBJ)/mounts.a $(OBJ)/base.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) $(SAN_FLAGS) -o $@ $^ $(LIBS_STORE)
.SECONDARY:

-include $(shell find $(OBJ) -name '*.d' 2>/dev/null)

# --- sanitizers -------------------------------------------------------------------------------

asan ubsan tsan:
	+$(MAKE) SAN=$@ programs unit

coverage:
	+$(MAKE) SAN=coverage programs unit
	tests/coverage

# --- machine set-up, trying it, tests ---------------------------------------------------------

# As root; asks for sudo itself when it is not.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

deps:
	@tests/deps build

run:
	@tests/deps build
	+@$(MAKE) -s --no-print-directory programs
	@tests/first-run $(CURDIR)/$(B)

test:
	@tests/deps test
	+@$(MAKE) -s --no-print-directory SAN=$(SAN) programs unit
	@$(SUDO) tests/run --build $(B) $(if $(AGAIN),--again) $(TESTS)

# On a machine with the second version of cgroups, virtual, and Debian's kernel (KERNEL=package). It
# says itself what it lacks; FEW=1 is the selection that an emulated one runs.
test-v2:
	@tests/deps test
	-@tests/deps vm
	+@$(MAKE) -s --no-print-directory SAN= programs unit
	@$(SUDO) tests/vm/run --build build $(if $(KERNEL),--kernel $(KERNEL)) \
		$(if $(FEW),--few) $(if $(AGAIN),--again) $(TESTS)

# Each wall of a box taken away in turn, in builds of their own: do the tests notice? Takes long.
test-weak:
	@tests/deps test
	+@$(MAKE) -s --no-print-directory SAN= programs
	@$(SUDO) tests/security/weak/run

check-unit: unit
	@tests/run --build $(B) unit

bench:
	@tests/deps test
	+@$(MAKE) -s --no-print-directory programs
	@$(SUDO) tests/bench/run --build $(B)

# sandbox-bucket beside s3fs, rclone and the bare server: about ten minutes.
bench-buckets:
	@tests/deps bench
	+@$(MAKE) -s --no-print-directory programs
	@$(SUDO) tests/bench/buckets --build $(B) $(BENCHES)

FUZZ_SECONDS ?= 20
fuzz:
	@tests/fuzz/run $(FUZZ_SECONDS)

# --- style --------------------------------------------------------------------------------------

C_FILES := $(sort $(shell find sandboxfs runtime mounts tests -name '*.[ch]' 2>/dev/null))

fmt:
	clang-format -i $(C_FILES)

lint:
	+@tests/lint/run $(C_FILES)

# --- installing -----------------------------------------------------------------------------------

MAN1 := $(wildcard sandboxfs/man/*.1 mounts/man/*.1)
MAN5 := $(wildcard sandboxfs/man/*.5)
EXAMPLES := $(wildcard sandboxfs/examples/*)

install: programs
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(MANDIR)/man1 \
		$(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(DOCDIR)/examples $(DESTDIR)$(UNITDIR)
	$(INSTALL) -m 0755 $(B)/sandboxfs $(B)/sandbox-bucket $(DESTDIR)$(BINDIR)/
	$(INSTALL) -m 0755 $(B)/sandbox-keeper $(B)/sandbox-image $(B)/sandbox-net \
		$(DESTDIR)$(LIBEXECDIR)/
	$(INSTALL) -m 0511 $(B)/sandbox-init $(DESTDIR)$(LIBEXECDIR)/
	$(if $(MAN1),$(INSTALL) -m 0644 $(MAN1) $(DESTDIR)$(MANDIR)/man1/)
	$(if $(MAN5),$(INSTALL) -m 0644 $(MAN5) $(DESTDIR)$(MANDIR)/man5/)
	$(INSTALL) -m 0644 sandboxfs.ini $(wildcard README.md) LICENSE $(DESTDIR)$(DOCDIR)/
	$(INSTALL) -m 0755 $(EXAMPLES) $(DESTDIR)$(DOCDIR)/examples/
	sed -e 's|@BINDIR@|$(BINDIR)|g' sandboxfs/sandboxfs@.service.in >$(DESTDIR)$(UNITDIR)/sandboxfs@.service
	chmod 0644 $(DESTDIR)$(UNITDIR)/sandboxfs@.service

uninstall:
	rm -f $(DESTDIR)$(BINDIR)/sandboxfs $(DESTDIR)$(BINDIR)/sandbox-bucket \
		$(DESTDIR)$(UNITDIR)/sandboxfs@.service
	rm -f $(addprefix $(DESTDIR)$(MANDIR)/man1/,$(notdir $(MAN1)))
	rm -f $(addprefix $(DESTDIR)$(MANDIR)/man5/,$(notdir $(MAN5)))
	rm -rf $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(DOCDIR)

dist:
	@mkdir -p build
	git archive --format=tar.gz --prefix=sandboxfs-$(VERSION)/ \
		-o build/sandboxfs-$(VERSION).tar.gz HEAD
	@echo build/sandboxfs-$(VERSION).tar.gz

# A mount that `make run` left is ended first: its state lies in build/run.
clean:
	@tests/first-run --stop $(CURDIR)/build
	rm -rf build

help:
	@echo 'make              build everything into build/'
	@echo 'make run          install what is missing, build, mount, run a command in a first box'
	@echo 'make test         install what is missing, build, run every test (TESTS="cmd out" for some)'
	@echo 'make test SAN=asan   the same under ASan and UBSan'
	@echo 'make test-v2      tests on a virtual machine with cgroup v2 alone and Debian'"'"'s kernel'
	@echo 'make test-weak    whether the tests notice when a wall of a box is missing (a quarter of an hour)'
	@echo 'make deps         install what is missing (Debian, Ubuntu; elsewhere: print the list)'
	@echo 'make check-unit   unit tests only, no root needed'
	@echo 'make bench        measure, with a table at the end'
	@echo 'make bench-buckets   the same for sandbox-bucket, beside s3fs and rclone (BENCHES="read list" for some)'
	@echo 'make asan ubsan tsan coverage   builds in build/asan, …; coverage also runs the tests'
	@echo 'make fuzz         fuzz the parsers for FUZZ_SECONDS (20) each'
	@echo 'make fmt lint     format; check format, includes, clang-tidy, scripts, man pages'
	@echo 'make install uninstall   PREFIX=/usr/local DESTDIR='
	@echo 'make dist clean'
