//! Loading: the files are read, every option is resolved, and what stands in the files without being an
//! option is noted.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Error, Problem, Warning};
use super::ini::File;
use super::resolve::Resolver;
use super::schema::Schema;
use super::values::{Config, Source};
use super::{find, ini};

/// Where the configuration is read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Files, and directories whose `*.conf` are read in the order of their names. Later ones win.
    pub paths: Vec<PathBuf>,
    /// The environment: `OS_<GROUP>__<OPTION>` wins over the files.
    pub env: HashMap<String, String>,
}

/// What a command line names.
#[derive(Clone, Debug)]
pub enum Named {
    /// `--config-file`.
    File(PathBuf),
    /// `--config-dir`.
    Directory(PathBuf),
}

impl Sources {
    /// What a command line names, in its order, and the process's environment. Where the command line names
    /// no file, or no directory, those of `project` and `program` are looked up in the usual places, and come
    /// before those it names.
    pub fn of(project: &str, program: &str, named: &[Named]) -> Self {
        let home = std::env::home_dir();
        let usual = |extension| find::find(Path::new("/"), home.as_deref(), project, program, extension);
        let mut paths = Vec::new();
        if !named.iter().any(|named| matches!(named, Named::File(_))) {
            paths.extend(usual(".conf"));
        }
        if !named.iter().any(|named| matches!(named, Named::Directory(_))) {
            paths.extend(usual(".conf.d"));
        }
        paths.extend(named.iter().map(|(Named::File(path) | Named::Directory(path))| path.clone()));
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { paths, env: std::env::vars_os().filter_map(text).collect() }
    }
}

impl Config {
    /// Reads the sources and resolves every option of the schema.
    pub fn load(sources: &Sources, schema: &Schema) -> Result<Self, Error> {
        let mut problems = Vec::new();
        let files = read_all(&sources.paths, &mut problems);
        let schema = followed(schema.clone(), &files, sources);
        let mut resolver = Resolver::new(&schema, &files, &sources.env);
        let entries = resolver.all();
        problems.append(&mut resolver.problems);
        if !problems.is_empty() {
            return Err(Error { problems });
        }
        let mut warnings = unknown(&schema, &files);
        warnings.append(&mut resolver.warnings);
        Ok(Self::new(entries, warnings))
    }
}

fn read_all(paths: &[PathBuf], problems: &mut Vec<Problem>) -> Vec<File> {
    let mut files = Vec::new();
    for path in paths {
        let named = if path.is_dir() { in_directory(path) } else { Ok(vec![path.clone()]) };
        match named {
            Ok(named) => files.extend(named.iter().filter_map(|path| read(path, problems))),
            Err(error) => {
                problems.push(Problem::Unreadable { path: path.clone(), reason: error.to_string() });
            }
        }
    }
    files
}

/// `*.conf` in the order of names; names that begin with a dot are left out, as Python's `glob` does.
fn in_directory(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|extension| extension == "conf") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path, problems: &mut Vec<Problem>) -> Option<File> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            problems.push(Problem::Unreadable { path: path.to_owned(), reason: error.to_string() });
            return None;
        }
    };
    let syntax = |line, what: &str| Problem::Syntax { path: path.to_owned(), line, what: what.to_owned() };
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = (1..).zip(before.split(|&b| b == b'\n')).last().map_or(1, |(line, _)| line);
            problems.push(syntax(line, "is not UTF-8 text; convert the file to UTF-8"));
            return None;
        }
    };
    let (assignments, errors) = ini::parse(&text);
    problems.extend(errors.into_iter().map(|error| syntax(error.line, error.what)));
    let mut values: HashMap<_, Vec<_>> = HashMap::new();
    for a in assignments {
        values.entry((a.group, a.name)).or_default().push((a.value, a.line));
    }
    Some(File { path: path.into(), values })
}

/// The schema with the options of the groups that options of it name (`auth_section`).
fn followed(mut schema: Schema, files: &[File], sources: &Sources) -> Schema {
    for (name, table) in schema.follow.clone() {
        let mut resolver = Resolver::new(&schema, files, &sources.env);
        for group in resolver.texts_of(name) {
            schema.register(&group, table);
        }
    }
    schema
}

/// What stands in the files and is no option of this service nor of the one it replaces.
fn unknown(schema: &Schema, files: &[File]) -> Vec<Warning> {
    let mut known = schema.known.clone();
    for (group, name) in schema.options.iter().flat_map(super::schema::Registered::names) {
        known.add(group, name);
    }
    let mut warnings = Vec::new();
    for file in files {
        let mut found: Vec<_> =
            file.values.iter().filter(|((group, name), _)| !known.contains(group, name)).collect();
        found.sort_by_key(|(_, values)| values.first().map(|(_, line)| *line));
        warnings.extend(found.into_iter().map(|((group, name), values)| Warning::Unknown {
            at: Source::File {
                path: Arc::clone(&file.path),
                line: values.first().map_or(0, |(_, line)| *line),
            },
            group: group.clone(),
            name: name.clone(),
            nearest: known.nearest(group, name),
        }));
    }
    warnings
}
