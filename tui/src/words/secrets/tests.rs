//! Texts as they are on real servers, with and without secrets, and what holds for all texts.

use proptest::prelude::*;

use super::*;

fn command_line(arguments: &[&str]) -> String {
    Secrets::Masked.command_line(&arguments.join("\0"))
}

/// Arguments separated by `|`, and how they are shown.
fn shown(cases: &[(&str, &str)]) {
    for (arguments, expected) in cases {
        assert_eq!(command_line(&arguments.split('|').collect::<Vec<_>>()), *expected, "{arguments}");
    }
}

#[test]
fn options_with_secret_names_are_masked_to_the_end_of_their_argument() {
    shown(&[
        ("app|--password=hunter2 & more;x|-v", "app --password=*** -v"),
        ("app|--password|two words|-v", "app --password *** -v"),
        ("app|--password|-v", "app --password -v"),
        ("app|--token|abc", "app --token ***"),
        ("app|-token=abc", "app -token=***"),
        ("wp|user|create|bob|bob@example.org|--user_pass=x y", "wp user create bob bob@example.org --user_pass=***"),
        (
            "java|-Djavax.net.ssl.keyStorePassword=changeit|-jar|a.jar",
            "java -Djavax.net.ssl.keyStorePassword=*** -jar a.jar",
        ),
        ("redis-server|*:6379|--requirepass|foobared", "redis-server *:6379 --requirepass ***"),
        ("php|artisan|app:sync|--api-key=k3y|--queue=high", "php artisan app:sync --api-key=*** --queue=high"),
        ("gpg|--batch|--passphrase|correct horse|-d|x.gpg", "gpg --batch --passphrase *** -d x.gpg"),
        ("openssl|rsa|-passin|pass:secret|-in|k.pem", "openssl rsa -passin *** -in k.pem"),
        ("influx|-password|pw|-execute|SHOW", "influx -password *** -execute SHOW"),
        ("x|--key|abc|--ssl-key|/etc/ssl/x.key", "x --key *** --ssl-key /etc/ssl/x.key"),
    ]);
}

#[test]
fn variables_in_command_lines_are_masked() {
    shown(&[
        ("env|PGPASSWORD=a b&c|psql|-h|db", "env PGPASSWORD=*** psql -h db"),
        ("sh|-c|PGPASSWORD=x psql -h db shop", "sh -c PGPASSWORD=*** psql -h db shop"),
        ("sh|-c|export API_TOKEN='a b'; exec app", "sh -c export API_TOKEN=*** exec app"),
        (
            "docker|run|-e|MYSQL_ROOT_PASSWORD=x;y|-e|TZ=UTC|mysql:8",
            "docker run -e MYSQL_ROOT_PASSWORD=*** -e TZ=UTC mysql:8",
        ),
        (
            "sudo|-u|www-data|AWS_SECRET_ACCESS_KEY=abc/d|php|x.php",
            "sudo -u www-data AWS_SECRET_ACCESS_KEY=*** php x.php",
        ),
    ]);
}

#[test]
fn short_options_of_known_programs_are_masked() {
    shown(&[
        ("mysql|-uroot|-phunter2|-h|db|shop", "mysql -uroot -p*** -h db shop"),
        ("/usr/bin/mysqldump|-p$ecret|--all-databases", "/usr/bin/mysqldump -p*** --all-databases"),
        ("mysql|-u|root|-p|shop", "mysql -u root -p shop"),
        (
            "sh|-c|/usr/bin/mariadb-dump -u root -p'a b' shop > /b",
            "sh -c /usr/bin/mariadb-dump -u root -p*** shop > /b",
        ),
        ("sudo|mysql|-pabc", "sudo mysql -p***"),
        ("sshpass|-p|hunter2|ssh|root@web01", "sshpass -p *** ssh root@web01"),
        ("sshpass|-phunter2|ssh|root@web01", "sshpass -p*** ssh root@web01"),
        ("redis-cli|-h|cache|-a|pw|INFO", "redis-cli -h cache -a *** INFO"),
        ("mongosh|-u|admin|-p|pw", "mongosh -u admin -p ***"),
        ("curl|-s|-u|bob:hunter2|https://example.org/", "curl -s -u bob:*** https://example.org/"),
        ("curl|-ubob:hunter2|https://example.org/", "curl -ubob:*** https://example.org/"),
        ("curl|--user|bob:hunter2", "curl --user bob:***"),
        ("curl|-u|bob|https://example.org/", "curl -u bob https://example.org/"),
        ("curl|-H|Authorization: Bearer abc.def|https://x/", "curl -H Authorization: Bearer *** https://x/"),
        ("curl|-H|X-Api-Key: abc|-H|Accept: */*", "curl -H X-Api-Key: *** -H Accept: */*"),
        ("curl|-H|Cookie: a=b; c=d|https://x/", "curl -H Cookie: *** https://x/"),
        ("curl|-b|PHPSESSID=abc|https://x/", "curl -b PHPSESSID=*** https://x/"),
        ("curl|-d|user=bob&password=a,b|https://x/", "curl -d user=bob&password=*** https://x/"),
        ("curl|-d|{\"user\":\"bob\",\"password\":\"a\\\"b\"}", "curl -d {\"user\":\"bob\",\"password\":\"***\"}"),
        ("smbclient|//nas/share|-U|bob%hunter2", "smbclient //nas/share -U bob%***"),
        ("ldapsearch|-D|cn=admin|-w|pw|-b|dc=x", "ldapsearch -D cn=admin -w *** -b dc=x"),
        ("docker|login|-u|bob|-p|pw|registry", "docker login -u bob -p *** registry"),
        ("zip|-P|pw|-r|a.zip|a", "zip -P *** -r a.zip a"),
    ]);
}

