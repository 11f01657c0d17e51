// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Messages} from "../../src/common/Messages.sol";
import {Batch, Batches} from "../../src/l1/Batches.sol";
import {Bridge} from "../../src/l1/Bridge.sol";
import {EscapeHatch} from "../../src/l1/EscapeHatch.sol";
import {Placeholder} from "../../src/l1/Governed.sol";
import {ICommitAuthority} from "../../src/l1/ICommitAuthority.sol";
import {Inbox} from "../../src/l1/Inbox.sol";
import {Prover} from "../../src/l1/IProofVerifier.sol";
import {Opening} from "../../src/l1/Kzg.sol";
import {Origins} from "../../src/l1/Origins.sol";
import {Outbox} from "../../src/l1/Outbox.sol";
import {Pause} from "../../src/l1/Pause.sol";
import {Proofs, ProofSystem} from "../../src/l1/Proofs.sol";
import {Proxy} from "../../src/l1/Proxy.sol";
import {Parts, Rollup, Settings} from "../../src/l1/Rollup.sol";
import {SequencerAuthority} from "../../src/l1/SequencerAuthority.sol";
import {Timelock} from "../../src/l1/Timelock.sol";
import {TestVerifier} from "../../src/l1/testing/TestVerifier.sol";
import {Test} from "./Test.sol";

