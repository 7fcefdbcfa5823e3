//! Frames: `u32 LE length || payload`, and the hello with which every stream begins.
//!
//! Generic over the byte stream; knows neither libp2p nor what a payload means.

use std::io;

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use thiserror::Error;

use crate::lane::Channel;

/// Bytes of the length before each payload.
pub(crate) const FRAME_HEADER_BYTES: usize = 4;

/// Bytes asked of a stream at once.
const READ_BYTES: usize = 16 << 10;

/// Small frames are gathered into one write of about this size; a larger frame is written by itself.
const GATHER_BYTES: usize = 32 << 10;

/// Bytes that a hello or its answer may have. Later versions may append to the four of this one.
const HELLO_BYTES_MAX: usize = 64;

/// Version of framing, hello and heartbeat.
pub(crate) const MESH_VERSION: u16 = 1;

/// Why a stream cannot be read or written any further. The link is closed; the dialer makes a new one.
#[derive(Debug, Error)]
pub(crate) enum FrameError {
    #[error("a frame of {length_bytes} bytes was announced, at most {bytes_max} are allowed")]
    TooLarge { length_bytes: usize, bytes_max: usize },
    #[error("the stream ended inside a frame")]
    Truncated,
    #[error("the stream failed: {0}")]
    Io(#[from] io::Error),
}

/// Reads frames from a stream, holding at most one frame and one read's worth of bytes.
pub(crate) struct FrameReader<S> {
    stream: S,
    bytes_max: usize,
    buffer: Box<[u8]>,
    filled: std::ops::Range<usize>,
}

impl<S: AsyncRead + Unpin> FrameReader<S> {
    pub(crate) fn new(stream: S, bytes_max: usize) -> FrameReader<S> {
        FrameReader { stream, bytes_max, buffer: vec![0; READ_BYTES].into_boxed_slice(), filled: 0..0 }
    }

    /// The next frame's payload; `None` when the stream ended between frames.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(length_bytes) = self.length().await? else { return Ok(None) };
        if length_bytes > self.bytes_max {
            return Err(FrameError::TooLarge { length_bytes, bytes_max: self.bytes_max });
        }
        // Grows with what arrives, not with what was announced.
        let mut payload = Vec::with_capacity(length_bytes.min(READ_BYTES));
        while payload.len() < length_bytes {
            if self.filled.is_empty() && self.fill().await? == 0 {
                return Err(FrameError::Truncated);
            }
            let take = self.filled.len().min(length_bytes - payload.len());
            payload.extend_from_slice(&self.buffer[self.filled.start..self.filled.start + take]);
            self.filled.start += take;
        }
        Ok(Some(Bytes::from(payload)))
    }

    async fn length(&mut self) -> Result<Option<usize>, FrameError> {
        let mut header = [0; FRAME_HEADER_BYTES];
        let mut have = 0;
        while have < FRAME_HEADER_BYTES {
            if self.filled.is_empty() && self.fill().await? == 0 {
                return if have == 0 { Ok(None) } else { Err(FrameError::Truncated) };
            }
            let take = self.filled.len().min(FRAME_HEADER_BYTES - have);
            header[have..have + take].copy_from_slice(&self.buffer[self.filled.start..self.filled.start + take]);
            self.filled.start += take;
            have += take;
        }
        Ok(Some(usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX)))
    }

    async fn fill(&mut self) -> Result<usize, FrameError> {
        let read = self.stream.read(&mut self.buffer).await?;
        self.filled = 0..read;
        Ok(read)
    }
}

impl<S: AsyncWrite + Unpin> FrameReader<S> {
    /// Answers on the stream that is being read.
    pub(crate) async fn answer(&mut self, payload: &[u8]) -> Result<(), FrameError> {
        let mut gathered = Vec::new();
        write_frames(&mut self.stream, &mut gathered, &[Bytes::copy_from_slice(payload)]).await
    }
}

/// Writes frames and flushes. `gathered` is scratch space that is reused from call to call.
pub(crate) async fn write_frames<S: AsyncWrite + Unpin>(
    stream: &mut S,
    gathered: &mut Vec<u8>,
    payloads: &[Bytes],
) -> Result<(), FrameError> {
    gathered.clear();
    for payload in payloads {
        let length = u32::try_from(payload.len()).map_err(|_| FrameError::TooLarge {
            length_bytes: payload.len(),
            bytes_max: usize::try_from(u32::MAX).unwrap_or(usize::MAX),
        })?;
        gathered.extend_from_slice(&length.to_le_bytes());
        if payload.len() >= GATHER_BYTES {
            stream.write_all(gathered).await?;
            gathered.clear();
            stream.write_all(payload).await?;
            continue;
        }
        gathered.extend_from_slice(payload);
        if gathered.len() >= GATHER_BYTES {
            stream.write_all(gathered).await?;
            gathered.clear();
        }
    }
    stream.write_all(gathered).await?;
    stream.flush().await?;
    Ok(())
}

