//! Trust domains: TDX quotes, version 4, under the development root, with every attribute that opens one.
//!
//! The quote's layout is in appendix A.3 of Intel's TDX DCAP Quoting Library API; a TD report body is 584 bytes.
#![allow(missing_docs, clippy::unwrap_used)]

use alloy_primitives::{B256, keccak256};
use jove_tee::{
    Collateral, Error, Kind, Pki, Platform, Policy, Quote, Software, Verified, quote::MAX_QUOTE, software::SIGNER,
};

const NOW: u64 = 1_800_000_000;
/// Where fields of the TD report are in the quote.
const TD_ATTRIBUTES: usize = 48 + 120;
const MRTD: usize = 48 + 136;
const RTMR: usize = 48 + 328;
const REPORT_DATA: usize = 48 + 520;
const SEPT_VE_DISABLE: u64 = 1 << 28;

struct Domain {
    pki: Pki,
    machine: Platform,
    collateral: Collateral,
    /// Of the quoting enclave: its report, the PCK key's signature, authentication data and chain.
    qe: Quote,
}

impl Domain {
    fn new() -> Self {
        let (pki, machine) = (Pki::from_seed(&[1; 32]).unwrap(), Platform::development(0));
        let qe = Software::new(&pki, machine.clone(), B256::ZERO).unwrap().quote_with([0; 64], |_| ());
        let collateral = collateral(&pki, &machine);
        Self { pki, machine, collateral, qe }
    }

    /// A quote of a domain whose every byte of measurements is `0x4d`, edited before it is signed.
    fn quote(&self, attributes: u64, edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let qe = &self.qe;
        let mut quote = vec![0; 48 + 584];
        quote[..48].copy_from_slice(&qe.signed()[..48]);
        quote[0] = 4;
        quote[4] = 0x81;
        quote[TD_ATTRIBUTES..TD_ATTRIBUTES + 8].copy_from_slice(&attributes.to_le_bytes());
        quote[MRTD..MRTD + 48].fill(0x4d);
        quote[RTMR..RTMR + 192].fill(0x4d);
        quote[REPORT_DATA..].fill(0x5d);
        edit(&mut quote);
        let certification = [
            &qe.qe_report.encode()[..],
            &qe.qe_report_signature,
            &32u16.to_le_bytes(),
            &qe.qe_auth_data,
            &5u16.to_le_bytes(),
            &(qe.pck_chain.len() as u32).to_le_bytes(),
            &qe.pck_chain,
        ]
        .concat();
        let key = self.pki.key(&format!("attestation {}", alloy_primitives::hex::encode(self.machine.ppid)));
        assert_eq!(key.public(), qe.attestation_key);
        let signature = key.sign(&quote);
        let data = [
            &signature[..],
            &qe.attestation_key,
            &6u16.to_le_bytes(),
            &(certification.len() as u32).to_le_bytes(),
            &certification,
        ]
        .concat();
        quote.extend((data.len() as u32).to_le_bytes());
        quote.extend(data);
        quote
    }

    fn check(&self, quote: &[u8]) -> Result<Verified, Error> {
        let policy = Policy::strict(self.pki.root.clone(), keccak256([0x4d; 240]), B256::ZERO);
        policy.check(quote, &self.collateral, NOW)
    }

    fn refused(&self, attributes: u64) -> String {
        self.check(&self.quote(attributes, |_| ())).unwrap_err().name()
    }
}

