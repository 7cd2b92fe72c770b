//! What the environment, the executable and conventions say of where code lies.

use bstr::{BStr, BString, ByteSlice as _};

use super::{Candidates, Facts, Why, arguments, configuration::Dialect, known, mapped_files};
use crate::evidence::mapping::{join, parent};

/// Variables that list folders of code, `:` between them.
const SEARCH_PATHS: [&str; 5] = [
    "PYTHONPATH",
    "NODE_PATH",
    "RUBYLIB",
    "PERL5LIB",
    "CLASSPATH",
];

/// Variables that name one folder, or a file in one.
const FOLDERS: [(&str, bool); 4] = [
    ("BUNDLE_GEMFILE", true),
    ("APACHE_DOCUMENT_ROOT", false),
    ("CATALINA_BASE", false),
    ("LAMBDA_TASK_ROOT", false),
];

pub(super) fn collect(facts: &Facts<'_>, candidates: &mut Candidates) {
    let folder = known(&facts.process.folder).unwrap_or_default();
    for (name, value) in variables(facts.environment.unwrap_or_default()) {
        if let Some(known) = SEARCH_PATHS.iter().find(|known| known.as_bytes() == name) {
            for entry in value.split_str(":").filter(|entry| !entry.is_empty()) {
                let entry = entry.strip_suffix(b"/*").unwrap_or(entry);
                let entry = if arguments::is_jar(entry.as_bstr()) {
                    parent(entry.as_bstr()).0
                } else {
                    entry.as_bstr()
                };
                let path = arguments::absolute(folder, entry.to_owned());
                candidates.add(path, Why::Variable(known), true);
            }
        }
        if let Some((known, is_file)) = FOLDERS.iter().find(|(known, _)| known.as_bytes() == name) {
            let value = value.as_bstr();
            let path = if *is_file { parent(value).0 } else { value };
            candidates.add(
                arguments::absolute(folder, path.to_owned()),
                Why::Variable(known),
                true,
            );
        }
        if name == b"VIRTUAL_ENV" {
            candidates.environments.push(value.into());
        }
    }
    python_sites(facts, candidates);
    servers(facts, candidates);
}

/// The variables of an environment block.
fn variables(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    block
        .split(|byte| *byte == 0)
        .filter_map(|variable| variable.split_once_str("="))
}

/// Where Python's packages are installed: beside what is mapped of them, and by convention.
fn python_sites(facts: &Facts<'_>, candidates: &mut Candidates) {
    for file in facts.maps.map(mapped_files).unwrap_or_default() {
        for name in [&b"/site-packages"[..], b"/dist-packages"] {
            if let Some(at) = file.find(name) {
                let site = BString::from(file.get(..at + name.len()).unwrap_or_default());
                if !candidates.sites.contains(&site) {
                    candidates.sites.push(site);
                }
            }
        }
    }
    let Some(executable) = known(&facts.process.executable) else {
        return;
    };
    let (bin, name) = parent(executable);
    let Some(version) = name
        .strip_prefix(b"python")
        .filter(|version| version.contains(&b'.'))
    else {
        return;
    };
    let mut prefixes: Vec<BString> = std::mem::take(&mut candidates.environments);
    prefixes.push(parent(bin).0.to_owned());
    for prefix in prefixes {
        let below = [b"lib/python", version, b"/site-packages"].concat();
        let site = join(prefix.as_ref(), below.as_bstr());
        if !candidates.sites.contains(&site) {
            candidates.sites.push(site);
        }
    }
    let debian = BString::from("/usr/lib/python3/dist-packages");
    if bin == "/usr/bin" && !candidates.sites.contains(&debian) {
        candidates.sites.push(debian);
    }
}

