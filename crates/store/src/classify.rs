//! What an error of the engine is to whoever uses the store.

use crate::Error;
use std::io::ErrorKind;
use std::path::Path;

/// The error of an `operation` in the folder `path`; `remedy` is what can be done if that is damaged.
pub(crate) fn classify(
    operation: &'static str,
    (path, remedy): (&Path, &'static str),
    error: &fjall::Error,
) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<std::io::Error>()
            && matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        {
            return Error::DiskFull;
        }
        cause = current.source();
    }
    let detail = error.to_string();
    match error {
        // A file that is gone, or shorter than what was written to it.
        fjall::Error::Io(io) if matches!(io.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => {
            Error::Corrupt { path: path.to_owned(), detail, remedy }
        }
        fjall::Error::Locked => {
            let detail = format!("another process has {} open, as a running server does", path.display());
            Error::Engine { operation, detail }
        }
        fjall::Error::Io(_) | fjall::Error::Poisoned => Error::Engine { operation, detail },
        _ => Error::Corrupt { path: path.to_owned(), detail, remedy },
    }
}
