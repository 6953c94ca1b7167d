//! The rules that give a sensible map with no configuration at all, in the order in which they are tried.

use super::{
    Property::{self, Cmdline, Comm, Container, Exe, Kind, Pool, Script, Unit},
    naming,
};

/// Name, conditions (all must hold), name of the group.
type Text = (&'static str, &'static [(Property, &'static str)], &'static str);

/// What takes every process.
pub(super) const REST: Text = ("user", &[], "{user} processes");

/// The built-in rules.
///
/// php-fpm names its processes by their title (`php-fpm: pool www`, `php-fpm: master process (…)`); a worker that has no
/// title yet carries its master's and moves when it is renamed.
pub(super) const RULES: &[Text] = &[
    ("kernel", &[(Kind, "^kernel$")], "kernel threads"),
    ("php pool in a container", &[(Pool, "."), (Container, ".")], naming::POOL_IN_CONTAINER),
    ("php pool", &[(Pool, ".")], naming::POOL),
    ("php master", &[(Cmdline, r"^php-fpm: master process")], naming::FPM_MASTER),
    ("php master", &[(Comm, r"^php[0-9.]*-fpm|^php-fpm")], naming::FPM_MASTER),
    ("apache", &[(Comm, r"^(apache2|httpd|httpd-prefork|httpd-event|httpd-worker)$")], naming::APACHE),
    ("php server", &[(Kind, "^php$"), (Cmdline, r" -S ?\S+:\d")], naming::BUILT_IN_SERVER),
    // A script may give itself any title (cli_set_process_title): what it runs stays known.
    ("php script", &[(Kind, "^php$"), (Script, ".")], naming::SCRIPT),
    ("php cli", &[(Kind, "^php$")], naming::NO_SCRIPT),
    ("php cgi", &[(Comm, r"^(php[0-9.]*-cgi[0-9.]*|lsphp[0-9.]*)$")], "php cgi: {user}"),
    ("frankenphp", &[(Comm, r"^frankenphp$")], "frankenphp"),
    ("database", &[(Comm, r"^(mariadbd|mariadbd-safe|mysqld|mysqld_safe)$")], "{comm}"),
    ("database", &[(Comm, r"^(postgres|postmaster)$")], "postgres"),
    (
        "database",
        &[(Comm, r"^(mongod|redis-server|valkey-server|keydb-server|dragonfly|memcached|clickhouse|influxd|sqlservr)")],
        "{comm}",
    ),
    ("search", &[(Comm, "^java$"), (Cmdline, r"org\.(?P<product>elasticsearch|opensearch|apache\.solr)")], "{product}"),
    ("search", &[(Comm, r"^(searchd|meilisearch|typesense-serve|manticore)")], "{comm}"),
    ("queue", &[(Comm, "^beam"), (Cmdline, "rabbit")], "rabbitmq"),
    ("queue", &[(Comm, r"^(beanstalkd|nats-server|gearmand|mosquitto)$")], "{comm}"),
    (
        "web server",
        &[(Comm, r"^(nginx|caddy|lighttpd|haproxy|varnishd|traefik|envoy|squid|litespeed|openlitespeed)$")],
        "{comm}",
    ),
    ("web server", &[(Comm, r"^(cache-main|vcache)$"), (Cmdline, "varnishd")], "varnishd"),
    ("exporter", &[(Exe, r"[_-]exporter$")], "exporters"),
    ("exporter", &[(Comm, r"[_-]export(er?)?$")], "exporters"),
    ("container engine", &[(Comm, r"^(dockerd|docker-proxy|podman|conmon|crio|kubelet)$")], "{comm}"),
    ("container engine", &[(Comm, r"^containerd")], "containerd"),
    ("ssh", &[(Comm, r"^(sshd|sshd-session|sshd-auth)$")], "sshd"),
    ("systemd", &[(Comm, r"^(systemd|systemd-.*|\(sd-pam\)|\(udev-worker\)|init)$")], "systemd"),
    (
        "mail",
        &[(Comm, r"^(master|pickup|qmgr|smtpd|cleanup|tlsmgr|trivial-rewrite|smtp|local)$"), (Unit, "^postfix")],
        "postfix",
    ),
    ("mail", &[(Comm, r"^(exim4?|dovecot|rspamd|clamd|opendkim)$")], "{comm}"),
    (
        "daemon",
        &[(
            Comm,
            r"^(cron|crond|atd|rsyslogd|dbus-daemon|dbus-broker|chronyd|named|unbound|supervisord|auditd|fail2ban-server)$",
        )],
        "{comm}",
    ),
    ("container", &[(Container, ".")], "container {container}"),
    ("user", &[(Unit, r"^user@[0-9]+\.service$")], "{user} processes"),
    ("systemd unit", &[(Unit, r"\.service$")], "{unit}"),
];
