//! A question, and the answer, which is the same bytes: on which virtual connection, how often that was dialled, which number.

/// Bytes of the shortest one.
pub const MIN_BYTES: usize = 16;

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Which virtual connection of this process.
    pub(super) lane: u32,
    /// How often that had been dialled.
    pub(super) life: u32,
    /// The how manieth of it, from 0.
    pub(super) number: u64,
}

impl Question {
    /// As so many bytes.
    pub(super) fn encode(self, bytes: usize) -> Vec<u8> {
        let mut message = Vec::with_capacity(bytes);
        message.extend_from_slice(&self.lane.to_le_bytes());
        message.extend_from_slice(&self.life.to_le_bytes());
        message.extend_from_slice(&self.number.to_le_bytes());
        message.resize(bytes.max(MIN_BYTES), self.number as u8);
        message
    }

    /// From an answer. `None` if it is none.
    pub(super) fn decode(message: &[u8]) -> Option<Self> {
        let (lane, rest) = message.split_first_chunk()?;
        let (life, rest) = rest.split_first_chunk()?;
        let (number, filler) = rest.split_first_chunk()?;
        let question = Self {
            lane: u32::from_le_bytes(*lane),
            life: u32::from_le_bytes(*life),
            number: u64::from_le_bytes(*number),
        };
        filler.iter().all(|byte| *byte == question.number as u8).then_some(question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_was_asked_or_is_damaged() {
        let question = Question { lane: 7, life: 3, number: 1000 };
        for bytes in [16, 17, 64] {
            let mut message = question.encode(bytes);
            assert_eq!((message.len(), Question::decode(&message)), (bytes, Some(question)));
            assert_eq!(Question::decode(&message[..15]), None);
            if bytes > 16 {
                message[16] ^= 1;
                assert_eq!(Question::decode(&message), None);
            }
        }
    }
}
