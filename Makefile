PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CONSTRAINTS ?= constraints.txt

.PHONY: demo test test-portable test-lowest lint audit bench bench-grading browser gpu-pack sandbox study results systems pretrain soak clean

# Trains a policy on the bundled tiny denoiser and compares it with tuned heuristics.
demo: $(STAMP)
	$(BIN)/lit-unmask fit --config configs/demo.yaml

# One thread for each of the test processes, or they get in each other's way.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# The same without the vector instructions that processors differ in. What holds on both does not
# rest on how one of them rounds.
test-portable: export ATEN_CPU_CAPABILITY = default
test-portable: export MKL_CBWR = COMPATIBLE
test-portable: export ONEDNN_MAX_CPU_ISA = SSE41
test-portable: export OPENBLAS_CORETYPE = Nehalem
test-portable: export NPY_DISABLE_CPU_FEATURES = X86_V3 X86_V4 AVX512_ICL AVX512_SPR
test-portable: test

# The same with the lowest version of each range, in an environment of its own.
test-lowest:
	$(MAKE) test VENV=.venv-lowest CONSTRAINTS=constraints-lowest.txt

# Chromium for the tests of the trajectory viewer, on Debian and as root; without a browser those
# tests are skipped.
browser:
	command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
		{ apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium chromium-driver >/dev/null; }

# The stronger of the two sandboxes for model-written programs, on Debian and as root.
sandbox:
	command -v bwrap >/dev/null || \
		{ apt-get -qq update && apt-get -qq install -y --no-install-recommends bubblewrap >/dev/null; }

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet -ll -r lit_unmask callbacks

# Looks up known vulnerabilities of what constraints.txt names. Not part of lint: it asks a service
# that is not reached from everywhere, and fails with the name of a package that it knows nothing of.
audit:
	test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv .venv-audit && \
		.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit; }
	.venv-audit/bin/pip-audit --strict --disable-pip --no-deps -r constraints.txt

# Compares the decoding loop with a plain lock-step one, over many cases.
bench: $(STAMP)
	$(BIN)/python benchmarks/rollout.py
	$(BIN)/python benchmarks/grading.py

# The second half of it: completions graded in a second, mathematics and programs in each sandbox.
bench-grading: $(STAMP)
	$(BIN)/python benchmarks/grading.py

# Wheels for a GPU machine without a network, into .gpu; docs/clusters.md says how they are used.
gpu-pack:
	$(PYTHON) benchmarks/gpu/pack.py fetch

# Trains the policies that docs/results.md compares, two at a time; may be interrupted and goes on.
study: $(STAMP)
	$(BIN)/python benchmarks/train_study.py

# Evaluates the policies of benchmarks/policies against every heuristic and elsewhere, and writes
# docs/results.md; a second run computes nothing.
results: $(STAMP)
	$(BIN)/python benchmarks/results.py

# Measures every way of decoding of benchmarks/systems.yaml beside its control, and writes
# docs/systems.md; a second run computes nothing. benchmarks/systems.py --help for parts of it.
systems: $(STAMP)
	$(BIN)/python benchmarks/systems.py

# Kills and watches training runs, kills graders, fills a results store, and writes docs/soak.md;
# benchmarks/soak.py --help for parts of it.
soak: $(STAMP)
	$(BIN)/python benchmarks/soak.py

# Re-trains the bundled denoisers; the README says how long it takes.
pretrain: $(STAMP)
	$(BIN)/lit-unmask-pretrain fit --config configs/pretrain/tiny_llada.yaml
	$(BIN)/lit-unmask-pretrain fit --config configs/pretrain/tiny_llada_long.yaml --ckpt_path runs/pretrain-tiny-llada/version_0/checkpoints/last.ckpt
	$(BIN)/lit-unmask-pretrain fit --config configs/pretrain/tiny_dream.yaml

$(STAMP): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14), f"Python 3.11 to 3.13 is needed, this is {sys.version.split()[0]}; set PYTHON=python3.11"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
