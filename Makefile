# Every target runs on a fresh clone by itself: `setup` needs nothing but Python and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
STAMP := $(VENV)/.retail-sync-setup

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-orders demo-cdc test test-mssql test-mysql test-oracle test-cdc test-unit lint format bench airflow stop clean requirements

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## install the locked dependencies into .venv

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet uv

$(STAMP): pyproject.toml uv.lock | $(UV)
	$(UV) sync --frozen --compile-bytecode --python $(PYTHON)
	@touch $(STAMP)

demo: setup ## replicate sample data by a real Airflow on embedded servers, and prove the result
	$(BIN)/python -m include demo

demo-orders: setup ## sync the orders of six stores from two CRMs by a real Airflow, and prove the result
	$(BIN)/python -m include demo-orders

demo-cdc: setup ## follow a shop that is changed all the time, kill it twice, and prove the result; needs Java 17
	$(BIN)/python -m include demo-cdc

# The last three each have an Airflow of their own, and a process of their own for it.
# Hundreds of processes load the same modules: compiled once, where the environment forbids it too.
test: export PYTHONDONTWRITEBYTECODE =
test: setup ## run all tests
	$(BIN)/pytest tests/integration tests/engines tests/dags tests/unit --numprocesses 4 --dist loadfile --no-loadscope-reorder
	$(BIN)/pytest tests/e2e
	$(BIN)/pytest tests/page
	$(BIN)/pytest tests/browser

# Without RETAIL_SYNC_TEST_MSSQL the server of the Compose profile mssql is meant, with the password in .env.
test-mssql: setup ## run the suite of engines, and what follows databases, against a SQL Server
	@dsn="$$RETAIL_SYNC_TEST_MSSQL"; \
	if [ -z "$$dsn" ]; then \
	    test -f .env || { echo "set RETAIL_SYNC_TEST_MSSQL, or write .env and run 'docker compose --profile mssql up -d mssql'"; exit 2; }; \
	    port=$$(sed -n 's/^MSSQL_PORT=//p' .env); password=$$(sed -n 's/^MSSQL_SA_PASSWORD=//p' .env | sed "s/^'\(.*\)'$$/\1/"); \
	    dsn="Server=127.0.0.1,$${port:-1433};Database=tempdb;UID=sa;PWD={$$password};Encrypt=yes;TrustServerCertificate=yes"; \
	fi; \
	RETAIL_SYNC_TEST_MSSQL="$$dsn" $(BIN)/pytest tests/engines tests/integration/test_cdc_into_mssql.py \
	    tests/integration/test_cdc_mssql.py

# Without RETAIL_SYNC_TEST_MYSQL the server of the Compose profile mysql is meant, with the password in .env.
test-mysql: setup ## run the tests of a MySQL source against a MySQL
	@dsn="$$RETAIL_SYNC_TEST_MYSQL"; \
	if [ -z "$$dsn" ]; then \
	    test -f .env || { echo "set RETAIL_SYNC_TEST_MYSQL, or write .env and run 'docker compose --profile mysql up -d mysql'"; exit 2; }; \
	    port=$$(sed -n 's/^MYSQL_PORT=//p' .env); password=$$(sed -n 's/^MYSQL_ROOT_PASSWORD=//p' .env | sed "s/^'\(.*\)'$$/\1/"); \
	    dsn="mysql://root:$$password@127.0.0.1:$${port:-3306}"; \
	fi; \
	RETAIL_SYNC_TEST_MYSQL="$$dsn" $(BIN)/pytest tests/integration/test_cdc_mysql.py tests/integration/test_cdc_mysql_types.py \
	    tests/integration/test_cdc_connect_mysql.py

test-oracle: setup ## run the tests of an Oracle source against the one that RETAIL_SYNC_TEST_ORACLE names
	@test -n "$$RETAIL_SYNC_TEST_ORACLE" || { echo "set RETAIL_SYNC_TEST_ORACLE, see tests/integration/test_cdc_oracle.py"; exit 2; }
	$(BIN)/pytest tests/integration/test_cdc_oracle.py

test-cdc: setup ## kill the stream of a followed database at each point, twenty times
	RETAIL_SYNC_TEST_CDC_ROUNDS=20 $(BIN)/pytest tests/integration/test_cdc_killed.py

test-unit: setup ## run the tests that need no server
	$(BIN)/pytest tests/unit

lint: setup $(UV) ## check style, types, imports, the lock and the Compose file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(UV) lock --check
	@$(UV) export --quiet $(EXPORT) | diff - requirements.txt || { echo "requirements.txt: run 'make requirements'"; exit 1; }
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yaml

format: setup ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

EXPORT := --frozen --no-default-groups --no-emit-project --no-hashes --no-header

requirements: setup $(UV) ## write requirements.txt from the lock
	$(UV) export --quiet $(EXPORT) > requirements.txt

bench: setup ## measure against the raw binary COPY
	$(BIN)/python -m include bench

airflow: setup ## start Airflow and its UI on the embedded default
	$(BIN)/python -m include embedded start

stop: ## stop what demo or airflow started
	@test ! -x $(BIN)/python || $(BIN)/python -m include embedded stop

clean: stop ## stop everything and remove what was made: data, logs, .venv
	rm -rf .local .uv $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache exports