#[test]
fn command_lines_without_secrets_stay_as_they_are() {
    for line in [
        "php-fpm: pool www",
        "php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)",
        "nginx: worker process",
        "sshd: root@pts/0",
        "postgres: shop shop 10.0.0.1(5432) SELECT waiting",
        "/usr/sbin/mysqld --basedir=/usr --port=3306 --socket=/run/mysqld/mysqld.sock",
        "ssh -p 22 root@web01.example.org",
        "docker run -p 80:80 -v /a:/b nginx:1.27@sha256:0123456789abcdef0123456789abcdef",
        "git clone git@github.com:shop/shop.git",
        "rsync -a --password-file=/etc/rsync.secret host::module /srv",
        "ansible-playbook --ask-become-pass site.yml",
        "docker login --username bob --password-stdin registry.example.org",
        "/usr/bin/containerd-shim-runc-v2 -namespace moby -id 3f2504e04f8911d39a0c0305e82c33013f2504e04f8911d39a0c0305e82c3301",
        "Xorg :0 -auth /run/user/1000/gdm/Xauthority -nolisten tcp",
        "mongod --auth --dbpath /var/lib/mongodb",
        "php artisan queue:work redis --queue=high,low --sleep=3 --max-tokens=100",
        "/opt/node server.js --author=alice --keyword=x --status-code=200",
        "ffmpeg -i in.mp4 -c:v libx264 -preset slow out.mp4",
        "tmux new -s session",
        "gnome-session --session=ubuntu",
        "awk -F: {print $1} /etc/passwd",
        "find / -name *.php -newer /tmp/token",
        "rsync rsync://mirror.example.org:873/debian /srv",
        "curl https://example.org:8443/a@b?page_id=3",
        "vim /srv/www/App/Auth/PasswordReset.php",
        "[kworker/0:1-events]",
        "",
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        assert_eq!(command_line(&arguments), line);
        assert_eq!(command_line(&[line]), line, "as a title");
    }
}

