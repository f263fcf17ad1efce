//! Work that may hang and must not keep the machine from restarting: a dead disk answers neither a
//! write nor sync(2), and a process that waits for it cannot even be killed.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Does `work` beside the caller and waits for it, but not longer than `limit`; false if it was not
/// done by then. It is not stopped: the caller is about to restart the machine.
pub(crate) fn run(limit: Duration, work: impl FnOnce() + Send + 'static) -> bool {
    let (done, wait) = mpsc::channel();
    let thread = thread::Builder::new().spawn(move || {
        work();
        let _ = done.send(());
    });
    thread.is_ok() && wait.recv_timeout(limit).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_left_behind() {
        assert!(run(Duration::from_secs(60), || {}));
        assert!(!run(Duration::from_millis(10), || thread::sleep(Duration::from_secs(5))));
    }
}
