//! Finds the systemd unit and the container of a process in the text of its /proc/PID/cgroup (cgroups(7)).

/// Length of the short form of a container id, as `docker ps` and `crictl ps` print it.
const SHORT_ID: usize = 12;
/// Digits of a full container id (a SHA-256).
const FULL_ID: usize = 64;

/// What a cgroup path says about a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::collect) struct Membership<'a> {
    /// Innermost `.service` or, where there is none, `.scope` on the path.
    pub unit: Option<&'a str>,
    /// Short container id, or the name of an LXC or nspawn container.
    pub container: Option<&'a str>,
}

impl<'a> Membership<'a> {
    /// Reads all lines (`hierarchy:controllers:path`). Units come from the hierarchy that systemd uses
    /// (v2, or `name=systemd` of v1), containers from any.
    pub(crate) fn parse(text: &'a [u8]) -> Self {
        let mut found = Self::default();
        for line in text.split(|&byte| byte == b'\n') {
            let mut fields = line.splitn(3, |&byte| byte == b':');
            let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let Ok(path) = std::str::from_utf8(path) else { continue };
            if found.container.is_none() {
                found.container = container(path);
            }
            if found.unit.is_none() && (controllers.is_empty() || controllers == b"name=systemd") {
                found.unit = unit(path);
            }
        }
        found
    }
}

/// The path of each hierarchy. One that is not UTF-8 is left out.
pub(in crate::collect) fn paths(text: &[u8]) -> impl Iterator<Item = &str> {
    let path = |line| std::str::from_utf8(<[u8]>::splitn(line, 3, |&byte| byte == b':').nth(2)?).ok();
    text.split(|&byte| byte == b'\n').filter_map(path)
}

/// The path whose memory a process is charged to, and the version of that hierarchy; `None` in the root.
pub(super) fn memory(text: &[u8]) -> Option<(&str, u8)> {
    let mut found = None;
    for line in text.split(|&byte| byte == b'\n') {
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        if controllers.split(|&byte| byte == b',').any(|controller| controller == b"memory") {
            // A controller is on one hierarchy only: what version 2 says is not about memory then.
            found = Some((path, 1));
            break;
        }
        if controllers.is_empty() {
            found = Some((path, 2));
        }
    }
    let (path, version) = found?;
    Some((std::str::from_utf8(path).ok().filter(|path| path.starts_with('/') && *path != "/")?, version))
}

fn unit(path: &str) -> Option<&str> {
    let innermost = |suffix: &str| path.rsplit('/').find(|part| part.len() > suffix.len() && part.ends_with(suffix));
    innermost(".service").or_else(|| innermost(".scope"))
}

/// Knows docker, podman, containerd, cri-o and kubernetes by their 64-digit ids, LXC and nspawn by their prefixes.
fn container(path: &str) -> Option<&str> {
    let mut parts = path.split('/').peekable();
    let mut found = None;
    while let Some(part) = parts.next() {
        if part == "lxc" {
            found = parts.peek().copied().filter(|name| !name.is_empty()).or(found);
        } else if let Some(name) = part.strip_prefix("lxc.payload.") {
            found = Some(name);
        } else if let Some(name) = part.strip_prefix("machine-").and_then(|name| name.strip_suffix(".scope")) {
            found = Some(name);
        } else {
            let id = part.strip_suffix(".scope").unwrap_or(part);
            let id = id.rsplit(['-', ':']).next().unwrap_or(id);
            // `libpod-conmon-ID.scope` holds podman's monitor of the container, not the container.
            if id.len() == FULL_ID && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && !part.contains("conmon") {
                found = Some(&id[..SHORT_ID]);
            }
        }
    }
    found.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a9c0d4e5b6a7880912233445566778899aabbccddeeff0011223344556677";

    #[test]
    fn units_and_containers_are_found_where_each_engine_puts_them() {
        let cases: [(String, Option<&str>, Option<&str>); 16] = [
            ("0::/system.slice/php8.2-fpm.service\n".into(), Some("php8.2-fpm.service"), None),
            ("0::/system.slice/a.service/sub/group\n".into(), Some("a.service"), None),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/my.service".into(), Some("my.service"), None),
            ("0::/user.slice/user-0.slice/session-3.scope".into(), Some("session-3.scope"), None),
            ("0::/\n".into(), None, None),
            ("9:memory:/docker/x\n1:name=systemd:/system.slice/b.service\n".into(), Some("b.service"), None),
            (format!("0::/system.slice/docker-{ID}.scope"), None, Some("3f2a9c0d4e5b")),
            (format!("4:memory:/docker/{ID}\n0::/\n"), None, Some("3f2a9c0d4e5b")),
            (format!("0::/machine.slice/libpod-{ID}.scope/container"), None, Some("3f2a9c0d4e5b")),
            (format!("0::/machine.slice/libpod-conmon-{ID}.scope"), None, None),
            (format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"), None, Some("3f2a9c0d4e5b")),
            (format!("0::/kubepods/burstable/pod77/{ID}"), None, Some("3f2a9c0d4e5b")),
            (
                format!("0::/system.slice/containerd.service/kubepods-x.slice:cri-containerd:{ID}"),
                Some("containerd.service"),
                Some("3f2a9c0d4e5b"),
            ),
            ("0::/lxc/web/init".into(), None, Some("web")),
            ("0::/lxc.payload.web/system.slice/nginx.service".into(), Some("nginx.service"), Some("web")),
            ("0::/machine.slice/machine-web.scope/payload".into(), None, Some("web")),
        ];
        for (text, unit, container) in &cases {
            let found = Membership::parse(text.as_bytes());
            assert_eq!(found.container, *container, "{text}");
            if unit.is_some() || container.is_none() && !text.contains("conmon") {
                assert_eq!(found.unit, *unit, "{text}");
            }
        }
    }

    #[test]
    fn other_hex_names_are_no_containers() {
        let text = b"4:memory:/process_api/1bd67834f30686ab120d414afe622417\n0::/\n";
        assert_eq!(Membership::parse(text), Membership::default());
    }

    #[test]
    fn every_hierarchy_has_its_path() {
        let text = b"5:memory:/a:b\n1:name=systemd:/c\n0::/\nx\n2:cpu:/\xff\n";
        assert_eq!(paths(text).collect::<Vec<_>>(), ["/a:b", "/c", "/"]);
    }

    #[test]
    fn memory_is_charged_where_the_controller_is() {
        for (text, expected) in [
            ("0::/system.slice/a.service\n", Some(("/system.slice/a.service", 2))),
            ("9:memory:/docker/x\n1:name=systemd:/b\n0::/c\n", Some(("/docker/x", 1))),
            ("0::/c\n4:cpu,memory:/d:e\n", Some(("/d:e", 1))),
            ("4:memory:/\n0::/c\n", None),
            ("0::/\n", None),
            ("5:cpu:/x\n", None),
            ("0::relative\n", None),
            ("", None),
        ] {
            assert_eq!(memory(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn garbage_is_no_membership() {
        for text in [
            &b""[..],
            b"\n\n",
            b"0",
            b"0::",
            b"0::/\xff\xfe.service",
            b"::::",
            b"0::/.service",
            b"0::/lxc",
            b"0::/lxc/",
        ] {
            assert_eq!(Membership::parse(text), Membership::default());
        }
    }
}
