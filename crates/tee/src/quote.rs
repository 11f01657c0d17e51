//! The SGX DCAP quote, version 3: parsed and encoded.
//!
//! Layout, all integers little-endian (Intel SGX ECDSA QuoteLibReference DCAP API, appendix A.4; the report body is table 38-21
//! of the Software Developer's Manual, volume 3D):
//!
//! ```text
//!    0   2  version, 3                       header: 48 bytes
//!    2   2  attestation key type, 2: ECDSA with P-256
//!    4   4  TEE type, 0: SGX
//!    8   2  QE SVN
//!   10   2  PCE SVN
//!   12  16  QE vendor, Intel's UUID
//!   28  20  user data
//!   48 384  report body of the enclave       signed, with the header, by the attestation key
//!  432   4  length of what follows
//!  436  64  signature, r ‖ s, big-endian
//!  500  64  attestation key, x ‖ y, big-endian
//!  564 384  report body of the quoting enclave; its report data is SHA-256(attestation key ‖ QE authentication data) ‖ 0³²
//!  948  64  signature of that report by the machine's PCK key
//! 1012   2  length of the QE authentication data, 32
//! 1014  32  QE authentication data
//! 1046   2  certification data type, 5: the PCK certificate chain
//! 1048   4  its length
//! 1052      PEM: leaf, intermediate, root; Intel's quoting enclave ends it with a zero byte
//! ```
//!
//! [`Quote::parse`] is total: any bytes give a quote that encodes to the same bytes, or an error. It checks no signature.

use crate::Error;
use alloy_primitives::{B256, keccak256};

/// Most bytes of a quote, of any kind. Intel's with a PCK chain are about 5,000.
pub const MAX_QUOTE: usize = 16_384;
/// Bytes of a report body.
pub const REPORT_LENGTH: usize = 384;
/// Bytes that the attestation key signs: header and report body.
pub const SIGNED_LENGTH: usize = 48 + REPORT_LENGTH;
/// The vendor of Intel's quoting enclave, as a UUID's bytes.
pub const INTEL_QE_VENDOR: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];

/// Attribute: the enclave was initialized.
pub const ATTRIBUTE_INIT: u64 = 0x1;
/// Attribute: the host may read and write the enclave's memory.
pub const ATTRIBUTE_DEBUG: u64 = 0x2;
/// Attribute: the enclave runs in 64-bit mode.
pub const ATTRIBUTE_MODE64: u64 = 0x4;
/// Attribute: the enclave may derive provisioning keys, which identify the machine.
pub const ATTRIBUTE_PROVISION_KEY: u64 = 0x10;
/// Attribute: the enclave may derive the key that launches enclaves.
pub const ATTRIBUTE_EINITTOKEN_KEY: u64 = 0x20;

/// A report body: what an enclave is, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Security versions of the processor's parts.
    pub cpu_svn: [u8; 16],
    /// Extensions of the state that is saved when the enclave is interrupted.
    pub misc_select: u32,
    /// Zero in every report seen.
    pub reserved1: [u8; 12],
    /// Extended product id; zero without key separation and sharing.
    pub isv_ext_prod_id: [u8; 16],
    /// `ATTRIBUTES.FLAGS`: see the constants of this module.
    pub flags: u64,
    /// `ATTRIBUTES.XFRM`: processor state that the enclave may use.
    pub xfrm: u64,
    /// MRENCLAVE: the hash of how the enclave was built.
    pub mrenclave: B256,
    /// Zero in every report seen.
    pub reserved2: [u8; 32],
    /// MRSIGNER: the hash of the key that signed the enclave.
    pub mrsigner: B256,
    /// Zero in every report seen.
    pub reserved3: [u8; 32],
    /// Zero without key separation and sharing.
    pub config_id: [u8; 64],
    /// The signer's number for the product.
    pub isv_prod_id: u16,
    /// The signer's security version of the product.
    pub isv_svn: u16,
    /// Zero without key separation and sharing.
    pub config_svn: u16,
    /// Zero in every report seen.
    pub reserved4: [u8; 42],
    /// Zero without key separation and sharing.
    pub isv_family_id: [u8; 16],
    /// What the enclave says.
    pub report_data: [u8; 64],
}

