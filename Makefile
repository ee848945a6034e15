# make check: under a minute; make test: everything, the real build and boots included; make demo: a node that answers.
.PHONY: check test demo endurance clean

venv := .venv/.installed
python := .venv/bin/python

$(venv): pyproject.toml tools/bootstrap
	tools/bootstrap
	@touch $@

check: $(venv)
	.venv/bin/ruff format --check aistack tests
	.venv/bin/ruff check aistack tests
	.venv/bin/mypy
	.venv/bin/pytest -q -n auto -m "not system"

test: check
	.venv/bin/pytest -v -m system --durations=15

demo: $(venv)
	.venv/bin/aistack up recipes/cpu-embeddings.yaml

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache dist
