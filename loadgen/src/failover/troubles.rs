//! What is said of gateways, each sentence once: those that differ in a duration or another number only are one, with `…` where
//! they differ.

use std::collections::BTreeMap;

use super::record::Trouble;
use crate::clock::Nanos;

/// Different sentences that are kept.
const MOST: usize = 100;

/// What numbers that differ are replaced by.
const ELLIPSIS: &str = "…";

/// Sentences, by what they are without their numbers.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<String, Trouble>);

impl Troubles {
    /// Somebody said so.
    pub(super) fn note(&mut self, text: &str, now: Nanos) {
        let shape: String = words(text).map(without_number).collect();
        if let Some(known) = self.0.get_mut(&shape) {
            (known.count, known.last_ns) = (known.count + 1, now);
            if known.text != text {
                known.text = merged(&known.text, text);
            }
        } else if self.0.len() < MOST {
            let text = text.to_owned();
            self.0.insert(shape, Trouble { text, count: 1, first_ns: now, last_ns: now });
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Trouble> {
        self.0.values().cloned().collect()
    }
}

/// Two sentences of one shape.
fn merged(known: &str, text: &str) -> String {
    let pairs = words(known).zip(words(text));
    pairs.map(|(known, new)| if known == new { known.to_owned() } else { without_number(new) }).collect()
}

/// With the white space behind each.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(char::is_whitespace)
}

/// With `…` for its number, if the word is one with a unit, in brackets, or before a comma.
fn without_number(word: &str) -> String {
    let core = word.trim_matches(|letter: char| letter.is_whitespace() || "()[],;:.\"'".contains(letter));
    if is_number(core) { word.replacen(core, ELLIPSIS, 1) } else { word.to_owned() }
}

/// `41`, `5.003s`, `99%`; also what numbers were replaced by. An address is none.
fn is_number(word: &str) -> bool {
    let digits = ["ns", "µs", "ms", "s", "m", "h", "%"]
        .iter()
        .find_map(|unit| word.strip_suffix(unit))
        .unwrap_or(word);
    let is_decimal =
        digits.starts_with(|first: char| first.is_ascii_digit()) && digits.parse::<f64>().is_ok();
    is_decimal || word == ELLIPSIS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(sentences: &[&str]) -> Vec<(String, u64)> {
        let mut troubles = Troubles::default();
        for sentence in sentences {
            troubles.note(sentence, 0);
        }
        troubles.all().into_iter().map(|trouble| (trouble.text, trouble.count)).collect()
    }

    #[test]
    fn sentences_that_differ_in_numbers_are_one() {
        let all = said(&[
            "server 3 was not there within 5.001s; the last answer: none in 500ms",
            "server 3 was not there within 5.0027s; the last answer: none in 500ms",
            "server 3 was not there within 912.3µs; the last answer: none in 500ms",
        ]);
        let expected = "server 3 was not there within …; the last answer: none in 500ms";
        assert_eq!(all, [(expected.to_owned(), 3)], "what does not differ stays");
    }

    #[test]
    fn other_gateways_and_other_words_are_others() {
        let all = said(&[
            "gateway 10.0.0.1:7010: refused (111)",
            "gateway 10.0.0.2:7010: refused (111)",
            "gateway 10.0.0.1:7011: refused (111)",
            "gateway 10.0.0.1:7010: refused at 5 s",
        ]);
        assert_eq!(all.len(), 4, "{all:?}");
        assert!(all.iter().all(|(text, count)| *count == 1 && !text.contains(ELLIPSIS)), "{all:?}");
    }

    #[test]
    fn lines_stay_lines() {
        let all = said(&[
            "none of 2 in 1.1s\n  a:1: refused\n  b:1: no",
            "none of 2 in 1.2s\n  a:1: refused\n  b:1: no",
        ]);
        assert_eq!(all, [("none of 2 in …\n  a:1: refused\n  b:1: no".to_owned(), 2)]);
    }

    #[test]
    fn there_are_not_too_many() {
        let sentences: Vec<_> = (0..150).map(|number| format!("gateway gw{number}:1 is gone")).collect();
        let sentences: Vec<_> = sentences.iter().map(String::as_str).collect();
        assert_eq!(said(&sentences).len(), MOST);
    }
}
