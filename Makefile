# `make` lists the targets. PYTHON is the interpreter that ./facewarden set up.
PYTHON ?= .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help check format lint types test weekly faults lock figures demo clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

check: format lint types test  ## format, lint, types, tests

format:  ## is everything formatted? (`make format FIX=1` formats)
	$(PYTHON) -m ruff format $(if $(FIX),,--check) . facewarden

lint:  ## ruff
	$(PYTHON) -m ruff check $(if $(FIX),--fix,) . facewarden

types:  ## mypy --strict
	$(PYTHON) -m mypy

test:  ## the tests
	./facewarden test

weekly: faults  ## what takes too long for every change (as root)

faults:  ## faults of disk, clock, network and processes under real processes (20 minutes, as root; ONLY=NAME: one of them)
	$(PYTHON) -m bench.faults $(if $(ONLY),--only $(ONLY),) --json bench/out/faults.json

lock:  ## both locks from pyproject.toml and overrides.txt (needs uv: pip install uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--extra test --override overrides.txt --quiet pyproject.toml -o requirements.lock
	echo 'onnxruntime-gpu[cuda,cudnn]<2' | uv pip compile --python-version 3.11 --generate-hashes --no-emit-index-url \
		--python-platform x86_64-manylinux_2_28 --no-header --constraint requirements.lock \
		--no-emit-package flatbuffers --no-emit-package numpy --no-emit-package packaging --no-emit-package protobuf \
		--quiet - -o requirements-gpu.lock

figures:  ## README's figures, measured on this commit (FACES=DIR: on real faces, disturbed and replayed too)
	$(PYTHON) -m bench.figures $(if $(FACES),--faces $(FACES) --all,)

demo:  ## the demo, to the end
	./facewarden demo --exit

clean:  ## what tools leave behind, the virtual environment excepted
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis bench/out
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
