//! What travels beside AVC's own messages: sealed blocks and final checkpoints, which are gossiped, and questions for either. RLP; all of it bounded
//! before it is read. A block's body is compared with its header where it is read, so that a block's hash vouches for all of it, whoever passes it on.

use alloy_consensus::{Header, proofs::calculate_transaction_root};
use alloy_primitives::{B256, Bytes};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use jove_avc::{Certificate, Checkpoint, Domain, Kind, MAX_BLOCKS, Scheme, Seal, ValidatorSet, codec::Wire as _};
use jove_primitives::block::Block;

/// The longest answer, and the longest gossiped message, in bytes.
pub const MAX_ANSWER: usize = 4 << 20;
/// The most checkpoints under one certificate that are given away: of an epoch that a node has caught up with by its last certificate, all may be.
pub const MAX_FINALS: usize = 4096;

/// The most FinalCerts of one answer.
pub(crate) const MAX_CERTIFICATES: usize = 256;

/// Blocks that a leader gives away: each the parent of the next, the last one sealed, which vouches for all.
#[derive(Clone, Debug)]
pub struct SealedBlocks {
    /// The seal of the last block.
    pub seal: Seal,
    /// The blocks, oldest first; at least one.
    pub blocks: Vec<Block>,
}

#[derive(RlpEncodable, RlpDecodable)]
struct Sealed {
    seal: Bytes,
    blocks: Vec<Block>,
}

impl SealedBlocks {
    /// The encoding: the RLP of the seal's bytes and the list of blocks.
    pub fn encode(&self) -> Bytes {
        let mut seal = Vec::new();
        self.seal.write(&mut seal);
        alloy_rlp::encode(Sealed { seal: seal.into(), blocks: self.blocks.clone() }).into()
    }

    /// Reads an encoding. None if it is none, or the seal is not of the last block, or they are no chain.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_ANSWER {
            return None;
        }
        let Sealed { seal, blocks } = exact(bytes)?;
        let seal = Seal::decode(&seal).ok()?;
        let last = &blocks.last()?.header;
        let is_chain = blocks.windows(2).all(|pair| follows(&pair[0].header, &pair[1].header));
        let is_sealed = last.number == seal.number && last.hash_slow() == seal.hash;
        (blocks.len() as u64 <= MAX_BLOCKS && is_chain && is_sealed && blocks.iter().all(is_whole))
            .then_some(Self { seal, blocks })
    }
}

/// Whether a block's body is the one that its header names.
fn is_whole(block: &Block) -> bool {
    let body = &block.body;
    calculate_transaction_root(&body.transactions) == block.header.transactions_root
        && body.ommers.is_empty()
        && body.withdrawals.as_ref().is_some_and(|withdrawals| withdrawals.is_empty())
}

/// Final checkpoints, each the parent of the next, and the FinalCert of the last, which makes all of them final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finals {
    /// The checkpoints, lowest first; at least one, all of one epoch.
    pub checkpoints: Vec<Checkpoint>,
    /// The FinalCert of the last.
    pub certificate: Certificate,
}

#[derive(RlpEncodable, RlpDecodable)]
struct Finalized {
    certificate: Bytes,
    checkpoints: Vec<Bytes>,
}

impl Finals {
    /// The encoding: the RLP of the certificate's bytes and the list of the checkpoints' bytes.
    pub fn encode(&self) -> Bytes {
        let checkpoints = self.checkpoints.iter().map(|checkpoint| checkpoint.encode().into()).collect();
        alloy_rlp::encode(Finalized { certificate: self.certificate.encode().into(), checkpoints }).into()
    }

