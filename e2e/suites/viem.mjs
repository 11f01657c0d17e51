// viem: public, wallet and test clients over HTTP and WebSocket. Run by e2e/run.
import {
  BaseError, ContractFunctionRevertedError, concatHex, createTestClient, encodeFunctionData, getContractAddress, isAddressEqual,
  keccak256, parseEther, parseEventLogs, parseGwei, zeroAddress, zeroHash,
} from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { assert, check, cost, finish, until } from '../lib/check.mjs';
import { account, chain, deploy, forged, http_, mined, publicClient as client, wallet, wsClient } from '../lib/chain.mjs';
import { checkAccountProof, headerHash, orderedRoot, receiptBytes } from '../lib/mpt.mjs';

const alice = wallet(account(3));
const me = alice.account.address;
const fresh = () => privateKeyToAccount(generatePrivateKey());
const rpc = (method, ...params) => client.request({ method, params });
const hex = (number) => `0x${number.toString(16)}`;

// --- the chain ---
await check('chain id', async () => assert.equal(await client.getChainId(), 5683));
await check('client version', async () => assert.match(await rpc('web3_clientVersion'), /./));
await check('getBlock: latest, by number, by hash', async () => {
  const latest = await client.getBlock();
  assert.deepEqual(await client.getBlock({ blockNumber: latest.number }), latest);
  assert.deepEqual(await client.getBlock({ blockHash: latest.hash }), latest);
  assert.equal((await client.getBlock({ blockTag: 'earliest' })).number, 0n);
});
await check('getBlock: no such block', () => assert.rejects(client.getBlock({ blockNumber: 99_999_999n }), /could not be found/));

// --- transactions of every type ---
const sends = {
  legacy: [{ type: 'legacy', gasPrice: parseGwei('3') }, 21000n],
  eip2930: [{ type: 'eip2930', gasPrice: parseGwei('3'), accessList: [{ address: zeroAddress, storageKeys: [zeroHash] }] }, 25300n],
  eip1559: [{}, 21000n],
};
for (const [type, [fields, gas]] of Object.entries(sends)) {
  await check(`sendTransaction: ${type}`, async () => {
    const to = fresh().address;
    const before = await client.getBalance({ address: me });
    const hash = await alice.sendTransaction({ to, value: 5n, ...fields });
    const receipt = await mined(hash);
    assert.equal(receipt.type, type);
    assert.equal(receipt.gasUsed, gas);
    assert.equal(await client.getBalance({ address: to }), 5n);
    assert.equal(before - (await client.getBalance({ address: me })), 5n + cost(receipt));
    const sent = await client.getTransaction({ hash });
    assert.equal(sent.type, type);
    assert.ok(isAddressEqual(sent.from, me));
    const { blockHash, blockNumber, transactionIndex: index } = sent;
    assert.deepEqual(await client.getTransaction({ blockHash, index }), sent);
    assert.deepEqual(await client.getTransaction({ blockNumber, index }), sent);
  });
}
await check('sendRawTransaction: the hash is the raw bytes’; getRawTransaction gives them back', async () => {
  const request = await alice.prepareTransactionRequest({ to: fresh().address, value: 1n });
  const serializedTransaction = await alice.signTransaction(request);
  const hash = await alice.sendRawTransaction({ serializedTransaction });
  assert.equal(hash, keccak256(serializedTransaction));
  await mined(hash);
  assert.equal(await rpc('eth_getRawTransactionByHash', hash), serializedTransaction);
});
await check('sendRawTransactionSync answers with the receipt', async () => {
  const request = await alice.prepareTransactionRequest({ to: fresh().address, value: 1n });
  const serializedTransaction = await alice.signTransaction(request);
  const receipt = await alice.sendRawTransactionSync({ serializedTransaction });
  assert.equal(receipt.status, 'success');
  assert.equal(receipt.transactionHash, keccak256(serializedTransaction));
  assert.deepEqual(await client.getTransactionReceipt({ hash: receipt.transactionHash }), receipt);
});
await check('sendRawTransactionSync: with a timeout, and again once mined (EIP-7966)', async () => {
  const request = await alice.prepareTransactionRequest({ to: fresh().address, value: 1n });
  const serializedTransaction = await alice.signTransaction(request);
  const receipt = await alice.sendRawTransactionSync({ serializedTransaction, timeout: 9_000 });
  assert.deepEqual(await alice.sendRawTransactionSync({ serializedTransaction }), receipt);
});
await check('sendTransactionSync', async () => {
  const receipt = await alice.sendTransactionSync({ to: fresh().address, value: 1n });
  assert.equal(receipt.status, 'success');
});
await check('waitForTransactionReceipt, with a confirmation to come', async () => {
  const hash = await alice.sendTransaction({ to: fresh().address, value: 1n });
  assert.equal((await client.waitForTransactionReceipt({ hash, timeout: 60_000 })).status, 'success');
  const waiting = client.waitForTransactionReceipt({ hash, confirmations: 2, timeout: 60_000 });
  await mined(await alice.sendTransaction({ to: fresh().address, value: 1n }));
  assert.equal((await waiting).transactionHash, hash);
  assert.ok((await client.getTransactionConfirmations({ hash })) >= 2n);
});
await check('fifty transactions at once, in nonce order', async () => {
  const nonce = await client.getTransactionCount({ address: me });
  const to = fresh().address;
  const fees = await client.estimateFeesPerGas();
  const send = (index) => alice.sendTransaction({ to, value: 1n, nonce: nonce + index, gas: 21000n, ...fees });
  // The first comes last: the others wait in the pool for it.
  const rest = await Promise.all(Array.from({ length: 49 }, (_, index) => send(index + 1)));
  assert.equal(await client.getTransactionCount({ address: me }), nonce);
  assert.equal(await client.getTransactionReceipt({ hash: rest[0] }).catch(() => null), null);
  const first = await send(0);
  const receipts = await Promise.all([first, ...rest].map(mined));
  for (let index = 1; index < receipts.length; index += 1) {
    const [a, b] = [receipts[index - 1], receipts[index]];
    assert.ok(a.blockNumber < b.blockNumber || (a.blockNumber === b.blockNumber && a.transactionIndex < b.transactionIndex));
  }
  assert.equal(await client.getBalance({ address: to }), 50n);
  assert.equal(await client.getTransactionCount({ address: me }), nonce + 50);
});
await check('refusals: nonce too low, insufficient funds, wrong chain', async () => {
  const fees = await client.estimateFeesPerGas();
  await assert.rejects(alice.sendTransaction({ to: me, nonce: 0, gas: 21000n, ...fees }), /nonce/i);
  await assert.rejects(wallet(fresh()).sendTransaction({ to: me, value: 1n, gas: 21000n, nonce: 0, ...fees }), /funds/i);
  const serializedTransaction = await account(3).signTransaction({
    type: 'eip1559', chainId: 1, to: me, gas: 21000n, nonce: await client.getTransactionCount({ address: me }), ...fees,
  });
  await assert.rejects(client.sendRawTransaction({ serializedTransaction }), /chain/i);
});

