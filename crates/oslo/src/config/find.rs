//! Where a service looks for its configuration when the command line names none (`cfg.find_config_files`,
//! `find_config_dirs`).

use std::path::{Path, PathBuf};

/// The first `<name><extension>` of the project and of the program: in `~/.<project>`, `~`, `/etc/<project>`,
/// `/etc`.
pub(super) fn find(
    root: &Path,
    home: Option<&Path>,
    project: &str,
    program: &str,
    extension: &str,
) -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(home) = home {
        places.push(home.join(format!(".{project}")));
        places.push(home.to_owned());
    }
    places.push(root.join("etc").join(project));
    places.push(root.join("etc"));
    [project, program]
        .iter()
        .filter_map(|name| {
            places.iter().map(|place| place.join(format!("{name}{extension}"))).find(|path| path.exists())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_wins_for_each_name() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home");
        for file in ["home/.nova/nova.conf", "etc/nova/nova.conf", "etc/nova-compute.conf"] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = find(root.path(), Some(&home), "nova", "nova-compute", ".conf");
        assert_eq!(found, [home.join(".nova/nova.conf"), root.path().join("etc/nova-compute.conf")]);
        assert_eq!(find(root.path(), None, "nova", "nova-compute", ".conf.d"), Vec::<PathBuf>::new());
    }
}