/// Servers that are known by what they call themselves.
fn servers(facts: &Facts<'_>, candidates: &mut Candidates) {
    let process = facts.process;
    // nginx and php-fpm write one long word over their arguments: `nginx: master process nginx -c FILE`.
    let first = facts
        .processes
        .iter()
        .find(|other| other.id.pid == process.parent && other.name == process.name);
    let words: Vec<&[u8]> = [Some(process), first]
        .into_iter()
        .flatten()
        .flat_map(|process| &process.arguments)
        .flat_map(|argument| argument.split_str(" "))
        .filter(|word| !word.is_empty())
        .collect();
    let behind = |option: &[u8]| {
        let at = words.iter().position(|word| *word == option)?;
        words.get(at + 1).map(|word| BString::from(*word))
    };
    let name = process.name.as_bstr();
    if name.starts_with(b"nginx") || name.starts_with(b"openresty") {
        let prefix = behind(b"-p").unwrap_or_else(|| "/etc/nginx".into());
        if let Some(file) = behind(b"-c") {
            let file = arguments::absolute(prefix.as_ref(), file);
            let base = parent(file.as_ref()).0.to_string();
            candidates.configurations.add(file, Dialect::Nginx, &base);
        }
        candidates.configured(Dialect::Nginx, NGINX);
        candidates.convention("/usr/share/nginx/html", "nginx");
    } else if words
        .first()
        .is_some_and(|word| word.starts_with(b"php-fpm"))
        || name.starts_with(b"php-fpm")
    {
        // Its first process says of itself: `php-fpm: master process (/usr/local/etc/php-fpm.conf)`.
        let title = words.iter().find_map(|word| {
            let file = word.strip_prefix(b"(")?.strip_suffix(b")")?;
            Some(BString::from(file))
        });
        if let Some(file) = behind(b"-y").or(title) {
            let base = parent(parent(file.as_ref()).0).0.to_string();
            candidates.configurations.add(file, Dialect::PhpFpm, &base);
        }
        candidates.configured(Dialect::PhpFpm, PHP_FPM);
        candidates.convention("/var/www/html", "PHP-FPM");
    } else if name == "httpd" || name == "apache2" {
        if let Some(file) = behind(b"-f") {
            let base = parent(parent(file.as_ref()).0).0.to_string();
            candidates.configurations.add(file, Dialect::Apache, &base);
        }
        candidates.configured(Dialect::Apache, APACHE);
        candidates.convention("/var/www/html", "Apache");
        candidates.convention("/usr/local/apache2/htdocs", "Apache");
    } else if name == "caddy" {
        candidates.convention("/usr/share/caddy", "Caddy");
    }
}

/// Where the images of servers and the packages of distributions have their configuration, and where relative includes
/// in it start.
const NGINX: &[(&str, &str)] = &[
    ("/etc/nginx/nginx.conf", "/etc/nginx"),
    ("/usr/local/nginx/conf/nginx.conf", "/usr/local/nginx/conf"),
    (
        "/usr/local/openresty/nginx/conf/nginx.conf",
        "/usr/local/openresty/nginx/conf",
    ),
    (
        "/opt/bitnami/nginx/conf/nginx.conf",
        "/opt/bitnami/nginx/conf",
    ),
];
const PHP_FPM: &[(&str, &str)] = &[
    ("/usr/local/etc/php-fpm.conf", "/usr/local"),
    ("/etc/php-fpm.conf", "/etc"),
    ("/opt/bitnami/php/etc/php-fpm.conf", "/opt/bitnami/php"),
];
const APACHE: &[(&str, &str)] = &[
    ("/usr/local/apache2/conf/httpd.conf", "/usr/local/apache2"),
    ("/etc/apache2/apache2.conf", "/etc/apache2"),
    ("/etc/httpd/conf/httpd.conf", "/etc/httpd"),
    ("/opt/bitnami/apache/conf/httpd.conf", "/opt/bitnami/apache"),
];

impl Candidates {
    fn configured(&mut self, dialect: Dialect, places: &[(&str, &str)]) {
        for (file, base) in places {
            self.configurations.add((*file).into(), dialect, base);
        }
    }

    fn convention(&mut self, path: &str, what: &'static str) {
        self.add(path.into(), Why::Convention(what), true);
    }
}

/// The module that a console script starts: `from shop.cli import main`.
pub(super) fn launched_module(script: &[u8]) -> Option<BString> {
    if !script.starts_with(b"#!") {
        return None;
    }
    script.lines().take(40).find_map(|line| {
        let module = line.trim().strip_prefix(b"from ")?.fields().next()?;
        let is_own = !matches!(
            module,
            b"importlib" | b"importlib.metadata" | b"__future__" | b"pkg_resources"
        );
        is_own.then(|| BStr::new(module).to_owned())
    })
}
