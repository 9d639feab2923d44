//! Those who only listen: the scheduler's memory of our instances (`nova/scheduler/rpcapi.py`), and versioned notifications.
//!
//! Nothing here can fail an operation, and nothing is read for a listener that is not there.

mod payload;

use std::time::Duration;

use async_trait::async_trait;
use compute::instance::Instance;
use compute::ports::{self, Event, Phase};
use driver::InstanceId;
use oslo::context::{ReadDeleted, RequestContext};
use oslo::notify::{Notifier, Priority};
use oslo::object::Object;
use oslo::rpc::Target;
use serde_json::{Map, Value, json};
use tracing::{debug, warn};

use self::payload::{Source, payload};
use crate::conductor::{Conductor, Error, arguments};
use crate::instances::reschedule::WHOLE;
use crate::instances::save::object;

/// How long a message to the scheduler waits for the broker: the next sync makes up for a lost one.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a notification tells of, beyond the instance's own columns.
const ATTRIBUTES: [&str; 7] =
    ["flavor", "info_cache", "keypairs", "metadata", "system_metadata", "tags", "trusted_certs"];

/// What is announced.
#[derive(Debug, Clone)]
pub struct Options {
    /// `[DEFAULT] host`.
    pub host: String,
    /// `[filter_scheduler] track_instance_changes`.
    pub track_instance_changes: bool,
    /// `[DEFAULT] instance_name_template`.
    pub instance_name_template: String,
}

/// The port to those who listen.
#[derive(Clone)]
pub struct Announcer {
    conductor: Conductor,
    options: Options,
    notifier: Option<Notifier>,
}

impl Announcer {
    /// `notifier`: where versioned notifications go; none when the operator wants none
    /// (`[notifications] notification_format` = `unversioned`).
    pub fn new(conductor: Conductor, options: Options, notifier: Option<Notifier>) -> Self {
        Self { conductor, options, notifier: notifier.filter(Notifier::is_enabled) }
    }

    async fn read(
        &self,
        context: &RequestContext,
        id: InstanceId,
        attributes: &[&str],
    ) -> Result<Option<Object>, Error> {
        self.conductor
            .read_object(
                &context.with_read_deleted(ReadDeleted::Yes),
                "Instance",
                "get_by_uuid",
                json!([id.0.to_string()]),
                json!({ "expected_attrs": attributes }),
            )
            .await
    }

    async fn disks(&self, context: &RequestContext, id: InstanceId) -> Vec<Object> {
        let list = self
            .conductor
            .read_list(
                context,
                "BlockDeviceMappingList",
                "get_by_instance_uuid",
                json!([id.0.to_string()]),
                json!({}),
            )
            .await;
        list.unwrap_or_default()
    }

    /// Tells every scheduler.
    async fn cast(&self, context: &RequestContext, method: &str, args: Map<String, Value>) {
        let target = Target { fanout: true, ..Target::topic("scheduler", "4.2") };
        if let Err(error) = self.conductor.rpc().cast(context, &target, method, args, PATIENCE).await {
            warn!(method, %error, "the scheduler could not be told; the next sync will");
        }
    }

    async fn update_instance(&self, context: &RequestContext, id: InstanceId) {
        let whole = match self.read(context, id, &WHOLE).await {
            Ok(Some(whole)) => whole,
            Ok(None) => return,
            Err(error) => {
                debug!(instance = %id, %error, "the scheduler is not told of an instance that cannot be read");
                return;
            }
        };
        let mut list = object("InstanceList");
        list.insert("objects", vec![whole.into_value()]);
        let args = json!({ "host_name": self.options.host, "instance_info": list.into_value() });
        self.cast(context, "update_instance_info", arguments(args)).await;
    }
}

#[async_trait]
impl ports::Announcer for Announcer {
    async fn notify(&self, context: &RequestContext, instance: &Instance, event: Event, phase: Phase<'_>) {
        let Some(notifier) = &self.notifier else { return };
        let whole = match self.read(context, instance.id, &ATTRIBUTES).await {
            Ok(Some(whole)) => whole,
            Ok(None) => return,
            Err(error) => {
                warn!(instance = %instance.id, %error, "nobody is notified of an instance that cannot be read");
                return;
            }
        };
        let error = match phase {
            Phase::Error(text) => Some(text),
            Phase::Start | Phase::End => None,
        };
        let disks = self.disks(context, instance.id).await;
        let name_template = &self.options.instance_name_template;
        let source = Source { instance: &whole, disks: &disks, context, error, name_template };
        let priority = if error.is_some() { Priority::Error } else { Priority::Info };
        notifier.notify(context, priority, &event_type(event, phase), payload(event, &source));
    }

