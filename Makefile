# Every target sets up what it needs, system libraries included.
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export OMP_NUM_THREADS := 1
# Open MPI, where DOLFINx comes with it: as root in containers, more ranks than cores.
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
export PRTE_MCA_rmaps_default_mapping_policy := :oversubscribe
# Compiled forms in a folder of their own: a killed run elsewhere cannot leave its locks here.
CACHE := XDG_CACHE_HOME=$(CURDIR)/.cache

# MPI has 2048 communicators: tests on two ranks run in parts, by their first letters.
PARTS := [a-c] dem d[ei][na] [e-l] m [n-r] s [t-z]

.PHONY: help env demo test lint docs bench claims clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

env: .venv/.env ## the environment in .venv, nothing else

demo: .venv/.env ## a machine part flows by mean curvature, one energy by two metrics
	$(CACHE) mpirun -n 2 python demos/mean_curvature.py
	$(CACHE) mpirun -n 2 python demos/one_energy_two_metrics.py
	@echo "The pictures:"; find "$(CURDIR)/output" -name '*.png' -o -name '*.gif' -o -name '*.mp4'

test: .venv/.env ## the whole suite on one rank and on two, its parallel core on three
	$(CACHE) python -m pytest -p no:cacheprovider --numprocesses 2 --dist worksteal
	for part in $(PARTS); do $(CACHE) mpirun -n 2 python -m pytest -p no:cacheprovider tests/test_$$part*.py || exit; done
	$(CACHE) mpirun -n 3 python -m pytest -p no:cacheprovider -m three_ranks

lint: .venv/.lint ## ruff and mypy
	ruff check
	ruff format --check
	mypy

docs: .venv/.docs ## the pages, in docs/_build
	$(CACHE) python -m sphinx -W --keep-going docs docs/_build

bench: .venv/.env .venv-peers/.env ## time flows and its peers side by side, rewrite docs/benchmarks.md
	$(CACHE) python tests/benchmarks/peers/run.py

claims: .venv/.env ## measure the claims that need minutes, rewrite docs/claims.md
	$(CACHE) python docs/claims.py

clean: ## remove all that the other targets made, the environment too
	rm -rf .venv .venv-peers .cache output docs/_build docs/gallery dist .hypothesis .mypy_cache .pytest_cache .ruff_cache

.venv/.env: pyproject.toml docker/environment.sh
	docker/environment.sh
	@touch $@

.venv-peers/.env: tests/benchmarks/peers/requirements.txt tests/benchmarks/peers/environment.sh
	tests/benchmarks/peers/environment.sh
	@touch $@

.venv/.lint .venv/.docs: .venv/.%: .venv/.env
	python -m pip install --quiet --group $*
	@touch $@