// --- a contract's life ---
const Token = forged('Token');
const Probe = forged('Probe');
const token = await check('deployContract', async () => {
  const nonce = await client.getTransactionCount({ address: me });
  const deployed = await deploy(alice, Token, ['Viem', 'VIEM', parseEther('1000')]);
  assert.ok(isAddressEqual(deployed.address, getContractAddress({ from: me, nonce: BigInt(nonce) })));
  assert.equal(await client.getCode({ address: deployed.address }), Token.runtime);
  return deployed;
});
const probe = await check('deployContract: Probe', () => deploy(alice, Probe));
if (!token || !probe) finish();
const born = token.receipt.blockNumber;
const balanceOf = (who, options = {}) => client.readContract({ ...token, functionName: 'balanceOf', args: [who], ...options });

await check('reads, in one JSON-RPC batch', async () => {
  const answers = await Promise.all(
    ['name', 'symbol', 'decimals', 'totalSupply'].map((functionName) => client.readContract({ ...token, functionName })),
  );
  assert.deepEqual(answers, ['Viem', 'VIEM', 18, parseEther('1000')]);
  const body = Array.from({ length: 20 }, (_, id) => ({ jsonrpc: '2.0', id, method: 'eth_getBlockByNumber', params: ['0x0', false] }));
  const headers = { 'content-type': 'application/json' };
  const batch = await (await fetch(process.env.RPC_URL, { method: 'POST', headers, body: JSON.stringify(body) })).json();
  assert.deepEqual(batch.map(({ id }) => id).sort((a, b) => a - b), body.map(({ id }) => id));
  assert.ok(batch.every(({ result }) => result.number === '0x0'));
});
const bob = fresh();
const paid = await check('writeContract: transfer and its event', async () => {
  const { request } = await client.simulateContract({ ...token, account: alice.account, functionName: 'transfer', args: [bob.address, 7n] });
  const receipt = await mined(await alice.writeContract(request));
  const [log] = parseEventLogs({ abi: token.abi, logs: receipt.logs });
  assert.equal(log.eventName, 'Transfer');
  assert.deepEqual(log.args, { from: me, to: bob.address, value: 7n });
  assert.equal(await balanceOf(bob.address), 7n);
  assert.equal(await balanceOf(bob.address, { blockNumber: receipt.blockNumber - 1n }), 0n);
  return receipt;
});
await check('a revert comes back decoded', async () => {
  const call = client.simulateContract({ ...token, account: bob, functionName: 'transfer', args: [me, 8n] });
  const error = await call.then(() => assert.fail('should revert'), (reason) => reason);
  const revert = error instanceof BaseError && error.walk((cause) => cause instanceof ContractFunctionRevertedError);
  assert.equal(revert?.data?.errorName, 'ERC20InsufficientBalance');
  assert.deepEqual(revert.data.args, [bob.address, 7n, 8n]);
});
await check('estimateGas and estimateContractGas suffice', async () => {
  const gas = await client.estimateContractGas({ ...token, account: alice.account, functionName: 'transfer', args: [fresh().address, 1n] });
  const hash = await alice.writeContract({ ...token, functionName: 'transfer', args: [fresh().address, 1n], gas });
  assert.ok((await mined(hash)).gasUsed <= gas);
  assert.equal(await client.estimateGas({ account: me, to: bob.address, value: 1n }), 21000n);
});
await check('call with state and block overrides', async () => {
  const data = encodeFunctionData({ abi: probe.abi, functionName: 'value' });
  const stateDiff = [{ slot: zeroHash, value: `0x${'0'.repeat(62)}2a` }];
  const seen = await client.call({ to: probe.address, data, stateOverride: [{ address: probe.address, stateDiff }] });
  assert.equal(BigInt(seen.data), 42n);
  const code = await client.call({ to: bob.address, data, stateOverride: [{ address: bob.address, code: Probe.runtime }] });
  assert.equal(BigInt(code.data), 0n);
  const context = encodeFunctionData({ abi: probe.abi, functionName: 'context' });
  const { data: at } = await client.call({ to: probe.address, data: context, blockOverrides: { number: 77n, time: 4_000_000_000n } });
  assert.equal(BigInt(`0x${at.slice(66, 130)}`), 77n);
  assert.equal(BigInt(`0x${at.slice(130, 194)}`), 4_000_000_000n);
});
await check('getLogs and getContractEvents', async () => {
  const filter = { ...token, eventName: 'Transfer', fromBlock: born, toBlock: 'latest' };
  const all = await client.getContractEvents(filter);
  assert.equal(all.length, 3); // the constructor's, and two transfers
  const mine = await client.getContractEvents({ ...filter, args: { to: bob.address } });
  assert.deepEqual(mine.map((log) => log.transactionHash), [paid.transactionHash]);
  const either = await client.getContractEvents({ ...filter, args: { to: [bob.address, me] } });
  assert.equal(either.length, 2);
  const inBlock = await client.getLogs({ blockHash: paid.blockHash, address: token.address });
  assert.deepEqual(inBlock.map((log) => [log.data, log.logIndex]), paid.logs.map((log) => [log.data, log.logIndex]));
});
await check('getBlockReceipts; roots, bloom and hash recomputed', async () => {
  const number = hex(paid.blockNumber);
  const [block, receipts] = await Promise.all([rpc('eth_getBlockByNumber', number, false), rpc('eth_getBlockReceipts', number)]);
  assert.equal(headerHash(block), block.hash);
  assert.equal(receipts.length, block.transactions.length);
  assert.equal(orderedRoot(receipts.map(receiptBytes)), block.receiptsRoot);
  const raws = await Promise.all(block.transactions.map((hash) => rpc('eth_getRawTransactionByHash', hash)));
  assert.equal(orderedRoot(raws), block.transactionsRoot);
  const bloom = receipts.reduce((sum, receipt) => sum | BigInt(receipt.logsBloom), 0n);
  assert.equal(bloom, BigInt(block.logsBloom));
  assert.equal(await client.getBlockTransactionCount({ blockNumber: paid.blockNumber }), receipts.length);
});
await check('getProof, to the last node', async () => {
  const blockNumber = await client.getBlockNumber();
  const { stateRoot } = await client.getBlock({ blockNumber });
  const balances = keccak256(concatHex([`0x${me.slice(2).padStart(64, '0')}`, zeroHash])); // mapping in slot 0
  const proof = (address, keys) => rpc('eth_getProof', address, keys, hex(blockNumber));
  const contract = checkAccountProof(stateRoot, await proof(token.address, [balances, `0x${'ff'.repeat(32)}`]));
  assert.equal(BigInt(contract.storageProof[0].value), await balanceOf(me, { blockNumber }));
  assert.equal(BigInt(contract.storageProof[1].value), 0n);
  assert.equal(BigInt(checkAccountProof(stateRoot, await proof(fresh().address, [])).balance), 0n);
  const parsed = await client.getProof({ address: me, storageKeys: [], blockNumber });
  assert.equal(parsed.nonce, await client.getTransactionCount({ address: me, blockNumber }));
});

