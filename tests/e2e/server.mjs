// SPDX-License-Identifier: Apache-2.0
// weir serve, for as long as a test wants it
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { diag } from './tap.mjs';

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

export class Server {
  // Serves a model on a port that is free.
  static async start(model, ...options) {
    const server = new Server();
    const child = spawn(process.env.WEIR,
      ['serve', model, '--port', '0', ...options],
      { stdio: ['ignore', 'inherit', 'pipe'] });
    server.child = child;
    running.add(child);
    const lines = [];
    server.ended = once(child, 'exit').finally(() => running.delete(child));
    server.url = await new Promise((resolve, reject) => {
      createInterface({ input: child.stderr }).on('line', (line) => {
        const found = /listening on (http:\S+),/.exec(line);
        if (found) resolve(found[1]);
        else lines.push(line);
      }).on('close', () => reject(new Error(lines.join('\n'))));
    });
    return server;
  }

  // The exit status after SIGTERM
  async end() {
    this.child.kill('SIGTERM');
    const [status] = await this.ended;
    return status;
  }

  async metrics(headers = {}) {
    const reply = await fetch(this.url + '/metrics', { headers });
    const values = {};
    for (const line of (await reply.text()).split('\n')) {
      const at = line.lastIndexOf(' ');
      if (at > 0 && line[0] !== '#')
        values[line.slice(0, at)] = Number(line.slice(at + 1));
    }
    return values;
  }

  // True when metrics weir_NAME are so, in the end
  async waitFor(wanted, most = 60000) {
    const names = Object.keys(wanted);
    let values;
    for (const end = performance.now() + most; performance.now() < end;) {
      values = await this.metrics();
      if (names.every((name) => values['weir_' + name] === wanted[name]))
        return true;
      await sleep(10);
    }
    for (const name of names) diag(`${name}: ${values['weir_' + name]}`);
    return false;
  }

  // Whether a text of about 4000 tokens whose client left since these metrics
  // were taken has given its place back long before its own end
  async wasLeft({ weir_texts_cancelled_total: cancelled,
    weir_tokens_total: written }) {
    const isFree = await this.waitFor({ texts_running: 0, calls: 0 });
    const after = await this.metrics();
    const more = after.weir_tokens_total - written;
    diag(`${more} tokens were written`);
    return isFree && more < 2000 &&
      after.weir_texts_cancelled_total === cancelled + 1;
  }

  // The reply to a JSON body, as no client of anybody's reads it
  async post(path, body, headers = {}) {
    const reply = await fetch(this.url + path, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'Content-Type': 'application/json', ...headers },
    });
    return { status: reply.status, body: await reply.json() };
  }

  // What the model answers a message when it does not draw
  async answer(content, keys = {}) {
    const { body } = await this.post('/v1/chat/completions',
      { messages: [{ role: 'user', content }], temperature: 0, ...keys });
    return body.choices[0].message.content;
  }
}