/// @notice A deployed chain, and short words to commit and prove with. Expected hashes are computed here, apart from the contracts.
abstract contract Chain is Test {
    uint64 internal constant CHAIN_ID = 5683;
    uint48 internal constant WEEK = 7 days;
    uint48 internal constant T1 = 12 hours;
    uint48 internal constant T2 = 3 days;
    uint48 internal constant DROP = 24 hours;
    uint48 internal constant Z = 21 days;
    uint64 internal constant LAG = 3600;
    uint64 internal constant GAS_TARGET = 500_000_000;
    uint256 internal constant PRICE_FLOOR = 10_000_000;
    uint256 internal constant SUPPLY = 1000 ether;
    /// A claim that the batch breaks the rules.
    uint8 internal constant INVALID = 255;

    uint256 internal constant SEQUENCER_KEY = uint256(keccak256("sequencer"));
    address internal sequencer = account("sequencer");
    address internal council = account("council");
    address internal governor = account("governor");
    address internal feeRecipient = account("fee recipient");
    address internal alice = account("alice");
    address internal bob = account("bob");

    Timelock internal timelock;
    Pause internal pause;
    Origins internal origins;
    Rollup internal rollup;
    Proofs internal proofs;
    Inbox internal inbox;
    Bridge internal bridge;
    Outbox internal outbox;
    EscapeHatch internal escapeHatch;
    ICommitAuthority internal authority;
    TestVerifier internal teeVerifier;
    TestVerifier internal zkVerifier;

    /// The batches as they were last committed.
    mapping(uint64 index => Batch) internal made;
    mapping(uint64 index => bytes32[]) internal blobsOf;
    /// What a batch's roots are where they are not `roots(index, 0)`.
    mapping(uint64 index => Rollup.Roots) internal otherRoots;
    bytes32 internal genesisOutput;

    // Enclaves: two machines of vendor 0, others of vendors 1 and 2.
    Prover internal intel1 = Prover(account("key 1"), keccak256("machine 1"), 0);
    Prover internal intel2 = Prover(account("key 2"), keccak256("machine 2"), 0);
    Prover internal intel3 = Prover(account("key 3"), keccak256("machine 3"), 0);
    Prover internal amd1 = Prover(account("key 4"), keccak256("machine 4"), 1);
    Prover internal amd2 = Prover(account("key 5"), keccak256("machine 5"), 1);
    Prover internal arm1 = Prover(account("key 6"), keccak256("machine 6"), 2);

    function setUp() public virtual {
        vm.warp(1_700_000_000);
        vm.roll(20_000_000);
        // EIP-2935's contract, from the EIP.
        vm.etch(
            0x0000F90827F1C53a10cb7A02335B175320002935,
            hex"3373fffffffffffffffffffffffffffffffffffffffe14604657602036036042575f35600143038111604257611fff81430311604257611fff9006545f5260205ff35b5f5ffd5b5f35611fff60014303065500"
        );
        deployParts();
        putInPlace();
        open();
    }

    function settings() internal pure virtual returns (Settings memory) {
        return Settings({
            chainId: CHAIN_ID,
            production: false,
            silenceDelay: T1,
            messageDelay: T2,
            dropDelay: DROP,
            escapeDelay: Z,
            originLag: LAG,
            configHash: keccak256("config")
        });
    }

    /// @dev First step: what needs nothing, and the proxies.
    function deployParts() internal {
        address[] memory proposers = new address[](1);
        proposers[0] = governor;
        timelock = new Timelock(30 days, proposers);
        pause = new Pause(council);
        origins = new Origins();
        teeVerifier = new TestVerifier();
        zkVerifier = new TestVerifier();
        address placeholder = address(new Placeholder());
        bytes memory named = abi.encodeCall(Placeholder.claim, (address(this)));
        rollup = Rollup(address(new Proxy(placeholder, named)));
        proofs = Proofs(address(new Proxy(placeholder, named)));
        inbox = Inbox(address(new Proxy(placeholder, named)));
        bridge = Bridge(address(new Proxy(placeholder, named)));
        outbox = Outbox(payable(address(new Proxy(placeholder, named))));
        escapeHatch = EscapeHatch(address(new Proxy(placeholder, named)));
        authority = makeAuthority();
    }

    function makeAuthority() internal virtual returns (ICommitAuthority) {
        return new SequencerAuthority(CHAIN_ID, address(rollup), sequencer);
    }

    /// @dev The authority of a chain without validators.
    function sequencerAuthority() internal view returns (SequencerAuthority) {
        return SequencerAuthority(address(authority));
    }

    function place(address proxy, address implementation, bytes memory data) internal {
        Placeholder(proxy).upgradeToAndCall(implementation, data);
    }

    /// @dev Second step: every contract but the rollup.
    function putInPlace() internal {
        place(
            address(inbox),
            address(new Inbox(address(timelock), rollup, bridge, pause, GAS_TARGET, PRICE_FLOOR, feeRecipient)),
            ""
        );
        place(
            address(bridge),
            address(new Bridge(address(timelock), rollup, inbox, outbox, address(escapeHatch), pause)),
            ""
        );
        place(
            address(outbox),
            address(new Outbox(address(timelock), rollup, bridge, address(inbox), address(escapeHatch))),
            ""
        );
        place(address(escapeHatch), address(new EscapeHatch(address(timelock), rollup, bridge, inbox)), "");
        place(
            address(proofs),
            address(new Proofs(address(timelock), rollup, council, settings().production, WEEK)),
            abi.encodeCall(Proofs.initialize, (teeVerifier, zkVerifier))
        );
    }

    function rollupImplementation() internal returns (address) {
        return address(
            new Rollup(
                settings(),
                Parts({
                    timelock: address(timelock),
                    proofs: proofs,
                    authority: authority,
                    inbox: inbox,
                    bridge: bridge,
                    outbox: address(outbox),
                    escapeHatch: address(escapeHatch),
                    pause: pause,
                    origins: origins
                })
            )
        );
    }

    function genesis() internal pure returns (Rollup.Genesis memory) {
        return Rollup.Genesis({
            blockHash: keccak256("genesis block"),
            stateRoot: keccak256("genesis state"),
            outboxRoot: Messages.EMPTY_ROOT,
            supply: SUPPLY
        });
    }

    /// @dev Last step: the rollup, with the ETH of genesis.
    function open() internal {
        vm.deal(address(this), SUPPLY);
        Placeholder(address(rollup)).upgradeToAndCall{value: SUPPLY}(
            rollupImplementation(), abi.encodeCall(Rollup.initialize, (genesis()))
        );
        Batch storage batch = made[0];
        batch.version = 1;
        batch.chainId = CHAIN_ID;
        batch.rollup = address(rollup);
        batch.lastBlockHash = keccak256("genesis block");
        batch.configHash = keccak256("config");
        genesisOutput = keccak256(
            abi.encode(hashOf(0), keccak256("genesis block"), keccak256("genesis state"), Messages.EMPTY_ROOT)
        );
    }

    // --- batches ---

    function hashOf(uint64 index) internal view returns (bytes32) {
        return hashOf(made[index], blobsOf[index]);
    }

    function hashOf(Batch memory b, bytes32[] memory blobs) internal pure returns (bytes32) {
        bytes memory head = abi.encodePacked(
            uint256(b.version),
            uint256(b.era),
            uint256(b.chainId),
            uint256(uint160(b.rollup)),
            uint256(b.index),
            b.parentBatchHash,
            b.parentBlockHash,
            b.lastBlockHash
        );
        bytes memory middle = abi.encodePacked(
            uint256(b.firstBlock),
            uint256(b.lastBlock),
            uint256(b.lastTimestamp),
            uint256(b.firstMessage),
            uint256(b.endMessage),
            b.queueHashBefore,
            b.queueHashAfter
        );
        return keccak256(abi.encodePacked(head, middle, uint256(b.originNumber), b.originHash, b.configHash, blobs));
    }

    /// @dev The blob whose polynomial is the constant 0, 1 or 2: real commitments, so the precompile really checks.
    function commitmentOf(uint256 constant_) internal pure returns (bytes memory) {
        if (constant_ == 0) {
            return hex"c00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";
        }
        // The generator of BLS12-381's G1 and its double, compressed.
        if (constant_ == 1) {
            return hex"97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb";
        }
        return hex"a572cbea904d67468808c8eb50a9450c9721db309128012543902d0ac358a62ae28f75bb8f1c7c42c39a8c5529bf0f4e";
    }

    function versionedHash(uint256 constant_) internal pure returns (bytes32) {
        return bytes32(uint256(sha256(commitmentOf(constant_))) & (type(uint256).max >> 8) | (uint256(1) << 248));
    }

    function openingOf(bytes32 versioned) internal pure returns (Opening memory) {
        uint256 constant_ = versioned == versionedHash(0) ? 0 : versioned == versionedHash(1) ? 1 : 2;
        return Opening({
            contentsHash: keccak256(abi.encode("contents", constant_)),
            y: bytes32(constant_),
            commitment: commitmentOf(constant_),
            proof: commitmentOf(0)
        });
    }

    /// @dev The blobs that the next transactions carry.
    function carry(uint256 count) internal {
        bytes32[] memory blobs = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            blobs[i] = versionedHash(i % 3);
        }
        vm.blobhashes(blobs);
    }

    /// @dev A commit of ten blocks that consumes all messages before the present L1 block. `salt` tells batches of one index apart.
    function request(uint256 salt) internal view returns (Rollup.Commit memory c) {
        uint64 index = rollup.headIndex() + 1;
        uint64 origin = uint64(vm.getBlockNumber() - 1);
        Rollup.Stored memory parent = rollup.batchAt(index - 1);
        c.parentBatchHash = parent.batchHash;
        c.lastBlockHash = keccak256(abi.encode("block", index, salt));
        c.lastBlock = parent.lastBlock + 10;
        c.lastTimestamp = uint64(vm.getBlockTimestamp()) - 1;
        c.originNumber = origin;
        c.originHash = origins.hashOf(origin);
        c.endMessage = inbox.length();
        while (c.endMessage > 0 && inbox.entry(c.endMessage - 1).blockNumber > origin) --c.endMessage;
    }

    /// @dev Keeps the batch that a commit is expected to make.
    function expectBatch(Rollup.Commit memory c, uint8 version, uint256 blobs) internal returns (uint64 index) {
        return expectBatchAt(rollup.headIndex() + 1, rollup.era(), c, version, blobs);
    }

    function expectBatchAt(uint64 index, uint64 era, Rollup.Commit memory c, uint8 version, uint256 blobs)
        internal
        returns (uint64)
    {
        Batch memory parent = made[index - 1];
        Batch storage batch = made[index];
        batch.version = version;
        batch.era = era;
        batch.chainId = CHAIN_ID;
        batch.rollup = address(rollup);
        batch.index = index;
        batch.parentBatchHash = hashOf(index - 1);
        batch.parentBlockHash = parent.lastBlockHash;
        batch.lastBlockHash = c.lastBlockHash;
        batch.firstBlock = parent.lastBlock + 1;
        batch.lastBlock = c.lastBlock;
        batch.lastTimestamp = c.lastTimestamp;
        batch.firstMessage = parent.endMessage;
        batch.endMessage = c.endMessage;
        batch.queueHashBefore = parent.queueHashAfter;
        batch.queueHashAfter = c.endMessage == 0 ? bytes32(0) : inbox.entry(c.endMessage - 1).queueHash;
        batch.originNumber = c.originNumber;
        batch.originHash = c.originHash;
        batch.configHash = rollup.configHash();
        blobsOf[index] = new bytes32[](blobs);
        for (uint256 i; i < blobs; ++i) {
            blobsOf[index][i] = versionedHash(i % 3);
        }
        return index;
    }

    function commit(uint256 salt) internal returns (uint64 index) {
        return commit(request(salt), 1);
    }

    function commit(Rollup.Commit memory c, uint256 blobs) internal returns (uint64 index) {
        index = expectBatch(c, 1, blobs);
        carry(blobs);
        vm.prank(sequencer);
        rollup.commit(c, "");
        vm.assertEq(rollup.batchAt(index).batchHash, hashOf(index), "batch hash");
    }

    function commit() internal returns (uint64) {
        return commit(0);
    }

    // --- proofs ---

    /// @dev The claim that a batch has the roots `variant`, or is invalid.
    function claim(uint64 index, uint8 variant) internal view returns (Rollup.Claim memory c) {
        c.batch = made[index];
        c.blobs = blobsOf[index];
        c.openings = new Opening[](c.blobs.length);
        for (uint256 i; i < c.blobs.length; ++i) {
            c.openings[i] = openingOf(c.blobs[i]);
        }
        Rollup.Roots memory r = roots(index, variant);
        (c.invalid, c.stateRoot, c.outboxRoot) = (r.invalid, r.stateRoot, r.outboxRoot);
    }

    function roots(uint64 index, uint8 variant) internal pure returns (Rollup.Roots memory r) {
        r.invalid = variant == INVALID;
        if (r.invalid) return r;
        r.stateRoot = keccak256(abi.encode("state", index, variant));
        r.outboxRoot = keccak256(abi.encode("outbox", index, variant));
    }

    /// @dev What the batch is final with, if it is.
    function finalOf(uint64 index) internal view returns (Outbox.Final memory) {
        Rollup.Roots memory r = otherRoots[index];
        if (index == 0) (r.stateRoot, r.outboxRoot) = (genesis().stateRoot, genesis().outboxRoot);
        else if (r.stateRoot == 0) r = roots(index, 0);
        return Outbox.Final(index, made[index].lastBlockHash, r.stateRoot, r.outboxRoot);
    }

    /// @dev After these became final.
    function startEscape(Rollup.Roots[] memory next) internal {
        Outbox.Final memory last = finalOf(rollup.finalIndex() + uint64(next.length));
        rollup.startEscape(next, last.stateRoot, last.outboxRoot);
    }

    function one(Rollup.Roots memory r) internal pure returns (Rollup.Roots[] memory list) {
        list = new Rollup.Roots[](1);
        list[0] = r;
    }

    /// @dev The output of a batch with the roots `variant`, all before it having the roots 0.
    function output(uint64 index, uint8 variant) internal view returns (bytes32) {
        if (index == 0) return genesisOutput;
        if (variant == INVALID) {
            return keccak256(abi.encode(keccak256("jove.output.invalid.v1"), hashOf(index), output(index - 1, 0)));
        }
        Rollup.Roots memory r = roots(index, variant);
        return keccak256(abi.encode(hashOf(index), made[index].lastBlockHash, r.stateRoot, r.outboxRoot));
    }

    /// @dev A proof of one batch after the output of its predecessor with the roots 0.
    function proofOf(ProofSystem system, Prover memory prover, uint64 index, uint8 variant)
        internal
        view
        returns (Rollup.Proof memory p)
    {
        p.claims = new Rollup.Claim[](1);
        p.claims[0] = claim(index, variant);
        p.start = output(index - 1, 0);
        return sealed_(p, system, prover);
    }

    /// @dev A proof of the batches from `first` to `last` with the roots 0.
    function rangeOf(ProofSystem system, Prover memory prover, uint64 first, uint64 last)
        internal
        view
        returns (Rollup.Proof memory p)
    {
        p.claims = new Rollup.Claim[](last + 1 - first);
        for (uint64 i = first; i <= last; ++i) {
            p.claims[i - first] = claim(i, 0);
        }
        p.start = output(first - 1, 0);
        return sealed_(p, system, prover);
    }

    /// @dev Computes the statement of the claims, and the test proof of it.
    function sealed_(Rollup.Proof memory p, ProofSystem system, Prover memory prover)
        internal
        view
        returns (Rollup.Proof memory)
    {
        p.system = system;
        if (p.payout == address(0)) p.payout = bob;
        p.proof = abi.encode(keccak256(abi.encodePacked(keccak256("jove.proof.test.v1"), statementOf(p))), prover);
        return p;
    }

    function statementOf(Rollup.Proof memory p) internal view returns (bytes32) {
        bytes memory outputs;
        bytes memory openings;
        bytes32 previous = p.start;
        for (uint256 i; i < p.claims.length; ++i) {
            Rollup.Claim memory c = p.claims[i];
            bytes32 batchHash = hashOf(c.batch, c.blobs);
            previous = c.invalid
                ? keccak256(abi.encode(keccak256("jove.output.invalid.v1"), batchHash, previous))
                : keccak256(abi.encode(batchHash, c.batch.lastBlockHash, c.stateRoot, c.outboxRoot));
            outputs = abi.encodePacked(outputs, previous);
            for (uint256 j; j < c.openings.length; ++j) {
                openings = abi.encodePacked(openings, c.openings[j].contentsHash, c.openings[j].y);
            }
        }
        return keccak256(
            abi.encode(
                keccak256("jove.statement.v1"),
                uint256(CHAIN_ID),
                address(rollup),
                p.start,
                p.payout,
                keccak256(outputs),
                keccak256(openings)
            )
        );
    }

    function only(Rollup.Proof memory p) internal pure returns (Rollup.Proof[] memory list) {
        list = new Rollup.Proof[](1);
        list[0] = p;
    }

    function tee(Prover memory prover, uint64 index, uint8 variant) internal {
        rollup.prove(only(proofOf(ProofSystem.Tee, prover, index, variant)));
    }

    function zk(uint64 index, uint8 variant) internal {
        rollup.prove(only(proofOf(ProofSystem.Zk, noProver(), index, variant)));
    }

    function noProver() internal pure returns (Prover memory prover) {}

    /// @dev Commits a batch and makes it final.
    function commitFinal() internal returns (uint64 index) {
        index = commit();
        tee(intel1, index, 0);
        zk(index, 0);
        vm.assertEq(rollup.finalIndex(), index, "not final");
    }

    function assertFinal(uint64 index) internal view {
        vm.assertEq(rollup.finalIndex(), index, "final index");
    }

    /// @dev Whether `finalize` takes the next batch with these roots.
    function settles(uint64 index, uint8 variant) internal returns (bool) {
        try rollup.finalize(one(roots(index, variant))) {
            return true;
        } catch (bytes memory reason) {
            vm.assertEq(reason, abi.encodeWithSelector(Rollup.NotSettled.selector, index));
            return false;
        }
    }

    // --- messages ---

    /// @dev A forced message of `from`: nothing but its gas.
    function force(address from) internal returns (uint64) {
        vm.deal(from, from.balance + 1 ether);
        uint256 fee = inbox.quote(21_000);
        vm.prank(from, from);
        return inbox.send{value: fee}(bob, false, 0, 0, 21_000, "");
    }
}
