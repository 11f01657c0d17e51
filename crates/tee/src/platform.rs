//! A machine as its PCK certificate describes it.
//!
//! The certificate's extension 1.2.840.113741.1.13.1 is a sequence of (object identifier, value), each identifier one or two
//! arcs below the extension's own (Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, 1.3.5):
//!
//! ```text
//! .1  PPID                 OCTET STRING, 16 bytes: which machine
//! .2  TCB                  .1–.16 components, .17 PCESVN: INTEGER; .18 CPUSVN: OCTET STRING, 16 bytes
//! .3  PCEID                OCTET STRING, 2 bytes
//! .4  FMSPC                OCTET STRING, 6 bytes: family, model, stepping, platform type, customization
//! .5  SGX type             ENUMERATED: 0 standard, 1 scalable
//! .6  platform instance    OCTET STRING, 16 bytes       only below the platform CA
//! .7  configuration        .1 dynamic platform, .2 cached keys, .3 SMT: BOOLEAN       only below the platform CA
//! ```

use crate::{
    Error,
    pki::{Certificate, Key, PCK_NAME, PLATFORM_CA_NAME, PROCESSOR_CA_NAME, Pki, Role},
};
use sha2::{Digest, Sha256};

/// Who certifies a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PckCa {
    /// Machines with one processor package.
    Processor,
    /// Machines with several.
    Platform,
}

/// A machine.
#[derive(Clone, Debug)]
pub struct Platform {
    /// Which machine.
    pub ppid: [u8; 16],
    /// Security versions of the processor's parts. Here each component is its byte.
    pub cpu_svn: [u8; 16],
    /// Security version of the provisioning certification enclave.
    pub pce_svn: u16,
    /// Which provisioning certification enclave.
    pub pce_id: [u8; 2],
    /// Family, model, stepping, platform type, customization.
    pub fmspc: [u8; 6],
    /// Who certifies it.
    pub ca: PckCa,
}

impl Platform {
    /// A development machine: those of one number are one machine under every seed.
    pub fn development(number: u64) -> Self {
        let mut ppid = [0; 16];
        let hash =
            Sha256::new().chain_update(b"jove.tee.development.machine").chain_update(number.to_be_bytes()).finalize();
        ppid.copy_from_slice(&hash[..16]);
        Self {
            ppid,
            // 255 needs two bytes as an INTEGER: real machines have it too.
            cpu_svn: [11, 11, 2, 2, 3, 1, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0],
            pce_svn: 13,
            pce_id: [0, 0],
            // No processor has this family.
            fmspc: [0xff, 0x4a, 0x4f, 0x56, 0x45, 0x00],
            ca: PckCa::Platform,
        }
    }

    /// The content of the SGX extension.
    pub fn extension(&self) -> Vec<u8> {
        let mut tcb = Vec::new();
        for (arc, svn) in (1..).zip(self.cpu_svn) {
            tcb.extend(entry(&[2, arc], &integer(u16::from(svn))));
        }
        tcb.extend(entry(&[2, 17], &integer(self.pce_svn)));
        tcb.extend(entry(&[2, 18], &der(OCTET_STRING, &self.cpu_svn)));
        let mut content = entry(&[1], &der(OCTET_STRING, &self.ppid));
        content.extend(entry(&[2], &der(SEQUENCE, &tcb)));
        content.extend(entry(&[3], &der(OCTET_STRING, &self.pce_id)));
        content.extend(entry(&[4], &der(OCTET_STRING, &self.fmspc)));
        content.extend(entry(&[5], &der(ENUMERATED, &[u8::from(self.ca == PckCa::Platform)])));
        if self.ca == PckCa::Platform {
            content.extend(entry(&[6], &der(OCTET_STRING, &self.ppid)));
            let flags = [(1, 0xff), (2, 0), (3, 0xff)].map(|(arc, value)| entry(&[7, arc], &der(BOOLEAN, &[value])));
            content.extend(entry(&[7], &der(SEQUENCE, &flags.concat())));
        }
        der(SEQUENCE, &content)
    }
}

