//! Collateral on its way into `Pccs`, and what is in it.
//!
//! [`upload`] puts in of a [`Bundle`] whatever the contract does not have newer, in the order that it wants: the root's revocation list, then certificates of
//! issuers, then what those have signed. The contract is the judge: each part is tried as a call first. One that it refuses with `NotNewer` is there already; any
//! other refusal ends the upload with the error's name. So an upload that was interrupted, or that somebody else was faster with, is the same upload again.
//!
//! A revocation list with more new entries than a transaction has gas for goes in by parts before it goes in whole.

use super::Registry;
use crate::{
    Error, Wallet,
    contracts::{Pccs, ask},
    wallet::Call,
};
use alloy_eips::{BlockNumberOrTag, eip7825};
use alloy_primitives::{Address, B256, Bytes, FixedBytes, TxHash, U256, hex, keccak256};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_sol_types::SolCall;
use jove_tee::{
    Bundle,
    bundle::{IssuerCertificate, Place, RevocationList, Statement},
};
use std::collections::BTreeMap;

/// Number of the root in `Pccs`.
const ROOT: u32 = 1;
/// Entries of a revocation list that go in at once: some 23,000 gas each.
const PART: usize = 400;
/// Most issuers that are looked at. Intel has three; only the root can make more.
const MAX_ISSUERS: u32 = 64;

/// A kind of machine: FMSPC and PCE id.
pub type Machines = ([u8; 6], [u8; 2]);

/// A part of the collateral on chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is, for people.
    pub name: String,
    /// When it was issued, Unix seconds; of certificates, 0.
    pub from: u64,
    /// When it ends, Unix seconds; 0 if there is none.
    pub until: u64,
    /// Of TCB info and QE identity, which of Intel's evaluations it is of.
    pub evaluation: Option<u32>,
}

impl Part {
    /// Seconds until it ends.
    pub fn left(&self, now: u64) -> u64 {
        self.until.saturating_sub(now)
    }
}

/// The collateral on chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// keccak256 of the root's certificate.
    pub root: B256,
    /// Whether the root is one for development, under which anyone makes quotes.
    pub is_test: bool,
    /// The time on L1, Unix seconds.
    pub now: u64,
    /// The certificate of the root, its list, issuers and their lists, TCB info of the machines asked about, QE identity.
    pub parts: Vec<Part>,
}

impl Stored {
    /// What ends within `margin` seconds, has ended, or is not there.
    pub fn ending(&self, margin: u64) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(move |part| part.left(self.now) < margin)
    }
}

/// A transaction of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// What was put in.
    pub what: String,
    /// Gas that it took.
    pub gas: u64,
}

/// The collateral on chain, with TCB info of these machines, and of those that events since block `first` name.
///
/// # Errors
/// As [`crate::L1::request`].
pub async fn stored(registry: &Registry, machines: &[Machines], first: u64) -> Result<Stored, Error> {
    let (l1, pccs) = (registry.l1(), registry.contracts().pccs);
    let mut parts = Vec::new();
    let mut part = |name: String, from: u64, until: u64, evaluation| parts.push(Part { name, from, until, evaluation });
    let root_until = ask(l1, pccs, &Pccs::rootUntilCall {}).await?;
    part("root's certificate".into(), 0, root_until.to(), None);
    let list = ask(l1, pccs, &Pccs::crlOfCall { issuer: ROOT }).await?;
    part("root's revocation list".into(), list.from.to(), list.until.to(), None);
    let count = ask(l1, pccs, &Pccs::issuerCountCall {}).await?;
    let mut roles = [false; 2];
    for number in 2..=count.min(MAX_ISSUERS) {
        let issuer = ask(l1, pccs, &Pccs::issuerOfCall { number }).await?;
        if issuer.role == Place::PckCa.role() {
            roles[0] = true;
            part(format!("certificate of PCK CA {number}"), 0, issuer.until.to(), None);
            let list = ask(l1, pccs, &Pccs::crlOfCall { issuer: number }).await?;
            part(format!("revocation list of PCK CA {number}"), list.from.to(), list.until.to(), None);
        } else {
            roles[1] = true;
            part(format!("certificate of TCB signer {number}"), 0, issuer.until.to(), None);
        }
    }
    for (there, name) in roles.into_iter().zip(["certificate of a PCK CA", "certificate of a TCB signer"]) {
        if !there {
            part(name.into(), 0, 0, None);
        }
    }
    let named = |event: Pccs::TcbInfoStored| (event.fmspc.0, event.pceId.0);
    let mut known = registry.events(pccs, first, named).await?;
    known.extend(machines);
    for (fmspc, pce_id) in &known {
        let call = Pccs::tcbInfoOfCall { fmspc: FixedBytes(*fmspc), pceId: FixedBytes(*pce_id) };
        let info = ask(l1, pccs, &call).await?;
        let name = format!("TCB info of {}", hex::encode_upper(fmspc));
        part(name, info.from.to(), info.until.to(), Some(info.evaluation));
    }
    if known.is_empty() {
        part("TCB info of any machine".into(), 0, 0, None);
    }
    let identity = ask(l1, pccs, &Pccs::qeIdentityCall {}).await?;
    part("QE identity".into(), identity.from.to(), identity.until.to(), Some(identity.evaluation));
    let root = ask(l1, pccs, &Pccs::rootHashCall {}).await?;
    Ok(Stored { root, is_test: registry.is_test().await?, now: registry.now().await?, parts })
}

