//! The rules as a whole: which group a process gets, and that there is always one.

use proptest::prelude::*;

use super::*;
use crate::collect::script::{Script, is_php};

pub(super) fn process(comm: &str, cmdline: &str) -> Details {
    let exe = cmdline.split(' ').next().unwrap_or_default();
    let names_php = is_php(exe.rsplit('/').next().unwrap());
    let script = Script::of(cmdline.replace(' ', "\0").as_bytes()).filter(|_| names_php);
    Details {
        pid: 7,
        comm: comm.into(),
        exe: exe.into(),
        cmdline: cmdline.into(),
        php: is_php(comm) || names_php,
        script: script.map(|script| script.name),
        pool: crate::model::pool_of_title(cmdline).map(Arc::from),
        user: "alice".into(),
        unit: None,
        container: None,
        cgroups: Arc::default(),
        memory_cgroup: None,
        kernel_thread: false,
        started_at: None,
    }
}

static BUILT_IN: std::sync::LazyLock<Rules> = std::sync::LazyLock::new(Rules::default);

fn group(process: &Details) -> (String, String) {
    let (group, rule) = BUILT_IN.group(process);
    (group, BUILT_IN.all()[rule].name().to_string())
}

#[test]
fn well_known_programs_have_their_groups() {
    let cases = [
        ("php-fpm8.2", "php-fpm: pool www", "php-fpm: www", "php pool"),
        ("php-fpm", "php-fpm: pool my site", "php-fpm: my site", "php pool"),
        ("php-fpm8.2", "php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)", "php-fpm: master", "php master"),
        ("php-fpm8.2", "/usr/sbin/php-fpm8.2 --nodaemonize", "php-fpm: master", "php master"),
        ("php8.2-fpm", "", "php-fpm: master", "php master"),
        ("grep", "grep php-fpm: pool www", "alice processes", "user"),
        ("apache2", "/usr/sbin/apache2 -k start", "apache", "apache"),
        ("httpd", "/usr/sbin/httpd -DFOREGROUND", "apache", "apache"),
        ("php", "php -S 127.0.0.1:8000 router.php", "php -S", "php server"),
        ("php8.2", "/usr/bin/php8.2 /srv/www/artisan queue:work --tries=3", "php: artisan queue:work", "php script"),
        (
            "php",
            "php -d memory_limit=1G -n bin/console messenger:consume",
            "php: console messenger:consume",
            "php script",
        ),
        ("php", "php -q -f cron.php", "php: cron.php", "php script"),
        ("worker.php", "/usr/bin/php /srv/worker.php", "php: worker.php", "php script"),
        ("php", "php -r echo 1;", "php cli", "php cli"),
        ("ea-php82", "/usr/local/bin/ea-php82 /srv/cron.php", "php: cron.php", "php script"),
        ("phpdbg8.2", "phpdbg8.2 -qrr /srv/x.php", "php: x.php", "php script"),
        ("php8.2", "WorkerMan: worker process  none tcp://0.0.0.0:2345", "php cli", "php cli"),
        ("php", "php", "php cli", "php cli"),
        ("php-cgi", "/usr/bin/php-cgi", "php cgi: alice", "php cgi"),
        ("mariadbd", "/usr/sbin/mariadbd", "mariadbd", "database"),
        ("postgres", "postgres: walwriter", "postgres", "database"),
        ("redis-server", "/usr/bin/redis-server 127.0.0.1:6379", "redis-server", "database"),
        ("java", "/usr/bin/java -Xms1g org.elasticsearch.bootstrap.Elasticsearch", "elasticsearch", "search"),
        ("beam.smp", "/usr/lib/erlang/bin/beam.smp -sname rabbit", "rabbitmq", "queue"),
        ("nginx", "nginx: worker process", "nginx", "web server"),
        ("node_exporter", "/usr/bin/node_exporter --web", "exporters", "exporter"),
        ("prometheus-node", "/usr/bin/prometheus-node-exporter", "exporters", "exporter"),
        ("containerd-shim", "/usr/bin/containerd-shim-runc-v2", "containerd", "container engine"),
        ("sshd", "sshd: alice@pts/0", "sshd", "ssh"),
        ("systemd-journal", "/lib/systemd/systemd-journald", "systemd", "systemd"),
        ("cron", "/usr/sbin/cron -f", "cron", "daemon"),
        ("bash", "-bash", "alice processes", "user"),
        ("", "", "alice processes", "user"),
    ];
    for (comm, cmdline, name, rule) in cases {
        assert_eq!(group(&process(comm, cmdline)), (name.to_owned(), rule.to_owned()), "{comm} {cmdline}");
    }
}

#[test]
fn containers_units_and_the_kernel_have_their_groups() {
    let unit = |unit: &str| Details { unit: Some(unit.into()), ..process("thing", "/usr/bin/thing") };
    assert_eq!(group(&unit("thing.service")).0, "thing.service");
    assert_eq!(group(&unit("user@1000.service")).0, "alice processes");
    assert_eq!(group(&unit("session-3.scope")).0, "alice processes");
    let contained = Details { container: Some("3f2a9c0d4e5b".into()), ..unit("docker.service") };
    assert_eq!(group(&contained).0, "container 3f2a9c0d4e5b");
    let pool = Details { pool: Some("www".into()), cmdline: "php-fpm: pool www".into(), ..contained };
    assert_eq!(group(&pool).0, "php-fpm: www (3f2a9c0d4e5b)");
    let kernel = Details { kernel_thread: true, ..process("kthreadd", "") };
    assert_eq!(group(&kernel), ("kernel threads".to_owned(), "kernel".to_owned()));
}

#[test]
fn the_first_rule_wins_and_a_name_that_is_not_known_is_no_match() {
    let rules = Rules::new(
        vec![
            Rule::new("unit", &[(Property::Comm, "a")], "in {unit}").unwrap(),
            Rule::new("both", &[(Property::Comm, "^a"), (Property::Cmdline, "(?P<what>x+)")], "{what} of {user}")
                .unwrap(),
            Rule::new("any", &[], "{exe}").unwrap(),
        ],
        false,
    );
    let name = |process: &Details| rules.group(process).0;
    assert_eq!(name(&process("ab", "/bin/ab xx")), "xx of alice");
    assert_eq!(name(&process("ab", "/bin/ab y")), "ab");
    assert_eq!(name(&process("zombie", "")), "zombie");
}

#[test]
fn wrong_rules_say_what_is_wrong() {
    let error = Rule::new("r", &[(Property::Comm, "(")], "x").unwrap_err();
    assert!(error.to_string().starts_with("rule `r`: "));
    for (template, name) in [("{nope}", "nope"), ("{pool", "pool"), ("a{}", "")] {
        match Rule::new("r", &[(Property::Comm, ".")], template).unwrap_err() {
            RuleError::Template { name: unknown, .. } => assert_eq!(unknown, name),
            other => panic!("{other}"),
        }
    }
}

proptest! {
    #[test]
    fn every_process_has_one_group_with_a_short_name(
        comm in "\\PC{0,15}", cmdline in ".{0,200}", unit in proptest::option::of(".{0,300}"), kernel_thread: bool
    ) {
        let details = Details { unit: unit.map(Arc::from), kernel_thread, ..process(&comm, &cmdline) };
        let (name, rule) = group(&details);
        prop_assert!(!name.is_empty() && name.chars().count() <= NAME_CHARACTERS && !rule.is_empty());
        prop_assert_eq!(group(&details), (name, rule));
    }
}
