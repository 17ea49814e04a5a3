# SPDX-License-Identifier: MIT
"""The verbs that handle a stack, with fake services: halo_test.py SUPERVISOR HALO FAKE_CHILD."""
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "supervisor"))
import scene as sc  # noqa: E402


def write_model(path):
    """A .h1b file with one section (layout: common/h1b.h); gives its hash."""
    data = b"{}"
    entry = struct.pack("<96sII4QQQ32s8x", b"config", 0, 1, len(data), 1, 1, 1, 256, len(data),
                        hashlib.sha256(data).digest())
    head = struct.pack("<4sIQIIQ32s", b"H1B\0", 5, 256 + len(data), 1, 0, 64, hashlib.sha256(entry).digest())
    path.write_bytes(head + entry + data)
    return hashlib.sha256(entry).hexdigest()


def prepare(scene):
    scene.model_hash = write_model(scene.model)
    (scene.bin / "halo-gateway").unlink()
    (scene.bin / "halo-gateway").symlink_to(HERE / "fake_gateway.py")
    return scene


def up(scene, *more, fake="", **env):
    return scene.command("up", *scene.arguments("--detach", *more), env=scene.environment(fake, **env))


def down(scene):
    r = scene.command("down", "--run", str(scene.run))
    assert r.returncode == 0, r
    return r.stdout


def supervisor_pid(scene):
    return json.loads((scene.run / "stack.json").read_text())["pid"]


def nothing_left(scene, pids):
    sockets = [f.name for f in scene.run.iterdir() if f.name.endswith(".sock")]
    return not any(sc.is_alive(p) for p in pids) and not sockets


# ---- up and down ----------------------------------------------------------------------------------


def test_up_detached_returns_when_the_stack_serves_and_down_leaves_nothing(scene):
    prepare(scene)
    r = up(scene, "--engines", "2")
    assert r.returncode == 0, r
    for name in ("router", "tokenizer", "engine.1", "engine.2", "gateway"):
        assert f"✓ {name}" in r.stdout, r.stdout
    url = f"http://127.0.0.1:{scene.port}"
    assert f"{url}/v1" in r.stdout and "halo down" in r.stdout, r.stdout
    chat = scene.command("chat", "--run", str(scene.run), "hello")
    assert chat.stdout == "The capital of France is Paris.\n", chat
    pids = scene.pids() | {supervisor_pid(scene)}
    assert "nothing is left" in down(scene)
    assert nothing_left(scene, pids)
    assert scene.command("status", "--run", str(scene.run)).returncode == 3


def test_up_again_with_the_same_options_says_so_and_with_others_refuses(scene):
    prepare(scene)
    assert up(scene).returncode == 0
    pids = scene.pids()
    again = up(scene)
    assert again.returncode == 0 and "already running" in again.stdout, again
    other = up(scene, "--engines", "3")
    assert other.returncode == 1 and "another --engines" in other.stderr and "halo down" in other.stderr, other
    other = up(scene, "--kv-type", "int8")  # is an argument of the engines
    assert other.returncode == 1 and "another --engine-args" in other.stderr, other
    assert scene.pids() == pids
    down(scene)


def test_up_makes_a_private_run_directory(scene):
    prepare(scene)
    scene.run = scene.root / "fresh"
    assert up(scene).returncode == 0
    assert scene.run.stat().st_mode & 0o777 == 0o700
    down(scene)


def test_a_run_directory_that_others_can_write_is_not_used(scene):
    prepare(scene)
    scene.run.chmod(0o777)
    (scene.run / "stack.json").write_text('{"url": "http://127.0.0.1:1"}')
    r = up(scene)
    assert r.returncode == 1 and "written by others" in r.stderr, r
    assert [f.name for f in scene.run.iterdir()] == ["stack.json"]
    for verb in ("down", "status", "chat", "restart"):
        r = scene.command(verb, "--run", str(scene.run))
        assert r.returncode != 0 and "written by others" in r.stderr, r
    if os.geteuid() == 0:
        scene.run.chmod(0o700)
        os.chown(scene.run, 12345, 12345)
        r = up(scene)
        assert r.returncode == 1 and "another user" in r.stderr, r


