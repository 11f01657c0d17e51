//! The pool against a model that knows no index and no sum: it looks at every transaction every time.

use super::*;
use alloy_consensus::Transaction as _;
use proptest::prelude::*;

const SENDERS: usize = 5;
const MAX_PER_SENDER: usize = 5;
const MAX_TRANSACTIONS: usize = 14;
/// What a plain transfer's gas costs for each unit of fee cap, in wei.
const UNIT: u64 = 21_000 * FLOOR;

#[derive(Clone, Debug)]
enum Op {
    /// Sender, nonce beyond the account's, tip, what the cap is above it, all fees in units of the floor.
    Add {
        sender: usize,
        ahead: u64,
        tip: u64,
        above: u64,
    },
    /// So many of the best at this base fee are included.
    Block {
        take: usize,
        base_fee: u64,
    },
    /// A block without transactions that changes a balance, in units of gas cost.
    Balance {
        sender: usize,
        units: u64,
    },
    /// A block without transactions that changes a nonce.
    Nonce {
        sender: usize,
        nonce: u64,
    },
    Prices {
        base_fee: u128,
    },
    BaseFee(u64),
    Discard(prop::sample::Index),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..SENDERS, 0u64..5, 0u64..6, 0u64..6)
            .prop_map(|(sender, ahead, tip, above)| Op::Add { sender, ahead, tip, above }),
        3 => (0usize..6, 1u64..10).prop_map(|(take, base_fee)| Op::Block { take, base_fee }),
        2 => (0..SENDERS, 0u64..40).prop_map(|(sender, units)| Op::Balance { sender, units }),
        1 => (0..SENDERS, 0u64..12).prop_map(|(sender, nonce)| Op::Nonce { sender, nonce }),
        1 => (0u128..4).prop_map(|n| Op::Prices { base_fee: n * 1_000_000_000_000 }),
        2 => (1u64..10).prop_map(Op::BaseFee),
        2 => any::<prop::sample::Index>().prop_map(Op::Discard),
    ]
}

#[derive(Clone, Debug)]
struct Tx {
    sender: Address,
    nonce: u64,
    tip: u64,
    cap: u64,
    cost: U256,
    data_size: u64,
    seq: u64,
    hash: B256,
}

#[derive(Default)]
struct Model {
    txs: Vec<Tx>,
    accounts: HashMap<Address, Account>,
    prices: L1Prices,
    base_fee: u64,
    seq: u64,
}

impl Tx {
    fn effective(&self, base_fee: u64) -> i128 {
        i128::from(self.tip).min(i128::from(self.cap) - i128::from(base_fee))
    }
}

impl Model {
    fn queue(&self, sender: Address) -> Vec<Tx> {
        let mut queue: Vec<Tx> = self.txs.iter().filter(|tx| tx.sender == sender).cloned().collect();
        queue.sort_by_key(|tx| tx.nonce);
        queue
    }

    fn total(&self, txs: &[Tx]) -> U256 {
        let cost: U256 = txs.iter().map(|tx| tx.cost).sum();
        cost + jove_primitives::fee::data_fee(txs.iter().map(|tx| tx.data_size).sum(), self.prices)
    }

    fn executable_of(&self, sender: Address, queue: &[Tx]) -> Vec<Tx> {
        let account = self.accounts[&sender];
        let mut executable = Vec::new();
        for tx in queue {
            executable.push(tx.clone());
            let gapless = tx.nonce == account.nonce + executable.len() as u64 - 1;
            if !gapless || self.total(&executable) > account.balance {
                executable.pop();
                break;
            }
        }
        executable
    }

    fn executable(&self, sender: Address) -> Vec<Tx> {
        self.executable_of(sender, &self.queue(sender))
    }