    /// Reads an encoding. None if it is none, or the checkpoints are no chain of one epoch that the certificate is about. Signatures are not looked at.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_ANSWER {
            return None;
        }
        let Finalized { certificate, checkpoints } = exact(bytes)?;
        let certificate = Certificate::decode(&certificate).ok()?;
        if certificate.kind != Kind::Finalize || checkpoints.len() > MAX_FINALS {
            return None;
        }
        let checkpoints = checkpoints.iter().map(|bytes| Checkpoint::decode(bytes).ok());
        let checkpoints: Vec<Checkpoint> = checkpoints.collect::<Option<_>>()?;
        let last = checkpoints.last()?.digest();
        let is_chain = checkpoints
            .windows(2)
            .all(|pair| pair[0].height.checked_add(1) == Some(pair[1].height) && pair[0].digest() == pair[1].parent);
        let is_of_epoch = checkpoints.iter().all(|checkpoint| checkpoint.epoch == certificate.epoch);
        (is_chain && is_of_epoch && last == certificate.digest).then_some(Self { checkpoints, certificate })
    }

    /// The height of the last.
    pub fn height(&self) -> u64 {
        self.checkpoints.last().map_or(0, |last| last.height)
    }

    /// Whether the certificate is by a quorum of the set, that of the checkpoints' epoch. Costs a pairing.
    pub fn verify(&self, domain: &Domain, set: &ValidatorSet, scheme: &dyn Scheme) -> bool {
        jove_avc::verify_certificate(&self.certificate, domain, set, scheme)
    }
}

fn follows(parent: &Header, header: &Header) -> bool {
    header.parent_hash == parent.hash_slow()
}

fn exact<T: Decodable>(mut bytes: &[u8]) -> Option<T> {
    let item = T::decode(&mut bytes).ok()?;
    bytes.is_empty().then_some(item)
}

/// A question to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The block with this number and hash, and those before it: newest first, at most so many.
    Blocks {
        /// The newest one's number.
        number: u64,
        /// The newest one's hash.
        hash: B256,
        /// Most blocks.
        count: u64,
    },
    /// The final checkpoints after this height, as [`Finals`]: of one epoch, as many as the peer gives at a time. No bytes where it has none.
    Finals {
        /// The height that the asker has.
        after: u64,
    },
    /// The FinalCerts that the peer has of the final checkpoints of these heights, each of its own: the lowest first, as many as it gives at a time.
    Certificates {
        /// The first height.
        first: u64,
        /// The last.
        last: u64,
    },
}

impl Request {
    /// The encoding: a byte for the kind, 0 to 2; then the RLP of the list of number, hash and count, of height, or of both heights.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match *self {
            Self::Blocks { number, hash, count } => {
                out.push(0);
                BlocksRequest { number, hash, count }.encode(&mut out);
            }
            Self::Finals { after } => {
                out.push(1);
                FinalsRequest { after }.encode(&mut out);
            }
            Self::Certificates { first, last } => {
                out.push(2);
                CertificatesRequest { first, last }.encode(&mut out);
            }
        }
        out.into()
    }

    /// Reads an encoding.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (0, rest) => {
                let BlocksRequest { number, hash, count } = exact(rest)?;
                Some(Self::Blocks { number, hash, count: count.min(MAX_BLOCKS) })
            }
            (1, rest) => exact(rest).map(|FinalsRequest { after }| Self::Finals { after }),
            (2, rest) => exact(rest).map(|CertificatesRequest { first, last }| Self::Certificates { first, last }),
            _ => None,
        }
    }
}

#[derive(RlpEncodable, RlpDecodable)]
struct BlocksRequest {
    number: u64,
    hash: B256,
    count: u64,
}

#[derive(RlpEncodable, RlpDecodable)]
struct FinalsRequest {
    after: u64,
}

#[derive(RlpEncodable, RlpDecodable)]
struct CertificatesRequest {
    first: u64,
    last: u64,
}

/// The answer to [`Request::Certificates`]: the RLP of the list of their bytes.
pub(crate) fn encode_certificates(certificates: &[Certificate]) -> Bytes {
    let certificates: Vec<Bytes> = certificates.iter().map(|certificate| certificate.encode().into()).collect();
    alloy_rlp::encode(certificates).into()
}

