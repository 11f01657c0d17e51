// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {Deployer, Governed} from "./Governed.sol";
import {IProofVerifier, Prover} from "./IProofVerifier.sol";
import {IRollup, Phase} from "./IRollup.sol";

/// @notice The two proof systems.
enum ProofSystem {
    /// Trusted execution environments.
    Tee,
    /// Zero knowledge.
    Zk
}

/// @notice A proof, as the rollup hands it on: it has computed all of this from the claims.
struct Submission {
    ProofSystem system;
    bytes32 statement;
    bytes proof;
    /// The index of the first batch, for events.
    uint64 first;
    /// The output before the first batch.
    bytes32 start;
    bytes32[] batchHashes;
    bytes32[] outputs;
}

/// @notice What a proof came to.
struct Verdict {
    /// Who made it.
    Prover prover;
    /// Whether it says something that was not proven before.
    bool news;
    /// How many of its outputs, from the first on, are evidence now; a contradiction ends it.
    uint256 standing;
    /// A bit for those that had evidence before, as far as that was looked up: the rollup has then kept what they are outputs of.
    uint256 known;
    /// A bit for each of those that is final by what was proven, if the output before it is.
    uint256 settled;
    /// The highest batch with a contradiction, 0 if there is none.
    uint64 conflict;
}

