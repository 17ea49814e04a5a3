# SPDX-License-Identifier: MIT
"""The supervisor with fake children: supervisor_test.py SUPERVISOR HALO FAKE_CHILD."""
import json
import os
import pathlib
import signal
import socket
import sys
import time

import scene as sc

ALL = ["router", "tokenizer", "engine.1", "gateway"]


def order_of(scene, what):
    return [who for _, who, w, _ in scene.events() if w == what]


def test_each_process_starts_when_the_one_before_is_ready(scene):
    p, manager = scene.start("--engines", "2", fake="router=slow tokenizer=slow engine.2=slow")
    manager.ready()
    events = [(who, what) for _, who, what, _ in scene.events()]
    at = {e: i for i, e in enumerate(events)}
    assert at[("router", "ready")] < at[("tokenizer", "start")], events
    assert at[("tokenizer", "ready")] < min(at[("engine.1", "start")], at[("engine.2", "start")])
    # Both engines start together; the gateway waits for both.
    assert at[("engine.2", "start")] < at[("engine.2", "ready")]
    assert at[("engine.1", "start")] < at[("engine.2", "ready")]
    assert max(at[("engine.1", "ready")], at[("engine.2", "ready")]) < at[("gateway", "start")]
    assert sc.stop(p) == 0


def test_stack_json_tells_where_the_stack_is_while_it_runs(scene):
    p, manager = scene.start()
    manager.ready()
    facts = json.loads((scene.run / "stack.json").read_text())
    assert facts["url"] == f"http://127.0.0.1:{scene.port}"
    assert facts["model"] == str(scene.model) and facts["pid"] == p.pid and facts["engines"] == 1
    assert abs(facts["started"] - time.time()) < 60
    assert sc.stop(p) == 0
    assert not (scene.run / "stack.json").exists()


def test_a_stop_goes_in_reverse_order_and_leaves_nothing(scene):
    p, manager = scene.start(fake="engine.1=litter")
    manager.ready()
    litter = int(scene.log("engine.1").split("litter ")[1].split()[0])
    assert sc.is_alive(litter)
    assert sc.stop(p) == 0
    assert order_of(scene, "term") == list(reversed(ALL))
    assert order_of(scene, "end") == list(reversed(ALL))
    assert not any(sc.is_alive(pid) for pid in scene.pids())
    assert sc.gone(litter)
    left = {f.name for f in scene.run.iterdir() if not f.name.startswith("lived.")}
    assert left == {"log", "events", "supervisor.lock"}, left


def test_a_lost_process_is_started_again_at_once_and_then_with_growing_pauses(scene):
    p, manager = scene.start(fake="router=fail-again")
    manager.ready()
    for _ in range(2):  # no zombie either: the reaping is part of the restart
        pid = scene.process("tokenizer")["pid"]
        os.kill(pid, signal.SIGKILL)
        manager.child("tokenizer", "backoff")
        manager.child("tokenizer", "ready")
        assert not os.path.exists(f"/proc/{pid}")
    tokenizer = scene.process("tokenizer")
    assert tokenizer["restarts"] == 2 and tokenizer["last_exit"] == "signal 9"
    os.kill(scene.process("router")["pid"], signal.SIGUSR1)
    for _ in range(5):
        manager.child("router", "backoff")
    at = [t for t, who, what, _ in scene.events() if who == "router" and what in ("crash", "start")][1:]
    pauses = [b - a for a, b in zip(at, at[1:])]
    # Each pause and a start that takes the machine's time.
    assert pauses[0] < pauses[2] and pauses[0] < 1, pauses
    for pause, least in zip(pauses[1:], (0.1, 0.2, 0.4)):
        assert least <= pause < least + 2, pauses
    assert scene.process("gateway")["state"] == "ready"
    assert sc.stop(p) == 0


