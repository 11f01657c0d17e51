// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Blockhash} from "@openzeppelin/contracts/utils/Blockhash.sol";
import {Governed} from "../Governed.sol";
import {Prover} from "../IProofVerifier.sol";
import {AttestationErrors} from "./AttestationErrors.sol";
import {Attested, DcapVerifier} from "./DcapVerifier.sol";
import {Pccs, Standing} from "./Pccs.sol";
import {Status, Tcb} from "./Tcb.sol";

/// @notice What is believed besides genuineness. Zeros believe nothing.
struct Policy {
    /// The statuses that are allowed, a bit each. `Revoked` cannot be.
    uint8 statuses;
    /// Least evaluation of TCB info and QE identity.
    uint32 minEvaluation;
    /// Most seconds since TCB info, QE identity and revocation lists were issued, also where they are valid for longer.
    uint32 maxAge;
    /// For how many seconds a key is registered.
    uint32 lifetime;
}

/// @title The keys of enclaves that may sign proofs.
/// @notice An enclave makes a key that never leaves it, and has the machine quote it. Anyone brings the quote here, once a key: if it is
/// genuine (`DcapVerifier`), fresh, and allowed by lists and policy, the key may sign proofs (`TeeVerifier`) until it expires.
///
/// The enclave says, as report data, keccak256(abi.encode(chain id, this registry, key, payout, L1 block number, that block's hash)) ‖ 0³².
/// So a quote is for one key, one payout address and one registry, and is younger than the block.
///
/// What was registered counts only while its measurement, its signer and its status are still allowed and its certificate is not revoked:
/// each proof asks again. Once newer collateral condemns the machine, anyone can end the key with `invalidate`. An ended key never comes
/// back.
///
/// There is no switch that turns a check off. Lists and policy change by the timelock alone; machines and vendors are barred in `Proofs`.
contract AttestationRegistry is AttestationErrors {
    /// @notice The vendor of all machines here, Intel, in `Prover`.
    uint8 public constant VENDOR = 0;
    /// @notice Attributes that no enclave here may have: DEBUG, PROVISION_KEY, EINITTOKEN_KEY.
    uint64 public constant FORBIDDEN = 0x2 | 0x10 | 0x20;
    /// @notice How many L1 blocks old the named block may be: three hours.
    uint64 public constant RECENT = 900;
    /// @notice The longest that a policy lets a key live, in seconds.
    uint32 public constant MAX_LIFETIME = 180 days;

    /// @notice What tells whether quotes are genuine.
    DcapVerifier public immutable dcap;
    /// @notice The collateral.
    Pccs public immutable pccs;
    /// @notice Who sets lists and policy.
    address public immutable timelock;

    /// @notice A registered key, in five words: what later invalidation needs.
    struct Enclave {
        bytes32 measurement;
        /// keccak256 of the machine's PPID.
        bytes32 platform;
        /// keccak256 of the quote, which is in the event.
        bytes32 quoteHash;
        /// The machine's versions: see `Tcb`.
        bytes6 fmspc;
        bytes2 pceId;
        bytes16 cpuSvn;
        uint16 pceSvn;
        uint16 qeSvn;
        /// The number of MRSIGNER in the list.
        uint32 signer;
        /// The PCK certificate, by issuer's number and serial number: `Pccs.pckId`.
        uint192 pck;
        /// Unix seconds.
        uint48 expires;
        /// The status when it was registered.
        Status status;
        /// It was ended by newer collateral.
        bool invalid;
    }

    /// @notice What is believed.
    Policy public policy;
    /// @notice Whether enclaves with this MRENCLAVE are allowed.
    mapping(bytes32 measurement => bool) public isMeasurementAllowed;
    /// @notice The number of each MRSIGNER that ever was on the list, from 1.
    mapping(bytes32 signer => uint32) public signerNumber;
    /// @notice How many signers ever were on the list.
    uint32 public signerCount;
    mapping(uint32 number => bytes32 signer) private _signers;
    /// @notice Whether enclaves with this MRSIGNER are allowed.
    mapping(bytes32 signer => bool) public isSignerAllowed;
    mapping(address key => Enclave) private _enclaves;

    /// @notice A key may sign proofs.
    event Registered(
        address indexed key,
        address indexed payout,
        bytes32 indexed platform,
        bytes32 measurement,
        bytes32 signer,
        Status status,
        uint48 expires,
        bytes quote
    );
    /// @notice A key may sign no proofs any more.
    event Invalidated(address indexed key);
    /// @notice A measurement was put on the list, or taken off.
    event MeasurementSet(bytes32 indexed measurement, bool allowed);
    /// @notice A signer was put on the list, or taken off.
    event SignerSet(bytes32 indexed signer, bool allowed);
    /// @notice There is another policy.
    event PolicySet(Policy policy);

    /// @notice The policy allows revoked machines, or keys that live for too long.
    error InvalidPolicy();
    /// @notice The key is the zero address.
    error InvalidKey();
    /// @notice The key was registered before.
    error AlreadyRegistered(address key);
    /// @notice The L1 block is too old, or not there yet.
    error BlockNotRecent(uint64 number);
    /// @notice The enclave said something else: another key, payout, registry, chain or block.
    error WrongReportData();
    /// @notice The key was never registered.
    error UnknownKey(address key);
    /// @notice The key's time is over.
    error KeyExpired(address key);
    /// @notice The key was ended by newer collateral.
    error KeyInvalidated(address key);
    /// @notice No collateral condemns the key's machine.
    error StillValid(address key);

    /// @param measurements The first list of MRENCLAVE.
    /// @param signers The first list of MRSIGNER.
    constructor(
        address timelock_,
        DcapVerifier dcap_,
        Policy memory policy_,
        bytes32[] memory measurements,
        bytes32[] memory signers
    ) {
        timelock = timelock_;
        dcap = dcap_;
        pccs = dcap_.pccs();
        _setPolicy(policy_);
        for (uint256 i; i < measurements.length; ++i) {
            _setMeasurement(measurements[i], true);
        }
        for (uint256 i; i < signers.length; ++i) {
            _setSigner(signers[i], true);
        }
    }

    modifier onlyTimelock() {
        if (msg.sender != timelock) revert Governed.NotTimelock();
        _;
    }

    /// @notice Puts a measurement on the list, or takes it off, with all keys of such enclaves. The timelock alone.
    function setMeasurement(bytes32 measurement, bool allowed) external onlyTimelock {
        _setMeasurement(measurement, allowed);
    }

    /// @notice Puts a signer on the list, or takes it off, with all keys of its enclaves. The timelock alone.
    function setSigner(bytes32 signer, bool allowed) external onlyTimelock {
        _setSigner(signer, allowed);
    }

    /// @notice Sets the policy. The timelock alone. Keys whose status it no longer allows count no more; their times stay.
    function setPolicy(Policy calldata policy_) external onlyTimelock {
        _setPolicy(policy_);
    }

    /// @notice Registers an enclave's key.
    /// @param quote The quote, with the report data that the enclave said.
    /// @param key The key, as an address.
    /// @param payout Who is paid for its proofs.
    /// @param blockNumber A block of L1, at most `RECENT` blocks old.
    function register(bytes calldata quote, address key, address payout, uint64 blockNumber) external {
        if (key == address(0)) revert InvalidKey();
        if (_enclaves[key].expires != 0) revert AlreadyRegistered(key);
        if (blockNumber >= block.number || block.number - blockNumber > RECENT) revert BlockNotRecent(blockNumber);
        bytes32 blockHash = Blockhash.blockHash(blockNumber);
        if (blockHash == 0) revert BlockNotRecent(blockNumber);
        Attested memory attested = dcap.verify(quote);
        _allow(attested);
        bytes32 said = keccak256(abi.encode(block.chainid, address(this), key, payout, blockNumber, blockHash));
        if (attested.reportData != said || attested.reportDataRest != 0) revert WrongReportData();
        uint48 expires = _keep(key, attested);
        // Apart, for the compiler's stack.
        _emitRegistered(key, payout, attested, expires, quote);
    }

    /// @notice Ends a key whose machine the newest collateral condemns: its certificate, or its issuer's, was revoked, or it reaches no
    /// status that the policy allows. Reverts if that is not so. What a signer said that was revoked since condemns nobody.
    function invalidate(address key) external {
        Enclave storage enclave = _enclaves[key];
        if (enclave.expires == 0) revert UnknownKey(key);
        if (enclave.invalid) revert KeyInvalidated(key);
        if (!pccs.isRevoked(enclave.pck)) {
            Standing memory standing =
                pccs.standingOf(Tcb(enclave.fmspc, enclave.pceId, enclave.cpuSvn, enclave.pceSvn, enclave.qeSvn));
            bool condemned = !standing.machine || !standing.qe || !_isAllowed(standing.status);
            if (!condemned || standing.signerRevoked) revert StillValid(key);
        }
        enclave.invalid = true;
        emit Invalidated(key);
    }

    /// @notice Whose key this is, for a proof that it signed. Reverts unless it counts now.
    function proverOf(address key) external view returns (Prover memory) {
        Enclave storage enclave = _enclaves[key];
        if (enclave.expires == 0) revert UnknownKey(key);
        if (enclave.invalid) revert KeyInvalidated(key);
        if (enclave.expires <= block.timestamp) revert KeyExpired(key);
        if (!_isAllowed(enclave.status)) revert TcbStatus(enclave.status);
        if (!isMeasurementAllowed[enclave.measurement]) revert MeasurementNotAllowed(enclave.measurement);
        bytes32 signer = _signers[enclave.signer];
        if (!isSignerAllowed[signer]) revert SignerNotAllowed(signer);
        if (pccs.isRevoked(enclave.pck)) revert PckRevoked();
        return Prover(key, enclave.platform, VENDOR);
    }

    /// @notice A registered key; all zero if it never was.
    function enclaveOf(address key) external view returns (Enclave memory) {
        return _enclaves[key];
    }

    /// @notice Whether anyone can make quotes, since the root is one for development.
    function isTest() external view returns (bool) {
        return pccs.isTest();
    }

    /// @dev Reverts unless lists and policy allow a genuine quote.
    function _allow(Attested memory attested) private view {
        Policy memory p = policy;
        if (!_isAllowed(attested.status)) revert TcbStatus(attested.status);
        uint64 forbidden = attested.attributes & FORBIDDEN;
        if (forbidden != 0) revert AttributesForbidden(forbidden);
        if (!isMeasurementAllowed[attested.measurement]) revert MeasurementNotAllowed(attested.measurement);
        if (!isSignerAllowed[attested.signer]) revert SignerNotAllowed(attested.signer);
        if (attested.evaluation < p.minEvaluation) revert EvaluationTooOld(attested.evaluation);
        uint256 age = block.timestamp - attested.issued;
        if (age > p.maxAge) revert CollateralStale(age);
    }

    function _keep(address key, Attested memory attested) private returns (uint48 expires) {
        Enclave storage enclave = _enclaves[key];
        enclave.measurement = attested.measurement;
        enclave.platform = attested.platform;
        enclave.quoteHash = attested.quoteHash;
        enclave.fmspc = attested.tcb.fmspc;
        enclave.pceId = attested.tcb.pceId;
        enclave.cpuSvn = attested.tcb.cpuSvn;
        enclave.pceSvn = attested.tcb.pceSvn;
        enclave.qeSvn = attested.tcb.qeSvn;
        enclave.signer = signerNumber[attested.signer];
        enclave.pck = attested.pck;
        expires = uint48(block.timestamp) + policy.lifetime;
        enclave.expires = expires;
        enclave.status = attested.status;
    }

    function _emitRegistered(
        address key,
        address payout,
        Attested memory attested,
        uint48 expires,
        bytes calldata quote
    ) private {
        emit Registered(
            key, payout, attested.platform, attested.measurement, attested.signer, attested.status, expires, quote
        );
    }

    function _isAllowed(Status status) private view returns (bool) {
        return (policy.statuses >> uint8(status)) & 1 != 0;
    }

    function _setPolicy(Policy memory policy_) private {
        bool revoked = (policy_.statuses >> uint8(Status.Revoked)) != 0;
        if (revoked || policy_.lifetime > MAX_LIFETIME) revert InvalidPolicy();
        policy = policy_;
        emit PolicySet(policy_);
    }

    function _setMeasurement(bytes32 measurement, bool allowed) private {
        isMeasurementAllowed[measurement] = allowed;
        emit MeasurementSet(measurement, allowed);
    }

    function _setSigner(bytes32 signer, bool allowed) private {
        if (signerNumber[signer] == 0) {
            signerNumber[signer] = ++signerCount;
            _signers[signerCount] = signer;
        }
        isSignerAllowed[signer] = allowed;
        emit SignerSet(signer, allowed);
    }
}
