# Each target first makes .venv and installs what it needs, once; after that it starts at once.
#   make demo    evaluates the demo checkpoint
#   make test    runs the tests
#   make check   ruff and mypy
#   make bench   measures the harness

PYTHON ?= python3
DEMO ?= .venv/bin/evalkit run --model demo --tasks shapes --protocol grit --limit 96

# A Linux machine without an NVIDIA GPU takes exact versions; every other machine takes what pip finds.
EXACT = setup/constraints-linux-cpu.txt
CONSTRAINTS = $(shell [ "$$(uname -s)" != Linux ] || nvidia-smi -L >/dev/null 2>&1 || echo --constraint $(EXACT))

.PHONY: demo test check bench

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
