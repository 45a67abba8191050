//! What asks this process to stop.

use crate::http::Failed;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, or what asks a service to stop. From the moment it is made neither ends the process by itself.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system does not let it.
    pub(crate) fn listen() -> Result<Self, Failed> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failed::new(format!("signals cannot be listened for: {error}")))
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits until it is asked; what asked since [`Stop::listen`] counts.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
