//! A temporary folder that holds a server's configuration and a copy of the PHP files of `tests/php/scripts`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::Root;

/// The folder. Workers run as `nobody`, so everything in it can be read by all: a checkout in `/root` can not.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    /// Where it is for the server and, by a link, for the test, if the server has another root.
    link: Option<PathBuf>,
}

impl Site {
    /// A new folder with the PHP files of `tests/php/scripts` in `www`.
    pub fn new() -> Self {
        Self::within(&Root::Here)
    }

    /// The same for a server in this root. It has the same path for both.
    pub fn within(root: &Root) -> Self {
        let mut builder = tempfile::Builder::new();
        let folder =
            builder.prefix("tusktop-").tempdir_in(root.temporary()).expect("the temporary folder can be written");
        let link = (!root.is_here()).then(|| {
            let link = Path::new("/tmp").join(folder.path().file_name().expect("it has a name"));
            symlink(folder.path(), &link).expect("the name is new");
            link
        });
        let site = Self { folder, link };
        open_to_all(site.path(), 0o755);
        fs::create_dir(site.document_root()).expect("the folder is new");
        open_to_all(&site.document_root(), 0o755);
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/php/scripts");
        for entry in fs::read_dir(&sources).expect("tests/php/scripts is part of the checkout") {
            let source = entry.expect("tests/php/scripts can be listed").path();
            let text = fs::read_to_string(&source).expect("PHP files are text");
            site.write_page(source.file_name().and_then(|name| name.to_str()).expect("names are plain"), &text);
        }
        site
    }

    pub fn path(&self) -> &Path {
        self.link.as_deref().unwrap_or(self.folder.path())
    }

    /// The folder of the PHP files.
    pub fn document_root(&self) -> PathBuf {
        self.path().join("www")
    }

    /// The full path of a PHP file.
    pub fn page(&self, name: &str) -> PathBuf {
        self.document_root().join(name)
    }

    /// Writes one PHP file, new or in place of the one of that name.
    pub fn write_page(&self, name: &str, text: &str) -> PathBuf {
        let path = self.page(name);
        fs::write(&path, text).expect("the folder is ours");
        open_to_all(&path, 0o644);
        path
    }

    /// Writes a configuration file beside `www`.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).expect("the folder is ours");
        open_to_all(&path, 0o644);
        path
    }

    /// Writes a `php.ini` that has nothing of the system's in it. With `opcache`, the file loads it from
    /// `extension_dir` (PHP 8.5 and later have it built in). Later `lines` win over earlier ones.
    pub fn write_ini(&self, extension_dir: &Path, opcache: bool, lines: &[(String, String)]) -> PathBuf {
        let mut text = String::from("display_errors = 0\nlog_errors = 1\nhtml_errors = 0\nmemory_limit = 128M\n");
        if extension_dir.join("opcache.so").exists() && opcache {
            text.push_str("zend_extension = opcache\n");
        }
        // A file younger than file_update_protection would be compiled again by each request.
        text.push_str(&format!("opcache.enable = {}\nopcache.file_update_protection = 0\n", u8::from(opcache)));
        for (key, value) in lines {
            text.push_str(&format!("{key} = {value}\n"));
        }
        self.write("php.ini", &text)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            let _ = fs::remove_file(link);
        }
    }
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the folder is ours");
}
