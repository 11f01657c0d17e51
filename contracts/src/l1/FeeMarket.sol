// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice The use of the queue of messages.
struct Meter {
    /// Gas above the target, falling with time.
    uint96 excess;
    /// When `excess` was brought up to date, in seconds.
    uint48 updatedAt;
    /// The L1 block of the latest entry.
    uint48 blockNumber;
    /// The gas of that block's entries.
    uint64 blockGas;
}

/// @title The price of L2 gas that is bought on L1.
/// @notice With T the chain's gas target per second, messages have a quarter of it: the excess falls by T/4 a second, and the price is
/// fake_exponential(floor, excess, 8 s · T) of EIP-4844. Entries of one L1 block have at most 6 s · T gas, which is twice their target for
/// twelve seconds: a price rises by less than half from one full block to the next. The excess saturates at 64 s · T, so that the price
/// never passes e^8 (2,981) times the floor: queued messages may be dear, but nobody can make them impossible.
library FeeMarket {
    /// @notice An L1 block's entries may have this many seconds of the target.
    uint256 internal constant BLOCK_SECONDS = 6;
    uint256 private constant UPDATE_SECONDS = 8;
    uint256 private constant SATURATION_SECONDS = 64;
    uint256 private constant TARGET_DIVISOR = 4;

    /// @notice The entries of one L1 block may not have more gas than `limit`.
    error BlockGasExceeded(uint256 gas, uint256 limit);

    /// @notice Wei for a unit of gas now.
    function price(Meter memory meter, uint256 target, uint256 floor) internal view returns (uint256) {
        return fakeExponential(floor, _excess(meter, target), UPDATE_SECONDS * target);
    }

    /// @notice The meter after an entry with `gas`.
    function use(Meter memory meter, uint256 target, uint64 gas) internal view returns (Meter memory) {
        uint256 used = gas;
        if (meter.blockNumber == block.number) used += meter.blockGas;
        if (used > BLOCK_SECONDS * target) revert BlockGasExceeded(used, BLOCK_SECONDS * target);
        uint256 excess = _excess(meter, target) + gas;
        if (excess > SATURATION_SECONDS * target) excess = SATURATION_SECONDS * target;
        // The casts hold: the excess is at most 64 · 2^64, the gas at most 6 · 2^64 capped by the caller's uint64 target.
        return Meter(uint96(excess), uint48(block.timestamp), uint48(block.number), uint64(used));
    }

    /// @notice factor · e^(numerator / denominator), EIP-4844's way.
    function fakeExponential(uint256 factor, uint256 numerator, uint256 denominator) internal pure returns (uint256) {
        uint256 sum;
        uint256 term = factor * denominator;
        for (uint256 i = 1; term > 0; ++i) {
            sum += term;
            term = term * numerator / (denominator * i);
        }
        return sum / denominator;
    }

    function _excess(Meter memory meter, uint256 target) private view returns (uint256) {
        uint256 fallen = (block.timestamp - meter.updatedAt) * target / TARGET_DIVISOR;
        return meter.excess > fallen ? meter.excess - fallen : 0;
    }
}