/// TCB info and QE identity for trust domains.
fn collateral(pki: &Pki, machine: &Platform) -> Collateral {
    let mut collateral = pki.collateral(machine, NOW).unwrap();
    let components = [r#"{"svn":0}"#; 16].join(",");
    let module = format!(
        r#""tdxModule":{{"mrsigner":"{}","attributes":"0000000000000000","attributesMask":"FFFFFFFFFFFFFFFF"}},"tcbLevels":"#,
        "00".repeat(48)
    );
    collateral.tcb_info = collateral
        .tcb_info
        .replace(r#""id":"SGX""#, r#""id":"TDX""#)
        .replace(r#""tcbLevels":"#, &module)
        .replace(r#""pcesvn":13"#, &format!(r#""pcesvn":13,"tdxtcbcomponents":[{components}]"#));
    collateral.tcb_info_signature = pki.tcb_key.sign(collateral.tcb_info.as_bytes()).to_vec();
    collateral.qe_identity = collateral.qe_identity.replace(r#""id":"QE""#, r#""id":"TD_QE""#);
    collateral.qe_identity_signature = pki.tcb_key.sign(collateral.qe_identity.as_bytes()).to_vec();
    collateral
}

#[test]
fn a_domain_is_believed_for_its_measurements() {
    let domain = Domain::new();
    let verified = domain.check(&domain.quote(SEPT_VE_DISABLE, |_| ())).unwrap();
    assert_eq!((verified.kind, verified.report_data, verified.attributes), (Kind::Tdx, [0x5d; 64], SEPT_VE_DISABLE));
    assert_eq!((verified.signer, verified.platform), (B256::ZERO, keccak256(domain.machine.ppid)));
    for register in [MRTD, RTMR, RTMR + 48, RTMR + 96, RTMR + 144] {
        let quote = domain.quote(SEPT_VE_DISABLE, |quote| quote[register] ^= 1);
        assert_eq!(domain.check(&quote).unwrap_err().name(), "MeasurementNotAllowed", "{register}");
    }
    // A domain has no signer: zero must be on the list.
    let policy = Policy::strict(domain.pki.root.clone(), keccak256([0x4d; 240]), SIGNER);
    let refused = policy.check(&domain.quote(SEPT_VE_DISABLE, |_| ()), &domain.collateral, NOW);
    assert_eq!(refused.unwrap_err().name(), "SignerNotAllowed");
}

#[test]
fn an_open_domain_is_refused() {
    let domain = Domain::new();
    assert_eq!(domain.refused(SEPT_VE_DISABLE | 1), "Debug");
    for (attributes, what) in [
        (SEPT_VE_DISABLE | 1 << 4, "profiling"),
        (SEPT_VE_DISABLE | 1 << 29, "migration"),
        (SEPT_VE_DISABLE | 1 << 17, "service domains"),
        (SEPT_VE_DISABLE | 1 << 40, "reserved bits"),
        (0, "interruptible by the host"),
    ] {
        assert_eq!(domain.refused(attributes), "TdAttributes", "{what}");
    }
}

#[test]
fn quotes_and_collateral_are_of_one_kind() {
    let domain = Domain::new();
    let policy = Policy::strict(domain.pki.root.clone(), B256::ZERO, SIGNER);
    let sgx = domain.pki.collateral(&domain.machine, NOW).unwrap();
    let name = |quote: &[u8], collateral: &Collateral| policy.check(quote, collateral, NOW).unwrap_err().name();
    assert_eq!(name(&domain.quote(SEPT_VE_DISABLE, |_| ()), &sgx), "QeIdentityMalformed");
    assert_eq!(name(&domain.qe.encode(), &domain.collateral), "QeIdentityMalformed");
}

#[test]
fn edits_cuts_and_other_versions() {
    let domain = Domain::new();
    let quote = domain.quote(SEPT_VE_DISABLE, |_| ());
    let name = |quote: &[u8]| domain.check(quote).unwrap_err().name();
    let edited = |at: usize, byte: u8| {
        let mut edited = quote.clone();
        edited[at] = byte;
        name(&edited)
    };
    assert_eq!(edited(MRTD, 0), "QuoteSignature");
    assert_eq!(edited(TD_ATTRIBUTES, 1), "QuoteSignature");
    assert_eq!(edited(0, 3), "QuoteUnsupported");
    assert_eq!(edited(0, 6), "QuoteUnsupported");
    assert_eq!(edited(4, 0), "QuoteUnsupported");
    for length in 0..quote.len() {
        let name = name(&quote[..length]);
        assert!(["QuoteMalformed", "ChainMalformed"].contains(&name.as_str()), "{length}: {name}");
    }
    assert_eq!(name(&[&quote[..], &vec![0; MAX_QUOTE]].concat()), "QuoteMalformed");
    // The guest's quoting service pads quotes.
    domain.check(&[&quote[..], &[0; 70]].concat()).unwrap();
}
