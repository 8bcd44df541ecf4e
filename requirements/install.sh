#!/bin/sh
# Makes the virtual environment .venv in the clone, from the lock files: `make setup`.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup: needs Python 3.11 or newer; $python is $("$python" -V 2>&1). Try: make setup PYTHON=python3.12" >&2
    exit 1
}
echo "setup: making .venv, once: 3 to 8 minutes and 2.1 GB (6 GB where pip finds the CUDA build of torch)"
start=$(date +%s)
"$python" -m venv .venv
pip() { .venv/bin/python -m pip --quiet --disable-pip-version-check --no-input "$@" 2>> .venv/setup.log; }
failed() { tail -n 5 .venv/setup.log >&2; echo "setup: failed; the whole log is .venv/setup.log" >&2; exit 1; }

pip install --require-hashes --no-deps -r requirements/base.lock || failed

# Torch comes in builds of one version: pip takes the CPU build where one is offered (by a wheel
# folder or an extra index), else the default one. With hashes required it would prefer the default
# one always, so the wheel is fetched first and its hash checked as it is installed.
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
torch=$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements/torch.lock)
pip download --no-deps --dest "$wheels" "$torch" || failed
# A CPU build that the lock does not know, such as that of another Python, gives way to the default.
pip install --require-hashes --no-deps --no-index --find-links "$wheels" -r requirements/torch.lock \
    || pip install --require-hashes --no-deps -r requirements/torch.lock || failed
if .venv/bin/python -c 'import importlib.metadata as m, sys; sys.exit(not any("cuda" in r for r in m.requires("torch")))' \
    && [ "$(uname -s)" = Linux ]; then
    pip install --require-hashes --no-deps -r requirements/cuda.lock || failed
fi

pip install --no-deps --no-build-isolation --config-settings editable_mode=compat --editable . || failed
.venv/bin/python -m pip check > /dev/null || { .venv/bin/python -m pip check >&2; exit 1; }
echo "setup: done in $(($(date +%s) - start)) s, $(du -sh .venv | cut -f1) in .venv"
