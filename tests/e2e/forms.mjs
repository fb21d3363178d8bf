// SPDX-License-Identifier: Apache-2.0
// JSON of a schema and calls of tools, as each client asks for them.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { HumanMessage, ToolMessage } from '@langchain/core/messages';
import { tool as langchainTool } from '@langchain/core/tools';
import { ChatOpenAI } from '@langchain/openai';
import { generateText, Output, stepCountIs, streamText, tool } from 'ai';
import OpenAI from 'openai';
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { ok, same, thrown } from './tap.mjs';
import { Server } from './server.mjs';

const model = 'demo';
const prompt = 'Say: my horse is slow';
const messages = [{ role: 'user', content: prompt }];

const horse = z.object({
  name: z.string().max(12),
  legs: z.number().int(),
  gait: z.enum(['walk', 'trot']),
  foals: z.array(z.string().max(5)).max(2),
});
const place = z.object({ x: z.number().int(), fast: z.boolean() });

function is(schema, value) {
  return schema.safeParse(value).success;
}

async function testOpenai(server) {
  const ai = new OpenAI(
    { baseURL: server.url + '/v1', apiKey: 'none', maxRetries: 0 });
  const chat = ai.chat.completions;
  const keys = { model, messages, temperature: 1, seed: 1, max_tokens: 500 };
  const parsed = await chat.parse(
    { ...keys, response_format: zodResponseFormat(horse, 'horse') });
  ok(is(horse, parsed.choices[0].message.parsed), 'openai: JSON of a schema',
    parsed.choices[0]);
  const object = await chat.create(
    { ...keys, temperature: 0, response_format: { type: 'json_object' } });
  const { message: { content }, finish_reason: reason } = object.choices[0];
  ok(content.trimStart().startsWith('{') &&
    (reason === 'length' || typeof JSON.parse(content) === 'object'),
  `openai: any object, to its ${reason === 'length' ? 'limit' : 'end'}`,
  content);

  const tools = [zodFunction({ name: 'move', parameters: place })];
  const asked = { ...keys, tools, tool_choice: 'required',
    parallel_tool_calls: false };
  const answer = await chat.parse(asked);
  const [choice] = answer.choices;
  const [call] = choice.message.tool_calls;
  ok(choice.finish_reason === 'tool_calls' && call.function.name === 'move' &&
    is(place, call.function.parsed_arguments), 'openai: a call', choice);
  const streamed = await chat.stream(asked).finalChatCompletion();
  same(streamed.choices[0].message.tool_calls[0].function.arguments,
    call.function.arguments, 'openai: the same as a stream');
  const after = await chat.create({ ...keys, tools, tool_choice: 'none',
    max_tokens: 5, messages: [...messages, choice.message,
      { role: 'tool', tool_call_id: call.id, content: 'moved' }] });
  same(after.choices[0].message.content.trim(), 'moved',
    'openai: what came of it');
  const named = await chat.create({ ...keys, tools,
    tool_choice: { type: 'function', function: { name: 'move' } } });
  same(named.choices[0].message.tool_calls.length, 1,
    'openai: a call by its name');
  const error = await thrown(() => chat.create({ ...keys, response_format:
    zodResponseFormat(z.object({ x: z.string().regex(/^a+$/) }), 'x') }));
  ok(error instanceof OpenAI.BadRequestError &&
    error.param === 'response_format', `openai: ${error?.message}`, error);
}

async function testAi(server) {
  const weir = createOpenAICompatible({ name: 'weir', includeUsage: true,
    baseURL: server.url + '/v1', supportsStructuredOutputs: true })(model);
  const keys = { model: weir, prompt, temperature: 1, seed: 1, maxRetries: 0,
    maxOutputTokens: 500 };
  const { output } = await generateText(
    { ...keys, output: Output.object({ schema: horse }) });
  ok(is(horse, output), 'ai: JSON of a schema', output);
  const moved = [];
  const tools = { move: tool({ description: 'Moves', inputSchema: place,
    execute: async (input) => {
      moved.push(input);
      return 'moved';
    } }) };
  const run = await generateText({ ...keys, tools, toolChoice: 'required',
    stopWhen: stepCountIs(2) });
  ok(run.steps.length === 2 && run.finishReason === 'tool-calls' &&
    moved.length >= 2 && moved.every((x) => is(place, x)),
  'ai: calls, and what came of them', moved);
  const stream = streamText({ ...keys, tools, toolChoice: 'required' });
  const calls = await stream.toolCalls;
  same(calls.map((x) => x.input), run.steps[0].toolCalls.map((x) => x.input),
    'ai: the same as a stream');
}

async function testLangchain(server) {
  const chat = new ChatOpenAI({ model, apiKey: 'none', maxRetries: 0,
    temperature: 1, maxTokens: 500, modelKwargs: { seed: 1 },
    configuration: { baseURL: server.url + '/v1' } });
  for (const method of ['jsonSchema', 'functionCalling']) {
    const value = await chat.withStructuredOutput(
      horse, { name: 'horse', method }).invoke(prompt);
    ok(is(horse, value), `langchain: structured by ${method}`, value);
  }
  const move = langchainTool(async ({ x }) => `moved to ${x}`,
    { name: 'move', description: 'Moves', schema: place });
  const bound = chat.bindTools([move], { tool_choice: 'required' });
  const answer = await bound.invoke(prompt);
  ok(answer.tool_calls.length > 0 && answer.tool_calls.every(
    (call) => call.name === 'move' && is(place, call.args)),
  'langchain: calls', answer.tool_calls);
  let whole;
  for await (const part of await bound.stream(prompt))
    whole = whole ? whole.concat(part) : part;
  same(whole.tool_calls.map((x) => x.args),
    answer.tool_calls.map((x) => x.args), 'langchain: the same as a stream');
  const results = await Promise.all(
    answer.tool_calls.map((call) => move.invoke(call)));
  const after = await bound.invoke(
    [new HumanMessage(prompt), answer, ...results]);
  ok(results.every((x) => ToolMessage.isInstance(x)) &&
    after.usage_metadata.input_tokens > answer.usage_metadata.input_tokens,
  'langchain: what came of them');
}

export async function test() {
  const server = await Server.start('demo.weir');
  for (const part of [testOpenai, testAi, testLangchain]) {
    const error = await thrown(() => part(server));
    ok(!error, `forms: ${part.name} comes to its end`, error?.stack);
  }
  same(await server.end(), 0, 'forms: the server ends');
}
