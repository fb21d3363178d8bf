// SPDX-License-Identifier: Apache-2.0
// Vercel's AI SDK with its provider for servers like this one.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, generateText, streamText } from 'ai';
import { ok, same, thrown } from './tap.mjs';
import { Server } from './server.mjs';

const prompt = 'Say: my horse is slow';

function provider(server, keys = {}) {
  return createOpenAICompatible({ name: 'weir', baseURL: server.url + '/v1',
    includeUsage: true, ...keys });
}

async function testText(server, model) {
  const wanted = await server.answer(prompt);
  const answer = await generateText({ model, prompt, temperature: 0 });
  ok(answer.text === wanted && answer.finishReason === 'stop' &&
    answer.usage.outputTokens > 0, 'ai: a text', answer.text);
  const stream = streamText({ model, temperature: 0, messages: [
    { role: 'user', content: prompt }] });
  let text = '';
  for await (const part of stream.textStream) text += part;
  same([text, await stream.finishReason], [wanted, 'stop'], 'ai: a stream');
  same((await stream.usage).outputTokens, answer.usage.outputTokens,
    'ai: its usage');
  const other = await generateText({
    model, system: 'Speak.', prompt, seed: 3, temperature: 1, topP: 0.9,
    presencePenalty: 0.1, frequencyPenalty: 0.1, stopSequences: ['!'],
    maxOutputTokens: 5,
  });
  ok(other.finishReason === 'length' && other.usage.outputTokens === 5 &&
    other.warnings.length === 0, 'ai: with settings', other.warnings);
}

async function testErrors(server, weir) {
  const cases = [
    ['too long a prompt', 'demo', { prompt: 'horse '.repeat(5000) }, 400],
    ['another model', 'gpt-4o', {}, 404],
    ['a value out of range', 'demo', { temperature: 1000 }, 400],
  ];
  for (const [text, name, keys, status] of cases) {
    const error = await thrown(() => generateText(
      { model: weir(name), prompt, maxRetries: 0, ...keys }));
    ok(APICallError.isInstance(error) && error.statusCode === status &&
      error.message.length > 20 && !error.isRetryable,
      `ai: ${text}: ${error?.message}`, error);
  }
  const closed = await Server.start('demo.weir', '--api-key', 'right');
  const error = await thrown(() => generateText({
    model: provider(closed, { apiKey: 'wrong' })('demo'), prompt,
    maxRetries: 0,
  }));
  same(error?.statusCode, 401, `ai: a wrong key: ${error?.message}`);
  const answer = await generateText({
    model: provider(closed, { apiKey: 'right' })('demo'), prompt });
  ok(answer.text.length > 0, 'ai: the right key');
  same(await closed.end(), 0, 'ai: the server ends');
}

async function testHangup(server, weir) {
  const before = await server.metrics();
  const stop = new AbortController();
  const stream = streamText({
    model: weir('demo'), prompt, maxOutputTokens: 4000,
    abortSignal: stop.signal, providerOptions: { weir: { ignore_eos: true } },
  });
  let text = '';
  for await (const part of stream.textStream) {
    text += part;
    if (text.length > 10) break;
  }
  stop.abort();
  ok(await server.wasLeft(before) && text.length > 10,
    'ai: the place of a stream that is left is free', text);
}

export async function test() {
  const server = await Server.start('demo.weir');
  const weir = provider(server);
  await testText(server, weir('demo'));
  await testErrors(server, weir);
  await testHangup(server, weir);
  same(await server.end(), 0, 'ai: the server ends');
}
