//! QEMU's machine protocol (QMP): one JSON object per line, over a unix socket.
//!
//! Only what Kiln needs: a command in, its answer out, events skipped. Every wait has an end, for a
//! monitor that does not answer is one of the failures this is used to detect.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Error;

/// Pause between two attempts to reach a socket that is not there yet.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Longest line taken from the monitor, in bytes; its greeting has about 200.
const LONGEST_LINE: u64 = 1 << 20;

/// An open connection to a machine's monitor.
#[derive(Debug)]
pub struct Monitor {
    path: PathBuf,
    writer: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects to the socket given to [`Machine::monitor`](crate::Machine::monitor), waiting until
    /// it appears, and greets. `timeout` bounds this and every later answer.
    ///
    /// # Errors
    /// When nobody listens in time, or speaks another protocol.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, Error> {
        let failed = |source| Error::MonitorConnection { path: path.to_owned(), source };
        let deadline = Instant::now() + timeout;
        let writer = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(source) if Instant::now() >= deadline => return Err(failed(source)),
                Err(_) => thread::sleep(RETRY_PAUSE),
            }
        };
        writer.set_read_timeout(Some(timeout)).map_err(failed)?;
        let reader = BufReader::new(writer.try_clone().map_err(failed)?);
        let mut monitor = Self { path: path.to_owned(), writer, reader };
        let greeting = monitor.line()?;
        if greeting.get("QMP").is_none() {
            return Err(Error::Monitor { problem: format!("greeted with {greeting}") });
        }
        monitor.execute("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Carries out one command and returns the value of its `return`.
    ///
    /// # Errors
    /// When the connection breaks, times out, or the command is refused.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value, Error> {
        let line = json!({ "execute": command, "arguments": arguments }).to_string() + "\n";
        self.writer.write_all(line.as_bytes()).map_err(|source| self.broken(source))?;
        loop {
            let answer = self.line()?;
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
            if let Some(refusal) = answer.get("error") {
                let reason = refusal.get("desc").and_then(Value::as_str).unwrap_or("no reason");
                return Err(Error::Monitor { problem: format!("refused `{command}`: {reason}") });
            }
        }
    }

    fn line(&mut self) -> Result<Value, Error> {
        let mut line = String::new();
        let mut bounded = (&mut self.reader).take(LONGEST_LINE);
        match bounded.read_line(&mut line) {
            Ok(0) => Err(Error::Monitor { problem: "closed the connection".into() }),
            Ok(_) => serde_json::from_str(&line)
                .map_err(|error| Error::Monitor { problem: format!("sent no JSON: {error}") }),
            Err(source) => Err(self.broken(source)),
        }
    }

    fn broken(&self, source: std::io::Error) -> Error {
        Error::MonitorConnection { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A monitor that says the given lines after each line it reads, greeting first.
    fn scripted(answers: &'static [&'static str]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("monitor");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for answer in answers {
                (&stream).write_all(answer.as_bytes()).unwrap();
                if lines.next().is_none() {
                    return;
                }
            }
        });
        (folder, path)
    }

    const SHORT: Duration = Duration::from_secs(2);

    #[test]
    fn events_are_skipped_and_refusals_told() {
        let (_folder, path) = scripted(&[
            "{\"QMP\":{}}\n",
            "{\"return\":{}}\n",
            "{\"event\":\"RESUME\"}\n{\"return\":{\"status\":\"running\"}}\n",
            "{\"error\":{\"desc\":\"no such command\"}}\n",
        ]);
        let mut monitor = Monitor::connect(&path, SHORT).unwrap();
        assert_eq!(monitor.execute("query-status", &json!({})).unwrap()["status"], "running");
        let error = monitor.execute("nonsense", &json!({})).unwrap_err();
        assert_eq!(error.to_string(), "the machine monitor refused `nonsense`: no such command");
    }

    #[test]
    fn strangers_and_silence_are_errors() {
        for answers in [&["hello\n"][..], &["{\"other\":1}\n"], &[""], &["{\"QMP\":{}}\n", ""]] {
            let (_folder, path) = scripted(answers);
            assert!(Monitor::connect(&path, Duration::from_millis(200)).is_err(), "{answers:?}");
        }
        let nobody = Path::new("/nowhere/monitor");
        let error = Monitor::connect(nobody, Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("/nowhere/monitor"));
    }
}
