# make help says what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
DATA ?=
PORT ?= 8000
RUN_ARGS ?=
REWRITTEN ?= $(wildcard $(dir $(DATA))counterfactual)
BENCH_ARGS ?=
ARTIFACT ?=
DURATION ?= 600
KILLS ?= 300
PACKAGES := pipeline steps model inference lambda/predict_api lambda/deploy_model benchmarks

# Tools whose pins clash with ours: an environment each.
TOOLS := awscli hadolint schemathesis

.PHONY: help setup run serve test lint scan bench bench-preprocess bench-explain bench-serve bench-local soak load lock clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

.venv/ready: requirements/base.lock requirements/torch.lock requirements/cuda.lock requirements/install.sh
	@requirements/install.sh
	@touch .venv/ready

.tools/%/ready: requirements/tools/%.lock
	@python3 -m venv .tools/$*
	@.tools/$*/bin/python -m pip --quiet --quiet --disable-pip-version-check install --require-hashes --no-deps -r $<
	@touch $@

setup: .venv/ready  ## make .venv from the lock files, once

run: setup  ## the whole pipeline, approved and served; DATA=an archive, a folder, s3://… or imdb
	@.venv/bin/sentiment run --approve $(if $(DATA),--data "$(DATA)") $(RUN_ARGS)

serve: setup  ## website and API of the approved version on http://127.0.0.1:8000 (PORT=…)
	@.venv/bin/sentiment serve --port $(PORT)

lint: setup  ## style and types
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy $(PACKAGES)

test: lint $(TOOLS:%=.tools/%/ready)  ## style, types and every test, with coverage
	@.venv/bin/python -m pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered

bench: setup  ## accuracy, robustness and speed over three seeds; DATA=an archive, REWRITTEN=a folder with train.tsv and dev.tsv (counterfactual/ beside DATA)
	@.venv/bin/python -m benchmarks.accuracy "$(DATA)" $(if $(REWRITTEN),--rewritten "$(REWRITTEN)") $(BENCH_ARGS)

bench-preprocess: setup  ## reviews a second from archive to shards, and memory at ten times the reviews; DATA=an archive
	@.venv/bin/python -m benchmarks.preprocess preprocess-speed "$(DATA)"
	@.venv/bin/python -m benchmarks.preprocess preprocess-memory "$(DATA)"

bench-explain: setup  ## whether the words that are shown decided; ARTIFACT=a model directory, DATA=an archive
	@.venv/bin/python -m benchmarks.explain "$(ARTIFACT)" "$(DATA)"

bench-serve: setup  ## how fast a review is judged, beside the ancestor's method; ARTIFACT=a model directory
	@.venv/bin/python -m benchmarks.serve $(if $(ARTIFACT),--artifact "$(ARTIFACT)")

load: setup  ## the API at its limit, at twice its limit, and when the model is killed; DURATION=600 seconds
	@.venv/bin/python -m benchmarks.limits --seconds $(DURATION) $(if $(ARTIFACT),--artifact "$(ARTIFACT)")

scan: setup .tools/scan/ready  ## cfn-lint, checkov, hadolint, pip-audit, ruff's security rules
	@requirements/scan.sh

soak: setup  ## long proofs: the deploy function's states, kill -9 at KILLS random moments
	@SOAK_RUNS=1000 SOAK_STEPS=50 .venv/bin/python -m pytest tests/deploy_model/test_convergence.py -n 0
	@LOCAL_ACCOUNT_SOAK=$(KILLS) .venv/bin/python -m pytest tests/pipeline/local/test_kill.py -n 2

bench-local: setup  ## what the local account itself costs: runs, cache, scheduling, listing, describing
	@.venv/bin/python -m benchmarks.local

lock: setup  ## resolve the dependencies of pyproject.toml anew (needs uv)
	@.venv/bin/python requirements/lock.py

clean:  ## delete .venv and everything that was made; not .sentiment, which holds your runs
	@rm -rf .venv .tools build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage test-output
