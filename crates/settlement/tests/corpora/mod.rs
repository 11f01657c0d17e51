//! Traffic to measure batches with: generated from a seed, signed for real, the same on every machine.
//!
//! Blocks every 10 ms with 20 transactions each, 2,000 a second. The base fee starts at 0.05 gwei and moves by up to 0.1 % a block. Fees are
//! those of a wallet that asks for them: cap = twice the base fee of the block before + tip, tip 0.001 gwei (EIP-1559), gas limit 21,000.
//! Each account continues from a random nonce below 1,000.
//!
//! - **A**: 2,000 accounts pay each other. A value has four significant bytes: a random 32-bit mantissa times a power of ten from 10⁹ to 10¹⁵,
//!   or, one in four, times a power of two from 2³⁰ to 2⁴⁸.
//! - **B**: the same accounts pay recipients that nobody has seen. Values as in A.
//! - **C**: 5,000 accounts, some far busier than others (the k-th of n has weight 1/k), and of recipients one in three never seen before:
//!
//! | share | what | input |
//! |---:|---|---|
//! | 42 % | ERC-20 `transfer`, 12 tokens of very different use | recipient, amount of 2 to 6 digits × 10⁰ to 10¹⁸; one in five a full-length amount |
//! | 22 % | plain transfer | value of 1 to 5 digits × 10⁹ to 10¹⁸, one in five a full-length one |
//! | 14 % | swap of exact tokens on one of two routers | amounts (full-length minimum), path of 2 or 3 tokens, recipient is the sender, deadline |
//! | 8 % | ERC-20 `approve` | one of ten spenders, unlimited or an amount |
//! | 5 % | claim with a Merkle proof | index, account, amount, 8 to 14 hashes |
//! | 4 % | user operation through an EIP-4337 entry point | about 700 bytes with a signature |
//! | 3 % | mint | an id, full-length |
//! | 1.5 % | EIP-7702 | one authorization, then a call of two words |
//! | 0.4 % | deployment | 2 to 8 KB of code made of a few hundred fragments, constructor arguments |
//! | rest | call with an access list | two addresses, up to five keys |
//!
//!   Fees in C: 60 % a wallet's as above, but the base fee is that of up to 100 blocks ago and the tip one of 0.001, 0.0015, 0.01 gwei; 20 % a legacy gas
//!   price, 1.1 × such a base fee rounded to 10⁴ wei; 20 % a script's fixed cap of 1 gwei and tip of 0 or 0.001 gwei. Gas limits are estimates:
//!   what such a call uses, give or take, times 1.2 in a third of all cases, and rounded to thousands in another third.

#![allow(dead_code, unreachable_pub)] // tests, benches and examples use parts of it

use alloy_consensus::{
    EthereumTxEnvelope, SignableTransaction, Signed, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy,
    transaction::RlpEcdsaEncodableTx,
};
use alloy_eips::{
    eip2930::{AccessList, AccessListItem},
    eip7702::Authorization,
};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use jove_primitives::batch::BlockData;
use secp256k1::{Message, PublicKey, SecretKey, ecdsa::RecoverableSignature};

/// The corpora's chain.
pub const CHAIN_ID: u64 = 5683;
const BLOCK_TRANSACTIONS: usize = 20;
const GENESIS_MS: u64 = 1_790_000_000_000;
const GWEI: u128 = 1_000_000_000;

/// Which traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corpus {
    /// Known recipients.
    A,
    /// Unknown recipients.
    B,
    /// A mix.
    C,
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    fn address(&mut self) -> Address {
        Address::from_slice(&self.bytes(20))
    }

    /// One of n, the k-th with weight 1/k.
    fn zipf(&mut self, n: usize) -> usize {
        let total: f64 = (1..=n).map(|k| 1.0 / k as f64).sum();
        let mut left = self.next() as f64 / u64::MAX as f64 * total;
        (1..n)
            .find(|k| {
                left -= 1.0 / *k as f64;
                left < 0.0
            })
            .unwrap_or(n)
            - 1
    }

    fn digits(&mut self, most: u64) -> U256 {
        let digits = 1 + self.below(most);
        U256::from(1 + self.below(10u64.pow(digits as u32)))
    }
}

