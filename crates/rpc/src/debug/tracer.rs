//! Tracers by name, and what bounds them.
//!
//! | tracer | gives |
//! |---|---|
//! | none | struct logs: every step with stack, storage and, if wanted, memory and return data |
//! | `callTracer`, `flatCallTracer` | the tree of calls, the list of calls |
//! | `prestateTracer` | the accounts that the transaction needs; with `diffMode` what it changed |
//! | `4byteTracer` | selectors with the size of their arguments, counted |
//! | `muxTracer` | several of these at once |
//! | `noopTracer` | nothing |
//!
//! A trace has a time limit, looked at every thousand steps, and a size limit: what it will at least take as JSON is counted while
//! it grows, so that one that could not be answered is never held. JavaScript is refused.

use crate::error::RpcError;
use alloy_primitives::{Address, Log, U256, map::AddressMap};
use alloy_rpc_types_trace::geth::{
    GethDebugBuiltInTracerType, GethDebugTracerType, GethDebugTracingOptions, GethTrace,
};
use revm::{
    DatabaseRef, Inspector,
    bytecode::opcode,
    context::{
        BlockEnv, ContextTr, TxEnv,
        result::{EVMError, ResultAndState},
    },
    context_interface::context::ContextError,
    handler::FrameResult,
    inspector::JournalExt,
    interpreter::{
        CallInputs, CallOutcome, CreateInputs, CreateOutcome, FrameInput, Interpreter,
        interpreter_types::{InputsTr, Jumps, MemoryTr},
    },
};
use revm_inspectors::tracing::{DebugInspector, DebugInspectorError, TransactionContext};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

/// How long a trace takes at most unless it asks otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// Steps between two looks at the clock.
const STEPS_PER_LOOK: u64 = 1024;

/// Least JSON bytes of a step, apart from what follows.
const STEP_BYTES: usize = 90;
/// A stack item: mostly small numbers, sometimes words.
const STACK_ITEM_BYTES: usize = 12;
/// A word of memory.
const MEMORY_WORD_BYTES: usize = 69;
/// A slot of storage, key and value.
const SLOT_BYTES: usize = 135;
/// A call, apart from its data.
const CALL_BYTES: usize = 300;
/// A log, apart from its data.
const LOG_BYTES: usize = 150;

/// Why a trace was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Time,
    Size,
}

/// What of the execution a tracer writes down.
#[derive(Clone, Copy, Debug, Default)]
struct Records {
    steps: bool,
    stack: bool,
    memory: bool,
    storage: bool,
    return_data: bool,
    calls: bool,
    logs: bool,
    code: bool,
    /// Most steps; `u64::MAX` for all.
    most_steps: u64,
}

/// A tracer with its bounds. It serves many transactions, one after another; the bounds hold for all of them together.
#[derive(Debug)]
pub(crate) struct Tracer {
    inner: DebugInspector,
    records: Records,
    deadline: Instant,
    bytes_left: usize,
    steps: u64,
    recorded: u64,
    slots: AddressMap<HashSet<U256>>,
    stop: Option<Stop>,
}

impl Tracer {
    /// The tracer that `options` ask for. It ends at `latest` and answers in at most `max_bytes`.
    ///
    /// # Errors
    /// -32602 for an unknown tracer, a configuration that is not the tracer's, or a timeout that is no duration.
    pub(crate) fn new(options: GethDebugTracingOptions, latest: Instant, max_bytes: usize) -> Result<Self, RpcError> {
        let timeout = match &options.timeout {
            Some(text) => parse_duration(text)
                .ok_or_else(|| RpcError::invalid_params(format!("timeout: invalid duration {text:?}")))?,
            None => DEFAULT_TIMEOUT,
        };
        let records = records(&options)?;
        let inner = DebugInspector::new(options).map_err(|error| RpcError::invalid_params(error.to_string()))?;
        let deadline = Instant::now().checked_add(timeout).map_or(latest, |wanted| wanted.min(latest));
        Ok(Self {
            inner,
            records,
            deadline,
            bytes_left: max_bytes,
            steps: 0,
            recorded: 0,
            slots: AddressMap::default(),
            stop: None,
        })
    }

    /// Forgets the last transaction.
    pub(crate) fn reset(&mut self) -> Result<(), RpcError> {
        self.inner.fuse().map_err(RpcError::internal)?;
        self.recorded = 0;
        self.slots.clear();
        Ok(())
    }

    /// Fails once the time is over.
    pub(crate) fn check_time(&self) -> Result<(), RpcError> {
        if Instant::now() >= self.deadline { Err(timed_out()) } else { Ok(()) }
    }

    /// The trace of the transaction that just ran on `db`, which does not have its changes yet.
    ///
    /// # Errors
    /// If the execution failed, a bound was hit, or the store fails.
    pub(crate) fn result<DB: DatabaseRef>(
        &mut self,
        place: TransactionContext,
        tx: &TxEnv,
        block: &BlockEnv,
        result: &ResultAndState,
        mut db: DB,
    ) -> Result<GethTrace, RpcError>
    where
        DB::Error: Into<RpcError>,
    {
        self.stopped()?;
        if self.records.code {
            self.count_code(result, &db)?;
        }
        let trace = self.inner.get_result(Some(place), tx, block, result, &mut db).map_err(|error| match error {
            DebugInspectorError::Database(error) => error.into(),
            other => RpcError::internal(other.to_string()),
        })?;
        Ok(as_geth(trace))
    }