/// The kinds of machines that events since block `first` say there is TCB info of.
///
/// # Errors
/// As [`crate::L1::request`].
pub async fn machines(registry: &Registry, first: u64) -> Result<Vec<Machines>, Error> {
    let named = |event: Pccs::TcbInfoStored| (event.fmspc.0, event.pceId.0);
    Ok(registry.events(registry.contracts().pccs, first, named).await?.into_iter().collect())
}

/// Puts in what of a bundle is newer than what is there, and waits until that is done.
///
/// # Errors
/// [`jove_tee::Error::WrongRoot`] where the bundle is of another root, [`Error::Unsigned`], [`Error::Reverts`] with the contract's reason; as [`Wallet::send`]. What
/// was put in before stays.
pub async fn upload(
    registry: &Registry,
    wallet: &Wallet,
    bundle: &Bundle,
    mut sent: impl FnMut(&Call, TxHash),
) -> Result<Vec<Uploaded>, Error> {
    let upload = Upload { registry, wallet, pccs: registry.contracts().pccs };
    let signed = Signed::read(bundle)?;
    let root = ask(registry.l1(), upload.pccs, &Pccs::rootHashCall {}).await?;
    if !signed.roots.iter().any(|certificate| keccak256(&certificate.der) == root) {
        return Err(jove_tee::Error::WrongRoot.into());
    }
    let mut done = Vec::new();
    if let Some(list) = signed.root_list {
        let calls = upload.list(ROOT, "root", list).await?;
        upload.put(calls, &mut sent, &mut done).await?;
    }
    let mut calls = Vec::new();
    for certificate in &signed.issuers {
        if upload.number(certificate).await? == 0 {
            calls.push(upload.certificate(certificate));
        }
    }
    upload.put(calls, &mut sent, &mut done).await?;
    for (issuer, list) in &signed.lists {
        let number = upload.number(issuer).await?;
        let calls = upload.list(number, &issuer.name, list).await?;
        upload.put(calls, &mut sent, &mut done).await?;
    }
    let mut calls = Vec::new();
    for (signer, statement) in &signed.tcb_infos {
        let (r, s) = halves(statement);
        let json = Bytes::copy_from_slice(statement.json.as_bytes());
        let data = Pccs::putTcbInfoCall { signer: upload.number(signer).await?, json, r, s };
        let what = format!("put in TCB info of {}", hex::encode_upper(statement.machines.0));
        calls.push(upload.call(what, data.abi_encode()));
    }
    if let Some((signer, statement)) = &signed.qe_identity {
        let (r, s) = halves(statement);
        let json = Bytes::copy_from_slice(statement.json.as_bytes());
        let data = Pccs::putQeIdentityCall { signer: upload.number(signer).await?, json, r, s };
        calls.push(upload.call("put in QE identity".into(), data.abi_encode()));
    }
    upload.put(calls, &mut sent, &mut done).await?;
    Ok(done)
}

/// A bundle's newest parts, each with the certificate that has signed it.
struct Signed<'a> {
    roots: Vec<&'a IssuerCertificate>,
    root_list: Option<&'a RevocationList>,
    issuers: Vec<&'a IssuerCertificate>,
    lists: Vec<(&'a IssuerCertificate, &'a RevocationList)>,
    tcb_infos: Vec<(&'a IssuerCertificate, &'a Statement)>,
    qe_identity: Option<(&'a IssuerCertificate, &'a Statement)>,
}

