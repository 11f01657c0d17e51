//! What a call runs on: a state with its overrides, a block, and rules relaxed for calls that nobody signed.

use crate::error::RpcError;
use alloy_consensus::Header;
use alloy_primitives::{
    Address, U256,
    map::{AddressMap, AddressSet},
};
use alloy_rpc_types_eth::{
    BlockOverrides,
    state::{AccountOverride, StateOverride},
};
use jove_primitives::Account;
use jove_stf::Rules;
use revm::{
    Context, DatabaseRef, ExecuteEvm, InspectEvm, Inspector, MainBuilder, MainContext,
    bytecode::Bytecode,
    context::{
        BlockEnv, CfgEnv, ContextTr, Evm, TxEnv,
        result::{EVMError, InvalidTransaction, ResultAndState},
    },
    context_interface::block::BlobExcessGasAndPrice,
    database::CacheDB,
    handler::{EthFrame, EthPrecompiles, MainnetContext, PrecompileProvider, instructions::EthInstructions},
    interpreter::{CallInputs, InterpreterResult, interpreter::EthInterpreter},
};
use std::{collections::hash_map::HashMap, convert::Infallible};

/// A state that calls can run on.
pub(crate) trait Source: DatabaseRef<Error: Into<RpcError>> {}
impl<T: DatabaseRef<Error: Into<RpcError>>> Source for T {}

impl From<Infallible> for RpcError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// The context that calls run in; inspectors are generic over it.
pub(crate) type StageContext<'a, S> = MainnetContext<&'a mut CacheDB<S>>;
type StageEvm<'a, S, I> = Evm<
    StageContext<'a, S>,
    I,
    EthInstructions<EthInterpreter, StageContext<'a, S>>,
    Precompiles,
    EthFrame<EthInterpreter>,
>;

/// Where calls run.
///
/// Unlike in a block, the sender needs no key and no fitting nonce, may be a contract, may ask for more gas than a block or
/// transaction may have, and pays no L1 data fee. A call that names no gas price pays none, whatever the base fee, which it
/// still sees.
pub(crate) struct Stage<S> {
    /// The state, with overrides and what was committed.
    pub(crate) db: CacheDB<S>,
    pub(crate) block: BlockEnv,
    pub(crate) cfg: CfgEnv,
    /// Precompiles that overrides put elsewhere: what runs at an address, or nothing.
    pub(crate) moved: HashMap<Address, Option<Address>>,
    /// A call that names no gas price pays none.
    pub(crate) free: bool,
}

impl<S: Source> Stage<S> {
    /// On the state `db`, in the block that `header` describes.
    pub(crate) fn new(rules: &Rules, header: &Header, db: S) -> Self {
        let mut stage = Self {
            db: CacheDB::new(db),
            block: rules.block_env(header),
            cfg: rules.cfg_env(header.timestamp),
            moved: HashMap::new(),
            free: true,
        };
        stage.relax();
        stage
    }

    /// Turns to another block, on the state as it stands.
    pub(crate) fn enter(&mut self, rules: &Rules, header: &Header) {
        self.block = rules.block_env(header);
        self.cfg = rules.cfg_env(header.timestamp);
        self.moved.clear();
        self.relax();
    }

    fn relax(&mut self) {
        self.cfg.disable_nonce_check = true;
        self.cfg.disable_eip3607 = true;
        self.cfg.disable_block_gas_limit = true;
        self.cfg.tx_gas_limit_cap = Some(u64::MAX);
        self.cfg.tx_chain_id_check = false; // `tx_env` has checked it where it was given
    }

    /// Both kinds of overrides.
    ///
    /// # Errors
    /// As [`Self::override_block`] and [`Self::override_state`].
    pub(crate) fn with(
        mut self,
        state: Option<StateOverride>,
        block: Option<BlockOverrides>,
    ) -> Result<Self, RpcError> {
        if let Some(block) = block {
            self.override_block(block)?;
        }
        if let Some(state) = state {
            self.override_state(state)?;
        }
        Ok(self)
    }

