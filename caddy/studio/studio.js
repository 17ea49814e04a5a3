// SPDX-License-Identifier: MIT
// Halo studio: a chat that streams from the API of this very site, and what the server says about itself.
// No library, no build step, nothing from elsewhere.
'use strict';

const LOOK_MS = 5000; // between looks at the server
const RESUME_S = 30; // for which a broken stream is asked for, and the server keeps it
const RETRY_MS = 250; // between the first two times
const byId = (id) => document.getElementById(id);
const [log, form, prompt, send, stop] = ['log', 'form', 'prompt', 'send', 'stop'].map(byId);

let messages = []; // the conversation as the API takes it
let running = null; // AbortController of the reply that comes
let models = [];

// ---- the server -------------------------------------------------------------------------------------

function headers(more = {}) {
    const key = byId('key').value.trim();
    return key ? { authorization: `Bearer ${key}`, ...more } : more;
}

function showState(kind, text) {
    byId('state').className = `state ${kind}`;
    byId('state-text').textContent = text;
}

function showModels(list) {
    const names = list.map((m) => m.id).join('\n');
    if (names !== models.map((m) => m.id).join('\n')) {
        byId('choice').replaceChildren(...list.map((m) => new Option(m.id, m.id)));
    }
    models = list;
    const model = models.find((m) => m.id === byId('choice').value) ?? {};
    byId('model').textContent = model.id ?? '–';
    byId('context').textContent = model.max_model_len ? `${model.max_model_len.toLocaleString()} tokens` : '–';
    byId('hash').textContent = model.hash ? model.hash.slice(0, 10) : '–';
    byId('hash').title = model.hash ?? '';
    byId('about-model').textContent = [model.description, model.license].filter(Boolean).join(' · ');
}

async function look() {
    try {
        const began = performance.now();
        await fetch('/healthz', { cache: 'no-store' });
        byId('latency').textContent = `${(performance.now() - began).toFixed(1)} ms`;
        const ready = await fetch('/readyz', { cache: 'no-store' });
        const says = await ready.json();
        if (ready.ok) showState('good', 'ready');
        else showState('warn', says.reason ?? says.error?.message ?? 'not ready');
        const list = await fetch(`${byId('lane').value}/models`, { headers: headers(), cache: 'no-store' });
        if (list.ok) showModels((await list.json()).data);
        else if (list.status === 401) showState('warn', 'needs an API key: see Settings');
    } catch {
        showState('bad', 'the server does not answer');
    }
}

function lookAgain() {
    look().finally(() => setTimeout(lookAgain, document.hidden ? LOOK_MS * 6 : LOOK_MS));
}

// ---- the conversation -------------------------------------------------------------------------------

function atEnd() {
    return log.scrollHeight - log.scrollTop - log.clientHeight < 40;
}

function add(kind, text) {
    byId('welcome').hidden = true;
    const turn = document.createElement('div');
    turn.className = kind;
    turn.textContent = text;
    log.append(turn);
    log.scrollTop = log.scrollHeight;
    return turn;
}

// The data of each event that comes over one connection. Of the last whole one `at` keeps the number. A
// stream that ends without [DONE] was cut.
async function* read(body, at) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
        const { value, done } = await reader.read();
        if (done) throw new Error('The connection broke before the reply was whole.');
        const blocks = (rest + value).split('\n\n');
        rest = blocks.pop();
        for (const lines of blocks.map((b) => b.split('\n'))) {
            const data = lines.find((l) => l.startsWith('data: '))?.slice(6);
            at.last = lines.find((l) => l.startsWith('id: '))?.slice(4) ?? at.last;
            at.done = data === '[DONE]';
            if (at.done) return;
            if (!data) continue;
            at.wait = 0;
            at.until = performance.now() + RESUME_S * 1000;
            yield JSON.parse(data);
        }
    }
}

// Asks for the rest of a stream, more than once: the server or the network may need a moment.
async function* comeBack(at, signal) {
    while (performance.now() < at.until) {
        await new Promise((resolve) => setTimeout(resolve, at.wait));
        signal.throwIfAborted();
        at.wait = Math.min(at.wait * 2 + RETRY_MS, RETRY_MS * 8); // until something comes
        const response = await fetch(`${at.url}?from=${at.last}`, { signal, headers: headers() }).catch(() => null);
        if (response?.status === 204) return;
        if (response?.ok) return yield* read(response.body, at);
        if (response && response.status < 502) break;
    }
    throw new Error('The connection broke, and the rest of the reply cannot be had any more.', { cause: 'gone' });
}

// The data of each event of a stream. If the connection breaks and the server keeps the stream, the page
// comes back for the rest.
async function* events(response, signal) {
    const id = response.headers.get('x-halo-stream');
    const url = `${byId('lane').value}/streams/${id}`;
    const at = { url, last: '0', done: false, wait: 0, until: performance.now() + RESUME_S * 1000 };
    // Who stops must say so: the server would go on for somebody who comes back.
    const forget = () => fetch(at.url, { method: 'DELETE', headers: headers(), keepalive: true }).catch(() => null);
    if (id) signal.addEventListener('abort', forget, { once: true });
    try {
        for (let source = read(response.body, at); ; source = comeBack(at, signal)) {
            try {
                yield* source;
                return;
            } catch (e) {
                if (!id || signal.aborted || e.cause === 'gone') throw e;
            }
        }
    } finally {
        signal.removeEventListener('abort', forget);
    }
}

