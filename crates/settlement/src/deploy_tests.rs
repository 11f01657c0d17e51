use super::*;
use std::collections::BTreeSet;

type Edit = fn(&mut ChainSpec, &mut Settings);

fn terms() -> Terms {
    Terms {
        measurements: vec![B256::repeat_byte(1)],
        signers: vec![B256::repeat_byte(2)],
        ..Terms::new(jove_tee::verify::INTEL_ROOT.to_vec())
    }
}

fn validators() -> validators::Terms {
    validators::Terms::new(validators::Founders::of(&validators::tests::validators(4)).expect("good"))
}

fn plan(edit: impl FnOnce(&mut ChainSpec, &mut Settings)) -> Plan {
    let mut spec = ChainSpec::dev();
    let mut settings = Settings::new(Address::repeat_byte(1), &spec, 900);
    edit(&mut spec, &mut settings);
    Plan::new(&spec, settings, 900, Address::repeat_byte(1)).expect("valid")
}

#[test]
fn every_setting_changes_every_address() {
    let same = plan(|_, _| {}).settlement().expect("planned");
    assert_eq!(plan(|_, _| {}).settlement().expect("planned"), same);
    let edits: [Edit; 29] = [
        |spec, _| spec.chain_id += 1,
        |spec, _| spec.genesis.timestamp += 1,
        |spec, _| spec.gas.base_fee_floor += 1,
        |_, settings| settings.sequencer = Address::repeat_byte(2),
        |_, settings| settings.council = Address::repeat_byte(2),
        |_, settings| settings.governor = Address::repeat_byte(2),
        |_, settings| settings.fee_recipient = Address::repeat_byte(2),
        |_, settings| settings.enclaves = Enclaves::Verifier(Address::repeat_byte(2)),
        |_, settings| settings.zk = ZeroKnowledge::Verifier(Address::repeat_byte(2)),
        |_, settings| settings.enclaves = Enclaves::Attested(terms()),
        |_, settings| settings.enclaves = Enclaves::Attested(Terms { measurements: vec![], ..terms() }),
        |_, settings| settings.enclaves = Enclaves::Attested(Terms { signers: vec![], ..terms() }),
        |_, settings| settings.enclaves = Enclaves::Attested(Terms { root: vec![1], ..terms() }),
        |_, settings| {
            let mut other = terms();
            other.policy.maxAge -= 1;
            settings.enclaves = Enclaves::Attested(other);
        },
        |_, settings| settings.validators = Some(validators()),
        |_, settings| settings.validators = Some(validators::Terms { min_bond: 1, ..validators() }),
        |_, settings| settings.validators = Some(validators::Terms { unbonding: 1, ..validators() }),
        |_, settings| settings.validators = Some(validators::Terms { reward: Some(1), ..validators() }),
        |_, settings| {
            let admission = validators::Admission::Everyone;
            settings.validators = Some(validators::Terms { admission, ..validators() });
        },
        |_, settings| {
            let founders = validators::Founders::of(&validators::tests::validators(5)).expect("good");
            settings.validators = Some(validators::Terms { founders, ..validators() });
        },
        |_, settings| settings.silence_delay += 1,
        |_, settings| settings.message_delay += 1,
        |_, settings| settings.drop_delay += 1,
        |_, settings| settings.escape_delay += 1,
        |_, settings| settings.single_proof_delay += 1,
        |_, settings| settings.timelock_delay += 1,
        |_, settings| settings.origin_lag += 1,
        |_, settings| settings.price_floor += 1,
        |_, settings| settings.blob_fee_updates[0].fraction += 1,
    ];
    let rollups: BTreeSet<Address> =
        edits.into_iter().map(|edit| plan(edit).settlement().expect("planned").rollup).chain([same.rollup]).collect();
    assert_eq!(rollups.len(), 30);
    let other = |l1, deployer| {
        let spec = ChainSpec::dev();
        let settings = Settings::new(Address::repeat_byte(1), &spec, 900);
        Plan::new(&spec, settings, l1, deployer).expect("valid").settlement().expect("planned").rollup
    };
    assert_ne!(other(901, Address::repeat_byte(1)), same.rollup);
    assert_ne!(other(900, Address::repeat_byte(2)), same.rollup);
}

#[test]
fn blob_fee_updates_are_the_networks() {
    assert_eq!(blob_fees::known(900), [BlobFeeUpdate { timestamp: 0, fraction: 5_007_716 }]);
    let spec = ChainSpec::dev();
    for l1 in [1, 11_155_111, 560_048, 900] {
        let settings = Settings::new(Address::repeat_byte(1), &spec, l1);
        Plan::new(&spec, settings, l1, Address::repeat_byte(1)).expect("in order");
    }
    let mut settings = Settings::new(Address::repeat_byte(1), &spec, 900);
    settings.blob_fee_updates.clear();
    let error = Plan::new(&spec, settings, 900, Address::repeat_byte(1)).expect_err("refused").to_string();
    assert!(error.contains("blob fee updates"), "{error}");
}

