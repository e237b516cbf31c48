//! What a virtual connection promises that is renewed when its gateway is lost.
//!
//! Each generation, as the client counts them, is one virtual connection at the server, whole: so the client is told of each
//! new connection, once, and before anything is said over it. Within a generation messages come in order and once, each way;
//! none of an earlier generation comes later. And what the applications resume is complete in the end.

use std::collections::BTreeMap;

use crate::failover::{Talk, TalkNote};
use crate::history::{Event, Half, What};
use crate::oracle::{About, Found, found};
use crate::states::{State, States};

#[derive(Debug, Default)]
pub(super) struct Talks {
    talks: BTreeMap<Talk, Side>,
    /// The server's ends: which talk and generation each one belongs to, and the place of its next message.
    ends: BTreeMap<Half, (Talk, u32, u32)>,
    /// Which end a generation belongs to.
    generations: BTreeMap<(Talk, u32), Half>,
}

/// The client's side of a talk.
#[derive(Debug, Default)]
struct Side {
    generation: u32,
    /// The place of the next answer in this generation.
    next_place: u32,
    /// Messages that are answered.
    answered: u32,
    /// Messages that the server has.
    taken: u32,
    renewals: u32,
    is_interrupted: bool,
}

impl Talks {
    pub(super) fn see(&mut self, event: &Event, states: &mut States) -> Result<(), Found> {
        let What::Talk(talk, note) = event.what else { return Ok(()) };
        let wrong = |rule, text: String| Err(found(rule, About::Talk(talk), text));
        let side = self.talks.entry(talk).or_default();
        match note {
            TalkNote::Opens { generation, .. } => {
                *side = Side { generation, next_place: 0, is_interrupted: false, ..*side };
            }
            TalkNote::Renewed { generation, .. } => {
                if side.is_interrupted {
                    states.reach(State::Interrupted);
                }
                *side = Side { generation, next_place: 0, is_interrupted: false, ..*side };
                side.renewals += 1;
                states.reach(State::Renewed);
                if side.renewals >= 2 {
                    states.reach(State::RenewedTwice);
                }
            }
            TalkNote::Interrupted => side.is_interrupted = true,
            TalkNote::Gets { generation, place, number } => {
                if (generation, place) != (side.generation, side.next_place) {
                    return wrong(
                        "connections: in order, once, within a generation",
                        format!(
                            "answer {place} of generation {generation} came, where answer {} of generation {} should",
                            side.next_place, side.generation
                        ),
                    );
                }
                side.next_place += 1;
                let Some(number) = number else { return Ok(()) };
                if number > side.answered {
                    let text = format!("message {number} was answered, but {} was not before", side.answered);
                    return wrong("resuming loses nothing", text);
                }
                side.answered = side.answered.max(number + 1);
            }
            TalkNote::Serves { half, generation, place, number } => {
                return self.serve(talk, half, (generation, place, number));
            }
            TalkNote::Done { said, answered } if said != answered => {
                return wrong(
                    "resuming loses nothing",
                    format!("{answered} of {said} messages were answered in the end"),
                );
            }
            _ => {}
        }
        Ok(())
    }

    fn serve(&mut self, talk: Talk, half: Half, message: (u32, u32, Option<u32>)) -> Result<(), Found> {
        let (generation, place, number) = message;
        let wrong = |rule, text: String| Err(found(rule, About::Talk(talk), text));
        let (known_talk, known_generation, next) = *self.ends.entry(half).or_insert((talk, generation, 0));
        let owner = *self.generations.entry((talk, generation)).or_insert(half);
        if owner != half {
            let text = format!(
                "generation {generation} came over two connections: the client was not told of the second"
            );
            return wrong("connections: renewed means told, once", text);
        }
        if (known_talk, known_generation) != (talk, generation) {
            let text = format!(
                "one connection is generation {known_generation} and {generation}: the client was told of a new one that is none"
            );
            return wrong("connections: renewed means told, once", text);
        }
        if place != next {
            let text = format!("message {place} of generation {generation} came, where {next} should");
            return wrong("connections: in order, once, within a generation", text);
        }
        self.ends.insert(half, (talk, generation, next + 1));
        let Some(number) = number else { return Ok(()) };
        let side = self.talks.entry(talk).or_default();
        if number > side.taken {
            let text = format!("the server got message {number}, but {} is missing", side.taken);
            return wrong("resuming loses nothing", text);
        }
        side.taken = side.taken.max(number + 1);
        Ok(())
    }
}
