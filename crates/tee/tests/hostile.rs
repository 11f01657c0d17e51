//! Whatever quote and collateral say, the verifier ends with a name: it neither panics nor believes.
#![allow(missing_docs, clippy::unwrap_used)]

use alloy_primitives::B256;
use jove_tee::{
    Collateral, Error, Pki, Platform, Policy, QuoteSource, Software,
    pki::{ORGANIZATION, pem},
    quote::MAX_QUOTE,
    software::SIGNER,
    verify::{INTEL_ROOT, MAX_COLLATERAL},
};
use proptest::prelude::*;
use std::sync::LazyLock;

const NOW: u64 = 1_800_000_000;

static GOOD: LazyLock<(Policy, Vec<u8>, Collateral, Pki)> = LazyLock::new(|| {
    let (pki, machine) = (Pki::from_seed(&[1; 32]).unwrap(), Platform::development(0));
    let quote = Software::new(&pki, machine.clone(), B256::ZERO).unwrap().quote([1; 64]).unwrap();
    let policy = Policy::strict(pki.root.clone(), B256::ZERO, SIGNER);
    (policy, quote, pki.collateral(&machine, NOW).unwrap(), pki)
});

fn check(edit: impl FnOnce(&mut Vec<u8>, &mut Collateral)) -> Result<(), Error> {
    let (policy, quote, collateral, _) = &*GOOD;
    let (mut quote, mut collateral) = (quote.clone(), collateral.clone());
    edit(&mut quote, &mut collateral);
    policy.check(&quote, &collateral, NOW).map(drop)
}

fn name(edit: impl FnOnce(&mut Vec<u8>, &mut Collateral)) -> String {
    check(edit).unwrap_err().name()
}

#[test]
fn software_quotes_are_believed_only_under_their_root() {
    check(|_, _| ()).unwrap();
    let (policy, quote, collateral, _) = &*GOOD;
    for root in [INTEL_ROOT.to_vec(), Pki::from_seed(&[2; 32]).unwrap().root, vec![], vec![0x30; 9]] {
        let policy = Policy { root, ..policy.clone() };
        assert_eq!(policy.check(quote, collateral, NOW).unwrap_err().name(), "WrongRoot");
    }
    assert!(String::from_utf8_lossy(&policy.root).contains(ORGANIZATION));
}

#[test]
fn sizes_are_bounded() {
    assert_eq!(name(|quote, _| quote.resize(MAX_QUOTE + 1, 0)), "QuoteMalformed");
    let long = " ".repeat(MAX_COLLATERAL + 1);
    assert_eq!(name(|_, collateral| collateral.tcb_info += &long), "TcbInfoMalformed");
    assert_eq!(name(|_, collateral| collateral.qe_identity += &long), "QeIdentityMalformed");
    assert_eq!(name(|_, collateral| collateral.tcb_info_issuer_chain += &long), "ChainMalformed");
    assert_eq!(name(|_, collateral| collateral.qe_identity_issuer_chain += &long), "ChainMalformed");
    assert_eq!(name(|_, collateral| collateral.root_ca_crl.resize(MAX_COLLATERAL + 1, 0)), "CrlInvalid");
    assert_eq!(name(|_, collateral| collateral.pck_crl.resize(MAX_COLLATERAL + 1, 0)), "CrlInvalid");
}