impl<'a> Signed<'a> {
    fn read(bundle: &'a Bundle) -> Result<Self, Error> {
        let (roots, issuers): (Vec<_>, Vec<_>) =
            bundle.certificates.iter().partition(|certificate| certificate.place == Place::Root);
        let mut root_list: Option<&RevocationList> = None;
        let mut lists: BTreeMap<&[u8], (&IssuerCertificate, &RevocationList)> = BTreeMap::new();
        for list in &bundle.lists {
            let issuer = bundle.issuer_of(list).ok_or_else(|| Error::Unsigned("revocation list".into()))?;
            if issuer.place == Place::Root {
                root_list = Some(root_list.filter(|other| other.validity.0 >= list.validity.0).unwrap_or(list));
                continue;
            }
            let newest = lists.entry(&issuer.der).or_insert((issuer, list));
            if newest.1.validity.0 < list.validity.0 {
                *newest = (issuer, list);
            }
        }
        let tcb_infos = newest(bundle, &bundle.tcb_infos, "TCB info")?;
        let qe_identity = newest(bundle, &bundle.qe_identities, "QE identity")?.pop();
        Ok(Self { roots, root_list, issuers, lists: lists.into_values().collect(), tcb_infos, qe_identity })
    }
}

/// Of statements of the same machines the newest, with their signers.
fn newest<'a>(
    bundle: &'a Bundle,
    statements: &'a [Statement],
    what: &str,
) -> Result<Vec<(&'a IssuerCertificate, &'a Statement)>, Error> {
    let age = |statement: &Statement| (statement.evaluation, statement.validity.0);
    let mut newest: BTreeMap<Machines, (&IssuerCertificate, &Statement)> = BTreeMap::new();
    for statement in statements {
        let signer = bundle.signer_of(statement).ok_or_else(|| Error::Unsigned(what.into()))?;
        let entry = newest.entry(statement.machines).or_insert((signer, statement));
        if age(entry.1) < age(statement) {
            *entry = (signer, statement);
        }
    }
    Ok(newest.into_values().collect())
}

fn halves(statement: &Statement) -> (B256, B256) {
    (B256::from_slice(&statement.signature[..32]), B256::from_slice(&statement.signature[32..]))
}

/// `Pccs.Role`.
trait Numbered {
    fn role(self) -> u8;
}

impl Numbered for Place {
    fn role(self) -> u8 {
        match self {
            Self::Root => 1,
            Self::PckCa => 2,
            Self::TcbSigner => 3,
        }
    }
}

/// The number of an issuer in `Pccs`; 0 if its certificate was not put in.
pub(super) async fn issuer_number(registry: &Registry, certificate: &IssuerCertificate) -> Result<u32, Error> {
    let call = Pccs::issuerNumberCall { hash: keccak256(&certificate.der) };
    ask(registry.l1(), registry.contracts().pccs, &call).await
}

struct Upload<'a> {
    registry: &'a Registry,
    wallet: &'a Wallet,
    pccs: Address,
}

