#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Stands for halo-gateway in the tests of `halo`: the few routes that `halo` uses, answered from a
script instead of a model. As a program it is a service (LISTEN_FDS, NOTIFY_SOCKET); imported, it
serves a thread. The last message of a chat chooses what happens:

    count     the reply is the roles of all messages, with commas between
    endless   words until the client goes away
    cut       the stream ends without [DONE]
    breaks    a stream that is kept: the connection breaks after each word, and every second one that
              comes for more gets a 502 first
    lost      the same, but those who come for more are told that it is gone
    unkept    x-halo-resume is refused with status 400
    broken    an error event in the stream
    refused   status 400 with an error body
    evil      the reply has a terminal escape sequence
    else      $HALO_FAKE_ANSWER, or "The capital of France is Paris." """
import http.server
import json
import os
import signal
import socket
import sys
import threading

MODEL = "fake-model"
MODEL_ROW = {"id": MODEL, "hash": os.environ.get("HALO_FAKE_HASH", "")}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body):
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_GET(self):
        is_ready = self.server.readiness() == 200
        if self.path.startswith("/v1/streams/id1?from="):
            self.come_back(int(self.path.split("=")[1]))
        elif self.path in ("/healthz", "/readyz"):
            self.answer(200 if is_ready or self.path == "/healthz" else 503, {"status": "?"})
        elif self.path == "/v1/models":
            self.answer(200, {"object": "list", "data": [MODEL_ROW] if is_ready else []})
        else:
            self.answer(404, {"error": {"message": "no such route"}})

    def do_DELETE(self):
        self.server.deleted.append(self.path)
        self.answer(200, {"deleted": True})

    def come_back(self, number):
        self.server.returns.append(number)
        if self.server.requests[-1][1]["messages"][-1]["content"] == "lost":
            self.answer(404, {"error": {"message": "the stream is gone"}})
        elif len(self.server.returns) % 2:
            self.answer(502, {})
        else:
            self.begin()
            self.word(number)

    def word(self, number):
        """The event after that number; the connection breaks in the midst of the next one."""
        words = "The capital of France is Paris.".split(" ")
        if number < len(words):
            text = words[number] + (" " if number + 1 < len(words) else "")
            data = json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
        else:
            data = "[DONE]"
        self.chunk(f"id: {number + 1}\ndata: {data}\n\nid: {number + 2}\ndata: half")
        self.close_connection = True

    def begin(self, **headers):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def chunk(self, text):
        raw = text.encode()
        self.wfile.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
        self.wfile.flush()

    def event(self, data):
        self.chunk(f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n")

    def delta(self, text=None, finish=None):
        self.event({"choices": [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}]})

    def endless(self):
        try:
            while True:
                self.delta("word ")
                self.server.streaming.set()
                if self.server.pause.wait(0.02):
                    break
        except OSError:
            self.server.client_left.set()
            self.close_connection = True

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append((dict(self.headers), request))
        last = request["messages"][-1]["content"]
        if last == "refused" or request["model"] != MODEL:
            self.answer(400, {"error": {"message": "the fake refuses this", "type": "invalid_request_error"}})
            return
        if last == "unkept" and "x-halo-resume" in self.headers:
            self.answer(400, {"error": {"message": "The header 'x-halo-resume' is not a number from 0 to 0."}})
            return
        self.begin(**({"x_halo_stream": "id1"} if last in ("breaks", "lost", "endless") else {}))
        self.wfile.write(b"5\r\n:hi\n\n\r\n")
        if last in ("breaks", "lost"):
            self.word(0)
            return
        if last == "endless":
            self.endless()
            return
        text = os.environ.get("HALO_FAKE_ANSWER", "The capital of France is Paris.")
        if last == "count":
            text = ",".join(m["role"] for m in request["messages"])
        elif last == "evil":
            text = "a\x1b[31mb"
        words = text.split(" ")
        for i, word in enumerate(words):
            self.delta(word + (" " if i + 1 < len(words) else ""))
        if last == "broken":
            self.event({"error": {"message": "the engine was lost", "type": "server_error"}})
        elif last != "cut":
            self.delta(finish="stop")
            self.event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(words)}})
            self.event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, listening=None):
        super().__init__(("127.0.0.1", 0), Handler, bind_and_activate=listening is None)
        if listening is not None:
            self.socket.close()
            self.socket = listening
        self.requests = []
        self.returns = []  # the numbers of the events after which streams were asked for
        self.deleted = []  # paths
        self.streaming = threading.Event()
        self.client_left = threading.Event()
        self.pause = threading.Event()
        self.readiness = lambda: 200
        self.url = "http://127.0.0.1:%d" % self.socket.getsockname()[1]

    def handle_error(self, request, client_address):
        """A client that went away is no error here."""

    def start(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self


def notify(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])


def main():
    if sys.argv[1:] == ["--version"]:
        print("halo-gateway 9.9.9 (fake)")
        return
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    assert os.environ["LISTEN_FDS"] == "1" and os.environ["LISTEN_PID"] == str(os.getpid())
    server = Server(socket.socket(fileno=3))
    began = [0]

    def readiness():
        began[0] += 1  # not at the first question, as the real one
        return 200 if began[0] > int(os.environ.get("HALO_FAKE_UNREADY", "1")) else 503

    server.readiness = readiness
    server.start()
    print("fake gateway", *sys.argv[1:], file=sys.stderr, flush=True)
    notify("READY=1\nSTATUS=faking")
    while not stop.wait(5):
        notify("WATCHDOG=1")


if __name__ == "__main__":
    main()
