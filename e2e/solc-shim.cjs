#!/usr/bin/env node
// Lets forge compile with npm's solc: answers `--version` and `--standard-json`, the two calls that forge makes.
const { readFileSync } = require('node:fs');
const solc = require('solc');

if (process.argv.includes('--version')) {
  const version = solc.version().replace('.Emscripten.clang', '.Linux.g++');
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${version}`);
} else if (process.argv.includes('--standard-json')) {
  // forge sends every source in the input, so an import that is not there is an error of the project.
  const missing = (path) => ({ error: `${path} is not part of the input` });
  process.stdout.write(solc.compile(readFileSync(0, 'utf8'), { import: missing }));
} else {
  console.error('solc-shim: only --version and --standard-json');
  process.exitCode = 1;
}
