use super::*;
use crate::protocol::message::Reading;

struct Case {
    process: Process,
    others: Vec<Process>,
    environment: Vec<u8>,
    maps: Vec<u8>,
    open_files: Vec<BString>,
    answers: Answers,
}

fn case(folder: &str, arguments: &[&str]) -> Case {
    Case {
        process: Process {
            folder: Reading::Known(folder.into()),
            ..Process::example(2, 1, arguments)
        },
        others: Vec::new(),
        environment: Vec::new(),
        maps: Vec::new(),
        open_files: Vec::new(),
        answers: Answers::default(),
    }
}

impl Case {
    fn executable(mut self, path: &str) -> Self {
        self.process.executable = Reading::Known(path.into());
        self
    }

    fn name(mut self, name: &str) -> Self {
        self.process.name = name.into();
        self
    }

    /// The process that started it, of the same name.
    fn first(mut self, arguments: &[&str]) -> Self {
        self.others.push(Process {
            name: self.process.name.clone(),
            ..Process::example(1, 0, arguments)
        });
        self
    }

    fn variable(mut self, variable: &str) -> Self {
        self.environment.extend_from_slice(variable.as_bytes());
        self.environment.push(0);
        self
    }

    fn there(mut self, path: &str) -> Self {
        self.answers.existing.push(path.into());
        self
    }

    fn content(mut self, path: &str, content: &str) -> Self {
        let content = content.as_bytes().to_vec();
        self.answers.contents.insert(path.into(), content);
        self
    }

    fn listing(mut self, folder: &str, names: &[&str]) -> Self {
        let names = names.iter().map(|name| BString::from(*name)).collect();
        self.answers.listings.insert(folder.into(), names);
        self
    }

    fn maps(mut self, maps: &str) -> Self {
        self.maps = maps.as_bytes().to_vec();
        self
    }

    fn roots(self) -> Vec<Root> {
        let facts = Facts {
            process: &self.process,
            processes: &self.others,
            environment: Some(&self.environment),
            maps: Some(&self.maps),
            open_files: &self.open_files,
        };
        let folder = self.process.folder.known().map(|folder| folder.as_bstr());
        let mut candidates = Candidates::of(&facts);
        while candidates.further_questions(&self.answers) != Questions::default() {}
        candidates.settle(&self.answers, folder)
    }

    /// The paths, the working directory's as `.`.
    fn paths(self) -> Vec<String> {
        self.roots()
            .into_iter()
            .map(|root| {
                if root.path.is_empty() {
                    ".".to_owned()
                } else {
                    root.path.to_string()
                }
            })
            .collect()
    }
}

#[test]
fn the_working_directory_is_a_root_and_a_script_in_it_adds_none() {
    for arguments in [
        &["python3.11", "-u", "main.py"][..],
        &["node", "/app/src/server.js"],
        &["/usr/bin/node", "src/server.js"],
        &["/usr/sbin/server", "/etc/server/config"],
    ] {
        assert_eq!(case("/app", arguments).paths(), ["."], "{arguments:?}");
    }
}

#[test]
fn a_script_elsewhere_adds_its_folder() {
    let arguments = ["python3", "-X", "dev", "/opt/app/run.py", "--x"];
    assert_eq!(case("/data", &arguments).paths(), [".", "/opt/app"]);
    assert_eq!(
        case("/apple", &["node", "/app/server.js"]).paths(),
        [".", "/app"]
    );
    assert_eq!(
        case("/data", &["node", "../app/server.js"]).paths(),
        [".", "/app"]
    );
}

#[test]
fn a_working_directory_of_slash_is_not_the_code() {
    assert_eq!(
        case("/", &["python3", "/opt/app/run.py"]).paths(),
        ["/opt/app"]
    );
    let cron = case("/", &["cron"]).executable("/usr/sbin/cron");
    assert_eq!(cron.paths(), Vec::<String>::new());
}

