# make check: a minute on two cores; make test: everything, the real build and boots included; make demo: a node that answers;
# make bench: ratios against other tools, half an hour on a quiet machine (MKOSI: how to run mkosi).
.PHONY: check test demo bench score endurance clean

# Byte code is kept whatever this machine's settings say: the tests start the program hundreds of times.
unexport PYTHONDONTWRITEBYTECODE

venv := .venv/.installed
python := .venv/bin/python

$(venv): pyproject.toml tools/bootstrap
	tools/bootstrap
	@touch $@

check: $(venv)
	.venv/bin/ruff format --check aistack bench tests
	.venv/bin/ruff check aistack bench tests
	.venv/bin/mypy
	.venv/bin/pytest -q -n auto --dist worksteal -m "not system and not slow"

test: check
	.venv/bin/pytest -v -n 2 --dist loadfile --no-loadscope-reorder -m "system or slow" --durations=15

demo: $(venv)
	.venv/bin/aistack up recipes/cpu-embeddings.yaml

# By hand, hours, days on a small machine: forty builds and updates killed at random moments instead of one and three, 200 faults of each kind planted in
# an image instead of one, a node with a compiled driver under Secure Boot, every way an update goes wrong and accelerators that are missing or do
# not fit, the power cut at 240 moments of an update, every kernel with every NVIDIA driver of Debian's archives really compiled; write what came
# out into docs/evidence/.
endurance: $(venv)
	AISTACK_TEST_KILLS=40 .venv/bin/pytest -v tests/test_interrupted.py
	AISTACK_TEST_KILLS=40 .venv/bin/pytest -v tests/test_update_broken.py -k killed
	AISTACK_TEST_SEEDS=200 .venv/bin/pytest -q -n auto tests/test_mutations.py
	AISTACK_TEST_DRIVER=1 .venv/bin/pytest -v tests/test_accelerator_node.py
	AISTACK_TEST_UNDO=1 .venv/bin/pytest -v -s tests/test_undo.py tests/test_live_switch.py tests/test_accelerator_boots.py \
		tests/test_up.py::test_a_failed_unit_is_a_failed_boot_though_the_gates_passed
	$(python) tests/power_cuts.py
	$(python) tests/module_table.py

# How often the rules are right about documented failures and known-good stacks.
score: $(venv)
	$(python) tests/score.py --misses

bench: $(venv)
	$(python) bench/all.py --mkosi "$(or $(MKOSI),mkosi)"

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache dist
