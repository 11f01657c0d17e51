// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Calendar} from "./Calendar.sol";

/// @title A reader of DER (ITU-T X.690), as much as certificates and revocation lists need.
/// @notice A cursor stands before a value in a range of bytes, and only ever moves forward within it: no recursion, no copies, linear time.
/// Lengths are definite, minimal, of at most three bytes, and end within the range; tags are of one byte. What is not so is refused with
/// the cursor's error.
library Der {
    uint8 internal constant BOOLEAN = 0x01;
    uint8 internal constant INTEGER = 0x02;
    uint8 internal constant BIT_STRING = 0x03;
    uint8 internal constant OCTET_STRING = 0x04;
    uint8 internal constant OBJECT_IDENTIFIER = 0x06;
    uint8 internal constant UTF8_STRING = 0x0c;
    uint8 internal constant PRINTABLE_STRING = 0x13;
    uint8 internal constant UTC_TIME = 0x17;
    uint8 internal constant GENERALIZED_TIME = 0x18;
    uint8 internal constant SEQUENCE = 0x30;
    uint8 internal constant SET = 0x31;

    struct Cursor {
        bytes data;
        /// The position of the next value.
        uint256 next;
        /// The range's end.
        uint256 end;
        /// The error, without arguments, that refuses what is malformed.
        bytes4 refusal;
    }

    /// @notice A cursor before all of `data`.
    function open(bytes memory data, bytes4 refusal) internal pure returns (Cursor memory) {
        return Cursor(data, 0, data.length, refusal);
    }

    /// @notice Reverts with the cursor's error.
    function refuse(Cursor memory cursor) internal pure {
        bytes4 refusal = cursor.refusal;
        assembly ("memory-safe") {
            mstore(0, refusal)
            revert(0, 4)
        }
    }

    /// @notice The next value's tag; 0 at the end.
    function peek(Cursor memory cursor) internal pure returns (uint8) {
        return cursor.next < cursor.end ? uint8(load(cursor.data, cursor.next) >> 248) : 0;
    }

    /// @notice Steps over the next value, which must have this tag.
    /// @return start Where its content begins.
    /// @return length Its content's length.
    function read(Cursor memory cursor, uint8 tag) internal pure returns (uint256 start, uint256 length) {
        unchecked {
            // Positions are below 2^24, and `next` is never above `end`.
            uint256 end = cursor.end;
            start = cursor.next + 2;
            if (start > end) refuse(cursor);
            uint256 head = load(cursor.data, start - 2);
            if (head >> 248 != tag || tag & 0x1f == 0x1f) refuse(cursor);
            length = (head >> 240) & 0xff;
            if (length >= 0x80) {
                uint256 count = length - 0x80;
                if (count == 0 || count > 3) refuse(cursor);
                length = (head << 16) >> (256 - 8 * count);
                if (length < 0x80 || length >> (8 * (count - 1)) == 0) refuse(cursor);
                start += count;
            }
            if (start + length > end) refuse(cursor);
            cursor.next = start + length;
        }
    }

    /// @notice Steps over the next value, whatever it is.
    function skip(Cursor memory cursor) internal pure {
        read(cursor, peek(cursor));
    }

    /// @notice Steps over the next value, which must have this tag.
    /// @return inner A cursor before its content.
    function enter(Cursor memory cursor, uint8 tag) internal pure returns (Cursor memory inner) {
        (uint256 start, uint256 length) = read(cursor, tag);
        return Cursor(cursor.data, start, start + length, cursor.refusal);
    }

    /// @notice Refuses a range that is not read to its end.
    function close(Cursor memory cursor) internal pure {
        if (cursor.next != cursor.end) refuse(cursor);
    }

    /// @notice The content of the next value, of at most 31 bytes, below its length: `length << 248 | content`.
    function word(Cursor memory cursor, uint8 tag) internal pure returns (uint256) {
        (uint256 start, uint256 length) = read(cursor, tag);
        if (length > 31) refuse(cursor);
        return length << 248 | (length == 0 ? 0 : load(cursor.data, start) >> (256 - 8 * length));
    }

    /// @notice The next value, a non-negative INTEGER of at most so many bytes.
    function integer(Cursor memory cursor, uint256 most) internal pure returns (uint256) {
        (uint256 start, uint256 length) = read(cursor, INTEGER);
        if (length == 0) refuse(cursor);
        uint256 content = load(cursor.data, start);
        if (content >> 255 != 0) refuse(cursor); // negative
        if (content >> 248 == 0 && length > 1) {
            // A zero byte keeps a number positive; elsewhere it is not minimal.
            if ((content >> 247) & 1 == 0) refuse(cursor);
            content = load(cursor.data, start + 1);
            --length;
        }
        if (length > most) refuse(cursor);
        return content >> (256 - 8 * length);
    }

    /// @notice The next value, a BOOLEAN where DER has one: true, since a default of false is left out.
    function isTrue(Cursor memory cursor) internal pure returns (bool) {
        if (peek(cursor) != BOOLEAN) return false;
        if (word(cursor, BOOLEAN) != (1 << 248 | 0xff)) refuse(cursor);
        return true;
    }

    /// @notice The next value, a time as RFC 5280 has it: UTCTime to 2049, GeneralizedTime from 2050 on, both in UTC to the second.
    function time(Cursor memory cursor) internal pure returns (uint48 seconds_) {
        bool utc = peek(cursor) == UTC_TIME;
        (uint256 start, uint256 length) = read(cursor, utc ? UTC_TIME : GENERALIZED_TIME);
        if (length != (utc ? 13 : 15)) refuse(cursor);
        bytes32 text = bytes32(load(cursor.data, start));
        uint256 year = Calendar.pair(text, 0);
        if (utc) {
            year += year < 50 ? 2000 : 1900;
        } else {
            year = year * 100 + Calendar.pair(text, 2);
            if (year < 2050) refuse(cursor);
            text <<= 16;
        }
        seconds_ = Calendar.unix(
            year,
            Calendar.pair(text, 2),
            Calendar.pair(text, 4),
            Calendar.pair(text, 6),
            Calendar.pair(text, 8),
            Calendar.pair(text, 10)
        );
        if (seconds_ == 0 || text[12] != "Z") refuse(cursor);
    }

    /// @notice keccak256 of a range.
    function keccak(bytes memory data, uint256 start, uint256 length) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            hash := keccak256(add(add(data, 0x20), start), length)
        }
    }

    /// @notice SHA-256 of a range.
    function sha(bytes memory data, uint256 start, uint256 length) internal view returns (bytes32 hash) {
        assembly ("memory-safe") {
            // The precompile fails only for want of gas.
            if iszero(staticcall(gas(), 2, add(add(data, 0x20), start), length, 0, 0x20)) { revert(0, 0) }
            hash := mload(0)
        }
    }

    /// @notice The 32 bytes at a position; what is after the end of `data` means nothing.
    function load(bytes memory data, uint256 position) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(add(data, 0x20), position))
        }
    }
}
