// SPDX-License-Identifier: Apache-2.0
// The page at /, in a browser.  SHOTS, a folder, gets pictures of it.
import { join } from 'node:path';
import { ok, same, skip } from './tap.mjs';
import { Browser, findBrowser } from './browser.mjs';
import { Server } from './server.mjs';

const texts = `[...document.querySelectorAll('.turn .text')]
  .map((x) => x.textContent)`;
const isIdle = 'document.getElementById("stop").hidden';
const of = (id) => `document.getElementById('${id}')`;

async function shoot(tab, name) {
  if (process.env.SHOTS) await tab.shoot(join(process.env.SHOTS, name));
}

async function say(tab, text) {
  await tab.click('#text');
  await tab.type(text);
  await tab.press('Enter');
}

// Its last answer, once that is complete
async function answered(tab, n) {
  await tab.until(`document.querySelectorAll('.turn').length === ${n} &&
    ${isIdle}`);
  return (await tab.run(texts)).at(-1);
}

async function set(tab, name, value) {
  await tab.run(`${of(name)}.value = ${JSON.stringify(String(value))};
    ${of(name)}.dispatchEvent(new Event('change'))`);
}

async function testHead(server) {
  const reply = await fetch(server.url + '/');
  const policy = reply.headers.get('content-security-policy');
  const page = await reply.text();
  ok(reply.status === 200 &&
    reply.headers.get('content-type') === 'text/html; charset=utf-8' &&
    policy.startsWith("default-src 'none'; connect-src 'self';") &&
    !policy.includes('unsafe'), 'page: its policy', policy);
  const nonces = [...page.matchAll(/nonce="([^"]*)"/g)].map((x) => x[1]);
  ok(nonces.length === 2 && nonces[0] === nonces[1] &&
    nonces[0].length === 32 && policy.split(`'nonce-${nonces[0]}'`).length === 3,
  'page: its script and style are known by a number', nonces);
  const again = await fetch(server.url + '/');
  ok(!(await again.text()).includes(nonces[0]), 'page: another each time');
  ok(!/https?:|\/\/[a-z]/.test(page.replace(/^.*SPDX.*$/m, '')),
    'page: no other address is in it');
  ok(!/innerHTML|outerHTML|insertAdjacent|document\.write/.test(page),
    'page: nor anything that makes markup of text');
}

async function testChat(server, tab) {
  const question = 'Say: my horse is slow';
  const wanted = await server.answer(question);
  await tab.until(`${of('model')}.textContent === 'demo'`);
  same(await tab.run('document.title'), 'demo – weir', 'page: its title');
  await set(tab, 'temperature', 0);
  await say(tab, question);
  same(await answered(tab, 2), wanted, 'page: a message is answered');
  const facts = await tab.run(
    'document.querySelector(".assistant .facts").textContent');
  ok(/^\d+ tokens · [\d.]+ tok.s · the first after [\d.]+ s · \d+ of 4,096/
    .test(facts), `page: ${facts}`);
  same(await tab.run(`${of('text')}.value`), '', 'page: the field is empty');
  await tab.click('#text');
  await tab.type('Say:');
  await tab.press('Enter', 8);
  await tab.type('two lines');
  same(await tab.run(`${of('text')}.value`), 'Say:\ntwo lines',
    'page: Shift and Enter begin a line');
  await tab.press('Enter');
  const second = await answered(tab, 4);
  const { body } = await server.post('/v1/chat/completions', {
    temperature: 0, messages: [
      { role: 'user', content: question },
      { role: 'assistant', content: wanted },
      { role: 'user', content: 'Say:\ntwo lines' }] });
  same(second, body.choices[0].message.content,
    'page: the second answer knows of the first');
}

async function testRegenerate(server, tab) {
  const before = (await tab.run(texts)).at(-1);
  await tab.click('#again');
  same(await answered(tab, 4), before, 'page: regenerated, cold: the same');
  await set(tab, 'temperature', 1.5);
  await set(tab, 'seed', 5);
  await set(tab, 'max_tokens', 3);
  await tab.click('#again');
  const drawn = await answered(tab, 4);
  ok(drawn !== before && (await tab.run(
    '[...document.querySelectorAll(".facts")].at(-1).textContent'))
    .includes('as long as it may be'), 'page: regenerated, hot: another',
  drawn);
  await tab.click('#again');
  same(await answered(tab, 4), drawn, 'page: by the same seed the same');
  await set(tab, 'top_p', 7);
  await say(tab, 'x');
  ok(await tab.run(`${isIdle} && ${of('text')}.value === 'x'`),
    'page: a setting out of range is not sent');
  await set(tab, 'top_p', '');
  await set(tab, 'max_tokens', '');
  await tab.click('#new');
  same(await tab.run(texts), [], 'page: a new chat');
  await tab.run(`${of('text')}.value = ''`);
  await set(tab, 'system', 'horses');
  await set(tab, 'temperature', 0);
  await say(tab, 'Say: my horse is slow');
  const { body } = await server.post('/v1/chat/completions', {
    temperature: 0, seed: 5, messages: [
      { role: 'system', content: 'horses' },
      { role: 'user', content: 'Say: my horse is slow' }] });
  same(await answered(tab, 2), body.choices[0].message.content,
    'page: with a system prompt');
  await set(tab, 'system', '');
}