def test_up_that_fails_says_why_and_leaves_nothing(scene):
    prepare(scene)
    r = up(scene, fake="engine.1=fail")
    assert r.returncode == 1 and "the moon is in the wrong phase" in r.stderr, r
    assert "✗ engine.1" in r.stdout and "Nothing is left running" in r.stderr, r
    assert nothing_left(scene, scene.pids())


def test_up_fails_if_the_gateway_never_serves(scene):
    prepare(scene)
    r = up(scene, HALO_FAKE_UNREADY="1000000")
    assert r.returncode == 1 and "/readyz" in r.stderr, r
    assert nothing_left(scene, scene.pids())


def test_a_port_in_use_is_named_with_the_remedy(scene):
    prepare(scene)
    with socket.socket() as s:
        s.bind(("127.0.0.1", scene.port))
        s.listen()
        r = up(scene)
    assert r.returncode == 1 and f"port {scene.port} is in use" in r.stderr and "--http" in r.stderr, r


def test_a_directory_is_to_be_converted_first(scene):
    prepare(scene)
    r = scene.command("up", "--run", str(scene.run), "--model", str(scene.bin))
    assert r.returncode == 1 and f"halo convert {scene.bin} model.h1b" in r.stderr, r


def test_what_cannot_be_found_is_named(scene):
    prepare(scene)
    r = scene.command("up", "--run", str(scene.run), "--model", str(scene.root / "none.h1b"))
    assert r.returncode == 1 and "none.h1b" in r.stderr and "No such file" in r.stderr, r
    r = scene.command("up", "--run", str(scene.root / "no" / "such"), "--model", str(scene.model))
    assert r.returncode == 1 and "no/such" in r.stderr and "--run" in r.stderr, r
    r = scene.command("up", "--run", str(scene.run), "--model", str(scene.model), "--bin", str(scene.root))
    assert r.returncode == 1 and "halo-supervisor is not in" in r.stderr and "--bin" in r.stderr, r


def start_in_foreground(scene, fake="", **kw):
    p = subprocess.Popen(
        [str(scene.bin / "halo"), "up", *scene.arguments()],
        env=scene.environment(fake), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw,
    )
    scene.processes.append(p)
    return p


def until(stream, text):
    seen = []
    for line in stream:
        seen.append(line)
        if text in line:
            return seen
    raise AssertionError(f"{text} did not come: {seen}")


def test_ctrl_c_in_the_foreground_stops_all(scene):
    prepare(scene)
    p = start_in_foreground(scene)
    until(p.stdout, "Ctrl-C stops it")
    pids = scene.pids() | {supervisor_pid(scene)}
    p.send_signal(signal.SIGINT)
    assert p.wait(sc.PATIENCE_S) == 0
    rest = p.stdout.read()
    assert "gateway" in rest and "stopped" in rest, rest
    assert nothing_left(scene, pids)


def test_ctrl_c_during_the_start_leaves_nothing(scene):
    prepare(scene)
    p = start_in_foreground(scene, fake="tokenizer=mute")
    until(p.stdout, "router")
    p.send_signal(signal.SIGINT)
    assert p.wait(sc.PATIENCE_S) == 1
    assert nothing_left(scene, scene.pids())


def test_killing_the_foreground_halo_stops_the_stack(scene):
    prepare(scene)
    p = start_in_foreground(scene)
    until(p.stdout, "Ctrl-C stops it")
    supervisor = supervisor_pid(scene)
    pids = scene.pids()
    p.kill()
    assert sc.gone(supervisor) and all(sc.gone(pid) for pid in pids)
    assert not (scene.run / "stack.json").exists()


def test_a_lost_process_is_reported_in_the_foreground(scene):
    prepare(scene)
    p = start_in_foreground(scene)
    until(p.stdout, "Ctrl-C stops it")
    os.kill(scene.process("router")["pid"], signal.SIGKILL)
    until(p.stdout, "router       lost")
    until(p.stdout, "router       ready")
    p.send_signal(signal.SIGTERM)
    assert p.wait(sc.PATIENCE_S) == 0


def test_two_stacks_run_side_by_side(scene):
    prepare(scene)
    other = prepare(sc.Scene(scene.supervisor, scene.halo, scene.fake_child))
    try:
        assert up(scene).returncode == 0 and up(other).returncode == 0
        down(scene)
        r = other.command("chat", "--run", str(other.run), "hello")
        assert r.returncode == 0, r
        down(other)
    finally:
        other.close()


