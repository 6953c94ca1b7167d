//! Which names say that their value is secret: of parameters, options, variables, headers, keys in JSON.

use super::encoding;

/// Where a name makes its value secret. Each includes those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Nowhere.
    None,
    /// As a parameter of a URI: `?code=`.
    Parameter,
    /// Before `=`, as an option, as a key in JSON: `key=`, `--key`.
    Value,
    /// Also in a sentence: `password: ...`.
    Anywhere,
}

/// Bytes of a name that are looked at, the last ones: they say most.
const LONGEST: usize = 96;

/// Parts of names, without what separates words.
const ANYWHERE: [&[u8]; 15] = [
    b"passw",
    b"passphrase",
    b"secret",
    b"token",
    b"apikey",
    b"accesskey",
    b"privatekey",
    b"jwt",
    b"authorization",
    b"sessid",
    b"requirepass",
    b"masterauth",
    b"kennwort",
    b"motdepasse",
    b"contrasena",
];
const VALUE: [&[u8]; 11] = [
    b"signature",
    b"credential",
    b"sessionid",
    b"sessionkey",
    b"authkey",
    b"csrf",
    b"xsrf",
    b"passcode",
    b"authcode",
    b"passin",
    b"passout",
];
const PARAMETER: [&[u8]; 3] = [b"nonce", b"samlre", b"assertion"];

/// Whole words, anywhere in a name.
const VALUE_WORDS: [&[u8]; 5] = [b"pass", b"otp", b"totp", b"hmac", b"pw"];
/// Whole words at the end of a name.
const LAST_VALUE_WORDS: [&[u8]; 8] = [b"key", b"auth", b"sig", b"pin", b"pwd", b"bearer", b"cookie", b"cookies"];
const LAST_PARAMETER_WORDS: [&[u8]; 12] = [
    b"session",
    b"sess",
    b"sid",
    b"sign",
    b"ticket",
    b"reset",
    b"activation",
    b"invite",
    b"invitation",
    b"confirmation",
    b"verification",
    b"magic",
];
/// What a key is that anybody may know, before the word `key`.
const PUBLIC_KEYS: [&[u8]; 14] = [
    b"public",
    b"primary",
    b"foreign",
    b"cache",
    b"sort",
    b"site",
    b"default",
    b"recv",
    b"host",
    b"trusted",
    b"group",
    b"partition",
    b"array",
    b"meta",
];
/// What a code is for that lets somebody in, before the word `code`.
const CODES: [&[u8]; 19] = [
    b"auth",
    b"oauth",
    b"access",
    b"login",
    b"verification",
    b"verify",
    b"security",
    b"recovery",
    b"backup",
    b"device",
    b"user",
    b"reset",
    b"activation",
    b"invite",
    b"confirm",
    b"confirmation",
    b"sms",
    b"mfa",
    b"factor",
];
/// First words of names that are switches.
const SWITCHES: [&[u8]; 11] =
    [b"no", b"ask", b"prompt", b"has", b"is", b"use", b"allow", b"enable", b"disable", b"show", b"max"];
/// Last words of names that say something about a secret and not the secret.
const ABOUT: [&[u8]; 41] = [
    b"file",
    b"files",
    b"path",
    b"dir",
    b"directory",
    b"type",
    b"method",
    b"mode",
    b"algorithm",
    b"algo",
    b"name",
    b"url",
    b"uri",
    b"endpoint",
    b"host",
    b"port",
    b"timeout",
    b"lifetime",
    b"ttl",
    b"expires",
    b"expiry",
    b"expiration",
    b"length",
    b"size",
    b"count",
    b"limit",
    b"min",
    b"max",
    b"policy",
    b"hint",
    b"enabled",
    b"required",
    b"only",
    b"version",
    b"handler",
    b"provider",
    b"format",
    b"stdin",
    b"class",
    b"driver",
    b"prompt",
];
/// Words that end in `pass` and are none.
const PASSES: [&[u8]; 4] = [b"bypass", b"compass", b"trespass", b"encompass"];

/// How secret the value of `name` is. It may be percent-encoded.
pub(super) fn weigh(name: &[u8]) -> Weight {
    let name = &name[name.len().saturating_sub(LONGEST)..];
    let mut buffer = [0; LONGEST];
    let words = Words::read(name, &mut buffer);
    let Some(last) = words.last() else { return Weight::None };
    let first = words.iter().next().unwrap_or_default();
    let has =
        |parts: &[&[u8]]| parts.iter().any(|part| words.letters.windows(part.len()).any(|window| window == *part));
    let about = ABOUT.contains(&last) || words.letters.ends_with(b"file") || words.letters.ends_with(b"path");
    if about || (words.count() > 1 && SWITCHES.contains(&first)) || has(&[b"tokeniz", b"tokens", b"passwordless"]) {
        return Weight::None;
    }
    if has(&ANYWHERE) {
        return Weight::Anywhere;
    }
    let ends_in_pass = |word: &[u8]| (word.ends_with(b"pass") && !PASSES.contains(&word)) || word.ends_with(b"pwd");
    let before = words.iter().rev().nth(1);
    let private = last == b"key" && !before.is_some_and(|before| PUBLIC_KEYS.contains(&before));
    if has(&VALUE)
        || words.iter().any(|word| VALUE_WORDS.contains(&word))
        || (ends_in_pass(last) && last != b"pwd")
        || (LAST_VALUE_WORDS.contains(&last) && (last != b"key" || private))
    {
        return Weight::Value;
    }
    let code = last == b"code" && (words.count() == 1 || words.iter().any(|word| CODES.contains(&word)));
    if code || has(&PARAMETER) || LAST_PARAMETER_WORDS.contains(&last) { Weight::Parameter } else { Weight::None }
}