struct Account {
    secret: SecretKey,
    address: Address,
    nonce: u64,
}

impl Account {
    fn sign<T>(&self, transaction: T) -> EthereumTxEnvelope<TxEip4844>
    where
        T: SignableTransaction<Signature> + RlpEcdsaEncodableTx,
        EthereumTxEnvelope<TxEip4844>: From<Signed<T>>,
    {
        let signature = self.sign_hash(transaction.signature_hash());
        transaction.into_signed(signature).into()
    }

    fn sign_hash(&self, hash: B256) -> Signature {
        let (parity, rs) = RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(hash.0), &self.secret)
            .serialize_compact();
        Signature::from_bytes_and_parity(&rs, parity.to_u8() == 1)
    }
}

/// A corpus under way: an endless iterator of blocks.
pub struct Traffic {
    corpus: Corpus,
    random: Random,
    accounts: Vec<Account>,
    tokens: Vec<Address>,
    fragments: Vec<Vec<u8>>,
    /// Base fees of the blocks so far, in wei.
    base_fees: Vec<u128>,
}

/// A corpus's blocks.
pub fn traffic(corpus: Corpus) -> Traffic {
    let mut random = Random(corpus as u64 + 1);
    let count = if corpus == Corpus::C { 5_000 } else { 2_000 };
    let accounts = (0..count).map(|index: u64| {
        let secret = keccak256([b"jove corpus".as_slice(), &index.to_be_bytes()].concat());
        let secret = SecretKey::from_secret_bytes(secret.0).expect("a hash is a key");
        let public = PublicKey::from_secret_key(&secret).serialize_uncompressed();
        let address = Address::from_slice(&keccak256(&public[1..])[12..]);
        Account { secret, address, nonce: random.below(1_000) }
    });
    let accounts = accounts.collect();
    let tokens = (0..12).map(|_| random.address()).collect();
    let fragments = (0..300).map(|_| {
        let length = 8 + random.below(60) as usize;
        random.bytes(length)
    });
    let fragments = fragments.collect();
    Traffic { corpus, random, accounts, tokens, fragments, base_fees: vec![GWEI / 20] }
}

impl Iterator for Traffic {
    type Item = BlockData;

    fn next(&mut self) -> Option<BlockData> {
        let height = self.base_fees.len() as u64;
        let last = self.base_fees[self.base_fees.len() - 1];
        let transactions = (0..BLOCK_TRANSACTIONS)
            .map(|_| if self.corpus == Corpus::C { self.mixed() } else { self.transfer() })
            .collect();
        let moved = last * (9_990 + u128::from(self.random.below(21))) / 10_000;
        self.base_fees.push(moved.max(GWEI / 100));
        // An L1 block every 12 s.
        let origin_steps = u32::from(height % 1_200 == 600);
        Some(BlockData { time_ms: GENESIS_MS + 10 * height, origin_steps, transactions })
    }
}