    fn best(&self, base_fee: u64) -> Vec<B256> {
        let mut queues: Vec<Vec<Tx>> = self.accounts.keys().map(|sender| self.executable(*sender)).collect();
        let mut best = Vec::new();
        loop {
            let heads = queues.iter_mut().filter(|queue| queue.first().is_some_and(|head| head.cap >= base_fee));
            let Some(queue) = heads.max_by_key(|queue| (queue[0].effective(base_fee), !queue[0].seq)) else {
                return best;
            };
            best.push(queue.remove(0).hash);
        }
    }

    /// The kind of error, if any.
    fn add(&mut self, tx: &Tx) -> Result<(), &'static str> {
        let account = self.accounts[&tx.sender];
        let queue = self.queue(tx.sender);
        let executable = self.executable(tx.sender);
        if self.txs.iter().any(|other| other.hash == tx.hash) {
            return Err("already_known");
        }
        if tx.nonce < account.nonce {
            return Err("nonce_too_low");
        }
        let cost = self.total(std::slice::from_ref(tx));
        if cost > account.balance {
            return Err("insufficient_funds");
        }
        let mut sum = self.total(&executable) + cost;
        if let Some(old) = executable.iter().find(|old| old.nonce == tx.nonce) {
            let old = self.total(std::slice::from_ref(old));
            sum = self.total(&executable) + cost.saturating_sub(old);
        }
        if sum > account.balance {
            return Err("insufficient_funds");
        }
        let old = queue.iter().find(|old| old.nonce == tx.nonce);
        if let Some(old) = old
            && !(tx.tip > old.tip && tx.tip * 10 >= old.tip * 11 && tx.cap > old.cap && tx.cap * 10 >= old.cap * 11)
        {
            return Err("replacement_underpriced");
        }
        let mut leaving = old.cloned();
        if old.is_none() && queue.len() >= MAX_PER_SENDER {
            match queue.last() {
                Some(last) if last.nonce > tx.nonce && executable.len() < queue.len() => leaving = Some(last.clone()),
                _ => return Err("account_limit"),
            }
        }
        let mut with: Vec<Tx> = queue.iter().filter(|other| other.nonce != tx.nonce).cloned().collect();
        with.push(tx.clone());
        with.sort_by_key(|tx| tx.nonce);
        let executes = self.executable_of(tx.sender, &with).iter().any(|other| other.hash == tx.hash);
        if leaving.is_none() && self.txs.len() >= MAX_TRANSACTIONS {
            leaving = Some(self.victim(tx, executes)?);
        }
        if let Some(leaving) = leaving {
            self.txs.retain(|other| other.hash != leaving.hash);
        }
        self.txs.push(tx.clone());
        Ok(())
    }

    fn victim(&self, tx: &Tx, executes: bool) -> Result<Tx, &'static str> {
        let (mut held, mut executable) = (Vec::new(), Vec::new());
        for sender in self.accounts.keys() {
            let queue = self.queue(*sender);
            let all = self.executable(*sender).len() == queue.len();
            if let Some(tail) = queue.last() {
                if all { &mut executable } else { &mut held }.push(tail.clone());
            }
        }
        let tails = if held.is_empty() { &executable } else { &held };
        let victim =
            tails.iter().min_by_key(|tail| (tail.effective(self.base_fee), !tail.seq)).expect("the pool is full");
        let cheaper = victim.effective(self.base_fee) < tx.effective(self.base_fee);
        match (held.is_empty(), executes) {
            (false, true) => {}
            (true, false) => return Err("full"),
            _ if cheaper => {}
            _ => return Err("underpriced"),
        }
        if victim.sender == tx.sender && victim.nonce < tx.nonce {
            return Err("full");
        }
        Ok(victim.clone())
    }

    fn outdate(&mut self) {
        let accounts = &self.accounts;
        self.txs.retain(|tx| tx.nonce >= accounts[&tx.sender].nonce);
    }
}

struct Both {
    chain: Chain,
    model: Model,
    senders: Vec<Address>,
    added: Vec<B256>,
}

