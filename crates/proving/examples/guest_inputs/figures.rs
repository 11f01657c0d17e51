//! What figures are taken of.

use crate::{Folder, chain::Chain};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use jove_primitives::{batch::BlockData, transaction::SignedTransaction};
use jove_proving::check::{Blobs, Call, Check, Signed};

/// The contracts of `jove bench`.
const ARTIFACTS: &str = include_str!("../../../../bin/jove/src/bench/contracts/artifacts.json");
const SENDERS: usize = 10;
/// Few transactions, and as many more as make the difference.
const FEW: usize = 10;
const MORE: usize = 50;

pub(crate) fn write(folder: &mut Folder) {
    for count in [1, 11] {
        let mut ready = Ready::new();
        let blocks = (1..=count).map(|at| ready.chain.block(10 * at, Vec::new())).collect();
        ready.write(folder, format!("blocks-{count}"), blocks);
    }
    type Send = fn(&mut Ready, usize) -> SignedTransaction;
    let workloads: [(&str, Send); 3] = [("transfer", Ready::transfer), ("erc20", Ready::token), ("swap", Ready::swap)];
    for (name, send) in workloads {
        for count in [FEW, FEW + MORE] {
            let mut ready = Ready::new();
            let transactions = (0..count).map(|index| send(&mut ready, index)).collect();
            let block = ready.chain.block(10, transactions);
            ready.write(folder, format!("{name}-{count}"), vec![block]);
        }
    }

    // What proving is timed with, besides.
    for count in [1, 100] {
        let mut ready = Ready::new();
        let transactions = (0..count).map(|index| ready.transfer(index)).collect();
        let block = ready.chain.block(10, transactions);
        ready.write(folder, format!("transfer-{count}"), vec![block]);
    }

    calculations(folder);
    heavy(folder);
    largest(folder);

    let mut ready = Ready::new();
    let signatures = |ready: &mut Ready, count| {
        let signed = |index| {
            let transaction = ready.transfer(index);
            let signature = *transaction.signature();
            Signed { hash: transaction.signature_hash(), r: signature.r(), s: signature.s(), odd: signature.v() }
        };
        Check::Signatures((0..count).map(signed).collect())
    };
    for count in [FEW, FEW + MORE] {
        folder.check(format!("check-signatures-{count}"), &signatures(&mut ready, count));
    }
    // A blob of random elements, and an empty one.
    let random = |index: u32| {
        let mut element = keccak256(index.to_be_bytes());
        element.0[0] &= 0x3f;
        element.0
    };
    let full: Vec<u8> = (0..4096).flat_map(random).collect();
    for (name, contents) in [("full", full), ("empty", vec![0; 131_072])] {
        let opening = [B256::repeat_byte(1).as_slice(), &contents].concat();
        folder.check(format!("check-opening-{name}"), &Check::Opening(opening.into()));
    }
    // The blobs of the batch of many transfers.
    for count in [FEW, FEW + MORE] {
        let mut ready = Ready::new();
        let transactions = (0..count).map(|index| ready.transfer(index)).collect();
        let block = ready.chain.block(10, transactions);
        let contents = ready.chain.commit(vec![block]).contents;
        let chain_id = ready.chain.spec.chain_id;
        folder.check(format!("check-decoding-{count}"), &Check::Decoding(Blobs { chain_id, contents }));
    }
}

