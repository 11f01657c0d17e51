//! The relayer against an L1 that misbehaves.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod scripted;

use alloy_consensus::Transaction as _;
use alloy_eips::{
    eip4844::{Blob, Bytes48},
    eip7594::CELLS_PER_EXT_BLOB,
};
use alloy_primitives::B256;
use jove_settlement::{
    Error, Relayer,
    relayer::{Mined, Reason, Request, Sidecar, State},
};
use proptest::prelude::*;
use scripted::{Fault, GWEI, Scripted, commit, key};
use std::{fs, path::Path, sync::Arc};

/// A commit with a blob. Nobody here checks its proofs.
fn with_blob(parent: u64, name: u64) -> Request {
    let seed = name as u8;
    let proofs = vec![Bytes48::repeat_byte(seed); CELLS_PER_EXT_BLOB];
    let sidecar = Sidecar::new(vec![Blob::repeat_byte(seed)], vec![Bytes48::repeat_byte(seed)], proofs);
    Request { sidecar: Some(Arc::new(sidecar)), ..commit(parent, name) }
}

fn mined(relayer: &Relayer, name: u64) -> Mined {
    match relayer.state(&key(name)) {
        Some(State::Mined(mined) | State::Final(mined)) => mined,
        other => panic!("{name}: {other:?}"),
    }
}

fn is_final(relayer: &Relayer, name: u64) -> bool {
    matches!(relayer.state(&key(name)), Some(State::Final(_)))
}

/// Mines and steps, without faults, until everything is done with.
async fn finish(l1: &Scripted, relayer: &mut Relayer) {
    l1.script(|_, _| Fault::None);
    for _ in 0..200 {
        if relayer.open_requests() == 0 {
            return;
        }
        l1.good_step(relayer).await;
        l1.mine(true);
    }
    panic!("not done: {:?}", relayer.stuck());
}

#[tokio::test]
async fn a_commit_is_sent_mined_and_final() {
    let l1 = Scripted::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut relayer = l1.open(folder.path());
    relayer.submit(with_blob(0, 1)).unwrap();
    relayer.submit(commit(1, 2)).unwrap();
    assert_eq!(relayer.state(&key(1)), Some(State::Queued));
    assert_eq!(relayer.state(&key(9)), None);
    l1.good_step(&mut relayer).await;
    let Some(State::Pending { nonce: 0, hashes }) = relayer.state(&key(1)) else { panic!("not sent") };
    assert_eq!(hashes.len(), 1);
    // One waits.
    assert_eq!(relayer.state(&key(2)), Some(State::Queued));
    l1.mine(true);
    l1.good_step(&mut relayer).await;
    assert_eq!(mined(&relayer, 1).hash, hashes[0]);
    assert_eq!(mined(&relayer, 1).cost, 100_000 * GWEI);
    assert!(matches!(relayer.state(&key(2)), Some(State::Pending { nonce: 1, .. })));
    l1.mine(true);
    for _ in 0..3 {
        l1.good_step(&mut relayer).await;
        assert!(!is_final(&relayer, 1));
        l1.mine(true);
    }
    l1.good_step(&mut relayer).await;
    assert!(is_final(&relayer, 1) && !is_final(&relayer, 2));
    finish(&l1, &mut relayer).await;
    assert_eq!(l1.commits(), [1, 2]);
    l1.check_sent();
    assert_eq!(l1.state().received.len(), 2);
    assert_eq!(relayer.stuck(), None);
}

#[tokio::test]
async fn send_waits_for_the_block() {
    let l1 = Scripted::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut relayer = l1.open(folder.path());
    let miner = l1.clone();
    let mine = async move {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
            miner.mine(true);
        }
    };
    tokio::select! {
        state = relayer.send(commit(0, 1)) => assert!(matches!(state, Ok(State::Mined(Mined { success: true, .. })))),
        () = mine => {}
    }
    // The answer to the same request is the same.
    assert!(relayer.send(commit(0, 1)).await.is_ok_and(|state| state.is_settled()));
    assert_eq!(l1.commits(), [1]);
}

