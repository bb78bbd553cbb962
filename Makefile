# `make lab` runs the exercise end to end; `make test` runs the whole test suite. Both set everything up first.
# `make test-all` adds the tests that take many minutes each: about three hours and a half on two cores, six at most.
# `make fuzz` fuzzes every parser, ten minutes each; FUZZ='--seconds 30 --only snp' is less (tests/fuzz/README.md).
# What they need: Python 3.11 or later with its venv module, gcc and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: lab test test-all lint setup runtime packages all-packages clean
lab: setup
	$(BIN)/cloister lab --report lab-report.html

test: packages setup $(VENV)/.tpm lint
	$(BIN)/pytest

# LONG_MINUTES: of the session at a terminal, and of each of stress-ng's families; 60 is the hour that people spend.
LONG_MINUTES ?= 3
test-all: all-packages setup $(VENV)/.tpm lint
	CLOISTER_LONG_MINUTES=$(LONG_MINUTES) $(BIN)/pytest -m '' --session-timeout=21600 $(TEST)

# Sealing keys in a TPM are tested with swtpm; the binding is built with what `packages` installs.
$(VENV)/.tpm: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[tpm]'
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

setup: $(VENV)/.installed runtime

runtime:
	@$(MAKE) -s -C runtime

packages:
	@scripts/install-test-programs

all-packages:
	@scripts/install-test-programs --all

# Installing into the virtual environment needs the network (PyPI), once.
$(VENV)/.installed: pyproject.toml runtime/hatch_build.py
	@scripts/check-build-tools $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist
	$(MAKE) -C runtime clean

# Enclaved against native, measured, in 10 minutes; BENCH='--quick' takes about 4, BENCH='--help' explains.
.PHONY: bench
bench: all-packages setup
	$(BIN)/python -m benchmarks $(BENCH)

# Verifications per second, beside the bare signature checks and other verifiers; BENCH as above.
.PHONY: bench-verify
bench-verify: setup
	$(BIN)/python -m benchmarks.verify $(BENCH)

# Programs in emulated machines against the same programs natively; BENCH as above.
.PHONY: bench-emulate
bench-emulate: packages setup
	$(BIN)/python -m benchmarks.emulate $(BENCH)

# Attested beside plain TLS 1.3 handshakes, and appends to the audit log.
.PHONY: bench-tls bench-log
bench-tls: setup
	$(BIN)/python -m benchmarks.tls $(BENCH)
bench-log: setup
	$(BIN)/python -m benchmarks.audit_log $(BENCH)

# The shields against ordinary directories, other encryption of files, and nginx's own TLS; BENCH as above.
.PHONY: bench-shield
bench-shield: all-packages setup
	$(BIN)/python -m benchmarks.shield $(BENCH)

.PHONY: fuzz
fuzz: setup
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,fuzz]'
	$(BIN)/python -m tests.fuzz $(FUZZ)
