# Two commands: `make bench` (set up, compare five systems, write the report) and `make test` (set up, test everything).
# What measures or loads the machine runs under one lock, so that two of them never disturb each other.
SHELL := /bin/bash
PYTHON := .venv/bin/python
LOCK := flock .measuring.lock
SCENARIO ?= order-events
# Tests that look at speed, or at what a busy machine would blur: they have it for themselves, one after another.
ALONE := $(patsubst %,tests/integration/test_%.py,backlog capacity faults invalid_trials kills overhead_verb run_max)
# The others wait for servers and for their own clocks more than they compute: one worker more than there are cores.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

.PHONY: bench test check setup setup-dev setup-check overhead guarantees clean

bench: setup
	$(LOCK) .venv/bin/brokerbench run $(SCENARIO)

test: setup-dev
	$(LOCK) $(MAKE) --no-print-directory lint
	$(LOCK) $(PYTHON) -m pytest tests $(addprefix --ignore ,$(ALONE)) -n $(WORKERS) --dist loadgroup
	$(LOCK) $(PYTHON) -m pytest $(ALONE)

# Lint, types, unit tests: no servers, under three minutes.
check: setup-check lint
	$(PYTHON) -m pytest tests/unit tests/test_architecture.py -m "not server"

.PHONY: lint
lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

# The harness against bare loops of the same clients, interleaved: docs/method.md, "The harness's own cost". SPECS="zeromq tcp" for two.
overhead: setup
	$(LOCK) .venv/bin/brokerbench overhead $(SPECS)

# A dozen cells of (system, mode, fault) on what starts fast, under three minutes: docs/guarantees.md, "The matrix".
guarantees: setup
	$(LOCK) .venv/bin/brokerbench guarantees --quick $(SPECS)

# Long measurements that show whether the figures can be trusted: docs/method.md, "Evidence". Under the lock, resumable (Ctrl-C, a
# crash: the same command goes on), never in CI. EVIDENCE=--quick for a smoke test; evidence-guarantees takes systems: EVIDENCE="kafka sqs".
.PHONY: evidence evidence-aa evidence-guarantees evidence-power evidence-overhead evidence-calibration evidence-scale evidence-kills evidence-audit evidence-gate evidence-ladders evidence-cluster evidence-scaling evidence-reference
evidence: ## this list
	@awk -F ':.*## ' '/^evidence[a-z-]*:/ {printf "make %-22s %s\n", $$1, $$2}' Makefile

evidence-aa: setup ## verdicts on two equal sides: 40 runs, 25 minutes
	$(LOCK) $(PYTHON) -m benchmarks.evidence.aa $(EVIDENCE)

evidence-power: setup ## which slowdowns are found, after how long: 30 runs, 30 minutes
	$(LOCK) $(PYTHON) -m benchmarks.evidence.power $(EVIDENCE)

evidence-scale: setup ## a hundred million messages five ways: memory, journals, analysis; about 8 minutes
	$(LOCK) $(PYTHON) -m benchmarks.scale --json results/runs/scale.json

evidence-guarantees: setup ## what each mode loses and repeats under each fault, with bounds: up to 100 minutes
	$(LOCK) $(PYTHON) -m benchmarks.evidence.guarantees $(EVIDENCE)

evidence-cluster: setup ## twenty kills of each cluster's leader: what is lost, how long nothing is acknowledged; about 55 minutes
	$(LOCK) $(PYTHON) -m benchmarks.evidence.cluster $(EVIDENCE)

evidence-scaling: setup ## what a broker, a copy, a message cost (scenarios/copies.yaml), and the tables of docs/scale.md: about 4 minutes
	$(LOCK) $(PYTHON) -m benchmarks.scaling --write docs/scale.md

evidence-reference: setup ## order-events over every system and variant, and what dies beneath them; docs/reference-report.md: about 55 minutes
	$(LOCK) $(PYTHON) -m benchmarks.evidence.reference $(EVIDENCE)

evidence-kills: setup ## SIGKILL of runner, endpoints, servers, watchdog: 200 at random moments, about 5 minutes
	$(LOCK) $(PYTHON) -m benchmarks.evidence.kills $(EVIDENCE)

evidence-gate: setup ## the gate on equal sides and on known slowdowns: 100 gates, about 95 minutes
	$(LOCK) $(PYTHON) -m benchmarks.evidence.gate $(EVIDENCE)

evidence-overhead: setup ## the harness against bare loops: every adapter and profile, ten rounds, about 20 minutes
	$(LOCK) $(PYTHON) -m benchmarks.evidence.overhead $(EVIDENCE)

evidence-audit: setup-dev ## the accountant on 100,000 schedules, each accounted in three ways: about 20 minutes
	$(LOCK) $(PYTHON) -m benchmarks.evidence.audit $(EVIDENCE)

evidence-ladders: setup ## what each step of the ladders costs and buys: latency, CPU, capacity, kills; about 35 minutes
	$(LOCK) $(PYTHON) -m benchmarks.evidence.ladders $(EVIDENCE)

evidence-calibration: setup ## live figures against a fake server's own times, and what a stall looks like: 12 minutes
	$(LOCK) .venv/bin/brokerbench calibrate --live $(EVIDENCE)

# The report of the committed runs in headless Chromium, as it stands in README.md and docs/report.md.
.PHONY: pictures
pictures:
	@tools/setup dev browser
	$(PYTHON) tests/browser/pictures.py

setup:
	@tools/setup

setup-dev:
	@tools/setup dev

setup-check:
	@tools/setup dev no-servers

clean:
	rm -rf .venv dist build
