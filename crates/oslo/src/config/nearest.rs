//! The names that are known without being used, and the most similar one to a name that is not.

use std::collections::{BTreeSet, HashMap};

/// Names by group.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    groups: HashMap<String, BTreeSet<String>>,
}

impl Known {
    /// Lines of `group: name name …`; `#` begins a comment.
    pub fn parse(text: &str) -> Self {
        let mut known = Self::default();
        for (group, names) in text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once(':')) {
            for name in names.split_whitespace() {
                known.add(group, name);
            }
        }
        known
    }

    pub fn add(&mut self, group: &str, name: &str) {
        self.groups.entry(group.to_owned()).or_default().insert(name.to_owned());
    }

    pub fn contains(&self, group: &str, name: &str) -> bool {
        let has = |names: &BTreeSet<String>| names.contains(name);
        self.groups.get(group).is_some_and(has)
            || self.groups.iter().any(|(pattern, names)| {
                pattern.strip_suffix('*').is_some_and(|start| group.starts_with(start)) && has(names)
            })
    }

    /// `[group] name` of the option that was most likely meant.
    pub fn nearest(&self, group: &str, name: &str) -> Option<String> {
        let plain = |text: &str| text.trim().to_lowercase().replace('-', "_");
        let (wanted_group, wanted) = (plain(group), plain(name));
        let allowed = (wanted.chars().count() / 4).max(1);
        self.groups
            .iter()
            .flat_map(|(group, names)| names.iter().map(move |name| (group, name)))
            .filter_map(|(group, name)| {
                let names = distance(&wanted, name, allowed)?;
                // The right name in another group is worth a hint, a similar name in another group is not.
                let groups = distance(&wanted_group, &plain(group), 2).unwrap_or(3);
                (groups < 3 || names == 0).then_some((groups * 2 + names, group, name))
            })
            .min()
            .map(|(_, group, name)| format!("[{group}] {name}"))
    }
}

/// Insertions, deletions, replacements and swaps of neighbours between two names, when at most `limit`.
fn distance(a: &str, b: &str, limit: usize) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > limit {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut fewest = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                fewest = fewest.min(before[j - 2] + 1);
            }
            row.push(fewest);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|&found| found <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_that_was_meant_is_found() {
        let known = Known::parse(
            "# names\nDEFAULT: log_file debug my_ip\nironic: auth_url shard\nneutron: auth_url\nphys_*: x\n",
        );
        let nearest = |group: &str, name: &str| known.nearest(group, name);
        assert_eq!(nearest("DEFAULT", "log-file").as_deref(), Some("[DEFAULT] log_file"));
        assert_eq!(nearest("default", "debug").as_deref(), Some("[DEFAULT] debug"));
        assert_eq!(nearest("ironic", "auht_url").as_deref(), Some("[ironic] auth_url"));
        assert_eq!(nearest("irnoic", "shard").as_deref(), Some("[ironic] shard"));
        assert_eq!(nearest("DEFAULT", "shard").as_deref(), Some("[ironic] shard"));
        assert_eq!(nearest("ironic", "colour"), None);
        assert!(known.contains("phys_net1", "x") && !known.contains("other", "x"));
    }
}
