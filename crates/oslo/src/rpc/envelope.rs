//! The envelope of a message body: a JSON object that holds the message as JSON *text*, or the bare message
//! of older senders.

use std::io::Read;

use serde_json::{Map, Value, json};

const VERSION: &str = "oslo.version";
const MESSAGE: &str = "oslo.message";

/// The largest body a compressed message may unfold to, in bytes: far above any request, far below what would
/// hurt.
const UNFOLDED_LIMIT: u64 = 64 << 20;

/// A body that is no message. Says why, never what stood there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON, or not a JSON object, at one of the two levels.
    #[error("the {0} is not a JSON object")]
    NotAnObject(&'static str),
    /// An envelope of another major version than 2.
    #[error("the envelope has version {0:?}; 2.x is understood")]
    Version(String),
    /// Compressed in a way that is not understood (`kombu/compression.py` knows bzip2, lzma, brotli and zstd
    /// too).
    #[error(
        "the body is compressed as {0:?}, and only gzip is understood: set [oslo_messaging_rabbit] \
         kombu_compression of its sender to gzip, or unset it"
    )]
    Compression(String),
    /// Not the compressed body that it is said to be, or one far too large.
    #[error("the compressed body cannot be unfolded")]
    Damaged,
}

/// Wraps a message as oslo.messaging does: `{"oslo.version": "2.0", "oslo.message": "<JSON text>"}`.
pub(crate) fn wrap(message: &Map<String, Value>) -> Vec<u8> {
    json!({VERSION: "2.0", MESSAGE: bare(message)}).to_string().into_bytes()
}

/// A message without envelope (the notification driver `messaging`).
pub(crate) fn bare(message: &Map<String, Value>) -> String {
    // A map of strings to values always has a JSON text.
    serde_json::to_string(message).unwrap_or_default()
}

/// Reads a message from a body, enveloped or bare.
pub(crate) fn unwrap(body: &[u8]) -> Result<Map<String, Value>, EnvelopeError> {
    let mut outer = object(body, "body")?;
    let (Some(version), Some(message)) = (outer.get(VERSION), outer.get(MESSAGE)) else { return Ok(outer) };
    let version = version.as_str().map(str::to_owned).unwrap_or_default();
    if version.split('.').next() != Some("2") {
        return Err(EnvelopeError::Version(version.chars().take(16).collect()));
    }
    match message {
        Value::String(text) => object(text.as_bytes(), "message"),
        Value::Object(_) => match outer.remove(MESSAGE) {
            Some(Value::Object(message)) => Ok(message),
            _ => Err(EnvelopeError::NotAnObject("message")),
        },
        _ => Err(EnvelopeError::NotAnObject("message")),
    }
}

/// Unfolds a body that kombu compressed (`kombu_compression = gzip`, in truth a zlib stream).
pub(crate) fn unfold(body: &[u8], compression: Option<&str>) -> Result<Vec<u8>, EnvelopeError> {
    match compression {
        None => Ok(body.to_vec()),
        Some("application/x-gzip") => {
            let mut unfolded = Vec::new();
            let read = flate2::read::ZlibDecoder::new(body).take(UNFOLDED_LIMIT).read_to_end(&mut unfolded);
            match read {
                Ok(size) if (size as u64) < UNFOLDED_LIMIT => Ok(unfolded),
                _ => Err(EnvelopeError::Damaged),
            }
        }
        Some(other) => Err(EnvelopeError::Compression(other.chars().take(32).collect())),
    }
}

fn object(text: &[u8], what: &'static str) -> Result<Map<String, Value>, EnvelopeError> {
    serde_json::from_slice(text).map_err(|_| EnvelopeError::NotAnObject(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn the_message_inside_is_text() {
        let message = json!({"method": "ping"}).as_object().unwrap().clone();
        let body: Value = serde_json::from_slice(&wrap(&message)).unwrap();
        assert_eq!(body["oslo.version"], "2.0");
        assert_eq!(body["oslo.message"], "{\"method\":\"ping\"}");
        assert_eq!(unwrap(&wrap(&message)).unwrap(), message);
    }

    #[test]
    fn a_bare_message_is_accepted() {
        assert_eq!(unwrap(b"{\"method\": \"m\"}").unwrap()["method"], "m");
        assert_eq!(unwrap(b"{\"oslo.message\": \"x\"}").unwrap()["oslo.message"], "x");
    }

    #[test]
    fn another_major_version_is_refused() {
        let body = json!({VERSION: "3.0", MESSAGE: "{}"}).to_string();
        assert_eq!(unwrap(body.as_bytes()), Err(EnvelopeError::Version("3.0".into())));
    }

    #[test]
    fn kombus_gzip_is_zlib() {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"{}").unwrap();
        assert_eq!(unfold(&encoder.finish().unwrap(), Some("application/x-gzip")), Ok(b"{}".to_vec()));
        assert_eq!(unfold(b"junk", Some("application/x-gzip")), Err(EnvelopeError::Damaged));
    }

    #[test]
    fn a_compression_that_is_not_understood_is_named_with_the_remedy() {
        let error = unfold(b"junk", Some("application/x-bz2")).unwrap_err().to_string();
        assert!(error.contains("application/x-bz2") && error.contains("kombu_compression"), "{error}");
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..64), text in ".{0,32}") {
            let _ = unwrap(&body);
            let _ = unwrap(json!({VERSION: "2.0", MESSAGE: text}).to_string().as_bytes());
        }
    }
}
