//! Loading as a whole: files, directories, environment, former names, references, problems and warnings.

use std::path::PathBuf;

use secrecy::ExposeSecret;

use super::*;

const TOP: &[Opt] = &[
    Opt::string("a"),
    Opt::string("b").default("bee"),
    Opt::int("n").default("5"),
    Opt::int_from("least", 1).default("1"),
    Opt::bool("t").default("true"),
    Opt::list("l").default("x,$b"),
    Opt::string("none"),
    Opt::string("log_file").deprecated(&[("", "logfile")]),
    Opt::float("f").default("1.5"),
    Opt::multi("m").deprecated(&[("old", "mm")]),
    Opt::new("d", Kind::Dict),
    Opt::string("password").secret(),
    Opt::string("url").secret_url(),
    Opt::new("word", Kind::Choice { allowed: &["one", "two"], ignore_case: true }).default("one").mutable(),
];
const GROUP: &[Opt] = &[Opt::string("a"), Opt::string("b"), Opt::string("g1"), Opt::string("auth_section")];
const AUTH: &[Opt] = &[Opt::string("username").deprecated(&[("", "user-name"), ("", "user_name")])];

fn schema() -> Schema {
    Schema::new("DEFAULT: known_one base\nelsewhere: x password\ndatabase: connection\n")
        .group("DEFAULT", &[TOP])
        .group("grp", &[GROUP, AUTH])
        .follow("auth_section", AUTH)
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn load_with(texts: &[&str], env: &[(&str, &str)]) -> Result<Config, Error> {
    let place = Place::new();
    let paths = texts.iter().enumerate().map(|(n, text)| place.file(&format!("{n}.conf"), text)).collect();
    let env = env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    Config::load(&Sources { paths, env }, &schema())
}

fn load(text: &str) -> Config {
    load_with(&[text], &[]).unwrap()
}

#[test]
fn references_give_what_oslo_config_gives() {
    for (value, expected) in [
        ("$b", "bee"),
        ("${grp.g1}", "gee"),
        ("$grp.g1", "gee"),
        ("$n", "5"),
        ("$t", "True"),
        ("$l", "['x', 'bee']"),
        ("$none", ""),
        ("$f", "1.5"),
        ("$m", ""),
        ("$log_file", ""),
        ("$logfile", ""),
        ("$1", "$1"),
        // oslo.config fails on the following.
        ("$zzz", "$zzz"),
        ("${grp.zzz}", "${grp.zzz}"),
        ("$b.c", "$b.c"),
        ("$B", "$B"),
        ("$grp", "$grp"),
    ] {
        let config = load(&format!("[DEFAULT]\na = {value}\n[GRP]\ng1=gee\n"));
        assert_eq!(config.top().text("a"), expected, "{value}");
    }
}

#[test]
fn a_reference_looks_in_its_own_group_first() {
    let config = load("[DEFAULT]\na=top\n[grp]\na=own\nb=$a\ng1=$n\n");
    assert_eq!(config.group("grp").text("b"), "own");
    assert_eq!(config.group("grp").text("g1"), "5");
}

#[test]
fn a_reference_to_an_option_that_is_only_known_gives_its_text() {
    let config = load("[DEFAULT]\na=$base/x\nbase=/srv/$b\n");
    assert_eq!(config.top().text("a"), "/srv/bee/x");
    assert_eq!(config.warnings, []);
}

#[test]
fn a_reference_in_a_circle_is_a_problem() {
    let error = load_with(&["[DEFAULT]\na=$none\nnone=$a\n"], &[]).unwrap_err().to_string();
    assert!(error.contains("leads back to it"), "{error}");
    assert!(load_with(&["[DEFAULT]\na=$base\nbase=$base\n"], &[]).is_err());
}

#[test]
fn the_last_file_wins_and_the_environment_over_it() {
    let texts = ["[DEFAULT]\na=1\nb=1\nn=1\n", "[DEFAULT]\na=2\nb=2\n"];
    let config = load_with(&texts, &[("OS_DEFAULT__A", "3"), ("OS_GRP__G1", "4")]).unwrap();
    let top = config.top();
    assert_eq!((top.text("a").as_str(), top.text("b").as_str(), top.int("n")), ("3", "2", 1));
    assert_eq!(config.group("grp").text("g1"), "4");
    let sources: Vec<_> =
        ["a", "b", "n", "f"].map(|name| top.entry(name).unwrap().source().to_string()).into();
    assert_eq!(sources[0], "environment OS_DEFAULT__A");
    assert!(sources[1].ends_with("1.conf:3") && sources[2].ends_with("0.conf:4"), "{sources:?}");
    assert_eq!(sources[3], "default");
}

#[test]
fn a_directory_is_read_in_the_order_of_names() {
    let place = Place::new();
    place.file("d/20.conf", "[DEFAULT]\na=20\n");
    place.file("d/10.conf", "[DEFAULT]\na=10\nb=10\n");
    place.file("d/.hidden.conf", "[DEFAULT]\nn=7\n");
    place.file("d/30.ini", "[DEFAULT]\na=30\n");
    let config =
        Config::load(&Sources { paths: vec![place.0.path().join("d")], ..Sources::default() }, &schema())
            .unwrap();
    assert_eq!(
        (config.top().text("a").as_str(), config.top().text("b").as_str(), config.top().int("n")),
        ("20", "10", 5)
    );
}

#[test]
fn repeated_options_add_up_over_files_and_former_names() {
    let config = load_with(&["[DEFAULT]\nm=1\nm=2\n[old]\nmm=0\n", "[DEFAULT]\nm=\"3\"\n"], &[]).unwrap();
    assert_eq!(config.top().list("m"), ["0", "1", "2", "3"]);
    assert_eq!(load_with(&[], &[("OS_DEFAULT__M", "abc")]).unwrap().top().list("m"), ["abc"]);
}

#[test]
fn former_names_work_and_are_mentioned() {
    let config = load("[DEFAULT]\nlogfile=x\n[grp]\nuser-name=me\n");
    assert_eq!(config.top().text("log_file"), "x");
    assert_eq!(config.group("grp").text("username"), "me");
    let said: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert!(said[0].contains("[DEFAULT] logfile is the old name of [DEFAULT] log_file"), "{said:?}");
    assert_eq!(said.len(), 2);
}

#[test]
fn the_present_name_wins_over_a_former_one_in_the_same_file_only() {
    assert_eq!(load("[DEFAULT]\nlog_file=new\nlogfile=old\n").top().text("log_file"), "new");
    let config = load_with(&["[DEFAULT]\nlog_file=new\n", "[DEFAULT]\nlogfile=old\n"], &[]).unwrap();
    assert_eq!(config.top().text("log_file"), "old");
}

#[test]
fn a_group_that_an_option_names_has_the_options_of_its_table() {
    let config = load("[grp]\nauth_section=Shared\n[shared]\nusername=me\n");
    assert_eq!(config.group("shared").text("username"), "me");
    assert_eq!(config.warnings, []);
}

#[test]
fn every_problem_is_in_one_error_that_hides_secrets() {
    let place = Place::new();
    let path = place.file(
        "x.conf",
        "[DEFAULT]\nn=many\nleast=0\nt=perhaps\nword=three\nfoo\n\nd=$password\npassword=hunter2\n",
    );
    let sources =
        Sources { paths: vec![path.clone(), place.0.path().join("absent.conf")], ..Sources::default() };
    let error = Config::load(&sources, &schema()).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.problems.len(), 7, "{text}");
    for part in [
        format!("{}:2: [DEFAULT] n = many: must be a whole number", path.display()),
        "x.conf:3: [DEFAULT] least = 0: must be a whole number, 1 or more".to_owned(),
        "x.conf:4: [DEFAULT] t = perhaps: must be true or false".to_owned(),
        "x.conf:5: [DEFAULT] word = three: must be one of one, two".to_owned(),
        "x.conf:6: neither a section nor name = value".to_owned(),
        "x.conf:8: [DEFAULT] d = ***: must be name:value pairs".to_owned(),
        "absent.conf: cannot be read".to_owned(),
    ] {
        assert!(text.contains(&part), "{part} not in {text}");
    }
    assert!(!text.contains("hunter2"));
}