#[test]
fn chains_have_their_length_and_kind() {
    let pki = &GOOD.3;
    for chain in [vec![&pki.root], vec![&pki.tcb_signer], vec![&pki.tcb_signer, &pki.root, &pki.root], vec![]] {
        let chain = pem(&chain.iter().map(|der| der.as_slice()).collect::<Vec<_>>());
        assert_eq!(name(|_, collateral| collateral.tcb_info_issuer_chain = chain.clone()), "ChainMalformed");
        assert_eq!(name(|_, collateral| collateral.qe_identity_issuer_chain = chain), "ChainMalformed");
    }
    let keys = |collateral: &mut Collateral| {
        collateral.tcb_info_issuer_chain = collateral.tcb_info_issuer_chain.replace("CERTIFICATE", "PRIVATE KEY");
    };
    assert_eq!(name(|_, collateral| keys(collateral)), "ChainMalformed");
    assert_eq!(name(|_, collateral| collateral.tcb_info_signature.truncate(63)), "TcbInfoSignature");
    assert_eq!(name(|_, collateral| collateral.qe_identity_signature.push(0)), "QeIdentitySignature");
    // What the verifier does not use may be anything, and a chain beside the quote's is not used.
    check(|_, collateral| {
        collateral.pck_crl_issuer_chain = "anything".into();
        collateral.pck_certificate_chain = Some("anything".into());
    })
    .unwrap();
}

#[test]
fn deep_json_is_an_error() {
    let deep = "[".repeat(100_000);
    assert_eq!(name(|_, collateral| collateral.tcb_info = deep.clone()), "TcbInfoMalformed");
    assert_eq!(name(|_, collateral| collateral.qe_identity = deep), "QeIdentityMalformed");
}

/// A part of the input, by number.
fn part<'a>(number: usize, quote: &'a mut Vec<u8>, collateral: &'a mut Collateral) -> Part<'a> {
    match number {
        0 => Part::Bytes(quote),
        1 => Part::Bytes(&mut collateral.root_ca_crl),
        2 => Part::Bytes(&mut collateral.pck_crl),
        3 => Part::Bytes(&mut collateral.tcb_info_signature),
        4 => Part::Bytes(&mut collateral.qe_identity_signature),
        5 => Part::Text(&mut collateral.tcb_info),
        6 => Part::Text(&mut collateral.qe_identity),
        7 => Part::Text(&mut collateral.tcb_info_issuer_chain),
        _ => Part::Text(&mut collateral.qe_identity_issuer_chain),
    }
}

enum Part<'a> {
    Bytes(&'a mut Vec<u8>),
    Text(&'a mut String),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// One byte of anything that is signed: nobody believes it. PEM has text that means nothing, so chains may pass.
    #[test]
    fn an_edit_is_refused(number in 0usize..7, at in any::<prop::sample::Index>(), byte in 0u8..128) {
        let mut same = false;
        let result = check(|quote, collateral| match part(number, quote, collateral) {
            Part::Bytes(bytes) => {
                // Of a quote, what comes before its chain.
                let at = at.index(if number == 0 { 1_052 } else { bytes.len() });
                same = bytes[at] == byte;
                bytes[at] = byte;
            }
            Part::Text(text) => {
                let at = at.index(text.len());
                same = text.as_bytes()[at] == byte;
                text.replace_range(at..=at, &char::from(byte).to_string());
            }
        });
        prop_assert_eq!(result.is_ok(), same);
        if let Err(error) = result {
            prop_assert_ne!(error.name(), "Refused", "{}", error);
        }
    }

    /// Several edits, cuts and insertions anywhere.
    #[test]
    fn no_input_panics(
        edits in prop::collection::vec((0usize..9, any::<prop::sample::Index>(), "[ -~\\n]{0,12}", 0usize..40), 1..6),
    ) {
        let _ = check(|quote, collateral| for (number, at, text, cut) in &edits {
            match part(*number, quote, collateral) {
                Part::Bytes(bytes) => {
                    let at = at.index(bytes.len() + 1);
                    let end = (at + cut).min(bytes.len());
                    bytes.splice(at..end, text.bytes());
                }
                Part::Text(json) => {
                    let at = at.index(json.len() + 1);
                    let end = (at + cut).min(json.len());
                    json.replace_range(at..end, text);
                }
            }
        });
    }

    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..3_000)) {
        prop_assert!(check(|quote, _| *quote = noise.clone()).is_err());
        prop_assert!(check(|_, collateral| collateral.pck_crl = noise.clone()).is_err());
        prop_assert!(check(|_, collateral| collateral.root_ca_crl = noise).is_err());
    }
}
