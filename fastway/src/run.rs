//! Frames that belong together and arrived together: what a gateway can forward in one go.

use std::borrow::Cow;

use crate::frame::{Frame, FrameError, MaxPacket, Split, frame_ends, split};
use crate::id::ConnId;

/// Whole frames of one virtual connection, one behind the other as they came; or one command.
///
/// Whoever forwards a run looks up where to, and locks, and copies, once for all its frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    bytes: Cow<'a, [u8]>,
    /// Where in `bytes` the first frame begins that is left.
    start: usize,
    /// How many are left.
    frames: usize,
    conn: Option<ConnId>,
}

impl<'a> Run<'a> {
    /// A run of one.
    pub(crate) fn of_one(frame: Frame<'a>) -> Self {
        let conn = frame.conn();
        Self { bytes: frame.into_bytes(), start: 0, frames: 1, conn }
    }

    /// The virtual connection that all of them belong to; `None` for a command.
    #[must_use]
    pub fn conn(&self) -> Option<ConnId> {
        self.conn
    }

    /// How many frames are left in it.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// The bytes of the frames that are left, headers included.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The bytes of the first frame that is left; 0 if none is.
    #[must_use]
    pub fn first_bytes(&self) -> usize {
        frame_ends(self.as_bytes()).next().unwrap_or(0)
    }

    /// Takes the first frame; `None` if nothing is left.
    pub fn pop(&mut self) -> Option<Frame<'a>> {
        (self.frames > 0).then(|| Frame::whole(self.take(1)))
    }

    /// Undoes the last [`pop`](Self::pop).
    pub(crate) fn put_back(&mut self, frame: Frame<'a>) {
        self.frames += 1;
        match frame.into_bytes() {
            Cow::Borrowed(bytes) => self.start -= bytes.len(),
            owned @ Cow::Owned(_) => self.bytes = owned,
        }
    }

    /// How many frames off the front have `bytes` bytes at most in all.
    #[must_use]
    pub fn frames_within(&self, bytes: usize) -> usize {
        if self.as_bytes().len() <= bytes {
            return self.frames;
        }
        frame_ends(self.as_bytes()).take_while(|end| *end <= bytes).count()
    }

    /// Takes so many frames off the front, or as many as are left, as they are on the wire. Nothing is copied: a frame that
    /// owns its bytes is a run of one.
    #[must_use]
    pub fn take(&mut self, frames: usize) -> Cow<'a, [u8]> {
        let Cow::Borrowed(bytes) = self.bytes else {
            let all = frames.min(self.frames);
            self.frames -= all;
            return if all > 0 { std::mem::take(&mut self.bytes) } else { Cow::default() };
        };
        let left = &bytes[self.start..];
        let taken = if frames >= self.frames {
            self.frames = 0;
            left
        } else {
            self.frames -= frames;
            &left[..frame_ends(left).take(frames).last().unwrap_or(0)]
        };
        self.start += taken.len();
        Cow::Borrowed(taken)
    }
}

/// Takes the first run off `bytes`, borrowing it, and what follows it; `None` if not even one frame is whole.
///
/// # Errors
///
/// [`FrameError`] if the first frame is malformed. If a later one is, the run ends before it.
pub fn split_run(bytes: &[u8], max: MaxPacket) -> Result<Option<(Run<'_>, &[u8])>, FrameError> {
    let Split::Frame(first, mut behind) = split(bytes, max)? else { return Ok(None) };
    let conn = first.conn();
    let mut frames = 1;
    while conn.is_some()
        && let Ok(Split::Frame(next, rest)) = split(behind, max)
        && next.conn() == conn
    {
        frames += 1;
        behind = rest;
    }
    let bytes = Cow::Borrowed(&bytes[..bytes.len() - behind.len()]);
    Ok(Some((Run { bytes, start: 0, frames, conn }, behind)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::encode;

    fn wire(frames: &[(u32, &[u8])]) -> Vec<u8> {
        let mut wire = Vec::new();
        for (conn, message) in frames {
            match ConnId::new(*conn) {
                Some(conn) => encode(conn, message, &mut wire),
                None => wire.extend_from_slice(&crate::frame::header(None, 0)),
            }
        }
        wire
    }

    fn first(wire: &[u8]) -> (Run<'_>, &[u8]) {
        split_run(wire, MaxPacket::default()).unwrap().unwrap()
    }

    #[test]
    fn a_run_ends_with_its_connection() {
        let wire = wire(&[(1, b"a"), (1, b""), (2, b"bb"), (0, b""), (0, b"")]);
        let (run, rest) = first(&wire);
        assert_eq!((run.conn().map(ConnId::get), run.frames(), run.as_bytes()), (Some(1), 2, &wire[..17]));
        let (run, rest) = first(rest);
        assert_eq!((run.conn().map(ConnId::get), run.frames()), (Some(2), 1));
        let (run, rest) = first(rest);
        assert_eq!((run.conn(), run.frames(), rest.len()), (None, 1, 8), "commands come alone");
    }

    #[test]
    fn a_run_ends_before_what_is_cut_off_or_malformed() {
        let mut wire = wire(&[(1, b"a"), (1, b"b"), (1, b"c")]);
        wire.truncate(25);
        assert_eq!(first(&wire).0.frames(), 2);
        wire[9] = 3;
        let (run, rest) = first(&wire);
        assert_eq!(run.frames(), 1);
        assert!(split_run(rest, MaxPacket::default()).is_err());
        assert_eq!(split_run(&wire[..7], MaxPacket::default()), Ok(None));
    }

    #[test]
    fn frames_are_taken_off_the_front() {
        let wire = wire(&[(1, b"a"), (1, b"bb"), (1, b""), (1, b"c")]);
        let (mut run, _) = first(&wire);
        assert_eq!(
            [0, 8, 9, 18, 19, 26, 27, 100].map(|bytes| run.frames_within(bytes)),
            [0, 0, 1, 1, 2, 2, 3, 4]
        );
        assert_eq!(run.take(0), &[][..]);
        assert_eq!(run.take(2), &wire[..19]);
        assert_eq!((run.frames(), run.as_bytes()), (2, &wire[19..]));
        let frame = run.pop().unwrap();
        assert_eq!(frame.message(), b"");
        run.put_back(frame);
        assert_eq!((run.frames(), run.take(100)), (2, Cow::Borrowed(&wire[19..])));
        assert!(run.pop().is_none() && run.as_bytes().is_empty());
    }

    #[test]
    fn an_owned_frame_is_never_copied() {
        let bytes = wire(&[(1, b"large")]);
        let at = bytes.as_ptr();
        let mut run = Run::of_one(Frame::whole(Cow::Owned(bytes)));
        assert_eq!((run.frames_within(12), run.frames_within(13)), (0, 1));
        let frame = run.pop().unwrap();
        run.put_back(frame);
        assert_eq!(run.take(0), &[][..]);
        assert_eq!(run.take(5).as_ptr(), at);
        assert_eq!(run.frames(), 0);
    }
}
