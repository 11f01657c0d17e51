// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice The cheat codes of forge that the tests use.
interface Vm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    struct DirEntry {
        string errorMessage;
        string path;
        uint64 depth;
        bool isDir;
        bool isSymlink;
    }

    function addr(uint256 key) external pure returns (address);
    function assertEq(address, address) external pure;
    function assertEq(bool, bool) external pure;
    function assertEq(bytes calldata, bytes calldata) external pure;
    function assertEq(bytes32, bytes32) external pure;
    function assertEq(bytes32, bytes32, string calldata) external pure;
    function assertEq(string calldata, string calldata) external pure;
    function assertEq(string calldata, string calldata, string calldata) external pure;
    function assertEq(uint256, uint256) external pure;
    function assertEq(uint256, uint256, string calldata) external pure;
    function assertFalse(bool) external pure;
    function assertFalse(bool, string calldata) external pure;
    function assertGe(uint256, uint256, string calldata) external pure;
    function assertLe(uint256, uint256, string calldata) external pure;
    function assertTrue(bool) external pure;
    function assertTrue(bool, string calldata) external pure;
    function assume(bool) external pure;
    function blobhashes(bytes32[] calldata) external;
    function chainId(uint256) external;
    function clearMockedCalls() external;
    function cool(address) external;
    function deal(address, uint256) external;
    function etch(address, bytes calldata) external;
    function expectEmit() external;
    function expectRevert() external;
    function expectRevert(bytes4) external;
    function expectRevert(bytes calldata) external;
    function getBlockNumber() external view returns (uint256);
    function getBlockTimestamp() external view returns (uint256);
    function getRecordedLogs() external returns (Log[] memory);
    function keyExistsJson(string calldata, string calldata) external view returns (bool);
    function load(address, bytes32) external view returns (bytes32);
    function mockCall(address, bytes calldata, bytes calldata) external;
    function parseJsonAddress(string calldata, string calldata) external pure returns (address);
    function parseJsonBool(string calldata, string calldata) external pure returns (bool);
    function parseJsonBytes(string calldata, string calldata) external pure returns (bytes memory);
    function parseJsonBytesArray(string calldata, string calldata) external pure returns (bytes[] memory);
    function parseJsonBytes32(string calldata, string calldata) external pure returns (bytes32);
    function parseJsonBytes32Array(string calldata, string calldata) external pure returns (bytes32[] memory);
    function parseJsonKeys(string calldata, string calldata) external pure returns (string[] memory);
    function parseJsonString(string calldata, string calldata) external pure returns (string memory);
    function parseJsonUint(string calldata, string calldata) external pure returns (uint256);
    function parseJsonStringArray(string calldata, string calldata) external pure returns (string[] memory);
    function pauseGasMetering() external;
    function prank(address) external;
    function prank(address, address) external;
    function publicKeyP256(uint256) external pure returns (uint256, uint256);
    function readDir(string calldata) external view returns (DirEntry[] memory);
    function readDir(string calldata, uint64) external view returns (DirEntry[] memory);
    function readFile(string calldata) external view returns (string memory);
    function readFileBinary(string calldata) external view returns (bytes memory);
    function recordLogs() external;
    function resumeGasMetering() external;
    function roll(uint256) external;
    function setBlockhash(uint256, bytes32) external;
    function sign(uint256, bytes32) external pure returns (uint8, bytes32, bytes32);
    function signP256(uint256, bytes32) external pure returns (bytes32, bytes32);
    function snapshotValue(string calldata, uint256) external;
    function startPrank(address) external;
    function startPrank(address, address) external;
    function stopPrank() external;
    function store(address, bytes32, bytes32) external;
    function toString(uint256) external pure returns (string memory);
    function warp(uint256) external;
}

/// @notice What every test contract is.
abstract contract Test {
    /// forge runs `test*` and `invariant*` of contracts that say so.
    bool public IS_TEST = true;
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// @dev An account without code, named for the reader.
    function account(string memory name) internal pure returns (address) {
        return vm.addr(uint256(keccak256(bytes(name))));
    }

    /// @dev A number from `low` to `high`, both included.
    function bound(uint256 x, uint256 low, uint256 high) internal pure returns (uint256) {
        return low + x % (high - low + 1);
    }

    /// @dev Time passes, and L1 blocks with it.
    function pass(uint256 time) internal {
        vm.warp(vm.getBlockTimestamp() + time);
        vm.roll(vm.getBlockNumber() + (time + 11) / 12);
    }
}
