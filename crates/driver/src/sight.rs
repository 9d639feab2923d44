//! Whether a node that Ironic does not show is gone, or only hidden from us.
//!
//! Where a role, a policy or an endpoint is wrong, or the database is empty, Ironic lists no node and answers 404 to each; its
//! list by `instance_uuid` finds nothing. So an absence is believed only when two lists, some seconds apart, lack the node and
//! show the others that we know.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use openstack::{
    Caller,
    ironic::{Client, NodeQuery},
};
use tokio::time::Instant;
use tracing::error;

use crate::NodeId;

/// How many nodes may be missing from a list in any case, if that is not more than half of them.
const FEW: usize = 3;

/// How long an absence that was seen once counts as the first of two.
const FORGET: Duration = Duration::from_mins(2);

/// How long after an alarm the next one sounds.
const ALARM_PAUSE: Duration = Duration::from_mins(1);

/// Whether a list that lacks `missing` of the `known` nodes is believed: up to a tenth of them or three, whichever is more, and never
/// more than half; or as many as the operator says.
pub fn is_believable(known: usize, missing: usize, operator: Option<usize>) -> bool {
    missing <= operator.unwrap_or_else(|| (known / 10).max(FEW).min(known / 2))
}

/// What the nodes that we know say of those that Ironic does not show.
pub struct Sight {
    /// The time between the two lists that prove an absence.
    pause: Duration,
    known: Mutex<Known>,
    /// The last list, for everybody who needs one at the time.
    list: tokio::sync::Mutex<Option<List>>,
    alarm: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Known {
    /// The nodes that are reported to the control plane as ours; `None`: not known yet.
    nodes: Option<Arc<HashSet<NodeId>>>,
    operator: Option<usize>,
    /// When lists that are believed began to lack a node, and when the last one did.
    absent: HashMap<NodeId, (Instant, Instant)>,
}

#[derive(Clone)]
struct List {
    began: Instant,
    nodes: Arc<HashSet<NodeId>>,
}

/// What a list says of a node that Ironic does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absence {
    /// Two lists that are believed lack it.
    Proven,
    /// One does.
    SeenOnce,
    /// The list has it.
    Refuted,
    /// The list lacks too many others.
    Unbelievable { known: usize, missing: usize },
    /// Which nodes are ours is not known yet.
    Unknown,
}

impl Sight {
    pub(crate) fn new(pause: Duration) -> Self {
        Self { pause, known: Mutex::default(), list: tokio::sync::Mutex::default(), alarm: Mutex::default() }
    }

    /// Takes which nodes are ours, those that Ironic does not show included, and how many may be missing from one list
    /// ([`is_believable`]).
    pub fn know(&self, nodes: HashSet<NodeId>, operator: Option<usize>) {
        let mut known = self.known();
        known.nodes = Some(Arc::new(nodes));
        known.operator = operator;
    }

    /// Whether a node is proven gone that Ironic has just answered 404 for; where it is hidden, an alarm sounds, at most once a
    /// minute for all.
    pub(crate) async fn is_gone(
        &self,
        client: &Client,
        caller: &Caller,
        node: NodeId,
    ) -> Result<bool, openstack::Error> {
        if self.known().nodes.is_none() {
            return Ok(self.conclude(node, Absence::Unknown));
        }
        let list = self.list(client, caller).await?;
        let absence = self.known().judge(node, &list, self.pause);
        Ok(self.conclude(node, absence))
    }

    /// Whether the nodes that we know are shown, so that a look-up which finds none of them means something.
    pub(crate) async fn is_clear(&self, client: &Client, caller: &Caller) -> Result<bool, openstack::Error> {
        let Some(known) = self.known().nodes.clone() else { return Ok(false) };
        if known.is_empty() {
            return Ok(true);
        }
        let list = self.list(client, caller).await?;
        let missing = known.iter().filter(|node| !list.nodes.contains(node)).count();
        let clear = is_believable(known.len(), missing, self.known().operator);
        if !clear && self.alarm_is_due() {
            let known = known.len();
            error!(
                known,
                missing,
                "Ironic does not show the nodes that are ours, so that nothing it does not find is taken for gone; check the \
                 roles of the user in [ironic], Ironic's policy, its endpoint and its database; the operation waits"
            );
        }
        Ok(clear)
    }

    fn conclude(&self, node: NodeId, absence: Absence) -> bool {
        match absence {
            Absence::Proven => return true,
            Absence::SeenOnce | Absence::Refuted => {}
            Absence::Unbelievable { known, missing } => {
                if self.alarm_is_due() {
                    error!(
                        %node,
                        known,
                        missing,
                        "Ironic does not show the node, nor others that are ours, so that it is not taken for gone; check the \
                         roles of the user in [ironic], Ironic's policy, its endpoint and its database; the operation waits"
                    );
                }
            }
            Absence::Unknown => {
                if self.alarm_is_due() {
                    error!(
                        %node,
                        "Ironic does not show the node, and which nodes are ours is not known before the first report; the operation waits"
                    );
                }
            }
        }
        false
    }

