# make quickstart   install and fine-tune the starter model on the support tickets
# make test         install what the tests need and run them
# make check        ruff, mypy and import-linter
# make web          bring the dashboard's browser libraries in (needs npm; quickstart and test do it where npm is)
# make docs         write the documents that are derived from the code
# make bench        speed beside the HF Trainer in small sizes, about 15 minutes; needs the data of benchmarks/README.md
# make bench-compare    the same, beside the ratios of benchmarks/baselines.json

VENV := .venv
BIN := $(VENV)/bin
RUN := runs/quickstart
WEB := src/trimtab/dashboard/static/vendor/LICENSES.txt
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help quickstart test check web docs bench bench-compare clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

$(BIN)/python:
	@sh scripts/make_venv.sh $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing Trimtab and the starter model into $(VENV) (a few minutes, once) ..."
	@$(INSTALL) --editable '.[starter,dashboard]'
	@touch $@

# The page of the dashboard is worth having, but nothing else waits for it: where npm is not, a line says so.
$(WEB): web/package.json web/package-lock.json web/vendor.mjs
	@sh scripts/build_web.sh || true

web:
	@sh scripts/build_web.sh

$(VENV)/.installed-dev: $(VENV)/.installed pyproject.toml constraints.txt | $(WEB)
	@echo "Installing what tests and checks need into $(VENV) ..."
	@$(INSTALL) --editable '.[dev]'
	@touch $@

quickstart: $(VENV)/.installed $(WEB)
	@rm -rf $(RUN)
	@$(BIN)/trimtab train examples/tickets/tickets_en.csv --output $(RUN)
	@echo
	@echo "Try it:"
	@echo "  $(BIN)/trimtab predict $(RUN) 'where is my parcel?' 'charged twice this month'"
	@echo "  $(BIN)/trimtab train YOUR.csv        (columns are found; see $(BIN)/trimtab train --help)"
	@echo "  $(BIN)/trimtab dashboard runs --open   (curves, findings and what to do about them, in your browser)"

test: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --quiet

check: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(VENV)/.installed-dev
	@$(BIN)/python scripts/write_docs.py

bench: $(VENV)/.installed-dev
	@$(BIN)/python benchmarks/speed/run_all.py --quick

bench-compare: $(VENV)/.installed-dev
	@$(BIN)/python benchmarks/speed/run_all.py --quick --compare

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