#[test]
fn values_of_secret_parameters_are_masked_and_others_are_not() {
    for (uri, expected) in [
        ("/x?token=abc", "/x?token=***"),
        ("/x?page_id=3&token=abc&route=product/list", "/x?page_id=3&token=***&route=product/list"),
        ("/wp-login.php?action=rp&key=AbC12&login=alice", "/wp-login.php?action=rp&key=***&login=alice"),
        ("/cb?code=4%2F0AX4&state=xyz&scope=a", "/cb?code=***&state=xyz&scope=a"),
        ("/x?user%5Bpassword%5D=a;b,c d&z=1", "/x?user%5Bpassword%5D=***&z=1"),
        ("/x?user[password]=a&z=1", "/x?user[password]=***&z=1"),
        ("/x?%74oken=abc", "/x?%74oken=***"),
        ("/?_wpnonce=12345abcde&s=shoes", "/?_wpnonce=***&s=shoes"),
        ("/f?X-Amz-Expires=60&X-Amz-Signature=ab12#top", "/f?X-Amz-Expires=60&X-Amz-Signature=***#top"),
        ("/go?next=%2Fx%3Ftoken%3Dabc%26page%3D2&y=1", "/go?next=%2Fx%3Ftoken%3D***&y=1"),
        ("/go?next=%252Fx%253Ftoken%253Dabc&y=1", "/go?next=%252Fx%253Ftoken%253D***&y=1"),
        ("/x;jsessionid=0A1B2C?page=2", "/x;jsessionid=***?page=2"),
        ("http://bob:pw@example.org/x?y=1", "http://***@example.org/x?y=1"),
        ("/p?url=http%3A%2F%2Fbob%3Ap%40ss%40host%2Fa&y=1", "/p?url=http%3A%2F%2F***%40host%2Fa&y=1"),
        ("/p?url=https://bob:p%2Fw@host/a&y=a@b", "/p?url=https://***@host/a&y=a@b"),
        ("/a?t=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "/a?t=***"),
        ("/a?h=5f4dcc3b5aa765d61d8327deb882cf99&p=2", "/a?h=***&p=2"),
        ("/a?c=IwAR0aB3dE5fG7hI9jK1lM2nO4pQ6rS8tU0vW&p=2", "/a?c=***&p=2"),
        ("/reset-password/4f9c1e7a8b2d3c4e5f60?mail=a", "/reset-password/***?mail=a"),
        ("/confirm/MTI/c5a-9f31bb0e72d14a6c85e7", "/confirm/MTI/***"),
        ("/a?json={\"password\":\"x\"}&b=1", "/a?json={\"password\":***&b=1"),
    ] {
        assert_eq!(Secrets::Masked.uri(uri), expected, "{uri}");
    }
    for uri in [
        "",
        "/",
        "*",
        "/?p=12&page_id=3&route=checkout/cart",
        "/index.php?q=node/12&lang_code=de&status_code=404",
        "/wp-json/wp/v2/posts?per_page=10&_fields=id,title&orderby=date&order=desc",
        "/search?q=password+reset&sort_key=price",
        "/order/3f2504e0-4f89-11d3-9a0c-0305e82c3301?v=3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "/assets/app.5f4dcc3b5aa765d61d8327deb882cf99.js?ver=6.4.2",
        "/post/2024-05-17-how-to-choose-a-password?utm_campaign=Summer_Sale_2024_Newsletter_Week_12",
        "/reset-password/",
        "/x?token=&y=1",
        "/x?reset=1&auth=true",
        "/\u{fffd}\u{1b}[2J",
    ] {
        assert!(matches!(Secrets::Masked.uri(uri), Cow::Borrowed(same) if same == uri), "{}", Secrets::Masked.uri(uri));
    }
}

#[test]
fn messages_lose_their_secrets_and_keep_their_meaning() {
    for (message, expected) in [
        (
            "could not connect: mysql://shop:hunter2@db:3306/shop?charset=utf8",
            "could not connect: mysql://***@db:3306/shop?charset=utf8",
        ),
        ("cut off: mysql://root:hunt", "cut off: mysql://***"),
        ("cut off: {\"password\":\"hunt", "cut off: {\"password\":\"***"),
        ("bad DSN mysql://root:pa/ss?x@db/shop", "bad DSN mysql://***@db/shop"),
        ("dial shop:hunter2@tcp(db:3306)/shop", "dial shop:***@tcp(db:3306)/shop"),
        ("pgsql:host=db;user=shop;password=a,b;dbname=x", "pgsql:host=db;user=shop;password=***;dbname=x"),
        ("connection failed (password=hunter2).", "connection failed (password=***)."),
        ("config: {\"user\":\"bob\",\"password\":\"a, b\"}", "config: {\"user\":\"bob\",\"password\":\"***\"}"),
        ("body: \"{\\\"api_key\\\":\\\"abc\\\",\\\"n\\\":1}\"", "body: \"{\\\"api_key\\\":\\\"***\\\",\\\"n\\\":1}\""),
        ("array ('password' => 'it\\'s', 'n' => 1)", "array ('password' => '***', 'n' => 1)"),
        ("Array ( [user] => bob [password] => hunter2 )", "Array ( [user] => bob [password] => *** )"),
        ("$password = 'hunter2';", "$password = '***';"),
        ("Login failed for bob with password 'hunter2'", "Login failed for bob with password '***'"),
        ("Authorization: Basic dXNlcjpwYXNz was refused", "Authorization: Basic *** was refused"),
        ("sent Bearer abcdef123456 to the server", "sent Bearer *** to the server"),
        ("near 'CREATE USER a IDENTIFIED BY 'x y''", "near 'CREATE USER a IDENTIFIED BY '***''"),
        ("near 'SELECT PASSWORD('x')'", "near 'SELECT PASSWORD('***')'"),
        ("Invalid token: abc123", "Invalid token: ***"),
        (
            "Uncaught PDOException: no\n#0 /a.php(3): PDO->__construct('mysql:host=db', 'root', 'hunter2')\n#1 {main}",
            "Uncaught PDOException: no\n#0 /a.php(3): PDO->__construct('***', '***', '***')\n#1 {main}",
        ),
        ("key -----BEGIN RSA PRIVATE KEY----- MIIE abc", "key -----BEGIN RSA PRIVATE KEY-----***"),
        ("Stripe said no to sk_live_51H8abcdefghijklmnop", "Stripe said no to ***"),
        ("GET /x?a=1&token=abc HTTP/1.1", "GET /x?a=1&token=*** HTTP/1.1"),
        ("https://ghp_0123456789abcdef0123456789abcdef0123@github.com/a", "https://***@github.com/a"),
    ] {
        assert_eq!(Secrets::Masked.message(message), expected, "{message}");
    }
    for message in [
        "",
        "SQLSTATE[HY000] [1045] Access denied for user 'root'@'localhost' (using password: YES)",
        "syntax error, unexpected token \"=\", expecting variable",
        "syntax error, unexpected token \"}\", expecting \",\" or \";\"",
        "Undefined array key \"password\"",
        "Undefined property: App\\User::$password",
        "Call to undefined method App\\Auth\\Token::parse()",
        "Class \"App\\Token\" not found",
        "Duplicate entry 'alice@example.org' for key 'email'",
        "Column 'password' cannot be null",
        "error code: 1045",
        "Session not found: 12",
        "Basic authentication is required",
        "file_get_contents(https://example.org:443/a?page=2): Failed to open stream",
        "user 7 not found",
        "MAIL FROM: mailto:bob@example.org",
        "Maximum execution time of 30 seconds exceeded",
        "Stack trace: #0 /a.php(3): f(1, Object(B)) #1 {main}",
        "🔑 é \u{fffd}",
    ] {
        let masked = Secrets::Masked.message(message);
        assert!(matches!(masked, Cow::Borrowed(same) if same == message), "{masked}");
    }
}

#[test]
fn everything_is_shown_when_it_was_asked_for() {
    let secret = "/x?token=abc&a=http://u:p@h/";
    assert!(matches!(Secrets::Shown.uri(secret), Cow::Borrowed(same) if same == secret));
    assert!(matches!(Secrets::Shown.message(secret), Cow::Borrowed(same) if same == secret));
    assert_eq!(Secrets::Shown.command_line("a\0--password\0x y"), "a --password x y");
}

/// What a secret is made of in the wild: letters, digits and signs, but for those that end it wherever it stands.
fn secret() -> impl Strategy<Value = String> {
    "[A-Za-z0-9]Q[A-Za-z0-9!$*+,.:/_|~-]{0,20}Z[A-Za-z0-9]"
}

fn name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "password",
        "db_password",
        "access_token",
        "clientSecret",
        "X-Api-Key",
        "PHPSESSID",
        "key",
    ])
}

