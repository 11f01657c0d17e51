//! The corpus's content: see `main.rs` for its format.
#![allow(clippy::unwrap_used)]

use alloy_primitives::{Address, B256, hex};
use jove_tee::{
    Binding, Collateral, PckCa, Pki, Platform, Policy, Quote, QuoteSource, Software, TcbStatus, Verified,
    collateral::{COLLATERAL_SECONDS, EVALUATION, QE_VERSION, QeIdentity, TcbInfo, TcbLevel},
    pki::{
        Certificate, Crl, Key, PCK_NAME, PLATFORM_CA_NAME, PROCESSOR_CA_NAME, ROOT_NAME, Role, TCB_SIGNING_NAME, pem,
    },
    quote::{ATTRIBUTE_DEBUG, ATTRIBUTE_EINITTOKEN_KEY, ATTRIBUTE_PROVISION_KEY},
    software::SIGNER,
};
use p256::ecdsa::Signature;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// When collateral was issued: 2026-09-21.
pub(crate) const ISSUED: u64 = 1_790_000_000;
/// When most cases are: a day later.
pub(crate) const NOW: u64 = ISSUED + 86_400;
const UNTIL: u64 = ISSUED + COLLATERAL_SECONDS;
/// Bytes of a quote before its PEM.
const HEAD: usize = 1_052;
const MEASUREMENT: B256 = B256::repeat_byte(0x4d);

/// One question to a verifier, by names of items.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    quote: &'static str,
    root: &'static str,
    signer: &'static str,
    root_crl: &'static str,
    pck_crl: &'static str,
    tcb_info: &'static str,
    qe_identity: &'static str,
    time: u64,
    policy: &'static str,
    pub(crate) result: &'static str,
}

/// All items and cases.
#[derive(Default)]
pub(crate) struct Corpus {
    certificates: BTreeMap<&'static str, Vec<u8>>,
    crls: BTreeMap<&'static str, Vec<u8>>,
    tcb_infos: BTreeMap<&'static str, (String, [u8; 64])>,
    qe_identities: BTreeMap<&'static str, (String, [u8; 64])>,
    chains: BTreeMap<&'static str, (Vec<u8>, Vec<&'static str>)>,
    quotes: BTreeMap<&'static str, (Vec<u8>, &'static str)>,
    policies: BTreeMap<&'static str, Policy>,
    pub(crate) cases: Vec<Case>,
}

impl Corpus {
    pub(crate) fn quote(&self, case: &Case) -> Vec<u8> {
        let (head, chain) = &self.quotes[case.quote];
        [head.as_slice(), &self.chains[chain].0].concat()
    }

    pub(crate) fn collateral(&self, case: &Case) -> Collateral {
        let signers = pem(&[&self.certificates[case.signer], &self.certificates[case.root]]);
        let (tcb_info, qe_identity) = (&self.tcb_infos[case.tcb_info], &self.qe_identities[case.qe_identity]);
        Collateral {
            pck_crl_issuer_chain: String::new(),
            root_ca_crl: self.crls[case.root_crl].clone(),
            pck_crl: self.crls[case.pck_crl].clone(),
            tcb_info_issuer_chain: signers.clone(),
            tcb_info: tcb_info.0.clone(),
            tcb_info_signature: tcb_info.1.to_vec(),
            qe_identity_issuer_chain: signers,
            qe_identity: qe_identity.0.clone(),
            qe_identity_signature: qe_identity.1.to_vec(),
            pck_certificate_chain: None,
        }
    }

    /// What the verifier in Rust says.
    pub(crate) fn check(&self, case: &Case) -> Result<Verified, jove_tee::Error> {
        let policy = Policy { root: self.certificates[case.root].clone(), ..self.policies[case.policy].clone() };
        policy.check(&self.quote(case), &self.collateral(case), case.time)
    }

    /// A chain of certificates that are in the corpus already.
    fn chain(&mut self, name: &'static str, certificates: &[&'static str]) {
        let ders: Vec<_> = certificates.iter().map(|name| self.certificates[name].as_slice()).collect();
        let mut bytes = pem(&ders).into_bytes();
        bytes.push(0);
        self.chains.insert(name, (bytes, certificates.to_vec()));
    }

    /// A quote whose chain is in the corpus already, with a matching length field.
    fn put(&mut self, name: &'static str, mut quote: Quote, chain: &'static str) {
        quote.pck_chain = self.chains[chain].0.clone();
        self.quotes.insert(name, (quote.encode()[..HEAD].to_vec(), chain));
    }

    /// The good quote with bytes from `at` on replaced, and no signature made anew.
    fn tampered(&mut self, name: &'static str, at: usize, edit: impl Fn(&mut [u8])) {
        let (mut head, chain) = self.quotes["good"].clone();
        edit(&mut head[at..]);
        self.quotes.insert(name, (head, chain));
    }

    fn case(&mut self, name: &'static str, result: &'static str, edit: impl FnOnce(&mut Case)) {
        let mut case = Case {
            name,
            quote: "good",
            root: "root",
            signer: "signer",
            root_crl: "root",
            pck_crl: "platform",
            tcb_info: "good",
            qe_identity: "good",
            time: NOW,
            policy: "strict",
            result,
        };
        edit(&mut case);
        self.cases.push(case);
    }
}