/// MULMODs of full words, and an RSA verification's power: 2,048 bits, with 65537.
fn calculations(folder: &mut Folder) {
    let full = |seed: u8, length: u8| -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..length).flat_map(|at| keccak256([seed, at]).0).collect();
        bytes[0] |= 0x80;
        bytes
    };
    for count in [FEW, FEW + MORE] {
        let mut ready = Ready::new();
        let mut code = Vec::new();
        (0..3).for_each(|seed| code.extend([&[0x7f][..], &full(seed, 1)].concat()));
        // DUP3 DUP3 DUP3 MULMOD POP
        (0..count).for_each(|_| code.extend(hex!("8282820950")));
        let create = ready.chain.send(SENDERS - 1, TxKind::Create, 0, code, 200_000);
        let block = ready.chain.block(10, vec![create]);
        ready.write(folder, format!("mulmod-{count}"), vec![block]);
    }
    let lengths = [256_u64, 3, 256].map(|length| U256::from(length).to_be_bytes::<32>()).concat();
    let mut modulus = full(1, 8);
    modulus[255] |= 1;
    let input = [lengths, full(0, 8), vec![1, 0, 1], modulus].concat().into();
    let call = Call { address: Address::with_last_byte(5), gas: 1_000_000, input };
    folder.check("check-rsa", &Check::Calls(vec![call]));
}

/// Batches that want more than the machine's memory, were nothing ever freed in it.
fn heavy(folder: &mut Folder) {
    let mut ready = Ready::new();
    let blocks = (1..=3_000).map(|at| ready.chain.block(10 * at, Vec::new())).collect();
    ready.write(folder, "heavy-blocks".into(), blocks);
    let programs: [(&str, &[u8], u64); 2] = [
        // CALL(GAS, ADDRESS, 0, 0, 0, 0, 0): itself, until the gas ends, some 600 deep.
        ("calls", &hex!("5f5f5f5f5f305af100"), 60),
        // For ever: CALL(GAS, 4, 0, 0, 2^20, 0, 0): a MiB goes through the identity.
        ("copies", &hex!("5b5f5f621000005f5f60045af1505f56"), 5),
    ];
    for (name, code, count) in programs {
        let mut ready = Ready::new();
        let sender = SENDERS - 1;
        // Returns what follows it.
        let init = [&hex!("600b380380600b5f395ff3")[..], code].concat();
        let contract = ready.chain.address(sender).create(2);
        let create = ready.chain.send(sender, TxKind::Create, 0, init, 100_000);
        let mut blocks = vec![ready.chain.block(10, vec![create])];
        for at in 1..=count {
            let transaction = ready.chain.send(sender, contract.into(), 0, Bytes::new(), 16_000_000);
            blocks.push(ready.chain.block(10 + 10 * at, vec![transaction]));
        }
        ready.write(folder, format!("heavy-{name}"), blocks);
    }
}

/// A batch of one transaction that asks for the length of as much code as it has gas for: 150 MiB of it. It has to fit into the machine.
fn largest(folder: &mut Folder) {
    let (first, gas) = (0x10_0000_u64, 16_777_216);
    // CALLDATALOAD(0), then for ever: JUMPDEST DUP1 EXTCODESIZE POP PUSH1 1 ADD PUSH1 2 JUMP
    let reader = (Address::repeat_byte(0xcc), Bytes::from_static(&hex!("5f355b803b50600101600256")));
    let code = |number: u64| {
        let mut code = vec![0; 24_576];
        code[..8].copy_from_slice(&number.to_be_bytes());
        (Address::left_padding_from(&(first + number).to_be_bytes()), Bytes::from(code))
    };
    let mut chain = Chain::with_codes(1, (0..gas / 2_600).map(code).chain([reader.clone()]));
    chain.l1_block(0);
    let step = chain.step(1_000);
    chain.commit(vec![step]);
    let transaction = chain.send(0, reader.0.into(), 0, U256::from(first).to_be_bytes_vec(), gas);
    let block = chain.block(10, vec![transaction]);
    let parent = chain.parent.clone();
    let batch = chain.commit(vec![block]);
    let input = chain.input(parent, vec![batch]).encode();
    folder.judge("heavy-code", &input);
}

/// A chain with an L1 origin, two tokens and a pair, in which the senders hold both.
struct Ready {
    chain: Chain,
    token: Address,
    pair: Address,
}

