# Everything here sets up first what it needs (tools/setup), which is quick where nothing is to do.
# PYTEST_ARGS goes to pytest: make test PYTEST_ARGS="-k token -x"

PYTHON := .venv/bin/python
PYTEST_ARGS ?=
# Side by side, file by file. Twice as many as cores: tests of services wait more than they compute.
# PYTEST_ARGS="-n 0" runs one after the other.
SIDE_BY_SIDE := -n 4 --dist loadfile --no-loadscope-reorder
# Demo and tests start private Postfix instances.
AS_ROOT := tools/as-root

.DEFAULT_GOAL := help
.PHONY: help setup install uninstall deb test-deb man demo test test-postgresql test-slow lint replay policy-lab bench torture fuzz fuzz-web page-picture fixtures lock

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: ## install what is missing: Debian packages, .venv, Python packages
	@tools/setup

demo: setup ## the main job on a real Postfix, told on the terminal
	@$(AS_ROOT) $(PYTHON) tools/demo.py

test: setup ## all tests but the slow ones, real Postfix and swaks included
	$(AS_ROOT) $(PYTHON) -m pytest -m "not slow" $(SIDE_BY_SIDE) $(PYTEST_ARGS)

test-postgresql: setup ## all tests that record something, with their stores on a private PostgreSQL
	$(AS_ROOT) $(PYTHON) -m pytest -m "not slow" --store=postgresql $(SIDE_BY_SIDE) $(PYTEST_ARGS) \
		tests/policy tests/milter tests/lmtpd tests/courier

test-slow: setup ## the tests that take longer than a minute each
	$(AS_ROOT) $(PYTHON) -m pytest -m slow --timeout 3600 $(PYTEST_ARGS)

lint: setup ## ruff (rules and format) and mypy (strict)
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy

install: ## install Retour from this checkout: /opt/retour, /usr/local/bin/retour, units; as root
	@tools/install-from-checkout install

uninstall: ## take that away again; configuration and data stay
	@tools/install-from-checkout uninstall

SUITES ?= bookworm trixie

deb: ## the Debian packages, each built in a fresh system of its suite, into dist/ (SUITES="bookworm trixie")
	@$(AS_ROOT) tools/build-deb $(SUITES)

test-deb: deb ## install, use, upgrade under load, remove and purge them, with systemd and Postfix on fresh systems
	@for suite in $(SUITES); do $(AS_ROOT) tools/try-deb $$suite || exit 1; done

man: setup ## the man pages, made from the code, into build/man
	@$(PYTHON) tools/manpages.py build/man

replay: setup ## an outage of a large provider among weeks of mail, under two policies; some minutes
	@$(PYTHON) tools/replay.py

policy-lab: setup ## what policies cost, in sends wasted and living people stopped; half an hour
	@$(PYTHON) tools/policy_lab.py

INSTALL := -m pip install --quiet --disable-pip-version-check --require-hashes

bench: setup ## what it costs, as ratios within one run: each script in bench/; five minutes
	@$(PYTHON) $(INSTALL) -r tools/bench.lock
	@for script in $(sort $(wildcard bench/*.py)); do echo "== $$script"; $(AS_ROOT) $(PYTHON) "$$script" || exit 1; done

TORTURE_SECONDS ?= 600

torture: setup ## kills, failing disks, cut sessions, hostile clients, a soak: the books must balance (TORTURE_SECONDS=600)
	@$(AS_ROOT) $(PYTHON) tools/torture.py --seconds $(TORTURE_SECONDS)

FUZZ_SECONDS ?= 1800

fuzz: setup ## search for input that breaks what reads it, for half an hour (FUZZ_SECONDS=1800, or FUZZ_INPUTS=1000000)
	@$(PYTHON) $(INSTALL) -r tools/fuzz.lock
	@mkdir -p build/fuzz
	PYTHONPATH=tests/bounces $(PYTHON) -m pytest -q -p fuzz_seeds tests/bounces --ignore tests/bounces/test_hostile.py
	$(PYTHON) tools/fuzz.py --seconds $(FUZZ_SECONDS) --inputs $(or $(FUZZ_INPUTS),0)

FUZZ_WEB_EXAMPLES ?= 100

fuzz-web: setup ## requests made up from the web service's OpenAPI document, by schemathesis (FUZZ_WEB_EXAMPLES=100)
	@$(PYTHON) $(INSTALL) -r tools/schemathesis.lock
	@$(AS_ROOT) $(PYTHON) tools/fuzz_web.py --examples $(FUZZ_WEB_EXAMPLES)

page-picture: setup ## take the picture of the web service's page in docs/ anew
	@$(AS_ROOT) $(PYTHON) tools/page_picture.py

fixtures: setup ## make the reports of real mail servers in tests/ anew
	@$(AS_ROOT) $(PYTHON) tools/fixtures.py

lock: ## pin the newest Python packages that fit, with their hashes
	tools/lock
