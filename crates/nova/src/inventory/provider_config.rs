//! What operators add to the inventories and traits of nodes, in files under `[compute] provider_config_location`
//! (`nova/compute/provider_config.py` and `_merge_provider_configs` of the resource tracker).

mod document;
mod yaml;

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use driver::NodeId;

use self::document::{Document, Entry, Problem, Provider};
use super::{Inventory, Wanted};

/// Why the files cannot be used; stops the start, because providers would lose what the files give them.
#[derive(Debug, thiserror::Error)]
pub enum ProviderConfigError {
    /// A file or the folder cannot be read.
    #[error("[compute] provider_config_location: {} cannot be read: {source}; let the service's user read it, or move it away", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds what the schema does not allow.
    #[error("{}: {field}: {reason}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where in it.
        field: String,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// Two files are about the same provider.
    #[error("provider {provider} is configured twice, in {} and in {}; keep one of the two", .first.display(), .second.display())]
    Twice {
        /// The provider's uuid or name.
        provider: String,
        /// The file that comes first.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
}

/// What the files add, by provider.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProviderConfig(BTreeMap<Provider, Additions>);

/// What one entry of a file adds.
#[derive(Debug, Clone, PartialEq)]
struct Additions {
    file: PathBuf,
    inventory: BTreeMap<String, Inventory>,
    traits: BTreeSet<String>,
}

impl ProviderConfig {
    /// Reads every `*.yaml` of a folder, in order of their names; a folder that is missing or empty adds nothing.
    pub fn load(folder: &Path) -> Result<Self, ProviderConfigError> {
        let mut config = Self::default();
        for path in files(folder).map_err(|source| unreadable(folder, source))? {
            let text = std::fs::read_to_string(&path).map_err(|source| unreadable(&path, source))?;
            config.add(&path, &text)?;
        }
        Ok(config)
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<(), ProviderConfigError> {
        let Document { minor, entries } = document::parse(text).map_err(|Problem { field, reason }| {
            ProviderConfigError::Invalid { path: path.to_owned(), field, reason }
        })?;
        if minor > 0 {
            tracing::warn!(file = %path.display(), minor, "the file is of a later schema than 1.0; fields new in it are ignored");
        }
        for Entry { provider, inventory, traits, idle } in entries {
            if idle {
                tracing::warn!(%provider, file = %path.display(), "the provider's entry adds neither inventories nor traits and is ignored");
                continue;
            }
            match self.0.entry(provider) {
                Slot::Vacant(free) => {
                    free.insert(Additions { file: path.to_owned(), inventory, traits });
                }
                Slot::Occupied(taken) => {
                    return Err(ProviderConfigError::Twice {
                        provider: taken.key().to_string(),
                        first: taken.get().file.clone(),
                        second: path.to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    /// What is wanted of a node with what the files add to it: its own entry, or else the one for every node. `Err` says
    /// in words why the two do not go together.
    ///
    /// Traits cannot be in conflict: the files hold only an operator's own, and so do the ones that Ironic's operators set.
    pub fn merge(&self, mut wanted: Wanted) -> Result<Wanted, String> {
        let own = self.0.get(&Provider::Node(wanted.node));
        let Some(Additions { file, inventory, traits }) = own.or_else(|| self.0.get(&Provider::EveryNode))
        else {
            return Ok(wanted);
        };
        if let Some(class) = inventory.keys().find(|class| wanted.inventory.contains_key(*class)) {
            return Err(format!(
                "{} adds {class}, which already is the node's own resource class. Remove it from the file and restart, or set another class with: openstack baremetal node set --resource-class",
                file.display()
            ));
        }
        wanted.inventory.extend(inventory.iter().map(|(class, stock)| (class.clone(), *stock)));
        wanted.traits.extend(traits.iter().cloned());
        Ok(wanted)
    }
}

/// The configured providers that are not there, so that each is told of once, and again when it has come and gone.
#[derive(Debug, Default)]
pub struct Absent(Mutex<BTreeSet<Provider>>);

impl Absent {
    /// Warns of those that have become absent; `ours` says which nodes are there.
    pub fn warn(&self, config: &ProviderConfig, ours: impl Fn(NodeId) -> bool) {
        for provider in self.news(config, ours) {
            let file = config.0.get(&provider).map(|additions| additions.file.display().to_string());
            tracing::warn!(%provider, file, "the configured provider is not a node of this service and is ignored; a node's provider is named by the node's uuid");
        }
    }

    fn news(&self, config: &ProviderConfig, ours: impl Fn(NodeId) -> bool) -> Vec<Provider> {
        let absent: BTreeSet<Provider> = config
            .0
            .keys()
            .filter(|provider| match provider {
                Provider::EveryNode => false,
                Provider::Node(node) => !ours(*node),
                Provider::Other(_) => true,
            })
            .cloned()
            .collect();
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = absent.difference(&told).cloned().collect();
        *told = absent;
        news
    }
}

/// The files to read. As with a shell's `*.yaml`, hidden ones do not count.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = match std::fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = listed.map(|file| file.map(|file| file.path())).collect::<io::Result<Vec<_>>>()?;
    files.retain(|path| {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        path.extension() == Some(OsStr::new("yaml")) && !hidden
    });
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, source: io::Error) -> ProviderConfigError {
    ProviderConfigError::Unreadable { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::testing::{node, rules};
    use crate::inventory::{Holder, wanted};

    const NODE: &str = "00000000-0000-0000-0000-000000000001";

    /// A file with one entry: for whom, and the trait it adds beside 5 of a class.
    fn file(by: &str, class: &str, name: &str) -> String {
        format!(
            "meta: {{schema_version: '1.0'}}\nproviders:\n  - identification: {{{by}}}\n    inventories: {{additional: [{{{class}: {{total: 5}}}}]}}\n    traits: {{additional: [{name}]}}\n"
        )
    }

    fn config(files: &[String]) -> Result<ProviderConfig, ProviderConfigError> {
        let folder = tempfile::tempdir().unwrap();
        for (i, text) in files.iter().enumerate() {
            std::fs::write(folder.path().join(format!("{i}.yaml")), text).unwrap();
        }
        ProviderConfig::load(folder.path())
    }

    fn machine() -> Wanted {
        wanted(&node(), Holder::Nobody, &rules(), false).unwrap()
    }

    #[test]
    fn no_folder_and_no_files_add_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["notes.txt", "a.yml", ".hidden.yaml"] {
            std::fs::write(folder.path().join(name), "no: configuration").unwrap();
        }
        assert_eq!(ProviderConfig::load(folder.path()).unwrap(), ProviderConfig::default());
        assert_eq!(ProviderConfig::load(&folder.path().join("none")).unwrap(), ProviderConfig::default());
        assert_eq!(ProviderConfig::default().merge(machine()).unwrap(), machine());
    }

    #[test]
    fn a_node_gets_what_is_for_every_node() {
        let merged = config(&[file("uuid: $COMPUTE_NODE", "CUSTOM_SLOTS", "CUSTOM_RACK")])
            .unwrap()
            .merge(machine())
            .unwrap();
        assert_eq!(merged.inventory["CUSTOM_SLOTS"].total, 5);
        assert_eq!(merged.inventory["CUSTOM_BAREMETAL"], Inventory::machine(false));
        assert!(merged.traits.is_superset(&machine().traits) && merged.traits.contains("CUSTOM_RACK"));
    }

    #[test]
    fn an_entry_of_its_own_takes_the_place_of_the_one_for_every_node() {
        for by in ["uuid", "name"] {
            let config = config(&[
                file("uuid: $COMPUTE_NODE", "CUSTOM_SLOTS", "CUSTOM_RACK"),
                file(&format!("{by}: {NODE}"), "CUSTOM_LICENCES", "CUSTOM_LAB"),
            ])
            .unwrap();
            let merged = config.merge(machine()).unwrap();
            assert_eq!(
                merged.inventory.into_keys().collect::<Vec<_>>(),
                ["CUSTOM_BAREMETAL", "CUSTOM_LICENCES"]
            );
            assert_eq!(merged.traits, machine().traits, "CUSTOM_LAB is on the node already");
        }
    }

    #[test]
    fn the_class_of_a_node_cannot_be_configured() {
        let config = config(&[file("uuid: $COMPUTE_NODE", "CUSTOM_BAREMETAL", "CUSTOM_A")]).unwrap();
        let reason = config.merge(machine()).unwrap_err();
        assert!(reason.contains("0.yaml adds CUSTOM_BAREMETAL"), "{reason}");
        let mut other = node();
        other.resource_class = Some("gold".to_owned());
        assert!(config.merge(wanted(&other, Holder::Nobody, &rules(), false).unwrap()).is_ok());
    }

    #[test]
    fn a_provider_is_configured_once() {
        let by_name = file(&format!("name: {NODE}"), "CUSTOM_A", "CUSTOM_A");
        let by_uuid = file(&format!("uuid: {NODE}"), "CUSTOM_B", "CUSTOM_B");
        let error = config(&[by_name.clone(), by_uuid]).unwrap_err().to_string();
        assert!(error.contains(NODE) && error.contains("0.yaml") && error.contains("1.yaml"), "{error}");
        // An entry that adds nothing is none.
        let idle =
            format!("meta: {{schema_version: '1.1'}}\nproviders: [{{identification: {{uuid: {NODE}}}}}]");
        assert_eq!(config(&[by_name, idle]).unwrap().0.len(), 1);
    }

    #[test]
    fn an_error_names_the_file_and_the_field() {
        let error = config(&[file("uuid: $COMPUTE_NODE", "VCPU", "CUSTOM_A")]).unwrap_err().to_string();
        assert!(error.contains("0.yaml: providers[0].inventories.additional[0].VCPU: "), "{error}");
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("folder.yaml")).unwrap();
        let error = ProviderConfig::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("folder.yaml cannot be read"), "{error}");
    }

    #[test]
    fn an_absent_provider_is_told_of_once_and_again_when_it_came_and_went() {
        let config = config(&[
            file("uuid: $COMPUTE_NODE", "CUSTOM_A", "CUSTOM_A"),
            file(&format!("uuid: {NODE}"), "CUSTOM_A", "CUSTOM_A"),
            file("name: rack", "CUSTOM_A", "CUSTOM_A"),
        ])
        .unwrap();
        let (absent, id) = (Absent::default(), node().uuid);
        let rack = Provider::Other("rack".to_owned());
        assert_eq!(absent.news(&config, |_| false), [Provider::Node(id), rack]);
        assert_eq!(absent.news(&config, |_| false), []);
        assert_eq!(absent.news(&config, |node| node == id), []);
        assert_eq!(absent.news(&config, |_| false), [Provider::Node(id)]);
    }
}