def test_down_kills_what_does_not_stop(scene):
    prepare(scene)
    assert up(scene, fake="router=deaf").returncode == 0
    pids = scene.pids() | {supervisor_pid(scene)}
    r = scene.command("down", "--run", str(scene.run), "--timeout-s", "1")
    assert r.returncode == 0 and "killing it" in r.stderr, r
    assert not any(sc.is_alive(p) for p in pids)


def test_down_without_a_stack_is_no_error(scene):
    r = scene.command("down", "--run", str(scene.run))
    assert r.returncode == 0 and "no stack runs" in r.stdout, r


# ---- status, restart, logs, version ---------------------------------------------------------------


def test_status_shows_each_process_as_a_table_and_as_json(scene):
    prepare(scene)
    assert up(scene).returncode == 0
    r = scene.command("status", "--run", str(scene.run))
    assert r.returncode == 0, r
    for name, status in (("router", "at your service"), ("gateway", "faking")):
        assert any(line.split()[:2] == [name, "ready"] and status in line for line in r.stdout.splitlines()), r.stdout
    s = scene.status()
    assert s["running"] is True and s["ready"] is True and s["run"] == str(scene.run)
    assert s["url"] == f"http://127.0.0.1:{scene.port}" and s["pid"] == supervisor_pid(scene)
    assert [c["name"] for c in s["children"]] == ["router", "tokenizer", "engine.1", "gateway"]
    for c in s["children"]:
        assert c["state"] == "ready" and c["restarts"] == 0 and sc.is_alive(c["pid"]) and c["since_ms"] > 0
    down(scene)
    assert scene.status() == {
        "running": False, "ready": False, "run": str(scene.run), "pid": 0, "url": "", "model": "",
        "build": "", "started": 0, "children": [], "engines": [],
    }


def test_status_is_not_ready_while_a_process_is_not(scene):
    prepare(scene)
    assert up(scene, fake="router=fail-again").returncode == 0
    os.kill(scene.process("router")["pid"], signal.SIGUSR1)
    for _ in range(200):  # it comes and goes, with longer and longer pauses
        r = scene.command("status", "--run", str(scene.run))
        if "backoff" in r.stdout:
            break
    assert r.returncode == 1 and "backoff" in r.stdout and "exit 3" in r.stdout, r
    down(scene)


def test_restart_waits_until_the_process_is_ready_again(scene):
    prepare(scene)
    assert up(scene, fake="router=slow").returncode == 0
    before = {c["name"]: c["pid"] for c in scene.status()["children"]}
    r = scene.command("restart", "router", "--run", str(scene.run))
    assert r.returncode == 0 and "router ready again" in r.stdout, r
    after = {c["name"]: c for c in scene.status()["children"]}
    assert after["router"]["state"] == "ready" and after["router"]["restarts"] == 1
    assert [n for n in before if before[n] != after[n]["pid"]] == ["router"]
    down(scene)


def test_restart_without_a_name_restarts_one_after_the_other(scene):
    prepare(scene)
    assert up(scene, "--engines", "2").returncode == 0
    n = len(scene.events())
    r = scene.command("restart", "--run", str(scene.run))
    assert r.returncode == 0 and "all processes are ready again" in r.stdout, r
    order = [(who, what) for _, who, what, _ in scene.events()[n:]]
    names = ["router", "tokenizer", "engine.1", "engine.2"]
    want = [(name, what) for name in names for what in ("term", "end", "start", "ready")]
    assert order == want, order
    assert all(c["restarts"] == 1 for c in scene.status()["children"])
    down(scene)


def test_restart_tells_when_the_process_ends_instead(scene):
    prepare(scene)
    assert up(scene, fake="tokenizer=fail-again").returncode == 0
    r = scene.command("restart", "tokenizer", "--run", str(scene.run))
    assert r.returncode == 1 and "exit 3" in r.stderr and "wrong phase" in r.stderr, r
    down(scene)


def test_restart_of_an_unknown_process_names_it(scene):
    prepare(scene)
    assert up(scene).returncode == 0
    r = scene.command("restart", "engine.7", "--run", str(scene.run))
    assert r.returncode == 1 and "engine.7" in r.stderr and "halo status" in r.stderr, r
    down(scene)
    r = scene.command("restart", "router", "--run", str(scene.run))
    assert r.returncode == 1 and "halo up" in r.stderr, r


