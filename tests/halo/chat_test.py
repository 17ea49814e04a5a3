# SPDX-License-Identifier: MIT
"""halo chat against a fake server, also on a terminal: chat_test.py HALO."""
import contextlib
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "supervisor"))
import fake_gateway  # noqa: E402
import scene as sc  # noqa: E402

PARIS = "The capital of France is Paris."


class Chat:
    def __init__(self, halo):
        self.halo = halo
        self.server = fake_gateway.Server().start()

    def close(self):
        self.server.pause.set()
        self.server.shutdown()
        self.server.server_close()

    def arguments(self, *words):
        return [self.halo, "chat", "--url", self.server.url, *words]

    def ask(self, *words, stdin=None, env=None):
        return subprocess.run(self.arguments(*words), input=stdin, capture_output=True, text=True,
                              timeout=sc.PATIENCE_S, env={**os.environ, **(env or {})},
                              stdin=subprocess.DEVNULL if stdin is None else None)

    def request(self):
        return self.server.requests[-1][1]


class Terminal:
    """`halo chat` on a pseudo-terminal."""

    def __init__(self, argv):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", LC_ALL="C.UTF-8", NO_COLOR="1")
            os.execv(argv[0], argv)
        self.seen = ""
        self.status = None

    def read(self):
        ready, _, _ = select.select([self.fd], [], [], sc.PATIENCE_S)
        assert ready, f"nothing more came after: {self.seen[-300:]!r}"
        try:
            data = os.read(self.fd, 4096)
        except OSError:
            data = b""
        self.seen += data.decode(errors="replace")
        return data

    def until(self, pattern):
        """Takes what is printed up to the pattern."""
        while not (m := re.search(pattern, self.seen, re.S)):
            assert self.read(), f"it ended before {pattern!r}: {self.seen[-300:]!r}"
        text, self.seen = self.seen[: m.end()], self.seen[m.end() :]
        return text

    def type(self, text):
        os.write(self.fd, text.encode())

    def enter(self, text):
        self.until("> $")
        self.type(text + "\r")
        self.until(re.escape(text.split("\n")[-1]) + "[^\n]*\n")

    def wait(self):
        while self.read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self):
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@contextlib.contextmanager
def terminal(chat, *words):
    t = Terminal(chat.arguments(*words))
    try:
        yield t
    finally:
        t.close()


# ---- one question ---------------------------------------------------------------------------------


def test_one_question_prints_the_answer(chat):
    r = chat.ask("What is the", "capital of France?")
    assert (r.returncode, r.stdout, r.stderr) == (0, PARIS + "\n", ""), r
    q = chat.request()
    assert q == {"model": "fake-model", "stream": True, "temperature": 0.3, "stream_options": {"include_usage": True},
                 "messages": [{"role": "user", "content": "What is the capital of France?"}]}, q


def test_options_become_fields(chat):
    r = chat.ask("hi", "--system", "be brief", "--max-tokens", "9", "--temperature", "0.5", "--seed", "42",
                 "--model", "fake-model")
    assert r.returncode == 0, r
    q = chat.request()
    assert q["messages"][0] == {"role": "system", "content": "be brief"}
    assert (q["max_tokens"], q["temperature"], q["seed"], q["model"]) == (9, 0.5, 42, "fake-model"), q


def test_a_url_may_end_in_v1_and_a_key_comes_from_the_environment(chat):
    chat.server.url += "/v1/"
    assert chat.ask("hi", env={"HALO_API_KEY": "sk-1"}).returncode == 0
    assert chat.server.requests[-1][0]["Authorization"] == "Bearer sk-1"


def test_the_question_may_come_from_stdin(chat):
    r = chat.ask(stdin="Is this\ntext? Æ\n\n")
    assert r.stdout == PARIS + "\n", r
    assert chat.request()["messages"] == [{"role": "user", "content": "Is this\ntext? Æ"}]
    r = chat.ask(stdin="\n")
    assert r.returncode == 2 and "no question" in r.stderr, r


def test_stats_show_the_tokens(chat):
    r = chat.ask("hi", "--stats")
    assert r.stdout == PARIS + "\n" and r.stderr.startswith("[7 + 6 tokens, first after "), r
    assert r.stderr.endswith(", stop]\n"), r


def test_errors_of_the_server_are_shown_and_fail(chat):
    for question, want in (("refused", "the fake refuses this"), ("broken", "the engine was lost"),
                           ("cut", "the reply is cut off")):
        r = chat.ask(question)
        assert r.returncode == 1 and want in r.stderr, r


def test_a_server_that_is_not_there_or_serves_nothing_is_named(chat):
    r = subprocess.run([chat.halo, "chat", "--url", f"http://127.0.0.1:{sc.free_port()}", "hi"],
                       capture_output=True, text=True, timeout=sc.PATIENCE_S)
    assert r.returncode == 1 and "onnect" in r.stderr, r
    chat.server.readiness = lambda: 503
    r = chat.ask("hi")
    assert r.returncode == 1 and "no model" in r.stderr, r