#[test]
fn all_addresses_are_apart_and_genesis_names_the_bridge() {
    let plan = plan(|_, _| {});
    let settlement = plan.settlement().expect("planned");
    let created = plan.waves.iter().flatten().filter_map(|step| match step {
        Step::Create { address, .. } => Some(*address),
        Step::Publish { .. } | Step::Place { .. } => None,
    });
    let created: BTreeSet<Address> = created.collect();
    assert_eq!(created.len(), 19);
    assert!(addresses(&settlement).values().all(|address| created.contains(address)));
    let bridge = &plan.spec.genesis_changes().accounts[&predeploys::L2_BRIDGE].storage[&predeploys::L1_BRIDGE_SLOT];
    assert_eq!(B256::from(bridge.after), settlement.bridge.into_word());
    assert_eq!(plan.genesis, genesis(&plan.spec));
    assert_ne!(plan.genesis.blockHash, genesis(&ChainSpec::dev()).blockHash);
}

#[test]
fn contracts_of_attestation_are_created_and_named_if_they_are_wanted() {
    let plan = plan(|_, settings| settings.enclaves = Enclaves::Attested(terms()));
    let settlement = plan.settlement().expect("planned");
    let attestation = settlement.attestation.expect("named");
    let wave_of = |wanted: Address| {
        let creates = |step: &Step| matches!(step, Step::Create { address, .. } if *address == wanted);
        plan.waves.iter().position(|wave| wave.iter().any(creates))
    };
    let Attestation { pccs, dcap, registry, tee_verifier } = attestation;
    assert_eq!([pccs, dcap, registry, tee_verifier].map(wave_of), [Some(0), Some(1), Some(2), Some(2)]);
    assert_eq!(addresses(&settlement)["Registry"], registry);
    let created = plan.waves.iter().flatten().filter(|step| matches!(step, Step::Create { .. })).count();
    assert_eq!(created, 22, "no test verifier for enclaves");
}

#[test]
fn a_chain_with_validators_has_their_authority_and_keys() {
    let terms = validators::Terms { reward: Some(1), ..validators() };
    let plan = plan(|_, settings| settings.validators = Some(terms.clone()));
    let settlement = plan.settlement().expect("planned");
    let created: BTreeSet<&str> = plan.waves[0]
        .iter()
        .filter_map(|step| match step {
            Step::Create { name, .. } => Some(*name),
            Step::Publish { .. } | Step::Place { .. } => None,
        })
        .collect();
    assert!(created.contains("ValidatorAuthority") && created.contains("RewardVault"));
    assert!(!created.contains("SequencerAuthority"));
    assert_eq!(addresses(&settlement)["RewardVault"], settlement.reward_vault.expect("named"));
    let published = plan.waves[1].iter().find_map(|step| match step {
        Step::Publish { authority, set, validators } => Some((*authority, *set, validators.len())),
        Step::Create { .. } | Step::Place { .. } => None,
    });
    assert_eq!(published, Some((settlement.authority, terms.founders.set.hash(), 4 * 257)));
}

#[test]
fn what_the_contracts_would_refuse_is_refused_in_words() {
    let refused = |edit: Edit| {
        let mut spec = ChainSpec::dev();
        spec.development = false;
        let mut settings = Settings::new(Address::repeat_byte(1), &spec, 900);
        settings.production = true;
        settings.enclaves = Enclaves::Attested(terms());
        settings.zk = ZeroKnowledge::Verifier(Address::repeat_byte(3));
        settings.check(&spec).expect("the defaults are production's");
        edit(&mut spec, &mut settings);
        settings.check(&spec).expect_err("refused").to_string()
    };
    let cases: [(Edit, &str); 18] = [
        (|_, settings| settings.zk = ZeroKnowledge::Test, "real verifiers"),
        (|_, settings| settings.enclaves = Enclaves::Test, "real verifiers"),
        (
            |_, settings| settings.enclaves = Enclaves::Attested(Terms { root: vec![0x30], ..terms() }),
            "root of Intel's",
        ),
        (
            |_, settings| settings.enclaves = Enclaves::Attested(Terms { measurements: vec![], ..terms() }),
            "--tee-measurement",
        ),
        (|spec, _| spec.development = true, "development chain"),
        (
            |_, settings| settings.validators = Some(validators::Terms { unbonding: 20 * DAY, ..validators() }),
            "at least 21 days",
        ),
        (|spec, _| spec.settlement = Some(Settlement::default()), "deployed chain's file"),
        (|spec, _| *spec = ChainSpec::l1(900, 1), "Ethereum's rules"),
        (|spec, _| spec.gas.target_per_second = 1 << 50, "targetPerSecond"),
        (|_, settings| settings.council = Address::ZERO, "zero address"),
        (|_, settings| settings.single_proof_delay = 6 * DAY, "(W)"),
        (|_, settings| settings.escape_delay = 20 * DAY, "(Z)"),
        (|_, settings| settings.drop_delay = 23 * HOUR, "24 hours"),
        (|_, settings| settings.silence_delay = 59 * MINUTE, "(T1)"),
        (|_, settings| settings.message_delay = 15 * DAY, "(T2)"),
        (|_, settings| settings.origin_lag = 7_201, "7200"),
        (|_, settings| settings.timelock_delay = 29 * DAY, "timelock"),
        (|_, settings| settings.escape_delay = u64::MAX, "hundred years"),
    ];
    for (edit, words) in cases {
        let error = refused(edit);
        assert!(error.contains(words), "{error} has no {words:?}");
    }
}

#[test]
fn a_file_is_written_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep").join("chain.json");
    write_file(&path, "first").expect("written");
    write_file(&path, "second").expect("written");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "second");
    assert_eq!(std::fs::read_dir(folder.path().join("deep")).expect("there").count(), 1);
}