/// The whole corpus.
pub(crate) fn corpus() -> Corpus {
    let pki = Pki::from_seed(b"Jove corpus seed, of no secrecy.").unwrap();
    let other = Pki::from_seed(b"Another seed, for another root..").unwrap();
    let machine = Platform::development(0);
    let mut corpus = Corpus::default();
    certificates(&mut corpus, &pki, &other, &machine);
    revocation(&mut corpus, &pki, &other, &machine);
    tcb_infos(&mut corpus, &pki, &other, &machine);
    qe_identities(&mut corpus, &pki);
    policies(&mut corpus);
    quotes(&mut corpus, &pki, &other, &machine);
    cases(&mut corpus);
    corpus
}

fn certificates(corpus: &mut Corpus, pki: &Pki, other: &Pki, machine: &Platform) {
    let (key, ca_key) = (pki.pck_key(machine), &pki.platform_key);
    let stranger = pki.key("stranger");
    let leaf = pki.pck(machine);
    let leaf_by =
        |certificate: &Certificate, key: &Key, ca_key: &Key| certificate.sign(key, PLATFORM_CA_NAME, ca_key).unwrap();
    let ca = Certificate::new(PLATFORM_CA_NAME, ca_key, Role::Ca(0));
    let ca_by = |certificate: &Certificate, root_key: &Key| certificate.sign(ca_key, ROOT_NAME, root_key).unwrap();
    let processor = Platform { ca: PckCa::Processor, ..Platform::development(1) };
    let second = Platform::development(2);

    let certificates = &mut corpus.certificates;
    certificates.insert("root", pki.root.clone());
    certificates.insert("otherRoot", other.root.clone());
    certificates.insert("platformCa", pki.platform_ca.clone());
    certificates.insert("processorCa", pki.processor_ca.clone());
    certificates.insert("otherPlatformCa", other.platform_ca.clone());
    certificates.insert("signer", pki.tcb_signer.clone());
    certificates.insert("otherSigner", other.tcb_signer.clone());
    certificates.insert("leaf", leaf_by(&leaf, &key, ca_key));
    certificates.insert("processorLeaf", pki.pck_chain(&processor).unwrap()[0].clone());
    certificates.insert("secondLeaf", pki.pck_chain(&second).unwrap()[0].clone());
    certificates.insert("otherLeaf", other.pck_chain(machine).unwrap()[0].clone());

    let expired = (leaf.validity.0, NOW);
    let future = (NOW + 1, leaf.validity.1);
    certificates.insert("leafExpired", leaf_by(&Certificate { validity: expired, ..leaf.clone() }, &key, ca_key));
    certificates.insert("leafFuture", leaf_by(&Certificate { validity: future, ..leaf.clone() }, &key, ca_key));
    certificates.insert("caExpired", ca_by(&Certificate { validity: expired, ..ca.clone() }, &pki.root_key));
    certificates.insert("leafForged", leaf_by(&leaf, &key, &stranger));
    certificates.insert("caForged", ca_by(&ca, &stranger));
    certificates.insert("caNoCa", ca_by(&Certificate { role: Role::Leaf, ..ca.clone() }, &pki.root_key));
    certificates
        .insert("leafName", leaf_by(&Certificate { name: TCB_SIGNING_NAME.into(), ..leaf.clone() }, &key, ca_key));
    certificates.insert("caName", ca_by(&Certificate { name: "Intel SGX PCK CA".into(), ..ca.clone() }, &pki.root_key));
    certificates.insert("leafBare", leaf_by(&Certificate { sgx_extension: None, ..leaf.clone() }, &key, ca_key));
    let mut short = machine.extension();
    let fmspc = short.windows(6).position(|part| part == machine.fmspc).unwrap();
    // The value's length says five, so that the sixth byte is garbage in the middle of the sequence.
    short[fmspc - 1] = 5;
    certificates
        .insert("leafShort", leaf_by(&Certificate { sgx_extension: Some(short), ..leaf.clone() }, &key, ca_key));
    certificates
        .insert("signerExpired", sign_signer(&Certificate { validity: expired, ..signer(pki) }, pki, &pki.root_key));
    certificates.insert("signerForged", sign_signer(&signer(pki), pki, &stranger));
    certificates
        .insert("signerName", sign_signer(&Certificate { name: PCK_NAME.into(), ..signer(pki) }, pki, &pki.root_key));

    for (name, parts) in [
        ("good", &["leaf", "platformCa", "root"][..]),
        ("processor", &["processorLeaf", "processorCa", "root"]),
        ("second", &["secondLeaf", "platformCa", "root"]),
        ("other", &["otherLeaf", "otherPlatformCa", "otherRoot"]),
        ("otherAboveOurs", &["leaf", "platformCa", "otherRoot"]),
        ("leafExpired", &["leafExpired", "platformCa", "root"]),
        ("leafFuture", &["leafFuture", "platformCa", "root"]),
        ("caExpired", &["leaf", "caExpired", "root"]),
        ("leafForged", &["leafForged", "platformCa", "root"]),
        ("caForged", &["leaf", "caForged", "root"]),
        ("caNoCa", &["leaf", "caNoCa", "root"]),
        ("leafName", &["leafName", "platformCa", "root"]),
        ("caName", &["leaf", "caName", "root"]),
        ("leafBare", &["leafBare", "platformCa", "root"]),
        ("leafShort", &["leafShort", "platformCa", "root"]),
        ("twoCertificates", &["leaf", "root"]),
        ("fourCertificates", &["leaf", "platformCa", "root", "root"]),
    ] {
        corpus.chain(name, parts);
    }
    corpus.chains.insert("garbage", (vec![0x2d; 2_000], vec![]));
    corpus.chains.insert("none", (vec![], vec![]));
}

