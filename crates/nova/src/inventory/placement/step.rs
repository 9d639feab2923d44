//! What a provider needs next: from what Placement is known to have and what is wanted. Pure.

use super::super::Wanted;
use super::super::books::KnownProvider;

/// One request, or two reads at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is no provider.
    Create,
    /// There is one and we do not know what it has.
    Read,
    /// Its inventory differs; to be written over this generation.
    PutInventory(i64),
    /// Its traits differ; to be written over this generation.
    PutTraits(i64),
    /// Nothing differs.
    Done,
}

impl Step {
    /// For logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::PutInventory(_) => "inventory",
            Self::PutTraits(_) => "traits",
            Self::Done => "done",
        }
    }
}

/// The next step. The inventory goes before the traits: a node that must not be booked is not bookable for the time of a
/// request.
pub fn next(wanted: &Wanted, known: Option<&KnownProvider>, exists: bool) -> Step {
    match known {
        None if exists => Step::Read,
        None => Step::Create,
        Some(known) if known.inventory != wanted.inventory => Step::PutInventory(known.generation),
        Some(known) if known.traits != wanted.traits => Step::PutTraits(known.generation),
        Some(_) => Step::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{known, wanted};
    use super::*;

    #[test]
    fn a_provider_is_made_or_read_before_it_is_compared() {
        assert_eq!(next(&wanted(false), None, false), Step::Create);
        assert_eq!(next(&wanted(false), None, true), Step::Read);
    }

    #[test]
    fn only_what_differs_is_written_the_inventory_first() {
        let mut have = known(&wanted(false), 7);
        assert_eq!(next(&wanted(false), Some(&have), true), Step::Done);
        have.traits.insert("CUSTOM_BY_HAND".into());
        assert_eq!(next(&wanted(false), Some(&have), true), Step::PutTraits(7));
        assert_eq!(next(&wanted(true), Some(&have), true), Step::PutInventory(7));
    }
}
