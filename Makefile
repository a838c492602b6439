# Everything runs inside .venv, which `make setup` makes from requirements.lock; each target below sets up what it needs.
PYTHON ?= python3
EXPERIMENT ?= digits_demo
# smoke, cpu or paper; presets that do not follow the scale ignore it.
SCALE ?= cpu
TRIALS ?= 20
OVERRIDES ?=
# What `make paper` runs, and how; OVERRIDES_<experiment> adds to one of them, for example
#   make paper SCALE=cpu OVERRIDES_cifar100="dataset=image_folder dataset.root=FOLDER"
PAPER ?= cifar10_single cifar10_several cifar10_baselines cifar10_sequential cifar100 $(VGGFACE) fast_retrain ablation_impair_rate \
	ablation_lambda ablation_retain_share ablation_repair_epochs ablation_fidelity ablation_learning_rates
# VGGFace must be asked for at its authors, so the larger scales take it only where its folder is named.
VGGFACE := $(if $(filter smoke,$(SCALE))$(OVERRIDES_vggface100),vggface100)
# Timings want a machine to themselves; smoke runs tell no times, and may share the cores.
LAUNCHER ?= $(if $(filter smoke,$(SCALE)),joblib,basic)
# Folders train/<class>/* and test/<class>/* of the images; without it torchvision downloads CIFAR-10.
DATA ?=
HEADLINE_DATA := $(if $(DATA),dataset=cifar10_png "dataset.root='$(DATA)'")
BENCH ?= multirun_outputs/bench
# What `make reproduce` does again: a run's folder, a record or FILE.jsonl:LINE.
RECORD ?= tests/golden/digits_run
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# cuda: the pair that requirements.lock pins, which works everywhere. cpu: the same releases from PyTorch's index of builds
# without CUDA, a few GB less; the lock has no hashes of these two, pip checks those that the index states.
# Without a choice: the one that .venv was made with. Another one sets .venv up again.
MADE_WITH := $(if $(wildcard $(VENV)/requirements-cpu.lock),cpu,cuda)
TORCH ?= $(MADE_WITH)
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
NOT_FOR_CPU := torch|torchvision|triton|cuda-[a-z-]+|nvidia-[a-z0-9-]+
define INSTALL_cuda
$(PIP_INSTALL) --require-hashes --requirement requirements.lock
rm -f $(VENV)/requirements-cpu.lock
endef
define INSTALL_cpu
awk '/^[a-z]/ { kept = !/^($(NOT_FOR_CPU))==/ } kept' requirements.lock > $(VENV)/requirements-cpu.lock
$(PIP_INSTALL) --require-hashes --no-deps --requirement $(VENV)/requirements-cpu.lock
$(PIP_INSTALL) --index-url $(TORCH_CPU_INDEX) --no-deps --requirement torch_pair.txt
endef

.DEFAULT_GOAL := help
.PHONY: help setup demo test coverage test-slow test-slurm lint sweep paper headline tuning figures report claims tables leaderboard docs dashboard bench reproduce lock clean another-torch

help: ## print this list
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(READY): requirements.lock pyproject.toml $(if $(filter $(MADE_WITH),$(TORCH)),,another-torch)
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); \
		ok or sys.exit("unsir-bench needs Python 3.11 to 3.13; this is %s. Choose one: make setup PYTHON=python3.12" % sys.version.split()[0])'
	@$(PYTHON) -m venv $(VENV) || { echo "No venv module: install it (Debian: apt-get install python3-venv) and run make again." >&2; exit 1; }
	$(if $(INSTALL_$(TORCH)),,$(error TORCH=$(TORCH): choose cuda or cpu))
	@rm -f $@
	$(INSTALL_$(TORCH))
	$(PIP_INSTALL) --no-deps --editable .
	$(BIN)/python -m unsir_bench.cli.install_check
	@touch $@

setup: $(READY) ## install the locked packages and this project into .venv (about 6 GB, once); TORCH=cpu: without CUDA

demo: setup ## sweep UNSIR, retraining and fine-tuning on handwritten digits and print the table (about 2 minutes)
	$(BIN)/unsir-bench -m experiment=digits_demo $(OVERRIDES)

test: setup ## run the tests (about 8 minutes on two idle cores)
	$(BIN)/python -m pytest -m "not slow"

coverage: setup ## the same with their coverage, which may not fall below its floor (a third longer)
	$(BIN)/python -m pytest -m "not slow" --cov --cov-report=term:skip-covered

test-slow: setup ## run the slow tests: sweeps, crashes, every how-to (11 minutes on two idle cores)
	$(BIN)/python -m pytest -m slow