fn signer(pki: &Pki) -> Certificate {
    Certificate::new(TCB_SIGNING_NAME, &pki.tcb_key, Role::Leaf)
}

fn sign_signer(certificate: &Certificate, pki: &Pki, root_key: &Key) -> Vec<u8> {
    certificate.sign(&pki.tcb_key, ROOT_NAME, root_key).unwrap()
}

fn revocation(corpus: &mut Corpus, pki: &Pki, other: &Pki, machine: &Platform) {
    let empty = Crl { validity: (ISSUED, UNTIL), number: 1, revoked: vec![] };
    let root = |crl: &Crl, key: &Key| crl.sign(ROOT_NAME, key).unwrap();
    let platform = |crl: &Crl, key: &Key| crl.sign(PLATFORM_CA_NAME, key).unwrap();
    let revoked = |serial: Vec<u8>| Crl { revoked: vec![vec![0x41; 20], serial], ..empty.clone() };
    // As many as Intel's longest list had in 2025, none of them anybody's.
    let many =
        Crl { revoked: (0u8..100).map(|index| [&[0x51, index], &[0xa5; 18][..]].concat()).collect(), ..empty.clone() };
    let mut last = many.clone();
    last.revoked[99] = pki.pck(machine).serial;
    let ca_serial = Certificate::new("", &pki.platform_key, Role::Ca(0)).serial;
    let (expired, future) = ((ISSUED - COLLATERAL_SECONDS, NOW), (NOW + 1, UNTIL));
    let stranger = pki.key("stranger");
    let crls = &mut corpus.crls;
    crls.insert("root", root(&empty, &pki.root_key));
    crls.insert("rootLong", root(&many, &pki.root_key));
    crls.insert("rootOther", root(&empty, &other.root_key));
    crls.insert("rootRevokesCa", root(&revoked(ca_serial), &pki.root_key));
    crls.insert("rootRevokesSigner", root(&revoked(signer(pki).serial), &pki.root_key));
    crls.insert("rootExpired", root(&Crl { validity: expired, ..empty.clone() }, &pki.root_key));
    let old = Crl { validity: (ISSUED - 1, UNTIL), ..empty.clone() };
    crls.insert("rootOld", root(&old, &pki.root_key));
    crls.insert("platformOld", platform(&old, &pki.platform_key));
    crls.insert("rootForged", root(&empty, &stranger));
    crls.insert("platform", platform(&empty, &pki.platform_key));
    crls.insert("platformLong", platform(&many, &pki.platform_key));
    crls.insert("platformLongRevokesLeaf", platform(&last, &pki.platform_key));
    crls.insert("platformOther", platform(&empty, &other.platform_key));
    crls.insert("platformRevokesLeaf", platform(&revoked(pki.pck(machine).serial), &pki.platform_key));
    crls.insert("platformExpired", platform(&Crl { validity: expired, ..empty.clone() }, &pki.platform_key));
    crls.insert("platformFuture", platform(&Crl { validity: future, ..empty.clone() }, &pki.platform_key));
    crls.insert("platformForged", platform(&empty, &stranger));
    crls.insert("processor", empty.sign(PROCESSOR_CA_NAME, &pki.processor_key).unwrap());
    let mut edited = platform(&revoked(pki.pck(machine).serial), &pki.platform_key);
    let at = edited.windows(20).position(|part| part == pki.pck(machine).serial).unwrap();
    edited[at] ^= 1;
    crls.insert("platformEdited", edited);
    crls.insert("garbage", vec![0x30; 200]);
}

