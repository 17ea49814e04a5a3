# SPDX-License-Identifier: MIT
"""halo pull against a hub on this machine that misbehaves as asked: pull_test.py HALO."""
import fcntl
import hashlib
import http.server
import json
import os
import pathlib
import pty
import random
import re
import select
import subprocess
import sys
import tempfile
import threading
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "supervisor"))
import scene as sc  # noqa: E402

REPO = "someone/a-model"


def bytes_of(name, size):
    return random.Random(name).randbytes(size)


FILES = {
    "config.json": b'{"model_type": "bitnet"}\n',
    "tokenizer.json": bytes_of("tokenizer", 300_000),
    "model-00001-of-00002.safetensors": bytes_of("one", 3_000_000),
    "model-00002-of-00002.safetensors": bytes_of("two", 2_000_001),
    "model.safetensors.index.json": b"{}",
    "LICENSE": b"",
    "README.md": b"# not needed",
    "original/model.safetensors": b"another form",
}
WEIGHTS = "model-00001-of-00002.safetensors"
NEEDED = sorted(n for n in FILES if "/" not in n and n != "README.md")


def entry(path, body):
    git = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
    e = {"type": "file", "path": path, "size": len(body), "oid": git}
    if path.endswith((".safetensors", ".gguf")):
        e["lfs"] = {"oid": hashlib.sha256(body).hexdigest(), "size": len(body)}
    return e


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        hub = self.server
        with hub.lock:
            hub.seen.append((self.path, dict(self.headers.items())))
        parts = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(parts.path)
        if hub.status:
            self.answer(hub.status, b"no", **({"retry-after": "0"} if hub.status == 429 else {}))
        elif path == f"/api/models/{REPO}/tree/{hub.revision}":
            self.listing(hub, parts.query)
        elif path.startswith(f"/{REPO}/resolve/{hub.revision}/"):
            self.resolve(hub, path.split(f"/{hub.revision}/", 1)[1])
        elif path.startswith("/by/cdn/"):
            self.file(hub, path[8:])
        else:
            self.answer(404, b"no such thing")

    def listing(self, hub, query):
        rows = [{"type": "directory", "path": "original", "size": 0, "oid": "0" * 40}]
        rows += hub.extra
        rows += [entry(n, b[:1000] if n in hub.lies else b) for n, b in hub.files.items()]
        half = len(rows) // 2
        if "cursor" in query:
            self.answer(200, json.dumps(rows[half:]).encode())
        else:
            link = f'<{hub.url}{self.path}&cursor=x>; rel="next"'
            self.answer(200, json.dumps(rows[:half]).encode(), link=link)

    def resolve(self, hub, name):
        if hub.cdn and name.endswith(".safetensors"):
            self.answer(302, b"over there", location=f"{hub.cdn}/by/cdn/{name}")
        else:
            self.file(hub, name)

    def file(self, hub, name):
        if name not in hub.files:
            return self.answer(404, b"no such file")
        body = hub.files[name]
        etag = f'"{hub.version}-{len(body)}"'
        with hub.lock:
            wrong = name in hub.wrong_once
            hub.wrong_once.discard(name)
            drop = hub.drops.get(name, 0) > 0
            hub.drops[name] = hub.drops.get(name, 0) - drop
            no_range = hub.ignores_range > 0 and "range" in self.headers
            hub.ignores_range -= no_range
        if wrong or name in hub.wrong_always:
            body = b"\0" + body[1:]
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        if asked and self.headers.get("if-range") == etag and not no_range:
            start = int(asked[1])
            if start >= len(body):
                return self.answer(416, b"")
        self.send_response(206 if start else 200)
        self.send_header("etag", etag)
        self.send_header("content-length", str(len(body) - start))
        if start:
            self.send_header("content-range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        rest = body[start:]
        if hub.gate.get(name):
            self.wfile.write(rest[: len(rest) // 2])
            hub.gate[name].wait(sc.PATIENCE_S)
            rest = rest[len(rest) // 2:]
        if drop and len(rest) > 1:
            self.wfile.write(rest[: hub.random.randrange(1, len(rest))])
            self.close_connection = True
            self.connection.shutdown(2)
            return None
        self.wfile.write(rest)
        return None


class Hub(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.lock = threading.Lock()
        self.files = dict(files)
        self.revision = "main"
        self.version = "v1"
        self.extra = []
        self.seen = []
        self.status = 0
        self.cdn = None
        self.drops = {}
        self.lies = set()
        self.wrong_once = set()
        self.wrong_always = set()
        self.ignores_range = 0
        self.gate = {}
        self.random = random.Random(4)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *args):
        pass

    def close(self):
        self.shutdown()
        self.server_close()


class Pull:
    def __init__(self, halo):
        self.halo = halo
        self.hub = Hub(FILES)
        self.folder = tempfile.TemporaryDirectory(prefix="halo-pull-")
        self.to = pathlib.Path(self.folder.name) / "out"

    def close(self):
        self.hub.close()
        self.folder.cleanup()

    def arguments(self, *words, name=REPO):
        return [self.halo, "pull", name, "--hub", self.hub.url, "--to", str(self.to), *words]

    def run(self, *words, name=REPO, token=None):
        env = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and k != "HF_TOKEN"}
        env.update({"HF_TOKEN": token} if token else {})
        return subprocess.run(self.arguments(*words, name=name), capture_output=True, text=True,
                              timeout=120, env=env)

    def check(self, names=NEEDED):
        there = sorted(str(p.relative_to(self.to)) for p in self.to.rglob("*") if p.is_file())
        assert there == sorted(names), there
        for name in names:
            assert (self.to / name).read_bytes() == self.hub.files[name], name

    def fetched(self, part):
        return [h for path, h in self.hub.seen if part in path and "/resolve/" in path]


def fails(done, *texts):
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    assert done.stderr.startswith("halo pull: "), done.stderr
    for text in texts:
        assert text in done.stderr, (text, done.stderr)


def good(done):
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stderr == "", done.stderr
    return done.stdout


def test_what_a_model_needs_arrives_and_nothing_else(p):
    out = good(p.run())
    p.check()
    assert f"{REPO} at main" in out and "3.0 MB  model-00001-of-00002.safetensors" in out, out
    assert "6 files, 5.3 MB" in out, out
    assert out.endswith(f"Next: halo convert {p.to} a-model.h1b\n"), out


def test_a_second_run_fetches_nothing_again(p):
    good(p.run())
    n = len(p.hub.seen)
    good(p.run())
    assert all("/resolve/" not in path for path, _ in p.hub.seen[n:])
    (p.to / WEIGHTS).write_bytes(b"x" * 3_000_000)  # the right size, other bytes
    good(p.run())
    p.check()


def test_every_file_survives_connections_that_drop(p):
    p.hub.drops = dict.fromkeys(FILES, 5)
    out = good(p.run())
    p.check()
    assert "next try in" in out
    ranges = [h["Range"] for h in p.fetched(WEIGHTS) if "Range" in h]
    assert len(ranges) == 5 and len(set(ranges)) == 5, ranges


def test_a_later_run_goes_on_where_an_earlier_one_was_killed(p):
    p.hub.gate[WEIGHTS] = threading.Event()
    child = subprocess.Popen(p.arguments("--jobs", "1"), stdout=subprocess.DEVNULL)
    part = p.to / (WEIGHTS + ".part")
    wait_for(lambda: part.exists() and part.stat().st_size >= 1_000_000)
    child.kill()
    child.wait()
    p.hub.gate.pop(WEIGHTS).set()
    size = part.stat().st_size
    good(p.run())
    p.check()
    assert p.fetched(WEIGHTS)[-1]["Range"] == f"bytes={size}-"


def test_a_file_that_changed_in_between_begins_anew(p):
    p.to.mkdir()
    (p.to / (WEIGHTS + ".part")).write_bytes(b"old" * 1000)
    (p.to / (WEIGHTS + ".part.etag")).write_text('"v0-1"\n')
    good(p.run())
    p.check()
    assert p.fetched(WEIGHTS)[0]["If-Range"] == '"v0-1"'


def test_a_part_of_unknown_version_begins_anew(p):
    p.to.mkdir()
    (p.to / (WEIGHTS + ".part")).write_bytes(b"old" * 1000)
    good(p.run())
    p.check()
    assert "Range" not in p.fetched(WEIGHTS)[0]


def test_a_server_that_ignores_range_once_does_no_harm(p):
    p.hub.drops = {WEIGHTS: 3}
    p.hub.ignores_range = 1
    good(p.run())
    p.check()


def test_wrong_bytes_once_are_fetched_again(p):
    p.hub.wrong_once = {WEIGHTS, "tokenizer.json"}
    out = good(p.run())
    p.check()
    assert "the bytes are not those of the listing" in out


def test_wrong_bytes_twice_are_removed_and_reported(p):
    p.hub.wrong_always = {WEIGHTS}
    fails(p.run(), WEIGHTS, "not those that http://127.0.0.1", "have been removed", "@REVISION")
    assert not (p.to / WEIGHTS).exists()
    assert (p.to / (WEIGHTS + ".part")).stat().st_size == 0


def test_a_redirect_is_followed_without_the_token(p):
    cdn = Hub(FILES)
    p.hub.cdn = cdn.url
    good(p.run(token="hf_secret"))
    p.check()
    assert all(h.get("Authorization") == "Bearer hf_secret" for _, h in p.hub.seen)
    assert cdn.seen and all("Authorization" not in h for _, h in cdn.seen)
    cdn.close()


def test_the_token_goes_to_the_hub_alone(p):
    other = Hub(FILES)
    good(p.run(name=f"{other.url}/by/cdn/config.json", token="hf_secret"))
    assert other.seen and all("Authorization" not in h for _, h in other.seen)
    other.close()


def test_a_dropped_redirect_goes_on_at_the_place(p):
    cdn = Hub(FILES)
    cdn.drops = {WEIGHTS: 2}
    p.hub.cdn = cdn.url
    good(p.run())
    p.check()
    assert any("Range" in h for _, h in cdn.seen)
    cdn.close()


def test_refusals_say_what_to_do(p):
    p.hub.status = 401
    fails(p.run(), "HF_TOKEN", "HTTP 401")
    p.hub.status = 403
    fails(p.run(), "HTTP 403", "accept its terms", "HF_TOKEN")
    p.hub.status = 404
    fails(p.run(), f"has no {REPO} at revision main", "HTTP 404")
    p.hub.status = 500
    fails(p.run(), "HTTP status 500")
    p.hub.status = 0
    fails(p.run(name=REPO + "@v9"), "at revision v9")


def test_refused_files_say_what_to_do(p):
    url = f"{p.hub.url}/by/cdn/config.json"
    for status, text in ((401, "wants a token"), (403, "accept the model's terms"),
                         (404, "no such file"), (400, "HTTP status 400")):
        p.hub.status = status
        fails(p.run(name=url), "config.json", text)
    p.hub.status = 503
    fails(p.run("--retries", "1", name=url), "gave up after 2 tries: HTTP status 503")


def test_no_network_is_said(p):
    p.hub.close()
    fails(p.run(), f"cannot reach {p.hub.url}", "is there a network?", "--hub")
    fails(p.run("--retries", "0", name=f"{p.hub.url}/by/cdn/config.json"), "gave up after 1 tries",
          "run the same command again")
    p.hub = Hub(FILES)


def test_one_file_comes_by_its_url(p):
    p.hub.drops = {WEIGHTS: 2}
    good(p.run(name=f"{p.hub.url}/by/cdn/{WEIGHTS}?download=true"))
    p.check([WEIGHTS])


def test_the_url_of_a_repository_or_of_a_page_is_understood(p):
    good(p.run(name=f"{p.hub.url}/{REPO}"))
    p.check()
    p.to = p.to / "page"
    good(p.run(name=f"{p.hub.url}/{REPO}/blob/main/tokenizer.json"))
    p.check(["tokenizer.json"])


def test_a_revision_is_asked_for_by_name(p):
    p.hub.revision = "v2"
    assert f"{REPO} at v2" in good(p.run(name=REPO + "@v2"))
    p.check()
    p.hub.revision = "refs/pr/1"
    p.to = p.to / "of a branch"
    good(p.run(name=REPO + "@refs/pr/1"))
    p.check()
    assert any("/resolve/refs%2Fpr%2F1/" in path for path, _ in p.hub.seen)


def test_of_several_gguf_files_one_must_be_chosen(p):
    p.hub.files = {"a Q2_0.gguf": bytes_of("g", 1000), "b.gguf": b"x", "config.json": b"{}"}
    fails(p.run(), "2 files *.gguf", "--include 'a Q2_0.gguf'", "--include 'b.gguf'")
    out = good(p.run("--include", "*Q2*,none"))
    p.check(["a Q2_0.gguf", "config.json"])
    assert f"halo convert {p.to}/a Q2_0.gguf" in out, out
    fails(p.run("--include", "*.bin"), "no file matches --include *.bin")
    p.hub.files = {"config.json": b"{}"}
    fails(p.run(), "there are no weights")


def test_hostile_listings_are_refused(p):
    for path in ("../evil.gguf", "/etc/evil.gguf", "a/../../evil.gguf", "a//b.gguf", ".", "a\nb",
                 "x" * 600):
        p.hub.extra = [{"type": "file", "path": path, "size": 1, "oid": "0" * 40}]
        fails(p.run(), "names a file that is refused")
    assert not p.to.exists()


def test_more_bytes_than_announced_are_not_kept(p):
    p.hub.lies = {WEIGHTS}
    fails(p.run(), WEIGHTS, "have been removed")
    assert (p.to / (WEIGHTS + ".part")).stat().st_size == 0


def test_too_little_room_is_found_before_anything_comes(p):
    p.hub.extra = [{"type": "file", "path": "huge.safetensors", "size": 1 << 60, "oid": "0" * 40}]
    fails(p.run(), "free and this needs", "--to")
    assert not p.fetched("")


def test_a_write_that_fails_is_said_and_what_came_is_kept(p):
    p.to.mkdir()
    limited = ["sh", "-c", "ulimit -f 2000; trap '' XFSZ; exec \"$@\"", "sh", *p.arguments()]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=60, check=False)
    fails(done, "safetensors", "cannot write in")  # of two at a time, whichever comes first
    assert sum(f.stat().st_size for f in p.to.glob("*.part")) > 500_000
    good(p.run())
    p.check()


def test_a_full_disk_is_said(p):
    p.to.mkdir()
    small = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=1m none \"$0\" && \"$@\"; r=$?; "
             "wc -c \"$0\"/*.part; exit $r", str(p.to)]
    if subprocess.run([*small, "true"], capture_output=True, check=False).returncode != 0:
        print("# skipped: no disk of our own can be mounted")
        return
    done = subprocess.run([*small, *p.arguments(name=f"{p.hub.url}/by/cdn/{WEIGHTS}")],
                          capture_output=True, text=True, timeout=60, check=False)
    fails(done, WEIGHTS, "is full; make room and run the same command again")
    assert int(done.stdout.splitlines()[-1].split()[0]) > 500_000, done.stdout


def test_two_at_once_do_not_mix_their_bytes(p):
    p.to.mkdir()
    with open(p.to / (WEIGHTS + ".part"), "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        fails(p.run(), WEIGHTS, "another halo pull")
    good(p.run())
    p.check()


def test_a_terminal_gets_one_line_of_progress(p):
    p.hub.gate[WEIGHTS] = threading.Event()
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(p.halo, p.arguments())
    seen = ""
    while not re.search(r"\r\x1b\[K[\d.]+ MB of 5\.3 MB, [\d.]+ [kMG]?B/s", seen):
        seen += read_some(fd)
    p.hub.gate[WEIGHTS].set()
    while "Next: halo convert" not in seen:
        seen += read_some(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(fd)
    p.check()


def test_wrong_names_are_refused(p):
    for name in ("model", "a/b/c", "../x", "a/..", "a/b@", "a/b@../x", "https://x"):
        fails(p.run(name=name))
    fails(p.run("--hub", "example.org"), "--hub")
    assert p.hub.seen == []


def test_a_dry_run_only_shows(p):
    assert "6 files" in good(p.run("--dry-run"))
    assert not p.to.exists()


def read_some(fd):
    ready, _, _ = select.select([fd], [], [], sc.PATIENCE_S)
    assert ready, "nothing more came"
    return os.read(fd, 4096).decode()


def wait_for(condition):
    tick = threading.Event()
    for _ in range(sc.PATIENCE_S * 50):
        if condition():
            return
        tick.wait(0.02)
    raise AssertionError("it did not come")


if __name__ == "__main__":
    sys.exit(sc.run_tests(sys.modules[__name__], os.path.abspath(sys.argv[1]), make=Pull))
