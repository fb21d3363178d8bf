// SPDX-License-Identifier: Apache-2.0
// LangChain's client.
import { HumanMessage, SystemMessage } from '@langchain/core/messages';
import { ChatOpenAI, OpenAI } from '@langchain/openai';
import { ok, same, thrown } from './tap.mjs';
import { Server } from './server.mjs';

const question = 'Say: my horse is slow';

function configured(server, keys = {}) {
  return { model: 'demo', apiKey: 'none', maxRetries: 0, temperature: 0,
    configuration: { baseURL: server.url + '/v1' }, ...keys };
}

async function testChat(server) {
  const wanted = await server.answer(question);
  const chat = new ChatOpenAI(configured(server));
  const answer = await chat.invoke([new HumanMessage(question)]);
  ok(answer.content === wanted &&
    answer.response_metadata.finish_reason === 'stop' &&
    answer.usage_metadata.output_tokens > 0, 'langchain: a message',
    answer.content);
  let whole;
  for await (const part of await chat.stream(question))
    whole = whole ? whole.concat(part) : part;
  same([whole.content, whole.usage_metadata.output_tokens],
    [wanted, answer.usage_metadata.output_tokens],
    'langchain: a stream, with its usage');
  const both = await chat.batch([question,
    [new SystemMessage('Speak.'), new HumanMessage(question)]]);
  same(both[0].content, wanted, 'langchain: two at once');
  const cut = await chat.invoke(question, { stop: [' slow'] });
  same(cut.content, wanted.split(' slow')[0], 'langchain: a stop string');
  const many = new ChatOpenAI(
    configured(server, { n: 2, temperature: 1, maxTokens: 8 }));
  const { generations } = await many.generate([[new HumanMessage(question)]]);
  same(generations[0].length, 2, 'langchain: n answers');
  const text = await new OpenAI(configured(server, { maxTokens: 20 }))
    .invoke('In the beginning');
  ok(text.length > 20, 'langchain: a completion', text);
}

async function testErrors(server) {
  const cases = [
    ['too long a prompt', {}, 'horse '.repeat(5000), 400],
    ['another model', { model: 'gpt-4o' }, question, 404],
    ['a field that is not supported', { modelKwargs: { horse: 1 } },
      question, 400],
    ['too many log-probabilities', { logprobs: true, topLogprobs: 21 },
      question, 400],
  ];
  for (const [text, keys, asked, status] of cases) {
    const error = await thrown(
      () => new ChatOpenAI(configured(server, keys)).invoke(asked));
    ok(error?.status === status && error.message.length > 20,
      `langchain: ${text}: ${error?.message.split('\n')[0]}`, error);
  }
  const closed = await Server.start('demo.weir', '--api-key', 'right');
  const error = await thrown(() => new ChatOpenAI(
    configured(closed, { apiKey: 'wrong' })).invoke(question));
  same(error?.status, 401, 'langchain: a wrong key');
  const answer = await new ChatOpenAI(
    configured(closed, { apiKey: 'right' })).invoke(question);
  ok(answer.content.length > 0, 'langchain: the right key');
  same(await closed.end(), 0, 'langchain: the server ends');
}

async function testHangup(server) {
  const chat = new OpenAI(configured(server, { maxTokens: 4000,
    modelKwargs: { ignore_eos: true } }));
  const before = await server.metrics();
  const stop = new AbortController();
  let text = '';
  const error = await thrown(async () => {
    for await (const part of await chat.stream('In the beginning',
      { signal: stop.signal })) {
      text += part;
      if (text.length > 10) stop.abort();
    }
  });
  ok(await server.wasLeft(before) && error && text.length > 10,
    'langchain: the place of a stream that is left is free',
    { text, error: String(error) });
}

export async function test() {
  const server = await Server.start('demo.weir');
  await testChat(server);
  await testErrors(server);
  await testHangup(server);
  same(await server.end(), 0, 'langchain: the server ends');
}