impl Both {
    fn new() -> Self {
        let config = PoolConfig { max_per_sender: MAX_PER_SENDER, max_transactions: MAX_TRANSACTIONS, journal: None };
        let chain = chain_with(config);
        let senders: Vec<Address> = (1..=SENDERS as u8).map(Address::repeat_byte).collect();
        let mut model = Model { base_fee: FLOOR, ..Model::default() };
        for sender in &senders {
            let account = Account { balance: U256::from(30 * UNIT), ..Account::default() };
            model.accounts.insert(*sender, account);
            chain.set(*sender, account);
        }
        Self { chain, model, senders, added: Vec::new() }
    }

    fn head(&mut self, changed: &[Address], included: Vec<RecoveredTransaction>) {
        let changed: Vec<(Address, Account)> =
            changed.iter().map(|address| (*address, self.model.accounts[address])).collect();
        for (address, account) in &changed {
            self.chain.set(*address, *account);
        }
        self.chain.pool.on_block(&block(included, self.model.prices), changed, self.model.base_fee);
        self.model.outdate();
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Add { sender, ahead, tip, above } => {
                let sender = self.senders[*sender];
                // Also nonces that are used.
                let nonce = (self.model.accounts[&sender].nonce + ahead).saturating_sub(1);
                let cap = (tip + above).max(1);
                self.model.seq += 1;
                let unsigned = TxEip1559 {
                    input: vec![self.model.seq as u8; 1].into(),
                    gas_limit: 21_040,
                    ..transfer(nonce, *tip, cap)
                };
                let sign = Signature::new(U256::from_be_slice(sender.as_slice()), U256::ONE, false);
                let transaction = RecoveredTransaction::new_unchecked(unsigned.into_signed(sign).into(), sender);
                let tx = Tx {
                    sender,
                    nonce,
                    tip: tip * FLOOR,
                    cap: cap * FLOOR,
                    cost: U256::from(21_040u64 * cap * FLOOR + 1),
                    data_size: jove_primitives::fee::data_size(&transaction.encoded_2718()),
                    seq: self.model.seq,
                    hash: *transaction.tx_hash(),
                };
                let result = self.chain.pool.add(transaction).map_err(|error| error.kind());
                assert_eq!(result, self.model.add(&tx).map(|()| tx.hash), "{op:?}");
                self.added.extend(result);
            }
            Op::Block { take, base_fee } => {
                let taken: Vec<PooledTransaction> = self.chain.pool.best(base_fee * FLOOR).take(*take).collect();
                let mut changed = Vec::new();
                for pooled in &taken {
                    let account = self.model.accounts.get_mut(pooled.transaction.signer_ref()).expect("known");
                    assert_eq!(pooled.transaction.nonce(), account.nonce);
                    account.nonce += 1;
                    account.balance -= U256::from(UNIT) * U256::from(*base_fee).min(account.balance / U256::from(UNIT));
                    changed.push(pooled.transaction.signer());
                }
                changed.sort_unstable();
                changed.dedup();
                self.model.base_fee = base_fee * FLOOR;
                self.head(&changed, taken.iter().map(|pooled| (*pooled.transaction).clone()).collect());
            }
            Op::Balance { sender, units } => {
                let sender = self.senders[*sender];
                self.model.accounts.get_mut(&sender).expect("known").balance = U256::from(units * UNIT);
                self.head(&[sender], Vec::new());
            }
            Op::Nonce { sender, nonce } => {
                let sender = self.senders[*sender];
                self.model.accounts.get_mut(&sender).expect("known").nonce = *nonce;
                self.head(&[sender], Vec::new());
            }
            Op::Prices { base_fee } => {
                self.model.prices = L1Prices { base_fee: *base_fee, blob_base_fee: 0 };
                self.head(&[], Vec::new());
            }
            Op::BaseFee(base_fee) => {
                self.model.base_fee = base_fee * FLOOR;
                self.chain.pool.set_fees(self.model.base_fee, self.model.prices);
            }
            Op::Discard(index) => {
                if !self.added.is_empty() {
                    let hash = *index.get(&self.added);
                    let known = self.model.txs.iter().any(|tx| tx.hash == hash);
                    assert_eq!(self.chain.pool.drop_transaction(hash), known);
                    self.model.txs.retain(|tx| tx.hash != hash);
                }
            }
        }
    }

    fn check(&self, base_fee: u64) {
        let pool = &self.chain.pool;
        let order = self.chain.best(base_fee);
        assert_eq!(order, self.model.best(base_fee * FLOOR), "best at {base_fee}");
        let (mut executable, mut total) = (0, 0);
        for sender in &self.senders {
            let (of_sender, queue) = (self.model.executable(*sender), self.model.queue(*sender));
            let (content, held) = pool.content_from(*sender);
            let hashes_of = |txs: &[Tx]| txs.iter().map(|tx| tx.hash).collect::<Vec<_>>();
            assert_eq!(hashes(&content), hashes_of(&of_sender));
            assert_eq!(hashes(&held), hashes_of(&queue[of_sender.len()..]));
            let next = self.model.accounts[sender].nonce + of_sender.len() as u64;
            assert_eq!(pool.next_nonce(*sender), (!queue.is_empty()).then_some(next));
            executable += of_sender.len();
            total += queue.len();
        }
        assert_eq!(pool.status(), (executable, total - executable));
        assert_eq!(pool.has_executable(base_fee * FLOOR), !order.is_empty());
        assert!(self.model.txs.iter().all(|tx| pool.get(tx.hash).is_some()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_pool_is_the_model(ops in prop::collection::vec((op(), 0u64..12), 1..120)) {
        let mut both = Both::new();
        for (op, base_fee) in &ops {
            both.apply(op);
            both.check(*base_fee);
        }
    }
}

/// The index alone, larger than the model's pools: every order at every base fee, cheapest first as well, while walks are under way.
#[test]
fn an_index_orders_as_a_sort_does() {
    let chain = chain_with(PoolConfig::default());
    let mut random = 1u64;
    let mut next = |n: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    let mut all: Vec<Tx> = Vec::new();
    for round in 0..3000u64 {
        let sender = Address::from_word(keccak256(round.to_be_bytes()));
        chain.set(sender, Account { balance: ETHER, ..Account::default() });
        let (tip, cap) = (next(30), 1 + next(30));
        let tip = tip.min(cap);
        let unsigned = TxEip1559 { value: U256::from(round), ..transfer(0, tip, cap) };
        let signed = unsigned.into_signed(Signature::test_signature()).into();
        let hash = chain.pool.add(RecoveredTransaction::new_unchecked(signed, sender)).expect("admitted");
        let (tip, cap) = (tip * FLOOR, cap * FLOOR);
        all.push(Tx { sender, nonce: 0, tip, cap, cost: U256::ZERO, data_size: 0, seq: round, hash });
        if next(3) == 0 {
            let gone = all.swap_remove(next(all.len() as u64) as usize);
            assert!(chain.pool.drop_transaction(gone.hash));
        }
        if round % 250 == 249 {
            let base_fee = next(32) * FLOOR;
            all.sort_by_key(|tx| (std::cmp::Reverse(tx.effective(base_fee)), tx.seq));
            let expected: Vec<B256> = all.iter().filter(|tx| tx.cap >= base_fee).map(|tx| tx.hash).collect();
            let mut walk = chain.pool.best(base_fee);
            let begun: Vec<B256> = walk.by_ref().take(expected.len() / 2).map(|pooled| pooled.hash).collect();
            // A change under way does not disturb the walk.
            let gone = all.swap_remove(next(all.len() as u64) as usize);
            assert!(chain.pool.drop_transaction(gone.hash));
            let rest: Vec<B256> = walk.map(|pooled| pooled.hash).collect();
            assert_eq!([begun, rest].concat(), expected);
        }
    }
}
