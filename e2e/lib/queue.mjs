// queue.mjs URL INBOX FIRST END BLOCK: how the messages FIRST to END (without) of L1's queue arrived on the chain at URL, in its blocks from BLOCK on. Prints
// JSON: first and last block with one of them, whether each is there once and in order, and the pool transactions between the first and the last of them, and after.
import { concat, encodeAbiParameters, keccak256, pad } from 'viem';

const [url, inbox, first, end, from] = process.argv.slice(2);
const ask = async (method, ...params) => {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
  const answer = await (await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body })).json();
  if (answer.error) throw new Error(`${method}: ${answer.error.message}`);
  return answer.result;
};
// docs/settlement.md: keccak256(word(0) ‖ keccak(inbox, index)).
const source = (index) => {
  const inner = keccak256(encodeAbiParameters([{ type: 'address' }, { type: 'uint64' }], [inbox, BigInt(index)]));
  return keccak256(concat([pad('0x00'), inner]));
};
const expected = [];
for (let index = Number(first); index < Number(end); index++) expected.push(source(index));

const head = Number(await ask('eth_blockNumber'));
const found = []; // [source hash, block, position among all transactions]
const pool = []; // positions
let position = 0;
for (let number = Number(from); number <= head; number++) {
  const block = await ask('eth_getBlockByNumber', `0x${number.toString(16)}`, true);
  for (const transaction of block.transactions) {
    position++;
    if (transaction.type !== '0x7e') pool.push(position);
    else if (expected.includes(transaction.sourceHash)) found.push([transaction.sourceHash, number, position]);
  }
}
const [begin, last] = [found.at(0)?.[2], found.at(-1)?.[2]];
console.log(JSON.stringify({
  count: found.length,
  inOrder: JSON.stringify(found.map(([hash]) => hash)) === JSON.stringify(expected),
  firstBlock: found.at(0)?.[1] ?? 0,
  lastBlock: found.at(-1)?.[1] ?? 0,
  poolBetween: pool.filter((at) => at > begin && at < last).length,
  poolAfter: pool.filter((at) => at > last).length,
}));
