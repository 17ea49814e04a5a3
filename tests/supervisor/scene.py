# SPDX-License-Identifier: MIT
"""A run directory, a folder of binaries that are fake children, and a supervisor on them."""
import contextlib
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

SERVICES = ["router", "tokenizer", "engine", "gateway"]
PATIENCE_S = 20


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def is_alive(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in "ZX"


def gone(pid):
    """Waits for the end of a process that need not be ours."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ended, _, _ = select.select([fd], [], [], PATIENCE_S)
        return bool(ended)
    finally:
        os.close(fd)


class Manager:
    """The receiving end of sd_notify."""

    def __init__(self, path):
        self.path = str(path)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.sock.settimeout(PATIENCE_S)

    def next(self):
        return dict(
            line.split("=", 1) for line in self.sock.recv(8192).decode().splitlines() if "=" in line
        )

    def until(self, condition):
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            fields = self.next()
            if condition(fields):
                return fields
        raise TimeoutError("the supervisor did not say so")

    def ready(self):
        return self.until(lambda f: f.get("READY") == "1")

    def child(self, name, state):
        return self.until(lambda f: f.get("X_HALO_CHILD") == name and f.get("X_HALO_STATE") == state)

    def error(self):
        return self.until(lambda f: "X_HALO_ERROR" in f)["X_HALO_ERROR"]


class Scene:
    def __init__(self, supervisor, halo, fake_child):
        self.supervisor = supervisor
        self.halo = halo
        self.fake_child = fake_child
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="halo-"))
        self.run = self.root / "run"
        self.run.mkdir(mode=0o700)
        self.bin = self.root / "bin"
        self.bin.mkdir()
        for name in SERVICES:
            (self.bin / f"halo-{name}").symlink_to(fake_child)
        for path in filter(None, [supervisor, halo]):
            (self.bin / os.path.basename(path)).symlink_to(path)
        self.model = self.root / "model.h1b"
        self.model.write_bytes(b"a model")
        self.port = free_port()
        self.managers = 0
        self.processes = []

    def close(self):
        for p in self.processes:
            if p.poll() is None:
                p.kill()
                p.wait()
            for stream in (p.stdout, p.stderr):
                if stream:
                    stream.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def environment(self, fake="", **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("NOTIFY_", "WATCHDOG_", "HALO_"))}
        env["HALO_FAKE"] = fake
        env["HALO_SHARED"] = os.environ.get("HALO_SHARED", "")
        env.update(more)
        return env

    def arguments(self, *more):
        return [
            "--run", str(self.run), "--bin", str(self.bin), "--model", str(self.model),
            "--http", f"127.0.0.1:{self.port}", *more,
        ]

    def start(self, *more, fake=""):
        """Starts the supervisor; gives its process and its manager's socket."""
        self.managers += 1
        manager = Manager(self.root / f"manager.{self.managers}.sock")
        p = subprocess.Popen(
            [self.supervisor, *self.arguments(*more)],
            env=self.environment(fake, NOTIFY_SOCKET=manager.path),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(p)
        return p, manager

    def command(self, *words, env=None, **more):
        return subprocess.run(
            [str(self.bin / "halo"), *words], env=env or self.environment(), capture_output=True,
            text=True, timeout=120, **more,
        )

    def status(self):
        r = self.command("status", "--run", str(self.run), "--json")
        return json.loads(r.stdout)

    def process(self, name):
        return next(p for p in self.status()["children"] if p["name"] == name)

    def events(self):
        path = self.run / "events"
        if not path.exists():
            return []
        rows = [line.split() for line in path.read_text().splitlines()]
        return [(float(t), who, what, int(pid)) for t, who, what, pid in rows]

    def pids(self):
        return {pid for _, _, what, pid in self.events() if what == "start"}

    def log(self, name):
        return (self.run / "log" / f"{name}.log").read_text()


def stop(p):
    p.send_signal(signal.SIGTERM)
    return p.wait(PATIENCE_S)


def run_tests(module, *args, make=Scene):
    """Runs the functions test_* of a module, each with a fresh make(*args); prints TAP."""
    tests = [(n[5:], f) for n, f in vars(module).items() if n.startswith("test_")]
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for i, (name, function) in enumerate(tests, 1):
        scene = make(*args)
        began = time.monotonic()
        try:
            with contextlib.closing(scene):
                function(scene)
            print(f"ok {i} - {name}", flush=True)
        except BaseException as e:  # pylint: disable=broad-except
            failed += 1
            import traceback

            for line in traceback.format_exc().splitlines():
                print(f"# {line}")
            print(f"not ok {i} - {name}", flush=True)
            if isinstance(e, KeyboardInterrupt):
                break
        print(f"# {time.monotonic() - began:.2f} s", flush=True)
    return 1 if failed else 0


def absolute(paths):
    return [os.path.abspath(p) if p else "" for p in paths]


if __name__ == "__main__":
    sys.exit("not a test")
