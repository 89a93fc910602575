//! A page of text for a terminal: at most 100 columns, headings, paragraphs and lists, in colours that may be stripped.

use anstyle::{AnsiColor, Style};

use crate::outcome::Outcome;

/// The widest line.
pub(super) const COLUMNS: usize = 100;

/// No style.
pub(super) const PLAIN: Style = Style::new();
/// What a section begins with, and what is looked for first.
pub(super) const BOLD: Style = Style::new().bold();
/// What is read once.
pub(super) const DIM: Style = Style::new().dimmed();
/// As hoped.
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Not as hoped.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// To be minded.
pub(super) const MIND: Style = AnsiColor::Yellow.on_default().bold();
/// The bars.
pub(super) const BAR: Style = AnsiColor::Cyan.on_default();

/// What an outcome is shown in.
pub(super) fn style_of(outcome: Outcome) -> Style {
    if outcome == Outcome::Clean {
        GOOD
    } else if outcome == Outcome::Censored || outcome == Outcome::SelfReset {
        PLAIN
    } else if outcome.is_local() {
        MIND
    } else {
        BAD
    }
}

/// A page under construction.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    /// What was written.
    pub(super) fn finish(self) -> String {
        self.text
    }

    /// Begins a section.
    pub(super) fn heading(&mut self, title: &str) {
        self.blank();
        self.line(BOLD, title);
    }

    /// An empty line, unless the page begins here.
    pub(super) fn blank(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }

    /// One line as it is.
    pub(super) fn line(&mut self, style: Style, line: &str) {
        self.spans(&[(style, line)]);
    }

    /// One line in several styles.
    pub(super) fn spans(&mut self, spans: &[(Style, &str)]) {
        let mut line = String::new();
        for (style, text) in spans.iter().filter(|(_, text)| !text.is_empty()) {
            line.push_str(&format!("{style}{text}{style:#}"));
        }
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// Running text.
    pub(super) fn paragraph(&mut self, style: Style, indent: usize, text: &str) {
        for line in wrapped(text, COLUMNS - indent) {
            self.spans(&[(PLAIN, &" ".repeat(indent)), (style, &line)]);
        }
    }

    /// A term of `width` columns, and what is said about it beside it.
    pub(super) fn item(&mut self, style: Style, term: &str, width: usize, text: &str) {
        const INDENT: usize = 2;
        let margin = INDENT + width + 2;
        let mut term = format!("{:INDENT$}{term:width$}  ", "");
        for line in wrapped(text, COLUMNS - margin) {
            self.spans(&[(style, &term), (PLAIN, &line)]);
            term = " ".repeat(margin);
        }
    }
}

/// Lines of at most `width` columns, broken between words, and within a word only where it is longer than a line.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let chars: Vec<char> = word.chars().collect();
        for (index, piece) in chars.chunks(width).enumerate() {
            let gap = usize::from(used > 0 && index == 0);
            if used + gap + piece.len() > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if used > 0 && index == 0 {
                line.push(' ');
                used += 1;
            }
            line.extend(piece);
            used += piece.len();
        }
    }
    lines.push(line);
    lines
}
