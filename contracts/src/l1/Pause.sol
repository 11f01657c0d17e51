// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title A pause that ends by itself.
/// @notice While it lasts, no batch becomes final and no deposit with a value is taken. Commits, proofs, forced messages, claims from
/// the outbox, drops and the escape go on. It lasts seven days at most, and the next one begins thirty days after its end at the earliest:
/// shorter than the escape's delay, so a pause alone never starts an escape.
contract Pause {
    /// @notice The longest pause.
    uint256 public constant LONGEST = 7 days;
    /// @notice The time between a pause's end and the next one.
    uint256 public constant COOLDOWN = 30 days;

    /// @notice The security council.
    address public immutable council;
    /// @notice When the pause ends or ended, in seconds; 0 if there was none.
    uint256 public until;

    /// @notice A pause has begun.
    event Paused(uint256 until);
    /// @notice The pause has ended before its time.
    event Unpaused();

    /// @notice The caller is not the council.
    error NotCouncil();
    /// @notice The pause is longer than `LONGEST`, or of no length.
    error InvalidDuration(uint256 duration);
    /// @notice The next pause may begin at this time.
    error Cooldown(uint256 notBefore);
    /// @notice There is no pause to end.
    error NotPaused();

    constructor(address council_) {
        council = council_;
    }

    /// @notice Begins a pause of `duration` seconds. The council alone.
    function pause(uint256 duration) external {
        if (msg.sender != council) revert NotCouncil();
        if (duration == 0 || duration > LONGEST) revert InvalidDuration(duration);
        if (until != 0 && block.timestamp < until + COOLDOWN) revert Cooldown(until + COOLDOWN);
        until = block.timestamp + duration;
        emit Paused(until);
    }

    /// @notice Ends the pause. The council alone; without it the pause ends at `until`.
    function unpause() external {
        if (msg.sender != council) revert NotCouncil();
        if (!paused()) revert NotPaused();
        until = block.timestamp;
        emit Unpaused();
    }

    /// @notice Whether a pause is in force.
    function paused() public view returns (bool) {
        return block.timestamp < until;
    }
}