/// Whether a name can only be that of a password, so that what is quoted behind it is one.
pub(super) fn is_password(name: &[u8]) -> bool {
    let ends = |end: &[u8]| name.len() >= end.len() && name[name.len() - end.len()..].eq_ignore_ascii_case(end);
    [&b"password"[..], b"passwd", b"passphrase", b"kennwort"].iter().any(|end| ends(end))
}

/// Whether a part of a path says that a secret follows: `/reset-password/...`.
pub(super) fn announces_secret(segment: &[u8]) -> bool {
    const MORE: [&[u8]; 9] =
        [b"reset", b"confirm", b"verify", b"activate", b"invite", b"unsubscribe", b"magic", b"recover", b"recovery"];
    let mut buffer = [0; LONGEST];
    let words = Words::read(&segment[segment.len().saturating_sub(LONGEST)..], &mut buffer);
    words.iter().any(|word| MORE.contains(&word)) || weigh(segment) > Weight::None
}

/// The words of a name in lower case: `X-Api_keyId2` has x, api, key and id.
struct Words<'a> {
    letters: &'a [u8],
    /// A bit for each letter that begins a word.
    begins: u128,
}

impl<'a> Words<'a> {
    fn read(name: &[u8], buffer: &'a mut [u8; LONGEST]) -> Self {
        let (mut at, mut length, mut begins) = (0, 0, 0_u128);
        let (mut separated, mut lower) = (true, false);
        while at < name.len() {
            let (byte, taken) = encoding::byte(name, at);
            at += taken;
            if !byte.is_ascii_alphabetic() {
                separated = true;
                continue;
            }
            if separated || (lower && byte.is_ascii_uppercase()) {
                begins |= 1 << length;
            }
            (separated, lower) = (false, byte.is_ascii_lowercase());
            buffer[length] = byte.to_ascii_lowercase();
            length += 1;
        }
        Self { letters: &buffer[..length], begins }
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + Clone + '_ {
        let begins = |at: &usize| self.begins >> at & 1 == 1;
        (0..self.letters.len()).filter(begins).map(|start| {
            let end = (start + 1..self.letters.len()).find(|at| self.begins >> at & 1 == 1);
            &self.letters[start..end.unwrap_or(self.letters.len())]
        })
    }

    fn count(&self) -> u32 {
        self.begins.count_ones()
    }

    fn last(&self) -> Option<&'a [u8]> {
        self.iter().next_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_weigh_what_they_say() {
        let is = |weight: Weight, names: &[&str]| {
            for name in names {
                assert_eq!(weigh(name.as_bytes()), weight, "{name}");
            }
        };
        is(
            Weight::Anywhere,
            &[
                "password",
                "PGPASSWORD",
                "MYSQL_ROOT_PASSWORD",
                "user[password]",
                "user%5Bpassword%5D",
                "passwd",
                "access_token",
                "accessToken",
                "csrf-token",
                "X-Api-Key",
                "api_key",
                "apiKey",
                "AWS_SECRET_ACCESS_KEY",
                "PHPSESSID",
                "client_secret",
                "Authorization",
                "jwt",
                "db.password",
                "javax.net.ssl.keyStorePassword",
                "requirepass",
                "%70assword",
                "ssh_private_key",
            ],
        );
        is(
            Weight::Value,
            &[
                "key",
                "rp_key",
                "sig",
                "X-Amz-Signature",
                "pass",
                "db_pass",
                "dbpass",
                "DBPASS",
                "smtpPass",
                "pass1",
                "auth",
                "basic-auth",
                "pin",
                "otp",
                "dbpwd",
                "AWS_CREDENTIALS",
                "jsessionid",
                "cookie",
                "passin",
                "auth_code",
            ],
        );
        is(
            Weight::Parameter,
            &[
                "code",
                "login_code",
                "verification_code",
                "_wpnonce",
                "session",
                "sid",
                "reset",
                "ticket",
                "SAMLResponse",
            ],
        );
        is(
            Weight::None,
            &[
                "",
                "1",
                "page_id",
                "route",
                "id",
                "q",
                "lang_code",
                "status_code",
                "postcode",
                "keyword",
                "keywords",
                "monkey",
                "public_key",
                "primaryKey",
                "sort_key",
                "password_file",
                "passwordfile",
                "token_type",
                "max_tokens",
                "tokenizer",
                "author",
                "authors",
                "session.save_handler",
                "session_name",
                "no-password",
                "ask-become-pass",
                "password-stdin",
                "compass",
                "bypass",
                "opinion",
                "codec",
                "signal",
                "design",
                "key_name",
                "auth_method",
                "PATH",
                "secret_file",
                "passage",
                "é",
                "cache-key",
            ],
        );
    }

    #[test]
    fn the_end_of_a_long_name_counts() {
        let name = format!("{}[password]", "x%5B".repeat(500));
        assert_eq!(weigh(name.as_bytes()), Weight::Anywhere);
    }
}