impl Default for Report {
    fn default() -> Self {
        Self {
            cpu_svn: [0; 16],
            misc_select: 0,
            reserved1: [0; 12],
            isv_ext_prod_id: [0; 16],
            flags: 0,
            xfrm: 0,
            mrenclave: B256::ZERO,
            reserved2: [0; 32],
            mrsigner: B256::ZERO,
            reserved3: [0; 32],
            config_id: [0; 64],
            isv_prod_id: 0,
            isv_svn: 0,
            config_svn: 0,
            reserved4: [0; 42],
            isv_family_id: [0; 16],
            report_data: [0; 64],
        }
    }
}

impl Report {
    fn read(input: &mut Input<'_>) -> Result<Self, Error> {
        Ok(Self {
            cpu_svn: input.array()?,
            misc_select: u32::from_le_bytes(input.array()?),
            reserved1: input.array()?,
            isv_ext_prod_id: input.array()?,
            flags: u64::from_le_bytes(input.array()?),
            xfrm: u64::from_le_bytes(input.array()?),
            mrenclave: B256::new(input.array()?),
            reserved2: input.array()?,
            mrsigner: B256::new(input.array()?),
            reserved3: input.array()?,
            config_id: input.array()?,
            isv_prod_id: u16::from_le_bytes(input.array()?),
            isv_svn: u16::from_le_bytes(input.array()?),
            config_svn: u16::from_le_bytes(input.array()?),
            reserved4: input.array()?,
            isv_family_id: input.array()?,
            report_data: input.array()?,
        })
    }

    /// The 384 bytes.
    pub fn encode(&self) -> [u8; REPORT_LENGTH] {
        let fields: [&[u8]; 17] = [
            &self.cpu_svn,
            &self.misc_select.to_le_bytes(),
            &self.reserved1,
            &self.isv_ext_prod_id,
            &self.flags.to_le_bytes(),
            &self.xfrm.to_le_bytes(),
            self.mrenclave.as_slice(),
            &self.reserved2,
            self.mrsigner.as_slice(),
            &self.reserved3,
            &self.config_id,
            &self.isv_prod_id.to_le_bytes(),
            &self.isv_svn.to_le_bytes(),
            &self.config_svn.to_le_bytes(),
            &self.reserved4,
            &self.isv_family_id,
            &self.report_data,
        ];
        let mut bytes = [0; REPORT_LENGTH];
        let mut at = 0;
        for field in fields {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        }
        bytes
    }

    /// Whether the host may look into the enclave.
    pub fn is_debug(&self) -> bool {
        self.flags & ATTRIBUTE_DEBUG != 0
    }
}

/// An SGX quote, version 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Security version of the quoting enclave.
    pub qe_svn: u16,
    /// Security version of the provisioning certification enclave.
    pub pce_svn: u16,
    /// Intel's quoting enclave writes an id of the machine into the first 16 bytes.
    pub user_data: [u8; 20],
    /// The enclave's report.
    pub report: Report,
    /// The attestation key's signature over header and report, r ‖ s.
    pub signature: [u8; 64],
    /// The attestation key, x ‖ y.
    pub attestation_key: [u8; 64],
    /// The quoting enclave's report, which names the attestation key.
    pub qe_report: Report,
    /// The PCK key's signature over the quoting enclave's report, r ‖ s.
    pub qe_report_signature: [u8; 64],
    /// What the quoting enclave hashes with the attestation key.
    pub qe_auth_data: [u8; 32],
    /// PEM: PCK certificate, its issuer, the root.
    pub pck_chain: Vec<u8>,
}

