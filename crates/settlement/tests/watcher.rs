//! What the watcher makes of L1's events: as they come, after reorganisations, after restarts, and when a node leaves some out.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod chain;

use chain::{Chain, Shared, committed, dropped, header, opened, proven, queued, serve, settled, state, watcher};
use jove_settlement::{Error, contracts::ProofSystem, watcher::Batch};
use std::sync::{Arc, Mutex};

/// An open chain with three messages in two blocks, and two batches.
fn chain() -> Shared {
    let mut chain = Chain { chain_id: 7, ..Default::default() };
    chain.push(Vec::new());
    chain.push(vec![opened(), queued(0)]);
    chain.push(vec![queued(1), queued(2)]);
    chain.push(vec![committed(header(1, 4))]);
    chain.push(vec![committed(header(2, 9)), proven(ProofSystem::Tee, 1, 2)]);
    Arc::new(Mutex::new(chain))
}

fn index(batch: Option<Batch>) -> Option<u64> {
    batch.map(|batch| batch.header.index)
}

#[tokio::test]
async fn events_become_a_queue_and_batches() {
    let (folder, chain) = (tempfile::tempdir().unwrap(), chain());
    let l1 = serve(chain.clone()).await;
    let mut watcher = watcher(&l1, folder.path());
    assert!(!state(&watcher).latest.open);
    assert!(watcher.poll().await.unwrap());
    assert!(!watcher.poll().await.unwrap(), "nothing is new");
    let seen = state(&watcher);
    assert_eq!((seen.latest.open, seen.latest.head, seen.latest.messages), (true, 2, 3));
    assert_eq!([0, 1, 2, 5].map(|block| seen.messages_up_to(block).unwrap()), [0, 1, 3, 3]);
    let deposits = seen.deposits(1, 9).unwrap();
    assert_eq!(deposits.iter().map(|deposit| deposit.gas_limit).collect::<Vec<_>>(), [21_001, 21_002]);
    let blocks = [0, 1, 4, 5, 9, 10];
    let batches = blocks.map(|block| index(seen.batch_of_block(block).unwrap()));
    assert_eq!(batches, [Some(0), Some(1), Some(1), Some(2), Some(2), None]);
    let batch = seen.batch(1).unwrap().unwrap();
    assert_eq!((batch.committed.block_number, batch.committed.timestamp), (3, 1_003));
    assert_eq!(batch.attested.unwrap().block_number, 4);
    assert_eq!((batch.proven, batch.settled), (None, None));
    assert_eq!(seen.tags().unwrap(), (9, 0));

    // The second is dropped and another takes its place; the first becomes final.
    let logs = vec![dropped(2, 2), committed(header(2, 6)), proven(ProofSystem::Zk, 1, 1), settled(1)];
    chain.lock().unwrap().push(logs);
    assert!(watcher.poll().await.unwrap());
    let seen = state(&watcher);
    assert_eq!((seen.latest.head, seen.latest.last_final), (2, 1));
    assert_eq!(index(seen.batch_of_block(6).unwrap()), Some(2));
    let again = seen.batch(2).unwrap().unwrap();
    assert_eq!((again.header.last_block, again.attested), (6, None), "another batch has no proof yet");
    assert!(seen.batch(1).unwrap().unwrap().settled.is_some());
    assert_eq!(seen.tags().unwrap(), (6, 0), "final, but not in a finalized block");
}

