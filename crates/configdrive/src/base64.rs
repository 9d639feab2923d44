//! Base64 as users send it: whatever Python's `base64.b64decode` takes, since nova-api takes that.
//!
//! Facts: `binascii.a2b_base64` of CPython, without its strict mode. Characters that are not of the alphabet
//! are skipped, line breaks among them; bits behind the last whole byte are dropped; what stands behind a
//! complete padding is ignored.

/// Why a text cannot be decoded. Nothing of the text is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBase64 {
    /// Python refuses such a text before it looks at it.
    #[error("there are characters beyond ASCII in it")]
    NotAscii,
    /// It ends inside a group of four characters.
    #[error("its end is missing")]
    Truncated,
}

/// Decodes what a user sent as base64 (user data, the contents of a file).
pub fn decode_base64(text: &str) -> Result<Vec<u8>, NotBase64> {
    if !text.is_ascii() {
        return Err(NotBase64::NotAscii);
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    // What is read of a group: how many characters, those bits of theirs that are in no byte yet, padding.
    let (mut read, mut left, mut padding) = (0, 0, 0);
    for character in text.bytes() {
        if character == b'=' {
            if read >= 2 {
                padding += 1;
                if read + padding == 4 {
                    return Ok(bytes);
                }
            }
            continue;
        }
        let Some(value) = value(character) else { continue };
        padding = 0;
        match read {
            0 => {}
            1 => bytes.push(left << 2 | value >> 4),
            2 => bytes.push(left << 4 | value >> 2),
            _ => bytes.push(left << 6 | value),
        }
        left = value;
        read = (read + 1) % 4;
    }
    if read == 0 { Ok(bytes) } else { Err(NotBase64::Truncated) }
}

/// The six bits that a character of the alphabet stands for.
fn value(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}