    async fn instance_changed(&self, context: &RequestContext, instance: &Instance) {
        if self.options.track_instance_changes {
            self.update_instance(context, instance.id).await;
        }
    }

    async fn instance_gone(&self, context: &RequestContext, instance: InstanceId) {
        if self.options.track_instance_changes {
            let args = json!({ "host_name": self.options.host, "instance_uuid": instance.0 });
            self.cast(context, "delete_instance_info", arguments(args)).await;
        }
    }

    async fn sync(&self, context: &RequestContext, instances: &[InstanceId]) {
        if self.options.track_instance_changes {
            let args = json!({ "host_name": self.options.host, "instance_uuids": instances });
            self.cast(&context.elevated(), "sync_instance_info", arguments(args)).await;
        }
    }
}

/// `instance.create.start` and the like.
fn event_type(event: Event, phase: Phase<'_>) -> String {
    let action = match event {
        Event::Create => "create",
        Event::Delete => "delete",
        Event::Shutdown => "shutdown",
        Event::PowerOff => "power_off",
        Event::PowerOn => "power_on",
        Event::Reboot => "reboot",
        Event::SoftDelete => "soft_delete",
        Event::Restore => "restore",
        Event::TriggerCrashDump => "trigger_crash_dump",
        Event::Rescue { .. } => "rescue",
        Event::Unrescue => "unrescue",
        Event::Rebuild => "rebuild",
        Event::InterfaceAttach => "interface_attach",
        Event::InterfaceDetach => "interface_detach",
    };
    let phase = match phase {
        Phase::Start => "start",
        Phase::End => "end",
        Phase::Error(_) => "error",
    };
    format!("instance.{action}.{phase}")
}

#[cfg(test)]
mod tests {
    use compute::ports::Announcer as _;
    use oslo::rpc::CallError;

    use super::*;
    use crate::conductor::testing::Script;
    use crate::testing;

    fn announcer(script: &Script, track_instance_changes: bool) -> Announcer {
        let options = Options {
            host: "lab-ironic".into(),
            track_instance_changes,
            instance_name_template: "instance-%08x".into(),
        };
        Announcer::new(script.conductor(), options, None)
    }

    #[test]
    fn an_event_has_the_name_that_its_consumers_know() {
        assert_eq!(event_type(Event::Create, Phase::Error("x")), "instance.create.error");
        assert_eq!(event_type(Event::Shutdown, Phase::End), "instance.shutdown.end");
        assert_eq!(event_type(Event::Rescue { image: None }, Phase::Start), "instance.rescue.start");
    }

    #[tokio::test]
    async fn the_schedulers_learn_the_whole_instance_in_a_list() {
        let script = Script::default().then(Ok(testing::build_args()["instance"].clone()));
        let announcer = announcer(&script, true);
        announcer.instance_changed(&RequestContext::admin(), &testing::instance()).await;
        let sent = &script.sent()[1];
        assert_eq!(
            (sent.what.as_str(), &sent.args["host_name"]),
            ("update_instance_info", &json!("lab-ironic"))
        );
        let list = &sent.args["instance_info"];
        assert_eq!(
            (&list["nova_object.name"], &list["nova_object.version"]),
            (&json!("InstanceList"), &json!("2.6"))
        );
        let member = &list["nova_object.data"]["objects"][0];
        assert_eq!(member["nova_object.data"]["uuid"], json!(testing::instance().id));
    }

    #[tokio::test]
    async fn the_schedulers_are_told_of_ids_alone_where_that_is_enough() {
        let script = Script::default();
        let announcer = announcer(&script, true);
        let id = testing::instance().id;
        announcer.instance_gone(&RequestContext::admin(), id).await;
        announcer.sync(&RequestContext::admin(), &[]).await;
        assert_eq!(script.names(), ["delete_instance_info", "sync_instance_info"]);
        assert_eq!(script.sent()[0].args["instance_uuid"], json!(id));
        assert_eq!(script.sent()[1].args["instance_uuids"], json!([]));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_or_sent_for_listeners_that_are_not_there() {
        let script = Script::default().then(Err(CallError::Timeout));
        let announcer = announcer(&script, false);
        let context = RequestContext::admin();
        announcer.instance_changed(&context, &testing::instance()).await;
        announcer.instance_gone(&context, testing::instance().id).await;
        announcer.notify(&context, &testing::instance(), Event::Create, Phase::Start).await;
        assert!(script.sent().is_empty());
    }
}