async function testMarkup(server, tab) {
  const evil = '<img src=x onerror="window.hit=1"><script>hit=2</scr' +
    'ipt><b>bold</b> &amp; <a href="javascript:hit=3">x</a>';
  const part = (delta, reason = null) => ({ id: 'x', choices: [
    { index: 0, delta, finish_reason: reason, token_ids: [1] }] });
  await tab.click('#new');
  await tab.can('/v1/chat/completions', [
    part({ role: 'assistant' }), part({ content: evil.slice(0, 20) }),
    part({ content: evil.slice(20) }), part({}, 'stop')]);
  await say(tab, evil);
  same(await answered(tab, 2), evil, 'page: markup in an answer stays text');
  same((await tab.run(texts))[0], evil, 'page: and in a message');
  same(await tab.run(`document.querySelectorAll(
    '#turns img, #turns script, #turns b, #turns a').length`), 0,
  'page: no element came of it');
  same(await tab.run('typeof window.hit'), 'undefined', 'page: nothing ran');
}

// A model that writes on and on, with an end by hand
async function testLong(tab) {
  const server = await Server.start('demo.weir', '--ignore-eos');
  await tab.visit(server.url);
  await tab.until(`${of('model')}.textContent === 'demo'`);
  for (const [how, stop] of [
    ['the button', () => tab.click('#stop')],
    ['Escape', () => tab.press('Escape')]]) {
    const before = await server.metrics();
    await tab.click('#new');
    await say(tab, 'Say: my horse is slow');
    const begun = await tab.until(`document.querySelector(
      '.turn.busy .text')?.textContent.length > 100`);
    ok(begun && await tab.run(`!${isIdle}`), 'page: a long answer comes');
    if (how === 'Escape') {
      await tab.until(`/B\\/s/.test(${of('rate')}.textContent)`);
      ok(/\d+ tokens · [\d.]+ tok.s/.test(
        await tab.run(`${of('state')}.textContent`)),
      'page: it says how fast');
      ok(await tab.run(`${of('ram-area')}.getAttribute('d').length > 10`) &&
        /[KMG]B\/s/.test(await tab.run(`${of('ram-now')}.textContent`)),
      'page: and where the bytes come from');
      await tab.resize(1280, 800);
      await shoot(tab, 'wide.png');
      await tab.resize(1280, 800, 'dark');
      await shoot(tab, 'wide-dark.png');
      await tab.resize(390, 780);
      await shoot(tab, 'narrow.png');
      same(await tab.run(
        'document.documentElement.scrollWidth <= innerWidth'), true,
      'page: nothing sticks out of a narrow view');
    }
    await stop();
    ok(await server.wasLeft(before) && await tab.until(isIdle),
      `page: ${how} stops it`);
    const kept = (await tab.run(texts)).at(-1);
    ok(kept.length > 100 && (await tab.run(
      'document.querySelector(".assistant .facts").textContent'))
      .endsWith('stopped'), 'page: what came stays');
  }
  await tab.click('#toggle');
  await shoot(tab, 'narrow-settings.png');
  await tab.resize(1280, 800);
  same(await server.end(), 0, 'page: the server ends');
  await say(tab, 'Are you there?');
  ok(await tab.until(`${of('error')}.textContent.includes('reached') &&
    ${of('text')}.value === 'Are you there?'`),
  'page: it says when there is no server, and gives back what was not sent');
}

// The least memory that a server of one text makes do with
async function startInLeast(model) {
  for (let most = 32; most < 256; most += 2)
    try {
      return await Server.start(model, '--parallel', '1', '--ctx', '512',
        '--ignore-eos', '--ram', most + 'M');
    } catch { /* more, then */ }
}

