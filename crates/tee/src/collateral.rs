//! TCB info, QE identity and revocation lists of the development root: what Intel publishes about its machines.
//!
//! TCB info v3 and QE identity v2 as Intel's Provisioning Certification Service has them (API v4): compact JSON, members in
//! Intel's order, hexadecimal digits in upper case, times in UTC to the second. The signature covers the JSON's bytes.

use crate::{
    Error, Platform,
    pki::{Crl, PLATFORM_CA_NAME, PROCESSOR_CA_NAME, Pki, ROOT_NAME, pem},
    platform::PckCa,
};
use alloy_primitives::hex;
use dcap_qvl::{QuoteCollateralV3, TcbStatus};
use std::{fmt::Write, time::Duration};
use time::OffsetDateTime;

/// How long development collateral is valid, in seconds: 30 days, as Intel's.
pub const COLLATERAL_SECONDS: u64 = 30 * 86_400;
/// The evaluation that development collateral is of.
pub const EVALUATION: u32 = 17;
pub use crate::software::{QE_SIGNER, QE_VERSION};

/// A level of TCB info: what a machine must reach, and what is thought of one that does.
#[derive(Clone, Debug)]
pub struct TcbLevel {
    /// Least security versions of the processor's parts.
    pub components: [u8; 16],
    /// Least security version of the provisioning certification enclave.
    pub pce_svn: u16,
    /// Unix seconds.
    pub date: u64,
    /// What is thought of it.
    pub status: TcbStatus,
    /// Names of Intel's advisories that apply.
    pub advisories: Vec<String>,
}

/// TCB info v3.
#[derive(Clone, Debug)]
pub struct TcbInfo {
    /// `SGX` or `TDX`.
    pub id: &'static str,
    /// 3.
    pub version: u8,
    /// From and until, Unix seconds.
    pub validity: (u64, u64),
    /// Family, model and platform of the machines meant.
    pub fmspc: [u8; 6],
    /// The provisioning certification enclave meant.
    pub pce_id: [u8; 2],
    /// Grows with each of Intel's evaluations.
    pub evaluation: u32,
    /// Best first.
    pub levels: Vec<TcbLevel>,
    /// Whether each component says what it is, as Intel's newer TCB infos do.
    pub categories: bool,
}

/// What Intel says the first components are.
const CATEGORIES: [(&str, &str); 8] = [
    ("BIOS", "Early Microcode Update"),
    ("OS/VMM", "SGX Late Microcode Update"),
    ("OS/VMM", "TXT SINIT"),
    ("BIOS", ""),
    ("BIOS", ""),
    ("BIOS", ""),
    ("", ""),
    ("OS/VMM", "SEAMLDR ACM"),
];

impl TcbInfo {
    /// One by which `platform` is up to date, valid from `issued` on.
    pub fn new(platform: &Platform, issued: u64) -> Self {
        Self {
            id: "SGX",
            version: 3,
            validity: (issued, issued + COLLATERAL_SECONDS),
            fmspc: platform.fmspc,
            pce_id: platform.pce_id,
            evaluation: EVALUATION,
            levels: vec![TcbLevel {
                components: platform.cpu_svn,
                pce_svn: platform.pce_svn,
                date: issued,
                status: TcbStatus::UpToDate,
                advisories: vec![],
            }],
            categories: false,
        }
    }