test-slurm: setup ## test sweeps on a real Slurm: installs Debian's and starts it on this machine (root; a machine to spare)
	tests/sweeps/one_node_slurm.sh
	UNSIR_BENCH_TEST_SLURM=1 $(BIN)/python -m pytest -n 0 tests/sweeps/test_slurm.py

lint: setup ## check style (ruff), types (mypy), who imports whom (import-linter) and spelling (codespell)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

sweep: setup ## run a preset of conf/experiment: make sweep EXPERIMENT=cifar10_single SCALE=cpu OVERRIDES="seed=0,1"
	$(BIN)/unsir-bench -m experiment=$(EXPERIMENT) scale=$(SCALE) $(OVERRIDES)

paper: setup ## the paper's experiments and some of ours, then tables, claims, figures and page: make paper SCALE=smoke (15 minutes), cpu, paper
	@$(if $(VGGFACE),,echo "vggface100 is left out: name its images by OVERRIDES_vggface100=\"dataset.root=FOLDER\"";) status=0; \
	$(foreach experiment,$(PAPER),echo "$(experiment), scale $(SCALE)"; \
		$(BIN)/unsir-bench -m experiment=$(experiment) scale=$(SCALE) hydra/launcher=$(LAUNCHER) $(OVERRIDES) $(OVERRIDES_$(experiment)) || status=1;) \
	$(BIN)/unsir-report all $(PAPER:%=multirun_outputs/%_$(SCALE)) --output multirun_outputs/report_$(SCALE) || status=1; exit $$status

headline: setup ## UNSIR in the paper's own setting from nothing, on two CPU cores, no GPU: make headline DATA=FOLDER_OF_CIFAR10_IMAGES
	$(BIN)/unsir-bench train experiment=headline $(HEADLINE_DATA) $(OVERRIDES)
	$(BIN)/unsir-bench -m experiment=headline $(HEADLINE_DATA) $(OVERRIDES)
	$(BIN)/unsir-report all multirun_outputs/headline --output multirun_outputs/report_headline

tuning: setup ## choose the numbers of every method on held-out digits, with the same number of trials
	$(BIN)/unsir-bench tune --trials $(TRIALS) $(OVERRIDES)

figures: setup ## all tables, figures (PDF, PNG, CSV) and claims of your sweeps, or of docs/results before the first: make figures RECORDS=FOLDER
	$(BIN)/unsir-report all $(RECORDS)

report: setup ## tables and plots of every sweep as one page: make report RECORDS=multirun_outputs/digits_demo
	$(BIN)/unsir-report html $(RECORDS)

claims: setup ## which claims of the paper hold on the records: make claims RECORDS=multirun_outputs/digits_demo
	$(BIN)/unsir-report claims $(RECORDS)

tables: setup ## comparison tables as Markdown, LaTeX and CSV, and all runs as CSV
	$(BIN)/unsir-report tables $(RECORDS)

leaderboard: setup ## rank the methods of docs/results and submissions as a site that opens from disk: site/leaderboard
	$(BIN)/unsir-report leaderboard docs/results $(wildcard submissions) --output site/leaderboard

docs: setup ## build the documentation into site/docs, which opens from disk (installs the extra `site`)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[site]'
	DISABLE_MKDOCS_2_WARNING=true $(BIN)/python -m mkdocs build --strict

dashboard: setup ## publish a Weights & Biases workspace and report that compare methods; without a key, write them as JSON
	$(BIN)/python -m unsir_bench.tracking.dashboard $(OVERRIDES)

bench: setup ## time what decides a job's speed, each beside its plain twin or its floor, into multirun_outputs/bench (a long while)
	$(BIN)/python -m tests.benchmarks.step_times
	$(BIN)/python -m tests.benchmarks.overhead_times --json $(BENCH)/overhead.json
	$(BIN)/python -m tests.benchmarks.unsir_times --json $(BENCH)/unsir.json
	$(BIN)/python -m tests.benchmarks.floor --json $(BENCH)/floor.json
	$(BIN)/python -m tests.benchmarks.cost_growth --json $(BENCH)/cost_growth.json --figure $(BENCH)/cost_growth
	$(BIN)/python -m tests.benchmarks.fisher_times --json $(BENCH)/fisher.json

reproduce: setup ## do the committed run of digits again, training included, and compare bit by bit: make reproduce RECORD=FOLDER
	$(BIN)/unsir-bench reproduce $(RECORD) --fresh

lock: setup ## renew requirements.lock from pyproject.toml (asks the package index)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 pyproject.toml \
		--extra report --extra data --extra tune --extra launchers --extra ray --extra private --extra site --extra dev \
		--constraint torch_pair.txt --generate-hashes --no-header --no-annotate --output-file requirements.lock

clean: ## remove caches and built files; never data, records or trained models
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage*
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
