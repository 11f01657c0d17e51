// Uniswap v2 from its npm artifacts: a pool is created, filled, swapped through and emptied; every amount to the wei. Run by e2e/run.
import { concatHex, getContractAddress, isAddressEqual, keccak256, maxUint256, parseEther, parseEventLogs, zeroAddress } from 'viem';
import { assert, check, cost, finish } from '../lib/check.mjs';
import { account, deploy, forged, mined, packaged, publicClient as client, wallet } from '../lib/chain.mjs';

const trader = wallet(account(4));
const me = trader.account.address;
const Factory = packaged('@uniswap/v2-core/build/UniswapV2Factory.json');
const Pair = packaged('@uniswap/v2-core/build/UniswapV2Pair.json');
const Router = packaged('@uniswap/v2-periphery/build/UniswapV2Router02.json');
const Weth = packaged('@uniswap/v2-periphery/build/WETH9.json');
const Token = forged('Token');
const deadline = maxUint256;

const read = (contract, functionName, args = []) => client.readContract({ ...contract, functionName, args });
const write = async (contract, functionName, args, value) =>
  mined(await trader.writeContract({ address: contract.address, abi: contract.abi, functionName, args, value }));
const event = (receipt, abi, eventName) => parseEventLogs({ abi, logs: receipt.logs, eventName });

// The formulas of the white paper, in integers as the contracts have them.
const amountOut = (input, reserveIn, reserveOut) => (input * 997n * reserveOut) / (reserveIn * 1000n + input * 997n);
const amountIn = (output, reserveIn, reserveOut) => (reserveIn * output * 1000n) / ((reserveOut - output) * 997n) + 1n;
function sqrt(value) {
  let [low, high] = [0n, value];
  while (low < high) {
    const middle = (low + high + 1n) / 2n;
    if (middle * middle <= value) low = middle;
    else high = middle - 1n;
  }
  return low;
}

const setup = await check('deploy WETH9, Factory, Router02 and two OpenZeppelin tokens', async () => {
  const weth = await deploy(trader, Weth);
  const factory = await deploy(trader, Factory, [me]);
  const router = await deploy(trader, Router, [factory.address, weth.address]);
  const a = await deploy(trader, Token, ['Apples', 'APL', parseEther('1000000')]);
  const b = await deploy(trader, Token, ['Berries', 'BRY', parseEther('1000000')]);
  assert.ok(isAddressEqual(await read(router, 'factory'), factory.address));
  assert.ok(isAddressEqual(await read(router, 'WETH'), weth.address));
  for (const token of [a, b]) await write(token, 'approve', [router.address, maxUint256]);
  return { weth, factory, router, a, b };
});
if (!setup) finish();
const { weth, factory, router, a, b } = setup;

/** The pair's reserves, first that of `token`. */
async function reserves(pair, token) {
  const [zero, one] = await read(pair, 'getReserves');
  return isAddressEqual(await read(pair, 'token0'), token.address) ? [zero, one] : [one, zero];
}

