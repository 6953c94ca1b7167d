//! What `snap` prints of a busy server.

use std::sync::Arc;

use tusktop::{
    export,
    model::{Level, Notice, NoticeKind, Php, Snapshot, Tier, TierStatus},
};

fn busy() -> Snapshot {
    Snapshot::read(include_bytes!("../fixtures/web01.json")).unwrap()
}

fn table(snapshot: &Snapshot) -> String {
    let mut out = Vec::new();
    export::write_table(snapshot, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_table_of_a_busy_server() {
    insta::assert_snapshot!(table(&busy()));
}

#[test]
fn an_idle_machine_without_php_has_no_empty_tables() {
    let mut snapshot = busy();
    snapshot.php = Arc::new(Php::default());
    snapshot.groups.truncate(1);
    snapshot.notices.clear();
    let text = table(&snapshot);
    assert_eq!(text.lines().filter(|line| line.is_empty()).count(), 1, "{text}");
}

#[test]
fn nothing_of_the_snapshot_can_steer_a_terminal() {
    let hostile = "\x1b[2J\u{9b}1m\u{202e}x\r\n\t\u{200b}";
    let mut snapshot = busy();
    snapshot.host.name = hostile.into();
    snapshot.host.kernel = hostile.into();
    snapshot.groups[0].name = hostile.into();
    snapshot.notices.push(Notice {
        level: Level::Error,
        kind: NoticeKind::Other,
        text: hostile.into(),
        hint: hostile.into(),
    });
    let php = Arc::make_mut(&mut snapshot.php);
    for function in &mut php.functions {
        let key = Arc::make_mut(&mut function.key);
        (key.name, key.class, key.file) = (hostile.into(), hostile.into(), hostile.into());
    }
    for route in &mut php.routes {
        let key = Arc::make_mut(&mut route.key);
        (key.route, key.script) = (hostile.into(), hostile.into());
        (key.method, key.group) = (hostile.into(), hostile.into());
    }
    for request in &mut php.requests {
        (request.uri, request.method) = (hostile.into(), hostile.into());
    }
    for target in &mut php.targets {
        (target.exe, target.sapi, target.version) = (hostile.into(), hostile.into(), Some(hostile.into()));
        target.tiers[Tier::Exact].reason = hostile.into();
    }
    let text = table(&snapshot);
    let harmful =
        |c: &char| c.is_control() && *c != '\n' || matches!(*c, '\u{202a}'..='\u{202e}' | '\u{200b}'..='\u{200f}');
    assert_eq!(text.chars().find(harmful), None);
    assert_eq!(text.lines().count(), table(&busy()).lines().count() + 2 + usize::from(busy().notices.is_empty()) * 2);
}

#[test]
fn json_is_one_line_that_reads_back() {
    let mut out = Vec::new();
    export::write_json(&busy(), &mut out).unwrap();
    assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
    assert_eq!(serde_json::from_slice::<Snapshot>(&out).unwrap(), busy());
}

#[test]
fn every_tier_has_a_column_in_the_table_and_says_there_why_it_is_missing() {
    for tier in Tier::ALL {
        let mut snapshot = busy();
        let mut php = Php::clone(&snapshot.php);
        php.targets[0].tiers[tier] = TierStatus::unavailable("of a reason");
        snapshot.php = Arc::new(php);
        let text = table(&snapshot);
        let rows: Vec<_> = text.lines().skip_while(|line| *line != "php").skip(1).take(2).collect();
        let column = rows[0].find(&format!("  {}", tier.name().to_uppercase())).unwrap();
        assert!(rows[1][column..].starts_with("  no: of a reason"), "{tier:?} in {rows:#?}");
    }
}

#[test]
fn every_tier_is_in_the_json_of_a_target() {
    let mut out = Vec::new();
    export::write_json(&busy(), &mut out).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    for tier in Tier::ALL {
        let status = &json["php"]["targets"][0]["tiers"][tier.name()];
        let on = busy().php.targets[0].tiers.is_on(tier);
        assert_eq!(status["state"], if on { "on" } else { "off" }, "{tier:?}");
    }
}
