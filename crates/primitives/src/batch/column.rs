//! How columns are written and read: strips of bytes, and columns of integers made of strips. The format is in [`super`].

use super::{Column, Compressor, DecodeError, word::Word};
use alloc::{collections::BTreeMap, vec, vec::Vec};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Modes of a strip.
mod mode {
    pub(super) const RAW: u8 = 0;
    pub(super) const FILL: u8 = 1;
    pub(super) const ZSTD: u8 = 2;
}

/// Forms of a column of integers: a layout, with [`form::DIFFERENCES`] or without, or a table.
mod form {
    pub(super) const PLANES: u8 = 0;
    pub(super) const VARIABLE: u8 = 1;
    pub(super) const TABLE: u8 = 2;
    pub(super) const DIFFERENCES: u8 = 4;
}

/// Most zstd blocks that a strip of so many bytes may have: each costs tables, whatever it holds.
fn max_zstd_blocks(length: usize) -> usize {
    8 + length / 1024
}

/// The blocks of a zstd frame whose header says single segment, no dictionary, no checksum.
fn blocks_of_frame(frame: &[u8]) -> Option<&[u8]> {
    let descriptor = *frame.get(4)?;
    let content_size = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    if descriptor & 0b11_1111 == 0b10_0000 { frame.get(5 + content_size..) } else { None }
}

/// Writes a stream, or only measures it.
pub(super) struct Writer<'c> {
    compressor: &'c mut dyn Compressor,
    /// Whether only `size` matters.
    draft: bool,
    out: Vec<u8>,
    size: usize,
}

