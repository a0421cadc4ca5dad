# Holt's build, checks and tests. `make help` lists the targets.

GO        ?= go
PREFIX    ?= /usr/local
FUZZTIME  ?= 60s
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# The build needs no version control and, race detector apart, no C compiler.
export GOFLAGS := $(GOFLAGS) -buildvcs=false
STATIC    := CGO_ENABLED=0 $(GO)
AGENT     := internal/agentbin/bin/holt-agent
LINT      := $(STATIC) tool -modfile=tools/go.mod golangci-lint

# Programs or files that are needed, each with the Debian package that has it.
RUN_NEEDS  := qemu-system-x86_64:qemu-system-x86
KERNEL_NEEDS := gcc:gcc ld:binutils make:make flex:flex bison:bison bc:bc tar:tar xz:xz-utils /usr/include/stdlib.h:libc6-dev /usr/include/gelf.h:libelf-dev
TEST_NEEDS := ip:iproute2 iperf3:iperf3 tshark:tshark gcc:gcc /usr/include/stdlib.h:libc6-dev cpio:cpio mmdebstrap:mmdebstrap /sbin/mke2fs:e2fsprogs getfattr:attr iasl:acpica-tools ssh:openssh-client

# $(call need,PROGRAM:PACKAGE …) installs the packages of what is missing.
define need
@missing=; for n in $(1); do command -v "$${n%%:*}" >/dev/null || [ -e "$${n%%:*}" ] || missing="$$missing $${n##*:}"; done; \
[ -n "$$missing" ] || exit 0; \
command -v apt-get >/dev/null || { echo "please install:$$missing" >&2; exit 1; }; \
echo "installing:$$missing"; \
[ "$$(id -u)" = 0 ] && sudo= || sudo=sudo; \
$$sudo apt-get update -q </dev/null && \
$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing </dev/null
endef

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

.PHONY: build
build: ## build bin/holt with the guest agent inside
	$(STATIC) build -trimpath -ldflags "-s -w" -o $(AGENT) ./cmd/holt-agent
	$(STATIC) build -trimpath -ldflags "-s -w -X github.com/holtvm/holt/internal/version.built=$(VERSION)" -o bin/holt ./cmd/holt

.PHONY: deps
deps: ## install what running microVMs needs (Debian: through apt-get)
	$(call need,$(RUN_NEEDS))

.PHONY: deps-test
deps-test: deps ## install what the tests need besides
	$(call need,$(TEST_NEEDS))

.PHONY: kernel
kernel: build ## compile Holt's own guest kernel, once (minutes), and make it the default
	$(call need,$(KERNEL_NEEDS))
	bin/holt kernel build

.PHONY: run
run: deps build ## set up and run a first microVM
	@bin/holt setup
	@bin/holt run -- sh -c 'echo hello from a microVM; uname -a'

# Holt's own kernel becomes the default; Debian's is tested too, and runs the outer
# VM of the kvm lane. The tests' roots wait for the network most of the time, and are
# made while the kernel is compiled.
.PHONY: test
test: deps-test build ## run every lane: unit, tcg, kvm
	bin/holt setup
	@bin/holt kernel ls | grep -q 'Debian package' || bin/holt kernel fetch
	@$(MAKE) --no-print-directory test-roots & roots=$$!; \
	$(MAKE) --no-print-directory kernel || { kill $$roots; exit 1; }; wait $$roots
	@$(MAKE) --no-print-directory test-unit
	@$(MAKE) --no-print-directory test-tcg
	@$(MAKE) --no-print-directory test-kvm

.PHONY: test-roots
test-roots: ## make the Debian roots that the tests' guests have
	$(STATIC) run ./test/lane -prepare

# A program with the race detector waits a second when it ends, unless it is told
# otherwise. What vet finds, the target vet has found.
.PHONY: test-unit
test-unit: ## tests without a guest, with the race detector
	GORACE=atexit_sleep_ms=50 CGO_ENABLED=1 $(GO) test -race -vet=off -v -timeout 10m ./...

# Guests wait now and then: three make use of two processors.
.PHONY: test-tcg
test-tcg: ## tests with guests under QEMU's software emulation
	$(STATIC) run ./test/again -v -vet=off -count=1 -parallel 3 -timeout 20m -tags tcg -- ./test/...

.PHONY: test-kvm
test-kvm: build ## tests that need KVM: here, or in an outer VM
	$(STATIC) run ./test/lane

.PHONY: soak
soak: build ## what takes too long for every change: long guests on KVM, many VMs, many repetitions
	HOLT_SOAK=1 $(STATIC) test -v -count=1 -run '^TestManyMachinesInOneProcess$$|^TestRandomWork$$' . ./internal/state
	HOLT_SOAK=1 $(STATIC) test -v -count=1 -timeout 1h -tags tcg -run '^Test(RandomLifecycle|ManyVMs|ManyExecs|ConcurrentExecs|CopyTree|CopyLargeFile)$$' ./test/tcg
	HOLT_SOAK=1 $(STATIC) run ./test/lane longvmm long longclones

.PHONY: vet
vet: ## compile everything for each architecture and vet it
	$(STATIC) build ./...
	$(STATIC) vet -tags tcg,kvm ./...
	GOARCH=arm64 $(STATIC) vet -tags tcg,kvm ./...
	$(STATIC) mod tidy -diff

.PHONY: lint
lint: ## run golangci-lint, which holds the arrows between packages
	$(LINT) run

.PHONY: check
check: vet lint test ## everything that must pass before a change goes in

# Each fuzz target is run alone, because go test fuzzes one at a time.
.PHONY: fuzz
fuzz: ## fuzz each target for FUZZTIME
	@grep -ro --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | \
	sed 's|/[^/]*_test.go:func | |' | sort | while read -r dir target; do \
		echo "fuzz $$dir $$target"; \
		$(STATIC) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$dir" </dev/null || exit 1; \
	done

.PHONY: fuzz-short
fuzz-short: ## fuzz each target for five seconds
	@$(MAKE) --no-print-directory fuzz FUZZTIME=5s

.PHONY: bench
bench: deps-test build ## measure against QEMU, ssh and others, and write bench.json
	$(STATIC) run ./test/bench

.PHONY: install
install: build ## copy holt to PREFIX/bin
	install -D -m 0755 bin/holt $(DESTDIR)$(PREFIX)/bin/holt

.PHONY: clean
clean: ## remove what the build made
	rm -rf bin bench.json $(AGENT)