fn tcb_infos(corpus: &mut Corpus, pki: &Pki, other: &Pki, machine: &Platform) {
    let good = TcbInfo::new(machine, ISSUED);
    let level = &good.levels[0];
    let put = |corpus: &mut Corpus, name, info: TcbInfo| {
        let json = info.json();
        let signature = pki.tcb_key.sign(json.as_bytes());
        corpus.tcb_infos.insert(name, (json, signature));
    };
    let with = |levels: Vec<TcbLevel>| TcbInfo { levels, ..good.clone() };
    let with_status = |status| with(vec![TcbLevel { status, ..level.clone() }]);
    let mut above = level.components;
    above[2] += 1;
    let too_high = TcbLevel { components: above, ..level.clone() };

    put(corpus, "good", good.clone());
    put(corpus, "outOfDate", with_status(TcbStatus::OutOfDate));
    put(corpus, "revoked", with_status(TcbStatus::Revoked));
    put(corpus, "swHardening", with_status(TcbStatus::SWHardeningNeeded));
    put(corpus, "tooHigh", with(vec![too_high.clone()]));
    put(corpus, "pceTooHigh", with(vec![TcbLevel { pce_svn: level.pce_svn + 1, ..level.clone() }]));
    let below = TcbLevel { components: [0; 16], pce_svn: 5, status: TcbStatus::OutOfDate, ..level.clone() };
    put(
        corpus,
        "recovery",
        with(vec![too_high, TcbLevel { status: TcbStatus::OutOfDate, ..level.clone() }, below.clone()]),
    );
    put(corpus, "farAbove", with(vec![TcbLevel { status: TcbStatus::UpToDate, ..below.clone() }]));
    put(corpus, "otherFmspc", TcbInfo { fmspc: [0, 0x90, 0x6e, 0xd5, 0, 0], ..good.clone() });
    put(corpus, "otherPce", TcbInfo { pce_id: [0, 1], ..good.clone() });
    put(corpus, "expired", TcbInfo { validity: (ISSUED - COLLATERAL_SECONDS, NOW), ..good.clone() });
    put(corpus, "future", TcbInfo { validity: (NOW + 1, UNTIL), ..good.clone() });
    put(corpus, "old", TcbInfo { validity: (ISSUED - 1, UNTIL), ..good.clone() });
    put(corpus, "tdx", TcbInfo { id: "TDX", ..good.clone() });
    put(corpus, "version2", TcbInfo { version: 2, ..good.clone() });
    put(corpus, "evaluation16", TcbInfo { evaluation: EVALUATION - 1, ..good.clone() });
    // Twenty levels as Intel's longest, of which the machine reaches the seventh.
    let mut levels = vec![];
    for index in 0..20u8 {
        let mut components = level.components;
        components[0] = level.components[0] + 6 - index.min(16);
        let status = if index < 6 { TcbStatus::UpToDate } else { TcbStatus::SWHardeningNeeded };
        levels.push(TcbLevel {
            components,
            pce_svn: level.pce_svn - u16::from(index.saturating_sub(16)),
            date: ISSUED - 86_400 * 90 * u64::from(index),
            status: if index < 10 { status } else { TcbStatus::OutOfDate },
            advisories: (0..index.min(8))
                .map(|number| format!("INTEL-SA-{:05}", 615 + 100 * u32::from(number)))
                .collect(),
        });
    }
    put(corpus, "realSize", TcbInfo { categories: true, levels, ..good.clone() });

    let (json, signature) = corpus.tcb_infos["good"].clone();
    let (outdated, outdated_signature) = corpus.tcb_infos["outOfDate"].clone();
    corpus.tcb_infos.insert("edited", (outdated.replace("OutOfDate", "UpToDate"), outdated_signature));
    let mut flipped = signature;
    flipped[40] ^= 1;
    corpus.tcb_infos.insert("badSignature", (json.clone(), flipped));
    corpus.tcb_infos.insert("other", (json.clone(), other.tcb_key.sign(json.as_bytes())));
    // The machine's own key is certified too, but not for this.
    corpus.tcb_infos.insert("byMachine", (json.clone(), pki.pck_key(machine).sign(json.as_bytes())));
    corpus.tcb_infos.insert("notJson", ("{\"id\":\"SGX\"".into(), pki.tcb_key.sign(b"{\"id\":\"SGX\"")));
}

fn qe_identities(corpus: &mut Corpus, pki: &Pki) {
    let good = QeIdentity::new(ISSUED);
    let put = |corpus: &mut Corpus, name, identity: QeIdentity| {
        let json = identity.json();
        let signature = pki.tcb_key.sign(json.as_bytes());
        corpus.qe_identities.insert(name, (json, signature));
    };
    let svn = QE_VERSION.1;
    put(corpus, "good", good.clone());
    put(
        corpus,
        "recovery",
        QeIdentity {
            levels: vec![(svn + 1, TcbStatus::UpToDate), (svn - 1, TcbStatus::OutOfDate), (1, TcbStatus::Revoked)],
            ..good.clone()
        },
    );
    put(corpus, "tooHigh", QeIdentity { levels: vec![(svn + 1, TcbStatus::UpToDate)], ..good.clone() });
    put(corpus, "revoked", QeIdentity { levels: vec![(svn, TcbStatus::Revoked)], ..good.clone() });
    put(corpus, "otherSigner", QeIdentity { mrsigner: [0x8c; 32], ..good.clone() });
    put(corpus, "otherProduct", QeIdentity { isv_prod_id: 2, ..good.clone() });
    put(corpus, "td", QeIdentity { id: "TD_QE", ..good.clone() });
    put(corpus, "version3", QeIdentity { version: 3, ..good.clone() });
    put(corpus, "expired", QeIdentity { validity: (ISSUED - COLLATERAL_SECONDS, NOW), ..good.clone() });
    put(corpus, "future", QeIdentity { validity: (NOW + 1, UNTIL), ..good.clone() });
    put(corpus, "old", QeIdentity { validity: (ISSUED - 1, UNTIL), ..good.clone() });
    put(corpus, "evaluation16", QeIdentity { evaluation: EVALUATION - 1, ..good });
    let (json, signature) = corpus.qe_identities["good"].clone();
    corpus.qe_identities.insert("edited", (json.replace("\"isvsvn\":8", "\"isvsvn\":1"), signature));
    let other = Pki::from_seed(b"Another seed, for another root..").unwrap();
    corpus.qe_identities.insert("other", (json.clone(), other.tcb_key.sign(json.as_bytes())));
}

