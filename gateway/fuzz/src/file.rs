//! The configuration file: any text, and lines that are nearly right.

use arbitrary::{Arbitrary, Unstructured};
use fastway_fuzz::Bytes;
use fastway_gateway::parse_config_file;

use crate::config::{FLAGS, Value};

#[derive(Arbitrary, Debug)]
enum Case<'a> {
    Text(Bytes<'a>),
    Lines(Vec<Line<'a>>),
}

#[derive(Arbitrary, Debug)]
enum Line<'a> {
    /// `[client]`, for the names behind it.
    Table(u8),
    Setting(Name, Written<'a>),
    Text(Bytes<'a>),
}

#[derive(Arbitrary, Debug)]
struct Name {
    flag: u8,
    /// So many of its dashes are dots.
    dots: u8,
    /// It begins behind the first dash, as under a table.
    is_rest: bool,
}

#[derive(Arbitrary, Debug)]
enum Written<'a> {
    Bare(Value<'a>),
    Quoted(Value<'a>),
    List(Vec<Value<'a>>),
    Switch(bool),
}

/// Any text is settings that work, or an error with words that names the place.
pub fn file(data: &[u8]) {
    let text = match Case::arbitrary(&mut Unstructured::new(data)) {
        Ok(Case::Text(Bytes(text))) => text.to_vec(),
        Ok(Case::Lines(lines)) => lines.iter().map(Line::text).collect::<Vec<_>>().join("\n").into_bytes(),
        Err(_) => return,
    };
    // A fuzzer does not open any other file.
    if text.windows(4).any(|word| word == b"file") {
        return;
    }
    match parse_config_file(&text) {
        Ok(config) => assert_eq!(config.check(), Ok(())),
        Err(error) => {
            let words = error.to_string();
            assert!(!words.is_empty() && !words.contains('\n'), "{words:?}");
        }
    }
}

impl Line<'_> {
    fn text(&self) -> String {
        match self {
            Self::Table(flag) => {
                let name = flag_name(*flag);
                format!("[{}]", name.split('-').next().unwrap_or(name))
            }
            Self::Setting(name, value) => format!("{} = {}", name.text(), value.text()),
            Self::Text(Bytes(text)) => String::from_utf8_lossy(text).into_owned(),
        }
    }
}

impl Name {
    fn text(&self) -> String {
        let name = flag_name(self.flag);
        let name = name.split_once('-').filter(|_| self.is_rest).map_or(name, |(_, rest)| rest);
        name.replacen('-', ".", usize::from(self.dots % 3))
    }
}

impl Written<'_> {
    fn text(&self) -> String {
        match self {
            Self::Bare(value) => value.text(),
            Self::Quoted(value) => quoted(value),
            Self::List(values) => format!("[{}]", values.iter().map(quoted).collect::<Vec<_>>().join(", ")),
            Self::Switch(on) => on.to_string(),
        }
    }
}

fn quoted(value: &Value<'_>) -> String {
    format!("\"{}\"", value.text())
}

fn flag_name(flag: u8) -> &'static str {
    FLAGS[usize::from(flag) % FLAGS.len()].trim_start_matches('-')
}
