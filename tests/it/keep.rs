//! Sessions that are held ready: real agents as child processes in the place of those in a pod, behind the real socket.

use std::{
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::BoxFuture;
use kdbg::{
    keep::{
        Ask, Borrowed, Event, Folder, Keeper, Key, NotLent, Pipe, Settings, Source, Trouble, Why,
        borrow,
    },
    protocol::message::{Agent, FileHead, Request},
    session::Session,
};
use serde_json::json;
use tokio::{
    process::{Child, Command},
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::session::ourselves;

/// No wait of these tests is longer, however busy the machine is.
const LIMIT: Duration = Duration::from_mins(1);

/// Agents of this machine, and what is said to be the matter with them.
#[derive(Default)]
struct Machine {
    agents: Mutex<Vec<Child>>,
    /// What the source says of the target; nothing is wrong with it otherwise.
    trouble: Mutex<Option<Trouble>>,
    stood: Mutex<usize>,
}

impl Machine {
    fn is_in(&self, trouble: Option<Trouble>) {
        *self.trouble.lock().unwrap() = trouble;
    }

    fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap().clone()
    }

    fn started(&self) -> usize {
        self.agents.lock().unwrap().len()
    }

    /// Ends an agent from outside.
    fn kill(&self, number: usize) {
        self.agents.lock().unwrap()[number].start_kill().unwrap();
    }

    /// Waits until all agents have ended.
    async fn all_end(&self) {
        let agents = std::mem::take(&mut *self.agents.lock().unwrap());
        for mut agent in agents {
            timeout(LIMIT, agent.wait()).await.unwrap().unwrap();
        }
    }
}

impl Source for Machine {
    fn stand(&self) -> BoxFuture<'_, Result<(), Trouble>> {
        *self.stood.lock().unwrap() += 1;
        Box::pin(async { self.trouble().map_or(Ok(()), Err) })
    }

    fn start(&self) -> BoxFuture<'_, Result<Pipe, Trouble>> {
        let started = self.trouble().map_or_else(
            || {
                let mut agent = Command::new(env!("CARGO_BIN_EXE_kdbg-agent"))
                    .arg("serve")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .kill_on_drop(true)
                    .spawn()
                    .unwrap();
                let pipe = Pipe {
                    input: Box::new(agent.stdout.take().unwrap()),
                    output: Box::new(agent.stdin.take().unwrap()),
                };
                self.agents.lock().unwrap().push(agent);
                Ok(pipe)
            },
            Err,
        );
        Box::pin(async { started })
    }

    fn facts<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<serde_json::Value, Trouble>> {
        let facts = json!({"container": ask.container});
        Box::pin(async { self.trouble().map_or(Ok(facts), Err) })
    }

    fn examine(&self) -> BoxFuture<'_, Trouble> {
        let nothing = Trouble::Passing("the connection broke".to_owned());
        Box::pin(async { self.trouble().unwrap_or(nothing) })
    }
}

/// A keeper that runs.
struct Kept {
    machine: Arc<Machine>,
    folder: Folder,
    key: Key,
    above: tempfile::TempDir,
    // keeper -> test: what it tells its user
    events_rx: mpsc::UnboundedReceiver<Event>,
    // test -> keeper: end
    stop_tx: mpsc::UnboundedSender<()>,
    keeping: JoinHandle<Why>,
}

const SETTINGS: Settings = Settings {
    spares: 1,
    idle: LIMIT,
    life: None,
};

impl Kept {
    async fn start(settings: Settings) -> Self {
        let above = tempfile::tempdir().unwrap();
        let (folder, key) = (Folder::at(above.path().join("kdbg")), Key::of(&[b"test"]));
        let lender = folder.lend(&key).await.unwrap();
        let machine = Arc::new(Machine::default());
        let (events_tx, events_rx) = mpsc::unbounded_channel();
        let (stop_tx, stop_rx) = mpsc::unbounded_channel();
        let keeper = Keeper::new(Arc::clone(&machine) as Arc<_>, settings, events_tx);
        let keeping = tokio::spawn(keeper.run(vec![lender], stop_rx));
        let mut kept = Self {
            machine,
            folder,
            key,
            above,
            events_rx,
            stop_tx,
            keeping,
        };
        assert_eq!(kept.event().await, Event::Ready);
        kept
    }

