# `make demo` shows it, `make test` checks it, `make release` builds it. CONTRIBUTING.md has more.
# Where cargo builds: ./target, or what CARGO_TARGET_DIR says.

export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

# A shell variable of these names wins; FUZZ_SECONDS is for each target.
FUZZ_SECONDS ?= 60
DEMO ?= localnet --nodes 8 --validators 4 --replay bitcoin:702861

# As in deploy/peerstage.service and the Dockerfile: docs/adr/0017.
MALLOC_ARENA_MAX ?= 2

# What `make test-nat` is given; tests/natlab/README.md has the full size.
NAT ?= --tries 1

.PHONY: demo test test-nat test-rocksdb release fuzz setup bench bench-primitives bench-instructions \
	bench-instructions-pin soak

demo:
	@scripts/setup demo
	cargo build --locked --profile demo -p peerstage --bin peerstage
	"$$(scripts/target-dir)/demo/peerstage" $(DEMO)

# What depends on who computes the primitives, run on AWS-LC too. One package and its library
# only, so little besides AWS-LC is built twice; first, so that the last lines are the whole suite's.
ON_EITHER_BACKEND = backend:: noise:: handshake:: identity:: sealed::

test:
	@scripts/setup test
	scripts/cross-check
	cargo test --locked -p peerstage-core --features accelerated --lib -- $(ON_EITHER_BACKEND)
	cargo test --locked --workspace --no-fail-fast

# The same workspace and kinds of target as `make test`, so that cargo resolves the same features
# and only what uses RocksDB is built again. The demo goes first: the last lines are the runner's.
ROCKSDB = --locked --workspace --features peerstage/rocksdb
ROCKSDB_TESTS = --test store_conformance --test store_crash

test-rocksdb:
	@scripts/setup test rocksdb
	cargo test --no-run $(ROCKSDB) --lib $(ROCKSDB_TESTS)
	PEERSTAGE_STORE__BACKEND=rocksdb "$$(scripts/target-dir)/debug/peerstage" $(DEMO)
	cargo test $(ROCKSDB) --lib -- store
	cargo test $(ROCKSDB) $(ROCKSDB_TESTS)

# Nodes behind real NATs, in network namespaces. The binary is the one that `make test` builds.
test-nat:
	@scripts/setup natlab
	cargo build --locked -p peerstage --bin peerstage
	tests/natlab/matrix --binary "$$(scripts/target-dir)/debug/peerstage" $(NAT)

release:
	@scripts/setup rocksdb
	cargo build --locked --release -p peerstage --features rocksdb --bin peerstage
	@echo "built $$(scripts/target-dir)/release/peerstage"

# Counts instructions of hot functions and compares with benches/instructions/pinned.tsv.
bench-instructions:
	@scripts/setup instructions
	@scripts/bench-instructions

# Accepts the counts as they are now.
bench-instructions-pin:
	@scripts/setup instructions
	@scripts/bench-instructions pin

fuzz:
	@scripts/setup fuzz
	scripts/fuzz $(FUZZ_SECONDS)

# Peerstage beside other stacks; benches/peers/README.md says how to narrow it and how to read it.
bench:
	@scripts/setup bench
	cargo run --locked --release --quiet --manifest-path benches/peers/Cargo.toml -p peers

# Nodes under mixed load for SOAK_MINUTES (30): memory, descriptors and metric series stay flat.
soak:
	@scripts/setup demo
	MALLOC_ARENA_MAX=$(MALLOC_ARENA_MAX) CARGO_TARGET_DIR="$$(scripts/target-dir)" \
		cargo run --locked --quiet --manifest-path benches/soak/Cargo.toml

# The figures of ADR 0002 and ADR 0007, on this machine.
bench-primitives:
	@scripts/setup demo
	CARGO_TARGET_DIR="$$(scripts/target-dir)/primitives" \
		cargo run --locked --release --manifest-path benches/primitives/Cargo.toml

setup:
	@scripts/setup demo test rocksdb fuzz instructions bench
