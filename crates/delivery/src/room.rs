//! Room for bodies: what the requests of a destination hold together, from rendering until the outcome is noted.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What room is counted in, in bytes: a semaphore counts to 2^29 on a small machine.
const UNIT: usize = 1 << 10;

/// The room of one destination.
#[derive(Clone)]
pub(crate) struct Room {
    units: Arc<Semaphore>,
    /// Bytes that a request asks for before it knows what it needs.
    request: usize,
}

/// A part of the room, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(OwnedSemaphorePermit);

impl Room {
    /// Room for `bytes` in all; a request has at most `request`.
    pub(crate) fn new(bytes: usize, request: usize) -> Self {
        let request = request.clamp(1, bytes.max(1));
        Self { units: Arc::new(Semaphore::new(units(bytes.max(request)) as usize)), request }
    }

    /// Bytes of one request at most; one item alone may have more.
    pub(crate) const fn request(&self) -> usize {
        self.request
    }

    /// A place for the largest request, when there is room; `None` once the room is closed.
    pub(crate) async fn place(&self) -> Option<Place> {
        self.units.clone().acquire_many_owned(units(self.request)).await.ok().map(Place)
    }

    /// Whoever waits for room is told that none will come.
    pub(crate) fn close(&self) {
        self.units.close();
    }
}

impl Place {
    /// Gives back what `bytes` do not need.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let spare = self.0.num_permits().saturating_sub(units(bytes) as usize);
        drop(self.0.split(spare));
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(1 << 28)
}
