// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {Aliasing} from "../src/common/Aliasing.sol";
import {TokenMetadata} from "../src/common/IL2Bridge.sol";
import {Bridge} from "../src/l1/Bridge.sol";
import {EscapeHatch} from "../src/l1/EscapeHatch.sol";
import {Governed, Placeholder} from "../src/l1/Governed.sol";
import {Proofs} from "../src/l1/Proofs.sol";
import {Proxy} from "../src/l1/Proxy.sol";
import {SequencerAuthority} from "../src/l1/SequencerAuthority.sol";
import {RewardVault} from "../src/l1/validators/RewardVault.sol";
import {ValidatorAuthority} from "../src/l1/validators/ValidatorAuthority.sol";
import {Founder, Terms, ValidatorRegistry} from "../src/l1/validators/ValidatorRegistry.sol";
import {L2Bridge} from "../src/l2/L2Bridge.sol";
import {L2Token} from "../src/l2/L2Token.sol";
import {Attestation} from "./utils/Attestation.sol";
import {Chain} from "./utils/Chain.sol";
import {L2} from "./utils/L2.sol";
import {Vm} from "./utils/Test.sol";

/// @notice Walks every function of every contract in `src`, from the compiled artifacts, that can change state, and checks its guard with a
/// stranger's call. A function that the table below does not have fails, and so does a row without a function.
contract GuardsTest is Chain, L2, Attestation {
    /// @dev No guard: anyone may call.
    bytes4 internal constant ANYONE = 0;
    bytes4 internal constant TIMELOCK = Governed.NotTimelock.selector;
    bytes4 internal constant COUNCIL = Proofs.NotCouncil.selector; // Pause's is of the same name
    bytes4 internal constant ROLLUP = Proofs.NotRollup.selector;
    bytes4 internal constant PARTS = Bridge.NotAllowed.selector;
    bytes4 internal constant OPERATOR = SequencerAuthority.NotCertified.selector; // a stranger without a certificate
    bytes4 internal constant ONCE = Initializable.InvalidInitialization.selector;
    bytes4 internal constant AFTER_HALT = EscapeHatch.NotHalted.selector;
    bytes4 internal constant DEPLOYER = Placeholder.NotDeployer.selector;
    bytes4 internal constant CLAIMED = Placeholder.AlreadyClaimed.selector;
    bytes4 internal constant OWNER = Ownable.OwnableUnauthorizedAccount.selector;
    bytes4 internal constant ROLE = IAccessControl.AccessControlUnauthorizedAccount.selector;
    bytes4 internal constant CONFIRM = IAccessControl.AccessControlBadConfirmation.selector;
    bytes4 internal constant ITSELF = bytes4(keccak256("TimelockUnauthorizedCaller(address)"));
    bytes4 internal constant L1_BRIDGE = L2Bridge.NotL1Bridge.selector;
    bytes4 internal constant SELF = L2Bridge.NotSelf.selector;
    bytes4 internal constant ADMITTER = ValidatorRegistry.NotAdmitter.selector;
    bytes4 internal constant VALIDATOR = ValidatorRegistry.NotOwner.selector;
    bytes4 internal constant TOKEN_BRIDGE = L2Token.NotBridge.selector;

    struct Row {
        string name;
        bytes4 guard;
        bool seen;
    }

    Row[] internal rows;
    mapping(bytes32 contractName => address) internal instances;
    mapping(bytes4 guard => bool) internal isGuard;

    function setUp() public override {
        super.setUp();
        deployAttestation();
        deployL2(address(bridge));
        vm.prank(Aliasing.alias_(address(bridge)));
        l2Bridge.deployToken(address(1), abi.encode(TokenMetadata("", "", 0)));
        address placeholder =
            address(new Proxy(address(new Placeholder()), abi.encodeCall(Placeholder.claim, (address(this)))));

        contractAt("Rollup", address(rollup));
        row("Rollup.initialize", ONCE);
        row("Rollup.commit", OPERATOR);
        row("Rollup.commitInSilence", ANYONE);
        row("Rollup.commitMessages", ANYONE);
        row("Rollup.prove", ANYONE);
        row("Rollup.finalize", ANYONE);
        row("Rollup.drop", ANYONE);
        row("Rollup.startEscape", ANYONE);
        row("Rollup.upgradeToAndCall", TIMELOCK);

        contractAt("Proofs", address(proofs));
        row("Proofs.initialize", ONCE);
        row("Proofs.record", ROLLUP);
        row("Proofs.setVerifier", TIMELOCK);
        row("Proofs.replaceBrokenVerifier", COUNCIL);
        row("Proofs.rule", COUNCIL);
        row("Proofs.upgradeToAndCall", TIMELOCK);

        contractAt("Inbox", address(inbox));
        row("Inbox.send", ANYONE);
        row("Inbox.depositETH", ANYONE);
        row("Inbox.sweepFees", ANYONE);
        row("Inbox.upgradeToAndCall", TIMELOCK);

        contractAt("Bridge", address(bridge));
        row("Bridge.lock", PARTS);
        row("Bridge.depositERC20", ANYONE);
        row("Bridge.announce", ANYONE);
        row("Bridge.finalizeWithdrawal", PARTS);
        row("Bridge.release", PARTS);
        row("Bridge.releaseToken", PARTS);
        row("Bridge.upgradeToAndCall", TIMELOCK);

        contractAt("Outbox", address(outbox));
        row("Outbox.execute", ANYONE);
        row("Outbox.keep", ANYONE);
        row("Outbox.retry", ANYONE);
        row("Outbox.upgradeToAndCall", TIMELOCK);

        contractAt("EscapeHatch", address(escapeHatch));
        row("EscapeHatch.escapeETH", AFTER_HALT);
        row("EscapeHatch.escapeERC20", AFTER_HALT);
        row("EscapeHatch.refundMessage", AFTER_HALT);
        row("EscapeHatch.refundFailed", AFTER_HALT);
        row("EscapeHatch.upgradeToAndCall", TIMELOCK);

        contractAt("Pause", address(pause));
        row("Pause.pause", COUNCIL);
        row("Pause.unpause", COUNCIL);

        contractAt("Origins", address(origins));
        row("Origins.record", ANYONE);
        row("Origins.recordBelow", ANYONE);

        contractAt("SequencerAuthority", address(authority));
        row("SequencerAuthority.transferOwnership", OWNER);
        row("SequencerAuthority.acceptOwnership", OWNER);
        row("SequencerAuthority.renounceOwnership", OWNER);

        contractAt("Timelock", address(timelock));
        row("Timelock.schedule", ROLE);
        row("Timelock.scheduleBatch", ROLE);
        row("Timelock.cancel", ROLE);
        row("Timelock.grantRole", ROLE);
        row("Timelock.revokeRole", ROLE);
        row("Timelock.renounceRole", CONFIRM);
        row("Timelock.updateDelay", ITSELF);
        row("Timelock.execute", ANYONE);
        row("Timelock.executeBatch", ANYONE);
        row("Timelock.onERC1155BatchReceived", ANYONE);
        row("Timelock.onERC1155Received", ANYONE);
        row("Timelock.onERC721Received", ANYONE);

        contractAt("Placeholder", placeholder);
        row("Placeholder.claim", CLAIMED);
        row("Placeholder.upgradeToAndCall", DEPLOYER);

        contractAt("Pccs", address(pccs));
        row("Pccs.addPckCa", ANYONE);
        row("Pccs.addTcbSigner", ANYONE);
        row("Pccs.putCrl", ANYONE);
        row("Pccs.revoke", ANYONE);
        row("Pccs.putTcbInfo", ANYONE);
        row("Pccs.putQeIdentity", ANYONE);

        contractAt("AttestationRegistry", address(registry));
        row("AttestationRegistry.setMeasurement", TIMELOCK);
        row("AttestationRegistry.setSigner", TIMELOCK);
        row("AttestationRegistry.setPolicy", TIMELOCK);
        row("AttestationRegistry.register", ANYONE);
        row("AttestationRegistry.invalidate", ANYONE);

        ValidatorAuthority validators = new ValidatorAuthority(
            CHAIN_ID, address(rollup), keccak256("set"), Terms(council, 1 ether, 21 days, council), new Founder[](0)
        );
        contractAt("ValidatorAuthority", address(validators));
        row("ValidatorAuthority.check", ROLLUP);
        row("ValidatorAuthority.restart", ROLLUP);
        row("ValidatorAuthority.begin", ANYONE);
        row("ValidatorAuthority.publish", ANYONE);
        row("ValidatorAuthority.admit", ADMITTER);
        row("ValidatorAuthority.register", ANYONE);
        row("ValidatorAuthority.topUp", ANYONE);
        row("ValidatorAuthority.update", VALIDATOR);
        row("ValidatorAuthority.exit", VALIDATOR);
        row("ValidatorAuthority.withdraw", VALIDATOR);
        row("ValidatorAuthority.claim", ANYONE);
        row("ValidatorAuthority.slashVotes", ANYONE);
        row("ValidatorAuthority.slashSeals", ANYONE);

        contractAt("RewardVault", address(new RewardVault(rollup, validators, 1)));
        row("RewardVault.claim", ANYONE);

        contractAt("L2Messenger", address(messenger));
        row("L2Messenger.send", ANYONE);

        contractAt("L2Bridge", address(l2Bridge));
        row("L2Bridge.finalizeDeposit", L1_BRIDGE);
        row("L2Bridge.deployToken", L1_BRIDGE);
        row("L2Bridge.mint", SELF);
        row("L2Bridge.sendBack", ANYONE);
        row("L2Bridge.withdraw", ANYONE);

        contractAt("L2Token", l2Bridge.l2TokenOf(address(1)));
        row("L2Token.initialize", TOKEN_BRIDGE);
        row("L2Token.mint", TOKEN_BRIDGE);
        row("L2Token.burn", TOKEN_BRIDGE);
        row("L2Token.transfer", ANYONE);
        row("L2Token.transferFrom", ANYONE);
        row("L2Token.approve", ANYONE);

        contractAt("L1Block", address(l1Block));
    }

    function contractAt(string memory name, address instance) internal {
        instances[keccak256(bytes(name))] = instance;
    }

    function row(string memory name, bytes4 guard) internal {
        rows.push(Row(name, guard, false));
        if (guard != ANYONE) isGuard[guard] = true;
    }

    function test_everyFunctionIsGuarded() public {
        Vm.DirEntry[] memory sources = vm.readDir("src", 8);
        uint256 functions;
        for (uint256 i; i < sources.length; ++i) {
            if (sources[i].isDir) continue;
            string memory folder = string.concat("out/", fileName(sources[i].path));
            Vm.DirEntry[] memory artifacts = vm.readDir(folder);
            for (uint256 j; j < artifacts.length; ++j) {
                string memory file = fileName(artifacts[j].path);
                functions += checkContract(
                    string.concat(folder, "/", file),
                    cut(file, bytes(file).length - 5) // without ".json"
                );
            }
        }
        for (uint256 i; i < rows.length; ++i) {
            vm.assertTrue(rows[i].seen, string.concat("no such function: ", rows[i].name));
        }
        vm.assertEq(functions, rows.length);
    }

    /// @dev Checks all functions of a deployable contract that can change state.
    function checkContract(string memory path, string memory name) internal returns (uint256 functions) {
        string memory json = vm.readFile(path);
        if (bytes(vm.parseJsonString(json, "$.bytecode.object")).length <= 2) return 0; // abstract, or an interface
        for (uint256 i;; ++i) {
            string memory entry = string.concat("$.abi[", vm.toString(i), "]");
            if (!vm.keyExistsJson(json, entry)) break;
            if (!equal(vm.parseJsonString(json, string.concat(entry, ".type")), "function")) continue;
            string memory mutability = vm.parseJsonString(json, string.concat(entry, ".stateMutability"));
            if (equal(mutability, "view") || equal(mutability, "pure")) continue;
            ++functions;
            string memory function_ = vm.parseJsonString(json, string.concat(entry, ".name"));
            checkFunction(json, name, function_);
        }
    }

    function checkFunction(string memory json, string memory name, string memory function_) internal {
        string memory full = string.concat(name, ".", function_);
        Row storage found = find(full);
        vm.assertFalse(found.seen, string.concat("overloaded: ", full));
        found.seen = true;
        address instance = instances[keccak256(bytes(name))];
        vm.assertTrue(instance.code.length > 0, string.concat("no instance of ", name));
        vm.prank(alice, alice);
        (bool ok, bytes memory answer) = instance.call(abi.encodePacked(selectorOf(json, function_), new bytes(2048)));
        bytes4 reason = bytes4(answer);
        if (found.guard == ANYONE) {
            vm.assertTrue(ok || !isGuard[reason], string.concat("guarded after all: ", full));
        } else {
            vm.assertTrue(!ok && reason == found.guard, string.concat("not guarded as the table says: ", full));
        }
    }

    /// @dev Zero words decode as empty arguments of any type, so that the guard answers.
    function selectorOf(string memory json, string memory function_) internal pure returns (bytes4) {
        string[] memory signatures = vm.parseJsonKeys(json, "$.methodIdentifiers");
        bytes memory start = abi.encodePacked(function_, "(");
        for (uint256 i; i < signatures.length; ++i) {
            if (bytes(signatures[i]).length > start.length && equal(cut(signatures[i], start.length), string(start))) {
                return bytes4(keccak256(bytes(signatures[i])));
            }
        }
        revert(function_);
    }

    function find(string memory name) internal view returns (Row storage) {
        for (uint256 i; i < rows.length; ++i) {
            if (equal(rows[i].name, name)) return rows[i];
        }
        revert(string.concat("not in the table: ", name));
    }

    function equal(string memory a, string memory b) internal pure returns (bool) {
        return keccak256(bytes(a)) == keccak256(bytes(b));
    }

    function cut(string memory text, uint256 length) internal pure returns (string memory) {
        bytes memory out = new bytes(length);
        for (uint256 i; i < length; ++i) {
            out[i] = bytes(text)[i];
        }
        return string(out);
    }

    /// @dev What follows the last slash.
    function fileName(string memory path) internal pure returns (string memory) {
        bytes memory whole = bytes(path);
        uint256 start = whole.length;
        while (start > 0 && whole[start - 1] != "/") --start;
        bytes memory out = new bytes(whole.length - start);
        for (uint256 i; i < out.length; ++i) {
            out[i] = whole[start + i];
        }
        return string(out);
    }
}
