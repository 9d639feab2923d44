//! The long-lived parts of the service: in which order they stop, and what happens when one ends by itself.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long all parts together may take to stop. They may wait for one that has failed, or for a broker that cannot be reached;
/// the next start resumes what has not ended then.
const LAST: Duration = Duration::from_secs(40);

/// Parts that stop together.
pub struct Stage {
    stop: CancellationToken,
    tasks: TaskTracker,
    lost: mpsc::UnboundedSender<&'static str>,
}

impl Stage {
    fn new(lost: &mpsc::UnboundedSender<&'static str>) -> Self {
        Self { stop: CancellationToken::new(), tasks: TaskTracker::new(), lost: lost.clone() }
    }

    /// Cancelled when the parts are to stop.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Runs a part, which ends when the token it gets is cancelled and not before.
    pub fn run<F>(&self, name: &'static str, part: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (part, stop, lost) = (part(self.stop.clone()), self.stop.clone(), self.lost.clone());
        self.tasks.spawn(async move {
            // In a task of its own, so that a panic ends there.
            let ended = tokio::spawn(part).await;
            if let Err(error) = &ended {
                tracing::error!(part = name, %error, "a part of the service failed");
            } else if !stop.is_cancelled() {
                tracing::error!(part = name, "a part of the service ended unexpectedly");
            }
            if !stop.is_cancelled() {
                // The receiver is gone when the service is stopping already.
                let _ = lost.send(name);
            }
        });
    }

    async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Every part, by the order in which they stop.
pub struct Parts {
    /// What takes requests.
    pub requests: Stage,
    /// What works; it stops where it stands.
    pub work: Stage,
    /// What tells of the work: it has something to say until that has ended.
    pub notifications: Stage,
    /// What carries answers and notifications.
    pub bus: Stage,
}

impl Parts {
    /// No parts yet, and the names of those that will have ended before they were asked to.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<&'static str>) {
        let (lost, names) = mpsc::unbounded_channel();
        let stage = || Stage::new(&lost);
        (Self { requests: stage(), work: stage(), notifications: stage(), bus: stage() }, names)
    }

    /// Stops all parts, after `rest` has ended, which stops with the work.
    pub async fn end(&self, rest: impl Future<Output = ()>) {
        if tokio::time::timeout(LAST, self.end_in_order(rest)).await.is_err() {
            tracing::error!(seconds = LAST.as_secs(), "some parts did not stop in time and are cut off");
        }
    }

    async fn end_in_order(&self, rest: impl Future<Output = ()>) {
        self.requests.stop.cancel();
        self.work.stop.cancel();
        rest.await;
        for stage in [&self.requests, &self.work, &self.notifications, &self.bus] {
            stage.end().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_panics_or_ends_is_named_and_the_others_can_be_stopped() {
        let (parts, mut lost) = Parts::new();
        parts.work.run("good", |stop| async move { stop.cancelled().await });
        parts.work.run("panics", |_| async { panic!("on purpose") });
        assert_eq!(lost.recv().await, Some("panics"));
        parts.bus.run("ends", |_| async {});
        assert_eq!(lost.recv().await, Some("ends"));
        parts.end(async {}).await;
        assert!(lost.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_tells_of_the_work_stops_after_it_and_the_bus_last() {
        let (parts, _lost) = Parts::new();
        let (ended, mut order) = mpsc::unbounded_channel();
        for (stage, name) in
            [(&parts.bus, "bus"), (&parts.notifications, "notifications"), (&parts.work, "work")]
        {
            let ended = ended.clone();
            stage.run(name, |stop| async move {
                stop.cancelled().await;
                ended.send(name).unwrap();
            });
        }
        parts.end(async {}).await;
        for name in ["work", "notifications", "bus"] {
            assert_eq!(order.try_recv().unwrap(), name);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn parts_that_wait_for_one_that_is_gone_do_not_keep_the_process() {
        let (parts, _lost) = Parts::new();
        parts.work.run("stuck", |_| std::future::pending());
        parts.end(async {}).await;
    }
}