impl Pki {
    /// The key that certifies `platform`'s quoting enclave.
    pub fn pck_key(&self, platform: &Platform) -> Key {
        self.key(&format!("pck {}", alloy_primitives::hex::encode(platform.ppid)))
    }

    /// What `platform`'s certificate says.
    pub fn pck(&self, platform: &Platform) -> Certificate {
        let mut pck = Certificate::new(PCK_NAME, &self.pck_key(platform), Role::Leaf);
        pck.sgx_extension = Some(platform.extension());
        pck
    }

    /// `platform`'s certificate chain: leaf, intermediate, root, each as DER.
    ///
    /// # Errors
    /// [`Error::Certificate`], if ever.
    pub fn pck_chain(&self, platform: &Platform) -> Result<[Vec<u8>; 3], Error> {
        let (name, key, ca) = match platform.ca {
            PckCa::Processor => (PROCESSOR_CA_NAME, &self.processor_key, &self.processor_ca),
            PckCa::Platform => (PLATFORM_CA_NAME, &self.platform_key, &self.platform_ca),
        };
        let leaf = self.pck(platform).sign(&self.pck_key(platform), name, key)?;
        Ok([leaf, ca.clone(), self.root.clone()])
    }
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const SEQUENCE: u8 = 0x30;

/// A DER value of less than 65,536 bytes, which all here are.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = vec![tag];
    match length {
        0..128 => bytes.push(length as u8),
        128..256 => bytes.extend([0x81, length as u8]),
        _ => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    bytes.extend(content);
    bytes
}

/// A non-negative INTEGER: no leading zero byte but where the next one has its highest bit set.
fn integer(value: u16) -> Vec<u8> {
    let bytes = [0, (value >> 8) as u8, value as u8];
    let skip = usize::from(value < 0x8000) + usize::from(value < 0x80);
    der(INTEGER, &bytes[skip..])
}

/// (object identifier below Intel's extension, value).
fn entry(arcs: &[u8], value: &[u8]) -> Vec<u8> {
    // 1.2.840.113741.1.13.1
    let identifier = [&[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01], arcs].concat();
    der(SEQUENCE, &[der(OBJECT_IDENTIFIER, &identifier), value.to_vec()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_minimal() {
        for (value, expected) in [
            (0, vec![0]),
            (127, vec![127]),
            (128, vec![0, 128]),
            (255, vec![0, 255]),
            (256, vec![1, 0]),
            (0x8000, vec![0, 0x80, 0]),
        ] {
            assert_eq!(integer(value), [vec![INTEGER, expected.len() as u8], expected].concat(), "{value}");
        }
    }

    #[test]
    fn the_extension_says_what_the_platform_is() {
        let pki = Pki::from_seed(&[1; 32]).unwrap();
        for ca in [PckCa::Processor, PckCa::Platform] {
            let platform = Platform { ca, pce_svn: 0x1234, ..Platform::development(5) };
            let [leaf, _, _] = pki.pck_chain(&platform).unwrap();
            let read = dcap_qvl::intel::parse_pck_extension(&leaf).unwrap();
            assert_eq!(
                (read.ppid.as_slice(), read.cpu_svn, read.pce_svn),
                (&platform.ppid[..], platform.cpu_svn, 0x1234)
            );
            assert_eq!((read.pce_id.as_slice(), read.fmspc), (&platform.pce_id[..], platform.fmspc));
            assert_eq!(read.smt_enabled, (ca == PckCa::Platform).then_some(true));
            assert_eq!(read.cached_keys, (ca == PckCa::Platform).then_some(false));
            assert_eq!(read.sgx_type, u64::from(ca == PckCa::Platform));
        }
    }

    #[test]
    fn machines_differ() {
        assert_eq!(Platform::development(1).ppid, Platform::development(1).ppid);
        assert_ne!(Platform::development(1).ppid, Platform::development(2).ppid);
        let pki = Pki::from_seed(&[1; 32]).unwrap();
        let key = |number| pki.pck_key(&Platform::development(number)).public();
        assert_ne!(key(1), key(2));
    }
}
