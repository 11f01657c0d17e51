//! The validators' keys: the stand-in's, or real ones.

use super::{Plan, id_of};
use crate::{Bls, BlsSigner, KeyedHash, KeyedHashSigner, Scheme, Signer};
use alloy_primitives::keccak256;
use std::sync::Arc;

pub(super) type Keys = Vec<(Arc<dyn Signer>, crate::PublicKey, crate::VrfKey)>;

pub(super) fn keys(plan: &Plan) -> (Arc<dyn Scheme>, Keys) {
    if plan.real {
        let keys = (0..plan.nodes()).map(|node| {
            let secret = keccak256([b"secret of ".as_slice(), &[node as u8]].concat()).0;
            let signer = BlsSigner::new(id_of(node), &secret, &secret).expect("32 bytes are enough");
            let (key, vrf) = (signer.public_key(), signer.vrf_key());
            (Arc::new(signer) as Arc<dyn Signer>, key, vrf)
        });
        return (Arc::new(Bls::default()), keys.collect());
    }
    let keys = (0..plan.nodes())
        .map(|node| {
            let signer = KeyedHashSigner { id: id_of(node), number: node as u64 + 1 };
            let (key, vrf) = (signer.public_key(), signer.vrf_key());
            (Arc::new(signer) as Arc<dyn Signer>, key, vrf)
        })
        .collect();
    (Arc::new(KeyedHash), keys)
}
