//! The `aws-chunked` framing, decoded incrementally: no chunk is buffered, data come out as slices of the frames.
//!
//! ```text
//! body    = *chunk last [trailer] CRLF
//! chunk   = size [";chunk-signature=" 64HEX] CRLF data CRLF      size in hex, not 0
//! last    = "0"  [";chunk-signature=" 64HEX] CRLF
//! trailer = name ":" value [LF] CRLF ["x-amz-trailer-signature:" 64HEX CRLF]
//! ```
//! The LF before the CRLF is what minio-go sends: the newline of the signed text, not trimmed.

use std::fmt;

use aws_lc_rs::digest;
use bytes::Bytes;

use crate::model::{Checksum, ChecksumAlgorithm};

use super::super::checksum;
use super::super::error::{Code, S3Error};
use super::super::sigv4::{ChunkSigner, parse_signature};

/// The longest line that makes sense is a chunk header (97 bytes); a client that sends more is not speaking this.
const LINE_BYTES_MAX: usize = 256;
const CHUNK_SIGNATURE: &[u8] = b"chunk-signature=";
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// What a step of decoding gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Decoded bytes, never empty.
    Data(Bytes),
    /// The frame is used up.
    NeedMore,
    /// Everything up to the final CRLF was there and holds.
    End,
}

/// Where in the grammar the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    ChunkHeader,
    Data { left: u64 },
    AfterData,
    Trailer,
    End,
}

/// The decoder of one body.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    input: Bytes,
    line: Vec<u8>,
    /// Decoded bytes that are promised and have not come.
    expected: u64,
    signed: Option<SignedChunks>,
    trailer: Option<ChecksumAlgorithm>,
    trailer_value: Option<Checksum>,
    trailer_lines: Vec<u8>,
    trailer_signed: bool,
}

/// The chain of signatures and where it stands.
struct SignedChunks {
    signer: ChunkSigner,
    signature: [u8; 32],
    digest: digest::Context,
}

impl SignedChunks {
    fn new(signer: ChunkSigner) -> Self {
        Self { signer, signature: [0; 32], digest: digest::Context::new(&digest::SHA256) }
    }
}

impl fmt::Debug for SignedChunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedChunks(..)")
    }
}

impl Decoder {
    /// A decoder for `expected` decoded bytes; `signer` if chunks are signed, `trailer` if one was declared.
    pub(super) fn new(
        expected: u64,
        signer: Option<ChunkSigner>,
        trailer: Option<ChecksumAlgorithm>,
    ) -> Self {
        Self {
            state: State::ChunkHeader,
            input: Bytes::new(),
            line: Vec::new(),
            expected,
            signed: signer.map(SignedChunks::new),
            trailer,
            trailer_value: None,
            trailer_lines: Vec::new(),
            trailer_signed: false,
        }
    }

    /// Hands in the next frame; only after [`Step::NeedMore`].
    pub(super) fn feed(&mut self, frame: Bytes) {
        debug_assert!(self.input.is_empty());
        self.input = frame;
    }

    /// Goes on. After [`Step::End`] any byte more is an error.
    pub(super) fn step(&mut self) -> Result<Step, S3Error> {
        loop {
            match self.state {
                State::Data { left } => {
                    if self.input.is_empty() {
                        return Ok(Step::NeedMore);
                    }
                    return Ok(Step::Data(self.take_data(left)));
                }
                State::End if self.input.is_empty() => return Ok(Step::End),
                State::End => return Err(framing()),
                State::ChunkHeader | State::AfterData | State::Trailer => {
                    let Some(line) = self.take_line()? else { return Ok(Step::NeedMore) };
                    self.state = match self.state {
                        State::ChunkHeader => self.chunk_header(&line)?,
                        State::AfterData if line.is_empty() => {
                            self.verify_chunk()?;
                            State::ChunkHeader
                        }
                        State::Trailer if line.is_empty() => self.end()?,
                        State::Trailer => self.trailer_line(&line)?,
                        _ => return Err(framing()),
                    };
                }
            }
        }
    }

    /// The checksum in the trailer, after [`Step::End`].
    pub(super) fn trailer(&mut self) -> Option<Checksum> {
        self.trailer_value.take()
    }

