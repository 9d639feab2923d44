//! Error bodies of OpenStack services, and the scrubbing of texts that end up in logs and faults.
//!
//! The shapes: Placement `{"errors": [{"code", "title", "detail"}]}`; Neutron `{"NeutronError": {"type",
//! "message", "detail"}}`; Ironic `{"error_message": "<JSON text with faultstring>"}` (the inner document as
//! an object in some releases, plain text from its middleware); Keystone, Cinder and Nova `{"<name>":
//! {"message", "code"}}`; Glance HTML or `{"message", "code", "title"}`.

use serde_json::{Map, Value};

/// The least length of a JSON Web Token; shorter words may begin like one.
const JWT: usize = 40;

/// Longest text that is kept of a service's message, in characters.
const LONGEST: usize = 1000;

/// Longest text that is read for it, in bytes: what is masked may be much longer than what is left.
const SCANNED: usize = 16 * LONGEST;

/// What an error body says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// Placement's code or Neutron's type.
    pub(crate) code: Option<String>,
    /// Scrubbed and cut text; never empty.
    pub(crate) message: String,
}

/// Reads an error body of any shape.
pub(crate) fn read(body: &[u8]) -> Said {
    let (code, message) = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(map)) => from_object(&map),
        Ok(Value::String(text)) => (None, text),
        _ => (None, without_tags(&String::from_utf8_lossy(&body[..body.len().min(SCANNED)]))),
    };
    let message = scrub(&message);
    let message = if message.is_empty() { "no message".to_owned() } else { message };
    Said { code: code.map(|code| scrub(&code)), message }
}

fn text(map: &Map<String, Value>, key: &str) -> Option<String> {
    map.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

fn from_object(map: &Map<String, Value>) -> (Option<String>, String) {
    if let Some(first) = map.get("errors").and_then(|errors| errors.get(0)).and_then(Value::as_object) {
        let message = text(first, "detail").or_else(|| text(first, "title")).unwrap_or_default();
        return (text(first, "code"), message);
    }
    if let Some(error) = map.get("NeutronError") {
        return match error {
            Value::Object(error) => {
                let mut message = text(error, "message").unwrap_or_default();
                if let Some(detail) = text(error, "detail") {
                    message = format!("{message} {detail}");
                }
                (text(error, "type"), message)
            }
            other => (None, other.as_str().unwrap_or_default().to_owned()),
        };
    }
    if let Some(error) = map.get("error_message") {
        return (None, fault(error));
    }
    if let Some(fault) = text(map, "faultstring") {
        return (None, fault);
    }
    if let Some(message) = text(map, "message") {
        return (None, without_tags(&message));
    }
    let inner = map.values().find_map(Value::as_object);
    let message = inner.and_then(|inner| text(inner, "message").or_else(|| text(inner, "title")));
    (None, message.or_else(|| text(map, "error")).unwrap_or_default())
}

/// Ironic's `error_message`.
fn fault(error: &Value) -> String {
    match error {
        Value::String(inner) => match serde_json::from_str::<Value>(inner) {
            Ok(Value::Object(map)) => text(&map, "faultstring").unwrap_or_else(|| inner.clone()),
            _ => inner.clone(),
        },
        Value::Object(map) => text(map, "faultstring").unwrap_or_default(),
        _ => String::new(),
    }
}

/// HTML without its head and tags.
fn without_tags(html: &str) -> String {
    if !html.trim_start().starts_with('<') {
        return html.to_owned();
    }
    let body = html.find("</head>").map_or(html, |end| &html[end + "</head>".len()..]);
    let mut out = String::with_capacity(body.len());
    let mut inside = false;
    for character in body.chars() {
        match character {
            '<' => inside = true,
            '>' if inside => {
                inside = false;
                out.push(' ');
            }
            other if !inside => out.push(other),
            _ => {}
        }
    }
    out
}

/// One line without secrets: user information of URLs, signatures of temporary URLs and tokens (Fernet, JWT)
/// are masked, white space is squeezed, and the whole is cut at a thousand characters.
pub(crate) fn scrub(text: &str) -> String {
    let mut out = String::new();
    let mut length = 0;
    for word in head(text).split_whitespace() {
        let word = scrub_word(word);
        length += word.chars().count() + 1;
        if length > LONGEST {
            let room = (LONGEST + word.chars().count()).saturating_sub(length);
            if !out.is_empty() {
                out.push(' ');
            }
            out.extend(word.chars().take(room));
            out.push('…');
            return out;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&word);
    }
    out
}

/// The beginning of a text that is too long to be read whole. User information is recognised by the `@`
/// behind it: where the cut would part the two, it is made before them.
fn head(text: &str) -> &str {
    if text.len() <= SCANNED {
        return text;
    }
    let head = &text[..text.floor_char_boundary(SCANNED)];
    let cut = head.rfind("://").map(|at| at + 3).filter(|from| !head[*from..].contains(ends_authority));
    cut.map_or(head, |at| &head[..at])
}

/// Whether a character ends the part of a URL that names user and host.
fn ends_authority(character: char) -> bool {
    character.is_whitespace() || matches!(character, '/' | '?' | '#' | '"' | '\'' | '<' | '>' | ',')
}

fn scrub_word(word: &str) -> String {
    let mut rest = word;
    let mut out = String::with_capacity(word.len());
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        out.push_str(before);
        let end = after.find(ends_authority).unwrap_or(after.len());
        let authority = &after[..end];
        if let Some(at) = authority.rfind('@') {
            out.push_str("***");
            rest = &after[at..];
        } else {
            rest = after;
        }
    }
    out.push_str(rest);
    for secret in ["temp_url_sig=", "token=", "password=", "X-Amz-Signature="] {
        out = mask_after(&out, secret);
    }
    mask_tokens(&mask_tokens(&out, "gAAAAA", 0), "eyJ", JWT)
}

