// node verify-proof.mjs STATE_ROOT < eth_getProof's answer: prints `account`, or `no account`, and the slots' values; exits 1 if
// the proof does not hold.
import { readFileSync } from 'node:fs';
import { checkAccountProof } from './mpt.mjs';

const answer = checkAccountProof(process.argv[2], JSON.parse(readFileSync(0, 'utf8')));
const exists = BigInt(answer.nonce) > 0n || BigInt(answer.balance) > 0n;
console.log([exists ? 'account' : 'no account', ...answer.storageProof.map((slot) => BigInt(slot.value))].join(' '));
