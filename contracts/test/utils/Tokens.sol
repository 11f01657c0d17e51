// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @notice An ordinary token.
contract Token is ERC20 {
    constructor(string memory name_, string memory symbol_) ERC20(name_, symbol_) {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }
}

/// @notice A token that keeps one per cent of each transfer.
contract FeeToken is Token("Fee", "FEE") {
    function _update(address from, address to, uint256 value) internal override {
        if (from != address(0) && to != address(0)) {
            super._update(from, address(this), value / 100);
            value -= value / 100;
        }
        super._update(from, to, value);
    }
}

/// @notice A token that answers nothing to transfers, and bytes32 to questions, as early tokens do.
contract EarlyToken {
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;
    bytes32 public name = "Early Token";
    bytes32 public constant symbol =
        bytes32(uint256(0x4141414141414141414141414141414141414141414141414141414141414141));

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function approve(address spender, uint256 amount) external {
        allowance[msg.sender][spender] = amount;
    }

    function transfer(address to, uint256 amount) external {
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
    }

    function transferFrom(address from, address to, uint256 amount) external {
        allowance[from][msg.sender] -= amount;
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

/// @notice A token that lies in every way a question can be answered.
contract HostileToken is Token("", "") {
    uint256 public way;

    function set(uint256 way_) external {
        way = way_;
    }

    function name() public view override returns (string memory) {
        return _answer();
    }

    function symbol() public view override returns (string memory) {
        return _answer();
    }

    function _answer() private view returns (string memory) {
        uint256 w = way;
        assembly {
            if eq(w, 0) { revert(0, 0) }
            if eq(w, 1) { invalid() }
            if eq(w, 2) { return(0, 500000) } // megabytes, nearly
            if eq(w, 3) {
                mstore(0, 32)
                mstore(32, not(0)) // a length without end
                return(0, 96)
            }
            if eq(w, 4) {
                mstore(0, not(0)) // an offset without end
                mstore(32, 3)
                return(0, 96)
            }
            if eq(w, 5) { return(0, 0) }
            if eq(w, 6) { return(0, 31) }
            if eq(w, 7) {
                mstore(0, 32)
                mstore(32, 200) // long, but honest
                calldatacopy(64, 0, 200)
                for { let i := 0 } lt(i, 200) { i := add(i, 1) } { mstore8(add(64, i), 0x61) }
                return(0, 320)
            }
            for {} // without end
             1 {} {}
        }
        revert();
    }
}
