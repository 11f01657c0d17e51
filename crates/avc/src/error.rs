/// Why bytes or an item from outside are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Decoding: the bytes end before the item does.
    #[error("the bytes end early")]
    Short,
    /// Decoding: bytes are left over after the item.
    #[error("{0} bytes after the end")]
    Trailing(usize),
    /// Decoding: a tag that no item has.
    #[error("unknown tag {0}")]
    Tag(u8),
    /// Decoding: a number, a list or a byte string above its bound.
    #[error("{what} above its bound")]
    Bound {
        /// What is too large.
        what: &'static str,
    },
    /// Decoding: bytes that another encoding of the same item would have.
    #[error("{what} is not canonical")]
    NotCanonical {
        /// What has another form.
        what: &'static str,
    },
    /// Building a validator set: it has no members, too many, a repeated id or key, or no sequencer.
    #[error("validator set: {0}")]
    Set(&'static str),
    /// A key, a signature or a proof of possession that is no valid point, or does not verify.
    #[error("cryptography: {0}")]
    Crypto(&'static str),
    /// Restoring a node from its log: records that no honest run leaves behind.
    #[error("log: {0}")]
    Log(&'static str),
}