    /// Changes the block that calls see.
    ///
    /// # Errors
    /// -32602 for values out of range and for `beaconRoot`, which no call can see.
    pub(crate) fn override_block(&mut self, block: BlockOverrides) -> Result<(), RpcError> {
        let BlockOverrides {
            number,
            difficulty,
            time,
            gas_limit,
            coinbase,
            random,
            base_fee,
            blob_base_fee,
            beacon_root,
            block_hash,
        } = block;
        if beacon_root.is_some() {
            return Err(RpcError::invalid_params(
                r#"block override "beaconRoot" is not supported for this RPC method"#,
            ));
        }
        let env = &mut self.block;
        if let Some(number) = number {
            env.number = U256::from(to_u64(number, "number")?);
        }
        env.difficulty = difficulty.unwrap_or(env.difficulty);
        env.timestamp = time.map_or(env.timestamp, U256::from);
        env.gas_limit = gas_limit.unwrap_or(env.gas_limit);
        env.beneficiary = coinbase.unwrap_or(env.beneficiary);
        env.prevrandao = random.or(env.prevrandao);
        if let Some(fee) = base_fee {
            env.basefee = to_u64(fee, "baseFeePerGas")?;
        }
        if let Some(fee) = blob_base_fee {
            let blob_gasprice =
                u128::try_from(fee).map_err(|_| RpcError::invalid_params("block override blobBaseFee is too large"))?;
            env.blob_excess_gas_and_price = Some(BlobExcessGasAndPrice { excess_blob_gas: 0, blob_gasprice });
        }
        for (number, hash) in block_hash.unwrap_or_default() {
            self.db.cache.block_hashes.insert(U256::from(number), hash);
        }
        Ok(())
    }

    /// Changes the state that calls find.
    ///
    /// # Errors
    /// -32602 where overrides contradict each other or make no account, -38022 and -38023 for precompiles moved in circles or to
    /// one place; the store's if it fails.
    pub(crate) fn override_state(&mut self, overrides: StateOverride) -> Result<(), RpcError> {
        self.move_precompiles(&overrides)?;
        for (address, account) in overrides {
            self.override_account(address, account)?;
        }
        Ok(())
    }

    fn move_precompiles(&mut self, overrides: &StateOverride) -> Result<(), RpcError> {
        let ethereum = EthPrecompiles::new(self.cfg.spec);
        let is_precompile = |moved: &HashMap<Address, Option<Address>>, address: &Address| match moved.get(address) {
            Some(now) => now.is_some(),
            None => ethereum.contains(address),
        };
        let mut moves = AddressMap::default();
        let mut overridden = Vec::new();
        for (address, account) in overrides {
            if !is_precompile(&self.moved, address) {
                if account.move_precompile_to.is_some() {
                    return Err(RpcError::invalid_params(format!("account {address} is not a precompile")));
                }
                continue;
            }
            overridden.push(*address);
            let Some(target) = account.move_precompile_to else { continue };
            if target == *address {
                return Err(RpcError::new(-38022, "MovePrecompileToAddress referenced itself in replacement"));
            }
            if overrides.contains_key(&target) {
                return Err(RpcError::invalid_params(format!("account {target} is already overridden")));
            }
            let original = self.moved.get(address).copied().flatten().unwrap_or(*address);
            if moves.insert(target, original).is_some() {
                return Err(RpcError::new(-38023, "Multiple MovePrecompileToAddress referenced the same address"));
            }
        }
        // An address that is overridden is no precompile any more.
        self.moved.extend(overridden.into_iter().map(|address| (address, None)));
        self.moved.extend(moves.into_iter().map(|(target, original)| (target, Some(original))));
        Ok(())
    }

    fn override_account(&mut self, address: Address, account: AccountOverride) -> Result<(), RpcError> {
        let AccountOverride { balance, nonce, code, state, state_diff, move_precompile_to: _ } = account;
        if state.is_some() && state_diff.is_some() {
            return Err(RpcError::invalid_params(format!("account {address} has both 'state' and 'stateDiff'")));
        }
        let mut info = self.db.load_account(address).map_err(Into::into)?.info().unwrap_or_default();
        info.balance = balance.unwrap_or(info.balance);
        info.nonce = nonce.unwrap_or(info.nonce);
        if let Some(code) = code {
            let code = Bytecode::new_raw_checked(code)
                .map_err(|error| RpcError::invalid_params(format!("code override of {address}: {error}")))?;
            info.code_hash = if code.is_empty() { Account::default().code_hash } else { code.hash_slow() };
            info.code = Some(code);
        }
        self.db.insert_account_info(address, info);
        if let Some(state) = state {
            let storage = state.into_iter().map(|(slot, value)| (slot.into(), value.into())).collect();
            self.db.replace_account_storage(address, storage).map_err(Into::into)?;
        }
        for (slot, value) in state_diff.unwrap_or_default() {
            self.db.insert_account_storage(address, slot.into(), value.into()).map_err(Into::into)?;
        }
        Ok(())
    }

