//! Values: how an option's text becomes one (`oslo_config/types.py`), and how a value reads inside another.

use secrecy::{ExposeSecret, SecretString};

use super::schema::{Item, Kind};
use super::strip;

#[derive(Clone)]
pub(super) enum Value {
    Unset,
    Text(String),
    Secret(SecretString),
    Int(i64),
    Float(f64),
    Bool(bool),
    List(Vec<String>),
    Dict(Vec<(String, String)>),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unset, Self::Unset) => true,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Secret(a), Self::Secret(b)) => a.expose_secret() == b.expose_secret(),
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b).is_eq(),
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Dict(a), Self::Dict(b)) => a == b,
            _ => false,
        }
    }
}

impl Value {
    /// What `$name` is replaced with: Python's `str()` of the value.
    pub fn as_reference(&self) -> String {
        match self {
            Self::Unset => String::new(),
            Self::Text(text) => text.clone(),
            Self::Secret(text) => text.expose_secret().to_owned(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => format!("{number:?}"),
            Self::Bool(true) => "True".to_owned(),
            Self::Bool(false) => "False".to_owned(),
            Self::List(items) => {
                format!("[{}]", items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", "))
            }
            Self::Dict(items) => {
                let items: Vec<_> =
                    items.iter().map(|(k, v)| format!("{}: {}", quoted(k), quoted(v))).collect();
                format!("{{{}}}", items.join(", "))
            }
        }
    }
}

/// Python's `repr` of a text.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\\' => quoted.push_str("\\\\"),
            c if c == quote => quoted.extend(['\\', c]),
            c => quoted.push(c),
        }
    }
    quoted.push(quote);
    quoted
}

/// `text` as a value of `kind`, or what would be allowed. A blank number is [`Value::Unset`].
pub(super) fn convert(kind: &Kind, text: &str) -> Result<Value, String> {
    match *kind {
        // Of an option that may be repeated, each value by itself.
        Kind::String | Kind::Multi => Ok(Value::Text(text.to_owned())),
        Kind::Choice { allowed, ignore_case } => choice(allowed, ignore_case, text).map(Value::Text),
        Kind::Checked { allowed, check } => {
            if check(text) {
                Ok(Value::Text(text.to_owned()))
            } else {
                Err(allowed.to_owned())
            }
        }
        Kind::Int { min, max } => number(text, "a whole number", min.as_ref(), max.as_ref(), int)
            .map(|n| n.map_or(Value::Unset, Value::Int)),
        Kind::Float { min, max } => number(text, "a number", min.as_ref(), max.as_ref(), float)
            .map(|n| n.map_or(Value::Unset, Value::Float)),
        Kind::Bool => match text.to_lowercase().as_str() {
            "true" | "1" | "on" | "yes" => Ok(Value::Bool(true)),
            "false" | "0" | "off" | "no" => Ok(Value::Bool(false)),
            _ => Err("true or false (or 1, on, yes; 0, off, no)".to_owned()),
        },
        Kind::List(item) => list(item, text).map(Value::List),
        Kind::Dict => dict(text).map(Value::Dict),
    }
}

fn choice(allowed: &[&str], ignore_case: bool, text: &str) -> Result<String, String> {
    let same =
        |word: &&str| if ignore_case { word.to_lowercase() == text.to_lowercase() } else { *word == text };
    if allowed.iter().any(same) {
        return Ok(text.to_owned());
    }
    let shown: Vec<_> = allowed.iter().map(|word| if word.is_empty() { "empty" } else { word }).collect();
    Err(format!("one of {}", shown.join(", ")))
}

fn number<T: PartialOrd + std::fmt::Display>(
    text: &str,
    what: &str,
    min: Option<&T>,
    max: Option<&T>,
    parse: fn(&str) -> Option<T>,
) -> Result<Option<T>, String> {
    let text = strip(text);
    if text.is_empty() {
        return Ok(None);
    }
    let fits = |n: &T| min.is_none_or(|min| n >= min) && max.is_none_or(|max| n <= max);
    parse(text).filter(fits).map(Some).ok_or_else(|| match (min, max) {
        (None, None) => what.to_owned(),
        (Some(min), None) => format!("{what}, {min} or more"),
        (None, Some(max)) => format!("{what}, {max} or less"),
        (Some(min), Some(max)) => format!("{what} from {min} to {max}"),
    })
}

/// Without Python's underscores between digits; `None` when one stands elsewhere.
fn without_underscores(text: &str) -> Option<String> {
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let well_placed = text
        .match_indices('_')
        .all(|(at, _)| digit(text[..at].chars().next_back()) && digit(text[at + 1..].chars().next()));
    well_placed.then(|| text.replace('_', ""))
}

fn int(text: &str) -> Option<i64> {
    without_underscores(text)?.parse().ok()
}

fn float(text: &str) -> Option<f64> {
    without_underscores(text)?.parse().ok()
}

/// Splits at commas; an item that is not allowed takes the next ones in, as oslo.config does for items that
/// contain commas.
fn list(item: Item, text: &str) -> Result<Vec<String>, String> {
    let text = strip(text).trim_end_matches(',');
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let allowed = |part: &str| match item {
        Item::Any => Ok(part.to_owned()),
        Item::Int => int(part)
            .map(|number| number.to_string())
            .ok_or_else(|| "whole numbers, separated by commas".to_owned()),
        Item::Choice(words) => choice(words, false, part)
            .map_err(|_| format!("some of {}, separated by commas", words.join(", "))),
    };
    let mut items = Vec::new();
    let mut parts = text.split(',');
    while let Some(part) = parts.next() {
        let mut part = part.to_owned();
        items.push(loop {
            match allowed(strip(&part)) {
                Ok(item) => break item,
                Err(why) => {
                    part.push(',');
                    part.push_str(parts.next().ok_or(why)?);
                }
            }
        });
    }
    Ok(items)
}

