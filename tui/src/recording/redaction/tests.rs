//! Claims about redaction: nothing of the original is left, and the screen stays useful.

use std::{
    collections::BTreeSet,
    hash::{BuildHasherDefault, DefaultHasher},
};

use super::*;

const SNAPSHOTS: [&str; 2] =
    [include_str!("../../../tests/fixtures/web01.json"), include_str!("../../../tests/fixtures/schema1.json")];

/// All texts of a value, with the names of the fields that they are in.
fn texts(value: &Value) -> Vec<(String, String)> {
    fn walk(value: &Value, within: &str, found: &mut Vec<(String, String)>) {
        match value {
            Value::String(text) => found.push((within.to_owned(), text.clone())),
            Value::Array(list) => list.iter().for_each(|value| walk(value, within, found)),
            Value::Object(fields) => {
                fields.iter().for_each(|(name, value)| walk(value, &format!("{within}.{name}"), found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found
}

/// The words of a text: runs of letters and digits that have a letter, of four or more.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    words.filter(|word| word.len() >= 4 && word.chars().any(char::is_alphabetic))
}

/// Fields whose texts are our own words, built-in functions or times: what is in them may be in the output.
fn is_ours(field: &str) -> bool {
    [
        ".at",
        ".started_at",
        ".since",
        ".state",
        ".kind",
        ".level",
        ".seen_by",
        ".bound",
        ".process_manager",
        ".pss_unknown",
        ".memory_unknown",
    ]
    .iter()
    .any(|end| field.ends_with(end))
}

/// Tells words that everybody knows, from all lists, also with a version behind them.
fn safe() -> impl Fn(&str) -> bool {
    let lists = [
        known::FUNCTIONS,
        known::CLASSES,
        known::USERS,
        known::FOLDERS,
        known::FILES,
        known::ENDINGS,
        known::UNITS,
        known::PROGRAMS,
    ];
    let listed =
        lists.into_iter().flatten().copied().chain(known::TITLES.iter().flat_map(|(_, words)| words.iter().copied()));
    let known: BTreeSet<&str> = listed.flat_map(|text| text.split(|c: char| !c.is_alphanumeric())).collect();
    move |word| known.contains(word) || known.contains(word.trim_end_matches(|c: char| c.is_ascii_digit()))
}

/// Redacts with a key that is the same in every run, so that no word is in a pseudonym by chance.
fn redacted(snapshot: &Snapshot) -> (Snapshot, String) {
    let redaction: Redaction<BuildHasherDefault<DefaultHasher>> = Redaction::default();
    let redacted = redaction.redact(snapshot).unwrap();
    let json = serde_json::to_string(&redacted).unwrap();
    (redacted, json)
}

#[test]
fn no_word_of_the_original_is_left() {
    for json in SNAPSHOTS {
        let snapshot = Snapshot::read(json.as_bytes()).unwrap();
        let original = serde_json::to_value(&snapshot).unwrap();
        let built_in: BTreeSet<&str> = snapshot
            .php
            .functions
            .iter()
            .filter(|f| f.key.kind == crate::model::FunctionKind::Internal)
            .map(|f| &*f.key.name)
            .collect();
        let (_, out) = redacted(&snapshot);
        let safe = safe();
        let is_somebodys =
            |field: &str, text: &str| !is_ours(field) && !built_in.contains(text) && !known::is_word(text);
        let out = texts(&serde_json::from_str(&out).unwrap());
        let left: BTreeSet<&str> = out
            .iter()
            .filter(|(field, text)| is_somebodys(field, text))
            .flat_map(|(_, text)| words(text))
            .filter(|word| !safe(word))
            .collect();
        let mut looked_for = 0;
        for (field, text) in texts(&original) {
            if !is_somebodys(&field, &text) {
                continue;
            }
            for word in words(&text).filter(|word| !safe(word)) {
                looked_for += 1;
                let found = left.iter().find(|left| left.contains(word));
                assert!(found.is_none(), "{word} of {field} is in {found:?}");
            }
        }
        assert!(looked_for > 300, "{looked_for}");
    }
}

#[test]
fn a_text_in_any_field_is_replaced() {
    // The texts of all fields become ones that were never seen, but where only our own words can be read.
    let mut changed = 0;
    for json in SNAPSHOTS {
        let snapshot = Snapshot::read(json.as_bytes()).unwrap();
        let mut original = serde_json::to_value(&snapshot).unwrap();
        fn change(value: &mut Value, changed: &mut u32) {
            match value {
                Value::String(text) if !text.is_empty() => {
                    *changed += 1;
                    *text = format!("Zq{changed}secret");
                }
                Value::Array(list) => list.iter_mut().for_each(|value| change(value, changed)),
                Value::Object(fields) => {
                    let is_ours = |name: &str| super::tests::is_ours(&format!(".{name}"));
                    fields.iter_mut().filter(|(name, _)| !is_ours(name)).for_each(|(_, value)| change(value, changed));
                }
                _ => {}
            }
        }
        change(&mut original, &mut changed);
        // Not built in any more, so that its name is somebody's.
        let text = original.to_string().replace("\"internal\"", "\"user\"");
        let snapshot = Snapshot::read(text.as_bytes()).unwrap();
        let (_, out) = redacted(&snapshot);
        assert!(
            !out.contains("secret") && !out.contains("Zq"),
            "{:?}",
            out.find("secret").map(|at| &out[at.saturating_sub(80)..at + 20])
        );
    }
    assert!(changed > 500, "{changed}");
}

#[test]
fn a_field_that_nobody_listed_is_replaced_as_a_whole() {
    let redaction: Redaction = Redaction::default();
    let mut value = serde_json::json!({
        "from_the_future": "Acme",
        "php": { "state": "read", "queries": [{ "sql": "SELECT Acme", "started_at": "Acme" }], "functions": [{ "name": "strlen", "kind": "internal", "note": "Acme" }] },
        "processes": [{ "environment": { "state": "Acme" } }],
    });
    redaction.value(&mut value, &mut Vec::new(), None);
    let text = value.to_string();
    assert!(!text.contains("Acme"), "{text}");
    assert!(text.contains("strlen") && text.contains("\"read\""), "{text}");
}

#[test]
fn shapes_and_what_belongs_together_stay() {
    let (out, json) = redacted(&Snapshot::read(SNAPSHOTS[0].as_bytes()).unwrap());
    assert_eq!(Snapshot::read(json.as_bytes()).unwrap(), out, "it is a snapshot like any other");
    let names: BTreeSet<_> = out.groups.iter().map(|group| group.name.clone()).collect();
    assert_eq!(names.len(), out.groups.len(), "groups stay apart");
    assert!(names.contains("php-fpm: www") && names.contains("mariadbd"));
    assert!(out.php.routes.iter().all(|route| names.contains(&route.key.group)));
    let pools: BTreeSet<_> = out.php.pools.iter().map(|pool| pool.board.name.clone()).collect();
    assert!(out.php.workers.iter().all(|worker| pools.contains(&worker.pool)));
    assert!(out.php.functions.iter().any(|function| &*function.key.name == "curl_exec"), "built-in functions stay");
    assert!(out.php.routes.iter().any(|route| route.key.script.ends_with("/index.php")));
    assert!(out.host.name.starts_with("host-") && out.host.kernel == "6.1.0-28");
}

#[test]
fn every_kind_of_text_keeps_its_shape() {
    let redaction: Redaction = Redaction::default();
    let of = |text: &str| redaction.pseudonyms.of(text);
    let text = |rule, text: &str| redaction.text(rule, text, None);
    for (rule, from, to) in [
        (Rule::Path, "/srv/acme/src/Cart.php", format!("/srv/{}/src/{}.php", of("acme"), of("Cart"))),
        (Rule::Path, "/etc/php/8.2/fpm/pool.d/acme.conf", format!("/etc/php/8.2/fpm/pool.d/{}.conf", of("acme"))),
        (Rule::Path, "/usr/sbin/php-fpm8.2", "/usr/sbin/php-fpm8.2".to_owned()),
        (Rule::Path, "/srv/20261127/index.php", format!("/srv/{}/index.php", of("20261127"))),
        (Rule::Path, "acme.xyz", of("acme.xyz")),
        (Rule::Place, "/srv/Cart.php:12", format!("/srv/{}.php:12", of("Cart"))),
        (Rule::Place, "/srv/Cart:x", format!("/srv/{}", of("Cart:x"))),
        (
            Rule::Uri,
            "/product/1182?color=red&x#top",
            format!("/{}/{}?{}={}&{}#{}", of("product"), of("1182"), of("color"), of("red"), of("x"), of("top")),
        ),
        (Rule::Uri, "/product/:n", format!("/{}/:n", of("product"))),
        (Rule::Uri, "/old/page-:n.html", format!("/{}/{}:n{}", of("old"), of("page-"), of(".html"))),
        (Rule::Uri, "/", "/".to_owned()),
        (Rule::Uri, "/acme/index.php", format!("/{}/index.php", of("acme"))),
        (
            Rule::CommandLine,
            "mysqld --user=alice -ps3cret /var/lib/acme",
            format!("mysqld --{} -{} /var/lib/{}", of("user=alice"), of("ps3cret"), of("acme")),
        ),
        (Rule::CommandLine, "php-fpm: pool acme", format!("php-fpm: pool {}", of("acme"))),
        (
            Rule::CommandLine,
            "php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)",
            "php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)".to_owned(),
        ),
        (Rule::CommandLine, "curl --password index", format!("{} --{} {}", of("curl"), of("password"), of("index"))),
        (Rule::Name, "php-fpm: acme", format!("php-fpm: {}", of("acme"))),
        (Rule::Name, "acme-api.service", format!("{}.service", of("acme-api"))),
        (Rule::Name, "php8.2-fpm", "php8.2-fpm".to_owned()),
        (Rule::Unit, "php8.2-fpm.service", "php8.2-fpm.service".to_owned()),
        (Rule::Cgroup, "/system.slice/acme.service", format!("/system.slice/{}.service", of("acme"))),
        (Rule::User, "www-data", "www-data".to_owned()),
        (Rule::User, "alice", of("alice")),
        (Rule::Version, "6.1.0-28-acme", "6.1.0-28".to_owned()),
        (Rule::Version, "acme", of("acme")),
        (Rule::Class, "Acme\\Cart", format!("{}\\{}", of("Acme"), of("Cart"))),
        (Rule::Class, "RuntimeException", "RuntimeException".to_owned()),
        (Rule::Class, "class@anonymous\0/srv/acme.php:3$0", "class@anonymous".to_owned()),
        (Rule::Function, "{closure:Acme\\Cart::add():12}", "{closure}".to_owned()),
        (Rule::Function, "(before or after PHP code)", "(before or after PHP code)".to_owned()),
        (Rule::Name, "(no name)", "(no name)".to_owned()),
        (Rule::Name, "more groups", "more groups".to_owned()),
        (Rule::Uri, "(other)", "(other)".to_owned()),
        (Rule::Function, "chargeAcme", of("chargeAcme")),
        (Rule::Known, "POST", "POST".to_owned()),
        (Rule::Known, "ACME", of("ACME")),
        (Rule::Other, "", String::new()),
    ] {
        assert_eq!(text(rule, from), to, "{from}");
    }
}

#[test]
fn a_pseudonym_is_stable_within_a_recording_and_another_in_the_next() {
    let (one, other): (Redaction, Redaction) = (Redaction::default(), Redaction::default());
    assert_eq!(one.pseudonyms.of("acme"), one.pseudonyms.of("acme"));
    assert_ne!(one.pseudonyms.of("acme"), other.pseudonyms.of("acme"));
    let many: BTreeSet<String> = (0..1000).map(|i| one.pseudonyms.of(&format!("acme {i}"))).collect();
    assert!(many.len() >= 999 && many.iter().all(|text| text.len() == 6));
}