/// Texts as programs write them.
fn usual() -> impl Strategy<Value = String> {
    let words = vec![
        "--password=hunter2",
        "--token",
        "abc",
        "-phunter2",
        "mysql",
        "curl",
        "-u",
        "bob:hunter2",
        "sh",
        "-c",
        "name='a b'",
        "https://bob:pw@example.org:443/a?token=abc&page=2",
        "/reset/4f9c1e7a8b2d3c4e5f60",
        "Authorization: Bearer abc123def",
        "{\"password\":\"a, b\",\"n\":1}",
        "'api_key' => 'it\\'s',",
        "(password=abc).",
        "Cookie: a=b; c=d",
        "it's",
        "#0 /a.php(3): f('x', 'y')",
        "IDENTIFIED BY 'x'",
        "pgsql:host=db;password=a,b;dbname=x",
        "unexpected token \"=\"",
        "Invalid token: abc123",
        "aB3dE5fG7hI9jK1lM2nO4pQ6rS8tU0vW",
        "user%5Bpassword%5D=x",
        "next=%2Fx%3Ftoken%3Dabc",
        "é",
        "?",
        "-v",
    ];
    let separators = proptest::sample::select(vec![" ", "\0", "&", "\n", ", "]);
    proptest::collection::vec((proptest::sample::select(words), separators), 0..12)
        .prop_map(|pairs| pairs.into_iter().flat_map(|(word, separator)| [word, separator]).collect())
}

