// SPDX-License-Identifier: Apache-2.0
// The results of a test, as tests/tap.h writes them.
import { isDeepStrictEqual } from 'node:util';

let nAll = 0;
let nFailed = 0;

// There were n results before.
export function begin(n) {
  nAll = n;
}

function say(text) {
  process.stdout.write(text + '\n');
}

export function diag(value) {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  for (const line of String(text).split('\n')) say('# ' + line);
}

export function ok(good, text, seen) {
  nAll += 1;
  nFailed += !good;
  say(`${good ? 'ok' : 'not ok'} ${nAll} - ${text}`);
  if (!good && seen !== undefined) diag(seen);
}

export function same(seen, wanted, text) {
  ok(isDeepStrictEqual(seen, wanted), text, { seen, wanted });
}

export function skip(text) {
  nAll += 1;
  say(`ok ${nAll} # SKIP ${text}`);
}

// What a call throws, or undefined
export async function thrown(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
}

export function done() {
  say(`1..${nAll}`);
  return nFailed ? 1 : 0;
}