impl Upload<'_> {
    fn call(&self, what: String, data: Vec<u8>) -> Call {
        Call { what, to: self.pccs, value: U256::ZERO, data: data.into() }
    }

    async fn number(&self, certificate: &IssuerCertificate) -> Result<u32, Error> {
        issuer_number(self.registry, certificate).await
    }

    fn certificate(&self, certificate: &IssuerCertificate) -> Call {
        let der = certificate.der.clone().into();
        let data = match certificate.place {
            Place::TcbSigner => Pccs::addTcbSignerCall { certificate: der }.abi_encode(),
            Place::PckCa | Place::Root => Pccs::addPckCaCall { certificate: der }.abi_encode(),
        };
        self.call(format!("put in the certificate {:?}", certificate.name), data)
    }

    /// The calls that put in a revocation list: several, if it is too long for one.
    async fn list(&self, issuer: u32, name: &str, list: &RevocationList) -> Result<Vec<Call>, Error> {
        let crl: Bytes = list.der.clone().into();
        let whole = Pccs::putCrlCall { issuer, crl: crl.clone() };
        let whole = self.call(format!("put in the revocation list of {name:?}"), whole.abi_encode());
        let entries = list.revoked.len();
        if entries <= PART || self.fits(&whole).await {
            return Ok(vec![whole]);
        }
        match self.is_needed(&whole).await {
            Ok(false) | Err(Error::Reverts { .. }) => return Ok(vec![whole]),
            // Where a call has as little gas as a transaction, this one runs out of it.
            Ok(true) | Err(Error::Rpc { .. }) => {}
            Err(error) => return Err(error),
        }
        let part = |first: usize| {
            let (from, count) = (U256::from(first), U256::from(PART));
            let data = Pccs::revokeCall { issuer, crl: crl.clone(), first: from, count };
            let last = entries.min(first + PART);
            self.call(format!("revoke entries {} to {last} of {name:?}", first + 1), data.abi_encode())
        };
        Ok((0..entries).step_by(PART).map(part).chain([whole]).collect())
    }

    /// Whether a transaction has gas enough for a call. What the node does not say is no.
    async fn fits(&self, call: &Call) -> bool {
        let mut request = TransactionRequest::default().from(self.wallet.address()).to(call.to);
        request.input = call.data.clone().into();
        let gas = self.registry.l1().estimate_gas(&request).await;
        gas.is_ok_and(|gas| gas <= eip7825::MAX_TX_GAS_LIMIT_OSAKA / 10 * 9)
    }

    /// Whether the contract takes a part, or has it already.
    async fn is_needed(&self, call: &Call) -> Result<bool, Error> {
        let tried = self.registry.l1().call(call.to, call.data.clone(), BlockNumberOrTag::Latest).await;
        let Err(error) = tried else { return Ok(true) };
        match error.revert() {
            Some(revert) if revert.name() == Some("NotNewer") => Ok(false),
            Some(revert) => Err(Error::Reverts { what: call.what.clone(), reason: revert.to_string() }),
            None => Err(error),
        }
    }

    /// Sends what is needed. One after the other: a list goes in whole only after its parts.
    async fn put(
        &self,
        calls: Vec<Call>,
        sent: &mut impl FnMut(&Call, TxHash),
        done: &mut Vec<Uploaded>,
    ) -> Result<(), Error> {
        for call in calls {
            if !self.is_needed(&call).await? {
                continue;
            }
            match self.wallet.send(std::slice::from_ref(&call), &mut *sent).await {
                Ok(receipts) => {
                    let gas = receipts.first().map_or(0, |receipt| receipt.gas_used.to());
                    done.push(Uploaded { what: call.what, gas });
                }
                Err(error @ (Error::Failed { .. } | Error::Reverts { .. })) => {
                    // Somebody else may have been faster.
                    if self.is_needed(&call).await? {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jove_tee::{Pki, Platform};

    fn bundle(issued: u64) -> Bundle {
        let pki = Pki::from_seed(&[1; 32]).expect("a PKI");
        pki.bundle(&[Platform::development(0)], &[], issued).expect("a bundle")
    }

    fn merged(bundles: &[Bundle]) -> Bundle {
        let mut all = Bundle::default();
        for bundle in bundles {
            for certificate in &bundle.certificates {
                all.add(&certificate.der).expect("a certificate");
            }
            for list in &bundle.lists {
                all.add(&list.der).expect("a list");
            }
            all.tcb_infos.extend(bundle.tcb_infos.clone());
            all.qe_identities.extend(bundle.qe_identities.clone());
        }
        all
    }

    #[test]
    fn of_several_the_newest_is_taken() {
        for order in [[5_000, 1_000, 3_000], [1_000, 3_000, 5_000]] {
            let all = merged(&order.map(|issued| bundle(1_790_000_000 + issued)));
            assert_eq!((all.lists.len(), all.certificates.len()), (6, 3));
            let signed = Signed::read(&all).expect("all are signed");
            let newest = 1_790_005_000;
            assert_eq!(signed.root_list.map(|list| list.validity.0), Some(newest));
            assert_eq!((signed.lists.len(), signed.lists[0].1.validity.0), (1, newest));
            assert_eq!((signed.tcb_infos.len(), signed.tcb_infos[0].1.validity.0), (1, newest));
            assert_eq!(signed.qe_identity.map(|(_, identity)| identity.validity.0), Some(newest));
            assert_eq!((signed.roots.len(), signed.issuers.len()), (1, 2));
        }
    }

    #[test]
    fn a_later_evaluation_is_newer_than_a_later_issue() {
        let mut all = merged(&[bundle(1_790_000_000), bundle(1_790_005_000)]);
        all.tcb_infos[0].evaluation += 1;
        let signed = Signed::read(&all).expect("the signature is over the JSON, which is as it was");
        assert_eq!(signed.tcb_infos[0].1.validity.0, 1_790_000_000);
    }

    #[test]
    fn what_nobody_has_signed_is_refused() {
        let whole = bundle(1_790_000_000);
        let without = |place: Place| {
            let mut bundle = whole.clone();
            bundle.certificates.retain(|certificate| certificate.place != place);
            Signed::read(&bundle).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(without(Place::Root).contains("revocation list"));
        assert!(without(Place::PckCa).contains("revocation list"));
        assert!(without(Place::TcbSigner).contains("TCB info"));
        let mut edited = whole.clone();
        edited.qe_identities[0].json = edited.qe_identities[0].json.replace("FFFFFFFF", "00000000");
        assert!(Signed::read(&edited).err().expect("refused").to_string().contains("QE identity"));
    }

    #[test]
    fn roles_are_the_contracts() {
        assert_eq!([Place::Root, Place::PckCa, Place::TcbSigner].map(Numbered::role), [1, 2, 3]);
    }
}
