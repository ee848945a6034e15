# make check: seconds; make test: everything, the real build and boots included; make demo: a node that answers.
.PHONY: venv check test demo

venv: .venv/.installed

.venv/.installed: pyproject.toml
	tools/bootstrap
	touch $@

check: venv
	.venv/bin/ruff format --check aistack tests
	.venv/bin/ruff check aistack tests
	.venv/bin/mypy
	.venv/bin/pytest -q -n auto -m "not system"
