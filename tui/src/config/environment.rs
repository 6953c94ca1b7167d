//! The environment variables that settings depend on, and where configuration files are.

use std::{
    ffi::OsString,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// The part of the environment that settings depend on.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `TUSKTOP_CONFIG`: the file, as `--config`.
    pub config: Option<OsString>,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<OsString>,
    /// `HOME`.
    pub home: Option<OsString>,
    /// `NO_COLOR` (<https://no-color.org>): set and not empty.
    pub no_color: bool,
    /// `SUDO_UID`: the user who typed sudo. That user's files are not read for root unless asked for.
    pub sudo_uid: Option<u32>,
}

impl Environment {
    /// Reads the environment of this process. Empty variables count as unset.
    pub fn read() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            config: set("TUSKTOP_CONFIG"),
            config_home: set("XDG_CONFIG_HOME"),
            home: set("HOME"),
            no_color: set("NO_COLOR").is_some(),
            sudo_uid: set("SUDO_UID").and_then(|uid| uid.to_str()?.parse().ok()),
        }
    }

    /// The user's folder for the configuration and for themes.
    pub(crate) fn config_folder(&self) -> Option<PathBuf> {
        let home = || self.home.as_ref().map(|home| Path::new(home).join(".config"));
        self.config_home.as_ref().map(PathBuf::from).or_else(home).map(|folder| folder.join("tusktop"))
    }
    /// Where the configuration is looked for when no file was named: the user's folder, then /etc.
    pub(super) fn usual_files(&self) -> Vec<PathBuf> {
        let own = self.config_folder().map(|folder| folder.join("config.toml"));
        let own = own.filter(|path| !self.belongs_to_sudo_user(path));
        own.into_iter().chain(["/etc/tusktop/config.toml".into()]).collect()
    }

    fn belongs_to_sudo_user(&self, path: &Path) -> bool {
        let Some(sudo_uid) = self.sudo_uid.filter(|&uid| uid != 0) else { return false };
        rustix::process::geteuid().is_root() && std::fs::metadata(path).is_ok_and(|file| file.uid() == sudo_uid)
    }
}