impl Quote {
    /// Reads a quote.
    ///
    /// # Errors
    /// [`Error::QuoteMalformed`] where a length is wrong, [`Error::QuoteUnsupported`] where it is another kind of quote.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_QUOTE {
            return Err(Error::QuoteMalformed("too long"));
        }
        let mut input = Input(bytes);
        for (expected, reason) in [
            (3, "the version is not 3"),
            (2, "the attestation key is not ECDSA with P-256"),
            (0, "not of SGX"),
            (0, "not of SGX"),
        ] {
            if u16::from_le_bytes(input.array()?) != expected {
                return Err(Error::QuoteUnsupported(reason));
            }
        }
        let qe_svn = u16::from_le_bytes(input.array()?);
        let pce_svn = u16::from_le_bytes(input.array()?);
        if input.array()? != INTEL_QE_VENDOR {
            return Err(Error::QuoteUnsupported("not of Intel's quoting enclave"));
        }
        let user_data = input.array()?;
        let report = Report::read(&mut input)?;
        if u32::from_le_bytes(input.array()?) as usize != input.0.len() {
            return Err(Error::QuoteMalformed("the signature data's length is wrong"));
        }
        let signature = input.array()?;
        let attestation_key = input.array()?;
        let qe_report = Report::read(&mut input)?;
        let qe_report_signature = input.array()?;
        if u16::from_le_bytes(input.array()?) != 32 {
            return Err(Error::QuoteUnsupported("the QE authentication data is not 32 bytes"));
        }
        let qe_auth_data = input.array()?;
        if u16::from_le_bytes(input.array()?) != 5 {
            return Err(Error::QuoteUnsupported("the certification data is no PCK certificate chain"));
        }
        if u32::from_le_bytes(input.array()?) as usize != input.0.len() {
            return Err(Error::QuoteMalformed("the certification data's length is wrong"));
        }
        Ok(Self {
            qe_svn,
            pce_svn,
            user_data,
            report,
            signature,
            attestation_key,
            qe_report,
            qe_report_signature,
            qe_auth_data,
            pck_chain: input.0.to_vec(),
        })
    }

    /// The quote's bytes. A chain of over 4 GiB would not fit its length field; [`Quote::parse`] allows far less.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.signed().to_vec();
        let chain_length = self.pck_chain.len() as u32;
        bytes.extend((616 + chain_length).to_le_bytes());
        bytes.extend(self.signature);
        bytes.extend(self.attestation_key);
        bytes.extend(self.qe_report.encode());
        bytes.extend(self.qe_report_signature);
        bytes.extend(32u16.to_le_bytes());
        bytes.extend(self.qe_auth_data);
        bytes.extend(5u16.to_le_bytes());
        bytes.extend(chain_length.to_le_bytes());
        bytes.extend(&self.pck_chain);
        bytes
    }

    /// The bytes that the attestation key signs: header and report.
    pub fn signed(&self) -> [u8; SIGNED_LENGTH] {
        let mut bytes = [0; SIGNED_LENGTH];
        bytes[0] = 3;
        bytes[2] = 2;
        bytes[8..10].copy_from_slice(&self.qe_svn.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.pce_svn.to_le_bytes());
        bytes[12..28].copy_from_slice(&INTEL_QE_VENDOR);
        bytes[28..48].copy_from_slice(&self.user_data);
        bytes[48..].copy_from_slice(&self.report.encode());
        bytes
    }
}

/// The bytes not read yet.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Error::QuoteMalformed("cut short"))?;
        self.0 = rest;
        Ok(*head)
    }
}

/// What the program in a quote is, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// MRENCLAVE, or of a trust domain keccak256(MRTD ‖ RTMR0 ‖ RTMR1 ‖ RTMR2 ‖ RTMR3).
    pub measurement: B256,
    /// Its report data.
    pub report_data: [u8; 64],
}