// --- fees ---
await check('getFeeHistory', async () => {
  const history = await client.getFeeHistory({ blockCount: 4, rewardPercentiles: [25, 75] });
  assert.equal(history.baseFeePerGas.length, 5);
  assert.equal(history.gasUsedRatio.length, 4);
  assert.ok(history.reward.every((row) => row.length === 2 && row[0] <= row[1]));
  const oldest = await client.getBlock({ blockNumber: history.oldestBlock });
  assert.equal(history.baseFeePerGas[0], oldest.baseFeePerGas);
});
await check('estimateFeesPerGas covers the base fee', async () => {
  const [fees, block] = [await client.estimateFeesPerGas(), await client.getBlock()];
  assert.ok(fees.maxFeePerGas >= block.baseFeePerGas && block.baseFeePerGas > 0n);
  assert.ok((await client.getGasPrice()) >= block.baseFeePerGas);
});

// --- simulation ---
await check('createAccessList', async () => {
  const { accessList, gasUsed } = await client.createAccessList({
    account: me, to: probe.address, data: encodeFunctionData({ abi: probe.abi, functionName: 'set', args: [3n] }),
  });
  assert.ok(gasUsed > 21000n);
  assert.equal(accessList.length, 1);
  assert.ok(isAddressEqual(accessList[0].address, probe.address));
  assert.deepEqual(accessList[0].storageKeys, [zeroHash]);
});
await check('simulateBlocks (eth_simulateV1): two blocks, overrides, a revert', async () => {
  const head = await client.getBlock();
  const rich = fresh().address;
  const set = (value) => ({ to: probe.address, abi: probe.abi, functionName: 'set', args: [value] });
  const [first, second] = await client.simulateBlocks({
    blocks: [
      {
        blockOverrides: { time: head.timestamp + 100n },
        stateOverrides: [{ address: rich, balance: parseEther('9') }],
        calls: [{ account: rich, to: bob.address, value: parseEther('4') }, { account: rich, ...set(5n) }],
      },
      { calls: [{ account: rich, ...set(6n) }, { account: rich, to: probe.address, abi: probe.abi, functionName: 'refuse' }] },
    ],
  });
  assert.equal(first.number, head.number + 1n);
  assert.equal(first.timestamp, head.timestamp + 100n);
  assert.deepEqual(first.calls.map(({ status }) => status), ['success', 'success']);
  assert.equal(first.calls[1].result, 0n);
  assert.equal(first.calls[1].logs.length, 1);
  assert.equal(second.number, head.number + 2n);
  assert.equal(second.calls[0].result, 5n); // saw the first block
  assert.equal(second.calls[1].status, 'failure');
  assert.equal(await client.readContract({ ...probe, functionName: 'value' }), 0n); // and left nothing behind
});

