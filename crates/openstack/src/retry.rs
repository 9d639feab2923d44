//! Whether and when a failed request is sent again. Pure: no clock, no randomness.
//!
//! keystoneauth's options keep their meaning: `connect_retries` repeats any request that could not be
//! connected, `status_code_retries` any request answered with one of `retriable_status_codes` (503 where none
//! are given); the delays double from 0.5 s up to 60 s unless a fixed one is configured. Beside these, what
//! may safely be asked twice is: a few times after a lost connection, 502, 503 or 504, and everything after a
//! failed connect.

use std::time::Duration;

/// First delay of the doubling ones (keystoneauth `_Retries`).
const FIRST: Duration = Duration::from_millis(500);
/// Longest delay (keystoneauth `_MAX_RETRY_INTERVAL`).
const LONGEST: Duration = Duration::from_mins(1);
/// Retries that we make on our own account.
const OURS: u32 = 3;

/// The rule of an adapter.
#[derive(Clone, Debug, Default)]
pub struct RetryOptions {
    /// `connect_retries`; 3 where not configured.
    pub connect_retries: Option<u32>,
    /// `connect_retry_delay`; doubling from 0.5 s where not configured.
    pub connect_retry_delay: Option<Duration>,
    /// `status_code_retries` for every request; where not configured, only idempotent requests are repeated,
    /// 3 times.
    pub status_code_retries: Option<u32>,
    /// `status_code_retry_delay`; doubling from 0.5 s where not configured.
    pub status_code_retry_delay: Option<Duration>,
    /// `retriable_status_codes`; 503 where empty.
    pub retriable_status_codes: Vec<u16>,
}

/// What happened to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Not connected; nothing was sent.
    NoConnection,
    /// Sent, and the connection broke.
    Lost,
    /// Answered.
    Status(u16),
}

/// The retries of one request.
#[derive(Debug)]
pub(crate) struct Retries<'a> {
    options: &'a RetryOptions,
    idempotent: bool,
    also: &'static [u16],
    connects: u32,
    statuses: u32,
}

impl<'a> Retries<'a> {
    pub(crate) fn new(options: &'a RetryOptions, idempotent: bool, also: &'static [u16]) -> Self {
        Self { options, idempotent, also, connects: 0, statuses: 0 }
    }

    /// How long to wait before the next attempt; `None` to give up.
    pub(crate) fn next(&mut self, outcome: Outcome) -> Option<Duration> {
        match outcome {
            Outcome::NoConnection => self.connect(),
            Outcome::Lost => self.idempotent.then(|| self.connect())?,
            Outcome::Status(status) => {
                let configured = if self.options.retriable_status_codes.is_empty() {
                    status == 503
                } else {
                    self.options.retriable_status_codes.contains(&status)
                };
                let ours = self.idempotent && (matches!(status, 502..=504) || self.also.contains(&status));
                let most = match (self.options.status_code_retries, configured) {
                    (Some(retries), true) if ours => retries.max(OURS),
                    (Some(retries), true) => retries,
                    _ if ours => OURS,
                    _ => 0,
                };
                if self.statuses >= most {
                    return None;
                }
                self.statuses += 1;
                Some(delay(self.options.status_code_retry_delay, self.statuses))
            }
        }
    }

    fn connect(&mut self) -> Option<Duration> {
        if self.connects >= self.options.connect_retries.unwrap_or(OURS) {
            return None;
        }
        self.connects += 1;
        Some(delay(self.options.connect_retry_delay, self.connects))
    }
}

fn delay(fixed: Option<Duration>, nth: u32) -> Duration {
    fixed.unwrap_or_else(|| {
        let factor = 2_u32.checked_pow(nth.saturating_sub(1)).unwrap_or(u32::MAX);
        FIRST.saturating_mul(factor).min(LONGEST)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(options: &RetryOptions, idempotent: bool, outcome: Outcome) -> Vec<u64> {
        let mut retries = Retries::new(options, idempotent, &[]);
        std::iter::from_fn(|| retries.next(outcome))
            .take(20)
            .map(|delay| u64::try_from(delay.as_millis()).unwrap())
            .collect()
    }

    #[test]
    fn a_failed_connect_is_repeated_whatever_the_request() {
        let options = RetryOptions::default();
        assert_eq!(all(&options, false, Outcome::NoConnection), [500, 1000, 2000]);
        let none = RetryOptions { connect_retries: Some(0), ..options };
        assert_eq!(all(&none, true, Outcome::NoConnection), [0_u64; 0]);
    }

    #[test]
    fn a_lost_connection_is_repeated_only_where_it_does_no_harm() {
        let options = RetryOptions::default();
        assert_eq!(all(&options, false, Outcome::Lost).len(), 0);
        assert_eq!(all(&options, true, Outcome::Lost).len(), 3);
    }

    #[test]
    fn statuses_are_repeated_as_configured_for_all_and_by_default_for_idempotent_requests() {
        let options = RetryOptions::default();
        assert_eq!(all(&options, true, Outcome::Status(504)).len(), 3);
        assert_eq!(all(&options, true, Outcome::Status(500)).len(), 0);
        assert_eq!(all(&options, false, Outcome::Status(503)).len(), 0);
        let configured = RetryOptions {
            status_code_retries: Some(5),
            status_code_retry_delay: Some(Duration::from_secs(2)),
            retriable_status_codes: vec![503, 409],
            ..options
        };
        assert_eq!(all(&configured, false, Outcome::Status(409)), [2000; 5]);
        assert_eq!(all(&configured, false, Outcome::Status(502)).len(), 0);
        let mut also = Retries::new(&configured, true, &[500]);
        assert!(also.next(Outcome::Status(500)).is_some());
    }

    #[test]
    fn delays_double_up_to_a_minute() {
        let many = RetryOptions { connect_retries: Some(10), ..RetryOptions::default() };
        let delays = all(&many, false, Outcome::NoConnection);
        assert_eq!(delays[6], 32_000);
        assert_eq!(delays[9], 60_000);
    }
}
