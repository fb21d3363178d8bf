// SPDX-License-Identifier: Apache-2.0
// OpenAI's own client.
import OpenAI from 'openai';
import { ok, same, thrown } from './tap.mjs';
import { Server } from './server.mjs';

const messages = [{ role: 'user', content: 'Say: my horse is slow' }];
const model = 'demo';

function client(server, keys = {}) {
  return new OpenAI(
    { baseURL: server.url + '/v1', apiKey: 'none', maxRetries: 0, ...keys });
}

async function all(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

// Of each choice: its text, and how it ended
function put(parts, n, textOf) {
  const choices = Array.from({ length: n }, () => ['', null]);
  for (const part of parts)
    for (const choice of part.choices) {
      choices[choice.index][0] += textOf(choice) ?? '';
      choices[choice.index][1] ??= choice.finish_reason;
    }
  return choices;
}
const ofDelta = (choice) => choice.delta.content;
const ofText = (choice) => choice.text;

async function testModels(ai) {
  const list = await all(await ai.models.list());
  same(list.map((x) => x.id), [model], 'openai: the list of models');
  same(await ai.models.retrieve(model), list[0], 'openai: a model');
  const error = await thrown(() => ai.models.retrieve('other'));
  ok(error instanceof OpenAI.NotFoundError, 'openai: another is not found',
    error);
}

async function testChat(server, ai) {
  const wanted = await server.answer(messages[0].content);
  const answer = await ai.chat.completions.create(
    { model, messages, temperature: 0 });
  const choice = answer.choices[0];
  ok(wanted.length > 10 && choice.message.content === wanted &&
    choice.message.role === 'assistant' && choice.finish_reason === 'stop',
    'openai: a chat', answer);
  const usage = answer.usage;
  ok(usage.prompt_tokens > 0 && usage.completion_tokens > 0 &&
    usage.total_tokens === usage.prompt_tokens + usage.completion_tokens,
    'openai: its usage', usage);
  const parts = await all(await ai.chat.completions.create({
    model, messages, temperature: 0, stream: true,
    stream_options: { include_usage: true },
  }));
  same(put(parts, 1, ofDelta), [[wanted, 'stop']], 'openai: a stream');
  same(parts.at(-1).choices, [], 'openai: the usage chunk comes last');
  same({ ...parts.at(-1).usage, prompt_tokens_details: 0 },
    { ...usage, prompt_tokens_details: 0 }, 'openai: with the same usage');
  ok(parts.slice(0, -1).every((part) => part.usage === null),
    'openai: and no other chunk has one');
  const stream = ai.chat.completions.stream(
    { model, messages, temperature: 0 });
  same(await stream.finalContent(), wanted, 'openai: a stream put together');
  const cut = await ai.chat.completions.create(
    { model, messages, temperature: 0, stop: [' slow'] });
  same([cut.choices[0].message.content, cut.choices[0].finish_reason],
    [wanted.split(' slow')[0], 'stop'], 'openai: a stop string');
  const short = await ai.chat.completions.create(
    { model, messages, temperature: 0, max_completion_tokens: 2 });
  ok(short.choices[0].finish_reason === 'length' &&
    short.usage.completion_tokens === 2, 'openai: the length', short);
}

async function testChoices(ai) {
  const keys = { model, messages, n: 3, seed: 7, temperature: 1, top_p: 0.9 };
  const answer = await ai.chat.completions.create(keys);
  const wanted = answer.choices.map(
    (x) => [x.message.content, x.finish_reason]);
  same(answer.choices.map((x) => x.index), [0, 1, 2], 'openai: n answers');
  const parts = await all(
    await ai.chat.completions.create({ ...keys, stream: true }));
  same(put(parts, 3, ofDelta), wanted, 'openai: and the same as a stream');
}

async function testCompletions(ai) {
  const keys = { model, prompt: 'In the beginning', max_tokens: 20,
    temperature: 0 };
  const answer = await ai.completions.create(keys);
  const { text, finish_reason: reason } = answer.choices[0];
  ok(text.length > 20 && reason === 'length' &&
    answer.usage.completion_tokens === 20, 'openai: a completion', answer);
  const parts = await all(
    await ai.completions.create({ ...keys, stream: true }));
  same(put(parts, 1, ofText), [[text, 'length']],
    'openai: a completion as a stream');
}

async function testLogprobs(ai) {
  const keys = { model, messages, temperature: 0, logprobs: true,
    top_logprobs: 3, n: 2 };
  const answer = await ai.chat.completions.create(keys);
  for (const { message, logprobs } of answer.choices) {
    const { content } = logprobs;
    same(content.map((x) => x.token).join(''), message.content,
      'openai: log-probabilities of each token');
    ok(content.every((x) => x.logprob <= 0 && x.top_logprobs.length === 3 &&
      x.top_logprobs[0].logprob === x.logprob &&
      Buffer.from(x.bytes).toString() === x.token),
    'openai: and the best, of which the first was taken', content);
  }
  const parts = await all(
    await ai.chat.completions.create({ ...keys, stream: true }));
  const got = [[], []];
  for (const part of parts)
    for (const choice of part.choices)
      got[choice.index].push(...choice.logprobs?.content ?? []);
  same(got, answer.choices.map((x) => x.logprobs.content),
    'openai: the same log-probabilities as a stream');
  const stream = ai.chat.completions.stream({ ...keys, n: 1 });
  const whole = await stream.finalChatCompletion();
  same(whole.choices[0].logprobs.content, got[0],
    'openai: and as a stream put together');
  const { choices: [{ text, logprobs }] } = await ai.completions.create(
    { model, prompt: 'In the beginning', max_tokens: 9, temperature: 0,
      logprobs: 2 });
  ok(logprobs.tokens.join('') === text && logprobs.token_logprobs.length === 9
    && logprobs.text_offset[1] === logprobs.tokens[0].length &&
    logprobs.top_logprobs.every(
      (x, i) => x[logprobs.tokens[i]] === logprobs.token_logprobs[i]),
  'openai: log-probabilities of a completion', logprobs);
}

async function testErrors(ai) {
  const chat = ai.chat.completions;
  const cases = [
    ['a field that is not supported', { modalities: ['audio'] },
      OpenAI.BadRequestError, 'unknown_parameter', 'modalities'],
    ['a value out of range', { temperature: -1 },
      OpenAI.BadRequestError, 'invalid_value', 'temperature'],
    ['too many log-probabilities', { logprobs: true, top_logprobs: 21 },
      OpenAI.BadRequestError, 'invalid_value', 'top_logprobs'],
    ['another model', { model: 'gpt-4o' },
      OpenAI.NotFoundError, 'model_not_found', 'model'],
    ['too long a prompt',
      { messages: [{ role: 'user', content: 'horse '.repeat(5000) }] },
      OpenAI.BadRequestError, 'context_length_exceeded', 'messages'],
    ['too long an answer', { max_tokens: 5000 },
      OpenAI.BadRequestError, 'context_length_exceeded', 'messages'],
    ['a picture', { messages: [{ role: 'user', content: [
      { type: 'image_url', image_url: { url: 'data:,' } }] }] },
    OpenAI.BadRequestError, 'unsupported_value', 'messages'],
  ];
  for (const [text, keys, kind, code, param] of cases)
    for (const stream of [false, true]) {
      const error = await thrown(
        () => chat.create({ model, messages, stream, ...keys }));
      ok(error instanceof kind && error.code === code &&
        error.param === param && error.message.length > 20,
        `openai: ${text}: ${error?.message}`, error);
    }
  const error = await thrown(
    () => ai.embeddings.create({ model, input: 'horse' }));
  ok(error instanceof OpenAI.NotFoundError, 'openai: no embeddings', error);
}

async function testHangups(server, ai) {
  const long = { model, prompt: 'In the beginning', max_tokens: 4000,
    ignore_eos: true };
  const before = await server.metrics();
  for await (const part of await ai.completions.create(
    { ...long, stream: true }))
    if (part.choices[0].text) break;
  ok(await server.wasLeft(before),
    'openai: the place of a stream that is left is free');
  const between = await server.metrics();
  const stop = new AbortController();
  const call = thrown(
    () => ai.completions.create(long, { signal: stop.signal }));
  ok(await server.waitFor({ texts_running: 1 }),
    'openai: a long answer runs');
  stop.abort();
  ok(await call instanceof OpenAI.APIUserAbortError, 'openai: is left');
  ok(await server.wasLeft(between), 'openai: and its place free');
  same((await server.metrics()).weir_hangups_total,
    before.weir_hangups_total + 2, 'openai: both are counted');
}

async function testKeys() {
  const server = await Server.start('demo.weir', '--api-key', 'right');
  const error = await thrown(() => client(server, { apiKey: 'wrong' })
    .chat.completions.create({ model, messages }));
  ok(error instanceof OpenAI.AuthenticationError &&
    error.code === 'invalid_api_key', `openai: a wrong key: ${error?.message}`,
  error);
  const list = await client(server, { apiKey: 'right' }).models.list();
  same(list.data[0].id, model, 'openai: the right key');
  same(await server.end(), 0, 'openai: the server ends');
}

// The client tries again by itself when it is told to.
async function testQueue() {
  const server = await Server.start(
    'demo.weir', '--parallel', '1', '--queue', '0');
  const stop = new AbortController();
  const keys = { model, prompt: 'In the beginning', max_tokens: 4000,
    ignore_eos: true, stream: true };
  await client(server).completions.create(keys, { signal: stop.signal });
  const error = await thrown(
    () => client(server).completions.create({ ...keys, stream: false }));
  ok(error instanceof OpenAI.RateLimitError && error.code === 'queue_full',
    `openai: no place: ${error?.message}`, error);
  const again = client(server, { maxRetries: 5 }).completions.create(
    { ...keys, stream: false, max_tokens: 3 });
  await server.waitFor({ 'responses_total{code="429"}': 2 });
  stop.abort();
  same((await again).usage.completion_tokens, 3,
    'openai: tries again until there is one');
  same(await server.end(), 0, 'openai: the server ends');
}

export async function test() {
  const server = await Server.start('demo.weir');
  const ai = client(server);
  await testModels(ai);
  await testChat(server, ai);
  await testChoices(ai);
  await testCompletions(ai);
  await testLogprobs(ai);
  await testErrors(ai);
  await testHangups(server, ai);
  same(await server.end(), 0, 'openai: the server ends');
  await testKeys();
  await testQueue();
}