fn policies(corpus: &mut Corpus) {
    let strict = Policy { max_age: 31_536_000, ..Policy::strict(vec![], MEASUREMENT, SIGNER) };
    let lenient = vec![
        TcbStatus::UpToDate,
        TcbStatus::SWHardeningNeeded,
        TcbStatus::ConfigurationNeeded,
        TcbStatus::ConfigurationAndSWHardeningNeeded,
        TcbStatus::OutOfDate,
        TcbStatus::OutOfDateConfigurationNeeded,
        TcbStatus::Revoked,
    ];
    let policies = &mut corpus.policies;
    policies.insert("strict", strict.clone());
    policies.insert("lenient", Policy { statuses: lenient, forbidden_attributes: 0, ..strict.clone() });
    policies.insert("noMeasurements", Policy { measurements: vec![], ..strict.clone() });
    policies.insert("noSigners", Policy { signers: vec![], ..strict.clone() });
    policies.insert("noStatuses", Policy { statuses: vec![], ..strict.clone() });
    let several = vec![B256::ZERO, B256::repeat_byte(0x11), MEASUREMENT];
    policies.insert("several", Policy { measurements: several, signers: vec![B256::ZERO, SIGNER], ..strict.clone() });
    policies.insert("evaluation17", Policy { min_evaluation: EVALUATION, ..strict.clone() });
    policies.insert("dayOld", Policy { max_age: 86_400, ..strict.clone() });
    policies.insert("lessThanADayOld", Policy { max_age: 86_399, ..strict });
}

/// What the quotes' enclaves say.
pub(crate) fn binding() -> Binding {
    Binding {
        chain_id: 900,
        registry: Address::repeat_byte(0x11),
        key: Address::repeat_byte(0x22),
        payout: Address::repeat_byte(0x33),
        block_number: 123_456,
        block_hash: B256::repeat_byte(0x44),
    }
}

fn quotes(corpus: &mut Corpus, pki: &Pki, other: &Pki, machine: &Platform) {
    let said = binding().report_data();
    let source = Software::new(pki, machine.clone(), MEASUREMENT).unwrap();
    let good = Quote::parse(&source.quote(said).unwrap()).unwrap();
    corpus.put("good", good.clone(), "good");
    let processor = Platform { ca: PckCa::Processor, ..Platform::development(1) };
    for (name, pki, machine) in
        [("processor", pki, processor), ("second", pki, Platform::development(2)), ("other", other, machine.clone())]
    {
        let source = Software::new(pki, machine, MEASUREMENT).unwrap();
        corpus.put(name, source.quote_with(said, |_| ()), name);
    }
    // ECDSA has two signatures (r, s) and (r, n - s); both are valid, so a quote's hash is not its identity.
    let signature = Signature::from_slice(&good.signature).unwrap();
    let twin = Signature::from_scalars(signature.r().to_bytes(), (-*signature.s()).to_bytes()).unwrap();
    corpus.put("twin", Quote { signature: twin.to_bytes().into(), ..good.clone() }, "good");

    // Genuine, but not what a policy wants.
    for (name, edit) in [
        ("debug", (|quote| quote.report.flags |= ATTRIBUTE_DEBUG) as fn(&mut Quote)),
        ("provisionKey", |quote| quote.report.flags |= ATTRIBUTE_PROVISION_KEY),
        ("einittokenKey", |quote| quote.report.flags |= ATTRIBUTE_EINITTOKEN_KEY),
        ("otherMeasurement", |quote| quote.report.mrenclave = B256::repeat_byte(0x4e)),
        ("otherSigner", |quote| quote.report.mrsigner = B256::repeat_byte(0x4e)),
    ] {
        corpus.put(name, source.quote_with(said, edit), "good");
    }
    // Another quoting enclave, which the machine's key vouches for.
    let pck_key = pki.pck_key(machine);
    for (name, edit) in [
        ("qeDebug", (|quote| quote.qe_report.flags |= ATTRIBUTE_DEBUG) as fn(&mut Quote)),
        ("qeMiscSelect", |quote| quote.qe_report.misc_select = 1),
        ("qeAttributes", |quote| quote.qe_report.flags &= !ATTRIBUTE_PROVISION_KEY),
        ("qeSigner", |quote| quote.qe_report.mrsigner = SIGNER),
        ("qeOtherKey", |quote| quote.qe_report.report_data[0] ^= 1),
    ] {
        let mut quote = good.clone();
        edit(&mut quote);
        quote.qe_report_signature = pck_key.sign(&quote.qe_report.encode());
        corpus.put(name, quote, "good");
    }
    // The chain alone is other; it is not signed.
    for chain in [
        "otherAboveOurs",
        "leafExpired",
        "leafFuture",
        "caExpired",
        "leafForged",
        "caForged",
        "caNoCa",
        "leafName",
        "caName",
        "leafBare",
        "leafShort",
        "twoCertificates",
        "fourCertificates",
        "garbage",
    ] {
        corpus.put(chain, good.clone(), chain);
    }
    // Edited after signing.
    for (name, at) in [
        ("flippedQeSvn", 8),
        ("flippedUserData", 28),
        ("flippedCpuSvn", 48),
        ("flippedAttributes", 96),
        ("flippedMeasurement", 112),
        ("flippedSigner", 176),
        ("flippedProduct", 304),
        ("flippedReportData", 368),
        ("flippedSignature", 440),
        ("flippedAttestationKey", 500),
        ("flippedQeReport", 600),
        ("flippedQeSignature", 950),
        ("flippedQeAuthData", 1_014),
    ] {
        corpus.tampered(name, at, |bytes| bytes[0] ^= 1);
    }
    corpus.tampered("zeroSignature", 436, |bytes| bytes[..64].fill(0));
    // Other kinds, or lengths that contradict each other.
    for (name, at, byte) in [
        ("version4", 0, 4),
        ("keyType3", 2, 3),
        ("teeTdx", 4, 0x81),
        ("otherVendor", 12, 0),
        ("authLength", 1_012, 31),
        ("certificationType", 1_046, 6),
        ("signatureDataLength", 432, 0),
        ("certificationLength", 1_051, 1),
    ] {
        corpus.tampered(name, at, |bytes| bytes[0] = byte);
    }
    let (head, _) = corpus.quotes["good"].clone();
    corpus.quotes.insert("cutShort", (head[..431].to_vec(), "none"));
    corpus.quotes.insert("withoutChain", (head, "none"));
    corpus.quotes.insert("empty", (vec![], "none"));
}

