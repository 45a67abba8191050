//! Commits that are visible at once and reach the engine a moment later, in order, on a thread of their own.
//!
//! A commit without a sync promises visibility, not durability (STORE-6), so the caller need not wait for the engine:
//! the writes stand in a queue that every read looks through first. The queue is short; a full one makes commits wait.
//!
//! - **BEHIND-1:** what is in the queue is newer than what the engine has, and later entries are newer than earlier ones.
//! - **BEHIND-2:** an entry leaves the queue after the engine has it, so a read finds it in one of the two.

use crate::overlay::Overlay;
use arc_swap::ArcSwap;
use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Commits that wait at most. The engine stops taking them while it syncs, some 50 ms a second on a slow disk; small
/// commits, which somebody waits for, must get past that.
const COMMITS_MAX: usize = 128;

/// Rows that wait at most: two of the largest batches.
const ROWS_MAX: usize = 60_000;

/// Committed transactions that the engine does not have yet, oldest first.
pub(crate) type Waiting = Arc<Vec<Arc<Overlay>>>;

/// See the module.
pub(crate) struct WriteBehind {
    /// What reads look through; changed only under `queue`'s lock.
    waiting: ArcSwap<Vec<Arc<Overlay>>>,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Arc<Overlay>>,
    rows: usize,
    /// Entries that ever came, and those of them that the engine has: they leave in the order in which they came.
    pushed: u64,
    written: u64,
    /// No more will come.
    closed: bool,
    /// The engine failed: what waits will never reach it.
    failed: bool,
}

impl WriteBehind {
    pub(crate) fn new() -> Self {
        Self { waiting: ArcSwap::from_pointee(Vec::new()), queue: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `read` with what waits now; for a read that is over at once.
    pub(crate) fn look<T>(&self, read: impl FnOnce(&[Arc<Overlay>]) -> T) -> T {
        read(&self.waiting.load())
    }

    /// What waits and what `engine` gives, as of one instant.
    pub(crate) fn together<T>(&self, engine: impl FnOnce() -> T) -> (Waiting, T) {
        let _still = self.lock();
        (self.waiting.load_full(), engine())
    }

    /// Queues a commit, when there is room.
    pub(crate) fn push(&self, overlay: Overlay) {
        let mut queue = self.lock();
        let full = |queue: &Queue| queue.entries.len() >= COMMITS_MAX || queue.rows >= ROWS_MAX;
        while full(&queue) && !queue.failed {
            queue = self.wait(queue);
        }
        queue.rows += overlay.len();
        queue.pushed += 1;
        queue.entries.push_back(Arc::new(overlay));
        self.publish(&queue);
    }

    fn publish(&self, queue: &Queue) {
        self.waiting.store(Arc::new(queue.entries.iter().cloned().collect()));
        self.changed.notify_all();
    }

    /// Blocks until the engine has everything queued before the call, or failed.
    pub(crate) fn drain(&self) {
        let mut queue = self.lock();
        // Not for an empty queue: others go on pushing.
        let before = queue.pushed;
        while queue.written < before && !queue.failed {
            queue = self.wait(queue);
        }
    }

    /// Hands entry after entry to `write` until the queue is closed and empty, or `write` failed. One that panics has
    /// failed, and `broke` is told what it said: those who wait for the queue must not wait for ever.
    pub(crate) fn run(&self, mut write: impl FnMut(&Overlay) -> bool, broke: impl FnOnce(&str)) {
        let mut broke = Some(broke);
        loop {
            let mut queue = self.lock();
            let entry = loop {
                match queue.entries.front() {
                    Some(entry) => break entry.clone(),
                    None if queue.closed => return,
                    None => queue = self.wait(queue),
                }
            };
            drop(queue);
            let written = catch_unwind(AssertUnwindSafe(|| write(&entry))).unwrap_or_else(|panic| {
                if let Some(broke) = broke.take() {
                    broke(said(panic.as_ref()));
                }
                false
            });
            let mut queue = self.lock();
            if !written {
                queue.failed = true;
                self.changed.notify_all();
                return;
            }
            queue.entries.pop_front();
            queue.written += 1;
            queue.rows -= entry.len();
            self.publish(&queue);
        }
    }

    /// No more will come.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic that said nothing")
}

#[cfg(test)]
#[allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what panics is what is tested, and a failed expectation"
)]
mod tests {
    use super::WriteBehind;
    use crate::overlay::Overlay;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, mpsc};
    use std::time::{Duration, Instant};

    /// How long anything may take before a test gives up.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// What is pushed meanwhile is not waited for: here there is always something.
    #[test]
    fn a_drain_ends_while_others_go_on_pushing() {
        let behind = Arc::new(WriteBehind::new());
        for _ in 0..3 {
            behind.push(Overlay::new());
        }
        let drained = Arc::new(AtomicBool::new(false));
        let (started, start) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let waiter = {
            let (behind, drained) = (behind.clone(), drained.clone());
            std::thread::spawn(move || {
                started.send(()).unwrap();
                behind.drain();
                drained.store(true, Ordering::SeqCst);
                end.send(()).unwrap();
            })
        };
        start.recv_timeout(PATIENCE).unwrap();
        let writer = {
            let behind = behind.clone();
            std::thread::spawn(move || {
                let (deadline, mut written) = (Instant::now() + PATIENCE, 0);
                // Each entry brings the next, until nobody waits; then the queue runs dry.
                let write = |_: &Overlay| {
                    written += 1;
                    if !drained.load(Ordering::SeqCst) && Instant::now() < deadline {
                        behind.push(Overlay::new());
                    }
                    true
                };
                behind.run(write, |why| panic!("{why}"));
                written
            })
        };
        ended.recv_timeout(PATIENCE / 2).unwrap();
        waiter.join().unwrap();
        behind.close();
        assert!(writer.join().unwrap() >= 3, "what was there before is written");
        behind.drain();
    }

    /// Whoever waits for a writer that broke goes on, and is told why by the store's poison.
    #[test]
    fn a_writer_that_panics_lets_everyone_go_and_says_why() {
        let behind = Arc::new(WriteBehind::new());
        let writer = {
            let behind = behind.clone();
            std::thread::spawn(move || {
                let mut told = None;
                behind.run(|_| panic!("of no use"), |why| told = Some(why.to_owned()));
                told
            })
        };
        for _ in 0..super::COMMITS_MAX * 2 {
            behind.push(Overlay::new());
        }
        behind.drain();
        assert_eq!(writer.join().ok().flatten().as_deref(), Some("of no use"));
    }
}