/// Masks what follows `key` up to the next separator.
fn mask_after(text: &str, key: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(key) {
        let (before, after) = rest.split_at(start + key.len());
        let end = after.find(['&', '"', '\'', ',', ';', ')', '<', '>']).unwrap_or(after.len());
        out.push_str(before);
        out.push_str("***");
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

/// Masks tokens: `start` and what belongs to the same base64 word, when that is not shorter than `least`.
fn mask_tokens(text: &str, start: &str, least: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(start) {
        let (before, token) = rest.split_at(at);
        let end = token
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '=' | '.')))
            .unwrap_or(token.len());
        // A full stop ends the sentence, not the token.
        let end = token[..end].trim_end_matches('.').len();
        out.push_str(before);
        out.push_str(if end < least { &token[..end] } else { "***" });
        rest = &token[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(body: &str) -> (Option<String>, String) {
        let said = read(body.as_bytes());
        (said.code, said.message)
    }

    #[test]
    fn every_service_is_understood() {
        assert_eq!(
            said(
                r#"{"errors": [{"status": 409, "title": "Conflict", "detail": "There was a conflict.\n\n resource provider generation conflict  ", "code": "placement.concurrent_update", "request_id": "req-c"}]}"#
            ),
            (
                Some("placement.concurrent_update".into()),
                "There was a conflict. resource provider generation conflict".into()
            )
        );
        assert_eq!(
            said(
                r#"{"NeutronError": {"type": "HTTPNotFound", "message": "The resource could not be found.", "detail": ""}}"#
            ),
            (Some("HTTPNotFound".into()), "The resource could not be found.".into())
        );
        assert_eq!(
            said(
                r#"{"error_message": "{\"faultcode\": \"Client\", \"faultstring\": \"Node is locked.\", \"debuginfo\": null}"}"#
            ),
            (None, "Node is locked.".into())
        );
        assert_eq!(
            said(r#"{"error_message": {"faultcode": "Client", "faultstring": "Node is locked."}}"#),
            (None, "Node is locked.".into())
        );
        assert_eq!(said(r#"{"error_message": "Not acceptable"}"#), (None, "Not acceptable".into()));
        assert_eq!(
            said(r#"{"itemNotFound": {"code": 404, "message": "Volume x could not be found."}}"#),
            (None, "Volume x could not be found.".into())
        );
        assert_eq!(
            said(
                r#"{"error": {"code": 401, "message": "The request you have made requires authentication.", "title": "Unauthorized"}}"#
            ),
            (None, "The request you have made requires authentication.".into())
        );
        assert_eq!(
            said(
                "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n  No image found with ID x<br /><br />\n </body>\n</html>"
            ),
            (None, "404 Not Found No image found with ID x".into())
        );
    }

    #[test]
    fn junk_gives_a_bounded_message() {
        assert_eq!(said(""), (None, "no message".into()));
        assert_eq!(said("[1]").1, "[1]");
        let long = said(&"é".repeat(5000)).1;
        assert!(long.chars().count() <= LONGEST + 1, "{}", long.chars().count());
        let words = said(&"word ".repeat(5000)).1;
        assert!(words.chars().count() <= LONGEST + 1 && words.ends_with('…'));
    }

    #[test]
    fn secrets_in_a_message_are_masked() {
        assert_eq!(
            scrub("cannot fetch https://user:p@ss@host/x?temp_url_sig=abc&e=1, https://host/y"),
            "cannot fetch https://***@host/x?temp_url_sig=***&e=1, https://host/y"
        );
        assert_eq!(scrub("token gAAAAABabc-_=, done"), "token ***, done");
        assert_eq!(scrub("amqp://guest:guest@mq:5672//"), "amqp://***@mq:5672//");
        let jwt = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJrIn0.c2lnbmF0dXJl-_c2lnbmF0dXJl";
        assert_eq!(scrub(&format!("token {jwt}. And (\"{jwt}\")")), "token ***. And (\"***\")");
        assert_eq!(scrub("the keyJob.eyJ ended"), "the keyJob.eyJ ended");
    }

    /// Whatever repeats in a body repeats as often as the sender likes: the reader needs the same stack for
    /// all.
    #[test]
    fn a_body_of_any_length_is_read() {
        for piece in [
            "eyJ,",
            "gAAAAA,",
            "eyJ",
            "token=",
            "token=,",
            "https://",
            "https://u:p@h/",
            "://@",
            "<",
            "<a>",
            "[",
            "{\"error_message\":",
            "\\",
            "é",
        ] {
            let body = piece.repeat(100_000);
            for body in
                [json!({"error_message": body}).to_string(), json!({"faultstring": body}).to_string(), body]
            {
                let said = read(body.as_bytes());
                assert!(said.message.chars().count() <= LONGEST + 1, "{piece}");
            }
        }
    }

    #[test]
    fn a_secret_that_reaches_beyond_what_is_read_is_masked() {
        let long = "s3cret".repeat(SCANNED);
        for text in [
            format!("https://user:{long}@host/"),
            format!("see https://user:{long}@host/"),
            format!("x?temp_url_sig={long}"),
            format!("gAAAAA{long}"),
            format!("eyJ{long}"),
        ] {
            let shown = scrub(&text);
            assert!(!shown.contains("s3cret"), "{}", &shown[..shown.len().min(80)]);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_body_breaks_the_reader(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            proptest::prop_assert!(read(&body).message.chars().count() <= LONGEST + 1);
        }

        #[test]
        fn user_information_never_survives(user in "[a-z]{1,8}", secret in "[A-Z0-9]{8,16}", host in "[a-z]{1,8}") {
            let text = scrub(&format!("failed: http://{user}:{secret}@{host}/path and more"));
            proptest::prop_assert!(!text.contains(&secret), "{}", text);
        }
    }
}
