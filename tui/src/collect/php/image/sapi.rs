//! The server API of an image, by texts that only its own sources have. The name of a file says nothing: a link or a mount gives
//! it any.

use tusktop_shared::{URI_APACHE, URI_FASTCGI, URI_SAPI};

/// Server API of an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sapi {
    /// Command line, `php -S` included.
    Cli,
    /// php-fpm.
    Fpm,
    /// php-cgi.
    Cgi,
    /// Apache's module.
    Apache,
    /// The debugger on the command line.
    Phpdbg,
    /// PHP inside another program.
    #[default]
    Embed,
}

/// Text in the constants of a file, and the server API that it tells: `sapi_module_struct.pretty_name` of php-fpm, php-cgi and
/// the command line (sapi/*/*_main.c), the name of Apache's (sapi/apache2handler), and a function that phpdbg has for scripts.
pub(super) const MARKS: [(&[u8], Sapi); 6] = [
    (b"FPM/FastCGI\0", Sapi::Fpm),
    (b"CGI/FastCGI\0", Sapi::Cgi),
    (b"apache2handler\0", Sapi::Apache),
    (b"phpdbg_break_next\0", Sapi::Phpdbg),
    (b"Command Line Interface\0", Sapi::Cli),
    (b"PHP Embedded Library\0", Sapi::Embed),
];

impl Sapi {
    /// Name as the snapshot has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Fpm => "fpm",
            Self::Cgi => "cgi",
            Self::Apache => "apache",
            Self::Phpdbg => "phpdbg",
            Self::Embed => "embed",
        }
    }

    /// It runs the script that its command line names, and serves no requests of others.
    pub(crate) fn runs_scripts(self) -> bool {
        matches!(self, Self::Cli | Self::Phpdbg)
    }

    /// Where the programs find the URI.
    pub(crate) fn uri_source(self) -> u32 {
        match self {
            Self::Fpm | Self::Cgi => URI_FASTCGI,
            Self::Apache => URI_APACHE,
            Self::Cli | Self::Phpdbg | Self::Embed => URI_SAPI,
        }
    }
}
