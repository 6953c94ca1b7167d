//! nginx in front of php-fpm: every path that is not a file goes to `/index.php`, as frameworks have it.

use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use rustix::process::Signal;

use super::daemon::{Daemon, Process};
use super::{PhpFpm, Request, Response, free_port};

/// A running nginx with one worker. Dropping it ends it.
#[derive(Debug)]
pub struct Nginx {
    daemon: Daemon,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts nginx on a free port of 127.0.0.1, with its requests passed to `pool` of `fpm`.
    pub fn start(fpm: &PhpFpm, pool: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("tusktop-nginx-").tempdir().expect("the folder can be written");
        let port = free_port();
        let (path, root) = (folder.path().display(), fpm.site().document_root());
        let text = format!(
            r"daemon off;
worker_processes 1;
pid {path}/nginx.pid;
error_log {path}/error.log notice;
user nobody {group};
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {path}/body;
    proxy_temp_path {path}/proxy;
    fastcgi_temp_path {path}/fastcgi;
    uwsgi_temp_path {path}/uwsgi;
    scgi_temp_path {path}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root};
        location / {{ try_files $uri /index.php$is_args$args; }}
        location ~ \.php$ {{
            fastcgi_pass unix:{socket};
            fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
            fastcgi_param SCRIPT_NAME $fastcgi_script_name;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
            fastcgi_param REQUEST_URI $request_uri;
            fastcgi_param DOCUMENT_URI $document_uri;
            fastcgi_param DOCUMENT_ROOT $document_root;
            fastcgi_param SERVER_PROTOCOL $server_protocol;
            fastcgi_param GATEWAY_INTERFACE CGI/1.1;
            fastcgi_param REMOTE_ADDR $remote_addr;
            fastcgi_param SERVER_NAME $server_name;
            fastcgi_param SERVER_PORT $server_port;
            fastcgi_param HTTP_HOST $http_host;
        }}
    }}
}}
",
            group = group_of_nobody(),
            root = root.display(),
            socket = fpm.socket(pool).display(),
        );
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, text).expect("the folder is ours");
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-c").arg(&config).arg("-e").arg(folder.path().join("start.log"));
        let mut daemon = Daemon::start(command, &folder.path().join("start.log"), Signal::QUIT);
        daemon.wait_ready("nginx accepts", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        Self { daemon, port, _folder: folder }
    }

    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    pub fn send(&self, request: &Request) -> Response {
        request.send(self.port)
    }

    pub fn get(&self, uri: &str) -> Response {
        self.send(&Request::get(uri))
    }

    /// Ends nginx. Returns the processes that had to be killed.
    pub fn stop(&mut self) -> Vec<Process> {
        self.daemon.stop()
    }
}

/// `nobody`'s own group: `nogroup` on Debian, `nobody` elsewhere.
pub fn group_of_nobody() -> &'static str {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    if groups.lines().any(|line| line.starts_with("nogroup:")) { "nogroup" } else { "nobody" }
}
