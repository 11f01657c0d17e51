// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice What Intel thinks of a security version, in TCB info and QE identity.
enum Status {
    UpToDate,
    SWHardeningNeeded,
    ConfigurationNeeded,
    ConfigurationAndSWHardeningNeeded,
    OutOfDate,
    OutOfDateConfigurationNeeded,
    Revoked
}

/// @notice What decides on a machine's status: the versions of all that an attestation rests on.
struct Tcb {
    /// Family, model, stepping, platform type, customization.
    bytes6 fmspc;
    /// Which provisioning certification enclave.
    bytes2 pceId;
    /// Security versions of the processor's 16 components.
    bytes16 cpuSvn;
    /// Security version of the provisioning certification enclave.
    uint16 pceSvn;
    /// Security version of the quoting enclave.
    uint16 qeSvn;
}

/// @title Statuses together, and levels.
/// @notice A level is one word: from the lowest bit, status (8 bits), least SVN of PCE or quoting enclave (16), and of a machine the least
/// SVN of each component (128).
library Levels {
    /// @notice The level as a word.
    function pack(uint256 components, uint256 svn, Status status) internal pure returns (uint256) {
        return components << 24 | svn << 8 | uint256(status);
    }

    /// @notice Whether all of a machine's security versions are at or above the level's.
    function reached(uint256 level, bytes16 cpuSvn, uint16 svn) internal pure returns (bool) {
        if (svn < uint16(level >> 8)) return false;
        uint256 have = uint128(cpuSvn);
        uint256 want = level >> 24;
        for (uint256 i; i < 128; i += 8) {
            if (uint8(have >> i) < uint8(want >> i)) return false;
        }
        return true;
    }

    /// @notice The level's status.
    function statusOf(uint256 level) internal pure returns (Status) {
        return Status(uint8(level));
    }

    /// @notice The status of a machine with the one of its quoting enclave, as Intel's verification library has it: an enclave that is
    /// out of date or revoked makes the whole so; nothing makes a status better.
    function converge(Status machine, Status qe) internal pure returns (Status) {
        if (qe == Status.Revoked) return Status.Revoked;
        if (qe == Status.OutOfDate) {
            if (machine == Status.UpToDate || machine == Status.SWHardeningNeeded) return Status.OutOfDate;
            if (machine == Status.ConfigurationNeeded || machine == Status.ConfigurationAndSWHardeningNeeded) {
                return Status.OutOfDateConfigurationNeeded;
            }
        }
        return machine;
    }
}
