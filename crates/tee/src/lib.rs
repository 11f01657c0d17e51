//! Quotes of trusted execution environments: made, parsed, verified.
//!
//! A quote is a machine's word for what program runs in it and for 64 bytes of that program's choice. Intel's hardware signs
//! it with keys that lead to Intel's root; a verifier needs besides the quote what Intel publishes: revocation lists, TCB info
//! (what security versions machines should have) and QE identity (the same of the enclave that signs quotes), together the
//! *collateral*.
//!
//! ```text
//!  enclave program ── report data ──► QuoteSource ── quote ──► Policy::check, and DcapVerifier on L1
//!    a key born inside                Gramine · Tsm             against collateral, root and policy
//!                                     Software: the development root
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | [`quote`] | the SGX quote, version 3, to the byte |
//! | [`report_data`] | what an enclave says: the key it was born with, for whom, where, when |
//! | [`source`] | the trait of what makes quotes |
//! | [`gramine`] | quotes of SGX enclaves in Gramine |
//! | [`tsm`] | quotes of TDX trust domains |
//! | [`software`] | quotes for development, on any machine |
//! | [`pki`], [`platform`], [`collateral`] | the development root: **not Intel's** |
//! | [`bundle`] | collateral in the parts and forms that it is published in |
//! | [`verify`] | whether to believe a quote |
//!
//! Feature `verify`, on by default, brings collateral and verification, with `dcap-qvl`. An enclave program makes quotes and believes none: it does without.
//!
//! A production chain trusts [`verify::INTEL_ROOT`]. The development root exists so that every check runs, and can be made to
//! fail, without the hardware.

#[cfg(feature = "verify")]
pub mod bundle;
#[cfg(feature = "verify")]
pub mod collateral;
pub mod error;
pub mod gramine;
pub mod pki;
pub mod platform;
pub mod quote;
pub mod report_data;
pub mod software;
pub mod source;
pub mod tsm;
#[cfg(feature = "verify")]
pub mod verify;

#[cfg(feature = "verify")]
mod chain;

#[cfg(feature = "verify")]
pub use bundle::Bundle;
/// What Intel publishes about machines, as one verification needs it.
#[cfg(feature = "verify")]
pub use dcap_qvl::QuoteCollateralV3 as Collateral;
/// What Intel thinks of a security version.
#[cfg(feature = "verify")]
pub use dcap_qvl::TcbStatus;
pub use error::Error;
pub use gramine::Gramine;
pub use pki::Pki;
pub use platform::{PckCa, Platform};
pub use quote::{Quote, Report};
pub use report_data::Binding;
pub use software::Software;
pub use source::{Kind, QuoteSource};
pub use tsm::Tsm;
#[cfg(feature = "verify")]
pub use verify::{Policy, Verified};
