// contract-artifacts.cjs OUT TARGET [--check]: writes TARGET/NAME.json for each contract that the binary deploys or puts into a genesis: ABI, creation
// code, and for L2's predeploys the code that a genesis holds. See e2e/contracts.
const { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');
const [out, target, mode] = process.argv.slice(2);

const contracts = {
  Bridge: 'Bridge', EscapeHatch: 'EscapeHatch', Inbox: 'Inbox', Origins: 'Origins', Outbox: 'Outbox', Pause: 'Pause', Placeholder: 'Governed',
  Proofs: 'Proofs', Proxy: 'Proxy', Rollup: 'Rollup', SequencerAuthority: 'SequencerAuthority', TestVerifier: 'TestVerifier', Timelock: 'Timelock',
  AttestationRegistry: 'AttestationRegistry', DcapVerifier: 'DcapVerifier', Pccs: 'Pccs', TeeVerifier: 'TeeVerifier', ZkVerifier: 'ZkVerifier',
  ValidatorAuthority: 'ValidatorAuthority', RewardVault: 'RewardVault',
  L1Block: 'L1Block', L2Bridge: 'L2Bridge', L2Messenger: 'L2Messenger', L2Token: 'L2Token',
};
const predeploys = ['L1Block', 'L2Bridge', 'L2Messenger'];

const files = {};
for (const [name, file] of Object.entries(contracts)) {
  const { abi, bytecode, deployedBytecode } = JSON.parse(readFileSync(join(out, `${file}.sol`, `${name}.json`), 'utf8'));
  if (Object.keys(bytecode.linkReferences).length > 0) throw new Error(`${name} needs a library`);
  const parts = [`"abi": [\n${abi.map((entry) => `  ${JSON.stringify(entry)}`).join(',\n')}\n ]`, `"bytecode": "${bytecode.object}"`];
  if (predeploys.includes(name)) {
    // A genesis runs no constructor.
    if (Object.keys(deployedBytecode.immutableReferences ?? {}).length > 0) throw new Error(`${name} has immutables`);
    parts.push(`"deployedBytecode": "${deployedBytecode.object}"`);
  }
  files[`${name}.json`] = `{\n ${parts.join(',\n ')}\n}\n`;
}
const present = existsSync(target) ? readdirSync(target) : [];
if (mode === '--check') {
  const wrong = [...new Set([...present, ...Object.keys(files)])]
    .filter((file) => !present.includes(file) || readFileSync(join(target, file), 'utf8') !== files[file]);
  if (wrong.length > 0) {
    console.error(`${wrong.join(', ')}: not what the contracts compile to: run e2e/contracts --write`);
    process.exit(1);
  }
} else {
  mkdirSync(target, { recursive: true });
  for (const file of present) if (!(file in files)) rmSync(join(target, file));
  for (const [file, text] of Object.entries(files)) writeFileSync(join(target, file), text);
}
