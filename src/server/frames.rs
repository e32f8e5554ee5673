//! What an HTTP/2 peer has begun and not ended: the borders of its frames, and nothing inside them.
//!
//! hyper and h2 wait for the rest of a frame, or of a block of headers, for ever, and nothing else can come on the connection
//! meanwhile, not even the answer to a ping. So the socket's reader counts along (RFC 9113, 4.1 and 6.10). It judges nothing:
//! what is against the protocol is h2's to refuse.

use super::phases::Unfinished;

/// The connection preface of a client (RFC 9113, 3.4), in bytes. What it says is h2's to check.
const PREFACE_BYTES: usize = 24;
/// A frame's head: length (3), type, flags, stream (4).
const HEAD_BYTES: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

/// Counts along with what is read.
#[derive(Debug)]
pub(super) struct Frames {
    preface_left: usize,
    head: [u8; HEAD_BYTES],
    head_read: usize,
    payload_left: usize,
    /// The frame whose payload is being read, or was read last, is one of data.
    data: bool,
    /// A block of headers waits for its CONTINUATION.
    in_block: bool,
    /// The first frame, the client's SETTINGS, has come.
    greeted: bool,
}

impl Frames {
    pub(super) const fn new() -> Self {
        Self {
            preface_left: PREFACE_BYTES,
            head: [0; HEAD_BYTES],
            head_read: 0,
            payload_left: 0,
            data: false,
            in_block: false,
            greeted: false,
        }
    }

    /// Takes note of `bytes`. What is unfinished after them, and whether it began among them.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> (Option<Unfinished>, bool) {
        let mut anew = self.unfinished().is_none();
        let preface = self.preface_left.min(bytes.len());
        self.preface_left -= preface;
        bytes = &bytes[preface..];
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let step = self.payload_left.min(bytes.len());
                self.payload_left -= step;
                bytes = &bytes[step..];
            } else {
                let step = (HEAD_BYTES - self.head_read).min(bytes.len());
                self.head[self.head_read..self.head_read + step].copy_from_slice(&bytes[..step]);
                self.head_read += step;
                bytes = &bytes[step..];
                if self.head_read == HEAD_BYTES {
                    self.frame();
                }
            }
            anew |= self.unfinished().is_none();
        }
        let unfinished = self.unfinished();
        (unfinished, anew && unfinished.is_some())
    }

    /// Whether the client has said hello: the preface and its first frame.
    pub(super) const fn is_greeted(&self) -> bool {
        self.greeted && self.payload_left == 0
    }

    /// A frame's head is complete.
    fn frame(&mut self) {
        let [a, b, c, kind, flags, ..] = self.head;
        self.head_read = 0;
        self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.data = kind == DATA;
        self.greeted = true;
        if matches!(kind, HEADERS | CONTINUATION) {
            self.in_block = flags & END_HEADERS == 0;
        }
    }

    const fn unfinished(&self) -> Option<Unfinished> {
        if self.in_block {
            Some(Unfinished::Head)
        } else if self.payload_left > 0 {
            Some(if self.data { Unfinished::Data } else { Unfinished::Head })
        } else if self.head_read > 0 {
            Some(Unfinished::Head)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [.., a, b, c] = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![a, b, c, kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD_BYTES + payload, 0xff);
        frame
    }

    fn greeted() -> Frames {
        let mut frames = Frames::new();
        frames.read(&[&[b'P'; PREFACE_BYTES], frame(4, 0, 0).as_slice()].concat());
        assert!(frames.is_greeted());
        frames
    }

    #[test]
    fn a_block_of_headers_lasts_until_its_end_and_a_frame_until_its_last_byte() {
        let mut frames = greeted();
        assert_eq!(frames.read(&frame(HEADERS, 0, 5)), (Some(Unfinished::Head), true));
        assert_eq!(frames.read(&frame(CONTINUATION, 0, 5)), (Some(Unfinished::Head), false));
        assert_eq!(frames.read(&frame(CONTINUATION, END_HEADERS, 5)), (None, false));
        let data = frame(DATA, 0, 5);
        assert_eq!(frames.read(&data[..3]), (Some(Unfinished::Head), true));
        assert_eq!(frames.read(&data[3..10]), (Some(Unfinished::Data), false));
        assert_eq!(frames.read(&data[10..]), (None, false));
    }

    #[test]
    fn a_frame_that_follows_another_in_one_read_began_with_it() {
        let mut frames = greeted();
        let two = [frame(DATA, 0, 5), frame(DATA, 0, 5)].concat();
        assert_eq!(frames.read(&two[..10]), (Some(Unfinished::Data), true));
        assert_eq!(frames.read(&two[10..two.len() - 1]), (Some(Unfinished::Data), true));
    }

    #[test]
    fn a_client_that_says_half_a_hello_has_not_said_it() {
        let mut frames = Frames::new();
        frames.read(&[b'P'; PREFACE_BYTES]);
        assert!(!frames.is_greeted());
        frames.read(&frame(4, 0, 6)[..12]);
        assert!(!frames.is_greeted());
    }

    proptest! {
        #[test]
        fn the_borders_are_where_they_are_however_the_bytes_are_cut(
            frames in proptest::collection::vec((0u8..10, any::<u8>(), 0usize..40), 1..12),
            cuts in proptest::collection::vec(1usize..30, 1..40),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(kind, flags, len)| frame(*kind, *flags, *len)).collect();
            let mut whole = greeted();
            let expected = whole.read(&bytes).0;
            let mut parts = greeted();
            let (mut rest, mut last) = (bytes.as_slice(), None);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (part, after) = rest.split_at((*cut).min(rest.len()));
                last = parts.read(part).0;
                rest = after;
            }
            prop_assert_eq!(last, expected);
        }
    }
}