const [amountA, amountB] = [parseEther('4000'), parseEther('1000')];
const pair = await check('addLiquidity creates the pair at its CREATE2 address', async () => {
  const receipt = await write(router, 'addLiquidity', [a.address, b.address, amountA, amountB, amountA, amountB, me, deadline]);
  const [token0, token1] = [a.address, b.address].sort((x, y) => (BigInt(x) < BigInt(y) ? -1 : 1));
  const address = getContractAddress({
    opcode: 'CREATE2', from: factory.address, salt: keccak256(concatHex([token0, token1])), bytecodeHash: keccak256(Pair.bytecode),
  });
  const [created] = event(receipt, Factory.abi, 'PairCreated');
  assert.ok(isAddressEqual(created.args[2], address));
  assert.ok(isAddressEqual(await read(factory, 'getPair', [b.address, a.address]), address));
  return { address, abi: Pair.abi };
});
if (!pair) finish();
await check('the first liquidity is the geometric mean, less the locked minimum', async () => {
  const root = sqrt(amountA * amountB);
  assert.equal(await read(pair, 'totalSupply'), root);
  assert.equal(await read(pair, 'balanceOf', [me]), root - 1000n);
  assert.equal(await read(pair, 'balanceOf', [zeroAddress]), 1000n);
  assert.deepEqual(await reserves(pair, a), [amountA, amountB]);
});
await check('swapExactTokensForTokens pays the constant product’s amount', async () => {
  const input = parseEther('123') + 456_789n;
  const [reserveA, reserveB] = await reserves(pair, a);
  const expected = amountOut(input, reserveA, reserveB);
  assert.deepEqual(await read(router, 'getAmountsOut', [input, [a.address, b.address]]), [input, expected]);
  const [beforeA, beforeB] = [await read(a, 'balanceOf', [me]), await read(b, 'balanceOf', [me])];
  const receipt = await write(router, 'swapExactTokensForTokens', [input, expected, [a.address, b.address], me, deadline]);
  assert.equal(beforeA - (await read(a, 'balanceOf', [me])), input);
  assert.equal((await read(b, 'balanceOf', [me])) - beforeB, expected);
  assert.deepEqual(await reserves(pair, a), [reserveA + input, reserveB - expected]);
  assert.ok((reserveA + input) * (reserveB - expected) > reserveA * reserveB);
  const [{ args }] = event(receipt, Pair.abi, 'Swap');
  assert.equal(args.amount0In + args.amount1In, input);
  assert.equal(args.amount0Out + args.amount1Out, expected);
});
await check('swapTokensForExactTokens takes the constant product’s amount', async () => {
  const output = parseEther('50') + 1n;
  const [reserveA, reserveB] = await reserves(pair, a);
  const expected = amountIn(output, reserveB, reserveA);
  const before = await read(b, 'balanceOf', [me]);
  await write(router, 'swapTokensForExactTokens', [output, expected, [b.address, a.address], me, deadline]);
  assert.equal(before - (await read(b, 'balanceOf', [me])), expected);
  assert.deepEqual(await reserves(pair, a), [reserveA - output, reserveB + expected]);
});
await check('a swap below its least amount reverts', async () => {
  const input = parseEther('1');
  const expected = amountOut(input, ...(await reserves(pair, a)));
  const swap = write(router, 'swapExactTokensForTokens', [input, expected + 1n, [a.address, b.address], me, deadline]);
  await assert.rejects(swap, /INSUFFICIENT_OUTPUT_AMOUNT/);
  const late = write(router, 'swapExactTokensForTokens', [input, 0n, [a.address, b.address], me, 1n]);
  await assert.rejects(late, /EXPIRED/);
});
await check('ether: addLiquidityETH, then swapExactETHForTokens over two pairs', async () => {
  const [tokens, ether] = [parseEther('300'), parseEther('2')];
  await write(router, 'addLiquidityETH', [a.address, tokens, tokens, ether, me, deadline], ether);
  const wethPair = { address: await read(factory, 'getPair', [weth.address, a.address]), abi: Pair.abi };
  assert.equal(await read(weth, 'balanceOf', [wethPair.address]), ether);
  const input = parseEther('0.1');
  const middle = amountOut(input, ...(await reserves(wethPair, weth)));
  const expected = amountOut(middle, ...(await reserves(pair, a)));
  const [beforeEther, beforeB] = [await client.getBalance({ address: me }), await read(b, 'balanceOf', [me])];
  const path = [weth.address, a.address, b.address];
  const receipt = await write(router, 'swapExactETHForTokens', [expected, path, me, deadline], input);
  assert.equal((await read(b, 'balanceOf', [me])) - beforeB, expected);
  assert.equal(beforeEther - (await client.getBalance({ address: me })), input + cost(receipt));
  assert.equal(event(receipt, Pair.abi, 'Swap').length, 2);
});
await check('removeLiquidity pays the share of both reserves', async () => {
  const [reserveA, reserveB] = await reserves(pair, a);
  const [supply, liquidity] = [await read(pair, 'totalSupply'), (await read(pair, 'balanceOf', [me])) / 3n];
  const [beforeA, beforeB] = [await read(a, 'balanceOf', [me]), await read(b, 'balanceOf', [me])];
  await write(pair, 'approve', [router.address, liquidity]);
  await write(router, 'removeLiquidity', [a.address, b.address, liquidity, 0n, 0n, me, deadline]);
  assert.equal((await read(a, 'balanceOf', [me])) - beforeA, (liquidity * reserveA) / supply);
  assert.equal((await read(b, 'balanceOf', [me])) - beforeB, (liquidity * reserveB) / supply);
  assert.equal(await read(pair, 'totalSupply'), supply - liquidity);
});
await check('a hundred swaps in a burst leave the reserves that the formula says', async () => {
  let [reserveA, reserveB] = await reserves(pair, a);
  const input = parseEther('0.5');
  const [nonce, fees] = [await client.getTransactionCount({ address: me }), await client.estimateFeesPerGas()];
  const hashes = await Promise.all(Array.from({ length: 100 }, (_, index) => {
    const path = index % 2 === 0 ? [a.address, b.address] : [b.address, a.address];
    return trader.writeContract({
      address: router.address, abi: router.abi, functionName: 'swapExactTokensForTokens', args: [input, 0n, path, me, deadline],
      nonce: nonce + index, gas: 200_000n, ...fees,
    });
  }));
  await Promise.all(hashes.map(mined));
  for (let index = 0; index < hashes.length; index += 1) {
    if (index % 2 === 0) [reserveA, reserveB] = [reserveA + input, reserveB - amountOut(input, reserveA, reserveB)];
    else [reserveA, reserveB] = [reserveA - amountOut(input, reserveB, reserveA), reserveB + input];
  }
  assert.deepEqual(await reserves(pair, a), [reserveA, reserveB]);
});

finish();
