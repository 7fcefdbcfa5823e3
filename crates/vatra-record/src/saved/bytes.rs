//! Little-endian numbers, counted texts and blobs.

use crate::saved::{LoadError, damaged};

#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn u8(&mut self, number: u8) {
        self.0.push(number);
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.raw(&number.to_le_bytes());
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn count(&mut self, count: usize) {
        let count = u32::try_from(count).expect("the parts of a record are bounded far below 2^32");
        self.raw(&count.to_le_bytes());
    }

    pub(super) fn blob(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.raw(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.blob(text.as_bytes());
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], LoadError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(damaged("the length"))?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], LoadError> {
        self.take(N)?.try_into().map_err(|_| damaged("the length"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, LoadError> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u64(&mut self) -> Result<u64, LoadError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn count(&mut self) -> Result<usize, LoadError> {
        let count = u32::from_le_bytes(self.array()?);
        usize::try_from(count).map_err(|_| damaged("a count"))
    }

    pub(super) fn blob(&mut self) -> Result<&'a [u8], LoadError> {
        let len = self.count()?;
        self.take(len)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, LoadError> {
        std::str::from_utf8(self.blob()?).map_err(|_| damaged("a text"))
    }

    pub(super) fn end(&self) -> Result<(), LoadError> {
        if self.0.is_empty() { Ok(()) } else { Err(damaged("trailing bytes")) }
    }
}
