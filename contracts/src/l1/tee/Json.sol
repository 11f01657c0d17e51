// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Calendar} from "./Calendar.sol";
import {Levels, Status} from "./Tcb.sol";

/// @notice TCB info, as far as a verifier needs it.
struct TcbInfo {
    /// Unix seconds; valid before `until`.
    uint48 from;
    uint48 until;
    bytes6 fmspc;
    bytes2 pceId;
    /// `tcbEvaluationDataNumber`: grows with each of Intel's evaluations.
    uint32 evaluation;
    /// Best first: `Levels`.
    uint256[] levels;
}

/// @notice QE identity, as far as a verifier needs it.
struct QeIdentity {
    bytes32 mrsigner;
    bytes16 attributes;
    bytes16 attributesMask;
    bytes4 miscselect;
    bytes4 miscselectMask;
    uint16 isvprodid;
    /// Unix seconds; valid before `until`.
    uint48 from;
    uint48 until;
    uint32 evaluation;
    /// Best first: `Levels`.
    uint256[] levels;
}

/// @title A reader of the JSON that Intel signs: TCB info v3 for SGX and QE identity v2 for SGX.
/// @notice Not any JSON, but exactly Intel's layout (Provisioning Certification Service, API v4): no white space, members in Intel's order,
/// upper-case hexadecimal digits, decimal numbers without leading zeros, times in UTC to the second. Anything else is refused. A signature
/// covers these very bytes.
///
///     {"id":"SGX","version":3,"issueDate":T,"nextUpdate":T,"fmspc":"6 bytes","pceId":"2 bytes","tcbType":0,"tcbEvaluationDataNumber":N,"tcbLevels":[
///       {"tcb":{"sgxtcbcomponents":[{"svn":N[,"category":S][,"type":S]} × 16],"pcesvn":N},"tcbDate":T,"tcbStatus":S[,"advisoryIDs":[S, …]]}, …]}
///
///     {"id":"QE","version":2,"issueDate":T,"nextUpdate":T,"tcbEvaluationDataNumber":N,"miscselect":"4 bytes","miscselectMask":"4 bytes",
///      "attributes":"16 bytes","attributesMask":"16 bytes","mrsigner":"32 bytes","isvprodid":N,"tcbLevels":[
///       {"tcb":{"isvsvn":N},"tcbDate":T,"tcbStatus":S[,"advisoryIDs":[S, …]]}, …]}
library Json {
    /// @notice The most levels. Intel's longest lists have about 20.
    uint256 internal constant MAX_LEVELS = 64;

    struct Text {
        bytes data;
        /// The position of the next character.
        uint256 next;
        /// The error, without arguments, that refuses what is malformed.
        bytes4 refusal;
    }

    /// @notice Reads TCB info. Reverts with `refusal` if it is not as above.
    function tcbInfo(bytes memory json, bytes4 refusal) internal pure returns (TcbInfo memory info) {
        Text memory text = Text(json, 0, refusal);
        _expect(text, '{"id":"SGX","version":3');
        (info.from, info.until) = _validity(text);
        _expect(text, ',"fmspc":"');
        info.fmspc = bytes6(_hex(text, 6));
        _expect(text, '","pceId":"');
        info.pceId = bytes2(_hex(text, 2));
        _expect(text, '","tcbType":0,"tcbEvaluation');
        info.evaluation = uint32(_evaluation(text));
        _expect(text, ',"tcbLevels":[');
        info.levels = _levels(text, true);
    }

    /// @notice Reads QE identity. Reverts with `refusal` if it is not as above.
    function qeIdentity(bytes memory json, bytes4 refusal) internal pure returns (QeIdentity memory identity) {
        Text memory text = Text(json, 0, refusal);
        _expect(text, '{"id":"QE","version":2');
        (identity.from, identity.until) = _validity(text);
        _expect(text, ',"tcbEvaluation');
        identity.evaluation = uint32(_evaluation(text));
        _expect(text, ',"miscselect":"');
        identity.miscselect = bytes4(_hex(text, 4));
        _expect(text, '","miscselectMask":"');
        identity.miscselectMask = bytes4(_hex(text, 4));
        _expect(text, '","attributes":"');
        identity.attributes = bytes16(_hex(text, 16));
        _expect(text, '","attributesMask":"');
        identity.attributesMask = bytes16(_hex(text, 16));
        _expect(text, '","mrsigner":"');
        identity.mrsigner = _hex(text, 32);
        _expect(text, '","isvprodid":');
        identity.isvprodid = uint16(_number(text, type(uint16).max));
        _expect(text, ',"tcbLevels":[');
        identity.levels = _levels(text, false);
    }

    /// @dev The levels to the text's end.
    function _levels(Text memory text, bool machine) private pure returns (uint256[] memory levels) {
        levels = new uint256[](MAX_LEVELS);
        uint256 count;
        do {
            if (count == MAX_LEVELS) _refuse(text);
            _expect(text, '{"tcb":{');
            uint256 components = machine ? _components(text) : 0;
            _expect(text, machine ? bytes32(',"pcesvn":') : bytes32('"isvsvn":'));
            uint256 svn = _number(text, type(uint16).max);
            _expect(text, '},"tcbDate":"');
            _time(text);
            _expect(text, '","tcbStatus":"');
            Status status = _status(text);
            // Of a quoting enclave Intel says no more than this; how others would count together is not specified.
            if (!machine && status != Status.UpToDate && status != Status.OutOfDate && status != Status.Revoked) {
                _refuse(text);
            }
            levels[count++] = Levels.pack(components, svn, status);
            if (_accept(text, ',"advisoryIDs":[')) {
                do {
                    _expect(text, '"');
                    _string(text);
                } while (_accept(text, ","));
                _expect(text, "]");
            }
            _expect(text, "}");
        } while (_accept(text, ","));
        _expect(text, "]}");
        if (text.next != text.data.length) _refuse(text);
        assembly ("memory-safe") {
            mstore(levels, count) // never more than were allocated
        }
    }

    /// @dev The SVNs of the 16 components, a byte each.
    function _components(Text memory text) private pure returns (uint256 components) {
        _expect(text, '"sgxtcbcomponents":[');
        for (uint256 i; i < 16; ++i) {
            if (i > 0) _expect(text, ",");
            _expect(text, '{"svn":');
            components = components << 8 | _number(text, type(uint8).max);
            if (_accept(text, ',"category":"')) _string(text);
            if (_accept(text, ',"type":"')) _string(text);
            _expect(text, "}");
        }
        _expect(text, "]");
    }

    function _status(Text memory text) private pure returns (Status) {
        if (_accept(text, 'UpToDate"')) return Status.UpToDate;
        if (_accept(text, 'SWHardeningNeeded"')) return Status.SWHardeningNeeded;
        if (_accept(text, 'ConfigurationNeeded"')) return Status.ConfigurationNeeded;
        if (_accept(text, "ConfigurationAndSW")) {
            _expect(text, 'HardeningNeeded"');
            return Status.ConfigurationAndSWHardeningNeeded;
        }
        if (_accept(text, 'OutOfDate"')) return Status.OutOfDate;
        if (_accept(text, 'OutOfDateConfigurationNeeded"')) return Status.OutOfDateConfigurationNeeded;
        _expect(text, 'Revoked"');
        return Status.Revoked;
    }

    function _validity(Text memory text) private pure returns (uint48 from, uint48 until) {
        _expect(text, ',"issueDate":"');
        from = _time(text);
        _expect(text, '","nextUpdate":"');
        until = _time(text);
        _expect(text, '"');
    }

    /// @dev The rest of the name `tcbEvaluationDataNumber`, and its value.
    function _evaluation(Text memory text) private pure returns (uint256) {
        _expect(text, 'DataNumber":');
        return _number(text, type(uint32).max);
    }

    /// @dev A time as `2026-11-21T19:08:00Z`.
    function _time(Text memory text) private pure returns (uint48 seconds_) {
        bytes32 word = bytes32(_next(text, 20));
        bool form = word[4] == "-" && word[7] == "-" && word[10] == "T" && word[13] == ":" && word[16] == ":"
            && word[19] == "Z";
        seconds_ = Calendar.unix(
            Calendar.pair(word, 0) * 100 + Calendar.pair(word, 2),
            Calendar.pair(word, 5),
            Calendar.pair(word, 8),
            Calendar.pair(word, 11),
            Calendar.pair(word, 14),
            Calendar.pair(word, 17)
        );
        if (!form || seconds_ == 0) _refuse(text);
    }

    /// @dev A number of at most ten digits.
    function _number(Text memory text, uint256 most) private pure returns (uint256 value) {
        uint256 start = text.next;
        uint256 word = _load(text);
        uint256 digits;
        while (digits < 11) {
            uint256 character = word >> 248;
            if (character < 0x30 || character > 0x39) break;
            value = value * 10 + character - 0x30;
            word <<= 8;
            ++digits;
        }
        _next(text, digits);
        bool leadingZero = digits > 1 && uint8(text.data[start]) == 0x30;
        if (digits == 0 || leadingZero || value > most) _refuse(text);
    }

    /// @dev So many bytes in upper-case hexadecimal digits, first in the word.
    function _hex(Text memory text, uint256 length) private pure returns (bytes32) {
        uint256 value;
        for (uint256 i; i < length; ++i) {
            uint256 word = _next(text, 2);
            value = value << 8 | _digit(text, word >> 248) << 4 | _digit(text, (word >> 240) & 0xff);
        }
        return bytes32(value << (256 - 8 * length));
    }

    function _digit(Text memory text, uint256 character) private pure returns (uint256) {
        if (character >= 0x30 && character <= 0x39) return character - 0x30;
        if (character < 0x41 || character > 0x46) _refuse(text);
        return character - 0x37;
    }

    /// @dev Steps over the rest of a string without escapes.
    function _string(Text memory text) private pure {
        bytes memory data = text.data;
        uint256 position = text.next;
        unchecked {
            while (true) {
                if (position >= data.length) _refuse(text);
                uint256 character;
                assembly ("memory-safe") {
                    character := byte(0, mload(add(add(data, 0x20), position)))
                }
                ++position;
                if (character == 0x22) break;
                if (character < 0x20 || character == 0x5c) _refuse(text);
            }
        }
        text.next = position;
    }

    function _expect(Text memory text, bytes32 literal) private pure {
        if (!_accept(text, literal)) _refuse(text);
    }

    /// @dev Steps over a literal of at most 32 characters, if it is next.
    function _accept(Text memory text, bytes32 literal) private pure returns (bool) {
        unchecked {
            uint256 word = uint256(literal);
            uint256 zeros; // the lowest bit that is set: a literal has no zero byte but those after its end
            assembly ("memory-safe") {
                zeros := sub(255, clz(and(word, sub(0, word))))
            }
            uint256 length = 32 - (zeros >> 3);
            if (text.data.length - text.next < length) return false;
            if ((_load(text) ^ word) >> (256 - 8 * length) != 0) return false;
            text.next += length;
            return true;
        }
    }

    /// @dev Steps over so many characters, at most 32, and returns the word that begins with them.
    function _next(Text memory text, uint256 length) private pure returns (uint256 word) {
        if (text.data.length - text.next < length) _refuse(text);
        word = _load(text);
        text.next += length;
    }

    function _load(Text memory text) private pure returns (uint256 word) {
        bytes memory data = text.data;
        uint256 position = text.next;
        assembly ("memory-safe") {
            word := mload(add(add(data, 0x20), position))
        }
    }

    function _refuse(Text memory text) private pure {
        bytes4 refusal = text.refusal;
        assembly ("memory-safe") {
            mstore(0, refusal)
            revert(0, 4)
        }
    }
}
