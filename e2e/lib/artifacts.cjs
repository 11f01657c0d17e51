// artifacts.cjs NODE_MODULES CONTRACTS [--check]: see e2e/artifacts.
const { readFileSync, readdirSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');
const [modules, folder, mode] = process.argv.slice(2);
const solc = require(join(modules, 'solc'));

const files = readdirSync(folder).filter((file) => file.endsWith('.sol')).sort();
const read = (path) => ({ content: readFileSync(path, 'utf8') });
const input = {
  language: 'Solidity',
  sources: Object.fromEntries(files.map((file) => [file, read(join(folder, file))])),
  settings: {
    optimizer: { enabled: true, runs: 200 },
    evmVersion: 'osaka',
    metadata: { bytecodeHash: 'none', appendCBOR: false },
    outputSelection: { '*': { '*': ['evm.bytecode.object'] } },
  },
};
const find = (path) => {
  try {
    return { contents: read(join(modules, path)).content };
  } catch (error) {
    return { error: error.message };
  }
};
const output = JSON.parse(solc.compile(JSON.stringify(input), { import: find }));
const errors = output.errors ?? [];
for (const error of errors) console.error(error.formattedMessage);
if (errors.length > 0) process.exit(1); // warnings as well

const artifacts = {};
for (const file of files) {
  const name = file.replace(/\.sol$/, '');
  artifacts[name] = `0x${output.contracts[file][name].evm.bytecode.object}`;
}
const target = join(folder, 'artifacts.json');
const text = `${JSON.stringify(artifacts, null, 2)}\n`;
if (mode !== '--check') {
  writeFileSync(target, text);
} else if (readFileSync(target, 'utf8') !== text) {
  console.error('artifacts.json is not what the contracts compile to: run e2e/artifacts');
  process.exit(1);
}
