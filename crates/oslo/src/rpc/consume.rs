//! Consuming a queue for as long as wanted: declared, consumed, and both again whenever the broker took it
//! away.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
    QueueDeleteOptions,
};
use lapin::types::ShortString;
use lapin::{Channel, Consumer};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::link::{Link, Session};
use super::topology::{self, Queue};

/// Pause before a queue is declared again that the broker refused or took away.
const AGAIN: Duration = Duration::from_secs(1);

/// How long the broker has to confirm the end of a consumer.
const FAREWELL: Duration = Duration::from_secs(5);

/// What is consumed.
pub(super) struct Subscription {
    pub queue: Queue,
    /// Deliveries ahead of their acknowledgement; 0: no limit.
    pub prefetch: u16,
}

/// A delivery, and the connection it belongs to: what is said to a dead connection is never answered.
pub(super) struct Taken {
    pub delivery: Delivery,
    lost: CancellationToken,
}

impl Taken {
    /// Tells the broker that the message is ours now. When the connection is lost meanwhile, the broker
    /// delivers it again.
    pub(super) async fn acknowledge(&self) {
        let acknowledged = tokio::select! {
            result = self.delivery.ack(BasicAckOptions::default()) => result.is_ok_and(|sent| sent),
            () = self.lost.cancelled() => false,
        };
        if !acknowledged {
            debug!("message not acknowledged; the broker will deliver it again");
        }
    }

    /// Returns the message to its queue, as the loss of the connection would.
    pub(super) async fn give_back(&self) {
        let requeue = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        tokio::select! {
            _ = self.delivery.nack(requeue) => {}
            () = self.lost.cancelled() => {}
        }
    }
}

/// When it ends.
pub(super) struct Until {
    /// No more deliveries are taken from now on; what was prefetched goes back to the queue.
    pub stop: CancellationToken,
    /// Deliveries taken before are acknowledged by now: the channel may go.
    pub settled: CancellationToken,
}

impl Subscription {
    /// Hands every delivery to `sink`, in order. `ready` is true while the queue is being consumed.
    pub(super) async fn run(
        &self,
        link: &Link,
        until: &Until,
        ready: &watch::Sender<bool>,
        sink: mpsc::Sender<Taken>,
    ) {
        while !until.stop.is_cancelled() {
            let session = tokio::select! {
                session = link.session(None) => match session {
                    Ok(session) => session,
                    Err(_) => return,
                },
                () = until.stop.cancelled() => return,
            };
            let opened = tokio::select! {
                opened = self.open(&session) => opened,
                () = session.lost.cancelled() => continue,
            };
            match opened {
                Ok((channel, consumer)) => {
                    ready.send_replace(true);
                    info!(queue = %self.queue.name, "consuming");
                    let ending = self.drain(&session, consumer, until, &sink).await;
                    ready.send_replace(false);
                    match ending {
                        Ending::Stopped(consumer) => {
                            return self.leave(&session, &channel, consumer, until).await;
                        }
                        Ending::Lost => {
                            let _ = tokio::time::timeout(FAREWELL, topology::close(&channel)).await;
                        }
                    }
                }
                Err(error) => {
                    warn!(
                        queue = %self.queue.name,
                        %error,
                        "cannot consume the queue; check that the durable and quorum options match the \
                         control plane's; retrying"
                    );
                }
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN), if !session.lost.is_cancelled() => {}
                () = session.lost.cancelled() => {}
                () = until.stop.cancelled() => {}
            }
        }
    }

    async fn open(&self, session: &Session) -> lapin::Result<(Channel, Consumer)> {
        topology::declare_queue(&session.wire.connection, &self.queue).await?;
        let channel = session.wire.connection.create_channel().await?;
        if self.prefetch > 0 {
            channel.basic_qos(self.prefetch, BasicQosOptions::default()).await?;
        }
        let consumer = channel
            .basic_consume(
                self.queue.name.clone(),
                ShortString::from("1"),
                BasicConsumeOptions::default(),
                self.queue.consume.clone(),
            )
            .await?;
        Ok((channel, consumer))
    }

    async fn drain(
        &self,
        session: &Session,
        mut consumer: Consumer,
        until: &Until,
        sink: &mpsc::Sender<Taken>,
    ) -> Ending {
        loop {
            let delivery = tokio::select! {
                biased;
                () = until.stop.cancelled() => return Ending::Stopped(consumer),
                () = session.lost.cancelled() => return Ending::Lost,
                delivery = consumer.next() => delivery,
            };
            match delivery {
                Some(Ok(delivery)) => {
                    let taken = Taken { delivery, lost: session.lost.clone() };
                    let room = tokio::select! {
                        room = sink.reserve() => room.ok(),
                        () = until.stop.cancelled() => None,
                        () = session.lost.cancelled() => return Ending::Lost,
                    };
                    let Some(room) = room else {
                        taken.give_back().await;
                        return Ending::Stopped(consumer);
                    };
                    room.send(taken);
                }
                Some(Err(error)) => {
                    warn!(queue = %self.queue.name, %error, "consumer failed; consuming again");
                    return Ending::Lost;
                }
                None => {
                    warn!(queue = %self.queue.name, "the broker cancelled the consumer; consuming again");
                    return Ending::Lost;
                }
            }
        }
    }

    /// Stops in order: no new deliveries, the prefetched ones back, the taken ones acknowledged, an own queue
    /// deleted.
    async fn leave(&self, session: &Session, channel: &Channel, mut consumer: Consumer, until: &Until) {
        let give_back = async {
            let _ = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await;
            while let Some(Ok(delivery)) = consumer.next().await {
                Taken { delivery, lost: session.lost.clone() }.give_back().await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, give_back).await;
        tokio::select! {
            () = until.settled.cancelled() => {}
            () = session.lost.cancelled() => return,
        }
        if self.queue.own {
            let delete = channel.queue_delete(self.queue.name.clone(), QueueDeleteOptions::default());
            let _ = tokio::time::timeout(FAREWELL, delete).await;
        }
        let _ = tokio::time::timeout(FAREWELL, topology::close(channel)).await;
    }
}

enum Ending {
    Stopped(Consumer),
    Lost,
}
