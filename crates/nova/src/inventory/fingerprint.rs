//! What is remembered of a record's fields: enough to see which of them differ, at eight bytes each.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::inventory::books::RecordFields;

/// The hashes of the fields that a record is known to have. Two values of one field whose 64-bit hashes are equal would be
/// taken for the same; with a hash of this quality that does not happen in the life of a cloud.
#[derive(Debug, Default)]
pub struct Fingerprint(Box<[u64]>);

impl Fingerprint {
    pub fn of(fields: &RecordFields) -> Self {
        let mut hashes: Box<[u64]> = fields.iter().map(hash).collect();
        hashes.sort_unstable();
        Self(hashes)
    }

    /// What differs between the fields that are wanted and those that are known.
    pub fn changed(&self, wanted: &RecordFields) -> RecordFields {
        let is_new = |field: &(&String, &serde_json::Value)| self.0.binary_search(&hash(*field)).is_err();
        wanted.iter().filter(is_new).map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// The order of the keys in an object does not matter.
fn hash(field: (&String, &serde_json::Value)) -> u64 {
    let mut hasher = DefaultHasher::new();
    field.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inventory::Usage;
    use crate::inventory::testing::{node, rules};
    use crate::inventory::wanted::record;

    #[test]
    fn only_what_differs_is_written() {
        let known = Fingerprint::of(&record(&node(), &Usage::default(), 0, &rules(), true));
        assert!(known.changed(&record(&node(), &Usage::default(), 0, &rules(), false)).is_empty());
        let more = record(&node(), &Usage { vcpus: 2, ..Usage::default() }, 0, &rules(), false);
        assert_eq!(known.changed(&more).into_keys().collect::<Vec<_>>(), ["vcpus_used"]);
    }

    #[test]
    fn the_order_of_statistics_does_not_matter_and_equal_values_of_two_fields_are_two() {
        let known = Fingerprint::of(&RecordFields::from([("stats".to_owned(), json!({"a": "1", "b": "2"}))]));
        let reordered = RecordFields::from([("stats".to_owned(), json!({"b": "2", "a": "1"}))]);
        assert!(known.changed(&reordered).is_empty());
        let elsewhere = RecordFields::from([("metrics".to_owned(), json!({"a": "1", "b": "2"}))]);
        assert_eq!(known.changed(&elsewhere).len(), 1);
    }
}
