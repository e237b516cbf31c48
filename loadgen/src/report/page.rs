//! A page of text with labels at its left edge: colours, indents, and lines that end before column 80.

use console::Style;

/// Columns of a line at the most.
const WIDTH: usize = 80;
/// Columns of the labels at the left.
pub(crate) const LABEL: usize = 13;

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hue {
    Plain,
    Bold,
    Dim,
    Good,
    Bad,
    Warn,
}

/// A piece of text that is not broken.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    text: String,
    hue: Hue,
}

impl Piece {
    pub(crate) fn new(text: impl Into<String>, hue: Hue) -> Self {
        Self { text: text.into(), hue }
    }

    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Hue::Plain)
    }

    fn width(&self) -> usize {
        // All that is written here is as wide as it has characters; what peers say is no worse than a ragged line.
        self.text.chars().count()
    }
}

/// A page that is being written.
#[derive(Debug)]
pub(crate) struct Page {
    out: String,
    colours: bool,
}

impl Page {
    pub(crate) const fn new(colours: bool) -> Self {
        Self { out: String::new(), colours }
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }

    /// Writes without a break.
    pub(crate) fn put(&mut self, text: &str, hue: Hue) {
        if !self.colours || hue == Hue::Plain || text.trim().is_empty() {
            self.out.push_str(text);
            return;
        }
        let style = match hue {
            Hue::Plain => Style::new(),
            Hue::Bold => Style::new().bold(),
            Hue::Dim => Style::new().dim(),
            Hue::Good => Style::new().green().bold(),
            Hue::Bad => Style::new().red().bold(),
            Hue::Warn => Style::new().yellow(),
        };
        self.out.push_str(&style.force_styling(true).apply_to(text).to_string());
    }

    /// Ends the line.
    pub(crate) fn end(&mut self) {
        while self.out.ends_with(' ') {
            self.out.pop();
        }
        self.out.push('\n');
    }

    /// Writes a label, filled up to where the text begins.
    pub(crate) fn label(&mut self, label: &str) {
        self.put(&format!("{label:LABEL$}"), Hue::Dim);
    }

    /// Writes a label and pieces with `gap` spaces between them; what does not fit goes on beneath.
    pub(crate) fn row(&mut self, label: &str, gap: usize, pieces: &[Piece]) {
        self.label(label);
        self.flow(LABEL, LABEL, gap, pieces);
    }

    /// Writes a sentence behind a mark, and goes on beneath its first word. Its own lines stay lines, with their indents.
    pub(crate) fn sentence(&mut self, indent: usize, mark: &str, sentence: &str, hue: Hue) {
        self.put(&" ".repeat(indent), Hue::Plain);
        self.put(mark, hue);
        let indent = indent + mark.chars().count();
        for (number, line) in sentence.lines().enumerate() {
            let own = line.len() - line.trim_start().len();
            if number > 0 {
                self.put(&" ".repeat(indent + own), Hue::Plain);
            }
            self.words(indent + own, line, hue);
        }
    }

    /// Writes words from column `indent`, and further lines from there.
    fn words(&mut self, indent: usize, text: &str, hue: Hue) {
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.put(&line, hue);
                self.end();
                self.put(&" ".repeat(indent), Hue::Plain);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.put(&line, hue);
        self.end();
    }

    /// Writes pieces from column `at`, and further lines from column `indent`.
    pub(crate) fn flow(&mut self, at: usize, indent: usize, gap: usize, pieces: &[Piece]) {
        let mut at = at;
        let mut first = true;
        for piece in pieces {
            if !first {
                if at + gap + piece.width() > WIDTH {
                    self.end();
                    self.put(&" ".repeat(indent), Hue::Plain);
                    at = indent;
                } else {
                    self.put(&" ".repeat(gap), Hue::Plain);
                    at += gap;
                }
            }
            self.put(&piece.text, piece.hue);
            at += piece.width();
            first = false;
        }
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_of_several_lines_keeps_them() {
        let mut page = Page::new(false);
        page.sentence(2, "- ", &format!("none of them:\n  a: {}\n  b: no", "word ".repeat(20)), Hue::Bad);
        let text = page.finish();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines[0], lines[1].starts_with("      a: word")), ("  - none of them:", true), "{text}");
        assert!(lines[2].starts_with("      word") && lines[3] == "      b: no", "{text}");
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "{text}");
    }

    #[test]
    fn lines_end_before_the_edge_and_go_on_beneath() {
        let mut page = Page::new(false);
        page.sentence(2, "- ", &"word ".repeat(40), Hue::Bad);
        let text = page.finish();
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert!(text.starts_with("  - word") && text.lines().nth(1).unwrap().starts_with("    word"));
    }

    #[test]
    fn colours_are_there_only_when_asked_for() {
        for colours in [false, true] {
            let mut page = Page::new(colours);
            page.put("x", Hue::Good);
            assert_eq!(page.finish().contains('\u{1b}'), colours);
        }
    }
}