/// Reads that. None if it is none. Signatures are not looked at.
pub(crate) fn decode_certificates(bytes: &[u8]) -> Option<Vec<Certificate>> {
    if bytes.len() > MAX_ANSWER {
        return None;
    }
    let certificates: Vec<Bytes> = exact(bytes)?;
    if certificates.len() > MAX_CERTIFICATES {
        return None;
    }
    certificates.iter().map(|bytes| Certificate::decode(bytes).ok()).collect()
}

/// The answer to [`Request::Blocks`], as long as may be.
pub(crate) fn encode_blocks(blocks: impl Iterator<Item = Block>) -> Bytes {
    let mut body = Vec::new();
    for block in blocks {
        if body.len() + block.length() > MAX_ANSWER - 16 {
            break;
        }
        block.encode(&mut body);
    }
    let mut out = Vec::with_capacity(body.len() + 8);
    alloy_rlp::Header { list: true, payload_length: body.len() }.encode(&mut out);
    out.extend(body);
    out.into()
}

/// Reads an answer: the block with this hash and those before it, newest first. None if it is no encoding, or the blocks are not those that were asked for.
pub(crate) fn decode_blocks(bytes: &[u8], hash: B256) -> Option<Vec<Block>> {
    if bytes.len() > MAX_ANSWER {
        return None;
    }
    let blocks: Vec<Block> = exact(bytes)?;
    let mut wanted = hash;
    let is_asked = blocks.len() as u64 <= MAX_BLOCKS
        && blocks.iter().all(|block| {
            block.header.hash_slow() == std::mem::replace(&mut wanted, block.header.parent_hash) && is_whole(block)
        });
    is_asked.then_some(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;
    use jove_avc::{Bitmap, L1Origin};
    use jove_primitives::transaction::{TxDeposit, deposit};

    fn block(number: u64, parent: B256) -> Block {
        let transactions = vec![deposit(TxDeposit { gas_limit: number, ..Default::default() }).into_inner()];
        let header = Header {
            number,
            parent_hash: parent,
            transactions_root: calculate_transaction_root(&transactions),
            ..Default::default()
        };
        let body =
            alloy_consensus::BlockBody { transactions, ommers: Vec::new(), withdrawals: Some(Default::default()) };
        Block { header, body }
    }

    fn chain(count: u64) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        for number in 1..=count {
            let parent = blocks.last().map_or(B256::ZERO, |block| block.header.hash_slow());
            blocks.push(block(number, parent));
        }
        blocks
    }

    fn checkpoint(height: u64, parent: B256) -> Checkpoint {
        Checkpoint {
            chain_id: 1,
            era: 0,
            epoch: 0,
            height,
            view: height,
            proposer: 0,
            proof: [7; 80],
            parent,
            parent_signers: Bitmap::first(3),
            last_number: height,
            last_hash: keccak256(height.to_be_bytes()),
            state_root: B256::ZERO,
            origin: L1Origin::default(),
            set_version: 0,
            set_hash: B256::ZERO,
            weight_root: B256::ZERO,
            evidence_root: B256::ZERO,
            next: None,
        }
    }

    fn finals(count: u64) -> Finals {
        let mut checkpoints: Vec<Checkpoint> = Vec::new();
        for height in 1..=count {
            let parent = checkpoints.last().map_or(B256::ZERO, Checkpoint::digest);
            checkpoints.push(checkpoint(height, parent));
        }
        let digest = checkpoints.last().map(Checkpoint::digest).expect("one at least");
        let signers = Bitmap::first(3);
        let certificate =
            Certificate { kind: Kind::Finalize, epoch: 0, view: count, digest, signers, signature: [1; 48] };
        Finals { checkpoints, certificate }
    }

    #[test]
    fn a_body_that_its_header_does_not_name_is_no_block() {
        let blocks = chain(3);
        let last = blocks.last().expect("three").header.clone();
        let seal = Seal { epoch: 0, term: 0, number: last.number, hash: last.hash_slow(), signature: [0; 48] };
        let sealed = SealedBlocks { seal, blocks: blocks.clone() };
        assert!(SealedBlocks::decode(&sealed.encode()).is_some());
        let newest_first = |blocks: &[Block]| encode_blocks(blocks.iter().rev().cloned());
        assert_eq!(
            decode_blocks(&newest_first(&blocks), last.hash_slow()),
            Some({
                let mut blocks = blocks.clone();
                blocks.reverse();
                blocks
            })
        );
        for alter in [
            |block: &mut Block| block.body.transactions.clear(),
            |block: &mut Block| block.body.transactions.push(block.body.transactions[0].clone()),
            |block: &mut Block| block.body.ommers.push(Header::default()),
            |block: &mut Block| block.body.withdrawals = None,
            |block: &mut Block| block.header.state_root = B256::repeat_byte(1),
        ] {
            let mut altered = blocks.clone();
            alter(&mut altered[1]);
            assert!(decode_blocks(&newest_first(&altered), last.hash_slow()).is_none());
            assert!(SealedBlocks::decode(&SealedBlocks { blocks: altered, ..sealed.clone() }.encode()).is_none());
        }
        assert!(decode_blocks(&newest_first(&blocks), B256::ZERO).is_none(), "another was asked for");
    }

    #[test]
    fn finals_are_a_chain_under_one_certificate() {
        let good = finals(3);
        assert_eq!(Finals::decode(&good.encode()), Some(good.clone()));
        for alter in [
            |finals: &mut Finals| finals.checkpoints.clear(),
            |finals: &mut Finals| {
                finals.checkpoints.remove(1);
            },
            |finals: &mut Finals| {
                finals.checkpoints.pop();
            },
            |finals: &mut Finals| finals.checkpoints[0].state_root = B256::repeat_byte(1),
            |finals: &mut Finals| finals.certificate.epoch = 1,
            |finals: &mut Finals| finals.certificate.kind = Kind::Notarize,
        ] {
            let mut altered = good.clone();
            alter(&mut altered);
            assert_eq!(Finals::decode(&altered.encode()), None);
        }
        let bytes = good.encode();
        for length in 0..bytes.len() {
            assert_eq!(Finals::decode(&bytes[..length]), None);
        }
    }

    #[test]
    fn requests_are_read_back_and_bounded() {
        let blocks = Request::Blocks { number: 9, hash: B256::repeat_byte(3), count: 4 };
        for request in [blocks, Request::Finals { after: 7 }, Request::Certificates { first: 3, last: 9 }] {
            assert_eq!(Request::decode(&request.encode()), Some(request));
            let encoded = request.encode();
            assert_eq!(Request::decode(&encoded[..encoded.len() - 1]), None);
        }
        let many = Request::Blocks { number: 9, hash: B256::ZERO, count: u64::MAX };
        assert!(matches!(Request::decode(&many.encode()), Some(Request::Blocks { count: MAX_BLOCKS, .. })));
        assert_eq!(Request::decode(&[]), None);
        assert_eq!(Request::decode(&[2, 0xc0]), None);
        assert_eq!(Request::decode(&[3, 0xc0]), None);
    }

    #[test]
    fn certificates_are_read_back_and_bounded() {
        let one = finals(1).certificate;
        for count in [0, 1, MAX_CERTIFICATES] {
            let certificates = vec![one.clone(); count];
            assert_eq!(decode_certificates(&encode_certificates(&certificates)), Some(certificates));
        }
        let many = vec![one.clone(); MAX_CERTIFICATES + 1];
        assert_eq!(decode_certificates(&encode_certificates(&many)), None);
        let bytes = encode_certificates(&[one]);
        for length in 0..bytes.len() {
            assert_eq!(decode_certificates(&bytes[..length]), None);
        }
    }
}
