// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AttestationErrors} from "./AttestationErrors.sol";
import {Json, QeIdentity, TcbInfo} from "./Json.sol";
import {Secp256r1} from "./Secp256r1.sol";
import {Levels, Status, Tcb} from "./Tcb.sol";
import {Certificate, Crl, X509} from "./X509.sol";

/// @notice What may be issued by whom.
enum Role {
    None,
    /// Everything starts from it.
    Root,
    /// Certifies machines: an "Intel SGX PCK Processor CA" or "Platform CA".
    PckCa,
    /// Signs TCB info and QE identity.
    TcbSigner
}

/// @notice Who issues: a name with a key, certified by the root, and what the role demands.
struct Issuer {
    bytes32 x;
    bytes32 y;
    /// keccak256 of the DER of its name.
    bytes32 name;
    /// Of its certificate; of several, of the one that ends last.
    uint160 serial;
    /// Unix seconds; valid before.
    uint48 until;
    Role role;
}

/// @notice From when to before when something is valid, in Unix seconds.
struct Period {
    uint48 from;
    uint48 until;
}

/// @notice What the newest collateral says of a machine and its quoting enclave.
struct Standing {
    /// Whether the machine, and the quoting enclave, reach a level.
    bool machine;
    bool qe;
    /// Of both together, if both do.
    Status status;
    /// The lower evaluation of TCB info and QE identity.
    uint32 evaluation;
    Period tcbInfo;
    Period qeIdentity;
    /// Whether a signer of either was revoked, and when the first of their certificates ends.
    bool signerRevoked;
    uint48 signerUntil;
}

