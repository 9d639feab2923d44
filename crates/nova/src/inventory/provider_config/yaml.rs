//! YAML as far as a configuration file needs it: one document, as a JSON value.
//!
//! Stock reads YAML 1.1, our parser 1.2. A plain scalar that the two take for different numbers (`010`, `1_000`, `1:30`)
//! stays text here, so that whoever wants a number refuses it instead of reading another one than stock.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value, map::Entry};

/// How deep lists and mappings may be nested, as in JSON documents: values are dropped and copied level by level on the
/// stack.
const DEEPEST: usize = 128;

/// How many values all aliases of a file may stand for: a few lines can double themselves into more than the memory holds.
const ALIASED: usize = 100_000;

/// Reads the one document of a file. `Err` says in words what is wrong, with the line.
pub fn read(text: &str) -> Result<Value, String> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| format!("not valid YAML: {error}"))?;
        builder.take(event).map_err(|problem| format!("line {}: {problem}", span.start.line()))?;
    }
    let mut documents = builder.documents.into_iter();
    match (documents.next(), documents.next()) {
        (Some(document), None) => Ok(document),
        (None, _) => Ok(Value::Null),
        (Some(_), Some(_)) => {
            Err("there is more than one document; give each a file of its own, without the --- lines"
                .to_owned())
        }
    }
}

#[derive(Default)]
struct Builder {
    /// The collections that are not yet complete, outermost first, each with its anchor (0: none).
    open: Vec<(usize, Open)>,
    anchors: HashMap<usize, Value>,
    documents: Vec<Value>,
    /// The values that aliases stood for so far.
    aliased: usize,
}

enum Open {
    List(Vec<Value>),
    Mapping { map: Map<String, Value>, merged: Vec<Value>, key: Option<Key> },
}

enum Key {
    Text(String),
    /// `<<`, which adds the entries of other mappings.
    Merge,
}

