# The only task runner of loopcron. Needs python3 >= 3.11 with pip and venv, git and make; all else it installs into .venv.

PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
SERVER ?= starlette
PACKAGES := loopcron loopcron_starlette loopcron_aiohttp
FLAKES   ?= 20
# Further arguments for pytest, such as: make test ARGS="tests/core -k every"
ARGS   ?=
# COVER=1 measures coverage in the same test run; "make cover-report" judges it.
COVER  ?=
PYTEST := $(PY) $(if $(COVER),-m coverage run) -m pytest
# How many cases of each seed "make proof-cron" judges.
CASES  ?= 200000
SEEDS  ?= 1
# Where "make screenshots" puts its pictures.
SHOTS   ?= $(VENV)/screenshots
# Which ledgers "make proof-ledger" tries, and how; PROOF=--short is what the gate does.
LEDGERS ?= sqlite postgres redis
PROOF   ?= --seeds 1 2 3
# Which targets "make bench" measures, such as ONLY=P10,P11; and what "make bench-page" writes the page of: several
# files, the latest last, if some targets were measured anew.
ONLY   ?=
FROM   ?= build/bench-full.jsonl
# Others that have an environment of their own each.
PEERS_APART := $(patsubst tests/peers/requirements-%.txt,.venv-peers-%,$(wildcard tests/peers/requirements-*.txt))
# The folders whose tests need no server, so that they can be run often and on every interpreter.
QUICK  = $(wildcard tests/core tests/property)

PIP_INSTALL = -m pip install --quiet --disable-pip-version-check

# Many tests start interpreters, each of which would compile loopcron anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test lint types wheel docs tables cover cover-report versions version flakes proof-cron peers \
  bench bench-full bench-page bench-profile bench-ledger bench-observers bench-scale proof-ledger screenshots size clean setup

help: ## List the targets
	@echo "make <target>, where <target> is one of:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

# Which extras each one holds, itself included.
HOLDS.demo = demo
HOLDS.test = test demo
HOLDS.dev  = dev test demo

# Stamps: an extra is installed anew only when pyproject.toml changed, so that a second start costs nothing.
$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "loopcron needs Python 3.11 or later, and $(PYTHON) is" \
	    "$$($(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null || echo 'not there');" \
	    "name another one: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@echo "Setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }  # a half-made one would count as made the next time

$(VENV)/.demo $(VENV)/.test $(VENV)/.dev: $(VENV)/.%: pyproject.toml | $(PY)
	@echo "Installing loopcron[$*] into $(VENV)"
	@$(PY) $(PIP_INSTALL) --editable '.[$*]'
	@touch $(addprefix $(VENV)/.,$(HOLDS.$*))

# What judges whether everybody can use the status page. Without npm or a network its tests say that they miss it.
AXE := $(VENV)/axe/node_modules/axe-core/axe.min.js
$(AXE): | $(PY)
	@! command -v npm >/dev/null || { echo "Installing axe-core into $(VENV)/axe"; \
	  npm install --silent --no-audit --no-fund --fetch-retries=0 --ignore-scripts --prefix $(VENV)/axe axe-core@4; } || \
	  echo "npm could not install axe-core; the tests that need it will say so" >&2

demo: $(VENV)/.demo ## Run the demo app; SERVER=starlette or aiohttp, DEMO_SECONDS=n ends it by itself
	@$(PY) docs/examples/demo.py --server $(SERVER)

test: $(VENV)/.test $(AXE) ## Run all tests; ARGS="…" goes to pytest, COVER=1 measures coverage
	@rm -f $(if $(COVER),.coverage .coverage.*)
	@$(PYTEST) $(ARGS)

lint: $(VENV)/.dev ## Check style and format with ruff
	@status=0; $(PY) -m ruff check . || status=1; $(PY) -m ruff format --check . || status=1; exit $$status

types: $(VENV)/.dev ## Check types: mypy on everything, basedpyright on the public API's examples
	@status=0; $(PY) -m mypy || status=1; $(PY) -m basedpyright || status=1; exit $$status

wheel: $(VENV)/.dev ## Build sdist and wheel into dist/, and check what they hold
	@rm -rf dist
	@$(PY) -m build --outdir dist . >$(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }
	@$(PY) .ci/check_wheel.py dist $(PACKAGES)

docs: $(VENV)/.dev ## Build the documentation into docs/_build, every warning an error
	@rm -rf docs/_build
	@$(PY) -m sphinx --quiet --fail-on-warning --keep-going --builder html docs docs/_build/html
	@echo "docs/_build/html/index.html"

tables: $(VENV)/.test ## Write the decision tables into the page on semantics; the tests check that they stand there
	@$(PY) -m tests.docs.tables

