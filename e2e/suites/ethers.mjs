// ethers v6: providers, a contract's life and events. Run by e2e/run.
import { ContractFactory, HDNodeWallet, JsonRpcProvider, Mnemonic, NonceManager, Wallet, WebSocketProvider, isError, parseEther } from 'ethers';
import { assert, check, cost, finish, setting, until } from '../lib/check.mjs';
import { forged } from '../lib/chain.mjs';

const options = { polling: true, pollingInterval: 20, cacheTimeout: -1, batchMaxCount: 20 };
const provider = new JsonRpcProvider(setting('RPC_URL'), undefined, options);
const signer = HDNodeWallet.fromMnemonic(Mnemonic.fromPhrase(setting('MNEMONIC')), "m/44'/60'/0'/0/5").connect(provider);
const Token = forged('Token');

await check('network', async () => assert.equal((await provider.getNetwork()).chainId, 5683n));
await check('block with transactions', async () => {
  const block = await provider.getBlock('latest', true);
  assert.equal(block.prefetchedTransactions.length, block.length);
});
await check('sendTransaction and wait', async () => {
  const to = Wallet.createRandom().address;
  const before = await provider.getBalance(signer.address);
  const receipt = await (await signer.sendTransaction({ to, value: 3n })).wait();
  assert.equal(receipt.status, 1);
  assert.equal(await provider.getBalance(to), 3n);
  // ethers drops the fields of a receipt that it does not know, so ask for the L1 fee.
  const raw = await provider.send('eth_getTransactionReceipt', [receipt.hash]);
  assert.equal(before - (await provider.getBalance(signer.address)), 3n + cost(raw));
});
const token = await check('deploy', async () => {
  const contract = await new ContractFactory(Token.abi, Token.bytecode, signer).deploy('Ethers', 'ETS', parseEther('10'));
  await contract.waitForDeployment();
  assert.equal(await contract.symbol(), 'ETS');
  return contract;
});
if (!token) finish();
await check('transfer, queryFilter, parsed log', async () => {
  const to = Wallet.createRandom().address;
  const receipt = await (await token.transfer(to, 4n)).wait();
  assert.deepEqual([...receipt.logs[0].args], [signer.address, to, 4n]);
  const events = await token.queryFilter(token.filters.Transfer(null, to));
  assert.deepEqual(events.map((event) => event.transactionHash), [receipt.hash]);
});
await check('a revert is a CALL_EXCEPTION with its custom error', async () => {
  const poor = Wallet.createRandom().connect(provider);
  const error = await token.connect(poor).transfer.staticCall(signer.address, 1n).then(() => null, (reason) => reason);
  assert.ok(isError(error, 'CALL_EXCEPTION'));
  assert.equal(error.revert.name, 'ERC20InsufficientBalance');
});
await check('twenty transfers through a NonceManager', async () => {
  const manager = new NonceManager(signer);
  const to = Wallet.createRandom().address;
  const sent = [];
  for (let index = 0; index < 20; index += 1) sent.push(await token.connect(manager).transfer(to, 1n, { gasLimit: 100_000n }));
  await Promise.all(sent.map((transaction) => transaction.wait()));
  assert.equal(await token.balanceOf(to), 20n);
});
await check('a JSON-RPC signer: eth_accounts, eth_sendTransaction, personal_sign', async () => {
  const accounts = await provider.listAccounts();
  assert.equal(accounts.length, 10);
  const to = Wallet.createRandom().address;
  await (await accounts[5].sendTransaction({ to, value: 2n })).wait();
  assert.equal(await provider.getBalance(to), 2n);
  assert.equal(await accounts[5].signMessage('Jove'), await signer.signMessage('Jove'));
});
await check('WebSocketProvider: block and contract events', async () => {
  const socket = new WebSocketProvider(setting('WS_URL'));
  const [blocks, transfers] = [[], []];
  await socket.on('block', (number) => blocks.push(number));
  const to = Wallet.createRandom().address;
  await token.connect(socket).on(token.filters.Transfer(null, to), (payload) => transfers.push(payload.args.value));
  await socket.getBlockNumber(); // the subscriptions were sent before this
  const receipt = await (await token.transfer(to, 5n)).wait();
  await until(() => blocks.includes(receipt.blockNumber) && transfers.length > 0, 'the events');
  assert.deepEqual(transfers, [5n]);
  await socket.destroy();
});

finish();
