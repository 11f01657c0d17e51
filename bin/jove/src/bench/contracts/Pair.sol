// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title The benchmark's pair: two tokens that trade at x · y = k, with a fee of 0.3 %.
/// @notice A swap costs about what one on Uniswap v2 does: two token transfers, two balances read back, one packed slot of reserves
/// written, two events. There are no shares: liquidity stays for good.
contract Pair {
    /// @notice One of the two tokens; it transfers in full and reverts when it cannot.
    IERC20 public immutable token0;
    /// @notice The other token.
    IERC20 public immutable token1;

    uint112 private reserve0;
    uint112 private reserve1;
    uint32 private updated;
    bool private transient entered;

    /// @notice Reserves changed.
    event Sync(uint112 reserve0, uint112 reserve1);
    /// @notice Someone traded.
    event Swap(
        address indexed sender,
        uint256 amount0In,
        uint256 amount1In,
        uint256 amount0Out,
        uint256 amount1Out,
        address indexed to
    );

    /// @notice The call came from within another call to this pair.
    error Entered();
    /// @notice A balance is beyond 112 bits.
    error Overflow();
    /// @notice The trade yields less than was asked for, or nothing.
    error TooLittle(uint256 amountOut);
    /// @notice The balances after the trade are worth less than before it.
    error Invariant();

    modifier once() {
        require(!entered, Entered());
        entered = true;
        _;
        entered = false;
    }

    constructor(IERC20 first, IERC20 second) {
        (token0, token1) = (first, second);
    }

    /// @notice Adds liquidity for good.
    function deposit(uint256 amount0, uint256 amount1) external once {
        token0.transferFrom(msg.sender, address(this), amount0);
        token1.transferFrom(msg.sender, address(this), amount1);
        sync(token0.balanceOf(address(this)), token1.balanceOf(address(this)));
    }

    /// @notice Trades an exact amount of one token for the other.
    /// @param zeroForOne Whether `token0` goes in and `token1` comes out.
    /// @param amountIn What goes in, the fee included.
    /// @param minimumOut The least that must come out.
    /// @param to Who gets it.
    /// @return amountOut What came out.
    function swap(bool zeroForOne, uint256 amountIn, uint256 minimumOut, address to)
        external
        once
        returns (uint256 amountOut)
    {
        (uint256 before0, uint256 before1) = (reserve0, reserve1);
        (uint256 reserveIn, uint256 reserveOut) = zeroForOne ? (before0, before1) : (before1, before0);
        uint256 afterFee = amountIn * 997;
        amountOut = afterFee * reserveOut / (reserveIn * 1000 + afterFee);
        require(amountOut > 0 && amountOut >= minimumOut, TooLittle(amountOut));

        (zeroForOne ? token0 : token1).transferFrom(msg.sender, address(this), amountIn);
        (zeroForOne ? token1 : token0).transfer(to, amountOut);

        (uint256 after0, uint256 after1) = (token0.balanceOf(address(this)), token1.balanceOf(address(this)));
        require(after0 * after1 >= before0 * before1, Invariant());
        sync(after0, after1);
        if (zeroForOne) emit Swap(msg.sender, amountIn, 0, 0, amountOut, to);
        else emit Swap(msg.sender, 0, amountIn, amountOut, 0, to);
    }

    /// @notice What the pair holds of each token, and when that last changed, in seconds since the Unix epoch modulo 2^32.
    function getReserves() external view returns (uint112, uint112, uint32) {
        return (reserve0, reserve1, updated);
    }

    function sync(uint256 balance0, uint256 balance1) private {
        require(balance0 <= type(uint112).max && balance1 <= type(uint112).max, Overflow());
        (reserve0, reserve1, updated) = (uint112(balance0), uint112(balance1), uint32(block.timestamp));
        emit Sync(uint112(balance0), uint112(balance1));
    }
}
