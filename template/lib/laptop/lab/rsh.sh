#!/bin/sh
# rsync calls it, and cannot be told a path with a quote in it: rsh.py has the rest, for the Python that lab runs with.
exec "$LAB_PYTHON" -I "${0%.sh}.py" "$@"
