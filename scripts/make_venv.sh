#!/bin/sh
# Make a virtual environment at $1 with the first Python of version 3.10 or newer that can.
set -eu
venv=$1

usable() {
    "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1
}

for python in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10 python}; do
    if command -v "$python" >/dev/null 2>&1 && usable "$python"; then
        echo "Making $venv with $("$python" --version) ..."
        exec "$python" -m venv "$venv"
    fi
done

# Debian and Ubuntu ship Python without venv: bring it, where we may.
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ] && [ -z "${TRIMTAB_NO_APT:-}" ]; then
    echo "Python comes without venv here; installing the Debian package python3-venv ..."
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
    if usable /usr/bin/python3; then
        exec /usr/bin/python3 -m venv "$venv"
    fi
fi

echo "error: no Python of version 3.10 or newer with the module venv was found." >&2
echo "On Debian or Ubuntu: sudo apt-get install python3 python3-venv; or name one: make PYTHON=/path/to/python3" >&2
exit 2
