//! What the environment, the executable and conventions say of where code lies.

use bstr::{BStr, BString, ByteSlice as _};

use super::{Candidates, Facts, Why, arguments, known, mapped_files};
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
    let words: Vec<&[u8]> = process
        .arguments
        .iter()
        .flat_map(|argument| argument.split_str(" "))
        .filter(|word| !word.is_empty())
        .collect();
    let behind = |option: &[u8]| {
        let at = words.iter().position(|word| *word == option)?;
        words.get(at + 1).map(|word| BString::from(*word))
    };
    let name = process.name.as_bstr();
    if name.starts_with(b"nginx") || name.starts_with(b"openresty") {
        let prefix = behind(b"-p");
        let file = behind(b"-c").unwrap_or_else(|| "/etc/nginx/nginx.conf".into());
        let base = prefix.unwrap_or_else(|| "/etc/nginx".into());
        candidates
            .configurations
            .push(arguments::absolute(base.as_ref(), file));
        for file in [
            "/etc/nginx/conf.d/default.conf",
            "/usr/local/nginx/conf/nginx.conf",
        ] {
            candidates.configurations.push(file.into());
        }
        candidates.convention("/usr/share/nginx/html", "nginx");
    } else if name.starts_with(b"php-fpm")
        || process
            .arguments
            .iter()
            .any(|argument| argument.starts_with(b"php-fpm"))
    {
        candidates.convention("/var/www/html", "PHP-FPM");
    } else if name == "httpd" || name == "apache2" {
        candidates.convention("/var/www/html", "Apache");
        candidates.convention("/usr/local/apache2/htdocs", "Apache");
    } else if name == "caddy" {
        candidates.convention("/usr/share/caddy", "Caddy");
    }
}

impl Candidates {
    fn convention(&mut self, path: &str, what: &'static str) {
        self.add(path.into(), Why::Convention(what), true);
    }
}

/// The values of the `root` and `alias` lines of an nginx configuration that are absolute and fixed.
pub(super) fn nginx_roots(configuration: &[u8]) -> Vec<BString> {
    let mut roots: Vec<BString> = Vec::new();
    for line in configuration.lines() {
        let line = line.split_str("#").next().unwrap_or_default();
        for statement in line.split(|byte| b";{}".contains(byte)) {
            let mut words = statement.fields();
            if !matches!(words.next(), Some(b"root" | b"alias")) {
                continue;
            }
            let Some(value) = words.next() else { continue };
            let value = value.trim_with(|character| character == '"' || character == '\'');
            if value.starts_with(b"/")
                && !value.contains(&b'$')
                && !roots.iter().any(|root| *root == value)
            {
                roots.push(value.into());
            }
        }
    }
    roots
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