    fn take_data(&mut self, left: u64) -> Bytes {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(self.input.len());
        let data = self.input.split_to(length);
        if let Some(signed) = &mut self.signed {
            signed.digest.update(&data);
        }
        let left = left - length as u64;
        self.expected -= length as u64;
        self.state = if left == 0 { State::AfterData } else { State::Data { left } };
        data
    }

    /// A line without its CRLF, once it is whole. A bare CR or LF inside is left to whoever reads the line.
    fn take_line(&mut self) -> Result<Option<Vec<u8>>, S3Error> {
        while !self.input.is_empty() {
            // Up to and with the next LF, or what there is.
            let end = self.input.iter().position(|b| *b == b'\n').map_or(self.input.len(), |at| at + 1);
            if self.line.len() + end > LINE_BYTES_MAX {
                return Err(framing());
            }
            self.line.extend_from_slice(&self.input.split_to(end));
            if self.line.ends_with(b"\r\n") {
                let mut line = std::mem::take(&mut self.line);
                line.truncate(line.len() - 2);
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    fn chunk_header(&mut self, line: &[u8]) -> Result<State, S3Error> {
        let mut fields = line.splitn(2, |b| *b == b';');
        let size = parse_size(fields.next().unwrap_or_default()).ok_or_else(framing)?;
        match (&mut self.signed, fields.next()) {
            (None, None) => {}
            (Some(signed), Some(extension)) => {
                let text = extension.strip_prefix(CHUNK_SIGNATURE).ok_or_else(framing)?;
                signed.signature = parse_signature(text).ok_or(Code::SignatureDoesNotMatch)?;
            }
            (None, Some(_)) | (Some(_), None) => return Err(framing()),
        }
        if size > self.expected {
            return Err(Code::IncompleteBody.into());
        }
        if size > 0 {
            return Ok(State::Data { left: size });
        }
        if self.expected > 0 {
            return Err(Code::IncompleteBody.into());
        }
        self.verify_chunk()?;
        Ok(State::Trailer)
    }

    fn verify_chunk(&mut self) -> Result<(), S3Error> {
        let Some(signed) = &mut self.signed else { return Ok(()) };
        let digest = std::mem::replace(&mut signed.digest, digest::Context::new(&digest::SHA256));
        signed.signer.chunk(&signed.signature, &digest.finish())
    }

    fn trailer_line(&mut self, line: &[u8]) -> Result<State, S3Error> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let text = std::str::from_utf8(line).map_err(|_| Code::MalformedTrailer)?;
        let (name, value) = text.split_once(':').ok_or(Code::MalformedTrailer)?;
        let (name, value) = (name.trim_matches(' '), value.trim_matches(' '));
        if self.trailer_value.is_some()
            && name.eq_ignore_ascii_case(TRAILER_SIGNATURE)
            && !self.trailer_signed
        {
            let signed = self.signed.as_mut().ok_or(Code::MalformedTrailer)?;
            let signature = parse_signature(value.as_bytes()).ok_or(Code::SignatureDoesNotMatch)?;
            signed.signer.trailer(&signature, &self.trailer_lines)?;
            self.trailer_signed = true;
            return Ok(State::Trailer);
        }
        // Only what was declared, and once.
        let declared = self.trailer.filter(|_| self.trailer_value.is_none());
        let algorithm = declared.filter(|a| checksum::header_name(*a).eq_ignore_ascii_case(name));
        let algorithm = algorithm.ok_or(Code::MalformedTrailer)?;
        self.trailer_value = Some(checksum::parse(algorithm, value)?);
        self.trailer_lines = format!("{}:{value}\n", name.to_ascii_lowercase()).into_bytes();
        Ok(State::Trailer)
    }

    fn end(&mut self) -> Result<State, S3Error> {
        let trailer_is_whole = self.trailer.is_none() || self.trailer_value.is_some();
        let must_be_signed = self.trailer.is_some() && self.signed.is_some();
        if trailer_is_whole && self.trailer_signed == must_be_signed {
            Ok(State::End)
        } else {
            Err(Code::MalformedTrailer.into())
        }
    }
}

/// A chunk's size: hex digits, at most 16 of them.
fn parse_size(text: &[u8]) -> Option<u64> {
    let is_hex = (1..=16).contains(&text.len()) && text.iter().all(u8::is_ascii_hexdigit);
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok().filter(|_| is_hex)
}

/// The framing does not add up.
fn framing() -> S3Error {
    S3Error::because(Code::IncompleteBody, "The request body is not valid aws-chunked framing.")
}