/// @title What Intel publishes about its machines, kept on chain: revocation lists, TCB info, QE identity, and the certificates above them.
/// @notice Anyone puts in what the root has signed, directly or through a certificate put in before, while it is current. Nobody owns this
/// contract: it has no other way in. Newer replaces older, never the reverse; what was revoked stays so. Only what a verifier needs is
/// kept.
///
/// *Newer* is, of a revocation list, one issued later; of TCB info and QE identity, one of a later evaluation, or of the same and issued
/// later. Intel publishes an evaluation early for those who ask, months before all others get it: here the first to be put in counts. What
/// a signer has signed that was revoked since, is replaced by anything current.
///
/// An *issuer* is a name with a key, whatever the certificates: anyone can give a certificate's signature its other form, and so other
/// bytes.
///
/// The root is fixed at deployment: Intel's, or another one for development, which `isTest` tells.
contract Pccs is AttestationErrors {
    using X509 for Certificate;
    using X509 for Crl;

    /// @notice keccak256 of x ‖ y of the key of Intel's root, "Intel SGX Root CA", which is valid until 2049
    /// and whose revocation list is at https://certificates.trustedservices.intel.com/IntelSGXRootCA.der.
    bytes32 public constant INTEL_ROOT_KEY = 0x89f72d7c488e5b53a77c23ebcb36970ef7eb5bcf6658e9b8292cfbe4703a8473;
    /// @notice The root's number.
    uint32 public constant ROOT = 1;

    bytes32 private constant ROOT_NAME = keccak256("Intel SGX Root CA");
    bytes32 private constant PROCESSOR_CA_NAME = keccak256("Intel SGX PCK Processor CA");
    bytes32 private constant PLATFORM_CA_NAME = keccak256("Intel SGX PCK Platform CA");
    bytes32 private constant TCB_SIGNING_NAME = keccak256("Intel SGX TCB Signing");

    /// @notice keccak256 of the root's certificate.
    bytes32 public immutable rootHash;
    /// @notice keccak256 of x ‖ y of the root's key.
    bytes32 public immutable rootKeyHash;
    /// @notice When the root's certificate ends, Unix seconds.
    uint48 public immutable rootUntil;

    struct StoredTcbInfo {
        Period period;
        uint32 evaluation;
        uint32 signer;
        uint256[] levels;
    }

    /// @notice How many issuers there are; they are numbered from 1.
    uint32 public issuerCount;
    /// @dev The signer of `_qeIdentity`.
    uint32 private _qeSigner;
    mapping(uint32 number => Issuer) private _issuers;
    /// @notice The number of a certificate's issuer, by keccak256 of its DER; 0 if it was not put in.
    mapping(bytes32 hash => uint32 number) public issuerNumber;
    /// @dev By keccak256 of name and key.
    mapping(bytes32 id => uint32 number) private _numbers;
    mapping(uint32 issuer => Period) private _crls;
    /// @dev By issuer's number (32 bits) and serial number (160 bits).
    mapping(uint192 id => bool) private _revoked;
    mapping(bytes6 fmspc => mapping(bytes2 pceId => StoredTcbInfo)) private _tcbInfos;
    QeIdentity private _qeIdentity;

    /// @notice A certificate of an issuer was put in.
    event IssuerAdded(uint32 indexed number, Role role, bytes certificate);
    /// @notice A revocation list was put in.
    event CrlStored(uint32 indexed issuer, uint48 from, uint48 until);
    /// @notice Certificates were revoked, by part of a list or all of it.
    event Revoked(uint32 indexed issuer, uint256 entries);
    /// @notice TCB info was put in.
    event TcbInfoStored(bytes6 indexed fmspc, bytes2 indexed pceId, uint32 evaluation, uint48 from, uint48 until);
    /// @notice QE identity was put in.
    event QeIdentityStored(uint32 evaluation, uint48 from, uint48 until);

    /// @param root DER of the root's certificate.
    constructor(bytes memory root) {
        Certificate memory c = X509.certificate(root, ChainMalformed.selector);
        if (c.commonName != ROOT_NAME || c.issuer != c.subject) revert ChainMalformed();
        if (!_isCurrent(c.from, c.until)) revert CertificateNotCurrent();
        // Where the chain lacks EIP-7951, this fails.
        if (!_mayIssue(c) || !c.isSignedBy(c.x, c.y)) revert CertificateInvalid();
        rootHash = keccak256(root);
        rootKeyHash = keccak256(abi.encode(c.x, c.y));
        rootUntil = c.until;
        _keep(root, c, Role.Root);
    }

    /// @notice Whether the root is another one than Intel's: then quotes prove nothing.
    function isTest() external view returns (bool) {
        return rootKeyHash != INTEL_ROOT_KEY;
    }

    /// @notice Puts in a certificate of a PCK CA, DER. Does nothing if it is in already.
    /// @return number The CA's number here.
    function addPckCa(bytes memory certificate) external returns (uint32 number) {
        return _add(certificate, Role.PckCa);
    }

    /// @notice Puts in a certificate of a signer of TCB info and QE identity, DER. Does nothing if it is in already.
    /// @return number The signer's number here.
    function addTcbSigner(bytes memory certificate) external returns (uint32 number) {
        return _add(certificate, Role.TcbSigner);
    }

    /// @notice Puts in a revocation list, DER, newer than the one there is.
    /// @param issuer The number of its issuer: the root, or a PCK CA.
    function putCrl(uint32 issuer, bytes memory crl) external {
        Crl memory list = _crl(issuer, crl);
        if (list.until <= block.timestamp) revert CrlNotCurrent();
        if (list.from <= _crls[issuer].from) revert NotNewer();
        _crls[issuer] = Period(list.from, list.until);
        emit CrlStored(issuer, list.from, list.until);
        _revoke(issuer, list, 0, type(uint256).max);
    }

    /// @notice Revokes some of what a list names, also one that is no longer current: for lists that are too long for one transaction.
    /// `putCrl` has then little left to write.
    /// @param issuer The number of its issuer.
    /// @param first How many entries to pass over.
    /// @param count How many to take at most.
    function revoke(uint32 issuer, bytes memory crl, uint256 first, uint256 count) external {
        _revoke(issuer, _crl(issuer, crl), first, count);
    }

    /// @notice Puts in TCB info, newer than what there is for its machines.
    /// @param signer The number of its signer.
    /// @param json The bytes that are signed: see `Json`.
    function putTcbInfo(uint32 signer, bytes memory json, bytes32 r, bytes32 s) external {
        if (!_isSigned(signer, json, r, s)) revert TcbInfoSignature();
        TcbInfo memory info = Json.tcbInfo(json, TcbInfoMalformed.selector);
        if (!_isCurrent(info.from, info.until)) revert TcbInfoNotCurrent();
        StoredTcbInfo storage stored = _tcbInfos[info.fmspc][info.pceId];
        if (
            !_isNewer(info.evaluation, info.from, stored.evaluation, stored.period.from)
                && !_isSignerRevoked(stored.signer)
        ) revert NotNewer();
        stored.period = Period(info.from, info.until);
        stored.evaluation = info.evaluation;
        stored.signer = signer;
        stored.levels = info.levels;
        emit TcbInfoStored(info.fmspc, info.pceId, info.evaluation, info.from, info.until);
    }

    /// @notice Puts in QE identity, newer than the one there is.
    /// @param signer The number of its signer.
    /// @param json The bytes that are signed: see `Json`.
    function putQeIdentity(uint32 signer, bytes memory json, bytes32 r, bytes32 s) external {
        if (!_isSigned(signer, json, r, s)) revert QeIdentitySignature();
        QeIdentity memory identity = Json.qeIdentity(json, QeIdentityMalformed.selector);
        if (!_isCurrent(identity.from, identity.until)) revert QeIdentityNotCurrent();
        if (
            !_isNewer(identity.evaluation, identity.from, _qeIdentity.evaluation, _qeIdentity.from)
                && !_isSignerRevoked(_qeSigner)
        ) revert NotNewer();
        _qeIdentity = identity;
        _qeSigner = signer;
        emit QeIdentityStored(identity.evaluation, identity.from, identity.until);
    }

    /// @notice An issuer; zeros if there is none of this number.
    function issuerOf(uint32 number) external view returns (Issuer memory) {
        return _issuers[number];
    }

    /// @notice From when to before when the newest list of an issuer is valid; zeros if there is none.
    function crlOf(uint32 issuer) external view returns (Period memory) {
        return _crls[issuer];
    }

    /// @notice The newest QE identity; zeros if there is none.
    function qeIdentity() external view returns (QeIdentity memory) {
        return _qeIdentity;
    }

    /// @notice The newest TCB info of machines of this kind; its `until` is zero if there is none.
    function tcbInfoOf(bytes6 fmspc, bytes2 pceId) external view returns (TcbInfo memory) {
        StoredTcbInfo storage stored = _tcbInfos[fmspc][pceId];
        Period memory period = stored.period;
        return TcbInfo(period.from, period.until, fmspc, pceId, stored.evaluation, stored.levels);
    }

    /// @notice The PCK CA with this certificate, for a quote. Reverts unless its certificate, its list and the root's are current and it is
    /// not revoked.
    /// @param hash keccak256 of the certificate's DER.
    /// @return number Its number.
    /// @return ca The CA.
    /// @return from When the older of its list and the root's was issued.
    /// @return until When the first of certificates and lists ends.
    function pckCa(bytes32 hash) external view returns (uint32 number, Issuer memory ca, uint48 from, uint48 until) {
        number = issuerNumber[hash];
        ca = _issuers[number];
        if (ca.role != Role.PckCa) revert UnknownIssuer();
        if (ca.until <= block.timestamp || rootUntil <= block.timestamp) revert CertificateNotCurrent();
        Period memory rootCrl = _crls[ROOT];
        Period memory crl = _crls[number];
        if (rootCrl.until <= block.timestamp || crl.until <= block.timestamp) revert CrlNotCurrent();
        if (_revoked[pckId(ROOT, ca.serial)]) revert IntermediateRevoked();
        from = rootCrl.from < crl.from ? rootCrl.from : crl.from;
        until = _least(_least(rootCrl.until, crl.until), _least(ca.until, rootUntil));
    }

    /// @notice Whether a machine's certificate was revoked, or its issuer's was.
    /// @param id The certificate: `pckId`.
    function isRevoked(uint192 id) external view returns (bool) {
        return _revoked[id] || _revoked[pckId(ROOT, _issuers[uint32(id >> 160)].serial)];
    }

    /// @notice A certificate in one word: its issuer's number and its serial number.
    function pckId(uint32 issuer, uint160 serial) public pure returns (uint192) {
        return uint192(issuer) << 160 | serial;
    }

    /// @notice What the newest collateral says of these versions, current or not. Reverts if there is no TCB info for such machines.
    function standingOf(Tcb calldata tcb) external view returns (Standing memory standing) {
        StoredTcbInfo storage info = _tcbInfos[tcb.fmspc][tcb.pceId];
        standing.tcbInfo = info.period;
        if (standing.tcbInfo.until == 0) revert PlatformMismatch();
        standing.qeIdentity = Period(_qeIdentity.from, _qeIdentity.until);
        standing.evaluation = info.evaluation < _qeIdentity.evaluation ? info.evaluation : _qeIdentity.evaluation;

        Status machine;
        Status qe;
        (standing.machine, machine) = _firstReached(info.levels, tcb.cpuSvn, tcb.pceSvn);
        (standing.qe, qe) = _firstReached(_qeIdentity.levels, 0, tcb.qeSvn);
        standing.status = Levels.converge(machine, qe);

        standing.signerRevoked = _isSignerRevoked(info.signer) || _isSignerRevoked(_qeSigner);
        standing.signerUntil = _least(_issuers[info.signer].until, _issuers[_qeSigner].until);
    }

    /// @dev The first level, best first, that these versions reach.
    function _firstReached(uint256[] storage levels, bytes16 cpuSvn, uint16 svn)
        private
        view
        returns (bool found, Status status)
    {
        uint256 count = levels.length;
        for (uint256 i; i < count; ++i) {
            uint256 level = levels[i];
            if (Levels.reached(level, cpuSvn, svn)) return (true, Levels.statusOf(level));
        }
    }

    /// @dev Checks a certificate that the root has issued, and keeps it.
    function _add(bytes memory certificate, Role role) private returns (uint32 number) {
        number = issuerNumber[keccak256(certificate)];
        if (number != 0) {
            if (_issuers[number].role != role) revert ChainMalformed();
            return number;
        }
        Certificate memory c = X509.certificate(certificate, ChainMalformed.selector);
        Issuer storage root = _issuers[ROOT];
        if (c.issuer != root.name) revert ChainMalformed();
        bool allowed;
        if (role == Role.PckCa) {
            if (c.commonName != PROCESSOR_CA_NAME && c.commonName != PLATFORM_CA_NAME) revert ChainMalformed();
            allowed = _mayIssue(c);
        } else {
            if (c.commonName != TCB_SIGNING_NAME) revert ChainMalformed();
            allowed = !c.ca && c.usage & X509.DIGITAL_SIGNATURE != 0;
        }
        if (!_isCurrent(c.from, c.until)) revert CertificateNotCurrent();
        if (!allowed || !c.isSignedBy(root.x, root.y)) revert CertificateInvalid();
        if (_revoked[pckId(ROOT, c.serial)]) {
            if (role == Role.PckCa) revert IntermediateRevoked();
            revert TcbSignerRevoked();
        }
        return _keep(certificate, c, role);
    }

    /// @dev Of an issuer's several certificates, the one that ends last counts: the order in which they come does not.
    function _keep(bytes memory certificate, Certificate memory c, Role role) private returns (uint32 number) {
        bytes32 id = keccak256(abi.encode(c.subject, c.x, c.y));
        number = _numbers[id];
        if (number == 0) {
            number = ++issuerCount;
            _numbers[id] = number;
        }
        issuerNumber[keccak256(certificate)] = number;
        if (c.until > _issuers[number].until) {
            _issuers[number] = Issuer(c.x, c.y, c.subject, c.serial, c.until, role);
        }
        emit IssuerAdded(number, role, certificate);
    }

    /// @dev A revocation list that its issuer has signed, and that has begun.
    function _crl(uint32 issuer, bytes memory crl) private view returns (Crl memory list) {
        Issuer storage by = _issuers[issuer];
        if (by.role != Role.Root && by.role != Role.PckCa) revert UnknownIssuer();
        list = X509.crl(crl, CrlInvalid.selector);
        if (list.issuer != by.name || !list.isSignedBy(by.x, by.y)) revert CrlInvalid();
        if (list.from > block.timestamp) revert CrlNotCurrent();
    }

    /// @dev Revokes what a list names, from its entry `first` on, at most `count`.
    function _revoke(uint32 issuer, Crl memory list, uint256 first, uint256 count) private {
        uint256 index;
        uint256 taken;
        while (list.entries.next < list.entries.end && taken < count) {
            uint160 serial = X509.nextRevoked(list.entries);
            if (index++ < first) continue;
            ++taken;
            uint192 id = pckId(issuer, serial);
            if (!_revoked[id]) _revoked[id] = true;
        }
        if (taken > 0) emit Revoked(issuer, taken);
    }

    /// @dev Whether a signer of collateral, who may sign now, has signed `json`.
    function _isSigned(uint32 signer, bytes memory json, bytes32 r, bytes32 s) private view returns (bool) {
        Issuer storage by = _issuers[signer];
        if (by.role != Role.TcbSigner) revert UnknownIssuer();
        if (by.until <= block.timestamp) revert CertificateNotCurrent();
        if (_isSignerRevoked(signer)) revert TcbSignerRevoked();
        return Secp256r1.verify(sha256(json), r, s, by.x, by.y);
    }

    function _isSignerRevoked(uint32 signer) private view returns (bool) {
        return _revoked[pckId(ROOT, _issuers[signer].serial)];
    }

    function _mayIssue(Certificate memory c) private pure returns (bool) {
        return c.ca && c.usage & X509.CERTIFICATES_AND_LISTS == X509.CERTIFICATES_AND_LISTS;
    }

    function _isCurrent(uint48 from, uint48 until) private view returns (bool) {
        return from <= block.timestamp && block.timestamp < until;
    }

    function _isNewer(uint32 evaluation, uint48 from, uint32 oldEvaluation, uint48 oldFrom)
        private
        pure
        returns (bool)
    {
        return evaluation > oldEvaluation || (evaluation == oldEvaluation && from > oldFrom);
    }

    function _least(uint48 a, uint48 b) private pure returns (uint48) {
        return a < b ? a : b;
    }
}
