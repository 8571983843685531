# make demo and make test need nothing but Python (3.11 or 3.12), a C++ compiler and the package index.
PYTHON ?= python3
# Which line of mm: openmmlab (mmcv 2.1, mmdet 3.3, mmsegmentation 1.2) or onedl, the maintained one (onedl-mmcv 2.3,
# onedl-mmdetection 3.5, onedl-mmsegmentation 1.4). Each has its own environment: make test MM=onedl.
MM ?= openmmlab
ifeq ($(MM),openmmlab)
VENV := .venv
CONSTRAINTS := constraints.txt
MMCV := mmcv
EXTRAS := det,seg
MIM := openmim
else ifeq ($(MM),onedl)
VENV := .venv-onedl
CONSTRAINTS := constraints-onedl.txt
MMCV := onedl-mmcv
EXTRAS := onedl-det,onedl-seg
MIM := onedl-mim
else
$(error MM must be openmmlab or onedl, not $(MM))
endif
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
# What a person wrote. .pre-commit-config.yaml checks the same before a commit.
TEXT := fna_mm configs tests tools docs hatch_build.py *.md *.yml *.toml .pre-commit-config.yaml Makefile
export PYTHONUNBUFFERED = 1

.PHONY: install docs demo bench ablations evidence paper test test-slow coverage faults soak fuzz lint clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	@echo "== fna_mm: installing into $(VENV) (once). PyTorch is downloaded, then the operators of $(MMCV) are"
	@echo "== compiled: about 4 minutes on two cores the first time; pip keeps the wheel for the next one."
	@$(PYTHON) -c "import sys; assert (3, 11) <= sys.version_info < (3, 13), 'Python 3.11 or 3.12 is needed, this is ' + sys.version"
	$(PYTHON) -m venv $(VENV)
	@echo "== 1/4 PyTorch and build tools"
	$(PIP) install -q -c $(CONSTRAINTS) setuptools wheel ninja torch numpy
	@echo "== 2/4 $(MMCV) with its operators: `date +%H:%M:%S`, be patient"
# With PyTorch's headers compiled once for all files, this takes a third of the time (CONTRIBUTING.md).
	CFLAGS="`$(BIN)/python tools/precompiled_header.py $(VENV)/header`" \
		$(PIP) install -q -c $(CONSTRAINTS) --no-build-isolation $(MMCV)
	@rm -rf $(VENV)/header
	@echo "== 3/4 mmdetection, mmsegmentation, fna_mm: `date +%H:%M:%S`"
	$(PIP) install -q -c $(CONSTRAINTS) -e '.[$(EXTRAS),onnx,dev,docs]'
	@echo "== 4/4 mim"
# Without its dependencies: some of them pin a setuptools that conflicts with PyTorch, or a pandas of 2024.
	$(PIP) install -q -c $(CONSTRAINTS) colorama tabulate requests pandas model-index
	$(PIP) install -q -c $(CONSTRAINTS) --no-deps $(MIM)
	@touch $@
	@echo "== installed: `date +%H:%M:%S`"

# The pages of docs/ as HTML.
docs: install
	$(BIN)/python -m sphinx -W -q -b html docs work_dirs/docs
	@echo "work_dirs/docs/index.html"

demo: install
	$(BIN)/fna demo

bench: install
	$(BIN)/python -m tools bench --out work_dirs/bench.json

# The paper's tables 5 and 6 on CamVid, in data/camvid; SEED=mobilenet_v2.pth takes the seed from a file.
ablations: install
	$(BIN)/python -m tools ablate configs/ablations/camvid/*.py --seeds 0 1 --jobs 2 --out work_dirs/ablations.json \
		$(if $(SEED),--seed-checkpoint $(SEED))

# Adapted models against rivals (docs/results/evidence.md), for TASK=bccd_retinanet and the like; resumable. torch-pruning
# is no dependency: it has a folder of its own. SEEDS, JOBS and WORK (a folder) say what their names say.
SIZE ?= small
SEEDS ?= 0 1 2
JOBS ?= 1
WORK ?= work_dirs/evidence/$(SIZE)
PRUNING := $(VENV)/torch_pruning
evidence: install
	@test -n "$(TASK)" && test -n "$(SEED)" || { echo "make evidence TASK=bccd_retinanet SEED=mobilenet_v2.pth"; exit 1; }
	@test -d $(PRUNING) || $(PIP) install -q --no-deps --target $(PRUNING) torch-pruning==1.6.1
	PATH="$(abspath $(BIN)):$$PATH" PYTHONPATH="$(abspath $(PRUNING))" OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} \
		$(BIN)/python -m tools.evidence run $(TASK) $(WORK) $(SEED) --seeds $(SEEDS) --jobs $(JOBS) --size $(SIZE)

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

# What hypothesis and atheris (where it is installed) find in ten minutes, from a new random start.
FUZZ_SECONDS ?= 600
fuzz: install
	cd tests && $(abspath $(BIN))/python -m fuzz.run $(FUZZ_SECONDS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell $(TEXT)
	@echo "== files end in a newline, lines in no blank"
	@! git grep -nIE '[[:space:]]+$$' -- $(TEXT) ':!docs/results' ':!tests/fuzz/corpus'
	@! git grep -lIz '' -- $(TEXT) ':!docs/results' ':!tests/fuzz/corpus' | xargs -0 -n1 sh -c 'test -z "$$(tail -c1 "$$0")" || echo "$$0"' | grep .

clean:
	rm -rf .venv .venv-onedl build dist