    /// The JSON that is signed.
    pub fn json(&self) -> String {
        let mut json = format!(
            r#"{{"id":"{}","version":{},"issueDate":"{}","nextUpdate":"{}","fmspc":"{}","pceId":"{}","tcbType":0,"tcbEvaluationDataNumber":{},"tcbLevels":["#,
            self.id,
            self.version,
            rfc3339(self.validity.0),
            rfc3339(self.validity.1),
            hex::encode_upper(self.fmspc),
            hex::encode_upper(self.pce_id),
            self.evaluation
        );
        for (index, level) in self.levels.iter().enumerate() {
            json += if index == 0 { r#"{"tcb":{"sgxtcbcomponents":["# } else { r#",{"tcb":{"sgxtcbcomponents":["# };
            for (index, svn) in level.components.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                let (category, kind) = *CATEGORIES.get(index).filter(|_| self.categories).unwrap_or(&("", ""));
                let member = |name, value: &str| match value {
                    "" => String::new(),
                    value => format!(r#","{name}":"{value}""#),
                };
                // Writing to a string does not fail.
                let _ =
                    write!(json, r#"{comma}{{"svn":{svn}{}{}}}"#, member("category", category), member("type", kind));
            }
            let (date, status) = (rfc3339(level.date), level.status);
            let _ = write!(json, r#"],"pcesvn":{}}},"tcbDate":"{date}","tcbStatus":"{status}""#, level.pce_svn);
            json += &advisories(&level.advisories);
            json += "}";
        }
        json + "]}"
    }
}

/// QE identity v2.
#[derive(Clone, Debug)]
pub struct QeIdentity {
    /// `QE` or `TD_QE`.
    pub id: &'static str,
    /// 2.
    pub version: u8,
    /// From and until, Unix seconds.
    pub validity: (u64, u64),
    /// Grows with each of Intel's evaluations.
    pub evaluation: u32,
    /// MRSIGNER of the quoting enclave.
    pub mrsigner: [u8; 32],
    /// Its product id.
    pub isv_prod_id: u16,
    /// Least security version and what is thought of it, best first.
    pub levels: Vec<(u16, TcbStatus)>,
}

impl QeIdentity {
    /// The development quoting enclave's, by which it is up to date, valid from `issued` on.
    pub fn new(issued: u64) -> Self {
        Self {
            id: "QE",
            version: 2,
            validity: (issued, issued + COLLATERAL_SECONDS),
            evaluation: EVALUATION,
            mrsigner: QE_SIGNER,
            isv_prod_id: QE_VERSION.0,
            levels: vec![(QE_VERSION.1, TcbStatus::UpToDate)],
        }
    }

    /// The JSON that is signed. Attributes are masked already, as Intel's: verifiers on chain do not mask them.
    pub fn json(&self) -> String {
        let (issued, until) = (rfc3339(self.validity.0), rfc3339(self.validity.1));
        let levels = self.levels.iter().map(|(svn, status)| {
            format!(r#"{{"tcb":{{"isvsvn":{svn}}},"tcbDate":"{issued}","tcbStatus":"{status}"}}"#)
        });
        format!(
            r#"{{"id":"{}","version":{},"issueDate":"{issued}","nextUpdate":"{until}","tcbEvaluationDataNumber":{},"miscselect":"00000000","miscselectMask":"FFFFFFFF","attributes":"11000000000000000000000000000000","attributesMask":"FBFFFFFFFFFFFFFF0000000000000000","mrsigner":"{}","isvprodid":{},"tcbLevels":[{}]}}"#,
            self.id,
            self.version,
            self.evaluation,
            hex::encode_upper(self.mrsigner),
            self.isv_prod_id,
            levels.collect::<Vec<_>>().join(",")
        )
    }
}

fn advisories(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(r#","advisoryIDs":["{}"]"#, names.join(r#"",""#)) }
}

/// Unix seconds as `2026-11-21T19:08:00Z`.
pub fn rfc3339(seconds: u64) -> String {
    let time = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", time.hour(), time.minute(), time.second())
}

impl Pki {
    /// Collateral by which `platform` is up to date, valid for [`COLLATERAL_SECONDS`] from `issued` on.
    ///
    /// # Errors
    /// [`Error::Certificate`], if ever.
    pub fn collateral(&self, platform: &Platform, issued: u64) -> Result<QuoteCollateralV3, Error> {
        let crl = Crl { validity: (issued, issued + COLLATERAL_SECONDS), number: 1, revoked: vec![] };
        let (ca, name, key) = match platform.ca {
            PckCa::Processor => (&self.processor_ca, PROCESSOR_CA_NAME, &self.processor_key),
            PckCa::Platform => (&self.platform_ca, PLATFORM_CA_NAME, &self.platform_key),
        };
        let signers = pem(&[&self.tcb_signer, &self.root]);
        let (tcb_info, qe_identity) = (TcbInfo::new(platform, issued).json(), QeIdentity::new(issued).json());
        Ok(QuoteCollateralV3 {
            pck_crl_issuer_chain: pem(&[ca, &self.root]),
            root_ca_crl: crl.sign(ROOT_NAME, &self.root_key)?,
            pck_crl: crl.sign(name, key)?,
            tcb_info_issuer_chain: signers.clone(),
            tcb_info_signature: self.tcb_key.sign(tcb_info.as_bytes()).to_vec(),
            tcb_info,
            qe_identity_issuer_chain: signers,
            qe_identity_signature: self.tcb_key.sign(qe_identity.as_bytes()).to_vec(),
            qe_identity,
            pck_certificate_chain: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_to_the_second() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_709_164_799), "2024-02-28T23:59:59Z");
        assert_eq!(rfc3339(1_709_164_800), "2024-02-29T00:00:00Z");
    }

    #[test]
    fn json_is_as_intels() {
        let mut info = TcbInfo::new(&Platform::development(0), 1_700_000_000);
        info.levels[0].advisories = vec!["INTEL-SA-00615".into(), "INTEL-SA-00289".into()];
        info.categories = true;
        let second = info.levels[0].clone();
        info.levels.push(second);
        let read: dcap_qvl::TcbInfo = serde_json::from_str(&info.json()).unwrap();
        assert_eq!((read.id.as_str(), read.version, read.tcb_levels.len()), ("SGX", 3, 2));
        assert_eq!(read.tcb_levels[1].advisory_ids, info.levels[1].advisories);
        assert_eq!(read.tcb_levels[0].tcb.sgx_components[0].svn, info.levels[0].components[0]);
        assert!(info.json().contains(r#"{"svn":255,"category":"OS/VMM","type":"SEAMLDR ACM"}"#), "{}", info.json());
        // A real one, member by member in the same order: see `tests/samples/README.md`.
        let names = |json: &str| -> Vec<String> {
            let mut depth = 0;
            let mut names = vec![];
            for (index, character) in json.char_indices() {
                match character {
                    '{' | '[' => depth += 1,
                    '}' | ']' => depth -= 1,
                    '"' if depth == 1 => {
                        let rest = &json[index + 1..];
                        if let Some(name) = rest.find("\":").map(|end| &rest[..end]).filter(|name| !name.contains('"'))
                        {
                            names.push(name.to_string());
                        }
                    }
                    _ => (),
                }
            }
            names
        };
        let real: QuoteCollateralV3 =
            serde_json::from_slice(include_bytes!("../tests/samples/sgx_quote_collateral.json")).unwrap();
        assert_eq!(names(&info.json()), names(&real.tcb_info));
        assert_eq!(names(&QeIdentity::new(0).json()), names(&real.qe_identity));
        assert_eq!(names(&real.tcb_info).len(), 9);
    }
}