cover: ## Run all tests under coverage and ask for 100 % of lines and branches
	@$(MAKE) --no-print-directory test COVER=1
	@$(MAKE) --no-print-directory cover-report

cover-report: $(VENV)/.test ## Judge the coverage that "make test COVER=1" measured
	@$(PY) -m coverage combine --quiet
	@$(PY) -m coverage report

versions: ## Run the core and property tests on Python 3.12 and 3.13, where found
	@failed=; for version in 3.12 3.13; do \
	  found=; \
	  for candidate in python$$version $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version*/bin/python$$version; do \
	    "$$candidate" -c '' 2>/dev/null && { found=$$candidate; break; }; \
	  done; \
	  if [ -z "$$found" ]; then echo "no python$$version here"; continue; fi; \
	  echo "python$$version:"; \
	  $(MAKE) --no-print-directory version VENV=.venv-$$version PYTHON="$$found" || failed="$$failed $$version"; \
	done; \
	[ -z "$$failed" ] || { echo "failed on Python$$failed" >&2; exit 1; }

# One interpreter of "versions", in a venv of its own.
version: $(VENV)/.test
	@$(PY) -m pytest --quiet -p no:cacheprovider $(QUICK) $(ARGS)

flakes: $(VENV)/.test ## Repeat the core, property and shell tests 20 times, each time with another seed
	@for turn in $$(seq $(FLAKES)); do \
	  echo "turn $$turn of $(FLAKES)"; \
	  $(PY) -m pytest --quiet -p no:cacheprovider --hypothesis-seed=$$turn $(QUICK) $(wildcard tests/shell) $(ARGS) || exit 1; \
	done

bench: $(VENV)/.test ## Measure every target beside the bare event loop, in six minutes; of some of them: ONLY=P10,P11
	@$(PY) -m tests.benchmarks $(if $(ONLY),--only $(ONLY)) $(ARGS)

bench-full: $(VENV)/.test $(addsuffix /.ready,.venv-peers $(PEERS_APART)) ## The same beside all others of its kind; takes 20 to 25 minutes
	@$(PY) -m tests.benchmarks --full --out build/bench-full.jsonl $(if $(ONLY),--only $(ONLY)) $(ARGS)

bench-page: $(VENV)/.test ## Write what was measured into the page on performance; of other figures: FROM=build/bench.jsonl
	@$(PY) -m tests.benchmarks.page $(FROM)

bench-profile: $(VENV)/.test ## Count the bytecodes of a run, by file and by function
	@$(PY) -m tests.benchmarks.bytecodes

bench-ledger: $(VENV)/.test ## Measure what the calls of each ledger and its ticks cost; in short: ARGS=--short
	@$(PY) -m tests.benchmarks.ledgers $(ARGS)

bench-scale: $(VENV)/.test ## Measure and simulate what many workers cost a ledger, and write docs/scale.md; ARGS=--short only prints
	@$(PY) -m tests.benchmarks.scale $(ARGS)

bench-observers: $(VENV)/.test ## Measure what each observer, and all of them, cost per run; in short: ARGS=--short
	@$(PY) tests/benchmarks/observers.py $(ARGS)

proof-cron: $(VENV)/.test ## Judge the cron engine by the minute oracle: 200,000 cases of seed 1; in short: CASES=20000 SEEDS="1 2 3"
	@$(PY) -m tests.cron.prove --cases $(CASES) --seeds $(SEEDS)

proof-ledger: $(VENV)/.test ## Prove with real processes, stores and faults that no slot starts twice; in short: PROOF=--short
	@$(PY) -m tests.proof --ledger $(LEDGERS) $(PROOF)

screenshots: $(VENV)/.test ## Take pictures of the status page, light, dark and on a phone, into SHOTS=.venv/screenshots
	@$(PY) -m tests.browser.pictures $(SHOTS)

# All others have environments of their own, so that none of them is a dependency of ours; some stand no others beside them.
define others
	@echo "Installing others into $(@D)"
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python $(PIP_INSTALL) --requirement $<
	@touch $@
endef

.venv-peers/.ready: tests/peers/requirements.txt
	$(others)

$(addsuffix /.ready,$(PEERS_APART)): .venv-peers-%/.ready: tests/peers/requirements-%.txt
	$(others)

peers: .venv-peers/.ready ## Compare with other cron engines: writes the table in docs/semantics.md
	@.venv-peers/bin/python -m tests.peers.compare

size: ## Print the code lines of the core; blanks, comments and docstrings not counted
	@$(PYTHON) .ci/size.py

clean: ## Remove all that the targets above have made, the virtual environments too
	rm -rf .venv .venv-* dist build docs/_build .coverage .coverage.* .hypothesis \
	  .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
