//! Real quotes under Intel's real root, at the time their collateral was valid: see `samples/README.md`.
#![allow(missing_docs, clippy::unwrap_used)]

use alloy_primitives::{B256, U256, b256, keccak256};
use jove_tee::{
    Collateral, Kind, Pki, Policy, Quote, TcbStatus,
    quote::{ATTRIBUTE_DEBUG, Said, said},
    verify::INTEL_ROOT,
};

/// 2025-06-20, a day after the collateral was issued.
const NOW: u64 = 1_750_409_000;

fn sgx() -> (Vec<u8>, Collateral) {
    let collateral = serde_json::from_slice(include_bytes!("samples/sgx_quote_collateral.json")).unwrap();
    (include_bytes!("samples/sgx_quote").to_vec(), collateral)
}

fn tdx() -> (Vec<u8>, Collateral) {
    let collateral = serde_json::from_slice(include_bytes!("samples/tdx_quote_collateral.json")).unwrap();
    (include_bytes!("samples/tdx_quote").to_vec(), collateral)
}

fn sgx_policy() -> Policy {
    let report = Quote::parse(&sgx().0).unwrap().report;
    Policy {
        statuses: vec![TcbStatus::ConfigurationAndSWHardeningNeeded],
        ..Policy::strict(INTEL_ROOT.to_vec(), report.mrenclave, report.mrsigner)
    }
}

#[test]
fn the_root_is_intels() {
    assert_eq!(keccak256(INTEL_ROOT), b256!("0xa1acc73eb45794fa1734f14d882e91925b6006f79d3bb2460df9d01b333d7009"));
}

#[test]
fn what_a_quote_says_is_what_verification_finds() {
    let (sgx, collateral) = sgx();
    let verified = sgx_policy().check(&sgx, &collateral, NOW).unwrap();
    assert_eq!(said(&sgx).unwrap(), Said { measurement: verified.measurement, report_data: verified.report_data });
    let (quote, collateral) = tdx();
    let policy = Policy::strict(INTEL_ROOT.to_vec(), said(&quote).unwrap().measurement, B256::ZERO);
    let verified = policy.check(&quote, &collateral, NOW).unwrap();
    let expected = Said { measurement: verified.measurement, report_data: verified.report_data };
    assert_eq!(said(&quote).unwrap(), expected);
    // Version 5 has the type and the length of the report before it.
    let mut five = [&quote[..48], &2u16.to_le_bytes(), &584u32.to_le_bytes(), &quote[48..]].concat();
    five[0] = 5;
    assert_eq!(said(&five).unwrap(), expected);
    five[48] = 1;
    assert_eq!(said(&five).unwrap_err().name(), "QuoteUnsupported");
    for length in [0, 47, 48, 631] {
        assert_eq!(said(&quote[..length]).unwrap_err().name(), "QuoteMalformed");
    }
    assert_eq!(said(&vec![0; 20_000]).unwrap_err().name(), "QuoteMalformed");
    assert_eq!(said(&[0; 600]).unwrap_err().name(), "QuoteUnsupported");
}

#[test]
fn an_sgx_quote_verifies() {
    let (quote, collateral) = sgx();
    let verified = sgx_policy().check(&quote, &collateral, NOW).unwrap();
    assert_eq!(verified.kind, Kind::Sgx);
    assert_eq!(verified.fmspc, [0x00, 0xa0, 0x67, 0x11, 0, 0]);
    assert_eq!(verified.advisories, ["INTEL-SA-00289", "INTEL-SA-00615"]);
    assert_eq!((verified.evaluation, verified.pce_svn, verified.qe_svn), (17, 13, 10));
    assert_eq!(verified.pck_serial, "0x81b77732b761e98eb9b963a4abd1e5b9bf5dd8d6".parse::<U256>().unwrap());
    // QE identity's next update, 2025-07-19T10:01:18Z: the first end of all.
    assert_eq!(verified.expires, 1_752_919_278);
    assert_eq!(verified.quote_hash, keccak256(&quote));
}

#[test]
fn a_tdx_quote_verifies() {
    let (quote, collateral) = tdx();
    let mut policy = Policy::strict(INTEL_ROOT.to_vec(), B256::ZERO, B256::ZERO);
    let refused = policy.check(&quote, &collateral, NOW).unwrap_err();
    let jove_tee::Error::MeasurementNotAllowed(measurement) = refused else { panic!("{refused}") };
    // MRTD ‖ RTMR0–3 lie together at the end of the TD report but for the owner's three fields between.
    let (mrtd, rtmrs) = (48 + 136, 48 + 328);
    assert_eq!(measurement, keccak256([&quote[mrtd..mrtd + 48], &quote[rtmrs..rtmrs + 192]].concat()));
    policy.measurements = vec![measurement];
    let verified = policy.check(&quote, &collateral, NOW).unwrap();
    assert_eq!((verified.kind, verified.status), (Kind::Tdx, TcbStatus::UpToDate));
    assert_eq!(verified.report_data, quote[48 + 520..48 + 584]);
}

#[test]
fn not_before_and_not_after() {
    for (quote, collateral) in [sgx(), tdx()] {
        // Before and after the collateral; after the certificates.
        for (now, expected) in [
            (1_750_000_000, "CrlNotCurrent"),
            (1_762_000_000, "CrlNotCurrent"),
            (2_600_000_000, "CertificateNotCurrent"),
        ] {
            assert_eq!(sgx_policy().check(&quote, &collateral, now).unwrap_err().name(), expected, "{now}");
        }
    }
}

#[test]
fn not_under_another_root() {
    let policy = Policy { root: Pki::from_seed(&[1; 32]).unwrap().root, ..sgx_policy() };
    for (quote, collateral) in [sgx(), tdx()] {
        assert_eq!(policy.check(&quote, &collateral, NOW).unwrap_err().name(), "WrongRoot");
    }
}

#[test]
fn not_when_edited() {
    let (quote, collateral) = sgx();
    let refused = |at: usize, mask: u8| {
        let mut edited = quote.clone();
        edited[at] ^= mask;
        sgx_policy().check(&edited, &collateral, NOW).unwrap_err().name()
    };
    assert_eq!(refused(112, 1), "QuoteSignature", "measurement");
    assert_eq!(refused(96, ATTRIBUTE_DEBUG as u8), "QuoteSignature", "debug bit");
    assert_eq!(refused(431, 1), "QuoteSignature", "report data");
    assert_eq!(refused(600, 1), "QeReportSignature", "the quoting enclave's report");
    assert_eq!(refused(500, 1), "AttestationKeyUnbound", "attestation key");

    let (quote, mut collateral) = tdx();
    collateral.tcb_info = collateral.tcb_info.replacen("\"pcesvn\":11", "\"pcesvn\":10", 1);
    assert_eq!(sgx_policy().check(&quote, &collateral, NOW).unwrap_err().name(), "TcbInfoSignature");
}
