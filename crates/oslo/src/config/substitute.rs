//! `$name`, `${name}`, `${group.name}`, `$$` and `\$` inside values, as Python's `string.Template` with
//! oslo.config's names reads them.

/// Replaces the references in `text`. `lookup` gives the replacement of a name, or `None` to leave the
/// reference as it stands.
pub(super) fn substitute(text: &str, mut lookup: impl FnMut(&str) -> Option<String>) -> String {
    let text = text.replace(r"\$", "$$");
    let mut result = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, length) = if let Some(braced) = after.strip_prefix('{') {
            let name = leading_name(braced);
            if braced[name.len()..].starts_with('}') { (name, name.len() + 2) } else { ("", 0) }
        } else {
            let name = leading_name(after);
            (name, name.len())
        };
        rest = &after[length..];
        if name.is_empty() {
            // "$$" is a dollar sign; a dollar sign before anything else is one too.
            rest = after.strip_prefix('$').unwrap_or(after);
            result.push('$');
        } else if let Some(replacement) = lookup(name) {
            result.push_str(&replacement);
        } else {
            result.push('$');
            result.push_str(&after[..length]);
        }
    }
    result.push_str(rest);
    result
}

/// The longest `[_a-z][._a-z0-9]*`, any case, that `text` begins with.
fn leading_name(text: &str) -> &str {
    let first = |c: char| c == '_' || c.is_ascii_alphabetic();
    if !text.starts_with(first) {
        return "";
    }
    let end = text.find(|c: char| !(first(c) || c == '.' || c.is_ascii_digit())).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn replaced(text: &str) -> String {
        substitute(text, |name| match name {
            "b" => Some("bee".to_owned()),
            "grp.g1" => Some("gee".to_owned()),
            _ => None,
        })
    }

    /// What oslo.config 10 gives, but for the unknown names, which it fails on.
    #[test]
    fn references_are_replaced_as_in_oslo_config() {
        for (text, expected) in [
            ("$b", "bee"),
            ("${b}x", "beex"),
            ("$$b", "$b"),
            (r"\$b", "$b"),
            ("$$$b", "$bee"),
            (r"\\$b", r"\$b"),
            ("${grp.g1}/$grp.g1", "gee/gee"),
            ("$1", "$1"),
            ("$", "$"),
            ("a$", "a$"),
            ("${b", "${b"),
            ("${}", "${}"),
            ("${b }", "${b }"),
            ("$bé", "beeé"),
            ("$zzz/${zzz}", "$zzz/${zzz}"),
            ("$b.c", "$b.c"),
        ] {
            assert_eq!(replaced(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[$\\\\{}a-c.0é ]{0,40}") {
            replaced(&text);
        }

        #[test]
        fn text_without_a_dollar_sign_stays(text in "[^$]{0,40}") {
            prop_assert_eq!(replaced(&text), text);
        }
    }
}
