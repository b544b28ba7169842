#!/bin/sh
# Bring the dashboard's browser libraries (web/package.json) into the Python package. Needs Node 18 or newer with npm.
set -eu
cd "$(dirname "$0")/../web"
without="the dashboard's page is left out, all else works"
if ! command -v npm >/dev/null 2>&1; then
    echo "note: npm is not here, so $without (on Debian or Ubuntu: sudo apt-get install nodejs npm; then: make web)" >&2
    exit 1
fi
if ! { npm ci --silent && npm run --silent build; }; then
    echo "note: npm could not bring the browser libraries, so $without (try again: make web)" >&2
    exit 1
fi
