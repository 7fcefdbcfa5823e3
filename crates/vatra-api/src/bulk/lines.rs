//! Cutting a body into lines, however it is cut into pieces.

use bytes::{Bytes, BytesMut};

/// A line without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// All of it.
    Whole(Bytes),
    /// It exceeded the bound; its bytes were dropped as they came.
    TooLong,
}

impl Line {
    pub(super) fn is_blank(&self) -> bool {
        matches!(self, Line::Whole(bytes) if bytes.trim_ascii().is_empty())
    }
}

/// Holds what has come and is not a whole line yet, and lines that were not taken.
#[derive(Debug)]
pub(super) struct Splitter {
    buffer: BytesMut,
    /// Bytes of the buffer that contain no line end.
    searched: usize,
    line_bytes_max: usize,
    /// Number of the line that `buffer` begins with, from 1.
    number: u64,
    is_skipping: bool,
    is_ended: bool,
}

impl Splitter {
    pub(super) fn new(line_bytes_max: usize) -> Splitter {
        Splitter {
            buffer: BytesMut::new(),
            searched: 0,
            line_bytes_max,
            number: 1,
            is_skipping: false,
            is_ended: false,
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// What is left is the last line, if it is anything.
    pub(super) fn end(&mut self) {
        self.is_ended = true;
    }

    /// Forgets what has come.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.searched = 0;
        self.is_skipping = false;
        self.is_ended = false;
    }

    /// Number of the line that comes next.
    pub(super) fn next_number(&self) -> u64 {
        self.number
    }

    /// The next line with its number.
    pub(super) fn next_line(&mut self) -> Option<(u64, Line)> {
        let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
        let line = match end {
            Some(end) => {
                let length = self.searched + end;
                let bytes = self.buffer.split_to(length + 1).freeze();
                self.finish(bytes.slice(..length))
            }
            None if self.is_ended => {
                let bytes = self.buffer.split().freeze();
                self.is_ended = false;
                if bytes.is_empty() && !self.is_skipping {
                    return None;
                }
                self.finish(bytes)
            }
            None => {
                self.searched = self.buffer.len();
                if self.searched > self.line_bytes_max {
                    self.is_skipping = true;
                    self.buffer.clear();
                    self.searched = 0;
                }
                return None;
            }
        };
        self.number += 1;
        Some((self.number - 1, line))
    }

    fn finish(&mut self, bytes: Bytes) -> Line {
        self.searched = 0;
        let was_skipping = std::mem::take(&mut self.is_skipping);
        if was_skipping || bytes.len() > self.line_bytes_max { Line::TooLong } else { Line::Whole(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 8;

    fn split(pieces: &[&[u8]]) -> Vec<(u64, Line)> {
        let mut splitter = Splitter::new(MAX);
        let mut lines = Vec::new();
        for piece in pieces {
            splitter.feed(piece);
            lines.extend(std::iter::from_fn(|| splitter.next_line()));
        }
        splitter.end();
        lines.extend(std::iter::from_fn(|| splitter.next_line()));
        lines
    }

    fn whole(text: &'static str) -> Line {
        Line::Whole(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn lines_are_numbered_and_the_last_needs_no_end() {
        assert_eq!(split(&[b"ab\n\ncd"]), [(1, whole("ab")), (2, whole("")), (3, whole("cd"))]);
        assert_eq!(split(&[b"ab\n"]), [(1, whole("ab"))]);
        assert_eq!(split(&[b""]), []);
    }

    #[test]
    fn a_long_line_costs_only_itself() {
        let expected = [(1, whole("a")), (2, Line::TooLong), (3, whole("b"))];
        assert_eq!(split(&[b"a\n123456789\nb"]), expected);
        assert_eq!(split(&[b"a\n1234", b"56789", b"0000000000", b"000\nb"]), expected);
        assert_eq!(split(&[b"12345678"]), [(1, whole("12345678"))]);
        assert_eq!(split(&[b"123456789"]), [(1, Line::TooLong)]);
        assert_eq!(split(&[b"123456789", b"0"]), [(1, Line::TooLong)]);
    }

    proptest! {
        #[test]
        fn where_a_body_is_cut_does_not_matter(
            text in "[a-c\n]{0,60}",
            cuts in prop::collection::vec(0..60_usize, 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            pieces.push(&text.as_bytes()[from..]);
            let expected: Vec<(u64, Line)> = (1..)
                .zip(text.split_terminator('\n'))
                .map(|(number, line)| {
                    let is_long = line.len() > MAX;
                    (number, if is_long { Line::TooLong } else { Line::Whole(Bytes::copy_from_slice(line.as_bytes())) })
                })
                .collect();
            prop_assert_eq!(split(&pieces), expected);
        }
    }
}
