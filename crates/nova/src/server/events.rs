//! News from outside: Neutron of ports, Ironic of power, Cinder of volumes (`external_instance_event` of `nova/compute/manager.py`).

use std::collections::HashMap;

use compute::instance::{Expect, Instance};
use compute::ports::Instances;
use oslo::context::RequestContext;
use oslo::object::Object;
use oslo::rpc::Failure;
use serde_json::{Map, Value};
use tracing::{debug, warn};
use uuid::Uuid;

use super::Worker;
use super::outcome::{EventEnd, Record, nova, recorded};
use crate::objects::parse::{self, Malformed};

/// One piece of news.
struct News {
    instance: Uuid,
    name: String,
    status: String,
    tag: Option<String>,
}

/// Passes the news on, one after the other. A piece that is unreadable or fails does not stop those after it.
pub async fn external(
    worker: &dyn Worker,
    instances: &dyn Instances,
    context: &RequestContext,
    args: &Map<String, Value>,
) -> Result<Value, Failure> {
    // The sender is the service user of Neutron, Ironic or Cinder, whose project is not the instance's.
    let context = context.elevated();
    let (mut known, news) = read(args).map_err(|error| nova("Invalid", 400, &error.to_string(), &[]))?;
    for piece in news {
        let Some(instance) = known.get_mut(&piece.instance) else {
            debug!(instance = %piece.instance, event = piece.name, "news of an instance that the message lacks");
            continue;
        };
        pass_on(worker, instances, &context, instance, &piece).await;
    }
    Ok(Value::Null)
}

fn read(args: &Map<String, Value>) -> Result<(HashMap<Uuid, Instance>, Vec<News>), Malformed> {
    let list = |argument: &'static str| {
        let list = args.get(argument).and_then(Value::as_array);
        list.ok_or(Malformed { argument, expected: "a list of objects" })
    };
    let mut instances = HashMap::new();
    for value in list("instances")? {
        match parse::instance(value) {
            Ok(instance) => drop(instances.insert(instance.id.0, instance)),
            Err(error) => warn!(%error, "an instance of an external event is unreadable"),
        }
    }
    let mut news = Vec::new();
    for value in list("events")? {
        if let Some(piece) = piece(value) {
            news.push(piece);
        } else {
            warn!("an external event is unreadable");
        }
    }
    Ok((instances, news))
}

fn piece(value: &Value) -> Option<News> {
    let event = Object::from_value(value.clone()).ok()?;
    Some(News {
        instance: Uuid::parse_str(event.str("instance_uuid")?).ok()?,
        name: event.str("name")?.to_owned(),
        status: event.str("status").unwrap_or_default().to_owned(),
        tag: event.str("tag").map(str::to_owned),
    })
}

async fn pass_on(
    worker: &dyn Worker,
    instances: &dyn Instances,
    context: &RequestContext,
    instance: &mut Instance,
    news: &News,
) {
    let id = instance.id;
    let port = news.tag.as_deref().and_then(|tag| Uuid::parse_str(tag).ok());
    match (news.name.as_str(), port, news.tag.as_deref()) {
        ("network-changed", port, _) => worker.network_changed(context, id, port).await,
        ("network-vif-deleted", Some(port), _) => worker.vif_deleted(context, id, port).await,
        ("power-update", _, Some("POWER_ON")) => worker.power_update(context, id, true).await,
        ("power-update", _, Some("POWER_OFF")) => worker.power_update(context, id, false).await,
        ("volume-extended", _, _) => {
            let record = Record { event: EventEnd::Failure, fault: true, revert: false };
            let extend = async {
                let text = "Volume size extension is not supported by the hypervisor.";
                Err(nova("ExtendVolumeNotSupported", 400, text, &[]))
            };
            let (refused, ending) =
                recorded(instances, context, instance, "extend_volume", record, extend).await;
            if let Err(failure) = refused {
                warn!(instance = %id, %failure, "volume resize of a bare metal server ignored");
            }
            // News of others wait behind this one: what cannot be written now is only logged.
            if ending.write(instances, context, instance, Expect::Anything).await.is_err() {
                warn!(instance = %id, "the refusal of the volume resize does not show at the server");
            }
        }
        (name, _, tag) => {
            debug!(instance = %id, event = name, status = news.status, tag, "nobody waits for it");
        }
    }
}
