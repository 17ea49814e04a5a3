# SPDX-License-Identifier: MIT
"""Runs sdk_client.mjs (OpenAI's own SDK) against the gateway; skipped where node or the SDK is absent.
The SDK is looked for in $HALO_NODE_MODULES and in tests/stack/node_modules."""
import os
import shutil
import subprocess
import sys

from harness import Stack

HERE = os.path.dirname(os.path.abspath(__file__))
PLACES = [os.environ.get('HALO_NODE_MODULES', ''), os.path.join(HERE, '..', 'stack', 'node_modules')]
found = [os.path.abspath(p) for p in PLACES if p and os.path.isdir(os.path.join(p, 'openai'))]
if not shutil.which('node') or not found:
    print('1..0 # SKIP node or the npm package openai is absent')
    sys.exit(0)

with Stack('--ping-ms', '10', delay_ms=12) as stack:
    env = {**os.environ, 'BASE_URL': f'http://127.0.0.1:{stack.port}/v1', 'NODE_MODULES': found[0]}
    code = subprocess.run(['node', os.path.join(HERE, 'sdk_client.mjs')], env=env, timeout=60, check=False).returncode
sys.exit(code)