impl<'c> Writer<'c> {
    pub(super) fn new(compressor: &'c mut dyn Compressor) -> Self {
        Self { compressor, draft: false, out: Vec::new(), size: 0 }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    /// The bytes that `write` would write.
    fn measure(&mut self, write: impl FnOnce(&mut Writer<'_>)) -> usize {
        let mut draft = Writer { compressor: &mut *self.compressor, draft: true, out: Vec::new(), size: 0 };
        write(&mut draft);
        draft.size
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.size += bytes.len();
        if !self.draft {
            self.out.extend_from_slice(bytes);
        }
    }

    /// LEB128: seven bits a byte, the lowest first, the top bit set in all but the last.
    pub(super) fn varint(&mut self, mut value: u64) {
        while value > 127 {
            self.bytes(&[value as u8 | 128]);
            value >>= 7;
        }
        self.bytes(&[value as u8]);
    }

    pub(super) fn strip(&mut self, strip: &[u8]) {
        let Some(first) = strip.first() else { return };
        if strip.iter().all(|byte| byte == first) {
            return self.bytes(&[mode::FILL, *first]);
        }
        if self.draft {
            self.size += 1 + strip.len().min(self.compressor.estimate(strip) + 2);
            return;
        }
        if let Some(blocks) = self.compress(strip)
            && blocks.len() + 2 < strip.len()
        {
            self.bytes(&[mode::ZSTD]);
            self.varint(blocks.len() as u64);
            return self.bytes(&blocks);
        }
        self.bytes(&[mode::RAW]);
        self.bytes(strip);
    }

    /// The strip's zstd blocks, unless they are more than a reader takes.
    fn compress(&mut self, strip: &[u8]) -> Option<Vec<u8>> {
        let frame = self.compressor.compress(strip)?;
        let blocks = blocks_of_frame(&frame)?;
        let mut rest = blocks;
        let mut count = 0;
        while let [a, b, c, after @ ..] = rest {
            let header = u32::from_le_bytes([*a, *b, *c, 0]);
            let size = if header >> 1 & 3 == 1 { 1 } else { (header >> 3) as usize };
            rest = after.get(size..)?;
            count += 1;
        }
        (count <= max_zstd_blocks(strip.len())).then(|| blocks.to_vec())
    }

    pub(super) fn integers<T: Word>(&mut self, values: &[T]) {
        if values.is_empty() {
            return;
        }
        let (form, plain) = self.best_layout(values);
        if let Some((table, indexes)) = table(values) {
            let size = self.measure(|writer| writer.table(&table, &indexes));
            if size < plain {
                return self.table(&table, &indexes);
            }
        }
        self.layout(values, form);
    }

    fn table<T: Word>(&mut self, table: &[T], indexes: &[u64]) {
        self.bytes(&[form::TABLE]);
        self.varint(table.len() as u64);
        let (form, _) = self.best_layout(table);
        self.layout(table, form);
        let (form, _) = self.best_layout(indexes);
        self.layout(indexes, form);
    }

    /// The layout that is the shortest for these values, and how long it makes them.
    fn best_layout<T: Word>(&mut self, values: &[T]) -> (u8, usize) {
        let mut best = (form::PLANES, usize::MAX);
        for form in [form::PLANES, form::VARIABLE, form::PLANES | form::DIFFERENCES, form::VARIABLE | form::DIFFERENCES]
        {
            if form & form::DIFFERENCES != 0 && !T::DIFFERENCES {
                continue;
            }
            let size = self.measure(|writer| writer.layout(values, form));
            if size < best.1 {
                best = (form, size);
            }
        }
        best
    }

    fn layout<T: Word>(&mut self, values: &[T], form: u8) {
        let differences: Vec<T>;
        let mut values = values;
        if form & form::DIFFERENCES != 0 {
            let previous = core::iter::once(T::default()).chain(values.iter().copied());
            differences = values.iter().zip(previous).map(|(value, previous)| value.difference(previous)).collect();
            values = &differences;
        }
        self.bytes(&[form]);
        if form & form::VARIABLE != 0 {
            let lengths: Vec<u8> = values.iter().map(|value| value.length() as u8).collect();
            self.strip(&lengths);
            let bytes: Vec<u8> =
                values.iter().flat_map(|value| (0..value.length()).map(|index| value.byte(index))).collect();
            return self.strip(&bytes);
        }
        let width = values.iter().map(|value| value.length()).max().unwrap_or(0);
        self.bytes(&[width as u8]);
        for index in 0..width {
            let plane: Vec<u8> = values.iter().map(|value| value.byte(index)).collect();
            self.strip(&plane);
        }
    }
}

/// The distinct values, the most frequent first, and for each value its index; nothing if too few values repeat.
fn table<T: Word>(values: &[T]) -> Option<(Vec<T>, Vec<u64>)> {
    let mut counts: BTreeMap<T, (usize, usize)> = BTreeMap::new();
    for (at, value) in values.iter().enumerate() {
        counts.entry(*value).or_insert((0, at)).0 += 1;
    }
    if counts.len() * 2 > values.len() {
        return None;
    }
    let mut distinct: Vec<(usize, usize, T)> =
        counts.iter().map(|(value, (count, first))| (usize::MAX - count, *first, *value)).collect();
    distinct.sort_unstable();
    let index: BTreeMap<T, u64> = (0..).zip(&distinct).map(|(index, (_, _, value))| (*value, index)).collect();
    let indexes = values.iter().map(|value| index[value]).collect();
    Some((distinct.into_iter().map(|(_, _, value)| value).collect(), indexes))
}

/// Reads a stream. Whatever is read is bounded before it is allocated: the caller says how many bytes or integers it expects.
pub(super) struct Reader<'a> {
    stream: &'a [u8],
    zstd: FrameDecoder,
}

impl<'a> Reader<'a> {
    pub(super) fn new(stream: &'a [u8]) -> Self {
        Self { stream, zstd: FrameDecoder::new() }
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.stream
    }

    pub(super) fn take(&mut self, column: Column, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.stream.split_at_checked(length).ok_or(DecodeError::Truncated(column))?;
        self.stream = rest;
        Ok(taken)
    }

    fn byte(&mut self, column: Column) -> Result<u8, DecodeError> {
        Ok(self.take(column, 1)?[0])
    }