#[test]
fn a_program_beside_its_files_at_the_top_of_an_image_makes_the_top_the_root() {
    let server = case("/", &["/server"]).executable("/server");
    assert_eq!(server.paths(), ["/"]);
    let server = case("/", &["/app/server"]).executable("/app/server");
    assert_eq!(server.paths(), ["/app"]);
    let server = case("/", &["server"]).executable("/opt/shop/bin/server");
    assert_eq!(server.paths(), ["/opt/shop"]);
    assert_eq!(case("/", &["python", "/main.py"]).paths(), ["/"]);
}

#[test]
fn code_in_the_arguments_names_no_script() {
    let arguments = ["python3", "-c", "import x; x.run('/a/b')"];
    assert_eq!(case("/app", &arguments).paths(), ["."]);
}

#[test]
fn a_module_by_name_is_looked_for_where_packages_are_installed() {
    let module = case("/app", &["python3", "-m", "shop.server", "/x/y"])
        .executable("/usr/local/bin/python3.11");
    assert_eq!(
        module.paths(),
        [".", "/usr/local/lib/python3.11/site-packages/shop"]
    );
    let roots = case(
        "/",
        &[
            "/venv/bin/python",
            "/venv/bin/gunicorn",
            "-b",
            ":80",
            "shop.wsgi:app",
        ],
    )
    .executable("/usr/local/bin/python3.11")
    .content(
        "/venv/bin/gunicorn",
        "#!/venv/bin/python\nimport sys\nfrom gunicorn.app.wsgiapp import run\n",
    )
    .paths();
    for root in [
        "/venv/lib/python3.11/site-packages/shop",
        "/venv/lib/python3.11/site-packages/gunicorn",
    ] {
        assert!(roots.contains(&root.to_owned()), "{roots:?}");
    }
}

#[test]
fn a_package_begins_at_its_nearest_package_json() {
    let roots = case("/", &["node", "/srv/shop/dist/main.js"])
        .there("/srv/shop/package.json")
        .roots();
    let said: Vec<_> = roots
        .iter()
        .map(|root| (root.path.to_string(), root.why.because()))
        .collect();
    assert_eq!(
        said,
        [(
            "/srv/shop".to_owned(),
            "the `package.json` of `/srv/shop/dist/main.js`".to_owned()
        )]
    );
}

#[test]
fn search_paths_of_the_environment_are_roots() {
    let roots = case("/app", &["python3", "main.py"])
        .variable("PYTHONPATH=/srv/common:lib::/app/x")
        .variable("PATH=/usr/bin:/bin");
    assert_eq!(roots.paths(), [".", "/srv/common"]);
}

#[test]
fn class_paths_jars_and_exploded_folders_are_roots() {
    let jar = case(
        "/",
        &["java", "-Xmx1g", "-jar", "/opt/shop/shop.jar", "--port"],
    );
    assert_eq!(jar.paths(), ["/opt/shop"]);
    let jib = case(
        "/",
        &[
            "java",
            "-cp",
            "/app/resources:/app/classes:/app/libs/*",
            "com.acme.Main",
        ],
    );
    assert_eq!(jib.paths(), ["/app/resources", "/app/classes", "/app/libs"]);
    let relative = case("/srv/app", &["java", "-jar", "target/x.jar"]);
    assert_eq!(relative.paths(), ["."]);
}

#[test]
fn document_roots_of_servers_are_found() {
    let php = case("/", &["php", "-S", "0.0.0.0:80", "-t", "/srv/site/public"]);
    assert_eq!(php.paths(), ["/srv/site/public"]);
    let fpm = case(
        "/var/www/html",
        &["php-fpm: master process (/usr/local/etc/php-fpm.conf)"],
    )
    .name("php-fpm");
    assert_eq!(fpm.paths(), ["."]);
    let nginx = case(
        "/",
        &["nginx: master process nginx -c /conf/nginx.conf -g daemon off;"],
    )
    .name("nginx")
    .executable("/usr/sbin/nginx")
    .content(
        "/conf/nginx.conf",
        "server { root /srv/www; # root /no;\n location / { alias \"/srv/static/\"; } root $x; }",
    );
    assert_eq!(
        nginx.paths(),
        ["/usr/share/nginx/html", "/srv/www", "/srv/static"]
    );
}