/// `name:value` separated by commas; a part without a colon takes the next one in, as oslo.config does.
fn dict(text: &str) -> Result<Vec<(String, String)>, String> {
    let allowed = || "name:value pairs with different names, separated by commas".to_owned();
    let text = strip(text);
    let mut items: Vec<(String, String)> = Vec::new();
    if text.is_empty() {
        return Ok(items);
    }
    let mut parts = text.split(',');
    while let Some(part) = parts.next() {
        let mut part = part.to_owned();
        while !part.contains(':') {
            part.push(',');
            part.push_str(parts.next().ok_or_else(allowed)?);
        }
        let (name, value) = part.split_once(':').ok_or_else(allowed)?;
        let name = strip(name);
        if name.is_empty() || items.iter().any(|(known, _)| known == name) {
            return Err(allowed());
        }
        items.push((name.to_owned(), strip(value).to_owned()));
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INT: Kind = Kind::Int { min: None, max: None };
    const FLOAT: Kind = Kind::Float { min: None, max: None };
    const LIST: Kind = Kind::List(Item::Any);

    /// Each pair was produced by oslo.config 10; `None` where it raises ValueError.
    fn agrees(kind: Kind, pairs: &[(&str, Option<&str>)]) {
        for (text, expected) in pairs {
            let found = convert(&kind, text).ok().map(|value| value.as_reference());
            assert_eq!(found.as_deref(), *expected, "{kind:?} of {text:?}");
        }
    }

    #[test]
    fn whole_numbers_are_those_of_oslo_config() {
        agrees(
            INT,
            &[
                ("", Some("")),
                ("5", Some("5")),
                (" 5 ", Some("5")),
                ("+5", Some("5")),
                ("1_000", Some("1000")),
                ("-3", Some("-3")),
                ("0x10", None),
                ("5.0", None),
                ("1__0", None),
                ("_1", None),
                ("1_", None),
                ("1e3", None),
            ],
        );
    }

    #[test]
    fn numbers_are_those_of_oslo_config() {
        agrees(
            FLOAT,
            &[
                ("", Some("")),
                ("5", Some("5.0")),
                ("1e3", Some("1000.0")),
                ("inf", Some("inf")),
                ("-Infinity", Some("-inf")),
                ("1_0.5", Some("10.5")),
                (".5", Some("0.5")),
                ("5.", Some("5.0")),
                ("1_.5", None),
                ("0x1p3", None),
            ],
        );
    }

    #[test]
    fn lists_are_those_of_oslo_config() {
        agrees(
            LIST,
            &[
                ("", Some("[]")),
                ("a", Some("['a']")),
                (" a , b ", Some("['a', 'b']")),
                ("a,,b", Some("['a', '', 'b']")),
                (",", Some("[]")),
                ("a,,", Some("['a']")),
                ("a, ,", Some("['a', '']")),
                ("a\",\"b", Some("['a\"', '\"b']")),
                ("\na,\nb", Some("['a', 'b']")),
                ("[a,b]", Some("['[a', 'b]']")),
                ("it's", Some("[\"it's\"]")),
                ("a\nb", Some(r"['a\nb']")),
                (",a", Some("['', 'a']")),
            ],
        );
        agrees(
            Kind::List(Item::Int),
            &[("503, 409", Some("['503', '409']")), ("503,x", None), ("1,,2", None)],
        );
        agrees(Kind::List(Item::Choice(&["x,y", "z"])), &[("x,y,z", Some("['x,y', 'z']")), ("x,z", None)]);
    }

    #[test]
    fn dicts_are_those_of_oslo_config() {
        agrees(
            Kind::Dict,
            &[
                ("", Some("{}")),
                ("a:b,c:d", Some("{'a': 'b', 'c': 'd'}")),
                ("a:b:c", Some("{'a': 'b:c'}")),
                ("a:,b:c", Some("{'a': '', 'b': 'c'}")),
                (" a : b ", Some("{'a': 'b'}")),
                ("a,b:c", Some("{'a,b': 'c'}")),
                ("a", None),
                ("a:b,c", None),
                (":b", None),
                ("a:b,a:c", None),
                ("a:b,", None),
            ],
        );
    }

    #[test]
    fn booleans_are_those_of_oslo_config() {
        agrees(
            Kind::Bool,
            &[
                ("TRUE", Some("True")),
                ("on", Some("True")),
                ("yes", Some("True")),
                ("no", Some("False")),
                ("False", Some("False")),
                ("0", Some("False")),
                ("", None),
                ("2", None),
                (" true", None),
                ("t", None),
            ],
        );
    }

    #[test]
    fn what_is_allowed_is_said() {
        let said = |kind: Kind, text: &str| convert(&kind, text).err().unwrap();
        assert_eq!(said(Kind::Int { min: Some(1), max: None }, "0"), "a whole number, 1 or more");
        assert_eq!(said(Kind::Float { min: Some(0.0), max: Some(4.5) }, "5"), "a number from 0 to 4.5");
        assert_eq!(said(Kind::Choice { allowed: &["a", "b"], ignore_case: false }, "A"), "one of a, b");
    }

    proptest! {
        #[test]
        fn no_text_makes_a_conversion_panic(text in "(?s).{0,40}", digits in "[0-9_.+eE ,:-]{0,20}") {
            for kind in [INT, FLOAT, Kind::Bool, LIST, Kind::Dict, Kind::Multi, Kind::List(Item::Int)] {
                let _ = convert(&kind, &text);
                let _ = convert(&kind, &digits);
            }
        }
    }
}