fn cases(corpus: &mut Corpus) {
    let verified = "Verified";
    corpus.case("good", verified, |_| ());
    corpus.case("goodProcessor", verified, |case| (case.quote, case.pck_crl) = ("processor", "processor"));
    corpus.case("goodSecondMachine", verified, |case| case.quote = "second");
    corpus.case("goodTwinSignature", verified, |case| case.quote = "twin");
    corpus.case("goodRealSize", verified, |case| {
        (case.tcb_info, case.root_crl, case.pck_crl, case.policy) = ("realSize", "rootLong", "platformLong", "lenient");
    });
    corpus.case("goodOutOfDateAllowed", verified, |case| (case.tcb_info, case.policy) = ("recovery", "lenient"));
    corpus.case("goodQeOutOfDateAllowed", verified, |case| (case.qe_identity, case.policy) = ("recovery", "lenient"));
    corpus.case("goodFarAboveLevel", verified, |case| case.tcb_info = "farAbove");
    corpus.case("goodFirstSecond", verified, |case| case.time = ISSUED);
    corpus.case("goodLastSecond", verified, |case| case.time = UNTIL - 1);
    corpus.case("goodSeveralAllowed", verified, |case| case.policy = "several");
    corpus.case("goodEvaluation", verified, |case| case.policy = "evaluation17");
    corpus.case("goodDayOld", verified, |case| case.policy = "dayOld");
    corpus.case("goodUnderOtherRoot", verified, |case| {
        (case.quote, case.root, case.signer, case.root_crl) = ("other", "otherRoot", "otherSigner", "rootOther");
        (case.pck_crl, case.tcb_info, case.qe_identity) = ("platformOther", "other", "other");
    });
    corpus.case("goodProvisionKeyAllowed", verified, |case| (case.quote, case.policy) = ("provisionKey", "lenient"));

    for (name, result) in [
        ("empty", "QuoteMalformed"),
        ("cutShort", "QuoteMalformed"),
        ("withoutChain", "QuoteMalformed"),
        ("signatureDataLength", "QuoteMalformed"),
        ("certificationLength", "QuoteMalformed"),
        ("version4", "QuoteUnsupported"),
        ("keyType3", "QuoteUnsupported"),
        ("teeTdx", "QuoteUnsupported"),
        ("otherVendor", "QuoteUnsupported"),
        ("authLength", "QuoteUnsupported"),
        ("certificationType", "QuoteUnsupported"),
        ("flippedQeSvn", "QuoteSignature"),
        ("flippedUserData", "QuoteSignature"),
        ("flippedCpuSvn", "QuoteSignature"),
        ("flippedAttributes", "QuoteSignature"),
        ("flippedMeasurement", "QuoteSignature"),
        ("flippedSigner", "QuoteSignature"),
        ("flippedProduct", "QuoteSignature"),
        ("flippedReportData", "QuoteSignature"),
        ("flippedSignature", "QuoteSignature"),
        ("zeroSignature", "QuoteSignature"),
        ("flippedAttestationKey", "AttestationKeyUnbound"),
        ("flippedQeAuthData", "AttestationKeyUnbound"),
        ("qeOtherKey", "AttestationKeyUnbound"),
        ("flippedQeReport", "QeReportSignature"),
        ("flippedQeSignature", "QeReportSignature"),
        ("qeDebug", "QeIdentityMismatch"),
        ("qeMiscSelect", "QeIdentityMismatch"),
        ("qeAttributes", "QeIdentityMismatch"),
        ("qeSigner", "QeIdentityMismatch"),
        ("debug", "Debug"),
        ("provisionKey", "AttributesForbidden"),
        ("einittokenKey", "AttributesForbidden"),
        ("otherMeasurement", "MeasurementNotAllowed"),
        ("otherSigner", "SignerNotAllowed"),
        ("otherAboveOurs", "WrongRoot"),
        ("twoCertificates", "ChainMalformed"),
        ("fourCertificates", "ChainMalformed"),
        ("garbage", "ChainMalformed"),
        ("leafName", "ChainMalformed"),
        ("caName", "ChainMalformed"),
        ("leafExpired", "CertificateNotCurrent"),
        ("leafFuture", "CertificateNotCurrent"),
        ("caExpired", "CertificateNotCurrent"),
        ("leafForged", "CertificateInvalid"),
        ("caForged", "CertificateInvalid"),
        ("caNoCa", "CertificateInvalid"),
        ("leafBare", "PckExtensionMalformed"),
        ("leafShort", "PckExtensionMalformed"),
    ] {
        corpus.case(name, result, |case| case.quote = name);
    }
    corpus.case("debugAllowedByNoPolicy", "Debug", |case| (case.quote, case.policy) = ("debug", "lenient"));
    // All of it under a root that is not trusted.
    corpus.case("wrongRoot", "WrongRoot", |case| case.quote = "other");
    corpus.case("signerExpired", "CertificateNotCurrent", |case| case.signer = "signerExpired");
    corpus.case("signerForged", "CertificateInvalid", |case| case.signer = "signerForged");
    corpus.case("signerName", "ChainMalformed", |case| case.signer = "signerName");

    for (name, result) in [
        ("rootRevokesCa", "IntermediateRevoked"),
        ("rootRevokesSigner", "TcbSignerRevoked"),
        ("rootExpired", "CrlNotCurrent"),
        ("rootForged", "CrlInvalid"),
        ("rootOther", "CrlInvalid"),
    ] {
        corpus.case(name, result, |case| case.root_crl = name);
    }
    for (name, result) in [
        ("platformRevokesLeaf", "PckRevoked"),
        ("platformLongRevokesLeaf", "PckRevoked"),
        ("platformExpired", "CrlNotCurrent"),
        ("platformFuture", "CrlNotCurrent"),
        ("platformForged", "CrlInvalid"),
        ("platformEdited", "CrlInvalid"),
    ] {
        corpus.case(name, result, |case| case.pck_crl = name);
    }
    corpus.case("pckCrlOfProcessorCa", "CrlInvalid", |case| case.pck_crl = "processor");
    corpus.case("pckCrlGarbage", "CrlInvalid", |case| case.pck_crl = "garbage");

    for (name, info, result) in [
        ("tcbEdited", "edited", "TcbInfoSignature"),
        ("tcbBadSignature", "badSignature", "TcbInfoSignature"),
        ("tcbOtherSigner", "other", "TcbInfoSignature"),
        ("tcbByMachine", "byMachine", "TcbInfoSignature"),
        ("tcbExpired", "expired", "TcbInfoNotCurrent"),
        ("tcbFuture", "future", "TcbInfoNotCurrent"),
        ("tcbTdx", "tdx", "TcbInfoMalformed"),
        ("tcbVersion2", "version2", "TcbInfoMalformed"),
        ("tcbNotJson", "notJson", "TcbInfoMalformed"),
        ("tcbOtherFmspc", "otherFmspc", "PlatformMismatch"),
        ("tcbOtherPce", "otherPce", "PlatformMismatch"),
        ("tcbTooHigh", "tooHigh", "TcbLevelNone"),
        ("tcbPceTooHigh", "pceTooHigh", "TcbLevelNone"),
        ("tcbOutOfDate", "outOfDate", "TcbStatus"),
        ("tcbSwHardening", "swHardening", "TcbStatus"),
        ("tcbRecovery", "recovery", "TcbStatus"),
        ("tcbRevoked", "revoked", "TcbStatus"),
    ] {
        corpus.case(name, result, |case| case.tcb_info = info);
    }
    corpus.case("tcbRevokedAllowedByNoPolicy", "TcbStatus", |case| {
        (case.tcb_info, case.policy) = ("revoked", "lenient");
    });
    for (name, identity, result) in [
        ("qeEdited", "edited", "QeIdentitySignature"),
        ("qeOtherCollateralSigner", "other", "QeIdentitySignature"),
        ("qeExpired", "expired", "QeIdentityNotCurrent"),
        ("qeFuture", "future", "QeIdentityNotCurrent"),
        ("qeTd", "td", "QeIdentityMalformed"),
        ("qeVersion3", "version3", "QeIdentityMalformed"),
        ("qeOtherSigner", "otherSigner", "QeIdentityMismatch"),
        ("qeOtherProduct", "otherProduct", "QeIdentityMismatch"),
        ("qeTooHigh", "tooHigh", "QeLevelNone"),
        ("qeOutOfDate", "recovery", "TcbStatus"),
        ("qeRevoked", "revoked", "TcbStatus"),
    ] {
        corpus.case(name, result, |case| case.qe_identity = identity);
    }
    corpus.case("noStatuses", "TcbStatus", |case| case.policy = "noStatuses");
    corpus.case("noMeasurements", "MeasurementNotAllowed", |case| case.policy = "noMeasurements");
    corpus.case("noSigners", "SignerNotAllowed", |case| case.policy = "noSigners");
    corpus.case("tcbEvaluationTooOld", "EvaluationTooOld", |case| {
        (case.tcb_info, case.policy) = ("evaluation16", "evaluation17");
    });
    corpus.case("qeEvaluationTooOld", "EvaluationTooOld", |case| {
        (case.qe_identity, case.policy) = ("evaluation16", "evaluation17");
    });
    corpus.case("tcbStale", "CollateralStale", |case| (case.tcb_info, case.policy) = ("old", "dayOld"));
    corpus.case("qeStale", "CollateralStale", |case| (case.qe_identity, case.policy) = ("old", "dayOld"));
    corpus.case("rootCrlStale", "CollateralStale", |case| (case.root_crl, case.policy) = ("rootOld", "dayOld"));
    corpus.case("pckCrlStale", "CollateralStale", |case| (case.pck_crl, case.policy) = ("platformOld", "dayOld"));
    corpus.case("collateralStale", "CollateralStale", |case| case.policy = "lessThanADayOld");
}