function request() {
    const seed = byId('seed').value.trim();
    return {
        model: byId('choice').value, messages, stream: true, stream_options: { include_usage: true },
        temperature: Number(byId('temperature').value), max_tokens: Number(byId('limit').value),
        ...(seed === '' ? {} : { seed: Number(seed) }),
    };
}

// A server that keeps no streams refuses the header; then it goes without.
async function post(signal, more) {
    const response = await fetch(`${byId('lane').value}/chat/completions`, {
        method: 'POST', signal, body: JSON.stringify(request()), headers: headers({ 'content-type': 'application/json', ...more }),
    });
    if (response.status !== 400 || !('x-halo-resume' in more)) return response;
    const isAbout = (await response.clone().text()).includes('x-halo-resume');
    return isAbout ? post(signal, {}) : response;
}

async function refusal(response) {
    try {
        return (await response.json()).error.message;
    } catch {
        return `The server answered ${response.status}.`;
    }
}

// Streams one reply into `turn`; gives the text, also when it was cut short, and what went wrong.
async function stream(turn, signal) {
    const began = performance.now();
    let text = '', first = 0, finish = null, tokens = 0;
    try {
        const response = await post(signal, { 'x-halo-resume': RESUME_S });
        if (!response.ok) return { text, problem: await refusal(response) };
        for await (const event of events(response, signal)) {
            if (event.error) return { text, problem: event.error.message };
            const piece = event.choices?.[0]?.delta?.content;
            finish = event.choices?.[0]?.finish_reason ?? finish;
            tokens = event.usage?.completion_tokens ?? tokens;
            if (!piece) continue;
            first ||= performance.now();
            const follow = atEnd();
            text += piece;
            turn.textContent = text;
            if (follow) log.scrollTop = log.scrollHeight;
        }
    } catch (e) {
        return { text, problem: e.name === 'AbortError' ? 'Stopped.' : e.message };
    }
    const seconds = (performance.now() - first) / 1000;
    if (first) byId('first').textContent = `${(first - began).toFixed(0)} ms`;
    if (tokens > 1) byId('speed').textContent = `${((tokens - 1) / seconds).toFixed(0)} tokens/s`;
    return { text, problem: finish === 'length' ? 'The reply reached the length of Settings or the end of the context.' : null };
}

function setBusy(isBusy) {
    send.hidden = isBusy;
    stop.hidden = !isBusy;
}

async function ask(text) {
    if (running || !text.trim()) return;
    const talk = messages; // another one once "New chat" was pressed
    running = new AbortController();
    setBusy(true);
    add('turn user', text);
    talk.push({ role: 'user', content: text });
    const turn = add('turn assistant waiting', '');
    const { text: reply, problem } = await stream(turn, running.signal);
    turn.classList.remove('waiting');
    if (reply) {
        talk.push({ role: 'assistant', content: reply });
    } else {
        talk.pop(); // so that the question can be asked again
        turn.remove();
    }
    if (problem && talk === messages) add(problem === 'Stopped.' ? 'remark' : 'remark bad', problem);
    running = null;
    setBusy(false);
    prompt.focus();
}

function startAfresh() {
    running?.abort();
    messages = [];
    for (const turn of log.querySelectorAll('.turn, .remark')) turn.remove();
    byId('welcome').hidden = false;
    prompt.focus();
}

// ---- keys and buttons -------------------------------------------------------------------------------

form.addEventListener('submit', (e) => {
    e.preventDefault();
    if (running) return;
    const text = prompt.value;
    prompt.value = '';
    ask(text);
});
prompt.addEventListener('keydown', (e) => {
    if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) {
        e.preventDefault();
        form.requestSubmit();
    } else if (e.key === 'ArrowUp' && prompt.value === '') {
        prompt.value = messages.findLast((m) => m.role === 'user')?.content ?? '';
    }
});
document.addEventListener('keydown', (e) => {
    if (e.key === 'Escape') running?.abort();
    const isTyping = e.target.closest('input, textarea, select');
    if (e.key === '/' && !isTyping) {
        e.preventDefault();
        prompt.focus();
    }
});
stop.addEventListener('click', () => running?.abort());
byId('fresh').addEventListener('click', startAfresh);
for (const button of document.querySelectorAll('.try')) button.addEventListener('click', () => ask(button.textContent));
for (const id of ['choice', 'lane', 'key']) byId(id).addEventListener('change', look);

const root = document.documentElement;
const remembered = localStorage.getItem('theme');
if (remembered) root.dataset.theme = remembered;
byId('theme').addEventListener('click', () => {
    const isDark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = isDark ? 'light' : 'dark';
    localStorage.setItem('theme', root.dataset.theme);
});

byId('base').textContent = `${location.origin}/v1`;
prompt.focus();
lookAgain();