#[test]
fn what_configurations_include_is_read_too() {
    let nginx = case("/", &["nginx: worker process"])
        .name("nginx")
        .executable("/usr/sbin/nginx")
        .content("/etc/nginx/nginx.conf", "http { include conf.d/*.conf; }")
        .listing("/etc/nginx/conf.d", &["a.conf", "b.conf.off"])
        .content("/etc/nginx/conf.d/a.conf", "server { include /conf/more; }")
        .content("/conf/more", "root /srv/more;")
        .content("/etc/nginx/conf.d/b.conf.off", "root /srv/off;");
    assert_eq!(nginx.paths(), ["/usr/share/nginx/html", "/srv/more"]);
    let worker = case("/", &["nginx: worker process"])
        .name("nginx")
        .executable("/usr/sbin/nginx")
        .first(&["nginx: master process nginx -c /conf/nginx.conf"])
        .content("/conf/nginx.conf", "http { include sites/*; }")
        .listing("/conf/sites", &["shop"])
        .content("/conf/sites/shop", "root /srv/shop;");
    assert_eq!(worker.paths(), ["/usr/share/nginx/html", "/srv/shop"]);
    let fpm = case(
        "/",
        &["php-fpm: master process (/usr/local/etc/php-fpm.conf)"],
    )
    .name("php-fpm")
    .executable("/usr/local/sbin/php-fpm")
    .content(
        "/usr/local/etc/php-fpm.conf",
        "include=etc/php-fpm.d/*.conf",
    )
    .listing("/usr/local/etc/php-fpm.d", &["www.conf"])
    .content(
        "/usr/local/etc/php-fpm.d/www.conf",
        "[www]\nchdir = /srv/shop\n",
    );
    assert_eq!(fpm.paths(), ["/var/www/html", "/srv/shop"]);
    let apache = case("/", &["apache2", "-k", "start"])
        .name("apache2")
        .executable("/usr/sbin/apache2")
        .content(
            "/etc/apache2/apache2.conf",
            "IncludeOptional sites-enabled/*.conf",
        )
        .listing("/etc/apache2/sites-enabled", &["000-default.conf"])
        .content(
            "/etc/apache2/sites-enabled/000-default.conf",
            "<VirtualHost *:80>\n\tDocumentRoot /srv/site\n",
        );
    assert_eq!(
        apache.paths(),
        ["/var/www/html", "/usr/local/apache2/htdocs", "/srv/site"]
    );
}

#[test]
fn options_of_servers_name_folders() {
    let uwsgi = case("/", &["uwsgi", "--chdir", "/srv/a", "--pythonpath=/srv/b"])
        .executable("/usr/local/bin/uwsgi");
    assert_eq!(uwsgi.paths(), ["/srv/a", "/srv/b"]);
    let ruby = case("/", &["ruby", "-I", "/srv/a/lib", "/srv/a/run.rb"]).there("/srv/a/Gemfile");
    assert_eq!(ruby.paths(), ["/srv/a"]);
}

#[test]
fn what_is_mapped_names_a_folder_unless_it_is_the_systems() {
    let maps = "7f00-7f01 r-xp 00000000 fe:01 12   /srv/native/fast.so\n\
                7f00-7f01 r-xp 00000000 fe:01 12   /usr/lib/libc.so\n\
                7f00-7f01 r-xp 00000000 fe:01 12   /srv/site-packages/x/y.so\n";
    let case = case("/", &["server"])
        .executable("/usr/bin/server")
        .maps(maps);
    assert_eq!(case.paths(), ["/srv/native"]);
}