impl Ready {
    fn new() -> Self {
        let artifacts: std::collections::HashMap<String, Bytes> = serde_json::from_str(ARTIFACTS).expect("artifacts");
        let mut chain = Chain::new(SENDERS + 1);
        chain.l1_block(0);
        let step = chain.step(1_000);
        let deployer = SENDERS;
        let [token, other, pair] = [0, 1, 2].map(|nonce| chain.address(deployer).create(nonce));
        let million = U256::from(10).pow(U256::from(24));
        let approve = || call("approve(address,uint256)", &[word(pair), U256::MAX]);
        let mut setup = Vec::new();
        let create = [word(token), word(other)].map(|word| word.to_be_bytes::<32>()).concat();
        let pair_code = [&artifacts["Pair"][..], &create].concat();
        for code in [artifacts["Token"].to_vec(), artifacts["Token"].to_vec(), pair_code] {
            setup.push(chain.send(deployer, TxKind::Create, 0, code, 12_000_000));
        }
        for token in [token, other] {
            setup.push(chain.send(deployer, token.into(), 0, approve(), 100_000));
        }
        setup.push(chain.send(
            deployer,
            pair.into(),
            0,
            call("deposit(uint256,uint256)", &[million, million]),
            1_000_000,
        ));
        for token in [token, other] {
            let mut words = vec![U256::from(64), million, U256::from(SENDERS)];
            words.extend((0..SENDERS).map(|sender| word(chain.address(sender))));
            setup.push(chain.send(deployer, token.into(), 0, call("fund(address[],uint256)", &words), 2_000_000));
        }
        let approvals = (0..2 * SENDERS)
            .map(|index| {
                let token = if index % 2 == 0 { token } else { other };
                chain.send(index / 2, token.into(), 0, approve(), 100_000)
            })
            .collect();
        // A block for each deployment: their gas limits are high.
        let mut blocks = vec![step];
        for (at, transaction) in (1..).zip(setup) {
            blocks.push(chain.block(1_000 + 10 * at, vec![transaction]));
        }
        blocks.push(chain.block(2_000, approvals));
        let committed = chain.commit(blocks);
        assert!(chain.parent == committed.committed, "a node takes it");
        Self { chain, token, pair }
    }

    fn transfer(&mut self, index: usize) -> SignedTransaction {
        let to = self.chain.address((index + 1) % SENDERS);
        self.chain.transfer(index % SENDERS, to)
    }

    fn token(&mut self, index: usize) -> SignedTransaction {
        let to = self.chain.address((index + 1) % SENDERS);
        let input = call("transfer(address,uint256)", &[word(to), U256::ONE]);
        self.chain.send(index % SENDERS, self.token.into(), 0, input, 100_000)
    }

    fn swap(&mut self, index: usize) -> SignedTransaction {
        let sender = index % SENDERS;
        let direction = U256::from((sender + index / SENDERS) % 2);
        let amount = U256::from(1_000_000_000_000_000u64);
        let words = [direction, amount, U256::ONE, word(self.chain.address(sender))];
        self.chain.send(sender, self.pair.into(), 0, call("swap(bool,uint256,uint256,address)", &words), 250_000)
    }

    /// The batch of these blocks, of which all is to succeed.
    fn write(&mut self, folder: &mut Folder, name: String, blocks: Vec<BlockData>) {
        let parent = self.chain.parent.clone();
        let batch = self.chain.commit(blocks);
        assert!(self.chain.parent == batch.committed, "a node takes it");
        let input = self.chain.input(parent, vec![batch]);
        folder.judge(name, &input.encode());
    }
}

fn word(address: Address) -> U256 {
    U256::from_be_bytes(address.into_word().0)
}

/// Calldata of a function whose arguments take these words.
fn call(signature: &str, words: &[U256]) -> Bytes {
    let mut data = keccak256(signature.as_bytes())[..4].to_vec();
    words.iter().for_each(|word| data.extend_from_slice(&word.to_be_bytes::<32>()));
    data.into()
}