    /// What to say of an execution that the EVM gave up.
    pub(crate) fn failure<E: Into<RpcError>>(&self, error: EVMError<E>, tx: &TxEnv, base_fee: u64) -> RpcError {
        if let Err(stopped) = self.stopped() {
            return stopped;
        }
        match error {
            EVMError::Database(error) => error.into(),
            EVMError::Transaction(error) => {
                let error = crate::evm::outcome::refused(&error, tx, base_fee);
                RpcError { message: format!("tracing failed: {}", error.message).into(), ..error }
            }
            EVMError::Header(error) => RpcError::internal(error),
            EVMError::Custom(error) => RpcError::server(error),
            EVMError::CustomAny(error) => RpcError::server(error.to_string()),
        }
    }

    fn stopped(&self) -> Result<(), RpcError> {
        match self.stop {
            None => Ok(()),
            Some(Stop::Time) => Err(timed_out()),
            Some(Stop::Size) => Err(RpcError::limit(
                "the trace is too large; ask for less: a limit, no stack, no storage, or another tracer",
            )),
        }
    }

    /// Code is the same bytes wherever it is shown, but not in the answer.
    fn count_code<DB: DatabaseRef>(&mut self, result: &ResultAndState, db: &DB) -> Result<(), RpcError>
    where
        DB::Error: Into<RpcError>,
    {
        for address in result.state.keys() {
            let Some(info) = db.basic_ref(*address).map_err(Into::into)? else { continue };
            if !info.is_empty_code_hash() {
                let size = match info.code {
                    Some(code) => code.len(),
                    None => db.code_by_hash_ref(info.code_hash).map_err(Into::into)?.len(),
                };
                self.charge(2 * size);
                self.stopped()?;
            }
        }
        Ok(())
    }

    fn charge(&mut self, bytes: usize) {
        match self.bytes_left.checked_sub(bytes) {
            Some(left) => self.bytes_left = left,
            None => self.stop = Some(Stop::Size),
        }
    }

    fn charge_step(&mut self, interp: &Interpreter) {
        if self.recorded >= self.records.most_steps {
            return;
        }
        self.recorded += 1;
        let mut bytes = STEP_BYTES;
        if self.records.stack {
            bytes += interp.stack.len() * STACK_ITEM_BYTES;
        }
        if self.records.memory {
            bytes += interp.memory.size() / 32 * MEMORY_WORD_BYTES;
        }
        if self.records.return_data {
            bytes += 2 * interp.return_data.0.len();
        }
        if self.records.storage && matches!(interp.bytecode.opcode(), opcode::SLOAD | opcode::SSTORE) {
            let slots = self.slots.entry(interp.input.target_address()).or_default();
            if let Ok(slot) = interp.stack.peek(0) {
                slots.insert(slot);
            }
            bytes += slots.len() * SLOT_BYTES;
        }
        self.charge(bytes);
    }
}

fn timed_out() -> RpcError {
    RpcError::new(RpcError::TIMEOUT, "execution timeout")
}

/// What a tracer writes down.
fn records(options: &GethDebugTracingOptions) -> Result<Records, RpcError> {
    use GethDebugBuiltInTracerType as T;
    let calls = Records { calls: true, ..Default::default() };
    let Some(tracer) = options.tracer.as_ref().filter(|tracer| !tracer.as_str().is_empty()) else {
        let config = &options.config;
        return Ok(Records {
            steps: true,
            stack: config.is_stack_enabled(),
            memory: config.is_memory_enabled(),
            storage: config.is_storage_enabled(),
            return_data: config.is_return_data_enabled(),
            most_steps: config.limit.filter(|limit| *limit != 0).unwrap_or(u64::MAX),
            ..Default::default()
        });
    };
    match tracer {
        GethDebugTracerType::BuiltInTracer(T::CallTracer) => Ok(Records { logs: true, ..calls }),
        GethDebugTracerType::BuiltInTracer(T::FlatCallTracer | T::FourByteTracer) => Ok(calls),
        GethDebugTracerType::BuiltInTracer(T::PreStateTracer) => {
            let code = !options.tracer_config.0.get("disableCode").is_some_and(|disabled| disabled == true);
            Ok(Records { code, ..Default::default() })
        }
        GethDebugTracerType::BuiltInTracer(T::NoopTracer) => Ok(Records::default()),
        GethDebugTracerType::BuiltInTracer(T::MuxTracer) => Ok(Records { logs: true, code: true, ..calls }),
        other => {
            let name: String = other.as_str().chars().take(40).collect();
            Err(RpcError::invalid_params(format!(
                "tracer {name:?} is unknown, and JavaScript tracers are not supported"
            )))
        }
    }
}

