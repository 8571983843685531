# make demo and make test need nothing but Python (3.11 or 3.12), a C++ compiler and the package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
# What a person wrote. .pre-commit-config.yaml checks the same before a commit.
TEXT := fna_mm configs tests tools docs hatch_build.py *.md *.yml *.toml .pre-commit-config.yaml Makefile
export PYTHONUNBUFFERED = 1

.PHONY: install demo bench ablations paper test test-slow coverage faults soak lint clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "== fna_mm: installing into $(VENV) (once). PyTorch is downloaded, then mmcv's operators are"
	@echo "== compiled: about 9 minutes on two cores the first time; pip keeps the wheel for the next one."
	@$(PYTHON) -c "import sys; assert (3, 11) <= sys.version_info < (3, 13), 'Python 3.11 or 3.12 is needed, this is ' + sys.version"
	$(PYTHON) -m venv $(VENV)
	@echo "== 1/4 PyTorch and build tools"
	$(PIP) install -q -c constraints.txt setuptools wheel ninja torch numpy
	@echo "== 2/4 mmcv with its operators: `date +%H:%M:%S`, be patient"
	$(PIP) install -q -c constraints.txt --no-build-isolation mmcv
	@echo "== 3/4 mmdetection, mmsegmentation, fna_mm: `date +%H:%M:%S`"
	$(PIP) install -q -c constraints.txt -e '.[det,seg,onnx,dev]'
	@echo "== 4/4 mim"
# Without its dependencies: two of them pin a setuptools that conflicts with PyTorch.
	$(PIP) install -q -c constraints.txt colorama tabulate requests pandas model-index
	$(PIP) install -q -c constraints.txt --no-deps openmim
	@touch $@
	@echo "== installed: `date +%H:%M:%S`"

demo: install
	$(BIN)/fna demo

bench: install
	$(BIN)/python -m tools bench --out work_dirs/bench.json

# The paper's tables 5 and 6 on CamVid, in data/camvid; SEED=mobilenet_v2.pth takes the seed from a file.
ablations: install
	$(BIN)/python -m tools ablate configs/ablations/camvid/*.py --seeds 0 1 --jobs 2 --out work_dirs/ablations.json \
		$(if $(SEED),--seed-checkpoint $(SEED))

# Every model of the paper, counted, beside its published figures.
paper: install
	$(BIN)/python -m tools paper

# One process a core, up to four. Each takes a share of the tests in their order, so that most tests of a file stay
# together with what their fixtures have built, and one that is done takes over from the others.
PYTEST := $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal

test: install
	$(PYTEST)

test-slow: install
	$(PYTEST) --dist loadfile -m 'slow and not faults and not soak'

coverage: install
	$(PYTEST) -m 'not faults and not soak' --cov --cov-report=term --cov-report=html:work_dirs/coverage

faults: install
	$(BIN)/python -m pytest -q -m faults

soak: install
	$(BIN)/python -m pytest -q -m soak

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell $(TEXT)
	@echo "== files end in a newline, lines in no blank"
	@! git grep -nIE '[[:space:]]+$$' -- $(TEXT) ':!docs/results'
	@! git grep -lIz '' -- $(TEXT) ':!docs/results' | xargs -0 -n1 sh -c 'test -z "$$(tail -c1 "$$0")" || echo "$$0"' | grep .

clean:
	rm -rf $(VENV) build dist
