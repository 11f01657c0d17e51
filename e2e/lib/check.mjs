// Named checks with a deadline each, and the suite's verdict.
import assert from 'node:assert/strict';

export { assert };

const LIMIT_MS = 120_000;
let passed = 0;
let failed = 0;

/** Runs `body`; prints one line; never throws. Returns what `body` returned, or undefined if it failed. */
export async function check(name, body) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no result within ${LIMIT_MS / 1000} s`)), LIMIT_MS);
  });
  try {
    const value = await Promise.race([body(), late]);
    passed += 1;
    console.log(`ok    ${name}`);
    return value;
  } catch (error) {
    failed += 1;
    const text = String(error.message ?? error).split('\n').filter(Boolean).slice(0, 8).join(' | ');
    console.log(`FAIL  ${name}: ${text}`);
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

/** Prints the verdict and ends the process: open sockets and failures must not outlive it. */
export function finish() {
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 && passed > 0 ? 0 : 1);
}

/** Resolves once `probe` returns something truthy. */
export async function until(probe, what, limitMs = 60_000) {
  const end = Date.now() + limitMs;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > end) throw new Error(`timed out waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** An environment variable that `e2e/run` sets. */
export function setting(name) {
  const value = process.env[name];
  if (!value) {
    console.log(`${name} is not set: run this suite with e2e/run`);
    process.exit(2);
  }
  return value;
}

/** What a transaction took from its sender beyond its value: execution gas and, on Jove, the L1 data fee. */
export function cost(receipt) {
  const price = receipt.effectiveGasPrice ?? receipt.gasPrice;
  return BigInt(receipt.gasUsed) * BigInt(price) + BigInt(receipt.l1Fee ?? 0);
}