def test_clients_wait_while_the_gateway_restarts(scene):
    prepare(scene)
    assert up(scene).returncode == 0
    failures = []

    def ask():
        for _ in range(10):
            r = scene.command("chat", "--run", str(scene.run), "hello")
            if r.returncode != 0:
                failures.append(r)

    asking = threading.Thread(target=ask)
    asking.start()
    while asking.is_alive():
        assert scene.command("restart", "gateway", "--run", str(scene.run)).returncode == 0
    asking.join()
    # A request that the old process has taken may be lost with this fake; none is refused.
    assert not any("connect" in f.stderr for f in failures), failures
    down(scene)


def write_logs(scene):
    log = scene.run / "log"
    log.mkdir()
    (log / "router.log").write_text("".join(f"ts=2026-01-02T03:04:0{i}.000Z r{i}\n" for i in range(0, 8, 2)) + "tail\n")
    (log / "engine.1.log").write_text("".join(f"ts=2026-01-02T03:04:0{i}.000Z e{i}\n" for i in range(1, 8, 2)))
    (log / "engine.1.log.1").write_text("old\n")
    return log


def test_logs_merges_the_last_lines_by_time(scene):
    write_logs(scene)
    r = scene.command("logs", "--run", str(scene.run), "--lines", "4")
    assert [line.split()[::2] for line in r.stdout.splitlines()] == [
        ["engine.1", "e5"], ["router", "r6"], ["router"], ["engine.1", "e7"]], r
    r = scene.command("logs", "engine.1", "--run", str(scene.run), "--lines", "2")
    assert [line.split()[1] for line in r.stdout.splitlines()] == ["e5", "e7"], r
    assert scene.command("logs", "--lines", "0", "--run", str(scene.run)).stdout == ""


def test_logs_follows_appended_lines_and_new_files(scene):
    log = write_logs(scene)
    p = subprocess.Popen([scene.halo, "logs", "--run", str(scene.run), "--lines", "1", "--follow"],
                         stdout=subprocess.PIPE, text=True)
    scene.processes.append(p)
    until(p.stdout, "e7")
    with open(log / "router.log", "a", encoding="utf-8") as f:
        f.write("half a ")
        f.flush()
        f.write("line\n")
    until(p.stdout, "half a line")
    os.rename(log / "router.log", log / "router.log.1")
    (log / "router.log").write_text("after the rotation\n")
    until(p.stdout, "after the rotation")
    (log / "gateway.log").write_text("a new one\n")
    assert "gateway" in until(p.stdout, "a new one")[-1]


def test_logs_of_nothing_are_an_error_with_the_remedy(scene):
    r = scene.command("logs", "--run", str(scene.run))
    assert r.returncode == 1 and "--run" in r.stderr, r
    write_logs(scene)
    r = scene.command("logs", "nobody", "--run", str(scene.run))
    assert r.returncode == 1 and "nobody" in r.stderr, r


def test_version_names_programs_that_are_missing_or_of_another_build(scene):
    (scene.bin / "halo-engine").unlink()
    r = scene.command("version", "--bin", str(scene.bin))
    assert r.returncode == 1, r
    lines = {line.split()[0]: line for line in r.stdout.splitlines()}
    assert "not found" in lines["halo-engine"] and "another build" in lines["halo-router"], r.stdout
    assert "9.9.9" in lines["halo-tokenizer"]
    assert lines["halo-supervisor"].split()[1:] == lines["halo"].split()[1:]


# ---- doctor ---------------------------------------------------------------------------------------


def doctor(scene, *more):
    r = scene.command("doctor", "--run", str(scene.run), "--json", *more,
                      env={**scene.environment(), "XDG_STATE_HOME": str(scene.root / "state")})
    report = json.loads(r.stdout)
    return r.returncode, report["outcome"], {c["check"]: c for c in report["checks"]}


def test_doctor_finds_a_healthy_stack_healthy(scene):
    prepare(scene)
    assert up(scene, HALO_FAKE_HASH=scene.model_hash).returncode == 0
    code, outcome, checks = doctor(scene)
    assert (code, outcome) == (0, "ok"), checks
    for name in ("kernel", "processor", "GPU", "clock", "memory", "run directory", "disk space", "supervisor", "router", "tokenizer", "engine.1",
                 "gateway", "model file", "model hash", "/healthz", "/readyz", "/v1/models", "answer"):
        assert checks[name]["outcome"] == "ok" and checks[name]["remedy"] == "", checks[name]
    assert "Paris" in checks["answer"]["found"]
    r = scene.command("doctor", "--run", str(scene.run),
                      env={**scene.environment(), "XDG_STATE_HOME": str(scene.root / "state")})
    assert r.returncode == 0 and r.stdout.count("ok ") >= 14 and "all is well" in r.stdout, r
    down(scene)