// --- EIP-7702 ---
await check('an account delegates to a contract and back (EIP-7702)', async () => {
  const eve = fresh();
  const delegate = async (contractAddress) => {
    const authorization = await eve.signAuthorization({
      contractAddress, chainId: chain.id, nonce: await client.getTransactionCount({ address: eve.address }),
    });
    const receipt = await mined(await alice.sendTransaction({ to: eve.address, authorizationList: [authorization], gas: 200_000n }));
    assert.equal(receipt.type, 'eip7702');
  };
  await delegate(probe.address);
  assert.equal((await client.getCode({ address: eve.address })).toLowerCase(), concatHex(['0xef0100', probe.address]).toLowerCase());
  assert.equal(await client.getTransactionCount({ address: eve.address }), 1);
  await mined(await alice.writeContract({ address: eve.address, abi: probe.abi, functionName: 'set', args: [11n] }));
  assert.equal(await client.readContract({ address: eve.address, abi: probe.abi, functionName: 'value' }), 11n);
  assert.equal(await client.readContract({ ...probe, functionName: 'value' }), 0n);
  await delegate(zeroAddress);
  assert.equal(await client.getCode({ address: eve.address }), undefined);
});

// --- filters over HTTP ---
await check('event filter: changes, all logs, uninstall', async () => {
  const filter = await client.createContractEventFilter({ ...token, eventName: 'Transfer', fromBlock: born });
  const before = (await client.getFilterLogs({ filter })).length;
  const hash = await alice.writeContract({ ...token, functionName: 'transfer', args: [bob.address, 2n] });
  await mined(hash);
  // A receipt may be there a moment before the filters know its block.
  await until(async () => (await client.getFilterChanges({ filter })).some((log) => log.transactionHash === hash), 'the log');
  assert.equal((await client.getFilterChanges({ filter })).length, 0);
  assert.equal((await client.getFilterLogs({ filter })).length, before + 1);
  assert.equal(await client.uninstallFilter({ filter }), true);
  assert.equal(await client.uninstallFilter({ filter }), false);
  await assert.rejects(client.getFilterChanges({ filter }), /filter/i);
});
await check('block filter and pending-transaction filter', async () => {
  const [blocks, pending] = [await client.createBlockFilter(), await client.createPendingTransactionFilter()];
  const receipt = await mined(await alice.sendTransaction({ to: bob.address, value: 1n }));
  await until(async () => (await client.getFilterChanges({ filter: blocks })).includes(receipt.blockHash), 'the block');
  await until(async () => (await client.getFilterChanges({ filter: pending })).includes(receipt.transactionHash), 'the hash');
});

