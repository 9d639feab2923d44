//! The server of a topic: takes requests, has them admitted, acknowledges, has them done, answers.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::consume::{Subscription, Taken, Until};
use super::request::fresh_id;
use super::seen::Seen;
use super::topology::{NameTooLong, Queue};
use super::work::Work;
use super::{Endpoint, Error, ServerOptions, Transport};

/// Serves one topic: the queue shared by its servers, this server's own queue, and fanouts.
pub struct Server {
    work: Arc<Work>,
    queues: [Queue; 3],
    ready: [watch::Sender<bool>; 3],
}

impl Server {
    /// A server that does nothing until [`run`](Self::run). Fails when a name is too long for AMQP.
    pub fn new(
        transport: Transport,
        options: ServerOptions,
        endpoint: Arc<dyn Endpoint>,
    ) -> Result<Self, Error> {
        let rabbit = transport.options();
        let queues = || -> Result<[Queue; 3], NameTooLong> {
            Ok([
                rabbit.topic_queue(&options.topic)?,
                rabbit.topic_queue(&format!("{}.{}", options.topic, options.server))?,
                rabbit.fanout_queue(&options.topic, &fresh_id())?,
            ])
        };
        let queues = queues().map_err(|error| Error::option("host", error.to_string()))?;
        let ready = std::array::from_fn(|_| watch::Sender::new(false));
        Ok(Self {
            work: Arc::new(Work { transport, options, endpoint, seen: Seen::default() }),
            queues,
            ready,
        })
    }

    /// Waits until all queues are being consumed: requests sent from now on arrive.
    pub async fn ready(&self) {
        for ready in &self.ready {
            // The sender lives as long as this server: waiting cannot fail.
            let _ = ready.subscribe().wait_for(|ready| *ready).await;
        }
    }

    /// Serves until the shutdown; then takes no more, and waits for what is under way, no longer than
    /// `drain`. The transport must run longer than this, else answers are lost.
    pub async fn run(&self, shutdown: CancellationToken) {
        let options = &self.work.options;
        let until = Until { stop: shutdown.clone(), settled: CancellationToken::new() };
        let (sink, taken) = mpsc::channel(1);
        tokio::join!(
            self.consume(0, &until, sink.clone()),
            self.consume(1, &until, sink.clone()),
            self.consume(2, &until, sink),
            self.work_off(taken, &until),
        );
        info!(topic = %options.topic, "RPC server stopped");
    }

    async fn consume(&self, at: usize, until: &Until, sink: mpsc::Sender<Taken>) {
        let transport = &self.work.transport;
        let prefetch = match transport.options().rabbit_qos_prefetch_count {
            0 => self.work.options.concurrency,
            prefetch => prefetch,
        };
        let subscription = Subscription { queue: self.queues[at].clone(), prefetch };
        subscription.run(&transport.0.listener, until, &self.ready[at], sink).await;
    }

    /// Works on what the consumers hand over; each request in a task of its own.
    async fn work_off(&self, mut taken: mpsc::Receiver<Taken>, until: &Until) {
        let concurrency = usize::from(self.work.options.concurrency.max(1));
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = until.stop.cancelled() => break,
                Some(_) = tasks.join_next() => {}
                Some(delivery) = taken.recv(), if tasks.len() < concurrency => {
                    tasks.spawn(Arc::clone(&self.work).take(delivery));
                }
            }
        }
        taken.close();
        while let Some(delivery) = taken.recv().await {
            delivery.give_back().await;
        }
        let drained = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(self.work.options.drain, drained).await.is_err() {
            warn!(
                topic = %self.work.options.topic,
                requests = tasks.len(),
                "requests were still running when the time to finish them was over"
            );
            tasks.shutdown().await;
        }
        until.settled.cancel();
    }
}
