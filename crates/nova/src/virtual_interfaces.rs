//! Nova's rows of an instance's ports (`VirtualInterface`): they keep tags, and the order in which a cache is
//! rebuilt.

use async_trait::async_trait;
use compute::ports::{Error, Refusal, Result};
use driver::InstanceId;
use openstack::neutron::Port;
use oslo::context::RequestContext;
use oslo::object::Object;
use serde_json::{Value, json};

use crate::conductor::{Conductor, Repeat, version_of};
use services::network::PortLedger;

const OBJECT: &str = "VirtualInterface";

/// The rows of ports, through nova-conductor.
#[derive(Clone)]
pub struct VirtualInterfaces {
    conductor: Conductor,
}

impl VirtualInterfaces {
    /// The rows that this conductor reads and writes.
    pub fn new(conductor: Conductor) -> Self {
        Self { conductor }
    }
}

#[async_trait]
impl PortLedger for VirtualInterfaces {
    async fn recorded(&self, context: &RequestContext, instance: InstanceId) -> Result<Vec<String>> {
        let rows = self
            .conductor
            .read_list(
                context,
                "VirtualInterfaceList",
                "get_by_instance_uuid",
                json!([instance.to_string()]),
                json!({ "use_slave": false }),
            )
            .await
            .map_err(|error| error.about(instance))?;
        Ok(rows.iter().filter_map(|row| row.str("uuid")).map(str::to_owned).collect())
    }

    async fn record(
        &self,
        context: &RequestContext,
        instance: InstanceId,
        port: &Port,
        tag: Option<&str>,
    ) -> Result<()> {
        let mut row = Object::new(OBJECT, version_of(OBJECT).unwrap_or("1.3"));
        // Nova wants addresses to be unique; Neutron does not.
        row.set("address", format!("{}/{}", port.mac_address, port.id));
        row.set("instance_uuid", instance.to_string());
        row.set("uuid", port.id.as_str());
        row.set("tag", tag.map_or(Value::Null, Value::from));
        match self.conductor.act(context, row, "create", json!({}), Repeat::Freely).await {
            Ok(_) => Ok(()),
            Err(error) if error.is("VirtualInterfaceCreateException") => {
                if self.recorded(context, instance).await?.contains(&port.id) {
                    Ok(())
                } else {
                    Err(Error::Refused {
                        why: Refusal::PortNotRecorded,
                        message: "Virtual Interface creation failed".to_owned(),
                    })
                }
            }
            Err(error) => Err(error.about(instance)),
        }
    }

    async fn forget_port(&self, context: &RequestContext, instance: InstanceId, port: &str) -> Result<()> {
        let row = self.conductor.read_object(context, OBJECT, "get_by_uuid", json!([port]), json!({})).await;
        let Some(row) = row.map_err(|error| error.about(instance))? else { return Ok(()) };
        if row.str("instance_uuid") != Some(instance.to_string().as_str()) {
            return Ok(());
        }
        let gone = self.conductor.act(context, row, "destroy", json!({}), Repeat::Freely).await;
        gone.map(drop).map_err(|error| error.about(instance))
    }

    async fn forget(&self, context: &RequestContext, instance: InstanceId) -> Result<()> {
        let id = json!([instance.to_string()]);
        let gone = self
            .conductor
            .class(context, OBJECT, "delete_by_instance_uuid", id, json!({}), Repeat::Freely)
            .await;
        gone.map(drop).map_err(|error| error.about(instance))
    }
}

#[cfg(test)]
mod tests {
    use oslo::rpc::CallError;

    use super::*;
    use crate::conductor::testing::{Script, raised};
    use crate::testing;

    fn rows(ports: &[&str]) -> Value {
        let rows = ports.iter().map(|port| {
            json!({"nova_object.name": "VirtualInterface", "nova_object.namespace": "nova",
                "nova_object.version": "1.3", "nova_object.data": {"uuid": port}})
        });
        json!({"nova_object.name": "VirtualInterfaceList", "nova_object.namespace": "nova",
            "nova_object.version": "1.0", "nova_object.data": {"objects": rows.collect::<Vec<_>>()}})
    }

    async fn record(script: &Script) -> Result<()> {
        let port = Port { id: "p".into(), mac_address: "fa:16:3e:00:00:01".into(), ..Port::default() };
        let rows = VirtualInterfaces::new(script.conductor());
        rows.record(&RequestContext::admin(), testing::instance().id, &port, Some("nic")).await
    }

    #[tokio::test]
    async fn a_row_has_an_address_that_no_other_row_has() {
        let script = Script::default().then(Ok(json!([{"obj_what_changed": []}, null])));
        record(&script).await.unwrap();
        let row = &script.sent()[0].args["objinst"]["nova_object.data"];
        assert_eq!(
            *row,
            json!({"address": "fa:16:3e:00:00:01/p", "uuid": "p", "tag": "nic",
                "instance_uuid": testing::instance().id})
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_was_made_and_never_answered_is_as_good() {
        let script = Script::default()
            .then(Err(CallError::Timeout))
            .then(raised("VirtualInterfaceCreateException"))
            .then(Ok(rows(&["p"])));
        record(&script).await.unwrap();
        let names = [
            "VirtualInterface.create",
            "VirtualInterface.create",
            "VirtualInterfaceList.get_by_instance_uuid",
        ];
        assert_eq!(script.names(), names);
    }

    #[tokio::test]
    async fn the_row_of_one_port_is_destroyed_if_it_is_the_instances() {
        let id = testing::instance().id;
        for (owner, calls) in [(id.to_string(), 2), ("another".to_owned(), 1)] {
            let row = json!({"nova_object.name": "VirtualInterface", "nova_object.namespace": "nova",
                "nova_object.version": "1.3",
                "nova_object.data": {"id": 7, "uuid": "p", "instance_uuid": owner}});
            let script = Script::default().then(Ok(row)).then(Ok(json!([{"obj_what_changed": []}, null])));
            let rows = VirtualInterfaces::new(script.conductor());
            rows.forget_port(&RequestContext::admin(), id, "p").await.unwrap();
            let expected = ["VirtualInterface.get_by_uuid", "VirtualInterface.destroy"];
            assert_eq!(script.names(), expected[..calls]);
        }
        let script = Script::default().then(Ok(Value::Null));
        let rows = VirtualInterfaces::new(script.conductor());
        rows.forget_port(&RequestContext::admin(), id, "p").await.unwrap();
        assert_eq!(script.names().len(), 1);
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_made_refuses_the_build() {
        let script =
            Script::default().then(raised("VirtualInterfaceCreateException")).then(Ok(rows(&["other"])));
        let error = record(&script).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    }
}