// --- WebSocket ---
const ws = wsClient();
await check('WebSocket: requests', async () => assert.equal(await ws.getChainId(), 5683));
await check('WebSocket: watchContractEvent', async () => {
  const logs = [];
  const errors = [];
  const stop = ws.watchContractEvent({
    ...token, eventName: 'Transfer', args: { to: bob.address }, poll: false,
    onLogs: (seen) => logs.push(...seen), onError: (error) => errors.push(error),
  });
  const pay = async (to, amount) => (await mined(await alice.writeContract({ ...token, functionName: 'transfer', args: [to, amount] }))).transactionHash;
  const value = (amount) => logs.filter((log) => log.args.value === amount);
  // viem does not tell when the subscription stands: the first log does.
  await until(async () => { await pay(bob.address, 1n); return logs.length > 0 || errors.length > 0; }, 'a first log');
  await pay(fresh().address, 2n);
  const hash = await pay(bob.address, 3n);
  await until(() => value(3n).length > 0 || errors.length > 0, 'the log');
  stop();
  assert.deepEqual(errors, []);
  assert.deepEqual(value(3n).map((log) => [log.transactionHash, log.removed ?? false]), [[hash, false]]);
  assert.ok(logs.every((log) => isAddressEqual(log.args.to, bob.address)));
});
await check('WebSocket: watchBlocks and watchPendingTransactions', async () => {
  const blocks = [];
  const pending = [];
  const errors = [];
  const onError = (error) => errors.push(error);
  const stops = [
    ws.watchBlocks({ poll: false, onBlock: (block) => blocks.push(block), onError }),
    ws.watchPendingTransactions({ poll: false, onTransactions: (hashes) => pending.push(...hashes), onError }),
  ];
  const send = async () => mined(await alice.sendTransaction({ to: bob.address, value: 1n }));
  await until(async () => { await send(); return blocks.length > 0 && pending.length > 0 || errors.length > 0; }, 'first ones');
  const receipts = [];
  for (let round = 0; round < 3; round += 1) receipts.push(await send());
  await until(() => errors.length > 0 || receipts.every((receipt) => blocks.some(({ hash }) => hash === receipt.blockHash)), 'the blocks');
  await until(() => errors.length > 0 || receipts.every((receipt) => pending.includes(receipt.transactionHash)), 'the hashes');
  for (const stop of stops) stop();
  assert.deepEqual(errors, []);
  // viem asks for each, and hands them on as they come.
  assert.equal(new Set(blocks.map(({ hash }) => hash)).size, blocks.length);
});