#[tokio::test]
async fn a_key_is_one_request() {
    let l1 = Scripted::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut relayer = l1.open(folder.path());
    for name in 0..8 {
        relayer.submit(commit(name, name)).unwrap();
        relayer.submit(commit(name, name)).unwrap();
    }
    assert!(matches!(relayer.submit(commit(8, 8)), Err(Error::Full(8))));
    assert!(matches!(relayer.submit(commit(3, 0)), Err(Error::KeyTaken(_))));
    assert!(matches!(relayer.submit(with_blob(0, 0)), Err(Error::KeyTaken(_))));
    assert!(relayer.withdraw(&key(7)).unwrap());
    assert_eq!(relayer.state(&key(7)), None);
    assert!(!relayer.withdraw(&key(7)).unwrap());
    l1.good_step(&mut relayer).await;
    assert!(!relayer.withdraw(&key(0)).unwrap(), "it is signed");
    finish(&l1, &mut relayer).await;
    drop(relayer);
    let mut relayer = l1.open(folder.path());
    relayer.submit(commit(0, 0)).unwrap();
    assert!(is_final(&relayer, 0), "done is done");
    assert!(matches!(relayer.submit(commit(3, 0)), Err(Error::KeyTaken(_))));
    assert_eq!(l1.commits(), [0, 1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn what_would_revert_costs_nothing_and_has_a_name() {
    let l1 = Scripted::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut relayer = l1.open(folder.path());
    relayer.submit(commit(1, 2)).unwrap();
    l1.good_step(&mut relayer).await;
    let Some(State::Refused(revert)) = relayer.state(&key(2)) else { panic!("not refused") };
    assert_eq!(revert.to_string(), format!("WrongParent({})", B256::ZERO));
    assert!(l1.state().received.is_empty());
    // It may be sent when its time has come.
    relayer.submit(commit(0, 1)).unwrap();
    relayer.submit(commit(1, 2)).unwrap();
    assert_eq!(relayer.state(&key(2)), Some(State::Queued));
    finish(&l1, &mut relayer).await;
    assert_eq!(l1.commits(), [1, 2]);
}

#[tokio::test]
async fn fees_rise_to_their_caps_and_then_it_says_so() {
    let l1 = Scripted::start().await;
    for (request, most) in [(commit(0, 1), 30), (with_blob(1, 2), 4)] {
        let name = request.key.clone();
        let folder = tempfile::tempdir().unwrap();
        let mut relayer = l1.open(folder.path());
        l1.state().received.clear();
        relayer.submit(request).unwrap();
        l1.good_step(&mut relayer).await;
        // From now on nobody can pay.
        l1.state().base_fee = 100 * GWEI;
        let mut attempts = 1;
        for _ in 0..100 {
            l1.mine(true);
            l1.good_step(&mut relayer).await;
            let Some(State::Pending { hashes, .. }) = relayer.state(&name) else { panic!("not pending") };
            attempts = hashes.len();
        }
        assert!((2..=most).contains(&attempts), "{attempts}");
        let stuck = relayer.stuck().expect("stuck");
        assert!(matches!(stuck.reason, Reason::Caps(_)) && stuck.key == name, "{stuck:?}");
        assert!(stuck.since.elapsed().unwrap_or_default().as_secs() < 600);
        assert_eq!(l1.state().received.len(), attempts, "nothing is sent without need");
        l1.check_sent();
        // When fees fall, what waits is mined.
        l1.state().base_fee = GWEI;
        finish(&l1, &mut relayer).await;
    }
    assert_eq!(l1.commits(), [1, 2]);
}

#[tokio::test]
async fn a_node_that_refuses_is_reported_and_asked_again() {
    let l1 = Scripted::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut relayer = l1.open(folder.path());
    l1.state().refuse = Some("insufficient funds for gas * price + value");
    relayer.submit(commit(0, 1)).unwrap();
    for _ in 0..3 {
        l1.good_step(&mut relayer).await;
    }
    let stuck = relayer.stuck().expect("stuck");
    assert_eq!(stuck.reason.to_string(), "the node refuses it: insufficient funds for gas * price + value");
    l1.state().refuse = None;
    finish(&l1, &mut relayer).await;
    assert_eq!(l1.commits(), [1]);
    assert_eq!(l1.state().received.len(), 1, "the same bytes");
}

#[tokio::test]
async fn what_the_node_forgets_is_sent_again_to_the_byte() {
    let l1 = Scripted::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut relayer = l1.open(folder.path());
    relayer.submit(with_blob(0, 1)).unwrap();
    l1.good_step(&mut relayer).await;
    for round in 1..3 {
        l1.state().pool.clear();
        l1.good_step(&mut relayer).await;
        let state = l1.state();
        assert_eq!(state.received.len(), round + 1);
        assert_eq!(state.received[round].raw, state.received[0].raw);
    }
    finish(&l1, &mut relayer).await;
    assert_eq!(l1.commits(), [1]);
}

#[tokio::test]
async fn what_a_reorganisation_drops_is_sent_again_to_the_byte() {
    let l1 = Scripted::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut relayer = l1.open(folder.path());
    relayer.submit(with_blob(0, 1)).unwrap();
    relayer.submit(commit(1, 2)).unwrap();
    for _ in 0..3 {
        l1.good_step(&mut relayer).await;
        l1.mine(true);
    }
    l1.good_step(&mut relayer).await;
    let (first, second) = (mined(&relayer, 1), mined(&relayer, 2));
    assert!(first.success && second.success);
    // Both are gone, and nobody remembers them.
    l1.reorganise(3, false);
    l1.good_step(&mut relayer).await;
    assert_eq!(relayer.state(&key(1)), Some(State::Pending { nonce: 0, hashes: vec![first.hash] }));
    assert_eq!(relayer.state(&key(2)), Some(State::Pending { nonce: 1, hashes: vec![second.hash] }));
    {
        let state = l1.state();
        assert_eq!(state.received.len(), 4);
        assert_eq!(state.received[2].raw, state.received[0].raw);
        assert_eq!(state.received[3].raw, state.received[1].raw);
    }
    // The same after a restart in the middle.
    drop(relayer);
    let mut relayer = l1.open(folder.path());
    finish(&l1, &mut relayer).await;
    assert_eq!(mined(&relayer, 1).hash, first.hash);
    assert_eq!(l1.commits(), [1, 2]);
    l1.check_sent();
}

#[tokio::test]
async fn an_attempt_that_was_replaced_may_be_the_one_that_is_mined() {
    let l1 = Scripted::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut relayer = l1.open(folder.path());
    relayer.submit(commit(0, 1)).unwrap();
    l1.good_step(&mut relayer).await;
    for _ in 0..2 {
        l1.mine(false);
        l1.good_step(&mut relayer).await;
    }
    l1.mine(false);
    // The replacement is signed, and does not arrive.
    l1.script(|_, method| if method == "eth_sendRawTransaction" { Fault::Drop } else { Fault::None });
    assert!(!relayer.step().await.unwrap_err().to_string().is_empty());
    let Some(State::Pending { hashes, .. }) = relayer.state(&key(1)) else { panic!("not pending") };
    assert_eq!(hashes.len(), 2);
    l1.mine(true);
    for restart in [false, true] {
        if restart {
            drop(relayer);
            relayer = l1.open(folder.path());
        }
        l1.good_step(&mut relayer).await;
        assert_eq!(mined(&relayer, 1).hash, hashes[0]);
    }
    finish(&l1, &mut relayer).await;
    assert_eq!(l1.commits(), [1]);
}

/// Between two questions of one step the block goes, and another becomes final in its place.
#[tokio::test]
async fn what_is_final_is_on_the_chain() {
    let l1 = Scripted::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut relayer = l1.open(folder.path());
    relayer.submit(commit(0, 1)).unwrap();
    l1.good_step(&mut relayer).await;
    let first = l1.state().calls;
    let mut interrupted = 0;
    for question in 0..8 {
        let folder = tempfile::tempdir().unwrap();
        let l1 = Scripted::start().await;
        let mut relayer = l1.open(folder.path());
        relayer.submit(commit(0, 1)).unwrap();
        l1.good_step(&mut relayer).await;
        l1.mine(true);
        l1.state().before = Some((first + question, |state| {
            state.reorganise(1, true);
            state.finality = 0;
        }));
        // A node may answer about a block that went with an error.
        let _ = relayer.step().await;
        interrupted += u64::from(l1.state().before.take().is_none());
        assert!(!is_final(&relayer, 1), "{question}");
        l1.state().finality = 4;
        finish(&l1, &mut relayer).await;
        assert_eq!(l1.commits(), [1]);
    }
    assert_eq!(interrupted, 4);
}

#[tokio::test]
async fn a_folder_has_one_relayer() {
    let l1 = Scripted::start().await;
    let folder = tempfile::tempdir().unwrap();
    let relayer = l1.open(folder.path());
    assert!(matches!(l1.try_open(folder.path()), Err(Error::Locked { .. })));
    drop(relayer);
    l1.open(folder.path());
}

#[tokio::test]
async fn another_chain_is_not_served() {
    let (l1, other) = (Scripted::start().await, Scripted::start_with_genesis(5).await);
    let folder = tempfile::tempdir().unwrap();
    let mut relayer = l1.open(folder.path());
    relayer.submit(commit(0, 1)).unwrap();
    l1.good_step(&mut relayer).await;
    drop(relayer);
    let mut relayer = other.open(folder.path());
    assert!(matches!(relayer.step().await, Err(Error::OtherJournal { .. })));
    assert!(matches!(relayer.send(commit(0, 1)).await, Err(Error::OtherJournal { .. })));
    assert!(other.state().received.is_empty());
}

#[tokio::test]
async fn a_node_behind_what_is_final_is_not_believed() {
    let l1 = Scripted::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut relayer = l1.open(folder.path());
    relayer.submit(commit(0, 1)).unwrap();
    finish(&l1, &mut relayer).await;
    // A reorganisation deeper than finality.
    l1.state().finality = 1000;
    l1.reorganise(999, false);
    relayer.submit(commit(0, 2)).unwrap();
    assert!(matches!(relayer.step().await, Err(Error::AccountBehind { nonce: 0, expected: 1 })));
    assert!(matches!(relayer.stuck().expect("stuck").reason, Reason::L1(_)));
    assert_eq!(l1.state().received.len(), 1);
}

/// A relayer with another journal, as on another machine, on the same key.
async fn twins() -> (Scripted, [tempfile::TempDir; 2], [Relayer; 2]) {
    let l1 = Scripted::start().await;
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let relayers = [l1.open(folders[0].path()), l1.open(folders[1].path())];
    (l1, folders, relayers)
}

#[tokio::test]
async fn of_two_relayers_one_is_fenced_off() {
    let (l1, _folders, [mut one, mut two]) = twins().await;
    // Nothing but the nonce keeps them apart.
    l1.state().guard = false;
    one.submit(commit(0, 1)).unwrap();
    two.submit(with_blob(0, 2)).unwrap();
    // Both sign before either sees the other's.
    l1.script(|_, method| if method == "eth_sendRawTransaction" { Fault::Drop } else { Fault::None });
    assert!(one.step().await.is_err() && two.step().await.is_err());
    l1.script(|_, _| Fault::None);
    l1.good_step(&mut one).await;
    l1.mine(true);
    l1.good_step(&mut one).await;
    l1.good_step(&mut two).await;
    assert!(matches!(one.state(&key(1)), Some(State::Mined(_))));
    assert_eq!(two.state(&key(2)), Some(State::Displaced { nonce: 0 }));
    assert_eq!(two.stuck().expect("stuck").reason, Reason::Displaced(0));
    // What comes after waits until that is certain.
    two.submit(commit(1, 3)).unwrap();
    l1.good_step(&mut two).await;
    assert_eq!(two.state(&key(3)), Some(State::Queued));
    for _ in 0..6 {
        l1.mine(true);
        l1.good_step(&mut two).await;
    }
    assert_eq!(two.state(&key(2)), Some(State::Fenced { nonce: 0 }));
    finish(&l1, &mut two).await;
    assert_eq!(l1.commits(), [1, 3]);
    // It is remembered.
    two.submit(with_blob(0, 2)).unwrap();
    assert_eq!(two.state(&key(2)), Some(State::Fenced { nonce: 0 }));
}

#[tokio::test]
async fn a_displaced_request_comes_back_with_a_reorganisation() {
    let (l1, _folders, [mut one, mut two]) = twins().await;
    one.submit(commit(0, 1)).unwrap();
    two.submit(commit(0, 2)).unwrap();
    l1.script(|_, method| if method == "eth_sendRawTransaction" { Fault::Drop } else { Fault::None });
    assert!(one.step().await.is_err() && two.step().await.is_err());
    l1.script(|_, _| Fault::None);
    l1.good_step(&mut one).await;
    l1.mine(true);
    l1.good_step(&mut two).await;
    assert!(matches!(two.state(&key(2)), Some(State::Displaced { .. })));
    l1.reorganise(1, false);
    l1.good_step(&mut two).await;
    assert!(matches!(two.state(&key(2)), Some(State::Pending { nonce: 0, .. })));
    finish(&l1, &mut two).await;
    assert!(is_final(&two, 2));
    assert_eq!(l1.commits(), [2]);
    finish(&l1, &mut one).await;
    assert_eq!(one.state(&key(1)), Some(State::Fenced { nonce: 0 }));
}

#[tokio::test]
async fn a_foreign_transaction_that_waits_is_waited_for_and_then_replaced() {
    let (l1, folders, [mut one, two]) = twins().await;
    one.submit(commit(0, 1)).unwrap();
    l1.good_step(&mut one).await;
    drop((one, two));
    // As after the loss of the journal.
    let mut two = l1.open(folders[1].path());
    two.submit(commit(0, 2)).unwrap();
    for _ in 0..5 {
        l1.good_step(&mut two).await;
        assert_eq!(two.stuck().expect("stuck").reason, Reason::Foreign(0));
        assert_eq!(two.state(&key(2)), Some(State::Queued));
        l1.mine(false);
    }
    // The first attempt pays too little to replace it; the next one does not.
    l1.good_step(&mut two).await;
    l1.good_step(&mut two).await;
    let Some(State::Pending { nonce: 0, hashes }) = two.state(&key(2)) else { panic!("not sent") };
    assert_eq!(hashes.len(), 2);
    finish(&l1, &mut two).await;
    assert_eq!(l1.commits(), [2]);
}

/// Commits 1 and 2, over a world that goes its way: a node that forgets, fees that rise, a reorganisation that forgets. `torn`: at a death, what was written since
/// the question before is cut short by so many bytes.
struct Play {
    l1: Scripted,
    folder: tempfile::TempDir,
    torn: Option<u64>,
}

const ACTS: usize = 14;

impl Play {
    async fn run(&self) -> usize {
        let mut deaths = 0;
        let mut relayer = self.l1.open(self.folder.path());
        for act in 0..ACTS {
            loop {
                // Submitting again is harmless: the caller does not know how far it came either.
                relayer.submit(with_blob(0, 1)).unwrap();
                if act > 1 {
                    relayer.submit(commit(1, 2)).unwrap();
                }
                if self.l1.step(&mut relayer).await {
                    break;
                }
                deaths += 1;
                drop(relayer);
                self.tear();
                relayer = self.l1.open(self.folder.path());
            }
            match act {
                0 | 1 | 3 => self.l1.mine(false),
                2 => self.l1.state().pool.clear(),
                8 => self.l1.reorganise(3, false),
                10 => self.l1.reorganise(1, true),
                _ => self.l1.mine(true),
            }
        }
        finish(&self.l1, &mut relayer).await;
        self.l1.check_sent();
        assert_eq!(self.l1.commits(), [1, 2]);
        assert!(is_final(&relayer, 1) && is_final(&relayer, 2));
        deaths
    }

    /// What a crash in the middle of the last write leaves.
    fn tear(&self) {
        let Some(torn) = self.torn else { return };
        let journal = journal(self.folder.path());
        let length = fs::metadata(&journal).unwrap().len();
        let file = fs::File::options().write(true).open(&journal).unwrap();
        file.set_len(length - torn.min(length)).unwrap();
    }
}

fn journal(folder: &Path) -> std::path::PathBuf {
    let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|extension| extension == "journal")).expect("a journal")
}

/// Length of the journal at each question of a play without deaths.
async fn rehearsal() -> Vec<u64> {
    let play = Play { l1: Scripted::start().await, folder: tempfile::tempdir().unwrap(), torn: None };
    let lengths = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (seen, folder) = (lengths.clone(), play.folder.path().to_owned());
    play.l1.script(move |_, _| {
        seen.lock().unwrap().push(fs::metadata(journal(&folder)).unwrap().len());
        Fault::None
    });
    play.run().await;
    lengths.lock().unwrap().clone()
}

/// Whatever has been done on disk and on L1 when the relayer dies, it was done between two questions to L1 or in the middle of a write: this dies at each.
#[tokio::test]
async fn it_may_die_at_any_instant() {
    let lengths = rehearsal().await;
    assert!(lengths.len() > 60, "{}", lengths.len());
    let mut torn_writes = 0;
    for at in 0..lengths.len() {
        let written = if at == 0 { 0 } else { lengths[at].saturating_sub(lengths[at - 1]) };
        let tears = if written > 0 { vec![1, written / 2, written - 1] } else { vec![] };
        torn_writes += usize::from(written > 0);
        let deaths = [(Fault::DieBefore, None), (Fault::DieAfter, None)];
        for (fault, torn) in deaths.into_iter().chain(tears.into_iter().map(|torn| (Fault::DieBefore, Some(torn)))) {
            let play = Play { l1: Scripted::start().await, folder: tempfile::tempdir().unwrap(), torn };
            play.l1.script(move |call, _| if call == at as u64 { fault } else { Fault::None });
            assert_eq!(play.run().await, 1, "{at} {fault:?} {torn:?}");
        }
    }
    assert!(torn_writes >= 4, "{torn_writes}");
}

/// What happens next in a random play.
#[derive(Clone, Debug)]
enum Event {
    Step,
    /// A relayer's step, with a fault at one of its questions.
    Fault(u8, u8),
    Restart,
    Mine(bool),
    Forget,
    Reorganise(u8, bool),
    BaseFee(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Step),
        4 => (0..12u8, 0..6u8).prop_map(|(at, kind)| Event::Fault(at, kind)),
        1 => Just(Event::Restart),
        4 => proptest::bool::weighted(0.7).prop_map(Event::Mine),
        1 => Just(Event::Forget),
        1 => (1..4u8, any::<bool>()).prop_map(|(depth, keep)| Event::Reorganise(depth, keep)),
        1 => (1..60u8).prop_map(Event::BaseFee),
    ]
}

