//! What client and server say to each other in a talk: five numbers each way.

use bytes::Bytes;

/// The number in place of a message's own: how far are you?
const HOW_FAR: u32 = u32::MAX;

/// By which messages of a talk are known among those of others.
const MARK: u32 = 0x7a1c_5eed;

/// What the client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) talk: u32,
    pub(super) generation: u32,
    pub(super) place: u32,
    /// Which message of the whole talk; `None`: the first one of a connection.
    pub(super) number: Option<u32>,
    /// Answers that the client has.
    pub(super) answered: u32,
}

/// What the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) talk: u32,
    pub(super) generation: u32,
    pub(super) place: u32,
    /// Which message it answers; `None`: the first one of a connection.
    pub(super) number: Option<u32>,
    /// Messages that the server has.
    pub(super) taken: u32,
}

fn write(numbers: [u32; 6]) -> Bytes {
    numbers.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<u8>>().into()
}

fn read(message: &[u8]) -> Option<[u32; 5]> {
    let (words, rest) = message.as_chunks::<4>();
    let words: [u32; 6] =
        words.iter().map(|word| u32::from_le_bytes(*word)).collect::<Vec<_>>().try_into().ok()?;
    let [mark, numbers @ ..] = words;
    (mark == MARK && rest.is_empty()).then_some(numbers)
}

impl Question {
    pub(super) fn write(self) -> Bytes {
        let number = self.number.unwrap_or(HOW_FAR);
        write([MARK, self.talk, self.generation, self.place, number, self.answered])
    }

    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let [talk, generation, place, number, answered] = read(message)?;
        Some(Self { talk, generation, place, number: (number != HOW_FAR).then_some(number), answered })
    }
}

impl Answer {
    pub(super) fn write(self) -> Bytes {
        let number = self.number.unwrap_or(HOW_FAR);
        write([MARK, self.talk, self.generation, self.place, number, self.taken])
    }

    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let [talk, generation, place, number, taken] = read(message)?;
        Some(Self { talk, generation, place, number: (number != HOW_FAR).then_some(number), taken })
    }
}