/// Reads what a quote of any kind says: SGX of version 3, TDX of version 4 or 5. Its signatures are not checked, nor what follows a trust domain's report: the
/// bytes come from this machine's own device.
///
/// A TDX quote has the same 48 bytes of header with TEE type 0x81; in version 5 follow 2 bytes with the report's type (2 to 4) and 4 with its length. A
/// report, of any type, begins with TDX 1.0's, of 584 bytes: MRTD at 136, RTMR0 to 3 from 328 on, report data at 520 (Intel TDX DCAP Quoting Library API, appendix A.3).
///
/// # Errors
/// [`Error::QuoteMalformed`], [`Error::QuoteUnsupported`].
pub fn said(quote: &[u8]) -> Result<Said, Error> {
    const CUT: Error = Error::QuoteMalformed("cut short");
    if quote.len() > MAX_QUOTE {
        return Err(Error::QuoteMalformed("too long"));
    }
    let header = quote.get(..48).ok_or(CUT)?;
    let body = match (&header[..2], &header[4..8]) {
        ([3, 0], _) => {
            let report = Quote::parse(quote)?.report;
            return Ok(Said { measurement: report.mrenclave, report_data: report.report_data });
        }
        ([4, 0], [0x81, 0, 0, 0]) => &quote[48..],
        ([5, 0], [0x81, 0, 0, 0]) if matches!(quote.get(48..50), Some([2..=4, 0])) => quote.get(54..).ok_or(CUT)?,
        _ => return Err(Error::QuoteUnsupported("neither SGX version 3 nor TDX version 4 or 5")),
    };
    let body = body.get(..584).ok_or(CUT)?;
    let mut report_data = [0; 64];
    report_data.copy_from_slice(&body[520..]);
    Ok(Said { measurement: keccak256([&body[136..184], &body[328..520]].concat()), report_data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A real quote: see `tests/samples/README.md`.
    const INTEL: &[u8] = include_bytes!("../tests/samples/sgx_quote");

    #[test]
    fn reads_a_real_quote() {
        let quote = Quote::parse(INTEL).unwrap();
        assert_eq!(quote.encode(), INTEL);
        assert_eq!((quote.qe_svn, quote.pce_svn), (10, 15));
        assert_eq!(quote.report.flags & ATTRIBUTE_INIT, ATTRIBUTE_INIT);
        assert!(!quote.report.is_debug());
        assert_eq!((quote.qe_report.isv_prod_id, quote.qe_report.isv_svn), (1, 10));
        assert!(quote.pck_chain.starts_with(b"-----BEGIN CERTIFICATE-----\n") && quote.pck_chain.ends_with(b"\n\0"));
    }

    #[test]
    fn fields_are_where_the_layout_says() {
        let report = Report {
            cpu_svn: [1; 16],
            misc_select: 0x0202_0202,
            flags: u64::from_le_bytes([3; 8]),
            xfrm: u64::from_le_bytes([4; 8]),
            mrenclave: B256::repeat_byte(5),
            mrsigner: B256::repeat_byte(6),
            isv_prod_id: 0x0707,
            isv_svn: 0x0808,
            report_data: [9; 64],
            ..Report::default()
        };
        let bytes = report.encode();
        for (range, byte) in [
            (0..16, 1),
            (16..20, 2),
            (48..56, 3),
            (56..64, 4),
            (64..96, 5),
            (128..160, 6),
            (256..258, 7),
            (258..260, 8),
            (320..384, 9),
        ] {
            assert!(bytes[range.clone()].iter().all(|found| *found == byte), "{range:?}");
        }
        assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 16 + 4 + 16 + 64 + 4 + 64);
    }

    #[test]
    fn refuses_by_name() {
        let refused = |at: usize, byte: u8| {
            let mut bytes = INTEL.to_vec();
            bytes[at] = byte;
            Quote::parse(&bytes).unwrap_err().to_string()
        };
        assert_eq!(refused(0, 4), "unsupported quote: the version is not 3");
        assert_eq!(refused(2, 3), "unsupported quote: the attestation key is not ECDSA with P-256");
        assert_eq!(refused(4, 0x81), "unsupported quote: not of SGX");
        assert_eq!(refused(6, 1), "unsupported quote: not of SGX");
        assert_eq!(refused(12, 0), "unsupported quote: not of Intel's quoting enclave");
        assert_eq!(refused(432, 0), "malformed quote: the signature data's length is wrong");
        assert_eq!(refused(1012, 31), "unsupported quote: the QE authentication data is not 32 bytes");
        assert_eq!(refused(1046, 6), "unsupported quote: the certification data is no PCK certificate chain");
        assert_eq!(refused(1051, 1), "malformed quote: the certification data's length is wrong");
        assert_eq!(Quote::parse(&vec![0; MAX_QUOTE + 1]).unwrap_err().to_string(), "malformed quote: too long");
        for length in 0..INTEL.len() {
            assert_eq!(Quote::parse(&INTEL[..length]).unwrap_err().name(), "QuoteMalformed", "{length}");
        }
        let longer = [INTEL, &[0]].concat();
        assert_eq!(
            Quote::parse(&longer).unwrap_err().to_string(),
            "malformed quote: the signature data's length is wrong"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_quote_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            if let Ok(quote) = Quote::parse(&bytes) {
                prop_assert_eq!(quote.encode(), bytes);
            }
        }

        /// Mutations of a real quote get further than noise does.
        #[test]
        fn mutations_give_a_quote_or_an_error(
            edits in prop::collection::vec((0..INTEL.len(), any::<u8>()), 0..6),
            cut in prop::option::of(0..INTEL.len()),
            tail in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut bytes = INTEL.to_vec();
            for (at, byte) in edits {
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut);
            }
            bytes.extend(tail);
            if let Ok(quote) = Quote::parse(&bytes) {
                prop_assert_eq!(quote.encode(), bytes);
            }
        }
    }
}