impl Event {
    /// Everything that does not need a relayer.
    fn happen(&self, l1: &Scripted) {
        match self {
            Self::Mine(include) => l1.mine(*include),
            Self::Forget => l1.state().pool.clear(),
            Self::Reorganise(depth, keep) => l1.reorganise((*depth).into(), *keep),
            Self::BaseFee(fee) => l1.state().base_fee = u128::from(*fee) * GWEI,
            Self::Step | Self::Restart => {}
            Self::Fault(at, kind) => {
                let kinds = [Fault::Drop, Fault::Lose, Fault::Late, Fault::Twice, Fault::DieBefore, Fault::DieAfter];
                let (at, kind) = (l1.state().calls + u64::from(*at), kinds[usize::from(*kind)]);
                l1.script(move |call, _| if call == at { kind } else { Fault::None });
            }
        }
    }
}

fn play<F: Future<Output = ()>>(run: impl FnOnce() -> F) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..Default::default() })]

    /// Whatever happens, each commit is on the final chain once, in order, with one nonce and one payload, below the caps.
    #[test]
    fn no_schedule_of_faults_commits_twice(events in proptest::collection::vec(event(), 1..60), blobs: bool) {
        play(async || {
            let l1 = Scripted::start().await;
            let folder = tempfile::tempdir().unwrap();
            let mut relayer = l1.open(folder.path());
            let first = if blobs { with_blob(0, 1) } else { commit(0, 1) };
            for event in &events {
                event.happen(&l1);
                let died = match event {
                    Event::Step | Event::Fault(..) => {
                        // A commit is asked for when the one before is on the chain.
                        relayer.submit(first.clone()).unwrap();
                        for name in 1..3 {
                            if l1.commits().contains(&name) {
                                relayer.submit(commit(name, name + 1)).unwrap();
                            }
                        }
                        !l1.step(&mut relayer).await
                    }
                    Event::Restart => true,
                    _ => false,
                };
                if died {
                    drop(relayer);
                    relayer = l1.open(folder.path());
                }
                l1.check_sent();
            }
            l1.state().base_fee = GWEI;
            relayer.submit(first.clone()).unwrap();
            finish(&l1, &mut relayer).await;
            for name in 1..3 {
                relayer.submit(commit(name, name + 1)).unwrap();
                finish(&l1, &mut relayer).await;
            }
            l1.check_sent();
            assert_eq!(l1.commits(), [1, 2, 3]);
        });
    }

    /// Two relayers on one key, each with its own idea of commit 1: one of them is on the chain, and the other knows that it is not.
    #[test]
    fn two_relayers_never_commit_both(events in proptest::collection::vec((event(), 0..2usize), 1..60)) {
        play(async || {
            let (l1, folders, [one, two]) = twins().await;
            let mut relayers = [Some(one), Some(two)];
            let request = |which: usize| if which == 0 { commit(0, 1) } else { with_blob(0, 1) };
            for (event, which) in &events {
                event.happen(&l1);
                let mut relayer = relayers[*which].take().expect("it runs");
                let died = match event {
                    Event::Step | Event::Fault(..) => {
                        relayer.submit(request(*which)).unwrap();
                        !l1.step(&mut relayer).await
                    }
                    Event::Restart => true,
                    _ => false,
                };
                if died {
                    drop(relayer);
                    relayer = l1.open(folders[*which].path());
                }
                relayers[*which] = Some(relayer);
            }
            l1.script(|_, _| Fault::None);
            l1.state().base_fee = GWEI;
            let mut relayers = relayers.map(|relayer| relayer.expect("it runs"));
            for (which, relayer) in relayers.iter_mut().enumerate() {
                if relayer.state(&key(1)).is_none() {
                    relayer.submit(request(which)).unwrap();
                }
            }
            let done = |relayer: &Relayer| {
                let state = relayer.state(&key(1)).expect("known");
                matches!(state, State::Final(_) | State::Fenced { .. } | State::Refused(_)).then_some(state)
            };
            for round in 0.. {
                assert!(round < 200, "{:?}", relayers.each_ref().map(|relayer| relayer.stuck()));
                if relayers.iter().all(|relayer| done(relayer).is_some()) {
                    break;
                }
                for relayer in &mut relayers {
                    l1.good_step(relayer).await;
                }
                l1.mine(true);
            }
            assert_eq!(l1.commits(), [1]);
            let done = relayers.each_ref().map(|relayer| done(relayer).expect("checked above"));
            let committed = done.iter().filter(|state| matches!(state, State::Final(mined) if mined.success)).count();
            assert_eq!(committed, 1, "{done:?}");
        });
    }
}

#[tokio::test]
async fn many_commits_keep_a_small_journal() {
    let l1 = Scripted::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut relayer = l1.open(folder.path());
    for name in 0..40 {
        relayer.submit(with_blob(name, name)).unwrap();
        while relayer.state(&key(name)).is_some_and(|state| !state.is_settled()) {
            l1.good_step(&mut relayer).await;
            l1.mine(true);
        }
    }
    finish(&l1, &mut relayer).await;
    assert_eq!(l1.commits(), (0..40).collect::<Vec<_>>());
    assert!(l1.state().received.iter().enumerate().all(|(index, sent)| sent.transaction.nonce() == index as u64));
    // Forty blobs would take 5.5 MB.
    let length = fs::metadata(journal(folder.path())).unwrap().len();
    assert!(length < 400_000, "{length}");
    drop(relayer);
    let relayer = l1.open(folder.path());
    assert!((0..40).all(|name| is_final(&relayer, name)));
}
