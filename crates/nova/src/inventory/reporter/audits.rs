//! When what is known is held against the control plane's own lists.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::claims::Claims;
use compute::ports;

/// The longest time for which a record is believed to be ours. Another service may take it while we are taken for dead, and
/// nothing tells us (stock reads its records in each period).
const RECORDS: Duration = Duration::from_mins(5);

/// What is remembered from report to report.
#[derive(Debug, Default)]
pub(super) struct Audits {
    /// When the records were last listed.
    pub records: Option<Instant>,
    /// When the providers were last listed.
    pub providers: Option<Instant>,
    /// What is remembered of allocations that keep free nodes from everybody.
    pub(super) claims: Claims,
    /// Who shared the nodes with us in the last report.
    members: BTreeSet<String>,
    /// The members changed in the last report: they may have taken records since.
    unsettled: bool,
}

impl Audits {
    /// Whether to list the records: at the first report, in the operator's interval and at least every five minutes, and in
    /// the two reports after services came or went.
    pub fn records_are_due(&mut self, interval: Option<Duration>, members: BTreeSet<String>) -> bool {
        let changed = self.records.is_some() && self.members != members;
        self.members = members;
        let was_unsettled = std::mem::replace(&mut self.unsettled, changed);
        let interval = interval.map_or(RECORDS, |interval| interval.min(RECORDS));
        changed || was_unsettled || self.records.is_none_or(|last| last.elapsed() >= interval)
    }

    /// Whether to list the providers: at the first report, and in the operator's interval if there is one.
    pub fn providers_are_due(&self, interval: Option<Duration>) -> bool {
        self.providers.is_none_or(|last| interval.is_some_and(|interval| last.elapsed() >= interval))
    }

    /// The records could not be listed: an error at the first report; later they are listed in the next one.
    pub fn records_failed(&mut self, error: ports::Error) -> ports::Result<()> {
        self.unsettled = true;
        tolerate(self.records, "records", error)
    }

    /// The providers could not be listed: an error at the first report; later they are listed in the next one.
    pub fn providers_failed(&self, error: ports::Error) -> ports::Result<()> {
        tolerate(self.providers, "providers", error)
    }
}

fn tolerate(last: Option<Instant>, what: &str, error: ports::Error) -> ports::Result<()> {
    if last.is_none() {
        return Err(error);
    }
    tracing::warn!(%error, what, "the control plane's list failed; the report goes on with what is known");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Audits whose lists were just made, with ourselves alone.
    fn fresh() -> Audits {
        let now = Some(Instant::now());
        Audits { records: now, providers: now, ..Audits { members: members(&["own"]), ..Audits::default() } }
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_listed_again_after_five_minutes_whatever_the_operator_chose_for_providers() {
        let mut audits = fresh();
        tokio::time::advance(Duration::from_secs(299)).await;
        assert!(!audits.records_are_due(None, members(&["own"])));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(audits.records_are_due(None, members(&["own"])));
        assert!(!audits.providers_are_due(None));
        assert!(audits.providers_are_due(Some(RECORDS)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_came_or_went_has_the_records_listed_twice() {
        let mut audits = fresh();
        assert!(audits.records_are_due(None, members(&["own", "peer"])));
        assert!(audits.records_are_due(None, members(&["own", "peer"])));
        assert!(!audits.records_are_due(None, members(&["own", "peer"])));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_fails_stops_only_the_first_report() {
        let lost = || ports::Error::Unavailable("away".to_owned());
        assert!(Audits::default().records_failed(lost()).is_err());
        let mut audits = fresh();
        assert!(audits.providers_failed(lost()).is_ok());
        assert!(audits.records_failed(lost()).is_ok());
        assert!(audits.records_are_due(None, members(&["own"])), "it is made in the next report");
    }
}
