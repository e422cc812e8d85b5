# make mini       build the environment and run the small recipe from end to end
# make test       build the environment and run the tests
# make test-long  run the tests that make test leaves out: minutes each
# make lint       ruff and shellcheck
# make env        build the environment only
# PYTHON=python3.12 chooses the interpreter of the environment, .venv (Python 3.10 or newer). CONSTRAINTS=FILE installs other
# versions than those of constraints.txt (CONSTRAINTS= the newest allowed), PIP_OPTIONS="..." gives pip options of yours.
PYTHON ?= python3
export PYTHON

# One worker for each core that this process may use; torch's own threads would only get in each other's way.
PYTEST = OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --maxprocesses 8 --dist loadgroup test

.PHONY: env mini test test-long lint clean

env:
	tools/setup_env.sh

mini:
	tools/setup_env.sh report
	egs/mini/run.sh

test:
	tools/setup_env.sh test,tensorboard,hf,files,report,export,mqtt
	$(PYTEST) -m "not long"

test-long:
	tools/setup_env.sh test,tensorboard,hf,files,report,export,mqtt
	$(PYTEST) -m long

lint:
	tools/setup_env.sh dev
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	find .ci/run utils tools egs findings -type f \( -name '*.sh' -o -path .ci/run \) -exec .venv/bin/shellcheck -x {} +

# What the recipes made stays: remove egs/*/{data,dump,exp,downloads} by hand.
clean:
	rm -rf .venv build asdkit.egg-info .pytest_cache .ruff_cache
	find asdkit test egs -name __pycache__ -type d -exec rm -rf {} +
