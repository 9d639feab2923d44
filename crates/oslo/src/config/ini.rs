//! The grammar of oslo.config's INI files (`oslo_config/iniparser.py`).
//!
//! A line that begins with a space or a tab continues the value before it; a blank line or a comment ends the
//! value. The first `:` or `=` splits name and value. A first line wholly in one kind of quotes loses them.
//! There are no comments behind a value.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::{DEFAULT_GROUP, is_space, strip};

/// One file's assignments by group and name.
pub(super) struct File {
    pub path: Arc<Path>,
    /// Each value with its line.
    pub values: HashMap<(String, String), Vec<(String, u32)>>,
}

/// `name = value` as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    /// `DEFAULT`, or the section's name in lower case.
    pub group: String,
    pub name: String,
    /// The continuation lines are joined with line feeds.
    pub value: String,
    /// Of the name, counted from 1.
    pub line: u32,
}

/// A line that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub line: u32,
    pub what: &'static str,
}

/// The assignments of a file in order, and the lines that are none of what a file may contain.
pub(super) fn parse(text: &str) -> (Vec<Assignment>, Vec<SyntaxError>) {
    let mut parser = Parser::default();
    for (number, line) in (1..).zip(lines(text)) {
        if let Err(what) = parser.line(number, line.trim_end_matches(is_space)) {
            parser.errors.push(SyntaxError { line: number, what });
        }
    }
    parser.flush();
    (parser.assignments, parser.errors)
}

/// Lines end in `\n`, `\r\n` or `\r`, as in Python's text files.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

#[derive(Default)]
struct Parser {
    group: Option<String>,
    /// The assignment that a continuation line would extend.
    open: Option<Assignment>,
    assignments: Vec<Assignment>,
    errors: Vec<SyntaxError>,
}

impl Parser {
    fn flush(&mut self) {
        self.assignments.extend(self.open.take());
    }

    /// One line without its trailing white space.
    fn line(&mut self, number: u32, line: &str) -> Result<(), &'static str> {
        if line.is_empty() {
            self.flush();
            return Ok(());
        }
        if line.starts_with([' ', '\t']) {
            let open = self.open.as_mut().ok_or(
                "an indented line continues the value above it, but there is none; remove the spaces at its \
                 beginning",
            )?;
            open.value.push('\n');
            open.value.push_str(line.trim_start_matches(is_space));
            return Ok(());
        }
        self.flush();
        if line.starts_with(['#', ';']) {
            return Ok(());
        }
        if let Some(section) = line.strip_prefix('[') {
            let section = section.strip_suffix(']').ok_or("a section must end with ]")?;
            if section.is_empty() {
                return Err("the section has no name");
            }
            self.group = Some(normalized_group(section));
            return Ok(());
        }
        let (name, value) = line.split_once([':', '=']).ok_or("neither a section nor name = value")?;
        let name = strip(name);
        if name.is_empty() {
            return Err("the option has no name before the =");
        }
        let group =
            self.group.clone().ok_or("the option stands before the first section; put [DEFAULT] above it")?;
        let value = unquoted(strip(value)).to_owned();
        self.open = Some(Assignment { group, name: name.to_owned(), value, line: number });
        Ok(())
    }
}

/// `DEFAULT` is itself; every other group's name is compared in lower case.
pub(super) fn normalized_group(name: &str) -> String {
    if name == DEFAULT_GROUP { name.to_owned() } else { name.to_lowercase() }
}