async function testDrive(tab) {
  const server = await startInLeast('demo.weir');
  await tab.visit(server.url);
  await tab.until(`${of('model')}.textContent === 'demo'`);
  await set(tab, 'max_tokens', 100);
  await say(tab, 'Say: my horse is slow');
  ok(await tab.until(`/[1-9].* [KMG]B.s/.test(${of('drive-now')}.textContent)`),
    'page: bytes come from the drive under a budget');
  await tab.until(`${of('state')}.textContent.includes('tok')`);
  await shoot(tab, 'drive.png');
  await answered(tab, 2);
  // The page asks for the sums after the answer.
  ok(await tab.until(`/[1-9].* [KMG]B/.test(${of('drive-each')}.textContent) &&
    ${of('mapped')}.hidden`), 'page: so many for a token', await tab.run(
    '[...document.querySelectorAll("#flow td, .facts")].map((x) => ' +
      'x.textContent)'));
  same(await server.end(), 0, 'page: the server ends');
}

async function testDevice(tab) {
  const server = await Server.start('demo.weir', '--device', 'host');
  await tab.visit(server.url);
  await tab.until(`${of('model')}.textContent === 'demo'`);
  ok(await tab.run(`${of('device-row')}.hidden`),
    'page: no GPU as long as none is in use');
  await say(tab, 'Say: my horse is slow');
  await answered(tab, 2);
  ok(await tab.until(`!${of('device-row')}.hidden &&
    /[1-9].* [KMG]B/.test(${of('device-each')}.textContent)`),
  'page: bytes of a device');
  same(await server.end(), 0, 'page: the server ends');
}

async function testKey(tab) {
  const server = await Server.start('demo.weir', '--api-key', 'right');
  await tab.visit(server.url);
  ok(await tab.until(`!${of('error')}.hidden &&
    ${of('error')}.textContent.includes('API key')`),
  'page: it asks for a key');
  await shoot(tab, 'key.png');
  await set(tab, 'key', 'right');
  ok(await tab.until(`${of('model')}.textContent === 'demo' &&
    ${of('error')}.hidden`), 'page: and takes it');
  await set(tab, 'temperature', 0);
  await say(tab, 'Say: my horse is slow');
  ok((await answered(tab, 2)).length > 10, 'page: which is sent');
  await tab.visit(server.url + '/?again');
  ok(await tab.until(`${of('model')}.textContent === 'demo'`),
    'page: a reload still has it');
  ok(await tab.run(`!Object.values(localStorage).includes('right') &&
    Object.values(sessionStorage).includes('right')`),
  'page: but no other tab');
  same(await server.end(), 0, 'page: the server ends');
}

async function testWithoutTemplate(tab) {
  const server = await Server.start('text.weir', '--ctx', '400');
  await tab.visit(server.url);
  ok(await tab.until(`!${of('notice')}.hidden`),
    'page: a model without a chat template: it says so');
  await set(tab, 'temperature', 0);
  await set(tab, 'max_tokens', 20);
  await say(tab, 'abc');
  const first = await answered(tab, 2);
  const wanted = await server.post('/v1/completions',
    { prompt: 'abc', temperature: 0, max_tokens: 20 });
  same(first, wanted.body.choices[0].text, 'page: and goes on with the text');
  await say(tab, 'x'.repeat(500));
  ok(await tab.until(`${of('error')}.textContent.includes('context of 400')`),
    'page: what the server refuses it says');
  await shoot(tab, 'refused.png');
  same([(await tab.run(texts)).length, await tab.run(
    `${of('text')}.value.length`)], [2, 500], 'page: and gives it back');
  same(await server.end(), 0, 'page: the server ends');
}

export async function test() {
  const path = findBrowser();
  if (!path) {
    skip('there is no chromium to look at the page with');
    return;
  }
  const server = await Server.start('demo.weir');
  await testHead(server);
  const browser = new Browser(path);
  const tab = await browser.open();
  await tab.resize(1280, 800);
  await tab.visit(server.url);
  await testChat(server, tab);
  await testRegenerate(server, tab);
  await testMarkup(server, tab);
  same(await server.end(), 0, 'page: the server ends');
  same(tab.complaints, [], 'page: the browser complains of nothing');
  ok(await tab.run(`(() => {
    try { document.body.innerHTML += '<i>'; } catch { return true; }
  })()`), 'page: its policy would not even let it make markup');
  await testLong(tab);
  await testDrive(tab);
  await testDevice(tab);
  await testKey(tab);
  await testWithoutTemplate(tab);
  const away = tab.urls.filter(
    (url) => !/^(http:\/\/127\.0\.0\.1:\d+\/|data:,|about:blank)/.test(url));
  ok(tab.urls.length > 20 && away.length === 0,
    'page: no request leaves its origin', away);
  await browser.end();
}
