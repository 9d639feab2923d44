//! Placement in memory: providers with generations, and allocations.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::services::{Answer, Ask};

#[derive(Default)]
pub struct Placement {
    pub providers: BTreeMap<String, Provider>,
    /// What each consumer has of each provider.
    pub allocations: BTreeMap<String, Map<String, Value>>,
    classes: BTreeSet<String>,
    traits: BTreeSet<String>,
}

#[derive(Default)]
pub struct Provider {
    generation: i64,
    pub inventories: Value,
    traits: Value,
}

impl Placement {
    /// What of the node is not offered.
    pub fn reserved(&self, node: &str) -> Option<i64> {
        self.providers.get(node)?.inventories["CUSTOM_BAREMETAL"]["reserved"].as_i64()
    }

    /// The scheduler's claim.
    pub fn claim(&mut self, consumer: &str, provider: &str) {
        let what = json!({ provider: {"resources": {"CUSTOM_BAREMETAL": 1}} });
        self.allocations.insert(consumer.to_owned(), super::bus::map(what));
        self.touch(provider);
    }

    fn touch(&mut self, provider: &str) {
        if let Some(provider) = self.providers.get_mut(provider) {
            provider.generation += 1;
        }
    }

    pub fn answer(&mut self, ask: &Ask) -> Option<Answer> {
        Some(match (ask.method, ask.path) {
            ("GET", ["resource_providers"]) => {
                let list: Vec<Value> =
                    self.providers.iter().map(|(id, provider)| provider.document(id)).collect();
                (200, json!({ "resource_providers": list }))
            }
            ("POST", ["resource_providers"]) => {
                let id = ask.body["uuid"].as_str().unwrap();
                if self.providers.contains_key(id) {
                    return Some((409, conflict("Conflicting resource provider")));
                }
                let new = Provider { inventories: json!({}), traits: json!([]), generation: 0 };
                let document = new.document(id);
                self.providers.insert(id.to_owned(), new);
                (200, document)
            }
            (method, ["resource_providers", id, part]) => {
                let Some(provider) = self.providers.get_mut(*id) else { return Some((404, json!({}))) };
                if method == "PUT" {
                    if ask.body["resource_provider_generation"] != provider.generation {
                        return Some((409, conflict("the generation is old")));
                    }
                    provider.generation += 1;
                }
                let value = match *part {
                    "inventories" => &mut provider.inventories,
                    "traits" => &mut provider.traits,
                    _ => return None,
                };
                if method == "PUT" {
                    *value = ask.body[*part].clone();
                }
                (200, json!({"resource_provider_generation": provider.generation, *part: value}))
            }
            ("PUT", ["resource_classes", name]) => {
                self.classes.insert((*name).to_owned());
                (201, Value::Null)
            }
            ("PUT", ["traits", name]) => {
                self.traits.insert((*name).to_owned());
                (201, Value::Null)
            }
            ("GET", ["traits"]) => {
                let asked = ask.query[0].1.trim_start_matches("in:").to_owned();
                let known = |name: &&str| !name.starts_with("CUSTOM_") || self.traits.contains(*name);
                (200, json!({"traits": asked.split(',').filter(known).collect::<Vec<_>>()}))
            }
            ("GET", ["allocations", consumer]) => {
                (200, json!({"allocations": self.allocations.get(*consumer).cloned().unwrap_or_default()}))
            }
            ("DELETE", ["allocations", consumer]) => match self.allocations.remove(*consumer) {
                Some(held) => {
                    held.keys().for_each(|provider| self.touch(provider));
                    (204, Value::Null)
                }
                None => (404, json!({})),
            },
            _ => return None,
        })
    }
}

impl Provider {
    fn document(&self, id: &str) -> Value {
        json!({"uuid": id, "name": id, "generation": self.generation, "root_provider_uuid": id,
            "parent_provider_uuid": null})
    }
}

fn conflict(detail: &str) -> Value {
    json!({"errors": [{"status": 409, "title": "Conflict", "detail": detail, "code": "placement.concurrent_update"}]})
}
