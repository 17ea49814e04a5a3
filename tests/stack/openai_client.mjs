// SPDX-License-Identifier: MIT
// The openai SDK against a running stack: node openai_client.mjs BASE_URL PACKAGE
import assert from 'node:assert';
import { createRequire } from 'node:module';

const [baseURL, packagePath] = process.argv.slice(2);
const { default: OpenAI } = createRequire(import.meta.url)(packagePath);
const client = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 });
const messages = [{ role: 'user', content: 'What is the capital of France?' }];

const models = await client.models.list();
assert.equal(models.data[0].id, 'halo-demo');

const reply = await client.chat.completions.create({ model: 'halo-demo', messages, temperature: 0 });
assert.match(reply.choices[0].message.content, /Paris/);
assert.equal(reply.choices[0].finish_reason, 'stop');

let text = '';
let usage = null;
const stream = await client.chat.completions.create({
    model: 'halo-demo', messages, temperature: 0, stream: true, stream_options: { include_usage: true },
});
for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? '';
    usage = chunk.usage ?? usage;
}
assert.equal(text, reply.choices[0].message.content);
assert.equal(usage.completion_tokens, reply.usage.completion_tokens);

const runner = client.chat.completions.stream({ model: 'halo-demo', messages, temperature: 0, seed: 1 });
assert.equal((await runner.finalChatCompletion()).choices[0].message.content, text);

await assert.rejects(client.chat.completions.create({ model: 'gpt-9', messages }), (e) => e.status === 404);
await assert.rejects(client.chat.completions.create({ model: 'halo-demo', messages, temperature: 9 }),
    (e) => e.status === 400 && e.param === 'temperature');
