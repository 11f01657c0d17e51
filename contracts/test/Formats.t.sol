// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Aliasing} from "../src/common/Aliasing.sol";
import {Message, Messages} from "../src/common/Messages.sol";
import {Batch, Batches} from "../src/l1/Batches.sol";
import {Inbox} from "../src/l1/Inbox.sol";
import {Kzg} from "../src/l1/Kzg.sol";
import {Chain} from "./utils/Chain.sol";
import {L2} from "./utils/L2.sol";

/// @notice The vectors of fixtures/formats.json, which another implementation computed.
contract FormatsTest is Chain, L2 {
    string internal json;

    function setUp() public override {
        super.setUp();
        deployL2(address(bridge));
        json = vm.readFile("test/fixtures/formats.json");
    }

    function word(string memory path) internal view returns (bytes32) {
        return vm.parseJsonBytes32(json, path);
    }

    function number(string memory path) internal view returns (uint64) {
        return uint64(vm.parseJsonUint(json, path));
    }

    function address_(string memory path) internal view returns (address) {
        return vm.parseJsonAddress(json, path);
    }

    function test_entries() public view {
        bytes32 rolling;
        for (uint256 i; i < 4; ++i) {
            string memory e = string.concat("$.entries[", vm.toString(i), "].");
            bytes32 hash = inbox.entryHash(
                number(string.concat(e, "index")),
                number(string.concat(e, "blockNumber")),
                address_(string.concat(e, "from")),
                address_(string.concat(e, "to")),
                vm.parseJsonBool(json, string.concat(e, "isCreation")),
                uint256(word(string.concat(e, "mint"))),
                uint256(word(string.concat(e, "value"))),
                number(string.concat(e, "gas")),
                keccak256(vm.parseJsonBytes(json, string.concat(e, "data")))
            );
            vm.assertEq(hash, word(string.concat(e, "entryHash")));
            rolling = keccak256(abi.encodePacked(rolling, hash));
            vm.assertEq(rolling, word(string.concat(e, "queueHash")));
        }
    }

    function batchAt(uint256 i) internal view returns (Batch memory b, bytes32[] memory blobs) {
        string memory p = string.concat("$.batches[", vm.toString(i), "].");
        b.version = uint8(number(string.concat(p, "version")));
        b.era = number(string.concat(p, "era"));
        b.chainId = number(string.concat(p, "chainId"));
        b.rollup = address_(string.concat(p, "rollup"));
        b.index = number(string.concat(p, "index"));
        b.parentBatchHash = word(string.concat(p, "parentBatchHash"));
        b.parentBlockHash = word(string.concat(p, "parentBlockHash"));
        b.lastBlockHash = word(string.concat(p, "lastBlockHash"));
        b.firstBlock = number(string.concat(p, "firstBlock"));
        b.lastBlock = number(string.concat(p, "lastBlock"));
        b.lastTimestamp = number(string.concat(p, "lastTimestamp"));
        b.firstMessage = number(string.concat(p, "firstMessage"));
        b.endMessage = number(string.concat(p, "endMessage"));
        b.queueHashBefore = word(string.concat(p, "queueHashBefore"));
        b.queueHashAfter = word(string.concat(p, "queueHashAfter"));
        b.originNumber = number(string.concat(p, "originNumber"));
        b.originHash = word(string.concat(p, "originHash"));
        b.configHash = word(string.concat(p, "configHash"));
        blobs = vm.parseJsonBytes32Array(json, string.concat(p, "blobs"));
    }

    function test_batchesAndOutputs() public view {
        bytes32 previous;
        for (uint256 i; i < 4; ++i) {
            string memory p = string.concat("$.batches[", vm.toString(i), "].");
            (Batch memory b, bytes32[] memory blobs) = batchAt(i);
            bytes32 hash = Batches.hash(b, blobs);
            vm.assertEq(hash, word(string.concat(p, "batchHash")));
            vm.assertEq(hash, hashOf(b, blobs)); // the tests' own
            bytes32 out = Batches.output(
                hash, b.lastBlockHash, word(string.concat(p, "stateRoot")), word(string.concat(p, "outboxRoot"))
            );
            vm.assertEq(out, word(string.concat(p, "output")));
            if (i > 0) {
                vm.assertEq(Batches.invalidOutput(hash, previous), word(string.concat(p, "invalidOutput")));
            }
            previous = out;
        }
    }

    function test_statement() public view {
        bytes32[] memory outputs = new bytes32[](3);
        for (uint256 i; i < 3; ++i) {
            outputs[i] = word(string.concat("$.batches[", vm.toString(i + 1), "].output"));
        }
        bytes32[] memory openings = new bytes32[](12);
        for (uint256 i; i < 6; ++i) {
            string memory p = string.concat("$.openings[", vm.toString(i), "].");
            openings[2 * i] = word(string.concat(p, "contentsHash"));
            openings[2 * i + 1] = word(string.concat(p, "y"));
            bytes32 z = bytes32(
                uint256(keccak256(abi.encodePacked(word(string.concat(p, "versionedHash")), openings[2 * i])))
                    % Kzg.MODULUS
            );
            vm.assertEq(z, word(string.concat(p, "z")));
        }
        bytes32 statement = Batches.statement(
            number("$.statement.chainId"),
            address_("$.statement.rollup"),
            word("$.statement.start"),
            address_("$.statement.payout"),
            outputs,
            openings
        );
        vm.assertEq(statement, word("$.statement.hash"));
    }

    function test_commitDigest() public view {
        vm.assertEq(
            keccak256(
                abi.encode(
                    sequencerAuthority().DOMAIN(),
                    number("$.commit.chainId"),
                    address_("$.commit.rollup"),
                    number("$.commit.era"),
                    number("$.commit.lastBlock"),
                    word("$.commit.lastBlockHash")
                )
            ),
            word("$.commit.digest")
        );
    }

    function test_messages() public {
        vm.assertEq(Messages.EMPTY_ROOT, word("$.emptyRoot"));
        for (uint256 i; i < 5; ++i) {
            string memory p = string.concat("$.messages[", vm.toString(i), "].");
            Message memory m = Message(
                number(string.concat(p, "nonce")),
                address_(string.concat(p, "sender")),
                address_(string.concat(p, "target")),
                uint256(word(string.concat(p, "value"))),
                number(string.concat(p, "gas")),
                vm.parseJsonBytes(json, string.concat(p, "data"))
            );
            vm.assertEq(Messages.leaf(m), word(string.concat(p, "leaf")));
            sendFrom(m.sender, m.target, m.value, m.gas, m.data);
            vm.assertEq(messenger.root(), word(string.concat(p, "rootAfter")));
        }
    }

    function test_aliasing() public view {
        vm.assertEq(Aliasing.alias_(address_("$.aliasing.contract")), address_("$.aliasing.alias"));
    }
}