// --- development methods; everything they change is taken back ---
const test = createTestClient({ chain, mode: 'anvil', transport: http_() });
const whole = await check('snapshot', () => test.snapshot());
await check('snapshot and revert', async () => {
  const [height, target] = [await client.getBlockNumber(), fresh().address];
  const id = await test.snapshot();
  await mined(await alice.sendTransaction({ to: target, value: 9n }));
  await test.revert({ id });
  assert.equal(await client.getBlockNumber(), height);
  assert.equal(await client.getBalance({ address: target }), 0n);
  await assert.rejects(async () => {
    const answer = await rpc('evm_revert', id); // a snapshot serves once
    assert.notEqual(answer, false);
  });
  await mined(await alice.sendTransaction({ to: target, value: 8n }));
  assert.equal(await client.getBalance({ address: target }), 8n);
});
await check('setBalance, setCode, setNonce, setStorageAt', async () => {
  const { address } = fresh();
  await test.setBalance({ address, value: parseEther('5') });
  await test.setNonce({ address, nonce: 12 });
  assert.equal(await client.getBalance({ address }), parseEther('5'));
  assert.equal(await client.getTransactionCount({ address }), 12);
  const contract = fresh().address;
  await test.setCode({ address: contract, bytecode: Probe.runtime });
  await test.setStorageAt({ address: contract, index: 0, value: `0x${'0'.repeat(62)}37` });
  assert.equal(await client.readContract({ address: contract, abi: probe.abi, functionName: 'value' }), 55n);
  await test.mine({ blocks: 1 }); // whether or not a setter seals a block of its own
  const blockNumber = await client.getBlockNumber();
  const { stateRoot } = await client.getBlock({ blockNumber });
  const seen = checkAccountProof(stateRoot, await rpc('eth_getProof', address, [], hex(blockNumber)));
  assert.equal(BigInt(seen.balance), parseEther('5'));
});
await check('impersonateAccount', async () => {
  const address = fresh().address;
  await test.setBalance({ address, value: parseEther('1') });
  await test.impersonateAccount({ address });
  const target = fresh().address;
  const hash = await wallet(address).sendTransaction({ to: target, value: 6n });
  assert.ok(isAddressEqual((await mined(hash)).from, address));
  assert.equal(await client.getBalance({ address: target }), 6n);
  await test.stopImpersonatingAccount({ address });
  await assert.rejects(wallet(address).sendTransaction({ to: target, value: 6n }));
});
await check('impersonateAccount of a contract, and its trace', async () => {
  const { address } = fresh();
  await test.setCode({ address, bytecode: Probe.runtime });
  await test.setBalance({ address, value: parseEther('1') });
  await test.impersonateAccount({ address });
  const target = fresh().address;
  const { transactionHash } = await mined(await wallet(address).sendTransaction({ to: target, value: 6n }));
  assert.equal(await client.getBalance({ address: target }), 6n);
  const trace = await rpc('debug_traceTransaction', transactionHash, { tracer: 'callTracer' });
  assert.ok(isAddressEqual(trace.from, address) && !trace.error, JSON.stringify(trace));
  await test.stopImpersonatingAccount({ address });
});
await check('mine', async () => {
  const height = await client.getBlockNumber();
  await test.mine({ blocks: 3 });
  assert.ok((await client.getBlockNumber()) >= height + 3n);
});
await check('increaseTime and setNextBlockTimestamp', async () => {
  const before = (await client.getBlock()).timestamp;
  await test.increaseTime({ seconds: 3600 });
  await test.mine({ blocks: 1 });
  const after = (await client.getBlock()).timestamp;
  assert.ok(after >= before + 3600n && after < before + 3700n, `${before} to ${after}`);
  await test.setNextBlockTimestamp({ timestamp: after + 500n });
  await test.mine({ blocks: 1 });
  assert.equal((await client.getBlock()).timestamp, after + 500n);
  await test.setBlockTimestampInterval({ interval: 40 });
  await test.mine({ blocks: 2 });
  assert.equal((await client.getBlock()).timestamp, after + 580n);
  await test.removeBlockTimestampInterval();
});
await check('hardhat’s names', async () => {
  const address = fresh().address;
  await rpc('hardhat_setBalance', address, '0x7b');
  assert.equal(await client.getBalance({ address }), 123n);
});
await check('revert to where the development checks began', async () => {
  await test.revert({ id: whole });
  const receipt = await mined(await alice.sendTransaction({ to: fresh().address, value: 1n }));
  assert.equal(receipt.status, 'success');
});

finish();