/// Without the quotes, when the value begins and ends with the same; a lone quote counts as both.
fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            return if rest.is_empty() { rest } else { rest.strip_suffix(quote).unwrap_or(value) };
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assignments(text: &str) -> Vec<(String, String, String, u32)> {
        let (found, errors) = parse(text);
        assert_eq!(errors, [], "{text:?}");
        found.into_iter().map(|a| (a.group, a.name, a.value, a.line)).collect()
    }

    /// What oslo.config 10 gives for the last `a` in `[DEFAULT]` of the same text.
    #[test]
    fn values_are_those_of_oslo_config() {
        for (text, value) in [
            ("[DEFAULT]\na=1\n #c\n b\n\nb=2", "1\n#c\nb"),
            ("[DEFAULT]\na:b=c\n", "b=c"),
            ("[DEFAULT]\na=b:c", "b:c"),
            ("[DEFAULT]\na=\"x\"y\"\n", "x\"y"),
            ("[DEFAULT]\na=\"\n", ""),
            ("[DEFAULT]\na=\"x\n", "\"x"),
            ("[DEFAULT]\na=\"x'", "\"x'"),
            ("[DEFAULT]\na=\" x \"", " x "),
            ("[DEFAULT]\na='q'\n", "q"),
            ("[DEFAULT]\n;a=1\n#a=2\na=\"\"", ""),
            ("[DEFAULT]\na=x # y", "x # y"),
            ("[DEFAULT]\na = \"x\n  y\"\n", "\"x\ny\""),
            ("[DEFAULT]\na = \n  y\n", "\ny"),
            ("[DEFAULT]\r\na=1\r\n", "1"),
            ("[DEFAULT]\na=1\ra=2", "2"),
            ("[DEFAULT]\na=1\u{1c}", "1"),
            ("[DEFAULT]\na=1\u{b}b=2", "1\u{b}b=2"),
            ("[DEFAULT] \na=1", "1"),
            ("[DEFAULT]\na=1\na=2", "2"),
        ] {
            let found = assignments(text);
            let last = found.iter().rev().find(|(group, name, ..)| group == "DEFAULT" && name == "a");
            assert_eq!(last.map(|(_, _, value, _)| value.as_str()), Some(value), "{text:?}");
        }
    }

    #[test]
    fn lines_that_oslo_config_refuses_are_refused_with_their_number() {
        for (text, line) in [
            ("a=1\n", 1),
            ("[x\n", 1),
            ("[]\n", 1),
            ("[DEFAULT]\nfoo\n", 2),
            ("[DEFAULT]\n=x\n", 2),
            ("[DEFAULT]\n  x\n", 2),
            ("[DEFAULT]\na=1\n#c\n  b\n", 4),
            ("[DEFAULT]\na=1\n\n  b\n", 4),
            ("\u{feff}[DEFAULT]\na=1", 1),
            ("[DEFAULT]\na=1\n\u{b}x", 3),
            ("[DEFAULT]\na=1\n\u{a0}b", 3),
        ] {
            assert_eq!(parse(text).1.first().map(|e| e.line), Some(line), "{text:?}");
        }
    }

    #[test]
    fn group_names_are_lower_case_except_default() {
        let groups: Vec<_> =
            assignments("[DEFAULT]\na=1\n[default]\na=2\n[Ironic]\na=3\n[ DEFAULT ]\na=4\n[DEFAULT]]\na=5\n")
                .into_iter()
                .map(|(group, ..)| group)
                .collect();
        assert_eq!(groups, ["DEFAULT", "default", "ironic", " default ", "default]"]);
    }

    #[test]
    fn every_wrong_line_is_reported() {
        let (found, errors) = parse("x=1\n[a]\nfoo\nb=1\n[\n");
        assert_eq!(found.len(), 1);
        assert_eq!(errors.iter().map(|e| e.line).collect::<Vec<_>>(), [1, 3, 5]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(?s).{0,200}") {
            parse(&text);
        }

        #[test]
        fn nothing_made_of_the_grammar_makes_the_parser_panic(text in "[\\[\\]a=: \t\r\n\"'#;$\u{a0}\u{1c}]{0,80}") {
            let (found, errors) = parse(&text);
            prop_assert!(found.len() + errors.len() <= text.len() + 1);
            prop_assert!(found.iter().all(|a| !a.name.is_empty()));
        }
    }
}
