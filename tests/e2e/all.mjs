// SPDX-License-Identifier: Apache-2.0
// Usage: node all.mjs N NAME...: runs NAME.mjs of this folder one after the
// other, with WEIR in the environment and the models in the working folder.
// Their results come behind N others.
import { begin, done, ok } from './tap.mjs';

process.on('unhandledRejection', (error) =>
  ok(false, 'nothing fails that nobody waits for', String(error?.stack)));

begin(Number(process.argv[2]));
for (const name of process.argv.slice(3)) {
  let error;
  try {
    await (await import(`./${name}.mjs`)).test();
  } catch (thrown) {
    error = thrown;
  }
  ok(!error, `${name}: comes to its end`, String(error?.stack));
}
process.exit(done());
