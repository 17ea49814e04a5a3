#!/bin/sh
# cmp_output.sh PROGRAM FILE: PROGRAM prints exactly FILE.
set -eu
"$1" | diff -u "$2" - || {
    echo "$2 is out of date: run $1 > proto/PROTOCOL.md" >&2
    exit 1
}
