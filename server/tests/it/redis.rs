//! A private Redis, gone with its test.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, ErrorKind},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use tempfile::TempDir;

/// Programs that are tried, after `$REDIS_SERVER`.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

/// How long Redis has to start.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A Redis on a port of its own; it can be stopped and started again.
pub(crate) struct Redis {
    port: u16,
    child: Option<Child>,
    /// Where it has on disk whatever it has answered.
    folder: Option<TempDir>,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let mut redis = Self::stopped();
        redis.start_again();
        redis
    }

    /// A Redis that loses nothing when it is restarted.
    pub(crate) fn durable() -> Self {
        let mut redis = Self::stopped();
        redis.folder = Some(tempfile::tempdir().expect("a folder"));
        redis.start_again();
        redis
    }

    /// A Redis that will be, at a known address.
    pub(crate) fn stopped() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self { port: free.local_addr().expect("it is bound").port(), child: None, folder: None }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn start_again(&mut self) {
        let mut child = spawn(self.port, self.folder.as_ref());
        let log = BufReader::new(child.stdout.take().expect("it is piped"));
        let (says_ready, ready) = mpsc::channel();
        // Reads to the end, so that Redis never waits for its own log.
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if line.contains("eady to accept connections") {
                    // An error: the test is over.
                    let _ = says_ready.send(());
                }
            }
        });
        self.child = Some(child);
        ready.recv_timeout(START_TIMEOUT).expect("Redis says that it is ready");
    }

    /// Carries out a command on a connection of its own.
    pub(crate) fn command(&self, words: &[&str]) -> redis::Value {
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut connection = client.get_connection().expect("Redis is there");
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).query(&mut connection).expect("it is carried out")
    }

    /// Stops it in the middle of what it does, as a machine that hangs.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("there is kill").success());
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it was started here");
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
        // An error: no test has it saved.
        let _ = fs::remove_file(env::temp_dir().join(snapshot(self.port)));
    }
}

fn snapshot(port: u16) -> String {
    format!("ws-server-test-{port}.rdb")
}

fn spawn(port: u16, folder: Option<&TempDir>) -> Child {
    let chosen = env::var("REDIS_SERVER").ok();
    let programs = chosen.iter().map(String::as_str).chain(PROGRAMS);
    for program in programs {
        let mut command = Command::new(program);
        command.arg("--dir").arg(env::temp_dir()).args(["--dbfilename", &snapshot(port)]);
        if let Some(folder) = folder {
            command.arg("--dir").arg(folder.path()).args(["--appendonly", "yes", "--appendfsync", "always"]);
        }
        command.args(["--bind", "127.0.0.1", "--save", "", "--port"]);
        match command.arg(port.to_string()).stdin(Stdio::null()).stdout(Stdio::piped()).spawn() {
            Ok(child) => return child,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => panic!("can't start {program}: {error}"),
        }
    }
    panic!("these tests need redis-server or valkey-server in PATH, or $REDIS_SERVER to name one");
}
