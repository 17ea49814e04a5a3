# SPDX-License-Identifier: MIT
"""halo ppl with the demo model, against figures of plain numpy: ppl_test.py HALO MODEL."""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

HALO, MODEL = sys.argv[1:]
TOKENIZER, PPL = (
    str(pathlib.Path(HALO).parent.parent / folder / name)
    for folder, name in (("tokenizer", "halo-tokenizer"), ("engine", "halo-ppl"))
)
# python3 deploy/models/reference_forward.py halo-demo.h1b --float64 --nll "$TEXT"
TEXT = (
    "Once upon a time there was a little fox who lived in the woods. One day she found a red ball near the river, and "
    "she played with it until the sun went down.\nThe capital of France is Paris, and 2 + 3 = 5."
)
NLL, TOKENS = 3.07067, 54


def run(*words, stdin=None):
    return subprocess.run([HALO, "ppl", "--model", MODEL, *words], input=stdin, capture_output=True, timeout=60)


def measure(*words, stdin=None):
    r = run(*words, "--json", stdin=stdin)
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)


def words_a_file_and_stdin_have_the_perplexity_of_numpy():
    with tempfile.NamedTemporaryFile("w") as f:
        f.write(TEXT)
        f.flush()
        outs = measure(TEXT), measure(f.name), measure("-", stdin=TEXT.encode())
    for out in outs:
        assert out["nll"]["n"] == TOKENS and abs(out["nll"]["mean"] - NLL) < 0.01, out["nll"]
        assert out["ppl"] == outs[0]["ppl"] and out["window"] == 2048 and out["bos"]


def ids_are_little_endian_and_without_a_begin_token():
    r = subprocess.run([TOKENIZER, "--model", MODEL, "--encode"], input=b"Hi<|eot_id|>", capture_output=True, timeout=60)
    ids = struct.unpack(f"<{len(r.stdout) // 4}I", r.stdout)
    assert r.returncode == 0 and len(ids) > 2 and max(ids) < 12288 - 16, ids  # the last 16 are control tokens
    r = subprocess.run([PPL, "--model", MODEL, "--json"], input=r.stdout, capture_output=True, timeout=60)
    assert json.loads(r.stdout)["nll"]["n"] == len(ids)


def options_are_passed_on():
    out = measure("--window", "17", "--stride", "5", "--bos", "no", "--limit", "40", "--check-head", "40", TEXT)
    assert (out["window"], out["stride"], out["bos"], out["nll"]["n"]) == (17, 5, False, 39)
    assert out["fast_head"]["checked"] >= 39 and out["fast_head"]["differing"] == 0
    assert "drift" in run("--positions", "--window", "8", TEXT).stdout.decode()


def what_cannot_be_measured_is_refused():
    for words, stdin in ((["/nonexistent"], None), ([], None), (["--window", "99999", TEXT], None), (["-"], b"\xff\xfe"),
                         (["--bos", "no", "-"], b"a")):
        r = run(*words, stdin=stdin)
        assert r.returncode in (1, 2) and r.stdout == b"" and r.stderr.startswith(b"halo"), (words, r)
    r = subprocess.run([PPL, "--model", MODEL], input=struct.pack("<2I", 1, 12288), capture_output=True, timeout=60)
    assert r.returncode == 2 and b"another vocabulary" in r.stderr, r


TESTS = [words_a_file_and_stdin_have_the_perplexity_of_numpy, ids_are_little_endian_and_without_a_begin_token,
         options_are_passed_on, what_cannot_be_measured_is_refused]
print(f"1..{len(TESTS)}")
for number, test in enumerate(TESTS, 1):
    try:
        test()
        print(f"ok {number} - {test.__name__}")
    except (AssertionError, KeyError, ValueError) as e:
        print(f"not ok {number} - {test.__name__}")
        print(f"# {type(e).__name__}: {str(e)!r}")