def test_a_stopped_process_is_killed_by_the_watchdog(scene):
    p, manager = scene.start("--watchdog-ms", "2000")
    manager.ready()
    engine = scene.process("engine.1")
    os.kill(engine["pid"], signal.SIGSTOP)
    manager.child("engine.1", "backoff")
    manager.child("engine.1", "ready")
    after = scene.process("engine.1")
    assert after["last_exit"] == "watchdog" and after["pid"] != engine["pid"]
    assert after["restarts"] == 1
    assert [c["restarts"] for c in scene.status()["children"]] == [0, 0, 1, 0]
    assert sc.stop(p) == 0


def test_a_process_that_never_feeds_its_watchdog_is_killed(scene):
    p, manager = scene.start("--watchdog-ms", "400", fake="tokenizer=silent")
    manager.ready()
    manager.child("tokenizer", "backoff")
    assert scene.process("tokenizer")["last_exit"] == "watchdog"
    assert sc.stop(p) == 0


def test_a_supervisor_that_was_held_up_kills_nobody(scene):
    p, manager = scene.start("--watchdog-ms", "600")
    manager.ready()
    pids = scene.pids()
    os.kill(p.pid, signal.SIGSTOP)
    time.sleep(2)  # longer than the watchdog and what counts as late
    os.kill(p.pid, signal.SIGCONT)
    manager.sock.settimeout(1)  # several watchdog periods: nothing changes
    try:
        raise AssertionError(manager.next())
    except TimeoutError:
        pass
    assert all(c["restarts"] == 0 for c in scene.status()["children"])
    assert scene.pids() == pids
    assert sc.stop(p) == 0


def test_a_first_start_that_fails_stops_all_and_shows_the_last_line(scene):
    p, manager = scene.start(fake="engine.1=fail")
    error = manager.error()
    assert "engine.1" in error and "exit 3" in error, error
    assert error.endswith("halo-engine.1: the moon is in the wrong phase"), error
    assert p.wait(sc.PATIENCE_S) == 1
    assert error in p.stderr.read()
    assert order_of(scene, "start") == ["router", "tokenizer", "engine.1"]
    assert not any(sc.is_alive(pid) for pid in scene.pids())


def test_a_process_that_never_gets_ready_fails_the_start(scene):
    p, manager = scene.start("--start-timeout-ms", "300", fake="tokenizer=mute")
    error = manager.error()
    assert "tokenizer" in error and "start timeout" in error, error
    assert p.wait(sc.PATIENCE_S) == 1


def test_a_process_that_ignores_sigterm_is_killed(scene):
    p, manager = scene.start("--stop-timeout-ms", "300", fake="tokenizer=deaf")
    manager.ready()
    assert sc.stop(p) == 0
    assert order_of(scene, "end") == ["gateway", "engine.1", "router"]
    assert not any(sc.is_alive(pid) for pid in scene.pids())


def test_a_second_sigterm_does_not_wait(scene):
    p, manager = scene.start("--stop-timeout-ms", "600000", fake="gateway=deaf router=deaf")
    manager.ready()
    p.send_signal(signal.SIGTERM)
    manager.child("gateway", "stopping")
    p.send_signal(signal.SIGTERM)
    manager.child("router", "stopping")
    p.send_signal(signal.SIGTERM)
    assert p.wait(sc.PATIENCE_S) == 0
    assert not any(sc.is_alive(pid) for pid in scene.pids())


def test_a_process_that_leaves_on_its_own_is_started_again(scene):
    p, manager = scene.start(fake="gateway=leave")
    manager.ready()
    os.kill(scene.process("gateway")["pid"], signal.SIGUSR1)
    manager.child("gateway", "stopping")
    manager.child("gateway", "ready")
    assert scene.process("gateway")["last_exit"] == "exit 0"
    assert sc.stop(p) == 0


def test_no_process_outlives_a_killed_supervisor(scene):
    p, manager = scene.start("--engines", "2", fake="engine.2=deaf")
    manager.ready()
    pids = scene.pids()
    assert len(pids) == 5
    p.kill()
    p.wait()
    assert all(sc.gone(pid) for pid in pids)
    # The directory can be used again at once.
    p, manager = scene.start()
    manager.ready()
    assert sc.stop(p) == 0


