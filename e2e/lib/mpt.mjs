// Merkle-Patricia tries as the yellow paper has them (appendix D), small and slow: enough to check a node's roots and proofs.
import { concatHex, fromRlp, keccak256, toRlp } from 'viem';

export const EMPTY_ROOT = keccak256(toRlp('0x'));

const nibbles = (hex) => hex.slice(2);
const same = (a, b) => a.toLowerCase() === b.toLowerCase();

/** Hex-prefix decoding: the path's nibbles, and whether it ends in a leaf. */
function path(encoded) {
  const digits = nibbles(encoded);
  const flag = parseInt(digits[0], 16);
  return { rest: digits.slice(flag & 1 ? 1 : 2), leaf: (flag & 2) !== 0 };
}

/** Hex-prefix encoding. */
function compact(rest, leaf) {
  const flag = (leaf ? 2 : 0) + (rest.length & 1);
  return `0x${flag.toString(16)}${rest.length & 1 ? '' : '0'}${rest}`;
}

/**
 * The value under `key` (hex, already hashed where the trie hashes keys) that `proof` shows for `root`, or null if the proof
 * shows that there is none. Throws if the proof is not one, or carries nodes that it does not need.
 */
export function proven(root, key, proof) {
  if (same(root, EMPTY_ROOT)) {
    if (proof.length > 0 && !(proof.length === 1 && proof[0] === '0x80')) throw new Error('nodes below the empty root');
    return null;
  }
  let rest = nibbles(key);
  let next = root;
  let used = 0;
  for (;;) {
    let node = next;
    if (typeof next === 'string') {
      if (used >= proof.length) throw new Error('the proof ends too early');
      if (!same(keccak256(proof[used]), next)) throw new Error(`node ${used} does not hash to ${next}`);
      node = fromRlp(proof[used]);
      used += 1;
    }
    let result;
    if (node.length === 17) {
      if (rest === '') {
        result = node[16];
      } else {
        next = node[parseInt(rest[0], 16)];
        rest = rest.slice(1);
        if (next === '0x') result = null;
      }
    } else {
      const { rest: part, leaf } = path(node[0]);
      if (!rest.startsWith(part)) result = null;
      else if (!leaf) [next, rest] = [node[1], rest.slice(part.length)];
      else result = rest === part ? node[1] : null;
    }
    if (result !== undefined) {
      if (used !== proof.length) throw new Error('the proof has nodes to spare');
      return result === '0x' ? null : result;
    }
  }
}

/** A node over entries [key nibbles, value], all keys distinct and none the beginning of another. */
function build(entries, depth) {
  if (entries.length === 1) return [compact(entries[0][0].slice(depth), true), entries[0][1]];
  let shared = depth;
  while (entries.every(([key]) => key[shared] === entries[0][0][shared])) shared += 1;
  const children = [];
  for (let digit = 0; digit < 16; digit += 1) {
    const below = entries.filter(([key]) => parseInt(key[shared], 16) === digit);
    children.push(below.length === 0 ? '0x' : reference(build(below, shared + 1)));
  }
  const branch = [...children, '0x'];
  return shared === depth ? branch : [compact(entries[0][0].slice(depth, shared), false), reference(branch)];
}

/** How a parent holds a node: in full below 32 bytes, else by its hash. */
function reference(node) {
  const encoded = toRlp(node);
  return encoded.length - 2 < 64 ? node : keccak256(encoded);
}

/** Root of the trie that maps RLP(index) to each value, as for transactions and receipts. */
export function orderedRoot(values) {
  if (values.length === 0) return EMPTY_ROOT;
  const entries = values.map((value, index) => [nibbles(toRlp(quantity(index))), value]);
  return keccak256(toRlp(build(entries, 0)));
}

/** A number as RLP has it: big-endian without leading zeros. */
export function quantity(value) {
  const digits = BigInt(value).toString(16);
  return BigInt(value) === 0n ? '0x' : `0x${digits.length & 1 ? '0' : ''}${digits}`;
}

/** Hash of a header as `eth_getBlockBy…` shows it, Osaka's fields included. */
export function headerHash(block) {
  const fields = [
    block.parentHash, block.sha3Uncles, block.miner, block.stateRoot, block.transactionsRoot, block.receiptsRoot,
    block.logsBloom, quantity(block.difficulty), quantity(block.number), quantity(block.gasLimit), quantity(block.gasUsed),
    quantity(block.timestamp), block.extraData, block.mixHash, block.nonce, quantity(block.baseFeePerGas),
    block.withdrawalsRoot, quantity(block.blobGasUsed), quantity(block.excessBlobGas), block.parentBeaconBlockRoot,
    block.requestsHash,
  ];
  return keccak256(toRlp(fields));
}

/** A receipt of `eth_getBlockReceipts` in its consensus encoding (EIP-2718). */
export function receiptBytes(receipt) {
  const logs = receipt.logs.map((log) => [log.address, log.topics, log.data]);
  const body = toRlp([quantity(receipt.status), quantity(receipt.cumulativeGasUsed), receipt.logsBloom, logs]);
  return BigInt(receipt.type) === 0n ? body : concatHex([`0x0${BigInt(receipt.type).toString(16)}`, body]);
}

/** Checks an `eth_getProof` answer to the last node against `stateRoot`; returns it. */
export function checkAccountProof(stateRoot, answer) {
  const leaf = proven(stateRoot, keccak256(answer.address), answer.accountProof);
  const expected = toRlp([quantity(answer.nonce), quantity(answer.balance), answer.storageHash, answer.codeHash]);
  const none = BigInt(answer.nonce) === 0n && BigInt(answer.balance) === 0n && same(answer.storageHash, EMPTY_ROOT);
  if (leaf === null ? !none : !same(leaf, expected)) throw new Error(`account leaf ${leaf} is not ${expected}`);
  for (const { key, value, proof } of answer.storageProof) {
    const slot = `0x${BigInt(key).toString(16).padStart(64, '0')}`;
    const shown = proven(answer.storageHash, keccak256(slot), proof);
    const want = BigInt(value) === 0n ? null : toRlp(quantity(value));
    if (shown !== want) throw new Error(`slot ${key} holds ${shown}, not ${want}`);
  }
  return answer;
}