impl Builder {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Scalar(.., Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                Err("tags (!…) are not read; take the tag away, and quote what is meant as text".to_owned())
            }
            Event::Scalar(text, style, anchor, None) => {
                let plain = style == ScalarStyle::Plain;
                if let Some((_, Open::Mapping { key: key @ None, .. })) = self.open.last_mut() {
                    *key =
                        Some(if plain && text == "<<" { Key::Merge } else { Key::Text(text.into_owned()) });
                    return Ok(());
                }
                let value = if plain { resolve(&text) } else { Value::String(text.into_owned()) };
                self.complete(anchor, value)
            }
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor);
                let value = value.ok_or("the alias (*…) does not refer to a complete value before it")?;
                let (depth, count) = extent(value);
                self.nest(depth)?;
                self.aliased += count;
                if self.aliased > ALIASED {
                    return Err(format!("the aliases (*…) stand for more than {ALIASED} values"));
                }
                self.complete(0, value.clone())
            }
            Event::SequenceStart(anchor, None) => self.begin(anchor, Open::List(Vec::new())),
            Event::MappingStart(anchor, None) => {
                self.begin(anchor, Open::Mapping { map: Map::new(), merged: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some((anchor, open)) => self.complete(anchor, open.close()?),
                None => Ok(()),
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, anchor: usize, open: Open) -> Result<(), String> {
        self.nest(1)?;
        self.open.push((anchor, open));
        Ok(())
    }

    /// Refuses what would be nested too deep with this many levels more.
    fn nest(&self, levels: usize) -> Result<(), String> {
        if self.open.len() + levels > DEEPEST {
            return Err(format!("lists and mappings are nested more than {DEEPEST} deep"));
        }
        Ok(())
    }

    /// Puts a complete value where it belongs.
    fn complete(&mut self, anchor: usize, value: Value) -> Result<(), String> {
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        match self.open.last_mut() {
            None => self.documents.push(value),
            Some((_, Open::List(list))) => list.push(value),
            Some((_, Open::Mapping { map, merged, key })) => match key.take() {
                None => return Err("only text can be a key".to_owned()),
                Some(Key::Merge) => merged.push(value),
                Some(Key::Text(name)) => match map.entry(name) {
                    Entry::Vacant(free) => {
                        free.insert(value);
                    }
                    Entry::Occupied(taken) => {
                        return Err(format!("the key {} is given twice; remove one of the two", taken.key()));
                    }
                },
            },
        }
        Ok(())
    }
}

impl Open {
    /// The value of a collection that is complete; what is merged in never replaces what is there.
    fn close(self) -> Result<Value, String> {
        let (mut map, merged) = match self {
            Self::List(list) => return Ok(Value::Array(list)),
            Self::Mapping { map, merged, .. } => (map, merged),
        };
        let sources = merged.into_iter().flat_map(|value| match value {
            Value::Array(values) => values,
            value => vec![value],
        });
        for source in sources {
            let Value::Object(source) = source else {
                return Err("<< takes a mapping or a list of mappings".to_owned());
            };
            for (key, value) in source {
                map.entry(key).or_insert(value);
            }
        }
        Ok(Value::Object(map))
    }
}

/// How deep a value is nested (0 for a scalar), and how many values it holds with itself. Bounded by [`DEEPEST`].
fn extent(value: &Value) -> (usize, usize) {
    let (mut deepest, mut count) = (0, 0);
    let mut pending = vec![(value, 0)];
    while let Some((value, depth)) = pending.pop() {
        count += 1;
        match value {
            Value::Array(list) => pending.extend(list.iter().map(|member| (member, depth + 1))),
            Value::Object(map) => pending.extend(map.values().map(|member| (member, depth + 1))),
            _ => continue,
        }
        deepest = deepest.max(depth + 1);
    }
    (deepest, count)
}

/// What a plain scalar means: null, a truth value, a number that YAML 1.1 and 1.2 agree on, or else text.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text).as_bytes();
    let decimal = match digits {
        [b'0', next, ..] => !next.is_ascii_digit(),
        [first, ..] => first.is_ascii_digit() || *first == b'.',
        [] => false,
    };
    if decimal && let Ok(whole) = text.parse::<i64>() {
        return whole.into();
    }
    // Infinity cannot be told in JSON, and stays text as well.
    if decimal
        && let Ok(number) = text.parse::<f64>()
        && number.is_finite()
    {
        return number.into();
    }
    Value::String(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_read_as_a_value() {
        let text = "# says\na: [1, -2, +3, 1.5, .5, '1', x]\nb:\n  - c: ~\n    d: true\n  - e:\n";
        let value = json!({"a": [1, -2, 3, 1.5, 0.5, "1", "x"], "b": [{"c": null, "d": true}, {"e": null}]});
        assert_eq!(read(text).unwrap(), value);
        assert_eq!(read("").unwrap(), Value::Null);
        assert_eq!(read("# nothing\n").unwrap(), Value::Null);
    }

    #[test]
    fn a_number_that_yaml_1_1_reads_otherwise_stays_text() {
        for text in ["010", "0x10", "0o10", "1_000", "1:30", ".inf", "nan", "inf", "1e999", "+", "."] {
            assert_eq!(read(&format!("a: {text}")).unwrap_or_default()["a"], json!(text), "{text}");
        }
    }

    #[test]
    fn aliases_and_merge_keys_are_followed() {
        let text = "base: &b {a: 1, b: 2}\nmore: {<<: *b, b: 3}\nboth:\n  <<: [*b, {c: 4, a: 5}]\nsame: *b\n";
        let value = read(text).unwrap();
        assert_eq!(value["more"], json!({"a": 1, "b": 3}));
        assert_eq!(value["both"], json!({"a": 1, "b": 2, "c": 4}));
        assert_eq!(value["same"], json!({"a": 1, "b": 2}));
    }

    #[test]
    fn a_file_that_nests_or_multiplies_without_end_is_refused() {
        let nested = |(open, close): (&str, &str), depth| {
            read(&format!("{}1{}", open.repeat(depth), close.repeat(depth)))
        };
        for (kind, depth) in [(("[", "]"), 200), (("{a: ", "}"), 200), (("- ", ""), 50_000)] {
            let problem = nested(kind, depth).unwrap_err();
            assert!(problem.contains("nested"), "{problem}");
            assert!(nested(kind, DEEPEST).is_ok());
        }
        let mut doubled = "a0: &a0 [x, x]\n".to_owned();
        for n in 1..40 {
            writeln!(doubled, "a{n}: &a{n} [*a{0}, *a{0}]", n - 1).unwrap();
        }
        let problem = read(&doubled).unwrap_err();
        assert!(problem.contains("aliases"), "{problem}");
        let mut nested = "a0: &a0 [x]\n".to_owned();
        for n in 1..200 {
            writeln!(nested, "a{n}: &a{n} [*a{}]", n - 1).unwrap();
        }
        assert!(read(&nested).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_line() {
        for (text, part) in [
            ("a: 1\na: 2\n", "line 2: the key a is given twice"),
            ("a: 1\n---\nb: 2\n", "more than one document"),
            ("a: !!str 1\n", "line 1: tags"),
            ("[a]: 1\n", "only text can be a key"),
            ("<<: 1\n", "<< takes a mapping"),
            ("a: &x [*x]\n", "does not refer to a complete value"),
            ("a: [1\n", "not valid YAML"),
            ("a: *nowhere\n", "not valid YAML"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.contains(part), "{text:?}: {problem}");
        }
    }
}