def test_two_stacks_run_side_by_side(scene):
    other = sc.Scene(scene.supervisor, scene.halo, scene.fake_child)
    try:
        p1, m1 = scene.start()
        p2, m2 = other.start()
        m1.ready()
        m2.ready()
        assert sc.stop(p1) == 0
        assert all(sc.is_alive(pid) for pid in other.pids())
        assert sc.stop(p2) == 0
    finally:
        other.close()


def test_a_second_supervisor_in_the_same_directory_is_refused(scene):
    p, manager = scene.start()
    manager.ready()
    pids = scene.pids()
    q, other = scene.start("--http", f"127.0.0.1:{sc.free_port()}")
    error = other.error()
    assert f"pid {p.pid}" in error and "halo down" in error, error
    assert q.wait(sc.PATIENCE_S) == 1
    assert scene.pids() == pids and all(sc.is_alive(pid) for pid in pids)
    assert (scene.run / "stack.json").exists()
    assert sc.stop(p) == 0


def test_a_port_in_use_is_named_with_the_remedy(scene):
    with socket.socket() as s:
        s.bind(("127.0.0.1", scene.port))
        s.listen()
        p, manager = scene.start()
        error = manager.error()
        assert f"port {scene.port} is in use" in error and "--http" in error, error
        assert p.wait(sc.PATIENCE_S) == 1
    assert scene.pids() == set()


def test_a_missing_binary_is_named_with_the_remedy(scene):
    (scene.bin / "halo-tokenizer").unlink()
    p, manager = scene.start()
    error = manager.error()
    assert "halo-tokenizer is not in" in error and "--bin" in error, error
    assert p.wait(sc.PATIENCE_S) == 1
    assert scene.pids() == set()


def test_a_program_that_cannot_be_executed_is_named(scene):
    bad = scene.bin / "halo-router"
    bad.unlink()
    bad.write_text("not a program")
    bad.chmod(0o755)
    p, manager = scene.start()
    error = manager.error()
    assert "cannot execute" in error and "Exec format error" in error, error
    assert p.wait(sc.PATIENCE_S) == 1


def test_a_notice_of_a_stranger_is_not_taken(scene):
    p, manager = scene.start(fake="tokenizer=mute")
    manager.child("tokenizer", "starting")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(b"READY=1\nSTATUS=hello", str(scene.run / "notify.sock"))
    assert scene.process("tokenizer")["state"] == "starting"
    assert scene.process("tokenizer")["status"] == ""
    assert sc.stop(p) == 0


def test_children_get_their_arguments_and_a_clean_environment(scene):
    p, manager = scene.start("--engine-args", " --threads 2  --kv-mb=64 ")
    manager.ready()
    pid = scene.process("engine.1")["pid"]
    argv = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    assert argv == [
        b"halo-engine", b"--run", str(scene.run).encode(), b"--log-level", b"info", b"--sandbox", b"on", b"--model",
        str(scene.model).encode(), b"--name", b"1", b"--threads", b"2", b"--kv-mb=64",
    ], argv
    env = dict(e.split(b"=", 1) for e in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if e)
    assert env[b"NOTIFY_SOCKET"] == str(scene.run / "notify.sock").encode()
    assert env[b"WATCHDOG_USEC"] == b"6000000"
    assert env[b"HALO_RUN"] == str(scene.run).encode()
    fds = {int(f) for f in os.listdir(f"/proc/{pid}/fd")}
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    assert not any(os.readlink(f"/proc/{pid}/fd/{f}").startswith(str(scene.run / "supervisor.lock")) for f in fds)
    assert os.getpgid(pid) == pid
    assert sc.stop(p) == 0


if __name__ == "__main__":
    sys.exit(sc.run_tests(sys.modules[__name__], *sc.absolute(sys.argv[1:4])))