/// The files, as they are written: name and text.
pub(crate) fn files() -> [(&'static str, String); 4] {
    let corpus = corpus();
    let bytes = |bytes: &[u8]| Value::from(hex::encode_prefixed(bytes));
    let blobs = |items: &BTreeMap<&'static str, Vec<u8>>| -> Value {
        items.iter().map(|(name, item)| (name.to_string(), bytes(item))).collect::<serde_json::Map<_, _>>().into()
    };
    let signed = |items: &BTreeMap<&'static str, (String, [u8; 64])>| -> Value {
        let item = |(name, (json, signature)): (&&'static str, &(String, [u8; 64]))| {
            (name.to_string(), json!({ "json": json, "signature": bytes(signature) }))
        };
        items.iter().map(item).collect::<serde_json::Map<_, _>>().into()
    };
    let collateral = json!({
        "certificates": blobs(&corpus.certificates),
        "crls": blobs(&corpus.crls),
        "qeIdentities": signed(&corpus.qe_identities),
        "tcbInfos": signed(&corpus.tcb_infos),
    });
    let chain = |(name, (pem, parts)): (&&'static str, &(Vec<u8>, Vec<&'static str>))| {
        (name.to_string(), json!({ "certificates": parts, "pem": bytes(pem) }))
    };
    let quote = |(name, (head, chain)): (&&'static str, &(Vec<u8>, &'static str))| {
        (name.to_string(), json!({ "chain": chain, "head": bytes(head) }))
    };
    let quotes = json!({
        "chains": Value::from(corpus.chains.iter().map(chain).collect::<serde_json::Map<_, _>>()),
        "quotes": Value::from(corpus.quotes.iter().map(quote).collect::<serde_json::Map<_, _>>()),
    });
    let policy = |(name, policy): (&&'static str, &Policy)| {
        let statuses: Vec<_> = policy.statuses.iter().map(TcbStatus::to_string).collect();
        let value = json!({
            "forbiddenAttributes": policy.forbidden_attributes,
            "maxAge": policy.max_age,
            "measurements": policy.measurements,
            "minEvaluation": policy.min_evaluation,
            "signers": policy.signers,
            "statuses": statuses,
        });
        (name.to_string(), value)
    };
    let policies = Value::from(corpus.policies.iter().map(policy).collect::<serde_json::Map<_, _>>());
    // A line a case.
    let lines: Vec<_> = corpus.cases.iter().map(|case| format!("    {}", case_json(&corpus, case))).collect();
    let cases = format!("{{\n  \"cases\": [\n{}\n  ],\n  \"policies\": {policies}\n}}\n", lines.join(",\n"));
    let binding = binding();
    let report_data = json!({
        "blockHash": binding.block_hash,
        "blockNumber": binding.block_number,
        "chainId": binding.chain_id,
        "key": binding.key,
        "payout": binding.payout,
        "registry": binding.registry,
        "reportData": bytes(&binding.report_data()),
    });
    let text = |value: Value| serde_json::to_string_pretty(&value).unwrap() + "\n";
    [
        ("cases.json", cases),
        ("collateral.json", text(collateral)),
        ("quotes.json", text(quotes)),
        ("report_data.json", text(report_data)),
    ]
}

