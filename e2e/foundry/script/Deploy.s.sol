// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import {Token} from "../src/Token.sol";
import {Nft} from "../src/Nft.sol";

/// The cheat codes that the script uses.
interface Vm {
    function startBroadcast() external;
    function stopBroadcast() external;
    function envAddress(string calldata name) external view returns (address);
}

/// Deploys both contracts, mints and transfers. Run by the forge suite, which checks what it left on the chain.
contract Deploy {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    // forge looks for this to know that the contract is a script.
    bool public constant IS_SCRIPT = true;

    function run() external returns (Token token, Nft nft) {
        address recipient = vm.envAddress("RECIPIENT");
        vm.startBroadcast();
        token = new Token("Scripted", "SCR", 1_000_000 ether);
        nft = new Nft("Scripted art", "ART");
        token.transfer(recipient, 250 ether);
        token.mint(recipient, 50 ether);
        nft.mint(msg.sender, "ipfs://one");
        nft.mint(msg.sender, "ipfs://two");
        nft.transferFrom(msg.sender, recipient, 1);
        vm.stopBroadcast();
    }
}
