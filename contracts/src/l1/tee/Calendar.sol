// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Times of UTC as Unix seconds.
library Calendar {
    /// @dev Days of the months of a common year.
    bytes12 private constant MONTHS = 0x1f1c1f1e1f1e1f1f1e1f1e1f;

    /// @notice Two decimal digits at a position of a text of at most 32 bytes; 10,000, which fits no part of a time, if they are none.
    function pair(bytes32 text, uint256 position) internal pure returns (uint256) {
        uint256 high = uint8(text[position]);
        uint256 low = uint8(text[position + 1]);
        if (high < 0x30 || high > 0x39 || low < 0x30 || low > 0x39) return 10_000;
        return (high - 0x30) * 10 + low - 0x30;
    }

    /// @notice Unix seconds of a time from 1970 to 9999; 0 if there is no such time. There are no leap seconds.
    function unix(uint256 year, uint256 month, uint256 day, uint256 hour, uint256 minute, uint256 second)
        internal
        pure
        returns (uint48)
    {
        if (year < 1970 || year > 9999 || month < 1 || month > 12 || hour > 23 || minute > 59 || second > 59) {
            return 0;
        }
        bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        uint256 length = uint8(MONTHS[month - 1]);
        if (leap && month == 2) ++length;
        if (day < 1 || day > length) return 0;
        uint256 leapDays = (year - 1969) / 4 + (year - 1601) / 400 - (year - 1901) / 100;
        if (leap && month > 2) ++leapDays;
        uint256 before = (year - 1970) * 365 + leapDays + day - 1;
        for (uint256 i; i + 1 < month; ++i) {
            before += uint8(MONTHS[i]);
        }
        return uint48(before * 86_400 + hour * 3600 + minute * 60 + second);
    }
}
