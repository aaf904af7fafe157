# Every command that people and CI use. All set-up is done here; nothing has to be prepared by hand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := vnode federation tests demo

.PHONY: help demo demo-down test lint format types contracts unit micro e2e conformance load reliability chaos bench bench-large bench-far profile eci-scale programs clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "== Python environment in $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --no-build-isolation -e .
	@touch $@

demo: $(VENV)/.ready ## Start a tenant and two compute clusters, run the whole story, leave them running; or BURST=1
	@$(BIN)/python -m demo $(if $(BURST),burst,up $(if $(AGENT),--agent '$(AGENT)'))

demo-down: $(VENV)/.ready ## Remove everything that `make demo` started
	@$(BIN)/python -m demo down

test: lint types contracts unit micro e2e ## All of the below: what CI runs

lint: $(VENV)/.ready ## Style
	@echo "== lint"
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)

types: $(VENV)/.ready ## mypy --strict
	@echo "== types"
	@$(BIN)/mypy

contracts: $(VENV)/.ready ## Import contracts
	@echo "== import contracts"
	@$(BIN)/lint-imports

unit: $(VENV)/.ready ## Unit tests, without clusters
	@echo "== unit tests"
	@$(BIN)/pytest -n auto tests/unit

micro: $(VENV)/.ready ## What the hot path costs, piece by piece, compared with a reference loop
	@echo "== micro-benchmarks"
	@$(BIN)/pytest -q tests/micro --benchmark-columns=min,median --benchmark-sort=name

e2e: $(VENV)/.ready ## Tests on real control planes and, where root allows it, real containers; TWIN=1: beside second tenants
	@echo "== Kubernetes' programs (fetched or built once)"
	@$(BIN)/python -m tests.clusters programs
	@echo "== end-to-end tests"
	@$(BIN)/python -m tests.e2e $(if $(TWIN),--twin)
	@echo "== virtual-kubelet's own end-to-end suite"
	@$(BIN)/pytest tests/conformance

conformance: $(VENV)/.ready ## Judges of others, directly and through a virtual node; about 40 minutes
	@$(BIN)/python -m tests.conformance $(if $(LIST),--list '$(LIST)') $(if $(FOCUS),--focus '$(FOCUS)') $(if $(PROCS),--processes '$(PROCS)')

load: $(VENV)/.ready ## 1,000 exec sessions, 1 GiB each way, 5 minutes of nonsense; a quarter of an hour
	@$(BIN)/python -m tests.load all

reliability: $(VENV)/.ready ## Outage and absence of 15 minutes, takeover, and more; 50 minutes
	@$(BIN)/python -m tests.reliability $(or $(WHAT),all)

chaos: $(VENV)/.ready ## Faults of every kind under a mixed workload, judged from audit logs; 200 rounds take half an hour
	@$(BIN)/python -m tests.chaos --rounds $(or $(ROUNDS),20) $(if $(SEED),--seed $(SEED)) $(CHAOS)

bench: $(VENV)/.ready ## How close to the API servers' own speed; an hour, or N=1000 for a quick look
	@$(BIN)/python -m tests.bench $(or $(WHAT),all) $(if $(N),--pods $(N) --rounds 1 --tenants 10 --clusters 2,--write docs/benchmarks) $(BENCH)

bench-large: $(VENV)/.ready ## The same with 10,000 pods: their way to Ready, rest and restart
	@$(BIN)/python -m tests.bench speed restart --pods 10000 --rounds 1 --write docs/benchmarks/10000 $(BENCH)

bench-far: $(VENV)/.ready ## The same with 20 and 100 ms between the clusters
	@$(BIN)/python -m tests.bench distance --write docs/benchmarks/distance $(BENCH)

profile: $(VENV)/.ready ## Where the agent's processor time and memory go on the way of 1,000 pods
	@$(BIN)/python -m tests.bench profile --write docs/benchmarks/profile $(BENCH)

eci-scale: $(VENV)/.ready ## 1,000 container groups at once at the limits of ECI; a quarter of an hour
	@$(BIN)/python -m tests.eci scale $(if $(N),--groups $(N))

programs: $(VENV)/.ready ## Only fetch or build Kubernetes' programs
	@$(BIN)/python -m tests.clusters programs

format: $(VENV)/.ready ## Rewrite the sources in the project's style
	@$(BIN)/ruff check --fix --quiet $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

clean: ## Remove the Python environment
	rm -rf $(VENV)
