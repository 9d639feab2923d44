//! The decoder of what users send, against Python's answers (`fixtures/python_base64.py` makes the table).

use configdrive::decode_base64;

#[test]
fn every_text_is_decoded_as_python_does() {
    let table: Vec<(String, Option<String>)> =
        serde_json::from_str(include_str!("fixtures/python_base64.json")).unwrap();
    assert!(table.len() > 300);
    for (text, expected) in table {
        let decoded = decode_base64(&text).ok().map(|bytes| hexadecimal(&bytes));
        assert_eq!(decoded, expected, "{text:?}");
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
