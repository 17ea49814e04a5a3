#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The studio page in a real browser (headless Chromium), through Caddy, against a running stack."""
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

import fronts
from halo_stack import PATIENCE, Stack, main, wait_for

STACK = FRONT = PAGE = None


class Browser:
    """Chromium, spoken to over its debugging pipe: JSON objects that end with a NUL."""

    def __init__(self, home):
        to_read, self.to = os.pipe()
        self.come, from_write = os.pipe()
        self.number, self.events = 0, []
        script = f'exec 3<&{to_read} 4>&{from_write}; exec "$0" "$@"'
        self.process = subprocess.Popen(
            ['bash', '-c', script, 'chromium', '--headless=new', '--no-sandbox', '--disable-gpu', '--ignore-certificate-errors',
             '--no-first-run', '--disable-dev-shm-usage', f'--user-data-dir={home}', '--remote-debugging-pipe',
             '--window-size=1200,800', 'about:blank'],
            pass_fds=[to_read, from_write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(from_write)
        self.rest, self.answers, self.came = b'', {}, threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()
        pages = [t for t in self.call('Target.getTargets')['targetInfos'] if t['type'] == 'page']
        self.session = self.call('Target.attachToTarget', targetId=pages[0]['targetId'], flatten=True)['sessionId']
        for domain in 'Page', 'Runtime', 'Log', 'Network':
            self.call(domain + '.enable')

    session = None

    def read(self):
        while data := os.read(self.come, 1 << 16):
            *whole, self.rest = (self.rest + data).split(b'\0')
            with self.came:
                for message in map(json.loads, whole):
                    if 'id' in message:
                        self.answers[message['id']] = message
                    else:
                        self.events.append(message)
                self.came.notify_all()

    def call(self, method, **params):
        self.number += 1
        message = {'id': self.number, 'method': method, 'params': params}
        if self.session:
            message['sessionId'] = self.session
        os.write(self.to, json.dumps(message).encode() + b'\0')
        with self.came:
            assert self.came.wait_for(lambda: message['id'] in self.answers, PATIENCE), method
            answer = self.answers.pop(message['id'])
        assert 'error' not in answer, answer
        return answer['result']

    def js(self, code):
        r = self.call('Runtime.evaluate', expression=code, returnByValue=True)
        assert 'exceptionDetails' not in r, r
        return r['result'].get('value')

    def key(self, key, text=None):
        code = {'Enter': 13, 'Escape': 27}.get(key, 0)
        self.call('Input.dispatchKeyEvent', type='keyDown', key=key, code=key, windowsVirtualKeyCode=code, **({'text': text} if text else {}))
        self.call('Input.dispatchKeyEvent', type='keyUp', key=key, code=key, windowsVirtualKeyCode=code)

    def text(self, selector):
        return self.js(f'[...document.querySelectorAll({selector!r})].map((x) => x.innerText).join("|")')

    def complaints(self):
        """What the console would show in red, policy violations included."""
        with self.came:
            return [e for e in self.events if e['method'] == 'Runtime.exceptionThrown' or
                    (e['method'] == 'Log.entryAdded' and e['params']['entry']['level'] == 'error')]

    def screenshot(self, name):
        if folder := os.environ.get('HALO_SCREENSHOTS'):
            with open(os.path.join(folder, name), 'wb') as f:
                f.write(base64.b64decode(self.call('Page.captureScreenshot')['data']))

    def end(self):
        self.process.kill()
        self.process.wait()
        os.close(self.to)


@contextlib.contextmanager
def browser():
    home = tempfile.mkdtemp(prefix='halo-chromium-')
    b = Browser(home)
    try:
        yield b
    finally:
        b.end()
        shutil.rmtree(home, ignore_errors=True)


def open_page():
    wait_for('readiness', lambda: FRONT.request('GET', '/readyz')[0] == 200)
    PAGE.call('Page.navigate', url=FRONT.url('/studio/'))
    wait_for('the model', lambda: PAGE.text('#model') == 'halo-demo')


def write(text):
    PAGE.call('Input.insertText', text=text)


def test_it_shows_what_the_server_is():
    open_page()
    wait_for('readiness', lambda: PAGE.text('#state-text') == 'ready')
    assert PAGE.text('#context') == '2,048 tokens' and len(PAGE.text('#hash')) == 10
    assert PAGE.text('#latency').endswith(' ms') and PAGE.text('#base') == FRONT.url('/v1')
    PAGE.screenshot('light.png')


def test_a_question_by_keyboard_is_answered_as_a_stream():
    open_page()
    assert PAGE.js('document.activeElement.id') == 'prompt'
    PAGE.js('document.getElementById("temperature").value = "0"')
    write('What is the capital of France?')
    PAGE.key('Enter', '\r')
    wait_for('the answer', lambda: 'Paris' in PAGE.text('.turn.assistant') and not PAGE.js('!!running'))
    assert PAGE.text('.turn.user') == 'What is the capital of France?'
    assert PAGE.text('#first').endswith(' ms') and PAGE.text('#speed').endswith(' tokens/s')
    PAGE.js('document.getElementById("theme").click()')
    PAGE.screenshot('dark.png')


def test_escape_stops_a_reply_and_frees_its_sequence():
    open_page()
    PAGE.js('document.getElementById("limit").value = "1900"')
    write('Tell me a very long story about a fox and a bear and all their friends.')
    PAGE.key('Enter', '\r')
    wait_for('some text', lambda: len(PAGE.text('.turn.assistant')) > 20)
    if PAGE.js('!!running'):
        PAGE.key('Escape')
        wait_for('the end', lambda: not PAGE.js('!!running'))
        wait_for('the sequence to be gone', lambda: STACK.metric('vllm:num_requests_running') == 0)


def test_a_cut_stream_is_said_to_be_cut():
    open_page()
    pids = {name: c['pid'] for name, c in STACK.children().items()}
    os.kill(pids['engine.1'], signal.SIGSTOP)  # so that the reply cannot end before the gateway
    try:
        write('Tell me a long story.')
        PAGE.key('Enter', '\r')
        wait_for('the reply to begin', lambda: STACK.metric('halo_replies_in_flight') == 1)
        os.kill(pids['gateway'], signal.SIGKILL)
        wait_for('the remark', lambda: 'The ' in PAGE.text('.remark.bad') and not PAGE.js('!!running'))
    finally:
        os.kill(pids['engine.1'], signal.SIGCONT)


def headers_of_the_stream():
    with PAGE.came:
        return [e['params']['response']['headers'] for e in PAGE.events if e['method'] == 'Network.responseReceived'
                and 'x-halo-stream' in e['params']['response']['headers']]


def test_a_reply_goes_on_when_the_connection_breaks():
    open_page()
    question = 'Tell me a story about a fox.'
    wanted = STACK.chat(question, temperature=0, max_tokens=1000)['choices'][0]['message']['content']
    PAGE.js('document.getElementById("temperature").value = "0"; document.getElementById("limit").value = "1000"')
    before = len(headers_of_the_stream())
    engine = STACK.children()['engine.1']['pid']
    write(question)
    PAGE.key('Enter', '\r')
    wait_for('some text', lambda: len(PAGE.text('.turn.assistant')) > 20)
    os.kill(engine, signal.SIGSTOP)
    try:
        stream = headers_of_the_stream()[before]['x-halo-stream']
        continued = STACK.metric('halo_streams_continued_total')
        # Somebody else reads it, which cuts the page off, until the page takes it back.
        with contextlib.closing(STACK.connect()) as c:
            c.request('GET', f'/v1/streams/{stream}')
            assert c.getresponse().status in (200, 204)
            wait_for('the page to be back', lambda: STACK.metric('halo_streams_continued_total') >= continued + 2
                     or not PAGE.js('!!running'))
    finally:
        os.kill(engine, signal.SIGCONT)
    wait_for('the end', lambda: not PAGE.js('!!running'))
    assert PAGE.text('.remark.bad') == '' and PAGE.js('messages.at(-1).content') == wanted


def test_it_fits_a_telephone():
    PAGE.call('Emulation.setDeviceMetricsOverride', width=390, height=800, deviceScaleFactor=1, mobile=True)
    open_page()
    assert PAGE.js('document.documentElement.scrollWidth') <= 390
    PAGE.screenshot('narrow.png')
    PAGE.call('Emulation.clearDeviceMetricsOverride')


def test_nothing_from_elsewhere_and_nothing_against_the_policy():
    with PAGE.came:
        urls = {e['params']['request']['url'] for e in PAGE.events if e['method'] == 'Network.requestWillBeSent'}
    assert urls and all(u.startswith(FRONT.url('/')) for u in urls), urls
    wrong = [e for e in PAGE.complaints() if 'Content Security Policy' in json.dumps(e) or e['method'] == 'Runtime.exceptionThrown']
    assert not wrong, wrong


if __name__ == '__main__':
    if shutil.which('chromium') is None:
        print('1..1\nok 1 - studio # SKIP chromium is not installed')
        sys.exit(0)
    with Stack() as STACK, fronts.caddy(f'127.0.0.1:{STACK.port}') as FRONT, browser() as PAGE:
        main(sys.modules['__main__'])