    pub(super) fn varint(&mut self, column: Column) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(column)?;
            if (shift == 63 && byte > 1) || (shift > 0 && byte == 0) {
                break;
            }
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint(column))
    }

    /// A strip of `length` bytes.
    pub(super) fn strip(&mut self, column: Column, length: usize) -> Result<Vec<u8>, DecodeError> {
        if length == 0 {
            return Ok(Vec::new());
        }
        match self.byte(column)? {
            mode::RAW => Ok(self.take(column, length)?.to_vec()),
            mode::FILL => Ok(vec![self.byte(column)?; length]),
            mode::ZSTD => {
                let compressed = self.varint(column)?;
                let compressed = usize::try_from(compressed).map_err(|_| DecodeError::Truncated(column))?;
                let blocks = self.take(column, compressed)?;
                self.inflate(blocks, length).ok_or(DecodeError::Zstd(column))
            }
            other => Err(DecodeError::Mode(column, other)),
        }
    }

    /// The `length` bytes in these blocks of a zstd frame; nothing if they hold another number of bytes, are malformed, too many, or not all.
    fn inflate(&mut self, mut blocks: &[u8], length: usize) -> Option<Vec<u8>> {
        // Magic number; descriptor: single segment, content size of eight bytes; content size.
        let mut header = [0x28, 0xb5, 0x2f, 0xfd, 0b1110_0000, 0, 0, 0, 0, 0, 0, 0, 0];
        header[5..].copy_from_slice(&(length as u64).to_le_bytes());
        self.zstd.reset(&header[..]).ok()?;
        for _ in 0..max_zstd_blocks(length) {
            let last = self.zstd.decode_blocks(&mut blocks, BlockDecodingStrategy::UptoBlocks(1)).ok()?;
            if last {
                let bytes = self.zstd.collect()?;
                return (bytes.len() == length && blocks.is_empty()).then_some(bytes);
            }
            // The window is the content: more than that can be collected only if there is too much.
            if self.zstd.can_collect() > 0 {
                return None;
            }
        }
        None
    }

    /// A column of `count` integers.
    pub(super) fn integers<T: Word>(&mut self, column: Column, count: usize) -> Result<Vec<T>, DecodeError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let form = self.byte(column)?;
        if form != form::TABLE {
            return self.layout(column, form, count);
        }
        let size = self.varint(column)?;
        let size = usize::try_from(size).ok().filter(|size| *size <= count).ok_or(DecodeError::Index(column))?;
        let table_form = self.byte(column)?;
        let table: Vec<T> = self.layout(column, table_form, size)?;
        let index_form = self.byte(column)?;
        let indexes: Vec<u64> = self.layout(column, index_form, count)?;
        let entry = |index: u64| usize::try_from(index).ok().and_then(|index| table.get(index)).copied();
        indexes.into_iter().map(|index| entry(index).ok_or(DecodeError::Index(column))).collect()
    }

    fn layout<T: Word>(&mut self, column: Column, form: u8, count: usize) -> Result<Vec<T>, DecodeError> {
        let mut values = match form & !form::DIFFERENCES {
            form::PLANES => self.planes(column, count)?,
            form::VARIABLE => self.variable(column, count)?,
            _ => return Err(DecodeError::Form(column, form)),
        };
        if form & form::DIFFERENCES != 0 {
            if !T::DIFFERENCES {
                return Err(DecodeError::Form(column, form));
            }
            let mut previous = T::default();
            for value in &mut values {
                previous = T::advance(*value, previous);
                *value = previous;
            }
        }
        Ok(values)
    }

    fn planes<T: Word>(&mut self, column: Column, count: usize) -> Result<Vec<T>, DecodeError> {
        let width = usize::from(self.byte(column)?);
        if width > T::BYTES {
            return Err(DecodeError::Width(column, width));
        }
        let mut values = vec![T::default(); count];
        for index in 0..width {
            let plane = self.strip(column, count)?;
            for (value, byte) in values.iter_mut().zip(plane) {
                value.or_byte(index, byte);
            }
        }
        Ok(values)
    }

    fn variable<T: Word>(&mut self, column: Column, count: usize) -> Result<Vec<T>, DecodeError> {
        let lengths = self.strip(column, count)?;
        if let Some(length) = lengths.iter().copied().map(usize::from).find(|length| *length > T::BYTES) {
            return Err(DecodeError::Width(column, length));
        }
        let bytes = self.strip(column, lengths.iter().copied().map(usize::from).sum())?;
        let mut rest = &bytes[..];
        let mut values = Vec::with_capacity(count);
        for length in lengths {
            // The strip is as long as all lengths together.
            let (bytes, after) = rest.split_at(length.into());
            rest = after;
            let mut value = T::default();
            for (index, byte) in bytes.iter().enumerate() {
                value.or_byte(index, *byte);
            }
            values.push(value);
        }
        Ok(values)
    }
}