#[test]
fn a_file_that_is_not_utf_8_is_refused_with_its_line() {
    let place = Place::new();
    let path = place.file("x.conf", "");
    std::fs::write(&path, b"[DEFAULT]\na=1\nb=\xff\n").unwrap();
    let error = Config::load(&Sources { paths: vec![path], ..Sources::default() }, &schema())
        .unwrap_err()
        .to_string();
    assert!(error.contains("x.conf:3: is not UTF-8"), "{error}");
}

#[test]
fn unknown_options_are_mentioned_with_what_was_meant() {
    let config = load("[DEFAULT]\nlog-file=x\nknown_one=1\n[elsewhere]\nx=1\ny=2\n[default]\nt=no\n");
    let said: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said[0].contains("0.conf:2: [DEFAULT] log-file is no known option")
            && said[0].contains("[DEFAULT] log_file?")
    );
    assert!(said[1].contains("[elsewhere] y"));
    assert!(said[2].contains("did you mean [DEFAULT] t?"), "{said:?}");
    assert!(config.top().bool("t"));
}

#[test]
fn a_reference_inside_a_secret_is_not_repeated_in_a_warning() {
    let config = load("[DEFAULT]\npassword=p$ssword\na=$nothing\n");
    assert_eq!(config.top().secret("password").unwrap().expose_secret(), "p$ssword");
    let said: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|text| text.contains("$nothing")));
    assert!(!said.join(" ").contains("ssword to"), "{said:?}");
}

