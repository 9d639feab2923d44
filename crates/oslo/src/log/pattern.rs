//! Python's `%`-formats with names, as in `logging_context_format_string`: `%(name)s`, `%(msecs)03d`,
//! `%(levelname)-8s`, `%%`.

use std::fmt::Write as _;

/// A format that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value { name: String, left: bool, zeros: bool, width: usize },
}

impl Pattern {
    /// `None` when a `%` begins no `%(name)` with a conversion.
    pub fn parse(text: &str) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            pieces.push(Piece::Text(before.to_owned()));
            if let Some(after) = after.strip_prefix('%') {
                pieces.push(Piece::Text("%".to_owned()));
                rest = after;
                continue;
            }
            let (name, after) = after.strip_prefix('(')?.split_once(')')?;
            let flags = after.len() - after.trim_start_matches(['-', '0', '+', ' ', '#']).len();
            let (flags, after) = after.split_at(flags);
            let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (width, after) = after.split_at(digits);
            // A precision would cut a text or give a number decimals; no value here has use for it.
            let after = after
                .strip_prefix('.')
                .map_or(after, |after| after.trim_start_matches(|c: char| c.is_ascii_digit()));
            rest = after.strip_prefix(['s', 'd', 'i', 'r', 'f', 'g'])?;
            pieces.push(Piece::Value {
                name: name.to_owned(),
                left: flags.contains('-'),
                zeros: flags.contains('0'),
                width: if width.is_empty() { 0 } else { width.parse().ok().filter(|width| *width < 1000)? },
            });
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Some(Self(pieces))
    }

    /// The format with its values.
    pub fn format(&self, mut value: impl FnMut(&str) -> String) -> String {
        let mut line = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => line.push_str(text),
                Piece::Value { name, left, zeros, width } => {
                    let value = value(name);
                    // Writing to a string does not fail.
                    let _ = match (left, zeros) {
                        (true, _) => write!(line, "{value:<width$}"),
                        (false, true) => write!(line, "{value:0>width$}"),
                        (false, false) => write!(line, "{value:>width$}"),
                    };
                }
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn formatted(pattern: &str) -> Option<String> {
        Pattern::parse(pattern)
            .map(|pattern| pattern.format(|name| if name == "n" { "7".into() } else { name.to_owned() }))
    }

    #[test]
    fn formats_are_those_of_python() {
        for (pattern, expected) in [
            ("%(n)03d", "007"),
            ("a%(n)s%%b", "a7%b"),
            ("[%(n)-3s]", "[7  ]"),
            ("[%(n)3s]", "[  7]"),
            ("%(levelname).1s", "levelname"),
            ("", ""),
        ] {
            assert_eq!(formatted(pattern).as_deref(), Some(expected));
        }
        for pattern in ["%", "%(n)", "%(n", "%s", "%(n)x", "%(n)99999s"] {
            assert_eq!(formatted(pattern), None, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[%()a-z0-9. é-]{0,30}") {
            let _ = formatted(&text);
        }
    }
}