impl Traffic {
    fn transfer(&mut self) -> EthereumTxEnvelope<TxEip4844> {
        let random = &mut self.random;
        let count = self.accounts.len() as u64;
        let to = match self.corpus {
            Corpus::B => random.address(),
            _ => self.accounts[random.below(count) as usize].address,
        };
        let mantissa = U256::from(random.next() as u32);
        let value = if random.below(4) == 0 {
            mantissa << (30 + random.below(19) as usize)
        } else {
            mantissa * U256::from(10).pow(U256::from(9 + random.below(7)))
        };
        let sender = random.below(count) as usize;
        let tip = GWEI / 1_000;
        let max_fee_per_gas = 2 * self.base_fees[self.base_fees.len() - 1] + tip;
        let sender = &mut self.accounts[sender];
        let nonce = sender.nonce;
        sender.nonce += 1;
        sender.sign(TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: 21_000,
            max_fee_per_gas,
            max_priority_fee_per_gas: tip,
            to: to.into(),
            value,
            ..Default::default()
        })
    }

    fn recipient(&mut self) -> Address {
        if self.random.below(3) == 0 {
            return self.random.address();
        }
        let index = self.random.zipf(self.accounts.len());
        self.accounts[index].address
    }

    fn amount(&mut self) -> U256 {
        if self.random.below(5) == 0 {
            return U256::from(self.random.next());
        }
        self.random.digits(5) * U256::from(10).pow(U256::from(3 * self.random.below(7)))
    }

    fn token(&mut self) -> Address {
        self.tokens[self.random.zipf(self.tokens.len())]
    }

    /// To, value, input, gas used.
    fn call(&mut self, sender: Address) -> (TxKind, U256, Vec<u8>, u64) {
        let call = |selector: u32, words: &[B256]| {
            let mut input = selector.to_be_bytes().to_vec();
            input.extend(words.iter().flat_map(|word| word.0));
            input
        };
        let word = |value: u64| B256::from(U256::from(value));
        let fixed = |index: u8| Address::from_slice(&keccak256([index])[..20]);
        let known = self.random.below(1_000);
        match known {
            0..420 => {
                let token = self.token();
                let (to, amount) = (self.recipient(), self.amount());
                let used = 34_500 + 17_100 * self.random.below(2) + 12 * self.random.below(4);
                (token.into(), U256::ZERO, call(0xa905_9cbb, &[to.into_word(), amount.into()]), used)
            }
            420..640 => {
                let to = self.recipient();
                let value = if self.random.below(5) == 0 {
                    U256::from(self.random.next())
                } else {
                    self.random.digits(5) * U256::from(10).pow(U256::from(9 + 3 * self.random.below(4)))
                };
                (to.into(), value, Vec::new(), 21_000)
            }
            640..780 => {
                let amount = self.amount();
                let minimum = U256::from(self.random.next());
                let mut path = vec![self.token(), self.token()];
                if self.random.below(3) == 0 {
                    path.push(self.token());
                }
                let now = GENESIS_MS / 1_000 + self.base_fees.len() as u64 / 100;
                let mut words = vec![amount.into(), minimum.into(), word(0xa0), sender.into_word(), word(now + 1_200)];
                words.push(word(path.len() as u64));
                words.extend(path.iter().map(Address::into_word));
                let router = fixed(100 + self.random.zipf(2) as u8);
                let used = 90_000 + self.random.below(30_000);
                (router.into(), U256::ZERO, call(0x38ed_1739, &words), used)
            }
            780..860 => {
                let spender = fixed(self.random.zipf(10) as u8);
                let amount = if self.random.below(2) == 0 { U256::MAX } else { self.amount() };
                let used = 46_000 + 12 * self.random.below(30);
                (self.token().into(), U256::ZERO, call(0x095e_a7b3, &[spender.into_word(), amount.into()]), used)
            }
            860..910 => {
                let amount: B256 = self.amount().into();
                let hashes = 8 + self.random.below(7);
                let mut words =
                    vec![word(self.random.below(100_000)), sender.into_word(), amount, word(0x80), word(hashes)];
                words.extend((0..hashes).map(|_| B256::from_slice(&self.random.bytes(32))));
                let used = 70_000 + 800 * hashes;
                (fixed(120).into(), U256::ZERO, call(0x2e7b_a6ef, &words), used)
            }
            910..950 => {
                let mut words = vec![word(0x40), sender.into_word(), word(1), word(0x20), self.recipient().into_word()];
                words.push(word(self.random.below(200)));
                words.extend([0x120u64, 0x140, 0x30000, 0x186a0, 0xc350].map(word));
                words.extend([word(0x2_faf0_8000), word(0x5f5_e100), word(0x220), word(0x240), word(0), word(0x84)]);
                // The inner call is four bytes off the words.
                let mut inner = call(0xb61d_27f6, &[self.token().into_word(), word(0), word(0x60), word(0)]);
                inner.resize(160, 0);
                words.extend(inner.chunks(32).map(B256::from_slice));
                words.extend([word(0), word(0x41)]);
                let mut signature = self.random.bytes(65);
                signature.resize(96, 0);
                words.extend(signature.chunks(32).map(B256::from_slice));
                let used = 130_000 + self.random.below(40_000);
                (fixed(130).into(), U256::ZERO, call(0x765e_827f, &words), used)
            }
            950..980 => {
                let id = B256::from_slice(&self.random.bytes(32));
                (fixed(140).into(), U256::from(GWEI) * self.random.digits(3), call(0xa071_2d68, &[id]), 75_000)
            }
            980..984 => {
                let mut code = Vec::new();
                let length = 2_000 + self.random.below(6_000) as usize;
                while code.len() < length {
                    code.extend(&self.fragments[self.random.zipf(self.fragments.len())]);
                }
                code.extend(self.token().into_word());
                let used = 53_000 + 220 * code.len() as u64;
                (TxKind::Create, U256::ZERO, code, used)
            }
            _ => {
                let to = self.token();
                let words = [self.recipient().into_word(), self.amount().into()];
                (to.into(), U256::ZERO, call(0x23b8_72dd, &words), 60_000 + self.random.below(5_000))
            }
        }
    }

    fn mixed(&mut self) -> EthereumTxEnvelope<TxEip4844> {
        let sender = self.random.zipf(self.accounts.len());
        let address = self.accounts[sender].address;
        let (to, value, input, used) = self.call(address);
        let input = Bytes::from(input);
        let gas_limit = match self.random.below(3) {
            0 => used,
            1 => used * 6 / 5,
            _ => used.div_ceil(1_000) * 1_000,
        };
        let age = self.random.below(100.min(self.base_fees.len() as u64)) as usize;
        let base_fee = self.base_fees[self.base_fees.len() - 1 - age];
        let (style, kind) = (self.random.below(5), self.random.below(1_000));
        let (max_fee_per_gas, max_priority_fee_per_gas) = if style < 4 {
            let tip = [GWEI / 1_000, GWEI / 1_000, GWEI * 3 / 2_000, GWEI / 100][self.random.below(4) as usize];
            (2 * base_fee + tip, tip)
        } else {
            (GWEI, GWEI / 1_000 * u128::from(self.random.below(2)))
        };
        let storage_keys = |random: &mut Random| -> Vec<B256> {
            (0..1 + random.below(3)).map(|_| B256::from_slice(&random.bytes(32))).collect()
        };
        let nonce = self.accounts[sender].nonce;
        self.accounts[sender].nonce += 1;
        if kind < 15
            && let TxKind::Call(to) = to
        {
            let delegate = Address::from_slice(&keccak256([200])[..20]);
            let inner = Authorization { chain_id: U256::from(CHAIN_ID), address: delegate, nonce: nonce + 1 };
            let signature = self.accounts[sender].sign_hash(inner.signature_hash());
            return self.accounts[sender].sign(TxEip7702 {
                chain_id: CHAIN_ID,
                nonce,
                gas_limit: gas_limit + 25_000,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value,
                access_list: AccessList::default(),
                authorization_list: vec![inner.into_signed(signature)],
                input,
            });
        }
        if kind < 25 {
            let mut item = || AccessListItem {
                address: self.tokens[self.random.zipf(self.tokens.len())],
                storage_keys: storage_keys(&mut self.random),
            };
            let access_list = AccessList(vec![item(), item()]);
            return self.accounts[sender].sign(TxEip2930 {
                chain_id: CHAIN_ID,
                nonce,
                gas_price: max_fee_per_gas,
                gas_limit,
                to,
                value,
                access_list,
                input,
            });
        }
        if style == 3 {
            let gas_price = (base_fee * 11 / 10).div_ceil(10_000) * 10_000;
            let chain_id = Some(CHAIN_ID);
            let legacy = TxLegacy { chain_id, nonce, gas_price, gas_limit, to, value, input };
            return self.accounts[sender].sign(legacy);
        }
        self.accounts[sender].sign(TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to,
            value,
            access_list: AccessList::default(),
            input,
        })
    }
}
