# Each target first makes .venv and installs what it needs, once; after that it starts at once.
#   make demo    evaluates the demo checkpoint
#   make test    runs the tests
#   make check   ruff and mypy
#   make bench   measures the harness
#   make test-oldest  runs the core of the tests on the oldest versions supported
#   make faults  kills it, lies to it, and counts what is lost

PYTHON ?= python3
DEMO ?= .venv/bin/evalkit run --model demo --tasks shapes --protocol grit --limit 96

# A Linux machine without an NVIDIA GPU takes exact versions; every other machine takes what pip finds.
EXACT = setup/constraints-linux-cpu.txt
CONSTRAINTS = $(shell [ "$$(uname -s)" != Linux ] || nvidia-smi -L >/dev/null 2>&1 || echo --constraint $(EXACT))

.PHONY: demo test check bench faults test-oldest

demo: .venv/ready
	$(DEMO)

test: .venv/tested
	.venv/bin/python -m pytest

check: .venv/ready
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy --strict evalkit

bench: .venv/tested
	.venv/bin/python -m tests.bench

# atheris has wheels for some machines only; where there is none its row says that it was not tried.
faults: .venv/tested
	-.venv/bin/python -c 'import atheris' 2>/dev/null || \
		.venv/bin/python -m pip install --disable-pip-version-check --no-input --quiet $(CONSTRAINTS) 'atheris>=3'
	.venv/bin/python -m tests.faults

test-oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --disable-pip-version-check --no-input --constraint setup/oldest.txt \
		--editable '.[transformers,segmentation,math,video,dev]'
	.venv-oldest/bin/python setup/mend_torchvision.py
	.venv-oldest/bin/python -m pytest tests/metrics tests/demo/test_checkpoint.py tests/report/test_plots.py \
		$(foreach part,images data rle stats scoring cli video,tests/test_$(part).py) \
		$(foreach part,encoding openai openai_failures transformers sam2,tests/contract/test_$(part).py)

.venv/ready: pyproject.toml $(EXACT) $(wildcard setup/*.py)
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("evalkit needs Python 3.11 or later; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --disable-pip-version-check --no-input $(CONSTRAINTS) --editable '.[transformers,dev]'
	.venv/bin/python setup/mend_torchvision.py
	touch $@

# What only the tests need: vLLM's CPU build and Ray, where exact versions are taken; without them their tests are skipped.
.venv/tested: .venv/ready
	@[ -z "$(CONSTRAINTS)" ] || .venv/bin/python setup/engines_on_cpu.py $(EXACT)
	touch $@