def test_bad_values_are_refused(chat):
    for words, want in ((("--temperature", "hot"), "--temperature"), (("--temperature", "-1"), "--temperature"),
                        (("--seed", "x"), "--seed"), (("--max-tokens", "-3"), "max-tokens")):
        r = chat.ask("hi", *words)
        assert r.returncode == 2 and want in r.stderr, r
    r = chat.ask(b"\xff".decode(errors="surrogateescape"))
    assert r.returncode == 2 and "UTF-8" in r.stderr, r
    assert chat.server.requests == []


def test_ctrl_c_ends_one_question_and_the_server_notices(chat):
    p = subprocess.Popen(chat.arguments("endless"), stdout=subprocess.PIPE, text=True)
    with p:
        assert p.stdout.read(5) == "word "
        p.send_signal(signal.SIGINT)
        assert p.wait(sc.PATIENCE_S) == -signal.SIGINT
    assert chat.server.client_left.wait(sc.PATIENCE_S)


def test_a_reply_goes_on_over_another_connection(chat):
    r = chat.ask("breaks")
    assert (r.returncode, r.stdout, r.stderr) == (0, PARIS + "\n", ""), r
    assert chat.server.returns == [n for i in range(1, 7) for n in (i, i)], chat.server.returns
    assert chat.server.requests[-1][0]["x-halo-resume"] == "20"


def test_a_stream_that_the_server_lost_is_an_error(chat):
    r = chat.ask("lost")
    assert r.returncode == 1 and r.stdout == "The \n" and "the stream is gone" in r.stderr, r
    assert chat.server.returns == [1]


def test_a_server_that_keeps_no_streams_is_asked_without_it(chat):
    r = chat.ask("unkept")
    assert (r.returncode, r.stdout, r.stderr) == (0, PARIS + "\n", ""), r
    assert "x-halo-resume" not in chat.server.requests[-1][0]


def test_the_answer_comes_word_by_word(chat):
    p = subprocess.Popen(chat.arguments("endless"), stdout=subprocess.PIPE, text=True)
    with p:
        assert p.stdout.read(10) == "word word "  # the stream has no end, so nothing was held back
        p.kill()


# ---- a conversation -------------------------------------------------------------------------------


def test_a_conversation_remembers_what_was_said(chat):
    with terminal(chat) as t:
        t.enter("hello")
        t.until(re.escape(PARIS))
        t.enter("count")
        t.until("user,assistant,user\r")
        t.enter("/reset")
        t.until("a new conversation")
        t.enter("count")
        t.until(r"\nuser\r|^user\r")
        t.enter("/system be brief")
        t.enter("count")
        t.until("system,user\r")
        t.enter("/quit")
        assert t.wait() == 0
    assert chat.request()["messages"][0] == {"role": "system", "content": "be brief"}


def test_ctrl_c_ends_a_reply_and_keeps_the_conversation(chat):
    with terminal(chat) as t:
        t.enter("endless")
        t.until("word word ")
        t.type("\x03")
        t.until("cancelled")
        assert chat.server.deleted == ["/v1/streams/id1"]
        assert chat.server.client_left.wait(sc.PATIENCE_S)
        t.enter("count")
        t.until("user,assistant,user\r")
        assert chat.request()["messages"][1]["content"].startswith("word word ")
        t.until("> $")
        t.type("\x04")
        assert t.wait() == 0


def test_ctrl_c_at_the_prompt_drops_the_line(chat):
    with terminal(chat) as t:
        t.until("> $")
        t.type("not this")
        t.until("not this")
        t.type("\x03")
        t.until(r"\^C")
        t.enter("but this")
        t.until(re.escape(PARIS))
        assert chat.request()["messages"] == [{"role": "user", "content": "but this"}]
        t.until("> $")
        t.type("\x04")
        assert t.wait() == 0


def test_lines_can_be_edited_recalled_and_continued(chat):
    with terminal(chat) as t:
        t.until("> $")
        t.type("hallo\x02\x02\x02\x02\x04e\r")  # back to the a, delete it, e instead
        t.until(re.escape(PARIS))
        assert chat.request()["messages"][-1]["content"] == "hello"
        t.until("> $")
        t.type("\x10 again\r")  # the line before, and more
        t.until(re.escape(PARIS))
        assert chat.request()["messages"][-1]["content"] == "hello again"
        t.until("> $")
        t.type("one\\\r")
        t.until(r"\. $")
        t.type("två\r")
        t.until(re.escape(PARIS))
        assert chat.request()["messages"][-1]["content"] == "one\ntvå"


def test_an_error_keeps_the_conversation_without_what_failed(chat):
    with terminal(chat) as t:
        t.enter("refused")
        t.until("error: the fake refuses this")
        t.enter("count")
        t.until(r"\nuser\r|^user\r")


def test_unknown_commands_show_the_known_ones(chat):
    with terminal(chat) as t:
        t.enter("/frob")
        t.until("no command /frob.*/reset.*/system.*/quit")
        assert chat.server.requests == []


def test_control_characters_of_a_reply_do_not_reach_the_terminal(chat):
    with terminal(chat) as t:
        t.enter("evil")
        assert "\x1b[31m" not in t.until(r"a.\[31mb")


if __name__ == "__main__":
    sys.exit(sc.run_tests(sys.modules[__name__], os.path.abspath(sys.argv[1]), make=Chat))
