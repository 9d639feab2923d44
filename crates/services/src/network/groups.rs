//! Security groups by what the user calls them. Pure.

use compute::ports::{Refusal, Result};
use openstack::neutron::SecurityGroup;

use super::failure::refused;

/// What the user asked for beyond what Neutron does by itself.
pub fn wanted(names: &[String]) -> &[String] {
    match names {
        [only] if only == "default" => &[],
        names => names,
    }
}

/// Whether one of the names is not among the known groups.
pub fn is_missing(names: &[String], known: &[SecurityGroup]) -> bool {
    names.iter().any(|name| !known.iter().any(|group| group.id == *name || group.name == *name))
}

/// The ids of the groups: a name that is an id is one, any other must be unique.
pub fn ids(names: &[String], known: &[SecurityGroup]) -> Result<Vec<String>> {
    names.iter().map(|name| id(name, known)).collect()
}

fn id(name: &str, known: &[SecurityGroup]) -> Result<String> {
    if known.iter().any(|group| group.id == name) {
        return Ok(name.to_owned());
    }
    let mut named: Vec<&str> =
        known.iter().filter(|group| group.name == name).map(|group| group.id.as_str()).collect();
    named.sort_unstable();
    named.dedup();
    match named.as_slice() {
        [id] => Ok((*id).to_owned()),
        [] => Err(refused(Refusal::SecurityGroupNotFound, format!("Security group {name} not found."))),
        _ => Err(refused(
            Refusal::SecurityGroupAmbiguous,
            format!("Multiple security groups found matching '{name}'. Use an ID to be more specific."),
        )),
    }
}

#[cfg(test)]
mod tests {
    use compute::ports;

    use super::*;

    fn group(id: &str, name: &str) -> SecurityGroup {
        SecurityGroup { id: id.into(), name: name.into() }
    }

    #[test]
    fn the_default_group_alone_is_left_to_neutron() {
        assert!(wanted(&["default".to_owned()]).is_empty());
        assert_eq!(wanted(&["default".to_owned(), "web".to_owned()]).len(), 2);
    }

    #[test]
    fn an_id_is_taken_before_a_name_and_a_name_must_be_unique() {
        let known =
            [group("1", "web"), group("2", "1"), group("3", "db"), group("4", "db"), group("1", "web")];
        let ask =
            |names: &[&str]| ids(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), &known);
        assert_eq!(ask(&["web", "1", "4"]).unwrap(), ["1", "1", "4"]);
        for (name, expected) in
            [("db", Refusal::SecurityGroupAmbiguous), ("nothing", Refusal::SecurityGroupNotFound)]
        {
            let ports::Error::Refused { why, .. } = ask(&[name]).unwrap_err() else { panic!() };
            assert_eq!(why, expected);
        }
        assert!(is_missing(&["nothing".to_owned()], &known) && !is_missing(&["db".to_owned()], &known));
    }
}
