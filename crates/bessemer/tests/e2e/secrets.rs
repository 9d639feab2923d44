//! Marked secrets, and the search for them in whatever form they may have got out.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What every secret of a test contains.
const MARK: &str = "CANARY";

/// The secrets of one test.
pub struct Secrets {
    run: String,
    /// Secrets that are not marked themselves: what others made of them.
    kept: Mutex<BTreeSet<String>>,
}

impl Secrets {
    pub fn new() -> Self {
        let run = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        Self { run, kept: Mutex::default() }
    }

    /// A secret that names the place it is in.
    pub fn of(&self, place: &str) -> String {
        format!("{MARK}-{place}-{}", self.run)
    }

    /// Takes a text as a secret, too.
    pub fn keep(&self, text: &str) {
        self.kept.lock().unwrap().insert(text.to_owned());
    }

    /// The secrets that a text shows, each with what stands around it.
    pub fn shown_in(&self, text: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(text);
        let kept = self.kept.lock().unwrap();
        let forms = forms(MARK).into_iter().chain(kept.iter().cloned());
        forms.flat_map(|form| around(&text, &form)).collect()
    }
}

/// A text as it is, in base64 wherever it stands in what was encoded, in hexadecimal, and as a list of bytes.
fn forms(text: &str) -> Vec<String> {
    let mut forms = vec![text.to_owned()];
    for before in 0..3 {
        let encoded = STANDARD.encode([&vec![0; before], text.as_bytes()].concat());
        // Only the letters that hold nothing but the text's own bits.
        forms.push(encoded[(before * 8).div_ceil(6)..(before + text.len()) * 8 / 6].to_owned());
    }
    let hex = text.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    forms.extend([hex.to_uppercase(), hex]);
    forms.push(text.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", "));
    forms
}

/// The first places where a form stands.
fn around(text: &str, form: &str) -> Vec<String> {
    let cut = |at: usize| {
        let (mut from, mut to) = (at.saturating_sub(150), (at + 150).min(text.len()));
        while !text.is_char_boundary(from) {
            from -= 1;
        }
        while !text.is_char_boundary(to) {
            to += 1;
        }
        text[from..to].to_owned()
    };
    text.match_indices(form).take(3).map(|(at, _)| cut(at)).collect()
}

#[test]
fn a_secret_is_found_in_every_form() {
    let secrets = Secrets::new();
    let secret = secrets.of("place");
    for before in ["", "a", "ab", "abc"] {
        let encoded = STANDARD.encode(format!("{before}{secret}"));
        assert_eq!(secrets.shown_in(encoded.as_bytes()).len(), 1, "{encoded}");
    }
    assert!(!secrets.shown_in(format!("{:?}", secret.as_bytes()).as_bytes()).is_empty());
    secrets.keep("H4sI");
    assert_eq!(secrets.shown_in(b"configdrive=H4sIAAA"), ["configdrive=H4sIAAA"]);
    assert!(secrets.shown_in(b"password=***").is_empty());
}