/// @title What was proven, who contradicted whom, and what is final by that.
/// @notice A *node* is a batch after one output of its predecessor: (batch hash, previous output). From there a batch has exactly one true
/// output, so two outputs proven at one node mean that somebody is wrong:
///
/// - Two by zero knowledge, or two by live keys of two machines while there is no zero-knowledge proof: that system is *broken*. It takes no
///   proofs, all that it proved so far counts no more, and the council may replace its verifier at once.
/// - Two by one machine: the machine is barred.
/// - One by zero knowledge, another by an enclave: the enclave's key and machine are barred, and after three such cases its vendor. Contradicted
///   by machines of two vendors, the zero-knowledge output waits for the council's ruling.
///
/// Evidence is *live* while its system's generation (counted by replaced verifiers) is the present one, the system is not disabled, and
/// neither machine nor vendor is barred. Bars and strikes that rest on a zero-knowledge verifier are void once that is broken or ruled against.
contract Proofs is Governed, Initializable {
    /// @notice Contradictions of zero knowledge by a vendor's machines, after which none of its machines counts.
    uint8 public constant STRIKES = 3;
    /// @notice Vendors are numbered below this.
    uint8 public constant VENDORS = 16;
    uint32 private constant PERMANENT = type(uint32).max;

    /// @notice The rollup, which alone submits proofs.
    IRollup public immutable rollup;
    /// @notice The security council.
    address public immutable council;
    /// @notice Whether test verifiers and short delays are refused.
    bool public immutable production;
    /// @notice How long one system's proof stays open to contradiction, in seconds.
    uint48 public immutable singleProofDelay;

    struct System {
        IProofVerifier verifier;
        /// Counts the verifiers so far.
        uint32 generation;
        /// It contradicted itself; the council may replace its verifier at once.
        bool broken;
        /// It takes no proofs, and its proofs do not count.
        bool disabled;
    }

    /// @notice An enclave's proof.
    struct Evidence {
        bytes32 output;
        bytes32 platform;
        address key;
        uint48 provenAt;
        uint32 generation;
        uint8 vendor;
    }

    struct Node {
        /// The first zero-knowledge proof.
        bytes32 zkOutput;
        uint48 zkAt;
        uint32 zkGeneration;
        /// When an enclave first contradicted it; 0 if none did.
        uint48 conflictAt;
        /// The vendors of such enclaves, a bit each.
        uint16 contradictors;
        /// The council upheld it against two vendors.
        bool upheld;
        /// Grows only by one entry for each vendor, and for each machine that is barred.
        Evidence[] tee;
    }

    /// @dev A node as it is kept: what most proofs ask is one slot.
    struct Kept {
        /// 0 if there is no zero-knowledge proof.
        uint48 zkAt;
        uint32 zkGeneration;
        uint48 conflictAt;
        uint16 contradictors;
        bool upheld;
        /// The entries of `tee`.
        uint32 count;
        /// The entry that had the zero-knowledge output when that was proven, from 1 on; 0 if none did. An entry never changes.
        uint32 same;
        /// The zero-knowledge output where no entry had it.
        bytes32 zkOutput;
        mapping(uint256 => Evidence) tee;
    }

    /// @dev A system as it is kept.
    struct KeptSystem {
        IProofVerifier verifier;
        uint32 generation;
        bool broken;
        bool disabled;
        /// Somebody was barred once, under whatever verifier; of the enclaves' system alone. As long as nobody was, nobody is looked up.
        bool bars;
    }

    struct Strikes {
        uint8 count;
        /// The zero-knowledge generation that they rest on.
        uint32 zkGeneration;
    }

    /// @notice When the council last replaced a broken verifier.
    uint48 public replacedAt;
    mapping(ProofSystem => KeptSystem) private _systems;
    mapping(bytes32 node => Kept) private _nodes;
    /// @dev The zero-knowledge generation that the bar rests on, plus one.
    mapping(address key => uint32) private _barredKeys;
    mapping(bytes32 platform => uint32) private _barredPlatforms;
    mapping(uint32 teeGeneration => mapping(uint8 vendor => Strikes)) private _strikes;
    /// @dev When the generation was broken or ruled against; 0 if it was not.
    mapping(uint32 zkGeneration => uint48) private _discreditedAt;

    /// @notice An enclave was contradicted, by zero knowledge or by itself: its key and machine count no more.
    event Barred(address indexed key, bytes32 indexed platform, uint8 indexed vendor, uint64 index, bytes32 output);
    /// @notice A vendor's machines count no more.
    event VendorBarred(uint8 indexed vendor);
    /// @notice A system takes no proofs any more.
    /// @param index The batch where it contradicted itself; 0 after a ruling.
    /// @param broken Whether because it contradicted itself; else by the council's ruling.
    event SystemDisabled(ProofSystem indexed system, uint64 index, bool broken);
    /// @notice A system has a new verifier; what the previous one accepted counts no more, except where it is final.
    event VerifierSet(ProofSystem indexed system, IProofVerifier verifier, uint32 generation);
    /// @notice The council ruled on a zero-knowledge output that two vendors contradict.
    event Ruled(bytes32 indexed batchHash, bytes32 indexed previous, bool upheld);

    /// @notice The caller is not the deployer.
    error NotDeployer();
    /// @notice The caller is not the rollup.
    error NotRollup();
    /// @notice The caller is not the council.
    error NotCouncil();
    /// @notice The system takes no proofs.
    error SystemIsDisabled(ProofSystem system);
    /// @notice The council acts only where a system contradicted itself.
    error SystemNotBroken(ProofSystem system);
    /// @notice A production chain takes no test verifier, and no chain takes an address without code.
    error VerifierRefused(IProofVerifier verifier);
    /// @notice The enclave's key, machine or vendor is barred.
    error ProverBarred(address key, bytes32 platform, uint8 vendor);
    /// @notice The enclave's identity is not complete, or its vendor's number too high.
    error InvalidProver();
    /// @notice There is no zero-knowledge output here that two vendors contradict.
    error NothingToRule();

    constructor(address timelock_, IRollup rollup_, address council_, bool production_, uint48 singleProofDelay_)
        Governed(timelock_)
    {
        rollup = rollup_;
        council = council_;
        production = production_;
        singleProofDelay = singleProofDelay_;
        _disableInitializers();
    }

    modifier onlyCouncil() {
        if (msg.sender != council) revert NotCouncil();
        _;
    }

    /// @notice Sets the first verifiers. The deployer alone, once.
    function initialize(IProofVerifier tee, IProofVerifier zk) external initializer {
        if (msg.sender != Deployer.get()) revert NotDeployer();
        _setVerifier(ProofSystem.Tee, tee);
        _setVerifier(ProofSystem.Zk, zk);
    }

    /// @notice Verifies a proof of consecutive batches and takes its outputs into their nodes. The rollup alone. Reverts if the proof is
    /// not valid, or its maker is not heard.
    function record(Submission calldata submission) external returns (Verdict memory verdict) {
        if (msg.sender != address(rollup)) revert NotRollup();
        verdict.prover = _verify(submission.system, submission.statement, submission.proof);
        bytes32 previous = submission.start;
        uint256 count = submission.outputs.length;
        for (uint256 i; i < count; ++i) {
            uint64 index = submission.first + uint64(i);
            bytes32 output = submission.outputs[i];
            Kept storage node = _nodes[nodeId(submission.batchHashes[i], previous)];
            Outcome memory outcome = submission.system == ProofSystem.Zk
                ? _acceptZk(node, index, output)
                : _acceptTee(node, index, output, verdict.prover);
            if (outcome.changed) verdict.news = true;
            if (outcome.conflict) verdict.conflict = index;
            if (!outcome.stands) break;
            ++verdict.standing;
            if (outcome.known) verdict.known |= 1 << i;
            previous = output;
        }
        // Now: a contradiction above takes from what counts below.
        previous = submission.start;
        for (uint256 i; i < verdict.standing; ++i) {
            bytes32 output = submission.outputs[i];
            if (_settled(_nodes[nodeId(submission.batchHashes[i], previous)], output)) verdict.settled |= 1 << i;
            previous = output;
        }
    }

    /// @notice Replaces a verifier, which voids what it accepted for batches that are not final. The timelock alone.
    function setVerifier(ProofSystem system, IProofVerifier verifier) external onlyTimelock {
        _setVerifier(system, verifier);
    }

    /// @notice Replaces the verifier of a system that contradicted itself. The council alone, at once.
    function replaceBrokenVerifier(ProofSystem system, IProofVerifier verifier) external onlyCouncil {
        if (!_systems[system].broken) revert SystemNotBroken(system);
        _setVerifier(system, verifier);
        replacedAt = uint48(block.timestamp);
    }

    /// @notice Rules on a zero-knowledge output that enclaves of two vendors contradict. The council alone.
    /// @param batchHash The batch.
    /// @param previous The output of its predecessor.
    /// @param uphold Whether the zero-knowledge output stands, by the usual delay; if not, the system is disabled until the timelock
    /// sets another verifier.
    function rule(bytes32 batchHash, bytes32 previous, bool uphold) external onlyCouncil {
        Kept storage node = _nodes[nodeId(batchHash, previous)];
        if (!_zkLive(node) || !_twoVendors(node.contradictors) || node.upheld) revert NothingToRule();
        emit Ruled(batchHash, previous, uphold);
        if (uphold) {
            node.upheld = true;
        } else {
            KeptSystem storage zk = _systems[ProofSystem.Zk];
            zk.disabled = true;
            _discreditedAt[zk.generation] = uint48(block.timestamp);
            emit SystemDisabled(ProofSystem.Zk, 0, false);
        }
    }

    /// @notice The state of a proof system.
    function systemOf(ProofSystem system) external view returns (System memory) {
        KeptSystem storage state = _systems[system];
        return System(state.verifier, state.generation, state.broken, state.disabled);
    }

    /// @notice What was proven of the batch with this hash after the output `previous`.
    function nodeOf(bytes32 batchHash, bytes32 previous) external view returns (Node memory) {
        Kept storage node = _nodes[nodeId(batchHash, previous)];
        Node memory result;
        result.zkOutput = _zkOutput(node);
        result.zkAt = node.zkAt;
        result.zkGeneration = node.zkGeneration;
        result.conflictAt = node.conflictAt;
        result.contradictors = node.contradictors;
        result.upheld = node.upheld;
        result.tee = new Evidence[](node.count);
        for (uint256 i; i < result.tee.length; ++i) {
            result.tee[i] = node.tee[i];
        }
        return result;
    }

    /// @notice Whether proofs of this enclave count.
    function isBarred(address key, bytes32 platform, uint8 vendor) public view returns (bool) {
        return _systems[ProofSystem.Tee].bars
            && (_inForce(_barredKeys[key]) || _inForce(_barredPlatforms[platform]) || _vendorBarred(vendor));
    }

    /// @notice The key of a node.
    function nodeId(bytes32 batchHash, bytes32 previous) public pure returns (bytes32) {
        return keccak256(abi.encode(batchHash, previous));
    }

    /// @dev Verifies a proof. Reverts if the system or the prover is not to be heard.
    function _verify(ProofSystem system, bytes32 statement, bytes calldata proof)
        private
        view
        returns (Prover memory prover)
    {
        KeptSystem storage state = _systems[system];
        if (state.disabled) revert SystemIsDisabled(system);
        prover = state.verifier.verify(statement, proof);
        if (system == ProofSystem.Tee) {
            if (prover.key == address(0) || prover.platform == 0 || prover.vendor >= VENDORS) revert InvalidProver();
            if (isBarred(prover.key, prover.platform, prover.vendor)) {
                revert ProverBarred(prover.key, prover.platform, prover.vendor);
            }
        }
    }

    /// @dev What an output did at a node.
    struct Outcome {
        /// It changed something.
        bool changed;
        /// It is evidence there, rather than a contradiction.
        bool stands;
        /// As far as it is looked up, it was so before.
        bool known;
        /// It contradicts, or is contradicted.
        bool conflict;
    }

    function _acceptZk(Kept storage node, uint64 index, bytes32 output) private returns (Outcome memory) {
        if (_zkLive(node)) {
            if (_zkOutput(node) == output) return _repeated();
            _break(ProofSystem.Zk, index);
            return _refuted();
        }
        uint256 count = node.count;
        uint256 same;
        while (same < count && node.tee[same].output != output) ++same;
        uint32 generation = _systems[ProofSystem.Zk].generation;
        node.zkAt = uint48(block.timestamp);
        node.zkGeneration = generation;
        node.conflictAt = 0;
        node.contradictors = 0;
        node.upheld = false;
        node.same = same < count ? uint32(same + 1) : 0;
        if (same == count) node.zkOutput = output;
        for (uint256 i; i < count; ++i) {
            if (i == same) continue;
            Evidence storage evidence = node.tee[i];
            if (evidence.output != output && _live(evidence)) {
                _contradicted(node, index, Prover(evidence.key, evidence.platform, evidence.vendor), evidence.output);
            }
        }
        return Outcome({changed: true, stands: true, known: same < count, conflict: node.conflictAt != 0});
    }

    function _acceptTee(Kept storage node, uint64 index, bytes32 output, Prover memory prover)
        private
        returns (Outcome memory)
    {
        if (_zkLive(node) && _zkOutput(node) != output) {
            _contradicted(node, index, prover, output);
            return _refuted();
        }
        uint256 count = node.count;
        bool known = _zkLive(node);
        bool opposed;
        bool repeated;
        for (uint256 i; i < count; ++i) {
            Evidence storage evidence = node.tee[i];
            if (!_live(evidence)) continue;
            if (evidence.output == output) {
                known = true;
                repeated = repeated || evidence.vendor == prover.vendor;
            } else if (evidence.platform == prover.platform) {
                _bar(evidence.key, prover.platform, prover.vendor, index, evidence.output, PERMANENT);
                _bar(prover.key, prover.platform, prover.vendor, index, output, PERMANENT);
                _strike(prover.vendor);
                return _refuted();
            } else {
                opposed = true;
            }
        }
        if (opposed) {
            _break(ProofSystem.Tee, index);
            return _refuted();
        }
        // A second machine of one vendor adds nothing.
        if (repeated) return _repeated();
        node.count = uint32(count + 1);
        node.tee[count] = Evidence({
            output: output,
            platform: prover.platform,
            key: prover.key,
            provenAt: uint48(block.timestamp),
            generation: _systems[ProofSystem.Tee].generation,
            vendor: prover.vendor
        });
        return Outcome({changed: true, stands: true, known: known, conflict: false});
    }

    /// @dev Nothing new.
    function _repeated() private pure returns (Outcome memory) {
        return Outcome({changed: false, stands: true, known: true, conflict: false});
    }

    /// @dev What stands is not this.
    function _refuted() private pure returns (Outcome memory) {
        return Outcome({changed: true, stands: false, known: false, conflict: true});
    }

    /// @notice Whether `output` of the batch with this hash is final by what was proven, if the output `previous` is.
    function isSettled(bytes32 batchHash, bytes32 previous, bytes32 output) external view returns (bool) {
        return _settled(_nodes[nodeId(batchHash, previous)], output);
    }

    /// @notice What counts now for the outputs of consecutive batches, the first of them after the output `start`.
    /// @return tee Of each, how many vendors' machines say it.
    /// @return zk Of each, whether zero knowledge does.
    function evidenceOf(bytes32 start, bytes32[] calldata batchHashes, bytes32[] calldata outputs)
        external
        view
        returns (uint256[] memory tee, bool[] memory zk)
    {
        tee = new uint256[](outputs.length);
        zk = new bool[](outputs.length);
        for (uint256 i; i < outputs.length; ++i) {
            Kept storage node = _nodes[nodeId(batchHashes[i], i == 0 ? start : outputs[i - 1])];
            (tee[i],,) = _teeFor(node, outputs[i]);
            zk[i] = _zkLive(node) && _zkOutput(node) == outputs[i];
        }
    }

    /// @notice Whether any output of that batch is: what `isSettled` says of one of those proven.
    function anySettled(bytes32 batchHash, bytes32 previous) external view returns (bool) {
        Kept storage node = _nodes[nodeId(batchHash, previous)];
        if (node.zkAt != 0 && _settled(node, _zkOutput(node))) return true;
        uint256 count = node.count;
        for (uint256 i; i < count; ++i) {
            if (_settled(node, node.tee[i].output)) return true;
        }
        return false;
    }

    function _settled(Kept storage node, bytes32 output) private view returns (bool) {
        (uint256 vendors, uint256 since, bool opposed) = _teeFor(node, output);
        if (_zkLive(node)) {
            if (_zkOutput(node) != output) return false;
            if (_twoVendors(node.contradictors) && !node.upheld) return false;
            if (vendors > 0) return true;
            uint256 start = node.zkAt > node.conflictAt ? node.zkAt : node.conflictAt;
            return block.timestamp >= start + singleProofDelay;
        }
        // A zero-knowledge proof of another output opposed this one for as long as its system stood.
        if (_zkOutput(node) != output && _discreditedAt[node.zkGeneration] > since) {
            since = _discreditedAt[node.zkGeneration];
        }
        return vendors > 1 && !opposed && block.timestamp >= since + singleProofDelay;
    }

    /// @dev The live enclaves' word on an output.
    /// @return vendors How many vendors' machines agree.
    /// @return since When the second of them did (the first, if there is one alone).
    /// @return opposed Whether a live machine says another output.
    function _teeFor(Kept storage node, bytes32 output)
        private
        view
        returns (uint256 vendors, uint256 since, bool opposed)
    {
        uint256 count = node.count;
        uint256 seen;
        for (uint256 i; i < count; ++i) {
            Evidence storage evidence = node.tee[i];
            if (!_live(evidence)) continue;
            if (evidence.output != output) {
                opposed = true;
            } else if ((seen >> evidence.vendor) & 1 == 0) {
                seen |= 1 << evidence.vendor;
                if (++vendors <= 2) since = evidence.provenAt; // entries are in the order of time
            }
        }
    }

    /// @dev Puts a verifier in place and begins the system's next generation.
    function _setVerifier(ProofSystem system, IProofVerifier verifier) private {
        if (address(verifier).code.length == 0 || (production && verifier.isTest())) revert VerifierRefused(verifier);
        KeptSystem storage state = _systems[system];
        uint32 generation = state.generation + 1;
        state.verifier = verifier;
        state.generation = generation;
        state.broken = false;
        state.disabled = false;
        emit VerifierSet(system, verifier, generation);
    }

    /// @dev Whether the node has a zero-knowledge proof that counts.
    function _zkLive(Kept storage node) private view returns (bool) {
        KeptSystem storage zk = _systems[ProofSystem.Zk];
        return node.zkAt != 0 && node.zkGeneration == zk.generation && !zk.disabled;
    }

    /// @dev What zero knowledge says there; 0 if nothing.
    function _zkOutput(Kept storage node) private view returns (bytes32) {
        uint256 same = node.same;
        return same == 0 ? node.zkOutput : node.tee[same - 1].output;
    }

    function _live(Evidence storage evidence) private view returns (bool) {
        KeptSystem storage tee = _systems[ProofSystem.Tee];
        return evidence.generation == tee.generation && !tee.disabled
            && !(tee.bars && isBarred(evidence.key, evidence.platform, evidence.vendor));
    }

    /// @dev An enclave said another output than the node's zero-knowledge proof.
    function _contradicted(Kept storage node, uint64 index, Prover memory prover, bytes32 output) private {
        if (node.conflictAt == 0) node.conflictAt = uint48(block.timestamp);
        node.contradictors |= uint16(1 << prover.vendor);
        _bar(prover.key, prover.platform, prover.vendor, index, output, node.zkGeneration + 1);
        _strike(prover.vendor);
    }

    function _bar(address key, bytes32 platform, uint8 vendor, uint64 index, bytes32 output, uint32 reason) private {
        _systems[ProofSystem.Tee].bars = true;
        if (_barredKeys[key] != PERMANENT) _barredKeys[key] = reason;
        if (_barredPlatforms[platform] != PERMANENT) _barredPlatforms[platform] = reason;
        emit Barred(key, platform, vendor, index, output);
    }

    function _strike(uint8 vendor) private {
        Strikes storage strikes = _strikes[_systems[ProofSystem.Tee].generation][vendor];
        if (_discreditedAt[strikes.zkGeneration] != 0) strikes.count = 0;
        strikes.zkGeneration = _systems[ProofSystem.Zk].generation;
        if (strikes.count < STRIKES && ++strikes.count == STRIKES) emit VendorBarred(vendor);
    }

    function _break(ProofSystem system, uint64 index) private {
        KeptSystem storage state = _systems[system];
        state.broken = true;
        state.disabled = true;
        if (system == ProofSystem.Zk) _discreditedAt[state.generation] = uint48(block.timestamp);
        emit SystemDisabled(system, index, true);
    }

    function _vendorBarred(uint8 vendor) private view returns (bool) {
        Strikes storage strikes = _strikes[_systems[ProofSystem.Tee].generation][vendor];
        return strikes.count >= STRIKES && _discreditedAt[strikes.zkGeneration] == 0;
    }

    function _inForce(uint32 reason) private view returns (bool) {
        return reason == PERMANENT || (reason != 0 && _discreditedAt[reason - 1] == 0);
    }

    function _twoVendors(uint16 vendors) private pure returns (bool) {
        return vendors & (vendors - (vendors == 0 ? 0 : 1)) != 0;
    }

    function _halted() internal view override returns (bool) {
        return rollup.phase() == Phase.Halted;
    }
}
