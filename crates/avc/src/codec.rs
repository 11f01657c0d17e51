//! The canonical encoding: fixed order, big-endian numbers, every length bounded, one encoding per item.
//!
//! | item | bytes |
//! |---|---|
//! | number (epoch, view, height, block number, chain id, era) | 8, at most [`MAX_NUMBER`] so that sums never overflow |
//! | index of a validator | 2 |
//! | hash, key, signature, proof | as they are |
//! | bitmap | 1 for the count of bytes (at most 25), then bits, least significant first, last byte not zero |
//! | option | 0, or 1 and the item |
//! | list, byte string | 2 or 4 for the count, then the items |
//! | variant | 1 for the tag, then its fields |

use crate::{Bitmap, Error};
use alloy_primitives::B256;

/// The largest number on the wire.
pub const MAX_NUMBER: u64 = (1 << 48) - 1;

/// An item with a canonical encoding.
pub trait Wire: Sized {
    /// Appends the encoding.
    fn write(&self, out: &mut Vec<u8>);
    /// Takes the item from the front. Errors: anything that [`Wire::write`] would not have written.
    fn read(input: &mut Reader<'_>) -> Result<Self, Error>;

    /// The encoding alone.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Decodes bytes that hold this item and nothing else.
    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut input = Reader { bytes };
        let item = Self::read(&mut input)?;
        if input.bytes.is_empty() { Ok(item) } else { Err(Error::Trailing(input.bytes.len())) }
    }
}

/// Bytes that are still to be decoded.
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        if self.bytes.len() < count {
            return Err(Error::Short);
        }
        let (head, tail) = self.bytes.split_at(count);
        self.bytes = tail;
        Ok(head)
    }

    /// A count of two bytes, at most `bound`.
    pub fn count(&mut self, bound: usize, what: &'static str) -> Result<usize, Error> {
        let count = usize::from(u16::read(self)?);
        if count > bound { Err(Error::Bound { what }) } else { Ok(count) }
    }

    /// A list with a count of two bytes, at most `bound`.
    pub fn list<T: Wire>(&mut self, bound: usize, what: &'static str) -> Result<Vec<T>, Error> {
        let count = self.count(bound, what)?;
        (0..count).map(|_| T::read(self)).collect()
    }
}

/// Appends a list with a count of two bytes. Lists are bounded where they are built.
pub fn write_list<T: Wire>(items: &[T], out: &mut Vec<u8>) {
    (items.len() as u16).write(out);
    items.iter().for_each(|item| item.write(out));
}

impl Wire for u8 {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(input.take(1)?[0])
    }
}

impl Wire for u16 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.to_be_bytes());
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self::from_be_bytes(<[u8; 2]>::read(input)?))
    }
}

impl Wire for u32 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.to_be_bytes());
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self::from_be_bytes(<[u8; 4]>::read(input)?))
    }
}

impl Wire for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.to_be_bytes());
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        let number = Self::from_be_bytes(<[u8; 8]>::read(input)?);
        if number > MAX_NUMBER { Err(Error::Bound { what: "number" }) } else { Ok(number) }
    }
}

impl Wire for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        match u8::read(input)? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(Error::Tag(tag)),
        }
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        let mut item = [0; N];
        item.copy_from_slice(input.take(N)?);
        Ok(item)
    }
}

impl Wire for B256 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.0);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self(<[u8; 32]>::read(input)?))
    }
}

impl<T: Wire> Wire for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(item) = self {
            item.write(out);
        }
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(if bool::read(input)? { Some(T::read(input)?) } else { None })
    }
}

impl Wire for Bitmap {
    fn write(&self, out: &mut Vec<u8>) {
        let bytes = self.bytes();
        out.push(bytes.len() as u8);
        out.extend(bytes);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        let count = usize::from(u8::read(input)?);
        Self::from_bytes(input.take(count)?)
    }
}
