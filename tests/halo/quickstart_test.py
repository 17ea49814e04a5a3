# SPDX-License-Identifier: MIT
"""deploy/quickstart with stand-ins for the tools that install and build: quickstart_test.py ROOT BUILD.
What it starts is the real stack."""
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "supervisor"))
import scene as sc  # noqa: E402


class Checkout:
    """A copy of deploy/ beside the programs of the real build folder."""

    def __init__(self, root, build):
        self.top = pathlib.Path(tempfile.mkdtemp(prefix="halo-quick-"))
        (self.top / "deploy").mkdir()
        for name in ("quickstart", "packages.txt"):
            shutil.copy(pathlib.Path(root) / "deploy" / name, self.top / "deploy")
        (self.top / "build").mkdir()
        (self.top / "build" / "services").symlink_to(pathlib.Path(build) / "services")
        (self.top / "tools").mkdir()
        self.tool("dpkg-query", "echo install ok installed")
        self.tool("apt-get", "echo apt-get $*")
        self.tool("sudo", '[ "$1" = -v ] || exec "$@"')
        self.tool("meson", "echo configured; touch build/build.ninja")
        self.tool("ninja", "echo ninja $*")
        self.port = sc.free_port()
        self.run_dir = self.top / "run"

    def close(self):
        self.run("--down")
        shutil.rmtree(self.top)

    def tool(self, name, script):
        path = self.top / "tools" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self, *args):
        env = {k: v for k, v in os.environ.items() if not k.startswith("HALO_")}
        env["PATH"] = f"{self.top / 'tools'}:{env['PATH']}"
        if "--down" not in args and "--help" not in args:
            args = ("--http", f"127.0.0.1:{self.port}", *args)
        return subprocess.run([self.top / "deploy" / "quickstart", "--run", self.run_dir, *args], env=env,
                              capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def marks(output):
    return [line for line in output.splitlines() if line.startswith(("✓", "✗"))]


def test_six_steps_lead_to_an_answer_and_down_stops_all(checkout):
    r = checkout.run()
    assert r.returncode == 0, r
    steps = marks(r.stdout)
    assert [s.split()[2] for s in steps] == ["host", "packages", "build", "start", "question", "ready"], steps
    assert all(f"[{i}/6]" in s and s.startswith("✓") and s.endswith("s)") for i, s in enumerate(steps, 1)), steps
    assert "The capital of France is Paris." in r.stdout
    assert f"http://127.0.0.1:{checkout.port}/v1 " in r.stdout and "--down" in r.stdout, r.stdout
    again = checkout.run()
    assert again.returncode == 0 and "already running" in again.stdout, again
    r = checkout.run("--down")
    assert r.returncode == 0 and "nothing is left" in r.stdout, r
    assert not (checkout.run_dir / "stack.json").exists()


def test_a_stack_of_another_build_is_replaced(checkout):
    assert checkout.run().returncode == 0
    facts = checkout.run_dir / "stack.json"
    facts.write_text(facts.read_text().replace('"build": "', '"build": "another '))
    r = checkout.run()
    assert r.returncode == 0 and "4 processes ready" in r.stdout, r


def test_missing_packages_are_installed_once_named(checkout):
    checkout.tool("dpkg-query", 'for p; do :; done; [ $p = libnng-dev ] || echo install ok installed')
    checkout.tool("apt-get", f"echo apt-get $* >>{checkout.top}/apt")
    r = checkout.run()
    assert r.returncode == 0 and "installed libnng-dev" in r.stdout, r
    calls = (checkout.top / "apt").read_text().splitlines()
    assert calls[0].endswith("update") and calls[1].endswith("--no-install-recommends libnng-dev"), calls


def test_a_failed_installation_says_what_to_do(checkout):
    checkout.tool("dpkg-query", "exit 1")
    checkout.tool("apt-get", "echo E: no network; exit 100")
    r = checkout.run()
    assert r.returncode == 1 and marks(r.stderr) == [m for m in marks(r.stderr) if "[2/6] packages" in m], r
    assert "E: no network" in r.stderr and "do next:" in r.stderr and "2-packages.log" in r.stderr, r


def test_a_failed_build_shows_its_end_and_starts_nothing(checkout):
    checkout.tool("ninja", "echo gateway.c:1: error: no such thing; exit 1")
    r = checkout.run()
    assert r.returncode == 1 and "✗ [3/6] build" in r.stderr, r
    for want in ("failed:    ninja", "expected:", "no such thing", "do next:", "3-build.log"):
        assert want in r.stderr, (want, r.stderr)
    assert not checkout.run_dir.exists()


def test_a_port_in_use_is_named_with_the_remedy(checkout):
    with socket.socket() as s:
        s.bind(("127.0.0.1", checkout.port))
        s.listen()
        r = checkout.run()
    assert r.returncode == 1 and "✗ [4/6] start" in r.stderr, r
    assert f"port {checkout.port} is in use" in r.stderr and "--http" in r.stderr, r


def test_words_that_it_does_not_know_are_refused(checkout):
    r = checkout.run("--frob")
    assert r.returncode == 2 and "--frob" in r.stderr and "--help" in r.stderr, r
    r = checkout.run("--help")
    assert r.returncode == 0 and all(o in r.stdout for o in ("--http", "--run", "--down", "Example:")), r
    r = checkout.run("--run")
    assert r.returncode == 2 and "--run needs a value" in r.stderr, r


if __name__ == "__main__":
    sys.exit(sc.run_tests(sys.modules[__name__], *sc.absolute(sys.argv[1:3]), make=Checkout))