    async fn event(&mut self) -> Event {
        timeout(LIMIT, self.events_rx.recv())
            .await
            .unwrap()
            .unwrap()
    }

    async fn borrow(&self) -> Result<Option<Borrowed>, NotLent> {
        borrow(&self.folder, &self.key, &Ask::ours(Some("app"))).await
    }

    async fn session(&self) -> Session {
        let Borrowed {
            facts,
            input,
            output,
        } = self.borrow().await.unwrap().unwrap();
        assert_eq!(facts["container"], "app");
        Session::open(input, output).await.unwrap()
    }

    async fn ends(self) -> Why {
        let why = timeout(LIMIT, self.keeping).await.unwrap().unwrap();
        assert!(!self.folder.has_sockets());
        self.machine.all_end().await;
        drop(self.above);
        why
    }
}

async fn agent_of(session: &Session) -> u32 {
    let agent: Agent = session
        .request(&Request::Agent)
        .unwrap()
        .head()
        .await
        .unwrap();
    agent.process.pid
}

async fn read(session: &Session, path: &Path) -> Vec<u8> {
    let request = Request::ReadFile {
        process: ourselves(session).await,
        path: path.to_str().unwrap().into(),
    };
    let mut reply = session.request(&request).unwrap();
    let _: FileHead = reply.head().await.unwrap();
    reply.bytes(1 << 30).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_held_ready_brings_every_byte_and_is_used_once() {
    let kept = Kept::start(SETTINGS).await;
    let content: Vec<u8> = (0..5_000_000_u32)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let file = kept.above.path().join("file");
    std::fs::write(&file, &content).unwrap();
    let mut agents = Vec::new();
    for _ in 0..3 {
        let session = kept.session().await;
        agents.push(agent_of(&session).await);
        assert!(read(&session, &file).await == content);
        session.close().await;
    }
    agents.dedup();
    assert_eq!(agents.len(), 3);
    kept.stop_tx.send(()).unwrap();
    assert_eq!(kept.ends().await, Why::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_at_once_get_an_agent_each() {
    let kept = Kept::start(SETTINGS).await;
    let sessions = futures::future::join_all((0..4).map(|_| kept.session())).await;
    let mut agents = Vec::new();
    for session in &sessions {
        agents.push(agent_of(session).await);
    }
    agents.sort_unstable();
    agents.dedup();
    assert_eq!(agents.len(), 4);
    drop(sessions);
    kept.stop_tx.send(()).unwrap();
    assert_eq!(kept.ends().await, Why::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_outlives_the_silence_that_ends_a_session() {
    let kept = Kept::start(SETTINGS).await;
    sleep(kdbg::protocol::SILENCE_LIMIT + Duration::from_secs(3)).await;
    agent_of(&kept.session().await).await;
    // Nothing had to be started anew: the first one, and the one for the next command.
    assert!(kept.machine.started() <= 2);
    kept.stop_tx.send(()).unwrap();
    assert_eq!(kept.ends().await, Why::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_goes_without_a_word_takes_its_agent_with_it() {
    let kept = Kept::start(SETTINGS).await;
    // As the kernel closes the socket of a command that is killed.
    drop(kept.borrow().await.unwrap().unwrap());
    let first = kept.machine.agents.lock().unwrap().remove(0);
    timeout(LIMIT, first.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    agent_of(&kept.session().await).await;
    kept.stop_tx.send(()).unwrap();
    assert_eq!(kept.ends().await, Why::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_is_told_to_end_waits_for_the_commands_and_told_twice_it_does_not() {
    let mut kept = Kept::start(SETTINGS).await;
    let (one, two) = (kept.session().await, kept.session().await);
    kept.stop_tx.send(()).unwrap();
    while kept.event().await != Event::Ending(2) {}
    assert!(kept.borrow().await.unwrap().is_none());
    agent_of(&one).await;
    one.close().await;
    agent_of(&two).await;
    kept.stop_tx.send(()).unwrap();
    assert_eq!(kept.ends().await, Why::Stopped);
    assert!(two.request(&Request::Agent).is_err() || timeout(LIMIT, two.close()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_ends_while_it_waits_is_replaced() {
    let mut kept = Kept::start(SETTINGS).await;
    kept.machine.kill(0);
    assert!(
        matches!(kept.event().await, Event::Fallen(reason) if reason == "the connection broke")
    );
    assert_eq!(kept.event().await, Event::Ready);
    agent_of(&kept.session().await).await;
    kept.stop_tx.send(()).unwrap();
    assert_eq!(kept.ends().await, Why::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_was_restarted_is_found_anew_only_for_a_command() {
    let mut kept = Kept::start(SETTINGS).await;
    let restarted = Trouble::Fallen("container app was restarted".to_owned());
    kept.machine.is_in(Some(restarted.clone()));
    let Err(NotLent::None(reason)) = kept.borrow().await else {
        panic!("the command would be told what was true before");
    };
    assert_eq!(reason, "container app was restarted");
    assert!(matches!(kept.event().await, Event::Fallen(_)));
    // Standing did not succeed either; looks alone try nothing.
    while *kept.machine.stood.lock().unwrap() != 1 {
        sleep(Duration::from_millis(10)).await;
    }
    kept.machine
        .is_in(Some(Trouble::Passing("it crashes".to_owned())));
    assert!(matches!(kept.borrow().await, Err(NotLent::None(reason)) if reason == "it crashes"));
    kept.machine.is_in(None);
    assert_eq!(kept.event().await, Event::Ready);
    assert_eq!(*kept.machine.stood.lock().unwrap(), 1);
    agent_of(&kept.session().await).await;
    kept.stop_tx.send(()).unwrap();
    assert_eq!(kept.ends().await, Why::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_ends_when_its_target_or_its_right_to_it_is_gone() {
    for noticed_by_command in [true, false] {
        let kept = Kept::start(SETTINGS).await;
        kept.machine
            .is_in(Some(Trouble::Over("pod web was deleted".to_owned())));
        if noticed_by_command {
            assert!(matches!(kept.borrow().await, Err(NotLent::None(_))));
        } else {
            kept.machine.kill(0);
        }
        assert_eq!(
            kept.ends().await,
            Why::Over("pod web was deleted".to_owned())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_ends_when_nobody_comes_and_when_its_time_is_over() {
    let second = Duration::from_secs(1);
    let settings = Settings {
        idle: second,
        ..SETTINGS
    };
    let kept = Kept::start(settings).await;
    let session = kept.session().await;
    sleep(3 * second).await;
    // A command that is at work is no idleness.
    agent_of(&session).await;
    session.close().await;
    assert_eq!(kept.ends().await, Why::Idle);
    let settings = Settings {
        life: Some(second),
        ..SETTINGS
    };
    assert_eq!(Kept::start(settings).await.ends().await, Why::Life);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_another_build_gets_nothing() {
    let kept = Kept::start(SETTINGS).await;
    let ask = Ask {
        build: "0.0.1+feedbeef".to_owned(),
        container: None,
    };
    let answer = borrow(&kept.folder, &kept.key, &ask).await;
    assert!(
        matches!(answer, Err(NotLent::None(reason)) if reason.contains("keeps sessions for kdbg"))
    );
    kept.stop_tx.send(()).unwrap();
    assert_eq!(kept.ends().await, Why::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_gets_nothing_even_where_the_folder_lets_it_in() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    let kept = Kept::start(SETTINGS).await;
    let socket = kept.folder.socket(&kept.key);
    let open = |mode: u32| {
        for path in [kept.above.path(), &kept.above.path().join("kdbg"), &socket] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    let code = "import json, socket, struct, sys\n\
        s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n\
        ask = json.dumps({'build': sys.argv[2], 'container': None}).encode()\n\
        try: s.sendall(struct.pack('<I', len(ask)) + ask); print(len(s.recv(4)))\n\
        except OSError: print(0)";
    let ask = async |program: &[&str]| {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).args(["python3", "-c", code]);
        command.arg(&socket).arg(Ask::ours(None).build);
        // One that everybody may run, wherever this one's own are.
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        let output = timeout(LIMIT, command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    open(0o777);
    let somebody = ask(&[
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ])
    .await;
    assert_eq!(somebody, "0\n");
    assert_eq!(ask(&["env"]).await, "4\n");
    open(0o700);
    kept.stop_tx.send(()).unwrap();
    assert_eq!(kept.ends().await, Why::Stopped);
}