#[test]
fn secrets_are_shown_as_stars_wherever_they_went() {
    let config = load(
        "[DEFAULT]\npassword=hunter2\na=x$password\nb=http://me:hunter2@h/\nurl=rabbit://u:hunter2@h:1/v\n",
    );
    let shown = |name: &str| config.top().entry(name).unwrap().shown().join("");
    assert_eq!(shown("password"), "***");
    assert_eq!(shown("a"), "***");
    assert_eq!(shown("b"), "http://me:***@h/");
    assert_eq!(shown("url"), "rabbit://u:***@h:1/v");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.top().text("a"), "xhunter2");
    assert_eq!(config.top().secret("url").unwrap().expose_secret(), "rabbit://u:hunter2@h:1/v");
}

#[test]
fn a_blank_number_is_the_default() {
    let config = load("[DEFAULT]\nn=\nleast = \n");
    assert_eq!((config.top().int("n"), config.top().int("least")), (5, 1));
}

#[test]
fn what_changed_between_two_readings_is_told() {
    let (old, new) = (load("[DEFAULT]\na=1\nb=bee\n"), load("[DEFAULT]\na=2\nword=TWO\npassword=x\n"));
    let changes: Vec<_> = new.changed(&old).into_iter().map(|c| (c.name, c.mutable)).collect();
    assert_eq!(changes, [("a".to_owned(), false), ("password".to_owned(), false), ("word".to_owned(), true)]);
}

#[test]
fn a_reading_while_the_service_runs_takes_only_what_may_change() {
    let (old, fresh) = (load("[DEFAULT]\na=1\nword=one\n"), load("[DEFAULT]\na=2\nword=TWO\n"));
    let (next, changes) = old.mutated(&fresh);
    assert_eq!((next.top().text("a"), next.top().text("word")), ("1".to_owned(), "TWO".to_owned()));
    assert_eq!(changes.len(), 2);
    // What takes a restart differs still.
    assert_eq!(next.mutated(&fresh).1.len(), 1);
}

#[test]
fn a_secret_that_is_referred_to_stays_one_in_every_kind_of_option() {
    let config = load(
        "[DEFAULT]\npassword=hunter2\nl=a,$password\nd=x:$password\nm=$password\na=${elsewhere.password}\n\
         b=$database.connection\n[elsewhere]\npassword=hunter2\n[database]\nconnection=mysql://hunter2\n",
    );
    for name in ["l", "d", "m", "a", "b"] {
        assert_eq!(config.top().entry(name).unwrap().shown(), ["***"], "{name}");
    }
    assert_eq!(config.top().list("l"), ["a", "hunter2"]);
    assert_eq!(config.top().text("a"), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    let refused = load_with(&["[DEFAULT]\npassword=hunter2\nn=$password\n"], &[]).unwrap_err().to_string();
    assert!(!refused.contains("hunter2"), "{refused}");
}

#[test]
fn a_warning_shows_no_piece_of_a_password_in_a_url() {
    let config = load("[DEFAULT]\na=http://admin:s3cr$tpw@h/\nb=http://h/$nosuch\n");
    let said: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert!(!said[0].contains("tpw") && said[0].contains("[DEFAULT] a"), "{said:?}");
    assert!(said[1].contains("$nosuch"), "{said:?}");
}