/// Small things that geth writes otherwise: no refund counter of zero.
fn as_geth(mut trace: GethTrace) -> GethTrace {
    if let GethTrace::Default(frame) = &mut trace {
        for step in &mut frame.struct_logs {
            step.refund_counter = step.refund_counter.filter(|refund| *refund != 0);
        }
    }
    trace
}

/// A duration as Go writes it: `1m30s`, `1.5s`, `300ms`.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit;
        rest = tail;
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(seconds).ok() }
}

impl<C: ContextTr<Journal: JournalExt>> Inspector<C> for Tracer {
    fn initialize_interp(&mut self, interp: &mut Interpreter, context: &mut C) {
        self.inner.initialize_interp(interp, context);
    }

    fn step(&mut self, interp: &mut Interpreter, context: &mut C) {
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_PER_LOOK) && Instant::now() >= self.deadline {
            self.stop = Some(Stop::Time);
        }
        if self.records.steps {
            self.charge_step(interp);
        }
        if self.stop.is_some() {
            *context.error() = Err(ContextError::Custom("the trace was given up".to_owned()));
            interp.halt_fatal();
            return;
        }
        self.inner.step(interp, context);
    }

    fn step_end(&mut self, interp: &mut Interpreter, context: &mut C) {
        self.inner.step_end(interp, context);
    }

    fn log(&mut self, context: &mut C, log: Log) {
        if self.records.logs {
            self.charge(LOG_BYTES + 2 * log.data.data.len());
        }
        self.inner.log(context, log);
    }

    fn log_full(&mut self, interp: &mut Interpreter, context: &mut C, log: Log) {
        if self.records.logs {
            self.charge(LOG_BYTES + 2 * log.data.data.len());
        }
        self.inner.log_full(interp, context, log);
    }

    fn frame_start(&mut self, context: &mut C, frame: &mut FrameInput) -> Option<FrameResult> {
        self.inner.frame_start(context, frame)
    }

    fn frame_end(&mut self, context: &mut C, frame: &FrameInput, result: &mut FrameResult) {
        self.inner.frame_end(context, frame, result);
    }

    fn call(&mut self, context: &mut C, inputs: &mut CallInputs) -> Option<CallOutcome> {
        if self.records.calls {
            self.charge(CALL_BYTES + 2 * inputs.input.len());
        }
        self.inner.call(context, inputs)
    }

    fn call_end(&mut self, context: &mut C, inputs: &CallInputs, outcome: &mut CallOutcome) {
        if self.records.calls {
            self.charge(2 * outcome.result.output.len());
        }
        self.inner.call_end(context, inputs, outcome);
    }

    fn create(&mut self, context: &mut C, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        if self.records.calls {
            self.charge(CALL_BYTES + 2 * inputs.init_code().len());
        }
        self.inner.create(context, inputs)
    }

    fn create_end(&mut self, context: &mut C, inputs: &CreateInputs, outcome: &mut CreateOutcome) {
        if self.records.calls {
            self.charge(2 * outcome.result.output.len());
        }
        self.inner.create_end(context, inputs, outcome);
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        <DebugInspector as Inspector<C>>::selfdestruct(&mut self.inner, contract, target, value);
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        assert_eq!(parse_duration("5s"), Some(Duration::from_secs(5)));
        assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("300ms"), Some(Duration::from_millis(300)));
        for bad in ["", "5", "s", "5x", "-1s", "1..5s", "1e300h", "5 s", "٣s"] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
        let huge = format!("{}h", "9".repeat(30));
        assert_eq!(parse_duration(&huge), None, "overflow");
    }

    #[test]
    fn unknown_tracers_and_scripts_are_refused() {
        let make = |json: &str| {
            let options = serde_json::from_str(json).expect("options");
            Tracer::new(options, Instant::now() + Duration::from_secs(9), 1 << 20)
        };
        for ok in [
            "{}",
            r#"{"tracer":""}"#,
            r#"{"tracer":"callTracer","tracerConfig":{"withLog":true}}"#,
            r#"{"tracer":"muxTracer","tracerConfig":{"4byteTracer":null,"callTracer":{}}}"#,
            r#"{"tracer":"noopTracer","timeout":"1s"}"#,
        ] {
            assert!(make(ok).is_ok(), "{ok}");
        }
        for bad in [
            r#"{"tracer":"{step: function() {}}"}"#,
            r#"{"tracer":"bigramTracer"}"#,
            r#"{"tracer":"erc7562Tracer"}"#,
            r#"{"tracer":"callTracer","tracerConfig":{"onlyTopCall":7}}"#,
            r#"{"tracer":"muxTracer","tracerConfig":{"muxTracer":{}}}"#,
            r#"{"timeout":"soon"}"#,
        ] {
            assert_eq!(make(bad).expect_err(bad).code, RpcError::INVALID_PARAMS, "{bad}");
        }
    }

    #[test]
    fn a_trace_never_outlives_the_request() {
        let latest = Instant::now() + Duration::from_millis(10);
        let options = serde_json::from_str(r#"{"timeout":"1h"}"#).expect("options");
        assert_eq!(Tracer::new(options, latest, 1).expect("a tracer").deadline, latest);
    }
}