/// First frame of a stream: `version u16 LE | channel u8 | 0 u8`.
pub(crate) fn encode_hello(channel: Channel) -> [u8; 4] {
    let [low, high] = MESH_VERSION.to_le_bytes();
    [low, high, channel.number(), 0]
}

/// Why the first frame of a stream was not understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum HelloError {
    #[error("a hello has 4 to {HELLO_BYTES_MAX} bytes, not {0}")]
    Length(usize),
    #[error("the peer speaks mesh version {0}, we speak {MESH_VERSION}")]
    Version(u16),
    #[error("there is no channel {0}")]
    Channel(u8),
    #[error("the peer refused the {0} stream")]
    Refused(Channel),
}

/// Parses a hello.
pub(crate) fn decode_hello(bytes: &[u8]) -> Result<Channel, HelloError> {
    match *bytes {
        [low, high, channel, _, ..] if bytes.len() <= HELLO_BYTES_MAX => {
            let version = u16::from_le_bytes([low, high]);
            if version != MESH_VERSION {
                return Err(HelloError::Version(version));
            }
            Channel::from_number(channel).ok_or(HelloError::Channel(channel))
        }
        _ => Err(HelloError::Length(bytes.len())),
    }
}

/// Answer to a hello: the hello itself, with the last byte 1 for "accepted".
pub(crate) fn encode_accept(channel: Channel) -> [u8; 4] {
    let [low, high] = MESH_VERSION.to_le_bytes();
    [low, high, channel.number(), 1]
}

/// Checks the answer to our hello.
pub(crate) fn check_accept(bytes: &[u8], channel: Channel) -> Result<(), HelloError> {
    let answered = decode_hello(bytes)?;
    if answered != channel || bytes[3] != 1 {
        return Err(HelloError::Refused(channel));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::io::Cursor;
    use proptest::prelude::*;

    use super::*;
    use crate::lane::Lane;

    fn read_all(bytes: &[u8], bytes_max: usize) -> Result<Vec<Bytes>, FrameError> {
        block_on(async {
            let mut reader = FrameReader::new(Cursor::new(bytes), bytes_max);
            let mut frames = Vec::new();
            while let Some(frame) = reader.next().await? {
                frames.push(frame);
            }
            Ok(frames)
        })
    }

    fn written(payloads: &[Bytes]) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        block_on(write_frames(&mut out, &mut Vec::new(), payloads)).expect("memory takes any bytes");
        out.into_inner()
    }

    proptest! {
        #[test]
        fn frames_survive_writing_and_reading(
            lengths in proptest::collection::vec(prop_oneof![0_usize..50, 0_usize..70_000], 0..12),
        ) {
            let payloads: Vec<Bytes> =
                lengths.iter().enumerate().map(|(i, &n)| Bytes::from(vec![i as u8; n])).collect();
            prop_assert_eq!(read_all(&written(&payloads), 1 << 20).expect("whole frames"), payloads);
        }
    }

    #[test]
    fn the_layout_is_golden() {
        assert_eq!(written(&[Bytes::from_static(b"ab"), Bytes::new()]), b"\x02\0\0\0ab\0\0\0\0");
        assert_eq!(encode_hello(Channel::Lane(Lane::Bulk)), [1, 0, 4, 0]);
        assert_eq!(encode_accept(Channel::Heartbeat), [1, 0, 5, 1]);
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_it_is_read() {
        let at_limit = written(&[Bytes::from(vec![0; 100])]);
        assert_eq!(read_all(&at_limit, 100).expect("allowed").len(), 1);
        let error = read_all(&u32::MAX.to_le_bytes(), 100).expect_err("too large");
        assert!(matches!(error, FrameError::TooLarge { bytes_max: 100, .. }), "{error}");
    }

    #[test]
    fn an_end_inside_a_frame_is_noticed() {
        let whole = written(&[Bytes::from_static(b"abc")]);
        for cut in 1..whole.len() {
            let error = read_all(&whole[..cut], 100).expect_err("the frame is not whole");
            assert!(matches!(error, FrameError::Truncated), "cut at {cut}: {error}");
        }
    }

    #[test]
    fn hellos_are_checked() {
        for channel in Channel::ALL {
            assert_eq!(decode_hello(&encode_hello(channel)), Ok(channel));
            assert_eq!(check_accept(&encode_accept(channel), channel), Ok(()));
            assert_eq!(check_accept(&encode_hello(channel), channel), Err(HelloError::Refused(channel)));
        }
        assert_eq!(decode_hello(&[1, 0, 0]), Err(HelloError::Length(3)));
        assert_eq!(decode_hello(&[1; 65]), Err(HelloError::Length(65)));
        assert_eq!(decode_hello(&[2, 0, 0, 0]), Err(HelloError::Version(2)));
        assert_eq!(decode_hello(&[1, 0, 9, 0]), Err(HelloError::Channel(9)));
        assert_eq!(decode_hello(&[1, 0, 0, 0, 77]), Ok(Channel::Lane(Lane::Control)));
    }
}