    /// The account as it stands.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn account(&mut self, address: Address) -> Result<Account, RpcError> {
        let info = self.db.load_account(address).map_err(Into::into)?.info().unwrap_or_default();
        Ok(Account { nonce: info.nonce, balance: info.balance, code_hash: info.code_hash })
    }

    /// Adds to a balance.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn credit(&mut self, address: Address, amount: U256) -> Result<(), RpcError> {
        if !amount.is_zero() {
            let mut info = self.db.load_account(address).map_err(Into::into)?.info().unwrap_or_default();
            info.balance = info.balance.saturating_add(amount);
            self.db.insert_account_info(address, info);
        }
        Ok(())
    }

    /// Runs a call. What it did is in the result, not in the state.
    pub(crate) fn run(&mut self, mut tx: TxEnv) -> Result<ResultAndState, EVMError<S::Error>> {
        self.price_blobs(&mut tx);
        self.evm(&tx, ()).transact(tx)
    }

    /// Runs a call with an inspector, and gives the inspector back.
    pub(crate) fn inspect<'a, I>(
        &'a mut self,
        mut tx: TxEnv,
        inspector: I,
    ) -> (Result<ResultAndState, EVMError<S::Error>>, I)
    where
        I: Inspector<StageContext<'a, S>>,
    {
        self.price_blobs(&mut tx);
        let mut evm = self.evm(&tx, inspector);
        let result = evm.inspect_tx(tx);
        (result, evm.inspector)
    }

    /// Blobs without a price cost what the block asks.
    fn price_blobs(&self, tx: &mut TxEnv) {
        if let Some(blob) = &self.block.blob_excess_gas_and_price
            && !tx.blob_hashes.is_empty()
            && tx.max_fee_per_blob_gas == 0
        {
            tx.max_fee_per_blob_gas = blob.blob_gasprice;
        }
    }

    fn evm<I>(&mut self, tx: &TxEnv, inspector: I) -> StageEvm<'_, S, I> {
        let mut cfg = self.cfg.clone();
        cfg.disable_base_fee = self.free && names_no_price(tx);
        let precompiles = Precompiles::new(EthPrecompiles::new(cfg.spec), self.moved.clone());
        Context::mainnet()
            .with_db(&mut self.db)
            .with_cfg(cfg)
            .with_block(self.block.clone())
            .build_mainnet_with_inspector(inspector)
            .with_precompiles(precompiles)
    }

    /// Why the EVM would not run a call.
    pub(crate) fn refusal(&self, error: EVMError<S::Error>, tx: &TxEnv) -> RpcError {
        match error {
            EVMError::Database(error) => error.into(),
            EVMError::Transaction(error) => super::outcome::refused(&error, tx, self.block.basefee),
            EVMError::Header(error) => RpcError::internal(error),
            EVMError::Custom(error) => RpcError::server(error),
            EVMError::CustomAny(error) => RpcError::server(error.to_string()),
        }
    }
}

/// Whether a call leaves out what it would pay for gas.
pub(crate) fn names_no_price(tx: &TxEnv) -> bool {
    tx.gas_price == 0 && tx.gas_priority_fee.unwrap_or(0) == 0
}

/// Whether the EVM refused because the gas limit does not cover what a transaction costs before it runs.
pub(crate) fn needs_more_gas<E>(error: &EVMError<E>) -> bool {
    matches!(
        error,
        EVMError::Transaction(
            InvalidTransaction::CallGasCostMoreThanGasLimit { .. }
                | InvalidTransaction::GasFloorMoreThanGasLimit { .. }
        )
    )
}

fn to_u64(value: U256, field: &str) -> Result<u64, RpcError> {
    u64::try_from(value).map_err(|_| RpcError::invalid_params(format!("block override {field} is too large")))
}

/// Ethereum's precompiles, some of them elsewhere.
#[derive(Debug)]
pub(crate) struct Precompiles {
    ethereum: EthPrecompiles,
    moved: HashMap<Address, Option<Address>>,
    warm: AddressSet,
}

impl Precompiles {
    fn new(ethereum: EthPrecompiles, moved: HashMap<Address, Option<Address>>) -> Self {
        let mut warm = ethereum.warm_addresses().clone();
        for (address, now) in &moved {
            match now {
                Some(_) => warm.insert(*address),
                None => warm.remove(address),
            };
        }
        Self { ethereum, moved, warm }
    }
}

impl<C: ContextTr> PrecompileProvider<C> for Precompiles {
    type Output = InterpreterResult;

    fn set_spec(&mut self, _: <C::Cfg as revm::context::Cfg>::Spec) -> bool {
        false // it was given at the start
    }

    fn run(&mut self, context: &mut C, inputs: &CallInputs) -> Result<Option<InterpreterResult>, String> {
        match self.moved.get(&inputs.bytecode_address) {
            None => self.ethereum.run(context, inputs),
            Some(None) => Ok(None),
            Some(Some(original)) => {
                let inputs = CallInputs { bytecode_address: *original, ..inputs.clone() };
                self.ethereum.run(context, &inputs)
            }
        }
    }

    fn warm_addresses(&self) -> &AddressSet {
        &self.warm
    }
}

/// Slot of EIP-2935's contract that holds the hash of block `number`.
pub(crate) fn history_slot(number: u64) -> U256 {
    U256::from(number % alloy_eips::eip2935::HISTORY_SERVE_WINDOW as u64)
}