def test_doctor_warns_of_a_restart_an_open_directory_and_a_changed_file(scene):
    prepare(scene)
    assert up(scene, HALO_FAKE_HASH="0123" * 16).returncode == 0
    assert scene.command("restart", "router", "--run", str(scene.run)).returncode == 0
    scene.run.chmod(0o755)
    code, outcome, checks = doctor(scene)
    assert (code, outcome) == (1, "warn"), checks
    assert checks["router"]["outcome"] == "warn" and "halo logs router" in checks["router"]["remedy"]
    assert checks["model hash"]["outcome"] == "warn" and "0123" in checks["model hash"]["found"]
    assert checks["run directory"]["outcome"] == "warn" and "0700" in checks["run directory"]["remedy"]
    down(scene)


def test_doctor_fails_for_a_wrong_answer_and_a_damaged_model(scene):
    prepare(scene)
    assert up(scene, HALO_FAKE_ANSWER="It is Rome.").returncode == 0
    scene.model.write_bytes(scene.model.read_bytes()[:-1] + b"?")
    code, outcome, checks = doctor(scene)
    assert (code, outcome) == (2, "fail"), checks
    assert "It is Rome." in checks["answer"]["found"] and checks["answer"]["remedy"]
    assert checks["model file"]["outcome"] == "fail" and "config" in checks["model file"]["found"], checks["model file"]
    down(scene)


def test_doctor_keeps_a_baseline_and_holds_the_machine_against_it(scene):
    _, _, checks = doctor(scene)
    assert "--store-baseline" in checks["memory speed"]["found"], checks["memory speed"]
    _, _, checks = doctor(scene, "--store-baseline")
    file = scene.root / "state/halo/baseline"
    kept = float(file.read_text().split()[1])
    assert checks["memory speed"]["outcome"] == "ok" and 1e8 < kept < 1e12
    file.write_text(f"memory_read_bytes_per_s {kept * 100:.0f}\n")
    _, _, checks = doctor(scene)
    assert checks["memory speed"]["outcome"] == "warn" and "top" in checks["memory speed"]["remedy"], checks
    file.write_text(f"memory_read_bytes_per_s {kept / 100:.0f}\n")
    _, _, checks = doctor(scene)
    assert checks["memory speed"]["outcome"] == "ok", checks


def test_doctor_says_how_to_start_when_nothing_runs(scene):
    code, outcome, checks = doctor(scene)
    assert (code, outcome) == (2, "fail")
    assert "halo up" in checks["supervisor"]["remedy"]
    r = scene.command("doctor", "--run", str(scene.root / "none"))
    assert r.returncode == 2 and "does not exist" in r.stdout and "something is broken" in r.stdout, r


# ---- words ----------------------------------------------------------------------------------------

VERBS = ["up", "down", "status", "restart", "top", "trace", "logs", "key", "chat", "doctor", "version"]


def test_each_verb_explains_itself_with_an_example(scene):
    for verb in VERBS:
        r = scene.command(verb, "--help")
        assert r.returncode == 0 and f"Usage: halo {verb}" in r.stdout and "Example:" in r.stdout, r
        r = scene.command(verb, "--frob")
        assert r.returncode == 2 and f"halo {verb}: unknown option --frob" in r.stderr, r
    r = scene.command("--help")
    assert r.returncode == 0 and all(f"\n  {verb} " in r.stdout for verb in VERBS), r


def test_unknown_words_are_named(scene):
    r = scene.command("frobnicate")
    assert r.returncode == 2 and "frobnicate" in r.stderr and "halo --help" in r.stderr, r
    assert scene.command().returncode == 2
    assert scene.command("--version").stdout.startswith("halo ")
    r = scene.command("status", "extra")
    assert r.returncode == 2 and "extra" in r.stderr, r


if __name__ == "__main__":
    assert shutil.which("python3")
    sys.exit(sc.run_tests(sys.modules[__name__], *sc.absolute(sys.argv[1:4])))
