//! Nova's rows of an instance's ports (`VirtualInterface`): they keep tags, and the order in which a cache is rebuilt.

use std::collections::BTreeSet;

use compute::instance::Instance;
use compute::ports::Result;
use openstack::neutron::Port;
use oslo::context::RequestContext;
use oslo::object::Object;
use serde_json::{Value, json};

use crate::conductor::{Conductor, Repeat, version_of};

const OBJECT: &str = "VirtualInterface";

/// The ports that have a row.
pub async fn recorded(
    conductor: &Conductor,
    context: &RequestContext,
    instance: &Instance,
) -> Result<BTreeSet<String>> {
    let rows = conductor
        .read_list(
            context,
            "VirtualInterfaceList",
            "get_by_instance_uuid",
            json!([instance.id.to_string()]),
            json!({ "use_slave": false }),
        )
        .await
        .map_err(|error| error.about(instance.id))?;
    Ok(rows.iter().filter_map(|row| row.str("uuid")).map(str::to_owned).collect())
}

/// Makes the row of a port. One that is there already, because an answer was lost, is as good.
pub async fn record(
    conductor: &Conductor,
    context: &RequestContext,
    instance: &Instance,
    port: &Port,
    tag: Option<&str>,
) -> Result<()> {
    let mut row = Object::new(OBJECT, version_of(OBJECT).unwrap_or("1.3"));
    // Nova wants addresses to be unique; Neutron does not.
    row.set("address", format!("{}/{}", port.mac_address, port.id));
    row.set("instance_uuid", instance.id.to_string());
    row.set("uuid", port.id.as_str());
    row.set("tag", tag.map_or(Value::Null, Value::from));
    match conductor.act(context, row, "create", json!({}), Repeat::Freely).await {
        Ok(_) => Ok(()),
        Err(error) if error.is("VirtualInterfaceCreateException") => {
            if recorded(conductor, context, instance).await?.contains(&port.id) {
                Ok(())
            } else {
                Err(super::refused("VirtualInterfaceCreateException", "Virtual Interface creation failed"))
            }
        }
        Err(error) => Err(error.about(instance.id)),
    }
}

/// Removes all rows of an instance.
pub async fn forget(conductor: &Conductor, context: &RequestContext, instance: &Instance) -> Result<()> {
    let id = json!([instance.id.to_string()]);
    let gone =
        conductor.class(context, OBJECT, "delete_by_instance_uuid", id, json!({}), Repeat::Freely).await;
    gone.map(drop).map_err(|error| error.about(instance.id))
}
