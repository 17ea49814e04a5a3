# SPDX-License-Identifier: MIT
"""What tests of converters share: run halo-model on a file, look at the result, print TAP.
The path of halo-model is the test's first argument."""
import inspect
import os
import subprocess
import sys
import tempfile
import traceback

import h1b_plain

HALO_MODEL = os.path.abspath(sys.argv[1])
FOLDER = tempfile.TemporaryDirectory()


def path(name):
    return os.path.join(FOLDER.name, name)


def convert(source, *options):
    """The sections of the result, None when it was refused, and what was said."""
    if os.path.exists(path("out.h1b")):
        os.unlink(path("out.h1b"))
    r = subprocess.run([HALO_MODEL, "convert", "--quiet", *options, source, path("out.h1b")],
                       capture_output=True, text=True)
    assert r.returncode in (0, 1), f"exit {r.returncode}: {r.stderr}"
    return (h1b_plain.read(path("out.h1b")) if r.returncode == 0 else None), r.stderr


def good(source, *options):
    sections, said = convert(source, *options)
    assert sections is not None, said
    return sections, said


def refused(source, *words, options=()):
    sections, said = convert(source, *options)
    assert sections is None, "was converted"
    assert not os.path.exists(path("out.h1b")), "a file was left"
    for word in words:
        assert word in said, f"{word!r} is not in: {said}"


def main(names):
    """Runs the functions without parameters of the test's own module."""
    functions = [f for f in names.values() if inspect.isfunction(f) and f.__module__ == "__main__"]
    tests = [f for f in functions if f.__code__.co_argcount == 0]
    print(f"1..{len(tests)}")
    n_failed = 0
    for i, test in enumerate(tests, 1):
        try:
            test()
            print(f"ok {i} - {test.__name__}", flush=True)
        except Exception:
            n_failed += 1
            print(f"not ok {i} - {test.__name__}", flush=True)
            for line in traceback.format_exc().splitlines():
                print(f"# {line}")
    sys.exit(1 if n_failed else 0)
