//! Server groups: the late check of a policy that the scheduler may have missed when it placed several servers at once
//! (`nova/compute/manager.py`, `_validate_instance_group_policy`). A whole compute service counts as one host.

use compute::instance::Instance;
use compute::ports::{self, Refusal};
use oslo::context::RequestContext;
use oslo::object::Object;
use serde_json::{Value, json};
use tracing::warn;
use uuid::Uuid;

use crate::conductor::{Conductor, Error, Repeat};

/// Whether the group's policy allows the instance on this host. A group that is gone allows everything. One that the
/// conductor cannot read allows nothing here, as in stock, where this node then fails the build.
pub async fn check(
    conductor: &Conductor,
    context: &RequestContext,
    host: &str,
    instance: &Instance,
    hint: &str,
) -> ports::Result<()> {
    match checked(conductor, context, host, instance, hint).await {
        Err(ports::Error::Broken(error)) => {
            // oslo.db raises CantStartEngineError where [api_database] has no connection.
            warn!(instance = %instance.id, group = hint, error, "the server group cannot be checked; where the conductors of the cells have no [api_database], set [workarounds] disable_group_policy_check_upcall = true");
            Err(refused(format!("The policy of server group {hint} could not be checked: {error}")))
        }
        checked => checked,
    }
}

async fn checked(
    conductor: &Conductor,
    context: &RequestContext,
    host: &str,
    instance: &Instance,
    hint: &str,
) -> ports::Result<()> {
    let Some(group) = group(conductor, context, hint).await? else { return Ok(()) };
    let own = instance.id.0.to_string();
    match group.str("policy") {
        Some("anti-affinity") => {
            let here = conductor
                .read(context, "InstanceList", "get_uuids_by_host", json!([host]), json!({}))
                .await?;
            if others(&group, &here, &own) >= limit(&group) {
                return Err(violation("Anti-affinity"));
            }
        }
        Some("affinity") => {
            let answer = conductor
                .act(context, group, "get_hosts", json!({ "exclude": [own] }), Repeat::Freely)
                .await?;
            let hosts: Vec<&str> =
                answer.result.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if !hosts.is_empty() && !hosts.contains(&host) {
                return Err(violation("Affinity"));
            }
        }
        _ => {}
    }
    Ok(())
}

/// The hint is the group's uuid or its name.
async fn group(conductor: &Conductor, context: &RequestContext, hint: &str) -> ports::Result<Option<Object>> {
    let method = if Uuid::parse_str(hint).is_ok() { "get_by_uuid" } else { "get_by_name" };
    match conductor.read_object(context, "InstanceGroup", method, json!([hint]), json!({})).await {
        Ok(group) => Ok(group),
        Err(error) if error.is("InstanceGroupNotFound") => Ok(None),
        Err(error) => Err(<Error as Into<ports::Error>>::into(error)),
    }
}

/// How many members are here, the instance itself not counted.
fn others(group: &Object, here: &Value, own: &str) -> usize {
    let here = here.as_array().map(Vec::as_slice).unwrap_or_default();
    let members = group.get("members").and_then(Value::as_array).into_iter().flatten();
    members.filter(|member| member.as_str() != Some(own) && here.contains(member)).count()
}

/// `max_server_per_host` of the policy's rules; one by default.
fn limit(group: &Object) -> usize {
    let rule = group.get("_rules").and_then(|rules| rules.get("max_server_per_host"));
    rule.and_then(Value::as_str).and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn violation(policy: &str) -> ports::Error {
    refused(format!("{policy} instance group policy was violated"))
}

fn refused(message: String) -> ports::Error {
    ports::Error::Refused { why: Refusal::GroupPolicy, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(rules: Value) -> Object {
        let mut group = Object::new("InstanceGroup", "1.11");
        group.insert("members", json!(["a", "b", "c"]));
        group.insert("_rules", rules);
        group
    }

    #[test]
    fn the_instance_itself_does_not_count_among_the_members_on_a_host() {
        let group = with(json!({}));
        assert_eq!(others(&group, &json!(["a", "b", "x"]), "a"), 1);
        assert_eq!(others(&group, &json!(["a"]), "a"), 0);
    }

    #[test]
    fn a_rule_raises_the_number_of_members_that_a_host_may_have() {
        assert_eq!(limit(&with(json!({}))), 1);
        assert_eq!(limit(&with(json!({"max_server_per_host": "3"}))), 3);
    }
}