/// Texts that steer the search: signs, names, parts of URLs.
fn strange() -> impl Strategy<Value = String> {
    let pieces = vec![
        "password",
        "token",
        "key",
        "=",
        ":",
        "//",
        "@",
        "'",
        "\"",
        "\\",
        " ",
        "\0",
        "\n",
        "&",
        "?",
        ";",
        ",",
        "(",
        ")",
        "[",
        "]",
        "%3D",
        "%253D",
        "%",
        "=>",
        "--",
        "-p",
        "mysql",
        "curl",
        "-u",
        "sh",
        "-c",
        "Bearer",
        "basic",
        "#0 a(1): f",
        "Cookie:",
        "identified by ",
        "a",
        "Z9",
        "é",
        "***",
        "-----BEGIN PRIVATE KEY-----",
        "-----",
        "eyJabc.def",
        "/reset/",
        "aB3dE5fG7hI9jK1lM2nO4pQ6rS8tU0vW",
    ];
    proptest::collection::vec(proptest::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat())
}

fn all(text: &str) -> [String; 3] {
    let masked = Secrets::Masked;
    [masked.uri(text).into_owned(), masked.message(text).into_owned(), masked.arguments(text).into_owned()]
}

proptest! {
    #[test]
    fn no_planted_secret_survives(secret in secret(), name in name(), other in "[a-z]{1,8}") {
        let middle = &secret[1..secret.len() - 1];
        let gone = |text: String| prop_assert_ok(&text, middle);
        let masked = Secrets::Masked;
        gone(masked.uri(&format!("/{other}?a=1&{name}={secret}&b=2")).into_owned())?;
        gone(masked.message(&format!("{other} {name}={secret} x")).into_owned())?;
        gone(masked.message(&format!("{other} '{name}' => '{secret}', x")).into_owned())?;
        gone(masked.message(&format!("{{\"a\":1,\"{name}\":\"{secret}\"}}")).into_owned())?;
        gone(command_line(&[&other, &format!("--{name}={secret} {secret}"), "-v"]))?;
        gone(command_line(&[&other, &format!("{name}={secret}")]))?;
        gone(command_line(&["sh", "-c", &format!("{other} --{name}='{secret}' -v")]))?;
        gone(command_line(&["mysql", &format!("-p{secret}"), &other]))?;
        gone(command_line(&[&other, "--password", &format!("{secret} {secret}")]))?;
        gone(command_line(&["curl", "-H", &format!("Authorization: Bearer {secret}")]))?;
    }

    #[test]
    fn no_password_in_a_url_survives(password in "[A-Za-z0-9]Q[A-Za-z0-9!$*+,.:_|~%&;=-]{0,20}Z[A-Za-z0-9]", user in "[a-z]{0,8}") {
        let url = format!("mysql://{user}:{password}@db:3306/shop");
        let middle = &password[1..password.len() - 1];
        prop_assert_ok(&Secrets::Masked.message(&format!("cannot reach {url} now")), middle)?;
        prop_assert_ok(&command_line(&["app", &url]), middle)?;
        prop_assert_ok(&command_line(&["app", &format!("--dsn={url}")]), middle)?;
    }

    #[test]
    fn masking_twice_changes_nothing(text in prop_oneof![usual(), any::<String>()]) {
        for (once, kind) in all(&text).iter().zip(0..) {
            prop_assert_eq!(&all(once)[kind], once, "{:?}", text);
        }
    }

    #[test]
    fn no_text_makes_it_panic_or_grow_beyond_its_masks(text in prop_oneof![strange(), any::<String>()]) {
        for masked in all(&text) {
            let masks = masked.matches(MASK).count();
            prop_assert!(masked.len() <= text.len() + MASK.len() * masks);
        }
    }
}

fn prop_assert_ok(text: &str, secret: &str) -> Result<(), TestCaseError> {
    prop_assert!(!text.contains(secret), "{}", text);
    Ok(())
}