    /// A list of all nodes, by their ids; one that was made a moment ago serves everybody.
    async fn list(&self, client: &Client, caller: &Caller) -> Result<List, openstack::Error> {
        let mut last = self.list.lock().await;
        if let Some(list) = last.as_ref().filter(|list| list.began.elapsed() < self.pause / 2) {
            return Ok(list.clone());
        }
        let began = Instant::now();
        let query = NodeQuery { fields: &["uuid"], ..NodeQuery::default() };
        let nodes = client.nodes(caller, &query).await?.iter().map(|node| node.uuid).collect();
        Ok(last.insert(List { began, nodes: Arc::new(nodes) }).clone())
    }

    fn alarm_is_due(&self) -> bool {
        let mut last = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= ALARM_PAUSE);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn judge(&mut self, node: NodeId, list: &List, pause: Duration) -> Absence {
        let Some(nodes) = &self.nodes else { return Absence::Unknown };
        self.absent.retain(|_, (_, until)| until.elapsed() < FORGET);
        if list.nodes.contains(&node) {
            self.absent.remove(&node);
            return Absence::Refuted;
        }
        let known = nodes.len() + usize::from(!nodes.contains(&node));
        let missing = known - nodes.iter().filter(|node| list.nodes.contains(node)).count();
        if !is_believable(known, missing, self.operator) {
            self.absent.remove(&node);
            return Absence::Unbelievable { known, missing };
        }
        let (since, until) = self.absent.entry(node).or_insert((list.began, list.began));
        *until = list.began.max(*until);
        if *until - *since >= pause { Absence::Proven } else { Absence::SeenOnce }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    fn nodes(range: std::ops::Range<u128>) -> HashSet<NodeId> {
        range.map(|n| NodeId(Uuid::from_u128(n))).collect()
    }

    fn list(range: std::ops::Range<u128>) -> List {
        List { began: Instant::now(), nodes: Arc::new(nodes(range)) }
    }

    fn known(range: std::ops::Range<u128>) -> Known {
        Known { nodes: Some(Arc::new(nodes(range))), ..Known::default() }
    }

    const GONE: NodeId = NodeId(Uuid::from_u128(0));

    #[test]
    fn a_list_may_lack_a_few_or_a_tenth_and_never_more_than_half() {
        for (known, most) in [(0, 0), (1, 0), (2, 1), (3, 1), (5, 2), (6, 3), (30, 3), (100, 10), (5000, 500)]
        {
            assert!(is_believable(known, most, None), "{most} of {known}");
            assert!(!is_believable(known, most + 1, None), "{} of {known}", most + 1);
        }
    }

    #[test]
    fn an_operator_says_how_many() {
        assert!(is_believable(40, 40, Some(40)));
        assert!(!is_believable(1000, 6, Some(5)));
        assert!(!is_believable(1000, 1, Some(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_absence_is_proven_by_two_lists_that_show_the_others() {
        let mut known = known(0..10);
        assert_eq!(known.judge(GONE, &list(1..10), PAUSE), Absence::SeenOnce);
        assert_eq!(known.judge(GONE, &list(1..10), PAUSE), Absence::SeenOnce, "at the same moment");
        tokio::time::advance(PAUSE).await;
        assert_eq!(known.judge(GONE, &list(1..10), PAUSE), Absence::Proven);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_without_the_others_or_with_the_node_begins_it_anew() {
        for (shown, verdict) in
            [(0..0, Absence::Unbelievable { known: 10, missing: 10 }), (0..10, Absence::Refuted)]
        {
            let mut known = known(0..10);
            known.judge(GONE, &list(1..10), PAUSE);
            tokio::time::advance(PAUSE).await;
            assert_eq!(known.judge(GONE, &list(shown), PAUSE), verdict);
            assert_eq!(known.judge(GONE, &list(1..10), PAUSE), Absence::SeenOnce);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_absence_that_was_seen_long_ago_proves_nothing() {
        let mut known = known(0..10);
        known.judge(GONE, &list(1..10), PAUSE);
        tokio::time::advance(FORGET).await;
        assert_eq!(known.judge(GONE, &list(1..10), PAUSE), Absence::SeenOnce);
    }

    #[tokio::test(start_paused = true)]
    async fn the_only_node_is_never_proven_gone_and_nothing_is_before_the_first_report() {
        let mut only = known(0..1);
        assert_eq!(only.judge(GONE, &list(5..9), PAUSE), Absence::Unbelievable { known: 1, missing: 1 });
        assert_eq!(Known::default().judge(GONE, &list(1..10), PAUSE), Absence::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_was_never_reported_counts_among_the_known() {
        let mut known = known(1..2);
        assert_eq!(known.judge(GONE, &list(1..2), PAUSE), Absence::SeenOnce);
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_sounds_once_a_minute_for_all() {
        let sight = Sight::new(PAUSE);
        assert!(sight.alarm_is_due());
        assert!(!sight.alarm_is_due());
        tokio::time::advance(ALARM_PAUSE).await;
        assert!(sight.alarm_is_due());
    }
}
