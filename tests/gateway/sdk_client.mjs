// SPDX-License-Identifier: MIT
// What OpenAI's SDK makes of the gateway's answers. Prints TAP.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const require = createRequire(process.env.NODE_MODULES + '/x.js');
const { OpenAI } = require('openai');
const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: 'none', maxRetries: 0 });
const model = 'fake-model';
const chat = (content, more) => ({ model, messages: [{ role: 'user', content }], ...more });

const tests = {
  async 'models are listed and retrieved'() {
    const ids = [];
    for await (const m of client.models.list()) ids.push(m.id);
    assert.deepEqual(ids, [model]);
    assert.equal((await client.models.retrieve(model)).owned_by, 'halo');
  },
  async 'a chat completion is read'() {
    const answer = await client.chat.completions.create(chat('one two'));
    assert.equal(answer.choices[0].message.content, 'one two');
    assert.equal(answer.usage.total_tokens, 9);
    assert.match(answer._request_id, /^req_/);
  },
  async 'a stream is read to its end with usage'() {
    const stream = await client.chat.completions.create(
      chat('one two three', { stream: true, stream_options: { include_usage: true } }));
    let text = '';
    let usage = null;
    let finish = null;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      finish = chunk.choices[0]?.finish_reason ?? finish;
      usage = chunk.usage ?? usage;
    }
    assert.deepEqual([text, finish, usage.completion_tokens], ['one two three', 'stop', 3]);
  },
  async 'the stream helper gathers a completion'() {
    const stream = client.chat.completions.stream(chat('one two three', { logprobs: true, top_logprobs: 2 }));
    const answer = await stream.finalChatCompletion();
    assert.equal(answer.choices[0].message.content, 'one two three');
    assert.equal(answer.choices[0].logprobs.content.length, 3);
  },
  async 'pings are ignored'() {
    const answer = await client.chat.completions.stream(chat('@count 10')).finalContent();
    assert.equal(answer.split(' ').length, 11);
  },
  async 'a failure in a stream throws'() {
    const stream = await client.chat.completions.create(chat('@midfail 28 broken', { stream: true }));
    await assert.rejects(async () => { for await (const chunk of stream) assert.ok(chunk); }, /broken|terminated/);
  },
  async 'statuses become the exceptions that programs catch'() {
    const ask = (body) => client.chat.completions.create(body);
    await assert.rejects(ask(chat('@fail 6 x')), OpenAI.RateLimitError);
    await assert.rejects(ask(chat('@fail 28 x')), OpenAI.InternalServerError);
    await assert.rejects(ask(chat('@fail 21 x')), (e) => e instanceof OpenAI.BadRequestError && e.code === 'context_length_exceeded');
    await assert.rejects(ask({ ...chat('x'), model: 'y' }), (e) => e instanceof OpenAI.NotFoundError && e.code === 'model_not_found');
    await assert.rejects(ask(chat('x', { temperature: 3 })), (e) => e.param === 'temperature' && e.type === 'invalid_request_error');
  },
  async 'a retry after 429 is made by the SDK itself'() {
    const patient = client.withOptions({ maxRetries: 1 });
    await assert.rejects(patient.chat.completions.create(chat('@fail 6 x')), OpenAI.RateLimitError);
  },
  async 'an aborted stream ends'() {
    const stream = await client.chat.completions.create(chat('@count 100000', { stream: true }));
    let n = 0;
    for await (const chunk of stream) {
      assert.ok(chunk);
      if (++n === 5) break;
    }
    assert.equal(n, 5);
  },
  async 'raw completions are read'() {
    const answer = await client.completions.create({ model, prompt: ['a b', 'c'], logprobs: 1, echo: false });
    assert.deepEqual(answer.choices.map((c) => c.text), ['a b', 'c']);
    const stream = await client.completions.create({ model, prompt: 'a b', stream: true });
    let text = '';
    for await (const chunk of stream) text += chunk.choices[0].text;
    assert.equal(text, 'a b');
  },
};

const names = Object.keys(tests);
console.log(`1..${names.length}`);
for (const [i, name] of names.entries()) {
  try {
    await tests[name]();
    console.log(`ok ${i + 1} - ${name}`);
  } catch (e) {
    console.log(`${e.stack}`.replace(/^/gm, '# '));
    console.log(`not ok ${i + 1} - ${name}`);
  }
}
process.exit(0);
