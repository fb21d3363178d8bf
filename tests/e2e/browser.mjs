// SPDX-License-Identifier: Apache-2.0
// Chromium without a window, through its DevTools protocol on two pipes.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

const names = ['chromium', 'chromium-browser', 'google-chrome'];

// The path of a browser; undefined: there is none
export function findBrowser() {
  const folders = (process.env.PATH ?? '').split(':');
  return names.flatMap((name) => folders.map((x) => join(x, name)))
    .find((path) => existsSync(path));
}

// What keeps it from asking its maker's servers, and from the system's keys
const flags = ['--headless', '--disable-gpu', '--disable-quic',
  '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-extensions',
  '--password-store=basic', '--use-mock-keychain', '--hide-scrollbars',
  '--remote-debugging-pipe'];

export class Browser {
  constructor(path) {
    const root = process.getuid() === 0 ? ['--no-sandbox'] : [];
    this.folder = mkdtempSync(join(tmpdir(), 'weir-browser-'));
    this.child = spawn(path,
      [...flags, ...root, `--user-data-dir=${this.folder}`, 'about:blank'],
      { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    this.ended = once(this.child, 'exit');
    this.n = 0;
    this.waiting = new Map();
    this.listeners = new Map(); // by session
    process.on('exit', () => this.child.kill('SIGKILL'));
    let rest = '';
    this.child.stdio[4].setEncoding('utf8').on('data', (data) => {
      const messages = (rest + data).split('\0');
      rest = messages.pop();
      for (const message of messages) this.take(JSON.parse(message));
    }).on('close', () => {
      for (const { reject } of this.waiting.values())
        reject(new Error('the browser has ended'));
    });
  }

  take({ id, result, error, method, params, sessionId }) {
    if (id === undefined) {
      this.listeners.get(sessionId)?.(method, params);
      return;
    }
    const { resolve, reject } = this.waiting.get(id);
    this.waiting.delete(id);
    if (error) reject(new Error(error.message));
    else resolve(result);
  }

  call(method, params = {}, sessionId = undefined) {
    const id = ++this.n;
    this.child.stdio[3].write(
      JSON.stringify({ id, method, params, sessionId }) + '\0');
    return new Promise((resolve, reject) =>
      this.waiting.set(id, { resolve, reject }));
  }

  async open() {
    const { targetId } = await this.call(
      'Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.call(
      'Target.attachToTarget', { targetId, flatten: true });
    const tab = new Tab(this, sessionId);
    for (const domain of ['Page', 'Network', 'Runtime', 'Log'])
      await tab.call(domain + '.enable');
    return tab;
  }

  async end() {
    this.call('Browser.close').catch(() => {});
    const late = setTimeout(() => this.child.kill('SIGKILL'), 5000);
    await this.ended;
    clearTimeout(late);
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

class Tab {
  constructor(browser, sessionId) {
    this.browser = browser;
    this.sessionId = sessionId;
    this.urls = []; // all that was asked for
    this.complaints = []; // what went wrong in the page
    this.canned = null; // the answer to the next chat, in place of a model's
    browser.listeners.set(sessionId, (method, params) =>
      this.hear(method, params));
  }

  hear(method, params) {
    if (method === 'Network.requestWillBeSent')
      this.urls.push(params.request.url);
    else if (method === 'Runtime.exceptionThrown')
      this.complaints.push(params.exceptionDetails.exception?.description ??
        params.exceptionDetails.text);
    else if (method === 'Log.entryAdded' && params.entry.level === 'error')
      this.complaints.push(`${params.entry.text} ${params.entry.url ?? ''}`);
    else if (method === 'Fetch.requestPaused')
      this.fulfill(params.requestId);
  }

  call(method, params) {
    return this.browser.call(method, params, this.sessionId);
  }

  // The next reply to this path is a stream of these objects.
  async can(path, objects) {
    this.canned = [...objects.map((x) => JSON.stringify(x)), '[DONE]']
      .map((x) => `data: ${x}\n\n`).join('');
    await this.call('Fetch.enable', { patterns: [{ urlPattern: '*' + path }] });
  }

  async fulfill(requestId) {
    await this.call('Fetch.fulfillRequest', {
      requestId, responseCode: 200,
      responseHeaders: [{ name: 'Content-Type', value: 'text/event-stream' }],
      body: Buffer.from(this.canned).toString('base64'),
    });
    await this.call('Fetch.disable');
  }

  async visit(url) {
    await this.call('Page.navigate', { url });
    await this.until('document.readyState === "complete"');
  }

  // A view of so many pixels
  async resize(width, height, scheme = 'light') {
    await this.call('Emulation.setDeviceMetricsOverride',
      { width, height, deviceScaleFactor: 1, mobile: false });
    await this.call('Emulation.setEmulatedMedia',
      { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  }

  async run(expression) {
    const { result, exceptionDetails } = await this.call('Runtime.evaluate',
      { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails)
      throw new Error(exceptionDetails.exception?.description);
    return result.value;
  }

  // 1 when it becomes true
  async until(expression, most = 60000) {
    for (const end = performance.now() + most; performance.now() < end;) {
      if (await this.run(expression)) return true;
      await sleep(20);
    }
    return false;
  }

  type(text) {
    return this.call('Input.insertText', { text });
  }

  async press(key, modifiers = 0) {
    const code = { Enter: 13, Escape: 27, Tab: 9 }[key];
    const keys = { key, code: key, windowsVirtualKeyCode: code, modifiers };
    const text = key === 'Enter' ? '\r' : undefined;
    await this.call('Input.dispatchKeyEvent',
      { type: 'keyDown', text, ...keys });
    await this.call('Input.dispatchKeyEvent', { type: 'keyUp', ...keys });
  }

  // As a person does, so that what is hidden cannot be clicked
  async click(selector) {
    const at = await this.run(`(() => {
      const node = document.querySelector(${JSON.stringify(selector)});
      node.scrollIntoView({ block: 'nearest' });
      const box = node.getBoundingClientRect();
      return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    })()`);
    for (const type of ['mousePressed', 'mouseReleased'])
      await this.call('Input.dispatchMouseEvent',
        { type, ...at, button: 'left', clickCount: 1 });
  }

  async shoot(path) {
    const { data } = await this.call('Page.captureScreenshot');
    writeFileSync(path, Buffer.from(data, 'base64'));
  }
}
