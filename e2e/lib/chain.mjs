// The chain under test for viem, and artifacts of the Foundry project.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createPublicClient, createWalletClient, defineChain, http, webSocket } from 'viem';
import { mnemonicToAccount } from 'viem/accounts';
import { setting, until } from './check.mjs';

const url = setting('RPC_URL');
const wsUrl = setting('WS_URL');
const mnemonic = setting('MNEMONIC');
const out = setting('E2E_OUT');

export const chain = defineChain({
  id: 5683,
  name: 'Jove',
  nativeCurrency: { name: 'Ether', symbol: 'ETH', decimals: 18 },
  rpcUrls: { default: { http: [url], webSocket: [wsUrl] } },
});
const common = { chain, pollingInterval: 20, cacheTime: 0 };

/** One of the ten development accounts. */
export const account = (index) => mnemonicToAccount(mnemonic, { addressIndex: index });
export const http_ = () => http(url, { retryCount: 0, timeout: 60_000 });
export const publicClient = createPublicClient({ ...common, transport: http_() });
export const wsClient = () => createPublicClient({ ...common, transport: webSocket(wsUrl, { retryCount: 0, reconnect: false, timeout: 60_000 }) });
export const wallet = (who) => createWalletClient({ ...common, account: who, transport: http_() });

/** `{abi, bytecode, runtime}` of a contract that forge compiled. */
export function forged(name) {
  const artifact = JSON.parse(readFileSync(`${out}/${name}.sol/${name}.json`, 'utf8'));
  return { abi: artifact.abi, bytecode: artifact.bytecode.object, runtime: artifact.deployedBytecode.object };
}

/** `{abi, bytecode}` of a contract that an npm package carries. */
export function packaged(path) {
  const artifact = createRequire(import.meta.url)(path);
  const code = artifact.bytecode.startsWith('0x') ? artifact.bytecode : `0x${artifact.bytecode}`;
  return { abi: artifact.abi, bytecode: code };
}

/**
 * The receipt of `hash`, which must have succeeded. Asks for it in a loop: many of viem's `waitForTransactionReceipt` at once share
 * one watcher of block numbers, and one that joins late waits for a further block, which a chain without work does not make.
 */
export async function mined(hash) {
  const receipt = await until(() => publicClient.getTransactionReceipt({ hash }).catch(() => null), `the receipt of ${hash}`);
  if (receipt.status !== 'success') throw new Error(`${hash} reverted`);
  return receipt;
}

/** Deploys with `from`; returns `{address, abi, receipt}`. */
export async function deploy(from, { abi, bytecode }, args = []) {
  const receipt = await mined(await from.deployContract({ abi, bytecode, args }));
  return { address: receipt.contractAddress, abi, receipt };
}
