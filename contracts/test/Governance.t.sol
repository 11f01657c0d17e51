// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {Governed, Placeholder} from "../src/l1/Governed.sol";
import {Inbox} from "../src/l1/Inbox.sol";
import {IProofVerifier, Prover} from "../src/l1/IProofVerifier.sol";
import {Pause} from "../src/l1/Pause.sol";
import {Proofs, ProofSystem} from "../src/l1/Proofs.sol";
import {Proxy} from "../src/l1/Proxy.sol";
import {Rollup, Settings, Parts} from "../src/l1/Rollup.sol";
import {SequencerAuthority} from "../src/l1/SequencerAuthority.sol";
import {Timelock} from "../src/l1/Timelock.sol";
import {Phase} from "../src/l1/IRollup.sol";
import {TestVerifier} from "../src/l1/testing/TestVerifier.sol";
import {Chain} from "./utils/Chain.sol";

/// @notice Says that it is a real verifier.
contract RealVerifier is IProofVerifier {
    function verify(bytes32, bytes calldata) external pure returns (Prover memory prover) {}

    function isTest() external pure returns (bool) {
        return false;
    }
}

/// @notice Deployment step by step, upgrades, the timelock and the pause.
contract GovernanceTest is Chain {
    // --- deployment ---

    /// @dev A second chain, of which only the first step is done.
    function fresh() internal {
        deployParts();
    }

    function implementationOf(address proxy) internal view returns (address) {
        return address(uint160(uint256(vm.load(proxy, ERC1967Utils.IMPLEMENTATION_SLOT))));
    }

    function test_stepsCanBeSeen() public {
        fresh();
        address placeholder = implementationOf(address(rollup));
        vm.assertEq(implementationOf(address(inbox)), placeholder);
        vm.assertEq(Placeholder(address(rollup)).deployer(), address(this));
        putInPlace();
        vm.assertTrue(implementationOf(address(inbox)) != placeholder);
        vm.assertEq(address(inbox.rollup()), address(rollup));
        vm.assertEq(implementationOf(address(rollup)), placeholder);
        open();
        vm.assertEq(uint256(rollup.phase()), uint256(Phase.Open));
        vm.assertEq(address(bridge).balance, SUPPLY);
        vm.assertEq(rollup.genesisSupply(), SUPPLY);
        vm.assertEq(rollup.finalOutput(), genesisOutput);
        vm.assertEq(rollup.batchAt(0).batchHash, hashOf(0));
    }

    function test_onlyTheDeployerPutsInPlace() public {
        fresh();
        putInPlace();
        address implementation = rollupImplementation();
        vm.startPrank(alice);
        vm.expectRevert(Placeholder.NotDeployer.selector);
        Placeholder(address(rollup)).upgradeToAndCall(implementation, "");
        vm.expectRevert(Placeholder.AlreadyClaimed.selector);
        Placeholder(address(rollup)).claim(alice);
        vm.stopPrank();
        // In place but not yet initialized, by a deployer that stopped between: still nobody else can.
        place(address(rollup), implementation, "");
        Rollup.Genesis memory g = genesis();
        vm.deal(alice, SUPPLY);
        vm.prank(alice);
        vm.expectRevert(Rollup.NotDeployer.selector);
        rollup.initialize{value: SUPPLY}(g);
        vm.deal(address(this), SUPPLY);
        rollup.initialize{value: SUPPLY}(g);
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        rollup.initialize(g);
    }

    function test_proofsInitializedByTheDeployerOnce() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        proofs.initialize(teeVerifier, zkVerifier);
        fresh();
        place(address(proofs), address(new Proofs(address(timelock), rollup, council, false, WEEK)), "");
        vm.prank(alice);
        vm.expectRevert(Proofs.NotDeployer.selector);
        proofs.initialize(teeVerifier, zkVerifier);
    }

    function test_implementationsCannotBeInitialized() public {
        Rollup implementation = Rollup(rollupImplementation());
        Rollup.Genesis memory g = genesis();
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        implementation.initialize(g);
        Proofs other = new Proofs(address(timelock), rollup, council, false, WEEK);
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        other.initialize(teeVerifier, zkVerifier);
    }

    function refusesGenesis(Rollup.Genesis memory g, uint256 value, bytes memory reason) internal {
        vm.deal(address(this), value);
        vm.expectRevert(reason);
        rollup.initialize{value: value}(g);
    }

    function test_genesisMustBeCoveredAndWhole() public {
        fresh();
        putInPlace();
        place(address(rollup), rollupImplementation(), "");
        Rollup.Genesis memory g = genesis();
        refusesGenesis(g, SUPPLY - 1, abi.encodeWithSelector(Rollup.GenesisNotCovered.selector, SUPPLY, SUPPLY - 1));
        refusesGenesis(g, SUPPLY + 1, abi.encodeWithSelector(Rollup.GenesisNotCovered.selector, SUPPLY, SUPPLY + 1));
        g.blockHash = 0;
        refusesGenesis(g, SUPPLY, abi.encodePacked(Rollup.InvalidGenesis.selector));
        g = genesis();
        g.stateRoot = 0;
        refusesGenesis(g, SUPPLY, abi.encodePacked(Rollup.InvalidGenesis.selector));
        g = genesis();
        g.outboxRoot = 0;
        refusesGenesis(g, SUPPLY, abi.encodePacked(Rollup.InvalidGenesis.selector));
    }

    function test_authorityMustBeThere() public {
        fresh();
        putInPlace();
        authority = SequencerAuthority(alice);
        place(address(rollup), rollupImplementation(), "");
        refusesGenesis(genesis(), SUPPLY, abi.encodeWithSelector(Rollup.PartMissing.selector, alice));
    }

    function test_partsMustBeInPlace() public {
        fresh();
        address implementation = rollupImplementation0();
        place(address(rollup), implementation, "");
        vm.deal(address(this), SUPPLY);
        Rollup.Genesis memory g = genesis();
        vm.expectRevert(); // the inbox is a placeholder
        rollup.initialize{value: SUPPLY}(g);
        // All in place, but without verifiers.
        place(
            address(inbox),
            address(new Inbox(address(timelock), rollup, bridge, pause, GAS_TARGET, PRICE_FLOOR, feeRecipient)),
            ""
        );
        vm.expectRevert();
        rollup.initialize{value: SUPPLY}(g);
    }

    /// @dev The rollup's constructor asks the proofs for their delay.
    function rollupImplementation0() internal returns (address) {
        place(address(proofs), address(new Proofs(address(timelock), rollup, council, false, WEEK)), "");
        return rollupImplementation();
    }

    function test_anotherChainsPartsRefused() public {
        Inbox other = inbox;
        fresh();
        putInPlace();
        inbox = other; // of the chain before
        place(address(rollup), rollupImplementation(), "");
        Rollup.Genesis memory g = genesis();
        refusesGenesis(g, SUPPLY, abi.encodeWithSelector(Rollup.PartMissing.selector, address(other)));
    }

    function test_messagesWaitForTheOpening() public {
        fresh();
        putInPlace();
        vm.deal(alice, 1 ether);
        vm.prank(alice, alice);
        vm.expectRevert();
        inbox.depositETH{value: 1 ether}(bob, 21_000);
        place(address(rollup), rollupImplementation(), "");
        vm.prank(alice, alice);
        vm.expectRevert(Inbox.ChainNotOpen.selector);
        inbox.depositETH{value: 1 ether}(bob, 21_000);
    }

    // --- production ---

    function test_productionRefusesTestVerifiers() public {
        fresh();
        Proofs implementation = new Proofs(address(timelock), rollup, council, true, WEEK);
        RealVerifier real = new RealVerifier();
        bytes memory init = abi.encodeCall(Proofs.initialize, (IProofVerifier(real), IProofVerifier(zkVerifier)));
        vm.expectRevert(abi.encodeWithSelector(Proofs.VerifierRefused.selector, zkVerifier));
        Placeholder(address(proofs)).upgradeToAndCall(address(implementation), init);
        init = abi.encodeCall(Proofs.initialize, (IProofVerifier(real), IProofVerifier(real)));
        place(address(proofs), address(implementation), init);
        vm.prank(address(timelock));
        vm.expectRevert(abi.encodeWithSelector(Proofs.VerifierRefused.selector, teeVerifier));
        proofs.setVerifier(ProofSystem.Tee, teeVerifier);
        vm.prank(address(timelock));
        proofs.setVerifier(ProofSystem.Tee, real);
    }

    function test_noVerifierWithoutCode() public {
        vm.prank(address(timelock));
        vm.expectRevert(abi.encodeWithSelector(Proofs.VerifierRefused.selector, alice));
        proofs.setVerifier(ProofSystem.Tee, IProofVerifier(alice));
    }

    function parts() internal view returns (Parts memory) {
        return Parts(
            address(timelock), proofs, authority, inbox, bridge, address(outbox), address(escapeHatch), pause, origins
        );
    }

    function test_productionDelays() public {
        Settings memory good = Settings(CHAIN_ID, true, T1, T2, DROP, Z, LAG, keccak256("config"));
        Proofs production = new Proofs(address(timelock), rollup, council, true, WEEK);
        Proofs development = proofs;
        proofs = production;
        new Rollup(good, parts());
        for (uint256 field; field < 10; ++field) {
            Settings memory s = Settings(CHAIN_ID, true, T1, T2, DROP, Z, LAG, keccak256("config"));
            Parts memory p = parts();
            if (field == 0) s.silenceDelay = 59 minutes;
            if (field == 1) s.silenceDelay = 8 days;
            if (field == 2) s.messageDelay = 23 hours;
            if (field == 3) s.messageDelay = 15 days;
            if (field == 4) s.dropDelay = 23 hours;
            if (field == 5) s.escapeDelay = 20 days;
            if (field == 6) s.escapeDelay = 22 days; // the timelock is not longer by nine days
            if (field == 7) s.originLag = 7201;
            if (field == 8) p.proofs = development;
            if (field == 9) p.proofs = new Proofs(address(timelock), rollup, council, true, 6 days);
            vm.expectRevert(Rollup.InvalidSetting.selector);
            new Rollup(s, p);
        }
    }

    function test_delaysMakeSenseAnywhere() public {
        Settings memory s = settings();
        s.escapeDelay = 2 * WEEK; // a contradicted proof may take as long
        vm.expectRevert(Rollup.InvalidSetting.selector);
        new Rollup(s, parts());
        s = settings();
        s.chainId = 0;
        vm.expectRevert(Rollup.InvalidSetting.selector);
        new Rollup(s, parts());
        s = settings();
        s.dropDelay = 0;
        vm.expectRevert(Rollup.InvalidSetting.selector);
        new Rollup(s, parts());
    }

    // --- upgrades ---

    function test_upgradeThroughTheTimelock() public {
        address implementation = rollupImplementation();
        bytes memory data = abi.encodeCall(rollup.upgradeToAndCall, (implementation, ""));
        vm.prank(alice);
        vm.expectRevert();
        timelock.schedule(address(rollup), 0, data, 0, 0, 30 days);
        vm.startPrank(governor);
        vm.expectRevert();
        timelock.schedule(address(rollup), 0, data, 0, 0, 30 days - 1);
        timelock.schedule(address(rollup), 0, data, 0, 0, 30 days);
        vm.expectRevert(Governed.NotTimelock.selector);
        rollup.upgradeToAndCall(implementation, "");
        vm.stopPrank();
        pass(30 days - 1);
        vm.expectRevert();
        timelock.execute(address(rollup), 0, data, 0, 0);
        pass(1);
        timelock.execute(address(rollup), 0, data, 0, 0); // anyone
        vm.assertEq(implementationOf(address(rollup)), implementation);
        vm.assertEq(rollup.finalOutput(), genesisOutput);
    }

    function test_deployerHasNoPowerAfterwards() public {
        address implementation = rollupImplementation();
        address[6] memory proxies =
            [address(rollup), address(proofs), address(inbox), address(bridge), address(outbox), address(escapeHatch)];
        for (uint256 i; i < 6; ++i) {
            vm.expectRevert(Governed.NotTimelock.selector);
            Placeholder(proxies[i]).upgradeToAndCall(implementation, "");
        }
    }

    function test_timelockCannotShortenItself() public {
        bytes memory data = abi.encodeCall(timelock.updateDelay, (30 days - 1));
        vm.prank(governor);
        timelock.schedule(address(timelock), 0, data, 0, 0, 30 days);
        pass(30 days);
        vm.expectRevert(abi.encodeWithSelector(Timelock.DelayBelowFloor.selector, 30 days - 1, 30 days));
        timelock.execute(address(timelock), 0, data, 0, 0);
        data = abi.encodeCall(timelock.updateDelay, (31 days));
        vm.prank(governor);
        timelock.schedule(address(timelock), 0, data, 0, 0, 30 days);
        pass(30 days);
        timelock.execute(address(timelock), 0, data, 0, 0);
        vm.assertEq(timelock.getMinDelay(), 31 days);
    }

    function test_forkThroughTheTimelock() public {
        commit();
        Settings memory s = settings();
        s.configHash = keccak256("fork");
        address implementation = address(new Rollup(s, parts()));
        vm.prank(address(timelock));
        rollup.upgradeToAndCall(implementation, "");
        commit();
        vm.assertEq(made[1].configHash, keccak256("config"));
        vm.assertEq(made[2].configHash, keccak256("fork"));
    }

    // --- the pause ---

    function test_pauseBoundedWithCooldown() public {
        vm.startPrank(council);
        vm.expectRevert(abi.encodeWithSelector(Pause.InvalidDuration.selector, 0));
        pause.pause(0);
        vm.expectRevert(abi.encodeWithSelector(Pause.InvalidDuration.selector, 7 days + 1));
        pause.pause(7 days + 1);
        vm.expectRevert(Pause.NotPaused.selector);
        pause.unpause();
        pause.pause(7 days);
        uint256 end = vm.getBlockTimestamp() + 7 days;
        vm.assertTrue(pause.paused());
        vm.expectRevert(abi.encodeWithSelector(Pause.Cooldown.selector, end + 30 days));
        pause.pause(1);
        pass(7 days);
        vm.assertFalse(pause.paused()); // by itself
        pass(30 days - 1);
        vm.expectRevert(abi.encodeWithSelector(Pause.Cooldown.selector, end + 30 days));
        pause.pause(1);
        pass(1);
        pause.pause(1 days);
        pass(1 hours);
        pause.unpause();
        vm.assertFalse(pause.paused());
        uint256 next = vm.getBlockTimestamp() + 30 days;
        vm.expectRevert(abi.encodeWithSelector(Pause.Cooldown.selector, next));
        pause.pause(1);
        vm.stopPrank();
        vm.expectRevert(Pause.NotCouncil.selector);
        pause.pause(1);
        vm.expectRevert(Pause.NotCouncil.selector);
        pause.unpause();
    }

    function test_pausesAloneNeverStartTheEscape() public view {
        vm.assertLe(pause.LONGEST() + 7 days, Z, "");
        vm.assertGe(pause.COOLDOWN(), Z, "");
    }
}