#[tokio::test]
async fn what_l1_takes_back_is_gone_and_what_it_finalized_is_kept() {
    let (folder, chain) = (tempfile::tempdir().unwrap(), chain());
    let l1 = serve(chain.clone()).await;
    let mut first = watcher(&l1, folder.path());
    chain.lock().unwrap().finalized = 2;
    first.poll().await.unwrap();
    assert_eq!((state(&first).finalized.messages, state(&first).finalized.head), (3, 0));
    chain.lock().unwrap().reorganise(2);
    assert!(first.poll().await.unwrap());
    let seen = state(&first);
    assert_eq!((seen.latest.head, seen.latest.messages), (0, 3));
    assert_eq!(index(seen.batch_of_block(4).unwrap()), None);
    assert_eq!(seen.message(2).unwrap().unwrap().deposit.gas_limit, 21_002);

    // A new one goes on at the cursor: it does not ask for what is below.
    drop((first, seen));
    chain.lock().unwrap().push(vec![committed(header(1, 4)), settled(1)]);
    chain.lock().unwrap().blocks[1].1.clear();
    let mut second = watcher(&l1, folder.path());
    assert!(second.poll().await.is_err(), "the contract's queue is another now");
    chain.lock().unwrap().blocks[1].1 = vec![opened(), queued(0)];
    chain.lock().unwrap().finalized = 5;
    second.poll().await.unwrap();
    let seen = state(&second);
    assert_eq!((seen.finalized.head, seen.finalized.last_final, seen.finalized.block.number), (1, 1, 5));
    assert_eq!(seen.tags().unwrap(), (4, 4));
    assert_eq!(index(seen.batch(0).unwrap()), Some(0));
    drop((second, seen));
    let third = watcher(&l1, folder.path());
    assert_eq!(state(&third).tags().unwrap(), (4, 4), "known before L1 is asked");
}

#[tokio::test]
async fn an_event_that_is_left_out_is_noticed() {
    let chain = chain();
    let l1 = serve(chain.clone()).await;
    // The last message: only the contract shows that there is one more. Another: the next has a wrong index.
    for (hidden, last) in [(3, true), (1, false), (2, false)] {
        let folder = tempfile::tempdir().unwrap();
        chain.lock().unwrap().hidden = Some(hidden);
        let error = watcher(&l1, folder.path()).poll().await.unwrap_err();
        match last {
            true => assert!(matches!(error, Error::Queue { found: 2, length: 3, .. }), "{error}"),
            false => assert!(matches!(error, Error::NotTheContracts("Inbox")), "{error}"),
        }
    }
    // What was kept meanwhile is read again, also after a restart: a message, the chain's opening, a batch.
    for (hidden, finalized, restarts) in [(3, 4, false), (3, 4, true), (0, 1, false), (5, 4, true)] {
        let folder = tempfile::tempdir().unwrap();
        chain.lock().unwrap().hidden = Some(hidden);
        chain.lock().unwrap().finalized = finalized;
        let mut first = watcher(&l1, folder.path());
        first.poll().await.unwrap_err();
        chain.lock().unwrap().hidden = None;
        if restarts {
            drop(first);
            first = watcher(&l1, folder.path());
        }
        assert!(!state(&first).latest.open, "nothing is said that was not checked");
        assert!(first.poll().await.unwrap());
        let seen = state(&first);
        assert_eq!((seen.latest.open, seen.latest.head, seen.latest.messages), (true, 2, 3), "{hidden}");
        assert_eq!(seen.message(2).unwrap().unwrap().deposit.gas_limit, 21_002);
        assert!(seen.batch(2).unwrap().is_some() && seen.batch(0).unwrap().is_some());
    }
    // Of two that become final, the first.
    let folder = tempfile::tempdir().unwrap();
    {
        let mut chain = chain.lock().unwrap();
        chain.push(vec![settled(1)]);
        chain.push(vec![settled(2)]);
        chain.hidden = Some(7);
    }
    let error = watcher(&l1, folder.path()).poll().await.unwrap_err();
    assert!(matches!(error, Error::Batches { found: 0, head: 2, .. }), "{error}");
    chain.lock().unwrap().hidden = None;
    assert!(watcher(&l1, folder.path()).poll().await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    chain.lock().unwrap().chain_id = 8;
    let error = watcher(&l1, folder.path()).poll().await.unwrap_err();
    assert!(matches!(error, Error::WrongL1 { found: 8, expected: 7 }), "{error}");
}
