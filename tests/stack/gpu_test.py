#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A GPU dies under streams in every way a GPU can, and the clients see the bytes of the CPU.

Beside the engine of the stack, which computes on the CPU, runs one with --backend hip. Its library is
the stand-in of tests/gpu: the real kernels, on the CPU, with faults on demand (HALO_STANDIN)."""
import os
import signal
import subprocess
import sys
import threading

from halo_stack import BUILD, MODEL, Skip, Stack, in_parallel, main, wait_for

ENGINE = os.path.join(BUILD, 'services/engine/halo-engine')
STANDIN = os.path.join(BUILD, 'tests/gpu/libhalo-standin-hip.so')
STACK = None

# Greedy, drawn from the largest, from all with changes, from those that make up most.
FIELDS = [
    {'temperature': 0},
    {'temperature': 1, 'seed': 12, 'top_k': 40},
    {'temperature': 0.8, 'seed': 3, 'repetition_penalty': 1.1},
    {'temperature': 0.7, 'seed': 4, 'top_p': 0.9, 'logprobs': True},
]


def ask(topic, number, on_event=None):
    """Of a topic that nobody asked about before: no engine has a prompt's blocks, so all get their share."""
    events = STACK.stream_chat(f'{topic}, {number}: tell a story.', on_event, max_tokens=8, ignore_eos=True,
                               **FIELDS[number])
    return [(c['delta'], c.get('logprobs'), c['finish_reason']) for e in events for c in e['choices']]


def ask_all(topic, on_event=None):
    return in_parallel([lambda i=i: ask(topic, i, on_event) for i in range(len(FIELDS))])


class Gpu:
    """An engine on the stand-in, known to the router when the block begins."""

    def __init__(self, words, *args):
        self.words = words
        self.args = args
        self.log = os.path.join(STACK.run, 'gpu.log')

    def text(self):
        with open(self.log, encoding='utf-8') as f:
            return f.read()

    def __enter__(self):
        with open(self.log, 'w', encoding='utf-8') as log:
            self.process = subprocess.Popen(
                [ENGINE, '--run', STACK.run, '--model', MODEL, '--name', 'gpu', '--threads', '1', '--spec-tokens', '0', '--step-tokens', '32',
                 '--gpu-timeout', '60000',
                 '--backend', 'hip', '--gpu-library', STANDIN, *self.args],
                stderr=log, env={**os.environ, 'HALO_STANDIN': self.words})
        wait_for('the engine on the GPU', lambda: 'ev=router-up' in self.text() or self.process.poll() is not None)
        if 'built without clang-19' in self.text():
            raise Skip('this build has no GPU kernels')
        assert self.process.poll() is None, self.text()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def survive(topic, words, event, *args):
    """All streams at once, of which some are the GPU's when it fails."""
    armed = os.path.join(STACK.run, topic)
    with Gpu(f'{words} armed-by={armed}', *args) as gpu:
        with open(armed, 'w', encoding='utf-8'):
            pass
        got = ask_all(topic)
        status = wait_for('the end of the engine', gpu.process.poll)
        assert status == 1, (status, gpu.text())
        lines = [line for line in gpu.text().splitlines() if f'ev={event} ' in line]
        assert len(lines) == 1 and 'level=error' in lines[0] and ' do=' in lines[0], gpu.text()
    expected = ask_all(topic)
    assert got == expected, (got, expected)


def test_streams_survive_a_lost_device():
    survive('foxes', 'lose=3', 'gpu-failed')


def test_streams_survive_a_failed_launch():
    survive('birds', 'fail-graph=2', 'gpu-failed')


def test_streams_survive_a_hung_kernel():
    survive('cats', 'hang=3', 'gpu-hangs', '--gpu-timeout', '4000')


def test_a_launch_that_does_nothing_is_no_answer():
    survive('dogs', 'skip=4', 'gpu-nonsense')


def test_the_gpu_goes_on_where_the_cpu_died():
    lock = threading.Lock()
    with Gpu('') as gpu:
        def on_event(n):
            if n == 3 and lock.acquire(blocking=False):
                STACK.kill('engine.1')

        got = ask_all('bears', on_event)
        gpu.process.terminate()
        assert gpu.process.wait(60) == 0, gpu.text()
    expected = ask_all('bears')
    assert got == expected, (got, expected)


def test_without_a_gpu_hip_is_an_error_and_auto_the_cpu():
    r = subprocess.run([ENGINE, '--run', STACK.run, '--model', MODEL, '--backend', 'hip', '--gpu-library', STANDIN],
                       capture_output=True, text=True, timeout=60, env={**os.environ, 'HALO_STANDIN': 'devices=0'})
    assert r.returncode == 1, r
    assert 'ev=gpu-refused' in r.stderr and 'halo doctor' in r.stderr, r.stderr
    with open(os.path.join(STACK.run, 'log', 'engine.1.log'), encoding='utf-8') as f:
        log = f.read()
    assert 'ev=no-gpu' in log, log


if __name__ == '__main__':
    os.environ['HALO_STANDIN'] = 'devices=0'
    with Stack('--engine-args', f'--threads 1 --gpu-library {STANDIN}') as STACK:
        main(sys.modules['__main__'])