fn case_json(corpus: &Corpus, case: &Case) -> Value {
    let mut value = json!({
        "name": case.name,
        "pckCrl": case.pck_crl,
        "policy": case.policy,
        "qeIdentity": case.qe_identity,
        "quote": case.quote,
        "result": case.result,
        "root": case.root,
        "rootCrl": case.root_crl,
        "signer": case.signer,
        "tcbInfo": case.tcb_info,
        "time": case.time,
    });
    // The results are written by hand above; that the verifier in Rust agrees is the test's business.
    if let Ok(verified) = corpus.check(case) {
        value["verified"] = json!({
            "attributes": verified.attributes,
            "cpuSvn": hex::encode_prefixed(verified.cpu_svn),
            "evaluation": verified.evaluation,
            "expires": verified.expires,
            "fmspc": hex::encode_prefixed(verified.fmspc),
            "measurement": verified.measurement,
            "pceSvn": verified.pce_svn,
            "pckIssuer": verified.pck_issuer,
            "pckSerial": verified.pck_serial,
            "platform": verified.platform,
            "qeSvn": verified.qe_svn,
            "quoteHash": verified.quote_hash,
            "reportData": hex::encode_prefixed(verified.report_data),
            "signer": verified.signer,
            "status": verified.status.to_string(),
        });
    }
    value
}
