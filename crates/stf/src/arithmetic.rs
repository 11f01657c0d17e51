//! The EVM's dearer arithmetic by other means than revm's: for a machine that has instructions for it. Sums, comparisons and bits stay revm's: there, calling another
//! function takes what it would save.

use alloy_primitives::U256;
use revm::{
    bytecode::opcode,
    handler::instructions::EthInstructions,
    interpreter::{
        Host, Instruction, InstructionContext, InstructionExecResult, InstructionResult, InterpreterTypes,
        interpreter_types::StackTr,
    },
    primitives::OnceLock,
};

/// Arithmetic on words, modulo 2^256. The result is put in place of the last operand. What is divided by zero is zero.
pub trait Arithmetic: Sync {
    /// MUL.
    fn mul(&self, a: &U256, b: &mut U256);
    /// DIV.
    fn div(&self, a: &U256, b: &mut U256);
    /// MOD.
    fn rem(&self, a: &U256, b: &mut U256);
    /// ADDMOD.
    fn add_mod(&self, a: &U256, b: &U256, modulus: &mut U256);
    /// MULMOD.
    fn mul_mod(&self, a: &U256, b: &U256, modulus: &mut U256);
    /// EXP.
    fn pow(&self, base: &U256, exponent: &mut U256);
}

static INSTALLED: OnceLock<&'static dyn Arithmetic> = OnceLock::new();

/// Has blocks executed with this arithmetic from now on. False if there was another one before, which stays.
pub fn install_arithmetic(arithmetic: &'static dyn Arithmetic) -> bool {
    INSTALLED.set(arithmetic).is_ok()
}

type Work<H, W> = fn(InstructionContext<'_, H, W>) -> InstructionExecResult;

/// Puts the installed arithmetic in place of revm's, if there is one.
pub(crate) fn replace<W: InterpreterTypes, H: Host>(instructions: &mut EthInstructions<W, H>) {
    if INSTALLED.get().is_none() {
        return;
    }
    let others: [(u8, Work<H, W>); 8] = [
        (opcode::MUL, |context| two(context, |with, a, b| with.mul(a, b))),
        (opcode::DIV, |context| two(context, |with, a, b| with.div(a, b))),
        (opcode::SDIV, |context| two(context, signed_div)),
        (opcode::MOD, |context| two(context, |with, a, b| with.rem(a, b))),
        (opcode::SMOD, |context| two(context, signed_rem)),
        (opcode::ADDMOD, |context| three(context, |with, a, b, modulus| with.add_mod(a, b, modulus))),
        (opcode::MULMOD, |context| three(context, |with, a, b, modulus| with.mul_mod(a, b, modulus))),
        (opcode::EXP, exp),
    ];
    for (opcode, instruction) in others {
        let gas = instructions.gas_table()[usize::from(opcode)];
        instructions.insert_instruction(opcode, Instruction::new(instruction), gas);
    }
}

fn two<W: InterpreterTypes, H: ?Sized>(
    context: InstructionContext<'_, H, W>,
    work: fn(&dyn Arithmetic, &U256, &mut U256),
) -> InstructionExecResult {
    let Some(([a], b)) = context.interpreter.stack.popn_top() else { return Err(InstructionResult::StackUnderflow) };
    if let Some(with) = INSTALLED.get() {
        work(*with, &a, b);
    }
    Ok(())
}

fn three<W: InterpreterTypes, H: ?Sized>(
    context: InstructionContext<'_, H, W>,
    work: fn(&dyn Arithmetic, &U256, &U256, &mut U256),
) -> InstructionExecResult {
    let Some(([a, b], c)) = context.interpreter.stack.popn_top() else { return Err(InstructionResult::StackUnderflow) };
    if let Some(with) = INSTALLED.get() {
        work(*with, &a, &b, c);
    }
    Ok(())
}

fn exp<W: InterpreterTypes, H: Host>(context: InstructionContext<'_, H, W>) -> InstructionExecResult {
    let Some(([base], exponent)) = context.interpreter.stack.popn_top() else {
        return Err(InstructionResult::StackUnderflow);
    };
    if !context.interpreter.gas.record_regular_cost(context.host.gas_params().exp_cost(*exponent)) {
        return Err(InstructionResult::OutOfGas);
    }
    if let Some(with) = INSTALLED.get() {
        with.pow(&base, exponent);
    }
    Ok(())
}

/// The absolute value, and whether it is below zero (two's complement).
fn magnitude(word: &U256) -> (U256, bool) {
    let negative = word.bit(255);
    (if negative { word.wrapping_neg() } else { *word }, negative)
}

fn signed_div(with: &dyn Arithmetic, a: &U256, b: &mut U256) {
    let ((a, a_negative), (divisor, b_negative)) = (magnitude(a), magnitude(b));
    *b = divisor;
    with.div(&a, b);
    if a_negative != b_negative {
        *b = b.wrapping_neg();
    }
}

/// Its sign is the first one's.
fn signed_rem(with: &dyn Arithmetic, a: &U256, b: &mut U256) {
    let ((a, negative), (divisor, _)) = (magnitude(a), magnitude(b));
    *b = divisor;
    with.rem(&a, b);
    if negative {
        *b = b.wrapping_neg();
    }
}
