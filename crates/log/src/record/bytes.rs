//! Reading and writing the codec's primitives. A reader never goes past its slice.

use super::DecodeError;

/// A cursor over a payload, or a part of one.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A reader of `from..to`, whose errors count from the whole payload's start.
    pub(super) fn part(bytes: &'a [u8], from: usize, to: usize) -> Option<Self> {
        let bytes = bytes.get(..to)?;
        (from <= to).then_some(Self { bytes, at: from })
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn error(&self, expected: &'static str) -> DecodeError {
        DecodeError { at: self.at, expected }
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.rest().is_empty() { Ok(()) } else { Err(self.error("nothing more")) }
    }

    pub(super) fn take(&mut self, count: usize, expected: &'static str) -> Result<&'a [u8], DecodeError> {
        let taken = self.rest().get(..count).ok_or_else(|| self.error(expected))?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], DecodeError> {
        let found = self.rest().first_chunk::<N>().copied().ok_or_else(|| self.error(expected))?;
        self.at += N;
        Ok(found)
    }

    pub(super) fn u8(&mut self, expected: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(expected).map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self, expected: &'static str) -> Result<u32, DecodeError> {
        self.array(expected).map(u32::from_le_bytes)
    }

    pub(super) fn i64(&mut self, expected: &'static str) -> Result<i64, DecodeError> {
        self.array(expected).map(i64::from_le_bytes)
    }

    /// A LEB128 number that fits 64 bits.
    pub(super) fn leb(&mut self, expected: &'static str) -> Result<u64, DecodeError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(expected)?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                break;
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError { at: start, expected })
    }

    pub(super) fn bytes(&mut self, expected: &'static str) -> Result<&'a [u8], DecodeError> {
        let start = self.at;
        let length = self.leb(expected)?;
        let length = usize::try_from(length).map_err(|_| DecodeError { at: start, expected })?;
        self.take(length, expected)
    }

    pub(super) fn str(&mut self, expected: &'static str) -> Result<&'a str, DecodeError> {
        let start = self.at;
        std::str::from_utf8(self.bytes(expected)?).map_err(|_| DecodeError { at: start, expected })
    }
}

pub(super) fn put_leb(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_leb(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
